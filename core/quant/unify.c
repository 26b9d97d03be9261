/* unify: operators that only move integers, and joins whose inputs can have one scale.
 *
 * A max pool or a slice gives integers that are among its operand's, so its result has the operand's
 * scale: anything else would cost a requantization and precision.  What torch.cat joins is best made
 * with the scale of the whole, where nobody else reads it. */
#include <string.h>

#include "core/ops/infer.h"
#include "core/ops/op.h"
#include "core/quant/scheme.h"
#include "core/run/kernel.h"

static bool pads_with_zero(const struct node *n)
{
    const char *mode = node_string(n, "mode", "constant");
    double value = node_float(n, "value", 0);
    if (n->op && strncmp(n->op->name, "torch.nn.", 9) == 0 && strstr(n->op->name, "Pad2d") &&
        strcmp(n->op->name, "torch.nn.ConstantPad2d") != 0)
        return true; /* reflection, replication, zeros */
    if (strcmp(mode, "constant") != 0)
        return true;
    const struct value *v = node_input(n, 2);
    return value == 0 && (!v || (value_is_known(v) && constant_real(v, 0, &value) && value == 0));
}

bool unify_keeps_scale(const struct node *n, int *operand)
{
    static const char *const kernels[] = {
        "identity",       "max_pool", "split",   "view",         "permute",         "getitem",
        "flip",           "roll",     "expand",  "repeat",       "gather",          "gather_nd",
        "topk",           "sort",     "max_min", "index_select", "channel_shuffle", "pixel_shuffle",
        "pixel_unshuffle"};
    const char *kernel = kernel_of(n)->name;
    *operand = 0;
    if (n->output_count < 1 || !node_input(n, 0))
        return false;
    if (strcmp(kernel, "max_min") == 0 && node_input(n, 1))
        return false;
    for (size_t i = 0; i < sizeof kernels / sizeof kernels[0]; i++)
        if (strcmp(kernel, kernels[i]) == 0)
            return true;
    if (strcmp(kernel, "pad") == 0)
        return pads_with_zero(n);
    if (strcmp(kernel, "adaptive_pool") == 0)
        return strstr(n->op->name, "Max") != NULL;
    if (strcmp(kernel, "resize") == 0)
        return strcmp(node_string(n, "mode", "nearest"), "nearest") == 0 &&
               strstr(n->op->name, "Bilinear") == NULL;
    if (strcmp(kernel, "reduce") == 0)
        return strcmp(n->op->name, "torch.amax") == 0 || strcmp(n->op->name, "torch.amin") == 0;
    return false;
}

/* Per-channel scales move with their axis only where inference says how; they are not handed on. */
static bool can_hand_on(const struct scheme_value *v)
{
    return v->dtype != DT_UNKNOWN && v->quant.count == 1;
}

/* A rectifier or clamp that the file gives no scale works on its operand's integers. */
static bool inherits(const struct node *n, int *operand)
{
    *operand = 0;
    return unify_keeps_scale(n, operand) ||
           (strcmp(kernel_of(n)->name, "clamp") == 0 && node_input(n, 0));
}

void unify_inherit(const struct graph *fused, const struct graph_users *users, struct scheme *s)
{
    int operand;
    for (int i = 0; i < fused->node_count; i++) {
        const struct node *n = fused->nodes[i];
        if (!inherits(n, &operand) || !can_hand_on(&s->values[n->inputs[operand]->index]))
            continue;
        for (int k = 0; k < n->output_count; k++) {
            const struct value *v = n->outputs[k];
            if (scheme_is_real(v->dtype) && s->values[v->index].dtype == DT_UNKNOWN)
                s->values[v->index] = s->values[n->inputs[operand]->index];
        }
    }
    for (int i = fused->node_count - 1; i >= 0; i--) {
        const struct node *n = fused->nodes[i];
        if (!inherits(n, &operand) || !can_hand_on(&s->values[n->outputs[0]->index]))
            continue;
        const struct value *x = n->inputs[operand];
        if (x->constant || !x->producer || !scheme_is_real(x->dtype) ||
            s->values[x->index].dtype != DT_UNKNOWN || users->count[x->index] != 1 || x->is_output)
            continue;
        s->values[x->index] = s->values[n->outputs[0]->index];
    }
}

/* May x get the scale of what is joined?  Not if its integers are somebody else's. */
static bool is_free(const struct value *x, const struct graph_users *users)
{
    int operand;
    return !x->constant && x->producer && !x->is_output && users->count[x->index] == 1 &&
           !unify_keeps_scale(x->producer, &operand) &&
           strcmp(kernel_of(x->producer)->name, "quantize") != 0;
}

void unify_calibrated(const struct graph *fused, const struct graph_users *users, struct scheme *s)
{
    int operand;
    for (int i = fused->node_count - 1; i >= 0; i--) { /* joins of joins: from the last one */
        const struct node *n = fused->nodes[i];
        const char *kernel = kernel_of(n)->name;
        if (strcmp(kernel, "cat") != 0 && strcmp(kernel, "stack") != 0)
            continue;
        const struct scheme_value *y = &s->values[n->outputs[0]->index];
        for (int k = 0; can_hand_on(y) && k < n->input_count; k++) {
            const struct value *x = n->inputs[k];
            if (x && is_free(x, users) && s->values[x->index].dtype == y->dtype)
                s->values[x->index] = *y;
        }
    }
    for (int i = 0; i < fused->node_count; i++) {
        const struct node *n = fused->nodes[i];
        if (!unify_keeps_scale(n, &operand) || !can_hand_on(&s->values[n->inputs[operand]->index]))
            continue;
        for (int k = 0; k < n->output_count; k++)
            if (scheme_is_real(n->outputs[k]->dtype))
                s->values[n->outputs[k]->index] = s->values[n->inputs[operand]->index];
    }
}
