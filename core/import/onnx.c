/* The ONNX file: from ModelProto to graph.
 *
 * Nodes may stand in any order; they are translated in topological order, each one bound, inferred and folded
 * at once, so that an adapter that needs a constant operand (Reshape, Slice, Resize …) finds it computed. */
#include "core/import/onnx.h"

#include <stdio.h>
#include <string.h>

#include "core/import/onnx_wire.h"
#include "core/import/recompose.h"
#include "core/ops/op.h"

/* Opsets that exporters of the last years write; older ones broadcast by attributes. */
enum { OLDEST_OPSET = 7 };

static void *proto_alloc(void *a, size_t n)
{
    struct bpu_error ignored = {0};
    return arena_alloc(a, n, &ignored);
}

static void proto_free(void *a, void *p)
{
    (void)a;
    (void)p;
}

static Onnx__ModelProto *parse(struct arena *a, const struct import_request *req,
                               struct bpu_error *err)
{
    Onnx__ModelProto *model = NULL;
    struct buf skeleton;
    buf_init(&skeleton, a->quota);
    if (onnx_wire_skeleton(req->data, req->size, &skeleton, err)) {
        ProtobufCAllocator allocator = {proto_alloc, proto_free, a};
        model = onnx__model_proto__unpack(&allocator, skeleton.size,
                                          (const uint8_t *)buf_str(&skeleton));
        if (!model)
            error_set(err, BPU_NO_MEMORY, NULL,
                      "the model's structure does not fit into the job's %zu MiB of memory",
                      a->quota >> 20);
    }
    buf_fini(&skeleton);
    return model;
}

static bool read_opsets(struct onnx_import *im, const Onnx__ModelProto *m)
{
    for (size_t i = 0; i < m->n_opset_import; i++) {
        const Onnx__OperatorSetIdProto *s = m->opset_import[i];
        if (!s->domain || !s->domain[0] || strcmp(s->domain, "ai.onnx") == 0)
            im->opset = s->version;
    }
    if (im->opset == 0 && m->n_opset_import == 0)
        im->opset = 1; /* the standard's default */
    if (im->opset && im->opset < OLDEST_OPSET) {
        error_set(im->err, BPU_UNSUPPORTED, "opset_import",
                  "the model is of opset %lld; opsets from %d on are read", (long long)im->opset,
                  OLDEST_OPSET);
        return error_hint(im->err, "Export again with opset_version=11, or convert the file with "
                                   "onnx.version_converter.");
    }
    im->graph->opset = im->opset;
    return true;
}

/* ── names ── */

static bool add_info(struct onnx_import *im, Onnx__ValueInfoProto **list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (list[i]->name && list[i]->type &&
            !name_table_put(im->value_info, list[i]->name, list[i]->type, im->err))
            return false;
    return true;
}

/* What is read: outputs of the graph and operands of nodes. */
static bool add_uses(struct onnx_import *im, const Onnx__GraphProto *gp)
{
    for (size_t i = 0; i < gp->n_output; i++)
        if (gp->output[i]->name &&
            (!name_table_put(im->outputs, gp->output[i]->name, gp->output[i], im->err) ||
             !name_table_put(im->used, gp->output[i]->name, gp->output[i], im->err)))
            return false;
    for (size_t i = 0; i < gp->n_node; i++)
        for (size_t k = 0; k < gp->node[i]->n_input; k++)
            if (!name_table_put(im->used, gp->node[i]->input[k], gp->node[i], im->err))
                return false;
    return true;
}

static bool read_initializers(struct onnx_import *im, const Onnx__GraphProto *gp)
{
    if (gp->n_sparse_initializer) {
        error_set(im->err, BPU_UNSUPPORTED, "sparse_initializer",
                  "the model holds %zu sparse tensors", gp->n_sparse_initializer);
        return error_hint(im->err, "Save the weights as dense tensors.");
    }
    for (size_t i = 0; i < gp->n_initializer; i++) {
        const Onnx__TensorProto *t = gp->initializer[i];
        if (!t->name || !t->name[0]) {
            error_set(im->err, BPU_BAD_MODEL, NULL, "initializer %zu has no name", i);
            error_where(im->err, "initializer %zu", i);
            return false;
        }
        if (name_table_find(im->values, t->name)) {
            error_set(im->err, BPU_BAD_MODEL, NULL, "two initializers are named \"%s\"", t->name);
            error_where(im->err, "initializer %zu", i);
            return false;
        }
        struct value *v = onnx_tensor(im, t, NULL);
        if (!v || !name_table_put(im->values, t->name, v, im->err))
            return false;
    }
    return true;
}

