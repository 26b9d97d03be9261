/* The archive: what kind of zip file it is, and a TorchScript one from its data.pkl to a graph.
 *
 * Only archives with code can be read; what people save by mistake instead (weights alone, a
 * pickled module, a mobile archive) is told apart and named, with the call that saves the network
 * itself. */
#include "core/import/torchscript.h"

#include <stdio.h>
#include <string.h>

#include "core/import/bpug.h"
#include "core/import/pt2.h"
#include "core/import/quant_pair.h"
#include "core/import/recompose.h"
#include "core/ops/op.h"

#define SAVE_TRACE "torch.jit.save(torch.jit.trace(model.eval(), example_input), \"model.pt\")"

/* ── what it is ── */

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

static const struct archive_member *member_like(const struct archive *z, const char *start,
                                                const char *end)
{
    for (size_t i = 0; i < z->count; i++) {
        const char *name = archive_name(z, &z->members[i]);
        if (strncmp(name, start, strlen(start)) == 0 && ends_with(name, end))
            return &z->members[i];
    }
    return NULL;
}

static bool refuse(struct bpu_error *err, const struct archive_member *m, const char *what,
                   const char *hint)
{
    error_set(err, BPU_UNSUPPORTED, NULL, "%s", what);
    error_where(err, "member \"%.200s\"", m->name);
    return error_hint(err, "%s", hint);
}

/* data.pkl without code: weights, or a module as Python objects. */
static bool refuse_pickle(struct archive *z, const struct archive_member *m, struct bpu_error *err)
{
    struct bpu_error damage = {0};
    struct pickle_source src = {z->arena, z, m, "data/", true};
    struct py_value *v = pickle_read(&src, &damage);
    if (!v) {
        *err = damage;
        return false;
    }
    size_t tensors = 0;
    const char *first = NULL;
    for (size_t i = 0; v->kind == PY_DICT && i + 1 < v->count; i += 2)
        if (v->items[i + 1]->kind == PY_TENSOR) {
            tensors++;
            if (!first && v->items[i]->kind == PY_STRING)
                first = v->items[i]->text;
        }
    char text[400];
    if (v->kind == PY_DICT && (tensors || v->count == 0))
        snprintf(text, sizeof text,
                 "the file holds weights only, a state_dict of %zu tensors "
                 "(\"%.80s\" …), not the network",
                 tensors, first ? first : "");
    else if (v->kind == PY_DICT)
        snprintf(text, sizeof text,
                 "the file is a checkpoint with %zu entries (\"%.80s\" …): it "
                 "holds weights only, not the network",
                 v->count / 2, v->items[0]->kind == PY_STRING ? v->items[0]->text : "");
    else if (v->kind == PY_OBJECT)
        snprintf(text, sizeof text,
                 "the file is a pickled Python object of the class \"%.200s\", "
                 "which can only be loaded where that class' source code is",
                 v->text);
    else
        snprintf(text, sizeof text, "the file is a torch.save of %s, not of a network",
                 py_kind_name(v->kind));
    return refuse(err, m, text,
                  v->kind == PY_OBJECT
                      ? "Load it where it was saved, and save the network itself: " SAVE_TRACE "."
                      : "Load the weights into the model, then save the network itself: " SAVE_TRACE
                        ".");
}

/* The archive's kind by its members; false with an error unless it is TorchScript that is read
 * here. */
