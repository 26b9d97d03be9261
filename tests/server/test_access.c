/* Who may do what, against a running daemon: tokens of each role, private projects, sessions of
 * browsers, rates, quotas, the audit log. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <curl/curl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server/http.h"
#include "tests/server/raw_client.h"

#define LEGAL "tests/fixtures/one_conv.json"
#define ILLEGAL "tests/fixtures/illegal.json"
#define TOKEN_SIZE 128

static struct service hub;
static char viewer[TOKEN_SIZE], submitter[TOKEN_SIZE], admin[TOKEN_SIZE], insider[TOKEN_SIZE];

/* ---- tools -------------------------------------------------------------------------------------
 */

/* Runs `bpuhub ARGUMENTS --data DIR`; the first line of its output; its exit code. */
static int operator_run(const struct service *s, const char *arguments, char *line, size_t size)
{
    char command[512];
    const char *program = getenv("BPUHUB_BIN");
    snprintf(command, sizeof command, "%s %s --data %s 2>/dev/null",
             program ? program : "build/bpuhub", arguments, s->dir);
    FILE *p = popen(command, "r");
    assert_non_null(p);
    if (!fgets(line, (int)size, p))
        line[0] = 0;
    line[strcspn(line, "\n")] = 0;
    char rest[4096];
    while (fgets(rest, sizeof rest, p))
        continue;
    int status = pclose(p);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void token_make(const struct service *s, const char *arguments, char token[TOKEN_SIZE])
{
    char command[256];
    snprintf(command, sizeof command, "token create %s", arguments);
    assert_int_equal(operator_run(s, command, token, TOKEN_SIZE), 0);
    assert_int_equal(strlen(token), strlen("bpuhub_") + 64);
}

/* Until the daemon has heard of its first token. */
static void closed_wait(const struct service *s)
{
    long status = 0;
    for (int i = 0; i < 200 && status != 401; i++) {
        struct reply r = http_get(s, "/metrics");
        status = r.status;
        reply_free(&r);
        usleep(status == 401 ? 0 : 20000);
    }
    assert_int_equal(status, 401);
}

/* The number that `token list` gives the token of this name. */
static int token_number(const struct service *s, const char *name)
{
    char line[8192], text[32];
    assert_int_equal(operator_run(s, "token list --json", line, sizeof line), 0);
    json_t *doc = json_loads(line, 0, NULL), *item;
    size_t i;
    int number = 0;
    json_array_foreach(json_object_get(doc, "items"), i, item)
    {
        snprintf(text, sizeof text, "%s", json_string_value(json_object_get(item, "name")));
        if (strcmp(text, name) == 0)
            number = (int)json_integer_value(json_object_get(item, "id"));
    }
    json_decref(doc);
    return number;
}

static int start(void **state)
{
    (void)state;
    static const char *const arguments[] = {"--workers", "1", "--rate", "100000", NULL};
    char line[64];
    curl_global_init(CURL_GLOBAL_ALL);
    if (!service_start(&hub, arguments))
        return -1;
    token_make(&hub, "looker --role viewer", viewer);
    closed_wait(&hub);
    token_make(&hub, "builder", submitter);
    token_make(&hub, "boss --role admin", admin);
    token_make(&hub, "insider --project secret", insider);
    return operator_run(&hub, "project set secret private", line, sizeof line);
}

static int stop(void **state)
{
    (void)state;
    int code = service_stop(&hub, SIGTERM);
    service_remove(&hub);
    return code;
}

/* A request with a token (NULL: none); q's own headers follow. */
static struct reply ask(const char *token, const char *path, struct query q)
{
    char authorization[256];
    if (token) {
        snprintf(authorization, sizeof authorization, "Authorization: Bearer %s", token);
        memmove(&q.headers[1], &q.headers[0], sizeof q.headers - sizeof q.headers[0]);
        q.headers[0] = authorization;
    }
    return http_do(&hub, path, q);
}

static long status_of(const char *token, const char *method, const char *path)
{
    struct reply r = ask(token, path, (struct query){.method = method});
    long status = r.status;
    reply_free(&r);
    return status;
}

static struct reply send_file(const char *token, const char *path, const char *file)
{
    size_t size;
    char *body = file_read(file, &size);
    assert_non_null(body);
    struct reply r = ask(token, path, (struct query){.body = body, .body_size = size});
    free(body);
    return r;
}

static void expect(struct reply r, long status, const char *code)
{
    if (r.status != status || strcmp(reply_text(&r, "code"), code) != 0)
        print_message("# got %ld %.300s\n", r.status, r.body);
    assert_int_equal(r.status, status);
    assert_string_equal(reply_text(&r, "code"), code);
    assert_string_equal(reply_header(&r, "Content-Type"), "application/problem+json");
    reply_free(&r);
}

/* ---- tokens ------------------------------------------------------------------------------------
 */

static void test_nobody(void **state)
{
    (void)state;
    /* Every route asks who is there, but these. */
    static const char *const open_to_all[] = {"/",        "/static/{name}", "/openapi.json",
                                              "/healthz", "/readyz",        "/v1/session"};
    static const char *const methods[] = {"GET", "POST", "DELETE"};
    size_t count, closed = 0;
    const struct route *table = route_table(&count);
    for (size_t i = 0; i < count; i++) {
        bool is_open = false;
        for (size_t k = 0; k < sizeof open_to_all / sizeof open_to_all[0]; k++)
            is_open = is_open || strcmp(table[i].pattern, open_to_all[k]) == 0;
        if (is_open)
            continue;
        closed++;
        struct reply r = ask(NULL, table[i].pattern,
                             (struct query){.method = methods[table[i].method],
                                            .body = table[i].method == METHOD_POST ? "{}" : NULL});
        assert_non_null(reply_header(&r, "WWW-Authenticate"));
        expect(r, 401, "unauthorized");
    }
    assert_true(closed > 20);
    assert_int_equal(status_of(NULL, "GET", "/"), 200);
    assert_int_equal(status_of(NULL, "GET", "/static/app.js"), 200);
    assert_int_equal(status_of(NULL, "GET", "/healthz"), 200);
    assert_int_equal(status_of(NULL, "GET", "/readyz"), 200);
    assert_int_equal(status_of(NULL, "GET", "/openapi.json"), 200);
}

static void test_roles(void **state)
{
    (void)state;
    assert_int_equal(status_of(viewer, "GET", "/v1/jobs"), 200);
    assert_int_equal(status_of(viewer, "GET", "/v1/marches"), 200);
    assert_int_equal(status_of(viewer, "GET", "/metrics"), 200);
    expect(send_file(viewer, "/v1/models", LEGAL), 403, "forbidden");
    expect(send_file(viewer, "/v1/check?march=bayes", LEGAL), 403, "forbidden");
    expect(ask(viewer, "/v1/jobs", (struct query){.body = "{}"}), 403, "forbidden");
    struct reply r = send_file(submitter, "/v1/check?march=bayes", LEGAL);
    assert_int_equal(r.status, 200);
    assert_string_equal(reply_text(&r, "verdict"), "legal");
    char path[96];
    snprintf(path, sizeof path, "/v1/jobs/%s", reply_text(&r, "id"));
    reply_free(&r);
    assert_int_equal(status_of(viewer, "GET", path), 200);
    assert_int_equal(status_of(viewer, "DELETE", path), 403);
    /* A viewer may have a drawing made: it shows what is there. */
    char svg[128];
    snprintf(svg, sizeof svg, "%s/graph.svg", path);
    assert_int_equal(status_of(viewer, "GET", svg), 200);
    assert_int_equal(status_of(submitter, "DELETE", path), 204);
    assert_int_equal(status_of(viewer, "GET", path), 404);
    expect(ask(submitter, "/v1/audit", (struct query){0}), 403, "forbidden");
    assert_int_equal(status_of(admin, "GET", "/v1/audit"), 200);
    /* What tells of all projects is not for a token of one. */
    expect(ask(insider, "/metrics", (struct query){0}), 403, "forbidden");
}

static void test_wrong_tokens(void **state)
{
    (void)state;
    char wrong[TOKEN_SIZE];
    strcpy(wrong, submitter);
    wrong[20] = wrong[20] == '0' ? '1' : '0';
    assert_int_equal(status_of(wrong, "GET", "/v1/jobs"), 401);
    assert_int_equal(status_of("", "GET", "/v1/jobs"), 401);
    assert_int_equal(status_of("x", "GET", "/v1/jobs"), 401);
    char hash[65], longer[TOKEN_SIZE + 8];
    snprintf(longer, sizeof longer, "%s0", submitter);
    assert_int_equal(status_of(longer, "GET", "/v1/jobs"), 401);
    /* The hash, which a stolen database has, opens nothing. */
    assert_true(access_hash(submitter, hash));
    assert_int_equal(status_of(hash, "GET", "/v1/jobs"), 401);
    struct reply r = ask(NULL, "/v1/jobs", (struct query){.headers = {"Authorization: Basic YTpi"}});
    assert_int_equal(r.status, 401);
    reply_free(&r);
    /* A token is no cookie. */
    char cookie[256];
    snprintf(cookie, sizeof cookie, "Cookie: bpuhub=%s", submitter);
    r = ask(NULL, "/v1/jobs", (struct query){.headers = {cookie}});
    assert_int_equal(r.status, 401);
    reply_free(&r);
}

static void test_stored_hashed(void **state)
{
    (void)state;
    char path[128], hash[65];
    sqlite3 *db;
    sqlite3_stmt *q;
    snprintf(path, sizeof path, "%s/hub.db", hub.dir);
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "SELECT hash FROM tokens WHERE name = 'builder'", -1,
                                        &q, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_step(q), SQLITE_ROW);
    assert_true(access_hash(submitter, hash));
    assert_string_equal((const char *)sqlite3_column_text(q, 0), hash);
    sqlite3_finalize(q);
    sqlite3_close(db);
    /* And nowhere in the files themselves. */
    static const char *const files[] = {"hub.db", "hub.db-wal"};
    for (size_t i = 0; i < 2; i++) {
        size_t size;
        snprintf(path, sizeof path, "%s/%s", hub.dir, files[i]);
        char *data = file_read(path, &size);
        assert_non_null(data);
        assert_null(memmem(data, size, submitter + 7, 64));
        free(data);
    }
}

