/* Calibrate, convert, verify, run: small networks against float, files, and what a verifier has to find. */
#include <math.h>

#include "quant_net.h"

#include "core/export/export.h"
#include "core/job/load.h"
#include "core/march/march.h"
#include "core/quant/qconfig.h"
#include "core/quant/report.h"

#define FIXTURES "tests/fixtures/"

/* ── frames ── */

struct frames {
    const struct graph *g;
    uint64_t seed;
    double lo, hi;
    int64_t fail_at; /* this frame cannot be read; -1: none */
};

static bool random_frame(void *ctx, int64_t i, int input, float *out, struct bpu_error *err)
{
    struct frames *f = ctx;
    struct net t = {.seed = f->seed + (uint64_t)i * 1000003 + (uint64_t)input};
    int64_t n = shape_elements(&f->g->inputs[input]->shape);
    if (i == f->fail_at)
        return error_set(err, BPU_IO, "frame", "no frame");
    for (int64_t k = 0; k < n; k++)
        out[k] = (float)(f->lo + (f->hi - f->lo) * (net_random(&t) + 1) / 2);
    return true;
}

struct made {
    struct graph *fused, *fixed;
    struct calibration calibration;
    struct comparison comparison;
};

static struct quant_data data_of(struct frames *f, const struct graph *g, int64_t count)
{
    *f = (struct frames){g, 99, -1, 1, -1};
    return (struct quant_data){random_frame, f, count};
}

/* Everything, up to the comparison with float. */
static void make(struct net *t, const char *json, struct made *m)
{
    struct frames f;
    struct quant_data data = data_of(&f, t->g, 6);
    struct qconfig *q =
        qconfig_read(&t->arena, json ? json : "{}", strlen(json ? json : "{}"), &t->err);
    net_ok(t, q);
    *m = (struct made){0};
    m->fused = quant_fuse(&t->arena, t->g, NULL, &t->err);
    net_ok(t, m->fused);
    net_ok(t, quant_calibrate(&t->arena, m->fused, march_find("bayes"), q, &data, NULL, NULL,
                              &m->calibration, &t->err));
    m->fixed = quant_convert(&t->arena, m->fused, march_find("bayes"), q, &m->calibration, &t->err);
    net_ok(t, m->fixed);
    net_ok(t, quant_verify(m->fixed, &t->err));
    net_ok(t, quant_compare(&t->arena, m->fused, m->fixed, &data, 6, NULL, NULL, &m->comparison,
                            &t->err));
}

static const struct observation *seen(const struct made *m, const char *value)
{
    const struct value *v = graph_find_value(m->fused, value);
    assert_non_null(v);
    return &m->calibration.items[v->index];
}

/* Both engines, bit for bit. */
static void engines_agree(struct net *t, const struct graph *g)
{
    float **in = net_frame(t, g), *out[2][4];
    for (int e = 0; e < 2; e++) {
        struct run_options o = {.engine = e ? RUN_FAST : RUN_REFERENCE};
        struct run *r = run_new(&t->arena, g, &o, &t->err);
        net_ok(t, r && g->output_count <= 4);
        for (int i = 0; i < g->output_count; i++)
            out[e][i] =
                ARENA_ARRAY(&t->arena, float, shape_elements(&g->outputs[i]->shape), &t->err);
        net_ok(t,
               run_frame(r, (const void *const *)in, (void *const *)out[e], NULL, NULL, &t->err));
    }
    for (int i = 0; i < g->output_count; i++)
        assert_memory_equal(out[0][i], out[1][i],
                            (size_t)shape_elements(&g->outputs[i]->shape) * sizeof(float));
}

/* Through the file and back: the same graph, which still verifies and gives the same results. */
static void file_agrees(struct net *t, const struct graph *g)
{
    for (int archive = 0; archive < 2; archive++) {
        struct buf b;
        buf_init(&b, 64 << 20);
        net_ok(t, archive ? export_bpug(g, &b, &t->err) : export_graph_json(g, &b, true, &t->err));
        struct graph *back =
            job_load(&t->arena, (const unsigned char *)b.data, b.size, "net", NULL, 0, &t->err);
        net_ok(t, back);
        net_ok(t, quant_verify(back, &t->err));
        float **in = net_frame(t, g), **x = net_run(t, g, in), **y = net_run(t, back, in);
        for (int i = 0; i < g->output_count; i++)
            assert_memory_equal(x[i], y[i],
                                (size_t)shape_elements(&g->outputs[i]->shape) * sizeof(float));
        buf_fini(&b);
    }
}

