/* .bpu files: what is written reads back, to the byte; the same program gives the same bytes; each
 * kind of damage is refused by its name; no memory is an error and nothing else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/program_make.h"

enum { QUOTA = 64 << 20 };

static void write_program(const struct program *p, struct buf *out)
{
    struct bpu_error err = {0};
    buf_init(out, QUOTA);
    if (!program_write(p, out, &err))
        fail_msg("%s (%s)", err.message, err.where);
}

static void same_tile(const struct tile *a, const struct tile *b)
{
    for (int f = 0; f < FIELD_COUNT; f++)
        assert_int_equal(tile_field(a, (enum tile_field)f), tile_field(b, (enum tile_field)f));
}

static void same_io(const struct program_io *a, const struct program_io *b)
{
    assert_string_equal(a->name, b->name);
    assert_true(shape_equal(&a->shape, &b->shape));
    assert_int_equal(a->features, b->features);
    assert_int_equal(a->dtype, b->dtype);
    assert_int_equal(a->host_dtype, b->host_dtype);
    assert_int_equal(a->host_divides, b->host_divides);
    assert_int_equal(a->quant.count, b->quant.count);
    assert_int_equal(a->quant.axis, b->quant.axis);
    assert_int_equal(a->quant.zero_point != NULL, b->quant.zero_point != NULL);
    for (int i = 0; i < a->quant.count; i++) {
        assert_memory_equal(&a->quant.scale[i], &b->quant.scale[i], sizeof a->quant.scale[i]);
        if (a->quant.zero_point)
            assert_int_equal(a->quant.zero_point[i], b->quant.zero_point[i]);
    }
    assert_int_equal(a->layout, b->layout);
    assert_int_equal(a->source, b->source);
    assert_int_equal(a->address, b->address);
    assert_int_equal(a->bytes, b->bytes);
    same_tile(&a->tile, &b->tile);
}

static void same_program(const struct program *a, const struct program *b)
{
    assert_string_equal(a->name, b->name);
    assert_string_equal(a->march, b->march);
    assert_string_equal(a->options, b->options);
    assert_string_equal(a->tool, b->tool);
    assert_int_equal(a->uncalibrated, b->uncalibrated);
    assert_int_equal(a->cores, b->cores);
    assert_int_equal(a->sram_bytes, b->sram_bytes);
    assert_int_equal(a->ddr_bytes, b->ddr_bytes);
    assert_int_equal(a->constant_bytes, b->constant_bytes);
    assert_memory_equal(a->constants, b->constants, (size_t)a->constant_bytes);
    assert_int_equal(a->input_count, b->input_count);
    assert_int_equal(a->output_count, b->output_count);
    for (int i = 0; i < a->input_count; i++)
        same_io(&a->inputs[i], &b->inputs[i]);
    for (int i = 0; i < a->output_count; i++)
        same_io(&a->outputs[i], &b->outputs[i]);
    assert_int_equal(a->source_count, b->source_count);
    for (int i = 0; i < a->source_count; i++) {
        assert_string_equal(a->sources[i].name, b->sources[i].name);
        assert_string_equal(a->sources[i].op, b->sources[i].op);
        assert_int_equal(a->sources[i].macs, b->sources[i].macs);
        assert_int_equal(a->sources[i].c, b->sources[i].c);
    }
    assert_int_equal(a->buffer_count, b->buffer_count);
    for (int i = 0; i < a->buffer_count; i++) {
        assert_string_equal(a->buffers[i].name, b->buffers[i].name);
        assert_int_equal(a->buffers[i].kind, b->buffers[i].kind);
        assert_int_equal(a->buffers[i].bytes, b->buffers[i].bytes);
        assert_int_equal(a->buffers[i].first, b->buffers[i].first);
        assert_int_equal(a->buffers[i].last, b->buffers[i].last);
    }
    assert_int_equal(a->code_count, b->code_count);
    for (int i = 0; i < a->code_count; i++) {
        const struct instruction *x = &a->code[i], *y = &b->code[i];
        assert_int_equal(x->op, y->op);
        assert_int_equal(x->core, y->core);
        assert_int_equal(x->engine, y->engine);
        assert_int_equal(x->source, y->source);
        assert_int_equal(x->tile_count, y->tile_count);
        assert_int_equal(x->arg_count, y->arg_count);
        assert_int_equal(x->wait_count, y->wait_count);
        for (int k = 0; k < x->tile_count; k++)
            same_tile(&x->tiles[k], &y->tiles[k]);
        assert_memory_equal(x->args, y->args, (size_t)x->arg_count * sizeof *x->args);
        for (int k = 0; k < x->wait_count; k++) {
            assert_int_equal(x->waits[k].lane, y->waits[k].lane);
            assert_int_equal(x->waits[k].count, y->waits[k].count);
        }
    }
}

static void random_programs_come_back(void **state)
{
    (void)state;
    struct random_source r = {7};
    for (int k = 0; k < 150; k++) {
        struct arena a, b;
        struct program p;
        struct bpu_error err = {0};
        struct buf first, second;
        arena_init(&a, QUOTA);
        arena_init(&b, QUOTA);
        make_random(&a, &r, &p, random_below(&r, 120));
        write_program(&p, &first);
        assert_true(program_is(first.data, first.size));
        struct program *q = program_read(&b, first.data, first.size, &err);
        if (!q)
            fail_msg("%s (%s)", err.message, err.where);
        same_program(&p, q);
        write_program(q, &second);
        assert_int_equal(first.size, second.size);
        assert_memory_equal(first.data, second.data, first.size);
        buf_fini(&first);
        buf_fini(&second);
        arena_fini(&a);
        arena_fini(&b);
    }
}

/* A program in which every part is there. */
static void make_file(struct arena *a, struct program *p, struct buf *out, int count)
{
    struct random_source r = {11};
    arena_init(a, QUOTA);
    make_random(a, &r, p, count);
    int64_t *zero = make_alloc(a, 1, sizeof *zero);
    *zero = -3;
    p->inputs[0].quant.zero_point = zero;
    write_program(p, out);
}

