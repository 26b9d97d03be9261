/* report_compare: bpuhub.compare/1 and a page of text.
 *
 * A figure that one side does not have is {"availability": "unavailable", "reason": …}; one that neither has is
 * left out, as the reports are of kinds that do not speak of it. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/check/json_write.h"
#include "core/job/compare.h"

enum { TEXT_LAYERS = 20, TEXT_FINDINGS = 30 };

const char *compare_delta_text(enum figure f, double delta, char *out, size_t size)
{
    char text[64];
    const char *unit = figure_row(f)->unit;
    if (strcmp(unit, "%") == 0)
        snprintf(text, sizeof text, "%.2f points", 100 * delta);
    else
        figure_text(f, delta, text, sizeof text);
    snprintf(out, size, "%s%s", delta > 0 ? "+" : "", text);
    return out;
}

const char *compare_percent_text(double base, double head, char *out, size_t size)
{
    if (!compare_differs(base, head))
        snprintf(out, size, "0 %%");
    else if (base == 0)
        snprintf(out, size, "from 0");
    else
        snprintf(out, size, "%+.*f %%", fabs(head - base) < .1 * fabs(base) ? 2 : 1, 100 * (head - base) / fabs(base));
    return out;
}

static const char *const outcomes[] = {"better", "same", "worse"};

/* ── JSON ── */

/* base, head, delta and percent of one figure. */
static void write_pair(struct json_writer *w, const bool known[2], const double v[2], const char *why[2])
{
    static const char *const sides[] = {"base", "head"};
    for (int i = 0; i < 2; i++) {
        if (known[i])
            writer_real(w, sides[i], v[i]);
        else
            writer_missing(w, sides[i], why[i] ? why[i] : "the report does not give it");
    }
    if (!known[0] || !known[1])
        return;
    writer_real(w, "delta", v[1] - v[0]);
    if (v[0] != 0)
        writer_real(w, "percent", 100 * (v[1] - v[0]) / fabs(v[0]));
    else
        writer_null(w, "percent");
}

static void write_figures(struct json_writer *w, const struct compare_result *c)
{
    writer_open(w, "figures", '{');
    for (int f = 0; f < FIGURE_COUNT; f++) {
        const struct figure_value *b = &c->figures[0][f], *h = &c->figures[1][f];
        const struct figure_row *r = figure_row((enum figure)f);
        if (!b->known && !h->known)
            continue;
        writer_open(w, r->key, '{');
        write_pair(w, (bool[]){b->known, h->known}, (double[]){b->v, h->v},
                   (const char *[]){b->why_not, h->why_not});
        writer_text(w, "unit", strcmp(r->unit, "%") == 0 ? "share" : r->unit);
        if (b->known && h->known) {
            bool differs = compare_differs(b->v, h->v);
            writer_text(w, "outcome", r->better == BETTER_NEITHER && differs
                                          ? "different"
                                          : outcomes[1 + compare_outcome((enum figure)f, b->v, h->v)]);
        }
        writer_close(w, '}');
    }
    writer_close(w, '}');
}

static void write_side(struct json_writer *w, const char *key, const struct compare_side *s)
{
    writer_open(w, key, '{');
    writer_text(w, "schema", s->schema);
    writer_text(w, "kinds", s->kinds);
    if (s->job)
        writer_text(w, "job", s->job);
    writer_open(w, "model", '{');
    writer_text(w, "id", s->model_id);
    writer_text(w, "name", s->model_name);
    writer_text(w, "format", s->model_format);
    writer_close(w, '}');
    writer_text(w, "march", s->march && *s->march ? s->march : NULL);
    writer_text(w, "options", s->options && *s->options ? s->options : NULL);
    writer_text(w, "verdict", s->verdict && *s->verdict ? s->verdict : NULL);
    writer_close(w, '}');
}

static void write_finding(struct json_writer *w, const struct compare_finding *f, const struct compare_finding *was)
{
    buf_putc(w->out, '\n');
    writer_open(w, NULL, '{');
    writer_text(w, "rule", f->rule);
    writer_text(w, "severity", f->severity_name);
    if (was)
        writer_text(w, "was", was->severity_name);
    writer_text(w, "node", *f->node ? f->node : NULL);
    writer_text(w, "op", f->op);
    writer_text(w, "message", f->message);
    writer_text(w, "hint", *f->hint ? f->hint : NULL);
    writer_close(w, '}');
}

static void write_findings(struct json_writer *w, const struct compare_result *c)
{
    if (c->no_findings) {
        writer_missing(w, "findings", c->no_findings);
        return;
    }
    writer_open(w, "findings", '{');
    writer_int(w, "base", c->base->finding_count);
    writer_int(w, "head", c->head->finding_count);
    writer_int(w, "kept", c->kept_count);
    writer_open(w, "gained", '[');
    for (int i = 0; i < c->gained_count; i++)
        write_finding(w, c->gained[i], NULL);
    writer_close(w, ']');
    writer_open(w, "lost", '[');
    for (int i = 0; i < c->lost_count; i++)
        write_finding(w, c->lost[i], NULL);
    writer_close(w, ']');
    writer_open(w, "changed", '[');
    for (int i = 0; i < c->graver_count; i++)
        write_finding(w, c->graver[i].head, c->graver[i].base);
    writer_close(w, ']');
    writer_close(w, '}');
}

