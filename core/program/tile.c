/* tile: where the elements of a box lie.
 *
 * A box touches whole blocks.  Their places are a sum of up to four progressions, over frames, rows
 * of blocks, columns of blocks and blocks of channels.  Covering them by spans, of which each is one
 * progression of equal runs, goes from the inside out: what is contiguous becomes one run, what
 * continues evenly becomes one progression, a short one is written out as spans of its own.  If
 * that is not enough, the cheapest gap is covered as well. */
#include <string.h>

#include "core/base/checked.h"
#include "core/program/program_private.h"

struct axis {
    int64_t step, count;
};
enum { AXES = 4, ROWS = 1 };

/* The blocks of a box if no ring bends them: axes n, h, w, c. */
struct blocks {
    int64_t first, run; /* address of the first block, bytes of each */
    int64_t end;
    struct axis axis[AXES];
};

int64_t tile_address(const struct tile *t, int64_t i, int64_t j, int64_t k, int64_t l)
{
    int64_t f = t->n0 + i, r = t->h0 + j, w = t->w0 + k, c = t->c0 + l, at = t->base;
    if (t->stride_n)
        at += f * t->stride_n;
    else
        r += f * t->frame_rows;
    if (t->ring)
        r %= t->ring;
    at += r / t->block_h * t->stride_h + w / t->block_w * t->stride_w + c / t->block_c * t->stride_c;
    int64_t inside = (r % t->block_h * t->block_w + w % t->block_w) * t->block_c + c % t->block_c;
    return at + inside * (int64_t)dtype_size((enum dtype)t->dtype);
}

/* Blocks that `extent` elements from `first` touch, moved to the first of them. */
static bool blocks_axis(struct blocks *b, struct axis *axis, int64_t first, int64_t extent,
                        int64_t block, int64_t step)
{
    int64_t moved, length;
    if (first < 0 || extent <= 0 || block <= 0 || step < 0)
        return false;
    axis->step = step;
    axis->count = (first + extent - 1) / block - first / block + 1;
    if (!checked_mul(first / block, step, &moved) || !checked_add(b->first, moved, &b->first))
        return false;
    return checked_mul(axis->count - 1, step, &length) && checked_add(b->end, length, &b->end);
}

/* False: extents that are none, or addresses beyond 64 bits. With a ring, axis ROWS stands for all
 * rows of blocks in order, frame after frame from `*row`, and axis 0 for nothing. */
static bool blocks_of(const struct tile *t, struct blocks *b)
{
    int64_t element = t->dtype < DT_COUNT ? (int64_t)dtype_size((enum dtype)t->dtype) : 0;
    int64_t frame = t->stride_n, size;
    *b = (struct blocks){.first = t->base, .run = element * t->block_h * t->block_w * t->block_c};
    if (b->run <= 0 || t->base < 0 || t->ring < 0 || t->n <= 0)
        return false;
    if (frame == 0) {
        if (t->frame_rows < 0 || t->frame_rows % t->block_h != 0 ||
            !checked_mul(t->frame_rows / t->block_h, t->stride_h, &frame))
            return false;
    } else if (t->ring) {
        return false;
    }
    if (t->ring % t->block_h != 0 || t->h0 < 0 || t->h <= 0)
        return false;
    if (t->ring)
        frame = 0;
    if (!blocks_axis(b, &b->axis[0], t->n0, t->n, 1, frame) ||
        !blocks_axis(b, &b->axis[ROWS], t->ring ? 0 : t->h0, t->ring ? t->ring : t->h, t->block_h,
                     t->stride_h) ||
        !blocks_axis(b, &b->axis[2], t->w0, t->w, t->block_w, t->stride_w) ||
        !blocks_axis(b, &b->axis[3], t->c0, t->c, t->block_c, t->stride_c))
        return false;
    return checked_add(b->end, b->run, &size) && checked_add(b->first, size, &b->end);
}

void tile_range(const struct tile *t, int64_t *first, int64_t *end)
{
    struct blocks b;
    bool sane = blocks_of(t, &b);
    *first = sane ? b.first : 0;
    *end = sane ? b.end : 0;
}

int64_t tile_flat_bytes(const struct tile *t)
{
    const int64_t extent[AXES] = {t->n, t->h, t->w, t->c};
    int64_t size = (int64_t)dtype_size((enum dtype)t->dtype), at = tile_address(t, 0, 0, 0, 0);
    if (t->ring && t->n > 1)
        return -1;
    for (int i = AXES - 1; i >= 0; i--) {
        int64_t last[AXES] = {0}, moved;
        last[i] = extent[i] - 1;
        if (!checked_mul(last[i], size, &moved) ||
            tile_address(t, last[0], last[1], last[2], last[3]) - at != moved ||
            !checked_mul(size, extent[i], &size))
            return -1;
    }
    return size;
}

/* ── covering ── */

static void axes_sort(struct axis *axis, int axes)
{
    for (int i = 1; i < axes; i++)
        for (int j = i; j > 0 && axis[j].step < axis[j - 1].step; j--) {
            struct axis swap = axis[j];
            axis[j] = axis[j - 1];
            axis[j - 1] = swap;
        }
}