static void written_behind_other_bytes(void **state)
{
    (void)state;
    struct arena a;
    struct program p;
    struct buf alone, behind;
    struct bpu_error err = {0};
    make_file(&a, &p, &alone, 20);
    buf_init(&behind, QUOTA);
    buf_puts(&behind, "abc");
    assert_true(program_write(&p, &behind, &err));
    assert_int_equal(behind.size, alone.size + 3);
    assert_memory_equal(behind.data + 3, alone.data, alone.size);
    /* and read where nothing is aligned */
    struct program *q = program_read(&a, behind.data + 3, alone.size, &err);
    assert_non_null(q);
    same_program(&p, q);
    buf_fini(&alone);
    buf_fini(&behind);
    arena_fini(&a);
}

static void constants_are_aligned_and_in_place(void **state)
{
    (void)state;
    struct arena a;
    struct program p;
    struct buf file;
    struct bpu_error err = {0};
    make_file(&a, &p, &file, 3);
    struct program *q = program_read(&a, file.data, file.size, &err);
    assert_non_null(q);
    const char *constants = (const char *)q->constants;
    assert_true(constants >= file.data && constants + q->constant_bytes <= file.data + file.size);
    assert_int_equal((constants - file.data) % CONTAINER_ALIGN, 0);
    assert_true(q->name >= file.data && q->name < file.data + file.size);
    buf_fini(&file);
    arena_fini(&a);
}

/* Reads, expects an error whose message or place holds `text`. */
static void refused(const char *data, size_t size, enum bpu_code code, const char *text)
{
    struct arena a;
    struct bpu_error err = {0};
    arena_init(&a, QUOTA);
    if (program_read(&a, data, size, &err))
        fail_msg("read, expected: %s", text);
    if (err.code != code || (!strstr(err.message, text) && !strstr(err.where, text)))
        fail_msg("\"%s\" (%s) [%s], expected \"%s\"", err.message, err.where,
                 error_code_name(err.code), text);
    arena_fini(&a);
}

