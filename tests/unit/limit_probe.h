/* limit_probe: nodes generated from the data of the marches, one at the bound of a limit and one
 * just past it.  Include it after cmocka.h. */
#ifndef BPU_UNIT_LIMIT_PROBE_H
#define BPU_UNIT_LIMIT_PROBE_H

#include <stdio.h>
#include <string.h>

#include "core/check/check.h"
#include "core/march/limit.h"
#include "core/ops/op.h"

#define QUOTA ((size_t)64 << 20)

/* Judges g and books every limit that is met (test_limits.c). */
static struct check_result *judge_observed(struct graph *g, const struct march *m,
                                           struct bpu_error *err);

/* What a generated node looks like; the fields that an operator does not have are ignored. */
struct spec {
    int64_t n, c, d, h, w;
    int64_t kernel[3], stride[3], padding[3], dilation[3], output_padding[3]; /* d, h, w */
    int64_t out_channels, groups;
    int inputs, rank; /* rank -1: that of the operator's maps */
    int64_t scale;
    bool internal; /* another node reads the result */
};

static struct spec spec_default(void)
{
    struct spec s = {.n = 1,
                     .c = 4,
                     .d = 4,
                     .h = 8,
                     .w = 8,
                     .out_channels = 4,
                     .groups = 1,
                     .inputs = 1,
                     .scale = 1,
                     .rank = -1};
    for (int i = 0; i < 3; i++) {
        s.kernel[i] = 2;
        s.stride[i] = 2;
        s.dilation[i] = 1;
    }
    return s;
}

static struct value *must(struct value *v, struct bpu_error *err)
{
    if (!v)
        fail_msg("%s", err->message);
    return v;
}

static struct value *add_input(struct graph *g, const char *name, int rank, const int64_t *dims,
                               enum dtype t, struct bpu_error *err)
{
    struct value *v = must(graph_add_value(g, name, err), err);
    v->shape = shape_of(rank, dims);
    v->dtype = t;
    assert_true(graph_add_input(g, v, err));
    return v;
}

/* Number of spatial axes by the operator's name, 0 if it has no window. */
static int window_axes(const char *op)
{
    if (strstr(op, "Conv3d"))
        return 3;
    return strstr(op, "Conv2d") || strstr(op, "ConvTranspose2d") || strstr(op, "MaxPool2d") ||
                   strcmp(op, "torch.nn.AvgPool2d") == 0
               ? 2
               : 0;
}

/* Channels have several names in the tables and one finding. */
static bool same_rule(const char *a, const char *b)
{
    static const char *const in[] = {"in_channels", "in_channels_per_group", "in_features", "C"};
    static const char *const out[] = {"out_channels", "out_channels_per_group", "out_features"};
    int a_in = 0, b_in = 0, a_out = 0, b_out = 0;
    for (size_t i = 0; i < 4; i++) {
        a_in += strcmp(strrchr(a, '.') + 1, in[i]) == 0;
        b_in += strcmp(strrchr(b, '.') + 1, in[i]) == 0;
    }
    for (size_t i = 0; i < 3; i++) {
        a_out += strcmp(strrchr(a, '.') + 1, out[i]) == 0;
        b_out += strcmp(strrchr(b, '.') + 1, out[i]) == 0;
    }
    return strcmp(a, b) == 0 || (a_in && b_in) || (a_out && b_out);
}

/* A graph of one node `op` as the spec says; its findings of `rule` are counted. -1: the spec does
 * not make sense (inference refuses it). */
