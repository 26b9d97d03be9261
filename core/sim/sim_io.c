/* sim_io: what the host does before and after a frame.
 *
 * A tensor in PyTorch's order becomes stored integers in the order that the program wants, and
 * back. The axes of an image (n, c, d, h, w) become n, d * h, w, c; those of features (…, h, w, c)
 * keep their order.
 *
 * An input from the camera pyramid lies as NV12: all luma, then one pair of chroma for each
 * two by two pixels.  The tensor is centred YUV 4:4:4; chroma is taken from the upper left pixel.
 */
#include "core/base/checked.h"
#include "core/sim/sim_machine.h"

/* Element (n, c, d, h, w) or (n, h, w, c) of the tensor, counted in its own order. */
struct walk {
    int64_t extent[4], step[4]; /* of n, h, w, c */
};

static bool product(const struct shape *s, int from, int to, int64_t *out)
{
    *out = 1;
    for (int i = from; i < to; i++)
        if (!checked_mul(*out, s->dim[i], out))
            return false;
    return true;
}

static bool walk_of(const struct program_io *io, struct walk *w)
{
    const struct shape *s = &io->shape;
    int r = s->rank;
    int64_t *e = w->extent;
    e[0] = e[1] = e[2] = e[3] = 1;
    if (io->features) {
        e[3] = r > 0 ? s->dim[r - 1] : 1;
        e[2] = r > 1 ? s->dim[r - 2] : 1;
        e[1] = r > 2 ? s->dim[r - 3] : 1;
        if (!product(s, 0, r > 3 ? r - 3 : 0, &e[0]))
            return false;
        w->step[3] = 1;
        w->step[2] = e[3];
        w->step[1] = e[2] * e[3];
        w->step[0] = e[1] * e[2] * e[3];
        return true;
    }
    e[3] = r == 1 ? s->dim[0] : r > 1 ? s->dim[1] : 1;
    e[0] = r > 1 ? s->dim[0] : 1;
    e[2] = r > 2 ? s->dim[r - 1] : 1;
    if (!product(s, 2, r > 3 ? r - 1 : 2, &e[1]))
        return false;
    w->step[2] = 1;
    w->step[1] = e[2];
    w->step[3] = e[1] * e[2];
    w->step[0] = e[1] * e[2] * e[3];
    return true;
}

int64_t sim_io_bytes(const struct program_io *io)
{
    return shape_elements(&io->shape) * (int64_t)dtype_size(io->host_dtype);
}

/* A box of the tensor's extents in DDR. */
static bool open_io(struct sim *s, const struct program_io *io, const struct tile *t,
                    struct walk *w, struct sim_view *v, struct bpu_error *err)
{
    if (!walk_of(io, w) || shape_elements(&io->shape) < 0)
        return error_set(err, BPU_BAD_MODEL, io->name, "the shape is too large");
    if (!sim_view_make(&s->scratch, t, false, v, err))
        return error_where(err, "%s", io->name);
    v->memory = &s->ddr;
    if (t->space != SPACE_DDR || v->first < io->address || v->end > io->address + io->bytes)
        return error_set(err, BPU_BAD_MODEL, io->name,
                         "its tile covers addresses %lld to %lld and it lies at %lld to %lld",
                         (long long)v->first, (long long)v->end - 1, (long long)io->address,
                         (long long)(io->address + io->bytes) - 1);
    return true;
}

static bool extents_agree(const struct program_io *io, const struct tile *t, const struct walk *w,
                          struct bpu_error *err)
{
    char text[SHAPE_TEXT_MAX];
    return (t->n == w->extent[0] && t->h == w->extent[1] && t->w == w->extent[2] &&
            t->c == w->extent[3]) ||
           error_set(err, BPU_BAD_MODEL, io->name,
                     "its shape %s is not that of its tile, %dx%dx%dx%d",
                     shape_text(&io->shape, text), t->n, t->h, t->w, t->c);
}

static int32_t zero_of(const struct program_io *io, int64_t channel)
{
    const struct quant *q = &io->quant;
    return q->count > 0 && q->zero_point ? (int32_t)q->zero_point[q->count > 1 ? channel : 0] : 0;
}

static double scale_of(const struct program_io *io, int64_t channel)
{
    const struct quant *q = &io->quant;
    return q->count > 0 ? q->scale[q->count > 1 ? channel : 0] : 1;
}

/* Which scale element `at` of the tensor has. */
static int64_t channel_of(const struct program_io *io, int64_t at)
{
    int64_t inner = 1;
    if (io->quant.count <= 1)
        return 0;
    for (int d = io->quant.axis + 1; d < io->shape.rank; d++)
        inner *= io->shape.dim[d];
    return at / inner % io->quant.count;
}

/* The stored integer for element `at` of what the host has. */
static int64_t take(const struct program_io *io, const unsigned char *data, int64_t at)
{
    const unsigned char *p = data + at * (int64_t)dtype_size(io->host_dtype);
    int64_t lo, hi;
    float v;
    if (io->host_dtype != DT_FLOAT32 || io->dtype == DT_FLOAT32)
        return sim_load(p, io->host_dtype);
    memcpy(&v, p, sizeof v);
    float scale = (float)scale_of(io, 0);
    sim_range(io->dtype, &lo, &hi);
    if (io->host_divides)
        return arith_quantize_binary32(v / scale, 1, zero_of(io, 0), (int32_t)lo, (int32_t)hi);
    return arith_quantize_binary32(v, 1.0f / scale, zero_of(io, 0), (int32_t)lo, (int32_t)hi);
}

