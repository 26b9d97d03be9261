/* Quantized ONNX: both forms of a network give the same graph and the same findings; each fixture
 * keeps its meaning on the way through graph JSON; what is wrong is refused at its node; numbers of
 * some are compared one by one. */
#include <glob.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/check/check.h"
#include "core/export/export.h"
#include "core/import/import.h"
#include "core/import/onnx.h"
#include "core/ops/op.h"

#define FOLDER "tests/fixtures/quantized/"
#define QUOTA ((size_t)256 << 20)

struct loaded {
    struct arena arena;
    unsigned char *bytes;
    size_t size;
    struct graph *graph;
    struct bpu_error err;
};

static void load(const char *path, struct loaded *l)
{
    memset(l, 0, sizeof *l);
    FILE *f = fopen(path, "rb");
    if (!f)
        fail_msg("%s is missing; run the tests from the root of the tree", path);
    l->bytes = malloc((size_t)1 << 20);
    assert_non_null(l->bytes);
    l->size = fread(l->bytes, 1, (size_t)1 << 20, f);
    fclose(f);
    struct import_request req = {.data = l->bytes, .size = l->size, .name = "test"};
    arena_init(&l->arena, QUOTA);
    l->graph = import_model(&l->arena, &req, &l->err);
}

static struct graph *load_good(const char *name, struct loaded *l)
{
    char path[256];
    snprintf(path, sizeof path, FOLDER "%s.onnx", name);
    load(path, l);
    if (!l->graph)
        fail_msg("%s: %s: %s", path, l->err.where, l->err.message);
    assert_true(graph_verify(l->graph, &l->err));
    return l->graph;
}

static void unload(struct loaded *l)
{
    arena_fini(&l->arena);
    free(l->bytes);
}

static struct node *node_of(struct graph *g, const char *name)
{
    struct node *n = graph_find_node(g, name);
    if (!n)
        fail_msg("there is no node %s", name);
    return n;
}

static bool noted(const struct graph *g, const char *text)
{
    for (int i = 0; i < g->note_count; i++)
        if (strstr(g->notes[i], text))
            return true;
    return false;
}

/* ── two forms, one graph ── */

/* What a consumer reads: quantization from where it stands, identity from the node that makes it.
 */
static void same_value(const char *at, struct value *a, struct value *b)
{
    if (!a || !b) {
        if (a || b)
            fail_msg("%s: an operand is left out in one form", at);
        return;
    }
    if (a->dtype != b->dtype || !shape_equal(&a->shape, &b->shape))
        fail_msg("%s: %s %s, %s %s", at, a->name, dtype_name(a->dtype), b->name,
                 dtype_name(b->dtype));
    if (a->quant.count != b->quant.count || (a->quant.count > 1 && a->quant.axis != b->quant.axis))
        fail_msg("%s: %d scales along %d and %d along %d", at, a->quant.count, a->quant.axis,
                 b->quant.count, b->quant.axis);
    for (int i = 0; i < a->quant.count; i++) {
        int64_t za = a->quant.zero_point ? a->quant.zero_point[i] : 0;
        int64_t zb = b->quant.zero_point ? b->quant.zero_point[i] : 0;
        if (a->quant.scale[i] != b->quant.scale[i] || za != zb)
            fail_msg("%s: scale %d is %.9g and %.9g, zero point %lld and %lld", at, i,
                     a->quant.scale[i], b->quant.scale[i], (long long)za, (long long)zb);
    }
    if (!a->constant != !b->constant)
        fail_msg("%s: one is a constant, one is not", at);
    /* graph JSON leaves out the content of weights */
    if (a->constant && b->constant->data &&
        (a->constant->bytes != b->constant->bytes || !a->constant->data ||
         memcmp(a->constant->data, b->constant->data, a->constant->bytes) != 0))
        fail_msg("%s: the constants differ", at);
    const struct node *pa = value_source(a)->producer, *pb = value_source(b)->producer;
    if (!a->constant && ((pa == NULL) != (pb == NULL) || (pa && strcmp(pa->name, pb->name) != 0)))
        fail_msg("%s: made by %s and %s", at, pa ? pa->name : "(input)", pb ? pb->name : "(input)");
}

