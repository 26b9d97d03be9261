/* Advice, held against networks that were really changed: a small network is compiled and measured, what the
 * advice says is done to it, and the other network is compiled too.  The win that was promised must
 * be there, roughly: the compiler may decide otherwise for another network. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "core/compile/compile.h"
#include "core/perf/perf.h"
#include "tests/unit/random_net.h"

#define MOST_LAYERS 40

/* A network of layers one behind the other. */
struct layer_plan {
    const char *name;
    int out, kernel, stride;
    bool depthwise;
    const char *after; /* an operator of its own behind it, or NULL */
};

struct net_plan {
    int frames, channels, h, w;
    enum dtype dtype;
    struct layer_plan layers[MOST_LAYERS];
    int count;
    const char *march;
    struct compile_options options;
    int host; /* layer that runs on the CPU, from 1 */
};

struct measured {
    struct net net;
    struct arena arena;
    struct program_timing timing;
    struct perf perf;
};

static struct value *add_conv(struct net *n, struct value *x, const struct layer_plan *l, enum dtype t)
{
    int64_t c = x->shape.dim[1], groups = l->depthwise ? c : 1, out = l->depthwise ? c : l->out;
    int64_t k[2] = {l->kernel, l->kernel}, s[2] = {l->stride, l->stride}, p[2] = {l->kernel / 2, l->kernel / 2};
    struct shape w = shape_of(4, (const int64_t[]){out, c / groups, k[0], k[1]});
    struct node *node = graph_add_node(n->g, l->name, "torch.nn.Conv2d", &n->err);
    OK(node && op_bind(node) && node_add_input(n->g, node, x, &n->err) &&
       node_set_ints(n->g, node, "kernel_size", k, 2, &n->err) &&
       node_set_ints(n->g, node, "stride", s, 2, &n->err) &&
       node_set_ints(n->g, node, "padding", p, 2, &n->err) &&
       node_set_int(n->g, node, "groups", groups, &n->err) &&
       node_add_param(n->g, node, "weight", some_constant(n, &w, DT_QINT8, (int)out), &n->err));
    struct value *y = finish(n, node, t);
    if (!l->after)
        return y;
    struct node *f = some_node(n, l->after, y);
    return finish(n, f, t);
}

static void make(struct measured *m, const struct net_plan *plan)
{
    struct net *n = &m->net;
    const struct march *march = march_find(plan->march ? plan->march : "bayes");
    struct compile_options o = plan->options.cores ? plan->options : compile_default();
    memset(m, 0, sizeof *m);
    net_init(n);
    arena_init(&m->arena, (size_t)1 << 30);
    struct shape s =
        shape_of(4, (const int64_t[]){plan->frames ? plan->frames : 1, plan->channels, plan->h, plan->w});
    enum dtype t = plan->dtype ? plan->dtype : DT_QINT8;
    struct value *x = some_input(n, &s, t);
    for (int i = 0; i < plan->count; i++)
        x = add_conv(n, x, &plan->layers[i], t);
    OK(graph_add_output(n->g, x, &n->err));
    net_fix(n);
    bool *on_host = ARENA_ARRAY(&m->arena, bool, n->g->node_count + 1, &n->err);
    OK(on_host);
    if (plan->host)
        on_host[plan->host - 1] = true;
    o.on_host = on_host;
    struct program *p = compile_graph(&m->arena, n->g, march, &o, NULL, &n->err);
    OK(p);
    OK(program_time(&m->arena, p, march_machine(march), &m->timing, &n->err));
    OK(perf_measure(&m->arena, p, march_machine(march), &m->timing, 0, &m->perf, &n->err));
    OK(perf_advise(&m->perf, 16, &n->err));
    if (getenv("BPUHUB_SHOW")) {
        fprintf(stderr, "%.2f us, %d instructions, conv busy %.2f us\n", m->perf.latency_us, p->code_count,
                m->perf.busy_us[ENGINE_CONV]);
        for (int i = 0; i < m->perf.advice_count; i++)
            fprintf(stderr, "  %8.2f %s: %s\n", m->perf.advice[i].win_us, m->perf.advice[i].code,
                    m->perf.advice[i].text);
    }
}