static void test_expiry_and_revocation(void **state)
{
    (void)state;
    char brief[TOKEN_SIZE], gone[TOKEN_SIZE], line[512], command[64];
    token_make(&hub, "brief --expires 2s", brief);
    token_make(&hub, "gone", gone);
    assert_int_equal(status_of(brief, "GET", "/v1/jobs"), 200);
    assert_int_equal(status_of(gone, "GET", "/v1/jobs"), 200);
    snprintf(command, sizeof command, "token revoke %d", token_number(&hub, "gone"));
    assert_int_equal(operator_run(&hub, command, line, sizeof line), 0);
    for (int i = 0; i < 40 && status_of(gone, "GET", "/v1/jobs") == 200; i++)
        usleep(50000);
    assert_int_equal(status_of(gone, "GET", "/v1/jobs"), 401);
    assert_int_not_equal(operator_run(&hub, command, line, sizeof line), 0);
    assert_int_not_equal(operator_run(&hub, "token revoke 99999", line, sizeof line), 0);
    usleep(2100000);
    assert_int_equal(status_of(brief, "GET", "/v1/jobs"), 401);
    assert_int_equal(operator_run(&hub, "token create a --role king", line, sizeof line), 2);
    assert_int_equal(operator_run(&hub, "token create a --role admin --project p", line, sizeof line), 2);
}

