/* sim_move: transfers, fills, copies, and what the host converts. */
#include "core/program/args.h"
#include "core/sim/sim_private.h"

/* ── transfers ── */

static bool transfer(struct sim_call *c, struct bpu_error *err)
{
    const struct tile *y = &c->tiles[0], *x = &c->tiles[1];
    if (!sim_same_extents(y, x) || y->dtype != x->dtype)
        return sim_bad(c, err, "a transfer from %dx%dx%dx%d %s to %dx%dx%dx%d %s", x->n, x->h, x->w,
                       x->c, dtype_name((enum dtype)x->dtype), y->n, y->h, y->w, y->c,
                       dtype_name((enum dtype)y->dtype));
    if (c->contiguous[0] && c->contiguous[1] && (!c->channels[0] || !c->channels[1])) {
        memcpy(c->memory[0] + c->first[0], c->memory[1] + c->first[1], (size_t)c->contiguous[0]);
        return true;
    }
    if (!c->channels[0] || !c->channels[1])
        return sim_bad(c, err, "one box is a run of bytes and the other one is not");
    int64_t element = (int64_t)dtype_size((enum dtype)y->dtype);
    for (int64_t row = 0; row < (int64_t)y->n * y->h; row++) {
        unsigned char *to = c->memory[0] + c->rows[0][row];
        const unsigned char *from = c->memory[1] + c->rows[1][row];
        for (int64_t l = 0, n; l < y->c; l += n) {
            int64_t m = sim_side_by_side(c, 0, l);
            n = sim_side_by_side(c, 1, l);
            n = n < m ? n : m;
            for (int64_t k = 0; k < y->w; k++)
                memcpy(to + c->columns[0][k] + c->channels[0][l],
                       from + c->columns[1][k] + c->channels[1][l], (size_t)(n * element));
        }
    }
    return true;
}

bool sim_LOAD(struct sim_call *c, struct bpu_error *err)
{
    return transfer(c, err);
}

bool sim_STORE(struct sim_call *c, struct bpu_error *err)
{
    return transfer(c, err);
}

bool sim_LOAD_NV12(struct sim_call *c, struct bpu_error *err)
{
    enum { Y, LUMA, CHROMA };
    const struct tile *y = &c->tiles[Y], *l = &c->tiles[LUMA], *uv = &c->tiles[CHROMA];
    int32_t centre = c->args[LOAD_NV12_CENTRE];
    int64_t lo, hi;
    sim_range((enum dtype)y->dtype, &lo, &hi);
    if (y->c != 3 || l->n != y->n || l->h != y->h || l->w != y->w || uv->n != y->n ||
        uv->h < (y->h + l->h0 % 2 + 1) / 2 || uv->w < (y->w + l->w0 % 2 + 1) / 2 || uv->c != 2)
        return sim_bad(c, err, "a camera image of other extents than the map");
    for (int64_t i = 0; i < y->n; i++)
        for (int64_t j = 0; j < y->h; j++)
            for (int64_t k = 0; k < y->w; k++)
                for (int64_t m = 0; m < 3; m++) {
                    int64_t v = m == 0 ? sim_get(c, LUMA, i, j, k, 0)
                                       : sim_get(c, CHROMA, i, (j + l->h0 % 2) / 2,
                                                 (k + l->w0 % 2) / 2, m - 1);
                    sim_put(c, Y, i, j, k, m, arith_clamp(v - centre, (int32_t)lo, (int32_t)hi));
                }
    return true;
}

bool sim_FILL(struct sim_call *c, struct bpu_error *err)
{
    const struct tile *y = &c->tiles[0];
    (void)err;
    for (int64_t i = 0; i < y->n; i++)
        for (int64_t j = 0; j < y->h; j++)
            for (int64_t k = 0; k < y->w; k++)
                for (int64_t l = 0; l < y->c; l++)
                    sim_put(c, 0, i, j, k, l, c->args[FILL_VALUE]);
    return true;
}

/* ── copies ── */

/* One end of a copy: along each axis a start, and a step for each loop. */
struct end {
    int64_t start[4], step[COPY_MAX_LOOPS];
    int axis[COPY_MAX_LOOPS];
};

static void extents_of(const struct tile *t, int64_t out[4])
{
    out[0] = t->n;
    out[1] = t->h;
    out[2] = t->w;
    out[3] = t->c;
}

/* False: some counter leads out of the box. */
static bool end_init(const struct tile *t, const int32_t *args, int loops, int axis_arg,
                     int step_arg, struct end *out)
{
    int64_t extent[4], low[4] = {0}, high[4] = {0};
    extents_of(t, extent);
    memset(out, 0, sizeof *out);
    for (int i = 0; i < loops; i++) {
        const int32_t *a = args + i * COPY_LOOP_SIZE;
        out->axis[i] = a[axis_arg];
        out->step[i] = a[step_arg];
        if (out->axis[i] < 0 || out->axis[i] > 3 || a[COPY_EXTENT] < 1)
            return false;
        int64_t reach = (a[COPY_EXTENT] - 1) * out->step[i];
        if (out->step[i] < 0) {
            out->start[out->axis[i]] -= reach; /* from the far end of its own way */
            low[out->axis[i]] += reach;
        } else {
            high[out->axis[i]] += reach;
        }
    }
    for (int d = 0; d < 4; d++)
        if (out->start[d] + low[d] < 0 || out->start[d] + high[d] >= extent[d])
            return false;
    return true;
}

struct copy {
    int rule, loops;
    struct end y, x;
    int64_t extent[COPY_MAX_LOOPS];
    struct sim_rescale rescale;
    size_t element;
};

