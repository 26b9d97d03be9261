/* A program knows tiles, not tensors.  Its list read as one sequence says which layer made what a tile
 * holds: the last one that wrote to the same base.  From that follow
 *
 *   classes   maps that must have the same number of channels, by union-find
 *   loads     which transfer brought an instruction its weights
 *   critical  the chain of instructions, each started by the end of the one before, that ends last:
 *             what makes these shorter by n cycles makes the program at most n cycles shorter */
#include <math.h>
#include <string.h>

#include "core/perf/advice.h"
#include "core/program/args.h"

/* ── who wrote there ── */

struct place {
    uint64_t key; /* core or DDR, and base, + 1; 0: free */
    int source, load;
    int c0;       /* first channel that was written last */
    int when;     /* instruction */
    bool used;    /* load: by some instruction */
};

struct places {
    struct place *slots;
    size_t mask, count;
};

static uint64_t place_key(const struct tile *t, int core)
{
    uint64_t where = t->space == SPACE_SRAM ? (uint64_t)core + 1 : 0;
    return ((uint64_t)t->base << 2 | where) + 1;
}

static bool places_init(struct places *p, struct arena *a, size_t most, struct bpu_error *err)
{
    size_t size = 64;
    while (size < most * 2)
        size *= 2;
    p->mask = size - 1;
    p->count = 0;
    p->slots = ARENA_ARRAY(a, struct place, size, err);
    return p->slots != NULL;
}

/* There is room for all tiles that a program writes. */
static struct place *place_of(const struct places *p, uint64_t key)
{
    size_t at = (size_t)(key * 0x9e3779b97f4a7c15u >> 17) & p->mask;
    while (p->slots[at].key && p->slots[at].key != key)
        at = (at + 1) & p->mask;
    return &p->slots[at];
}

/* ── maps of tiles ── */

struct finder {
    const struct program *p;
    struct flow *f;
    struct places places;
    int *parent;             /* by source: union-find */
    bool *fixed;             /* by source */
    int *load_list, load_count; /* loads of constants, in order */
};

static int root_of(struct finder *s, int i)
{
    while (s->parent[i] != i)
        i = s->parent[i] = s->parent[s->parent[i]];
    return i;
}

static void fix(struct finder *s, int map)
{
    if (map >= 0)
        s->fixed[root_of(s, map)] = true;
}

static void link_maps(struct finder *s, int x, int y)
{
    if (x < 0) {
        fix(s, y);
        return;
    }
    if (y < 0)
        return;
    x = root_of(s, x);
    y = root_of(s, y);
    if (x == y)
        return;
    s->fixed[x] = s->fixed[x] || s->fixed[y];
    s->parent[y] = x;
}

/* Channels of the result of a source. */
static int channels_of(const struct finder *s, int map)
{
    return map >= 0 ? s->p->sources[map].c : 0;
}

static int read_tile(struct finder *s, const struct tile *t, int core)
{
    const struct place *at = place_of(&s->places, place_key(t, core));
    if (!at->key || at->source < 0)
        return at->key ? at->source : MAP_UNKNOWN;
    /* A part of several maps side by side, or of another one. */
    bool whole = at->c0 == 0 && (int64_t)t->c0 + t->c <= channels_of(s, at->source);
    if (!whole)
        fix(s, at->source);
    return whole ? at->source : MAP_UNKNOWN;
}

static void write_tile(struct finder *s, const struct tile *t, int i, int map)
{
    int core = s->p->code[i].core;
    struct place *at = place_of(&s->places, place_key(t, core));
    if (at->key && at->source >= 0 && at->source != map && at->c0 != t->c0 && t->c0 > 0)
        fix(s, at->source); /* several maps in one: their channels are places */
    if ((int64_t)t->c0 + t->c > channels_of(s, map))
        fix(s, map);
    *at = (struct place){.key = place_key(t, core), .source = map, .load = -1, .when = i};
}

static bool ddr_is_io(const struct program_io *list, int count, int64_t base)
{
    for (int i = 0; i < count; i++)
        if (base >= list[i].address && base - list[i].address < list[i].bytes)
            return true;
    return false;
}

