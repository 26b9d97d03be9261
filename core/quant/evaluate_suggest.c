/* Suggestions: the worst layers quantized differently, each change by itself, and what it does.
 *
 *   qconfig + change ─ calibrate ─ convert ─ outputs against float ─ gain in dB
 *                                          └ answers against labels, for those that gain
 * Nothing is guessed: a change is listed with the figures of a network that was made with it.  What
 * belongs to a change lies in an arena of its own, and the clock ends the search where it is. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/import/json_read.h"
#include "core/march/march.h"
#include "core/quant/evaluate_private.h"
#include "core/quant/qconfig.h"

#define LEAST_GAIN_DB 0.1

struct search {
    struct arena *arena;
    const struct graph *fused;
    const struct evaluate_request *request;
    const struct layer_comparison *layers;
    const struct answer_layout *answers; /* NULL: no accuracy */
    struct outputs_expected expected;
    double until;
    json_t *base; /* the user's qconfig */
    struct quant_data calibration;
    struct suggestion_list *out;
    struct bpu_error *err;
};

/* ── the clock ── */

static bool timed_frame(void *ctx, int64_t i, int input, float *out, struct bpu_error *err)
{
    struct search *s = ctx;
    const struct quant_data *data = &s->request->calibration_data;
    if (evaluate_clock() >= s->until)
        return error_set(err, BPU_TIMEOUT, NULL, "the time for suggestions is up");
    return data->frame(data->ctx, i, input, out, err);
}

/* ── an arena for one change ── */

static void child_begin(struct arena *child, struct arena *a)
{
    arena_init(child, a->quota > a->used ? a->quota - a->used : 0);
    child->fail_after = a->fail_after;
}

static void child_end(struct arena *child, struct arena *a)
{
    a->fail_after = child->fail_after;
    arena_fini(child);
}

/* ── qconfigs ── */

/* {"nodes": {NAME: {"activation": …}}} */
static json_t *node_change(const char *node, json_t *activation)
{
    json_t *root = json_object(), *nodes = json_object(), *rule = json_object();
    bool ok = rule && nodes && root && activation && json_object_set(rule, "activation", activation) == 0 &&
              json_object_set_new(nodes, node, json_incref(rule)) == 0 &&
              json_object_set_new(root, "nodes", json_incref(nodes)) == 0;
    json_decref(rule);
    json_decref(nodes);
    json_decref(activation);
    if (ok)
        return root;
    json_decref(root);
    return NULL;
}

/* A rule for the node comes last in the file, so that it wins. */
static json_t *with_change(const json_t *base, const json_t *change)
{
    json_t *root = json_deep_copy(base), *mine = json_object_get(change, "nodes"), *rule;
    json_t *nodes = root ? json_object_get(root, "nodes") : NULL;
    const char *name;
    if (!root)
        return NULL;
    bool ok = mine || json_object_update_recursive(root, (json_t *)change) == 0;
    if (ok && mine && !json_is_object(nodes)) {
        ok = json_object_set_new(root, "nodes", json_object()) == 0;
        nodes = json_object_get(root, "nodes");
    }
    if (mine && ok)
        json_object_foreach(mine, name, rule) {
            json_t *old = json_object_get(nodes, name);
            json_t *merged = old ? json_deep_copy(old) : json_object();
            ok = ok && merged && json_object_update_recursive(merged, rule) == 0;
            if (ok)
                json_object_del(nodes, name);
            ok = json_object_set_new(nodes, name, merged) == 0 && ok;
        }
    if (ok)
        return root;
    json_decref(root);
    return NULL;
}

static const char *text_of(struct search *s, const json_t *j)
{
    char *text = j ? json_dumps(j, JSON_INDENT(1) | JSON_REAL_PRECISION(9)) : NULL;
    const char *copy = text ? arena_strdup(s->arena, text, s->err) : NULL;
    if (!text)
        error_set(s->err, BPU_NO_MEMORY, NULL, "no memory for a qconfig");
    free(text);
    return copy;
}

/* ── measuring ── */

static struct graph *make(struct search *s, struct arena *a, const char *text, struct bpu_error *err)
{
    struct calibration c;
    struct qconfig *q = qconfig_read(a, text, strlen(text), err);
    if (!q || !quant_calibrate(a, s->fused, s->request->march, q, &s->calibration, NULL, NULL, &c, err))
        return NULL;
    struct graph *g = quant_convert(a, s->fused, s->request->march, q, &c, err);
    return g && quant_verify(g, err) ? g : NULL;
}