static bool copy_init(const struct sim_call *c, struct copy *p, struct bpu_error *err)
{
    const struct tile *y = &c->tiles[0], *x = &c->tiles[1];
    p->rule = c->args[COPY_RULE];
    p->loops = c->args[COPY_LOOPS];
    p->element = dtype_size((enum dtype)y->dtype);
    p->rescale = sim_rescale_of(x, y);
    if (p->loops < 0 || p->loops > COPY_MAX_LOOPS || p->rule < 0 || p->rule > 2)
        return sim_bad(c, err, "%d loops, rule %d", p->loops, p->rule);
    if (p->rule == 0 && dtype_size((enum dtype)x->dtype) != p->element)
        return sim_bad(c, err, "bytes of %s cannot be those of %s",
                       dtype_name((enum dtype)x->dtype), dtype_name((enum dtype)y->dtype));
    const int32_t *loops = c->args + COPY_FIRST_LOOP;
    for (int i = 0; i < p->loops; i++)
        p->extent[i] = loops[i * COPY_LOOP_SIZE + COPY_EXTENT];
    if (!end_init(y, loops, p->loops, COPY_Y_AXIS, COPY_Y_STEP, &p->y) ||
        !end_init(x, loops, p->loops, COPY_X_AXIS, COPY_X_STEP, &p->x))
        return sim_bad(c, err, "a loop leads out of its box");
    return true;
}

static void copy_element(struct sim_call *c, const struct copy *p, const int64_t *y,
                         const int64_t *x)
{
    unsigned char *to = sim_at(c, 0, y[0], y[1], y[2], y[3]);
    const unsigned char *from = sim_at(c, 1, x[0], x[1], x[2], x[3]);
    if (p->rule == 0)
        memcpy(to, from, p->element);
    else if (p->rule == 1)
        sim_save(to, (enum dtype)c->tiles[0].dtype,
                 sim_rescale(&p->rescale, sim_load(from, (enum dtype)c->tiles[1].dtype)));
    else
        sim_put_real(c, 0, y[0], y[1], y[2], y[3], sim_load_real(from, &c->tiles[1]));
}

bool sim_COPY(struct sim_call *c, struct bpu_error *err)
{
    struct copy p = {0};
    const struct tile *t = &c->tiles[0];
    int64_t at[COPY_MAX_LOOPS] = {0}, y[4], x[4] = {0}, count = 1;
    int64_t elements = (int64_t)t->n * t->h * t->w * t->c;
    if (!copy_init(c, &p, err))
        return false;
    for (int i = 0; i < p.loops; i++)
        if (__builtin_mul_overflow(count, p.extent[i], &count) || count > elements)
            return sim_bad(c, err, "the loops write more elements than the box has");
    c->wrote = arena_alloc(c->scratch, (size_t)elements, err);
    if (!c->wrote)
        return false;
    memcpy(y, p.y.start, sizeof y);
    memcpy(x, p.x.start, sizeof x);
    for (int i = p.loops; i >= 0;) {
        copy_element(c, &p, y, x);
        c->wrote[((y[0] * t->h + y[1]) * t->w + y[2]) * t->c + y[3]] = 1;
        for (i = p.loops - 1; i >= 0; i--) {
            y[p.y.axis[i]] += p.y.step[i];
            x[p.x.axis[i]] += p.x.step[i];
            if (++at[i] < p.extent[i])
                break;
            y[p.y.axis[i]] -= p.y.step[i] * p.extent[i];
            x[p.x.axis[i]] -= p.x.step[i] * p.extent[i];
            at[i] = 0;
        }
    }
    return true;
}

/* ── the host ── */

bool sim_QUANTIZE(struct sim_call *c, struct bpu_error *err)
{
    const struct tile *y = &c->tiles[0], *x = &c->tiles[1];
    int64_t lo, hi;
    float scale = (float)y->scale;
    bool divides = c->args[QUANTIZE_DIVIDES];
    sim_range((enum dtype)y->dtype, &lo, &hi);
    if (!sim_same_extents(y, x) || y->scale == 0 || dtype_size((enum dtype)y->dtype) > 4)
        return sim_bad(c, err, "a result of another extent, or without scale");
    for (int64_t i = 0; i < y->n; i++)
        for (int64_t j = 0; j < y->h; j++)
            for (int64_t k = 0; k < y->w; k++)
                for (int64_t l = 0; l < y->c; l++) {
                    float v = (float)sim_real(c, 1, i, j, k, l);
                    sim_put(c, 0, i, j, k, l,
                            arith_quantize_binary32(divides ? v / scale : v,
                                                    divides ? 1.0f : 1.0f / scale, y->zero,
                                                    (int32_t)lo, (int32_t)hi));
                }
    return true;
}

bool sim_DEQUANTIZE(struct sim_call *c, struct bpu_error *err)
{
    const struct tile *y = &c->tiles[0], *x = &c->tiles[1];
    if (!sim_same_extents(y, x) || x->scale == 0 || y->dtype != DT_FLOAT32)
        return sim_bad(c, err, "a result of another extent, or an operand without scale");
    for (int64_t i = 0; i < y->n; i++)
        for (int64_t j = 0; j < y->h; j++)
            for (int64_t k = 0; k < y->w; k++)
                for (int64_t l = 0; l < y->c; l++)
                    sim_put_real(c, 0, i, j, k, l,
                                 (float)x->scale * (float)(sim_get(c, 1, i, j, k, l) - x->zero));
    return true;
}
