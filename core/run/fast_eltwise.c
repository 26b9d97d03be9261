/* fast_eltwise: operators that work element by element.
 *
 * A function of one value of 8 bits has 256 results, and one of two values 65536: they are asked of the
 * reference kernel when the node is prepared, so that they cannot differ from it. */
#include <string.h>

#include "core/ops/fold.h"
#include "core/run/fast_kernels.h"
#include "core/run/fast_layout.h"
#include "core/run/fixed.h"

/* A tensor of n bytes like t, that holds what the engine would store as 0, 1, 2 … at `data`. */
static struct tensor all_values(const struct tensor *t, int64_t rows, int64_t columns, uint8_t *data)
{
    struct tensor v = *t;
    v.shape = (struct shape){.rank = 2, .dim = {rows, columns}};
    v.bytes = (size_t)(rows * columns);
    v.data = data;
    for (int64_t i = 0; i < rows * columns; i++)
        data[i] = (uint8_t)(i - fast_offset(t->dtype));
    return v;
}

/* ── one operand ── */

struct table {
    const struct fast_kernels *k;
    int operand; /* the other one, if there is one, is a constant */
    uint8_t of[256];
};

static bool run_table(void *state, const struct kernel_call *c, struct bpu_error *err)
{
    const struct table *t = state;
    (void)err;
    t->k->table(t->of, c->in[t->operand]->data, c->out[0]->data, c->out[0]->bytes);
    return true;
}

static bool is_one_of(const struct node *n, const char *names)
{
    const char *name = kernel_of(n)->name, *at = strstr(names, name);
    size_t length = strlen(name);
    return at && (at == names || at[-1] == ' ') && (at[length] == ' ' || at[length] == 0);
}

/* The only operand is a feature map inside, and so is the only result, of the same shape. */
static bool is_simple(const struct kernel_call *c)
{
    const struct node *n = c->node;
    for (int i = 1; i < c->in_count; i++)
        if (c->in[i])
            return false;
    return c->in_count >= 1 && c->in[0] && c->out_count == 1 && c->out[0] &&
           fast_is_inside(n->inputs[0]) && fast_is_inside(n->outputs[0]) &&
           shape_equal(&c->in[0]->shape, &c->out[0]->shape) && c->in[0]->quant.count <= 1 &&
           c->out[0]->quant.count <= 1;
}

/* Asks the kernel for the 256 results for operand `which`; values stored as the engine stores them.  Another
 * operand is a constant of one element. scratch: as it was, after. */
static bool ask(const struct kernel_call *call, int which, struct arena *scratch, uint8_t of[256],
                struct bpu_error *err)
{
    uint8_t in[256];
    struct kernel_call c = *call;
    struct arena_mark mark = arena_mark(scratch);
    c.scratch = scratch;
    struct tensor x = all_values(c.in[which], 1, 256, in), y = *c.out[0];
    struct tensor other = c.in_count > 1 && c.in[!which] ? *c.in[!which] : x;
    other.shape = (struct shape){.rank = 2, .dim = {1, 1}};
    const struct tensor *x_list[] = {which ? &other : &x, which ? &x : &other};
    struct tensor *y_list[] = {&y};
    y.shape = x.shape;
    y.bytes = x.bytes;
    y.data = of;
    c.in = x_list;
    c.in_count = c.in_count > 1 && call->in[!which] ? 2 : 1;
    c.out = y_list;
    bool ok = kernel_of(c.node)->fixed(&c, err);
    arena_rewind(scratch, mark);
    if (!ok)
        return false;
    for (int i = 0; i < 256; i++)
        of[i] = (uint8_t)(of[i] + fast_offset(y.dtype));
    return true;
}

/* The operand of a binary operator whose other operand is a constant of one element; -1: it is none. */
static int varying_operand(const struct kernel_call *c)
{
    const struct node *n = c->node;
    if (!is_one_of(n, "binary") || c->in_count != 2 || !c->in[0] || !c->in[1] || !c->out[0] ||
        !fast_is_inside(n->outputs[0]) || c->out[0]->quant.count != 1)
        return -1;
    for (int i = 0; i < 2; i++)
        if (fast_is_inside(n->inputs[i]) && n->inputs[!i]->constant && c->in[!i]->data &&
            shape_elements(&c->in[!i]->shape) == 1 && c->in[i]->quant.count == 1 &&
            c->in[!i]->quant.count <= 1 && shape_equal(&c->in[i]->shape, &c->out[0]->shape))
            return i;
    return -1;
}

