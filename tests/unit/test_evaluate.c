/* Evaluation: figures against what can be computed by hand, layers against their kernels called one by
 * one, suggestions against the network that they promise. */
#include "quant_net.h"

#include <jansson.h>

#include "core/march/march.h"
#include "core/quant/evaluate_apart.h"
#include "core/quant/report.h"
#include "core/run/arith.h"

#define NEAR(a, b) assert_true(fabs((a) - (b)) <= 1e-9 * (1 + fabs(b)))

/* ── frames ── */

struct frames {
    const struct graph *g;
    const float *items; /* NULL: random */
    uint64_t seed;
};

static bool read_frame(void *ctx, int64_t i, int input, float *out, struct bpu_error *err)
{
    const struct frames *f = ctx;
    struct net t = {.seed = f->seed + (uint64_t)i * 1000003 + (uint64_t)input};
    int64_t n = shape_elements(&f->g->inputs[input]->shape);
    (void)err;
    for (int64_t k = 0; k < n; k++)
        out[k] = f->items ? f->items[i * n + k] : (float)net_random(&t);
    return true;
}

/* ── sums ── */

static void test_errors_are_what_they_are_called(void **state)
{
    float x[] = {1, 2, 3, -4}, y[] = {1.5f, 2, 2, -4};
    struct tensor t = {.shape = {1, {4}}, .dtype = DT_FLOAT32, .data = y};
    struct value_error e = {0}, none = {0}, zero = {0}, twice = {0};
    (void)state;
    value_error_add(&e, x, &t);
    NEAR(value_error_sqnr(&e), 10 * log10(30 / 1.25));
    NEAR(value_error_cosine(&e), 27.5 / sqrt(30 * 26.25));
    NEAR(e.most, 1.0);
    assert_int_equal(e.count, 4);
    t.data = x;
    value_error_add(&none, x, &t);
    assert_true(isinf(value_error_sqnr(&none)) && value_error_sqnr(&none) > 0);
    NEAR(value_error_cosine(&none), 1.0);
    float zeros[4] = {0};
    value_error_add(&zero, zeros, &t);
    assert_true(isinf(value_error_sqnr(&zero)) && value_error_sqnr(&zero) < 0);
    NEAR(value_error_cosine(&zero), 0.0);
    t.data = y;
    value_error_add(&twice, x, &t);
    value_error_add(&twice, x, &t);
    NEAR(value_error_sqnr(&twice), value_error_sqnr(&e));
    assert_int_equal(twice.count, 8);
}

static void test_saturation_is_the_share_at_the_ends(void **state)
{
    const double scale = .5, scales[] = {.5, .25};
    int8_t q[] = {127, -128, 0, 5};
    float x[] = {70, -64, 0, 2.5f};
    struct tensor t = {.shape = {2, {2, 2}}, .dtype = DT_QINT8, .quant = {&scale, NULL, 1, 0}, .data = q};
    struct value_error e = {0}, channels = {0}, relu = {0};
    (void)state;
    value_error_add(&e, x, &t);
    NEAR(value_error_saturated(&e), .5);
    NEAR(e.most, 6.5);
    NEAR(e.ee, 6.5 * 6.5);
    t.quant = (struct quant){scales, NULL, 2, 0};
    value_error_add(&channels, x, &t);
    NEAR(channels.ee, 6.5 * 6.5 + 1.25 * 1.25);
    /* A ReLU leaves the lowest quint8 in every second place; that is no loss. */
    uint8_t u[] = {0, 0, 255, 7};
    float r[] = {0, 0, 127.5f, 3.5f};
    t = (struct tensor){.shape = {1, {4}}, .dtype = DT_QUINT8, .quant = {&scale, NULL, 1, 0}, .data = u};
    value_error_add(&relu, r, &t);
    NEAR(value_error_saturated(&relu), .25);
    NEAR(relu.ee, 0.0);
}

