/* Design: every request passes access_enter() between its route and its handler.  A route that is
 * not in the table below reads (GET) or changes (everything else), so that a new one is never open
 * by oversight.  What a request may see of jobs and files is asked where they are read, inside the
 * lanes, and answered with the words of a thing that does not exist. */
#include "server/access.h"

#include <arpa/inet.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "server/http.h"

/* Wrong secrets from one address: so many at once, then one a second. */
#define FAILURES_BURST 20
#define FAILURES_RATE 1

static const struct {
    const char *method, *pattern;
    enum access_need need;
} needs[] = {
    {"GET", "/", NEED_NOTHING},
    {"GET", "/static/{name}", NEED_NOTHING},
    {"GET", "/openapi.json", NEED_NOTHING},
    {"GET", "/healthz", NEED_NOTHING},
    {"GET", "/readyz", NEED_NOTHING},
    {"GET", "/v1/session", NEED_NOTHING},
    {"POST", "/v1/session", NEED_NOTHING},
    {"DELETE", "/v1/session", NEED_NOTHING},
    {"GET", "/metrics", NEED_ALL},
    {"GET", "/v1/audit", NEED_ADMIN},
};

enum access_need access_need(const char *method, const char *pattern)
{
    for (size_t i = 0; i < sizeof needs / sizeof needs[0]; i++)
        if (strcmp(needs[i].method, method) == 0 && strcmp(needs[i].pattern, pattern) == 0)
            return needs[i].need;
    return strcmp(method, "GET") == 0 ? NEED_VIEWER : NEED_SUBMITTER;
}

static const char *method_name(const struct http_request *r)
{
    static const char *const names[] = {"GET", "POST", "DELETE"};
    return names[r->method];
}

/* ---- secrets -----------------------------------------------------------------------------------
 */

static const char *bearer(struct http_request *r)
{
    const char *text = http_header(r, "Authorization");
    if (!text || strncasecmp(text, "Bearer ", 7) != 0)
        return NULL;
    return text + 7 + strspn(text + 7, " ");
}

const char *access_cookie(struct http_request *r)
{
    const char *name = http_cookie_name(r->server);
    size_t n = strlen(name);
    struct bpu_error err = {0};
    for (const char *p = http_header(r, "Cookie"); p && *p;) {
        p += strspn(p, " ;");
        size_t length = strcspn(p, ";");
        if (length > n && p[n] == '=' && memcmp(p, name, n) == 0)
            return arena_strndup(&r->arena, p + n + 1, length - n - 1, &err);
        p += length;
    }
    return NULL;
}

void access_csrf(const char *cookie, char out[65])
{
    char text[128];
    snprintf(text, sizeof text, "csrf:%.100s", cookie);
    if (!access_hash(text, out))
        memset(out, 0, 65); /* equals nothing that can be sent */
}

static bool known(struct http_request *r, const char *secret, bool session)
{
    struct access_table *t = r->server->access;
    if (strlen(secret) >= ACCESS_SECRET_SIZE || !access_find(t, secret, session, &r->access))
        return false;
    if (session)
        access_csrf(secret, r->access.csrf);
    return true;
}

/* ---- answers -----------------------------------------------------------------------------------
 */

static enum access_answer refuse(struct http_request *r, int status, const char *code,
                                 const char *title, const char *detail, const char *hint)
{
    if (status == 401)
        r->authenticate = "Bearer realm=\"bpuhub\"";
    http_reply_problem(r, &(struct problem){.status = status,
                                            .code = code,
                                            .title = title,
                                            .detail = detail,
                                            .hint = hint});
    return ACCESS_REFUSED;
}

static enum access_answer refuse_unknown(struct http_request *r, bool wrong)
{
    return refuse(r, 401, "unauthorized", "Who asks is not known",
                  wrong ? "the token or session is not known, has expired or was revoked"
                        : "this needs a token",
                  "send Authorization: Bearer TOKEN; `bpuhub token create` makes tokens, and the "
                  "dashboard has a page to sign in");
}

static enum access_answer refuse_role(struct http_request *r, const char *detail)
{
    return refuse(r, 403, "forbidden", "This is not allowed", detail,
                  "ask an operator for a token with another role");
}

static enum access_answer refuse_rate(struct http_request *r, int seconds, const char *detail)
{
    r->retry_after = seconds;
    return refuse(r, 429, "too_many_requests", "There are too many requests", detail,
                  "wait as long as Retry-After says");
}

