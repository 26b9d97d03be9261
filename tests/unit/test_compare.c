/* Comparing reports: what is matched, what is gained and lost, what gates say, and reports that a stranger made. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check/check.h"
#include "core/job/compare.h"
#include "core/job/compile_model.h"

struct fixture {
    struct arena arena;
    struct compare_side base, head;
    struct gates gates;
    struct compare_result r;
    struct bpu_error err;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    if (!f)
        return -1;
    arena_init(&f->arena, (size_t)256 << 20);
    compare_side_init(&f->base, &f->arena, "base");
    compare_side_init(&f->head, &f->arena, "head");
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    arena_fini(&f->arena);
    free(f);
    return 0;
}

static void ok(struct fixture *f, bool done)
{
    if (!done)
        fail_msg("%s: %s", f->err.where, f->err.message);
}

static void take(struct fixture *f, struct compare_side *s, const char *json)
{
    ok(f, compare_side_read(s, json, strlen(json), &f->err));
}

static void compare(struct fixture *f, const char *base, const char *head)
{
    take(f, &f->base, base);
    take(f, &f->head, head);
    ok(f, compare_sides(&f->arena, &f->base, &f->head, &f->gates, &f->r, &f->err));
}

static void gates_set(struct fixture *f, const char *option, const char *value)
{
    const struct job_option o = {option, value};
    ok(f, gates_read(&o, 1, GATES_OF_COMPARISON, &f->gates, &f->err));
}

/* "a=Conv2d:1x8x8x16:9.5 b=…" as layers: name, operator, shape, microseconds; '!' behind it: without operations. */
static char *compiled(struct fixture *f, const char *layers)
{
    struct buf b;
    buf_init(&b, (size_t)64 << 20);
    buf_puts(&b, "{\"schema\":\"bpuhub.compile/1\",\"model\":{\"id\":\"x\",\"name\":\"n\",\"format\":\"onnx\"},"
                 "\"march\":\"bayes\",\"verdict\":\"legal\",\"summary\":{\"predicted_us\":100},\"layers\":[");
    for (const char *p = layers; *p;) {
        char name[64], op[64], shape[64];
        double us;
        int n = 0;
        assert_int_equal(sscanf(p, "%63[^=]=%63[^:]:%63[^:]:%lf%n", name, op, shape, &us, &n), 4);
        p += n;
        bool idle = *p == '!';
        p += idle;
        p += strspn(p, " ");
        for (char *x = shape; *x; x++)
            *x = *x == 'x' ? ',' : *x;
        buf_printf(&b, "%s{\"name\":\"%s\",\"op\":\"torch.nn.%s\",\"shape_nhwc\":[%s],\"macs\":%d,\"time_us\":%g,"
                       "\"ddr_load_bytes\":0,\"ddr_store_bytes\":0}",
                   buf_str(&b)[b.size - 1] == '[' ? "" : ",", name, op, shape, idle ? 0 : 1000, us);
    }
    buf_puts(&b, "]}");
    char *text = arena_strdup(&f->arena, buf_str(&b), &f->err);
    buf_fini(&b);
    assert_non_null(text);
    return text;
}

static const struct layer_change *change(struct fixture *f, const char *name)
{
    for (int i = 0; i < f->r.layer_count; i++) {
        const struct layer_change *x = &f->r.layers[i];
        if (strcmp(x->head ? x->head->name : x->base->name, name) == 0)
            return x;
    }
    return NULL;
}

static void counts(const struct fixture *f, int unchanged, int changed, int added, int removed, int fused, int split)
{
    const int *c = f->r.counts;
    if (f->r.unchanged != unchanged || c[LAYER_CHANGED] != changed || c[LAYER_ADDED] != added ||
        c[LAYER_REMOVED] != removed || c[LAYER_FUSED] != fused || c[LAYER_SPLIT] != split)
        fail_msg("%d unchanged, %d changed, %d added, %d removed, %d fused, %d split", f->r.unchanged, c[LAYER_CHANGED],
                 c[LAYER_ADDED], c[LAYER_REMOVED], c[LAYER_FUSED], c[LAYER_SPLIT]);
}

/* ── layers ── */

static void test_same(void **state)
{
    struct fixture *f = *state;
    char *a = compiled(f, "a=Conv2d:1x8x8x4:5 b=ReLU:1x8x8x4:1! c=Conv2d:1x4x4x8:9");
    compare(f, a, a);
    counts(f, 3, 0, 0, 0, 0, 0);
    assert_int_equal(f->r.layer_count, 0);
    assert_true(comparison_passed(&f->r));
}