/* A graph that is fixed already comes out as it is. */
static void again_is_the_same(struct net *t, const struct graph *g)
{
    struct graph *fused = quant_fuse(&t->arena, g, NULL, &t->err);
    net_ok(t, fused);
    struct graph *again = quant_convert(&t->arena, fused, NULL, NULL, NULL, &t->err);
    net_ok(t, again && quant_verify(again, &t->err));
    assert_int_equal(again->node_count, g->node_count);
    float **in = net_frame(t, g), **x = net_run(t, g, in), **y = net_run(t, again, in);
    for (int i = 0; i < g->output_count; i++)
        assert_memory_equal(x[i], y[i],
                            (size_t)shape_elements(&g->outputs[i]->shape) * sizeof(float));
    for (int i = 0; i < g->value_count; i++) {
        const struct value *v = graph_find_value(again, g->values[i]->name);
        assert_non_null(v);
        assert_int_equal(v->dtype, g->values[i]->dtype);
    }
}

/* ── one network with most of it ── */

static const int64_t MAP[] = {1, 4, 8, 8};

static void set_pool(struct net *t, struct node *n)
{
    net_ok(t, node_set_int(t->g, n, "kernel_size", 2, &t->err) &&
                  node_set_int(t->g, n, "stride", 2, &t->err));
}

static struct value *pool(struct net *t, const char *op, const char *name, struct value *x)
{
    struct node *n = net_node(t, op, name, x, NULL);
    set_pool(t, n);
    return net_apply(t, n);
}

static struct value *cat(struct net *t, const char *name, struct value *a, struct value *b)
{
    struct node *n = net_node(t, "torch.cat", name, a, b);
    net_ok(t, node_set_int(t->g, n, "dim", 1, &t->err));
    return net_apply(t, n);
}

/* conv+bn+relu ─ maxpool ┬ conv+relu ─┐
 *                        └ conv+add+relu ┴ cat ─ sigmoid ─ flatten ─ linear */
static void sample(struct net *t)
{
    struct value *x = net_input(t, "x", 4, MAP);
    struct value *v = net_conv(t, "torch.nn.Conv2d", "c0", x, 8, 1);
    v = net_op(t, "torch.nn.ReLU", "r0", net_bn(t, "torch.nn.BatchNorm2d", "b0", v), NULL);
    v = pool(t, "torch.nn.MaxPool2d", "p", v);
    struct value *a =
        net_op(t, "torch.nn.ReLU", "r1", net_conv(t, "torch.nn.Conv2d", "c1", v, 8, 4), NULL);
    struct value *b =
        net_op(t, "torch.add", "sum", net_conv(t, "torch.nn.Conv2d", "c2", v, 8, 1), v);
    b = net_op(t, "torch.nn.ReLU6", "r2", b, NULL);
    v = net_op(t, "torch.nn.Sigmoid", "s", cat(t, "cat", a, b), NULL);
    v = net_op(t, "torch.flatten", "flat", v, NULL);
    (void)v;
    struct node *n = v->producer;
    net_ok(t, node_set_int(t->g, n, "start_dim", 1, &t->err) && op_apply(t->g, n, &t->err));
    net_output(t, net_linear(t, "fc", v, 10));
}

