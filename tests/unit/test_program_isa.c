/* The instruction set: its rows are well formed, and the constants of args.h and args_real.h say what
 * its lists of names say.  The headers are read as text, so that no row can be forgotten here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <ctype.h>

#include "tests/unit/program_make.h"

static void rows_are_well_formed(void **state)
{
    (void)state;
    for (int op = 0; op < OP_COUNT; op++) {
        const struct isa *row = isa_row((enum opcode)op);
        bool repeats;
        enum opcode found;
        char name[ISA_NAME_MAX], other[ISA_NAME_MAX];
        int tiles = isa_tile_count((enum opcode)op, &repeats), args = isa_arg_count((enum opcode)op);
        assert_true(isa_find(row->name, &found));
        assert_int_equal(found, op); /* names are unique */
        assert_in_range(tiles, 1, PROGRAM_MAX_TILES);
        assert_in_range(args, 0, PROGRAM_MAX_ARGS);
        assert_in_range(row->writes, 1, tiles);
        assert_true(row->text[0] != 0);
        assert_int_equal(repeats, strstr(row->tiles, "…") != NULL);
        for (int t = 0; t < tiles; t++) {
            assert_string_not_equal(isa_tile_name((enum opcode)op, t, name), "");
            for (const char *p = name; *p; p++)
                assert_true(islower((unsigned char)*p) || isdigit((unsigned char)*p));
            assert_false(t < row->writes && isa_tile_optional((enum opcode)op, t));
        }
        for (int k = 0; k < args; k++) {
            isa_arg_name((enum opcode)op, k, name);
            assert_int_equal(isa_arg((enum opcode)op, name), k); /* unique here, too */
            size_t n = strlen(name);
            assert_in_range(n, 1, ISA_NAME_MAX - 2);
            if (n > 3 && strcmp(name + n - 3, "_lo") == 0) {
                isa_arg_name((enum opcode)op, k + 1, other);
                assert_int_equal(strlen(other), n);
                assert_memory_equal(name, other, n - 2);
                assert_string_equal(other + n - 3, "_hi");
            }
        }
    }
}

static void counts_and_names(void **state)
{
    (void)state;
    bool repeats;
    char name[ISA_NAME_MAX];
    enum opcode op;
    assert_null(isa_row(OP_COUNT));
    assert_int_equal(isa_arg_count(OP_COUNT), 0);
    assert_false(isa_find("no such", &op));
    assert_int_equal(isa_tile_count(OP_CONV, &repeats), 5);
    assert_false(repeats);
    assert_false(isa_tile_optional(OP_CONV, 2));
    assert_true(isa_tile_optional(OP_CONV, 3));
    assert_true(isa_tile_optional(OP_CONV, 4));
    assert_string_equal(isa_tile_name(OP_CONV, 3, name), "residual");
    assert_int_equal(isa_arg_count(OP_CONV), 18);
    assert_int_equal(isa_arg_count(OP_LOAD), 0);
    assert_int_equal(isa_arg(OP_CONV, "kernel_h"), CONV_KERNEL_H);
    assert_int_equal(isa_arg(OP_CONV, "kernel"), -1);
    assert_int_equal(isa_tile_count(OP_ROI_ALIGN, &repeats), 4);
    assert_true(repeats);
    assert_string_equal(isa_tile_name(OP_ROI_ALIGN, 3, name), "x");
    assert_string_equal(isa_tile_name(OP_ROI_ALIGN, 6, name), "x");
    assert_true(isa_tile_optional(OP_ROI_ALIGN, 2));
    assert_false(isa_tile_optional(OP_ROI_ALIGN, 6));
}

static char *read_header(const char *path)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    char *text = calloc(1, 1 << 16);
    assert_non_null(text);
    size_t n = fread(text, 1, (1 << 16) - 1, f);
    fclose(f);
    assert_in_range(n, 100, (1 << 16) - 2);
    return text;
}

static void upper(char *s)
{
    for (; *s; s++)
        *s = (char)toupper((unsigned char)*s);
}

