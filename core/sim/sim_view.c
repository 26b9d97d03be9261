/* sim_view: where the elements of a tile lie.
 *
 * The address of an element is a sum of three terms, of row, column and channel, because blocks
 * are filled row by row, column by column, channels first.  Each term becomes a table.  A row's
 * bytes are the same runs in every row, moved. */
#include "core/base/checked.h"
#include "core/sim/sim_machine.h"

static bool bad_tile(struct bpu_error *err, const char *what)
{
    return error_set(err, BPU_BAD_MODEL, NULL, "a tile's %s make no sense", what);
}

/* first + extent - 1 is an index; what it is multiplied by keeps it within 62 bits. */
static bool fits(int64_t first, int64_t extent, int64_t block, int64_t stride)
{
    int64_t last, product;
    return first >= 0 && extent > 0 && block > 0 && stride >= 0 &&
           checked_add(first, extent - 1, &last) &&
           checked_mul(last / block + 1, stride, &product) && product < INT64_MAX / 8;
}

static bool sane(const struct tile *t, struct bpu_error *err)
{
    if (t->dtype >= DT_COUNT || dtype_size((enum dtype)t->dtype) == 0)
        return bad_tile(err, "elements");
    if (!fits(t->w0, t->w, t->block_w, t->stride_w) ||
        !fits(t->c0, t->c, t->block_c, t->stride_c) || t->block_h == 0 || t->ring < 0 ||
        t->ring % t->block_h || t->frame_rows < 0 || t->stride_n < 0 || (t->stride_n && t->ring) ||
        t->base < 0)
        return bad_tile(err, "blocks");
    int64_t rows = (int64_t)t->frame_rows * ((int64_t)t->n0 + t->n - 1);
    if (t->stride_n ? !fits(t->n0, t->n, 1, t->stride_n) : t->n0 < 0 || t->n <= 0)
        return bad_tile(err, "frames");
    if (!t->stride_n && (t->frame_rows % t->block_h || (t->n > 1 && t->frame_rows == 0)))
        return bad_tile(err, "rows of a frame");
    if (!fits((t->stride_n ? 0 : rows) + t->h0, t->h, t->block_h, t->stride_h))
        return bad_tile(err, "rows");
    return true;
}

static int64_t *rows_of(struct arena *a, const struct tile *t, int64_t element,
                        struct bpu_error *err)
{
    int64_t count;
    if (!checked_mul(t->n, t->h, &count) || count > INT32_MAX)
        return bad_tile(err, "rows"), NULL;
    int64_t *rows = arena_reserve(a, (size_t)count * sizeof *rows, err);
    for (int64_t i = 0, at = 0; rows && i < t->n; i++)
        for (int64_t j = 0; j < t->h; j++, at++) {
            int64_t frame = t->n0 + i, row = t->h0 + j, base = t->base;
            if (t->stride_n)
                base += frame * t->stride_n;
            else
                row += frame * t->frame_rows;
            if (t->ring)
                row %= t->ring;
            rows[at] = base + row / t->block_h * t->stride_h +
                       row % t->block_h * t->block_w * t->block_c * element;
        }
    return rows;
}

/* inner: bytes from one element of a block to the next. */
static int64_t *axis_of(struct arena *a, int64_t first, int64_t extent, int64_t block,
                        int64_t stride, int64_t inner, struct bpu_error *err)
{
    int64_t *at = arena_reserve(a, (size_t)extent * sizeof *at, err);
    int64_t part = first % block, start = first / block * stride;
    for (int64_t i = 0; at && i < extent; i++) {
        at[i] = start + part * inner;
        if (++part == block) {
            part = 0;
            start += stride;
        }
    }
    return at;
}

static void run_add(struct sim_run *runs, int64_t *count, int64_t first, int64_t bytes)
{
    if (*count && runs[*count - 1].first + runs[*count - 1].bytes == first)
        runs[*count - 1].bytes += bytes;
    else
        runs[(*count)++] = (struct sim_run){first, bytes};
}

/* The runs of a row.  Columns nest inside blocks of channels where that makes them contiguous. */
static bool runs_of(struct arena *a, const struct tile *t, int64_t element, struct sim_view *v,
                    struct bpu_error *err)
{
    int64_t pieces = 0, count = 0, most;
    struct sim_run *piece = arena_reserve(
        a, (size_t)((t->c + (int64_t)t->block_c - 1) / t->block_c + 1) * sizeof *piece, err);
    if (!piece)
        return false;
    for (int64_t l = 0; l < t->c;) {
        int64_t length = t->block_c - (t->c0 + l) % t->block_c;
        length = length < t->c - l ? length : t->c - l;
        run_add(piece, &pieces, v->channels[l], length * element);
        l += length;
    }
    if (!checked_mul(pieces, t->w, &most) || most > INT32_MAX)
        return bad_tile(err, "runs");
    struct sim_run *runs = arena_reserve(a, (size_t)most * sizeof *runs, err);
    if (!runs)
        return false;
    if (pieces > 1 && t->w > 1 && v->columns[1] - v->columns[0] == piece[0].bytes)
        for (int64_t p = 0; p < pieces; p++)
            for (int64_t k = 0; k < t->w; k++)
                run_add(runs, &count, v->columns[k] + piece[p].first, piece[p].bytes);
    else
        for (int64_t k = 0; k < t->w; k++)
            for (int64_t p = 0; p < pieces; p++)
                run_add(runs, &count, v->columns[k] + piece[p].first, piece[p].bytes);
    v->runs = runs;
    v->run_count = count;
    return true;
}

static void bounds(struct sim_view *v)
{
    int64_t low = INT64_MAX, high = INT64_MIN, from = INT64_MAX, to = INT64_MIN;
    for (int64_t i = 0; i < v->row_count; i++) {
        low = v->rows[i] < low ? v->rows[i] : low;
        high = v->rows[i] > high ? v->rows[i] : high;
    }
    for (int64_t q = 0; q < v->run_count; q++) {
        int64_t first = v->runs[q].first, end = first + v->runs[q].bytes;
        from = first < from ? first : from;
        to = end > to ? end : to;
    }
    v->first = low + from;
    v->end = high + to;
}

bool sim_view_make(struct arena *a, const struct tile *t, bool plain, struct sim_view *out,
                   struct bpu_error *err)
{
    *out = (struct sim_view){.tile = t};
    if (!sane(t, err))
        return false;
    int64_t element = (int64_t)dtype_size((enum dtype)t->dtype);
    out->row_count = (int64_t)t->n * t->h;
    if (!(out->rows = rows_of(a, t, element, err)))
        return false;
    if (plain && t->n == 1 && t->h == 1 && t->w == 1 && t->stride_c == t->block_c * element &&
        t->block_h == 1 && t->block_w == 1) {
        struct sim_run *run = arena_reserve(a, sizeof *run, err);
        if (!run)
            return false;
        *run = (struct sim_run){t->w0 * t->stride_w + t->c0 / t->block_c * t->stride_c +
                                    t->c0 % t->block_c * element,
                                t->c * element};
        out->runs = run;
        out->run_count = 1;
    } else {
        out->columns = axis_of(a, t->w0, t->w, t->block_w, t->stride_w, t->block_c * element, err);
        out->channels = axis_of(a, t->c0, t->c, t->block_c, t->stride_c, element, err);
        if (!out->columns || !out->channels || !runs_of(a, t, element, out, err))
            return false;
    }
    bounds(out);
    return true;
}