static void every_byte_counts(void **state)
{
    (void)state;
    struct arena a;
    struct program p;
    struct buf file;
    make_file(&a, &p, &file, 6);
    for (size_t i = 0; i < file.size; i++) {
        struct arena b;
        struct bpu_error err = {0};
        arena_init(&b, QUOTA);
        file.data[i] = (char)(file.data[i] ^ (1 << i % 8));
        assert_null(program_read(&b, file.data, file.size, &err));
        assert_true(err.code == BPU_BAD_MODEL || err.code == BPU_NOT_A_MODEL ||
                    err.code == BPU_UNSUPPORTED);
        assert_true(err.message[0] && (err.where[0] || err.code == BPU_NOT_A_MODEL));
        file.data[i] = (char)(file.data[i] ^ (1 << i % 8));
        arena_fini(&b);
    }
    for (size_t n = 0; n < file.size; n += n < 1000 ? 1 : 37) {
        char *copy = malloc(n + 1); /* so that reading too far is seen */
        assert_non_null(copy);
        memcpy(copy, file.data, n);
        refused(copy, n, n < 4 ? BPU_NOT_A_MODEL : BPU_BAD_MODEL, n < 4 ? "no compiled program" : "file");
        free(copy);
    }
    buf_fini(&file);
    arena_fini(&a);
}

static unsigned char *entry_of(struct buf *file, enum section s)
{
    return (unsigned char *)file->data + HEAD_TABLE + s * ENTRY_SIZE;
}

static unsigned char *section_of(struct buf *file, enum section s)
{
    return (unsigned char *)file->data + little_get(entry_of(file, s) + ENTRY_OFFSET, 8);
}

/* Does something to a good file, seals the head again, and expects the error. */
#define DAMAGED(code, text, statement)                                                             \
    do {                                                                                           \
        struct arena arena_;                                                                       \
        struct program p;                                                                          \
        struct buf file;                                                                           \
        make_file(&arena_, &p, &file, 6);                                                          \
        unsigned char *head = (unsigned char *)file.data;                                          \
        (void)head;                                                                                \
        statement;                                                                                 \
        container_digest((unsigned char *)file.data, HEAD_SIZE - CONTAINER_DIGEST,                 \
                         (unsigned char *)file.data + HEAD_SIZE - CONTAINER_DIGEST);               \
        refused(file.data, file.size, code, text);                                                 \
        buf_fini(&file);                                                                           \
        arena_fini(&arena_);                                                                       \
    } while (0)
/* The same with all digests made to hold. */
#define CHANGED(text, statement)                                                                   \
    DAMAGED(BPU_BAD_MODEL, text,                                                                   \
            (statement, assert_true(container_seal((unsigned char *)file.data, file.size))))

static void damaged_heads(void **state)
{
    (void)state;
    DAMAGED(BPU_NOT_A_MODEL, "no compiled program", memcpy(head, "PK\3\4", 4));
    DAMAGED(BPU_BAD_MODEL, "line ends", memcpy(head + 4, "\n\x1a\n\1", 4));
    DAMAGED(BPU_UNSUPPORTED, "version 2", head[HEAD_VERSION] = 2);
    DAMAGED(BPU_BAD_MODEL, "sections instead of", head[HEAD_SECTIONS] = 7);
    DAMAGED(BPU_BAD_MODEL, "its head says", head[HEAD_BYTES] ^= 1);
    DAMAGED(BPU_BAD_MODEL, "reserved", head[HEAD_RESERVED] = 1);
    DAMAGED(BPU_BAD_MODEL, "section META", entry_of(&file, SECTION_META)[ENTRY_TAG] = 'm');
    DAMAGED(BPU_BAD_MODEL, "section META", entry_of(&file, SECTION_META)[ENTRY_RESERVED] = 1);
    DAMAGED(BPU_BAD_MODEL, "section PORT begins", entry_of(&file, SECTION_PORT)[ENTRY_OFFSET] += 64);
    DAMAGED(BPU_BAD_MODEL, "section CNST has", entry_of(&file, SECTION_CNST)[ENTRY_BYTES + 7] = 0xff);
    DAMAGED(BPU_BAD_MODEL, "section CNST is damaged", section_of(&file, SECTION_CNST)[9] ^= 1);
    DAMAGED(BPU_BAD_MODEL, "section CODE is damaged", section_of(&file, SECTION_CODE)[0] ^= 1);
    DAMAGED(BPU_BAD_MODEL, "between two sections", section_of(&file, SECTION_META)[-1] = 1);
    DAMAGED(BPU_BAD_MODEL, "behind the last section",
            (buf_putc(&file, 0), little_put((unsigned char *)file.data + HEAD_BYTES, 8, file.size)));
    struct arena a;
    struct program p;
    struct buf file;
    make_file(&a, &p, &file, 3);
    file.data[HEAD_TABLE + ENTRY_DIGEST] ^= 1;
    refused(file.data, file.size, BPU_BAD_MODEL, "head is damaged");
    buf_fini(&file);
    arena_fini(&a);
}

