/* Executing graphs: what is computed, where it lies, what is refused.
 *
 * The oracle of planning is the same run with keep_all: there every value has memory of its own, so
 * whatever differs was overwritten too early. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/import/import.h"
#include "core/ops/op.h"
#include "core/run/plan.h"
#include "core/run/run.h"

#define QUOTA ((size_t)512 << 20)

static unsigned next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(*state >> 33);
}

/* ── building graphs ── */

static struct graph *new_graph(struct arena *a)
{
    struct bpu_error err = {0};
    struct graph *g = graph_new(a, "test", "test", &err);
    assert_non_null(g);
    return g;
}

static struct value *input(struct graph *g, const char *name, int rank, const int64_t *dims,
                           enum dtype t)
{
    struct bpu_error err = {0};
    struct value *v = graph_add_value(g, name, &err);
    assert_non_null(v);
    v->shape = shape_of(rank, dims);
    v->dtype = t;
    assert_true(graph_add_input(g, v, &err));
    return v;
}

/* A node that is not inferred yet. */
static struct node *bare(struct graph *g, const char *name, const char *op, struct value *x,
                         struct value *y)
{
    struct bpu_error err = {0};
    struct node *n = graph_add_node(g, name, op, &err);
    assert_non_null(n);
    assert_true(node_add_input(g, n, x, &err));
    if (y)
        assert_true(node_add_input(g, n, y, &err));
    assert_non_null(node_add_output(g, n, NULL, &err));
    op_bind(n);
    return n;
}

static struct value *infer(struct graph *g, struct node *n)
{
    struct bpu_error err = {0};
    if (!op_apply(g, n, &err))
        fail_msg("%s: %s", n->op_name, err.message);
    return n->outputs[0];
}

static struct value *apply(struct graph *g, const char *op, struct value *x, struct value *y)
{
    return infer(g, bare(g, NULL, op, x, y));
}

/* With statistics, or as in training without. */
static struct node *batch_norm(struct graph *g, const char *name, struct value *x, bool statistics)
{
    struct bpu_error err = {0};
    static const float data[4][2] = {{2, 3}, {1, 0}, {0, 1}, {1, 1}};
    static const char *const names[] = {"weight", "bias", "running_mean", "running_var"};
    struct node *n = bare(g, name, "torch.nn.BatchNorm2d", x, NULL);
    struct shape shape = shape_of(1, (const int64_t[]){2});
    for (int i = 0; i < (statistics ? 4 : 2); i++) {
        struct value *p =
            graph_add_constant(g, names[i], &shape, DT_FLOAT32, data[i], sizeof data[i], &err);
        assert_non_null(p);
        assert_true(node_add_param(g, n, names[i], p, &err));
    }
    assert_true(node_set_int(g, n, "num_features", 2, &err));
    assert_true(node_set_float(g, n, "eps", 0, &err));
    return n;
}

static void output(struct graph *g, struct value *v)
{
    struct bpu_error err = {0};
    assert_true(graph_add_output(g, v, &err));
}

/* ── running ── */

static size_t bytes_of(const struct value *v)
{
    return (size_t)shape_elements(&v->shape) * dtype_size(v->dtype);
}

/* One frame over pseudo-random inputs between -2 and 2; the outputs come back one behind the other.
 */
static bool run_once(struct run *r, const struct graph *g, unsigned char **out, size_t *size,
                     struct bpu_error *err)
{
    const void *inputs[8];
    void *outputs[64], *blocks[8];
    uint64_t seed = 7;
    assert_true(g->input_count <= 8 && g->output_count <= 64);
    for (int i = 0; i < g->input_count; i++) {
        size_t n = bytes_of(g->inputs[i]);
        blocks[i] = malloc(n + 1);
        assert_non_null(blocks[i]);
        char *p = (char *)blocks[i] + 1; /* callers need not align */
        for (size_t k = 0; k < n / 4; k++) {
            float f = (float)(next_random(&seed) % 4001) / 1000.0F - 2;
            memcpy(p + 4 * k, &f, 4);
        }
        inputs[i] = p;
    }
    *size = 0;
    for (int i = 0; i < g->output_count; i++)
        *size += bytes_of(g->outputs[i]);
    *out = calloc(1, *size + 1);
    assert_non_null(*out);
    size_t at = 1;
    for (int i = 0; i < g->output_count; i++) {
        outputs[i] = *out + at;
        at += bytes_of(g->outputs[i]);
    }
    bool ok = run_frame(r, inputs, outputs, NULL, NULL, err);
    for (int i = 0; i < g->input_count; i++)
        free(blocks[i]);
    if (!ok) {
        free(*out);
        *out = NULL;
    }
    return ok;
}

