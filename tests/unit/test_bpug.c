/* .bpug: a graph written and read back is the same graph, to the byte of every constant; what is
 * damaged is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/zip_write.h"
#include "core/export/export.h"
#include "core/import/import.h"
#include "core/job/prepare.h"
#include "core/quant/quant.h"
#include "core/run/run.h"

#define QUOTA ((size_t)64 << 20)

/* ── reading and writing ── */

static struct graph *import(struct arena *a, const void *data, size_t size,
                            const struct import_option *options, size_t count,
                            struct bpu_error *err)
{
    struct import_request req = {
        .data = data, .size = size, .name = "x.bpug", .options = options, .option_count = count};
    memset(err, 0, sizeof *err);
    return import_model(a, &req, err);
}

/* Memory that begins at a multiple of 64, as a mapped file does. */
static unsigned char *aligned_copy(const void *p, size_t n)
{
    unsigned char *copy = aligned_alloc(64, (n + 63) / 64 * 64 + 64);
    assert_non_null(copy);
    memcpy(copy, p, n);
    return copy;
}

static unsigned char *slurp(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        fail_msg("%s cannot be opened", path);
    fseek(f, 0, SEEK_END);
    *size = (size_t)ftell(f);
    rewind(f);
    unsigned char *p = malloc(*size + 1);
    assert_non_null(p);
    assert_int_equal(fread(p, 1, *size, f), *size);
    fclose(f);
    return p;
}

static const char fixed_json[] =
    "{\"format\": \"bpuhub.graph/1\", \"name\": \"fixed\",\n"
    " \"inputs\": [{\"name\": \"x\", \"shape\": [1,2,4,4], \"dtype\": \"qint8\", \"scale\": "
    "0.5}],\n"
    " \"nodes\": [{\"name\": \"c\", \"op\": \"torch.nn.Conv2d\", \"inputs\": [\"x\"], \"outputs\": "
    "[\"y\"],\n"
    "  \"attrs\": {\"in_channels\": 2, \"out_channels\": 3, \"kernel_size\": 1},\n"
    "  \"params\": {\"weight\": \"w\", \"bias\": \"b\"},\n"
    "  \"output_dtypes\": [\"qint8\"], \"output_scales\": [0.1]}],\n"
    " \"outputs\": [\"y\"],\n"
    " \"tensors\": {\"w\": {\"shape\": [3,2,1,1], \"dtype\": \"qint8\", \"scale\": "
    "[0.1,0.2,0.30000000000000004],\n"
    "   \"data\": \"AQID/fz7\"},\n"
    "  \"b\": {\"shape\": [3], \"dtype\": \"qint32\", \"scale\": [0.05,0.1,0.15], \"zero_point\": "
    "[0,0,1],\n"
    "   \"data\": \"AQAAAAIAAAD/////\"},\n"
    "  \"left_out\": {\"shape\": [70], \"dtype\": \"float32\"},\n"
    "  \"empty\": {\"shape\": [0], \"dtype\": \"float32\", \"data\": \"\"}}}\n";

static void same_text(const struct graph *g, const struct graph *h)
{
    struct bpu_error err = {0};
    struct buf p, q;
    buf_init(&p, QUOTA);
    buf_init(&q, QUOTA);
    assert_true(export_graph_json(g, &p, true, &err));
    assert_true(export_graph_json(h, &q, true, &err));
    assert_string_equal(buf_str(&p), buf_str(&q));
    buf_fini(&p);
    buf_fini(&q);
}

/* Writes, reads, compares, writes again; gives the archive. */
static void round_trip(const void *data, size_t size, const struct import_option *options,
                       size_t count, struct buf *out)
{
    struct arena a;
    struct bpu_error err;
    struct buf again;
    arena_init(&a, QUOTA);
    buf_init(&again, QUOTA);
    struct graph *g = import(&a, data, size, options, count, &err);
    if (!g)
        fail_msg("%s: %s", err.where, err.message);
    assert_true(export_bpug(g, out, &err));
    assert_string_equal(import_detect(out->data, 40), "bpug");
    unsigned char *file = aligned_copy(out->data, out->size);
    struct graph *h = import(&a, file, out->size, NULL, 0, &err);
    if (!h)
        fail_msg("%s: %s", err.where, err.message);
    assert_string_equal(h->format, "bpug");
    same_text(g, h);
    /* Used where they lie. */
    for (int i = 0; i < h->value_count; i++) {
        const struct value *v = h->values[i];
        if (v->producer || !v->constant || !v->constant->data || !v->constant->bytes)
            continue;
        assert_true(v->constant->data > file &&
                    v->constant->data + v->constant->bytes <= file + out->size);
        assert_int_equal((uintptr_t)v->constant->data % 64, 0);
    }
    assert_true(export_bpug(h, &again, &err));
    assert_int_equal(again.size, out->size);
    assert_memory_equal(again.data, out->data, out->size);
    buf_fini(&again);
    arena_fini(&a);
    free(file);
}