static int judge_spec(const struct march *m, const char *op, const struct spec *s, enum dtype t,
                      const char *rule, enum severity *severity)
{
    struct bpu_error err = {0};
    struct arena a;
    int found = -1;
    arena_init(&a, QUOTA);
    struct graph *g = graph_new(&a, "generated", "graph-json", &err);
    assert_non_null(g);
    struct node *n = graph_add_node(g, "node", op, &err);
    assert_non_null(n);
    assert_true(op_bind(n));
    int spatial = window_axes(op);
    const int64_t map5[5] = {s->n, s->c, s->d, s->h, s->w}, map4[4] = {s->n, s->c, s->h, s->w};
    int64_t ranked[SHAPE_MAX_RANK];
    for (int i = 0; i < SHAPE_MAX_RANK; i++)
        ranked[i] = i + 1 == s->rank ? s->w : 1;
    for (int i = 0; i < s->inputs; i++) {
        char name[16];
        snprintf(name, sizeof(name), "x%d", i);
        struct value *x = s->rank >= 0   ? add_input(g, name, s->rank, ranked, t, &err)
                          : spatial == 3 ? add_input(g, name, 5, map5, t, &err)
                                         : add_input(g, name, 4, map4, t, &err);
        assert_true(node_add_input(g, n, x, &err));
    }
    if (spatial) {
        int from = 3 - spatial;
        assert_true(node_set_ints(g, n, "kernel_size", s->kernel + from, spatial, &err));
        assert_true(node_set_ints(g, n, "stride", s->stride + from, spatial, &err));
        assert_true(node_set_ints(g, n, "padding", s->padding + from, spatial, &err));
        if (strcmp(op, "torch.nn.AvgPool2d") != 0)
            assert_true(node_set_ints(g, n, "dilation", s->dilation + from, spatial, &err));
        if (strstr(op, "Conv")) {
            assert_true(node_set_int(g, n, "in_channels", s->c, &err));
            assert_true(node_set_int(g, n, "out_channels", s->out_channels, &err));
            assert_true(node_set_int(g, n, "groups", s->groups, &err));
        }
        if (strstr(op, "Transpose"))
            assert_true(
                node_set_ints(g, n, "output_padding", s->output_padding + from, spatial, &err));
    } else if (strcmp(op, "torch.nn.Linear") == 0) {
        assert_true(node_set_int(g, n, "in_features", s->w, &err));
        assert_true(node_set_int(g, n, "out_features", s->out_channels, &err));
    } else if (strcmp(op, "torch.cat") == 0 || strcmp(op, "torch.nn.Softmax") == 0) {
        assert_true(node_set_int(g, n, "dim", s->w > s->h ? 2 : 3, &err));
    } else if (strstr(op, "arg")) {
        assert_true(node_set_int(g, n, "dim", 2, &err));
        assert_true(node_set_bool(g, n, "keepdim", true, &err));
    } else if (strstr(op, ".max") || strstr(op, ".min")) {
        assert_true(node_set_ints(g, n, "dim", (const int64_t[]){2}, 1, &err));
        assert_true(node_set_bool(g, n, "keepdim", true, &err));
    } else if (strcmp(op, "torch.nn.functional.interpolate") == 0 ||
               strncmp(op, "torch.nn.Upsampl", 16) == 0) {
        assert_true(node_set_ints(g, n, "size", (const int64_t[]){s->h * s->scale, s->w * s->scale},
                                  2, &err));
        if (!strstr(op, "Upsampling"))
            assert_true(node_set_string(g, n, "mode", "bilinear", &err));
    } else if (strcmp(op, "torch.nn.functional.grid_sample") == 0) {
        const int64_t grid[4] = {s->n, 4, 4, 2};
        struct value *v = add_input(g, "grid", 4, grid, DT_QINT16, &err);
        assert_true(node_add_input(g, n, v, &err));
    }
    int outputs = strstr(op, ".max") || strstr(op, ".min") ? 2 : 1;
    if (strstr(op, "imum"))
        outputs = 1;
    for (int i = 0; i < outputs; i++)
        must(node_add_output(g, n, i ? "indices" : "y", &err), &err);
    if (!op_apply(g, n, &err))
        goto out;
    struct value *y = n->outputs[0];
    if (s->internal) {
        struct node *next = graph_add_node(g, "next", "torch.nn.Sigmoid", &err); /* never fused */
        assert_non_null(next);
        assert_true(op_bind(next));
        assert_true(node_add_input(g, next, y, &err));
        y = must(node_add_output(g, next, "z", &err), &err);
        assert_true(op_apply(g, next, &err));
        assert_true(graph_add_output(g, next->outputs[0], &err));
    } else {
        assert_true(graph_add_output(g, y, &err));
    }
    for (int i = 1; i < outputs; i++)
        assert_true(graph_add_output(g, n->outputs[i], &err));
    if (!graph_verify(g, &err))
        fail_msg("%s: %s", op, err.message);
    struct check_result *r = judge_observed(g, m, &err);
    if (!r)
        fail_msg("%s: %s", op, err.message);
    found = 0;
    for (int i = 0; i < r->finding_count; i++) {
        if (r->findings[i].node == n && same_rule(r->findings[i].rule, rule)) {
            if (!found++ || r->findings[i].severity < *severity)
                *severity = r->findings[i].severity;
        }
    }
out:
    arena_fini(&a);
    return found;
}