static void transfer(struct finder *s, int i)
{
    const struct instruction *in = &s->p->code[i];
    const struct tile *y = &in->tiles[0];
    enum traffic kind = s->f->traffic[i];
    int map = MAP_UNKNOWN;
    if (kind == TRAFFIC_CONSTANTS) {
        struct place *at = place_of(&s->places, place_key(y, in->core));
        *at = (struct place){
            .key = place_key(y, in->core), .source = MAP_UNKNOWN, .load = i, .when = i};
        s->load_list[s->load_count++] = i;
        return;
    }
    if (kind == TRAFFIC_INPUTS)
        map = MAP_INPUT;
    else if (in->tile_count > 1)
        map = read_tile(s, &in->tiles[1], in->core);
    if (kind == TRAFFIC_OUTPUTS)
        fix(s, map);
    s->f->map[i][0] = map;
    for (int k = 1; k < in->tile_count && k < PROGRAM_MAX_TILES; k++)
        s->f->map[i][k] = map;
    if (kind != TRAFFIC_OUTPUTS) {
        struct place *at = place_of(&s->places, place_key(y, in->core));
        *at = (struct place){
            .key = place_key(y, in->core), .source = map, .load = -1, .when = i};
    }
}

/* The newest load whose bytes are there. */
static int find_load(const struct finder *s, const struct tile *t, int core)
{
    for (int k = s->load_count - 1, looked = 0; k >= 0 && looked < 512; k--, looked++) {
        const struct instruction *l = &s->p->code[s->load_list[k]];
        const struct tile *y = &l->tiles[0];
        if (l->core == core && t->base >= y->base && t->base - y->base < y->c)
            return s->load_list[k];
    }
    return -1;
}

static void weights(struct finder *s, int i, const struct tile *t)
{
    int core = s->p->code[i].core, load = find_load(s, t, core);
    struct place *at = place_of(&s->places, place_key(t, core));
    if (load < 0 || (at->key && at->load == load && at->used))
        return;
    *at = (struct place){.key = place_key(t, core),
                         .source = MAP_UNKNOWN,
                         .load = load,
                         .when = i,
                         .used = true};
    s->f->load_of[i] = load;
}

/* ── what instructions ask of channels ── */

static bool keeps_channels(enum engine e)
{
    return e == ENGINE_POOL || e == ENGINE_ELTWISE || e == ENGINE_LUT || e == ENGINE_RESIZE;
}

static void relate(struct finder *s, int i)
{
    const struct instruction *in = &s->p->code[i];
    int *map = s->f->map[i], y = map[0];
    bool conv = in->op == OP_CONV || in->op == OP_DWCONV || in->op == OP_DECONV;
    if (in->engine == ENGINE_HOST || (!conv && !keeps_channels((enum engine)in->engine))) {
        for (int k = 0; k < in->tile_count && k < PROGRAM_MAX_TILES; k++)
            fix(s, map[k]);
        return;
    }
    if (conv && in->op != OP_DWCONV && in->args[CONV_SPLIT_INPUTS]) {
        fix(s, y);
        fix(s, map[1]);
    } else if (in->op == OP_DWCONV)
        link_maps(s, map[1], y);
    else if (conv && in->tiles[1].c != in->args[CONV_UNIT_INPUTS])
        fix(s, map[1]);
    for (int k = conv ? 3 : 1; k < in->tile_count && k < PROGRAM_MAX_TILES; k++) {
        const struct tile *t = &in->tiles[k];
        if (t->n == 0 || (t->c == 1 && in->tiles[0].c != 1) || (conv && k > 3))
            continue;
        if (in->op == OP_LOOKUP && k > 1)
            continue;
        if (map[k] == MAP_UNKNOWN && s->f->load_of[i] >= 0)
            continue; /* a constant operand grows with it */
        link_maps(s, map[k], y);
    }
}

/* True if what lies there came from the constants, and nobody wrote over it. */
static bool is_constant(const struct finder *s, const struct tile *t, int core)
{
    const struct place *at = place_of(&s->places, place_key(t, core));
    int load = t->space == SPACE_SRAM ? find_load(s, t, core) : -1;
    return load >= 0 && (!at->key || at->load >= 0 || at->when < load);
}

