/* The tables of docs/machine.md are those of the data: engines, instructions, figures of each
 * march.
 *
 * `build/tests/unit/test_machine_doc --write` writes them anew. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/march/march.h"
#include "core/program/program.h"

#define PAGE "docs/machine.md"

/* Text of a cell: | ends one, so it is escaped. */
static void cell(struct buf *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '|')
            buf_putc(out, '\\');
        buf_putc(out, *text);
    }
    buf_puts(out, " |");
}

static void write_engines(struct buf *out)
{
    buf_puts(out, "| engine | what it does |\n|---|---|\n");
    for (int e = 0; e < ENGINE_COUNT; e++) {
        buf_printf(out, "| %s | ", engine_name((enum engine)e));
        cell(out, engine_text((enum engine)e));
        buf_putc(out, '\n');
    }
}

static void write_names(struct buf *out, const char *names)
{
    buf_puts(out, *names ? " `" : " ");
    buf_puts(out, names);
    buf_puts(out, *names ? "` |" : "|");
}

static void write_instructions(struct buf *out)
{
    buf_puts(out, "| instruction | engine | tiles, written ones first | integers | what it does |\n"
                  "|---|---|---|---|---|\n");
    for (int op = 0; op < OP_COUNT; op++) {
        const struct isa *row = isa_row((enum opcode)op);
        buf_printf(out, "| `%s` | %s |", row->name, engine_name(row->engine));
        write_names(out, row->tiles);
        write_names(out, row->args);
        buf_putc(out, ' ');
        cell(out, row->text);
        buf_putc(out, '\n');
    }
}

static void write_figures(struct buf *out)
{
    size_t count;
    const struct march *const *list = march_list(&count);
    for (size_t k = 0; k < count; k++) {
        const struct machine *m = march_machine(list[k]);
        buf_printf(out,
                   "%s### %s\n\n| figure | value | unit | what it is | evidence "
                   "|\n|---|---|---|---|---|\n",
                   k ? "\n" : "", march_name(list[k]));
        for (const struct machine_row *r = machine_rows; r->name; r++) {
            const struct machine_figure *f = machine_row_figure(m, r);
            buf_printf(out, "| `%s` | %.7g | %s | ", r->name, f->v, r->unit);
            cell(out, r->text);
            buf_putc(out, ' ');
            cell(out, f->evidence);
            buf_putc(out, '\n');
        }
        for (const struct machine_block *b = m->blocks; b->h > 0; b++) {
            buf_printf(out,
                       "| block `%s` | %d x %d x %d | rows x columns x channels | native block | ",
                       b->name, b->h, b->w, b->c);
            cell(out, b->evidence);
            buf_putc(out, '\n');
        }
    }
}

static const struct {
    const char *begin;
    void (*write)(struct buf *out);
} sections[] = {
    {"<!-- engines -->\n", write_engines},
    {"<!-- instructions -->\n", write_instructions},
    {"<!-- figures -->\n", write_figures},
};

static void read_page(struct buf *out)
{
    char chunk[4096];
    size_t n;
    FILE *f = fopen(PAGE, "rb");
    assert_non_null(f);
    while ((n = fread(chunk, 1, sizeof(chunk), f)) > 0)
        buf_add(out, chunk, n);
    fclose(f);
}

/* The page with its tables made from the data. */
static void make_page(const char *page, struct buf *out)
{
    for (size_t i = 0; i < sizeof(sections) / sizeof(sections[0]); i++) {
        const char *at = strstr(page, sections[i].begin), *end;
        assert_non_null(at);
        at += strlen(sections[i].begin);
        end = strstr(at, "<!-- end -->");
        assert_non_null(end);
        buf_add(out, page, (size_t)(at - page));
        buf_putc(out, '\n'); /* Markdown wants a line of its own around tables */
        sections[i].write(out);
        buf_putc(out, '\n');
        page = end;
    }
    buf_puts(out, page);
}

static void test_tables_are_the_data(void **state)
{
    struct buf page, made;
    struct bpu_error err = {0};
    (void)state;
    buf_init(&page, BUF_DEFAULT_CAP);
    buf_init(&made, BUF_DEFAULT_CAP);
    read_page(&page);
    assert_true(buf_ok(&page, &err));
    make_page(buf_str(&page), &made);
    assert_true(buf_ok(&made, &err));
    if (strcmp(buf_str(&page), buf_str(&made)) != 0)
        print_message("%s differs from the data; test_machine_doc --write writes it\n", PAGE);
    assert_string_equal(buf_str(&page), buf_str(&made));
    buf_fini(&page);
    buf_fini(&made);
}

/* Element (0, 5, 9, 6) of the example. */
static void test_example_of_the_address(void **state)
{
    struct tile t = {.dtype = DT_QINT8,
                     .block_h = 1,
                     .block_w = 8,
                     .block_c = 4,
                     .frame_rows = 20,
                     .n = 1,
                     .h = 20,
                     .w = 20,
                     .c = 30,
                     .stride_h = 768,
                     .stride_w = 256,
                     .stride_c = 32};
    (void)state;
    assert_int_equal(tile_address(&t, 0, 5, 9, 6), 4134);
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables_are_the_data),
        cmocka_unit_test(test_example_of_the_address),
    };
    if (argc > 1 && strcmp(argv[1], "--write") == 0) {
        struct buf page, made;
        buf_init(&page, BUF_DEFAULT_CAP);
        buf_init(&made, BUF_DEFAULT_CAP);
        read_page(&page);
        make_page(buf_str(&page), &made);
        FILE *f = fopen(PAGE, "wb");
        if (!f || fputs(buf_str(&made), f) < 0 || fclose(f) != 0)
            return 1;
        buf_fini(&page);
        buf_fini(&made);
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