/* When a token was used is known within seconds, and is not written with each request. */
static void test_last_use(void **state)
{
    (void)state;
    char token[TOKEN_SIZE], line[16384], first[64] = "";
    token_make(&hub, "rarely", token);
    for (int i = 0; i < 100 && !*first; i++) {
        json_t *item;
        size_t k;
        assert_int_equal(status_of(token, "GET", "/v1/marches"), 200);
        usleep(50000);
        assert_int_equal(operator_run(&hub, "token list --json", line, sizeof line), 0);
        json_t *doc = json_loads(line, 0, NULL);
        json_array_foreach(json_object_get(doc, "items"), k, item)
        {
            const char *at = json_string_value(json_object_get(item, "last_used"));
            if (strcmp(json_string_value(json_object_get(item, "name")), "rarely") == 0)
                snprintf(first, sizeof first, "%s", at ? at : "");
        }
        json_decref(doc);
    }
    assert_true(*first);
    /* Used again and again: the same text for the next minute. */
    for (int i = 0; i < 5; i++)
        assert_int_equal(status_of(token, "GET", "/v1/marches"), 200);
    usleep(2500000);
    assert_int_equal(operator_run(&hub, "token list --json", line, sizeof line), 0);
    assert_non_null(strstr(line, first));
}

/* ---- projects ----------------------------------------------------------------------------------
 */

static bool lists(const char *token, const char *path, const char *id)
{
    struct reply r = ask(token, path, (struct query){0});
    assert_int_equal(r.status, 200);
    bool found = strstr(r.body, id) != NULL;
    reply_free(&r);
    return found;
}

/* The pattern with the id in place of its "@". */
static void fill(char path[256], const char *pattern, const char *id)
{
    size_t n = strcspn(pattern, "@");
    snprintf(path, 256, "%.*s%s%s", (int)n, pattern, id, pattern + n + 1);
}

/* Two answers that must not be told apart: the same but for the name that was asked for. */
static void alike(const char *token, const char *method, const char *pattern, const char *hidden,
                  const char *unknown)
{
    char path[256];
    fill(path, pattern, hidden);
    struct reply a = ask(token, path, (struct query){.method = method});
    fill(path, pattern, unknown);
    struct reply b = ask(token, path, (struct query){.method = method});
    char *at;
    while ((at = strstr(a.body, hidden)))
        memcpy(at, unknown, strlen(unknown));
    if (a.status != 404 || strcmp(a.body, b.body) != 0)
        print_message("# %s %s: %ld %s / %ld %s\n", method, pattern, a.status, a.body, b.status, b.body);
    assert_int_equal(a.status, 404);
    assert_int_equal(b.status, 404);
    assert_string_equal(a.body, b.body);
    reply_free(&a);
    reply_free(&b);
}