/* The quick ways against a QuantStub's rule and tensor_real, over ties and beyond the ends. */
static void test_rounding_is_that_of_a_stub(void **state)
{
    static const enum dtype types[] = {DT_QINT8, DT_QUINT8, DT_QINT16};
    enum { N = 4000 };
    const double scale = .125;
    const int64_t zero = 77;
    static float x[N];
    static int16_t a[N], b[N];
    struct net t = {.seed = 5};
    (void)state;
    for (int i = 0; i < N; i++) /* every second one a tie */
        x[i] = i % 2 ? (float)(40 * net_random(&t)) : (float)(i - N / 2) / 16.0f;
    x[0] = INFINITY;
    x[1] = -INFINITY;
    x[2] = NAN;
    for (size_t k = 0; k < 3; k++) {
        struct value v = {.name = "v", .shape = {1, {N}}, .dtype = types[k],
                          .quant = {&scale, types[k] == DT_QUINT8 ? &zero : NULL, 1, 0}};
        struct tensor slow = {.shape = v.shape, .dtype = v.dtype, .quant = v.quant, .data = a};
        struct value_error want = {0}, got = {0};
        int64_t lo, hi;
        dtype_range(v.dtype, &lo, &hi);
        for (int i = 0; i < N; i++)
            tensor_store_int(&slow, i,
                             arith_quantize_binary32(x[i], 1.0f / (float)scale,
                                                     (int32_t)(types[k] == DT_QUINT8 ? zero : 0),
                                                     (int32_t)lo, (int32_t)hi));
        apart_quantize(&v, x, b);
        assert_memory_equal(a, b, N * dtype_size(types[k]));
        value_error_add(&want, x, &slow);
        value_error_round(&got, x, &v);
        NEAR(got.ee, want.ee);
        NEAR(got.xy, want.xy);
        assert_int_equal(got.count, want.count);
        assert_int_equal(got.at_end, want.at_end);
    }
}

/* ── answers ── */

static void test_ties_go_to_the_lower_class(void **state)
{
    float scores[] = {1, 3, 3, 2, NAN, 3};
    struct answer_layout l = {.samples = 1, .classes = 6, .positions = 1};
    struct tensor t = {.shape = {2, {1, 6}}, .dtype = DT_FLOAT32, .data = scores};
    (void)state;
    struct answer a = answer_read(&l, &t, 0, 0, 5);
    assert_int_equal(a.predicted, 1);
    assert_true(a.tie);
    assert_int_equal(a.rank, 2);
    assert_int_equal(a.not_finite, 1);
    assert_int_equal(answer_read(&l, &t, 0, 0, 1).rank, 0);
    assert_int_equal(answer_read(&l, &t, 0, 0, 3).rank, 3);
    assert_int_equal(answer_read(&l, &t, 0, 0, 4).rank, 5);
    assert_int_equal(answer_read(&l, &t, 0, 0, -1).rank, -1);
    scores[2] = 4;
    assert_int_equal(answer_read(&l, &t, 0, 0, 2).predicted, 2);
    assert_false(answer_read(&l, &t, 0, 0, 2).tie);
    for (int i = 0; i < 6; i++)
        scores[i] = NAN;
    assert_int_equal(answer_read(&l, &t, 0, 0, 0).predicted, 0);
}