static void a_network_from_end_to_end(void **state)
{
    struct net t;
    struct made m;
    (void)state;
    net_begin(&t, 3);
    sample(&t);
    make(&t, NULL, &m);
    assert_int_equal(m.fused->node_count, 8);
    assert_int_equal(m.fixed->node_count, 10);
    /* names: the user's output, the user's layers */
    assert_string_equal(m.fixed->outputs[0]->name, "fc");
    assert_int_equal(m.fixed->outputs[0]->dtype, DT_FLOAT32);
    assert_non_null(graph_find_node(m.fixed, "c2"));
    assert_non_null(graph_find_value(m.fixed, "fc.fixed"));
    for (size_t i = 0; i < m.comparison.count; i++)
        if (!(m.comparison.layers[i].sqnr_db > 25))
            fail_msg("%s: %g dB", m.comparison.layers[i].value->name,
                     m.comparison.layers[i].sqnr_db);
    assert_true(m.comparison.outputs[0].sqnr_db > 30 && m.comparison.outputs[0].cosine > .999);
    assert_true(m.comparison.count >= 7);
    assert_true(m.comparison.layers[0].sqnr_db <= m.comparison.layers[1].sqnr_db);
    /* the last sum leaves as it is, with a scale per channel */
    const struct value *y = graph_find_value(m.fixed, "fc.fixed");
    assert_int_equal(y->dtype, DT_QINT32);
    assert_int_equal(y->quant.count, 10);
    /* a max pool keeps the scale; what is joined has the scale of the whole */
    assert_true(seen(&m, "p")->scale == seen(&m, "r0")->scale);
    assert_true(seen(&m, "flat")->scale == seen(&m, "s")->scale);
    assert_true(seen(&m, "r1")->scale == seen(&m, "cat")->scale);
    assert_true(seen(&m, "r2")->scale == seen(&m, "cat")->scale);
    assert_true(strcmp(seen(&m, "r1")->observer, "shared") == 0 ||
                strcmp(seen(&m, "r2")->observer, "shared") == 0);
    engines_agree(&t, m.fixed);
    file_agrees(&t, m.fixed);
    again_is_the_same(&t, m.fixed);
    net_end(&t);
}

/* Q → DQ of another scale than the value has: the integers change, and so the stubs stay. */
static void another_scale_is_a_requantization(void **state)
{
    static const double fine = 1 / 128., coarse = 1 / 16.;
    struct net t;
    (void)state;
    net_begin(&t, 12);
    struct value *x = net_input(&t, "x", 4, MAP);
    x->dtype = DT_QINT8;
    x->quant = (struct quant){&fine, NULL, 1, 0};
    struct value *v = pool(&t, "torch.nn.MaxPool2d", "p", x);
    struct node *q = net_node(&t, "torch.quantization.QuantStub", "q", v, NULL);
    struct value *y = node_add_output(t.g, q, "q", &t.err);
    net_ok(&t, y);
    y->shape = v->shape;
    y->dtype = DT_QINT8;
    y->quant = (struct quant){&coarse, NULL, 1, 0};
    q->fold = FOLD_QUANT;
    struct node *d = net_node(&t, "torch.quantization.DeQuantStub", "d", y, NULL);
    net_output(&t, net_apply(&t, d));
    struct graph *fused = quant_fuse(&t.arena, t.g, NULL, &t.err);
    net_ok(&t, fused);
    struct graph *fixed = quant_convert(&t.arena, fused, NULL, NULL, NULL, &t.err);
    net_ok(&t, fixed && quant_verify(fixed, &t.err));
    assert_int_equal(fixed->node_count, 4);
    signed char in[256];
    float out[64];
    void *results[] = {out};
    const void *inputs[] = {in};
    for (int i = 0; i < 256; i++)
        in[i] = (signed char)(i * 37 % 251 - 125);
    struct run *r = run_new(&t.arena, fixed, NULL, &t.err);
    net_ok(&t, r && run_frame(r, inputs, results, NULL, NULL, &t.err));
    for (int i = 0; i < 64; i++) {
        int c = i / 16, h = i / 4 % 4 * 2, w = i % 4 * 2, most = -128;
        for (int k = 0; k < 4; k++) {
            int at = in[(c * 8 + h + k / 2) * 8 + w + k % 2];
            most = at > most ? at : most;
        }
        assert_true((double)out[i] == nearbyint(most * fine / coarse) * coarse);
    }
    net_end(&t);
}

