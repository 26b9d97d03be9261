/* infer_recurrent: LSTM, GRU and RNN layers, their cells, and attention.
 *
 *   x (L, N, in), or (N, L, in) with batch_first, or (L, in) without a batch
 *   output (L, N, D * hidden);  h_n, c_n (D * layers, N, hidden);  D 2 when bidirectional
 *
 * ONNX gives the directions an axis of their own: output (L, D, N, hidden), or with batch_first
 * (its layout 1) output (N, L, D, hidden) and h_n (N, D, hidden); separate_directions says so. */
#include <string.h>

#include "core/ops/infer.h"

/* hidden_size from the attribute or the recurrent weight (gates * hidden, hidden). */
static int64_t recurrent_hidden(const struct node *n)
{
    int64_t hidden = node_int(n, "hidden_size", -1);
    for (int i = 0; i < n->param_count && hidden < 0; i++) {
        const struct value *v = n->params[i].value;
        if (v && strncmp(n->params[i].name, "weight_hh", 9) == 0 && v->shape.rank >= 1)
            hidden = v->shape.dim[v->shape.rank - 1];
    }
    return hidden;
}

static bool recurrent_input(const struct node *n, const struct shape *x, struct bpu_error *err)
{
    char text[SHAPE_TEXT_MAX];
    int64_t want = node_int(n, "input_size", -1), last = x->dim[x->rank - 1];
    if (want < 0 || last < 0 || want == last)
        return true;
    return infer_bad(n, err, NULL, "input_size is %lld, but the input has shape %s",
                     (long long)want, shape_text(x, text));
}

static bool recurrent_infer(struct graph *g, struct node *n, bool cell_state, struct bpu_error *err)
{
    char text[SHAPE_TEXT_MAX];
    const struct shape *x = infer_shape(n, 0);
    enum dtype t = infer_dtype(n, 0);
    int64_t hidden = recurrent_hidden(n), layers = node_int(n, "num_layers", 1);
    int64_t project = node_int(n, "proj_size", 0), d = node_bool(n, "bidirectional", false) ? 2 : 1;
    const struct attr *size = node_attr(n, "hidden_size");
    if (infer_from_onnx(n) && !node_attr(n, "separate_directions") &&
        !node_set_bool(g, n, "separate_directions", true, err))
        return false;
    if ((size && hidden < 1) || hidden > INFER_MAX_ELEMENTS || layers < 1 ||
        layers > INFER_MAX_ELEMENTS || project < 0 || project > INFER_MAX_ELEMENTS)
        return infer_bad(n, err, NULL,
                         "hidden_size %lld, num_layers %lld or proj_size %lld is wrong",
                         (long long)hidden, (long long)layers, (long long)project);
    if (x->rank < 0)
        return infer_out_unknown(n, 0, t, err);
    if (x->rank != 2 && x->rank != 3)
        return infer_bad(n, err, NULL,
                         "the input has shape %s; rank 3 (or 2 without batch) is needed",
                         shape_text(x, text));
    if (!recurrent_input(n, x, err))
        return false;
    bool batched = x->rank == 3, first = node_bool(n, "batch_first", false);
    int64_t state = project > 0 ? project : hidden;
    struct shape out = *x, h = {.rank = batched ? 3 : 2}, c;
    out.dim[x->rank - 1] = state < 0 ? -1 : state * d;
    bool separate = batched && node_bool(n, "separate_directions", false);
    if (separate)
        out = first ? (struct shape){.rank = 4, .dim = {x->dim[0], x->dim[1], d, state}}
                    : (struct shape){.rank = 4, .dim = {x->dim[0], d, x->dim[1], state}};
    h.dim[0] = layers * d;
    if (batched)
        h.dim[1] = x->dim[first ? 0 : 1];
    if (separate && first)
        h = (struct shape){.rank = 3, .dim = {x->dim[0], layers * d, state}};
    h.dim[h.rank - 1] = state;
    c = h;
    c.dim[c.rank - 1] = hidden;
    return infer_out(n, 0, &out, t, err) && infer_out(n, 1, &h, t, err) &&
           (!cell_state || infer_out(n, 2, &c, t, err));
}

bool infer_lstm(struct graph *g, struct node *n, struct bpu_error *err)
{
    return recurrent_infer(g, n, true, err);
}