static void test_layouts(void **state)
{
    static const struct {
        int rank;
        int64_t dims[4];
        enum dtype dtype;
        int64_t samples, classes, positions; /* samples 0: refused */
    } cases[] = {
        {1, {10}, DT_FLOAT32, 1, 10, 1},           {2, {4, 10}, DT_FLOAT32, 4, 10, 1},
        {4, {1, 10, 1, 1}, DT_FLOAT32, 1, 10, 1},  {4, {2, 21, 5, 7}, DT_FLOAT32, 2, 21, 35},
        {3, {1, 1, 10}, DT_FLOAT32, 1, 10, 1},     {2, {8, 1}, DT_FLOAT32, 0, 0, 0},
        {1, {1}, DT_FLOAT32, 0, 0, 0},             {0, {0}, DT_FLOAT32, 0, 0, 0},
        {3, {1, 5, 7}, DT_INT64, 35, 0, 1},        {2, {0, 10}, DT_FLOAT32, 0, 0, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct value v = {.name = "y", .shape = shape_of(cases[i].rank, cases[i].dims),
                          .dtype = cases[i].dtype};
        struct value *outputs[] = {&v};
        struct graph g = {.outputs = outputs, .output_count = 1};
        struct answer_layout l;
        struct bpu_error err = {0};
        bool ok = answer_layout_find(&g, NULL, &l, &err);
        assert_int_equal(ok, cases[i].samples != 0);
        if (!ok) {
            assert_int_equal(err.code, BPU_UNSUPPORTED);
            continue;
        }
        assert_int_equal(l.samples, cases[i].samples);
        assert_int_equal(l.classes, cases[i].classes);
        assert_int_equal(l.positions, cases[i].positions);
    }
    /* Pixels: class c of position p stands at c * positions + p. */
    float scores[] = {1, 9, 2, 3};
    struct answer_layout l = {.samples = 1, .classes = 2, .positions = 2};
    struct tensor t = {.shape = {3, {1, 2, 2}}, .dtype = DT_FLOAT32, .data = scores};
    assert_int_equal(answer_read(&l, &t, 0, 0, -1).predicted, 1);
    assert_int_equal(answer_read(&l, &t, 0, 1, -1).predicted, 0);
}

/* A network that gives its input back: the data are the scores. */
static void echo(struct net *t, int64_t classes)
{
    net_begin(t, 1);
    struct value *x = net_input(t, "x", 2, (int64_t[]){1, classes});
    net_output(t, net_op(t, "torch.abs", "y", x, NULL));
}

static struct evaluate_request request_of(const struct graph *g, struct frames *f, int64_t frames)
{
    struct evaluate_request r = {.graph = g, .data = {read_frame, f, frames},
                                 .model_name = "net", .model_format = "test",
                                 .model_id = "0", .options = evaluate_defaults()};
    f->g = g;
    return r;
}

static void test_figures_of_classes(void **state)
{
    /* answers 0 0 1 2 2 1; labels 0 1 1 2 1 1 */
    static const float scores[] = {5, 1, 1, 5, 1, 1, 1, 5, 1, 1, 1, 5, 1, 4, 5, 2, 2, 1};
    int64_t labels[] = {0, 1, 1, 2, 1, 1};
    struct net t;
    struct frames f = {.items = scores};
    (void)state;
    echo(&t, 3);
    struct evaluate_request r = request_of(t.g, &f, 6);
    r.labels = (struct evaluate_labels){.items = labels, .count = 6, .what = "labels"};
    struct evaluate_result *e = evaluate_run(&t.arena, &r, NULL, NULL, &t.err);
    net_ok(&t, e);
    const struct accuracy *a = &e->accuracy.floats;
    /* the last one is a tie of 0 and 1, which 0 wins: wrong */
    assert_int_equal(a->correct, 3);
    assert_int_equal(a->ties, 1);
    assert_false(e->accuracy.top5);
    const struct class_figures want[] = {{1, 3, 1}, {4, 1, 1}, {1, 2, 1}};
    for (int c = 0; c < 3; c++) {
        assert_int_equal(a->classes[c].count, want[c].count);
        assert_int_equal(a->classes[c].predicted, want[c].predicted);
        assert_int_equal(a->classes[c].correct, want[c].correct);
    }
    assert_int_equal(a->confusion_count, 2);
    assert_int_equal(a->confusions[0].label, 1);
    assert_int_equal(a->confusions[0].predicted, 0);
    assert_int_equal(a->confusions[0].count, 2);
    assert_int_equal(a->confusions[1].predicted, 2);
    NEAR(evaluate_top1_float(e), .5);
    assert_true(evaluate_top1_fixed(e) < 0);
    net_end(&t);
}

static void test_top5(void **state)
{
    enum { CLASSES = 7 };
    static const float scores[] = {7, 6, 5, 4, 3, 2, 1, 7, 6, 5, 4, 3, 2, 1};
    int64_t labels[] = {4, 5};
    struct net t;
    struct frames f = {.items = scores};
    (void)state;
    echo(&t, CLASSES);
    struct evaluate_request r = request_of(t.g, &f, 2);
    r.labels = (struct evaluate_labels){.items = labels, .count = 2, .what = "labels"};
    struct evaluate_result *e = evaluate_run(&t.arena, &r, NULL, NULL, &t.err);
    net_ok(&t, e);
    assert_true(e->accuracy.top5);
    assert_int_equal(e->accuracy.floats.correct, 0);
    assert_int_equal(e->accuracy.floats.correct5, 1);
    net_end(&t);
}

/* ── labels ── */

static void refused(struct net *t, struct evaluate_request *r, enum bpu_code code, const char *text)
{
    struct bpu_error err = {0};
    assert_null(evaluate_run(&t->arena, r, NULL, NULL, &err));
    if (err.code != code || !strstr(err.message, text))
        fail_msg("\"%s\" (%s) is not \"%s\"", err.message, error_code_name(err.code), text);
    assert_true(err.hint[0] != '\0' || code == BPU_USAGE || code == BPU_BAD_OPTION);
}

static void test_labels_that_do_not_fit(void **state)
{
    static const float scores[12] = {1};
    int64_t labels[] = {0, 1, 3, 2}, negative[] = {0, -1, 0, 0};
    struct net t;
    struct frames f = {.items = scores};
    (void)state;
    echo(&t, 3);
    struct evaluate_request r = request_of(t.g, &f, 4);
    r.labels = (struct evaluate_labels){.items = labels, .count = 4, .what = "l.npy"};
    refused(&t, &r, BPU_BAD_SHAPE, "label 2 is 3; the network knows the classes 0 to 2");
    r.labels.items = negative;
    refused(&t, &r, BPU_BAD_SHAPE, "label 1 is -1");
    r.labels.count = 3;
    refused(&t, &r, BPU_BAD_SHAPE, "there are 3 labels for 4 answers");
    r.data.frames = 1; /* as if an option had cut the data */
    refused(&t, &r, BPU_BAD_SHAPE, "there are 3 labels for 1 answers");
    r.labels.more = true;
    assert_non_null(evaluate_run(&t.arena, &r, NULL, NULL, &t.err));
    r.data.frames = 0;
    refused(&t, &r, BPU_BAD_OPTION, "holds no frame");
    r.data.frames = 1;
    r.options.output = "z";
    refused(&t, &r, BPU_BAD_OPTION, "no output \"z\"");
    net_end(&t);
}

static void test_labels_of_files(void **state)
{
    static const uint8_t bytes[] = {0, 9, 255};
    static const float floats[] = {0, 2, 1e6f}, half[] = {0, 1.5f}, huge[] = {1e30f}, nan[] = {NAN};
    static const int64_t below[] = {-1};
    const struct {
        enum dtype dtype;
        const void *data;
        int64_t n, last; /* last -1: refused */
    } cases[] = {
        {DT_UINT8, bytes, 3, 255},  {DT_FLOAT32, floats, 3, 1000000}, {DT_FLOAT32, half, 2, -1},
        {DT_FLOAT32, huge, 1, -1}, {DT_FLOAT32, nan, 1, -1},          {DT_INT64, below, 1, -1},
    };
    struct arena a;
    (void)state;
    arena_init(&a, 1 << 20);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct array from = {.shape = {1, {cases[i].n}}, .dtype = cases[i].dtype,
                             .data = cases[i].data,
                             .bytes = (size_t)cases[i].n * dtype_size(cases[i].dtype)};
        struct evaluate_labels l;
        struct bpu_error err = {0};
        bool ok = evaluate_labels_read(&a, &from, "labels.npy", &l, &err);
        assert_int_equal(ok, cases[i].last >= 0);
        if (ok)
            assert_int_equal(l.items[l.count - 1], cases[i].last);
        else
            assert_true(err.code == BPU_BAD_SHAPE && strcmp(err.where, "labels.npy") == 0 &&
                        err.hint[0]);
    }
    arena_fini(&a);
}

