/* http_upload: bodies that stream to disk.
 *
 * The HTTP thread only copies into buffers; hashing, form parsing and writing happen in the disk
 * lane, one buffer at a time, while the next one fills.  When both are full the connection is
 * suspended: that is the back-pressure. */
#ifndef BPU_SERVER_HTTP_UPLOAD_H
#define BPU_SERVER_HTTP_UPLOAD_H

#include "server/http.h"
#include "server/store.h"

/* Begins the name of each file under tmp/ that is one. */
#define UPLOAD_TMP_PREFIX "upload-"

/* What a body may be; told by its first bytes. */
enum upload_kind { UPLOAD_MODEL, UPLOAD_DATA };

/* At the head: checks the announced size and the form of the body. Answers if it refuses. */
bool upload_begin(struct http_request *r, enum upload_kind kind) BPU_CHECKED;
/* Takes up to n bytes; fewer only after suspending the request. */
size_t upload_feed(struct http_request *r, const void *data, size_t n);
/* The body is complete: suspends; when the file lies durably in the store's place, calls then() in
 * the disk lane, which must post on.  On failure answers and resumes. */
void upload_end(struct http_request *r, void (*then)(struct http_request *r));
/* What was uploaded, for store_model_add() or store_data_add(); valid from then() on. */
const struct store_model *upload_model(const struct http_request *r);
/* The request is over: removes what is left of it. */
void upload_abandon(struct http_request *r);

/* For the transaction that adds the row: the file is (still) there. */
bool upload_is_stored(struct http_request *r, const struct store *s,
                      struct bpu_error *err) BPU_CHECKED;

#endif
