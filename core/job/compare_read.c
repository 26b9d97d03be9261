/* A report becomes a side.  What a figure is called in which report is data: a list of places per figure, the
 * first that holds a number counts.  Keys that are missing or of another type are as good as not there; only what
 * is no JSON, no report, or too much of it is refused. */
#define _GNU_SOURCE
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/import/json_read.h"
#include "core/job/compare.h"

enum { MOST_KEYS = 4 };

/* Where a figure stands: member by member; factor to the figure's unit. */
struct place {
    enum figure figure;
    const char *path[MOST_KEYS];
    double factor;
};

static const struct place places[] = {
    {FIGURE_LATENCY, {"summary", "latency_us"}, 1},
    {FIGURE_LATENCY, {"summary", "latency (us)"}, 1},
    {FIGURE_LATENCY, {"summary", "predicted_us"}, 1},
    {FIGURE_FPS, {"summary", "fps"}, 1},
    {FIGURE_FPS, {"summary", "FPS"}, 1},
    {FIGURE_DDR_LOAD, {"summary", "ddr_load_bytes"}, 1},
    {FIGURE_DDR_LOAD, {"summary", "loaded bytes per run"}, 1},
    {FIGURE_DDR_STORE, {"summary", "ddr_store_bytes"}, 1},
    {FIGURE_DDR_STORE, {"summary", "stored bytes per run"}, 1},
    {FIGURE_DDR, {"summary", "ddr_bytes"}, 1},
    {FIGURE_DDR, {"summary", "DDR bytes per run"}, 1},
    {FIGURE_SPILLS, {"ddr", "spills_bytes"}, 1},
    {FIGURE_SPILLS, {"traffic", "spills_bytes"}, 1},
    {FIGURE_SPILLS, {"summary", "spill_bytes"}, 1},
    {FIGURE_SRAM, {"summary", "sram_peak_bytes"}, 1},
    {FIGURE_SRAM, {"memory", "sram_peak_bytes"}, 1},
    {FIGURE_PROGRAM, {"summary", "program_bytes"}, 1},
    {FIGURE_CONSTANTS, {"summary", "constant_bytes"}, 1},
    {FIGURE_INSTRUCTIONS, {"summary", "instructions"}, 1},
    {FIGURE_OPS, {"summary", "ops"}, 1},
    {FIGURE_OPS, {"summary", "BPU OPs per run (effective)"}, 1},
    {FIGURE_OPS, {"summary", "macs"}, 2},
    {FIGURE_UTILIZATION, {"summary", "utilization"}, 1},
    {FIGURE_BOUND, {"summary", "bound_us"}, 1},
    {FIGURE_HOST, {"summary", "host_nodes"}, 1},
    {FIGURE_NODES, {"summary", "nodes"}, 1},
    {FIGURE_ILLEGAL, {"summary", "illegal"}, 1},
    {FIGURE_CPU_SEGMENTS, {"placement", "cpu_segments"}, 1},
    {FIGURE_TOP1, {"fixed", "top1"}, 1},
    {FIGURE_TOP5, {"fixed", "top5"}, 1},
    {FIGURE_FLOAT_TOP1, {"float", "top1"}, 1},
    {FIGURE_FLOAT_TOP5, {"float", "top5"}, 1},
    {FIGURE_LOSS, {"loss_points"}, 1},
    {FIGURE_AGREEMENT, {"agreement", "share"}, 1},
};

struct layer_place {
    enum layer_figure figure;
    const char *path[MOST_KEYS];
    double factor;
};

static const struct layer_place layer_places[] = {
    {LAYER_TIME, {"time_us"}, 1},
    {LAYER_OPS, {"ops"}, 1},
    {LAYER_OPS, {"macs"}, 2},
    {LAYER_LOAD, {"ddr_load_bytes"}, 1},
    {LAYER_LOAD, {"load_bytes"}, 1},
    {LAYER_STORE, {"ddr_store_bytes"}, 1},
    {LAYER_STORE, {"store_bytes"}, 1},
    {LAYER_SPILL, {"spill_bytes"}, 1},
    {LAYER_SQNR, {"accumulated", "sqnr_db"}, 1},
    {LAYER_SQNR, {"sqnr_db"}, 1},
};

