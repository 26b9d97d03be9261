/* quant_fuse: every sequence fuses and computes the same; every reason not to fuse is found and said. */
#include <math.h>
#include <stdio.h>

#include "quant_net.h"

#include "core/quant/batch_norm.h"

static const int64_t MAP[] = {1, 4, 6, 6};

static struct graph *fuse(struct net *t, struct fuse_report *report)
{
    *report = (struct fuse_report){0};
    struct graph *f = quant_fuse(&t->arena, t->g, report, &t->err);
    net_ok(t, f);
    for (int i = 0; i < f->node_count; i++)
        assert_int_equal(f->nodes[i]->fold, FOLD_NONE);
    return f;
}

static const struct fuse_item *item_of(const struct fuse_report *r, const char *into, bool fused)
{
    for (size_t i = 0; i < r->count; i++)
        if (strcmp(r->items[i].into, into) == 0 && (r->items[i].why_not == NULL) == fused)
            return &r->items[i];
    return NULL;
}

static void same_results(struct net *t, const struct graph *f, double least_db)
{
    float **in = net_frame(t, t->g), **want = net_run(t, t->g, in), **have = net_run(t, f, in);
    assert_int_equal(t->g->output_count, f->output_count);
    for (int i = 0; i < f->output_count; i++) {
        int64_t n = shape_elements(&f->outputs[i]->shape);
        assert_string_equal(f->outputs[i]->name, t->g->outputs[i]->name);
        assert_true(shape_equal(&f->outputs[i]->shape, &t->g->outputs[i]->shape));
        assert_true(net_sqnr(want[i], have[i], n) > least_db);
    }
}

static const char *relu_op(int kind)
{
    static const char *const ops[] = {NULL, "torch.nn.ReLU", "torch.nn.ReLU6",
                                      "torch.nn.functional.relu"};
    return ops[kind];
}

/* All of {head} x {bn} x {add: none, first, second operand} x {none, relu, relu6, functional.relu}. */
static void sequence(const char *head, const char *bn_op, int64_t groups, const char *word, int bn,
                     int add, int relu)
{
    struct net t;
    struct fuse_report report;
    bool linear = strcmp(head, "torch.nn.Linear") == 0;
    int spatial = linear ? 0 : head[strlen(head) - 2] - '0';
    int64_t dims[] = {2, 4, 5, 5, 5};
    net_begin(&t, (uint64_t)(bn * 100 + add * 10 + relu + spatial));
    struct value *x = net_input(&t, "x", spatial + 2, dims);
    struct value *v =
        linear ? net_linear(&t, "head", x, 4) : net_conv(&t, head, "head", x, 4, groups);
    struct value *r = add ? net_op(&t, "torch.sin", "residual", x, NULL) : NULL;
    if (bn)
        v = net_bn(&t, bn_op, "bn", v);
    if (add)
        v = net_op(&t, "torch.add", "add", add == 1 ? v : r, add == 1 ? r : v);
    if (relu_op(relu))
        v = net_op(&t, relu_op(relu), "relu", v, NULL);
    net_output(&t, v);
    struct graph *f = fuse(&t, &report);
    char what[64];
    snprintf(what, sizeof what, "%s%s%s%s", word, bn ? ",bn" : "", add ? ",add" : "",
             relu == 2 ? ",relu6"
             : relu    ? ",relu"
                       : "");
    const struct fuse_item *item = item_of(&report, "head", true);
    assert_null(item_of(&report, "head", false));
    assert_int_equal(f->node_count, add ? 2 : 1);
    const struct node *n = graph_find_node(f, "head");
    assert_non_null(n);
    assert_int_equal(n->input_count, add ? 2 : 1);
    if (bn || add || relu) {
        assert_non_null(item);
        assert_string_equal(item->what, what);
    } else
        assert_null(item);
    const char *activation = node_string(n, "activation", "none");
    assert_string_equal(activation, relu == 2 ? "relu6" : relu ? "relu" : "none");
    same_results(&t, f, 110);
    net_end(&t);
}