static void test_order(void **state)
{
    struct fixture *f = *state;
    compare(f, compiled(f, "a=Conv2d:1x8x8x4:5 b=Conv2d:1x8x8x4:7 c=Conv2d:1x4x4x8:9"),
            compiled(f, "a=Conv2d:1x8x8x4:6 b=Conv2d:1x8x8x4:3 c=Conv2d:1x4x4x8:9"));
    counts(f, 1, 2, 0, 0, 0, 0);
    assert_string_equal(f->r.layers[0].head->name, "b"); /* -4 before +1 */
    assert_string_equal(f->r.layers[1].head->name, "a");
    assert_int_equal(f->r.by, LAYER_TIME);
}

/* Another exporter, other names: the same network. */
static void test_renamed(void **state)
{
    struct fixture *f = *state;
    compare(f, compiled(f, "conv1=Conv2d:1x8x8x4:5 conv2=Conv2d:1x8x8x4:7 pool=MaxPool2d:1x4x4x4:1! fc=Linear:1x1x1x8:2"),
            compiled(f, "Conv_0=Conv2d:1x8x8x4:5 Conv_1=Conv2d:1x8x8x4:8 MaxPool_2=MaxPool2d:1x4x4x4:1! Gemm_3=Linear:1x1x1x8:2"));
    counts(f, 3, 1, 0, 0, 0, 0);
    assert_int_equal(f->r.renamed, 4);
    assert_string_equal(f->r.layers[0].base->name, "conv2");
    assert_string_equal(f->r.layers[0].head->name, "Conv_1");
}

/* Numbered names move when a layer comes in; its shape says which one is new. */
static void test_numbered(void **state)
{
    struct fixture *f = *state;
    compare(f, compiled(f, "Conv_0=Conv2d:1x64x64x8:5 Conv_1=Conv2d:1x32x32x16:5 Conv_2=Conv2d:1x16x16x32:5 Conv_3=Conv2d:1x8x8x64:5"),
            compiled(f, "Conv_0=Conv2d:1x64x64x8:5 Conv_1=Conv2d:1x64x64x12:3 Conv_2=Conv2d:1x32x32x16:5 Conv_3=Conv2d:1x16x16x32:5 "
                        "Conv_4=Conv2d:1x8x8x64:5"));
    counts(f, 4, 0, 1, 0, 0, 0);
    assert_string_equal(f->r.layers[0].head->name, "Conv_1");
    assert_int_equal(f->r.layers[0].status, LAYER_ADDED);
}

/* A network at another resolution: all shapes differ, the names do not. */
static void test_resized(void **state)
{
    struct fixture *f = *state;
    compare(f, compiled(f, "a=Conv2d:1x112x112x8:4 b=Conv2d:1x56x56x8:2 c=Conv2d:1x28x28x8:1"),
            compiled(f, "a=Conv2d:1x56x56x8:1 b=Conv2d:1x28x28x8:1 c=Conv2d:1x14x14x8:1"));
    counts(f, 0, 3, 0, 0, 0, 0);
    assert_string_equal(change(f, "b")->base->name, "b");
    assert_true(change(f, "c")->reshaped); /* though its time is the same */
    assert_false(change(f, "c")->renamed);
}

/* Between two matched layers another operator of the same kind took the place of one. */
static void test_widened_and_renamed(void **state)
{
    struct fixture *f = *state;
    compare(f, compiled(f, "a=Conv2d:1x8x8x4:5 b=Conv2d:1x8x8x16:7 c=Linear:1x1x1x8:9"),
            compiled(f, "u=Conv2d:1x8x8x4:5 v=Conv2d:1x8x8x32:9 w=Linear:1x1x1x8:9"));
    counts(f, 2, 1, 0, 0, 0, 0);
    assert_string_equal(change(f, "v")->base->name, "b");
    assert_true(change(f, "v")->reshaped && change(f, "v")->renamed);
}

static void test_added_and_removed(void **state)
{
    struct fixture *f = *state;
    compare(f, compiled(f, "a=Conv2d:1x8x8x4:5 gone=MaxPool2d:1x4x4x4:2 c=Conv2d:1x4x4x8:9"),
            compiled(f, "a=Conv2d:1x8x8x4:5 c=Conv2d:1x4x4x8:9 new=Linear:1x1x1x8:4"));
    counts(f, 2, 0, 1, 1, 0, 0);
    assert_int_equal(change(f, "new")->status, LAYER_ADDED);
    assert_int_equal(change(f, "gone")->status, LAYER_REMOVED);
    assert_null(change(f, "gone")->head);
}