static void damaged_sections(void **state)
{
    (void)state;
    unsigned char *s;
    CHANGED("strings in the", memcpy(section_of(&file, SECTION_TEXT), "\xff\xff\x7f", 3));
    CHANGED("bytes of a string in the",
            (s = section_of(&file, SECTION_TEXT), s[1] = 0xff, s[2] = 0xff, s[3] = 1));
    CHANGED("is not UTF-8", section_of(&file, SECTION_TEXT)[2] = 0xff);
    CHANGED("does not end where", section_of(&file, SECTION_TEXT)[3] = 0);
    CHANGED("does not end where", section_of(&file, SECTION_TEXT)[5] = 'x');
    CHANGED("the name is string", section_of(&file, SECTION_META)[0] = 0x7f);
    CHANGED("longer than it must be",
            (s = section_of(&file, SECTION_META), s[0] = 0x80, s[1] = 0));
    CHANGED("more than 64 bits", memset(section_of(&file, SECTION_META), 0xff, 10));
    CHANGED("number of cores is 9", section_of(&file, SECTION_META)[5] = 9);
    CHANGED("flag of placeholder", section_of(&file, SECTION_META)[4] = 2);
    CHANGED("inputs in the", section_of(&file, SECTION_PORT)[0] = 0x7f);
    CHANGED("a rank is", section_of(&file, SECTION_PORT)[3] = 13);
    CHANGED("layers in the", section_of(&file, SECTION_LAYR)[0] = 0x7f);
    CHANGED("bytes more than the section needs", section_of(&file, SECTION_LAYR)[0] = 1);
    CHANGED("the core of a buffer", section_of(&file, SECTION_BUFF)[2] = 2);
    CHANGED("the kind of a buffer", section_of(&file, SECTION_BUFF)[3] = BUFFER_KINDS);
    CHANGED("there is no instruction", (s = section_of(&file, SECTION_ISET), s[1] = s[2]));
    CHANGED("other operands or arguments", (s = section_of(&file, SECTION_ISET), s[2] = s[1]));
    CHANGED("stands twice",
            (s = section_of(&file, SECTION_ISET), s[4] = s[1], s[5] = s[2], s[6] = s[3]));
    CHANGED("instructions in the", memcpy(section_of(&file, SECTION_CODE), "\xff\xff\x7f", 3));
    CHANGED("tiles, ", section_of(&file, SECTION_CODE)[0] = 5);
    CHANGED("more tiles than", section_of(&file, SECTION_CODE)[1] -= 1);
    CHANGED("1 tiles, 0 arguments and 0 waits more", section_of(&file, SECTION_CODE)[1] += 1);
    CHANGED("the section ends within a number",
            (s = section_of(&file, SECTION_META),
             memset(s + 2, 0, (size_t)little_get(entry_of(&file, SECTION_META) + ENTRY_BYTES, 8) - 2),
             little_put(entry_of(&file, SECTION_META) + ENTRY_BYTES, 8, 2)));
}