/* ── reading from JSON ── */

static json_t *at(json_t *root, const char *const path[MOST_KEYS])
{
    for (int i = 0; i < MOST_KEYS && path[i]; i++)
        root = json_object_get(root, path[i]);
    return root;
}

/* A finite number, negative ones as well. */
static bool number(const json_t *j, double *out)
{
    if (!json_is_number(j))
        return false;
    *out = json_number_value(j);
    return isfinite(*out);
}

/* A copy of the member's text; fallback where there is none.  NULL: no memory. */
static const char *text(struct compare_side *s, json_t *object, const char *key, const char *fallback,
                        struct bpu_error *err)
{
    const char *t = json_string_value(json_object_get(object, key));
    return t ? arena_strdup(s->arena, t, err) : fallback;
}

static bool too_many(const struct compare_side *s, const char *what, size_t n, struct bpu_error *err)
{
    if (n <= COMPARE_MOST_ITEMS)
        return false;
    error_set(err, BPU_LIMIT, s->label, "the report has %zu %s; %d can be compared", n, what,
              COMPARE_MOST_ITEMS);
    return true;
}

/* The first string of the members `keys`, or "". */
static const char *first_text(struct compare_side *s, json_t *object, const char *const *keys,
                              struct bpu_error *err)
{
    for (; *keys; keys++)
        if (json_is_string(json_object_get(object, *keys)))
            return text(s, object, *keys, "", err);
    return "";
}

static void read_shape(json_t *layer, struct compare_layer *out)
{
    static const char *const keys[] = {"shape_nhwc", "shape", "original_shape", "original_shape_nhwc",
                                       "output_shape"};
    json_t *shape = NULL;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0] && !json_is_array(shape); i++)
        shape = json_object_get(layer, keys[i]);
    if (!json_is_array(shape)) /* a check's node: that of its first result */
        shape = json_object_get(json_array_get(json_object_get(layer, "outputs"), 0), "shape");
    out->rank = -1;
    if (!json_is_array(shape) || json_array_size(shape) > COMPARE_RANK)
        return;
    int rank = (int)json_array_size(shape);
    for (int i = 0; i < rank; i++) {
        json_t *extent = json_array_get(shape, (size_t)i);
        if (!json_is_integer(extent))
            return;
        out->shape[i] = json_integer_value(extent);
    }
    out->rank = rank;
}

static bool read_layer(struct compare_side *s, json_t *j, struct compare_layer *out,
                       struct bpu_error *err)
{
    static const char *const names[] = {"name", "layer", "node", NULL}, *const ops[] = {"op", "kind", NULL};
    out->name = first_text(s, j, names, err);
    out->op = out->name ? first_text(s, j, ops, err) : NULL;
    if (!out->op)
        return false;
    read_shape(j, out);
    for (size_t i = 0; i < sizeof layer_places / sizeof layer_places[0]; i++) {
        const struct layer_place *p = &layer_places[i];
        double v;
        if (out->known[p->figure] || !number(at(j, p->path), &v))
            continue;
        out->known[p->figure] = true;
        out->v[p->figure] = v * p->factor;
    }
    return true;
}

/* Nodes that were folded are no layers: nothing runs for them. */
static bool is_folded(json_t *j)
{
    const char *verdict = json_string_value(json_object_get(j, "verdict"));
    return verdict && strcmp(verdict, "folded") == 0;
}

