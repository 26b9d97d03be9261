/* Extents that fill the engines' steps badly: channels, columns, rows.
 *
 * Channels are asked for by class: all maps that must have the same number change together, the layer
 * that makes them, those that read them, their weights, and what goes through DDR.  Columns and rows
 * belong to the size of the input, so all maps of that extent change together.
 *
 * The change is the last full step below, if it is near: it is the padding that is to go, not the
 * network.  The next step above is named where it costs no engine more. */
#include <math.h>
#include <stdio.h>

#include "core/perf/advice.h"
#include "core/program/args.h"

/* A step below that takes more of the extent is another network. */
#define NEAR 0.16     /* of channels */
#define NEAR_EDGE 0.13 /* of columns or rows, which come in pairs */
#define GAIN 1.3  /* time goes down by so much more than the extent does */

/* An instruction whose tiles can be changed. */
struct altered {
    struct instruction i;
    struct tile tiles[PROGRAM_MAX_TILES];
    int32_t args[PROGRAM_MAX_ARGS];
};

static bool alter(struct altered *x, const struct instruction *i)
{
    if (i->tile_count > PROGRAM_MAX_TILES || i->arg_count > PROGRAM_MAX_ARGS)
        return false;
    x->i = *i;
    for (int k = 0; k < i->tile_count; k++)
        x->tiles[k] = i->tiles[k];
    for (int k = 0; k < i->arg_count; k++)
        x->args[k] = i->args[k];
    x->i.tiles = x->tiles;
    x->i.args = x->args;
    return true;
}

static bool is_conv(const struct instruction *i)
{
    return i->op == OP_CONV || i->op == OP_DWCONV || i->op == OP_DECONV;
}

/* How much of `extent` from `first` on is left when the whole has `ideal`. */
static int32_t clip(int32_t first, int32_t extent, int ideal)
{
    int64_t left = (int64_t)ideal - first;
    return left < 0 ? 0 : left < extent ? (int32_t)left : extent;
}

/* ── channels ──────────────────────────────────────────────────────────────────────────────── */

/* Weights that instruction i no longer needs. */
static void less_weights(struct advisor *a, int i, double ratio)
{
    int load = a->flow.load_of[i], weights = is_conv(&a->p->code[i]) ? 2 : -1;
    if (load < 0 || weights < 0)
        return;
    advice_move_less(a, load, (1 - ratio) * a->p->code[i].tiles[weights].c);
}

/* Instruction i with `ideal` channels in the maps of class c; false: nothing is left of it. */
static bool with_channels(const struct advisor *a, int i, int c, int actual, int ideal,
                          struct altered *x, double *weights)
{
    const struct instruction *in = &a->p->code[i];
    const int *map = a->flow.map[i];
    *weights = 1;
    if (!alter(x, in))
        return true;
    for (int k = 0; k < in->tile_count; k++) {
        struct tile *t = &x->tiles[k];
        if (map[k] < 0 || a->flow.class_of[map[k]] != c)
            continue;
        int32_t n = ideal < actual ? clip(t->c0, t->c, ideal)
                    : (int64_t)t->c0 + t->c == actual ? t->c + ideal - actual
                                             : t->c;
        if (is_conv(in) && k < 2 && t->c > 0 && !(in->op == OP_DWCONV && k == 1))
            *weights *= (double)n / t->c;
        if (is_conv(in) && k == 1 && in->op != OP_DWCONV)
            x->args[CONV_UNIT_INPUTS] = n;
        t->c = n;
    }
    return x->tiles[0].c > 0;
}

static void transfer_channels(struct advisor *a, int i, int actual, int ideal)
{
    const struct tile *t = &a->p->code[i].tiles[0];
    int block = t->block_c > 0 ? t->block_c : 1;
    int was = advice_up(actual, block), now = advice_up(ideal, block);
    if (was > 0 && now < was)
        advice_move_less(a, i, advice_moved(a, i) * (was - now) / was);
}

static void set_channels(struct advisor *a, int c, int actual, int ideal)
{
    const struct map_class *class = &a->flow.classes[c];
    for (int k = 0; k < class->count; k++) {
        int i = a->flow.member[class->first + k];
        struct altered x;
        double weights;
        if (a->flow.traffic[i] != TRAFFIC_NONE) {
            transfer_channels(a, i, actual, ideal);
            continue;
        }
        bool left = with_channels(a, i, c, actual, ideal, &x, &weights);
        advice_change(a, i, left ? instruction_cost(a->m, &x.i) : (struct cost){0});
        less_weights(a, i, weights);
    }
}

void change_channels(struct advisor *a, const struct what_if *w)
{
    set_channels(a, w->subject, w->actual, w->ideal);
}

/* Cycles of the computing instructions of a class. */
static double class_cycles(const struct advisor *a, int c, int ideal)
{
    const struct map_class *class = &a->flow.classes[c];
    double sum = 0;
    for (int k = 0; k < class->count; k++) {
        int i = a->flow.member[class->first + k];
        struct altered x;
        double weights;
        if (a->flow.traffic[i] != TRAFFIC_NONE)
            continue;
        if (ideal == class->channels)
            sum += a->costs_now[i].cycles;
        else if (with_channels(a, i, c, class->channels, ideal, &x, &weights))
            sum += instruction_cost(a->m, &x.i).cycles;
    }
    return sum;
}

