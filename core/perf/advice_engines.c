/* Layers that run where it is slow: on the CPU, on lookup tables, on the engine for real arithmetic,
 * with depthwise filters on maps smaller than the array, in instructions that cost more to start
 * than to run, in 16 bits.  And the table of all kinds of advice. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/perf/advice.h"
#include "core/program/args.h"

/* What it asks of the instructions of a source: their new cost, or false for no change. */
typedef bool new_cost_fn(const struct advisor *a, int i, struct cost *c);

static void change_source(struct advisor *a, int source, new_cost_fn *fn)
{
    const struct flow *f = &a->flow;
    for (int k = f->source_first[source]; k < f->source_first[source + 1]; k++) {
        struct cost c = a->costs_now[f->by_source[k]];
        if (f->traffic[f->by_source[k]] == TRAFFIC_NONE && fn(a, f->by_source[k], &c))
            advice_change(a, f->by_source[k], c);
    }
}

static void change_subject(struct advisor *a, const struct what_if *w, new_cost_fn *fn)
{
    if (w->subject >= 0)
        change_source(a, w->subject, fn);
    for (int s = 0; w->subject < 0 && s < a->p->source_count; s++)
        change_source(a, s, fn);
}

static bool meets(const struct advisor *a, int source, new_cost_fn *fn)
{
    const struct flow *f = &a->flow;
    for (int k = f->source_first[source]; k < f->source_first[source + 1]; k++) {
        struct cost c = a->costs_now[f->by_source[k]];
        if (f->traffic[f->by_source[k]] == TRAFFIC_NONE && fn(a, f->by_source[k], &c))
            return true;
    }
    return false;
}

/* Asks source by source, and once for all of them together. */
static bool ask_sources(struct advisor *a, const struct advice_kind *k, new_cost_fn *fn)
{
    struct what_if all = {.kind = k, .subject = -1};
    int count = 0;
    for (int s = 0; s < a->p->source_count; s++) {
        struct what_if one = {.kind = k, .subject = s};
        if (!meets(a, s, fn))
            continue;
        count++;
        if (!advice_ask(a, &one))
            return false;
    }
    return count < 2 || advice_ask(a, &all);
}

/* "X runs" or "12 layers run". */
static void who(const struct advisor *a, const struct what_if *w, new_cost_fn *fn, const char *one,
                const char *many, char *out, size_t size)
{
    char name[ADVICE_NAME_MAX];
    int count = 0;
    for (int s = 0; w->subject < 0 && s < a->p->source_count; s++)
        count += meets(a, s, fn);
    if (w->subject >= 0)
        snprintf(out, size, "%s %s", advice_name(a, w->subject, name), one);
    else
        snprintf(out, size, "%d layer%s %s", count, count == 1 ? "" : "s", many);
}

/* ── the CPU ── */

static bool on_chip(const struct advisor *a, int i, struct cost *c)
{
    struct instruction in = a->p->code[i];
    if (in.engine != ENGINE_HOST)
        return false;
    in.engine = (uint8_t)isa_row((enum opcode)in.op)->engine;
    *c = (struct cost){0};
    if (in.engine != ENGINE_HOST) /* else it is a crossing and nothing more */
        *c = instruction_cost(a->m, &in);
    return true;
}

bool ask_host(struct advisor *a, const struct advice_kind *k)
{
    return ask_sources(a, k, on_chip);
}

void change_host(struct advisor *a, const struct what_if *w)
{
    change_subject(a, w, on_chip);
}

bool say_host(struct advisor *a, const struct what_if *w, double win_us, struct perf_advice *out)
{
    char text[ADVICE_NAME_MAX + 64];
    who(a, w, on_chip, "runs", "run", text, sizeof text);
    out->source = w->subject;
    out->text = arena_printf(a->perf->arena, a->err,
                             "%s on the CPU, which costs a crossing of %.0f us each time: on the BPU it would "
                             "win %.1f us.",
                             text, advice_us(a, a->m->host_call_cycles.v), win_us);
    out->action = "Write it with operators that the BPU runs in fixed point, or move it to the end of the "
                  "network and run it on the outputs.";
    return out->text != NULL;
}

/* ── lookup tables ── */

static bool as_relu(const struct advisor *a, int i, struct cost *c)
{
    *c = (struct cost){0};
    return a->p->code[i].engine == ENGINE_LUT;
}

bool ask_table(struct advisor *a, const struct advice_kind *k)
{
    return ask_sources(a, k, as_relu);
}

