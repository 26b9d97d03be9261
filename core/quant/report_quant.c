/* report_quant: bpuhub.quantize/1, and a page of text.
 *
 * A figure that does not exist is {"availability": "unavailable", "reason": …}, never 0. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/check/json_write.h"
#include "core/march/march.h"
#include "core/ops/op.h"
#include "core/quant/report.h"
#include "core/quant/report_parts.h"
#include "core/run/kernel.h"

enum { TEXT_LAYERS = 10 };

struct counts {
    int fixed, real, stubs;
};

static struct counts count_nodes(const struct graph *g)
{
    struct counts c = {0};
    for (int i = 0; i < g->node_count; i++) {
        const char *kernel = kernel_of(g->nodes[i])->name;
        if (strcmp(kernel, "quantize") == 0 || strcmp(kernel, "dequantize") == 0)
            c.stubs++;
        else if (strcmp(kernel, "identity") != 0)
            *(kernel_is_fixed(g->nodes[i]) ? &c.fixed : &c.real) += 1;
    }
    return c;
}

static void write_head(struct json_writer *w, const struct quant_result *r)
{
    struct counts c = count_nodes(r->fixed);
    writer_head(w, "bpuhub.quantize/1", r->model_id, r->model_name, r->model_format);
    writer_text(w, "march", r->march ? march_name(r->march) : NULL);
    writer_open(w, "summary", '{');
    writer_int(w, "nodes", r->fixed->node_count);
    writer_int(w, "fixed", c.fixed);
    writer_int(w, "float", c.real);
    writer_int(w, "stubs", c.stubs);
    writer_text(w, "scales", r->calibration ? "calibration" : "file");
    if (r->calibration)
        writer_int(w, "calibration_frames", r->calibration->frames);
    else
        writer_missing(w, "calibration_frames", "the scales are those of the file");
    if (r->comparison)
        writer_int(w, "compared_frames", r->comparison->frames);
    else
        writer_missing(w, "compared_frames", r->why);
    writer_close(w, '}');
}

static void write_fused(struct json_writer *w, const struct fuse_report *f)
{
    for (int not = 0; not < 2; not ++) {
        writer_open(w, not ? "not_fused" : "fused", '[');
        for (size_t i = 0; f && i < f->count; i++) {
            const struct fuse_item *item = &f->items[i];
            if ((item->why_not != NULL) != not )
                continue;
            writer_open(w, NULL, '{');
            writer_text(w, "node", item->into);
            writer_text(w, "sequence", item->what);
            writer_text(w, "nodes", item->nodes);
            if (not )
                writer_text(w, "reason", item->why_not);
            writer_close(w, '}');
        }
        writer_close(w, ']');
    }
}

static void write_shape(struct json_writer *w, const struct shape *s)
{
    writer_open(w, "shape", '[');
    for (int i = 0; i < s->rank; i++)
        writer_int(w, NULL, s->dim[i]);
    writer_close(w, ']');
}

static void write_value(struct json_writer *w, const struct observation *o)
{
    const struct value *v = o->value;
    writer_open(w, NULL, '{');
    writer_text(w, "name", v->name);
    writer_text(w, "node", v->producer ? v->producer->name : NULL);
    write_shape(w, &v->shape);
    writer_text(w, "dtype", dtype_name(o->dtype));
    report_scale(w, o);
    writer_text(w, "observer", o->observer);
    writer_real(w, "min", o->min);
    writer_real(w, "max", o->max);
    writer_real(w, "mean", o->mean);
    writer_real(w, "std", o->std);
    writer_real(w, "saturated", o->saturated);
    writer_int(w, "not_finite", o->not_finite);
    report_histogram(w, o);
    writer_close(w, '}');
}

static void write_layer(struct json_writer *w, const struct layer_error *l)
{
    const struct node *n = l->fixed ? l->fixed->producer : NULL;
    writer_open(w, NULL, '{');
    writer_text(w, "name", l->value->name);
    writer_text(w, "node", n ? n->name : NULL);
    writer_text(w, "op", n ? n->op_name : NULL);
    writer_text(w, "dtype", l->fixed ? dtype_name(l->fixed->dtype) : NULL);
    writer_real(w, "cosine", l->cosine);
    report_db(w, "sqnr_db", l->sqnr_db);
    writer_real(w, "max_error", l->max_error);
    writer_real(w, "saturated", l->saturated);
    writer_close(w, '}');
}

bool report_quantize_json(const struct quant_result *r, struct buf *out, struct bpu_error *err)
{
    struct json_writer w = {.out = out};
    writer_open(&w, NULL, '{');
    write_head(&w, r);
    writer_open(&w, "notes", '[');
    for (int i = 0; i < r->fixed->note_count; i++)
        writer_text(&w, NULL, r->fixed->notes[i]);
    writer_close(&w, ']');
    write_fused(&w, r->fuse);
    if (r->comparison) {
        writer_open(&w, "outputs", '[');
        for (int i = 0; i < r->comparison->output_count; i++)
            write_layer(&w, &r->comparison->outputs[i]);
        writer_close(&w, ']');
        writer_open(&w, "layers", '[');
        for (size_t i = 0; i < r->comparison->count; i++)
            write_layer(&w, &r->comparison->layers[i]);
        writer_close(&w, ']');
    } else {
        writer_missing(&w, "outputs", r->why);
        writer_missing(&w, "layers", r->why);
    }
    if (r->calibration) {
        writer_open(&w, "values", '[');
        for (size_t i = 0; i < r->calibration->count; i++)
            if (r->calibration->items[i].observer)
                write_value(&w, &r->calibration->items[i]);
        writer_close(&w, ']');
    } else
        writer_missing(&w, "values", "the scales are those of the file");
    writer_close(&w, '}');
    buf_putc(out, '\n');
    return buf_ok(out, err);
}

/* ── text ── */

