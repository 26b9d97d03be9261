/* How far a layer's result is padded.
 *
 * Two things round an extent up: the native block that the result is stored in, and the positions and
 * channels that the conv array computes at a time.  What is told is the extent after both: the
 * least common multiple that is not smaller.  Frames are never padded. */
#include "core/perf/perf_private.h"

enum { N, H, W, C, AXES };

static int64_t common_multiple(int64_t a, int64_t b)
{
    int64_t x = a, y = b;
    while (y) {
        int64_t r = x % y;
        x = y;
        y = r;
    }
    return a / x * b;
}

static int64_t whole(double v)
{
    return v >= 1 && v < 1 << 20 ? (int64_t)v : 1;
}

static int aligned(int extent, int64_t unit)
{
    int64_t v = unit > 0 ? (extent + unit - 1) / unit * unit : extent;
    return v > INT32_MAX ? extent : (int)v;
}

/* The tile of an instruction that lies in on-chip memory and holds (a part of) a result. */
static const struct tile *result_tile(const struct instruction *in)
{
    int from = in->engine == ENGINE_STORE ? 1 : 0;
    for (int i = from; i < in->tile_count; i++)
        if (in->tiles[i].space == SPACE_SRAM && in->tiles[i].n > 0)
            return &in->tiles[i];
    return NULL;
}

/* What writes the result: the last instruction that computes, else the last one that moves it. */
static const struct instruction **writers(struct perf_work *w, bool of_array, struct bpu_error *err)
{
    const struct instruction **list =
        ARENA_ARRAY(w->out->arena, const struct instruction *, w->p->source_count, err);
    for (int i = 0; list && i < w->p->code_count; i++) {
        const struct instruction *in = &w->p->code[i], *old = list[in->source];
        bool computes = perf_computes((enum engine)in->engine);
        if (of_array ? in->engine == ENGINE_CONV
                     : computes || !old || !perf_computes((enum engine)old->engine))
            list[in->source] = in;
    }
    return list;
}

bool perf_align(struct perf_work *w, struct bpu_error *err)
{
    const struct machine *m = w->m;
    const struct instruction **any = writers(w, false, err);
    const struct instruction **array = any ? writers(w, true, err) : NULL;
    if (!array)
        return false;
    for (int i = 0; i < w->p->source_count; i++) {
        const struct program_source *s = &w->p->sources[i];
        struct perf_layer *l = &w->out->layers[i];
        const struct tile *t = any[i] ? result_tile(any[i]) : NULL;
        int64_t unit[AXES] = {1, 1, 1, 1};
        if (t) {
            unit[H] = t->block_h > 0 ? t->block_h : 1;
            unit[W] = t->block_w > 0 ? t->block_w : 1;
            unit[C] = t->block_c > 0 ? t->block_c : 1;
        }
        if (array[i]) {
            bool depthwise = array[i]->op == OP_DWCONV;
            unit[H] = common_multiple(unit[H], whole(depthwise ? m->depthwise_h.v : m->array_h.v));
            unit[W] = common_multiple(unit[W], whole(depthwise ? m->depthwise_w.v : m->array_w.v));
            unit[C] =
                common_multiple(unit[C], whole(depthwise ? m->depthwise_c.v : m->array_out.v));
        }
        const int shape[AXES] = {s->n, s->h, s->w, s->c};
        for (int k = 0; k < AXES; k++) {
            l->shape[k] = shape[k];
            l->aligned[k] = aligned(shape[k], unit[k]);
        }
    }
    return true;
}
