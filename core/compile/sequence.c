/* sequence: in which order the pieces of a group run.
 *
 * Demand driven: the results at the end of the group are asked for, a band of rows at a time; each
 * layer first asks its operands for the rows that it lacks.  So every map lives on chip as a ring
 * that holds the rows from the oldest that somebody still needs to the newest that is made; how
 * many that are is found by running the sequence.  With one band this is layer by layer.
 *
 * Rows of a layer are counted over all frames of its result: f * h + r.  Rows of a ring are those of
 * the root map, frames padded to the block: f * frame_rows + r. */
#include <string.h>

#include "core/compile/box.h"

/* An estimate that has seen rings grow late waits for so many bands without. */
enum { QUIET_BANDS = 3 };

struct seq_layer {
    int begin, at, end; /* rows: first one on this core, next one, last one + 1 */
    bool ends;          /* nobody in the group reads its results */
};

/* What a root is to the group; asked for at every piece, so worked out once. */
struct seq_map {
    int call; /* of which call this is */
    bool stores;
    enum role role;
};

struct seq_ring {
    int entry;      /* in the list of rings, or -1 */
    int64_t top;    /* highest row made or loaded, + 1 */
    int64_t loaded; /* READ: rows below are loaded, or never needed */
};

struct sequencer {
    const struct network *net;
    struct arena *arena;
    struct seq_layer *layers;      /* by layer */
    struct seq_ring *maps[2];      /* by role and map */
    struct seq_map *facts;         /* by map */
    int call;
    struct ring *rings;
    int ring_count;
    int quiet; /* bands since a ring has grown */
    /* of the call */
    const struct group *group;
    const bool *resident;
    int index, core;
    const struct layer *at_work; /* for which rows are loaded or stored */
    struct steps *out;
    struct bpu_error *err;
};

bool steps_add(struct steps *s, const struct step *step, struct bpu_error *err)
{
    struct step *items = arena_grow(s->arena, s->items, s->count, s->count + 1, sizeof *items,
                                    &s->capacity, err);
    if (!items)
        return false;
    s->items = items;
    s->items[s->count++] = *step;
    return true;
}

struct sequencer *sequencer_new(struct arena *a, const struct network *net, struct bpu_error *err)
{
    struct sequencer *s = ARENA_NEW(a, struct sequencer, err);
    if (!s)
        return NULL;
    s->net = net;
    s->arena = a;
    s->layers = ARENA_ARRAY(a, struct seq_layer, net->layer_count, err);
    s->rings = ARENA_ARRAY(a, struct ring, 2 * (size_t)net->map_count, err);
    s->facts = ARENA_ARRAY(a, struct seq_map, net->map_count, err);
    for (int r = 0; r < 2; r++) {
        s->maps[r] = ARENA_ARRAY(a, struct seq_ring, net->map_count, err);
        if (!s->maps[r])
            return NULL;
        for (int i = 0; i < net->map_count; i++)
            s->maps[r][i].entry = -1;
    }
    return s->layers && s->rings && s->facts ? s : NULL;
}

static bool in_group(const struct group *g, const struct layer *l)
{
    return l->index >= g->first && l->index <= g->last;
}

enum role sequence_role(const struct group *g, const bool *resident, const struct map *root)
{
    if (resident[root->index])
        return ROLE_MADE;
    for (int i = 0; i < root->maker_count; i++)
        if (!in_group(g, root->makers[i]) || root->makers[i]->on_host)
            return ROLE_READ;
    return root->maker_count ? ROLE_MADE : ROLE_READ;
}

bool sequence_stores(const struct group *g, const bool *resident, const struct map *root)
{
    if (root->output >= 0)
        return true;
    if (resident[root->index])
        return false;
    bool whole = sequence_role(g, resident, root) == ROLE_MADE;
    for (int i = 0; i < root->reader_count; i++)
        if (!in_group(g, root->readers[i]) || !whole)
            return true;
    return false;
}

