/* pt2: shared by the files of the torch.export reader. Private to core/import.
 *
 *   pt2.c           the archive: layouts, versions, which members are read
 *   pt2_json.c      JSON members: text → jansson, unions, places in messages
 *   pt2_weights.c   parameters, buffers and constants of either layout
 *   pt2_symbol.c    symbolic extents: expressions, what the options give, ranges
 *   pt2_signature.c inputs and outputs of the program
 *   pt2_argument.c  arguments of a node → Python values
 *   pt2_program.c   nodes in order, each a call of an operator
 *   pt2_origin.c    module path and source line of a node
 *   pt2_quant.c     quantized_decomposed operators
 *
 * A program is a list of calls of PyTorch's operators: each becomes one call of the operator layer
 * of the TorchScript reader (torchscript.h), so that an operator has one adapter for both. */
#ifndef BPU_IMPORT_PT2_H
#define BPU_IMPORT_PT2_H

#include "core/import/json_read.h"
#include "core/import/torchscript.h"

/* Tensors of one kind: where their names lead to. */
struct pt2_store {
    const char *what;         /* "weight" */
    const char *member;       /* that names them */
    const char *folder;       /* of the raw members: "data/weights/" */
    json_t *config;           /* name → payload; NULL in the older layout */
    struct py_value *pickled; /* a dictionary; NULL in the newer one */
};

/* The graph that is being read: the program's, or one within a node. */
struct pt2_scope {
    struct pt2_scope *up;
    json_t *graph;
    const struct json_at *at;
    struct name_table *names; /* → py_value: what the nodes so far made */
    int depth;
};

struct pt2_import {
    struct ts_import ts;
    const char *member; /* of the program: "models/model.json" */
    json_t *root, *signature;
    struct pt2_scope *scope;
    struct name_table *symbols; /* "s0" → int64_t, its value */
    struct pt2_store weights, constants;
    struct name_table *pickles; /* member → its root, read once */
};

/* True for an archive of torch.export, whatever its layout and state. */
bool pt2_is_archive(const struct archive *z);
struct graph *import_pt2(struct arena *a, const struct import_request *req, struct archive *z,
                         struct bpu_error *err) BPU_CHECKED;

/* ── pt2_json.c ── */
/* The member as JSON, to be released by the caller; infinities as older versions write them become
 * strings. An error names member, line and column. */
json_t *pt2_json(struct ts_import *ts, const struct archive_member *m) BPU_CHECKED;
/* Puts the member before the place of an error, unless that is a member or an input. */
void pt2_place(struct bpu_error *err, const char *member);
/* A union is an object with one field. */
bool pt2_union(const json_t *j, const struct json_at *at, const char **tag, json_t **value,
               struct bpu_error *err) BPU_CHECKED;
/* The member `key`, of the given kind, which must be there. */
json_t *pt2_member(json_t *obj, const struct json_at *at, const char *key, json_type kind,
                   struct bpu_error *err) BPU_CHECKED;
/* The text of a member that is a string; NULL with an error. */
const char *pt2_text(json_t *obj, const struct json_at *at, const char *key,
                     struct bpu_error *err) BPU_CHECKED;
/* Also "Infinity", "-Infinity" and "NaN". */
bool pt2_real(const json_t *j, double *out);

/* ── pt2_weights.c ── */
/* What a tensor's description says. Extents that are expressions are -1 in `shape`. */
struct pt2_meta {
    enum dtype dtype; /* DT_UNKNOWN: a type that is not known here */
    int64_t code;     /* in the file */
    struct shape shape;
    json_t *sizes;
};
bool pt2_meta(json_t *j, const struct json_at *at, struct pt2_meta *out,
              struct bpu_error *err) BPU_CHECKED;
/* PyTorch's number of the type that the schema numbers `code`; -1 for those without a number. */
int64_t pt2_scalar_type(int64_t code);
enum dtype pt2_dtype(int64_t code);
/* Opens what holds the tensors of the program `name` (NULL: older layout). */
bool pt2_stores(struct pt2_import *im, const char *name) BPU_CHECKED;
void pt2_stores_close(struct pt2_import *im);
bool pt2_has(const struct pt2_store *s, const char *name);
/* The tensor `name`, of the shape that `meta` says. */
struct py_value *pt2_weight(struct pt2_import *im, const struct pt2_store *s, const char *name,
                            const struct pt2_meta *meta) BPU_CHECKED;

/* ── pt2_symbol.c ── */
/* False if a symbol of it has no value or it has a form that is not read. */
bool pt2_symbol_eval(const struct pt2_import *im, const char *expr, int64_t *out);
/* {"as_int": 3} or {"as_expr": …}: its value, now or at export. *known false: only inference shows
 * it. */
bool pt2_sym_int(const struct pt2_import *im, const json_t *j, int64_t *out, bool *at_export);
/* The shape of the input `name` at position `index`, from the file and the options. */
bool pt2_input_shape(struct pt2_import *im, const char *name, int index,
                     const struct pt2_meta *meta, struct shape *shape,
                     enum dtype *dtype) BPU_CHECKED;
/* The shape that a description gives now that the inputs have theirs; -1 where it is not known. */
struct shape pt2_shape(const struct pt2_import *im, const struct pt2_meta *meta);

/* ── pt2_signature.c ── */
bool pt2_inputs(struct pt2_import *im) BPU_CHECKED;
bool pt2_outputs(struct pt2_import *im) BPU_CHECKED;
/* The description of the tensor `name` in the current graph. */
bool pt2_describe(struct pt2_import *im, const char *name, const struct json_at *at,
                  struct pt2_meta *out) BPU_CHECKED;
/* A name gets its value; taken names are refused. */
bool pt2_bind(struct pt2_import *im, const char *name, const struct json_at *at,
              struct py_value *v) BPU_CHECKED;

/* ── pt2_argument.c ── */
/* NULL with an error at `at`. */
struct py_value *pt2_argument(struct pt2_import *im, const json_t *j, const struct json_at *at);
struct py_value *pt2_read(struct pt2_import *im, json_t *j, const struct json_at *at,
                          const char *key);

/* ── pt2_program.c ── */
bool pt2_nodes(struct pt2_import *im) BPU_CHECKED;

/* ── pt2_origin.c ── */
/* The user's own line, "model.py" and 37; NULL and -1 if the node does not say. */
bool pt2_source_line(struct arena *a, const json_t *metadata, const char **file, int *line,
                     struct bpu_error *err) BPU_CHECKED;
/* "features.0.0"; NULL if the node does not say. */
bool pt2_module_path(struct arena *a, const json_t *metadata, const char **path,
                     struct bpu_error *err) BPU_CHECKED;

#endif