static void test_private_project(void **state)
{
    (void)state;
    struct reply r = send_file(insider, "/v1/check?march=bayes&filename=hidden_net.json", ILLEGAL);
    assert_int_equal(r.status, 200);
    assert_string_equal(reply_text(&r, "project"), "secret"); /* the token's, without being asked */
    char job[64], model[65];
    snprintf(job, sizeof job, "%s", reply_text(&r, "id"));
    snprintf(model, sizeof model, "%s", reply_text(&r, "model"));
    reply_free(&r);
    char compared[128];
    r = send_file(submitter, "/v1/check?march=bayes", LEGAL);
    assert_int_equal(r.status, 200);
    snprintf(compared, sizeof compared, "/v1/compare?base=%s&head=@", reply_text(&r, "id"));
    reply_free(&r);
    static const char *const others[] = {"viewer", "submitter"};
    const char *tokens[] = {viewer, submitter};
    for (size_t i = 0; i < 2; i++) {
        print_message("# %s\n", others[i]);
        static const char *const gets[] = {
            "/v1/jobs/@",          "/v1/jobs/@/report",           "/v1/jobs/@/report.sarif",
            "/v1/jobs/@/report.html", "/v1/jobs/@/graph.svg",     "/v1/jobs/@/artifacts/report.json",
            "/v1/jobs/@/events",   "/v1/jobs/@/report.junit.xml"};
        for (size_t k = 0; k < sizeof gets / sizeof gets[0]; k++)
            alike(tokens[i], "GET", gets[k], job, "38g0000000000");
        alike(tokens[i], "GET", "/v1/compare?base=@&head=38g0000000000", job, "38g0000000001");
        alike(tokens[i], "GET", compared, job, "38g0000000000");
        alike(tokens[i], "GET", "/v1/models/@", model,
              "00000000000000000000000000000000000000000000000000000000000000aa");
        static const char *const listings[] = {
            "/v1/jobs", "/v1/jobs?project=secret", "/v1/jobs?q=hidden_net", "/v1/jobs?q=hi",
            "/v1/jobs?verdict=illegal", "/v1/jobs?kind=check&march=bayes", "/v1/jobs?state=succeeded"};
        for (size_t k = 0; k < sizeof listings / sizeof listings[0]; k++)
            assert_false(lists(tokens[i], listings[k], job));
        char query[160];
        snprintf(query, sizeof query, "/v1/jobs?q=%s", job);
        assert_false(lists(tokens[i], query, job));
        snprintf(query, sizeof query, "/v1/jobs?model=%s", model);
        assert_false(lists(tokens[i], query, job));
        assert_false(lists(tokens[i], "/v1/models", model));
    }
    alike(submitter, "POST", "/v1/jobs/@/cancel", job, "38g0000000000");
    alike(submitter, "POST", "/v1/jobs/@/retry", job, "38g0000000000");
    alike(submitter, "DELETE", "/v1/jobs/@", job, "38g0000000000");
    /* Nor can a job be made of its model, or one be added to the project. */
    char body[256];
    snprintf(body, sizeof body, "{\"model\":\"%s\",\"kind\":\"check\",\"march\":\"bayes\"}", model);
    expect(ask(submitter, "/v1/jobs", (struct query){.body = body}), 404, "not_found");
    expect(send_file(submitter, "/v1/check?march=bayes&project=secret", LEGAL), 403, "forbidden");
    expect(send_file(submitter, "/v1/models?project=secret", LEGAL), 403, "forbidden");
    /* Those who belong see it. */
    const char *in[] = {insider, admin};
    for (size_t i = 0; i < 2; i++) {
        char path[128];
        snprintf(path, sizeof path, "/v1/jobs/%s/report", job);
        assert_int_equal(status_of(in[i], "GET", path), 200);
        assert_true(lists(in[i], "/v1/jobs?project=secret", job));
        assert_true(lists(in[i], "/v1/jobs?q=hidden_net", job));
        assert_true(lists(in[i], "/v1/models", model));
    }
    /* The same content from another is new to them, and from then on theirs too. */
    r = send_file(submitter, "/v1/models?filename=mine.json", ILLEGAL);
    assert_int_equal(r.status, 201);
    reply_free(&r);
    assert_true(lists(viewer, "/v1/models", model));
    assert_false(lists(viewer, "/v1/jobs", job));
    /* A project opens for all when it is set to. */
    char line[64], path[96];
    snprintf(path, sizeof path, "/v1/jobs/%s", job);
    assert_int_equal(operator_run(&hub, "project set secret public", line, sizeof line), 0);
    for (int i = 0; i < 40 && status_of(viewer, "GET", path) == 404; i++)
        usleep(50000);
    assert_int_equal(status_of(viewer, "GET", path), 200);
    assert_int_equal(operator_run(&hub, "project set secret private", line, sizeof line), 0);
    for (int i = 0; i < 40 && status_of(viewer, "GET", path) == 200; i++)
        usleep(50000);
    assert_int_equal(status_of(viewer, "GET", path), 404);
}

