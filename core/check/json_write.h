/* json_write: JSON straight into a buf, without a tree.
 *
 * A report of a network with thousands of nodes is megabytes; building it as a tree first took
 * twenty times as long.  The writer keeps the commas; the caller keeps the brackets balanced. */
#ifndef BPU_CHECK_JSON_WRITE_H
#define BPU_CHECK_JSON_WRITE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/base/buf.h"

struct json_writer {
    struct buf *out;
    bool comma; /* before the next value of this level */
};

/* key NULL: an element of an array. */
void writer_open(struct json_writer *w, const char *key, char bracket);
void writer_close(struct json_writer *w, char bracket);
void writer_text(struct json_writer *w, const char *key, const char *s); /* NULL gives null */
void writer_int(struct json_writer *w, const char *key, int64_t v);
void writer_real(struct json_writer *w, const char *key, double v); /* null if not finite */
void writer_flag(struct json_writer *w, const char *key, bool v);
void writer_null(struct json_writer *w, const char *key);
/* raw: JSON text that is written as it is. */
void writer_raw(struct json_writer *w, const char *key, const char *raw);

/* A figure that does not exist: {"availability": "unavailable", "reason": …}, never 0. */
void writer_missing(struct json_writer *w, const char *key, const char *reason);
/* What every report begins with: schema, tool, model. */
void writer_head(struct json_writer *w, const char *schema, const char *model_id,
                 const char *model_name, const char *model_format);

/* s as a JSON string: escaped; bytes that are not UTF-8 become U+FFFD. */
void writer_string(struct buf *out, const char *s);

#endif