static void text_layer(struct buf *out, const struct layer_error *l)
{
    char db[32] = "equal";
    if (isfinite(l->sqnr_db))
        snprintf(db, sizeof db, "%.1f dB", l->sqnr_db);
    else if (l->sqnr_db < 0)
        snprintf(db, sizeof db, "float is 0");
    buf_printf(out, "  %-44.44s %10s  cosine %.6f  at the ends %.3f %%\n", l->value->name, db,
               l->cosine, 100 * l->saturated);
}

bool report_quantize_text(const struct quant_result *r, struct buf *out, struct bpu_error *err)
{
    struct counts c = count_nodes(r->fixed);
    size_t fused = 0;
    for (size_t i = 0; r->fuse && i < r->fuse->count; i++)
        fused += r->fuse->items[i].why_not == NULL;
    buf_printf(out, "%s: %d nodes in integers, %d in float, %d stubs; %zu sequences fused\n",
               r->model_name, c.fixed, c.real, c.stubs, fused);
    for (size_t i = 0; r->fuse && i < r->fuse->count; i++)
        if (r->fuse->items[i].why_not)
            buf_printf(out, "  not fused further: %s: %s\n", r->fuse->items[i].into,
                       r->fuse->items[i].why_not);
    if (r->calibration)
        buf_printf(out, "calibrated on %" PRId64 " frames\n", r->calibration->frames);
    else
        buf_puts(out, "scales of the file\n");
    for (int i = 0; i < r->fixed->note_count; i++)
        buf_printf(out, "  note: %s\n", r->fixed->notes[i]);
    if (!r->comparison) {
        buf_printf(out, "not compared with float: %s\n", r->why);
        return buf_ok(out, err);
    }
    const struct comparison *k = r->comparison;
    buf_printf(out, "against float, over %" PRId64 " frames; outputs:\n", k->frames);
    for (int i = 0; i < k->output_count; i++)
        text_layer(out, &k->outputs[i]);
    buf_puts(out, "worst layers:\n");
    for (size_t i = 0; i < k->count && i < TEXT_LAYERS; i++)
        text_layer(out, &k->layers[i]);
    return buf_ok(out, err);
}
