/* real_attention: torch.nn.MultiheadAttention.
 *
 *   Q = q Wq' + bq,  K = k Wk' + bk,  V = v Wv' + bv;  then per head, with d columns each,
 *   A = softmax(Q K' / sqrt(d) + masks),  y = (A V of all heads side by side) Wo' + bo
 *
 * bias_k, bias_v and a row of zeros may follow the last row of K and V.  All sums ascend, start
 * with the bias, and stay in double precision until y (and A, or its mean over the heads) are
 * stored. */
#include "core/run/real.h"

struct attention {
    int64_t target, source, keys, batch, embed, heads, head; /* keys: source and the added rows */
    bool batched, batch_first;
    double *q, *k, *v;   /* target, keys, keys rows of embed */
    double *scores;      /* keys */
    double *mixed, *row; /* embed each; row: the longest operand row */
    double *weights;     /* heads * target * keys */
};

/* Row r of image n of a sequence (L, N, E), (N, L, E) or (L, E). */
static int64_t row_at(const struct attention *a, int64_t length, int64_t r, int64_t n)
{
    return !a->batched ? r : a->batch_first ? n * length + r : r * a->batch + n;
}

/* to[0 .. embed) = row W' + bias; the weight's rows start at w0, the bias at b0. */
static void project(const struct tensor *weight, int64_t w0, const struct tensor *bias, int64_t b0,
                    const double *row, int64_t width, int64_t embed, double *to, double *w)
{
    for (int64_t o = 0; o < embed; o++) {
        double sum = bias ? tensor_real(bias, b0 + o) : 0;
        real_load(weight, (w0 + o) * width, 1, width, w);
        for (int64_t i = 0; i < width; i++)
            sum += row[i] * w[i];
        to[o] = sum;
    }
}

/* Operand i (0 query, 1 key, 2 value) of image n, projected. */
static bool project_operand(const struct kernel_call *c, const struct attention *a, int i,
                            int64_t n, double *to, struct bpu_error *err)
{
    static const char *const names[] = {"q_proj_weight", "k_proj_weight", "v_proj_weight"};
    const struct tensor *x = c->in[i], *joint = kernel_param(c, "in_proj_weight");
    const struct tensor *weight = joint ? joint : kernel_param(c, names[i]);
    const struct tensor *bias = kernel_param(c, "in_proj_bias");
    int64_t rows = i == 0 ? a->target : a->source, width = x->shape.dim[x->shape.rank - 1];
    if (real_count(x) != rows * a->batch * width || (bias && real_count(bias) < 3 * a->embed))
        return kernel_unsupported(c, err, "operand %d or its bias does not fit the others", i);
    if (!weight || real_count(weight) < (joint ? 3 : 1) * a->embed * width)
        return kernel_unsupported(c, err, "the weight of operand %d is missing or too small", i);
    struct arena_mark mark = arena_mark(c->scratch);
    double *w = real_scratch(c, 2 * width, err);
    if (!w)
        return false;
    for (int64_t r = 0; r < rows; r++) {
        real_load(x, row_at(a, rows, r, n) * width, 1, width, w + width);
        project(weight, joint ? i * a->embed : 0, bias, i * a->embed, w + width, width, a->embed,
                to + r * a->embed, w);
    }
    arena_rewind(c->scratch, mark);
    const char *extra = i == 1 ? "bias_k" : "bias_v";
    const struct tensor *more =
        i > 0 && node_bool(c->node, "add_bias_kv", false) ? kernel_param(c, extra) : NULL;
    if (more && real_count(more) < a->embed)
        return kernel_unsupported(c, err, "the parameter %s is too small", extra);
    for (int64_t r = a->source; i > 0 && r < a->keys; r++) /* a row of zeros comes last */
        for (int64_t e = 0; e < a->embed; e++)
            to[r * a->embed + e] = more && r == a->source ? tensor_real(more, e) : 0;
    return true;
}

/* What the masks add to the score of query t and key s. True in a mask of booleans means "not". */
static double masked(const struct kernel_call *c, const struct attention *a, int64_t n, int64_t h,
                     int64_t t, int64_t s)
{
    const struct tensor *padding = kernel_in(c, 3), *mask = kernel_in(c, 4);
    double add = 0;
    if (s >= a->source)
        return 0;
    if (padding) {
        double v = tensor_real(padding, (a->batched ? n * a->source : 0) + s);
        add += padding->dtype == DT_BOOL ? (v != 0 ? -INFINITY : 0) : v;
    }
    if (mask) {
        int64_t plane = mask->shape.rank == 3 ? n * a->heads + h : 0;
        double v = tensor_real(mask, (plane * a->target + t) * a->source + s);
        add += mask->dtype == DT_BOOL ? (v != 0 ? -INFINITY : 0) : v;
    }
    return add;
}

