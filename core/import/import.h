/* import: from the bytes of an upload to a verified graph with static shapes.
 *
 *   bytes ─ import_detect ─┬ onnx_wire (bounds, skeleton) ─ protobuf-c ─ onnx_map (per operator) ─┐
 *                          ├ graph_json ──────────────────────────────────────────────────────────┼─ graph
 *                          └ archive ─┬ pickle, code (torchscript*) ────────────────────────────────┤
 *                                     └ JSON program (pt2*) ───────────────────────────────────────┘
 * Each node is bound to the operator table and inferred as it arrives (op_apply), so that operators whose
 * meaning depends on constants (Reshape, Slice, Resize) see them folded. */
#ifndef BPU_IMPORT_H
#define BPU_IMPORT_H

#include "core/ir/graph.h"

struct import_option { /* "input.NAME" = "1x3x224x224[:qint8]" */
    const char *key, *value;
};

struct import_request {
    const unsigned char *data; /* stays valid and unchanged while the graph lives */
    size_t size;
    const char *name; /* file name, for messages */
    const struct import_option *options;
    size_t option_count;
};

/* "onnx", "pt2", "torchscript" (any other zip archive until looked into), "bpug", "graph-json", or NULL
 * when the first n bytes belong to no known format. n may be less than the file. */
const char *import_detect(const void *head, size_t n);

/* The graph, sorted and verified, every shape inferred. NULL with *err: what, where (byte offset, line, node,
 * JSON pointer) and what to do. */
struct graph *import_model(struct arena *a, const struct import_request *req, struct bpu_error *err)
    BPU_CHECKED;

/* The format readers (called by import_model). */
struct graph *import_onnx(struct arena *a, const struct import_request *req, struct bpu_error *err)
    BPU_CHECKED;
struct graph *import_torchscript(struct arena *a, const struct import_request *req,
                                 struct bpu_error *err) BPU_CHECKED; /* any zip archive */
struct graph *import_graph_json(struct arena *a, const struct import_request *req,
                                struct bpu_error *err) BPU_CHECKED;

/* The shape (and dtype, if the option names one) that the options give for the input `name` at position
 * `index`; *found false if they give none. Malformed option: BPU_BAD_OPTION. */
bool import_input_shape(const struct import_request *req, const char *name, int index,
                        struct shape *shape, enum dtype *dtype, bool *found, struct bpu_error *err)
    BPU_CHECKED;
/* After all inputs are read: an input.* option that fits no input is an error that lists the inputs. */
bool import_options_used(const struct import_request *req, const struct graph *g,
                         struct bpu_error *err) BPU_CHECKED;

#endif