static void done(struct measured *m)
{
    arena_fini(&m->arena);
    arena_fini(&m->net.arena);
}

/* Of that kind about that layer; name NULL: the best of that kind. */
static const struct perf_advice *advice_on(const struct measured *m, const char *code, const char *name)
{
    for (int i = 0; i < m->perf.advice_count; i++) {
        const struct perf_advice *a = &m->perf.advice[i];
        const char *of = a->source >= 0 ? m->perf.program->sources[a->source].name : "";
        if (strcmp(a->code, code) == 0 && (!name || strcmp(of, name) == 0))
            return a;
    }
    return NULL;
}

/* What is true of any list of advice. */
static void well_formed(const struct measured *m)
{
    for (int i = 0; i < m->perf.advice_count; i++) {
        const struct perf_advice *a = &m->perf.advice[i];
        assert_true(a->text && a->action && a->code && a->text[0] && a->action[0]);
        assert_true(a->win_us >= .002 * m->perf.latency_us - 1e-9);
        assert_true(a->win_us <= m->perf.latency_us);
        assert_true(i == 0 || a->win_us <= m->perf.advice[i - 1].win_us);
        assert_true(a->source >= -1 && a->source < m->perf.program->source_count);
    }
}

/* The promise, and what became of it. */
static void kept(const struct perf_advice *a, const struct measured *was, const struct measured *is,
                 double frames, double by)
{
    double won = was->perf.latency_us - is->perf.latency_us / frames;
    assert_non_null(a);
    if (!(won > 0) || fabs(won - a->win_us) > by * fmax(won, a->win_us))
        fail_msg("%s: %.2f us promised, %.2f won (%.2f → %.2f)", a->code, a->win_us, won,
                 was->perf.latency_us, is->perf.latency_us / frames);
}

/* Computing all of the time: a bottleneck of `mid` channels in the middle, others of 16. */
static struct net_plan bottlenecks(int mid, const char *march)
{
    static const char *const names[] = {"a0", "b0", "a1", "b1", "a2", "b2", "a3", "b3"};
    struct net_plan p = {.channels = 4, .h = 56, .w = 56, .march = march};
    p.layers[p.count++] = (struct layer_plan){"stem", 128, 3, 1, false, NULL};
    for (int i = 0; i < 4; i++) {
        p.layers[p.count++] = (struct layer_plan){names[2 * i], i == 2 ? mid : 16, 3, 1, false, NULL};
        p.layers[p.count++] = (struct layer_plan){names[2 * i + 1], 128, 3, 1, false, NULL};
    }
    p.layers[p.count++] = (struct layer_plan){"head", 8, 1, 1, false, NULL};
    return p;
}

static void channels_of(const char *march, int actual, int ideal)
{
    struct net_plan a = bottlenecks(actual, march), b = bottlenecks(ideal, march);
    struct measured was, is;
    make(&was, &a);
    make(&is, &b);
    well_formed(&was);
    const struct perf_advice *advice = advice_on(&was, "pad_channels", "a2");
    kept(advice, &was, &is, 1, .25);
    assert_int_equal(advice->actual, actual);
    assert_int_equal(advice->ideal, ideal);
    assert_non_null(strstr(advice->text, "17 channels"));
    assert_non_null(strstr(advice->text, "24 where they are made"));
    assert_non_null(strstr(advice->text, "20 where they are read"));
    assert_null(advice_on(&is, "pad_channels", "a2")); /* once it is done it is not said again */
    done(&was);
    done(&is);
}

static void channels_above_a_step(void **state)
{
    (void)state;
    channels_of("bayes", 17, 16);
    channels_of("bernoulli2", 17, 16);
}