/* A file whose digests hold, changed anywhere: read or refused, never anything else. */
static void changed_anywhere(void **state)
{
    (void)state;
    struct random_source r = {5};
    struct arena a;
    struct program p;
    struct buf file;
    int read = 0, all = 20000;
    make_file(&a, &p, &file, 30);
    size_t code = (size_t)little_get(entry_of(&file, SECTION_CNST) + ENTRY_OFFSET, 8);
    char *copy = malloc(file.size);
    assert_non_null(copy);
    for (int k = 0; k < all; k++) {
        struct arena b;
        struct bpu_error err = {0};
        struct buf text;
        memcpy(copy, file.data, file.size);
        for (int m = random_below(&r, 3); m >= 0; m--)
            copy[HEAD_SIZE + (size_t)random_below(&r, (int)(code - HEAD_SIZE))] =
                (char)(random_below(&r, 2) ? random_next(&r) : 1u << random_below(&r, 8));
        assert_true(container_seal((unsigned char *)copy, file.size));
        arena_init(&b, QUOTA);
        buf_init(&text, QUOTA);
        struct program *q = program_read(&b, copy, file.size, &err);
        if (q) {
            read++;
            program_disassemble(q, &text);
            assert_true(buf_ok(&text, &err));
        } else {
            assert_true(err.code == BPU_BAD_MODEL && err.message[0] && err.where[0]);
        }
        buf_fini(&text);
        arena_fini(&b);
    }
    assert_true(read > 0 && read < all);
    free(copy);
    buf_fini(&file);
    arena_fini(&a);
}

static void without_memory(void **state)
{
    (void)state;
    struct arena a;
    struct program p;
    struct buf file;
    struct bpu_error err = {0};
    make_file(&a, &p, &file, 40);
    int failed = 0;
    for (long n = 0;; n++) {
        struct arena b;
        err = (struct bpu_error){0};
        arena_init(&b, QUOTA);
        b.fail_after = n;
        struct program *q = program_read(&b, file.data, file.size, &err);
        bool done = q != NULL;
        assert_int_equal(done ? BPU_NONE : BPU_NO_MEMORY, err.code);
        arena_fini(&b);
        if (done)
            break;
        failed++;
    }
    assert_true(failed > 8);
    /* A small quota, and a buffer that is full. */
    struct arena small;
    arena_init(&small, 4096);
    err = (struct bpu_error){0};
    assert_null(program_read(&small, file.data, file.size, &err));
    assert_int_equal(err.code, BPU_NO_MEMORY);
    arena_fini(&small);
    for (size_t cap = 0; cap < file.size; cap += 97) {
        struct buf out;
        buf_init(&out, cap);
        err = (struct bpu_error){0};
        assert_false(program_write(&p, &out, &err));
        assert_int_equal(err.code, BPU_NO_MEMORY);
        buf_fini(&out);
    }
    buf_fini(&file);
    arena_fini(&a);
}

/* Pieces of the same layer differ in little, and so take little. */
static void pieces_are_compact(void **state)
{
    (void)state;
    struct arena a;
    struct program p;
    struct buf file;
    enum { PIECES = 1000 };
    arena_init(&a, QUOTA);
    make_program(&a, &p, PIECES);
    for (int k = 0; k < PIECES; k++) {
        make_instruction(&a, OP_CONV, &p.code[k]);
        p.code[k].tiles[0].base += 128 * (k % 16);
        p.code[k].tiles[1].base += 144 * (k % 16);
        p.code[k].args[CONV_PAD_TOP] = k == 0;
    }
    write_program(&p, &file);
    size_t bytes = (size_t)little_get(entry_of(&file, SECTION_CODE) + ENTRY_BYTES, 8);
    assert_in_range(bytes, PIECES * 5, PIECES * 20);
    buf_fini(&file);
    arena_fini(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_programs_come_back),
        cmocka_unit_test(written_behind_other_bytes),
        cmocka_unit_test(constants_are_aligned_and_in_place),
        cmocka_unit_test(every_byte_counts),
        cmocka_unit_test(damaged_heads),
        cmocka_unit_test(damaged_sections),
        cmocka_unit_test(changed_anywhere),
        cmocka_unit_test(without_memory),
        cmocka_unit_test(pieces_are_compact),
    };
    return cmocka_run_group_tests_name("program_container", tests, NULL, NULL);
}