/* A layer that was two before. */
static void test_fused(void **state)
{
    struct fixture *f = *state;
    compare(f, compiled(f, "conv=Conv2d:1x8x8x4:5 relu=ReLU:1x8x8x4:3! last=Linear:1x1x1x8:1"),
            compiled(f, "conv=Conv2d:1x8x8x4:6 last=Linear:1x1x1x8:1"));
    counts(f, 1, 0, 0, 0, 1, 0);
    const struct layer_change *x = change(f, "conv");
    assert_int_equal(x->status, LAYER_FUSED);
    assert_string_equal(x->base_names, "conv + relu");
    assert_string_equal(x->head_names, "conv");
    assert_true(x->v[0][LAYER_TIME] == 8 && x->v[1][LAYER_TIME] == 6);
}

/* Fused layers may be named after the last module. */
static void test_fused_by_name(void **state)
{
    struct fixture *f = *state;
    compare(f, compiled(f, "conv=Conv2d:1x8x8x4:5 pool=MaxPool2d:1x4x4x4:3 last=Linear:1x1x1x8:1"),
            compiled(f, "pool=Conv2d:1x4x4x4:6 last=Linear:1x1x1x8:1"));
    counts(f, 1, 0, 0, 0, 1, 0);
    assert_string_equal(change(f, "pool")->base_names, "conv + pool");
}

static void test_split(void **state)
{
    struct fixture *f = *state;
    compare(f, compiled(f, "conv=Conv2d:1x8x8x4:6 last=Linear:1x1x1x8:1"),
            compiled(f, "conv=Conv2d:1x8x8x4:5 act=SiLU:1x8x8x4:3! add=add:1x8x8x4:1! last=Linear:1x1x1x8:1"));
    counts(f, 1, 0, 0, 0, 0, 1);
    assert_int_equal(change(f, "conv")->status, LAYER_SPLIT);
    assert_string_equal(change(f, "conv")->head_names, "conv + act + add");
    assert_true(change(f, "conv")->v[1][LAYER_TIME] == 9);
}

/* What has operations of its own is not fused, it is gone. */
static void test_not_fused(void **state)
{
    struct fixture *f = *state;
    compare(f, compiled(f, "a=Conv2d:1x8x8x4:5 b=ConvTranspose2d:1x8x8x4:3"), compiled(f, "a=Conv2d:1x8x8x4:6"));
    counts(f, 0, 1, 0, 1, 0, 0);
}

/* Several layers of one name, several of one shape, none at all. */
static void test_odd_lists(void **state)
{
    struct fixture *f = *state;
    char *same = compiled(f, "x=Conv2d:1x8x8x4:5 x=Conv2d:1x8x8x4:5 x=Conv2d:1x8x8x4:5");
    compare(f, same, compiled(f, "x=Conv2d:1x8x8x4:5 x=Conv2d:1x8x8x4:5"));
    counts(f, 2, 0, 0, 1, 0, 0);
    compare_side_init(&f->base, &f->arena, "base");
    compare_side_init(&f->head, &f->arena, "head");
    compare(f, compiled(f, ""), same);
    counts(f, 0, 0, 3, 0, 0, 0);
}

/* Longer than a table of a subsequence can be: paired in turn, none lost, none twice. */
static void test_long(void **state)
{
    enum { COUNT = 6000 };
    struct fixture *f = *state;
    struct buf b[2];
    for (int side = 0; side < 2; side++) {
        buf_init(&b[side], (size_t)16 << 20);
        buf_puts(&b[side], "{\"schema\":\"bpuhub.perf/1\",\"layers\":[");
        for (int i = 0; i < COUNT; i++)
            buf_printf(&b[side], "%s{\"name\":\"%c%d\",\"op\":\"op%d\",\"time_us\":1}", i ? "," : "", side ? 'h' : 'b', i,
                       (side ? i * 7 : i * 11) % 13);
        buf_puts(&b[side], "]}");
    }
    compare(f, buf_str(&b[0]), buf_str(&b[1]));
    assert_true(f->r.matched > COUNT * 9 / 10);
    assert_int_equal(f->r.matched + f->r.counts[LAYER_REMOVED], COUNT);
    assert_int_equal(f->r.matched + f->r.counts[LAYER_ADDED], COUNT);
    buf_fini(&b[0]);
    buf_fini(&b[1]);
}

/* ── findings ── */

static char *checked(struct fixture *f, const char *nodes, const char *findings)
{
    char *text = arena_printf(&f->arena, &f->err,
                              "{\"schema\":\"bpuhub.check/1\",\"model\":{\"id\":\"x\",\"name\":\"n\",\"format\":\"onnx\"},"
                              "\"march\":\"bayes\",\"verdict\":\"%s\",\"summary\":{\"nodes\":2},\"findings\":[%s]%s%s}",
                              strstr(findings, "error") ? "illegal" : "legal", findings, *nodes ? ",\"nodes\":" : "", nodes);
    assert_non_null(text);
    return text;
}

