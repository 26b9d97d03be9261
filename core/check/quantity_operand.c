/* Quantities of operands: constants, scalars, broadcasting, dtypes, pairs of shapes. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/check/rules.h"

static bool is_constant(const struct value *v)
{
    return v && v->constant;
}

static bool is_scalar(const struct value *v)
{
    return is_constant(v) && v->shape.rank == 0;
}

bool quantity_const_operand(const struct subject *s, const struct value *v, struct measure *out)
{
    (void)v;
    for (int i = 0; i < s->n->input_count; i++) {
        if (is_constant(s->n->inputs[i]))
            return measure_bool(out, true);
    }
    return measure_bool(out, false);
}

bool quantity_const_inputs(const struct subject *s, const struct value *v, struct measure *out)
{
    int count = 0;
    (void)v;
    for (int i = 0; i < s->n->input_count; i++)
        count += is_constant(s->n->inputs[i]);
    return measure_number(out, count);
}

bool quantity_scalar_operand(const struct subject *s, const struct value *v, struct measure *out)
{
    bool scalar = node_bool(s->n, "scalar_operand", false);
    (void)v;
    for (int i = 0; i < s->n->input_count; i++)
        scalar |= is_scalar(s->n->inputs[i]);
    return measure_bool(out, scalar);
}

bool quantity_num_inputs(const struct subject *s, const struct value *v, struct measure *out)
{
    int count = 0;
    (void)v;
    for (int i = 0; i < s->n->input_count; i++)
        count += s->n->inputs[i] != NULL;
    return measure_number(out, count);
}

/* Levels that a multi-scale pooling of regions reads; a plain one reads one. */
bool quantity_num_features(const struct subject *s, const struct value *v, struct measure *out)
{
    (void)v;
    if (!node_is(s->n, "torchvision.ops.MultiScaleRoIAlign"))
        return measure_number(out, 1);
    int count = 0;
    for (int i = 0; i < s->n->input_count; i++)
        count += s->n->inputs[i] && s->n->inputs[i]->shape.rank == 4;
    return measure_number(out, count);
}

/* Bit i: input `which` is repeated along axis i of the result. A scalar constant is no tensor. */
static bool broadcast_axes(const struct subject *s, int which, const struct shape *full,
                           unsigned *bits)
{
    const struct value *v = node_input(s->n, which);
    *bits = 0;
    if (!v)
        return false;
    for (int i = 0; !is_scalar(v) && i < full->rank; i++) {
        int k = i - (full->rank - v->shape.rank);
        int64_t d = k >= 0 ? v->shape.dim[k] : 1;
        if (d == 1 && full->dim[i] != 1)
            *bits |= 1u << i;
    }
    return true;
}

bool quantity_broadcast_axes(const struct subject *s, const struct value *v, struct measure *out)
{
    struct shape full;
    unsigned a, b;
    (void)v;
    if (!subject_broadcast(s, &full) || !broadcast_axes(s, 0, &full, &a) ||
        !broadcast_axes(s, 1, &full, &b))
        return false;
    for (int i = 0; i < full.rank && out->word_count < MEASURE_MAX_WORDS; i++) {
        if ((a | b) & (1u << i))
            out->words[out->word_count++] = i == 0 ? "N" : axis_name(full.rank, i);
    }
    return true;
}

bool quantity_num_broadcast_inputs(const struct subject *s, const struct value *v,
                                   struct measure *out)
{
    struct shape full;
    unsigned a, b;
    (void)v;
    return subject_broadcast(s, &full) && broadcast_axes(s, 0, &full, &a) &&
           broadcast_axes(s, 1, &full, &b) && measure_number(out, (a != 0) + (b != 0));
}

bool quantity_mutual_broadcast(const struct subject *s, const struct value *v, struct measure *out)
{
    struct measure m;
    memset(&m, 0, sizeof(m));
    return quantity_num_broadcast_inputs(s, v, &m) && measure_bool(out, m.number > 1);
}

/* Five axes reduce to four when two neighbours broadcast alike (or neither does): then they merge.
 * Extents of 1 on both sides merge with anything. */
bool quantity_rank5_mergeable(const struct subject *s, const struct value *v, struct measure *out)
{
    struct shape full;
    unsigned a, b;
    (void)v;
    if (!subject_broadcast(s, &full) || full.rank != 5 || !broadcast_axes(s, 0, &full, &a) ||
        !broadcast_axes(s, 1, &full, &b))
        return false;
    for (int i = 0; i + 1 < 5; i++) {
        bool free_axis = full.dim[i] == 1 || full.dim[i + 1] == 1;
        bool alike =
            ((a >> i) & 1) == ((a >> (i + 1)) & 1) && ((b >> i) & 1) == ((b >> (i + 1)) & 1);
        bool repeated = ((a | b) >> i) & 1;
        if (free_axis || (alike && !repeated))
            return measure_bool(out, true);
    }
    return measure_bool(out, false);
}

