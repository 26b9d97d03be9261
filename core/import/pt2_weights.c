/* Parameters, buffers and constants.
 *
 * PyTorch 2.9 and later write the raw bytes of each storage as a member and describe its tensors
 * in a JSON member; before that the tensors are a dictionary written by torch.save, which is an
 * archive inside the archive.  Either way a tensor is a view of bytes that lie in the file. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/base/checked.h"
#include "core/import/pt2.h"

/* ── types and descriptions ── */

int64_t pt2_scalar_type(int64_t code)
{
    if (code == 13) /* bfloat16 */
        return 15;
    return code >= 1 && code <= 12 ? code - 1 : -1;
}

enum dtype pt2_dtype(int64_t code)
{
    return code == 28 ? DT_UINT16 : ts_dtype(pt2_scalar_type(code));
}

bool pt2_meta(json_t *j, const struct json_at *at, struct pt2_meta *out, struct bpu_error *err)
{
    const json_t *code = pt2_member(j, at, "dtype", JSON_INTEGER, err);
    json_t *sizes = code ? pt2_member(j, at, "sizes", JSON_ARRAY, err) : NULL;
    if (!sizes)
        return false;
    size_t rank = json_array_size(sizes);
    if (rank > SHAPE_MAX_RANK)
        return json_fail(err, BPU_BAD_MODEL, AT_KEY(at, "sizes"),
                         "a tensor has %zu dimensions; at most %d are supported", rank,
                         SHAPE_MAX_RANK);
    *out = (struct pt2_meta){.code = json_integer_value(code), .sizes = sizes};
    out->dtype = pt2_dtype(out->code);
    out->shape.rank = (int)rank;
    for (size_t i = 0; i < rank; i++) {
        const char *tag;
        json_t *value;
        const struct json_at *here = AT_INDEX(AT_KEY(at, "sizes"), i);
        if (!pt2_union(json_array_get(sizes, i), here, &tag, &value, err))
            return false;
        if (strcmp(tag, "as_expr") == 0)
            out->shape.dim[i] = -1;
        else if (strcmp(tag, "as_int") != 0 || !json_is_integer(value))
            return json_fail(err, BPU_BAD_MODEL, here,
                             "an extent is \"%.40s\" with %s; an integer or an expression is "
                             "expected",
                             tag, json_kind(value));
        else if ((out->shape.dim[i] = json_integer_value(value)) < 0)
            return json_fail(err, BPU_BAD_MODEL, here, "an extent is %" PRId64, out->shape.dim[i]);
    }
    return true;
}

/* ── the stores ── */

/* What torch.save wrote into a member. */
static struct py_value *read_pickle(struct pt2_import *im, const char *member)
{
    struct ts_import *ts = &im->ts;
    struct py_value *root = name_table_find(im->pickles, member);
    if (root)
        return root;
    const struct archive_member *m = archive_find(ts->archive, member);
    const unsigned char *p = m ? archive_bytes(ts->archive, m, false, ts->err) : NULL;
    if (!p) {
        if (!m) {
            error_set(ts->err, BPU_BAD_MODEL, NULL, "the member \"%.150s\" is missing", member);
            pt2_place(ts->err, member);
        }
        return NULL;
    }
    struct bpu_error inner = {0};
    struct archive *z = archive_open(ts->arena, p, (size_t)m->size, &inner);
    struct pickle_source src = {ts->arena, z, z ? archive_find(z, "data.pkl") : NULL, "data/",
                                false};
    if (z && !src.member)
        error_set(&inner, BPU_BAD_MODEL, NULL, "it is an archive without data.pkl");
    const struct archive_member *order = z ? archive_find(z, "byteorder") : NULL;
    const unsigned char *text = order ? archive_bytes(z, order, false, &inner) : NULL;
    if (text && order->size >= 3 && memcmp(text, "big", 3) == 0)
        error_set(&inner, BPU_UNSUPPORTED, NULL, "the tensors are in big-endian byte order");
    root = inner.code == BPU_NONE ? pickle_read(&src, &inner) : NULL;
    if (root)
        return name_table_put(im->pickles, m->name + ts->archive->root, root, ts->err) ? root
                                                                                       : NULL;
    char where[200];
    snprintf(where, sizeof where, "member \"%.80s\"%s%.100s", m->name, inner.where[0] ? ", " : "",
             inner.where);
    error_set(ts->err, inner.code, where, "%s", inner.message);
    error_hint(ts->err, "%s", inner.hint[0] ? inner.hint : "Export and save the program again.");
    return NULL;
}

static bool open_pickled(struct pt2_import *im, struct pt2_store *s, const char *member)
{
    s->member = member;
    s->pickled = read_pickle(im, member);
    if (!s->pickled)
        return false;
    if (s->pickled->kind == PY_DICT)
        return true;
    error_set(im->ts.err, BPU_BAD_MODEL, NULL, "the member holds %s, not a dictionary of tensors",
              py_kind_name(s->pickled->kind));
    pt2_place(im->ts.err, member);
    return false;
}

