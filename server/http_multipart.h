/* http_multipart: picks the field `file` out of a multipart/form-data body that arrives in pieces.
 */
#ifndef BPU_SERVER_HTTP_MULTIPART_H
#define BPU_SERVER_HTTP_MULTIPART_H

#include <stdbool.h>
#include <stddef.h>

#include "core/base/buf.h"
#include "core/base/error.h"

#define MULTIPART_BOUNDARY_MAX 70 /* RFC 2046 */

enum multipart_state {
    MULTIPART_PREAMBLE,
    MULTIPART_DELIMITER,
    MULTIPART_HEADERS,
    MULTIPART_FILE,
    MULTIPART_OTHER,
    MULTIPART_END
};

struct multipart {
    enum multipart_state state;
    char delimiter[MULTIPART_BOUNDARY_MAX + 5]; /* CR LF -- boundary */
    size_t delimiter_size;
    struct buf pending; /* bytes not yet understood */
    bool file_seen;
    char filename[256];
};

typedef bool multipart_sink(void *ctx, const void *data, size_t n, struct bpu_error *err);

/* Reads the boundary from the Content-Type. */
bool multipart_init(struct multipart *m, const char *content_type,
                    struct bpu_error *err) BPU_CHECKED;
void multipart_fini(struct multipart *m);
/* Passes the bytes of the file on to sink as they come. */
bool multipart_feed(struct multipart *m, const void *data, size_t n, multipart_sink *sink,
                    void *ctx, struct bpu_error *err) BPU_CHECKED;
/* At the end of the body: an error if it is cut off or has no file. */
bool multipart_end(const struct multipart *m, struct bpu_error *err) BPU_CHECKED;

#endif
