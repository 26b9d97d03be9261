/* pickle: Python's object files as data.  Nothing is ever executed.
 *
 * A fixed set of opcodes builds values; a fixed set of globals (tensors, storages, ordered
 * dictionaries, TorchScript's own classes) has a meaning, every other one is refused by name and
 * byte.  Values may be shared and even contain themselves: whoever walks them bounds the depth. */
#ifndef BPU_IMPORT_PICKLE_H
#define BPU_IMPORT_PICKLE_H

#include "core/base/archive.h"
#include "core/ir/graph.h"

enum py_kind {
    PY_NONE,
    PY_BOOL,
    PY_INT,
    PY_FLOAT,
    PY_STRING,
    PY_LIST,
    PY_TUPLE,
    PY_DICT,    /* items: key, value, key, value … */
    PY_OBJECT,  /* text: its class; state: what BUILD gave it, mostly a dict */
    PY_TENSOR,  /* tensor */
    PY_STORAGE, /* tensor, of which dtype, data and elements count */
    PY_GLOBAL,  /* text: "collections.OrderedDict" */
    PY_UNKNOWN, /* a number or list that only inference shows (made by consumers) */
    PY_VALUE,   /* a value of the graph: value (made by consumers) */
    PY_PACKED,  /* items: weight, bias, stride, padding, dilation, groups (made by consumers) */
    PY_MARK,    /* private to the reader */
};
const char *py_kind_name(enum py_kind k);

struct pickle_tensor {
    enum dtype dtype;
    const char *storage;       /* its member: "data/0" */
    const unsigned char *data; /* of the storage; NULL if it was not looked up */
    int64_t storage_elements, offset;
    struct shape shape;
    int64_t stride[SHAPE_MAX_RANK];
    struct quant quant; /* count 0: not quantized */
};

/* Which elements of a tensor another one shows. */
struct py_view {
    int64_t offset, stride[SHAPE_MAX_RANK];
};

struct py_value {
    enum py_kind kind;
    int64_t i;               /* BOOL, INT */
    double f;                /* FLOAT */
    const char *text;        /* STRING, OBJECT, GLOBAL */
    struct py_value **items; /* LIST, TUPLE, DICT */
    size_t count, capacity;
    struct py_value *state;       /* OBJECT */
    struct pickle_tensor *tensor; /* TENSOR, STORAGE */
    struct value *value;          /* VALUE; TENSOR once it is part of the graph */
    /* what consumers note */
    const char *path;      /* OBJECT, TENSOR: where it stands in the model, "features.0" */
    struct py_value *base; /* VALUE: of which it is a view */
    struct py_view *view;  /* VALUE: which elements of the base */
    bool ready;            /* OBJECT: its state is in its final form */
    bool stale;            /* VALUE: changed by a write through a view of it */
    size_t offset;         /* in the pickle */
};

struct pickle_source {
    struct arena *arena;
    struct archive *archive;
    const struct archive_member *member; /* "data.pkl" */
    const char *storages;                /* folder of its storages: "data/" */
    /* Every global becomes an object without meaning and storages are not looked up: to see what a
     * file is that is refused anyway. */
    bool any_global;
};

struct py_value *pickle_read(const struct pickle_source *src, struct bpu_error *err) BPU_CHECKED;

/* The value of a string key; NULL if there is none or d is no dictionary. */
struct py_value *py_dict_get(const struct py_value *d, const char *key);

/* ── pickle_tensor.c ── */
/* The element type of "torch.FloatStorage"; false if it is none. */
bool pickle_storage_dtype(const char *global, enum dtype *out);
/* Storage from a persistent id, ("storage", torch.FloatStorage, "0", "cpu", 250). */
bool pickle_storage(const struct pickle_source *src, const struct py_value *id,
                    struct py_value *out, struct bpu_error *err) BPU_CHECKED;
/* Tensor from the arguments of torch._utils._rebuild_tensor_v2 or _rebuild_qtensor. */
bool pickle_tensor(const struct pickle_source *src, const struct py_value *args, bool quantized,
                   struct py_value *out, struct bpu_error *err) BPU_CHECKED;
/* Elements in row-major order: where they lie if they lie so, else a copy. NULL with *err. */
const unsigned char *pickle_tensor_bytes(struct arena *a, const struct pickle_tensor *t,
                                         struct bpu_error *err) BPU_CHECKED;
/* Element i of a contiguous or strided tensor of plain numbers. */
bool pickle_tensor_real(const struct pickle_tensor *t, int64_t i, double *out);

#endif
