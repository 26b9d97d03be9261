/* group: which layers run together, in how many bands, and which maps stay on chip between groups.
 *
 * Cutting the list of layers is a shortest path: from cut to cut over all groups that fit.  At a
 * cut, the maps that cross it either all stay on chip or all go through DDR; both are nodes of the
 * path.  The price of a group is its computing and its DDR traffic, weighted by the level. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/compile/schedule.h"

enum { ESTIMATE_BANDS = 3 };

struct search {
    const struct network *net;
    struct sequencer *sequencer;
    const struct compile_options *o;
    int64_t sram;
    int longest, cores;
    double load_weight, compute_weight; /* price per cycle */
    bool may_reside, may_band;
    int more_bands;       /* how many times more bands than needed are tried */
    bool *resident;       /* scratch, by map */
    int *last_reader;     /* by map (roots): the last layer that reads it; outputs and unread: -1 */
    int *first_maker;     /* by map: -1: comes from outside */
    int64_t *bytes;       /* by map (roots) */
    bool *through_ddr;    /* by map: the host touches it, or two cores share it */
    double *cycles;       /* by layer: one piece */
    int64_t *constants;   /* by layer: bytes of blobs */
    int64_t *cross_bytes; /* by cut: bytes of all maps that cross it */
    bool *pinned;         /* by cut: a map crosses it that must go through DDR */
    int64_t *delta;       /* scratch, by layer */
    int *stamp, stamps;   /* scratch, by map */
    int bands_of;         /* result of fit_group() */
    bool reload_of;
};

struct price {
    double cost;
    int bands, cores;
    bool reload;
};

static double layer_cycles(const struct network *net, const struct layer *l)
{
    struct step step = {.layer = l, .p = {.f1 = l->out[0]->n, .r1 = l->out[0]->h, .c1 = l->out[0]->c}};
    struct tile tiles[PROGRAM_MAX_TILES] = {0};
    int32_t args[PROGRAM_MAX_ARGS];
    struct instruction i = {.tiles = tiles, .args = args};
    for (int k = 0; k < l->in_count; k++)
        if (l->in[k].map)
            step.p.in_r1[k] = l->in[k].map->h;
    emit_piece(net, &step, NULL, &i);
    return instruction_cost(net->machine, &i).cycles;
}

static bool prepare(struct search *s, struct arena *a, struct bpu_error *err)
{
    const struct network *net = s->net;
    size_t maps = (size_t)net->map_count, layers = (size_t)net->layer_count;
    s->resident = ARENA_ARRAY(a, bool, maps, err);
    s->last_reader = ARENA_ARRAY(a, int, maps, err);
    s->first_maker = ARENA_ARRAY(a, int, maps, err);
    s->bytes = ARENA_ARRAY(a, int64_t, maps, err);
    s->through_ddr = ARENA_ARRAY(a, bool, maps, err);
    s->cycles = ARENA_ARRAY(a, double, layers, err);
    s->constants = ARENA_ARRAY(a, int64_t, layers, err);
    s->cross_bytes = ARENA_ARRAY(a, int64_t, layers + 1, err);
    s->pinned = ARENA_ARRAY(a, bool, layers + 1, err);
    s->delta = ARENA_ARRAY(a, int64_t, layers + 2, err);
    s->stamp = ARENA_ARRAY(a, int, maps, err);
    if (!s->resident || !s->last_reader || !s->first_maker || !s->bytes || !s->through_ddr ||
        !s->cycles || !s->constants || !s->cross_bytes || !s->pinned || !s->delta || !s->stamp)
        return false;
    for (int i = 0; i < net->layer_count; i++) {
        const struct layer *l = net->layers[i];
        s->cycles[i] = layer_cycles(net, l);
        for (int k = 0; k < l->in_count; k++)
            s->constants[i] += l->in[k].blob ? l->in[k].blob->bytes : 0;
    }
    for (int i = 0; i < net->map_count; i++) {
        const struct map *m = net->maps[i];
        s->last_reader[i] = s->first_maker[i] = -1;
        if (m->parent)
            continue;
        s->bytes[i] = map_bytes(m, &net->machine->blocks[m->block]);
        for (int k = 0; k < m->reader_count; k++) {
            int r = m->readers[k]->index;
            s->last_reader[i] = r > s->last_reader[i] ? r : s->last_reader[i];
            s->through_ddr[i] |= m->readers[k]->on_host;
        }
        for (int k = 0; k < m->maker_count; k++) {
            int r = m->makers[k]->index;
            s->first_maker[i] = s->first_maker[i] < 0 || r < s->first_maker[i] ? r : s->first_maker[i];
            s->through_ddr[i] |= m->makers[k]->on_host;
        }
        if (s->first_maker[i] < 0)
            continue;
        /* Outputs that others read are stored as they are made and may stay as well. */
        for (int c = s->first_maker[i] + 1; c <= s->last_reader[i]; c++) {
            s->cross_bytes[c] += s->bytes[i];
            s->pinned[c] |= s->through_ddr[i];
        }
    }
    return true;
}

