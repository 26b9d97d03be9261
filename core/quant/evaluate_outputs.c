/* Outputs as one figure: the float network's are computed once and kept, so that many fixed-point
 * networks can be held against them. */
#include <string.h>

#include "core/base/checked.h"
#include "core/quant/evaluate_private.h"
#include "core/quant/scheme.h"

enum { MOST_KEPT = 16 << 20 }; /* floats */

static bool counts(const struct value *v)
{
    return scheme_is_real(v->dtype) && shape_elements(&v->shape) > 0;
}

bool outputs_expected(struct arena *a, const struct graph *floats, const struct evaluate_request *r,
                      int64_t frames, struct outputs_expected *out, struct bpu_error *err)
{
    const struct run_options options = {.engine = r->options.engine};
    struct frame f;
    *out = (struct outputs_expected){.floats = floats};
    for (int i = 0; i < floats->output_count; i++)
        if (counts(floats->outputs[i]) &&
            !checked_add(out->each, shape_elements(&floats->outputs[i]->shape), &out->each))
            return error_set(err, BPU_LIMIT, NULL, "the outputs are beyond all limits");
    frames = frames < r->data.frames ? frames : r->data.frames;
    out->frames = out->each > 0 && frames > MOST_KEPT / out->each ? MOST_KEPT / out->each : frames;
    out->frames = out->frames > 0 ? out->frames : 1;
    struct run *run = run_new(a, floats, &options, err);
    if (!run || !frame_new(a, floats, &f, err) ||
        !(out->items = arena_alloc_array(a, (size_t)out->frames, (size_t)out->each * sizeof(float),
                                         err)))
        return false;
    float *to = out->items;
    for (int64_t i = 0; i < out->frames; i++) {
        if (!frame_fill(&f, &r->data, i, err) ||
            !run_frame(run, (const void *const *)f.inputs, f.outputs, NULL, NULL, err))
            return false;
        for (int k = 0; k < floats->output_count; k++) {
            int64_t n = shape_elements(&floats->outputs[k]->shape);
            if (!counts(floats->outputs[k]))
                continue;
            memcpy(to, f.outputs[k], (size_t)n * sizeof *to);
            to += n;
        }
    }
    return true;
}

bool outputs_compare(struct arena *a, const struct graph *fixed, const struct outputs_expected *x,
                     const struct evaluate_request *r, struct value_error *sum,
                     struct bpu_error *err)
{
    const struct run_options options = {.engine = r->options.engine};
    struct frame f;
    const float *from = x->items;
    struct run *run = run_new(a, fixed, &options, err);
    if (!run || !frame_new(a, fixed, &f, err))
        return false;
    *sum = (struct value_error){0};
    for (int64_t i = 0; i < x->frames; i++) {
        if (!frame_fill(&f, &r->data, i, err) ||
            !run_frame(run, (const void *const *)f.inputs, f.outputs, NULL, NULL, err))
            return false;
        for (int k = 0; k < x->floats->output_count; k++) {
            const struct value *v = x->floats->outputs[k];
            if (!counts(v))
                continue;
            if (k < fixed->output_count && scheme_is_real(fixed->outputs[k]->dtype) &&
                shape_equal(&fixed->outputs[k]->shape, &v->shape)) {
                const struct value *y = fixed->outputs[k];
                struct tensor t = {.shape = y->shape, .dtype = y->dtype, .quant = y->quant,
                                   .data = f.outputs[k]};
                value_error_add(sum, from, &t);
            }
            from += shape_elements(&v->shape);
        }
    }
    return true;
}