static bool check_kind(struct archive *z, struct bpu_error *err)
{
    const struct archive_member *m;
    const struct archive_member *pickle = archive_find(z, "data.pkl");
    if (!z->members)
        return error_set(err, BPU_BAD_MODEL, "byte 0", "the zip archive is empty");
    if ((m = archive_find(z, "bytecode.pkl")))
        return refuse(err, m,
                      "the file is a TorchScript archive for the mobile (lite) interpreter, "
                      "made by _save_for_lite_interpreter",
                      "Save the module for the full interpreter: " SAVE_TRACE ".");
    if ((m = archive_find(z, "model.json")) && archive_find(z, "attributes.pkl"))
        return refuse(err, m, "the file is a TorchScript archive of PyTorch before 1.4",
                      "Load it with PyTorch 1.4 or later and save it again with torch.jit.save.");
    if (pickle && member_like(z, "code/", ".py"))
        return true;
    if (pickle)
        return refuse_pickle(z, pickle, err);
    size_t arrays = 0;
    for (size_t i = 0; i < z->count; i++)
        arrays += ends_with(archive_name(z, &z->members[i]), ".npy");
    if (arrays > 0 && arrays == z->count) {
        refuse(err, &z->members[0],
               "the file is a NumPy archive (.npz), which holds arrays and no network",
               "Upload the network; arrays are for calibration and evaluation.");
        return false;
    }
    static const struct {
        const char *member, *what;
    } others[] = {
        {"[Content_Types].xml", "an Office document"}, {"META-INF/MANIFEST.MF", "a Java archive"},
        {"AndroidManifest.xml", "an Android package"}, {"model.weights.h5", "a Keras model"},
        {"model.mar", "a TorchServe archive"},         {"Manifest.json", "a Core ML package"},
    };
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if ((m = archive_find(z, others[i].member))) {
            char text[128];
            snprintf(text, sizeof text, "the file is %s, which BPU Hub does not read",
                     others[i].what);
            return refuse(err, m, text, "Export the network as ONNX or TorchScript.");
        }
    error_set(err, BPU_NOT_A_MODEL, NULL,
              "the zip archive of %zu members (\"%.150s\" …) is no model: it "
              "has neither data.pkl nor code",
              z->count, z->members[0].name);
    error_where(err, "member \"%.200s\"", z->members[0].name);
    return error_hint(err,
                      "Upload the model file itself, not zipped: ONNX, TorchScript, torch.export or "
                      "graph JSON.");
}

/* ── running ── */

static bool is_tensor_type(const char *type)
{
    return !type || strcmp(type, "Tensor") == 0;
}

/* One argument of forward. *missing: it has no shape. */
static struct py_value *input(struct ts_import *ts, const struct ts_param *p, int index,
                              const char **missing)
{
    struct shape shape = shape_unknown();
    enum dtype dtype = DT_UNKNOWN;
    bool found;
    if (!is_tensor_type(p->type)) {
        if (p->type && strncmp(p->type, "Optional[", 9) == 0)
            return &ts->none;
        error_set(ts->err, BPU_UNSUPPORTED, NULL,
                  "the input \"%.100s\" of forward is a %.100s, not a "
                  "tensor",
                  p->name, p->type);
        error_where(ts->err, "input \"%.100s\"", p->name);
        error_hint(ts->err, "Trace a wrapper module whose forward takes tensors only.");
        return NULL;
    }
    if (!import_input_shape(ts->req, p->name, index, &shape, &dtype, &found, ts->err))
        return NULL;
    if (!found && !*missing)
        *missing = p->name;
    struct value *v = graph_add_value(ts->graph, p->name, ts->err);
    if (!v || !graph_add_input(ts->graph, v, ts->err))
        return NULL;
    if (found)
        v->shape = shape;
    v->dtype = dtype == DT_UNKNOWN ? DT_FLOAT32 : dtype;
    return ts_tensor(ts, v);
}

static bool add_output(struct ts_import *ts, struct py_value *v, int depth)
{
    if (ts_is_tensor(v)) {
        struct value *value = ts_value(ts, v, NULL);
        for (int i = 0; value && i < ts->graph->output_count; i++)
            if (ts->graph->outputs[i] == value)
                return true;
        return value && graph_add_output(ts->graph, value, ts->err);
    }
    bool dict = v->kind == PY_DICT;
    if (depth > 16 || (v->kind != PY_LIST && v->kind != PY_TUPLE && !dict))
        return true; /* numbers and None are no outputs of a network */
    for (size_t i = dict; i < v->count; i += dict ? 2 : 1)
        if (!add_output(ts, v->items[i], depth + 1))
            return false;
    return true;
}

static bool shape_needed(struct ts_import *ts, const char *name)
{
    memset(ts->err, 0, sizeof *ts->err);
    error_set(ts->err, BPU_SHAPE_NEEDED, NULL,
              "the shape of input \"%.100s\" is not known: TorchScript files do not hold shapes",
              name);
    error_where(ts->err, "input \"%.100s\"", name);
    return error_hint(ts->err, "Give it: --option input.%.100s=1x3x224x224", name);
}

