/* The order of the passes, the search over groupings, and what is reported. */
#include "core/compile/compile.h"

#include <stdio.h>
#include <string.h>

#include "core/base/version.h"
#include "core/compile/lower.h"
#include "core/compile/schedule.h"
#include "core/program/timing.h"

static const char *const level_names[LEVEL_COUNT] = {"O0", "O1", "O2", "O3", "fast", "ddr", "balance"};

const char *compile_level_name(enum compile_level l)
{
    return level_names[l];
}

bool compile_level_find(const char *name, enum compile_level *out)
{
    for (int i = 0; i < LEVEL_COUNT; i++)
        if (strcmp(name, level_names[i]) == 0 ||
            (i <= LEVEL_O3 && strcmp(name, level_names[i] + 1) == 0)) {
            *out = (enum compile_level)i;
            return true;
        }
    return false;
}

struct compile_options compile_default(void)
{
    return (struct compile_options){.level = LEVEL_O2, .balance = 2, .cores = 1, .jobs = 1};
}

/* One way to cut the network, all the way to a program.  In an arena of its own: of those that are tried one
 * stays. */
struct candidate {
    struct arena arena;
    bool open, built;
    bool simple; /* as O0 would */
    struct bpu_error err;
    int percent; /* of memory, that the search began with */
    struct grouping grouping;
    struct placement placement;
    struct program program;
    struct program_timing timing;
};

struct compilation {
    struct arena *arena;
    const struct network *net;
    const struct compile_options *o;
    struct compile_options simple; /* those of simplest() */
    int64_t sram;
    struct bpu_error *err;
    bool dumps, serial;
    struct candidate *candidates;
    size_t quota; /* bytes for each */
};

static void progress(const struct compile_options *o, const char *pass, double done)
{
    if (o->progress)
        o->progress(o->progress_ctx, pass, done);
}

/* ── dumps ── */

/* Whole or not at all. */
static bool dump_text(const struct compile_options *o, const char *pass, struct buf *b,
                      struct bpu_error *err)
{
    bool ok = buf_ok(b, err);
    if (ok)
        o->dump(o->dump_ctx, pass, buf_str(b));
    buf_fini(b);
    return ok;
}

static bool dump_groups(const struct compile_options *o, const struct network *net,
                        const struct grouping *g, struct bpu_error *err)
{
    struct buf b;
    if (!o->dump)
        return true;
    buf_init(&b, BUF_DEFAULT_CAP);
    for (int i = 0; i < g->count; i++) {
        const struct group *x = &g->groups[i];
        buf_printf(&b, "group %d: layers %d … %d, bands %d, cores %d%s", i, x->first, x->last,
                   x->bands, x->cores, x->reload ? ", weights reloaded" : "");
        if (x->share)
            buf_printf(&b, ", of channels, %d/%d to the first core", x->share, SHARE_ALL);
        buf_putc(&b, '\n');
    }
    for (int i = 0; i < net->map_count; i++)
        if (g->resident[i])
            buf_printf(&b, "resident %s\n", net->maps[i]->name);
    return dump_text(o, "group", &b, err);
}

static bool dump_steps(const struct compile_options *o, const struct steps *s,
                       const struct placement *p, struct bpu_error *err)
{
    static const char *const kinds[] = {"piece", "load", "store", "weights"};
    struct buf b;
    if (!o->dump)
        return true;
    buf_init(&b, BUF_DEFAULT_CAP);
    for (size_t i = 0; i < s->count; i++) {
        const struct step *x = &s->items[i];
        const char *name = x->map ? x->map->name : x->layer->out[0]->name;
        buf_printf(&b, "%zu group %d core %d %s %s frames %d-%d rows %d-%d channels %d-%d", i,
                   x->group, x->core, kinds[x->kind], name, x->p.f0, x->p.f1, x->p.r0, x->p.r1,
                   x->p.c0, x->p.c1);
        for (int k = 0; k < PROGRAM_MAX_TILES; k++) {
            int at = p->of_step[i].of[k];
            if (at >= 0)
                buf_printf(&b, " @%lld+%lld", (long long)p->buffers[at].address,
                           (long long)p->buffers[at].bytes);
        }
        buf_putc(&b, '\n');
    }
    return dump_text(o, "place", &b, err);
}

static bool dump_program(const struct compile_options *o, const struct program *p,
                         struct bpu_error *err)
{
    struct buf b;
    if (!o->dump)
        return true;
    buf_init(&b, BUF_DEFAULT_CAP);
    program_disassemble(p, &b);
    return dump_text(o, "emit", &b, err);
}

/* ── one candidate ── */

