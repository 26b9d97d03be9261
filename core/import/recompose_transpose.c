/* Two permutations of axes in a row are one.
 *
 * PyTorch's ONNX export joins them; a trace holds each as it was written (k.transpose(0, 1), then
 * k.transpose(-2, -1)).  The later one takes both; the earlier one is a part of it, unless somebody
 * else reads its result too.  Copies between them (contiguous) are passed through. */
#include <string.h>

#include "core/import/recompose.h"
#include "core/ops/op.h"

enum { MAX_COPIES = 16 };

/* Axis i of the result is axis out[i] of the operand. False if n is no permutation. */
static bool permutation(const struct node *n, int64_t out[SHAPE_MAX_RANK])
{
    const struct value *x = node_input(n, 0);
    int rank = x ? x->shape.rank : -1;
    bool seen[SHAPE_MAX_RANK] = {false};
    if (!n->op || rank < 1 || n->input_count != 1 || n->output_count != 1)
        return false;
    for (int i = 0; i < SHAPE_MAX_RANK; i++)
        out[i] = i;
    if (strcmp(n->op->name, "torch.Tensor.transpose") == 0) {
        int64_t a = node_int(n, "dim0", rank), b = node_int(n, "dim1", rank);
        a += a < 0 ? rank : 0;
        b += b < 0 ? rank : 0;
        if (a < 0 || b < 0 || a >= rank || b >= rank)
            return false;
        out[a] = b;
        out[b] = a;
        return true;
    }
    if (strcmp(n->op->name, "torch.permute") != 0 || !node_ints(n, "dims", out, rank))
        return false;
    for (int i = 0; i < rank; i++) {
        out[i] += out[i] < 0 ? rank : 0;
        if (out[i] < 0 || out[i] >= rank || seen[out[i]])
            return false;
        seen[out[i]] = true;
    }
    return true;
}

/* True if a node other than n reads v, or a copy of it. */
static bool is_read_beside(const struct graph_users *users, const struct value *v,
                           const struct node *n, int depth)
{
    if (v->is_output || depth == MAX_COPIES)
        return true;
    for (int i = 0; i < users->count[v->index]; i++) {
        const struct node *u = users->users[v->index][i];
        bool reads = u->param_count > 0; /* the index is older than what was joined since */
        for (int k = 0; k < u->input_count; k++)
            reads = reads || u->inputs[k] == v;
        if (reads && u != n &&
            (u->fold != FOLD_IDENTITY || is_read_beside(users, u->outputs[0], n, depth + 1)))
            return true;
    }
    return false;
}

static bool set_permutation(struct graph *g, struct node *n, const int64_t *axes, int rank,
                            struct bpu_error *err)
{
    int moved = 0, pair[2] = {0, 0};
    for (int i = 0; i < rank; i++)
        if (axes[i] != i && moved++ < 2)
            pair[moved - 1] = i;
    n->attr_count = 0;
    n->op_name = moved == 0   ? "torch.nn.Identity"
                 : moved == 2 ? "torch.Tensor.transpose"
                              : "torch.permute";
    op_bind(n);
    if (moved == 0)
        n->fold = FOLD_IDENTITY;
    if (moved == 2)
        return node_set_int(g, n, "dim0", pair[0], err) && node_set_int(g, n, "dim1", pair[1], err);
    return moved == 0 || node_set_ints(g, n, "dims", axes, rank, err);
}

bool graph_recompose_transpose(struct graph *g, struct bpu_error *err)
{
    struct graph_users *users = graph_users_new(g, g->arena, err);
    if (!users)
        return false;
    for (int i = 0; i < g->node_count; i++) {
        struct node *n = g->nodes[i];
        int64_t outer[SHAPE_MAX_RANK], inner[SHAPE_MAX_RANK];
        if (n->fold != FOLD_NONE || !permutation(n, outer))
            continue;
        struct value *x = n->inputs[0];
        for (int k = 0; k < MAX_COPIES && x->producer && x->producer->fold == FOLD_IDENTITY &&
                        x->producer->inputs[0] && x->quant.count == 0;
             k++)
            x = x->producer->inputs[0];
        struct node *first = x->producer;
        if (!first || first->fold != FOLD_NONE || x->quant.count ||
            !shape_equal(&x->shape, &n->inputs[0]->shape) || !permutation(first, inner))
            continue;
        int rank = x->shape.rank;
        for (int k = 0; k < rank; k++)
            outer[k] = inner[outer[k]];
        n->inputs[0] = first->inputs[0];
        if (!is_read_beside(users, x, n, 0)) {
            first->fold = FOLD_PART;
            first->folded_into = n;
        }
        if (!set_permutation(g, n, outer, rank, err))
            return false;
    }
    return true;
}