/* The same layer beside weights that take far longer to load, in maps small enough for the weights to
 * find room on the chip while it computes. */
static void what_hides_wins_nothing(void **state)
{
    (void)state;
    struct net_plan p = bottlenecks(17, "bayes");
    struct measured m;
    p.h = p.w = 40;
    p.layers[p.count++] = (struct layer_plan){"down", 64, 7, 8, false, NULL};
    p.layers[p.count++] = (struct layer_plan){"fc", 300, 7, 8, false, NULL};
    make(&m, &p);
    well_formed(&m);
    assert_non_null(advice_on(&m, "weights_bound", "fc"));
    const struct perf_advice *hidden = advice_on(&m, "pad_channels", "a2"); /* its weights remain */
    double win = hidden ? hidden->win_us : 0;
    done(&m);
    p.count -= 2;
    make(&m, &p);
    const struct perf_advice *open = advice_on(&m, "pad_channels", "a2");
    assert_non_null(open);
    assert_true(win < .4 * open->win_us);
    done(&m);
}

static void depthwise_channels(void **state)
{
    (void)state;
    struct measured was, is;
    struct net_plan p = {.channels = 4, .h = 64, .w = 64};
    p.layers[p.count++] = (struct layer_plan){"stem", 33, 3, 1, false, NULL};
    for (int i = 0; i < 6; i++)
        p.layers[p.count++] = (struct layer_plan){i == 0 ? "dw" : NULL, 0, 5, 1, true, NULL};
    p.layers[p.count++] = (struct layer_plan){"head", 8, 1, 1, false, NULL};
    make(&was, &p);
    p.layers[0].out = 32;
    make(&is, &p);
    const struct perf_advice *a = advice_on(&was, "pad_channels", NULL);
    kept(a, &was, &is, 1, .25);
    assert_int_equal(a->ideal, 32);
    assert_non_null(strstr(a->text, "64 in depthwise layers"));
    done(&was);
    done(&is);
}

static void columns_above_a_step(void **state)
{
    (void)state;
    for (int march = 0; march < 2; march++) {
        struct net_plan p = bottlenecks(16, march ? "bernoulli2" : "bayes");
        struct measured was, is;
        p.w = 33;
        make(&was, &p);
        p.w = 32;
        make(&is, &p);
        const struct perf_advice *a = advice_on(&was, "pad_columns", NULL);
        kept(a, &was, &is, 1, .25);
        assert_int_equal(a->actual, 33);
        assert_int_equal(a->ideal, 32);
        assert_null(advice_on(&is, "pad_columns", NULL));
        done(&was);
        done(&is);
    }
}

static void weights_that_are_waited_for(void **state)
{
    (void)state;
    struct net_plan p = {.channels = 256, .h = 7, .w = 7};
    struct measured was, is;
    p.layers[p.count++] = (struct layer_plan){"one", 512, 1, 1, false, NULL};
    p.layers[p.count++] = (struct layer_plan){"big", 512, 3, 1, false, NULL};
    p.layers[p.count++] = (struct layer_plan){"end", 64, 1, 1, false, NULL};
    make(&was, &p);
    p.layers[1].out = 256;
    make(&is, &p);
    const struct perf_advice *a = advice_on(&was, "weights_bound", "big");
    kept(a, &was, &is, 1, .2);
    assert_non_null(strstr(a->text, "2.26 MiB"));
    /* And with four frames that share them. */
    struct measured four;
    p.layers[1].out = 512;
    p.frames = 4;
    make(&four, &p);
    kept(advice_on(&was, "batch", NULL), &was, &four, 4, .2);
    assert_null(advice_on(&four, "batch", NULL));
    done(&was);
    done(&is);
    done(&four);
}