static void same_attrs(const struct node *a, const struct node *b)
{
    if (a->attr_count != b->attr_count)
        fail_msg("%s: %d and %d attributes", a->name, a->attr_count, b->attr_count);
    for (int i = 0; i < a->attr_count; i++) {
        const struct attr *x = &a->attrs[i], *y = node_attr(b, x->name);
        bool same = y && y->kind == x->kind && y->count == x->count;
        if (same && x->kind == ATTR_INTS)
            same = memcmp(x->ints, y->ints, (size_t)x->count * sizeof *x->ints) == 0;
        else if (same && x->kind == ATTR_FLOAT)
            same = x->f == y->f;
        else if (same && x->kind == ATTR_STRING)
            same = strcmp(x->s, y->s) == 0;
        else if (same && x->kind != ATTR_NONE)
            same = x->i == y->i;
        if (!same)
            fail_msg("%s: attribute %s differs", a->name, x->name);
    }
}

static void same_node(const struct node *a, const struct node *b)
{
    char at[200];
    if (strcmp(a->name, b->name) != 0 || strcmp(a->op_name, b->op_name) != 0)
        fail_msg("%s is %s in one form, %s is %s in the other", a->name, a->op_name, b->name,
                 b->op_name);
    same_attrs(a, b);
    assert_int_equal(a->input_count, b->input_count);
    for (int i = 0; i < a->input_count; i++) {
        snprintf(at, sizeof at, "%s, input %d", a->name, i);
        same_value(at, a->inputs[i], b->inputs[i]);
    }
    assert_int_equal(a->param_count, b->param_count);
    for (int i = 0; i < a->param_count; i++) {
        snprintf(at, sizeof at, "%s, %s", a->name, a->params[i].name);
        assert_string_equal(a->params[i].name, b->params[i].name);
        same_value(at, a->params[i].value, b->params[i].value);
    }
    assert_int_equal(a->output_count, b->output_count);
    for (int i = 0; i < a->output_count; i++) {
        snprintf(at, sizeof at, "%s, output %d", a->name, i);
        same_value(at, a->outputs[i], b->outputs[i]);
    }
}

static const struct node *next_live(const struct graph *g, int *at)
{
    while (*at < g->node_count && g->nodes[*at]->fold != FOLD_NONE)
        ++*at;
    return *at < g->node_count ? g->nodes[(*at)++] : NULL;
}

static int same_graph(const struct graph *a, const struct graph *b)
{
    int i = 0, k = 0, count = 0;
    for (;; count++) {
        const struct node *x = next_live(a, &i), *y = next_live(b, &k);
        if (!x && !y)
            break;
        if (!x || !y)
            fail_msg("%s is in one form only", x ? x->name : y->name);
        same_node(x, y);
    }
    return count;
}

/* The verdict and each finding by rule, severity, node and actual value. */
static void same_findings(const char *name, struct graph *a, struct graph *b)
{
    size_t marches;
    const struct march *const *march = march_list(&marches);
    assert_true(marches >= 2);
    for (size_t m = 0; m < marches; m++) {
        struct bpu_error err = {0};
        struct check_options options = {.advice_us = -1};
        struct check_result *x = check_graph(a, march[m], &options, &err);
        struct check_result *y = check_graph(b, march[m], &options, &err);
        if (!x || !y)
            fail_msg("%s: %s", name, err.message);
        assert_int_equal(x->legal, y->legal);
        for (int i = 0; i < x->finding_count || i < y->finding_count; i++) {
            const struct finding *f = i < x->finding_count ? &x->findings[i] : NULL;
            const struct finding *h = i < y->finding_count ? &y->findings[i] : NULL;
            if (!f || !h || strcmp(f->rule, h->rule) != 0 || f->severity != h->severity ||
                !f->node != !h->node || (f->node && strcmp(f->node->name, h->node->name) != 0) ||
                strcmp(f->actual ? f->actual : "", h->actual ? h->actual : "") != 0)
                fail_msg("%s on %s: finding %d is %s at %s, and %s at %s", name,
                         march_name(march[m]), i, f ? f->rule : "none",
                         f && f->node ? f->node->name : "", h ? h->rule : "none",
                         h && h->node ? h->node->name : "");
        }
    }
}

static int known_weights(const struct graph *g)
{
    int count = 0;
    for (int i = 0; i < g->node_count; i++)
        for (int k = 0; k < g->nodes[i]->param_count; k++)
            count += value_is_known(g->nodes[i]->params[k].value);
    return count;
}