/* ── layers ── */

struct made {
    struct graph *fused, *fixed;
    struct calibration calibration;
};

static void quantize(struct net *t, const char *qconfig, struct frames *f, struct made *m)
{
    f->g = t->g;
    struct quant_data data = {read_frame, f, 8};
    struct qconfig *q = qconfig_read(&t->arena, qconfig, strlen(qconfig), &t->err);
    net_ok(t, q);
    m->fused = quant_fuse(&t->arena, t->g, NULL, &t->err);
    net_ok(t, m->fused && quant_calibrate(&t->arena, m->fused, march_find("bayes"), q, &data, NULL,
                                          NULL, &m->calibration, &t->err));
    m->fixed = quant_convert(&t->arena, m->fused, march_find("bayes"), q, &m->calibration, &t->err);
    net_ok(t, m->fixed);
}

static void layered(struct net *t)
{
    net_begin(t, 3);
    struct value *x = net_input(t, "x", 4, (int64_t[]){1, 3, 8, 8});
    x = net_conv(t, "torch.nn.Conv2d", "c0", x, 8, 1);
    x = net_op(t, "torch.nn.ReLU", "r0", x, NULL);
    struct value *skip = x;
    x = net_conv(t, "torch.nn.Conv2d", "c1", x, 8, 1);
    x = net_op(t, "torch.sigmoid", "s1", x, NULL);
    x = net_op(t, "torch.mul", "m1", x, skip);
    struct node *n = net_node(t, "torch.flatten", "flat", x, NULL);
    net_ok(t, node_set_int(t->g, n, "start_dim", 1, &t->err));
    net_output(t, net_linear(t, "fc", net_apply(t, n), 6));
}

static const struct layer_figures *layer(const struct evaluate_result *e, const char *node)
{
    for (size_t i = 0; i < e->layers.count; i++)
        if (strcmp(e->layers.layers[i].node->name, node) == 0)
            return &e->layers.layers[i];
    fail_msg("no layer \"%s\"", node);
    return NULL;
}

struct kept {
    float **items; /* by value index of the float graph */
};

static bool keep(void *ctx, const struct value *v, const struct tensor *t, struct bpu_error *err)
{
    struct kept *k = ctx;
    (void)err;
    if (t->dtype == DT_FLOAT32 && k->items[v->index])
        memcpy(k->items[v->index], t->data, (size_t)shape_elements(&t->shape) * sizeof(float));
    return true;
}

static struct tensor tensor_of(struct net *t, const struct value *v)
{
    struct tensor x = {.shape = v->shape, .dtype = v->dtype, .quant = v->quant,
                       .bytes = (size_t)shape_elements(&v->shape) * dtype_size(v->dtype)};
    net_ok(t, (x.data = arena_alloc(&t->arena, x.bytes + 64, &t->err)) != NULL);
    x.data = (char *)x.data + (64 - (uintptr_t)x.data % 64) % 64;
    if (v->constant)
        memcpy(x.data, v->constant->data, v->constant->bytes);
    return x;
}

