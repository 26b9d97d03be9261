/* Reading JSON that a stranger wrote: bounds first, then jansson, then values with their place.
 *
 * jansson takes several times the size of the text (a two-byte "0," becomes 40 bytes), so the bytes
 * are walked once before it runs: levels are bounded and the memory is estimated against the job's
 * quota.  The walk knows strings and brackets only; what is not JSON is left to jansson. */
#include "core/import/json_read.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

void json_pointer(const struct json_at *at, char *out, size_t n)
{
    enum { MAX_PATH = JSON_READ_MAX_DEPTH + 4 };
    const struct json_at *path[MAX_PATH];
    size_t depth = 0, used = 0;
    for (; at && depth < MAX_PATH; at = at->up)
        path[depth++] = at;
    if (n == 0)
        return;
    snprintf(out, n, "/");
    while (depth-- > 0 && used + 1 < n) {
        if (!path[depth]->key) {
            int w = snprintf(out + used, n - used, "/%zu", path[depth]->index);
            used += (size_t)w;
            continue;
        }
        out[used++] = '/';
        for (const char *c = path[depth]->key; *c && used + 2 < n; c++) {
            if (*c == '~' || *c == '/') {
                out[used++] = '~';
                out[used++] = *c == '~' ? '0' : '1';
            } else
                out[used++] = *c;
        }
        out[used < n ? used : n - 1] = '\0';
    }
}

bool json_fail(struct bpu_error *err, enum bpu_code code, const struct json_at *at, const char *fmt,
               ...)
{
    char where[sizeof err->where];
    json_pointer(at, where, sizeof where);
    va_list ap;
    va_start(ap, fmt);
    error_vset(err, code, where, fmt, ap);
    va_end(ap);
    return false;
}

/* What jansson and malloc take for one list or object, and for one element, on a 64-bit machine. */
#define BYTES_PER_CONTAINER 256
#define BYTES_PER_ELEMENT 64

/* jansson's reader of strings does not survive a malloc that fails (it goes on with what it has and
 * reads beyond it), so what it may ask for is asked for here, once, and given back. */
static bool memory_is_there(size_t need, struct bpu_error *err)
{
    void *volatile probe = malloc(need + 1);
    if (!probe)
        return error_set(err, BPU_NO_MEMORY, NULL, "there is not enough memory to read the JSON");
    free(probe);
    return true;
}

static bool bounds(const unsigned char *data, size_t size, size_t memory, struct bpu_error *err)
{
    size_t depth = 0, line = 1, line_start = 0, containers = 0, elements = 0, longest = 0;
    for (size_t i = 0, from; i < size; i++) {
        switch (data[i]) {
        case '"':
            for (from = ++i; i < size && data[i] != '"'; i++)
                if (data[i] == '\\')
                    i++;
            longest = i - from > longest ? i - from : longest;
            break;
        case '{':
        case '[':
            containers++;
            if (++depth > JSON_READ_MAX_DEPTH) {
                char where[64];
                snprintf(where, sizeof where, "line %zu, column %zu", line, i - line_start + 1);
                error_set(err, BPU_LIMIT, where, "the JSON is nested deeper than %d levels",
                          JSON_READ_MAX_DEPTH);
                return error_hint(err, "A graph JSON needs no more than 7 levels.");
            }
            break;
        case '}':
        case ']': depth -= depth > 0; break;
        case ',':
        case ':': elements++; break;
        case '\n':
            line++;
            line_start = i + 1;
            break;
        default: break;
        }
    }
    size_t need = size + containers * BYTES_PER_CONTAINER + elements * BYTES_PER_ELEMENT;
    if (need > memory) {
        error_set(err, BPU_NO_MEMORY, NULL,
                  "reading the JSON would take about %zu MiB of memory; %zu MiB are left",
                  need >> 20, memory >> 20);
        return error_hint(err, "Leave out the weights (\"data\"): the checker needs shapes and "
                               "dtypes only. Or raise the job's memory limit.");
    }
    return memory_is_there(need + 3 * longest, err); /* a string grows by doubling, then is copied */
}

json_t *json_read_text(const unsigned char *data, size_t size, size_t memory, struct bpu_error *err)
{
    if (size >= 3 && memcmp(data, "\xEF\xBB\xBF", 3) == 0) {
        data += 3; /* a byte order mark, as some editors write it */
        size -= 3;
    }
    if (!bounds(data, size, memory, err))
        return NULL;
    json_error_t e;
    json_t *root = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES, &e);
    if (root)
        return root;
    if (json_error_code(&e) == json_error_out_of_memory || !e.text[0]) {
        error_set(err, BPU_NO_MEMORY, NULL, "there is not enough memory to read the JSON");
        return NULL;
    }
    char where[64];
    snprintf(where, sizeof where, "line %d, column %d", e.line, e.column);
    error_set(err, BPU_BAD_MODEL, where, "the JSON cannot be read: %s", e.text);
    switch (json_error_code(&e)) {
    case json_error_premature_end_of_input:
        error_hint(err, "The file ends too early; it may have been cut off on the way.");
        break;
    case json_error_duplicate_key: error_hint(err, "Give every key once per object."); break;
    case json_error_numeric_overflow:
        error_hint(err, "Integers must fit 64 bits and reals a double.");
        break;
    default: error_hint(err, "The place is where the reader gave up; look just before it."); break;
    }
    return NULL;
}