static bool open_config(struct pt2_import *im, struct pt2_store *s, const char *member)
{
    struct bpu_error *err = im->ts.err;
    const struct archive_member *m = archive_find(im->ts.archive, member);
    s->member = member;
    json_t *root = pt2_json(&im->ts, m);
    if (!root)
        return false;
    s->config = json_incref(pt2_member(root, NULL, "config", JSON_OBJECT, err));
    json_decref(root);
    if (!s->config)
        pt2_place(err, member);
    return s->config != NULL;
}

static bool open_store(struct pt2_import *im, struct pt2_store *s, const char *name,
                       const char *kind)
{
    struct ts_import *ts = &im->ts;
    s->folder = arena_printf(ts->arena, ts->err, "data/%s/", kind);
    const char *config =
        arena_printf(ts->arena, ts->err, "data/%s/%s_%s_config.json", kind, name, kind);
    const char *pickled = arena_printf(ts->arena, ts->err, "data/%s/%s.pt", kind, name);
    if (!s->folder || !config || !pickled)
        return false;
    if (archive_find(ts->archive, config))
        return open_config(im, s, config);
    if (archive_find(ts->archive, pickled)) /* PyTorch 2.8 */
        return open_pickled(im, s, pickled);
    s->member = config;
    return true; /* missing only if a tensor is asked for */
}

bool pt2_stores(struct pt2_import *im, const char *name)
{
    im->weights.what = "weight";
    im->constants.what = "constant";
    if (name)
        return open_store(im, &im->weights, name, "weights") &&
               open_store(im, &im->constants, name, "constants");
    static const char state[] = "serialized_state_dict.pt", constants[] = "serialized_constants.pt";
    const struct archive_member *m = archive_find(im->ts.archive, constants);
    im->constants.member = constants;
    /* Either is an empty member when there is nothing to save; old versions had no constants. */
    if (m && m->size && !open_pickled(im, &im->constants, constants))
        return false;
    m = archive_find(im->ts.archive, state);
    im->weights.member = state;
    return (m && !m->size) || open_pickled(im, &im->weights, state);
}

void pt2_stores_close(struct pt2_import *im)
{
    json_decref(im->weights.config);
    json_decref(im->constants.config);
}

/* ── tensors ── */

static bool wrong(struct pt2_import *im, const struct pt2_store *s, const char *name,
                  enum bpu_code code, const char *fmt, ...) BPU_PRINTF(5, 6);
static bool wrong(struct pt2_import *im, const struct pt2_store *s, const char *name,
                  enum bpu_code code, const char *fmt, ...)
{
    char where[200], text[300];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    snprintf(where, sizeof where, "member \"%.120s\"", s->member);
    return error_set(im->ts.err, code, where, "the %s \"%.100s\" %s", s->what, name, text);
}

/* Strides and offset, and that the last element lies within the storage. */
static bool read_view(struct pt2_import *im, const struct pt2_store *s, const char *name,
                      json_t *meta, const struct json_at *at, struct pickle_tensor *t)
{
    struct bpu_error *err = im->ts.err;
    json_t *strides = pt2_member(meta, at, "strides", JSON_ARRAY, err);
    bool empty = shape_elements(&t->shape) == 0, dummy;
    if (!strides)
        return false;
    if ((int)json_array_size(strides) != t->shape.rank)
        return wrong(im, s, name, BPU_BAD_MODEL, "has %d dimensions, but %zu strides",
                     t->shape.rank, json_array_size(strides));
    const json_t *offset = json_object_get(meta, "storage_offset");
    if (offset && (!pt2_sym_int(im, offset, &t->offset, &dummy) || t->offset < 0))
        return wrong(im, s, name, BPU_BAD_MODEL, "has an offset that is no number of elements");
    int64_t last = t->offset;
    bool fits = true;
    for (int i = 0; i < t->shape.rank; i++) {
        int64_t step = 0;
        if (!pt2_sym_int(im, json_array_get(strides, (size_t)i), &t->stride[i], &dummy) ||
            t->stride[i] < 0)
            return wrong(im, s, name, BPU_BAD_MODEL, "has a stride that is no number of elements");
        if (t->shape.dim[i] <= 1) { /* never used, and perhaps absurd */
            t->stride[i] = 0;
            continue;
        }
        fits = fits && checked_mul(t->shape.dim[i] - 1, t->stride[i], &step) &&
               checked_add(last, step, &last);
    }
    if (empty ? t->offset <= t->storage_elements : fits && last < t->storage_elements)
        return true;
    char text[SHAPE_TEXT_MAX];
    return wrong(im, s, name, BPU_BAD_MODEL,
                 "of %.100s at offset %" PRId64 " reaches beyond its member \"%.60s\", which holds "
                 "%" PRId64 " elements",
                 shape_text(&t->shape, text), t->offset, t->storage, t->storage_elements);
}