#define FINDING(rule, severity, node, op)                                                                               \
    "{\"rule\":\"" rule "\",\"severity\":\"" severity "\",\"node\":\"" node "\",\"op\":\"" op "\",\"message\":\"m\"}"
#define NODE(name, op, c)                                                                                               \
    "{\"name\":\"" name "\",\"op\":\"" op "\",\"verdict\":\"legal\",\"outputs\":[{\"shape\":[1," c ",8,8]}]}"

static void test_findings(void **state)
{
    struct fixture *f = *state;
    static const char nodes[] = "[" NODE("a", "conv", "4") "," NODE("b", "relu", "4") "," NODE("c", "conv", "8") "]";
    compare(f, checked(f, nodes, FINDING("k", "warning", "a", "conv") "," FINDING("s", "error", "c", "conv")),
            checked(f, nodes, FINDING("k", "advice", "a", "conv") "," FINDING("t", "warning", "a", "conv") ","
                              FINDING("s", "error", "b", "relu")));
    assert_int_equal(f->r.gained_count, 2);
    assert_string_equal(f->r.gained[0]->node, "b"); /* errors first */
    assert_string_equal(f->r.gained[1]->rule, "t");
    assert_int_equal(f->r.lost_count, 1);
    assert_string_equal(f->r.lost[0]->node, "c");
    assert_int_equal(f->r.graver_count, 1);
    assert_int_equal(f->r.kept_count, 0);
}

/* The same network under other names has the same findings; the node that really came is the gain. */
static void test_findings_renamed(void **state)
{
    struct fixture *f = *state;
    compare(f, checked(f, "[" NODE("a", "conv", "4") "," NODE("b", "conv", "8") "]",
                       FINDING("k", "warning", "a", "conv") "," FINDING("k", "warning", "b", "conv")),
            checked(f, "[" NODE("Conv_0", "conv", "4") "," NODE("Conv_1", "conv", "16") "," NODE("Conv_2", "conv", "8") "]",
                    FINDING("k", "warning", "Conv_0", "conv") "," FINDING("k", "warning", "Conv_1", "conv") ","
                    FINDING("k", "warning", "Conv_2", "conv")));
    assert_int_equal(f->r.kept_count, 2);
    assert_int_equal(f->r.gained_count, 1);
    assert_string_equal(f->r.gained[0]->node, "Conv_1");
    assert_int_equal(f->r.lost_count, 0);
}

/* One node is mended, another one breaks the same rule: a loss and a gain. */
static void test_findings_moved(void **state)
{
    struct fixture *f = *state;
    static const char nodes[] = "[" NODE("a", "conv", "4") "," NODE("b", "conv", "8") "]";
    compare(f, checked(f, nodes, FINDING("k", "warning", "a", "conv")), checked(f, nodes, FINDING("k", "warning", "b", "conv")));
    assert_int_equal(f->r.kept_count, 0);
    assert_int_equal(f->r.gained_count, 1);
    assert_int_equal(f->r.lost_count, 1);
}

/* Reports without nodes: by rule and operator. */
static void test_findings_alone(void **state)
{
    struct fixture *f = *state;
    compare(f, checked(f, "", FINDING("k", "warning", "a", "conv") "," FINDING("k", "warning", "b", "conv")),
            checked(f, "", FINDING("k", "warning", "z", "conv")));
    assert_int_equal(f->r.kept_count, 1);
    assert_int_equal(f->r.gained_count, 0);
    assert_int_equal(f->r.lost_count, 1);
}

/* ── figures ── */

static double value(const struct fixture *f, int side, enum figure which)
{
    assert_true(f->r.figures[side][which].known);
    return f->r.figures[side][which].v;
}

static void test_figures(void **state)
{
    struct fixture *f = *state;
    compare(f,
            "{\"schema\":\"bpuhub.compile/1\",\"summary\":{\"predicted_us\":50,\"fps\":{\"availability\":\"unavailable\","
            "\"reason\":\"no clock\"},\"ddr_load_bytes\":100,\"ddr_store_bytes\":20,\"macs\":7,\"bound_us\":1},"
            "\"ddr\":{\"spills_bytes\":3}}",
            "{\"schema\":\"bpuhub.perf/1\",\"summary\":{\"latency (us)\":40.5,\"FPS\":9,\"loaded bytes per run\":100,"
            "\"stored bytes per run\":10,\"BPU OPs per run (effective)\":14,\"bound_us\":2},\"traffic\":{\"spills_bytes\":3}}");
    assert_true(value(f, 0, FIGURE_LATENCY) == 50 && value(f, 1, FIGURE_LATENCY) == 40.5);
    assert_true(value(f, 0, FIGURE_DDR) == 120 && value(f, 1, FIGURE_DDR) == 110);
    assert_true(value(f, 0, FIGURE_OPS) == 14 && value(f, 1, FIGURE_OPS) == 14);
    assert_true(value(f, 1, FIGURE_SPILLS) == 3);
    assert_false(f->r.figures[0][FIGURE_FPS].known);
    assert_string_equal(f->r.figures[0][FIGURE_FPS].why_not, "no clock");
    assert_false(f->r.figures[0][FIGURE_BOUND].known); /* each kind means another bound */
    assert_int_equal(compare_outcome(FIGURE_LATENCY, 50, 40.5), -1);
    assert_int_equal(compare_outcome(FIGURE_FPS, 50, 40.5), 1);
    assert_int_equal(compare_outcome(FIGURE_OPS, 1, 2), 0);
}