static void all_sequences_fuse(void **state)
{
    static const struct {
        const char *head, *bn, *word;
        int64_t groups;
    } heads[] = {
        {"torch.nn.Conv2d", "torch.nn.BatchNorm2d", "conv", 1},
        {"torch.nn.Conv2d", "torch.nn.SyncBatchNorm", "conv", 4},
        {"torch.nn.Conv1d", "torch.nn.BatchNorm1d", "conv", 2},
        {"torch.nn.Conv3d", "torch.nn.BatchNorm3d", "conv", 1},
        {"torch.nn.ConvTranspose1d", "torch.nn.BatchNorm1d", "deconv", 1},
        {"torch.nn.ConvTranspose2d", "torch.nn.BatchNorm2d", "deconv", 2},
        {"torch.nn.ConvTranspose3d", "torch.nn.BatchNorm3d", "deconv", 1},
        {"torch.nn.Linear", "torch.nn.BatchNorm1d", "linear", 1},
    };
    (void)state;
    for (size_t h = 0; h < sizeof heads / sizeof heads[0]; h++)
        for (int bn = 0; bn < 2; bn++)
            for (int add = 0; add < 3; add++)
                for (int relu = 0; relu < 4; relu++)
                    sequence(heads[h].head, heads[h].bn, heads[h].groups, heads[h].word, bn, add,
                             relu);
}

static void clamps_of_0_and_6_are_relu6(void **state)
{
    (void)state;
    for (int form = 0; form < 6; form++) {
        struct net t;
        struct fuse_report report;
        net_begin(&t, 5);
        struct value *x = net_input(&t, "x", 4, MAP);
        struct value *v = net_conv(&t, "torch.nn.Conv2d", "conv", x, 4, 1);
        struct node *n =
            net_node(&t, form < 3 ? "torch.clamp" : "torch.nn.Hardtanh", "cut", v, NULL);
        double lo = form == 5 ? -1 : 0, hi = form == 1 ? 5 : 6;
        if (form < 3)
            net_ok(&t, node_set_float(t.g, n, "min", lo, &t.err) &&
                           (form == 2 || node_set_float(t.g, n, "max", hi, &t.err)));
        else
            net_ok(&t, node_set_float(t.g, n, "min_val", lo, &t.err) &&
                           node_set_float(t.g, n, "max_val", hi, &t.err));
        net_output(&t, net_apply(&t, n));
        struct graph *f = fuse(&t, &report);
        static const char *const want[] = {"relu6", "none", "relu", "relu6", "relu6", "none"};
        const struct node *conv = graph_find_node(f, "conv");
        assert_string_equal(node_string(conv, "activation", "none"), want[form]);
        assert_int_equal(f->node_count, strcmp(want[form], "none") == 0 ? 2 : 1);
        same_results(&t, f, 110);
        net_end(&t);
    }
}

static void clip_bounds_may_be_operands(void **state)
{
    struct net t;
    struct fuse_report report;
    (void)state;
    net_begin(&t, 6);
    struct value *x = net_input(&t, "x", 4, MAP);
    struct value *v = net_conv(&t, "torch.nn.Conv2d", "conv", x, 4, 1);
    struct node *n = net_node(&t, "torch.clamp", "clip", v, net_constant(&t, "lo", 0, NULL, 0, 0));
    net_ok(&t, node_add_input(t.g, n, net_constant(&t, "hi", 0, NULL, 6, 6), &t.err));
    net_output(&t, net_apply(&t, n));
    struct graph *f = fuse(&t, &report);
    assert_string_equal(node_string(graph_find_node(f, "conv"), "activation", "none"), "relu6");
    net_end(&t);
}

/* conv(x, w * s) / s, as quantization-aware training writes it. */
static void a_division_before_a_batch_norm_fuses(void **state)
{
    (void)state;
    for (int form = 0; form < 3; form++) {
        struct net t;
        struct fuse_report report;
        int64_t dims[] = {4, 1, 1}, whole[] = {1, 4, 6, 6};
        net_begin(&t, 7);
        struct value *x = net_input(&t, "x", 4, MAP);
        struct value *v = net_conv(&t, "torch.nn.Conv2d", "conv", x, 4, 1);
        struct value *s = form == 1 ? net_constant(&t, "s", 4, whole, .5, 2)
                                    : net_constant(&t, "s", 3, dims, .5, 2);
        v = net_op(&t, form == 2 ? "torch.mul" : "torch.div", "scale", v, s);
        v = net_bn(&t, "torch.nn.BatchNorm2d", "bn", v);
        net_output(&t, net_op(&t, "torch.nn.ReLU", "relu", v, NULL));
        struct graph *f = fuse(&t, &report);
        const struct fuse_item *item = item_of(&report, "conv", true);
        if (form == 1)
            assert_null(item);
        else
            assert_string_equal(item->what, "conv,div,bn,relu");
        same_results(&t, f, 110);
        net_end(&t);
    }
}

