/* notice: one message to one receiver of webhooks.
 *
 *   X-BPUHub-Event: job.succeeded        X-BPUHub-Delivery: 17        X-BPUHub-Timestamp: 1700000000
 *   X-BPUHub-Signature: sha256=HMAC-SHA256(secret, timestamp "." body) in hex
 *
 * Refused: addresses of this machine and private networks (hook_address.h) unless allowed, redirects, other
 * protocols, answers without an end. */
#ifndef BPU_SERVER_DELIVER_NOTICE_H
#define BPU_SERVER_DELIVER_NOTICE_H

#include <curl/curl.h>

#include "core/base/buf.h"
#include "server/store_hook.h"

struct notice {
    struct store_delivery d;
    CURL *curl;
    struct curl_slist *headers;
    struct buf body;
    size_t answered; /* bytes */
    bool private_address, allowed;
    char error[CURL_ERROR_SIZE];
};

/* Makes body, signature and handle of x->d. */
bool notice_prepare(struct store *s, struct notice *x, bool private_addresses, struct bpu_error *err) BPU_CHECKED;
/* What came of it, in x->d: delivered with an answer 2xx, else to be sent again after a pause, or given up. */
void notice_outcome(struct notice *x, CURLcode code, int64_t retry_ms);
/* Leaves it empty. */
void notice_release(struct notice *x);

#endif