bool fast_prepare_table(struct arena *a, const struct kernel_call *c, const char *variant,
                        struct fast_kernel *out, struct bpu_error *err)
{
    int operand = varying_operand(c);
    if (operand < 0 && (!is_one_of(c->node, "unary clamp quantize identity") || !is_simple(c)))
        return true;
    struct table *t = ARENA_NEW(a, struct table, err);
    if (!t)
        return false;
    t->k = fast_kernels_find(variant);
    if (!t->k || !kernel_of(c->node)->fixed)
        return true;
    t->operand = operand > 0;
    if (!ask(c, t->operand, a, t->of, err))
        return false;
    *out = (struct fast_kernel){.run = run_table, .state = t};
    return true;
}

/* ── two operands ── */

struct two {
    const struct fast_kernels *k;
    struct fast_add add;
    struct fast_multiply multiply;
    const uint8_t *of; /* 256 x 256, or NULL: add or multiply */
    bool broadcast;    /* one operand has one value per channel of the other, */
    int whole;         /* which is this one; its values are the columns of the table if it is 1 */
    int64_t channels;
};

static bool run_add(void *state, const struct kernel_call *c, struct bpu_error *err)
{
    const struct two *t = state;
    (void)err;
    t->k->add(&t->add, c->in[0]->data, c->in[1]->data, c->out[0]->data, c->out[0]->bytes);
    return true;
}

static bool run_pairs(void *state, const struct kernel_call *c, struct bpu_error *err)
{
    const struct two *t = state;
    const uint8_t *a = c->in[t->whole]->data, *b = c->in[!t->whole]->data;
    uint8_t *y = c->out[0]->data;
    size_t row = t->whole ? 1 : 256, column = t->whole ? 256 : 1;
    size_t n = c->out[0]->bytes, m = t->broadcast ? (size_t)t->channels : n;
    (void)err;
    for (size_t i = 0; i < n; i += m)
        for (size_t j = 0; j < m; j++)
            y[i + j] = t->of[a[i + j] * row + b[j] * column];
    return true;
}

static bool run_multiply(void *state, const struct kernel_call *c, struct bpu_error *err)
{
    const struct two *t = state;
    const uint8_t *a = c->in[t->whole]->data, *b = c->in[!t->whole]->data;
    uint8_t *y = c->out[0]->data;
    size_t n = c->out[0]->bytes, m = t->broadcast ? (size_t)t->channels : n;
    (void)err;
    for (size_t i = 0; i < n; i += m)
        t->k->multiply(&t->multiply, a + i, b, y + i, m);
    return true;
}

/* multipliers for arith_add() as the reference derives them; false: it would compute something else. */
static bool take_add(const struct kernel_call *c, struct fast_add *out)
{
    struct bpu_error ignored = {0};
    int32_t lo, hi, zero;
    const struct tensor *a = c->in[0], *b = c->in[1], *y = c->out[0];
    struct add_multipliers m;
    bool subtract = strcmp(c->node->op->key, "sub") == 0;
    double alpha = node_float(c->node, "alpha", 1);
    if ((!subtract && strcmp(c->node->op->key, "add") != 0) || alpha < 1 || alpha > 1 ||
        a->quant.count != 1 || b->quant.count != 1 || y->quant.count != 1 ||
        !requant_range(y->dtype, tensor_scale(y, 0), (int32_t)tensor_zero_point(y, 0),
                       node_string(c->node, "activation", NULL), c->node->name, &lo, &hi, &ignored))
        return false;
    float s_y = (float)tensor_scale(y, 0), s_b = (float)tensor_scale(b, 0) / s_y;
    if (!arith_add_multipliers((float)tensor_scale(a, 0) / s_y, subtract ? -s_b : s_b, &m) ||
        m.shift > 31)
        return false;
    int64_t z_a = tensor_zero_point(a, 0) + fast_offset(a->dtype),
            z_b = tensor_zero_point(b, 0) + fast_offset(b->dtype);
    if (z_a < 0 || z_a > 255 || z_b < 0 || z_b > 255) /* then the sum fits int32 */
        return false;
    int64_t offset = -(z_a * m.a + z_b * m.b);
    zero = fast_offset(y->dtype);
    *out = (struct fast_add){m.a, m.b, (int32_t)offset, m.shift,
                             (int32_t)tensor_zero_point(y, 0) + zero, lo + zero, hi + zero};
    return true;
}

