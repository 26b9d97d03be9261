/* json_read: jansson with the place of every value, so that each message can name a JSON pointer.
 *
 * A place is a list of stack frames from the value up to the root; it becomes text only in an
 * error.  Used by graph_json*.c. */
#ifndef BPU_IMPORT_JSON_READ_H
#define BPU_IMPORT_JSON_READ_H

#include <jansson.h>

#include "core/ir/graph.h"

struct json_at {
    const struct json_at *up; /* NULL: the root */
    const char *key;          /* NULL: an element of an array, at `index` */
    size_t index;
};

#define AT_KEY(above, k) (&(const struct json_at){.up = (above), .key = (k)})
#define AT_INDEX(above, i) (&(const struct json_at){.up = (above), .index = (i)})

/* Deeper than any graph needs (7), and far from what would hurt jansson's recursion. */
#define JSON_READ_MAX_DEPTH 32

/* "/nodes/3/attrs/stride", with ~ and / escaped as in RFC 6901; "/" for the root. */
void json_pointer(const struct json_at *at, char *out, size_t n);

/* error_set() with the pointer as place. Returns false. */
bool json_fail(struct bpu_error *err, enum bpu_code code, const struct json_at *at, const char *fmt,
               ...) BPU_PRINTF(4, 5);

/* Parses the whole text.  Refused, naming line and column: bad syntax, duplicate keys, NaN, text
 * after the end, NUL in strings, more than JSON_READ_MAX_DEPTH levels.  BPU_NO_MEMORY when the
 * values would take more than `memory` bytes.  The caller releases it with json_decref(). */
json_t *json_read_text(const unsigned char *data, size_t size, size_t memory,
                       struct bpu_error *err) BPU_CHECKED;

/* "an integer", "a list" … for messages. */
const char *json_kind(const json_t *j);
/* The name of `names` (ends with NULL) that is most like `name`, or NULL if none is. */
const char *json_near(const char *name, const char *const *names);
/* obj is an object whose keys all stand in `keys` (ends with NULL). */
bool json_keys(json_t *obj, const struct json_at *at, const char *const *keys,
               struct bpu_error *err) BPU_CHECKED;

/* The member `key` of obj, of the given kind; *out NULL when it is absent or null and not required.
 */
bool json_member(json_t *obj, const struct json_at *at, const char *key, json_type kind,
                 bool required, json_t **out, struct bpu_error *err) BPU_CHECKED;
/* A string, not empty. *out NULL when absent. */
bool json_text(json_t *obj, const struct json_at *at, const char *key, bool required,
               const char **out, struct bpu_error *err) BPU_CHECKED;
/* A positive finite number. */
bool json_scale(const json_t *j, const struct json_at *at, double *out,
                struct bpu_error *err) BPU_CHECKED;
/* Extents from 0 up; where `open` is set -1, null and "?" stand for one that is not known, and null
 * instead of the list for an unknown rank. */
bool json_shape(const json_t *j, const struct json_at *at, bool open, struct shape *out,
                struct bpu_error *err) BPU_CHECKED;
bool json_dtype(const json_t *j, const struct json_at *at, enum dtype *out,
                struct bpu_error *err) BPU_CHECKED;

/* "scale", "zero_point" and "axis", each NULL when left out: a number, or one per channel along the
 * axis. The count must be that extent of `shape` if it is known. */
bool json_quant(struct arena *a, const json_t *scale, const struct json_at *scale_at,
                const json_t *zero_point, const struct json_at *zero_at, const json_t *axis,
                const struct json_at *axis_at, int default_axis, const struct shape *shape,
                struct quant *out, struct bpu_error *err) BPU_CHECKED;

#endif
