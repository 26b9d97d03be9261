/* Arithmetic with constants between a convolution and its batch norm belongs to the batch norm.
 *
 * Quantization-aware training scales the weights by what the batch norm will divide by, and
 * exporters write the division that takes it back:    conv ─ / c ─ (+ b) ─ batch norm With y the
 * convolution's result, the batch norm of m y + a is the batch norm of y with other numbers: gamma
 * (m y + a - mean) / s + beta  =  (gamma m) (y - (mean - a) / m) / s + beta so it gets those, and
 * the steps between pass their input through. */
#include <math.h>
#include <string.h>

#include "core/import/recompose.h"
#include "core/ops/op.h"

enum { MAX_STEPS = 4 };

struct affine {
    struct graph *g;
    struct graph_users *users;
    struct bpu_error *err;
    struct node *bn, *steps[MAX_STEPS]; /* the last step first */
    int count;
    int64_t channels;
};

static bool is_step(const struct node *n)
{
    static const char *const ops[] = {"torch.div", "torch.mul", "torch.add", "torch.sub"};
    if (!n->op || n->fold != FOLD_NONE || n->input_count != 2 || n->output_count != 1 ||
        node_string(n, "rounding_mode", "")[0] || node_attr(n, "alpha"))
        return false;
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++)
        if (strcmp(n->op->name, ops[i]) == 0)
            return true;
    return false;
}

/* One number, or one per channel, in a shape that broadcasts along the channels of x. */
static bool is_per_channel(const struct value *v, const struct shape *x, int64_t channels)
{
    if (!value_is_known(v) || !dtype_is_float(v->dtype) || v->shape.rank > x->rank)
        return false;
    int channel = v->shape.rank - x->rank + 1;
    for (int i = 0; i < v->shape.rank; i++)
        if (v->shape.dim[i] != 1 && (i != channel || v->shape.dim[i] != channels))
            return false;
    return true;
}

/* Which operand of n is the constant; -1 if it is no such step. A constant divided by y is none. */
static int constant_side(const struct affine *a, const struct node *n)
{
    if (!n->op || !is_step(n))
        return -1;
    const struct shape *y = &n->outputs[0]->shape;
    for (int i = 1; i >= 0; i--) {
        const struct value *c = n->inputs[i], *x = n->inputs[1 - i];
        bool order = i == 1 || strcmp(n->op->name, "torch.div") != 0;
        if (c && x && !x->constant && order && shape_equal(&x->shape, y) &&
            is_per_channel(c, y, a->channels))
            return i;
    }
    return -1;
}

static bool only_use(const struct affine *a, const struct value *v)
{
    return v && !v->is_output && v->quant.count == 0 && a->users->count[v->index] == 1;
}

/* From the batch norm back to a convolution. */
static bool find_steps(struct affine *a)
{
    const struct value *v = node_input(a->bn, 0);
    a->count = 0;
    while (only_use(a, v) && v->producer) {
        struct node *n = v->producer;
        if (n->op && n->fold == FOLD_NONE && strncmp(n->op->name, "torch.nn.Conv", 13) == 0)
            return a->count > 0;
        int side = a->count < MAX_STEPS ? constant_side(a, n) : -1;
        if (side < 0)
            return false;
        a->steps[a->count++] = n;
        v = n->inputs[1 - side];
    }
    return false;
}

/* m y + b of channel c behind all steps; false if a number cannot be read. */
static bool through_steps(const struct affine *a, int64_t c, double *m, double *b)
{
    *m = 1;
    *b = 0;
    for (int i = a->count - 1; i >= 0; i--) {
        const struct node *n = a->steps[i];
        int side = constant_side(a, n);
        const struct value *v = n->inputs[side];
        double k;
        if (!constant_real(v, shape_elements(&v->shape) == 1 ? 0 : c, &k))
            return false;
        const char *op = n->op->name;
        if (strcmp(op, "torch.div") == 0 || strcmp(op, "torch.mul") == 0) {
            k = strcmp(op, "torch.div") == 0 ? 1 / k : k;
            *m *= k;
            *b *= k;
        } else if (strcmp(op, "torch.add") == 0) {
            *b += k;
        } else if (side == 1) {
            *b -= k;
        } else { /* constant - y */
            *m = -*m;
            *b = k - *b;
        }
    }
    return isfinite(*m) && isfinite(*b) && *m != 0;
}