/* ---- entering ----------------------------------------------------------------------------------
 */

static const struct sockaddr *address(struct http_request *r)
{
    const union MHD_ConnectionInfo *i =
        MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    return i ? i->client_addr : NULL;
}

const char *access_address(struct http_request *r, char out[ACCESS_ADDRESS])
{
    const struct sockaddr *a = address(r);
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    out[0] = 0;
    if (a && a->sa_family == AF_INET) {
        memcpy(&in, a, sizeof in);
        (void)inet_ntop(AF_INET, &in.sin_addr, out, ACCESS_ADDRESS);
    } else if (a && a->sa_family == AF_INET6) {
        memcpy(&in6, a, sizeof in6);
        (void)inet_ntop(AF_INET6, &in6.sin6_addr, out, ACCESS_ADDRESS);
    }
    return out;
}

int access_failure(struct http_request *r)
{
    return rates_take(r->server->rates, rates_key_address(address(r), true), FAILURES_RATE,
                      FAILURES_BURST, clock_us());
}

static bool ask_run(struct task *t, struct store *s)
{
    struct http_request *r = http_request_of(t);
    return access_reload(r->server->access, s, &t->err);
}

static bool rate_passes(struct http_request *r)
{
    struct http_server *h = r->server;
    int64_t rate = r->access.token ? r->access.rate : h->config.rate;
    if (rate < 0)
        rate = r->access.open && h->loopback ? 0 : RATE_DEFAULT;
    if (rate == 0)
        return true;
    uint64_t key = r->access.token ? rates_key_token(r->access.token)
                                   : rates_key_address(address(r), false);
    int seconds = rates_take(h->rates, key, (double)rate, 2.0 * (double)rate, clock_us());
    if (seconds)
        refuse_rate(r, seconds,
                    r->access.token ? "this token has used up its requests for the moment"
                                    : "this address has used up its requests for the moment");
    return seconds == 0;
}

/* A page of another site cannot read the token that this wants. */
static bool csrf_passes(struct http_request *r)
{
    if (!r->access.session || r->method == METHOD_GET ||
        (r->method == METHOD_POST && strcmp(r->route->pattern, "/v1/session") == 0))
        return true;
    const char *sent = http_header(r, "X-CSRF-Token");
    if (sent && strlen(sent) == 64 && CRYPTO_memcmp(sent, r->access.csrf, 64) == 0)
        return true;
    refuse(r, 403, "csrf", "A page may not change anything without its token",
           "X-CSRF-Token is missing or wrong",
           "send what GET /v1/session gives as \"csrf\"");
    return false;
}

static bool role_passes(struct http_request *r, enum access_need need)
{
    const struct access *a = &r->access;
    bool bound = a->project[0] != 0;
    if (need == NEED_SUBMITTER && a->role < ROLE_SUBMITTER)
        refuse_role(r, "this needs the role submitter");
    else if (need == NEED_ALL && bound)
        refuse_role(r, "this needs a token that is not bound to a project");
    else if (need == NEED_ADMIN && (a->role < ROLE_ADMIN || bound))
        refuse_role(r, "this needs the role admin");
    return !r->response;
}

enum access_answer access_enter(struct http_request *r)
{
    struct http_server *h = r->server;
    enum access_need need = access_need(method_name(r), r->route->pattern);
    const char *token = bearer(r), *cookie = token ? NULL : access_cookie(r);
    const char *secret = token ? token : cookie;
    r->access = (struct access){0};
    if (access_is_open(h->access)) {
        r->access.role = ROLE_ADMIN;
        r->access.open = true;
        return rate_passes(r) ? ACCESS_OK : ACCESS_REFUSED;
    }
    bool found = secret && known(r, secret, cookie != NULL);
    if (!found && secret && need != NEED_NOTHING) {
        if (r->asked) {
            audit_post(r, "access", r->path, "unauthorized");
            return refuse_unknown(r, true);
        }
        int seconds = access_failure(r);
        if (seconds)
            return refuse_rate(r, seconds, "too many wrong tokens came from this address");
        r->asked = true;
        http_post(r, LANE_READ, ask_run, http_after);
        return ACCESS_LATER;
    }
    if (!found && h->config.anonymous_read)
        r->access.role = ROLE_VIEWER;
    if (!rate_passes(r))
        return ACCESS_REFUSED;
    if (need != NEED_NOTHING && r->access.role == ROLE_NONE)
        return refuse_unknown(r, false);
    /* Without a token nobody sees what tells of all projects. */
    if (need == NEED_ALL && !found)
        return refuse_unknown(r, false);
    return csrf_passes(r) && role_passes(r, need) ? ACCESS_OK : ACCESS_REFUSED;
}

