/* What DDR and the number of cores cost: weights that are waited for, maps that do not stay on the chip, a
 * batch that loads weights once, a second core. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/perf/advice.h"

#define BATCH 4 /* frames that a batch is asked with */

/* Level O3 or higher, which search for what may stay. */
static bool searches(const struct program *p)
{
    const char *o = p->options ? p->options : "";
    return strncmp(o, "O0", 2) != 0 && strncmp(o, "O1", 2) != 0 && strncmp(o, "O2", 2) != 0;
}

/* ── weights of a layer: half of them ── */

static double weight_bytes(const struct advisor *a, int source)
{
    const struct flow *f = &a->flow;
    double bytes = 0;
    for (int k = f->source_first[source]; k < f->source_first[source + 1]; k++) {
        int i = f->by_source[k];
        if (f->load_of[i] >= 0 && a->p->code[i].tile_count > 2)
            bytes += a->p->code[i].tiles[2].c;
    }
    return bytes;
}

/* The same without those that come again for another band of rows. */
static double weight_bytes_once(const struct advisor *a, int source)
{
    enum { MOST = 512 };
    const struct flow *f = &a->flow;
    int32_t seen[MOST];
    double bytes = 0;
    int count = 0;
    for (int k = f->source_first[source]; k < f->source_first[source + 1] && count < MOST; k++) {
        const struct instruction *in = &a->p->code[f->by_source[k]];
        bool known = false;
        if (f->load_of[f->by_source[k]] < 0 || in->tile_count <= 2)
            continue;
        for (int n = 0; n < count && !known; n++)
            known = seen[n] == in->tiles[0].c0;
        if (known)
            continue;
        seen[count++] = in->tiles[0].c0;
        bytes += in->tiles[2].c;
    }
    return bytes;
}

void change_weights(struct advisor *a, const struct what_if *w)
{
    const struct flow *f = &a->flow;
    for (int k = f->source_first[w->subject]; k < f->source_first[w->subject + 1]; k++) {
        int i = f->by_source[k];
        if (f->load_of[i] >= 0 && a->p->code[i].tile_count > 2)
            advice_move_less(a, f->load_of[i], a->p->code[i].tiles[2].c / 2.0);
    }
}

bool ask_weights(struct advisor *a, const struct advice_kind *k)
{
    for (int s = 0; s < a->p->source_count; s++) {
        struct what_if w = {.kind = k, .subject = s};
        if (a->p->sources[s].macs > 0 && !advice_ask(a, &w))
            return false;
    }
    return true;
}

bool say_weights(struct advisor *a, const struct what_if *w, double win_us, struct perf_advice *out)
{
    char name[ADVICE_NAME_MAX], bytes[32], times[48] = "";
    double loaded = weight_bytes(a, w->subject), once = weight_bytes_once(a, w->subject);
    if (once > 0 && loaded > 1.5 * once)
        snprintf(times, sizeof times, ", loaded %.0f times", loaded / once);
    else
        once = loaded;
    out->source = w->subject;
    out->text = arena_printf(a->perf->arena, a->err,
                             "The run waits for the weights of %s (%s%s): half of them would win %.1f us.",
                             advice_name(a, w->subject, name), advice_bytes(once, bytes), times, win_us);
    out->action = times[0] ? "Its maps do not fit beside its weights, which come again for each band: stride "
                             "earlier, or give it fewer channels."
                           : "Give it fewer inputs or results, or make two thin layers of it.";
    return out->text != NULL;
}

/* ── a map that goes through DDR ── */

static double spilled(const struct advisor *a, int map, bool stored)
{
    double bytes = 0;
    for (int i = 0; i < a->p->code_count; i++)
        if (a->flow.traffic[i] == TRAFFIC_SPILLS && (map < 0 || a->flow.map[i][0] == map) &&
            (a->p->code[i].engine == ENGINE_STORE) == stored)
            bytes += advice_moved(a, i);
    return bytes;
}

void change_spill(struct advisor *a, const struct what_if *w)
{
    for (int i = 0; i < a->p->code_count; i++)
        if (a->flow.traffic[i] == TRAFFIC_SPILLS && a->flow.map[i][0] == w->subject)
            advice_move_less(a, i, advice_moved(a, i));
}