static bool number(const struct node *bn, const char *param, int64_t c, double otherwise,
                   double *out)
{
    const struct value *v = node_param(bn, param);
    *out = otherwise;
    return !v || constant_real(v, c, out);
}

static bool set_param(struct affine *a, const char *name, const float *data)
{
    struct shape shape = shape_of(1, &a->channels);
    const char *label = arena_printf(a->g->arena, a->err, "%s.%s", a->bn->name, name);
    struct value *v = label ? graph_add_constant(a->g, label, &shape, DT_FLOAT32, data,
                                                 (size_t)a->channels * sizeof *data, a->err)
                            : NULL;
    if (!v)
        return false;
    for (int i = 0; i < a->bn->param_count; i++)
        if (strcmp(a->bn->params[i].name, name) == 0) {
            a->bn->params[i].value = v;
            return true;
        }
    return node_add_param(a->g, a->bn, name, v, a->err);
}

/* *done false: a number is not known, and all stays as it is. */
static bool take_over(struct affine *a, bool *done)
{
    float *weight = ARENA_ARRAY(a->g->arena, float, a->channels, a->err);
    float *mean = weight ? ARENA_ARRAY(a->g->arena, float, a->channels, a->err) : NULL;
    *done = false;
    if (!mean)
        return false;
    for (int64_t c = 0; c < a->channels; c++) {
        double m, b, gamma, centre;
        if (!through_steps(a, c, &m, &b) || !number(a->bn, "weight", c, 1, &gamma) ||
            !number(a->bn, "running_mean", c, 0, &centre))
            return true;
        weight[c] = (float)(gamma * m);
        mean[c] = (float)((centre - b) / m);
    }
    if (!set_param(a, "weight", weight) || !set_param(a, "running_mean", mean))
        return false;
    for (int i = 0; i < a->count; i++) {
        struct node *n = a->steps[i];
        struct value *x = n->inputs[1 - constant_side(a, n)];
        n->op_name = "torch.nn.Identity";
        op_bind(n);
        n->inputs[0] = x;
        n->input_count = 1;
        n->attr_count = 0;
        n->fold = FOLD_IDENTITY;
    }
    for (int i = a->count - 1; i >= 0; i--)
        a->steps[i]->outputs[0]->dtype = a->steps[i]->inputs[0]->dtype;
    *done = true;
    return true;
}

bool graph_recompose_affine(struct graph *g, struct bpu_error *err)
{
    struct affine a = {.g = g, .err = err};
    a.users = graph_users_new(g, g->arena, err);
    if (!a.users)
        return false;
    int count = g->node_count;
    for (int i = 0; i < count; i++) {
        struct node *n = g->nodes[i];
        const struct value *var = n->op ? node_param(n, "running_var") : NULL;
        bool done;
        if (!var || n->fold != FOLD_NONE || var->shape.rank != 1 ||
            strncmp(n->op->name, "torch.nn.BatchNorm", 18) != 0 || var->shape.dim[0] < 1)
            continue;
        a.bn = n;
        a.channels = var->shape.dim[0];
        if (!find_steps(&a))
            continue;
        if (!op_fold_affordable(g, a.channels) || !take_over(&a, &done))
            return err->code == BPU_NONE;
        if (done && !graph_add_note(g, err,
                                    "The arithmetic between convolution and batch norm \"%.200s\" "
                                    "is taken into the batch norm.",
                                    n->name))
            return false;
    }
    return true;
}