static void give(const struct program_io *io, unsigned char *data, int64_t at,
                 const unsigned char *p)
{
    unsigned char *to = data + at * (int64_t)dtype_size(io->host_dtype);
    if (io->host_dtype == io->dtype) {
        memcpy(to, p, dtype_size(io->dtype));
    } else if (io->host_dtype == DT_FLOAT32 && dtype_is_quantized(io->dtype)) {
        int64_t channel = channel_of(io, at);
        float v =
            (float)scale_of(io, channel) * (float)(sim_load(p, io->dtype) - zero_of(io, channel));
        memcpy(to, &v, sizeof v);
    } else {
        sim_save(to, io->host_dtype, sim_load(p, io->dtype));
    }
}

/* ── the camera's format ── */

static bool input_nv12(struct sim *s, const struct program_io *io, const unsigned char *data,
                       struct bpu_error *err)
{
    struct tile luma = io->tile, chroma = io->tile;
    struct walk w = {{0}, {0}};
    struct sim_view y, uv;
    if (!walk_of(io, &w) || w.extent[3] != 3 || luma.n != w.extent[0] || luma.h != w.extent[1] ||
        luma.w != w.extent[2] || luma.c != 1 || luma.h % 2 || luma.w % 2 ||
        dtype_size((enum dtype)luma.dtype) != 1)
        return error_set(err, BPU_BAD_MODEL, io->name,
                         "a camera image has three channels, and even height and width");
    chroma.base += io->bytes / 3 * 2;
    chroma.h /= 2;
    chroma.w /= 2;
    chroma.c = 2;
    chroma.frame_rows /= 2;
    chroma.stride_n /= 2;
    chroma.stride_w = 2;
    chroma.stride_c = 1;
    if (!open_io(s, io, &luma, &w, &y, err) || !open_io(s, io, &chroma, &w, &uv, err))
        return false;
    for (int64_t i = 0, row = 0; i < luma.n; i++)
        for (int64_t j = 0; j < luma.h; j++, row++)
            for (int64_t k = 0; k < luma.w; k++) {
                int64_t at = i * w.step[0] + j * w.step[1] + k * w.step[2];
                s->ddr.bytes[y.rows[row] + y.columns[k]] =
                    (unsigned char)(take(io, data, at) + 128);
                if (j % 2 || k % 2)
                    continue;
                for (int64_t l = 0; l < 2; l++)
                    s->ddr
                        .bytes[uv.rows[i * chroma.h + j / 2] + uv.columns[k / 2] + uv.channels[l]] =
                        (unsigned char)(take(io, data, at + (l + 1) * w.step[3]) + 128);
            }
    if (s->checking) {
        sim_content_write(&y, NULL);
        sim_content_write(&uv, NULL);
    }
    return true;
}

/* ── all others ── */

bool sim_input(struct sim *s, const struct program_io *io, const void *data, struct bpu_error *err)
{
    struct walk w = {{0}, {0}};
    struct sim_view v;
    const struct tile *t = &io->tile;
    struct arena_mark mark = arena_mark(&s->scratch);
    if (!io->bytes)
        return true; /* nobody reads it */
    if (io->source != IO_DDR) {
        bool ok = input_nv12(s, io, data, err);
        arena_rewind(&s->scratch, mark);
        return ok;
    }
    if (!open_io(s, io, t, &w, &v, err) || !extents_agree(io, t, &w, err))
        return false;
    size_t element = dtype_size(io->dtype);
    bool copy = io->host_dtype == io->dtype;
    for (int64_t i = 0, row = 0; i < t->n; i++)
        for (int64_t j = 0; j < t->h; j++, row++)
            for (int64_t l = 0; l < t->c; l++)
                for (int64_t k = 0; k < t->w; k++) {
                    int64_t at = i * w.step[0] + j * w.step[1] + k * w.step[2] + l * w.step[3];
                    unsigned char *p = s->ddr.bytes + v.rows[row] + v.columns[k] + v.channels[l];
                    if (copy)
                        memcpy(p, (const unsigned char *)data + at * (int64_t)element, element);
                    else
                        sim_save(p, io->dtype, take(io, data, at));
                }
    if (s->checking)
        sim_content_write(&v, NULL);
    arena_rewind(&s->scratch, mark);
    return true;
}

bool sim_output(struct sim *s, const struct program_io *io, void *data, struct bpu_error *err)
{
    struct walk w = {{0}, {0}};
    struct sim_view v;
    const struct tile *t = &io->tile;
    struct arena_mark mark = arena_mark(&s->scratch);
    int64_t hole;
    if (!io->bytes)
        return true;
    if (!open_io(s, io, t, &w, &v, err) || !extents_agree(io, t, &w, err))
        return false;
    if (s->checking && !sim_content_read(&v, &hole))
        return error_set(err, BPU_BAD_MODEL, io->name,
                         "address %lld of the output was written by no instruction",
                         (long long)hole);
    for (int64_t i = 0, row = 0; i < t->n; i++)
        for (int64_t j = 0; j < t->h; j++, row++)
            for (int64_t l = 0; l < t->c; l++)
                for (int64_t k = 0; k < t->w; k++)
                    give(io, data, i * w.step[0] + j * w.step[1] + k * w.step[2] + l * w.step[3],
                         s->ddr.bytes + v.rows[row] + v.columns[k] + v.channels[l]);
    arena_rewind(&s->scratch, mark);
    return true;
}