bool ask_spill(struct advisor *a, const struct advice_kind *k)
{
    enum { MOST = 64 }; /* a walk over the program each */
    bool *seen = ARENA_ARRAY(a->perf->arena, bool, a->p->source_count, a->err);
    int count = 0;
    if (!seen)
        return false;
    for (int i = 0; i < a->p->code_count && count < MOST; i++) {
        int map = a->flow.map[i][0];
        if (a->flow.traffic[i] != TRAFFIC_SPILLS || map < 0 || seen[map])
            continue;
        struct what_if w = {.kind = k, .subject = map};
        seen[map] = true;
        count++;
        if (!advice_ask(a, &w))
            return false;
    }
    return true;
}

bool say_spill(struct advisor *a, const struct what_if *w, double win_us, struct perf_advice *out)
{
    char name[ADVICE_NAME_MAX], in[32], back[32];
    out->source = w->subject;
    out->text = arena_printf(a->perf->arena, a->err,
                             "The result of %s does not stay on the chip: %s go to DDR and %s come back; it "
                             "would win %.1f us if it stayed.",
                             advice_name(a, w->subject, name),
                             advice_bytes(spilled(a, w->subject, true), in),
                             advice_bytes(spilled(a, w->subject, false), back), win_us);
    out->action = searches(a->p) ? "Make it smaller: fewer channels, an earlier stride, or a shorter way to "
                                   "the layer that reads it last."
                                 : "Compile at level O3, which searches for bands that fit, or make it "
                                   "smaller: fewer channels, an earlier stride.";
    return out->text != NULL;
}

/* ── all of them ── */

void change_spills(struct advisor *a, const struct what_if *w)
{
    (void)w;
    for (int i = 0; i < a->p->code_count; i++)
        if (a->flow.traffic[i] == TRAFFIC_SPILLS)
            advice_move_less(a, i, advice_moved(a, i));
}

static int spilled_maps(const struct advisor *a)
{
    int count = 0, last = MAP_UNKNOWN;
    for (int i = 0; i < a->p->code_count; i++)
        if (a->flow.traffic[i] == TRAFFIC_SPILLS && a->p->code[i].engine == ENGINE_STORE &&
            a->flow.map[i][0] != last) {
            last = a->flow.map[i][0];
            count++;
        }
    return count;
}

bool ask_spills(struct advisor *a, const struct advice_kind *k)
{
    struct what_if w = {.kind = k, .subject = -1};
    return spilled_maps(a) < 2 || advice_ask(a, &w);
}

bool say_spills(struct advisor *a, const struct what_if *w, double win_us, struct perf_advice *out)
{
    char in[32], back[32];
    (void)w;
    out->text = arena_printf(a->perf->arena, a->err,
                             "Maps that do not stay on the chip move %s to DDR and %s back: %.1f us in all.",
                             advice_bytes(spilled(a, -1, true), in),
                             advice_bytes(spilled(a, -1, false), back), win_us);
    out->action = searches(a->p) ? "Use a smaller input, or stride earlier: the first maps are the largest."
                                 : "Compile at level O3 or ddr: they search for groups of layers whose "
                                   "maps stay on the chip.";
    return out->text != NULL;
}

/* ── a batch ── */

void change_batch(struct advisor *a, const struct what_if *w)
{
    for (int i = 0; i < a->p->code_count; i++)
        if (a->flow.traffic[i] == TRAFFIC_CONSTANTS)
            advice_move_less(a, i, advice_moved(a, i) * (w->ideal - w->actual) / w->ideal);
}

/* Maps of several frames must fit beside the weights, and none may spill already. */
bool ask_batch(struct advisor *a, const struct advice_kind *k)
{
    struct what_if w = {.kind = k, .subject = -1, .actual = 1, .ideal = BATCH};
    return a->perf->frames > 1 || spilled_maps(a) > 0 || advice_ask(a, &w);
}

bool say_batch(struct advisor *a, const struct what_if *w, double win_us, struct perf_advice *out)
{
    char bytes[32];
    double all = 0;
    for (int i = 0; i < a->p->code_count; i++)
        if (a->flow.traffic[i] == TRAFFIC_CONSTANTS)
            all += advice_moved(a, i);
    out->text = arena_printf(a->perf->arena, a->err,
                             "Each frame loads %s of weights. %d frames that share them would win up to "
                             "%.1f us a frame.",
                             advice_bytes(all, bytes), w->ideal, win_us);
    out->action = arena_printf(a->perf->arena, a->err,
                               "If the application can wait for %d frames, give the input a batch of %d.",
                               w->ideal, w->ideal);
    return out->text && out->action;
}

/* ── the other core: half of the rows each, weights of its own ── */