/* The declared type of an input, and whether all its extents are numbers. */
static bool declared_input(struct onnx_import *im, const Onnx__ValueInfoProto *vi,
                           struct shape *shape, enum dtype *dtype)
{
    *shape = shape_unknown();
    *dtype = DT_FLOAT32;
    if (!vi->type || vi->type->value_case != ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE) {
        if (!vi->type || vi->type->value_case == ONNX__TYPE_PROTO__VALUE__NOT_SET)
            return true;
        error_set(im->err, BPU_UNSUPPORTED, NULL, "input \"%s\" is not a tensor", vi->name);
        error_where(im->err, "input \"%s\"", vi->name);
        return error_hint(im->err, "Sequences, maps and optionals cannot be inputs of a BPU model.");
    }
    const Onnx__TypeProto__Tensor *t = vi->type->tensor_type;
    *dtype = onnx_dtype(t->elem_type);
    if (!t->shape)
        return true;
    if (t->shape->n_dim > SHAPE_MAX_RANK) {
        error_set(im->err, BPU_BAD_MODEL, NULL, "input \"%s\" has %zu dimensions; at most %d are "
                  "supported", vi->name, t->shape->n_dim, SHAPE_MAX_RANK);
        error_where(im->err, "input \"%s\"", vi->name);
        return false;
    }
    shape->rank = (int)t->shape->n_dim;
    for (int i = 0; i < shape->rank; i++) {
        const Onnx__TensorShapeProto__Dimension *d = t->shape->dim[i];
        bool given = d->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
        if (given && d->dim_value < -1) {
            error_set(im->err, BPU_BAD_MODEL, NULL, "extent %d of input \"%s\" is %lld", i, vi->name,
                      (long long)d->dim_value);
            return error_where(im->err, "input \"%s\"", vi->name);
        }
        shape->dim[i] = given && d->dim_value > 0 ? d->dim_value : -1;
    }
    return true;
}

static bool merge_shape(struct onnx_import *im, const char *name, struct shape *declared,
                        const struct shape *given)
{
    bool fits = declared->rank < 0 || declared->rank == given->rank;
    for (int i = 0; fits && i < declared->rank; i++)
        fits = declared->dim[i] < 0 || declared->dim[i] == given->dim[i];
    if (!fits) {
        char a[SHAPE_TEXT_MAX], b[SHAPE_TEXT_MAX];
        error_set(im->err, BPU_BAD_OPTION, NULL,
                  "option input.%s gives the shape %s, but the file says %s", name,
                  shape_text(given, a), shape_text(declared, b));
        error_where(im->err, "input \"%s\"", name);
        return error_hint(im->err, "An option may only fill in what the file leaves open (?).");
    }
    *declared = *given;
    return true;
}

static bool read_inputs(struct onnx_import *im, const Onnx__GraphProto *gp)
{
    int index = 0;
    for (size_t i = 0; i < gp->n_input; i++) {
        const Onnx__ValueInfoProto *vi = gp->input[i];
        if (!vi->name || !vi->name[0]) {
            error_set(im->err, BPU_BAD_MODEL, NULL, "input %zu has no name", i);
            return false;
        }
        struct value *known = name_table_find(im->values, vi->name);
        if (known && known->constant)
            continue; /* an initializer with a default that callers could replace */
        if (known) {
            error_set(im->err, BPU_BAD_MODEL, NULL, "two inputs are named \"%s\"", vi->name);
            return false;
        }
        struct shape shape, given;
        enum dtype dtype, given_dtype = DT_UNKNOWN;
        bool found;
        if (!declared_input(im, vi, &shape, &dtype) ||
            !import_input_shape(im->req, vi->name, index, &given, &given_dtype, &found, im->err))
            return false;
        if (found && !merge_shape(im, vi->name, &shape, &given))
            return false;
        if (found && given_dtype != DT_UNKNOWN)
            dtype = given_dtype;
        if (!shape_is_static(&shape)) {
            char text[SHAPE_TEXT_MAX];
            shape_text(&shape, text);
            error_set(im->err, BPU_SHAPE_NEEDED, NULL,
                      "the file leaves the shape of input \"%s\" open (%s)", vi->name, text);
            error_where(im->err, "input \"%s\"", vi->name);
            return error_hint(im->err, "Give it: --option input.%s=%s", vi->name,
                              shape.rank == 4 ? "1x3x224x224" : "1x…");
        }
        struct value *v = graph_add_value(im->graph, vi->name, im->err);
        if (!v || !graph_add_input(im->graph, v, im->err) ||
            !name_table_put(im->values, vi->name, v, im->err))
            return false;
        v->shape = shape;
        v->dtype = dtype;
        index++;
    }
    return true;
}

/* ── nodes ── */