/* Shapes of two operands in the words of the ONNX table, as one pair from its list that fits. */
static bool dims_fit(const struct shape *x, const char *pattern, const int64_t *letters[128],
                     int64_t store[128])
{
    int rank = 0;
    for (const char *p = pattern; *p && *p != ' '; p += *p == 'x') {
        if (rank >= x->rank)
            return false;
        int64_t d = x->dim[rank++];
        if (*p == '1') {
            if (d != 1)
                return false;
        } else {
            int letter = (unsigned char)*p & 127;
            if (letters[letter] && *letters[letter] != d)
                return false;
            store[letter] = d;
            letters[letter] = &store[letter];
        }
        p++;
    }
    return rank == x->rank;
}

/* "NCHW vs NC11" is written without separators; brings it into the form of the others. */
static void spread(const char *pair, char out[64])
{
    size_t n = 0;
    bool compact = strchr(pair, 'x') == NULL && strlen(pair) == strlen("NCHW vs NCHW");
    for (const char *p = pair; *p && n < 60; p++) {
        out[n++] = *p;
        if (compact && p[1] && p[0] != ' ' && p[1] != ' ' && strchr("NCHW1", p[0]) &&
            strchr("NCHW1", p[1]))
            out[n++] = 'x';
    }
    out[n] = '\0';
}

static bool pair_fits(const struct shape *a, const struct shape *b, const char *pair)
{
    char text[64];
    const int64_t *letters[128] = {0};
    int64_t store[128];
    spread(pair, text);
    char *vs = strstr(text, " vs ");
    if (!vs)
        return false;
    if (!dims_fit(a, text, letters, store) || !dims_fit(b, vs + 4, letters, store))
        return false;
    if (strstr(pair, "(B>1)"))
        return letters['B'] && *letters['B'] > 1;
    if (strstr(pair, "A>1, B>1"))
        return letters['A'] && letters['B'] && *letters['A'] > 1 && *letters['B'] > 1;
    return true;
}

/* Measures as the text of the first pair that fits either way round, else as the two shapes. */
bool quantity_shape_pair(const struct subject *s, const struct value *v, struct measure *out)
{
    static const char *const elementwise[] = {
        "NCHW vs NCHW",       "NCHW vs NC11",       "1xCxHxW vs 1xCxHxW",
        "1xCxHxW vs 1xCx1x1", "1xCxHxW vs 1x1x1x1",
    };
    static const char *const products[] = {
        "K vs KxN",
        "K vs 1xKxN",
        "K vs 1x1xKxN",
        "MxK vs K",
        "MxK vs KxN",
        "MxK vs 1x1xKxN",
        "1xMxK vs K",
        "1xMxK vs 1xKxN",
        "1x1xMxK vs K",
        "1x1xMxK vs 1xKxN",
        "1x1xMxK vs 1x1xKxN",
        "BxMxK vs KxN (B>=1)",
        "1xBxMxK vs KxN (B>=1)",
        "AxBxMxK vs KxN (A>1, B>1)",
        "1xBxMxK vs 1x1xKxN (B>1)",
        "1xBxMxK vs 1x1xKxN (B>=1)",
    };
    const struct value *a = node_input(s->n, 0), *b = node_input(s->n, 1);
    (void)v;
    if (!a || !b || !shape_is_static(&a->shape) || !shape_is_static(&b->shape))
        return false;
    bool matmul = s->n->op->class == OPC_MATMUL;
    const char *const *list = matmul ? products : elementwise;
    size_t count =
        matmul ? sizeof(products) / sizeof(*products) : sizeof(elementwise) / sizeof(*elementwise);
    for (size_t i = 0; i < count && out->word_count < MEASURE_MAX_WORDS; i++) {
        if (pair_fits(&a->shape, &b->shape, list[i]) ||
            (!matmul && pair_fits(&b->shape, &a->shape, list[i])))
            out->words[out->word_count++] = list[i];
    }
    char x[SHAPE_TEXT_MAX], y[SHAPE_TEXT_MAX];
    snprintf(out->text, sizeof(out->text), "%.80s vs %.80s", shape_text(&a->shape, x),
             shape_text(&b->shape, y));
    return true;
}

bool quantity_exponent_elems(const struct subject *s, const struct value *v, struct measure *out)
{
    const struct value *e = node_input(s->n, 1);
    int64_t n = e ? shape_elements(&e->shape) : 1;
    (void)v;
    return n >= 0 && measure_number(out, (double)n);
}