/* ── does it fit ── */

static int64_t blob_need(const struct search *s, int i)
{
    const struct layer *l = s->net->layers[i];
    int chunks = layer_chunks(s->net, l);
    if (chunks <= 1)
        return s->constants[i];
    int f = layer_filter(l);
    const struct blob *b = l->in[f].blob;
    int64_t units = (b->units + chunks - 1) / chunks;
    return s->constants[i] - b->bytes + 2 * units * b->unit_bytes;
}

/* The last layer of the group that touches a root. */
static int last_touch(const struct map *root, int last)
{
    int at = -1;
    for (int k = 0; k < root->reader_count; k++)
        if (root->readers[k]->index <= last && root->readers[k]->index > at)
            at = root->readers[k]->index;
    for (int k = 0; k < root->maker_count; k++)
        if (root->makers[k]->index <= last && root->makers[k]->index > at)
            at = root->makers[k]->index;
    return at;
}

/* Counts a root that layer i touches first. */
static void touch(struct search *s, struct map *root, int first, int last, int i, bool in, bool out,
                  int64_t *through)
{
    int x = root->index, from = i, to;
    if (s->stamp[x] == s->stamps)
        return;
    s->stamp[x] = s->stamps;
    if (in && s->first_maker[x] >= 0 && s->first_maker[x] < first) {
        *through -= s->bytes[x];
        from = first;
    }
    to = out && s->last_reader[x] > last ? last : last_touch(root, last);
    s->delta[from] += s->bytes[x];
    s->delta[to + 1] -= s->bytes[x];
}

/* Layer by layer: the most bytes that are live at a layer. in, out: the maps that cross stay. */
static int64_t need_whole(struct search *s, int first, int last, bool in, bool out)
{
    int64_t through = in ? s->cross_bytes[first] : 0, peak = 0, live = 0;
    memset(s->delta + first, 0, (size_t)(last - first + 2) * sizeof *s->delta);
    s->stamps++;
    for (int i = first; i <= last; i++) {
        const struct layer *l = s->net->layers[i];
        for (int k = 0; k < l->in_count; k++)
            if (l->in[k].map)
                touch(s, map_root(l->in[k].map), first, last, i, in, out, &through);
        for (int k = 0; k < l->out_count; k++)
            touch(s, map_root(l->out[k]), first, last, i, in, out, &through);
    }
    for (int i = first; i <= last; i++) {
        live += s->delta[i];
        int64_t now = live + blob_need(s, i);
        peak = now > peak ? now : peak;
    }
    return peak + through;
}

static int64_t ring_bytes(const struct network *net, const struct ring *r)
{
    const struct machine_block *b = &net->machine->blocks[r->map->block];
    return (r->rows + b->h - 1) / b->h * r->map->row_bytes;
}