static const char *node_name(struct onnx_import *im, const Onnx__NodeProto *p, size_t i)
{
    if (p->name && p->name[0])
        return p->name;
    return arena_printf(im->arena, im->err, "%s_%zu", p->op_type, i);
}

bool onnx_by_row(struct onnx_node *o, const struct onnx_row *row)
{
    struct graph *g = o->im->graph;
    struct bpu_error *err = o->im->err;
    if (row->adapt)
        return row->adapt(o);
    struct node *n = onnx_begin(o, row->torch, NULL);
    if (!n)
        return false;
    for (int i = 0; i < o->in_count; i++)
        if (!onnx_operand(o, n, o->in[i]))
            return false;
    for (const struct onnx_rename *r = row->renames; r->kind != ATTR_NONE; r++) {
        bool ok = true;
        if (r->kind == ATTR_INT)
            ok = node_set_int(g, n, r->to, onnx_int(o, r->from, (int64_t)r->otherwise), err);
        else if (r->kind == ATTR_BOOL)
            ok = node_set_bool(g, n, r->to, onnx_int(o, r->from, (int64_t)r->otherwise), err);
        else if (r->kind == ATTR_FLOAT)
            ok = node_set_float(g, n, r->to, onnx_float(o, r->from, r->otherwise), err);
        else if (r->kind == ATTR_STRING)
            ok = node_set_string(g, n, r->to, onnx_string(o, r->from, r->text), err);
        if (!ok)
            return false;
    }
    return onnx_finish(o, n);
}

static bool translate(struct onnx_import *im, const Onnx__NodeProto *p, size_t index)
{
    struct onnx_node o = {.im = im, .proto = p, .name = node_name(im, p, index)};
    if (!o.name)
        return false;
    o.in_count = (int)p->n_input;
    o.in = ARENA_ARRAY(im->arena, struct value *, p->n_input, im->err);
    if (!o.in)
        return false;
    for (size_t i = 0; i < p->n_input; i++)
        if (p->input[i][0] && !(o.in[i] = name_table_find(im->values, p->input[i]))) {
            onnx_bad(&o, "input \"%s\" is produced by no node, input or initializer", p->input[i]);
            return error_hint(im->err, "The file is incomplete; export it again.");
        }
    for (int i = 0; i < o.in_count; i++)
        o.in[i] = onnx_inside(o.in[i]);
    bool standard = !p->domain || !p->domain[0] || strcmp(p->domain, "ai.onnx") == 0;
    bool microsoft = !standard && strcmp(p->domain, "com.microsoft") == 0;
    const struct onnx_row *row = standard    ? onnx_row_find(p->op_type)
                                 : microsoft ? onnx_microsoft_row_find(p->op_type)
                                             : NULL;
    if (!row) {
        const char *name = standard ? arena_printf(im->arena, im->err, "onnx:%s", p->op_type)
                                    : arena_printf(im->arena, im->err, "%s:%s", p->domain, p->op_type);
        return name && onnx_opaque(&o, name);
    }
    return onnx_by_row(&o, row);
}

/* Order of translation by depth-first search with a stack of our own: position + 1 in state while a node is open. */
static bool topological(struct onnx_import *im, const Onnx__GraphProto *gp, size_t *order)
{
    size_t n = gp->n_node, done = 0;
    struct name_table *producers = name_table_new(im->arena, im->err);
    unsigned char *state = ARENA_ARRAY(im->arena, unsigned char, n, im->err);
    size_t *stack = ARENA_ARRAY(im->arena, size_t, n + 1, im->err);
    size_t *next = ARENA_ARRAY(im->arena, size_t, n + 1, im->err);
    size_t *numbers = ARENA_ARRAY(im->arena, size_t, n + 1, im->err);
    if (!producers || !state || !stack || !next || !numbers)
        return false;
    for (size_t i = 0; i < n; i++) {
        const Onnx__NodeProto *p = gp->node[i];
        numbers[i] = i;
        if (!p->op_type || !p->op_type[0]) {
            error_set(im->err, BPU_BAD_MODEL, NULL, "node %zu has no operator (op_type)", i);
            error_where(im->err, "node %zu", i);
            return false;
        }
        if (p->n_output == 0) {
            error_set(im->err, BPU_BAD_MODEL, NULL, "node \"%s\" (%s) has no outputs",
                      p->name ? p->name : "", p->op_type);
            error_where(im->err, "node %zu", i);
            return false;
        }
        for (size_t k = 0; k < p->n_output; k++)
            if (p->output[k][0] &&
                !name_table_put(producers, p->output[k], &numbers[i], im->err))
                return false;
    }
    for (size_t root = 0; root < n; root++) {
        if (state[root])
            continue;
        size_t depth = 0;
        stack[0] = root;
        next[0] = 0;
        state[root] = 1;
        for (;;) {
            const Onnx__NodeProto *p = gp->node[stack[depth]];
            if (next[depth] == p->n_input) {
                state[stack[depth]] = 2;
                order[done++] = stack[depth];
                if (depth-- == 0)
                    break;
                continue;
            }
            const char *name = p->input[next[depth]++];
            const size_t *from = name[0] && !name_table_find(im->values, name)
                                     ? name_table_find(producers, name)
                                     : NULL;
            if (!from || state[*from] == 2)
                continue;
            if (state[*from] == 1) {
                error_set(im->err, BPU_BAD_MODEL, NULL,
                          "the graph has a cycle: node \"%s\" waits for its own result",
                          node_name(im, gp->node[*from], *from));
                error_where(im->err, "node %zu", *from);
                return error_hint(im->err, "A network must be free of cycles.");
            }
            stack[++depth] = *from;
            next[depth] = 0;
            state[*from] = 1;
        }
    }
    return true;
}