static bool build(struct compilation *c, int variant, int percent, struct candidate *out, bool *fits)
{
    struct steps steps = {.arena = c->arena};
    struct sequencer *sequencer = sequencer_new(c->arena, c->net, c->err);
    const struct ring *rings;
    int count;
    if (!sequencer)
        return false;
    if (!group_layers(c->arena, c->net, c->o, c->sram, percent, variant, &out->grouping, c->err) ||
        !placement_init(&out->placement, c->arena, c->net, &out->grouping, c->o, c->sram, c->err))
        return false;
    out->placement.patient = group_patient(c->o, variant);
    for (int g = 0; g < out->grouping.count; g++)
        for (int core = 0; core < out->grouping.groups[g].cores; core++) {
            size_t from = steps.count;
            if (!sequence_group(sequencer, &out->grouping.groups[g], g, out->grouping.resident,
                                core, 0, &steps, &rings, &count, c->err) ||
                !placement_group(&out->placement, &steps, from, rings, count, c->err))
                return false;
        }
    if (!placement_finish(&out->placement, &steps, fits, c->err))
        return false;
    if (c->dumps && (!dump_groups(c->o, c->net, &out->grouping, c->err) ||
                     !dump_steps(c->o, &steps, &out->placement, c->err)))
        return false;
    if (!*fits)
        return true;
    return emit_program(c->arena, c->net, &steps, &out->placement, c->o, &out->program, c->err) &&
           sync_program(c->arena, &out->program, c->serial, c->err) &&
           program_time(c->arena, &out->program, c->net->machine, &out->timing, c->err);
}

static bool build_anew(struct compilation *c, int variant, int percent, struct candidate *out, bool *fits)
{
    if (out->open)
        arena_fini(&out->arena);
    struct bpu_error err = {0};
    *out = (struct candidate){.open = true, .simple = out->simple, .percent = percent};
    arena_init(&out->arena, c->quota);
    struct compilation attempt = *c;
    attempt.arena = &out->arena;
    attempt.o = out->simple ? &c->simple : c->o;
    attempt.err = &err;
    bool ok = build(&attempt, variant, percent, out, fits);
    out->err = err;
    return ok;
}

/* The budget of the search is lowered until the plan, which has gaps, fits as well; it is raised
 * first if the search finds nothing with what it begins with. */
static void build_fitting(struct compilation *c, int variant, struct candidate *out)
{
    const int percent[] = {group_percent(out->simple ? &c->simple : c->o, variant), 100, 93, 85, 75, 62, 45};
    struct bpu_error unfit = {0};
    bool fits = false;
    for (size_t i = 0; !fits && i < sizeof percent / sizeof percent[0]; i++) {
        if (i > 0 && percent[i] >= percent[0])
            continue;
        if (!build_anew(c, variant, percent[i], out, &fits)) {
            if (out->err.code == BPU_LIMIT && unfit.code) /* that it did not fit with more says more */
                out->err = unfit;
            return;
        }
        if (!fits && out->placement.peak_layer)
            (void)group_refuse(c->net, out->placement.peak_layer, out->placement.peak, c->sram, &unfit);
    }
    out->built = fits;
    if (!fits)
        out->err = unfit;
}

static void build_one(void *ctx, int variant)
{
    struct compilation *c = ctx;
    build_fitting(c, variant, &c->candidates[variant]);
}

/* Smaller is better; both terms relative to the first candidate. */
static double worth(const struct compilation *c, const struct candidate *x, const struct candidate *first)
{
    double time = x->timing.end / first->timing.end;
    double traffic = (double)(x->timing.ddr_load + x->timing.ddr_store) /
                     (double)(first->timing.ddr_load + first->timing.ddr_store + 1);
    switch (c->o->level) {
    case LEVEL_DDR: return traffic + time * 1e-3;
    case LEVEL_BALANCE: return time * (100 - c->o->balance) + traffic * c->o->balance;
    default: return time + traffic * 1e-3;
    }
}

static void summarize(const struct compilation *c, const struct candidate *x,
                      struct compile_summary *s)
{
    *s = (struct compile_summary){.layers = c->net->layer_count,
                                  .groups = x->grouping.count,
                                  .spilled = x->placement.spilled,
                                  .instructions = x->program.code_count,
                                  .sram_peak = x->placement.peak,
                                  .sram_bound = x->placement.bound,
                                  .ddr_load = x->timing.ddr_load,
                                  .ddr_store = x->timing.ddr_store,
                                  .predicted_cycles = x->timing.end};
    for (int i = 0; i < c->net->map_count; i++)
        s->maps += !c->net->maps[i]->parent;
    s->ddr_bound = x->placement.constant_bytes;
    for (int i = 0; i < x->program.input_count; i++)
        s->ddr_bound += x->program.inputs[i].bytes;
    for (int i = 0; i < x->program.output_count; i++)
        s->ddr_bound += x->program.outputs[i].bytes;
    for (int i = 0; i < c->o->cores * ENGINE_COUNT; i++) {
        int e = i % ENGINE_COUNT;
        if (e != ENGINE_LOAD && e != ENGINE_STORE && x->timing.busy[i] > s->compute_cycles)
            s->compute_cycles = x->timing.busy[i];
    }
}