/* With less memory maps go through DDR; with all of it they stay. */
static void maps_that_spill(void **state)
{
    (void)state;
    struct net_plan p = {.channels = 4, .h = 112, .w = 112};
    struct measured was, is;
    p.options = compile_default();
    p.options.level = LEVEL_O1;
    for (int i = 0; i < 6; i++)
        p.layers[p.count++] = (struct layer_plan){NULL, 32, 3, 1, false, NULL};
    p.layers[p.count++] = (struct layer_plan){"head", 8, 1, 1, false, NULL};
    p.options.sram_bytes = 600000;
    make(&was, &p);
    p.options.sram_bytes = 0;
    make(&is, &p);
    well_formed(&was);
    assert_true(was.perf.traffic[TRAFFIC_SPILLS] > 0 && is.perf.traffic[TRAFFIC_SPILLS] == 0);
    kept(advice_on(&was, "ddr_bound", NULL), &was, &is, 1, .35);
    const struct perf_advice *one = advice_on(&was, "spill", NULL);
    assert_non_null(one);
    assert_non_null(strstr(one->action, "O3"));
    assert_null(advice_on(&is, "spill", NULL));
    assert_null(advice_on(&is, "ddr_bound", NULL));
    done(&was);
    done(&is);
}

static void tables_in_place_of_relu(void **state)
{
    (void)state;
    struct net_plan p = bottlenecks(16, "bayes");
    struct measured was, is;
    p.h = p.w = 112;
    for (int i = 1; i < p.count; i++)
        p.layers[i].after = "torch.nn.Sigmoid";
    make(&was, &p);
    for (int i = 1; i < p.count; i++)
        p.layers[i].after = NULL;
    make(&is, &p);
    const struct perf_advice *a = advice_on(&was, "lookup", NULL);
    kept(a, &was, &is, 1, .25);
    assert_int_equal(a->source, -1); /* all of them */
    assert_non_null(strstr(a->text, "9 layers"));
    assert_null(advice_on(&is, "lookup", NULL));
    done(&was);
    done(&is);
}

static void sixteen_bits(void **state)
{
    (void)state;
    struct net_plan p = bottlenecks(16, "bayes");
    struct measured was, is;
    p.h = p.w = 112;
    p.dtype = DT_QINT16;
    make(&was, &p);
    p.dtype = DT_QINT8;
    make(&is, &p);
    kept(advice_on(&was, "wide", NULL), &was, &is, 1, .35);
    assert_null(advice_on(&is, "wide", NULL));
    done(&was);
    done(&is);
}

static double says(void *ctx, int cores)
{
    assert_int_equal(cores, 2);
    return *(double *)ctx;
}

/* With the network at hand the figure is that of the program for two cores, whatever the question said. */
static void another_core_tried(struct measured *was, double then_us)
{
    static const double shares[] = {-1, .99, .5};
    assert_true(perf_advise_network(&was->perf, 16, says, &then_us, &was->net.err));
    const struct perf_advice *a = advice_on(was, "second_core", NULL);
    assert_non_null(a);
    assert_float_equal(a->win_us, was->perf.latency_us - then_us, 1e-9);
    well_formed(was);
    for (int i = 0; i < 3; i++) { /* not known, not worth it, half */
        double us = shares[i] < 0 ? -1 : shares[i] * was->perf.latency_us;
        assert_true(perf_advise_network(&was->perf, 16, says, &us, &was->net.err));
        a = advice_on(was, "second_core", NULL);
        assert_int_equal(a != NULL, i == 2);
        if (a)
            assert_float_equal(a->win_us, us, 1e-9);
        well_formed(was);
    }
}

static void another_core(void **state)
{
    (void)state;
    struct net_plan p = {.channels = 4, .h = 112, .w = 112, .march = "bernoulli2"};
    struct measured was, is;
    p.options = compile_default();
    for (int i = 0; i < 3; i++)
        p.layers[p.count++] = (struct layer_plan){NULL, 32, 3, 1, false, NULL};
    p.layers[p.count++] = (struct layer_plan){"head", 8, 1, 1, false, NULL};
    make(&was, &p);
    p.options.cores = 2;
    make(&is, &p);
    kept(advice_on(&was, "second_core", NULL), &was, &is, 1, .35);
    assert_null(advice_on(&is, "second_core", NULL));
    another_core_tried(&was, is.perf.latency_us);
    done(&was);
    done(&is);
}

