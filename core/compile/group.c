/* group: which layers run together, in how many bands, and which maps stay on chip between groups.
 *
 * Cutting the list of layers is a shortest path: from cut to cut over all groups that fit.  At a
 * cut, the maps that cross it either all stay on chip or all go through DDR; both are nodes of the
 * path.  The price of a group is its computing and its DDR traffic, weighted by the level. */
#include <string.h>

#include "core/compile/box.h"
#include "core/compile/search.h"

/* ── the path ── */

struct stop {
    double cost;
    int from, bands, cores;
    bool in, reload, tight, reached;
    int share;
    struct box_cut cut;
};

static void offer(const struct search *s, struct stop *to, const struct stop *at, int i, int j,
                  bool in, bool keep, int cores)
{
    double cost = at->cost + fit_price(s, i, j, in, keep, cores);
    if (!to->reached || cost < to->cost)
        *to = (struct stop){.cost = cost, .from = i, .bands = s->bands_of, .cores = cores, .in = in, .reload = s->reload_of,
                            .tight = s->tight_of, .share = s->share_of, .cut = s->cut_of, .reached = true};
}

/* The group in as few bands as fit, and in more. */
static bool offer_group(struct search *s, struct stop *to, const struct stop *at, int i, int j,
                        bool in, bool keep, int cores, bool *any, struct bpu_error *err)
{
    bool fits;
    if (cores > 1 && i == j && fit_channels(s, i, cores)) {
        *any = true;
        offer(s, to, at, i, j, in, keep, cores);
    }
    if (!fit_group(s, i, j, in, keep, cores, &fits, err))
        return false;
    if (!fits)
        return true;
    *any = true;
    offer(s, to, at, i, j, in, keep, cores);
    if (!s->may_band || s->reload_of || s->tight_of || s->cut_of.size[0])
        return true;
    int more = s->bands_of < 4 ? 4 : s->bands_of * 2;
    for (int k = 0; k < s->more_bands; k++, more *= 2) {
        if (!fit_bands(s, i, j, in, keep, cores, more, &fits, err))
            return false;
        if (fits)
            offer(s, to, at, i, j, in, keep, cores);
    }
    return true;
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
                    if (keep && (!s->may_reside || j + 1 == n || s->pinned[j + 1]))
                        continue;
                    struct stop *to = &stops[2 * (j + 1) + keep];
                    /* What stays on chip stays on the first core: the others could not read it. */
                    const int most = in || keep ? 1 : s->cores;
                    for (int cores = 1; cores <= most; cores++)
                        if (!offer_group(s, to, at, i, j, in, keep, cores, &any, err))
                            return false;
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
        out->groups[--k] = (struct group){.first = t->from, .last = i - 1, .bands = t->bands, .cores = t->cores,
                                          .reload = t->reload, .tight = t->tight,
                                          .share = t->share, .cut = t->cut};
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
    {1, 1, 100, 64, 2},  {1, .4, 47, 64, 2}, {.001, 1, 100, 64, 1}, /* O3 */
    {1, 2.5, 85, 64, 2}, {1, .4, 40, 64, 2}, {1, 1, 60, 64, 2},
};
enum { LAYERS = 8000 }; /* times the longest group: in large networks the search stays linear */

static int searches(const struct compile_options *o)
{
    switch (o->level) {
    case LEVEL_O0:
    case LEVEL_O1: return 1;
    case LEVEL_O2: return 2;
    case LEVEL_O3: return 5;
    default: return (int)(sizeof variants / sizeof variants[0]);
    }
}

/* For several cores: all searches on one of them, so that a program that may use more is never worse by the
 * level's measure; then all on as many as there are, with these shares of the first core, which also has what
 * is not split. */
static const int shares[] = {SHARE_ALL / 8, SHARE_ALL / 2};
enum { SHARES = sizeof shares / sizeof shares[0] };