/* In bands: all rings and all weights at once. INT64_MAX: something is wrong with it. */
static bool need_bands(struct search *s, const struct group *g, int64_t *need, struct bpu_error *err)
{
    const struct ring *rings;
    int count;
    *need = 0;
    if (!sequence_group(s->sequencer, g, 0, s->resident, 0, ESTIMATE_BANDS, NULL, &rings, &count, err))
        return false;
    for (int i = 0; i < count; i++) {
        int64_t bytes = ring_bytes(s->net, &rings[i]);
        int64_t all = s->bytes[rings[i].map->index];
        if (g->bands > 1 && s->o->level != LEVEL_O0 &&
            sequence_overlaps(g, s->resident, &rings[i])) {
            int64_t band = map_rows(rings[i].map) / g->bands + 1;
            bytes += band * rings[i].map->row_bytes;
        }
        *need += bytes < all ? bytes : all;
    }
    for (int i = g->first; i <= g->last; i++)
        *need += g->reload ? blob_need(s, i) : s->constants[i];
    return true;
}

static int end_rows(const struct search *s, int first, int last)
{
    int rows = 1;
    for (int i = first; i <= last; i++) {
        const struct map *m = s->net->layers[i]->out[0];
        bool read = false;
        const struct map *root = map_root(s->net->layers[i]->out[0]);
        for (int k = 0; k < root->reader_count; k++)
            read |= root->readers[k]->index > i && root->readers[k]->index <= last;
        int64_t all = (int64_t)m->n * m->h;
        if (!read && all > rows)
            rows = all > 1 << 20 ? 1 << 20 : (int)all;
    }
    return rows;
}

static void set_resident(struct search *s, int first, int last, bool in, bool out, bool on)
{
    for (int i = first; i <= last; i++) {
        const struct layer *l = s->net->layers[i];
        for (int k = 0; k < l->in_count; k++) {
            if (!l->in[k].map)
                continue;
            int root = map_root(l->in[k].map)->index;
            if (s->first_maker[root] >= 0 && s->first_maker[root] < first)
                s->resident[root] = on && in;
        }
        for (int k = 0; k < l->out_count; k++) {
            int root = map_root(l->out[k])->index;
            if (s->last_reader[root] > last)
                s->resident[root] = on && out && (s->first_maker[root] >= first || in);
        }
    }
}

/* Bytes of the maps that stay on chip and only pass by. */
static int64_t through_bytes(struct search *s, int first, int last)
{
    int64_t through = s->cross_bytes[first];
    s->stamps++;
    for (int i = first; i <= last; i++) {
        const struct layer *l = s->net->layers[i];
        for (int k = 0; k < l->in_count + l->out_count; k++) {
            struct map *m = k < l->in_count ? l->in[k].map : l->out[k - l->in_count];
            if (!m || s->stamp[map_root(m)->index] == s->stamps)
                continue;
            int x = map_root(m)->index;
            s->stamp[x] = s->stamps;
            if (s->first_maker[x] >= 0 && s->first_maker[x] < first)
                through -= s->bytes[x];
        }
    }
    return through;
}

/* A map that is made here only in part is read back from DDR, all of it: two cores, which make rows of their
 * own, would have to wait for each other in the middle of a group. */
static bool shares_parts(const struct search *s, int first, int last)
{
    struct group g = {.first = first, .last = last};
    for (int i = first; i <= last; i++)
        for (int k = 0; k < s->net->layers[i]->out_count; k++) {
            const struct map *root = map_root(s->net->layers[i]->out[k]);
            if (sequence_role(&g, s->resident, root) == ROLE_MADE)
                continue;
            for (int r = 0; r < root->reader_count; r++)
                if (root->readers[r]->index >= first && root->readers[r]->index <= last)
                    return true;
        }
    return false;
}

