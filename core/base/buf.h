/* buf: a growable byte string on the heap with a hard cap.
 *
 * Appending after a failure is a no-op, so a writer checks buf_ok() once at its end. The bytes are
 * always followed by a NUL that does not count. */
#ifndef BPU_BASE_BUF_H
#define BPU_BASE_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/error.h"

struct buf {
    char *data;
    size_t size, capacity, cap; /* cap: hard limit in bytes */
    bool failed;
};

#define BUF_DEFAULT_CAP ((size_t)256 << 20)

void buf_init(struct buf *b, size_t cap);
void buf_fini(struct buf *b);
/* Frees b, a part of what out says; if an append to b failed, out has failed. */
void buf_end(struct buf *b, struct buf *out);
/* Empties it and keeps the memory; its failure is forgotten. */
void buf_clear(struct buf *b);
void buf_add(struct buf *b, const void *data, size_t n);
void buf_puts(struct buf *b, const char *s);
void buf_putc(struct buf *b, char c);
void buf_printf(struct buf *b, const char *fmt, ...) BPU_PRINTF(2, 3);
void buf_vprintf(struct buf *b, const char *fmt, va_list ap) BPU_PRINTF(2, 0);
/* s with & < > " ' escaped for XML text and attributes; what XML must not hold (control characters, bytes
 * that are not UTF-8, U+FFFE, U+FFFF) becomes U+FFFD. */
void buf_xml(struct buf *b, const char *s);
/* The NUL-terminated content ("" when empty). */
const char *buf_str(const struct buf *b);
/* True if every append went through; else sets BPU_NO_MEMORY. */
bool buf_ok(const struct buf *b, struct bpu_error *err) BPU_CHECKED;

#endif
