/* What a receiver can check: the body is signed together with the time, so that nobody can send it later as new. */
#include "server/deliver/notice.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>

#include "core/base/version.h"
#include "server/api.h"
#include "server/hook_address.h"

#define ATTEMPTS 8
#define ANSWER_MAX ((size_t)64 << 10)
#define BODY_MAX ((size_t)1 << 20)
#define PAUSE_MOST_MS INT64_C(86400000)

static bool body_write(struct store *s, struct notice *x, struct arena *a, struct bpu_error *err)
{
    struct store_job job;
    struct bpu_error gone = {0};
    struct buf view;
    buf_init(&view, BODY_MAX);
    buf_init(&x->body, BODY_MAX);
    bool there = view_job_read(s, x->d.job, a, &job, &view, &gone);
    buf_printf(&x->body, "{\"event\":\"%s\",\"delivery\":\"%lld\",\"job\":", x->d.event,
               (long long)x->d.n);
    if (there)
        buf_add(&x->body, view.data, view.size);
    else
        buf_printf(&x->body, "{\"id\":\"%s\"}", x->d.job); /* deleted meanwhile */
    buf_putc(&x->body, '}');
    buf_fini(&view);
    return buf_ok(&x->body, err);
}

static bool header(struct notice *x, const char *name, const char *value)
{
    char line[256];
    snprintf(line, sizeof line, "%s: %s", name, value);
    struct curl_slist *more = curl_slist_append(x->headers, line);
    if (more)
        x->headers = more;
    return more != NULL;
}

static bool sign(struct notice *x, struct bpu_error *err)
{
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    char text[96] = "sha256=", stamp[32], id[32];
    struct buf signed_text;
    snprintf(stamp, sizeof stamp, "%lld", (long long)(store_now() / 1000));
    snprintf(id, sizeof id, "%lld", (long long)x->d.n);
    buf_init(&signed_text, BODY_MAX + 64);
    buf_printf(&signed_text, "%s.", stamp);
    buf_add(&signed_text, x->body.data, x->body.size);
    bool ok = buf_ok(&signed_text, err) &&
              HMAC(EVP_sha256(), x->d.secret, (int)strlen(x->d.secret),
                   (const unsigned char *)signed_text.data, signed_text.size, mac, &n);
    for (unsigned i = 0; ok && i < n; i++)
        snprintf(text + 7 + 2 * i, 3, "%02x", mac[i]);
    buf_fini(&signed_text);
    ok = ok && header(x, "Content-Type", "application/json") && header(x, "X-BPUHub-Event", x->d.event) &&
         header(x, "X-BPUHub-Delivery", id) && header(x, "X-BPUHub-Timestamp", stamp) &&
         header(x, "X-BPUHub-Signature", text) && header(x, "Expect", "");
    return ok || error_set(err, BPU_NO_MEMORY, NULL, "the notice cannot be signed");
}

static curl_socket_t on_socket(void *ctx, curlsocktype purpose, struct curl_sockaddr *a)
{
    struct notice *x = ctx;
    if (purpose != CURLSOCKTYPE_IPCXN)
        return CURL_SOCKET_BAD;
    if (!x->allowed && hook_address_is_private(&a->addr)) {
        x->private_address = true;
        return CURL_SOCKET_BAD;
    }
    return socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
}

/* The answer's body says nothing to us; too much of it ends the connection. */
static size_t on_answer(char *data, size_t size, size_t n, void *ctx)
{
    struct notice *x = ctx;
    (void)data;
    x->answered += size * n;
    return x->answered > ANSWER_MAX ? 0 : size * n;
}

bool notice_prepare(struct store *s, struct notice *x, bool private_addresses, struct bpu_error *err)
{
    struct arena a;
    arena_init(&a, (size_t)4 << 20);
    bool ok = body_write(s, x, &a, err) && sign(x, err);
    arena_fini(&a);
    if (!ok || !(x->curl = curl_easy_init()))
        return ok && error_set(err, BPU_NO_MEMORY, NULL, "no memory to send with");
    CURL *c = x->curl;
    x->allowed = private_addresses;
    curl_easy_setopt(c, CURLOPT_URL, x->d.url);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(c, CURLOPT_PROXY, "");
    curl_easy_setopt(c, CURLOPT_NETRC, 0L);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, 5000L);
    curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, 10000L);
    curl_easy_setopt(c, CURLOPT_USERAGENT, "bpuhub/" BPU_VERSION);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, x->headers);
    curl_easy_setopt(c, CURLOPT_POST, 1L);
    curl_easy_setopt(c, CURLOPT_POSTFIELDS, buf_str(&x->body));
    curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)x->body.size);
    curl_easy_setopt(c, CURLOPT_OPENSOCKETFUNCTION, on_socket);
    curl_easy_setopt(c, CURLOPT_OPENSOCKETDATA, x);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_answer);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, x);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, x->error);
    curl_easy_setopt(c, CURLOPT_PRIVATE, x);
    return true;
}

void notice_outcome(struct notice *x, CURLcode code, int64_t retry_ms)
{
    long status = 0;
    int64_t pause = retry_ms;
    struct store_delivery *d = &x->d;
    curl_easy_getinfo(x->curl, CURLINFO_RESPONSE_CODE, &status);
    d->status = (int)status;
    d->error[0] = '\0';
    if (code == CURLE_OK && status >= 200 && status < 300) {
        d->state = DELIVERY_DONE;
        return;
    }
    if (x->private_address)
        snprintf(d->error, sizeof d->error,
                 "the address is of this machine or a private network, which needs webhook-private");
    else if (code != CURLE_OK)
        snprintf(d->error, sizeof d->error, "%.190s", *x->error ? x->error : curl_easy_strerror(code));
    else
        snprintf(d->error, sizeof d->error, "the receiver answered %ld", status);
    for (int i = 0; i < d->attempts && pause < PAUSE_MOST_MS; i++)
        pause *= 4;
    bool last = x->private_address || d->attempts + 1 >= ATTEMPTS;
    d->state = last ? DELIVERY_GIVEN_UP : DELIVERY_PENDING;
    d->not_before = last ? 0 : store_now() + pause;
}

void notice_release(struct notice *x)
{
    curl_easy_cleanup(x->curl);
    curl_slist_free_all(x->headers);
    buf_fini(&x->body);
    memset(x, 0, sizeof *x);
}