static void weights_follow_the_rule(void **state)
{
    struct net t;
    struct made m;
    (void)state;
    net_begin(&t, 4);
    struct value *x = net_input(&t, "x", 4, MAP);
    struct value *v = net_conv(&t, "torch.nn.Conv2d", "c0", x, 6, 2);
    net_output(&t, net_op(&t, "torch.nn.Sigmoid", "s", v, NULL));
    make(&t, NULL, &m);
    const struct node *n = graph_find_node(m.fixed, "c0");
    const struct value *w = node_param(n, "weight"), *b = node_param(n, "bias");
    const struct value *w0 = graph_find_value(t.g, "c0.w"), *b0 = graph_find_value(t.g, "c0.b");
    assert_int_equal(w->quant.count, 6);
    for (int64_t c = 0; c < 6; c++) {
        double absmax = 0, have, want;
        for (int64_t i = 0; i < 18; i++) {
            assert_true(constant_real(w0, c * 18 + i, &want));
            absmax = fmax(absmax, fabs(want));
        }
        assert_true(fabs(w->quant.scale[c] - absmax / 127.5) < 1e-12);
        for (int64_t i = 0; i < 18; i++) {
            assert_true(constant_real(w0, c * 18 + i, &want) &&
                        constant_real(w, c * 18 + i, &have));
            assert_true(have == fmin(127, fmax(-128, nearbyint(want / w->quant.scale[c]))));
        }
        double s = n->inputs[0]->quant.scale[0] * w->quant.scale[c];
        assert_true(fabs(b->quant.scale[c] - s) < 1e-15);
        assert_true(constant_real(b0, c, &want) && constant_real(b, c, &have));
        assert_true(fabs(have - want / s) <= .5 + 1e-3);
    }
    net_end(&t);
    /* per tensor, if asked for */
    net_begin(&t, 4);
    x = net_input(&t, "x", 4, MAP);
    net_output(&t, net_conv(&t, "torch.nn.Conv2d", "c0", x, 6, 2));
    make(&t, "{\"weight\": {\"per_channel\": false}}", &m);
    w = node_param(graph_find_node(m.fixed, "c0"), "weight");
    for (int c = 1; c < 6; c++)
        assert_true(w->quant.scale[c] == w->quant.scale[0]);
    net_end(&t);
}

static void what_the_user_says_counts(void **state)
{
    struct net t;
    struct made m;
    (void)state;
    net_begin(&t, 5);
    sample(&t);
    make(&t,
         "{\"inputs\": {\"x\": {\"scale\": 0.015625}}, \"output\": {\"quantized\": true},"
         " \"nodes\": {\"c1\": {\"activation\": {\"dtype\": \"float32\"}},"
         "             \"c0\": {\"activation\": {\"dtype\": \"qint16\"}},"
         "             \"s\": {\"activation\": {\"observer\": \"fixed_scale\", \"scale\": "
         "0.0078125}}}}",
         &m);
    assert_true(graph_find_value(m.fixed, "x.fixed")->quant.scale[0] == .015625);
    assert_string_equal(seen(&m, "x")->observer, "given");
    assert_int_equal(graph_find_value(m.fixed, "fc.fixed")->dtype, DT_QINT8);
    assert_int_equal(graph_find_value(m.fixed, "r0")->dtype, DT_QINT16);
    assert_int_equal(graph_find_value(m.fixed, "p")->dtype, DT_QINT16); /* keeps type and scale */
    assert_int_equal(graph_find_value(m.fixed, "r1")->dtype, DT_FLOAT32);
    assert_true(graph_find_value(m.fixed, "s")->quant.scale[0] == .0078125);
    assert_string_equal(seen(&m, "s")->observer, "fixed_scale");
    bool told = false;
    for (int i = 0; i < m.fixed->note_count; i++)
        told =
            told || (strstr(m.fixed->notes[i], "c1") && strstr(m.fixed->notes[i], "stays float"));
    assert_true(told);
    assert_true(m.comparison.outputs[0].sqnr_db > 25);
    file_agrees(&t, m.fixed);
    net_end(&t);
}

static void every_observer_gives_a_network(void **state)
{
    (void)state;
    for (int o = 0; o < OBSERVER_COUNT; o++) {
        struct net t;
        struct made m;
        char json[200];
        snprintf(
            json, sizeof json,
            "{\"activation\": {\"observer\": \"%s\", \"scale\": 0.05, \"min\": -4, \"max\": 4}}",
            observer_name((enum observer)o));
        net_begin(&t, 6);
        sample(&t);
        make(&t, json, &m);
        const struct observation *r = seen(&m, "r0");
        assert_true(r->scale > 0);
        if (o == OBSERVER_FIXED_SCALE)
            assert_true(r->scale == .05);
        else if (o == OBSERVER_CLIP)
            assert_true(fabs(r->scale - 4 / 127.5) < 1e-12);
        else if (o == OBSERVER_MIN_MAX)
            assert_true(fabs(r->scale - r->max / 127.5) < 1e-12);
        else
            assert_true(r->scale <= r->max / 127.5 * 1.0001);
        assert_true((o == OBSERVER_MIX) ==
                    (strcmp(r->observer, observer_name((enum observer)o)) != 0));
        if (!(m.comparison.outputs[0].sqnr_db > 10))
            fail_msg("%s: %g dB", observer_name((enum observer)o), m.comparison.outputs[0].sqnr_db);
        net_end(&t);
    }
}