bool sequence_overlaps(const struct group *g, const bool *resident, const struct ring *r)
{
    if (g->bands == 1 || g->tight)
        return false;
    if (r->role == ROLE_READ || sequence_stores(g, resident, r->map))
        return true;
    for (int i = 0; i < r->map->maker_count; i++)
        for (int k = 0; k < r->map->reader_count; k++)
            if (in_group(g, r->map->makers[i]) && in_group(g, r->map->readers[k]) &&
                isa_row(r->map->makers[i]->op)->engine != isa_row(r->map->readers[k]->op)->engine)
                return true;
    return false;
}

/* ── rings ── */

static const struct seq_map *facts_of(struct sequencer *s, const struct map *root)
{
    struct seq_map *f = &s->facts[root->index];
    if (f->call != s->call)
        *f = (struct seq_map){s->call, sequence_stores(s->group, s->resident, root),
                              sequence_role(s->group, s->resident, root)};
    return f;
}

static struct seq_ring *ring_of(struct sequencer *s, struct map *root, enum role role)
{
    struct seq_ring *r = &s->maps[role][root->index];
    if (r->entry < 0) {
        *r = (struct seq_ring){.entry = s->ring_count};
        s->rings[s->ring_count++] = (struct ring){
            .map = root, .role = role, .resident = s->resident[root->index] && role == ROLE_MADE};
        if (s->rings[r->entry].resident)
            s->rings[r->entry].rows = map_rows(root);
    }
    return r;
}

/* The lowest row of the root that operand i of layer l still needs; INT64_MAX: none. */
static int64_t reader_low(const struct sequencer *s, const struct layer *l, int i)
{
    const struct seq_layer *q = &s->layers[l->index];
    const struct map *m = l->in[i].map, *root = m->parent ? m->parent : m;
    int h = l->out[0]->h, lo, hi;
    if (q->at >= q->end)
        return INT64_MAX;
    if (l->in[i].need == NEED_ALL || l->whole)
        return 0;
    int f = m->n == 1 ? 0 : q->at / h, r = q->at % h;
    if (l->in[i].need == NEED_FRAME || l->whole_frame)
        return (int64_t)f * root->frame_rows;
    layer_rows(l, i, r, r + 1, &lo, &hi);
    return (int64_t)f * root->frame_rows + lo + m->off_h;
}

static int64_t map_low(struct sequencer *s, const struct map *root, enum role role)
{
    int64_t low = INT64_MAX;
    int readers = facts_of(s, root)->role == role ? root->reader_count : 0;
    for (int k = 0; k < readers; k++) {
        const struct layer *l = root->readers[k];
        if (!in_group(s->group, l))
            continue;
        for (int i = 0; i < l->in_count; i++) {
            const struct map *m = l->in[i].map;
            if (!m || (m->parent ? m->parent : m) != root)
                continue;
            int64_t v = reader_low(s, l, i);
            low = v < low ? v : low;
        }
    }
    for (int k = 0; role == ROLE_MADE && k < root->maker_count; k++) {
        const struct layer *l = root->makers[k];
        const struct seq_layer *q = &s->layers[l->index];
        if (!in_group(s->group, l) || q->at >= q->end)
            continue;
        for (int i = 0; i < l->out_count; i++) {
            const struct map *m = l->out[i];
            if (map_root(l->out[i]) != root)
                continue;
            int64_t v = (int64_t)(q->at / m->h) * root->frame_rows + q->at % m->h + m->off_h;
            low = v < low ? v : low;
        }
    }
    return low;
}