void change_table(struct advisor *a, const struct what_if *w)
{
    change_subject(a, w, as_relu);
}

bool say_table(struct advisor *a, const struct what_if *w, double win_us, struct perf_advice *out)
{
    char text[ADVICE_NAME_MAX + 64];
    who(a, w, as_relu, "looks its results up in a table", "look their results up in tables", text,
        sizeof text);
    out->source = w->subject;
    out->text = arena_printf(a->perf->arena, a->err,
                             "%s: relu, which costs nothing behind a convolution, would win %.1f us.", text,
                             win_us);
    out->action = "Train with ReLU or ReLU6 in place of sigmoid, swish, GELU or their hard forms, at least on "
                  "the large maps.";
    return out->text != NULL;
}

/* ── engines whose work can be left out or made smaller ── */

static const struct {
    enum engine engine;
    double left; /* of the bytes that it counts */
    const char *name, *then, *action;
} slow[] = {
    {ENGINE_OTHER, 0, "runs in real arithmetic", "without it",
     "Leave softmax and normalization behind the last layer to the host; use batch normalization, which "
     "costs nothing, in place of layer normalization."},
    {ENGINE_RESIZE, .5, "interpolates", "on half the channels",
     "Reduce the channels before the resize: a 1x1 convolution behind it does the same in front of it."},
    {ENGINE_TRANSFORM, 0, "only moves elements", "without it",
     "Keep maps in one order: leave out permutations, reshapes, and joins that a convolution could read "
     "in parts."},
    {ENGINE_REDUCE, .5, "reduces along axes", "on half the elements",
     "Reduce over rows and columns with an average pool, or on fewer channels."},
    {ENGINE_POOL, .5, "pools", "with a window half as large",
     "Use a smaller window, or a stride in the convolution before it."},
};
enum { SLOW = sizeof slow / sizeof slow[0] };

static int slow_row(enum engine e)
{
    for (int k = 0; k < SLOW; k++)
        if (slow[k].engine == e)
            return k;
    return -1;
}

static bool less_of_it(const struct advisor *a, int i, struct cost *c)
{
    int row = slow_row((enum engine)a->p->code[i].engine);
    if (row < 0)
        return false;
    double start = fmin(c->cycles, a->m->issue_cycles.v);
    c->cycles = slow[row].left > 0 ? start + (c->cycles - start) * slow[row].left : 0;
    return true;
}

void change_engine(struct advisor *a, const struct what_if *w)
{
    change_source(a, w->subject, less_of_it);
}

bool ask_engine(struct advisor *a, const struct advice_kind *k)
{
    for (int s = 0; s < a->p->source_count; s++) {
        struct what_if w = {.kind = k, .subject = s};
        if (!advice_ask(a, &w))
            return false;
    }
    return true;
}

bool say_engine(struct advisor *a, const struct what_if *w, double win_us, struct perf_advice *out)
{
    const struct flow *f = &a->flow;
    char name[ADVICE_NAME_MAX];
    double cycles[SLOW] = {0};
    int most = 0;
    for (int k = f->source_first[w->subject]; k < f->source_first[w->subject + 1]; k++) {
        int row = slow_row((enum engine)a->p->code[f->by_source[k]].engine);
        if (row >= 0)
            cycles[row] += a->costs_now[f->by_source[k]].cycles;
    }
    for (int k = 1; k < SLOW; k++)
        if (cycles[k] > cycles[most])
            most = k;
    out->source = w->subject;
    out->text = arena_printf(a->perf->arena, a->err, "%s %s, on a slow engine: %s the network would win %.1f us.",
                             advice_name(a, w->subject, name), slow[most].name, slow[most].then, win_us);
    out->action = slow[most].action;
    return out->text != NULL;
}

/* ── depthwise on maps smaller than the array ── */

static bool full_depthwise(const struct advisor *a, int i, struct cost *c)
{
    const struct instruction *in = &a->p->code[i];
    if (in->op != OP_DWCONV || in->engine != ENGINE_CONV)
        return false;
    const struct tile *y = &in->tiles[0];
    const struct program_source *s = &a->p->sources[in->source];
    if (s->h >= (int)a->m->depthwise_h.v && s->w >= (int)a->m->depthwise_w.v)
        return false;
    c->cycles = fmin(c->cycles, c->useful_cycles + y->n * a->m->issue_cycles.v);
    return true;
}

bool ask_depthwise(struct advisor *a, const struct advice_kind *k)
{
    return ask_sources(a, k, full_depthwise);
}