static bool options_text(struct compilation *c, struct program *p)
{
    const struct compile_options *o = c->o;
    p->options = o->level == LEVEL_BALANCE
                     ? arena_printf(c->arena, c->err, "balance=%d cores=%d", o->balance, o->cores)
                     : arena_printf(c->arena, c->err, "%s cores=%d", level_names[o->level], o->cores);
    return p->options != NULL;
}

static void close_candidate(void *p)
{
    struct candidate *x = p;
    if (x->open)
        arena_fini(&x->arena);
    x->open = false;
}

/* When no search of the level has found a program: the one of O0, but for its waits.  So no level refuses what
 * a simpler one compiles. */
static struct candidate *simplest(struct compilation *c)
{
    struct candidate *x = &c->candidates[0];
    if (c->o->level == LEVEL_O0)
        return NULL;
    c->simple = *c->o;
    c->simple.level = LEVEL_O0;
    x->simple = true;
    build_fitting(c, group_variants(&c->simple) - 1, x);
    return x->built ? x : NULL;
}

/* The best of the level's searches; the others are given back. */
static struct candidate *search(struct compilation *c)
{
    const int count = group_variants(c->o);
    struct candidate *best = NULL, first;
    bool found = false;
    int at = 0, together = c->o->parallel && c->o->jobs > 1 ? c->o->jobs : 1;
    if (!(c->candidates = ARENA_ARRAY(c->arena, struct candidate, count, c->err)))
        return NULL;
    together = together < count ? together : count;
    for (int v = 0; v < count; v++)
        if (!arena_on_fini(c->arena, close_candidate, &c->candidates[v], c->err))
            return NULL;
    c->quota = (c->arena->quota - c->arena->used) / (size_t)(together + 1);
    if (together > 1)
        c->o->parallel(together, count, build_one, c);
    for (int v = 0; v < count; v++) {
        struct candidate *x = &c->candidates[v];
        progress(c->o, "schedule", (double)v / count);
        if (together == 1)
            build_one(c, v);
        if (!x->built && x->err.code != BPU_LIMIT) {
            *c->err = x->err;
            return NULL;
        }
        if (!x->built) {
            close_candidate(x);
            continue;
        }
        if (!found)
            first = *x;
        found = true;
        if (best && worth(c, x, &first) >= worth(c, best, &first)) {
            close_candidate(x);
            continue;
        }
        if (best)
            close_candidate(best);
        best = x;
        at = v;
    }
    if (!best && !(best = simplest(c))) {
        *c->err = c->candidates[0].err;
        return NULL;
    }
    if (c->o->dump) { /* what was dropped is not worth reading */
        bool fits;
        c->dumps = true;
        if (!build_anew(c, at, best->percent, best, &fits)) {
            *c->err = best->err;
            return NULL;
        }
    }
    return best;
}

struct program *compile_graph(struct arena *a, const struct graph *fixed, const struct march *march,
                              const struct compile_options *o, struct compile_summary *summary,
                              struct bpu_error *err)
{
    const struct machine *m = march_machine(march);
    struct compilation c = {.arena = a, .o = o, .err = err, .serial = o->level == LEVEL_O0};
    if (o->cores < 1 || o->cores > (int)m->cores.v) {
        error_set(err, BPU_BAD_OPTION, "cores", "%d cores: %s has %d", o->cores, march_name(march),
                  (int)m->cores.v);
        return NULL;
    }
    progress(o, "lower", 0);
    struct network *net = lower_graph(a, fixed, march, o->on_host, err);
    if (!net || !layout_maps(net, err))
        return NULL;
    c.net = net;
    c.sram = o->sram_bytes > 0 ? o->sram_bytes : (int64_t)m->sram_bytes.v;
    if (o->dump) {
        struct buf b;
        buf_init(&b, BUF_DEFAULT_CAP);
        network_dump(net, &b);
        if (!dump_text(o, "lower", &b, err))
            return NULL;
    }
    struct candidate *best = search(&c);
    if (!best)
        return NULL;
    struct program *p = &best->program;
    p->name = fixed->name;
    p->march = march_name(march);
    p->tool = "bpuhub " BPU_VERSION;
    p->uncalibrated = o->uncalibrated;
    if (!options_text(&c, p) || !dump_program(o, p, err))
        return NULL;
    if (summary)
        summarize(&c, best, summary);
    progress(o, "emit", 1);
    return p;
}