static void both_forms_are_one_graph(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int live, weights;
    } nets[] = {{"small_net", 10, 5}, {"activations", 8, 0}, {"matrices", 7, 2}};
    for (size_t i = 0; i < sizeof nets / sizeof nets[0]; i++) {
        struct loaded a, b;
        char name[64];
        snprintf(name, sizeof name, "%s.qdq", nets[i].name);
        load_good(name, &a);
        snprintf(name, sizeof name, "%s.qop", nets[i].name);
        load_good(name, &b);
        assert_int_equal(same_graph(a.graph, b.graph), nets[i].live);
        assert_int_equal(known_weights(a.graph), nets[i].weights);
        assert_int_equal(known_weights(b.graph), nets[i].weights);
        same_findings(nets[i].name, a.graph, b.graph);
        unload(&a);
        unload(&b);
    }
}

/* ── through graph JSON ── */

/* What nodes with an effect read as a constant has the same content and scales in both. */
static void same_constant(const struct value *a, const struct value *b)
{
    if (!a || !value_is_known(a))
        return;
    if (!b || !value_is_known(b) || b->dtype != a->dtype || !shape_equal(&a->shape, &b->shape) ||
        a->constant->bytes != b->constant->bytes ||
        memcmp(a->constant->data, b->constant->data, a->constant->bytes) != 0)
        fail_msg("the content of \"%s\" is lost", a->name);
    assert_int_equal(a->quant.count, b->quant.count);
    for (int i = 0; i < a->quant.count; i++) {
        assert_true(a->quant.scale[i] == b->quant.scale[i]);
        assert_int_equal(a->quant.zero_point ? a->quant.zero_point[i] : 0,
                         b->quant.zero_point ? b->quant.zero_point[i] : 0);
    }
}

static void same_constants(const struct graph *a, const struct graph *b)
{
    for (int i = 0; i < a->node_count; i++) {
        const struct node *x = a->nodes[i], *y = graph_find_node(b, x->name);
        if (x->fold != FOLD_NONE)
            continue;
        assert_non_null(y);
        for (int k = 0; k < x->input_count; k++)
            same_constant(x->inputs[k], node_input(y, k));
        for (int k = 0; k < x->param_count; k++)
            same_constant(x->params[k].value, node_param(y, x->params[k].name));
    }
}

static void through_json(const char *path)
{
    struct loaded l;
    struct buf text;
    struct arena arena;
    load(path, &l);
    if (!l.graph)
        fail_msg("%s: refused: %s: %s", path, l.err.where, l.err.message);
    buf_init(&text, BUF_DEFAULT_CAP);
    arena_init(&arena, QUOTA);
    assert_true(export_graph_json(l.graph, &text, true, &l.err));
    struct import_request req = {
        .data = (const unsigned char *)buf_str(&text), .size = text.size, .name = "graph.json"};
    struct graph *again = import_model(&arena, &req, &l.err);
    if (!again)
        fail_msg("%s: as graph JSON: %s: %s", path, l.err.where, l.err.message);
    same_graph(l.graph, again);
    same_constants(l.graph, again);
    same_findings(path, l.graph, again);
    arena_fini(&arena);
    buf_fini(&text);
    unload(&l);
}

static size_t each(const char *pattern, void (*fn)(const char *path))
{
    glob_t found;
    if (glob(pattern, 0, NULL, &found) != 0)
        fail_msg("%s is missing; run the tests from the root of the tree", pattern);
    size_t count = found.gl_pathc;
    for (size_t i = 0; i < count; i++)
        fn(found.gl_pathv[i]);
    globfree(&found);
    return count;
}

static void graph_json_keeps_what_was_read(void **state)
{
    (void)state;
    assert_true(each(FOLDER "one_*.onnx", through_json) > 20);
    assert_int_equal(each(FOLDER "*.q[do][qp].onnx", through_json), 6);
    assert_int_equal(each(FOLDER "torch_*.onnx", through_json), 2);
}

/* ── refused ── */

static void refuse(const char *path)
{
    struct loaded l;
    load(path, &l);
    if (l.graph)
        fail_msg("%s was read, but must be refused", path);
    if ((l.err.code != BPU_BAD_MODEL && l.err.code != BPU_UNSUPPORTED) ||
        strncmp(l.err.where, "node \"", 6) != 0 || !l.err.message[0])
        fail_msg("%s: [%s] at \"%s\": %s", path, error_code_name(l.err.code), l.err.where,
                 l.err.message);
    unload(&l);
}