static void test_accuracy(void **state)
{
    struct fixture *f = *state;
    gates_set(f, "max_regression", "top1=1%,sqnr=10%");
    compare(f,
            "{\"schema\":\"bpuhub.evaluate/1\",\"fixed\":{\"top1\":0.75},\"float\":{\"top1\":0.8},\"loss_points\":5,"
            "\"outputs\":[{\"accumulated\":{\"sqnr_db\":30}},{\"accumulated\":{\"sqnr_db\":28}}],"
            "\"layers\":[{\"name\":\"w\",\"op\":\"conv\",\"accumulated\":{\"sqnr_db\":20}},"
            "{\"name\":\"v\",\"op\":\"conv\",\"accumulated\":{\"sqnr_db\":25}}]}",
            "{\"schema\":\"bpuhub.evaluate/1\",\"fixed\":{\"top1\":0.72},\"float\":{\"top1\":0.8},\"loss_points\":8,"
            "\"outputs\":[{\"accumulated\":{\"sqnr_db\":27}}],"
            "\"layers\":[{\"name\":\"v\",\"op\":\"conv\",\"accumulated\":{\"sqnr_db\":15}},"
            "{\"name\":\"w\",\"op\":\"conv\",\"accumulated\":{\"sqnr_db\":20}}]}");
    assert_true(value(f, 0, FIGURE_SQNR) == 28 && value(f, 1, FIGURE_SQNR) == 27);
    counts(f, 1, 1, 0, 0, 0, 0); /* the lists stand by merit, names decide */
    assert_true(change(f, "v")->v[1][LAYER_SQNR] == 15);
    assert_false(f->r.gates.items[0].passed); /* 4 % worse */
    assert_true(f->r.gates.items[1].passed);
    assert_false(comparison_passed(&f->r));
}

static void test_nothing_in_common(void **state)
{
    struct fixture *f = *state;
    take(f, &f->base, "{\"schema\":\"bpuhub.evaluate/1\",\"fixed\":{\"top1\":0.75}}");
    take(f, &f->head, "{\"schema\":\"bpuhub.compile/1\",\"summary\":{\"predicted_us\":50}}");
    assert_false(compare_sides(&f->arena, &f->base, &f->head, NULL, &f->r, &f->err));
    assert_int_equal(f->err.code, BPU_NOT_COMPARABLE);
    assert_non_null(strstr(f->err.message, "evaluate"));
}

/* Two reports of one model are one side. */
static void test_merged(void **state)
{
    struct fixture *f = *state;
    char *layers = compiled(f, "a=Conv2d:1x8x8x4:5");
    take(f, &f->base, layers);
    take(f, &f->base, checked(f, "", FINDING("k", "warning", "a", "conv")));
    compare(f, layers, checked(f, "", "")); /* the third report of the base changes nothing */
    assert_string_equal(f->r.base->kinds, "compile, check, compile");
    assert_int_equal(f->r.lost_count, 1);
    assert_non_null(f->r.no_layers);
}

/* ── gates ── */