/* One node of the fixed graph on the float network's inputs, by its reference kernel. */
static void own_error(struct net *t, const struct made *m, const struct float_graph *f,
                      const struct kept *k, const struct node *n, struct value_error *sum)
{
    struct tensor in[4], params[6], out;
    const struct tensor *ins[4], *ps[6];
    struct tensor *outs[] = {&out};
    char name[100];
    for (int i = 0; i < n->input_count; i++) {
        const struct value *v = n->inputs[i], *x = NULL;
        in[i] = tensor_of(t, v);
        ins[i] = &in[i];
        for (int j = 0; j < m->fused->value_count && !v->constant; j++) {
            snprintf(name, sizeof name, "%s.fixed", m->fused->values[j]->name);
            if ((strcmp(name, v->name) == 0 || strcmp(m->fused->values[j]->name, v->name) == 0))
                x = f->value_of[j];
        }
        assert_true(v->constant || x);
        for (int64_t j = 0; x && j < shape_elements(&v->shape); j++)
            tensor_store_int(&in[i], j,
                             arith_quantize_binary32(k->items[x->index][j],
                                                     1.0f / (float)v->quant.scale[0], 0, -128, 127));
    }
    for (int i = 0; i < n->param_count; i++) {
        params[i] = tensor_of(t, n->params[i].value);
        ps[i] = &params[i];
    }
    out = tensor_of(t, n->outputs[0]);
    struct kernel_call call = {.node = n, .in = ins, .in_count = n->input_count, .params = ps,
                               .out = outs, .out_count = 1, .scratch = &t->arena};
    net_ok(t, kernel_of(n)->fixed(&call, &t->err));
    snprintf(name, sizeof name, "%s", n->outputs[0]->name);
    for (int j = 0; j < m->fused->value_count; j++) {
        const struct value *v = m->fused->values[j];
        char other[100];
        snprintf(other, sizeof other, "%s.fixed", v->name);
        if (strcmp(v->name, name) == 0 || strcmp(other, name) == 0) {
            value_error_add(sum, k->items[f->value_of[j]->index], &out);
            return;
        }
    }
    fail_msg("%s has no counterpart", name);
}

static void test_own_error_is_that_of_the_layer_alone(void **state)
{
    struct net t;
    struct made m;
    struct frames f = {.seed = 9};
    struct float_graph floats;
    struct kept kept;
    struct frame frame;
    (void)state;
    layered(&t);
    quantize(&t, "{}", &f, &m);
    for (int engine = 0; engine < 2; engine++) {
        struct evaluate_request r = request_of(t.g, &f, 3);
        r.fixed = m.fixed;
        r.options.engine = engine ? RUN_FAST : RUN_REFERENCE;
        struct evaluate_result *e = evaluate_run(&t.arena, &r, NULL, NULL, &t.err);
        net_ok(&t, e);
        assert_int_equal(e->layers.frames, 3);
        assert_false(e->layers.cut_off);
        net_ok(&t, float_graph_new(&t.arena, m.fused, &floats, &t.err));
        const struct graph *g = floats.graph;
        const struct run_options o = {.engine = r.options.engine};
        struct run *run = run_new(&t.arena, g, &o, &t.err);
        kept.items = ARENA_ARRAY(&t.arena, float *, g->value_count, &t.err);
        net_ok(&t, run && frame_new(&t.arena, g, &frame, &t.err));
        for (int i = 0; i < g->value_count; i++)
            kept.items[i] = ARENA_ARRAY(&t.arena, float, shape_elements(&g->values[i]->shape), &t.err);
        struct value_error sums[20] = {0};
        assert_true(m.fixed->node_count <= 20);
        for (int64_t i = 0; i < 3; i++) {
            net_ok(&t, frame_fill(&frame, &r.data, i, &t.err));
            memcpy(kept.items[g->inputs[0]->index], frame.inputs[0], 3 * 8 * 8 * sizeof(float));
            net_ok(&t, run_frame(run, (const void *const *)frame.inputs, frame.outputs, keep, &kept,
                                 &t.err));
            for (int k = 0; k < m.fixed->node_count; k++) {
                const struct node *n = m.fixed->nodes[k];
                if (dtype_is_quantized(n->outputs[0]->dtype) && dtype_is_quantized(n->inputs[0]->dtype))
                    own_error(&t, &m, &floats, &kept, n, &sums[k]);
            }
        }
        int checked = 0;
        for (int k = 0; k < m.fixed->node_count; k++) {
            if (!sums[k].count)
                continue;
            const struct layer_figures *l = layer(e, m.fixed->nodes[k]->name);
            NEAR(l->own.ee, sums[k].ee);
            NEAR(l->own.xy, sums[k].xy);
            assert_int_equal(l->own.at_end, sums[k].at_end);
            checked++;
        }
        assert_true(checked >= 5); /* c0 r0, c1, s1, m1, flat, fc */
        /* Worst first; nothing has accumulated in front of the first layer. */
        for (size_t i = 1; i < e->layers.count; i++)
            assert_true(value_error_sqnr(&e->layers.layers[i - 1].own) <=
                        value_error_sqnr(&e->layers.layers[i].own));
        NEAR(layer(e, "c0")->own.ee, layer(e, "c0")->accumulated.ee);
        assert_true(layer(e, "flat")->moves);
        assert_false(layer(e, "fc")->moves);
    }
    net_end(&t);
}