/* The fewest bands that fit. */
static bool fit_group(struct search *s, int first, int last, bool in, bool out, int cores,
                      bool *fits, struct bpu_error *err)
{
    const struct network *net = s->net;
    int64_t through = 0; /* resident maps that only pass by */
    *fits = false;
    s->reload_of = false;
    s->bands_of = 1;
    if (net->layers[first]->on_host) {
        *fits = first == last && cores == 1;
        return true;
    }
    if (cores == 1 && need_whole(s, first, last, in, out) <= s->sram) {
        *fits = true;
        return true;
    }
    if ((!s->may_band && first != last) || (cores > 1 && shares_parts(s, first, last)))
        return true;
    if (in)
        through = through_bytes(s, first, last);
    if (through >= s->sram)
        return true;
    set_resident(s, first, last, in, out, true);
    int rows = end_rows(s, first, last), low = cores == 1 ? 1 : 0, high = 0;
    bool ok = true;
    while ((rows >> high) > 1)
        high++;
    /* bands: powers of two up to one row each; more bands never need more. */
    for (int pass = 0; ok && !*fits && pass < 2; pass++) {
        struct group g = {first, last, rows, cores, pass == 1};
        int64_t need;
        ok = need_bands(s, &g, &need, err);
        if (!ok || need + through > s->sram) {
            if (first != last)
                break;
            continue;
        }
        int a = low, b = high + 1; /* b fits */
        while (ok && a < b) {
            int middle = (a + b) / 2;
            g.bands = middle > high ? rows : 1 << middle;
            ok = need_bands(s, &g, &need, err);
            if (ok && need + through <= s->sram)
                b = middle;
            else
                a = middle + 1;
        }
        s->bands_of = b > high ? rows : 1 << b;
        s->reload_of = pass == 1;
        *fits = true;
    }
    set_resident(s, first, last, in, out, false);
    return ok;
}

/* More bands than are needed to fit: engines and transfers overlap more. */
static bool fit_bands(struct search *s, int first, int last, bool in, bool out, int cores, int bands,
                      bool *fits, struct bpu_error *err)
{
    int rows = end_rows(s, first, last);
    struct group g = {first, last, bands < rows ? bands : rows, cores, false};
    int64_t need;
    set_resident(s, first, last, in, out, true);
    bool ok = need_bands(s, &g, &need, err);
    set_resident(s, first, last, in, out, false);
    *fits = ok && need + (in ? through_bytes(s, first, last) : 0) <= s->sram;
    s->bands_of = g.bands;
    s->reload_of = false;
    return ok;
}

/* ── what it costs ── */

static double price_group(const struct search *s, int first, int last, bool in, bool out, int cores)
{
    const struct network *net = s->net;
    const struct machine *m = net->machine;
    double engines[ENGINE_COUNT] = {0}, sum = 0, busiest = 0, bytes = 0, transfers = 0;
    if (net->layers[first]->on_host)
        return s->cycles[first];
    for (int i = first; i <= last; i++) {
        const struct layer *l = net->layers[i];
        engines[isa_row(l->op)->engine] += s->cycles[i] + (s->bands_of - 1) * m->issue_cycles.v;
        bytes += (double)s->constants[i] * (s->reload_of ? s->bands_of : 1) * cores;
        for (int k = 0; k < l->in_count; k++) {
            if (!l->in[k].map)
                continue;
            struct map *root = map_root(l->in[k].map);
            int x = root->index;
            if (s->first_maker[x] >= first || (in && s->first_maker[x] >= 0))
                continue;
            bool before = false;
            for (int j = 0; j < root->reader_count; j++)
                before |= root->readers[j]->index >= first && root->readers[j]->index < i;
            if (!before) {
                bytes += (double)s->bytes[x];
                transfers += s->bands_of;
            }
        }
        for (int k = 0; k < l->out_count; k++) {
            int x = map_root(l->out[k])->index;
            const struct map *root = net->maps[x];
            if (root->output >= 0 || (!out && s->last_reader[x] > last)) {
                bytes += (double)s->bytes[x] / (root->maker_count ? root->maker_count : 1);
                transfers += s->bands_of;
            }
        }
    }
    for (int e = 0; e < ENGINE_COUNT; e++) {
        sum += engines[e];
        busiest = engines[e] > busiest ? engines[e] : busiest;
    }
    /* Engines work side by side on different bands; the first and the last band have nobody beside them. */
    double ddr = bytes / m->ddr_load_bytes.v;
    double compute = (busiest + (sum - busiest) / s->bands_of) / cores * (cores > 1 ? 1.1 : 1);
    return s->compute_weight * compute + s->load_weight * ddr +
           .02 * transfers * m->ddr_latency_cycles.v + m->issue_cycles.v;
}