static void compute(struct finder *s, int i)
{
    const struct instruction *in = &s->p->code[i];
    const struct isa *row = isa_row((enum opcode)in->op);
    bool conv = in->op == OP_CONV || in->op == OP_DWCONV || in->op == OP_DECONV;
    int source = (int)in->source;
    for (int k = row->writes; k < in->tile_count && k < PROGRAM_MAX_TILES; k++) {
        const struct tile *t = &in->tiles[k];
        if (t->n == 0 || (conv && k == 4))
            continue;
        if ((conv && k == 2) || (!conv && is_constant(s, t, in->core)))
            weights(s, i, t);
        else
            s->f->map[i][k] = read_tile(s, t, in->core);
    }
    for (int k = 0; k < row->writes && k < in->tile_count; k++) {
        s->f->map[i][k] = k == 0 ? source : MAP_UNKNOWN;
        if (k == 0)
            write_tile(s, &in->tiles[0], i, source);
        if (k == 0 && in->tiles[0].space == SPACE_DDR &&
            ddr_is_io(s->p->outputs, s->p->output_count, in->tiles[0].base))
            fix(s, source);
    }
    relate(s, i);
}

static bool find_maps(struct finder *s, struct arena *a, struct bpu_error *err)
{
    const struct program *p = s->p;
    struct flow *f = s->f;
    size_t tiles = 16;
    for (int i = 0; i < p->code_count; i++)
        tiles += (size_t)p->code[i].tile_count;
    f->map = arena_reserve(a, (size_t)p->code_count * sizeof *f->map + 1, err);
    f->load_of = f->map ? ARENA_ARRAY(a, int, p->code_count, err) : NULL;
    f->traffic = f->load_of ? ARENA_ARRAY(a, enum traffic, p->code_count, err) : NULL;
    s->load_list = f->traffic ? ARENA_ARRAY(a, int, p->code_count, err) : NULL;
    s->parent = s->load_list ? ARENA_ARRAY(a, int, p->source_count, err) : NULL;
    s->fixed = s->parent ? ARENA_ARRAY(a, bool, p->source_count, err) : NULL;
    if (!s->fixed || !places_init(&s->places, a, tiles, err))
        return false;
    for (int i = 0; i < p->source_count; i++)
        s->parent[i] = i;
    for (int i = 0; i < p->code_count; i++) {
        const struct instruction *in = &p->code[i];
        f->load_of[i] = -1;
        f->traffic[i] = instruction_traffic(p, in);
        for (int k = 0; k < PROGRAM_MAX_TILES; k++)
            f->map[i][k] = MAP_UNKNOWN;
        if (in->source >= (uint32_t)p->source_count || in->tile_count == 0)
            continue;
        if (in->engine == ENGINE_LOAD || in->engine == ENGINE_STORE)
            transfer(s, i);
        else
            compute(s, i);
    }
    return true;
}

/* ── lists ── */

static bool list_sources(const struct program *p, struct flow *f, struct arena *a,
                         struct bpu_error *err)
{
    f->source_first = ARENA_ARRAY(a, int, p->source_count + 2, err);
    f->by_source = f->source_first ? ARENA_ARRAY(a, int, p->code_count, err) : NULL;
    if (!f->by_source)
        return false;
    for (int i = 0; i < p->code_count; i++)
        if (p->code[i].source < (uint32_t)p->source_count)
            f->source_first[p->code[i].source + 2]++;
    for (int s = 0; s < p->source_count; s++)
        f->source_first[s + 2] += f->source_first[s + 1];
    for (int i = 0; i < p->code_count; i++)
        if (p->code[i].source < (uint32_t)p->source_count)
            f->by_source[f->source_first[p->code[i].source + 1]++] = i;
    return true;
}

static int class_of_map(const struct flow *f, int map)
{
    return map >= 0 ? f->class_of[map] : -1;
}

/* Calls for each instruction and each class that it touches, once. */
static int touched(const struct flow *f, const struct program *p, int i, int out[PROGRAM_MAX_TILES])
{
    int count = 0;
    for (int k = 0; k < p->code[i].tile_count && k < PROGRAM_MAX_TILES; k++) {
        int c = class_of_map(f, f->map[i][k]);
        bool known = c < 0;
        for (int j = 0; j < count && !known; j++)
            known = out[j] == c;
        if (!known)
            out[count++] = c;
    }
    return count;
}

