/* The verifier: what every pass may rely on. A failure here is a fault of the importer or of a pass, never of the
 * user's file, and says which invariant broke. */
#include <math.h>
#include <string.h>

#include "core/ir/graph.h"

static bool broken(struct bpu_error *err, const char *where, const char *what)
{
    error_set(err, BPU_SERVER, where, "internal: the graph is inconsistent: %s", what);
    return error_hint(err, "This is a fault of BPU Hub; please report it with the model.");
}

static bool value_in(const struct graph *g, const struct value *v)
{
    return v->index >= 0 && v->index < g->value_count && g->values[v->index] == v;
}

static bool verify_value(const struct graph *g, const struct value *v, struct bpu_error *err)
{
    if (!v->name || graph_find_value(g, v->name) != v)
        return broken(err, v->name, "a value's name does not lead to it");
    if (v->shape.rank < -1 || v->shape.rank > SHAPE_MAX_RANK)
        return broken(err, v->name, "rank out of range");
    for (int i = 0; i < v->shape.rank; i++)
        if (v->shape.dim[i] < -1)
            return broken(err, v->name, "negative extent");
    if (v->producer) {
        const struct node *p = v->producer;
        if (p->index < 0 || p->index >= g->node_count || g->nodes[p->index] != p ||
            v->producer_output >= p->output_count || p->outputs[v->producer_output] != v)
            return broken(err, v->name, "a value's producer does not produce it");
        if (v->is_input)
            return broken(err, v->name, "an input of the graph has a producer");
    } else if (!v->is_input && !v->constant)
        return broken(err, v->name, "a value comes from nowhere");
    if (v->constant && v->constant->data) {
        int64_t n = shape_elements(&v->shape);
        if (n < 0 || (uint64_t)n * dtype_size(v->dtype) != v->constant->bytes)
            return broken(err, v->name, "a constant's size is not that of its shape");
    }
    for (int i = 0; i < v->quant.count; i++)
        if (!isfinite(v->quant.scale[i]) || v->quant.scale[i] <= 0)
            return broken(err, v->name, "a scale is not positive and finite");
    return true;
}

static bool verify_operand(const struct graph *g, const struct node *n, const struct value *v,
                           struct bpu_error *err)
{
    if (!v)
        return true;
    if (!value_in(g, v))
        return broken(err, n->name, "an operand is not in the graph");
    if (v->producer && v->producer->index >= n->index)
        return broken(err, n->name, "an operand is produced after its use");
    return true;
}

bool graph_verify(const struct graph *g, struct bpu_error *err)
{
    for (int i = 0; i < g->value_count; i++) {
        if (!value_in(g, g->values[i]) || g->values[i]->index != i)
            return broken(err, NULL, "values are misnumbered");
        if (!verify_value(g, g->values[i], err))
            return false;
    }
    for (int i = 0; i < g->node_count; i++) {
        const struct node *n = g->nodes[i];
        if (n->index != i || !n->name || graph_find_node(g, n->name) != n)
            return broken(err, n->name, "nodes are misnumbered or misnamed");
        for (int k = 0; k < n->input_count; k++)
            if (!verify_operand(g, n, n->inputs[k], err))
                return false;
        for (int k = 0; k < n->param_count; k++)
            if (!verify_operand(g, n, n->params[k].value, err))
                return false;
        for (int k = 0; k < n->output_count; k++)
            if (!value_in(g, n->outputs[k]) || n->outputs[k]->producer != n)
                return broken(err, n->name, "an output is not this node's");
    }
    for (int i = 0; i < g->input_count; i++)
        if (!value_in(g, g->inputs[i]) || !g->inputs[i]->is_input)
            return broken(err, NULL, "an input is not in the graph");
    for (int i = 0; i < g->output_count; i++)
        if (!value_in(g, g->outputs[i]) || !g->outputs[i]->is_output)
            return broken(err, NULL, "an output is not in the graph");
    return true;
}