static bool read_nodes(struct onnx_import *im, const Onnx__GraphProto *gp)
{
    size_t *order = ARENA_ARRAY(im->arena, size_t, gp->n_node, im->err);
    if (!order || !topological(im, gp, order))
        return false;
    for (size_t i = 0; i < gp->n_node; i++)
        if (!translate(im, gp->node[order[i]], order[i]))
            return false;
    return true;
}

static bool read_outputs(struct onnx_import *im, const Onnx__GraphProto *gp)
{
    if (gp->n_output == 0) {
        error_set(im->err, BPU_BAD_MODEL, "graph.output", "the graph has no output");
        return error_hint(im->err, "A network must return something; export it again.");
    }
    for (size_t i = 0; i < gp->n_output; i++) {
        const char *name = gp->output[i]->name ? gp->output[i]->name : "";
        struct value *v = name_table_find(im->values, name);
        if (!v) {
            error_set(im->err, BPU_BAD_MODEL, NULL,
                      "output \"%s\" is produced by no node of the graph", name);
            error_where(im->err, "output \"%s\"", name);
            return false;
        }
        if (v->is_output) {
            if (!graph_add_note(im->graph, im->err, "The file lists the output \"%.200s\" more than once.",
                                name))
                return false;
            continue;
        }
        if (!graph_add_output(im->graph, v, im->err))
            return false;
    }
    return true;
}

/* What exporters write when nobody named the graph says less than the file's name. */
static const char *graph_name(const Onnx__GraphProto *gp, const struct import_request *req)
{
    static const char *const defaults[] = {"",      "torch_jit", "torch-jit-export", "main_graph",
                                           "graph", "tf2onnx",   "main"};
    if (!gp->name)
        return req->name;
    for (size_t i = 0; i < sizeof defaults / sizeof defaults[0]; i++)
        if (strcmp(gp->name, defaults[i]) == 0)
            return req->name;
    return gp->name;
}

struct graph *import_onnx(struct arena *a, const struct import_request *req, struct bpu_error *err)
{
    Onnx__ModelProto *m = parse(a, req, err);
    if (!m)
        return NULL;
    const Onnx__GraphProto *gp = m->graph;
    if (!gp) {
        error_set(err, BPU_BAD_MODEL, "byte 0", "the file is an ONNX model without a graph");
        error_hint(err, "The file is cut short or was not exported completely.");
        return NULL;
    }
    struct onnx_import im = {.arena = a, .req = req, .err = err};
    im.graph = graph_new(a, graph_name(gp, req), "onnx", err);
    im.values = name_table_new(a, err);
    im.value_info = name_table_new(a, err);
    im.outputs = name_table_new(a, err);
    im.used = name_table_new(a, err);
    im.integers = name_table_new(a, err);
    if (!im.graph || !im.values || !im.value_info || !im.outputs || !im.used || !im.integers)
        return NULL;
    if (m->producer_name && m->producer_name[0]) {
        im.graph->producer = arena_printf(a, err, "%s %s", m->producer_name,
                                          m->producer_version ? m->producer_version : "");
        if (!im.graph->producer)
            return NULL;
    }
    bool ok = read_opsets(&im, m) && add_info(&im, gp->value_info, gp->n_value_info) &&
              add_info(&im, gp->output, gp->n_output) && add_uses(&im, gp) && read_initializers(&im, gp) &&
              read_inputs(&im, gp) && read_nodes(&im, gp) && read_outputs(&im, gp) &&
              onnx_qfinish(&im) && graph_recompose(im.graph, err) && graph_sort(im.graph, err);
    return ok ? im.graph : NULL;
}