static struct run *must_run(struct arena *a, const struct graph *g, const struct run_options *o)
{
    struct bpu_error err = {0};
    struct run *r = run_new(a, g, o, &err);
    if (!r)
        fail_msg("run_new: %s: %s [%s]", err.where, err.message, err.hint);
    return r;
}

/* ── placement alone ── */

static void check_plan(const struct plan_item *items, size_t n, const struct plan_size *size)
{
    for (size_t i = 0; i < n; i++) {
        assert_true(items[i].offset % PLAN_ALIGN == 0);
        assert_true(items[i].offset + items[i].bytes <= size->total);
        for (size_t k = 0; k < i; k++) {
            bool together = items[i].first <= items[k].last && items[k].first <= items[i].last;
            bool apart = items[i].offset + items[i].bytes <= items[k].offset ||
                         items[k].offset + items[k].bytes <= items[i].offset;
            if (together && !apart && items[i].bytes && items[k].bytes)
                fail_msg("items %zu and %zu overlap", i, k);
        }
    }
}

static void placement(void **state)
{
    (void)state;
    enum { MOST = 400 };
    static struct plan_item items[MOST];
    uint64_t seed = 1;
    double worst = 1;
    for (int round = 0; round < 400; round++) {
        struct arena a;
        struct bpu_error err = {0};
        struct plan_size size = {0};
        size_t n = 1 + next_random(&seed) % MOST, live = 0;
        int steps = 1 + (int)(next_random(&seed) % 300);
        for (size_t i = 0; i < n; i++) {
            int first = (int)(next_random(&seed) % (unsigned)steps);
            unsigned longest = next_random(&seed) % 8 ? 4 : 60, kind = next_random(&seed) % 3;
            int last = first + (int)(next_random(&seed) % longest);
            items[i] = (struct plan_item){.bytes = kind * (next_random(&seed) % 90000),
                                          .first = first,
                                          .last = last < steps ? last : steps - 1};
        }
        arena_init(&a, QUOTA);
        assert_true(plan_place(&a, items, n, steps, &size, &err));
        arena_fini(&a);
        check_plan(items, n, &size);
        for (int s = 0; s < steps; s++) {
            size_t now = 0;
            for (size_t i = 0; i < n; i++)
                if (items[i].first <= s && s <= items[i].last)
                    now += (items[i].bytes + PLAN_ALIGN - 1) / PLAN_ALIGN * PLAN_ALIGN;
            live = now > live ? now : live;
        }
        assert_int_equal(live, size.live);
        assert_true(size.total >= size.live);
        if (size.live && (double)size.total / (double)size.live > worst)
            worst = (double)size.total / (double)size.live;
    }
    print_message("# worst of 400 random plans: %.3f x the largest live set\n", worst);
    assert_true(worst <= 1.2);
}

/* So many that only the quick order is tried, all at once: must end soon. */
static void placement_of_many(void **state)
{
    (void)state;
    enum { N = 1000000 };
    struct arena a;
    struct bpu_error err = {0};
    struct plan_size size;
    struct plan_item *items = calloc(N, sizeof *items);
    assert_non_null(items);
    for (int i = 0; i < N; i++)
        items[i] =
            (struct plan_item){.bytes = 64 + (size_t)i % 7 * 64, .first = i / 2, .last = N - 1};
    arena_init(&a, QUOTA);
    assert_true(plan_place(&a, items, N, N, &size, &err));
    assert_true(size.total >= size.live);
    /* Sums that no memory holds are an error. */
    for (int i = 0; i < 8; i++)
        items[i].bytes = SIZE_MAX / 8;
    assert_false(plan_place(&a, items, N, N, &size, &err));
    assert_int_equal(err.code, BPU_NO_MEMORY);
    arena_fini(&a);
    free(items);
}