static bool bound_kind(const struct subject *s, int input, const char *attr, struct measure *out)
{
    const struct value *b = node_input(s->n, input);
    const struct attr *a = node_attr(s->n, attr);
    if (!b)
        return measure_word(out, a && a->kind != ATTR_NONE ? "scalar" : "None");
    if (!b->constant)
        return measure_word(out, "Tensor");
    return measure_word(out, shape_elements(&b->shape) == 1 ? "scalar" : "const_tensor");
}

bool quantity_min_operand_kind(const struct subject *s, const struct value *v, struct measure *out)
{
    (void)v;
    return bound_kind(s, 1, "min", out);
}

bool quantity_max_operand_kind(const struct subject *s, const struct value *v, struct measure *out)
{
    (void)v;
    return bound_kind(s, 2, "max", out);
}

bool quantity_output_only(const struct subject *s, const struct value *v, struct measure *out)
{
    return v && measure_bool(out, s->c->uses[v->index] != USE_INTERNAL);
}

/* What the scale of a value can express at most; not known for a float graph. */
bool quantity_input_magnitude(const struct subject *s, const struct value *v, struct measure *out)
{
    if (!v || v->quant.count < 1)
        return false;
    double most = judged_dtype(s, v) == DT_QINT16 ? 32768 : 128, scale = 0;
    for (int i = 0; i < v->quant.count; i++)
        scale = fabs(v->quant.scale[i]) > scale ? fabs(v->quant.scale[i]) : scale;
    return measure_number(out, most * scale);
}

/* Weights of a float model are quantized with the model: only what the file fixes is judged. */
bool quantity_dtype(const struct subject *s, const struct value *v, struct measure *out)
{
    if (!v)
        return false;
    enum dtype t = v->constant ? v->dtype : judged_dtype(s, v);
    bool param = false;
    for (int i = 0; i < s->n->param_count; i++)
        param |= s->n->params[i].value == v;
    if (t == DT_UNKNOWN || (dtype_is_float(t) && v->constant))
        return false;
    if (param && (t == DT_INT8 || t == DT_INT32 || t == DT_QUINT8))
        return measure_word(out, t == DT_INT32 ? "qint32" : "qint8");
    if (param && t == DT_INT16)
        return measure_word(out, "qint16");
    return measure_word(out, dtype_name(t));
}

bool quantity_output_dtype(const struct subject *s, const struct value *v, struct measure *out)
{
    (void)v;
    if (s->n->output_count == 0)
        return false;
    switch (judged_dtype(s, s->n->outputs[0])) {
    case DT_QINT8: return measure_word(out, "int8");
    case DT_QINT16: return measure_word(out, "int16");
    case DT_QINT32: return measure_word(out, "int32");
    default: return false;
    }
}

/* ── matrix products ── */

static bool matmul_dims(const struct subject *s, int64_t *m, int64_t *k, int64_t *n)
{
    const struct value *a = node_input(s->n, 0), *b = node_input(s->n, 1);
    if (!a || !b || a->shape.rank < 1 || b->shape.rank < 1)
        return false;
    int ra = a->shape.rank, rb = b->shape.rank;
    *m = ra >= 2 ? a->shape.dim[ra - 2] : 1;
    *k = a->shape.dim[ra - 1];
    *n = rb >= 2 ? b->shape.dim[rb - 1] : 1;
    return true;
}

bool quantity_matmul_m(const struct subject *s, const struct value *v, struct measure *out)
{
    int64_t m, k, n;
    (void)v;
    return matmul_dims(s, &m, &k, &n) && m >= 0 && measure_number(out, (double)m);
}

bool quantity_matmul_k(const struct subject *s, const struct value *v, struct measure *out)
{
    int64_t m, k, n;
    (void)v;
    return matmul_dims(s, &m, &k, &n) && k >= 0 && measure_number(out, (double)k);
}

bool quantity_matmul_n(const struct subject *s, const struct value *v, struct measure *out)
{
    int64_t m, k, n;
    (void)v;
    return matmul_dims(s, &m, &k, &n) && n >= 0 && measure_number(out, (double)n);
}

bool quantity_matmul_ranks(const struct subject *s, const struct value *v, struct measure *out)
{
    const struct value *a = node_input(s->n, 0), *b = node_input(s->n, 1);
    (void)v;
    if (!a || !b || a->shape.rank < 0 || b->shape.rank < 0)
        return false;
    return measure_list(out, (const int64_t[]){a->shape.rank, b->shape.rank}, 2);
}

bool quantity_matmul_broadcast(const struct subject *s, const struct value *v, struct measure *out)
{
    struct measure shapes;
    (void)v;
    int holds = relation_holds(s, R_MATMUL_BROADCAST, &shapes);
    return holds >= 0 && measure_bool(out, holds);
}
