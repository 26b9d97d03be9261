/* Options of a job, and what is said of a model. */
#include "core/job/load.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/import/import.h"
#include "core/job/compile_model.h"
#include "core/job/kind.h"
#include "core/job/perf_model.h"
#include "core/job/quantize.h"
#include "core/ops/op.h"
#include "core/run/dnnl.h"

static bool starts_with(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

static bool option_known(const char *key)
{
    return starts_with(key, "input.") || starts_with(key, "dtype.") || strcmp(key, "advice") == 0 ||
           strcmp(key, "report") == 0 || quantize_option(key) || evaluate_option(key) ||
           compile_option(key) || perf_option(key) || gate_option(key); /* input_source is one of these */
}

struct graph *job_load(struct arena *a, const void *data, size_t size, const char *name,
                       const struct job_option *options, size_t count, struct bpu_error *err)
{
    struct import_option *inputs = ARENA_ARRAY(a, struct import_option, count, err);
    if (!inputs)
        return NULL;
    if (program_is(data, size)) {
        error_set(err, BPU_NOT_A_MODEL, "byte 0",
                  "the file is a compiled program, and a network is needed");
        error_hint(err, "Programs can be measured (perf), run and disassembled; for the rest give the "
                        "model that it was compiled from.");
        return NULL;
    }
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        if (!option_known(options[i].key)) {
            error_set(err, BPU_BAD_OPTION, options[i].key, "there is no option \"%s\"",
                      options[i].key);
            error_hint(err, "Options are input.NAME=1x3x224x224[:qint8], dtype.NODE, input_source[.NAME] "
                            "and advice; of quantization calibration, calibration.scale, .mean, .std "
                            "and .frames, qconfig and compare.frames; of evaluation data, labels, "
                            "data.scale, output, layer.frames, suggest and seconds; of compilation "
                            "opt, balance_factor, cores, jobs, input_layout, output_layout, max_latency_us, "
                            "min_fps and max_ddr_mb; of perf layer_details and intervals.");
            return NULL;
        }
        if (starts_with(options[i].key, "input."))
            inputs[n++] = (struct import_option){options[i].key, options[i].value};
    }
    struct import_request req = {data, size, name, inputs, n};
    return import_model(a, &req, err);
}

bool job_check_options(const struct job_option *options, size_t count, struct arena *a,
                       struct check_options *out, struct bpu_error *err)
{
    struct check_override *overrides = ARENA_ARRAY(a, struct check_override, count, err);
    struct check_source *sources = ARENA_ARRAY(a, struct check_source, count, err);
    if (!overrides || !sources)
        return false;
    *out = (struct check_options){.advice_us = -1, .overrides = overrides, .sources = sources};
    for (size_t i = 0; i < count; i++) {
        if (strcmp(options[i].key, "advice") == 0) {
            char *end;
            errno = 0;
            out->advice_us = strtod(options[i].value, &end);
            if (errno || end == options[i].value || *end || !isfinite(out->advice_us) ||
                out->advice_us < 0)
                return error_set(err, BPU_BAD_OPTION, "advice",
                                 "advice is \"%s\", not a number of microseconds",
                                 options[i].value);
        } else if (starts_with(options[i].key, "input_source")) {
            const char *key = options[i].key, *v = options[i].value;
            if (strcmp(v, "ddr") != 0 && strcmp(v, "pyramid") != 0 && strcmp(v, "resizer") != 0)
                return error_set(err, BPU_BAD_OPTION, key,
                                 "%s is \"%s\", not ddr, pyramid or resizer", key, v);
            sources[out->source_count++] =
                (struct check_source){starts_with(key, "input_source.") ? key + 13 : "", v};
        } else if (starts_with(options[i].key, "dtype."))
            overrides[out->override_count++] =
                (struct check_override){options[i].key + 6, options[i].value};
    }
    return true;
}