int group_variants(const struct compile_options *o)
{
    return searches(o) * (o->cores == 1 ? 1 : o->force_cores ? SHARES : SHARES + 1);
}

/* 0: on one core. */
static int variant_share(const struct compile_options *o, int variant)
{
    int turn = variant / searches(o);
    turn -= o->force_cores ? 0 : 1;
    return o->cores == 1 || turn < 0 ? 0 : shares[turn];
}

bool group_patient(const struct compile_options *o, int variant)
{
    return o->level > LEVEL_O2 && variant % searches(o) >= 2;
}

static const struct variant *variant_of(const struct compile_options *o, int variant)
{
    return o->level <= LEVEL_O1 ? &variants[1] : &variants[variant % searches(o)];
}

int group_percent(const struct compile_options *o, int variant)
{
    return variant_of(o, variant)->percent;
}

bool group_refuse(const struct network *net, const struct layer *l, int64_t need, int64_t sram,
                  struct bpu_error *err)
{
    const struct map *y = l->out[0];
    int64_t constants = layer_constants(net, l, 1);
    error_set(err, BPU_LIMIT, layer_name(l),
              "%s does not fit into on-chip memory: its result of %d x %d x %d x %d (n, h, w, c) needs %lld bytes at "
              "once with what it reads, and there are %lld",
              l->node ? l->node->op_name : isa_row(l->op)->name, y->n, y->h, y->w, y->c, (long long)need,
              (long long)sram);
    if (l->whole || l->whole_frame)
        return error_hint(err, "it works on a whole map at once: a smaller map, or the same in parts joined by a "
                               "concatenation, would need less");
    if (constants > need / 2)
        return error_hint(err, "its constants take %lld bytes of that: fewer channels, a smaller window or results of 8 bits would need less",
                          (long long)constants);
    return error_hint(err, "the rows that one row of its result reads take most of that: fewer channels, a smaller "
                           "width, window or dilation, or a split of the layer by channels would need less");
}

/* The least memory that layer `at` runs in. */
static bool explain(struct search *s, int at, struct bpu_error *err)
{
    struct group g = {.first = at, .last = at, .bands = fit_rows(s, at, at), .cores = 1, .reload = true, .tight = true};
    int64_t need, boxes = INT64_MAX;
    struct box_cut none;
    if (!fit_need(s, &g, &need, err))
        return false;
    if (box_possible(s->net, s->o, s->net->layers[at]) && !box_plan(s->net, s->net->layers[at], 0, &none, &boxes))
        need = boxes < need ? boxes : need;
    return group_refuse(s->net, s->net->layers[at], need, s->all, err);
}

bool group_layers(struct arena *a, const struct network *net, const struct compile_options *o,
                  int64_t sram, int percent, int variant, struct grouping *out, struct bpu_error *err)
{
    struct search s = {.net = net, .o = o, .sram = sram * percent / 100, .all = sram,
                       .share = variant_share(o, variant),
                       .plain = o->level == LEVEL_O0};
    int stuck = 0;
    s.cores = s.share ? o->cores : 1;
    const struct variant *v = variant_of(o, variant);
    int most = LAYERS / net->layer_count;
    s.longest = v->longest <= 12 || most >= v->longest ? v->longest : most > 12 ? most : 12;
    s.may_reside = o->level >= LEVEL_O1;
    s.may_band = o->level >= LEVEL_O2;
    s.more_bands = v->more_bands;
    s.compute_weight = v->compute;
    s.load_weight = v->load;
    if (!(s.sequencer = sequencer_new(a, net, err)) || !search_prepare(&s, a, err))
        return false;
    struct bpu_error e = {0};
    if (search_path(&s, a, out, &stuck, &e))
        return true;
    if (e.code != BPU_LIMIT) {
        *err = e;
        return false;
    }
    return explain(&s, stuck < net->layer_count ? stuck : net->layer_count - 1, err);
}