static void layers_on_the_cpu(void **state)
{
    (void)state;
    struct net_plan p = bottlenecks(16, "bayes");
    struct measured was, is;
    p.host = 5;
    make(&was, &p);
    p.host = 0;
    make(&is, &p);
    kept(advice_on(&was, "host", NULL), &was, &is, 1, .25);
    assert_null(advice_on(&is, "host", NULL));
    int64_t all = 0, on_cpu = 0; /* products of the CPU are none of the BPU's */
    for (int i = 0; i < was.perf.layer_count; i++) {
        all += was.perf.layers[i].ops;
        on_cpu += was.perf.layers[i].busy_us[ENGINE_HOST] > 0 ? was.perf.layers[i].ops : 0;
    }
    assert_true(on_cpu > 0);
    assert_int_equal(was.perf.ops, all - on_cpu);
    assert_int_equal(is.perf.ops, all);
    done(&was);
    done(&is);
}

static void small_maps(void **state)
{
    (void)state;
    struct net_plan p = {.channels = 32, .h = 2, .w = 2};
    struct measured m;
    for (int i = 0; i < 12; i++)
        p.layers[p.count++] = (struct layer_plan){NULL, 0, 3, 1, true, NULL};
    make(&m, &p);
    well_formed(&m);
    assert_non_null(advice_on(&m, "issue", NULL));
    done(&m);
    p.channels = 512;
    p.h = p.w = 3;
    for (int i = 0; i < p.count; i++)
        p.layers[i].kernel = 5;
    make(&m, &p);
    well_formed(&m);
    const struct perf_advice *a = advice_on(&m, "depthwise_small", NULL);
    assert_non_null(a);
    assert_non_null(strstr(a->text, "4x8"));
    done(&m);
}

static void never_more_than_asked_for(void **state)
{
    (void)state;
    struct net_plan p = bottlenecks(17, "bernoulli2");
    struct measured m;
    make(&m, &p);
    int all = m.perf.advice_count;
    struct perf_advice best = m.perf.advice[0];
    assert_true(all > 1);
    assert_true(perf_advise(&m.perf, 1, &m.net.err));
    assert_int_equal(m.perf.advice_count, 1);
    assert_string_equal(m.perf.advice[0].code, best.code);
    assert_true(perf_advise(&m.perf, 0, &m.net.err));
    assert_int_equal(m.perf.advice_count, 0);
    done(&m);
}

static void every_quota_ends_well(void **state)
{
    (void)state;
    struct net_plan p = bottlenecks(17, "bernoulli2");
    struct measured m;
    int failed = 0, made = 0;
    make(&m, &p);
    for (long n = 0; n < 400 && made < 3; n++) {
        struct bpu_error err = {0};
        m.arena.fail_after = n;
        bool ok = perf_advise(&m.perf, 8, &err);
        m.arena.fail_after = -1;
        assert_true(ok || err.code == BPU_NO_MEMORY);
        made += ok;
        failed += !ok;
    }
    assert_true(made > 0 && failed > 10);
    done(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(channels_above_a_step),
        cmocka_unit_test(what_hides_wins_nothing),
        cmocka_unit_test(depthwise_channels),
        cmocka_unit_test(columns_above_a_step),
        cmocka_unit_test(weights_that_are_waited_for),
        cmocka_unit_test(maps_that_spill),
        cmocka_unit_test(tables_in_place_of_relu),
        cmocka_unit_test(sixteen_bits),
        cmocka_unit_test(another_core),
        cmocka_unit_test(layers_on_the_cpu),
        cmocka_unit_test(small_maps),
        cmocka_unit_test(never_more_than_asked_for),
        cmocka_unit_test(every_quota_ends_well),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