static void a_lone_batch_norm_is_a_convolution(void **state)
{
    (void)state;
    for (int rank = 2; rank <= 5; rank++) {
        struct net t;
        struct fuse_report report;
        int64_t dims[] = {2, 3, 4, 5, 2};
        const char *op = rank <= 3   ? "torch.nn.BatchNorm1d"
                         : rank == 4 ? "torch.nn.BatchNorm2d"
                                     : "torch.nn.BatchNorm3d";
        net_begin(&t, (uint64_t)rank);
        struct value *x = net_input(&t, "x", rank, dims);
        struct value *v = net_bn(&t, op, "bn", x);
        net_output(&t, net_op(&t, "torch.nn.ReLU", "relu", v, NULL));
        struct graph *f = fuse(&t, &report);
        const struct node *n = graph_find_node(f, "bn");
        assert_int_equal(strncmp(n->op->name, "torch.nn.Conv", 13) == 0, rank > 2);
        assert_int_equal(f->node_count, rank > 2 ? 1 : 2);
        same_results(&t, f, 110);
        net_end(&t);
    }
}

/* ── reasons ── */

enum reason {
    SHARED,
    LEAVES,
    NO_STATISTICS,
    OTHER_CHANNELS,
    ALPHA,
    BROADCAST,
    CONSTANT,
    TWO_HEADS,
    OWN_SCALE,
    REASONS
};

static void every_reason_is_said(void **state)
{
    static const char *const words[] = {
        [SHARED] = "other readers",
        [LEAVES] = "output of the network",
        [NO_STATISTICS] = "running statistics",
        [OTHER_CHANNELS] = "another axis",
        [ALPHA] = "alpha",
        [BROADCAST] = "different shapes",
        [CONSTANT] = "constant",
        [TWO_HEADS] = "other operand's layer",
        [OWN_SCALE] = "scale of its own",
    };
    (void)state;
    for (int reason = 0; reason < REASONS; reason++) {
        struct net t;
        struct fuse_report report;
        int64_t one[] = {1, 4, 1, 1}, sequence_dims[] = {2, 4, 4};
        net_begin(&t, (uint64_t)reason);
        bool linear = reason == OTHER_CHANNELS;
        struct value *x =
            linear ? net_input(&t, "x", 3, sequence_dims) : net_input(&t, "x", 4, MAP);
        struct value *v = linear ? net_linear(&t, "conv", x, 4)
                                 : net_conv(&t, "torch.nn.Conv2d", "conv", x, 4, 1);
        struct value *y = NULL, *other = NULL;
        static const double scale = .05;
        switch (reason) {
        case SHARED:
            y = net_op(&t, "torch.nn.ReLU", "relu", v, NULL);
            net_output(&t, net_op(&t, "torch.sin", "sin", v, NULL));
            break;
        case LEAVES:
            y = net_op(&t, "torch.nn.ReLU", "relu", v, NULL);
            net_output(&t, v);
            break;
        case NO_STATISTICS: {
            struct node *n = net_node(&t, "torch.nn.BatchNorm2d", "bn", v, NULL);
            net_param(&t, n, "weight", net_constant(&t, "w", 1, MAP + 1, .5, 1));
            y = net_apply(&t, n);
            break;
        }
        case OTHER_CHANNELS: y = net_bn(&t, "torch.nn.BatchNorm1d", "bn", v); break;
        case ALPHA: {
            struct node *n =
                net_node(&t, "torch.add", "add", v, net_op(&t, "torch.sin", "s", x, NULL));
            net_ok(&t, node_set_float(t.g, n, "alpha", 2, &t.err));
            y = net_apply(&t, n);
            break;
        }
        case BROADCAST:
            other = net_input(&t, "bias", 4, one);
            y = net_op(&t, "torch.add", "add", v, other);
            break;
        case CONSTANT:
            y = net_op(&t, "torch.add", "add", v, net_constant(&t, "c", 4, MAP, -1, 1));
            break;
        case TWO_HEADS:
            other = net_conv(&t, "torch.nn.Conv2d", "second", x, 4, 1);
            y = net_op(&t, "torch.add", "add", v, other);
            break;
        case OWN_SCALE:
            y = net_op(&t, "torch.nn.ReLU", "relu", v, NULL);
            v->dtype = y->dtype = DT_QINT8;
            v->quant = y->quant = (struct quant){&scale, NULL, 1, 0};
            break;
        default: break;
        }
        net_output(&t, y);
        struct graph *f = fuse(&t, &report);
        const struct fuse_item *item = item_of(&report, "conv", false);
        if (!item || !strstr(item->why_not, words[reason]))
            fail_msg("reason %d: %s", reason, item ? item->why_not : "(none)");
        assert_string_equal(item->what, linear ? "linear" : "conv");
        if (reason == TWO_HEADS)
            assert_string_equal(item_of(&report, "second", true)->what, "conv,add");
        if (reason != OWN_SCALE && reason != NO_STATISTICS)
            same_results(&t, f, 110);
        net_end(&t);
    }
}

