/* real_einsum: Einstein summation, directly.
 *
 *   y[result letters] = sum over the other letters of the product of the operands
 *
 * The product is taken in the order of the operands; the letters that are summed run in
 * alphabetical order (capitals first), the last one fastest; the sum is a double and rounded once.
 * Integer operands are summed exactly in 64 bits.  Inference has checked equation and shapes. */
#include <ctype.h>

#include "core/run/real.h"

/* Axes of the index space: those of the result, then those that are summed. */
#define MAX_AXES (3 * SHAPE_MAX_RANK + 52)
#define MAX_OPERANDS 8

struct einsum {
    int axes, result; /* of all, of the result */
    int64_t extent[MAX_AXES], stride[MAX_OPERANDS][MAX_AXES];
    int of_letter[128]; /* axis of a letter, -1: none */
    int dots, of_dots;  /* axes under "…", and the first of them; -1 if they are not placed */
};

static int new_axis(struct einsum *e)
{
    e->extent[e->axes] = 1;
    return e->axes++;
}

/* The axes of the result in its order. */
static void result_axes(struct einsum *e, const char *p, const char *end)
{
    for (; p < end; p++) {
        if (*p == '.') {
            e->of_dots = e->axes;
            for (int i = 0; i < e->dots; i++)
                new_axis(e);
            p += 2;
        } else if (isalpha((unsigned char)*p)) {
            e->of_letter[(unsigned char)*p] = new_axis(e);
        }
    }
    e->result = e->axes;
}

static int letters_of(const char *p, const char *end)
{
    int letters = 0;
    for (; p < end; p++)
        letters += isalpha((unsigned char)*p) != 0;
    return letters;
}

/* One operand's axes: their extents and the strides with which the index space reads it. */
static void operand_axes(struct einsum *e, int operand, const struct shape *x, const char *p,
                         const char *end)
{
    int64_t own[SHAPE_MAX_RANK];
    int axis = 0, wide = x->rank - letters_of(p, end);
    fold_strides(x, own);
    for (; p < end && axis < x->rank; p++) {
        if (*p == '.') { /* aligned with the last axes under the dots */
            for (int i = 0; i < wide; i++, axis++) {
                int at = e->of_dots + e->dots - wide + i;
                if (x->dim[axis] != 1) {
                    e->extent[at] = x->dim[axis];
                    e->stride[operand][at] += own[axis];
                }
            }
            p += 2;
        } else if (isalpha((unsigned char)*p)) {
            int at = e->of_letter[(unsigned char)*p];
            if (x->dim[axis] != 1) {
                e->extent[at] = x->dim[axis];
                e->stride[operand][at] += own[axis];
            }
            axis++;
        }
    }
}

static bool einsum_read(const struct kernel_call *c, struct einsum *e, struct bpu_error *err)
{
    const char *eq = node_string(c->node, "equation", ""), *arrow = strstr(eq, "->");
    const char *end = arrow ? arrow : eq + strlen(eq), *p = eq;
    int seen[128] = {0};
    char implied[64];
    size_t count = 0;
    *e = (struct einsum){.of_dots = -1};
    if (c->in_count > MAX_OPERANDS)
        return kernel_unsupported(c, err, "%d operands; at most %d are possible", c->in_count,
                                  MAX_OPERANDS);
    for (int i = 0; i < 128; i++)
        e->of_letter[i] = -1;
    for (int i = 0; i < c->in_count; i++) {
        const char *comma = memchr(p, ',', (size_t)(end - p)), *stop = comma ? comma : end;
        int wide = c->in[i]->shape.rank - letters_of(p, stop);
        e->dots = wide > e->dots ? wide : e->dots;
        for (const char *q = p; q < stop; q++)
            if (isalpha((unsigned char)*q))
                seen[(unsigned char)*q]++;
        p = stop + (comma != NULL);
    }
    if (arrow) {
        result_axes(e, arrow + 2, arrow + strlen(arrow));
    } else { /* the dots, then what occurs once, in alphabetical order */
        while (count < 3)
            implied[count++] = '.';
        for (int i = 0; i < 128; i++)
            if (seen[i] == 1)
                implied[count++] = (char)i; /* at most 52 letters */
        result_axes(e, implied, implied + count);
    }
    for (int i = 0; i < 128; i++)
        if (seen[i] && e->of_letter[i] < 0)
            e->of_letter[i] = new_axis(e);
    if (e->of_dots < 0) { /* not in the result: summed */
        e->of_dots = e->axes;
        for (int i = 0; i < e->dots; i++)
            new_axis(e);
    }
    p = eq;
    for (int i = 0; i < c->in_count; i++) {
        const char *comma = memchr(p, ',', (size_t)(end - p)), *stop = comma ? comma : end;
        operand_axes(e, i, &c->in[i]->shape, p, stop);
        p = stop + (comma != NULL);
    }
    return true;
}

/* Moves on within axes [first, last); false after the last position, all offsets being back at the
 * first one. */
static bool advance(const struct einsum *e, int operands, int first, int last, int64_t *index,
                    int64_t *at)
{
    for (int i = last - 1; i >= first; i--) {
        for (int k = 0; k < operands; k++)
            at[k] += e->stride[k][i];
        if (++index[i] < e->extent[i])
            return true;
        for (int k = 0; k < operands; k++)
            at[k] -= e->stride[k][i] * e->extent[i];
        index[i] = 0;
    }
    return false;
}

static bool einsum_run(const struct kernel_call *c, struct bpu_error *err)
{
    struct einsum e;
    struct tensor *y = c->out[0];
    int64_t index[MAX_AXES] = {0}, at[MAX_OPERANDS] = {0}, total = real_count(y), terms = 1;
    if (!einsum_read(c, &e, err))
        return false;
    bool whole = fold_is_int(y->dtype);
    for (int i = 0; i < c->in_count; i++)
        whole &= fold_is_int(c->in[i]->dtype);
    for (int i = e.result; i < e.axes; i++)
        terms *= e.extent[i];
    for (int64_t i = 0; i < total; i++) {
        double sum = 0;
        uint64_t ints = 0;
        for (int64_t t = 0; t < terms; t++) {
            double v = 1;
            uint64_t w = 1;
            for (int k = 0; k < c->in_count; k++) {
                if (whole)
                    w *= (uint64_t)tensor_int(c->in[k], at[k]);
                else
                    v *= tensor_real(c->in[k], at[k]);
            }
            sum += v;
            ints += w;
            if (!advance(&e, c->in_count, e.result, e.axes, index, at))
                break;
        }
        if (whole)
            fold_store_int(real_at(y, i), y->dtype, (int64_t)ints);
        else
            tensor_store_real(y, i, sum);
        if (!advance(&e, c->in_count, 0, e.result, index, at))
            break;
    }
    return true;
}

bool real_einsum(const struct kernel_call *c, struct bpu_error *err)
{
    return einsum_run(c, err);
}

bool fixed_einsum(const struct kernel_call *c, struct bpu_error *err)
{
    return einsum_run(c, err);
}