static bool list_classes(struct finder *s, struct arena *a, struct bpu_error *err)
{
    const struct program *p = s->p;
    struct flow *f = s->f;
    int classes[PROGRAM_MAX_TILES], total = 0;
    f->class_of = ARENA_ARRAY(a, int, p->source_count, err);
    f->classes = f->class_of ? ARENA_ARRAY(a, struct map_class, p->source_count, err) : NULL;
    if (!f->classes)
        return false;
    for (int i = 0; i < p->source_count; i++)
        f->class_of[i] = -1;
    for (int i = 0; i < p->source_count; i++) {
        int r = root_of(s, i);
        if (f->class_of[r] < 0) {
            f->classes[f->class_count] =
                (struct map_class){.channels = p->sources[r].c, .fixed = s->fixed[r]};
            f->class_of[r] = f->class_count++;
        }
        f->class_of[i] = f->class_of[r];
        struct map_class *c = &f->classes[f->class_of[i]];
        c->fixed = c->fixed || p->sources[i].c != c->channels;
    }
    for (int i = 0; i < p->code_count; i++)
        for (int n = touched(f, p, i, classes); n > 0; n--, total++)
            f->classes[classes[n - 1]].count++;
    f->member = ARENA_ARRAY(a, int, total, err);
    if (!f->member)
        return false;
    for (int c = 0, at = 0; c < f->class_count; c++) {
        f->classes[c].first = at;
        at += f->classes[c].count;
        f->classes[c].count = 0;
    }
    for (int i = 0; i < p->code_count; i++)
        for (int n = touched(f, p, i, classes); n > 0; n--) {
            struct map_class *c = &f->classes[classes[n - 1]];
            f->member[c->first + c->count++] = i;
        }
    return true;
}

/* ── the critical chain ── */

static bool find_critical(const struct perf *perf, struct flow *f, struct bpu_error *err)
{
    const struct program *p = perf->program;
    const struct timed *at = perf->timing->at;
    struct arena *a = perf->arena;
    int first[PROGRAM_LANES + 1] = {0}, now = -1;
    int *of_lane = ARENA_ARRAY(a, int, p->code_count, err);
    int *place = of_lane ? ARENA_ARRAY(a, int, p->code_count, err) : NULL; /* in its lane, from 0 */
    f->critical = place ? ARENA_ARRAY(a, bool, p->code_count, err) : NULL;
    if (!f->critical)
        return false;
    for (int i = 0; i < p->code_count; i++)
        place[i] = first[instruction_lane(&p->code[i]) + 1]++;
    for (int k = 0; k < PROGRAM_LANES; k++)
        first[k + 1] += first[k];
    for (int i = 0; i < p->code_count; i++) {
        of_lane[first[instruction_lane(&p->code[i])] + place[i]] = i;
        if (now < 0 || at[i].end > at[now].end)
            now = i;
    }
    while (now >= 0) {
        const struct instruction *in = &p->code[now];
        int before = place[now] > 0 ? of_lane[first[instruction_lane(in)] + place[now] - 1] : -1;
        f->critical[now] = true;
        for (int k = 0; k < in->wait_count; k++) {
            const struct wait *w = &in->waits[k];
            if (w->lane >= PROGRAM_LANES || w->count == 0 ||
                (int64_t)w->count > first[w->lane + 1] - first[w->lane])
                continue;
            int other = of_lane[first[w->lane] + (int)w->count - 1];
            if (before < 0 || at[other].end > at[before].end)
                before = other;
        }
        if (before >= 0 && f->critical[before])
            break; /* waits in a ring do not end: nothing that was timed has them */
        now = before;
    }
    return true;
}

bool flow_find(struct perf *perf, struct flow *out, struct bpu_error *err)
{
    struct finder s = {.p = perf->program, .f = out};
    *out = (struct flow){0};
    return find_maps(&s, perf->arena, err) &&
           list_sources(perf->program, out, perf->arena, err) && list_classes(&s, perf->arena, err) &&
           find_critical(perf, out, err);
}