/* The residual may depend on anything but the convolution itself. */
static void a_late_residual_keeps_the_order(void **state)
{
    struct net t;
    struct fuse_report report;
    (void)state;
    net_begin(&t, 11);
    struct value *x = net_input(&t, "x", 4, MAP);
    struct value *v = net_conv(&t, "torch.nn.Conv2d", "conv", x, 4, 1);
    struct value *r = net_op(&t, "torch.sin", "sin", x, NULL);
    r = net_op(&t, "torch.cos", "cos", r, NULL);
    net_output(&t, net_op(&t, "torch.add", "add", v, r));
    struct graph *f = fuse(&t, &report);
    assert_string_equal(f->nodes[f->node_count - 1]->name, "conv");
    same_results(&t, f, 110);
    net_end(&t);
}

static void identities_do_not_stand_in_the_way(void **state)
{
    struct net t;
    struct fuse_report report;
    (void)state;
    net_begin(&t, 12);
    struct value *x = net_input(&t, "x", 4, MAP);
    struct value *v = net_conv(&t, "torch.nn.Conv2d", "conv", x, 4, 1);
    v = net_op(&t, "torch.nn.Identity", "i0", v, NULL);
    v = net_bn(&t, "torch.nn.BatchNorm2d", "bn", v);
    v = net_op(&t, "torch.nn.Dropout", "i1", v, NULL);
    v = net_op(&t, "torch.nn.ReLU", "relu", v, NULL);
    net_output(&t, net_op(&t, "torch.nn.Identity", "i2", v, NULL));
    struct graph *f = fuse(&t, &report);
    assert_int_equal(f->node_count, 1);
    assert_string_equal(f->outputs[0]->name, "i2");
    same_results(&t, f, 110);
    net_end(&t);
}

/* Twenty thousand folded stubs in a row cost one step each. */
static void long_chains_cost_nothing(void **state)
{
    static const double scale = .1;
    struct net t;
    struct fuse_report report;
    (void)state;
    net_begin(&t, 17);
    struct value *x = net_input(&t, "x", 4, MAP);
    struct value *v = net_op(&t, "torch.nn.ReLU", "relu", x, NULL);
    v->dtype = DT_QINT8;
    v->quant = (struct quant){&scale, NULL, 1, 0};
    for (int i = 0; i < 20000; i++) {
        struct node *n =
            net_node(&t, i % 2 ? "torch.quantization.DeQuantStub" : "torch.quantization.QuantStub",
                     NULL, v, NULL);
        struct value *y = node_add_output(t.g, n, NULL, &t.err);
        net_ok(&t, y);
        y->shape = v->shape;
        y->dtype = v->dtype;
        y->quant = v->quant;
        n->fold = FOLD_QUANT;
        v = y;
    }
    net_output(&t, net_op(&t, "torch.nn.ReLU", "last", v, NULL));
    struct graph *f = fuse(&t, &report);
    assert_int_equal(f->node_count, 2);
    assert_ptr_equal(f->nodes[1]->inputs[0], f->nodes[0]->outputs[0]);
    net_end(&t);
}

static void weights_that_are_left_out_stay_unknown(void **state)
{
    struct net t;
    struct fuse_report report;
    (void)state;
    net_begin(&t, 13);
    struct value *x = net_input(&t, "x", 4, MAP);
    struct value *v = net_conv(&t, "torch.nn.Conv2d", "conv", x, 4, 1);
    struct constant none = {NULL, 4 * 4 * 9 * 4};
    node_param(v->producer, "weight")->constant = &none;
    net_output(&t, net_bn(&t, "torch.nn.BatchNorm2d", "bn", v));
    struct graph *f = fuse(&t, &report);
    assert_int_equal(f->node_count, 1);
    assert_false(value_is_known(node_param(f->nodes[0], "weight")));
    assert_null(run_new(&t.arena, f, NULL, &t.err));
    assert_int_equal(t.err.code, BPU_BAD_MODEL);
    net_end(&t);
}