static bool run(struct ts_import *ts, struct py_value *root)
{
    struct ts_class *class = ts_class_find(ts, root->text);
    struct ts_function *f = class ? name_table_find(class->methods, "forward") : NULL;
    if (ts->err->code != BPU_NONE)
        return false;
    if (!f) {
        error_set(ts->err, BPU_BAD_MODEL, NULL, "the archive has no code for the forward of %.200s",
                  root->text);
        error_where(ts->err, "member \"%.200s\"", "code/");
        return error_hint(ts->err, "Save the network again: " SAVE_TRACE ".");
    }
    if (!ts_parse_function(ts, f))
        return false;
    const char *missing = NULL;
    size_t count = f->param_count ? f->param_count - 1 : 0;
    struct py_value **args = ARENA_ARRAY(ts->arena, struct py_value *, count, ts->err);
    for (size_t i = 0, index = 0; i < count; i++) {
        if (!args || !(args[i] = input(ts, &f->params[i + 1], (int)index, &missing)))
            return false;
        index += args[i]->kind == PY_VALUE;
    }
    if (!args)
        return false;
    ts->probing = missing != NULL;
    struct py_value *result = ts_call_function(ts, f, root, args, count);
    if (!result &&
        ts->err->code == BPU_NONE) /* no reader of calls may end so; if one does, say so */
        error_set(ts->err, BPU_UNSUPPORTED, f->file,
                  "the code of forward has a form that is not read");
    /* What is refused whatever the shapes are comes first. */
    if (missing && (result || ts->err->code != BPU_UNSUPPORTED))
        return (ts->err->code == BPU_NO_MEMORY || ts->err->code == BPU_LIMIT)
                   ? false
                   : shape_needed(ts, missing);
    if (!result || !add_output(ts, result, 0))
        return false;
    if (ts->graph->output_count == 0) {
        error_set(ts->err, BPU_BAD_MODEL, NULL, "forward returns %s, not a tensor",
                  py_kind_name(result->kind));
        error_where(ts->err, "%.200s, line %d", f->file, f->line);
        return error_hint(ts->err, "A network must return a tensor, or several.");
    }
    quant_pair_restore_stubs(ts->graph);
    return true;
}

static bool check_byte_order(struct archive *z, struct bpu_error *err)
{
    const struct archive_member *m = archive_find(z, "byteorder");
    const unsigned char *p = m ? archive_bytes(z, m, true, err) : NULL;
    if (m && !p)
        return false;
    if (!m || m->size < 3 || memcmp(p, "big", 3) != 0)
        return true;
    return refuse(err, m, "the weights of the file are in big-endian byte order",
                  "Load it and save it again on a little-endian machine.");
}

struct graph *import_torchscript(struct arena *a, const struct import_request *req,
                                 struct bpu_error *err)
{
    struct archive *z = archive_open(a, req->data, req->size, err);
    if (z && bpug_is_archive(z))
        return import_bpug(a, req, z, err);
    if (z && pt2_is_archive(z))
        return import_pt2(a, req, z, err);
    if (!z || !check_kind(z, err) || !check_byte_order(z, err))
        return NULL;
    struct ts_import ts = {.arena = a, .req = req, .err = err, .archive = z};
    ts.graph = graph_new(a, req->name, "torchscript", err);
    ts.members = name_table_new(a, err);
    ts.classes = name_table_new(a, err);
    ts.functions = name_table_new(a, err);
    ts.parts = name_table_new(a, err);
    if (!ts.graph || !ts.members || !ts.classes || !ts.functions || !ts.parts)
        return NULL;
    struct pickle_source src = {a, z, archive_find(z, "data.pkl"), "data/", false};
    struct py_value *root = pickle_read(&src, err);
    if (!root)
        return NULL;
    if (root->kind != PY_OBJECT || strncmp(root->text, "__torch__.", 10) != 0) {
        error_set(err, BPU_BAD_MODEL, NULL, "the pickle holds %s, not a TorchScript module",
                  py_kind_name(root->kind));
        error_where(err, "member \"%.200s\"", src.member->name);
        return NULL;
    }
    root->path = "";
    src.member = archive_find(z, "constants.pkl");
    src.storages = "constants/";
    if (src.member && !(ts.constants = pickle_read(&src, err)))
        return NULL;
    if (ts.constants && ts.constants->kind != PY_TUPLE && ts.constants->kind != PY_LIST)
        ts.constants = NULL;
    bool ok = run(&ts, root) && ts_fold_unused_weights(&ts) && graph_recompose(ts.graph, err) &&
              graph_sort(ts.graph, err);
    return ok ? ts.graph : NULL;
}