/* ── the path ── */

struct stop {
    double cost;
    int from, bands, cores;
    bool in, reload, reached;
};

static void offer(const struct search *s, struct stop *to, const struct stop *at, int i, int j,
                  bool in, bool keep, int cores)
{
    double cost = at->cost + price_group(s, i, j, in, keep, cores);
    if (!to->reached || cost < to->cost)
        *to = (struct stop){cost, i, s->bands_of, cores, in, s->reload_of, true};
}

static bool search_path(struct search *s, struct arena *a, struct grouping *out, int *stuck,
                        struct bpu_error *err)
{
    const int n = s->net->layer_count;
    struct stop *stops = ARENA_ARRAY(a, struct stop, 2 * ((size_t)n + 1), err);
    if (!stops)
        return false;
    stops[0].reached = true;
    for (int i = 0; i < n; i++)
        for (int in = 0; in < 2; in++) {
            struct stop *at = &stops[2 * i + in];
            if (!at->reached)
                continue;
            int failures = 0;
            for (int j = i; j < n && j - i < s->longest && failures < 3; j++) {
                bool any = false;
                if (j > i && s->net->layers[j]->on_host)
                    break;
                for (int keep = 0; keep < 2; keep++) {
                    if (keep && (!s->may_reside || j + 1 == n || s->pinned[j + 1] || s->cores > 1))
                        continue;
                    for (int cores = 1; cores <= s->cores; cores++) {
                        bool fits;
                        if (!fit_group(s, i, j, in, keep, cores, &fits, err))
                            return false;
                        if (!fits)
                            continue;
                        any = true;
                        struct stop *to = &stops[2 * (j + 1) + keep];
                        offer(s, to, at, i, j, in, keep, cores);
                        if (!s->may_band || s->reload_of)
                            continue;
                        for (int more = s->bands_of < 4 ? 4 : s->bands_of * 2, tries = 0; tries < s->more_bands; more *= 2, tries++) {
                            if (!fit_bands(s, i, j, in, keep, cores, more, &fits, err))
                                return false;
                            if (fits)
                                offer(s, to, at, i, j, in, keep, cores);
                        }
                    }
                }
                failures += !any;
                if (s->net->layers[i]->on_host)
                    break;
            }
        }
    if (!stops[2 * n].reached) {
        *stuck = 0;
        for (int i = 0; i <= n; i++)
            if (stops[2 * i].reached || stops[2 * i + 1].reached)
                *stuck = i;
        return error_set(err, BPU_LIMIT, NULL, "it does not fit");
    }
    int count = 0;
    for (int i = n, in = 0; i > 0; count++) {
        const struct stop *t = &stops[2 * i + in];
        in = t->in;
        i = t->from;
    }
    out->groups = ARENA_ARRAY(a, struct group, count, err);
    out->resident = ARENA_ARRAY(a, bool, s->net->map_count, err);
    bool *kept = ARENA_ARRAY(a, bool, n + 1, err);
    if (!out->groups || !out->resident || !kept)
        return false;
    out->count = count;
    for (int i = n, in = 0, k = count; i > 0;) {
        const struct stop *t = &stops[2 * i + in];
        kept[i] = in;
        out->groups[--k] = (struct group){t->from, i - 1, t->bands, t->cores, t->reload};
        in = t->in;
        i = t->from;
    }
    /* A map stays if every cut that it crosses keeps its maps. */
    for (int m = 0; m < s->net->map_count; m++) {
        if (s->net->maps[m]->parent || s->first_maker[m] < 0 || s->through_ddr[m])
            continue;
        bool stays = false;
        for (int k = 1; k < count; k++) {
            int cut = out->groups[k].first;
            if (cut <= s->first_maker[m] || cut > s->last_reader[m])
                continue;
            stays = kept[cut];
            if (!stays)
                break;
        }
        out->resident[m] = stays;
    }
    return true;
}