static void test_accumulated_error_is_that_of_the_comparison(void **state)
{
    struct net t;
    struct made m;
    struct frames f = {.seed = 4};
    struct comparison c;
    (void)state;
    layered(&t);
    quantize(&t, "{}", &f, &m);
    struct evaluate_request r = request_of(t.g, &f, 5);
    r.fixed = m.fixed;
    r.fused = m.fused;
    struct evaluate_result *e = evaluate_run(&t.arena, &r, NULL, NULL, &t.err);
    net_ok(&t, e && quant_compare(&t.arena, m.fused, m.fixed, &r.data, 5, NULL, NULL, &c, &t.err));
    assert_true(c.count >= 6);
    for (size_t i = 0; i < c.count; i++) {
        const struct layer_error *want = &c.layers[i];
        const struct layer_figures *got = layer(e, want->fixed->producer->name);
        NEAR(value_error_sqnr(&got->accumulated), want->sqnr_db);
        NEAR(value_error_cosine(&got->accumulated), want->cosine);
        NEAR(value_error_saturated(&got->accumulated), want->saturated);
        NEAR(got->accumulated.most, want->max_error);
    }
    NEAR(value_error_sqnr(&e->layers.outputs[0].accumulated), c.outputs[0].sqnr_db);
    net_end(&t);
}

/* ── suggestions ── */

static const char clipped[] =
    "{\"activation\": {\"observer\": \"mse\"},"
    " \"nodes\": {\"c1\": {\"activation\": {\"observer\": \"clip\", \"min\": -0.05, \"max\": 0.05}}}}";

static void test_a_suggestion_does_what_it_says(void **state)
{
    struct net t;
    struct made m, again;
    struct frames f = {.seed = 21};
    struct comparison c;
    int64_t labels[6] = {0};
    (void)state;
    layered(&t);
    quantize(&t, clipped, &f, &m);
    struct evaluate_request r = request_of(t.g, &f, 6);
    r.fused = m.fused;
    r.fixed = m.fixed;
    r.calibration = &m.calibration;
    r.calibration_data = (struct quant_data){read_frame, &f, 8};
    r.march = march_find("bayes");
    r.qconfig = clipped;
    r.qconfig_size = strlen(clipped);
    r.options.suggest = 2;
    /* Right is what the float network says. */
    struct evaluate_result *e = evaluate_run(&t.arena, &r, NULL, NULL, &t.err);
    net_ok(&t, e);
    assert_string_equal(e->layers.layers[0].node->name, "c1");
    assert_null(e->suggestions.why);
    assert_true(e->suggestions.tried >= 6);
    assert_true(e->suggestions.count >= 1);
    const struct suggestion *s = &e->suggestions.items[0];
    assert_string_equal(s->node, "c1");
    assert_true(s->gain_db > 3);
    assert_int_equal(s->correct, -1);
    quantize(&t, s->qconfig, &f, &again);
    net_ok(&t, quant_compare(&t.arena, again.fused, again.fixed, &r.data, 6, NULL, NULL, &c, &t.err));
    NEAR(c.outputs[0].sqnr_db, s->sqnr_db);
    net_ok(&t, quant_compare(&t.arena, m.fused, m.fixed, &r.data, 6, NULL, NULL, &c, &t.err));
    NEAR(c.outputs[0].sqnr_db, e->suggestions.sqnr_db);
    for (size_t i = 1; i < e->suggestions.count; i++)
        assert_true(e->suggestions.items[i - 1].gain_db >= e->suggestions.items[i].gain_db);

    r.labels = (struct evaluate_labels){.items = labels, .count = 6, .what = "labels"};
    e = evaluate_run(&t.arena, &r, NULL, NULL, &t.err);
    net_ok(&t, e && e->suggestions.count >= 1);
    s = &e->suggestions.items[0];
    struct evaluate_request one = request_of(NULL, &f, 6);
    one.fixed = again.fixed;
    f.g = t.g;
    one.labels = r.labels;
    struct evaluate_result *alone = evaluate_run(&t.arena, &one, NULL, NULL, &t.err);
    net_ok(&t, alone);
    assert_int_equal(s->correct, alone->accuracy.fixed.correct);
    net_end(&t);
}