static bool count_answers(struct search *s, struct arena *a, const struct graph *g,
                          struct suggestion *item, struct bpu_error *err)
{
    if (!s->answers || !s->request->labels.items)
        return true;
    return accuracy_count(a, g, s->request, s->answers, s->until, &item->correct, err);
}

/* True and *helps false where the change cannot be made or brings nothing. */
static bool measure(struct search *s, struct suggestion *item, bool *helps)
{
    struct arena child;
    struct bpu_error err = {0};
    struct value_error sum = {0};
    *helps = false;
    item->correct = -1;
    child_begin(&child, s->arena);
    struct graph *g = make(s, &child, item->qconfig, &err);
    bool ok = g && outputs_compare(&child, g, &s->expected, s->request, &sum, &err);
    if (ok) {
        s->out->tried++;
        item->sqnr_db = value_error_sqnr(&sum);
        item->gain_db = item->sqnr_db - s->out->sqnr_db;
        *helps = item->gain_db >= LEAST_GAIN_DB;
        ok = !*helps || count_answers(s, &child, g, item, &err);
    }
    child_end(&child, s->arena);
    if (!ok && err.code == BPU_TIMEOUT)
        s->out->cut_off = true;
    if (ok || err.code != BPU_NO_MEMORY)
        return true;
    *helps = false;
    return error_set(s->err, err.code, err.where, "%s", err.message);
}

/* Takes the reference to `change`; NULL is no memory. */
static bool try_change(struct search *s, const char *node, const char *what, json_t *change)
{
    struct suggestion item = {.node = node, .change = what};
    json_t *merged = change ? with_change(s->base, change) : NULL;
    bool helps = false;
    item.part = text_of(s, change);
    item.qconfig = item.part ? text_of(s, merged) : NULL;
    json_decref(merged);
    json_decref(change);
    if (!item.qconfig || !measure(s, &item, &helps))
        return false;
    if (!helps)
        return true;
    struct suggestion *grown = arena_grow(s->arena, s->out->items, s->out->count,
                                          s->out->count + 1, sizeof *grown, &s->out->capacity, s->err);
    if (!grown)
        return false;
    s->out->items = grown;
    grown[s->out->count++] = item;
    return true;
}

/* ── what is tried ── */

static bool out_of_time(struct search *s)
{
    s->out->cut_off = s->out->cut_off || evaluate_clock() >= s->until;
    return s->out->cut_off;
}

static bool try_observers(struct search *s, const struct node *n, const struct qconfig_activation *now)
{
    static const struct {
        enum observer observer;
        double percentile;
        const char *what;
    } all[] = {
        {OBSERVER_MIN_MAX, 0, "observer min_max"},
        {OBSERVER_MSE, 0, "observer mse"},
        {OBSERVER_KL, 0, "observer kl"},
        {OBSERVER_PERCENTILE, 99.9, "observer percentile 99.9"},
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0] && !out_of_time(s); i++) {
        if (all[i].observer == now->observer && all[i].percentile <= 0)
            continue;
        json_t *a = all[i].percentile > 0
                        ? json_pack("{s:s, s:f}", "observer", observer_name(all[i].observer),
                                    "percentile", all[i].percentile)
                        : json_pack("{s:s}", "observer", observer_name(all[i].observer));
        if (!try_change(s, n->name, all[i].what, node_change(n->name, a)))
            return false;
    }
    return true;
}

static bool try_layer(struct search *s, const struct qconfig *config, const struct layer_figures *l)
{
    const struct node *n = l->value ? l->value->producer : NULL;
    struct qconfig_activation now;
    if (!n || l->moves || l->fixed->dtype == DT_QINT32) /* no scale of its own to change */
        return true;
    qconfig_activation(config, n, &now);
    s->out->layers++;
    if (l->fixed->dtype != DT_QINT16 &&
        !try_change(s, n->name, "qint16",
                    node_change(n->name, json_pack("{s:s}", "dtype", "qint16"))))
        return false;
    return try_observers(s, n, &now);
}

static int more_gain(const void *a, const void *b)
{
    const struct suggestion *x = a, *y = b;
    if (x->gain_db < y->gain_db || x->gain_db > y->gain_db)
        return x->gain_db > y->gain_db ? -1 : 1;
    return strcmp(x->change, y->change);
}