/* One search: what a cycle of computing and one of transfers cost, the share of memory that groups may
 * take (the rest is left for weights that are loaded ahead), and how many layers a group may have. */
struct variant {
    double compute, load;
    int percent, longest, more_bands;
};

/* Each level tries all that the ones below it try, so that none is worse by its own measure. */
static const struct variant variants[] = {
    {1, 1, 72, 24, 1},   {1, 1, 100, 1, 0}, /* O2 */
    {1, 1, 100, 64, 2},  {1, .4, 55, 64, 2}, /* O3 */
    {1, 2.5, 85, 64, 2}, {.001, 1, 100, 64, 1}, {1, .4, 40, 64, 2}, {1, 1, 60, 64, 2},
};
enum { LAYERS = 8000 }; /* times the longest group: in large networks the search stays linear */

int group_variants(const struct compile_options *o)
{
    switch (o->level) {
    case LEVEL_O0:
    case LEVEL_O1: return 1;
    case LEVEL_O2: return 2;
    case LEVEL_O3: return 4;
    default: return (int)(sizeof variants / sizeof variants[0]);
    }
}

static const struct variant *variant_of(const struct compile_options *o, int variant)
{
    return o->level <= LEVEL_O1 ? &variants[1] : &variants[variant];
}

int group_percent(const struct compile_options *o, int variant)
{
    return variant_of(o, variant)->percent;
}

static bool explain(const struct search *s, int at, int64_t sram, struct bpu_error *err)
{
    const struct layer *l = s->net->layers[at];
    struct group g = {at, at, end_rows(s, at, at), 1, true};
    struct bpu_error ignored = {0};
    int64_t need = 0;
    struct search copy = *s;
    if (!need_bands(&copy, &g, &need, &ignored))
        need = 0;
    const struct map *y = l->out[0];
    error_set(err, BPU_LIMIT, l->node ? l->node->name : y->name,
              "%s does not fit into on-chip memory: one row of its result (%d x %d x %d) needs %lld "
              "bytes with what it reads, and there are %lld",
              isa_row(l->op)->name, y->h, y->w, y->c, (long long)need, (long long)sram);
    error_hint(err, "fewer channels, a smaller width or dilation, or a split of the layer by channels "
                    "would need less");
    return false;
}

bool group_layers(struct arena *a, const struct network *net, const struct compile_options *o,
                  int64_t sram, int variant, struct grouping *out, struct bpu_error *err)
{
    struct search s = {.net = net, .o = o, .sram = sram, .cores = o->cores};
    int stuck = 0;
    const struct variant *v = variant_of(o, variant);
    int most = LAYERS / net->layer_count;
    s.longest = v->longest <= 12 || most >= v->longest ? v->longest : most > 12 ? most : 12;
    s.may_reside = o->level >= LEVEL_O1;
    s.may_band = o->level >= LEVEL_O2;
    s.more_bands = v->more_bands;
    s.compute_weight = v->compute;
    s.load_weight = v->load;
    if (!(s.sequencer = sequencer_new(a, net, err)) || !prepare(&s, a, err))
        return false;
    struct bpu_error e = {0};
    if (search_path(&s, a, out, &stuck, &e))
        return true;
    if (e.code != BPU_LIMIT) {
        *err = e;
        return false;
    }
    return explain(&s, stuck < net->layer_count ? stuck : net->layer_count - 1, sram, err);
}