const char *json_kind(const json_t *j)
{
    if (!j)
        return "nothing";
    switch (json_typeof(j)) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "a list";
    case JSON_STRING: return "a string";
    case JSON_INTEGER: return "an integer";
    case JSON_REAL: return "a real number";
    case JSON_TRUE:
    case JSON_FALSE: return "a boolean";
    case JSON_NULL: return "null";
    }
    return "nothing";
}

static const char *kind_name(json_type kind)
{
    switch (kind) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "a list";
    case JSON_STRING: return "a string";
    case JSON_INTEGER: return "an integer";
    default: return "a number";
    }
}

/* Edit distance of two names, at most 32 characters each; more counts as far. */
static size_t distance(const char *a, const char *b)
{
    size_t row[33], n = strlen(a), m = strlen(b);
    if (n > 32 || m > 32)
        return 32;
    for (size_t j = 0; j <= m; j++)
        row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            best = row[j] + 1 < best ? row[j] + 1 : best;
            row[j] = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
        }
    }
    return row[m];
}

const char *json_near(const char *name, const char *const *names)
{
    const char *best = NULL;
    size_t least = 32, length = strlen(name);
    for (; *names; names++) {
        size_t d = distance(name, *names);
        if (d < least) {
            least = d;
            best = *names;
        }
    }
    return least <= 1 + length / 3 ? best : NULL;
}

bool json_keys(json_t *obj, const struct json_at *at, const char *const *keys,
               struct bpu_error *err)
{
    if (!json_is_object(obj))
        return json_fail(err, BPU_BAD_MODEL, at, "here stands %s; an object is expected",
                         json_kind(obj));
    const char *key;
    json_t *member;
    json_object_foreach(obj, key, member)
    {
        const char *const *k = keys;
        while (*k && strcmp(*k, key) != 0)
            k++;
        if (*k)
            continue;
        json_fail(err, BPU_BAD_MODEL, AT_KEY(at, key), "unknown key \"%s\"", key);
        const char *near = json_near(key, keys);
        if (near)
            return error_hint(err, "Did you mean \"%s\"?", near);
        char list[300] = "";
        for (k = keys; *k; k++) {
            size_t used = strlen(list);
            snprintf(list + used, sizeof list - used, "%s%s", k == keys ? "" : ", ", *k);
        }
        return error_hint(err, "Known here: %s.", list);
    }
    return true;
}

bool json_member(json_t *obj, const struct json_at *at, const char *key, json_type kind,
                 bool required, json_t **out, struct bpu_error *err)
{
    json_t *j = json_object_get(obj, key);
    *out = NULL;
    if (!j || json_is_null(j))
        return !required || json_fail(err, BPU_BAD_MODEL, at, "the key \"%s\" is missing", key);
    if (json_typeof(j) != kind)
        return json_fail(err, BPU_BAD_MODEL, AT_KEY(at, key), "\"%s\" is %s; %s is expected", key,
                         json_kind(j), kind_name(kind));
    *out = j;
    return true;
}

bool json_text(json_t *obj, const struct json_at *at, const char *key, bool required,
               const char **out, struct bpu_error *err)
{
    json_t *j;
    *out = NULL;
    if (!json_member(obj, at, key, JSON_STRING, required, &j, err))
        return false;
    if (j && json_string_length(j) == 0)
        return json_fail(err, BPU_BAD_MODEL, AT_KEY(at, key), "\"%s\" is empty", key);
    *out = j ? json_string_value(j) : NULL;
    return true;
}

bool json_scale(const json_t *j, const struct json_at *at, double *out, struct bpu_error *err)
{
    if (!json_is_number(j))
        return json_fail(err, BPU_BAD_MODEL, at, "the scale is %s; a number is expected",
                         json_kind(j));
    *out = json_number_value(j);
    if (!isfinite(*out) || *out <= 0) {
        json_fail(err, BPU_BAD_MODEL, at, "the scale is %.9g", *out);
        return error_hint(err, "A scale is a finite number greater than 0.");
    }
    return true;
}

static bool extent(const json_t *j, const struct json_at *at, bool open, int64_t *out,
                   struct bpu_error *err)
{
    bool unknown = json_is_null(j) || (json_is_string(j) && !strcmp(json_string_value(j), "?")) ||
                   (json_is_integer(j) && json_integer_value(j) == -1);
    if (unknown && open) {
        *out = -1;
        return true;
    }
    if (json_is_integer(j) && json_integer_value(j) >= 0) {
        *out = json_integer_value(j);
        return true;
    }
    if (json_is_integer(j))
        return json_fail(err, BPU_BAD_MODEL, at, "the extent is negative: %lld",
                         (long long)json_integer_value(j));
    return json_fail(err, BPU_BAD_MODEL, at, "the extent is %s; an integer is expected",
                     json_kind(j));
}