static void test_bound_token(void **state)
{
    (void)state;
    struct reply r = send_file(submitter, "/v1/check?march=bernoulli2&project=other", LEGAL);
    assert_int_equal(r.status, 200);
    char path[96];
    snprintf(path, sizeof path, "/v1/jobs/%s", reply_text(&r, "id"));
    reply_free(&r);
    /* Reads what is public, changes only what is its own. */
    assert_int_equal(status_of(insider, "GET", path), 200);
    assert_int_equal(status_of(insider, "DELETE", path), 403);
    expect(send_file(insider, "/v1/check?march=bayes&project=other", LEGAL), 403, "forbidden");
    assert_int_equal(status_of(submitter, "DELETE", path), 204);
}

/* A repeat with another's key is another request. */
static void test_keys_of_others(void **state)
{
    (void)state;
    struct reply r = send_file(submitter, "/v1/models", LEGAL);
    char body[256], first[64];
    snprintf(body, sizeof body, "{\"model\":\"%s\",\"kind\":\"check\",\"march\":\"bayes\"}",
             reply_text(&r, "id"));
    reply_free(&r);
    struct query q = {.body = body, .headers = {"Idempotency-Key: the-same"}};
    r = ask(insider, "/v1/jobs", q);
    assert_int_equal(r.status, 202);
    snprintf(first, sizeof first, "%s", reply_text(&r, "id"));
    reply_free(&r);
    r = ask(insider, "/v1/jobs", q);
    assert_string_equal(reply_text(&r, "id"), first);
    reply_free(&r);
    r = ask(submitter, "/v1/jobs", q);
    assert_int_equal(r.status, 202);
    assert_string_not_equal(reply_text(&r, "id"), first);
    assert_string_equal(reply_text(&r, "project"), "");
    reply_free(&r);
}

/* ---- browsers ----------------------------------------------------------------------------------
 */

static void sign_in(char cookie[256], char csrf[160])
{
    char body[256];
    snprintf(body, sizeof body, "{\"token\":\"%s\"}", submitter);
    struct reply r = ask(NULL, "/v1/session", (struct query){.body = body});
    assert_int_equal(r.status, 200);
    const char *set = reply_header(&r, "Set-Cookie");
    assert_non_null(set);
    assert_non_null(strstr(set, "HttpOnly"));
    assert_non_null(strstr(set, "SameSite=Strict"));
    assert_non_null(strstr(set, "Path=/"));
    assert_null(strstr(set, "Domain"));
    snprintf(cookie, 256, "Cookie: a=b; %.*s; c=d", (int)strcspn(set, ";"), set);
    assert_null(strstr(r.body, "bpuhub_"));
    assert_string_equal(reply_text(&r, "role"), "submitter");
    snprintf(csrf, 160, "X-CSRF-Token: %s", reply_text(&r, "csrf"));
    assert_int_equal(strlen(csrf), strlen("X-CSRF-Token: ") + 64);
    reply_free(&r);
}

static void test_session(void **state)
{
    (void)state;
    char cookie[256], csrf[160];
    sign_in(cookie, csrf);
    struct reply r = ask(NULL, "/v1/jobs", (struct query){.headers = {cookie}});
    assert_int_equal(r.status, 200);
    reply_free(&r);
    r = ask(NULL, "/v1/session", (struct query){.headers = {cookie}});
    assert_string_equal(reply_text(&r, "name"), "builder");
    assert_string_equal(reply_text(&r, "csrf"), csrf + strlen("X-CSRF-Token: "));
    reply_free(&r);
    /* The cookie's value is not a token, and is stored hashed. */
    char value[160];
    snprintf(value, sizeof value, "%.64s", strstr(cookie, "bpuhub=") + 7);
    assert_int_equal(status_of(value, "GET", "/v1/jobs"), 401);
    r = ask(NULL, "/v1/session", (struct query){.method = "DELETE", .headers = {cookie, csrf}});
    assert_int_equal(r.status, 204);
    assert_non_null(strstr(reply_header(&r, "Set-Cookie"), "Max-Age=0"));
    reply_free(&r);
    r = ask(NULL, "/v1/jobs", (struct query){.headers = {cookie}});
    assert_int_equal(r.status, 401);
    reply_free(&r);
    expect(ask(NULL, "/v1/session", (struct query){.body = "{\"token\":\"wrong\"}"}), 401,
           "unauthorized");
    expect(ask(NULL, "/v1/session", (struct query){.body = "{}"}), 400, "bad_request");
    r = ask(NULL, "/v1/session", (struct query){0});
    assert_string_equal(reply_text(&r, "access"), "tokens");
    assert_int_equal(json_is_true(json_object_get(r.json, "signed_in")), 0);
    reply_free(&r);
}