/* Rows up to `top` are about to be written: the ring must hold them and all that is still needed. */
static void ring_grow(struct sequencer *s, struct map *root, enum role role, int64_t bottom,
                      int64_t top)
{
    struct seq_ring *r = ring_of(s, root, role);
    struct ring *ring = &s->rings[r->entry];
    const int block = s->net->machine->blocks[root->block].h;
    int64_t low = map_low(s, root, role), all = map_rows(root);
    if (top > r->top)
        r->top = top;
    if (ring->rows == all)
        return;
    low = low < bottom ? low : bottom;
    low = low / block * block;
    int64_t rows = (r->top - low + block - 1) / block * block;
    if (rows > all)
        rows = all;
    if (rows > ring->rows) {
        ring->rows = rows;
        s->quiet = 0;
    }
}

/* ── steps ── */

static bool add_step(struct sequencer *s, const struct step *step)
{
    return !s->out || steps_add(s->out, step, s->err);
}

static struct step transfer(const struct sequencer *s, enum step_kind kind, struct map *m, int f0,
                            int f1, int r0, int r1)
{
    return (struct step){.kind = (uint8_t)kind,
                         .core = (uint8_t)s->core,
                         .group = s->index,
                         .layer = s->at_work,
                         .map = m,
                         .p = {.f0 = f0, .f1 = f1, .r0 = r0, .r1 = r1, .c0 = 0, .c1 = m->c}};
}

/* One transfer over rows a … b-1, counted without padding over the frames of m, cut at frames that
 * are not whole. */
static bool add_transfer(struct sequencer *s, enum step_kind kind, struct map *m, int64_t a,
                         int64_t b, int c0, int c1)
{
    int h = m->h;
    while (a < b) {
        int64_t to = b;
        if (a % h != 0)
            to = (a / h + 1) * h < b ? (a / h + 1) * h : b;
        else if (b / h > a / h)
            to = b / h * h;
        bool frames = a % h == 0 && to % h == 0;
        struct step step = transfer(s, kind, m, (int)(a / h), (int)((to - 1) / h) + 1,
                                    frames ? 0 : (int)(a % h), frames ? h : (int)((to - 1) % h) + 1);
        step.made = kind == STEP_STORE;
        step.p.c0 = c0;
        step.p.c1 = c1;
        if (!add_step(s, &step))
            return false;
        a = to;
    }
    return true;
}

/* Channels of a root that layers of the group read. */
static void channels_read(const struct sequencer *s, const struct map *root, int *c0, int *c1)
{
    *c0 = root->c;
    *c1 = 0;
    for (int k = 0; k < root->reader_count; k++) {
        const struct layer *l = root->readers[k];
        for (int i = 0; in_group(s->group, l) && i < l->in_count; i++) {
            const struct map *m = l->in[i].map;
            if (!m || (m->parent ? m->parent : m) != root)
                continue;
            *c0 = m->off_c < *c0 ? m->off_c : *c0;
            *c1 = m->off_c + m->c > *c1 ? m->off_c + m->c : *c1;
        }
    }
}

/* Rows lo … hi-1 (hi of the last frame f1-1) of the root come from DDR. */
static bool load_rows(struct sequencer *s, struct map *root, int f0, int f1, int lo, int hi)
{
    struct seq_ring *r = ring_of(s, root, ROLE_READ);
    int64_t a = (int64_t)f0 * root->h + lo, b = (int64_t)(f1 - 1) * root->h + hi;
    int c0, c1;
    /* From the lowest row that any reader lacks, which may be another one's. */
    int64_t low = map_low(s, root, ROLE_READ);
    if (low < INT64_MAX && low / root->frame_rows * root->h + low % root->frame_rows < a)
        a = low / root->frame_rows * root->h + low % root->frame_rows;
    a = a > r->loaded ? a : r->loaded;
    if (a >= b)
        return true;
    ring_grow(s, root, ROLE_READ, a / root->h * root->frame_rows + a % root->h,
              (b - 1) / root->h * root->frame_rows + (b - 1) % root->h + 1);
    r = ring_of(s, root, ROLE_READ);
    r->loaded = b;
    channels_read(s, root, &c0, &c1);
    return add_transfer(s, STEP_LOAD, root, a, b, c0, c1);
}

static bool advance(struct sequencer *s, struct layer *l, int64_t to);