static void test_gates_read(void **state)
{
    struct fixture *f = *state;
    static const char *const bad[][2] = {
        {"max_latency_us", ""}, {"max_latency_us", "fast"}, {"max_latency_us", "-1"}, {"max_latency_us", "1us"},
        {"max_latency_us", "nan"}, {"max_latency_us", "inf"}, {"max_latency_us", "0x10"}, {"min_fps", "1e999"},
        {"max_ddr_mb", " 3"}, {"max_regression", ""}, {"max_regression", "%"}, {"max_regression", "3%%"},
        {"max_regression", "3%,"}, {"max_regression", "speed=3%"}, {"max_regression", "ops=3%"},
        {"max_regression", "latency="}, {"max_regression", "=3%"}, {"max_regression", "latency=-3%"},
        {"fail_on", "error"}, {"fail_on", "new"}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const struct job_option o = {bad[i][0], bad[i][1]};
        struct bpu_error err = {0};
        if (gates_read(&o, 1, GATES_OF_COMPARISON, &f->gates, &err))
            fail_msg("%s=%s is taken", bad[i][0], bad[i][1]);
        assert_int_equal(err.code, BPU_BAD_OPTION);
        assert_string_equal(err.where, bad[i][0]);
        assert_true(err.hint[0]);
    }
    gates_set(f, "max_regression", "fps=1%,3,latency=5%");
    assert_int_equal(f->gates.count, 3);
    assert_int_equal(f->gates.items[0].figure, FIGURE_FPS);
    assert_int_equal(f->gates.items[1].figure, FIGURE_LATENCY); /* the one with a name wins */
    assert_true(f->gates.items[1].limit == 5);
    assert_true(f->gates.items[2].figure == FIGURE_DDR && f->gates.items[2].limit == 3);
    assert_string_equal(gate_option_of_flag("max-ddr-mb"), "max_ddr_mb");
    assert_null(gate_option_of_flag("max-ddr"));
    assert_null(gate_option_of_flag("max-ddr-mbx"));
}

static void test_gate_scopes(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *key, *value;
        bool program, check;
    } all[] = {{"max_latency_us", "1", true, false}, {"min_fps", "1", true, false}, {"max_ddr_mb", "1", true, false},
               {"max_regression", "1%", false, false}, {"fail_on", "warning", false, true}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        const struct job_option o = {all[i].key, all[i].value};
        struct bpu_error err[3] = {{0}};
        assert_int_equal(gates_read(&o, 1, GATES_OF_PROGRAM, &f->gates, &err[0]), all[i].program);
        assert_int_equal(gates_read(&o, 1, GATES_OF_CHECK, &f->gates, &err[1]), all[i].check);
        assert_false(gates_read(&o, 1, GATES_OF_NOTHING, &f->gates, &err[2]));
        assert_true(gate_option(all[i].key));
    }
    assert_false(gate_option("opt"));
}

/* Each gate says what was measured, the limit, and by how much. */
static void test_gates_judged(void **state)
{
    struct fixture *f = *state;
    const struct job_option options[] = {{"max_latency_us", "90"}, {"min_fps", "9"}, {"max_ddr_mb", "2"},
                                         {"max_regression", "latency=3%,ddr=5%"}, {"fail_on", "new-findings"}};
    ok(f, gates_read(options, 5, GATES_OF_COMPARISON, &f->gates, &f->err));
    compare(f, "{\"schema\":\"bpuhub.perf/1\",\"summary\":{\"latency (us)\":96,\"DDR bytes per run\":0}}",
            "{\"schema\":\"bpuhub.perf/1\",\"summary\":{\"latency (us)\":99,\"FPS\":10,\"DDR bytes per run\":1048576}}");
    const struct gate *g = f->r.gates.items;
    assert_int_equal(f->r.gates.count, 6);
    assert_false(g[0].passed);
    assert_true(g[0].measured == 99 && g[0].over == 9);
    assert_string_equal(g[0].text, "latency is 99 us, 9 us above the limit of 90 (10 %)");
    assert_true(g[1].passed);
    assert_true(g[2].passed && g[2].measured == 1); /* 2^20 bytes */
    assert_false(g[3].passed);
    assert_true(fabs(g[3].over - .125) < 1e-12);
    assert_string_equal(g[3].text, "latency was 96.00 us and is 99.00 us, 3.125 % worse, 0.125 points above the limit of 3 %");
    assert_false(g[4].passed); /* from nothing to something */
    assert_true(isinf(g[4].measured));
    assert_false(g[5].passed); /* not known is not passed */
    assert_false(g[5].known);
    assert_false(comparison_passed(&f->r));
    struct buf out;
    buf_init(&out, 1 << 20);
    ok(f, report_compare_json(&f->r, &out, &f->err));
    json_t *doc = json_loadb(out.data, out.size, 0, NULL), *gates = json_object_get(doc, "gates");
    assert_true(json_is_false(json_object_get(gates, "passed")));
    assert_int_equal(json_array_size(json_object_get(gates, "results")), 6);
    json_decref(doc);
    buf_fini(&out);
}

static void test_gate_on_findings(void **state)
{
    static const struct {
        const char *word;
        bool passes;
    } words[] = {{"new-errors", true}, {"new-warnings", false}, {"new-findings", false}};
    for (size_t i = 0; i < 3; i++) {
        struct fixture *f = *state;
        compare_side_init(&f->base, &f->arena, "base");
        compare_side_init(&f->head, &f->arena, "head");
        gates_set(f, "fail_on", words[i].word);
        compare(f, checked(f, "", FINDING("k", "advice", "a", "conv")),
                checked(f, "", FINDING("k", "warning", "a", "conv") "," FINDING("j", "advice", "a", "conv")));
        assert_int_equal(gates_passed(&f->r.gates), words[i].passes); /* what became graver counts as gained */
    }
}