/* mix never loses to one of its candidates on the map that it decides about. */
static void mix_takes_the_best(void **state)
{
    static const char *const names[] = {"min_max", "percentile", "kl", "mse", "mix"};
    double db[5];
    (void)state;
    for (int k = 0; k < 5; k++) {
        struct net t;
        struct made m;
        char json[100];
        snprintf(json, sizeof json, "{\"activation\": {\"observer\": \"%s\"}}", names[k]);
        net_begin(&t, 7);
        struct value *x = net_input(&t, "x", 4, MAP);
        x = net_op(&t, "torch.nn.Identity", "i", x, NULL);
        struct node *flip = net_node(&t, "torch.flip", "y", x, NULL);
        net_ok(&t, node_set_ints(t.g, flip, "dims", (int64_t[]){3}, 1, &t.err));
        net_output(&t, net_apply(&t, flip));
        make(&t, json, &m);
        db[k] = m.comparison.outputs[0].sqnr_db;
        net_end(&t);
    }
    for (int k = 0; k < 4; k++)
        assert_true(db[4] >= db[k] - 1e-9);
}

static void a_dead_channel_keeps_its_bias(void **state)
{
    struct net t;
    struct made m;
    (void)state;
    net_begin(&t, 8);
    struct value *x = net_input(&t, "x", 4, MAP);
    struct value *v = net_conv(&t, "torch.nn.Conv2d", "c0", x, 4, 1);
    memset((void *)(uintptr_t)graph_find_value(t.g, "c0.w")->constant->data, 0, 36 * 4);
    ((float *)(uintptr_t)graph_find_value(t.g, "c0.b")->constant->data)[0] = 3;
    net_output(&t, net_op(&t, "torch.nn.ReLU", "r", v, NULL));
    make(&t, NULL, &m);
    assert_true(m.comparison.outputs[0].sqnr_db > 30);
    net_end(&t);
}

static void stubs_of_the_file_stay(void **state)
{
    struct net t;
    struct made m;
    (void)state;
    net_begin(&t, 9);
    struct value *x = net_input(&t, "x", 4, MAP);
    struct node *q = net_node(&t, "torch.quantization.QuantStub", "quant", x, NULL);
    net_ok(&t, node_set_float(t.g, q, "scale", 1 / 128., &t.err));
    struct value *v = net_conv(&t, "torch.nn.Conv2d", "c0", net_apply(&t, q), 4, 1);
    v = net_op(&t, "torch.nn.ReLU", "r", v, NULL);
    net_output(&t, net_op(&t, "torch.quantization.DeQuantStub", "dequant", v, NULL));
    make(&t, NULL, &m);
    assert_int_equal(m.fixed->node_count, 3);
    assert_string_equal(m.fixed->nodes[0]->name, "quant");
    assert_true(m.fixed->nodes[0]->outputs[0]->quant.scale[0] == 1 / 128.);
    assert_string_equal(m.fixed->nodes[2]->name, "dequant");
    assert_string_equal(m.fixed->outputs[0]->name, "dequant");
    assert_true(m.comparison.outputs[0].sqnr_db > 30);
    net_end(&t);
}

/* ── random networks ── */

static struct value *random_layer(struct net *t, struct value **values, int count, int i)
{
    static const char *const unary[] = {"torch.nn.ReLU",  "torch.nn.Sigmoid",   "torch.nn.Tanh",
                                        "torch.nn.GELU",  "torch.nn.LeakyReLU", "torch.nn.SiLU",
                                        "torch.nn.ReLU6", "torch.exp"};
    char name[32];
    uint64_t r = (uint64_t)((net_random(t) + 1) * 1e6);
    struct value *x = values[r / 16 % (uint64_t)count], *y = values[r / 256 % (uint64_t)count];
    snprintf(name, sizeof name, "n%d", i);
    switch (r % 11) {
    case 0:
    case 1:
    case 2: return net_conv(t, "torch.nn.Conv2d", name, x, 4, r & 64 ? 4 : 1);
    case 3: return net_conv(t, "torch.nn.ConvTranspose2d", name, x, 4, r & 64 ? 2 : 1);
    case 4: return net_bn(t, "torch.nn.BatchNorm2d", name, x);
    case 5: return net_op(t, "torch.add", name, x, y);
    case 6: return net_op(t, r & 32 ? "torch.mul" : "torch.sub", name, x, y);
    case 7: return net_op(t, r & 32 ? "torch.maximum" : "torch.minimum", name, x, y);
    case 8: {
        struct node *n = net_node(t, "torch.Tensor.transpose", name, x, NULL);
        net_ok(t, node_set_int(t->g, n, "dim0", 2, &t->err) &&
                      node_set_int(t->g, n, "dim1", 3, &t->err));
        return net_apply(t, n);
    }
    default: {
        struct value *v = net_op(t, unary[r / 7 % 8], name, x, NULL);
        return v;
    }
    }
}