static void test_csrf(void **state)
{
    (void)state;
    char cookie[256], csrf[160], other[256], other_csrf[160];
    sign_in(cookie, csrf);
    sign_in(other, other_csrf);
    size_t size;
    char *body = file_read(LEGAL, &size);
    struct query q = {.body = body, .body_size = size, .headers = {cookie}};
    expect(ask(NULL, "/v1/models", q), 403, "csrf");
    q.headers[1] = "X-CSRF-Token: 0";
    expect(ask(NULL, "/v1/models", q), 403, "csrf");
    q.headers[1] = other_csrf; /* that of another session */
    expect(ask(NULL, "/v1/models", q), 403, "csrf");
    q.headers[1] = csrf;
    struct reply r = ask(NULL, "/v1/models", q);
    assert_true(r.status == 200 || r.status == 201);
    reply_free(&r);
    /* With the right token, but from a page of another site. */
    q.headers[2] = "Origin: http://evil.example";
    expect(ask(NULL, "/v1/models", q), 403, "cross_site");
    q.headers[2] = "Sec-Fetch-Site: same-site";
    expect(ask(NULL, "/v1/models", q), 403, "cross_site");
    q.headers[2] = "Origin: null";
    expect(ask(NULL, "/v1/models", q), 403, "cross_site");
    free(body);
    expect(ask(NULL, "/v1/session", (struct query){.method = "DELETE", .headers = {cookie}}), 403,
           "csrf");
    /* Nor can another site sign somebody in. */
    expect(ask(NULL, "/v1/session", (struct query){.body = "{\"token\":\"x\"}",
                                                   .headers = {"Sec-Fetch-Site: cross-site"}}),
           403, "cross_site");
    /* No answer lets other sites read it. */
    r = ask(NULL, "/v1/session", (struct query){.headers = {cookie, "Origin: http://evil.example"}});
    assert_null(reply_header(&r, "Access-Control-Allow-Origin"));
    assert_string_equal(reply_header(&r, "Cross-Origin-Resource-Policy"), "same-origin");
    reply_free(&r);
}

static void test_session_ends_with_token(void **state)
{
    (void)state;
    char token[TOKEN_SIZE], body[256], cookie[256], line[64], command[64];
    token_make(&hub, "leaver", token);
    snprintf(body, sizeof body, "{\"token\":\"%s\"}", token);
    struct reply r = ask(NULL, "/v1/session", (struct query){.body = body});
    const char *set = reply_header(&r, "Set-Cookie");
    snprintf(cookie, sizeof cookie, "Cookie: %.*s", (int)strcspn(set, ";"), set);
    reply_free(&r);
    struct query q = {.headers = {cookie}};
    r = ask(NULL, "/v1/jobs", q);
    assert_int_equal(r.status, 200);
    reply_free(&r);
    snprintf(command, sizeof command, "token revoke %d", token_number(&hub, "leaver"));
    assert_int_equal(operator_run(&hub, command, line, sizeof line), 0);
    long status = 200;
    for (int i = 0; i < 40 && status == 200; i++) {
        usleep(50000);
        r = ask(NULL, "/v1/jobs", q);
        status = r.status;
        reply_free(&r);
    }
    assert_int_equal(status, 401);
}

/* A stream that was open when its listener was shut out. */
static void test_stream_ends_with_token(void **state)
{
    (void)state;
    static const char *const arguments[] = {"--workers", "0", NULL};
    struct service idle = {0};
    char boss[TOKEN_SIZE], token[TOKEN_SIZE], text[512], line[64], command[64];
    static struct raw got;
    assert_true(service_start(&idle, arguments));
    token_make(&idle, "boss --role admin", boss);
    closed_wait(&idle);
    for (int how = 0; how < 2; how++) { /* the token goes; the project becomes private */
        token_make(&idle, how ? "second" : "first", token);
        snprintf(text, sizeof text, "Authorization: Bearer %s", boss);
        size_t size;
        char *file = file_read(LEGAL, &size);
        struct reply r = http_do(&idle, how ? "/v1/check?march=bayes&project=p2" : "/v1/check?march=bayes&project=p1",
                                 (struct query){.body = file, .body_size = size, .headers = {text, "Prefer: wait=0"}});
        free(file);
        assert_int_equal(r.status, 202);
        int fd = raw_open(&idle);
        snprintf(text, sizeof text, "GET /v1/jobs/%s/events HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAuthorization: Bearer %s\r\n\r\n",
                 reply_text(&r, "id"), idle.port, token);
        reply_free(&r);
        assert_true(raw_send(fd, text, strlen(text)));
        raw_read(fd, 1500, 3000, &got);
        assert_int_equal(got.status, 200);
        assert_non_null(strstr(got.text, "\"state\":\"queued\""));
        assert_null(strstr(got.text, "\r\n0\r\n\r\n")); /* it goes on */
        snprintf(command, sizeof command, "token revoke %d", token_number(&idle, "first"));
        assert_int_equal(operator_run(&idle, how ? "project set p2 private" : command, line, sizeof line), 0);
        raw_read(fd, 5000, 5000, &got);
        assert_true(got.closed || strstr(got.text, "0\r\n\r\n"));
        close(fd);
    }
    assert_int_equal(service_stop(&idle, SIGTERM), 0);
    service_remove(&idle);
}