static void round_trips(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, QUOTA);
    round_trip(fixed_json, sizeof fixed_json - 1, NULL, 0, &out);
    static const char *const files[] = {
        "tests/fixtures/lenet_float.onnx", "tests/fixtures/lenet_qat_s8.onnx",
        "tests/fixtures/one_conv.json",    "tests/fixtures/qdq_per_channel.onnx",
        "tests/fixtures/opset13.onnx",     "tests/fixtures/constant_nodes.onnx"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        size_t size;
        unsigned char *p = slurp(files[i], &size);
        buf_clear(&out);
        round_trip(p, size, NULL, 0, &out);
        free(p);
    }
    buf_fini(&out);
}

/* One frame of the graph; the float outputs one behind the other. */
static void run_fixed(struct graph *g, enum run_engine engine, float *out, size_t count)
{
    struct arena a;
    struct bpu_error err = {0};
    float x[28 * 28];
    const void *inputs[] = {x};
    void *outputs[] = {out};
    arena_init(&a, QUOTA);
    for (int i = 0; i < 28 * 28; i++)
        x[i] = (float)(i * 37 % 256) / 128 - 1;
    assert_int_equal(g->input_count, 1);
    assert_int_equal(shape_elements(&g->inputs[0]->shape), 28 * 28);
    assert_int_equal(shape_elements(&g->outputs[0]->shape), count);
    assert_true(g->inputs[0]->dtype == DT_FLOAT32 && g->outputs[0]->dtype == DT_FLOAT32);
    struct run *r = run_new(&a, g, &(struct run_options){.engine = engine}, &err);
    if (!r || !run_frame(r, inputs, outputs, NULL, NULL, &err))
        fail_msg("%s: %s", err.where, err.message);
    arena_fini(&a);
}

/* What convert made (fused operators, multipliers, tables) is the same after it was written and read. */
static void fixed_point_graphs(void **state)
{
    (void)state;
    struct arena a;
    struct bpu_error err;
    struct buf first, second;
    float want[10], got[10];
    size_t size;
    unsigned char *p = slurp("tests/fixtures/lenet_qat_s8.onnx", &size);
    arena_init(&a, QUOTA);
    buf_init(&first, QUOTA);
    buf_init(&second, QUOTA);
    struct graph *g = import(&a, p, size, NULL, 0, &err);
    assert_non_null(g);
    struct graph *fixed = job_executable(&a, g, &err);
    if (!fixed)
        fail_msg("%s: %s", err.where, err.message);
    assert_ptr_not_equal(fixed, g);
    assert_true(export_bpug(fixed, &first, &err));
    struct graph *read = import(&a, first.data, first.size, NULL, 0, &err);
    if (!read)
        fail_msg("%s: %s", err.where, err.message);
    if (!quant_verify(read, &err))
        fail_msg("%s: %s", err.where, err.message);
    assert_ptr_equal(job_executable(&a, read, &err), read);
    same_text(fixed, read);
    assert_true(export_bpug(read, &second, &err));
    assert_int_equal(first.size, second.size);
    assert_memory_equal(first.data, second.data, first.size);
    run_fixed(fixed, RUN_REFERENCE, want, 10);
    for (int engine = RUN_REFERENCE; engine <= RUN_FAST; engine++) {
        run_fixed(read, (enum run_engine)engine, got, 10);
        assert_memory_equal(want, got, sizeof want);
    }
    buf_fini(&first);
    buf_fini(&second);
    arena_fini(&a);
    free(p);
}

/* A committed file, so that what was written once can be read for ever. */
static void committed_file(void **state)
{
    (void)state;
    struct arena a;
    struct bpu_error err;
    struct buf out;
    size_t size;
    unsigned char *p = slurp("tests/fixtures/lenet_float.bpug", &size);
    arena_init(&a, QUOTA);
    buf_init(&out, QUOTA);
    const struct graph *g = import(&a, p, size, NULL, 0, &err);
    if (!g)
        fail_msg("%s: %s", err.where, err.message);
    assert_true(export_bpug(g, &out, &err));
    assert_int_equal(out.size, size);
    assert_memory_equal(out.data, p, size);
    buf_fini(&out);
    arena_fini(&a);
    free(p);
}

