/* json: what the daemon needs beside jansson: bounded parsing and direct writing. */
#ifndef BPU_SERVER_JSON_H
#define BPU_SERVER_JSON_H

#include <jansson.h>
#include <stdint.h>

#include "core/base/buf.h"
#include "core/base/error.h"

#define JSON_MAX_DEPTH 64
#define JSON_MAX_BODY ((size_t)1 << 20)

/* Parses untrusted text.  Refused with BPU_USAGE, naming line and column: more than JSON_MAX_DEPTH
 * levels, more than max_size bytes, duplicate keys, NaN, infinities, text after the end, NUL in
 * strings, invalid UTF-8. The caller releases the value with json_decref(). */
json_t *json_parse(const char *text, size_t size, size_t max_size,
                   struct bpu_error *err) BPU_CHECKED;

/* Appends s quoted and escaped; bytes that are not UTF-8 become U+FFFD. */
void json_write_string(struct buf *out, const char *s);
/* The same, but `null` for NULL or "". */
void json_write_string_or_null(struct buf *out, const char *s);
/* Milliseconds since 1970 as "2026-01-31T12:00:00.000Z"; 0 gives null. */
void json_write_time(struct buf *out, int64_t ms);
/* Length of the valid UTF-8 sequence at s (1..4), 0 if it is not one; s ends with NUL. */
size_t json_utf8_length(const char *s);

#endif