/* The best change of each layer, all at once. */
static bool try_together(struct search *s)
{
    struct suggestion *t = &s->out->together;
    json_t *all = json_object();
    size_t parts = 0;
    for (size_t i = 0; all && i < s->out->count; i++) {
        const struct suggestion *item = &s->out->items[i];
        json_t *part = NULL, *next = NULL;
        bool first = item->node != NULL;
        for (size_t k = 0; first && k < i; k++)
            first = !s->out->items[k].node || strcmp(s->out->items[k].node, item->node) != 0;
        if (!first)
            continue;
        part = json_loads(item->part, 0, NULL);
        next = part ? with_change(all, part) : NULL;
        json_decref(part);
        json_decref(all);
        all = next;
        parts++;
    }
    if (parts < 2 && all) {
        json_decref(all);
        return true;
    }
    json_t *merged = all ? with_change(s->base, all) : NULL;
    bool helps = false;
    *t = (struct suggestion){.part = text_of(s, all)};
    t->qconfig = t->part ? text_of(s, merged) : NULL;
    json_decref(merged);
    json_decref(all);
    if (!t->qconfig || !measure(s, t, &helps))
        return false;
    t->change = helps ? "the best change of each of these layers" : NULL;
    return true;
}

/* ── the search ── */

static const char *why_not(const struct evaluate_request *r, const struct layer_comparison *layers)
{
    if (r->options.suggest < 1)
        return "suggestions were not asked for";
    if (!r->calibration_data.frame || r->calibration_data.frames < 1)
        return "they need the calibration data: another quantization is made and measured";
    if (!layers->count)
        return "no layer was compared";
    return NULL;
}

static bool search_layers(struct search *s, quant_progress_fn *progress, void *ctx)
{
    struct qconfig *config;
    int most = s->request->options.suggest;
    config = s->request->qconfig
                 ? qconfig_read(s->arena, s->request->qconfig, s->request->qconfig_size, s->err)
                 : qconfig_default(s->arena, s->err);
    if (!config)
        return false;
    if (qconfig_output_quantized(config) && !out_of_time(s) &&
        !try_change(s, NULL, "outputs not quantized",
                    json_pack("{s:{s:b}}", "output", "quantized", 0)))
        return false;
    for (size_t i = 0; i < s->layers->count && s->out->layers < most && !out_of_time(s); i++) {
        if (progress)
            progress(ctx, "suggest", (double)s->out->layers / (double)most);
        if (!try_layer(s, config, &s->layers->layers[i]))
            return false;
    }
    if (s->out->count)
        qsort(s->out->items, s->out->count, sizeof *s->out->items, more_gain);
    if (!out_of_time(s) && !try_together(s))
        return false;
    if (progress)
        progress(ctx, "suggest", 1);
    return true;
}

static json_t *read_base(const struct evaluate_request *r, struct bpu_error *err)
{
    json_t *j = r->qconfig ? json_read_text((const unsigned char *)r->qconfig, r->qconfig_size,
                                            (size_t)16 << 20, err)
                           : json_object();
    if (!j)
        error_set(err, BPU_NO_MEMORY, NULL, "no memory for a qconfig");
    return j;
}

bool suggestions_find(struct arena *a, const struct graph *fused, const struct graph *fixed,
                      const struct graph *floats, const struct evaluate_request *r,
                      const struct layer_comparison *layers, const struct answer_layout *answers,
                      double until, quant_progress_fn *progress, void *ctx,
                      struct suggestion_list *out, struct bpu_error *err)
{
    struct value_error sum = {0};
    struct search s = {.arena = a, .fused = fused, .request = r,
                       .layers = layers, .answers = answers, .until = until, .out = out, .err = err};
    s.calibration = (struct quant_data){timed_frame, &s, r->calibration_data.frames};
    *out = (struct suggestion_list){.why = why_not(r, layers)};
    if (out->why)
        return true;
    if (!outputs_expected(a, floats, r, layers->frames, &s.expected, err) ||
        !outputs_compare(a, fixed, &s.expected, r, &sum, err))
        return false;
    out->frames = s.expected.frames;
    out->sqnr_db = value_error_sqnr(&sum);
    if (!isfinite(out->sqnr_db)) {
        out->why = out->sqnr_db > 0 ? "the outputs are equal already"
                                    : "the outputs of the float network are all 0";
        return true;
    }
    s.base = read_base(r, err);
    bool ok = s.base && search_layers(&s, progress, ctx);
    json_decref(s.base);
    return ok;
}