/* ── random graphs ── */

static struct value *random_node(struct graph *g, struct value **pool, int count, uint64_t *seed)
{
    static const char *const unary[] = {"torch.nn.ReLU", "torch.nn.Sigmoid", "torch.abs",
                                        "torch.neg", "torch.nn.Identity"};
    static const char *const binary[] = {"torch.add", "torch.mul", "torch.sub", "torch.maximum"};
    struct bpu_error err = {0};
    struct value *x = pool[next_random(seed) % (unsigned)count];
    struct value *y = pool[next_random(seed) % (unsigned)count];
    struct node *n;
    switch (next_random(seed) % 6) {
    case 0:
    case 1: return apply(g, unary[next_random(seed) % 5], x, NULL);
    case 2:
        for (int i = 0; i < count && !shape_equal(&x->shape, &y->shape); i++)
            y = pool[next_random(seed) % (unsigned)count];
        if (shape_equal(&x->shape, &y->shape))
            return apply(g, binary[next_random(seed) % 4], x, y);
        return apply(g, unary[0], x, NULL);
    case 3:
        n = bare(g, NULL, "torch.cat", x, y);
        if (x->shape.rank != y->shape.rank || x->shape.dim[1] + y->shape.dim[1] > 64)
            n->inputs[1] = x;
        for (int i = 0; i < x->shape.rank; i++)
            if (i != 1 && x->shape.dim[i] != n->inputs[1]->shape.dim[i])
                n->inputs[1] = x;
        assert_true(node_set_int(g, n, "dim", 1, &err));
        return infer(g, n);
    case 4: {
        int64_t rows = shape_elements(&x->shape) / 4, dims[] = {1, rows, 2, 2};
        n = bare(g, NULL, "torch.Tensor.reshape", x, NULL);
        assert_true(node_set_ints(g, n, "shape", dims, 4, &err));
        return infer(g, n);
    }
    default: {
        int64_t dims[] = {0, 1, 3, 2};
        n = bare(g, NULL, "torch.permute", x, NULL);
        assert_true(node_set_ints(g, n, "dims", dims, 4, &err));
        return infer(g, n);
    }
    }
}

static struct graph *random_graph(struct arena *a, uint64_t *seed)
{
    enum { NODES = 60 };
    struct value *pool[NODES + 2];
    struct graph *g = new_graph(a);
    const int64_t dims[] = {1, 4, 8, 8};
    int count = 0, nodes = 5 + (int)(next_random(seed) % (NODES - 5));
    pool[count++] = input(g, "x", 4, dims, DT_FLOAT32);
    pool[count++] = input(g, "y", 4, dims, DT_FLOAT32);
    for (int i = 0; i < nodes; i++) {
        /* Mostly what was made last, so that there are chains. */
        int recent = next_random(seed) % 4 && count > 6 ? count - 6 : 0;
        struct value *v = random_node(g, pool + recent, count - recent, seed);
        pool[count++] = v;
    }
    output(g, pool[count - 1]);
    for (int i = 0; i < 3; i++) {
        struct value *v = pool[next_random(seed) % (unsigned)count];
        if (!v->is_output)
            output(g, v);
    }
    return g;
}