/* Makes rows below `row` of frame `frame` of the root available to a reader. */
static bool need_rows(struct sequencer *s, const struct map *of, struct map *root, int f0, int f1,
                      int lo, int hi)
{
    for (int k = 0; k < root->maker_count; k++) {
        struct layer *l = root->makers[k];
        if (!in_group(s->group, l))
            continue;
        for (int i = 0; i < l->out_count; i++) {
            struct map *m = l->out[i];
            if (!map_meets(m, of) || hi <= m->off_h)
                continue; /* also a layer that reads one part of a map and writes another */
            int rows = hi - m->off_h < m->h ? hi - m->off_h : m->h;
            if (!advance(s, l, (int64_t)(f1 - 1) * m->h + rows))
                return false;
        }
    }
    if (facts_of(s, root)->role == ROLE_MADE) {
        ring_of(s, root, ROLE_MADE); /* also one that stays on chip from an earlier group */
        return true;
    }
    return load_rows(s, root, f0, f1, lo, hi);
}

static bool need_operands(struct sequencer *s, const struct layer *l, struct piece_rows *p)
{
    for (int i = 0; i < l->in_count; i++) {
        struct map *m = l->in[i].map;
        if (!m)
            continue;
        int lo = 0, hi = m->h, f0 = p->f0, f1 = p->f1;
        if (l->in[i].need == NEED_ALL || l->whole) {
            f0 = 0;
            f1 = m->n;
        } else if (m->n == 1) {
            f0 = 0;
            f1 = 1;
        }
        if (!l->whole && !l->whole_frame && l->in[i].need != NEED_FRAME && l->in[i].need != NEED_ALL)
            layer_rows(l, i, p->r0, p->r1, &lo, &hi);
        p->in_r0[i] = lo;
        p->in_r1[i] = hi;
        s->at_work = l;
        if (!l->on_host &&
            !need_rows(s, m, map_root(m), f0, f1, lo + m->off_h, hi + m->off_h))
            return false;
    }
    return true;
}

static bool make_piece(struct sequencer *s, struct layer *l, int64_t from, int64_t to)
{
    const int h = l->out[0]->h;
    bool frames = from % h == 0 && to % h == 0;
    struct step step = {.kind = STEP_PIECE,
                        .core = (uint8_t)s->core,
                        .group = s->index,
                        .layer = l,
                        .p = {.f0 = (int)(from / h),
                              .f1 = (int)((to - 1) / h) + 1,
                              .r0 = frames ? 0 : (int)(from % h),
                              .r1 = frames ? h : (int)((to - 1) % h) + 1,
                              .c1 = l->out[0]->c}};
    if (!need_operands(s, l, &step.p))
        return false;
    for (int i = 0; i < l->out_count && !l->on_host; i++) {
        struct map *m = l->out[i], *root = map_root(m);
        int64_t bottom = (int64_t)step.p.f0 * root->frame_rows + step.p.r0 + m->off_h;
        int64_t top = (int64_t)(step.p.f1 - 1) * root->frame_rows + step.p.r1 + m->off_h;
        if (i > 0) { /* a second result may have other extents: whole layers only */
            bottom = 0;
            top = map_rows(root);
        }
        ring_grow(s, root, ROLE_MADE, bottom, top);
    }
    const bool shared = s->group->share > 0;
    int chunks = shared ? share_chunks(s->net, l, s->group, s->core)
                 : s->group->bands == 1 || s->group->reload ? layer_chunks(s->net, l)
                                                            : 1;
    for (int k = 0; k < chunks; k++) {
        if (shared)
            share_chunk(l, s->group, s->core, k, chunks, &step.p.c0, &step.p.c1);
        else if (chunks > 1)
            layer_chunk(s->net, l, k, chunks, &step.p.c0, &step.p.c1);
        if (!add_step(s, &step))
            return false;
    }
    s->layers[l->index].at = (int)to;
    for (int i = 0; i < l->out_count && !l->on_host; i++) {
        struct map *m = l->out[i];
        if (!facts_of(s, map_root(m))->stores)
            continue;
        int64_t a = i ? 0 : from, b = i ? (int64_t)m->n * m->h : to;
        int c0 = 0, c1 = m->c;
        if (shared)
            share_chunk(l, s->group, s->core, 0, 1, &c0, &c1);
        else if (s->group->cores > 1) { /* the rows of the other core are its own */
            int64_t all = (int64_t)m->n * m->h;
            int64_t low = all * s->core / s->group->cores,
                    high = all * (s->core + 1) / s->group->cores;
            a = a > low ? a : low;
            b = b < high ? b : high;
        }
        s->at_work = l;
        if (a < b && !add_transfer(s, STEP_STORE, m, a, b, c0, c1))
            return false;
    }
    return true;
}