static bool ask_pairs(struct arena *arena, const struct kernel_call *call, const uint8_t **out,
                      struct bpu_error *err)
{
    uint8_t in[2][256], *of = arena_alloc(arena, 65536, err);
    struct kernel_call c = *call;
    struct tensor a = all_values(c.in[0], 256, 1, in[0]), b = all_values(c.in[1], 1, 256, in[1]),
                  y = *c.out[0];
    const struct tensor *in_list[] = {&a, &b};
    struct tensor *out_list[] = {&y};
    y.shape = (struct shape){.rank = 2, .dim = {256, 256}};
    y.bytes = 65536;
    y.data = of;
    c.in = in_list;
    c.out = out_list;
    struct arena_mark mark = arena_mark(arena);
    c.scratch = arena;
    bool ok = of && kernel_of(c.node)->fixed(&c, err);
    arena_rewind(arena, mark);
    if (!ok)
        return false;
    for (int i = 0; i < 65536; i++)
        of[i] = (uint8_t)(of[i] + fast_offset(y.dtype));
    *out = of;
    return true;
}

/* Products by arithmetic instead of a table, which would be larger than most maps.  False: the result has
 * a rule of its own, as `of`, the table that the reference gave, shows. */
static bool take_multiply(const struct kernel_call *c, struct two *t, const uint8_t *of)
{
    struct bpu_error ignored = {0};
    struct fixed_scale s[2], to;
    struct fixed_multiplier m;
    const struct tensor *y = c->out[0];
    int32_t zero[2], offset = fast_offset(y->dtype);
    uint8_t in[2][256], out[256];
    if (strcmp(c->node->op->key, "mul") != 0 || !fixed_scale(c, y, "the result", &to, &ignored))
        return false;
    for (int i = 0; i < 2; i++) {
        if (!fixed_scale(c, c->in[i], "an operand", &s[i], &ignored))
            return false;
        zero[i] = s[i].zero + fast_offset(c->in[i]->dtype);
    }
    if (!requant_range(y->dtype, to.scale, to.zero, node_string(c->node, "activation", NULL),
                       c->node->name, &to.lo, &to.hi, &ignored) ||
        !fixed_product(c, &s[0], &s[1], y, &to, &m, &ignored) || zero[0] < 0 || zero[0] > 255 ||
        zero[1] < 0 || zero[1] > 255 || to.zero + offset < 0 || to.zero + offset > 255)
        return false;
    struct fast_multiply p = {zero[0], zero[1], m.real, to.zero + offset, to.lo + offset,
                              to.hi + offset};
    for (int i = 0; i < 256; i++)
        in[1][i] = (uint8_t)i;
    for (int i = 0; i < 256; i++) {
        memset(in[0], i, 256);
        t->k->multiply(&p, in[0], in[1], out, 256);
        if (memcmp(out, of + i * 256, 256) != 0)
            return false;
    }
    t->multiply = p;
    t->multiply.a = zero[t->whole];
    t->multiply.b = zero[!t->whole];
    return true;
}

/* (N, C, 1, 1) beside (N, C, H, W): squeeze and excitation. */
static bool per_channel(const struct shape *a, const struct shape *b)
{
    return a->rank == 4 && b->rank == 4 && a->dim[0] == 1 && b->dim[0] == 1 &&
           a->dim[1] == b->dim[1] && b->dim[2] == 1 && b->dim[3] == 1;
}

bool fast_prepare_add(struct arena *a, const struct kernel_call *c, const char *variant,
                      struct fast_kernel *out, struct bpu_error *err)
{
    const struct node *n = c->node;
    if (!is_one_of(n, "binary") || c->in_count != 2 || !c->in[0] || !c->in[1] || !c->out[0] ||
        !fast_is_inside(n->inputs[0]) || !fast_is_inside(n->inputs[1]) ||
        !fast_is_inside(n->outputs[0]) || !kernel_of(n)->fixed)
        return true;
    const struct shape *x = &c->in[0]->shape, *z = &c->in[1]->shape, *y = &c->out[0]->shape;
    bool same = shape_equal(x, y) && shape_equal(z, y);
    int whole = !same && per_channel(z, x) && shape_equal(z, y);
    if (!same && !whole && !(per_channel(x, z) && shape_equal(x, y)))
        return true;
    struct two *t = ARENA_NEW(a, struct two, err);
    if (!t)
        return false;
    t->k = fast_kernels_find(variant);
    t->broadcast = !same;
    t->channels = y->rank == 4 ? y->dim[1] : 1;
    t->whole = whole;
    if (!t->k)
        return true;
    if (same && take_add(c, &t->add)) {
        *out = (struct fast_kernel){.run = run_add, .state = t};
        return true;
    }
    const uint8_t *of;
    if (!ask_pairs(c->scratch, c, &of, err))
        return false;
    if (take_multiply(c, t, of)) {
        *out = (struct fast_kernel){.run = run_multiply, .state = t};
        return true;
    }
    uint8_t *kept = arena_reserve(a, 65536, err);
    if (!kept)
        return false;
    t->of = memcpy(kept, of, 65536);
    *out = (struct fast_kernel){.run = run_pairs, .state = t};
    return true;
}

/* ── into and out of the engine ── */