bool infer_gru(struct graph *g, struct node *n, struct bpu_error *err)
{
    return recurrent_infer(g, n, false, err);
}

/* x (N, in) or (in);  h, c (N, hidden) */
bool infer_lstm_cell(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    char text[SHAPE_TEXT_MAX];
    const struct shape *x = infer_shape(n, 0);
    enum dtype t = infer_dtype(n, 0);
    int64_t hidden = recurrent_hidden(n);
    const struct attr *size = node_attr(n, "hidden_size");
    if (size && hidden < 1)
        return infer_bad(n, err, NULL, "hidden_size is %lld; it must be at least 1",
                         (long long)hidden);
    if (x->rank < 0)
        return infer_out_unknown(n, 0, t, err);
    if (x->rank != 1 && x->rank != 2)
        return infer_bad(n, err, NULL,
                         "the input has shape %s; rank 2 (or 1 without batch) is needed",
                         shape_text(x, text));
    if (!recurrent_input(n, x, err))
        return false;
    struct shape out = *x;
    out.dim[x->rank - 1] = hidden;
    for (int i = 1; i <= 2; i++) {
        const struct shape *s = infer_shape(n, i);
        if (shape_is_static(s) && shape_is_static(&out) && !shape_equal(s, &out))
            return infer_bad(n, err, NULL, "the state %d has shape %s, which does not fit", i,
                             shape_text(s, text));
    }
    return infer_out(n, 0, &out, t, err) && infer_out(n, 1, &out, t, err);
}

/* q (L, N, embed), k (S, N, kdim), v (S, N, vdim), batch first on request, or without a batch */
bool infer_attention(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    char tq[SHAPE_TEXT_MAX], tk[SHAPE_TEXT_MAX], tv[SHAPE_TEXT_MAX];
    const struct shape *q = infer_shape(n, 0), *k = infer_shape(n, 1), *v = infer_shape(n, 2);
    enum dtype t = infer_dtype(n, 0);
    int64_t embed = node_int(n, "embed_dim", -1), heads = node_int(n, "num_heads", 1);
    if (heads < 1 || (embed >= 0 && embed % heads))
        return infer_bad(n, err, NULL, "embed_dim %lld is no multiple of num_heads %lld",
                         (long long)embed, (long long)heads);
    if (q->rank < 0 || k->rank < 0 || v->rank < 0)
        return infer_out_unknown(n, 0, t, err);
    bool batched = q->rank == 3, first = node_bool(n, "batch_first", false);
    int seq = batched && first ? 1 : 0, batch = first ? 0 : 1;
    int64_t kdim = node_int(n, "kdim", embed), vdim = node_int(n, "vdim", embed);
    bool fits = (q->rank == 2 || q->rank == 3) && k->rank == q->rank && v->rank == q->rank;
    if (fits) {
        int last = q->rank - 1;
        fits =
            (embed < 0 || q->dim[last] < 0 || q->dim[last] == embed) &&
            (kdim < 0 || k->dim[last] < 0 || k->dim[last] == kdim) &&
            (vdim < 0 || v->dim[last] < 0 || v->dim[last] == vdim) &&
            (k->dim[seq] < 0 || v->dim[seq] < 0 || k->dim[seq] == v->dim[seq]) &&
            (!batched || q->dim[batch] < 0 || k->dim[batch] < 0 || q->dim[batch] == k->dim[batch]);
    }
    if (!fits)
        return infer_bad(n, err, NULL, "query %s, key %s and value %s do not fit embed_dim %lld",
                         shape_text(q, tq), shape_text(k, tk), shape_text(v, tv), (long long)embed);
    int64_t source = k->dim[seq];
    if (source >= 0)
        source += node_bool(n, "add_bias_kv", false) + node_bool(n, "add_zero_attn", false);
    struct shape weights = {.rank = 0};
    if (batched)
        weights.dim[weights.rank++] = q->dim[batch];
    if (!node_bool(n, "average_attn_weights", true))
        weights.dim[weights.rank++] = heads;
    weights.dim[weights.rank++] = q->dim[seq];
    weights.dim[weights.rank++] = source;
    return infer_out(n, 0, q, t, err) && infer_out(n, 1, &weights, t, err);
}