static struct pickle_tensor *raw_tensor(struct pt2_import *im, const struct pt2_store *s,
                                        const char *name, json_t *meta, const struct json_at *at,
                                        const char *path)
{
    struct ts_import *ts = &im->ts;
    struct pt2_meta m = {0};
    struct pickle_tensor *t = ARENA_NEW(ts->arena, struct pickle_tensor, ts->err);
    if (!t || !pt2_meta(meta, at, &m, ts->err))
        return NULL;
    t->storage = arena_printf(ts->arena, ts->err, "%s%s", s->folder, path);
    const struct archive_member *raw = t->storage ? archive_find(ts->archive, t->storage) : NULL;
    size_t size = dtype_size(m.dtype);
    if (!t->storage)
        return NULL;
    bool ok = raw != NULL;
    if (!raw)
        ok = wrong(im, s, name, BPU_BAD_MODEL, "lies in the member \"%.100s\", which is missing",
                   t->storage);
    else if (m.dtype == DT_UNKNOWN)
        ok = wrong(im, s, name, BPU_UNSUPPORTED,
                   "has the element type number %" PRId64 ", which is not read", m.code);
    else if (!shape_is_static(&m.shape) || shape_elements(&m.shape) < 0)
        ok = wrong(im, s, name, BPU_BAD_MODEL, "has no extents that can be counted");
    else if (raw->size % size != 0)
        ok = wrong(im, s, name, BPU_BAD_MODEL,
                   "lies in a member of %" PRIu64 " bytes, which are no whole number of %s",
                   raw->size, dtype_name(m.dtype));
    else if (raw->size == 0 && shape_elements(&m.shape) > 0) {
        ok = wrong(im, s, name, BPU_BAD_MODEL, "has no bytes: its member \"%.100s\" is empty",
                   t->storage);
        error_hint(ts->err, "Save the program with real weights, not under FakeTensorMode.");
    }
    if (!ok || !raw)
        return NULL;
    t->dtype = m.dtype;
    t->shape = m.shape;
    t->storage_elements = (int64_t)(raw->size / size);
    t->data = archive_bytes(ts->archive, raw, false, ts->err);
    return t->data && read_view(im, s, name, meta, at, t) ? t : NULL;
}

static struct py_value *payload(struct pt2_import *im, const struct pt2_store *s, const char *name,
                                json_t *entry)
{
    struct ts_import *ts = &im->ts;
    const struct json_at *at = AT_KEY(AT_KEY(NULL, "config"), name);
    const char *path = pt2_text(entry, at, "path_name", ts->err);
    struct py_value *v = NULL;
    if (path && json_is_true(json_object_get(entry, "use_pickle"))) {
        const char *member = arena_printf(ts->arena, ts->err, "%s%s", s->folder, path);
        return member ? read_pickle(im, member) : NULL;
    }
    json_t *meta = path ? pt2_member(entry, at, "tensor_meta", JSON_OBJECT, ts->err) : NULL;
    if (meta && (v = ts_new(ts, PY_TENSOR)))
        v->tensor = raw_tensor(im, s, name, meta, AT_KEY(at, "tensor_meta"), path);
    pt2_place(ts->err, s->member);
    return v && v->tensor ? v : NULL;
}

bool pt2_has(const struct pt2_store *s, const char *name)
{
    return (s->config && json_object_get(s->config, name)) ||
           (s->pickled && py_dict_get(s->pickled, name));
}

struct py_value *pt2_weight(struct pt2_import *im, const struct pt2_store *s, const char *name,
                            const struct pt2_meta *meta)
{
    struct ts_import *ts = &im->ts;
    json_t *entry = s->config ? json_object_get(s->config, name) : NULL;
    struct py_value *v = s->pickled ? py_dict_get(s->pickled, name) : NULL;
    if (entry)
        v = payload(im, s, name, entry);
    else if (!v)
        wrong(im, s, name, BPU_BAD_MODEL, "is not in the file");
    if (!v)
        return NULL;
    if (v->kind != PY_TENSOR) {
        wrong(im, s, name, BPU_BAD_MODEL, "is %s, not a tensor", py_kind_name(v->kind));
        return NULL;
    }
    char a[SHAPE_TEXT_MAX], b[SHAPE_TEXT_MAX];
    if (!shape_equal(&v->tensor->shape, &meta->shape)) {
        wrong(im, s, name, BPU_BAD_MODEL, "is %.90s, but the program says %.90s",
              shape_text(&v->tensor->shape, a), shape_text(&meta->shape, b));
        return NULL;
    }
    if (!v->path && !(v->path = arena_strdup(ts->arena, name, ts->err)))
        return NULL;
    return v;
}