static bool read_list(struct compare_side *s, json_t *list, const char *what, struct layer_list *out,
                      struct bpu_error *err)
{
    size_t n = json_array_size(list);
    if (out->there || !json_is_array(list))
        return true;
    if (too_many(s, what, n, err))
        return false;
    out->items = ARENA_ARRAY(s->arena, struct compare_layer, n, err);
    if (!out->items)
        return false;
    for (size_t i = 0; i < n; i++) {
        json_t *j = json_array_get(list, i);
        if (json_is_object(j) && !is_folded(j) &&
            !read_layer(s, j, &out->items[out->count++], err))
            return false;
    }
    out->there = true;
    return true;
}

/* ── findings ── */

static int severity_of(const char *name)
{
    return !name ? 2 : strcmp(name, "error") == 0 ? 0 : strcmp(name, "warning") == 0 ? 1 : 2;
}

static bool read_finding(struct compare_side *s, json_t *j, struct compare_finding *f,
                         struct bpu_error *err)
{
    static const char *const severities[] = {"error", "warning", "advice"};
    f->rule = text(s, j, "rule", "", err);
    f->node = text(s, j, "node", "", err);
    f->op = text(s, j, "op", "", err);
    f->message = text(s, j, "message", "", err);
    f->hint = text(s, j, "hint", "", err);
    f->severity = severity_of(json_string_value(json_object_get(j, "severity")));
    f->severity_name = severities[f->severity];
    return f->rule && f->node && f->op && f->message && f->hint;
}

static bool read_findings(struct compare_side *s, json_t *list, struct bpu_error *err)
{
    size_t n = json_array_size(list);
    if (s->has_findings || !json_is_array(list))
        return true;
    if (too_many(s, "findings", n, err))
        return false;
    s->findings = ARENA_ARRAY(s->arena, struct compare_finding, n, err);
    if (!s->findings)
        return false;
    for (size_t i = 0; i < n; i++) {
        json_t *j = json_array_get(list, i);
        if (json_is_object(j) && !read_finding(s, j, &s->findings[s->finding_count++], err))
            return false;
    }
    s->has_findings = true;
    return true;
}

/* ── figures ── */

static void set(struct compare_side *s, enum figure f, double v)
{
    s->figures[f] = (struct figure_value){true, v, NULL};
}

/* The worst of the outputs. */
static void read_outputs(struct compare_side *s, json_t *list)
{
    static const char *const nested[MOST_KEYS] = {"accumulated", "sqnr_db"};
    size_t i;
    json_t *j;
    json_array_foreach(list, i, j)
    {
        double v;
        if (number(at(j, nested), &v) || number(json_object_get(j, "sqnr_db"), &v))
            if (!s->figures[FIGURE_SQNR].known || v < s->figures[FIGURE_SQNR].v)
                set(s, FIGURE_SQNR, v);
    }
}

static bool read_figures(struct compare_side *s, json_t *root, struct bpu_error *err)
{
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        const struct place *p = &places[i];
        struct figure_value *f = &s->figures[p->figure];
        json_t *j = at(root, p->path);
        double v;
        if (!f->known && number(j, &v))
            set(s, p->figure, v * p->factor);
        else if (!f->known && json_is_object(j) && !(f->why_not = text(s, j, "reason", f->why_not, err)) &&
                 err->code != BPU_NONE)
            return false;
    }
    const struct figure_value *load = &s->figures[FIGURE_DDR_LOAD], *store = &s->figures[FIGURE_DDR_STORE];
    if (!s->figures[FIGURE_DDR].known && load->known && store->known)
        set(s, FIGURE_DDR, load->v + store->v);
    read_outputs(s, json_object_get(root, "outputs"));
    return true;
}

/* ── the whole ── */

static bool bad(const struct compare_side *s, const char *what, struct bpu_error *err)
{
    error_set(err, BPU_BAD_REPORT, s->label, "this is no report of BPU Hub: %s", what);
    return error_hint(err, "Reports are what --json writes and GET /v1/jobs/{id}/report answers.");
}

static const char *kind_of(const char *schema)
{
    static const char *const kinds[] = {"check", "compile", "perf", "quantize", "evaluate", "pipeline"};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        size_t n = strlen(kinds[i]);
        if (strncmp(schema, "bpuhub.", 7) == 0 && strncmp(schema + 7, kinds[i], n) == 0 &&
            schema[7 + n] == '/')
            return kinds[i];
    }
    return NULL;
}