static void wrong_files_are_refused_at_their_node(void **state)
{
    (void)state;
    assert_true(each(FOLDER "bad_*.onnx", refuse) > 25);
    static const struct {
        const char *file, *says, *where;
        enum bpu_code code;
    } cases[] = {
        {"scale_negative", "is -0.5", "\"conv\" (QLinearConv)", BPU_BAD_MODEL},
        {"qdq_scale_nan", "is nan", "\"q_x_q\" (QuantizeLinear)", BPU_BAD_MODEL},
        {"scale_count", "3 scales do not fit axis 0", "\"conv\" (QLinearConv)", BPU_BAD_MODEL},
        {"zero_point_type", "type int8, its zero point of type uint8", "\"conv\"", BPU_BAD_MODEL},
        {"missing_operand", "scale of the result is missing", "\"conv\"", BPU_BAD_MODEL},
        {"weight_rank", "2 dimensions", "\"conv\" (QLinearConv)", BPU_BAD_MODEL},
        {"block_size", "block_size is 3", "\"q_x_q\"", BPU_UNSUPPORTED},
        {"output_float8", "float8e4m3fn", "\"q_x\"", BPU_UNSUPPORTED},
        {"weight_int4", "int4", "\"dq_w\"", BPU_UNSUPPORTED},
        {"channels_last", "channels_last", "\"pool\" (QLinearAveragePool)", BPU_UNSUPPORTED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct loaded l;
        char path[256];
        snprintf(path, sizeof path, FOLDER "bad_%s.onnx", cases[i].file);
        load(path, &l);
        if (l.err.code != cases[i].code || !strstr(l.err.message, cases[i].says) ||
            !strstr(l.err.where, cases[i].where) ||
            (cases[i].code == BPU_UNSUPPORTED && !l.err.hint[0]))
            fail_msg("%s: [%s] at %s: %s (hint: %s)", path, error_code_name(l.err.code),
                     l.err.where, l.err.message, l.err.hint);
        unload(&l);
    }
}

/* ── numbers ── */

static void uint16_is_shifted_into_int16(void **state)
{
    (void)state;
    struct loaded a, b;
    load_good("one_int16", &a);
    load_good("one_uint16", &b);
    same_graph(a.graph, b.graph); /* the fixtures are the same network, 32768 apart */
    struct value *w = node_param(node_of(b.graph, "conv"), "weight");
    int64_t q;
    assert_int_equal(w->dtype, DT_QINT16);
    assert_true(constant_int(w, 11, &q));
    assert_int_equal(q, 11000);
    unload(&a);
    unload(&b);
}

static void scales_reach_their_values(void **state)
{
    (void)state;
    struct loaded l;
    struct graph *g = load_good("one_zero_points_per_channel", &l);
    struct value *w = node_param(node_of(g, "conv"), "weight");
    assert_int_equal(w->quant.count, 4);
    assert_int_equal(w->quant.axis, 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(w->quant.zero_point[i], 128 - i);
    unload(&l);

    g = load_good("one_no_zero_point", &l);
    struct value *x = node_of(g, "q_x")->outputs[0];
    assert_int_equal(x->dtype, DT_QUINT8);
    assert_int_equal(x->quant.count, 1);
    assert_null(x->quant.zero_point);
    unload(&l);

    g = load_good("one_integer_input", &l);
    assert_int_equal(g->inputs[0]->dtype, DT_QUINT8);
    assert_true(g->inputs[0]->quant.scale[0] == .0625 && g->inputs[0]->quant.zero_point[0] == 128);
    assert_int_equal(node_of(g, "dq_x_dq")->fold, FOLD_QUANT);
    unload(&l);

    /* clip of 8-bit bounds -10 and 90 at scale 0.5, zero point -10: real numbers 0 to 50 */
    g = load_good("one_integers_through", &l);
    struct node *clip = node_of(g, "clip"), *relu = node_of(g, "relu");
    assert_true(node_float(clip, "min", 9) == 0 && node_float(clip, "max", 9) == 50);
    assert_true(node_float(node_of(g, "pad"), "value", 9) == 0);
    assert_string_equal(relu->op_name, "torch.clamp");
    assert_true(node_float(relu, "min", 9) == 5);
    assert_true(relu->outputs[0]->quant.scale[0] == .5 &&
                relu->outputs[0]->quant.zero_point[0] == -10);
    unload(&l);

    /* what moves or picks integers hands on their scale */
    g = load_good("one_integers_moved", &l);
    static const char *const moves[] = {"split",   "concat",    "resize",  "gather", "same",
                                        "reshape", "unsqueeze", "squeeze", "shuffle"};
    for (size_t i = 0; i < sizeof moves / sizeof moves[0]; i++) {
        const struct value *v = node_of(g, moves[i])->outputs[0];
        if (v->dtype != DT_QUINT8 || v->quant.count != 1 || v->quant.scale[0] != .5 ||
            v->quant.zero_point[0] != 7)
            fail_msg("%s loses the scale", moves[i]);
    }
    unload(&l);

    /* a Q behind an operator that would hand on its operand's scale */
    g = load_good("one_pool_of_other_scale", &l);
    assert_true(node_of(g, "pool")->outputs[0]->quant.scale[0] == .03125);
    assert_true(node_of(g, "pool")->inputs[0]->quant.scale[0] == .0625);
    unload(&l);

    g = load_good("one_cast_between", &l);
    assert_int_equal(node_of(g, "cast")->fold, FOLD_IDENTITY);
    assert_true(node_of(g, "conv")->inputs[0]->quant.zero_point[0] == 128);
    unload(&l);

    /* ramp() over 1/4096: -0.5 is -2048, the second number is (37 - 64) / 128 */
    int64_t whole;
    g = load_good("one_float_weight_int16", &l);
    struct value *w16 = node_param(node_of(g, "conv"), "weight");
    assert_true(constant_int(w16, 0, &whole) && whole == -2048);
    assert_true(constant_int(w16, 1, &whole) && whole == -27 * 32);
    unload(&l);

    /* ConvInteger is the convolution of q - zero point, at scale 1 */
    g = load_good("one_integer_operators", &l);
    struct node *conv = node_of(g, "conv");
    assert_true(conv->inputs[0]->quant.scale[0] == 1 &&
                conv->inputs[0]->quant.zero_point[0] == 100);
    assert_int_equal(conv->outputs[0]->dtype, DT_QINT32);
    assert_true(conv->outputs[0]->quant.scale[0] == 1);
    unload(&l);
}

static void bounds_that_the_scale_keeps_are_folded(void **state)
{
    (void)state;
    struct loaded l;
    assert_int_equal(node_of(load_good("one_relu_of_positive", &l), "relu")->fold, FOLD_IDENTITY);
    unload(&l);
    /* of a signed value it stays, and the convolution's own scale, which is the same, goes */
    struct graph *g = load_good("one_relu_of_signed", &l);
    struct node *relu = node_of(g, "relu"), *conv = node_of(g, "conv");
    assert_int_equal(relu->fold, FOLD_NONE);
    assert_int_equal(conv->outputs[0]->quant.count, 0);
    assert_int_equal(relu->outputs[0]->quant.count, 1);
    size_t marches;
    const struct march *const *march = march_list(&marches);
    struct check_options options = {.advice_us = -1};
    for (size_t i = 0; i < marches; i++) {
        struct check_result *r = check_graph(g, march[i], &options, &l.err);
        assert_non_null(r);
        assert_ptr_equal(r->fused_into[relu->index], conv);
    }
    unload(&l);
    /* of another scale, both mean something */
    g = load_good("one_relu_of_other_scale", &l);
    assert_true(node_of(g, "conv")->outputs[0]->quant.scale[0] == .125);
    assert_true(node_of(g, "relu")->outputs[0]->quant.scale[0] == .0625);
    unload(&l);
}

/* bn(y / f + shift) of the file against the batch norm that the graph has, over the convolution's
 * y. */
static void division_goes_into_the_batch_norm(void **state)
{
    (void)state;
    static const double f[] = {.5, 2, 4, .25}, shift[] = {1, 2, 3, 4}, gamma[] = {1, 2, 3, 4},
                        beta[] = {0, 1, 0, 1}, mean[] = {.5, .25, 0, 1}, var[] = {1, 1, 2, 2};
    struct loaded l;
    struct graph *g = load_good("one_div_batch_norm", &l);
    struct node *bn = node_of(g, "bn");
    double eps = node_float(bn, "eps", -1);
    for (int c = 0; c < 4; c++)
        for (double y = -3; y <= 3; y += 1.5) {
            double w, b, m, v;
            assert_true(constant_real(node_param(bn, "weight"), c, &w));
            assert_true(constant_real(node_param(bn, "bias"), c, &b));
            assert_true(constant_real(node_param(bn, "running_mean"), c, &m));
            assert_true(constant_real(node_param(bn, "running_var"), c, &v));
            double want = gamma[c] * (y / f[c] + shift[c] - mean[c]) / sqrt(var[c] + eps) + beta[c];
            double is = w * (y - m) / sqrt(v + eps) + b;
            assert_true(fabs(is - want) < 1e-5 * (1 + fabs(want)));
        }
    assert_int_equal(node_of(g, "div")->fold, FOLD_IDENTITY);
    assert_int_equal(node_of(g, "shift_up")->fold, FOLD_IDENTITY);
    size_t marches;
    const struct march *const *march = march_list(&marches);
    for (size_t i = 0; i < marches; i++) {
        struct check_options options = {.advice_us = -1};
        struct check_result *r = check_graph(g, march[i], &options, &l.err);
        assert_non_null(r);
        assert_int_equal(bn->fold, FOLD_BATCH_NORM);
        assert_ptr_equal(bn->folded_into, node_of(g, "conv"));
        assert_ptr_equal(r->fused_into[node_of(g, "relu")->index], node_of(g, "conv"));
    }
    unload(&l);
}

static void what_changes_the_arithmetic_is_noted(void **state)
{
    (void)state;
    static const struct {
        const char *file, *says; /* NULL: nothing of the kind */
    } cases[] = {
        {"one_read_in_float_too",
         "\"c\" is quantized for one reader and read in float by \"gate\""},
        {"one_bias_of_other_scale", "The bias of \"conv\" has the scale 0.00100000005"},
        {"one_rescaled",
         "\"c\" has the scale 0.0625, but node \"add/dequantize_0\" reads its integers"},
        {"one_dynamic", "\"dynamic\" (DynamicQuantizeLinear) computes a scale"},
        {"one_div_batch_norm", "taken into the batch norm"},
        {"one_bias", NULL},
        {"one_computed_bias", NULL},
        {"one_shared_dq", NULL},
        {"one_input_quantized_twice", NULL},
        {"small_net.qdq", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct loaded l;
        struct graph *g = load_good(cases[i].file, &l);
        if (cases[i].says ? !noted(g, cases[i].says) : g->note_count > 0)
            fail_msg("%s: the notes are wrong; the first is: %s", cases[i].file,
                     g->note_count ? g->notes[0] : "none");
        unload(&l);
    }
}

static int live(const struct graph *g, const char *op)
{
    int count = 0;
    for (int i = 0; i < g->node_count; i++)
        count += g->nodes[i]->fold == FOLD_NONE && strcmp(g->nodes[i]->op_name, op) == 0;
    return count;
}

/* What PyTorch exports itself: ten operators, each over values with a scale. */
static void exports_of_pytorch_come_down_to_their_operators(void **state)
{
    (void)state;
    static const char *const files[] = {"torch_qat", "torch_converted"};
    for (int f = 0; f < 2; f++) {
        struct loaded l;
        struct graph *g = load_good(files[f], &l);
        struct check_options options = {.advice_us = -1};
        size_t marches;
        struct check_result *r = check_graph(g, march_list(&marches)[0], &options, &l.err);
        assert_non_null(r);
        assert_int_equal(live(g, "torch.nn.Conv2d"), 2);
        assert_int_equal(live(g, "torch.nn.Linear"), 1);
        assert_int_equal(live(g, "torch.add"), 1);
        assert_int_equal(live(g, "torch.nn.ReLU"), 2);
        assert_int_equal(live(g, "torch.quantization.QuantStub"), 1);
        assert_int_equal(live(g, "torch.quantization.DeQuantStub"), 1);
        assert_int_equal(live(g, "torch.div") + live(g, "torch.Tensor.to"), 0);
        assert_int_equal(live(g, "torch.nn.BatchNorm2d"), 0);
        for (int i = 0; i < g->node_count; i++) {
            const struct node *n = g->nodes[i];
            const struct value *w = n->fold == FOLD_NONE ? node_param(n, "weight") : NULL;
            const struct value *b = w ? node_param(n, "bias") : NULL;
            if (!w)
                continue;
            assert_int_equal(w->dtype, DT_QINT8);
            assert_int_equal(w->quant.count, w->shape.dim[0]);
            assert_true(value_is_known(w));
            if (f == 1)
                assert_int_equal(b->dtype, DT_QINT32);
        }
        assert_false(noted(g, "requantized"));
        unload(&l);
    }
}

/* Inside the graph, a value that also leaves it dequantized stays quantized. */
static void a_dequantized_output_is_read_quantized(void **state)
{
    (void)state;
    struct loaded l;
    struct graph *g = load_good("one_dq_leaves_and_is_read", &l);
    struct node *relu = node_of(g, "relu"), *border = node_of(g, "dq_half");
    assert_int_equal(border->fold, FOLD_NONE);
    assert_true(border->outputs[0]->is_output && border->outputs[0]->dtype == DT_FLOAT32);
    assert_int_equal(relu->inputs[0]->dtype, DT_QINT8);
    assert_ptr_equal(relu->inputs[0], border->inputs[0]);
    unload(&l);
}

/* ── robustness ── */

static void every_failed_allocation_is_an_error(void **state)
{
    (void)state;
    static const char *const files[] = {FOLDER "small_net.qop.onnx", FOLDER "matrices.qdq.onnx",
                                        FOLDER "one_div_batch_norm.onnx", FOLDER "one_uint16.onnx"};
    for (size_t f = 0; f < sizeof files / sizeof files[0]; f++) {
        struct loaded l;
        load(files[f], &l);
        assert_non_null(l.graph);
        struct import_request req = {.data = l.bytes, .size = l.size, .name = "test"};
        long n = 0;
        for (bool done = false; !done; n++) {
            struct arena a;
            struct bpu_error err = {0};
            arena_init(&a, 64 << 20);
            a.fail_after = n;
            done = import_model(&a, &req, &err) != NULL;
            if (!done && err.code != BPU_NO_MEMORY)
                fail_msg("%s, allocation %ld: [%s] %s", files[f], n, error_code_name(err.code),
                         err.message);
            arena_fini(&a);
            assert_true(n < 100000);
        }
        assert_true(n > 100);
        unload(&l);
    }
}

/* Damage at every byte of a small file, by three masks. */
static void damaged_bytes_never_break_the_reader(void **state)
{
    (void)state;
    static const unsigned char masks[] = {0x01, 0x80, 0xff};
    struct loaded l;
    load_good("small_net.qop", &l);
    for (size_t at = 0; at < l.size; at++)
        for (size_t m = 0; m < sizeof masks; m++) {
            struct arena a;
            struct bpu_error err = {0};
            struct import_request req = {.data = l.bytes, .size = l.size, .name = "test"};
            l.bytes[at] ^= masks[m];
            arena_init(&a, 16 << 20);
            struct graph *g = import_model(&a, &req, &err);
            if (!g && (err.code == BPU_NONE || err.code == BPU_SERVER))
                fail_msg("byte %zu: [%s] %s", at, error_code_name(err.code), err.message);
            if (g && !graph_verify(g, &err))
                fail_msg("byte %zu: %s: %s", at, err.where, err.message);
            arena_fini(&a);
            l.bytes[at] ^= masks[m];
        }
    unload(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_forms_are_one_graph),
        cmocka_unit_test(graph_json_keeps_what_was_read),
        cmocka_unit_test(wrong_files_are_refused_at_their_node),
        cmocka_unit_test(uint16_is_shifted_into_int16),
        cmocka_unit_test(scales_reach_their_values),
        cmocka_unit_test(bounds_that_the_scale_keeps_are_folded),
        cmocka_unit_test(division_goes_into_the_batch_norm),
        cmocka_unit_test(what_changes_the_arithmetic_is_noted),
        cmocka_unit_test(exports_of_pytorch_come_down_to_their_operators),
        cmocka_unit_test(a_dequantized_output_is_read_quantized),
        cmocka_unit_test(every_failed_allocation_is_an_error),
        cmocka_unit_test(damaged_bytes_never_break_the_reader),
    };
    return cmocka_run_group_tests_name("quantized ONNX", tests, NULL, NULL);
}
