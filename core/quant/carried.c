/* carried: means whose scale is nobody's.
 *
 * A QDQ file says what scale a value has by quantizing it.  Between DQ and the next operator a mean
 * may stand that no Q follows: there the file computes with real numbers.  Inference hands it the
 * operand's scale, since a check needs a type; rounding to that would lose what averaging wins, up to
 * half a step, which the next layer multiplies.  Fusing forgets such scales, and the scheme finds
 * better ones.  Files of PyTorch's own integers are another matter: their pools do round so. */
#include <string.h>

#include "core/ops/infer.h"
#include "core/ops/op.h"
#include "core/quant/rewrite.h"
#include "core/quant/scheme.h"
#include "core/run/kernel.h"

bool carried_is_mean(const struct node *n)
{
    const char *kernel = kernel_of(n)->name;
    int operand;
    if (n->output_count != 1 || !node_input(n, 0) || unify_keeps_scale(n, &operand))
        return false;
    return strcmp(kernel, "avg_pool") == 0 || strcmp(kernel, "adaptive_pool") == 0 ||
           strcmp(kernel, "resize") == 0 ||
           (strcmp(kernel, "reduce") == 0 && strcmp(n->op->key, "mean") == 0);
}

/* Values that a Q reads, however it was folded: their scale is stated. */
static void mark_stated(const struct graph *g, bool *stated)
{
    for (int i = g->node_count - 1; i >= 0; i--) {
        const struct node *n = g->nodes[i];
        bool q = n->op && strcmp(n->op->name, "torch.quantization.QuantStub") == 0;
        bool passes = n->fold == FOLD_IDENTITY && n->output_count > 0 &&
                      stated[n->outputs[0]->index];
        if ((q || passes) && node_input(n, 0))
            stated[n->inputs[0]->index] = true;
    }
}

bool *carried_scales(struct arena *a, const struct graph *g, struct bpu_error *err)
{
    bool *out = ARENA_ARRAY(a, bool, g->value_count, err);
    bool *stated = out ? ARENA_ARRAY(a, bool, g->value_count, err) : NULL;
    if (!stated)
        return NULL;
    mark_stated(g, stated);
    for (int i = 0; i < g->node_count; i++) {
        const struct node *n = g->nodes[i];
        const struct value *x = node_input(n, 0), *y = n->output_count ? n->outputs[0] : NULL;
        int operand;
        if (!x || !y || y->constant || stated[y->index] || y->quant.count != 1 ||
            y->dtype != x->dtype || !infer_quant_equal(&x->quant, &y->quant))
            continue;
        bool passes = n->fold != FOLD_NONE || unify_keeps_scale(n, &operand);
        bool integers = n->origin.source_op && strstr(n->origin.source_op, "QLinear");
        out[y->index] = passes ? out[x->index]
                               : infer_from_onnx(n) && !integers && carried_is_mean(n);
    }
    return out;
}