static void random_graphs(void **state)
{
    (void)state;
    uint64_t seed = 11;
    int in_place = 0, views = 0;
    double worst = 1;
    for (int round = 0; round < 250; round++) {
        struct arena a;
        struct bpu_error err = {0};
        unsigned char *want, *got, *again;
        size_t n, m;
        arena_init(&a, QUOTA);
        struct graph *g = random_graph(&a, &seed);
        if (!graph_verify(g, &err))
            fail_msg("%s: %s", err.where, err.message);
        struct run *kept = must_run(&a, g, &(struct run_options){.keep_all = true});
        struct run *r = must_run(&a, g, NULL);
        assert_true(run_once(kept, g, &want, &n, &err));
        assert_true(run_once(r, g, &got, &m, &err));
        assert_int_equal(n, m);
        if (memcmp(want, got, n) != 0)
            fail_msg("graph %d: a value was overwritten too early", round);
        /* Nothing is allocated from the second frame on. */
        size_t used = a.used, scratch = run_memory(r).scratch;
        assert_true(run_once(r, g, &again, &m, &err));
        assert_memory_equal(got, again, n);
        assert_int_equal(a.used, used);
        assert_int_equal(run_memory(r).scratch, scratch);
        struct run_memory memory = run_memory(r);
        assert_true(memory.planned >= memory.live && memory.planned <= run_memory(kept).planned);
        if ((double)memory.planned / (double)memory.live > worst)
            worst = (double)memory.planned / (double)memory.live;
        in_place += run_counts(r).in_place;
        views += run_counts(r).views;
        assert_int_equal(run_counts(kept).in_place, 0);
        free(want);
        free(got);
        free(again);
        arena_fini(&a);
    }
    print_message("# %d results in place, %d views; worst plan %.3f x the largest live set\n",
                  in_place, views, worst);
    assert_true(in_place > 100 && views > 100);
    assert_true(worst <= 1.2);
}

/* Every kernel that is declared safe in place, in both operands, against memory of its own. */
static void in_place(void **state)
{
    (void)state;
    size_t rows;
    const struct op *table = op_table(&rows);
    int tried = 0;
    for (size_t i = 0; i < rows; i++) {
        struct arena a;
        arena_init(&a, QUOTA);
        struct graph *g = new_graph(&a);
        const int64_t dims[] = {2, 3, 5};
        struct value *x = input(g, "x", 3, dims, DT_FLOAT32),
                     *y = input(g, "y", 3, dims, DT_FLOAT32);
        struct bpu_error err = {0};
        struct node *n = graph_add_node(g, "n", table[i].name, &err);
        assert_non_null(n);
        op_bind(n);
        const char *kernel = kernel_of(n)->name;
        bool two = strcmp(kernel, "binary") == 0;
        if ((!two && strcmp(kernel, "unary") != 0 && strcmp(kernel, "clamp") != 0) ||
            table[i].min_inputs > 1 + two)
            goto next;
        /* Operands that nobody reads afterwards: copies of the inputs. */
        x = apply(g, "torch.abs", x, NULL);
        y = apply(g, "torch.neg", y, NULL);
        for (int order = 0; order < 2; order++) {
            n = bare(g, NULL, table[i].name, order ? y : x, !two ? NULL : order ? x : y);
            if (!op_apply(g, n, &err) || n->outputs[0]->dtype != DT_FLOAT32)
                goto next;
            struct arena b;
            arena_init(&b, QUOTA);
            struct graph alone = *g;
            struct value *outputs[] = {n->outputs[0]};
            alone.outputs = outputs;
            alone.output_count = 1;
            unsigned char *want, *got;
            size_t size;
            struct run *kept = run_new(&b, &alone, &(struct run_options){.keep_all = true}, &err);
            if (kept && run_once(kept, &alone, &want, &size, &err)) {
                struct run *r = must_run(&b, &alone, NULL);
                assert_true(run_once(r, &alone, &got, &size, &err));
                if (memcmp(want, got, size) != 0)
                    fail_msg("%s gives other results in place", table[i].name);
                tried += run_counts(r).in_place > 0;
                free(want);
                free(got);
            }
            arena_fini(&b);
            memset(&err, 0, sizeof err);
        }
    next:
        arena_fini(&a);
    }
    print_message("# %d operators tried in place\n", tried);
    assert_true(tried > 40);
}

static void batch_norm_in_place(void **state)
{
    (void)state;
    for (int statistics = 0; statistics < 2; statistics++) {
        struct arena a;
        struct bpu_error err = {0};
        unsigned char *want = NULL, *got = NULL;
        size_t size;
        const int64_t dims[] = {3, 2, 5, 7};
        arena_init(&a, QUOTA);
        struct graph *g = new_graph(&a);
        struct value *x = apply(g, "torch.abs", input(g, "x", 4, dims, DT_FLOAT32), NULL);
        output(g, infer(g, batch_norm(g, "bn", x, statistics)));
        struct run *kept = must_run(&a, g, &(struct run_options){.keep_all = true});
        struct run *r = must_run(&a, g, NULL);
        assert_true(run_once(kept, g, &want, &size, &err) && run_once(r, g, &got, &size, &err));
        assert_int_equal(run_counts(r).in_place, 2);
        assert_memory_equal(want, got, size);
        free(want);
        free(got);
        arena_fini(&a);
    }
}