/* An illegal head fails without any gate, as a check does. */
static void test_illegal(void **state)
{
    struct fixture *f = *state;
    compare(f, checked(f, "", ""), checked(f, "", FINDING("k", "error", "a", "conv")));
    assert_false(comparison_passed(&f->r));
}

/* ── what comes out ── */

static void test_json(void **state)
{
    struct fixture *f = *state;
    compare(f, compiled(f, "a=Conv2d:1x8x8x4:5 <b>=ReLU:1x4x4x4:1"), compiled(f, "a=Conv2d:1x8x8x4:6 c=Linear:1x1x1x4:1"));
    struct buf out;
    buf_init(&out, 1 << 20);
    ok(f, report_compare_json(&f->r, &out, &f->err));
    json_t *doc = json_loadb(out.data, out.size, JSON_REJECT_DUPLICATES, NULL);
    assert_string_equal(json_string_value(json_object_get(doc, "schema")), "bpuhub.compare/1");
    json_t *layers = json_object_get(doc, "layers"), *items = json_object_get(layers, "items");
    assert_int_equal(json_integer_value(json_object_get(layers, "matched")), 1);
    assert_int_equal(json_array_size(items), 3);
    json_t *time = json_object_get(json_array_get(items, 1), "time_us");
    assert_non_null(time);
    json_t *figures = json_object_get(json_object_get(doc, "figures"), "latency_us");
    assert_string_equal(json_string_value(json_object_get(figures, "outcome")), "same");
    assert_non_null(json_object_get(json_object_get(doc, "findings"), "availability"));
    json_decref(doc);
    buf_clear(&out);
    ok(f, report_compare_html(&f->r, &out, &f->err));
    assert_null(strstr(buf_str(&out), "<b>=")); /* names are text */
    assert_non_null(strstr(buf_str(&out), "&lt;b&gt;"));
    assert_null(strstr(buf_str(&out), "<script"));
    assert_null(strstr(buf_str(&out), "http"));
    buf_clear(&out);
    ok(f, report_compare_text(&f->r, &out, &f->err));
    assert_non_null(strstr(buf_str(&out), "removed  <b>"));
    buf_fini(&out);
}

/* ── strangers ── */

static void refused(const char *json, size_t size, enum bpu_code code)
{
    struct arena a;
    struct compare_side s;
    struct bpu_error err = {0};
    arena_init(&a, (size_t)16 << 20);
    compare_side_init(&s, &a, "head");
    if (compare_side_read(&s, json, size, &err))
        fail_msg("taken: %.*s", (int)size, json);
    if (err.code != code)
        fail_msg("%s: %s (%s)", error_code_name(err.code), err.message, json);
    assert_string_equal(err.where, "head");
    arena_fini(&a);
}

static void test_no_reports(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "{",
                                      "[]",
                                      "null",
                                      "{}",
                                      "{\"schema\":1}",
                                      "{\"schema\":\"bpuhub.graph/1\"}",
                                      "{\"schema\":\"bpuhub.check\"}",
                                      "{\"schema\":\"bpuhub.compare/1\"}",
                                      "{\"schema\":\"check/1\"}",
                                      "{\"schema\":\"bpuhub.check/1\",\"schema\":\"bpuhub.check/1\"}",
                                      "{\"schema\":\"bpuhub.check/1\"} x",
                                      "{\"schema\":\"bpuhub.check/1\",\"x\":NaN}",
                                      "{\"schema\":\"\\u0000\"}",
                                      "{\"schema\":\"\xff\"}"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        refused(bad[i], strlen(bad[i]), BPU_BAD_REPORT);
    char deep[256];
    memset(deep, '[', sizeof deep);
    refused(deep, sizeof deep, BPU_LIMIT);
}

/* Types that are not what they should be are as good as not there. */
static void test_wrong_types(void **state)
{
    struct fixture *f = *state;
    static const char odd[] =
        "{\"schema\":\"bpuhub.check/1\",\"model\":[],\"march\":7,\"verdict\":{},\"options\":\"x\",\"summary\":[1],"
        "\"ddr\":3,\"findings\":[1,null,[],{},{\"rule\":4,\"severity\":[],\"node\":{}}],\"nodes\":[{},7,"
        "{\"name\":1,\"op\":[],\"outputs\":{},\"shape\":[1,2,3,4,5,6,7,8,9]},{\"outputs\":[[]]},"
        "{\"outputs\":[{\"shape\":[null,1.5,\"x\"]}],\"time_us\":\"fast\",\"macs\":1e308}],"
        "\"layers\":{\"a\":1},\"outputs\":{\"a\":1},\"fixed\":[],\"loss_points\":\"5\"}";
    compare(f, odd, odd);
    assert_int_equal(f->r.kept_count, 2);
    assert_int_equal(f->r.gained_count, 0);
    struct buf out;
    buf_init(&out, 1 << 20);
    ok(f, report_compare_json(&f->r, &out, &f->err));
    json_t *doc = json_loadb(out.data, out.size, 0, NULL);
    assert_non_null(doc);
    json_decref(doc);
    buf_fini(&out);
}