/* What the engines that touch a class count in. */
struct use {
    bool made, read, depthwise;
    int maker; /* source with the most cycles that makes one of its maps */
};

static struct use use_of(const struct advisor *a, int c)
{
    const struct map_class *class = &a->flow.classes[c];
    struct use u = {.maker = -1};
    double most = -1;
    for (int k = 0; k < class->count; k++) {
        int i = a->flow.member[class->first + k];
        const struct instruction *in = &a->p->code[i];
        const int *map = a->flow.map[i];
        if (!is_conv(in) || in->engine == ENGINE_HOST)
            continue;
        bool makes = map[0] >= 0 && a->flow.class_of[map[0]] == c;
        bool reads = map[1] >= 0 && a->flow.class_of[map[1]] == c;
        u.depthwise = u.depthwise || in->op == OP_DWCONV;
        u.made = u.made || (makes && in->op != OP_DWCONV);
        u.read = u.read || (reads && in->op != OP_DWCONV);
        if (makes && a->costs_now[i].cycles > most) {
            most = a->costs_now[i].cycles;
            u.maker = map[0];
        }
    }
    return u;
}

/* The last step of any engine below, nearest first, that takes off more time than channels. */
static int better_channels(const struct advisor *a, int c, const struct use *u)
{
    const struct machine *m = a->m;
    const double steps[] = {u->read ? m->array_in.v : 0, u->made ? m->array_out.v : 0,
                            u->depthwise ? m->depthwise_c.v : 0};
    int actual = a->flow.classes[c].channels, best = 0;
    double now = class_cycles(a, c, actual), gain = 0;
    for (int k = 0; k < 3; k++) {
        int ideal = steps[k] >= 1 ? advice_down(actual, steps[k]) : 0;
        if (ideal < 1 || ideal == actual || actual - ideal > NEAR * actual)
            continue;
        double less = (now - class_cycles(a, c, ideal)) / now;
        double per = less * actual / (actual - ideal);
        if (per >= GAIN && less > gain) {
            gain = less;
            best = ideal;
        }
    }
    return best;
}

bool ask_channels(struct advisor *a, const struct advice_kind *k)
{
    for (int c = 0; c < a->flow.class_count; c++) {
        const struct map_class *class = &a->flow.classes[c];
        bool critical = false;
        for (int n = 0; n < class->count && !critical; n++)
            critical = a->flow.critical[a->flow.member[class->first + n]];
        if (class->fixed || !critical || class->channels < 2 ||
            class->channels > ADVICE_MOST_EXTENT)
            continue;
        struct use u = use_of(a, c);
        int ideal = u.maker >= 0 ? better_channels(a, c, &u) : 0;
        struct what_if w = {
            .kind = k, .subject = c, .actual = class->channels, .ideal = ideal};
        if (ideal > 0 && !advice_ask(a, &w))
            return false;
    }
    return true;
}

/* The most channels that cost no more cycles than there are. */
static int free_channels(const struct advisor *a, int c)
{
    int actual = a->flow.classes[c].channels, most = actual;
    double now = class_cycles(a, c, actual);
    for (int n = actual + 1; n <= actual + (int)a->m->depthwise_c.v && n <= 2 * actual; n++) {
        if (class_cycles(a, c, n) > now * (1 + 1e-9))
            break;
        most = n;
    }
    return most;
}

bool say_channels(struct advisor *a, const struct what_if *w, double win_us, struct perf_advice *out)
{
    struct arena *r = a->perf->arena;
    struct use u = use_of(a, w->subject);
    char name[ADVICE_NAME_MAX], paid[160], more[96];
    int made = u.made ? advice_up(w->actual, a->m->array_out.v) : 0;
    int read = u.read ? advice_up(w->actual, a->m->array_in.v) : 0;
    int deep = u.depthwise ? advice_up(w->actual, a->m->depthwise_c.v) : 0;
    int n = 0, up = free_channels(a, w->subject);
    paid[0] = more[0] = 0;
    if (made > w->actual)
        n += snprintf(paid + n, sizeof paid - (size_t)n, "%s%d where they are made", n ? ", " : "", made);
    if (deep > w->actual)
        n += snprintf(paid + n, sizeof paid - (size_t)n, "%s%d in depthwise layers", n ? ", " : "", deep);
    if (read > w->actual)
        snprintf(paid + n, sizeof paid - (size_t)n, "%s%d where they are read", n ? ", " : "", read);
    if (up > w->actual)
        snprintf(more, sizeof more, "; up to %d would cost no more", up);
    out->source = u.maker;
    out->text = arena_printf(r, a->err, "%s has %d channels and pays for %s: %.1f us; %d would win them%s.",
                             advice_name(a, u.maker, name), w->actual, paid[0] ? paid : "more", win_us,
                             w->ideal, more);
    out->action = up > w->actual
                      ? arena_printf(r, a->err, "Give it %d channels, or use what is paid for: %d.",
                                     w->ideal, up)
                      : arena_printf(r, a->err, "Give it %d channels.", w->ideal);
    return out->text && out->action;
}

