/* sim_matmul: products of two maps. */
#include "core/program/args.h"
#include "core/sim/sim_private.h"

enum { Y, A, B };

struct product {
    struct multiplier scale;
    float real;
    int32_t rule, low, high, zero;
};

static int32_t finish(const struct product *p, int64_t sum)
{
    int32_t acc = arith_clamp(sum, INT32_MIN, INT32_MAX);
    int64_t v = p->rule ? arith_requantize(acc, p->scale) : arith_requantize_binary32(acc, p->real);
    return arith_clamp(v + p->zero, p->low, p->high);
}

static bool fits(const struct sim_call *c, bool transposed, struct bpu_error *err)
{
    const struct tile *y = &c->tiles[Y], *a = &c->tiles[A], *b = &c->tiles[B];
    int32_t depth = transposed ? b->c : b->w, columns = transposed ? b->w : b->c;
    bool repeats = (a->n == y->n || a->n == 1) && (a->h == y->h || a->h == 1) &&
                   (b->n == y->n || b->n == 1) && (b->h == y->h || b->h == 1);
    return (repeats && a->w == y->w && columns == y->c && depth == a->c) ||
           sim_bad(c, err, "%dx%dx%dx%d times %dx%dx%dx%d as %dx%dx%dx%d", a->n, a->h, a->w, a->c,
                   b->n, b->h, b->w, b->c, y->n, y->h, y->w, y->c);
}

/* Columns of b side by side: [column][depth], zero point taken off. */
static void columns_of(const struct sim_call *c, int64_t i, int64_t j, bool transposed,
                       int32_t *row, int32_t *out)
{
    const struct tile *b = &c->tiles[B];
    int64_t depth = transposed ? b->c : b->w;
    i = sim_repeat(b->n, i);
    j = sim_repeat(b->h, j);
    for (int64_t k = 0; k < b->w; k++) {
        sim_get_channels(c, B, i, j, k, 0, b->c, transposed ? out + k * depth : row);
        for (int64_t l = 0; !transposed && l < b->c; l++)
            out[l * depth + k] = row[l];
    }
}

bool sim_MATMUL(struct sim_call *c, struct bpu_error *err)
{
    const struct tile *y = &c->tiles[Y], *a = &c->tiles[A], *b = &c->tiles[B];
    bool transposed = c->args[MATMUL_TRANSPOSED] != 0;
    struct product p = {{c->args[MATMUL_MANTISSA], c->args[MATMUL_SHIFT]},
                        0,
                        c->args[MATMUL_RULE],
                        c->args[MATMUL_LOW],
                        c->args[MATMUL_HIGH],
                        y->zero};
    if (!fits(c, transposed, err))
        return false;
    if (p.scale.shift < 0 || p.scale.shift > 62 || p.scale.mantissa < 0)
        return sim_bad(c, err, "multiplier %d with shift %d", p.scale.mantissa, p.scale.shift);
    p.real = arith_multiplier_real(p.scale);
    int64_t depth = a->c;
    int32_t *x = arena_reserve(c->scratch, (size_t)depth * sizeof *x, err);
    int32_t *row = arena_reserve(c->scratch, (size_t)b->c * sizeof *row, err);
    int32_t *out = arena_reserve(c->scratch, (size_t)y->c * sizeof *out, err);
    int32_t *columns =
        arena_alloc_array(c->scratch, (size_t)b->w * (size_t)b->c, sizeof *columns, err);
    if (!x || !row || !out || !columns)
        return false;
    for (int64_t i = 0; i < y->n; i++)
        for (int64_t j = 0; j < y->h; j++) {
            columns_of(c, i, j, transposed, row, columns);
            for (int64_t k = 0; k < y->w; k++) {
                sim_get_channels(c, A, sim_repeat(a->n, i), sim_repeat(a->h, j), k, 0, depth, x);
                for (int64_t l = 0; l < y->c; l++) {
                    const int32_t *w = columns + l * depth;
                    int64_t sum = 0;
                    for (int64_t e = 0; e < depth; e++)
                        sum += (int64_t)x[e] * w[e];
                    out[l] = finish(&p, sum);
                }
                sim_put_channels(c, Y, i, j, k, 0, y->c, out);
            }
        }
    return true;
}
