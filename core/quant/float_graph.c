/* float_graph: the reference that calibration observes and that a fixed-point graph is compared with. */
#include "core/quant/float_graph.h"

#include <string.h>

#include "core/base/checked.h"
#include "core/quant/rewrite.h"
#include "core/quant/scheme.h"

static bool is_stub(const struct node *n)
{
    const char *kernel = kernel_of(n)->name;
    return strcmp(kernel, "quantize") == 0 || strcmp(kernel, "dequantize") == 0;
}

/* Quantized constants as the real numbers that they stand for. */
static bool plain_constants(struct rewrite *r)
{
    for (int i = 0; i < r->from->value_count; i++) {
        const struct value *v = r->from->values[i];
        if (!v->constant || !value_is_known(v) || !dtype_is_quantized(v->dtype) ||
            v->dtype == DT_QBOOL)
            continue;
        int64_t n = shape_elements(&v->shape);
        float *x = rewrite_floats(r->arena, v, r->err);
        if (!x || !(r->map[i] = graph_add_constant(r->to, v->name, &v->shape, DT_FLOAT32, x,
                                                   (size_t)n * sizeof *x, r->err)))
            return false;
    }
    return true;
}

static void make_real(struct value *v)
{
    if (v->constant)
        return;
    if (v->dtype == DT_QBOOL)
        v->dtype = DT_BOOL;
    else if (dtype_is_quantized(v->dtype))
        v->dtype = DT_FLOAT32;
    v->quant = (struct quant){0};
}

bool float_graph_new(struct arena *a, const struct graph *fused, struct float_graph *out,
                     struct bpu_error *err)
{
    struct rewrite r;
    if (!rewrite_begin(&r, a, fused, err) || !plain_constants(&r))
        return false;
    for (int i = 0; i < fused->input_count; i++)
        make_real(r.map[fused->inputs[i]->index]);
    for (int i = 0; i < fused->node_count; i++) {
        const struct node *n = fused->nodes[i];
        if (!r.live[i])
            continue;
        if (is_stub(n) && n->output_count == 1 && node_input(n, 0)) {
            if (!(r.map[n->outputs[0]->index] = rewrite_value(&r, n->inputs[0])))
                return false;
            continue;
        }
        struct node *copy = rewrite_node(&r, n);
        if (!copy || !rewrite_outputs(&r, copy, n))
            return false;
        for (int k = 0; k < copy->output_count; k++)
            make_real(copy->outputs[k]);
    }
    if (!rewrite_end(&r))
        return false;
    *out = (struct float_graph){r.to, r.map};
    return true;
}

/* ── frames ── */

static void *buffer(struct arena *a, const struct value *v, size_t size, struct bpu_error *err)
{
    char text[SHAPE_TEXT_MAX];
    int64_t n = shape_elements(&v->shape);
    if (n < 0 || size == 0) {
        error_set(err, BPU_SHAPE_NEEDED, v->name, "the shape of \"%s\" is open: %s", v->name,
                  shape_text(&v->shape, text));
        error_hint(err, "Give it with --option input.NAME=1x3x224x224.");
        return NULL;
    }
    return arena_alloc_array(a, (size_t)n, size, err);
}

bool frame_new(struct arena *a, const struct graph *g, struct frame *out, struct bpu_error *err)
{
    int64_t most = 1;
    *out = (struct frame){.graph = g,
                          .inputs = ARENA_ARRAY(a, void *, g->input_count, err),
                          .outputs = ARENA_ARRAY(a, void *, g->output_count, err)};
    if (!out->inputs || !out->outputs)
        return false;
    for (int i = 0; i < g->input_count; i++) {
        const struct value *v = g->inputs[i];
        int64_t n = shape_elements(&v->shape);
        most = n > most ? n : most;
        if (!(out->inputs[i] = buffer(a, v, dtype_size(v->dtype), err)))
            return false;
    }
    for (int i = 0; i < g->output_count; i++)
        if (!(out->outputs[i] = buffer(a, g->outputs[i], dtype_size(g->outputs[i]->dtype), err)))
            return false;
    out->floats = ARENA_ARRAY(a, float, most, err);
    return out->floats != NULL;
}

bool frame_fill(struct frame *f, const struct quant_data *data, int64_t i, struct bpu_error *err)
{
    for (int k = 0; k < f->graph->input_count; k++) {
        const struct value *v = f->graph->inputs[k];
        int64_t n = shape_elements(&v->shape);
        bool plain = v->dtype == DT_FLOAT32;
        if (!data->frame(data->ctx, i, k, plain ? f->inputs[k] : f->floats, err))
            return false;
        struct tensor t = {
            .shape = v->shape, .dtype = v->dtype, .quant = v->quant, .data = f->inputs[k]};
        for (int64_t e = 0; !plain && e < n; e++)
            tensor_store_real(&t, e, (double)f->floats[e]);
    }
    return true;
}