/* ---- projects ----------------------------------------------------------------------------------
 */

bool access_job_seen(struct http_request *r, const struct store_job *job, struct bpu_error *err)
{
    if (!access_hides(r->server->access, &r->access, job->project))
        return true;
    return error_set(err, BPU_NOT_FOUND, NULL, "there is no job %.39s", job->id);
}

bool access_job_check(struct http_request *r, struct store *s, const char *id, bool change,
                      struct bpu_error *err)
{
    struct store_job job;
    if (r->access.open)
        return true; /* the caller meets a job that is not there itself */
    if (!store_job_get(s, id, &r->arena, &job, err) || !access_job_seen(r, &job, err))
        return false;
    if (!change || !r->access.project[0] || strcmp(r->access.project, job.project) == 0)
        return true;
    error_set(err, BPU_FORBIDDEN, NULL, "this token is for project %.100s", r->access.project);
    return error_hint(err, "jobs of other projects need a token of theirs");
}

bool access_file_check(struct http_request *r, struct store *s, const char *id, const char *noun,
                       struct bpu_error *err)
{
    bool visible;
    if (!store_file_visible(s, id, access_scope(r->server->access, &r->access), &visible, err))
        return false;
    if (visible)
        return true;
    error_set(err, BPU_NOT_FOUND, NULL, "there is no %s %.64s", noun, id);
    return error_hint(err, "Upload it with POST %s first.",
                      strcmp(noun, "model") == 0 ? "/v1/models" : "/v1/data");
}

bool access_project(struct http_request *r, char project[128], struct bpu_error *err)
{
    const struct access *a = &r->access;
    if (a->project[0] && !project[0])
        memcpy(project, a->project, sizeof a->project);
    bool other = a->project[0] && strcmp(a->project, project) != 0;
    if (!other && !access_hides(r->server->access, a, project))
        return true;
    error_set(err, BPU_FORBIDDEN, "project", "this token may not add to project %.100s", project);
    return error_hint(err, "a private project needs a token of its own");
}

/* ---- audit -------------------------------------------------------------------------------------
 */

static struct store_audit entry_of(struct http_request *r, char address_text[ACCESS_ADDRESS],
                                   const char *action, const char *object, const char *result)
{
    return (struct store_audit){.token = r->access.token,
                                .actor = r->access.name,
                                .address = access_address(r, address_text),
                                .action = action,
                                .object = object,
                                .result = result};
}

bool audit_write(struct http_request *r, struct store *s, const char *action, const char *object,
                 const char *result, struct bpu_error *err)
{
    char from[ACCESS_ADDRESS];
    struct store_audit e = entry_of(r, from, action, object, result);
    return store_audit_add(s, &e, err);
}

/* An entry on its own way to the write lane; texts behind it. */
struct audit_task {
    struct task task;
    int64_t token;
    char actor[STORE_TOKEN_NAME], address[ACCESS_ADDRESS], action[24], object[160], result[24];
};

static bool audit_run(struct task *t, struct store *s)
{
    struct audit_task *a = (struct audit_task *)t;
    struct store_audit e = {.token = a->token,
                            .actor = a->actor,
                            .address = a->address,
                            .action = a->action,
                            .object = a->object,
                            .result = a->result};
    return store_audit_add(s, &e, &t->err);
}

static void audit_after(struct task *t)
{
    if (t->err.code != BPU_NONE)
        fprintf(stderr, "bpuhub: the audit log cannot be written: %s\n", t->err.message);
    free(t);
}

void audit_post(struct http_request *r, const char *action, const char *object, const char *result)
{
    struct audit_task *a = calloc(1, sizeof *a);
    if (!a)
        return;
    a->task = (struct task){.run = audit_run, .after = audit_after};
    a->token = r->access.token;
    snprintf(a->actor, sizeof a->actor, "%s", r->access.name);
    (void)access_address(r, a->address);
    snprintf(a->action, sizeof a->action, "%s", action);
    snprintf(a->object, sizeof a->object, "%s", object);
    snprintf(a->result, sizeof a->result, "%s", result);
    tasks_post(r->server->tasks, LANE_WRITE, &a->task);
}