struct border {
    const struct fast_kernels *k;
    struct fast_quantize q;
    int64_t batch, channels, plane; /* channels 1: no change of order */
};

static struct border border_of(const struct fast_kernels *k, const struct tensor *t)
{
    struct border b = {.k = k, .batch = 1, .channels = 1, .plane = (int64_t)t->bytes};
    if (t->shape.rank == 4 && t->shape.dim[1] > 1)
        b = (struct border){.k = k, .batch = t->shape.dim[0], .channels = t->shape.dim[1],
                            .plane = t->shape.dim[2] * t->shape.dim[3]};
    return b;
}

/* Pixels that are converted at a time before their channels come together. */
enum { PIECE = 4096 };

static bool run_quantize(void *state, const struct kernel_call *c, struct bpu_error *err)
{
    const struct border *b = state;
    const float *x = c->in[0]->data;
    uint8_t *y = c->out[0]->data, row[PIECE];
    (void)err;
    if (b->channels == 1) {
        b->k->quantize(&b->q, x, y, (size_t)(b->batch * b->plane));
        return true;
    }
    for (int64_t n = 0; n < b->batch; n++, y += b->channels * b->plane)
        for (int64_t m = 0; m < b->channels; m++, x += b->plane)
            for (int64_t from = 0; from < b->plane; from += PIECE) {
                int64_t count = b->plane - from < PIECE ? b->plane - from : PIECE;
                b->k->quantize(&b->q, x + from, row, (size_t)count);
                for (int64_t i = 0; i < count; i++)
                    y[(from + i) * b->channels + m] = row[i];
            }
    return true;
}

static bool run_dequantize(void *state, const struct kernel_call *c, struct bpu_error *err)
{
    const struct border *b = state;
    const uint8_t *x = c->in[0]->data;
    float *y = c->out[0]->data;
    uint8_t row[PIECE];
    (void)err;
    if (b->channels == 1) {
        b->k->dequantize(&b->q, x, y, (size_t)(b->batch * b->plane));
        return true;
    }
    for (int64_t n = 0; n < b->batch; n++, x += b->channels * b->plane)
        for (int64_t m = 0; m < b->channels; m++, y += b->plane)
            for (int64_t from = 0; from < b->plane; from += PIECE) {
                int64_t count = b->plane - from < PIECE ? b->plane - from : PIECE;
                for (int64_t i = 0; i < count; i++)
                    row[i] = x[(from + i) * b->channels + m];
                b->k->dequantize(&b->q, row, y + from, (size_t)count);
            }
    return true;
}

bool fast_prepare_quantize(struct arena *a, const struct kernel_call *c, const char *variant,
                           struct fast_kernel *out, struct bpu_error *err)
{
    const struct fast_kernels *k = fast_kernels_find(variant);
    struct fixed_scale s;
    if (!k || !is_one_of(c->node, "quantize") || !c->in[0] || !c->out[0] ||
        c->in[0]->dtype != DT_FLOAT32 || !fast_is_inside(c->node->outputs[0]) ||
        c->out[0]->quant.count != 1)
        return true;
    struct border *b = ARENA_NEW(a, struct border, err);
    if (!b || !fixed_scale(c, c->out[0], "the result", &s, err))
        return false;
    *b = border_of(k, c->out[0]);
    bool divide = infer_from_onnx(c->node);
    b->q = (struct fast_quantize){.factor = divide ? (float)s.scale : s.reciprocal,
                                  .divide = divide,
                                  .zero_point = (float)s.zero,
                                  .lo = (float)s.lo,
                                  .hi = (float)s.hi,
                                  .offset = fast_offset(c->out[0]->dtype)};
    *out = (struct fast_kernel){.run = run_quantize, .state = b};
    return true;
}

bool fast_prepare_dequantize(struct arena *a, const struct kernel_call *c, const char *variant,
                             struct fast_kernel *out, struct bpu_error *err)
{
    const struct fast_kernels *k = fast_kernels_find(variant);
    struct fixed_scale s;
    if (!k || !is_one_of(c->node, "dequantize") || !c->in[0] || !c->out[0] ||
        c->out[0]->dtype != DT_FLOAT32 || !fast_is_inside(c->node->inputs[0]) ||
        c->in[0]->quant.count != 1)
        return true;
    struct border *b = ARENA_NEW(a, struct border, err);
    if (!b || !fixed_scale(c, c->in[0], "the input", &s, err))
        return false;
    *b = border_of(k, c->in[0]);
    b->q = (struct fast_quantize){.factor = (float)s.scale, .zero_point = (float)s.zero,
                                  .offset = fast_offset(c->in[0]->dtype)};
    *out = (struct fast_kernel){.run = run_dequantize, .state = b};
    return true;
}
