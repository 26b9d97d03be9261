/* fit: how much on-chip memory a group of layers needs, in how many bands it fits, and what it costs.
 *
 * Layer by layer (one band) memory is counted exactly; in bands it is all rings and all weights at
 * once, rings from running the first few bands. */
#include <string.h>

#include "core/compile/box.h"
#include "core/compile/search.h"

enum { ESTIMATE_BANDS = 3 };

static int64_t round_up(int64_t v, int64_t to)
{
    return (v + to - 1) / to * to;
}

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

bool search_prepare(struct search *s, struct arena *a, struct bpu_error *err)
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
        int64_t now = live + layer_constants(s->net, s->net->layers[i], 2);
        peak = now > peak ? now : peak;
    }
    return peak + through;
}

static int64_t ring_bytes(const struct network *net, const struct ring *r)
{
    const struct machine_block *b = &net->machine->blocks[r->map->block];
    return (r->rows + b->h - 1) / b->h * r->map->row_bytes;
}

/* A layer alone, with nothing loaded ahead: what place.c takes for it, to the byte or a little more. */
static bool need_tight(struct search *s, const struct group *g, int64_t *need, struct bpu_error *err)
{
    const struct layer *l = s->net->layers[g->first];
    const struct ring *rings;
    int count;
    int64_t most = 0;
    for (int core = 0; core < g->cores; core++) {
        int64_t now = 0;
        if (!sequence_group(s->sequencer, g, 0, s->resident, core, 0, NULL, &rings, &count, err))
            return false;
        for (int i = 0; i < count; i++)
            now += round_up(ring_bytes(s->net, &rings[i]), SRAM_GRANULE);
        most = now > most ? now : most;
    }
    int64_t blobs = g->reload || g->bands == 1 ? layer_constants(s->net, l, 1) : s->constants[g->first];
    *need = most + blobs + (int64_t)l->in_count * SRAM_GRANULE;
    return true;
}

/* In bands: all rings and all weights at once. */
bool fit_need(struct search *s, const struct group *g, int64_t *need, struct bpu_error *err)
{
    const struct ring *rings;
    int count;
    if (g->tight)
        return need_tight(s, g, need, err);
    *need = 0;
    if (!sequence_group(s->sequencer, g, 0, s->resident, 0, ESTIMATE_BANDS, NULL, &rings, &count, err))
        return false;
    for (int i = 0; i < count; i++) {
        int64_t bytes = ring_bytes(s->net, &rings[i]);
        int64_t all = s->bytes[rings[i].map->index];
        if (sequence_overlaps(g, s->resident, &rings[i])) {
            int64_t band = map_rows(rings[i].map) / g->bands + 1;
            bytes += band * rings[i].map->row_bytes;
        }
        *need += bytes < all ? bytes : all;
    }
    for (int i = g->first; i <= g->last; i++)
        *need += g->reload ? layer_constants(s->net, s->net->layers[i], 2) : s->constants[i];
    return true;
}

int fit_rows(const struct search *s, int first, int last)
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

/* The fewest bands of g in which it fits into `room`: powers of two up to one row each; more bands never
 * need more. */
static bool fewest_bands(struct search *s, struct group *g, int64_t room, bool *fits, struct bpu_error *err)
{
    const int rows = fit_rows(s, g->first, g->last);
    int low = g->cores == 1 && !g->tight ? 1 : 0, high = 0;
    int64_t need;
    while ((rows >> high) > 1)
        high++;
    g->bands = rows;
    *fits = false;
    if (!fit_need(s, g, &need, err))
        return false;
    if (need > room)
        return true;
    int b = high + 1; /* fits */
    while (low < b) {
        int middle = (low + b) / 2;
        g->bands = middle > high ? rows : 1 << middle;
        if (!fit_need(s, g, &need, err))
            return false;
        if (need <= room)
            b = middle;
        else
            low = middle + 1;
    }
    g->bands = b > high ? rows : 1 << b;
    *fits = true;
    return true;
}