/* ── what graphs may look like ── */

static void odd_outputs(void **state)
{
    (void)state;
    struct arena a;
    struct bpu_error err = {0};
    static const float number[2] = {1.5F, -2};
    const int64_t dims[] = {1, 2}, flat[] = {2};
    arena_init(&a, QUOTA);
    struct graph *g = new_graph(&a);
    struct value *x = input(g, "x", 2, dims, DT_FLOAT32);
    struct value *unused = input(g, "unused", 2, dims, DT_FLOAT32);
    struct shape shape = shape_of(1, flat);
    struct value *c = graph_add_constant(g, "c", &shape, DT_FLOAT32, number, sizeof number, &err);
    assert_non_null(c);
    struct node *view = bare(g, "view", "torch.Tensor.reshape", x, NULL);
    assert_true(node_set_ints(g, view, "shape", flat, 1, &err));
    struct value *v = infer(g, view), *folded = apply(g, "torch.neg", c, NULL);
    struct value *dropped = apply(g, "torch.nn.Dropout", v, NULL);
    struct value *sum = apply(g, "torch.add", dropped, c);
    output(g, x);
    output(g, c);
    output(g, v);
    output(g, folded);
    output(g, sum);
    output(g, dropped);
    output(g, x); /* twice */
    assert_true(unused->is_input);
    float in[2] = {3, 4}, out[7][2];
    const void *inputs[] = {in, NULL}; /* nobody reads the second */
    void *outputs[] = {out[0], out[1], out[2], out[3], out[4], out[5], out[6]};
    struct run *r = must_run(&a, g, NULL);
    assert_true(run_frame(r, inputs, outputs, NULL, NULL, &err));
    static const float want[7][2] = {{3, 4},    {1.5F, -2}, {3, 4}, {-1.5F, 2},
                                     {4.5F, 2}, {3, 4},     {3, 4}};
    for (int i = 0; i < 7; i++)
        assert_memory_equal(out[i], want[i], sizeof want[i]);
    arena_fini(&a);
}

/* A batch norm that the checker calls folded still has to be computed; a bias that was taken over
 * has not. */
static void folded_nodes(void **state)
{
    (void)state;
    struct arena a;
    struct bpu_error err = {0};
    const int64_t dims[] = {1, 2, 1, 1};
    arena_init(&a, QUOTA);
    struct graph *g = new_graph(&a);
    struct value *x = input(g, "x", 4, dims, DT_FLOAT32);
    struct node *bn = batch_norm(g, "bn", x, true);
    struct value *y = infer(g, bn);
    bn->fold = FOLD_BATCH_NORM;
    struct value *relu = apply(g, "torch.nn.ReLU", y, NULL);
    struct node *add = bare(g, "add", "torch.add", relu, x);
    struct value *z = infer(g, add);
    add->fold = FOLD_BIAS;
    output(g, z);
    float in[2] = {3, -4}, out[2];
    const void *inputs[] = {in};
    void *outputs[] = {out};
    struct run *r = must_run(&a, g, NULL);
    assert_true(run_frame(r, inputs, outputs, NULL, NULL, &err));
    assert_true(fabsf(out[0] - 7) < 1e-4F && fabsf(out[1]) < 1e-4F);
    arena_fini(&a);
}