#define HALO 2        /* rows beside its half that a core makes too, for the layers behind */
#define SURE 0.2      /* of the latency: what groups exchange through DDR may eat less than that */
#define TRY 0.05      /* of the latency: worth compiling for both cores, to see */
#define WORTH 0.02    /* of the latency: worth taking the second core for */

/* The share of a layer's rows that one of two cores makes. */
static double half(const struct advisor *a, int source)
{
    double h = a->p->sources[source].h;
    return h > 0 ? fmin(1, (ceil(h / 2) + HALO) / h) : 1;
}

/* Cycles of the engines that a second core would take off a layer, less those of loading its weights
 * twice; the compiler leaves on one core what does not gain. */
static bool gains_from_cores(const struct advisor *a, int source)
{
    const struct flow *f = &a->flow;
    double saved = 0, loads = 0;
    for (int k = f->source_first[source]; k < f->source_first[source + 1]; k++) {
        int i = f->by_source[k];
        if (f->traffic[i] == TRAFFIC_NONE && a->p->code[i].engine != ENGINE_HOST)
            saved += fmax(0, a->costs_now[i].cycles - a->m->issue_cycles.v) * (1 - half(a, source));
    }
    if (a->m->ddr_load_bytes.v > 0)
        loads = weight_bytes(a, source) / a->m->ddr_load_bytes.v;
    return saved > loads;
}

static void split(struct advisor *a, int source)
{
    const struct flow *f = &a->flow;
    for (int k = f->source_first[source]; k < f->source_first[source + 1]; k++) {
        int i = f->by_source[k], load = f->load_of[i];
        struct cost c = a->costs_now[i];
        double start = fmin(c.cycles, a->m->issue_cycles.v);
        if (load >= 0 && a->p->code[i].tile_count > 2) {
            struct cost l = a->costs[load]; /* more bytes in the same time, if the bus has it */
            l.ddr_bytes += a->p->code[i].tiles[2].c;
            advice_change(a, load, l);
        }
        if (f->traffic[i] == TRAFFIC_CONSTANTS || a->p->code[i].engine == ENGINE_HOST)
            continue;
        if (f->traffic[i] != TRAFFIC_NONE)
            start = fmin(c.cycles, start + a->m->ddr_latency_cycles.v);
        c.cycles = start + (c.cycles - start) * half(a, source);
        advice_change(a, i, c);
    }
}

void change_cores(struct advisor *a, const struct what_if *w)
{
    (void)w;
    for (int s = 0; s < a->p->source_count; s++)
        if (gains_from_cores(a, s))
            split(a, s);
}

bool ask_cores(struct advisor *a, const struct advice_kind *k)
{
    if (a->p->cores > 1 || a->m->cores.v < 2)
        return true;
    struct machine *two = ARENA_NEW(a->perf->arena, struct machine, a->err);
    if (!two)
        return false;
    *two = *a->m;
    two->ddr_load_bytes.v = fmin(2 * two->ddr_load_bytes.v, two->ddr_total_bytes.v);
    two->ddr_store_bytes.v = fmin(2 * two->ddr_store_bytes.v, two->ddr_total_bytes.v);
    struct what_if w = {.kind = k, .subject = -1, .actual = 1, .ideal = 2, .machine = two};
    return advice_ask(a, &w);
}

/* What two cores exchange through DDR is known once there is a program for them. */
static bool say_tried_cores(struct advisor *a, int cores, struct perf_advice *out)
{
    double now = a->perf->latency_us, then = a->on_cores(a->cores_ctx, cores);
    if (then < 0 || now - then < WORTH * now)
        return true;
    out->win_us = now - then;
    out->text = arena_printf(a->perf->arena, a->err,
                             "The machine has a second core: compiled for both, a run takes %.1f us, %.1f us "
                             "less.",
                             then, now - then);
    out->action = "Compile for two cores; or run two frames at once, one on each, for up to twice the frames.";
    return out->text != NULL;
}

bool say_cores(struct advisor *a, const struct what_if *w, double win_us, struct perf_advice *out)
{
    if (a->on_cores)
        return win_us < TRY * a->perf->latency_us || say_tried_cores(a, w->ideal, out);
    if (win_us < SURE * a->perf->latency_us)
        return true;
    out->text = arena_printf(a->perf->arena, a->err,
                             "The machine has a second core, which would win up to %.1f us: each makes half of "
                             "the rows.",
                             win_us);
    out->action = "Compile for two cores; or run two frames at once, one on each, for twice the frames.";
    return out->text != NULL;
}