/* The body of "enum NAME_arg {…}": names in order.  Those that end a list are left out. */
static void hold_enum(const char *name, const char *body, bool seen[OP_COUNT])
{
    enum opcode op;
    char prefix[ISA_NAME_MAX], expected[2 * ISA_NAME_MAX], got[2 * ISA_NAME_MAX], arg[ISA_NAME_MAX];
    int k = 0;
    if (!isa_find(name, &op))
        fail_msg("enum %s_arg belongs to no instruction", name);
    snprintf(prefix, sizeof prefix, "%s", name);
    upper(prefix);
    for (const char *p = body; *p;) {
        p += strcspn(p, "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
        size_t n = strspn(p, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");
        if (!n)
            break;
        snprintf(got, sizeof got, "%.*s", (int)n, p);
        p += n;
        if (strstr(got, "_ARGS_COUNT")) {
            assert_int_equal(k, isa_arg_count(op));
        } else if (strstr(got, "_FIRST_LOOP")) {
            assert_string_equal(isa_arg_name(op, k - 1, arg), "loops");
            assert_true(k < isa_arg_count(op));
        } else {
            snprintf(expected, sizeof expected, "%s_%s", prefix, isa_arg_name(op, k++, arg));
            upper(expected);
            assert_string_equal(got, expected);
        }
    }
    assert_true(k > 0);
    seen[op] = true;
}

static void hold_header(const char *path, bool seen[OP_COUNT])
{
    char *text = read_header(path), *p = text;
    while ((p = strstr(p, "\nenum "))) {
        char name[64] = "";
        p += strlen("\nenum ");
        size_t n = strcspn(p, " {");
        char *open = strchr(p, '{'), *close = strchr(p, '}');
        assert_true(n < sizeof name && open && close && open < close);
        memcpy(name, p, n);
        *close = 0;
        assert_null(strchr(open, '=')); /* positions are positions */
        if (n > 4 && strcmp(name + n - 4, "_arg") == 0 && !strstr(name, "_loop_arg")) {
            name[n - 4] = 0;
            hold_enum(name, open + 1, seen);
        }
        p = close + 1;
    }
    free(text);
}

static void constants_are_positions(void **state)
{
    (void)state;
    bool seen[OP_COUNT] = {false};
    hold_header("core/program/args.h", seen);
    hold_header("core/program/args_real.h", seen);
    /* These two have the arguments of conv. */
    assert_string_equal(isa_row(OP_DWCONV)->args, isa_row(OP_CONV)->args);
    assert_string_equal(isa_row(OP_DECONV)->args, isa_row(OP_CONV)->args);
    seen[OP_DWCONV] = seen[OP_DECONV] = true;
    for (int op = 0; op < OP_COUNT; op++)
        if (isa_arg_count((enum opcode)op) && !seen[op])
            fail_msg("no enum for the arguments of %s", isa_row((enum opcode)op)->name);
}

/* The arguments of loop k are the names with k behind them. */
static void hold_loops(enum opcode op, int first, int size, int loops, const char *const *names)
{
    char expected[ISA_NAME_MAX], got[ISA_NAME_MAX];
    for (int k = 0; k < loops; k++)
        for (int m = 0; m < size; m++) {
            snprintf(expected, sizeof expected, "%s%d", names[m], k);
            assert_string_equal(isa_arg_name(op, first + k * size + m, got), expected);
        }
    assert_int_equal(isa_arg_count(op), first + loops * size);
}

static void constants_of_loops(void **state)
{
    (void)state;
    const char *copy[COPY_LOOP_SIZE];
    copy[COPY_EXTENT] = "extent";
    copy[COPY_Y_AXIS] = "y_axis";
    copy[COPY_Y_STEP] = "y_step";
    copy[COPY_X_AXIS] = "x_axis";
    copy[COPY_X_STEP] = "x_step";
    hold_loops(OP_COPY, COPY_FIRST_LOOP, COPY_LOOP_SIZE, COPY_MAX_LOOPS, copy);
    assert_int_equal(COPY_ARGS_COUNT, isa_arg_count(OP_COPY));
    const char *const gather[] = {"count", "x_step", "i_step"};
    const char *const scatter[] = {"count", "y_step", "i_step", "u_step"};
    hold_loops(OP_GATHER, GATHER_FIRST_LOOP, GATHER_LOOP_SIZE, INDEX_MAX_LOOPS, gather);
    hold_loops(OP_SCATTER, SCATTER_FIRST_LOOP, SCATTER_LOOP_SIZE, INDEX_MAX_LOOPS, scatter);
}

static void real_arguments(void **state)
{
    (void)state;
    const double values[] = {0, -0.0, 0.1, -1e300, 5e-324, 1.0 / 3};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        int32_t args[2];
        args_set_real(args, values[i]);
        double back = args_real(args);
        assert_memory_equal(&back, &values[i], sizeof back);
    }
    int32_t one[2];
    args_set_real(one, 1.0);
    assert_int_equal(one[0], 0);
    assert_int_equal(one[1], 0x3FF00000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_well_formed), cmocka_unit_test(counts_and_names),
        cmocka_unit_test(constants_are_positions), cmocka_unit_test(constants_of_loops),
        cmocka_unit_test(real_arguments),
    };
    return cmocka_run_group_tests_name("program_isa", tests, NULL, NULL);
}
