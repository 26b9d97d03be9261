/* graph_json: the parts of the graph JSON reader; core/import/graph_json.c has the pipeline.
 *
 * Every key that is read ("?": may be left out, and null is the same as left out):
 *
 *   root     format, name?, inputs, nodes, outputs, tensors?,
 *            producer?, opset? (of the file that the graph was converted from), notes? (texts)
 *   input    name, shape?, dtype? ("float32"), scale?, zero_point?, axis? (1)
 *            an extent may be null, -1 or "?": an option then gives the shape
 *   node     name?, op, inputs (names; null: operand left out), outputs (names),
 *            attrs?, params? ({"weight": name of a value}),
 *            output_shapes?, output_dtypes?, output_scales?, output_zero_points?, output_axes?:
 *            one entry per output each, null where nothing is to be said
 *            folded? ({"why", "into"?}): graph_json_fold.c
 *            origin? ({"source_op", "scope", "file", "line", "byte"}, each ?)
 *   tensor   shape, dtype, scale?, zero_point?, axis? (0), data? (base64, little endian);
 *            in a .bpug file ("weights.bin"), offset, bytes instead of data
 *
 * A scale is a number, or a list with one per channel along the axis; zero points go with it.
 * Attributes: an integer may stand for a list and for a float, null is None, and "inf", "-inf" and
 * "nan" are floats.  Nodes may stand in any order.  Any other key is an error. */
#ifndef BPU_IMPORT_GRAPH_JSON_H
#define BPU_IMPORT_GRAPH_JSON_H

#include "core/import/import.h"
#include "core/import/json_read.h"

struct json_reader {
    const struct import_request *req;
    const char *format;           /* of the graph: "graph-json" */
    const unsigned char *weights; /* the weight file of a .bpug; NULL: there is none */
    size_t weights_size;
    struct graph *g;
    json_t *root;
    bool tensors_left_out;    /* no "tensors" at all: params are names without content */
    struct node **file_nodes; /* in the order of the file */
};

/* The graph of the text r->req; r holds nothing else but format and weights. */
struct graph *json_graph(struct json_reader *r, struct arena *a, struct bpu_error *err) BPU_CHECKED;
/* "tensors": each becomes a constant; without "data" its content is not known. */
bool json_tensors(struct json_reader *r, struct bpu_error *err) BPU_CHECKED;
/* "nodes": creates them with their outputs, then links operands and params, then reads attributes.
 */
bool json_nodes(struct json_reader *r, struct bpu_error *err) BPU_CHECKED;
/* Reads what the file says about the outputs of node i, infers, and compares. Operands must be
 * done. */
bool json_node_apply(struct json_reader *r, size_t i, struct bpu_error *err) BPU_CHECKED;
/* "folded" of every node; inference must be done. */
bool json_folds(struct json_reader *r, struct bpu_error *err) BPU_CHECKED;
/* "attrs" of a bound or unbound node. */
bool json_attrs(struct json_reader *r, struct node *n, json_t *attrs, const struct json_at *at,
                struct bpu_error *err) BPU_CHECKED;
/* The value of that name, or an error that names the place and a name that is like it. */
struct value *json_find_value(struct json_reader *r, const json_t *name, const struct json_at *at,
                              struct bpu_error *err) BPU_CHECKED;
/* A name for a value that nothing has yet; says what has it otherwise. */
bool json_name_free(const struct json_reader *r, const char *name, const struct json_at *at,
                    struct bpu_error *err) BPU_CHECKED;

#endif