/* weight * gamma / sqrt(var + eps), bias * … + beta - mean * …, element by element. */
static void folding_matches_doubles(void **state)
{
    struct net t;
    struct fuse_report report;
    (void)state;
    net_begin(&t, 14);
    struct value *x = net_input(&t, "x", 4, MAP);
    struct value *v = net_conv(&t, "torch.nn.ConvTranspose2d", "conv", x, 8, 2);
    struct value *b = net_bn(&t, "torch.nn.BatchNorm2d", "bn", v);
    net_ok(&t, node_set_float(t.g, b->producer, "eps", .125, &t.err));
    net_output(&t, b);
    struct graph *f = fuse(&t, &report);
    const struct value *w0 = node_param(v->producer, "weight"),
                       *b0 = node_param(v->producer, "bias");
    const struct value *w1 = node_param(f->nodes[0], "weight"),
                       *b1 = node_param(f->nodes[0], "bias");
    for (int64_t i = 0; i < 4 * 4 * 9; i++) { /* (in 4, out / groups 4, 3, 3) */
        int64_t o = i / 9 % 4 + (i / 36 >= 2 ? 4 : 0);
        double gamma = 0, beta = 0, mean = 0, var = 0, w = 0, have = 0, bias = 0;
        const struct node *n = b->producer;
        assert_true(constant_real(node_param(n, "weight"), o, &gamma) &&
                    constant_real(node_param(n, "bias"), o, &beta) &&
                    constant_real(node_param(n, "running_mean"), o, &mean) &&
                    constant_real(node_param(n, "running_var"), o, &var) &&
                    constant_real(w0, i, &w) && constant_real(w1, i, &have));
        double factor = gamma / sqrt(var + .125);
        assert_true((float)have == (float)(w * factor));
        assert_true(constant_real(b0, o, &bias) && constant_real(b1, o, &have));
        assert_true((float)have == (float)(bias * factor + (beta - mean * factor)));
    }
    net_end(&t);
}

/* A weight that the importer left as "transposed, too large to compute for a check". */
static void large_constants_are_computed(void **state)
{
    struct net t;
    struct fuse_report report;
    int64_t dims[] = {2, 1024}, square[] = {1024, 1024};
    (void)state;
    net_begin(&t, 16);
    struct value *x = net_input(&t, "x", 2, dims), *w = net_constant(&t, "w", 2, square, -.1, .1);
    struct node *n = net_node(&t, "torch.Tensor.transpose", "t", w, NULL);
    net_ok(&t, node_set_int(t.g, n, "dim0", 0, &t.err) && node_set_int(t.g, n, "dim1", 1, &t.err));
    struct value *turned = net_apply(&t, n);
    assert_int_equal(n->fold, FOLD_CONSTANT);
    assert_false(value_is_known(turned));
    n = net_node(&t, "torch.nn.Linear", "fc", x, NULL);
    net_param(&t, n, "weight", turned);
    net_output(&t, net_bn(&t, "torch.nn.BatchNorm1d", "bn", net_apply(&t, n)));
    struct graph *f = fuse(&t, &report);
    assert_int_equal(f->node_count, 1);
    assert_true(value_is_known(node_param(f->nodes[0], "weight")));
    same_results(&t, f, 100);
    assert_false(value_is_known(turned)); /* the old graph is left alone */
    net_end(&t);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    for (long n = 0;; n++) {
        struct net t;
        struct fuse_report report = {0};
        net_begin(&t, 15);
        struct value *x = net_input(&t, "x", 4, MAP);
        struct value *v = net_conv(&t, "torch.nn.Conv2d", "conv", x, 4, 1);
        v = net_bn(&t, "torch.nn.BatchNorm2d", "bn", v);
        v = net_op(&t, "torch.add", "add", v, net_op(&t, "torch.sin", "sin", x, NULL));
        v = net_op(&t, "torch.nn.ReLU", "relu", v, NULL);
        net_output(&t, net_bn(&t, "torch.nn.BatchNorm2d", "alone", v));
        t.arena.fail_after = n;
        struct graph *f = quant_fuse(&t.arena, t.g, &report, &t.err);
        bool done = f != NULL;
        if (!done)
            assert_int_equal(t.err.code, BPU_NO_MEMORY);
        net_end(&t);
        if (done)
            return;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_sequences_fuse),
        cmocka_unit_test(clamps_of_0_and_6_are_relu6),
        cmocka_unit_test(clip_bounds_may_be_operands),
        cmocka_unit_test(a_division_before_a_batch_norm_fuses),
        cmocka_unit_test(a_lone_batch_norm_is_a_convolution),
        cmocka_unit_test(every_reason_is_said),
        cmocka_unit_test(a_late_residual_keeps_the_order),
        cmocka_unit_test(identities_do_not_stand_in_the_way),
        cmocka_unit_test(long_chains_cost_nothing),
        cmocka_unit_test(weights_that_are_left_out_stay_unknown),
        cmocka_unit_test(folding_matches_doubles),
        cmocka_unit_test(large_constants_are_computed),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