/* Gives the quantity the value v in the spec, with what else must then hold for the node to make
 * sense. False: this generator cannot. */
static bool spec_set(struct spec *s, const char *op, const struct limit *l, int64_t v)
{
    bool transposed = strstr(op, "Transpose") != NULL, weight = l->operand == OPERAND_WEIGHT;
    int axis = -1;
    switch (l->quantity) {
    case Q_KERNEL_D: axis = 0; break;
    case Q_KERNEL_H: axis = 1; break;
    case Q_KERNEL_W: axis = 2; break;
    case Q_D:
    case Q_H:
    case Q_W:
        if (weight) {
            axis = l->quantity == Q_D ? 0 : l->quantity == Q_H ? 1 : 2;
            break;
        }
        *(l->quantity == Q_D ? &s->d : l->quantity == Q_H ? &s->h : &s->w) = v;
        if (v < 2)
            s->kernel[l->quantity - Q_D] = 1;
        return v >= 0;
    case Q_RANK:
        s->rank = (int)v;
        return window_axes(op) == 0 && !strstr(op, "reshape") && !strstr(op, "gather") &&
               !strstr(op, "topk") && !strstr(op, "expand");
    case Q_SCALE_FACTOR:
        s->scale = v;
        s->c = 1;
        s->h = s->w = 4;
        return v >= 1;
    case Q_STRIDE_D:
    case Q_STRIDE_H:
    case Q_STRIDE_W: {
        int i = (int)(l->quantity - Q_STRIDE_D);
        s->stride[i] = v;
        if (l->when == WHEN_DILATED || l->when == WHEN_DILATED_OVER_1) {
            for (int k = 0; k < 3; k++) {
                s->dilation[k] = 2;
                s->stride[k] = k == i ? v : 1;
            }
        }
        if (transposed)
            s->kernel[i] = v > 2 ? v : 2;
        return true;
    }
    case Q_PADDING_D:
    case Q_PADDING_H:
    case Q_PADDING_W: {
        int i = (int)(l->quantity - Q_PADDING_D);
        s->padding[i] = v;
        bool pool = strstr(op, "Pool") != NULL;
        if (pool || transposed) /* frameworks want padding <= kernel / 2 */
            s->kernel[i] = 2 * v > 2 ? 2 * v : 2;
        s->h = s->w = 600;
        return true;
    }
    case Q_DILATION_D:
    case Q_DILATION_H:
    case Q_DILATION_W:
        s->dilation[l->quantity - Q_DILATION_D] = v;
        for (int k = 0; k < 3; k++)
            s->stride[k] = 1;
        s->d = 16;
        s->h = s->w = 64;
        return true;
    case Q_OUTPUT_PADDING_H:
    case Q_OUTPUT_PADDING_W:
        for (int k = 0; k < 3; k++)
            s->kernel[k] = s->stride[k] = 4;
        s->output_padding[l->quantity == Q_OUTPUT_PADDING_H ? 1 : 2] = v;
        return true;
    case Q_GROUPS:
        s->groups = v;
        s->c = s->out_channels = 4 * v;
        return v >= 1;
    case Q_IN_CHANNELS: s->c = v; return v >= 1;
    case Q_IN_CHANNELS_PER_GROUP:
        s->c = l->when == WHEN_PLAIN_CONV || strcmp(op, "torch.nn.Linear") == 0 ? v : 2 * v;
        s->groups = s->c == v ? 1 : 2;
        s->w = strcmp(op, "torch.nn.Linear") == 0 ? v : s->w;
        for (int k = 0; k < 3; k++)
            s->kernel[k] = s->stride[k] = 1;
        return true;
    case Q_OUT_CHANNELS_PER_GROUP:
        s->groups = l->when == WHEN_PLAIN_CONV || strcmp(op, "torch.nn.Linear") == 0 ? 1 : 2;
        s->out_channels = s->groups * v;
        s->internal = l->when == WHEN_NOT_LAST_OP;
        return true;
    case Q_OUT_CHANNELS:
        s->out_channels = v;
        s->internal = l->when == WHEN_NOT_MODEL_OUTPUT;
        if (strcmp(op, "torch.cat") == 0)
            s->c = v;
        return v >= 1;
    case Q_IN_FEATURES: s->w = v; return true;
    case Q_OUT_FEATURES: s->out_channels = v; return true;
    case Q_N:
        if (weight) {
            *(transposed ? &s->c : &s->out_channels) = v;
            s->internal = l->when == WHEN_NOT_MODEL_OUTPUT;
            return v >= 1;
        }
        s->n = v;
        return v >= 0;
    case Q_BATCH: s->n = v; return v >= 1;
    case Q_C: *(weight && transposed ? &s->out_channels : &s->c) = v; return v >= 0;
    case Q_HW:
        s->h = 1;
        s->w = v;
        if (strstr(op, "grid_sample") || strstr(op, "Pool")) {
            s->h = 720;
            s->w = 1024;
            if (v != 720 * 1024) {
                s->h = 721;
                s->w = 1024;
            }
            return l->max == 720 * 1024;
        }
        return true;
    case Q_CHW:
        s->c = v;
        s->h = s->w = 1;
        return true;
    case Q_DIM_HIGHEST: s->n = v; return v >= 0;
    case Q_DIM_OTHER:
    case Q_DIM_SIZE:
        if (v <= 1)
            s->c = s->h = 1;
        s->w = v;
        return v >= 0;
    case Q_NUM_INPUTS: s->inputs = (int)v; return v >= 1;
    case Q_WEIGHT_ELEMS:
        /* 1 x v weights: one row over v channels */
        for (int k = 0; k < 3; k++)
            s->kernel[k] = transposed ? 2 : 1;
        if (transposed && v % 4 != 0)
            return false;
        s->c = transposed ? v / 4 : v;
        return true;
    default: return false;
    }
    s->kernel[axis] = v;
    s->d = s->d > v ? s->d : v;
    s->h = s->h > v ? s->h : v;
    s->w = s->w > v ? s->w : v;
    return v >= 1;
}