static void test_the_clock_ends_it(void **state)
{
    struct net t;
    struct made m;
    struct frames f = {.seed = 2};
    (void)state;
    layered(&t);
    quantize(&t, clipped, &f, &m);
    struct evaluate_request r = request_of(t.g, &f, 6);
    r.fixed = m.fixed;
    r.calibration_data = (struct quant_data){read_frame, &f, 8};
    r.march = march_find("bayes");
    r.options.seconds = 0;
    struct evaluate_result *e = evaluate_run(&t.arena, &r, NULL, NULL, &t.err);
    net_ok(&t, e);
    assert_int_equal(e->accuracy.samples, 6);
    assert_int_equal(e->layers.frames, 1);
    assert_true(e->layers.cut_off && e->suggestions.cut_off);
    assert_int_equal(e->suggestions.tried, 0);
    net_end(&t);
}

/* ── reports ── */

static json_t *report(struct net *t, const struct evaluate_result *e)
{
    struct buf out;
    json_error_t why;
    buf_init(&out, 1 << 24);
    net_ok(t, evaluate_json(e, &out, &t->err));
    json_t *j = json_loads(buf_str(&out), JSON_REJECT_DUPLICATES, &why);
    if (!j)
        fail_msg("%s in %.300s", why.text, buf_str(&out));
    buf_clear(&out);
    net_ok(t, evaluate_text(e, &out, &t->err));
    assert_non_null(strstr(buf_str(&out), "6 frames"));
    buf_fini(&out);
    return j;
}

static bool unavailable(const json_t *root, const char *key)
{
    const char *text = json_string_value(json_object_get(json_object_get(root, key), "availability"));
    return text && strcmp(text, "unavailable") == 0 &&
           json_string_length(json_object_get(json_object_get(root, key), "reason")) > 5;
}

static void test_reports(void **state)
{
    struct net t;
    struct made m;
    struct frames f = {.seed = 31};
    int64_t labels[] = {0, 1, 2, 3, 4, 5};
    (void)state;
    layered(&t);
    quantize(&t, "{}", &f, &m);
    struct evaluate_request r = request_of(t.g, &f, 6);
    r.fixed = m.fixed;
    r.fused = m.fused;
    r.calibration = &m.calibration;
    r.calibration_data = (struct quant_data){read_frame, &f, 8};
    r.march = march_find("bayes");
    r.march_text = "bayes";
    r.options.suggest = 1;
    r.labels = (struct evaluate_labels){.items = labels, .count = 6, .what = "labels"};
    struct evaluate_result *e = evaluate_run(&t.arena, &r, NULL, NULL, &t.err);
    net_ok(&t, e);
    json_t *j = report(&t, e);
    assert_string_equal(json_string_value(json_object_get(j, "schema")), "bpuhub.evaluate/1");
    NEAR(json_real_value(json_object_get(json_object_get(j, "fixed"), "top1")), evaluate_top1_fixed(e));
    assert_int_equal(json_array_size(json_object_get(j, "layers")), e->layers.count);
    assert_int_equal(json_array_size(json_object_get(j, "weights")), 3);
    json_t *bins = json_object_get(
        json_object_get(json_array_get(json_object_get(j, "weights"), 0), "histogram"), "counts");
    json_int_t sum = 0;
    for (size_t i = 0; i < json_array_size(bins); i++)
        sum += json_integer_value(json_array_get(bins, i));
    assert_int_equal(sum, 8 * 3 * 9);
    assert_true(json_array_size(json_object_get(j, "activations")) > 4);
    assert_true(json_is_array(json_object_get(json_object_get(j, "suggestions"), "items")));
    assert_false(unavailable(j, "agreement"));
    json_decref(j);

    r = request_of(t.g, &f, 6); /* float alone, without labels */
    e = evaluate_run(&t.arena, &r, NULL, NULL, &t.err);
    net_ok(&t, e);
    j = report(&t, e);
    assert_true(unavailable(j, "fixed") && unavailable(j, "agreement") && unavailable(j, "layers") &&
                unavailable(j, "suggestions") && unavailable(j, "loss_points") &&
                unavailable(json_object_get(j, "float"), "top1"));
    json_decref(j);

    r = request_of(NULL, &f, 6); /* fixed alone */
    r.fixed = m.fixed;
    f.g = t.g;
    e = evaluate_run(&t.arena, &r, NULL, NULL, &t.err);
    net_ok(&t, e);
    j = report(&t, e);
    assert_true(unavailable(j, "float") && !unavailable(j, "fixed"));
    json_decref(j);
    net_end(&t);
}