static void random_networks(void **state)
{
    (void)state;
    int good = 0, all = 0;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct net t;
        struct made m;
        struct value *values[24];
        int count = 1;
        net_begin(&t, seed);
        values[0] = net_input(&t, "x", 4, MAP);
        for (int i = 0; i < 4 + (int)(seed % 9); i++)
            values[count] = random_layer(&t, values, count, i), count++;
        /* all that nobody reads leaves, and one inner value as well */
        struct graph_users *users = graph_users_new(t.g, &t.arena, &t.err);
        net_ok(&t, users);
        int outputs = 0;
        for (int i = 1; i < count && outputs < 4; i++)
            if (users->count[values[i]->index] == 0 || (i == 2 && count > 4)) {
                net_output(&t, values[i]);
                outputs++;
            }
        struct frames f;
        struct quant_data data = data_of(&f, t.g, 1);
        float *x = ARENA_ARRAY(&t.arena, float, 256, &t.err), **want;
        net_ok(&t, x && data.frame(&f, 0, 0, x, &t.err));
        want = net_run(&t, t.g, &x);
        bool finite = true;
        for (int o = 0; o < t.g->output_count; o++)
            for (int64_t i = 0; i < shape_elements(&t.g->outputs[o]->shape); i++)
                finite = finite && fabsf(want[o][i]) < 1e4f;
        if (finite) { /* exponentials of exponentials say nothing */
            make(&t,
                 seed % 3 == 0
                     ? "{\"activation\": {\"dtype\": \"qint16\", \"observer\": \"min_max\"}}"
                     : "{\"activation\": {\"observer\": \"min_max\"}}",
                 &m);
            engines_agree(&t, m.fixed);
            for (int i = 0; i < m.comparison.output_count; i++) {
                all++;
                good += m.comparison.outputs[i].sqnr_db > 20;
                if (!(m.comparison.outputs[i].sqnr_db > 6))
                    fail_msg("seed %d: %s: %g dB", (int)seed, m.comparison.outputs[i].value->name,
                             m.comparison.outputs[i].sqnr_db);
            }
            if (seed % 10 == 0)
                file_agrees(&t, m.fixed);
        }
        net_end(&t);
    }
    assert_true(all > 60 && good * 10 > all * 9);
}

/* ── files ── */

static struct graph *load(struct net *t, const char *path, const struct job_option *options,
                          size_t count)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t capacity = (size_t)8 << 20;
    unsigned char *data = arena_alloc(&t->arena, capacity, &t->err);
    net_ok(t, data);
    size_t size = fread(data, 1, capacity, f);
    fclose(f);
    t->g = job_load(&t->arena, data, size, "file", options, count, &t->err);
    net_ok(t, t->g);
    return t->g;
}

static void lenet_is_calibrated(void **state)
{
    struct net t;
    struct made m;
    (void)state;
    net_begin(&t, 1);
    load(&t, FIXTURES "lenet_float.onnx", NULL, 0);
    make(&t, NULL, &m);
    assert_int_equal(m.fixed->node_count, 7);
    assert_true(m.comparison.outputs[0].sqnr_db > 28);
    engines_agree(&t, m.fixed);
    file_agrees(&t, m.fixed);
    net_end(&t);
}