/* The fewest bands that fit. */
bool fit_group(struct search *s, int first, int last, bool in, bool out, int cores,
                      bool *fits, struct bpu_error *err)
{
    const struct network *net = s->net;
    int64_t through = 0; /* resident maps that only pass by */
    *fits = false;
    s->reload_of = false;
    s->tight_of = s->plain;
    s->share_of = 0;
    s->cut_of = (struct box_cut){0};
    s->bands_of = 1;
    if (net->layers[first]->on_host) {
        *fits = first == last && cores == 1;
        return true;
    }
    if (cores == 1 && !s->plain && need_whole(s, first, last, in, out) <= s->sram) {
        *fits = true;
        return true;
    }
    if ((!s->may_band && first != last) || (cores > 1 && shares_parts(s, first, last)))
        return true;
    if (in)
        through = through_bytes(s, first, last);
    /* A layer that fits in no other way may have all memory: nobody is beside it. */
    const bool alone = first == last && !in && !out && (cores == 1 || s->plain);
    bool ok = true;
    set_resident(s, first, last, in, out, true);
    for (int pass = s->plain ? 2 : 0; ok && !*fits && pass < 4; pass++) {
        struct group g = {.first = first, .last = last, .bands = 1, .cores = cores, .reload = pass % 2 == 1,
                          .tight = pass >= 2};
        if (pass < 2 ? through >= s->sram || (pass == 1 && first != last) : !alone)
            continue;
        ok = fewest_bands(s, &g, g.tight ? s->all : s->sram - through, fits, err);
        s->bands_of = g.bands;
        s->reload_of = g.reload;
        s->tight_of = g.tight;
    }
    /* In boxes, which leave gaps: they take less where the plan did not fit. */
    int64_t least;
    if (ok && !*fits && first == last && !in && !out && cores == 1 &&
        box_possible(net, s->o, net->layers[first]) &&
        box_plan(net, net->layers[first], s->sram, &s->cut_of, &least)) {
        *fits = true;
        s->bands_of = 1;
        s->reload_of = s->tight_of = false;
    }
    set_resident(s, first, last, in, out, false);
    return ok;
}

/* More bands than are needed to fit: engines and transfers overlap more. */
bool fit_bands(struct search *s, int first, int last, bool in, bool out, int cores, int bands,
                      bool *fits, struct bpu_error *err)
{
    int rows = fit_rows(s, first, last);
    struct group g = {.first = first, .last = last, .bands = bands < rows ? bands : rows, .cores = cores};
    int64_t need;
    set_resident(s, first, last, in, out, true);
    bool ok = fit_need(s, &g, &need, err);
    set_resident(s, first, last, in, out, false);
    *fits = ok && need + (in ? through_bytes(s, first, last) : 0) <= s->sram;
    s->bands_of = g.bands;
    s->reload_of = s->tight_of = false;
    s->share_of = 0;
    s->cut_of = (struct box_cut){0};
    return ok;
}

/* Each core has the whole operands and its part of the weights, and makes its part of the result.  That halves
 * what weights take of the bus, where cores that share rows load all of them. */
bool fit_channels(struct search *s, int layer, int cores)
{
    const struct layer *l = s->net->layers[layer];
    const struct group g = {.first = layer, .last = layer, .bands = 1, .cores = cores, .share = s->share};
    if (s->plain || l->on_host || l->whole || l->out_count != 1 || !share_possible(l, &g) || shares_parts(s, layer, layer) ||
        need_whole(s, layer, layer, false, false) > s->sram)
        return false;
    s->bands_of = 1;
    s->reload_of = s->tight_of = false;
    s->share_of = s->share;
    s->cut_of = (struct box_cut){0};
    return true;
}

/* ── what it costs ── */

double fit_price(const struct search *s, int first, int last, bool in, bool out, int cores)
{
    const struct network *net = s->net;
    const struct machine *m = net->machine;
    double engines[ENGINE_COUNT] = {0}, sum = 0, busiest = 0, bytes = 0, maps = 0, results = 0,
           transfers = 0;
    if (net->layers[first]->on_host)
        return s->cycles[first];
    for (int i = first; i <= last; i++) {
        const struct layer *l = net->layers[i];
        engines[isa_row(l->op)->engine] += s->cycles[i] + (s->bands_of - 1) * m->issue_cycles.v;
        bytes += (double)s->constants[i] * (s->reload_of ? s->bands_of : 1) * (s->share_of ? 1 : cores);
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
                maps += (double)s->bytes[x];
                transfers += s->bands_of;
            }
        }
        for (int k = 0; k < l->out_count; k++) {
            int x = map_root(l->out[k])->index;
            const struct map *root = net->maps[x];
            if (root->output >= 0 || (!out && s->last_reader[x] > last)) {
                results += (double)s->bytes[x] / (root->maker_count ? root->maker_count : 1);
                transfers += s->bands_of;
            }
        }
    }
    for (int e = 0; e < ENGINE_COUNT; e++) {
        sum += engines[e];
        busiest = engines[e] > busiest ? engines[e] : busiest;
    }
    /* Engines work side by side on different bands; the first and the last band have nobody beside them. */
    double rate = m->ddr_load_bytes.v * cores, latency = .02 * transfers * m->ddr_latency_cycles.v;
    if (cores > 1 && rate > m->ddr_total_bytes.v)
        rate = m->ddr_total_bytes.v;
    if (s->share_of) { /* a core waits for what the others made, with nothing else to compute */
        maps *= cores;
        latency = 2 * m->ddr_latency_cycles.v + (maps + results) / rate;
    }
    double ddr = (bytes + maps + results) / rate;
    double compute = (busiest + (sum - busiest) / s->bands_of) / cores * (cores > 1 ? 1.1 : 1);
    if (s->share_of && s->share_of * 2 != SHARE_ALL)
        compute = sum * (s->share_of * 2 > SHARE_ALL ? s->share_of : SHARE_ALL - s->share_of) / SHARE_ALL;
    return s->compute_weight * compute + s->load_weight * ddr + latency + m->issue_cycles.v;
}