/* Constants that importers leave to be computed: here because they are large. */
static void constants_computed_once(void **state)
{
    (void)state;
    struct arena a;
    struct bpu_error err = {0};
    enum { N = 3 << 20 };
    float *data = malloc(N * sizeof *data + 1), *out = malloc(N * sizeof *out);
    assert_true(data && out);
    char *odd = (char *)data + 1;
    for (int i = 0; i < N; i++) {
        float f = (float)(i % 17) - 8;
        memcpy(odd + 4 * (size_t)i, &f, 4);
    }
    const int64_t dims[] = {N}, one[] = {1};
    struct shape shape = shape_of(1, dims);
    arena_init(&a, QUOTA);
    struct graph *g = new_graph(&a);
    struct value *x = input(g, "x", 1, one, DT_FLOAT32);
    struct value *c = graph_add_constant(g, "c", &shape, DT_FLOAT32, odd, N * sizeof(float), &err);
    assert_non_null(c);
    struct value *abs = apply(g, "torch.abs", c, NULL);
    assert_true(abs->constant && !abs->constant->data);
    struct value *neg = apply(g, "torch.neg", abs, NULL);
    output(g, apply(g, "torch.add", neg, x));
    struct run *r = must_run(&a, g, NULL);
    assert_int_equal(run_counts(r).once, 2);
    assert_int_equal(run_counts(r).real, 1);
    float in[1] = {0.5F};
    const void *inputs[] = {in};
    void *outputs[] = {out};
    assert_true(run_frame(r, inputs, outputs, NULL, NULL, &err));
    for (int i = 0; i < N; i += 1001)
        assert_true(fabsf(out[i] - (0.5F - fabsf((float)(i % 17) - 8))) < 1e-6F);
    arena_fini(&a);
    free(data);
    free(out);
}

/* ── refusals ── */

static struct graph *read_json(struct arena *a, const char *text)
{
    struct bpu_error err = {0};
    struct import_request req = {
        .data = (const unsigned char *)text, .size = strlen(text), .name = "g.json"};
    struct graph *g = import_model(a, &req, &err);
    if (!g)
        fail_msg("%s: %s", err.where, err.message);
    return g;
}