struct tally {
    int at_bound, past_bound, skipped, wrong;
};

static const char *rule_name(const struct limit *l, const char *key, char out[96])
{
    const char *name = quantity_rows[l->quantity].name;
    if (l->operand == OPERAND_WEIGHT)
        name = l->quantity == Q_D   ? "kernel_d"
               : l->quantity == Q_H ? "kernel_h"
               : l->quantity == Q_W ? "kernel_w"
               : l->quantity == Q_N ? "out_channels"
                                    : "in_channels_per_group";
    snprintf(out, 96, "%s.%s", key, name);
    return out;
}

/* One side of a limit: at the bound nothing, past it a finding. */
static void probe(const struct march *m, const struct op *op, const struct limit *l, enum dtype t,
                  int64_t at, int64_t past, enum severity want, struct tally *tally)
{
    char rule[96];
    enum severity severity = SEVERITY_ADVICE;
    rule_name(l, op->key, rule);
    for (int side = 0; side < 2; side++) {
        struct spec s = spec_default();
        if (op->min_inputs > 1)
            s.inputs = op->min_inputs == 2 && !strstr(op->name, "grid_sample") ? 2 : 1;
        if (strcmp(op->name, "torch.cat") == 0)
            s.inputs = 2;
        int found = spec_set(&s, op->name, l, side ? past : at)
                        ? judge_spec(m, op->name, &s, t, rule, &severity)
                        : -1;
        if (found < 0) {
            tally->skipped++;
            continue;
        }
        /* at the bound of the table that decides, the other one may still warn */
        if (side == 0 && (found == 0 || severity != SEVERITY_ERROR)) {
            tally->at_bound++;
        } else if (side == 1 && found >= 1 && severity == want) {
            tally->past_bound++;
        } else {
            print_error("%s %s on %s: %s = %lld gives %d findings%s\n", op->name, rule,
                        march_name(m), quantity_rows[l->quantity].name,
                        (long long)(side ? past : at), found,
                        found ? severity == SEVERITY_ERROR ? " (error)" : " (warning)" : "");
            tally->wrong++;
        }
    }
}

#endif