/* Every beginning of a report, and every report with one byte changed, is refused or compared. */
static void test_damaged(void **state)
{
    struct fixture *f = *state;
    char *text = compiled(f, "a=Conv2d:1x8x8x4:5 b=ReLU:1x8x8x4:3!"), *copy = strdup(text);
    size_t n = strlen(text);
    int taken = 0;
    assert_non_null(copy);
    for (size_t i = 0; i < 2 * n; i++) {
        struct arena a;
        struct compare_side base, head;
        struct compare_result r;
        struct bpu_error err = {0};
        size_t size = i < n ? i : n;
        memcpy(copy, text, n);
        if (i >= n)
            copy[i - n] = (char)(copy[i - n] ^ (1 << i % 7));
        arena_init(&a, (size_t)4 << 20);
        compare_side_init(&base, &a, "base");
        compare_side_init(&head, &a, "head");
        bool good = compare_side_read(&base, text, n, &err) && compare_side_read(&head, copy, size, &err) &&
                    compare_sides(&a, &base, &head, NULL, &r, &err);
        assert_int_equal(good, err.code == BPU_NONE);
        assert_true(good || err.message[0]);
        taken += good;
        arena_fini(&a);
    }
    assert_true(taken > 50); /* most changes of a name or a number */
    free(copy);
}

/* The 1st, 2nd … Nth allocation fails: an error, and nothing leaks. */
static void test_no_memory(void **state)
{
    struct fixture *f = *state;
    char *base = checked(f, "[" NODE("a", "conv", "4") "," NODE("b", "relu", "4") "]", FINDING("k", "warning", "a", "conv"));
    char *layers[] = {compiled(f, "a=Conv2d:1x8x8x4:5 r=ReLU:1x8x8x4:3! c=Linear:1x1x1x8:2"),
                      compiled(f, "u=Conv2d:1x8x8x4:6 c=Linear:1x1x1x9:2 d=Linear:1x1x1x8:2")};
    int failed = 0;
    for (long at = 0;; at++) {
        struct arena a;
        struct compare_side s[2];
        struct compare_result r;
        struct bpu_error err = {0};
        bool good = true;
        arena_init(&a, (size_t)64 << 20);
        a.fail_after = at;
        for (int i = 0; i < 2 && good; i++) {
            compare_side_init(&s[i], &a, i ? "head" : "base");
            good = compare_side_read(&s[i], layers[i], strlen(layers[i]), &err) &&
                   compare_side_read(&s[i], base, strlen(base), &err);
        }
        good = good && compare_sides(&a, &s[0], &s[1], NULL, &r, &err);
        assert_int_equal(good, err.code == BPU_NONE);
        arena_fini(&a);
        if (good)
            break;
        assert_int_equal(err.code, BPU_NO_MEMORY);
        failed++;
        assert_true(at < 10000);
    }
    assert_true(failed > 50);
}

static void test_is_report(void **state)
{
    (void)state;
    static const char report[] = " \n{\"schema\": \"bpuhub.perf/1\"}", graph[] = "{\"format\": \"bpuhub.graph/1\"}",
                      other[] = "{\"a\": 1}", onnx[] = "\x08\x07";
    assert_true(compare_is_report(report, sizeof report - 1));
    assert_false(compare_is_report(graph, sizeof graph - 1));
    assert_false(compare_is_report(other, sizeof other - 1));
    assert_false(compare_is_report(onnx, sizeof onnx - 1));
    assert_false(compare_is_report("", 0));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_same), T(test_order), T(test_renamed), T(test_numbered), T(test_resized), T(test_widened_and_renamed),
        T(test_added_and_removed), T(test_fused), T(test_fused_by_name), T(test_split), T(test_not_fused),
        T(test_odd_lists), T(test_long), T(test_findings), T(test_findings_renamed), T(test_findings_moved),
        T(test_findings_alone), T(test_figures), T(test_accuracy), T(test_nothing_in_common), T(test_merged),
        T(test_gates_read), T(test_gate_scopes), T(test_gates_judged), T(test_gate_on_findings), T(test_illegal),
        T(test_json), T(test_no_reports), T(test_wrong_types), T(test_damaged), T(test_no_memory), T(test_is_report),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