bool job_unknown_march(const char *name, struct bpu_error *err)
{
    size_t count;
    const struct march *const *list = march_list(&count);
    char names[256] = "";
    for (size_t i = 0; i < count; i++) {
        size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s%s", i ? ", " : "", march_name(list[i]));
    }
    if (name && name[0])
        error_set(err, BPU_BAD_MARCH, "march", "there is no march \"%s\"", name);
    else
        error_set(err, BPU_BAD_MARCH, "march", "no march is given");
    return error_hint(err, "Give one of: %s.", names);
}

/* Not through json_dumps(), which leaves out a key that it has no memory for. */
static int append(const char *text, size_t size, void *out)
{
    buf_add(out, text, size);
    return 0; /* buf_ok() tells */
}

/* NULL: there is no memory for it. */
static json_t *port(const struct value *v)
{
    json_t *dims = json_array();
    bool ok = dims != NULL;
    for (int i = 0; i < v->shape.rank && ok; i++)
        ok = json_array_append_new(dims, v->shape.dim[i] < 0
                                             ? json_null()
                                             : json_integer(v->shape.dim[i])) == 0;
    if (!ok) {
        json_decref(dims);
        return NULL;
    }
    return json_pack("{s:s, s:o, s:s}", "name", v->name, "shape", dims, "dtype",
                     dtype_name(v->dtype));
}

/* Elements of all distinct constants that nodes with an effect read; running statistics of batch norms count. */
static bool parameters(const struct graph *g, int64_t *total, struct bpu_error *err)
{
    bool *seen = ARENA_ARRAY(g->arena, bool, g->value_count, err);
    if (!seen)
        return false;
    *total = 0;
    for (int i = 0; i < g->node_count; i++) {
        const struct node *n = g->nodes[i];
        for (int k = 0; n->fold != FOLD_CONSTANT && k < n->param_count + n->input_count; k++) {
            const struct value *v =
                k < n->param_count ? n->params[k].value : n->inputs[k - n->param_count];
            if (!v || !v->constant || seen[v->index])
                continue;
            seen[v->index] = true;
            int64_t elements = shape_elements(&v->shape);
            if (elements > 0 && __builtin_add_overflow(*total, elements, total))
                *total = INT64_MAX;
        }
    }
    return true;
}

bool job_model_json(const struct graph *g, struct buf *out, struct bpu_error *err)
{
    int64_t total;
    if (!parameters(g, &total, err))
        return false;
    json_t *inputs = json_array(), *outputs = json_array();
    bool ok = true;
    for (int i = 0; i < g->input_count; i++)
        ok = json_array_append_new(inputs, port(g->inputs[i])) == 0 && ok;
    for (int i = 0; i < g->output_count; i++)
        ok = json_array_append_new(outputs, port(g->outputs[i])) == 0 && ok;
    int live = 0;
    int64_t macs = 0;
    for (int i = 0; i < g->node_count; i++) {
        live += g->nodes[i]->fold == FOLD_NONE;
        int64_t n = g->nodes[i]->fold == FOLD_NONE ? op_macs(g->nodes[i]) : 0;
        if (n > 0 && __builtin_add_overflow(macs, n, &macs))
            macs = INT64_MAX;
    }
    json_t *root = json_pack("{s:s, s:s, s:s?, s:I, s:o, s:o, s:i, s:i, s:I, s:I}", "format",
                             g->format, "name", g->name, "producer", g->producer, "opset",
                             (json_int_t)g->opset, "inputs", inputs, "outputs", outputs, "nodes",
                             g->node_count, "live_nodes", live, "parameters",
                             (json_int_t)total, "macs", (json_int_t)macs);
    ok = ok && root && json_dump_callback(root, append, out, JSON_COMPACT) == 0;
    json_decref(root);
    if (!ok)
        return error_set(err, BPU_NO_MEMORY, NULL, "the model's description could not be written");
    return buf_ok(out, err);
}

void job_warm_up(void)
{
    size_t count;
    op_table(&count);
    op_find("torch.add");
    march_list(&count);
}

void job_warm_up_floats(void)
{
    /* Without the library the reference kernels compute, slower. */
    (void)dnnl_warm_up();
}