static void test_policies(void **state)
{
    (void)state;
    struct reply r = ask(NULL, "/", (struct query){0});
    const char *policy = reply_header(&r, "Content-Security-Policy");
    assert_non_null(strstr(policy, "default-src 'none'"));
    assert_non_null(strstr(policy, "script-src 'self'"));
    assert_non_null(strstr(policy, "frame-ancestors 'none'"));
    assert_null(strstr(policy, "unsafe"));
    assert_null(strstr(r.body, "onclick="));
    assert_null(strstr(r.body, "<script>"));
    reply_free(&r);
    r = ask(submitter, "/v1/jobs", (struct query){0});
    policy = reply_header(&r, "Content-Security-Policy");
    assert_non_null(strstr(policy, "default-src 'none'"));
    assert_non_null(strstr(policy, "sandbox"));
    assert_string_equal(reply_header(&r, "X-Content-Type-Options"), "nosniff");
    reply_free(&r);
}

/* ---- bounds ------------------------------------------------------------------------------------
 */

static void test_rate(void **state)
{
    (void)state;
    char slow[TOKEN_SIZE], other[TOKEN_SIZE];
    token_make(&hub, "slow --rate 5", slow);
    token_make(&hub, "other", other);
    int passed = 0, refused = 0;
    for (int i = 0; i < 30; i++) {
        struct reply r = ask(slow, "/v1/marches", (struct query){0});
        passed += r.status == 200;
        if (r.status == 429) {
            refused++;
            assert_true(atoi(reply_header(&r, "Retry-After")) >= 1);
            assert_string_equal(reply_text(&r, "code"), "too_many_requests");
        }
        reply_free(&r);
    }
    assert_in_range(passed, 10, 20);
    assert_int_equal(passed + refused, 30);
    assert_int_equal(status_of(other, "GET", "/v1/marches"), 200);
    sleep(1);
    assert_int_equal(status_of(slow, "GET", "/v1/marches"), 200);
}

static void test_upload_quota(void **state)
{
    (void)state;
    char small[TOKEN_SIZE];
    token_make(&hub, "small --quota-upload 1", small);
    size_t size = 700000;
    char *body = malloc(size + 1);
    memset(body, ' ', size);
    body[0] = '{';
    struct reply r = ask(small, "/v1/models", (struct query){.body = body, .body_size = size});
    assert_int_equal(r.status, 201);
    reply_free(&r);
    body[1] = '\n';
    r = ask(small, "/v1/models", (struct query){.body = body, .body_size = size});
    assert_true(atoi(reply_header(&r, "Retry-After")) >= 1);
    expect(r, 429, "quota_exceeded");
    /* Also when the length is not told before. */
    r = ask(small, "/v1/models", (struct query){.body = body, .body_size = size, .chunked = true});
    expect(r, 429, "quota_exceeded");
    /* Others have their own. */
    r = ask(submitter, "/v1/models", (struct query){.body = body, .body_size = size});
    assert_int_equal(r.status, 201);
    reply_free(&r);
    free(body);
}

static void test_queue_quota(void **state)
{
    (void)state;
    static const char *const without[] = {"--workers", "0", NULL};
    struct service idle = {0}, before = hub;
    char token[TOKEN_SIZE], body[256], id[65], job[96] = "";
    assert_true(service_start(&idle, without));
    token_make(&idle, "few --quota-queued 3", token);
    closed_wait(&idle);
    hub = idle; /* what ask() talks to */
    struct reply r = send_file(token, "/v1/models", LEGAL);
    assert_int_equal(r.status, 201);
    snprintf(id, sizeof id, "%s", reply_text(&r, "id"));
    reply_free(&r);
    for (int i = 0; i < 4; i++) {
        snprintf(body, sizeof body,
                 "{\"model\":\"%s\",\"kind\":\"check\",\"march\":\"bayes\",\"options\":{\"n\":\"%d\"}}",
                 id, i);
        r = ask(token, "/v1/jobs", (struct query){.body = body});
        if (i == 3) {
            assert_non_null(reply_header(&r, "Retry-After"));
            expect(r, 429, "quota_exceeded");
            continue;
        }
        assert_int_equal(r.status, 202);
        snprintf(job, sizeof job, "/v1/jobs/%s/cancel", reply_text(&r, "id"));
        reply_free(&r);
    }
    /* The refused one is not there, and room can be made. */
    r = ask(token, "/v1/jobs", (struct query){0});
    assert_int_equal(json_array_size(json_object_get(r.json, "items")), 3);
    reply_free(&r);
    assert_int_equal(status_of(token, "POST", job), 200);
    r = ask(token, "/v1/jobs", (struct query){.body = body});
    assert_int_equal(r.status, 202);
    reply_free(&r);
    hub = before;
    assert_int_equal(service_stop(&idle, SIGTERM), 0);
    service_remove(&idle);
}

