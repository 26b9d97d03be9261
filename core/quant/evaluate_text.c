/* The evaluation as a page of text. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/quant/evaluate_private.h"

enum { CONFUSIONS = 5, CLASSES = 20, LAYERS = 10, SUGGESTIONS = 5 };

static double percent(int64_t part, int64_t of)
{
    return of > 0 ? 100 * (double)part / (double)of : 0;
}

/* ── accuracy ── */

static void text_accuracy(struct buf *out, const char *what, const struct accuracy *a,
                          const struct accuracy_pair *p)
{
    if (!a->there)
        return;
    buf_printf(out, "%-12s", what);
    if (p->labelled) {
        buf_printf(out, "top-1 %7.3f %%  (%" PRId64 " of %" PRId64 ")",
                   percent(a->correct, p->samples), a->correct, p->samples);
        if (p->top5)
            buf_printf(out, "  top-5 %7.3f %%", percent(a->correct5, p->samples));
    } else
        buf_puts(out, "no labels");
    if (a->ties)
        buf_printf(out, "  %" PRId64 " ties", a->ties);
    if (a->not_finite)
        buf_printf(out, "  %" PRId64 " scores NaN or infinite", a->not_finite);
    buf_putc(out, '\n');
}

static void text_share(struct buf *out, int64_t part, int64_t of)
{
    if (of > 0)
        buf_printf(out, " %9.2f %%", percent(part, of));
    else
        buf_printf(out, " %11s", "-");
}

static void text_classes(struct buf *out, const struct accuracy *a, const struct accuracy_pair *p)
{
    buf_printf(out, "  %8s %9s %11s %11s\n", "class", "count", "precision", "recall");
    for (int64_t c = 0; c < p->class_count && c < CLASSES; c++) {
        const struct class_figures *f = &a->classes[c];
        buf_printf(out, "  %8" PRId64 " %9" PRId64, c, f->count);
        text_share(out, f->correct, f->predicted);
        text_share(out, f->correct, f->count);
        buf_putc(out, '\n');
    }
    if (p->class_count > CLASSES)
        buf_printf(out, "  … and %" PRId64 " more classes: see --json\n", p->class_count - CLASSES);
    if (a->confusion_count)
        buf_puts(out, "  most frequent confusions:");
    for (size_t i = 0; i < a->confusion_count && i < CONFUSIONS; i++)
        buf_printf(out, "%s %" PRId64 " taken for %" PRId64 " (%" PRId64 ")", i ? "," : "",
                   a->confusions[i].label, a->confusions[i].predicted, a->confusions[i].count);
    if (a->confusion_count)
        buf_putc(out, '\n');
}

static void text_pair(struct buf *out, const struct evaluate_result *e)
{
    const struct accuracy_pair *p = &e->accuracy;
    if (e->why_no_accuracy) {
        buf_printf(out, "no accuracy: %s\n", e->why_no_accuracy);
        return;
    }
    text_accuracy(out, "float", &p->floats, p);
    text_accuracy(out, "fixed point", &p->fixed, p);
    if (p->floats.there && p->fixed.there) {
        buf_printf(out, "%-12ssame top-1 in %.3f %%", "agreement", percent(p->same, p->samples));
        if (p->labelled)
            buf_printf(out, "; fixed point loses %.3f points",
                       percent(p->floats.correct - p->fixed.correct, p->samples));
        buf_putc(out, '\n');
    }
    if (p->labelled)
        text_classes(out, p->fixed.there ? &p->fixed : &p->floats, p);
}

/* ── layers ── */

static const char *db(double v, char text[24])
{
    if (isfinite(v))
        snprintf(text, 24, "%.1f dB", v);
    else
        snprintf(text, 24, "%s", v > 0 ? "equal" : "float is 0");
    return text;
}

static void text_layers(struct buf *out, const struct evaluate_result *e)
{
    const struct layer_comparison *l = &e->layers;
    char own[24], all[24];
    if (e->why_no_layers)
        return;
    buf_printf(out, "against float over %" PRId64 " frames%s; outputs:\n", l->frames,
               l->cut_off ? " (the time was up)" : "");
    for (int i = 0; i < l->output_count; i++)
        if (l->outputs[i].accumulated.count)
            buf_printf(out, "  %-36.36s %10s  cosine %.6f  largest error %.3g\n",
                       l->outputs[i].value->name,
                       db(value_error_sqnr(&l->outputs[i].accumulated), all),
                       value_error_cosine(&l->outputs[i].accumulated),
                       l->outputs[i].accumulated.most);
    buf_puts(out, "layers that hurt most by themselves (own: inputs exact but rounded; all: with the\n"
                  "errors that arrive; ends: share at the ends of the integer range):\n");
    size_t listed = 0;
    for (size_t i = 0; i < l->count && listed < LAYERS; i++) {
        const struct layer_figures *f = &l->layers[i];
        if (f->moves)
            continue;
        listed++;
        buf_printf(out, "  %-36.36s %-6s own %10s  all %10s  cosine %.6f  ends %.3f %%\n",
                   f->node->name, dtype_name(f->fixed->dtype),
                   f->own.count ? db(value_error_sqnr(&f->own), own) : "-",
                   db(value_error_sqnr(&f->accumulated), all), value_error_cosine(&f->accumulated),
                   100 * value_error_saturated(&f->accumulated));
    }
}

/* ── suggestions ── */

static void text_suggestion(struct buf *out, const struct suggestion *s,
                            const struct accuracy_pair *p)
{
    char gain[24];
    buf_printf(out, "  %s%s%s: outputs %+.1f dB, to %s", s->node ? s->node : "",
               s->node ? ": " : "", s->change, s->gain_db, db(s->sqnr_db, gain));
    if (s->correct >= 0)
        buf_printf(out, ", top-1 %+.3f points", percent(s->correct - p->fixed.correct, p->samples));
    buf_putc(out, '\n');
    buf_puts(out, "    ");
    for (const char *c = s->part; *c; c++) /* on one line */
        if (*c != '\n')
            buf_putc(out, *c);
        else
            while (c[1] == ' ')
                c++;
    buf_putc(out, '\n');
}

static void text_suggestions(struct buf *out, const struct evaluate_result *e)
{
    const struct suggestion_list *l = &e->suggestions;
    char now[24];
    if (l->why) {
        if (e->fused)
            buf_printf(out, "no suggestions: %s\n", l->why);
        return;
    }
    buf_printf(out, "suggestions: %d changes of %d layers measured%s; %s\n", l->tried, l->layers,
               l->cut_off ? " before the time was up" : "",
               l->count ? "those that bring the outputs nearer to float, for the qconfig:"
                        : "none of them brings the outputs nearer to float");
    buf_printf(out, "  as it is: outputs %s\n", db(l->sqnr_db, now));
    for (size_t i = 0; i < l->count && i < SUGGESTIONS; i++)
        text_suggestion(out, &l->items[i], &e->accuracy);
    if (l->together.change)
        text_suggestion(out, &l->together, &e->accuracy);
}

bool evaluate_text(const struct evaluate_result *e, struct buf *out, struct bpu_error *err)
{
    buf_printf(out, "%s: %" PRId64 " frames\n", e->request.model_name ? e->request.model_name : "model",
               e->accuracy.frames);
    text_pair(out, e);
    text_layers(out, e);
    text_suggestions(out, e);
    return buf_ok(out, err);
}