bool json_shape(const json_t *j, const struct json_at *at, bool open, struct shape *out,
                struct bpu_error *err)
{
    *out = shape_unknown();
    if (json_is_null(j) && open)
        return true;
    if (!json_is_array(j))
        return json_fail(err, BPU_BAD_MODEL, at, "the shape is %s; a list of extents is expected",
                         json_kind(j));
    size_t rank = json_array_size(j);
    if (rank > SHAPE_MAX_RANK)
        return json_fail(err, BPU_LIMIT, at, "the shape has %zu axes; at most %d can be held", rank,
                         SHAPE_MAX_RANK);
    out->rank = (int)rank;
    for (size_t i = 0; i < rank; i++)
        if (!extent(json_array_get(j, i), AT_INDEX(at, i), open, &out->dim[i], err))
            return false;
    char text[SHAPE_TEXT_MAX];
    if (shape_is_static(out) && (shape_elements(out) < 0 || shape_elements(out) > INT64_MAX / 8))
        return json_fail(err, BPU_LIMIT, at, "the shape %s has too many elements to count",
                         shape_text(out, text));
    return true;
}

bool json_dtype(const json_t *j, const struct json_at *at, enum dtype *out, struct bpu_error *err)
{
    if (!json_is_string(j))
        return json_fail(err, BPU_BAD_MODEL, at, "the dtype is %s; a string is expected",
                         json_kind(j));
    const char *name = json_string_value(j);
    if (dtype_find(name, out))
        return true;
    static const char *const names[] = {
#define X(id, text, size) [DT_##id] = (text),
        DTYPE_MAP(X)
#undef X
            NULL,
    };
    json_fail(err, BPU_BAD_MODEL, at, "there is no dtype \"%s\"", name);
    const char *near = json_near(name, names + 1);
    if (near)
        return error_hint(err, "Did you mean \"%s\"?", near);
    return error_hint(err,
                      "Feature maps are qint8, qint16, qint32, qbool or float32; constants may "
                      "also be int32 or int64.");
}

bool json_quant(struct arena *a, const json_t *scale, const struct json_at *scale_at,
                const json_t *zero_point, const struct json_at *zero_at, const json_t *axis,
                const struct json_at *axis_at, int default_axis, const struct shape *shape,
                struct quant *out, struct bpu_error *err)
{
    *out = (struct quant){0};
    if (!scale || json_is_null(scale)) {
        if (zero_point && !json_is_null(zero_point))
            return json_fail(err, BPU_BAD_MODEL, zero_at, "there is a zero point without a scale");
        return true;
    }
    size_t count = json_is_array(scale) ? json_array_size(scale) : 1;
    if (count == 0 || count > INT32_MAX)
        return json_fail(err, BPU_BAD_MODEL, scale_at, "the list of scales is empty");
    double *scales = ARENA_ARRAY(a, double, count, err);
    int64_t *zeros = ARENA_ARRAY(a, int64_t, count, err);
    if (!scales || !zeros)
        return false;
    out->axis = default_axis;
    if (axis && !json_is_null(axis)) {
        json_int_t last = shape->rank < 0 ? SHAPE_MAX_RANK - 1 : shape->rank - 1;
        if (!json_is_integer(axis) || json_integer_value(axis) < 0 ||
            json_integer_value(axis) > last)
            return json_fail(err, BPU_BAD_MODEL, axis_at,
                             "the axis of the scales must be an integer from 0 to %lld",
                             (long long)last);
        out->axis = (int)json_integer_value(axis);
    }
    if (json_is_array(scale)) {
        for (size_t i = 0; i < count; i++)
            if (!json_scale(json_array_get(scale, i), AT_INDEX(scale_at, i), &scales[i], err))
                return false;
    } else if (!json_scale(scale, scale_at, &scales[0], err))
        return false;
    if (count > 1 && shape->rank >= 0 &&
        (out->axis >= shape->rank ||
         (shape->dim[out->axis] >= 0 && shape->dim[out->axis] != (int64_t)count))) {
        char text[SHAPE_TEXT_MAX];
        json_fail(err, BPU_BAD_MODEL, scale_at,
                  "there are %zu scales, which do not fit axis %d of the shape %s", count,
                  out->axis, shape_text(shape, text));
        return error_hint(err, "Give one scale, or one per channel along the axis.");
    }
    bool all_zero = true;
    if (zero_point && !json_is_null(zero_point)) {
        size_t zero_count = json_is_array(zero_point) ? json_array_size(zero_point) : 1;
        if (zero_count != count)
            return json_fail(err, BPU_BAD_MODEL, zero_at,
                             "there are %zu zero points and %zu scales", zero_count, count);
        for (size_t i = 0; i < count; i++) {
            const json_t *z =
                json_is_array(zero_point) ? json_array_get(zero_point, i) : zero_point;
            if (!json_is_integer(z))
                return json_fail(err, BPU_BAD_MODEL, zero_at,
                                 "the zero point is %s; an integer is expected", json_kind(z));
            zeros[i] = json_integer_value(z);
            all_zero = all_zero && zeros[i] == 0;
        }
    }
    out->scale = scales;
    out->zero_point = all_zero ? NULL : zeros;
    out->count = (int)count;
    return true;
}