/* Without labels a network that classifies nothing can still be compared. */
static void test_no_classifier(void **state)
{
    struct net t;
    struct made m;
    struct frames f = {.seed = 8};
    int64_t labels[3] = {0};
    (void)state;
    net_begin(&t, 6);
    struct value *x = net_input(&t, "x", 4, (int64_t[]){1, 3, 8, 8});
    net_output(&t, net_conv(&t, "torch.nn.Conv2d", "c", x, 1, 1));
    quantize(&t, "{}", &f, &m);
    struct evaluate_request r = request_of(t.g, &f, 3);
    r.fixed = m.fixed;
    struct evaluate_result *e = evaluate_run(&t.arena, &r, NULL, NULL, &t.err);
    net_ok(&t, e);
    /* 1x1x8x8: the rows look like eight classes of eight positions */
    assert_int_equal(e->accuracy.layout.classes, 8);
    assert_true(e->layers.count >= 1);
    r.labels = (struct evaluate_labels){.items = labels, .count = 3, .what = "labels"};
    refused(&t, &r, BPU_BAD_SHAPE, "3 labels for 24 answers");
    net_end(&t);
}

static void test_networks_that_do_not_belong_together(void **state)
{
    struct net t, other;
    struct made m;
    struct frames f = {.seed = 8};
    (void)state;
    layered(&t);
    quantize(&t, "{}", &f, &m);
    echo(&other, 3);
    struct evaluate_request r = request_of(other.g, &f, 3);
    r.fixed = m.fixed;
    refused(&other, &r, BPU_BAD_SHAPE, "the float network takes 1x3, the fixed-point network 1x3x8x8");
    net_end(&other);
    net_end(&t);
}

/* ── memory ── */

static void test_every_allocation_may_fail(void **state)
{
    struct net t;
    struct made m;
    struct frames f = {.seed = 77};
    int64_t labels[2] = {1, 2};
    bool done = false;
    (void)state;
    net_begin(&t, 3);
    struct value *x = net_input(&t, "x", 4, (int64_t[]){1, 2, 4, 4});
    x = net_op(&t, "torch.nn.ReLU", "r", net_conv(&t, "torch.nn.Conv2d", "c", x, 3, 1), NULL);
    x = net_op(&t, "torch.add", "a", x, net_conv(&t, "torch.nn.Conv2d", "d", x, 3, 1));
    net_output(&t, x);
    quantize(&t, "{}", &f, &m);
    struct evaluate_request r = request_of(t.g, &f, 2);
    r.fixed = m.fixed;
    r.calibration_data = (struct quant_data){read_frame, &f, 2};
    r.march = march_find("bayes");
    r.options.suggest = 1;
    r.options.layer_frames = 1;
    r.labels = (struct evaluate_labels){.items = labels, .count = 2, .what = "labels", .more = true};
    r.labels.items = (const int64_t[32]){0};
    r.labels.count = 32;
    for (long at = 0, step = 1; !done; at += step) {
        struct arena a;
        struct bpu_error err = {0};
        struct buf out;
        arena_init(&a, (size_t)64 << 20);
        a.fail_after = at;
        buf_init(&out, 1 << 24);
        struct evaluate_result *e = evaluate_run(&a, &r, NULL, NULL, &err);
        bool ok = e && evaluate_json(e, &out, &err);
        done = ok && a.fail_after >= 0;
        if (!ok)
            assert_int_equal(err.code, BPU_NO_MEMORY);
        buf_fini(&out);
        arena_fini(&a);
        step = at > 400 ? 23 : 1;
        assert_true(at < 100000);
    }
    net_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_errors_are_what_they_are_called),
        cmocka_unit_test(test_saturation_is_the_share_at_the_ends),
        cmocka_unit_test(test_rounding_is_that_of_a_stub),
        cmocka_unit_test(test_ties_go_to_the_lower_class),
        cmocka_unit_test(test_layouts),
        cmocka_unit_test(test_figures_of_classes),
        cmocka_unit_test(test_top5),
        cmocka_unit_test(test_labels_that_do_not_fit),
        cmocka_unit_test(test_labels_of_files),
        cmocka_unit_test(test_own_error_is_that_of_the_layer_alone),
        cmocka_unit_test(test_accumulated_error_is_that_of_the_comparison),
        cmocka_unit_test(test_a_suggestion_does_what_it_says),
        cmocka_unit_test(test_the_clock_ends_it),
        cmocka_unit_test(test_reports),
        cmocka_unit_test(test_no_classifier),
        cmocka_unit_test(test_networks_that_do_not_belong_together),
        cmocka_unit_test(test_every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