static void write_shape(struct json_writer *w, const char *key, const struct compare_layer *l)
{
    if (!l || l->rank < 0) {
        writer_null(w, key);
        return;
    }
    writer_open(w, key, '[');
    for (int i = 0; i < l->rank; i++)
        writer_int(w, NULL, l->shape[i]);
    writer_close(w, ']');
}

static void write_layer(struct json_writer *w, const struct layer_change *x)
{
    const struct compare_layer *l = x->head ? x->head : x->base;
    buf_putc(w->out, '\n');
    writer_open(w, NULL, '{');
    writer_text(w, "status", layer_status_name(x->status));
    writer_text(w, "name", l->name);
    writer_text(w, "op", l->op);
    writer_text(w, "base_layers", x->base_names);
    writer_text(w, "head_layers", x->head_names);
    writer_flag(w, "renamed", x->renamed);
    writer_flag(w, "reshaped", x->reshaped);
    write_shape(w, "base_shape", x->base);
    write_shape(w, "head_shape", x->head);
    for (int f = 0; f < LAYER_FIGURE_COUNT; f++) {
        const char *why = x->base && x->head ? NULL : x->base ? "the layer is gone" : "the layer is new";
        if (!x->known[0][f] && !x->known[1][f])
            continue;
        writer_open(w, layer_figure_key((enum layer_figure)f), '{');
        write_pair(w, (bool[]){x->known[0][f], x->known[1][f]}, (double[]){x->v[0][f], x->v[1][f]},
                   (const char *[]){why, why});
        writer_close(w, '}');
    }
    writer_close(w, '}');
}

static void write_layers(struct json_writer *w, const struct compare_result *c)
{
    if (c->no_layers) {
        writer_missing(w, "layers", c->no_layers);
        return;
    }
    writer_open(w, "layers", '{');
    writer_int(w, "matched", c->matched);
    writer_int(w, "unchanged", c->unchanged);
    writer_int(w, "renamed", c->renamed);
    for (int s = 0; s < LAYER_SAME; s++)
        writer_int(w, layer_status_name((enum layer_status)s), c->counts[s]);
    writer_text(w, "order", layer_figure_key(c->by));
    writer_open(w, "items", '[');
    for (int i = 0; i < c->layer_count; i++)
        write_layer(w, &c->layers[i]);
    writer_close(w, ']');
    writer_close(w, '}');
}

bool report_compare_json(const struct compare_result *c, struct buf *out, struct bpu_error *err)
{
    const struct compare_side *b = c->base, *h = c->head;
    struct json_writer w = {.out = out};
    bool verdicts = b->verdict && *b->verdict && h->verdict && *h->verdict;
    writer_open(&w, NULL, '{');
    writer_head(&w, "bpuhub.compare/1", h->model_id, h->model_name, h->model_format);
    writer_text(&w, "march", *h->march ? h->march : NULL);
    writer_flag(&w, "passed", comparison_passed(c));
    write_side(&w, "base", b);
    write_side(&w, "head", h);
    writer_open(&w, "same", '{');
    writer_flag(&w, "model", strcmp(b->model_id, h->model_id) == 0);
    writer_flag(&w, "march", strcmp(b->march, h->march) == 0);
    writer_flag(&w, "kinds", strcmp(b->kinds, h->kinds) == 0);
    writer_flag(&w, "options", strcmp(b->options, h->options) == 0);
    if (verdicts)
        writer_flag(&w, "verdict", strcmp(b->verdict, h->verdict) == 0);
    else
        writer_missing(&w, "verdict", "not both reports give one");
    writer_close(&w, '}');
    write_figures(&w, c);
    write_findings(&w, c);
    write_layers(&w, c);
    if (c->gates.count)
        gates_json(&w, "gates", &c->gates);
    else
        writer_null(&w, "gates");
    writer_close(&w, '}');
    buf_putc(out, '\n');
    return buf_ok(out, err);
}

/* ── text ── */

static void side_text(const struct compare_side *s, struct buf *out)
{
    buf_printf(out, "  %s  %s", s->label, s->model_name && *s->model_name ? s->model_name : "(unnamed)");
    if (s->march && *s->march)
        buf_printf(out, " on %s", s->march);
    buf_printf(out, ", %s", s->kinds);
    if (s->options && *s->options)
        buf_printf(out, " (%s)", s->options);
    if (s->verdict && *s->verdict)
        buf_printf(out, ": %s", s->verdict);
    buf_putc(out, '\n');
}