/* ── refusals ── */

struct part {
    const char *name, *data;
    size_t size;
};

static void make_zip(const struct part *parts, size_t count, struct buf *out)
{
    struct bpu_error err = {0};
    struct zip_writer w;
    buf_clear(out);
    zip_writer_init(&w, out);
    for (size_t i = 0; i < count; i++) {
        zip_writer_begin(&w, parts[i].name, 64);
        buf_add(out, parts[i].data, parts[i].size);
        zip_writer_end(&w);
    }
    assert_true(zip_writer_finish(&w, &err));
    zip_writer_fini(&w);
}

static void expect(const char *what, const struct buf *file, enum bpu_code code,
                   const char *message, const char *where)
{
    struct arena a;
    struct bpu_error err;
    arena_init(&a, QUOTA);
    const struct graph *g = import(&a, file->data, file->size, NULL, 0, &err);
    if (g)
        fail_msg("%s: was read", what);
    if (err.code != code || !strstr(err.message, message) || !strstr(err.where, where))
        fail_msg("%s: %s at \"%s\": %s [%s]", what, error_code_name(err.code), err.where,
                 err.message, err.hint);
    arena_fini(&a);
}

static void refusals(void **state)
{
    (void)state;
    static const struct {
        const char *tensor, *message;
        bool weights;
    } cases[] = {
        {"\"file\": \"weights.bin\", \"offset\": 0, \"bytes\": 12", "has 12 bytes, but its shape",
         true},
        {"\"file\": \"weights.bin\", \"offset\": 4, \"bytes\": 8", "only 8 bytes long", true},
        {"\"file\": \"weights.bin\", \"offset\": 9223372036854775807, \"bytes\": 8",
         "only 8 bytes long", true},
        {"\"file\": \"weights.bin\", \"offset\": -8, \"bytes\": 8", "\"offset\" is negative", true},
        {"\"file\": \"weights.bin\", \"offset\": 0, \"bytes\": -8", "\"bytes\" is negative", true},
        {"\"file\": \"weights.bin\", \"offset\": 0.5, \"bytes\": 8", "offset", true},
        {"\"file\": \"weights.bin\", \"offset\": 0", "bytes", true},
        {"\"offset\": 0, \"bytes\": 8", "file", true},
        {"\"file\": \"other.bin\", \"offset\": 0, \"bytes\": 8", "\"other.bin\", which is not here",
         true},
        {"\"file\": \"weights.bin\", \"offset\": 0, \"bytes\": 8", "which is not here", false},
        {"\"file\": \"weights.bin\", \"offset\": 0, \"bytes\": 8, \"data\": \"AAAAAAAAAAA=\"",
         "both", true},
    };
    struct buf file;
    buf_init(&file, QUOTA);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char json[800];
        int n = snprintf(
            json, sizeof json,
            "{\"format\": \"bpuhub.graph/1\", \"inputs\": [{\"name\": \"x\", \"shape\": [2]}],"
            "\"nodes\": [{\"op\": \"torch.add\", \"inputs\": [\"x\", \"w\"], \"outputs\": "
            "[\"y\"]}],"
            "\"outputs\": [\"y\"], \"tensors\": {\"w\": {\"shape\": [2], \"dtype\": \"float32\", "
            "%s}}}",
            cases[i].tensor);
        struct part parts[] = {{"graph.json", json, (size_t)n}, {"weights.bin", "12345678", 8}};
        make_zip(parts, cases[i].weights ? 2 : 1, &file);
        expect(cases[i].tensor, &file, BPU_BAD_MODEL, cases[i].message, "/tensors/w");
        /* A graph JSON by itself has no such file. */
        buf_clear(&file);
        buf_add(&file, json, (size_t)n);
        expect("no archive", &file, BPU_BAD_MODEL, "", "/tensors/w");
    }
    struct part no_json[] = {{"graph.json", "not JSON", 8}, {"weights.bin", "", 0}};
    make_zip(no_json, 2, &file);
    expect("no JSON", &file, BPU_BAD_MODEL, "JSON", "line 1");
    buf_fini(&file);
}