/* Makes rows of l below `to`. */
static bool advance(struct sequencer *s, struct layer *l, int64_t to)
{
    struct seq_layer *q = &s->layers[l->index];
    const struct map *m = l->out[0];
    const int h = m->h, block = s->net->machine->blocks[m->block].h;
    if (to <= q->at)
        return true;
    if (s->group->bands == 1 && q->end > q->at)
        to = to > q->end ? to : q->end; /* in one piece, however little is asked for first */
    if (l->whole)
        to = (int64_t)m->n * h;
    else if (l->whole_frame)
        to = (to + h - 1) / h * h;
    else if (to % h) { /* whole blocks */
        int64_t r = (to % h + block - 1) / block * block;
        to = to / h * h + (r < h ? r : h);
    }
    while (q->at < to) {
        int64_t end = to;
        if (q->at % h != 0)
            end = ((int64_t)q->at / h + 1) * h < to ? ((int64_t)q->at / h + 1) * h : to;
        else if (to / h > q->at / h)
            end = to / h * h;
        if (!make_piece(s, l, q->at, end))
            return false;
    }
    return true;
}

/* ── one core's share ── */

static bool is_end(const struct sequencer *s, const struct layer *l)
{
    for (int i = 0; i < l->out_count; i++) {
        const struct map *root = map_root(l->out[i]);
        for (int k = 0; k < root->reader_count; k++)
            if (in_group(s->group, root->readers[k]) && root->readers[k]->index > l->index)
                return false;
    }
    return true;
}