static void scales_of_a_file_are_taken(void **state)
{
    static const struct job_option shape = {"input.0", "1x3x6x6"};
    static const struct {
        const char *path;
        const struct job_option *option;
        double least_db;
    } files[] = {
        {FIXTURES "lenet_qat_s8.onnx", NULL, 10},
        {FIXTURES "qdq.onnx", NULL, 10},
        {FIXTURES "qdq_per_channel.onnx", NULL, 10},
        {FIXTURES "torchscript/quantized.pt", &shape, 10},
        {FIXTURES "torchscript/quantized_per_channel.pt", &shape, 10},
    };
    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        struct net t;
        struct frames f;
        struct comparison c;
        net_begin(&t, 1);
        load(&t, files[i].path, files[i].option, files[i].option != NULL);
        struct graph *fused = quant_fuse(&t.arena, t.g, NULL, &t.err);
        net_ok(&t, fused);
        assert_true(quant_has_scales(fused));
        struct graph *fixed =
            quant_convert(&t.arena, fused, march_find("bayes"), NULL, NULL, &t.err);
        net_ok(&t, fixed && quant_verify(fixed, &t.err));
        struct quant_data data = data_of(&f, t.g, 3);
        f.lo = 0; /* as images: what the scales were found on */
        f.hi = .5;
        net_ok(&t, quant_compare(&t.arena, fused, fixed, &data, 3, NULL, NULL, &c, &t.err));
        for (int k = 0; k < c.output_count; k++)
            if (!(c.outputs[k].sqnr_db > files[i].least_db))
                fail_msg("%s: %s: %g dB", files[i].path, c.outputs[k].value->name,
                         c.outputs[k].sqnr_db);
        for (int k = 0; k < fixed->value_count; k++) {
            /* the file's scales are there, to the bit */
            const struct value *v = fixed->values[k], *old = graph_find_value(t.g, v->name);
            if (v->constant || !old || old->quant.count != 1 || !dtype_is_quantized(v->dtype))
                continue;
            assert_true(v->quant.scale[0] == old->quant.scale[0]);
            assert_int_equal(v->dtype, old->dtype);
        }
        net_end(&t);
    }
}

/* ── the verifier ── */

static struct node *mutable_node(const struct graph *g, const char *name)
{
    struct node *n = graph_find_node(g, name);
    assert_non_null(n);
    return n;
}

static void drop_param(struct node *n, const char *name)
{
    for (int i = 0; i < n->param_count; i++)
        if (strcmp(n->params[i].name, name) == 0)
            n->params[i] = n->params[--n->param_count];
}

static void the_verifier_finds_what_is_wrong(void **state)
{
    static const char *const words[] = {
        "folded",
        "multiplier",
        "shift",
        "bias",
        "qint32 constant",
        "weight",
        "scale per output channel",
        "activation",
        "table",
        "has no scale",
        "scale per channel",
        "is float",
        "attribute scale",
        "makes",
        "zero point",
        "rank",
        "qint32 and has to leave",
    };
    (void)state;
    for (size_t k = 0; k < sizeof words / sizeof words[0]; k++) {
        struct net t;
        struct made m;
        net_begin(&t, 3);
        sample(&t);
        make(&t, NULL, &m);
        struct node *c2 = mutable_node(m.fixed, "c2"), *s = mutable_node(m.fixed, "s");
        struct node *stub = mutable_node(m.fixed, "x.quant");
        struct value *w = node_param(c2, "weight"), *b = node_param(c2, "bias");
        double two[2] = {.1, .1};
        int64_t far[1] = {200};
        switch (k) {
        case 0: s->fold = FOLD_IDENTITY; break;
        case 1: drop_param(c2, "multiplier"); break;
        case 2: ((int32_t *)(uintptr_t)node_param(c2, "shift")->constant->data)[1]++; break;
        case 3: ((double *)(uintptr_t)b->quant.scale)[2] *= 1.001; break;
        case 4: b->dtype = DT_INT32; break;
        case 5: w->dtype = DT_INT8; break;
        case 6: w->quant.count = 1; break;
        case 7: net_ok(&t, node_set_string(m.fixed, c2, "activation", "relu7", &t.err)); break;
        case 8: drop_param(s, "table"); break;
        case 9: s->outputs[0]->quant.count = 0; break;
        case 10: s->outputs[0]->quant = (struct quant){two, NULL, 2, 1}; break;
        case 11:
            c2->inputs[1] = m.fixed->inputs[0], c2->inputs[1]->shape = c2->outputs[0]->shape;
            break;
        case 12: net_ok(&t, node_set_float(m.fixed, stub, "scale", .5, &t.err)); break;
        case 13: stub->outputs[0]->dtype = DT_FLOAT32; break;
        case 14: s->outputs[0]->quant.zero_point = far; break;
        case 15: w->shape.rank = 1, w->shape.dim[0] = 8 * 8 * 9; break;
        case 16: s->outputs[0]->dtype = DT_QINT32; break;
        default: break;
        }
        assert_false(quant_verify(m.fixed, &t.err));
        if (t.err.code != BPU_BAD_MODEL || !strstr(t.err.message, words[k]))
            fail_msg("%d, %s: %s: %s", (int)k, words[k], t.err.where, t.err.message);
        net_end(&t);
    }
}