static bool read_head(struct compare_side *s, json_t *root, const char *kind, struct bpu_error *err)
{
    json_t *model = json_object_get(root, "model"), *options = json_object_get(root, "options");
    const char *verdict = json_string_value(json_object_get(root, "verdict"));
    bool first = !s->schema;
    if (first) {
        s->schema = text(s, root, "schema", "", err);
        s->kinds = kind;
        s->model_id = text(s, model, "id", "", err);
        s->model_name = text(s, model, "name", "", err);
        s->model_format = text(s, model, "format", "", err);
        s->march = text(s, root, "march", "", err);
        s->options = text(s, options, "canonical", "", err);
    } else {
        s->kinds = arena_printf(s->arena, err, "%s, %s", s->kinds, kind);
    }
    if (verdict && (!s->verdict || !*s->verdict || strcmp(verdict, "illegal") == 0))
        s->verdict = strcmp(verdict, "illegal") == 0 ? "illegal" : strcmp(verdict, "legal") == 0 ? "legal" : "";
    return s->kinds && (!first || (s->schema && s->model_id && s->model_name && s->model_format && s->march &&
                                   s->options));
}

static bool read_root(struct compare_side *s, json_t *root, struct bpu_error *err)
{
    const char *schema = json_string_value(json_object_get(root, "schema"));
    if (!json_is_object(root))
        return bad(s, "it is no JSON object", err);
    if (!schema)
        return bad(s, "it has no \"schema\"", err);
    const char *kind = kind_of(schema);
    if (!kind) {
        char what[128];
        snprintf(what, sizeof what, "its schema is \"%.60s\"", schema);
        return bad(s, what, err);
    }
    bool worth = strcmp(kind, "quantize") == 0 || strcmp(kind, "evaluate") == 0; /* sorted by merit */
    struct layer_list *layers = &s->layers;
    layers->ordered = layers->there ? layers->ordered : !worth;
    s->nodes.ordered = true;
    return read_head(s, root, kind, err) && read_figures(s, root, err) &&
           read_findings(s, json_object_get(root, "findings"), err) &&
           read_list(s, json_object_get(root, "nodes"), "nodes", &s->nodes, err) &&
           read_list(s, json_object_get(root, "layers"), "layers", layers, err);
}

void compare_side_init(struct compare_side *s, struct arena *a, const char *label)
{
    *s = (struct compare_side){.arena = a, .label = label};
}

bool compare_side_read(struct compare_side *s, const void *json, size_t size, struct bpu_error *err)
{
    size_t left = s->arena->quota > s->arena->used ? s->arena->quota - s->arena->used : 0;
    if (size > COMPARE_MOST_BYTES)
        return error_set(err, BPU_LIMIT, s->label, "the report has %zu MiB; %zu MiB can be compared",
                         size >> 20, COMPARE_MOST_BYTES >> 20);
    struct bpu_error inner = {0};
    json_t *root = json_read_text(json, size, left, &inner);
    if (!root) {
        if (inner.code != BPU_BAD_MODEL)
            return error_set(err, inner.code, s->label, "%s", inner.message);
        error_set(err, BPU_BAD_REPORT, s->label, "%s: %s", inner.where, inner.message);
        return error_hint(err, "%s", inner.hint);
    }
    bool ok = read_root(s, root, err);
    json_decref(root);
    return ok;
}

bool compare_is_report(const void *data, size_t size)
{
    static const char graph[] = "\"bpuhub.graph/", report[] = "\"bpuhub.";
    const unsigned char *p = data;
    while (size && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t' || *p == 0xEF || *p == 0xBB || *p == 0xBF))
        p++, size--;
    return size && *p == '{' && memmem(p, size, report, sizeof report - 1) &&
           !memmem(p, size, graph, sizeof graph - 1);
}