/* Rows of this core: its share of the results that leave the group, and what these need. */
static void set_shares(struct sequencer *s)
{
    const struct group *g = s->group;
    for (int i = g->first; i <= g->last; i++) {
        const struct map *m = s->net->layers[i]->out[0];
        int64_t all = (int64_t)m->n * m->h;
        s->layers[i] = (struct seq_layer){.end = (int)all, .ends = is_end(s, s->net->layers[i])};
    }
    if (g->cores == 1 || g->share)
        return;
    for (int i = g->first; i <= g->last; i++) {
        struct layer *l = s->net->layers[i];
        const struct map *m = l->out[0];
        int64_t all = (int64_t)m->n * m->h;
        bool leaves = s->layers[i].ends || facts_of(s, map_root(l->out[0]))->stores;
        s->layers[i].begin = leaves ? (int)(all * s->core / g->cores) : (int)all;
        s->layers[i].end = leaves ? (int)(all * (s->core + 1) / g->cores) : 0;
    }
    for (int i = g->last; i >= g->first; i--) {
        const struct layer *l = s->net->layers[i];
        struct seq_layer *q = &s->layers[i];
        const int h = l->out[0]->h, block = s->net->machine->blocks[l->out[0]->block].h;
        if (l->whole && q->begin < q->end) {
            q->begin = 0;
            q->end = l->out[0]->n * h;
        } else if (l->whole_frame && q->begin < q->end) {
            q->begin = q->begin / h * h;
            q->end = (q->end + h - 1) / h * h;
        }
        q->begin = q->begin / h * h + q->begin % h / block * block;
        if (q->end % h) { /* advance() makes whole blocks */
            int r = (q->end % h + block - 1) / block * block;
            q->end = q->end / h * h + (r < h ? r : h);
        }
        q->at = q->begin;
        for (int k = 0; q->begin < q->end && k < l->in_count; k++) {
            struct map *m = l->in[k].map;
            if (!m)
                continue;
            struct map *root = map_root(m);
            int f0 = q->begin / h, f1 = (q->end - 1) / h, lo = 0, hi = m->h, x;
            if (l->in[k].need == NEED_ALL || l->whole) {
                f0 = 0;
                f1 = m->n - 1;
            } else if (l->in[k].need != NEED_FRAME && !l->whole_frame) {
                layer_rows(l, k, q->begin % h, q->begin % h + 1, &lo, &x);
                layer_rows(l, k, (q->end - 1) % h, (q->end - 1) % h + 1, &x, &hi);
                if (f0 != f1)
                    hi = m->h;
            }
            if (m->n == 1)
                f0 = f1 = 0;
            for (int j = 0; j < root->maker_count; j++) {
                const struct layer *maker = root->makers[j];
                if (!in_group(g, maker) || maker == l)
                    continue;
                const struct map *o = maker->out[0];
                struct seq_layer *w = &s->layers[maker->index];
                int from = lo + m->off_h - o->off_h, to = hi + m->off_h - o->off_h;
                from = from < 0 ? 0 : from < o->h ? from : o->h;
                to = to < 0 ? 0 : to < o->h ? to : o->h;
                int a = f0 * o->h + from, b = f1 * o->h + to;
                if (a >= b && f0 == f1)
                    continue;
                w->begin = a < w->begin ? a : w->begin;
                w->end = b > w->end ? b : w->end;
            }
        }
    }
}

static void forget(struct sequencer *s)
{
    for (int i = 0; i < s->ring_count; i++)
        s->maps[s->rings[i].role][s->rings[i].map->index].entry = -1;
    s->ring_count = 0;
}

bool sequence_group(struct sequencer *s, const struct group *g, int index, const bool *resident,
                    int core, int max_bands, struct steps *out, const struct ring **rings,
                    int *count, struct bpu_error *err)
{
    forget(s);
    if (g->cut.size[0]) {
        *rings = s->rings;
        *count = 0;
        return !out || box_sequence(s->net, g, index, core, out, err);
    }
    s->group = g;
    s->index = index;
    s->resident = resident;
    s->core = core;
    s->out = out;
    s->err = err;
    s->call++;
    s->quiet = 0;
    set_shares(s);
    int bands = g->bands;
    for (int b = 0; b < bands; b++) {
        s->quiet++;
        for (int i = g->first; i <= g->last; i++) {
            struct layer *l = s->net->layers[i];
            struct seq_layer *q = &s->layers[i];
            if (q->begin >= q->end || !q->ends)
                continue;
            int64_t span = q->end - q->begin;
            if (!advance(s, l, q->begin + (span * (b + 1) + g->bands - 1) / g->bands))
                return false;
        }
        /* Windows that are cut off at the upper end keep rings growing for a while. */
        if (max_bands > 0 && b + 1 >= max_bands && s->quiet >= (b + 1 == max_bands ? 1 : QUIET_BANDS))
            bands = b + 1;
    }
    /* Rows that leave the group and that nobody in it has asked for. */
    for (int i = g->first; bands == g->bands && i <= g->last; i++) {
        struct layer *l = s->net->layers[i];
        bool leaves = l->on_host;
        for (int k = 0; k < l->out_count; k++)
            leaves |= facts_of(s, map_root(l->out[k]))->stores ||
                      resident[map_root(l->out[k])->index];
        if (leaves && !advance(s, l, s->layers[i].end))
            return false;
    }
    *rings = s->rings;
    *count = s->ring_count;
    return true;
}