static void test_audit(void **state)
{
    (void)state;
    char auditor[TOKEN_SIZE];
    token_make(&hub, "auditor --role admin", auditor);
    struct reply r = send_file(submitter, "/v1/check?march=bayes&k=audit", LEGAL);
    char path[96], id[64];
    snprintf(id, sizeof id, "%s", reply_text(&r, "id"));
    snprintf(path, sizeof path, "/v1/jobs/%s", id);
    reply_free(&r);
    assert_int_equal(status_of(submitter, "DELETE", path), 204);
    assert_int_equal(status_of("bpuhub_wrong", "GET", "/v1/jobs"), 401);
    usleep(100000); /* what is refused is written on its own way */
    r = ask(auditor, "/v1/audit?limit=1000", (struct query){0});
    static const char *const actions[] = {"token.create", "model.upload", "job.delete", "access",
                                          "session.create", "session.delete", "token.revoke",
                                          "project.private"};
    bool seen[8] = {false}, deleted = false;
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(r.json, "items"), i, item)
    {
        const char *action = json_string_value(json_object_get(item, "action"));
        const char *object = json_string_value(json_object_get(item, "object"));
        const char *actor = json_string_value(json_object_get(item, "actor"));
        const char *address = json_string_value(json_object_get(item, "address"));
        for (size_t k = 0; k < 8; k++)
            seen[k] = seen[k] || strcmp(action, actions[k]) == 0;
        if (strcmp(action, "job.delete") == 0 && object && strcmp(object, id) == 0)
            deleted = actor && strcmp(actor, "builder") == 0 && address &&
                      strcmp(address, "127.0.0.1") == 0;
    }
    for (size_t k = 0; k < 8; k++) {
        if (!seen[k])
            print_message("# %s is missing\n", actions[k]);
        assert_true(seen[k]);
    }
    assert_true(deleted);
    assert_null(strstr(r.body, submitter + 7));
    reply_free(&r);
    /* Pages follow each other. */
    char first[32], next[64];
    r = ask(auditor, "/v1/audit?limit=2", (struct query){0});
    assert_int_equal(json_array_size(json_object_get(r.json, "items")), 2);
    snprintf(first, sizeof first, "%s", reply_text(&r, "next"));
    reply_free(&r);
    snprintf(next, sizeof next, "/v1/audit?limit=2&cursor=%s", first);
    r = ask(auditor, next, (struct query){0});
    assert_int_equal(json_array_size(json_object_get(r.json, "items")), 2);
    assert_true(atoll(reply_text(&r, "next")) < atoll(first));
    reply_free(&r);
    char line[512];
    assert_int_equal(operator_run(&hub, "audit 5", line, sizeof line), 0);
    assert_true(strlen(line) > 20);
}

/* Last, because it uses up what this address may get wrong. */
static void test_guessing(void **state)
{
    (void)state;
    int wrong = 0, refused = 0;
    for (int i = 0; i < 40; i++) {
        char guess[TOKEN_SIZE];
        snprintf(guess, sizeof guess, "bpuhub_%064d", i);
        long status = status_of(guess, "GET", "/v1/jobs");
        wrong += status == 401;
        refused += status == 429;
    }
    assert_int_equal(wrong + refused, 40);
    assert_true(wrong <= 25 && refused >= 15);
    /* Signing in counts the same, and good tokens from the address go on. */
    struct reply r = ask(NULL, "/v1/session", (struct query){.body = "{\"token\":\"guess\"}"});
    assert_int_equal(r.status, 429);
    assert_non_null(reply_header(&r, "Retry-After"));
    reply_free(&r);
    assert_int_equal(status_of(submitter, "GET", "/v1/jobs"), 200);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nobody),
        cmocka_unit_test(test_roles),
        cmocka_unit_test(test_wrong_tokens),
        cmocka_unit_test(test_stored_hashed),
        cmocka_unit_test(test_expiry_and_revocation),
        cmocka_unit_test(test_last_use),
        cmocka_unit_test(test_private_project),
        cmocka_unit_test(test_bound_token),
        cmocka_unit_test(test_keys_of_others),
        cmocka_unit_test(test_session),
        cmocka_unit_test(test_csrf),
        cmocka_unit_test(test_session_ends_with_token),
        cmocka_unit_test(test_stream_ends_with_token),
        cmocka_unit_test(test_policies),
        cmocka_unit_test(test_rate),
        cmocka_unit_test(test_upload_quota),
        cmocka_unit_test(test_queue_quota),
        cmocka_unit_test(test_audit),
        cmocka_unit_test(test_guessing),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