/* Softmax of the scores of query t in head h, in place. */
static void attend(const struct kernel_call *c, const struct attention *a, int64_t n, int64_t h,
                   int64_t t)
{
    const double *q = a->q + t * a->embed + h * a->head;
    double most = -INFINITY, sum = 0, root = sqrt((double)a->head);
    for (int64_t s = 0; s < a->keys; s++) {
        const double *k = a->k + s * a->embed + h * a->head;
        double dot = 0;
        for (int64_t i = 0; i < a->head; i++)
            dot += q[i] * k[i];
        a->scores[s] = dot / root + masked(c, a, n, h, t, s);
        most = a->scores[s] > most ? a->scores[s] : most;
    }
    for (int64_t s = 0; s < a->keys; s++)
        sum += a->scores[s] = exp(a->scores[s] - most);
    for (int64_t s = 0; s < a->keys; s++)
        a->scores[s] /= sum;
}

static void attention_image(const struct kernel_call *c, const struct attention *a, int64_t n)
{
    const struct tensor *wo = kernel_param(c, "out_proj_weight"),
                        *bo = kernel_param(c, "out_proj_bias");
    for (int64_t t = 0; t < a->target; t++) {
        for (int64_t h = 0; h < a->heads; h++) {
            double *mixed = a->mixed + h * a->head;
            attend(c, a, n, h, t);
            memcpy(a->weights + (h * a->target + t) * a->keys, a->scores,
                   (size_t)a->keys * sizeof *a->scores);
            memset(mixed, 0, (size_t)a->head * sizeof *mixed);
            for (int64_t s = 0; s < a->keys; s++)
                for (int64_t i = 0; i < a->head; i++)
                    mixed[i] += a->scores[s] * a->v[s * a->embed + h * a->head + i];
        }
        if (!c->out[0])
            continue;
        project(wo, 0, bo, 0, a->mixed, a->embed, a->embed, a->row, a->row + a->embed);
        real_store(c->out[0], row_at(a, a->target, t, n) * a->embed, 1, a->embed, a->row);
    }
}

/* The weights of the heads, or their mean. */
static void store_weights(const struct kernel_call *c, const struct attention *a, int64_t n)
{
    struct tensor *out = c->out_count > 1 ? c->out[1] : NULL;
    bool mean = node_bool(c->node, "average_attn_weights", true);
    int64_t plane = a->target * a->keys;
    for (int64_t i = 0; out && mean && i < plane; i++) {
        double sum = 0;
        for (int64_t h = 0; h < a->heads; h++)
            sum += a->weights[h * plane + i];
        tensor_store_real(out, n * plane + i, sum / (double)a->heads);
    }
    if (out && !mean)
        real_store(out, n * a->heads * plane, 1, a->heads * plane, a->weights);
}

static bool attention_run(const struct kernel_call *c, struct bpu_error *err)
{
    const struct shape *q = &c->in[0]->shape, *k = &c->in[1]->shape;
    struct attention a = {.heads = node_int(c->node, "num_heads", 1),
                          .embed = q->dim[q->rank - 1],
                          .batched = q->rank == 3,
                          .batch_first = node_bool(c->node, "batch_first", false)};
    const struct tensor *wo = kernel_param(c, "out_proj_weight"),
                        *bo = kernel_param(c, "out_proj_bias");
    int sequence = a.batched && a.batch_first ? 1 : 0;
    a.batch = a.batched ? q->dim[1 - sequence] : 1;
    a.target = q->dim[sequence];
    a.source = k->dim[sequence];
    a.keys = a.source + node_bool(c->node, "add_bias_kv", false) +
             node_bool(c->node, "add_zero_attn", false);
    a.head = a.embed / a.heads;
    if (a.embed > 1 << 20 || a.target > 1 << 20 || a.keys > 1 << 20 || a.heads > a.embed)
        return kernel_unsupported(c, err, "the layer is too large");
    if (!wo || real_count(wo) != a.embed * a.embed || a.embed % a.heads ||
        (bo && real_count(bo) < a.embed))
        return kernel_unsupported(c, err, "the weight of the output is missing or does not fit");
    for (int i = 3; i < 5; i++) {
        const struct tensor *m = kernel_in(c, i);
        int64_t least = (i == 3 ? a.batch : a.target) * a.source;
        if (m && real_count(m) < (m->shape.rank == 3 ? least * a.batch * a.heads : least))
            return kernel_unsupported(c, err, "the mask (operand %d) is too small", i);
    }
    a.q = real_scratch(c, (a.target + 2 * a.keys + 3) * a.embed + a.keys, err);
    a.weights = a.q ? real_scratch(c, a.heads * a.target * a.keys, err) : NULL;
    if (!a.weights)
        return false;
    a.k = a.q + a.target * a.embed;
    a.v = a.k + a.keys * a.embed;
    a.mixed = a.v + a.keys * a.embed;
    a.row = a.mixed + a.embed; /* the row and a row of weights */
    a.scores = a.row + 2 * a.embed;
    for (int64_t n = 0; n < a.batch; n++) {
        if (!project_operand(c, &a, 0, n, a.q, err) || !project_operand(c, &a, 1, n, a.k, err) ||
            !project_operand(c, &a, 2, n, a.v, err))
            return false;
        attention_image(c, &a, n);
        store_weights(c, &a, n);
    }
    return true;
}

bool real_attention(const struct kernel_call *c, struct bpu_error *err)
{
    return attention_run(c, err);
}

bool fixed_attention(const struct kernel_call *c, struct bpu_error *err)
{
    return attention_run(c, err);
}