bool tile_is_apart(const struct tile *t)
{
    struct blocks b;
    if (!blocks_of(t, &b))
        return false;
    if (t->ring)
        b.axis[0].count = 1;
    axes_sort(b.axis, AXES);
    int64_t extent = b.run;
    for (int i = 0; i < AXES; i++) {
        if (b.axis[i].count == 1)
            continue;
        if (b.axis[i].step < extent)
            return false;
        extent += (b.axis[i].count - 1) * b.axis[i].step;
    }
    return true;
}

/* Sorts by step, drops axes of one block, joins what continues; returns how many are left.
 * Afterwards each step is larger than the run, and no axis continues another. */
static int axes_join(struct axis *axis, int axes, int64_t *run)
{
    axes_sort(axis, axes);
    int left = 0;
    for (int i = 0; i < axes; i++) {
        if (axis[i].count == 1)
            continue;
        if (left == 0 && axis[i].step <= *run)
            *run += (axis[i].count - 1) * axis[i].step;
        else if (left > 0 && axis[i].step == axis[left - 1].step * axis[left - 1].count)
            axis[left - 1].count *= axis[i].count;
        else
            axis[left++] = axis[i];
    }
    return left;
}

static void axes_remove(struct axis *axis, int *axes, int i)
{
    memmove(axis + i, axis + i + 1, (size_t)(*axes - i - 1) * sizeof *axis);
    (*axes)--;
}

/* Covers one gap more than the box has, the one that costs the fewest bytes in proportion: that
 * between runs, or that between progressions of which one's step divides the other's. */
static void axes_fill(struct axis *axis, int *axes, int64_t *run)
{
    int64_t filled = *run + (axis[0].count - 1) * axis[0].step;
    double cost = (double)filled / ((double)*run * (double)axis[0].count);
    int best = -1;
    int64_t count = 0;
    for (int i = 0; i + 1 < *axes; i++) {
        if (axis[i + 1].step % axis[i].step != 0)
            continue;
        int64_t all = (axis[i + 1].count - 1) * (axis[i + 1].step / axis[i].step) + axis[i].count;
        double c = (double)all / ((double)axis[i].count * (double)axis[i + 1].count);
        if (c <= cost) {
            cost = c;
            best = i;
            count = all;
        }
    }
    if (best < 0) {
        *run = filled;
        axes_remove(axis, axes, 0);
    } else {
        axis[best].count = count;
        axes_remove(axis, axes, best + 1);
    }
}

/* Up to `limit` spans at out. */
static int axes_cover(int64_t first, int64_t run, const struct axis *from, int axes, int limit,
                      struct span *out)
{
    struct axis axis[AXES];
    memcpy(axis, from, (size_t)axes * sizeof *axis);
    axes = axes_join(axis, axes, &run);
    while (axes > 1) {
        int shortest = 0;
        for (int i = 1; i < axes; i++)
            if (axis[i].count < axis[shortest].count)
                shortest = i;
        if (axis[shortest].count <= limit) {
            struct axis apart = axis[shortest];
            int used = 0;
            axes_remove(axis, &axes, shortest);
            for (int64_t i = 0; i < apart.count; i++)
                used += axes_cover(first + i * apart.step, run, axis, axes,
                                   limit / (int)apart.count, out + used);
            return used;
        }
        axes_fill(axis, &axes, &run);
        axes = axes_join(axis, axes, &run);
    }
    *out = (struct span){first, run, axes ? axis[0].step : run, axes ? axis[0].count : 1};
    return 1;
}

/* `rows` rows of blocks of a ring from global one `row`, which may wrap. */
static int ring_cover(const struct tile *t, const struct blocks *b, int64_t row, int64_t rows,
                      int limit, struct span *out)
{
    int64_t ring = t->ring / t->block_h, at = row % ring;
    struct axis axis[AXES];
    int used = 0;
    memcpy(axis, b->axis, sizeof axis);
    axis[0] = (struct axis){0, 1};
    if (rows >= ring) {
        at = 0;
        rows = ring;
    }
    if (at + rows > ring) {
        axis[ROWS].count = at + rows - ring;
        used = axes_cover(b->first, b->run, axis, AXES, limit / 2, out);
        limit -= limit / 2;
        rows = ring - at;
    }
    axis[ROWS].count = rows;
    return used + axes_cover(b->first + at * t->stride_h, b->run, axis, AXES, limit, out + used);
}

int tile_spans(const struct tile *t, struct span out[TILE_MAX_SPANS])
{
    struct blocks b;
    int64_t row, rows, frame, used = 0;
    if (!blocks_of(t, &b))
        return 0;
    if (!t->ring)
        return axes_cover(b.first, b.run, b.axis, AXES, TILE_MAX_SPANS, out);
    frame = t->frame_rows / t->block_h;
    row = t->h0 / t->block_h;
    rows = ((int64_t)t->h0 + t->h - 1) / t->block_h - row + 1;
    if (!checked_mul(t->n0, frame, &used) || !checked_add(row, used, &row))
        return 0;
    /* Frames that follow each other without a gap, and many short pieces, are one piece. */
    int pieces = t->n;
    if (rows >= frame || pieces > TILE_MAX_SPANS / 2) {
        if (!checked_mul(t->n - 1, frame, &used) || !checked_add(rows, used, &rows))
            return 0;
        pieces = 1;
    }
    used = 0;
    for (int i = 0; i < pieces; i++)
        used += ring_cover(t, &b, row + i * frame, rows, TILE_MAX_SPANS / pieces, out + used);
    return (int)used;
}