void change_depthwise(struct advisor *a, const struct what_if *w)
{
    change_subject(a, w, full_depthwise);
}

bool say_depthwise(struct advisor *a, const struct what_if *w, double win_us, struct perf_advice *out)
{
    char text[ADVICE_NAME_MAX + 64];
    who(a, w, full_depthwise, "is depthwise on a map", "are depthwise on maps", text, sizeof text);
    out->source = w->subject;
    out->text = arena_printf(a->perf->arena, a->err,
                             "%s smaller than the %.0fx%.0f results that the array makes at a time: %.1f us "
                             "compute nothing.",
                             text, a->m->depthwise_h.v, a->m->depthwise_w.v, win_us);
    out->action = "End the depthwise stages at a larger map, or use 1x1 convolutions on the smallest ones.";
    return out->text != NULL;
}

/* ── starting instructions ── */

static bool no_start(const struct advisor *a, int i, struct cost *c)
{
    const struct instruction *in = &a->p->code[i];
    double issue = a->m->issue_cycles.v;
    if (in->engine == ENGINE_HOST)
        return false;
    if (in->engine == ENGINE_CONV && in->tile_count > 0 && in->tiles[0].n > 1)
        issue *= in->tiles[0].n;
    if (c->cycles > 2 * issue)
        return false; /* it works longer than it starts */
    c->cycles = fmax(0, c->cycles - issue);
    return true;
}

bool ask_issue(struct advisor *a, const struct advice_kind *k)
{
    struct what_if w = {.kind = k, .subject = -1};
    return advice_ask(a, &w);
}

void change_issue(struct advisor *a, const struct what_if *w)
{
    change_subject(a, w, no_start);
}

bool say_issue(struct advisor *a, const struct what_if *w, double win_us, struct perf_advice *out)
{
    char text[ADVICE_NAME_MAX + 64];
    who(a, w, no_start, "takes", "take", text, sizeof text);
    out->text = arena_printf(a->perf->arena, a->err,
                             "%s longer to start than to run: up to %.1f us go into starting instructions.",
                             text, win_us);
    out->action = "Fewer and larger layers: merge branches into one convolution, leave out stages on tiny "
                  "maps.";
    return out->text != NULL;
}

/* ── 16 bits ── */

static bool narrow(const struct advisor *a, int i, struct cost *c)
{
    const struct instruction *in = &a->p->code[i];
    struct tile tiles[PROGRAM_MAX_TILES];
    struct instruction x = *in;
    bool any = false;
    if (in->engine == ENGINE_HOST || in->tile_count > PROGRAM_MAX_TILES)
        return false;
    for (int k = 0; k < in->tile_count; k++) {
        tiles[k] = in->tiles[k];
        if (tiles[k].dtype != DT_QINT16)
            continue;
        tiles[k].dtype = DT_QINT8;
        any = true;
    }
    x.tiles = tiles;
    if (any)
        *c = instruction_cost(a->m, &x);
    return any;
}

bool ask_wide(struct advisor *a, const struct advice_kind *k)
{
    return ask_sources(a, k, narrow);
}

void change_wide(struct advisor *a, const struct what_if *w)
{
    change_subject(a, w, narrow);
}

bool say_wide(struct advisor *a, const struct what_if *w, double win_us, struct perf_advice *out)
{
    char text[ADVICE_NAME_MAX + 64];
    who(a, w, narrow, "computes", "compute", text, sizeof text);
    out->source = w->subject;
    out->text = arena_printf(a->perf->arena, a->err,
                             "%s with 16 bits, which takes the engines longer: 8 would win %.1f us.", text,
                             win_us);
    out->action = "Keep 16 bits where an evaluation shows that they are needed.";
    return out->text != NULL;
}

/* ── the table ── */

#define ROW(code, most, name) {code, most, ask_##name, change_##name, say_##name}
const struct advice_kind advice_kinds[] = {
    ROW("pad_channels", 4, channels), ROW("pad_columns", 3, columns),
    ROW("pad_rows", 3, rows),         ROW("weights_bound", 3, weights),
    ROW("spill", 3, spill),           ROW("ddr_bound", 1, spills),
    ROW("batch", 1, batch),           ROW("second_core", 1, cores),
    ROW("host", 3, host),             ROW("lookup", 3, table),
    ROW("slow_engine", 3, engine),    ROW("depthwise_small", 2, depthwise),
    ROW("issue", 1, issue),           ROW("wide", 3, wide),
    {NULL, 0, NULL, NULL, NULL},
};
