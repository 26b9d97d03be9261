/* The integer kernels against PyTorch's qnnpack, and against whole numbers where it has no such
 * operator, to the bit.
 *
 * tests/fixtures/qnnpack/NAME.npz (make_qnnpack.py beside it) holds a graph whose nodes are the
 * cases, the integers that go in, and those that must come out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/data/data.h"
#include "core/import/import.h"
#include "core/ops/op.h"
#include "core/run/kernel.h"

#define FOLDER "tests/fixtures/qnnpack/"
#define QUOTA ((size_t)512 << 20)
#define MANY 16

struct fixture {
    struct arena arena;
    char *bytes;
    struct array_file file;
    struct graph *graph;
    struct bpu_error err;
};

static char *read_all(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        fail_msg("%s cannot be read", path);
    char *bytes = malloc((size_t)4 << 20);
    assert_non_null(bytes);
    *size = fread(bytes, 1, (size_t)4 << 20, f);
    fclose(f);
    return bytes;
}

static void load(struct fixture *f, const char *name)
{
    char path[128];
    size_t size;
    memset(f, 0, sizeof *f);
    arena_init(&f->arena, QUOTA);
    snprintf(path, sizeof path, FOLDER "%s.npz", name);
    f->bytes = read_all(path, &size);
    if (!array_file_read(&f->arena, f->bytes, size, &f->file, &f->err))
        fail_msg("%s: %s", path, f->err.message);
    const struct array *text = array_find(&f->file, "graph", &f->err);
    assert_non_null(text);
    struct import_request req = {.data = text->data, .size = text->bytes, .name = name};
    f->graph = import_model(&f->arena, &req, &f->err);
    if (!f->graph)
        fail_msg("%s: %s (%s)", path, f->err.message, f->err.where);
}

static void unload(struct fixture *f)
{
    arena_fini(&f->arena);
    free(f->bytes);
}

/* The tensor of a value, with the content of a constant or an array of the file, or zeroed. */
static struct tensor *tensor_of(struct fixture *f, const struct value *v, bool result)
{
    struct tensor *t = ARENA_NEW(&f->arena, struct tensor, &f->err);
    assert_non_null(t);
    t->shape = v->shape;
    t->dtype = v->dtype;
    t->quant = v->quant;
    t->bytes = (size_t)shape_elements(&v->shape) * dtype_size(v->dtype);
    t->data = arena_alloc(&f->arena, t->bytes, &f->err);
    assert_non_null(t->data);
    if (result)
        return t;
    const void *from = v->constant ? v->constant->data : NULL;
    if (!from) {
        const struct array *a = array_find(&f->file, v->name, &f->err);
        assert_non_null(a);
        assert_int_equal(a->bytes, t->bytes);
        from = a->data;
    }
    memcpy(t->data, from, t->bytes);
    return t;
}

static int compare(struct fixture *f, const struct node *n, const struct value *v,
                   const struct tensor *got)
{
    const struct array *want = array_find(&f->file, v->name, &f->err);
    int wrong = 0;
    assert_non_null(want);
    if (!shape_equal(&want->shape, &got->shape) || want->bytes != got->bytes) {
        char a[SHAPE_TEXT_MAX], b[SHAPE_TEXT_MAX];
        print_error("%s (%s): shape %s instead of %s, or the type differs\n", n->name, n->op_name,
                    shape_text(&got->shape, a), shape_text(&want->shape, b));
        return 1;
    }
    size_t size = dtype_size(v->dtype), count = size ? got->bytes / size : 0;
    struct tensor expected = *got;
    expected.data = arena_alloc(&f->arena, got->bytes, &f->err);
    assert_non_null(expected.data);
    memcpy(expected.data, want->data, want->bytes);
    for (size_t i = 0; i < count; i++) {
        if (memcmp((char *)got->data + i * size, (char *)expected.data + i * size, size) == 0)
            continue;
        if (wrong++ < 3)
            print_error("%s (%s): element %zu is %.9g (stored %lld), PyTorch has %.9g (%lld)\n",
                        n->name, n->op_name, i, tensor_real(got, (int64_t)i),
                        (long long)tensor_int(got, (int64_t)i), tensor_real(&expected, (int64_t)i),
                        (long long)tensor_int(&expected, (int64_t)i));
    }
    if (wrong)
        print_error("%s (%s): %d of %zu elements differ\n", n->name, n->op_name, wrong, count);
    return wrong;
}

static int run_case(struct fixture *f, const struct node *n)
{
    const struct tensor *in[MANY], *params[MANY];
    struct tensor *out[MANY];
    int wrong = 0;
    assert_true(n->input_count <= MANY && n->param_count <= MANY && n->output_count <= MANY);
    for (int i = 0; i < n->input_count; i++)
        in[i] = tensor_of(f, n->inputs[i], false);
    for (int i = 0; i < n->param_count; i++)
        params[i] = tensor_of(f, n->params[i].value, false);
    for (int i = 0; i < n->output_count; i++)
        out[i] = tensor_of(f, n->outputs[i], true);
    struct kernel_call c = {.node = n,
                            .in = in,
                            .in_count = n->input_count,
                            .params = params,
                            .out = out,
                            .out_count = n->output_count,
                            .scratch = &f->arena};
    const struct kernel *k = kernel_of(n);
    if (!k->fixed || !kernel_is_fixed(n)) {
        print_error("%s (%s): kernel %s has no fixed form\n", n->name, n->op_name, k->name);
        return 1;
    }
    if (!k->fixed(&c, &f->err)) {
        print_error("%s (%s): %s\n", n->name, n->op_name, f->err.message);
        f->err.code = BPU_NONE;
        return 1;
    }
    for (int i = 0; i < n->output_count; i++)
        wrong += compare(f, n, n->outputs[i], out[i]);
    return wrong;
}

static void run_file(const char *name)
{
    struct fixture f;
    int wrong = 0, cases = 0;
    load(&f, name);
    for (int i = 0; i < f.graph->node_count; i++, cases++)
        wrong += run_case(&f, f.graph->nodes[i]);
    assert_true(cases > 0);
    unload(&f);
    assert_int_equal(wrong, 0);
}

#define FILE_TEST(name)                                                                            \
    static void test_##name(void **state)                                                          \
    {                                                                                              \
        (void)state;                                                                               \
        run_file(#name);                                                                           \
    }
#define FILES(X)                                                                                   \
    X(conv)                                                                                        \
    X(conv_transpose) X(linear) X(ties) X(binary) X(table) X(scale) X(pool) X(order) X(definition)
FILES(FILE_TEST)

int main(void)
{
    const struct CMUnitTest tests[] = {
#define X(name) cmocka_unit_test(test_##name),
        FILES(X)
#undef X
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