/* ── errors ── */

static void bad_frames_are_told(void **state)
{
    struct net t;
    struct frames f;
    struct calibration c;
    (void)state;
    net_begin(&t, 3);
    sample(&t);
    struct graph *fused = quant_fuse(&t.arena, t.g, NULL, &t.err);
    struct quant_data data = data_of(&f, t.g, 5);
    f.fail_at = 3;
    assert_false(quant_calibrate(&t.arena, fused, NULL, NULL, &data, NULL, NULL, &c, &t.err));
    assert_int_equal(t.err.code, BPU_IO);
    memset(&t.err, 0, sizeof t.err);
    data.frames = 0;
    assert_false(quant_calibrate(&t.arena, fused, NULL, NULL, &data, NULL, NULL, &c, &t.err));
    assert_int_equal(t.err.code, BPU_BAD_OPTION);
    net_end(&t);
}

static void weights_must_be_there(void **state)
{
    static const double scale = .1;
    struct net t;
    (void)state;
    net_begin(&t, 3);
    struct value *x = net_input(&t, "x", 4, MAP);
    struct value *v = net_conv(&t, "torch.nn.Conv2d", "c0", x, 4, 1);
    struct constant none = {NULL, 4 * 4 * 9 * 4};
    node_param(v->producer, "weight")->constant = &none;
    x->dtype = v->dtype = DT_QINT8;
    x->quant = v->quant = (struct quant){&scale, NULL, 1, 0};
    net_output(&t, v);
    struct graph *fused = quant_fuse(&t.arena, t.g, NULL, &t.err);
    net_ok(&t, fused);
    assert_null(quant_convert(&t.arena, fused, NULL, NULL, NULL, &t.err));
    assert_int_equal(t.err.code, BPU_BAD_MODEL);
    assert_string_equal(t.err.where, "c0");
    net_end(&t);
}

/* The Nth allocation fails, for every N: an error each time, and success at last. */
static void every_allocation_may_fail(void **state)
{
    (void)state;
    for (int stage = 0; stage < 3; stage++)
        for (long n = 0;; n += stage == 0 || stage == 2 ? 7 : 1) {
            struct net t;
            struct made m = {0};
            struct frames f;
            net_begin(&t, 3);
            sample(&t);
            struct quant_data data = data_of(&f, t.g, 2);
            m.fused = quant_fuse(&t.arena, t.g, NULL, &t.err);
            net_ok(&t, m.fused);
            bool ok = true;
            if (stage == 0)
                t.arena.fail_after = n;
            ok = quant_calibrate(&t.arena, m.fused, NULL, NULL, &data, NULL, NULL, &m.calibration,
                                 &t.err);
            if (ok && stage == 1)
                t.arena.fail_after = n;
            ok = ok &&
                 (m.fixed = quant_convert(&t.arena, m.fused, NULL, NULL, &m.calibration, &t.err));
            if (ok && stage == 2)
                t.arena.fail_after = n;
            ok = ok && quant_compare(&t.arena, m.fused, m.fixed, &data, 1, NULL, NULL,
                                     &m.comparison, &t.err);
            if (!ok)
                assert_int_equal(t.err.code, BPU_NO_MEMORY);
            net_end(&t);
            if (ok)
                break;
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_network_from_end_to_end),
        cmocka_unit_test(another_scale_is_a_requantization),
        cmocka_unit_test(weights_follow_the_rule),
        cmocka_unit_test(what_the_user_says_counts),
        cmocka_unit_test(every_observer_gives_a_network),
        cmocka_unit_test(mix_takes_the_best),
        cmocka_unit_test(a_dead_channel_keeps_its_bias),
        cmocka_unit_test(stubs_of_the_file_stay),
        cmocka_unit_test(random_networks),
        cmocka_unit_test(lenet_is_calibrated),
        cmocka_unit_test(scales_of_a_file_are_taken),
        cmocka_unit_test(the_verifier_finds_what_is_wrong),
        cmocka_unit_test(bad_frames_are_told),
        cmocka_unit_test(weights_must_be_there),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