/* ── columns and rows ──────────────────────────────────────────────────────────────────────── */

static int32_t *extent_of(struct tile *t, bool rows)
{
    return rows ? &t->h : &t->w;
}

static int full_extent(const struct program_source *s, bool rows)
{
    return rows ? s->h : s->w;
}

static void set_extent(struct advisor *a, const struct what_if *w, bool rows)
{
    for (int i = 0; i < a->p->code_count; i++) {
        const struct instruction *in = &a->p->code[i];
        struct altered x;
        if (in->source >= (uint32_t)a->p->source_count || !alter(&x, in))
            continue;
        bool any = false;
        for (int k = 0; k < in->tile_count; k++) {
            int32_t *v = extent_of(&x.tiles[k], rows);
            if (*v != w->actual || in->tiles[k].n == 0)
                continue;
            *v = w->ideal;
            any = true;
        }
        if (!any)
            continue;
        if (a->flow.traffic[i] == TRAFFIC_NONE)
            advice_change(a, i, instruction_cost(a->m, &x.i));
        else if (a->flow.traffic[i] != TRAFFIC_CONSTANTS)
            advice_move_less(a, i, advice_moved(a, i) * (w->actual - w->ideal) / w->actual);
    }
}

void change_columns(struct advisor *a, const struct what_if *w)
{
    set_extent(a, w, false);
}

void change_rows(struct advisor *a, const struct what_if *w)
{
    set_extent(a, w, true);
}

/* Each extent of a result that is a little above a step, once. */
static bool ask_extent(struct advisor *a, const struct advice_kind *k, const double *steps, bool rows)
{
    enum { MOST = 64 };
    int seen[MOST], count = 0;
    for (int s = 0; s < a->p->source_count && count < MOST; s++) {
        int actual = full_extent(&a->p->sources[s], rows);
        bool known = actual < 2 || actual > ADVICE_MOST_EXTENT;
        for (int n = 0; n < count && !known; n++)
            known = seen[n] == actual;
        if (known)
            continue;
        seen[count++] = actual;
        for (int n = 0; n < 2; n++) {
            int ideal = steps[n] >= 2 ? advice_down(actual, steps[n]) : 0;
            struct what_if w = {.kind = k, .subject = s, .actual = actual, .ideal = ideal};
            double paid = steps[n] >= 2 ? advice_up(actual, steps[n]) : actual;
            if (ideal < 1 || ideal == actual || actual - ideal > NEAR_EDGE * actual ||
                (paid - ideal) / paid < GAIN * (actual - ideal) / actual)
                continue;
            if (!advice_ask(a, &w))
                return false;
            break;
        }
    }
    return true;
}

bool ask_columns(struct advisor *a, const struct advice_kind *k)
{
    return ask_extent(a, k, (const double[]){a->m->array_w.v, a->m->depthwise_w.v}, false);
}

bool ask_rows(struct advisor *a, const struct advice_kind *k)
{
    return ask_extent(a, k, (const double[]){a->m->depthwise_h.v, a->m->array_h.v}, true);
}

static bool say_extent(struct advisor *a, const struct what_if *w, double win_us, bool rows,
                       double step, struct perf_advice *out)
{
    const char *what = rows ? "rows" : "columns";
    int layers = 0, most = w->subject;
    double time = -1;
    char name[ADVICE_NAME_MAX];
    for (int s = 0; s < a->p->source_count; s++) {
        if (full_extent(&a->p->sources[s], rows) != w->actual)
            continue;
        layers++;
        double t = a->perf->layers && s < a->perf->layer_count ? a->perf->layers[s].time_us : 0;
        if (t > time) {
            time = t;
            most = s;
        }
    }
    out->source = most;
    out->text = arena_printf(a->perf->arena, a->err,
                             "%d layer%s of %d %s (the longest is %s) pay%s for %d: %d %s would win "
                             "%.1f us.",
                             layers, layers == 1 ? "" : "s", w->actual, what,
                             advice_name(a, most, name), layers == 1 ? "s" : "",
                             advice_up(w->actual, step), w->ideal, what, win_us);
    out->action = arena_printf(a->perf->arena, a->err,
                               "Choose the size of the input, or the strides, so that these maps have %d "
                               "%s, or use up to %d.",
                               w->ideal, what, advice_up(w->actual, step));
    return out->text && out->action;
}

bool say_columns(struct advisor *a, const struct what_if *w, double win_us, struct perf_advice *out)
{
    return say_extent(a, w, win_us, false, a->m->array_w.v, out);
}

bool say_rows(struct advisor *a, const struct what_if *w, double win_us, struct perf_advice *out)
{
    double step = a->m->array_h.v > 1 ? a->m->array_h.v : a->m->depthwise_h.v;
    return say_extent(a, w, win_us, true, step, out);
}