static void refusals(void **state)
{
    (void)state;
    static const struct {
        const char *json;
        enum bpu_code code;
        const char *where, *message;
    } cases[] = {
        {"{\"format\": \"bpuhub.graph/1\", \"inputs\": [{\"name\": \"x\", \"shape\": [1, 4]}],"
         "\"nodes\": [{\"name\": \"odd\", \"op\": \"my.Op\", \"inputs\": [\"x\"], \"outputs\": "
         "[\"y\"],"
         "\"output_shapes\": [[1, 4]], \"output_dtypes\": [\"float32\"]}], \"outputs\": [\"y\"]}",
         BPU_UNSUPPORTED, "odd", "my.Op cannot be executed"},
        {"{\"format\": \"bpuhub.graph/1\", \"inputs\": [{\"name\": \"x\", \"shape\": [1, 4]}],"
         "\"nodes\": [{\"name\": \"odd\", \"op\": \"my.Op\", \"inputs\": [\"x\"], \"outputs\": "
         "[\"y\"]}],"
         "\"outputs\": [\"y\"]}",
         BPU_UNSUPPORTED, "odd", "shape of \"y\" is not known"},
        {"{\"format\": \"bpuhub.graph/1\", \"inputs\": [{\"name\": \"x\", \"shape\": [1, 4]}],"
         "\"nodes\": [{\"name\": \"fc\", \"op\": \"torch.nn.Linear\", \"inputs\": [\"x\"],"
         "\"outputs\": [\"y\"], \"attrs\": {\"in_features\": 4, \"out_features\": 2},"
         "\"params\": {\"weight\": \"w\"}}], \"outputs\": [\"y\"],"
         "\"tensors\": {\"w\": {\"shape\": [2, 4], \"dtype\": \"float32\"}}}",
         BPU_BAD_MODEL, "fc", "content of \"w\" is not in the file"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct arena a;
        struct bpu_error err = {0};
        arena_init(&a, QUOTA);
        struct graph *g = read_json(&a, cases[i].json);
        if (run_new(&a, g, NULL, &err))
            fail_msg("case %zu: a run was made", i);
        if (err.code != cases[i].code || strcmp(err.where, cases[i].where) != 0 ||
            !strstr(err.message, cases[i].message) || !err.hint[0])
            fail_msg("case %zu: %s at \"%s\": %s [%s]", i, error_code_name(err.code), err.where,
                     err.message, err.hint);
        arena_fini(&a);
    }
}

static void too_little_memory(void **state)
{
    (void)state;
    struct arena a;
    struct bpu_error err = {0};
    const int64_t dims[] = {1 << 20, 1 << 20};
    arena_init(&a, (size_t)1 << 20);
    struct graph *g = new_graph(&a);
    struct value *x = input(g, "x", 2, dims, DT_FLOAT32);
    output(g, apply(g, "torch.abs", apply(g, "torch.neg", x, NULL), NULL));
    assert_null(run_new(&a, g, NULL, &err));
    assert_int_equal(err.code, BPU_NO_MEMORY);
    arena_fini(&a);
}

/* Every allocation that fails gives an error of memory, in run_new() and in the first frame. */
static void failing_allocations(void **state)
{
    (void)state;
    bool ok = false;
    int tries = 0;
    for (; !ok && tries < 2000; tries++) {
        struct arena a, b;
        struct bpu_error err = {0};
        uint64_t seed = 5;
        unsigned char *out = NULL;
        size_t size;
        arena_init(&a, QUOTA);
        arena_init(&b, QUOTA);
        struct graph *g = random_graph(&a, &seed);
        b.fail_after = tries;
        struct run *r = run_new(&b, g, NULL, &err);
        ok = r && run_once(r, g, &out, &size, &err);
        assert_true(ok || err.code == BPU_NO_MEMORY);
        ok = ok && b.fail_after > 0; /* it was not even reached */
        free(out);
        arena_fini(&b);
        arena_fini(&a);
    }
    assert_true(ok && tries > 10);
}

/* ── traces ── */

struct seen {
    const char *names[16];
    int count, stop;
};

static bool see(void *ctx, const struct value *v, const struct tensor *t, struct bpu_error *err)
{
    struct seen *s = ctx;
    assert_true(shape_equal(&v->shape, &t->shape) && t->data && t->bytes == bytes_of(v));
    s->names[s->count++] = v->producer->name;
    return s->count != s->stop || error_set(err, BPU_TIMEOUT, "here", "stopped");
}

static void traces(void **state)
{
    (void)state;
    struct arena a;
    struct bpu_error err = {0};
    const int64_t dims[] = {1, 4}, flat[] = {4};
    arena_init(&a, QUOTA);
    struct graph *g = new_graph(&a);
    struct value *x = input(g, "x", 2, dims, DT_FLOAT32);
    struct value *p = infer(g, bare(g, "first", "torch.neg", x, NULL));
    struct node *view = bare(g, "view", "torch.Tensor.reshape", p, NULL);
    assert_true(node_set_ints(g, view, "shape", flat, 1, &err));
    struct value *q = infer(g, view);
    (void)infer(g, bare(g, "dead", "torch.abs", q, NULL));
    q = infer(g, bare(g, "drop", "torch.nn.Dropout", q, NULL));
    output(g, infer(g, bare(g, "last", "torch.abs", q, NULL)));
    float in[4] = {1, -2, 3, -4}, out[4];
    const void *inputs[] = {in};
    void *outputs[] = {out};
    for (int keep = 0; keep < 2; keep++) {
        struct run *r = must_run(&a, g, &(struct run_options){.keep_all = keep});
        struct seen s = {.stop = -1};
        assert_true(run_frame(r, inputs, outputs, see, &s, &err));
        assert_int_equal(s.count, 3);
        assert_string_equal(s.names[0], "first");
        assert_string_equal(s.names[1], "view");
        assert_string_equal(s.names[2], "last");
        s = (struct seen){.stop = 2};
        assert_false(run_frame(r, inputs, outputs, see, &s, &err));
        assert_int_equal(err.code, BPU_TIMEOUT);
        assert_int_equal(s.count, 2);
        memset(&err, 0, sizeof err);
    }
    arena_fini(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(placement),
        cmocka_unit_test(placement_of_many),
        cmocka_unit_test(random_graphs),
        cmocka_unit_test(in_place),
        cmocka_unit_test(batch_norm_in_place),
        cmocka_unit_test(odd_outputs),
        cmocka_unit_test(folded_nodes),
        cmocka_unit_test(constants_computed_once),
        cmocka_unit_test(refusals),
        cmocka_unit_test(too_little_memory),
        cmocka_unit_test(failing_allocations),
        cmocka_unit_test(traces),
    };
    return cmocka_run_group_tests_name("run", tests, NULL, NULL);
}