/* As another tool packs it: in a folder, in another order, with other members beside. */
static void packed_by_others(void **state)
{
    (void)state;
    static const char json[] =
        "{\"format\": \"bpuhub.graph/1\", \"inputs\": [{\"name\": \"x\", \"shape\": [2]}],"
        "\"nodes\": [{\"op\": \"torch.add\", \"inputs\": [\"x\", \"w\"], \"outputs\": [\"y\"]}],"
        "\"outputs\": [\"y\"], \"tensors\": {\"w\": {\"shape\": [2], \"dtype\": \"float32\","
        "\"file\": \"weights.bin\", \"offset\": 1, \"bytes\": 8}}}";
    struct part parts[] = {{"net/README", "hello", 5},
                           {"net/weights.bin", "?\0\0\x80\x3f\0\0\0\xc0", 9},
                           {"net/graph.json", json, sizeof json - 1}};
    struct buf file;
    struct arena a;
    struct bpu_error err;
    double w;
    buf_init(&file, QUOTA);
    arena_init(&a, QUOTA);
    make_zip(parts, 3, &file);
    const struct graph *g = import(&a, file.data, file.size, NULL, 0, &err);
    if (!g)
        fail_msg("%s: %s", err.where, err.message);
    assert_true(constant_real(graph_find_value(g, "w"), 1, &w) && w <= -2 && w >= -2);
    arena_fini(&a);
    buf_fini(&file);
}

/* Cut short anywhere, or with any byte changed: an error, or the same graph (a byte that nothing
 * reads). */
static void damage(void **state)
{
    (void)state;
    struct buf file;
    struct arena a;
    struct bpu_error err;
    buf_init(&file, QUOTA);
    round_trip(fixed_json, sizeof fixed_json - 1, NULL, 0, &file);
    unsigned char *p = malloc(file.size);
    assert_non_null(p);
    int read = 0;
    for (size_t n = 0; n < file.size; n++) {
        unsigned char *cut = malloc(n ? n : 1);
        assert_non_null(cut);
        memcpy(cut, file.data, n);
        arena_init(&a, QUOTA);
        assert_null(import(&a, cut, n, NULL, 0, &err));
        assert_true(err.code != BPU_NONE && err.code != BPU_SERVER && err.message[0]);
        arena_fini(&a);
        free(cut);
    }
    struct arena whole_arena;
    arena_init(&whole_arena, QUOTA);
    const struct graph *whole = import(&whole_arena, file.data, file.size, NULL, 0, &err);
    assert_non_null(whole);
    for (size_t i = 0; i < file.size; i++) {
        memcpy(p, file.data, file.size);
        p[i] ^= 0x04;
        arena_init(&a, QUOTA);
        const struct graph *g = import(&a, p, file.size, NULL, 0, &err);
        if (g) {
            same_text(whole, g);
            read++;
        } else
            assert_true(err.code != BPU_NONE && err.code != BPU_SERVER && err.message[0]);
        arena_fini(&a);
    }
    arena_fini(&whole_arena);
    /* Dates, versions, attributes, padding. */
    assert_true(read > 0 && (size_t)read < file.size / 4);
    free(p);
    buf_fini(&file);
}

static void failing_allocations(void **state)
{
    (void)state;
    struct buf file;
    buf_init(&file, QUOTA);
    round_trip(fixed_json, sizeof fixed_json - 1, NULL, 0, &file);
    bool ok = false;
    int tries = 0;
    for (; !ok && tries < 5000; tries++) {
        struct arena a;
        struct bpu_error err;
        arena_init(&a, QUOTA);
        a.fail_after = tries;
        ok = import(&a, file.data, file.size, NULL, 0, &err) != NULL;
        assert_true(ok || err.code == BPU_NO_MEMORY);
        arena_fini(&a);
    }
    assert_true(ok && tries > 20);
    /* Writing into too little room. */
    struct arena a;
    struct bpu_error err;
    arena_init(&a, QUOTA);
    const struct graph *g = import(&a, file.data, file.size, NULL, 0, &err);
    assert_non_null(g);
    for (size_t cap = 0; cap < file.size; cap += 7) {
        struct buf small;
        buf_init(&small, cap);
        memset(&err, 0, sizeof err);
        assert_false(export_bpug(g, &small, &err));
        assert_int_equal(err.code, BPU_NO_MEMORY);
        buf_fini(&small);
    }
    arena_fini(&a);
    buf_fini(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trips),
        cmocka_unit_test(fixed_point_graphs),
        cmocka_unit_test(committed_file),         cmocka_unit_test(refusals),
        cmocka_unit_test(packed_by_others),    cmocka_unit_test(damage),
        cmocka_unit_test(failing_allocations),
    };
    return cmocka_run_group_tests_name("bpug", tests, NULL, NULL);
}