static void figures_text(const struct compare_result *c, struct buf *out)
{
    char b[64], h[64], d[64], p[64];
    int same = 0;
    bool any = false;
    for (int f = 0; f < FIGURE_COUNT; f++) {
        const struct figure_value *x = &c->figures[0][f], *y = &c->figures[1][f];
        const struct figure_row *r = figure_row((enum figure)f);
        if (!x->known || !y->known)
            continue;
        if (!compare_differs(x->v, y->v)) {
            same++;
            continue;
        }
        int outcome = compare_outcome((enum figure)f, x->v, y->v);
        buf_printf(out, "%s  %-22s %14s  ->%14s  %16s  %9s%s%s\n", any ? "" : "\n", r->label,
                   figure_text((enum figure)f, x->v, b, sizeof b),
                   figure_text((enum figure)f, y->v, h, sizeof h),
                   compare_delta_text((enum figure)f, y->v - x->v, d, sizeof d),
                   compare_percent_text(x->v, y->v, p, sizeof p), outcome ? "  " : "",
                   outcome ? outcomes[1 + outcome] : "");
        any = true;
    }
    if (same)
        buf_printf(out, "%s  %d figure%s the same\n", any ? "" : "\n", same, same == 1 ? " is" : "s are");
}

static void findings_text(const struct compare_result *c, struct buf *out)
{
    int shown = 0;
    if (c->no_findings)
        return;
    buf_printf(out, "\nfindings: %d gained, %d lost, %d changed, %d as before\n", c->gained_count, c->lost_count,
               c->graver_count, c->kept_count);
    for (int i = 0; i < c->gained_count && shown < TEXT_FINDINGS; i++, shown++)
        buf_printf(out, "  + %s %s: %s%s%s\n", c->gained[i]->severity_name, c->gained[i]->rule,
                   c->gained[i]->node, *c->gained[i]->node ? ": " : "", c->gained[i]->message);
    for (int i = 0; i < c->graver_count && shown < TEXT_FINDINGS; i++, shown++)
        buf_printf(out, "  ! %s %s, was %s: %s\n", c->graver[i].head->severity_name, c->graver[i].head->rule,
                   c->graver[i].base->severity_name, c->graver[i].head->node);
    for (int i = 0; i < c->lost_count && shown < TEXT_FINDINGS; i++, shown++)
        buf_printf(out, "  - %s %s: %s\n", c->lost[i]->severity_name, c->lost[i]->rule, c->lost[i]->node);
    int all = c->gained_count + c->lost_count + c->graver_count;
    if (all > shown)
        buf_printf(out, "  … and %d more\n", all - shown);
}

static void layer_text(const struct layer_change *x, enum layer_figure by, struct buf *out)
{
    const struct compare_layer *l = x->head ? x->head : x->base;
    char name[160], p[64];
    if (x->status == LAYER_FUSED || x->status == LAYER_SPLIT || x->renamed)
        snprintf(name, sizeof name, "%s (was %s)", x->head_names, x->base_names);
    else
        snprintf(name, sizeof name, "%s", l->name);
    buf_printf(out, "  %-8s %-46.46s", layer_status_name(x->status), name);
    const bool *known[] = {x->known[0], x->known[1]};
    if (known[0][by])
        buf_printf(out, " %11.5g", x->v[0][by]);
    else
        buf_printf(out, " %11s", "-");
    if (known[1][by])
        buf_printf(out, " %11.5g", x->v[1][by]);
    else
        buf_printf(out, " %11s", "-");
    double b = known[0][by] ? x->v[0][by] : 0, h = known[1][by] ? x->v[1][by] : 0;
    if (known[0][by] || known[1][by])
        buf_printf(out, " %+11.5g", h - b);
    if (known[0][by] && known[1][by])
        buf_printf(out, "  %s", compare_percent_text(b, h, p, sizeof p));
    buf_putc(out, '\n');
}

static void layers_text(const struct compare_result *c, struct buf *out)
{
    if (c->no_layers) {
        buf_printf(out, "\nlayers were not compared: %s\n", c->no_layers);
        return;
    }
    buf_printf(out, "\nlayers: %d unchanged, %d changed, %d added, %d removed, %d fused, %d split; %d renamed\n",
               c->unchanged, c->counts[LAYER_CHANGED], c->counts[LAYER_ADDED], c->counts[LAYER_REMOVED],
               c->counts[LAYER_FUSED], c->counts[LAYER_SPLIT], c->renamed);
    if (c->layer_count)
        buf_printf(out, "  by %-52s %11s %11s %11s\n", layer_figure_label(c->by), "base", "head", "delta");
    for (int i = 0; i < c->layer_count && i < TEXT_LAYERS; i++)
        layer_text(&c->layers[i], c->by, out);
    if (c->layer_count > TEXT_LAYERS)
        buf_printf(out, "  … and %d more, which change less\n", c->layer_count - TEXT_LAYERS);
}

bool report_compare_text(const struct compare_result *c, struct buf *out, struct bpu_error *err)
{
    side_text(c->base, out);
    side_text(c->head, out);
    figures_text(c, out);
    findings_text(c, out);
    layers_text(c, out);
    if (c->gates.count)
        buf_putc(out, '\n');
    gates_text(&c->gates, out);
    return buf_ok(out, err);
}
