/* Attributes of modules: from the pickle, from __setstate__, or from the constants of the class.
 *
 * Reading one gives modules and tensors their path, "features.0.weight", which names the nodes and
 * constants of the graph. */
#include <string.h>

#include "core/import/torchscript.h"

/* Scripted modules whose state is no dictionary restore themselves by __setstate__: straight-line
 * but for choices by constants. */
static bool restore(struct ts_import *ts, struct py_value *object)
{
    if (object->ready)
        return true;
    object->ready = true;
    struct py_value *state = object->state, *dict = ts_new(ts, PY_DICT);
    struct ts_class *class = dict ? ts_class_find(ts, object->text) : NULL;
    struct ts_function *set = class ? name_table_find(class->methods, "__setstate__") : NULL;
    if (ts->err->code != BPU_NONE)
        return false;
    if (!state || (!set && state->kind == PY_DICT)) {
        if (!state)
            object->state = dict;
        return true;
    }
    if (!set)
        return true;
    object->state = dict;
    return ts_call_function(ts, set, object, &state, 1) != NULL;
}

static bool is_packed_class(const struct py_value *v)
{
    static const char prefix[] = "__torch__.torch.classes.";
    return v->kind == PY_OBJECT && strncmp(v->text, prefix, sizeof prefix - 1) == 0;
}

struct py_value *ts_find_attr(struct ts_import *ts, struct py_value *object, const char *name,
                              bool *ok)
{
    *ok = object->kind != PY_OBJECT || restore(ts, object);
    if (!*ok || object->kind != PY_OBJECT)
        return NULL;
    struct py_value *v = py_dict_get(object->state, name);
    if (!v) {
        struct ts_class *class = ts_class_find(ts, object->text);
        struct ts_expr *e = class ? name_table_find(class->constants, name) : NULL;
        v = e ? ts_eval(ts, e) : NULL;
        *ok = ts->err->code == BPU_NONE;
    }
    if (v && (v->kind == PY_OBJECT || v->kind == PY_TENSOR) && !v->path) {
        v->path = object->path && object->path[0]
                      ? arena_printf(ts->arena, ts->err, "%s.%s", object->path, name)
                      : arena_strdup(ts->arena, name, ts->err);
        *ok = v->path != NULL;
    }
    if (*ok && v && is_packed_class(v)) {
        v = ts_unpack_object(ts, v);
        *ok = v != NULL && ts_set_attr(ts, object, name, v);
    }
    return v;
}

struct py_value *ts_get_attr(struct ts_import *ts, struct py_value *object, const char *name)
{
    bool ok;
    struct py_value *v = ts_find_attr(ts, object, name, &ok);
    if (ok && !v) {
        if (object->kind == PY_OBJECT)
            ts_bad(ts, BPU_BAD_MODEL, "the module %.150s has no attribute \"%.100s\"", object->text,
                   name);
        else
            ts_bad(ts, BPU_UNSUPPORTED, "the attribute \"%.100s\" of %s is not read", name,
                   py_kind_name(object->kind));
    }
    return ok ? v : NULL;
}

bool ts_set_attr(struct ts_import *ts, struct py_value *object, const char *name,
                 struct py_value *v)
{
    if (object->kind != PY_OBJECT || !restore(ts, object) || !object->state ||
        object->state->kind != PY_DICT)
        return ts_bad(ts, BPU_UNSUPPORTED, "the attribute \"%.100s\" of %s is set", name,
                      py_kind_name(object->kind));
    struct py_value *d = object->state;
    for (size_t i = 0; i + 1 < d->count; i += 2)
        if (d->items[i]->kind == PY_STRING && strcmp(d->items[i]->text, name) == 0) {
            d->items[i + 1] = v;
            return true;
        }
    struct py_value *key = ts_new(ts, PY_STRING);
    if (!key)
        return false;
    key->text = name;
    return ts_append(ts, d, key) && ts_append(ts, d, v);
}
