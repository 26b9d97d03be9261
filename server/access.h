/* access: who is asking, and what they may do.
 *
 *   Authorization: Bearer … or the session's cookie ─ access_enter() ─ struct access in the request
 *                                                          │
 *   route ─ access_need() ─ role ──────────────────────────┤ 401, 403, 429
 *   job, file ─ access_sees() ─ project ───────────────────┘ 404, as if there were nothing
 *
 * While the store has no token at all, everybody who reaches the service is an admin: the daemon
 * then listens on loopback only (serve.c).  With the first token it closes, and stays closed.
 *
 * Tokens, sessions and private projects are kept in memory.  A thread of its own (access_keeper.c)
 * reads them anew when the store's access_version has grown: at once when it is woken
 * (WAKE_ACCESS), else within two seconds.  A secret that is not known is looked up in the store
 * before it is refused, so that a new token works at once. */
#ifndef BPU_SERVER_ACCESS_H
#define BPU_SERVER_ACCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/error.h"
#include "server/config.h"
#include "server/store_access.h"

struct access_table;
struct http_request;
struct http_server;

/* The wake-up (wake.h) that says that access has changed; no job has this id. */
#define WAKE_ACCESS "@access"

#define ACCESS_ADDRESS 48 /* of a client, as text */

/* The one who asks. */
struct access {
    enum store_role role;
    int64_t token; /* 0: nobody with a token */
    char name[STORE_TOKEN_NAME];
    char project[128]; /* the token is bound to it; "" if not */
    bool session;      /* signed in by cookie */
    bool open;         /* there is no access control */
    char csrf[65];     /* what a session must send with what changes something */
    char session_hash[65];
    int64_t rate, quota_upload, quota_queued; /* 0: no bound */
};

enum access_need {
    NEED_NOTHING,   /* for everybody */
    NEED_VIEWER,    /* reads */
    NEED_SUBMITTER, /* changes */
    NEED_ALL,       /* reads what tells of all projects: a viewer whose token is not bound to one */
    NEED_ADMIN
};

/* What a route needs, by method ("GET") and pattern. */
enum access_need access_need(const char *method, const char *pattern);

/* ---- the table (access.c) ---- */

struct access_table *access_new(const char *data_dir, const struct config *c,
                                struct bpu_error *err) BPU_CHECKED;
void access_free(struct access_table *t);
/* Reads everything anew from the store. Any thread. */
bool access_reload(struct access_table *t, struct store *s, struct bpu_error *err) BPU_CHECKED;
/* Asks the keeper to do so. */
void access_wake(struct access_table *t);
/* True while there is no token at all. */
bool access_is_open(struct access_table *t);
/* Who holds the secret; false if nobody does. *session: it is a session's and not a token's. */
bool access_find(struct access_table *t, const char *secret, bool session, struct access *out);
/* True if the project is private and neither admin nor bound to it. */
bool access_hides(struct access_table *t, const struct access *a, const char *project);
/* Whether one who was let in to a project's jobs would be let in now: for answers that take long. */
bool access_holds(struct access_table *t, const struct access *a, const char *project);
/* The scope for the store's lists: NULL for one who sees everything. */
const char *access_scope(struct access_table *t, const struct access *a);
/* Counts bytes of an upload; false when the token's day is used up. */
bool access_upload(struct access_table *t, const struct access *a, int64_t bytes);
/* What of the day's quota is left; INT64_MAX without one. */
int64_t access_upload_left(struct access_table *t, const struct access *a);
/* SHA-256 in hex of a secret. */
bool access_hash(const char *secret, char hash[65]);
/* A new secret: prefix and 64 hexadecimal digits of the system's random numbers. */
bool access_secret(const char *prefix, char *out, size_t size, struct bpu_error *err) BPU_CHECKED;

/* What pages of the session with this cookie must send. */
void access_csrf(const char *cookie, char out[65]);
/* Milliseconds since 1970. */
int64_t access_now(void);

#define ACCESS_TOKEN_PREFIX "bpuhub_"
#define ACCESS_SECRET_SIZE 96

/* ---- in a request (access_request.c) ---- */

enum access_answer { ACCESS_OK, ACCESS_REFUSED /* answered */, ACCESS_LATER /* suspended */ };
/* Finds out who asks, and whether they may: before a handler sees the request.  ACCESS_LATER: ask
 * again when the request goes on. */
enum access_answer access_enter(struct http_request *r);
/* Job or file of this project may be seen; else *err is BPU_NOT_FOUND for `what`, as if there were
 * none. */
bool access_job_seen(struct http_request *r, const struct store_job *job,
                     struct bpu_error *err) BPU_CHECKED;
/* The same by id, inside a lane; with change, the job must also be one that they may change. */
bool access_job_check(struct http_request *r, struct store *s, const char *id, bool change,
                      struct bpu_error *err) BPU_CHECKED;
bool access_file_check(struct http_request *r, struct store *s, const char *id, const char *noun,
                       struct bpu_error *err) BPU_CHECKED;
/* Where a new job or upload goes: the project that is asked for, or the token's; refuses others. */
bool access_project(struct http_request *r, char project[128], struct bpu_error *err) BPU_CHECKED;
const char *access_address(struct http_request *r, char out[ACCESS_ADDRESS]);
/* The value of the session's cookie, in the arena, or NULL. */
const char *access_cookie(struct http_request *r);

/* Counts a wrong secret; the seconds to wait if this address had too many. */
int access_failure(struct http_request *r);

/* Writes an entry of the audit log: in the caller's transaction, … */
bool audit_write(struct http_request *r, struct store *s, const char *action, const char *object,
                 const char *result, struct bpu_error *err) BPU_CHECKED;
/* … or later on its own, for what was refused. */
void audit_post(struct http_request *r, const char *action, const char *object, const char *result);

/* ---- rates (access_rate.c): the HTTP thread's ---- */

struct rates;
struct rates *rates_new(void);
void rates_free(struct rates *t);
/* Takes one from the bucket of the key, that fills with `rate` a second up to `burst`; the seconds to
 * wait if it is empty, else 0. */
int rates_take(struct rates *t, uint64_t key, double rate, double burst, uint64_t now_us);
/* Keys: a token, an address (IPv6: its network of 64 bits), wrong secrets from an address. */
uint64_t rates_key_token(int64_t token);
struct sockaddr;
uint64_t rates_key_address(const struct sockaddr *a, bool failures);

#endif
