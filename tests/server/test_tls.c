/* The daemon with a certificate of its own making, and where it refuses to listen. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <curl/curl.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/server/raw_client.h"

static char dir[] = "/tmp/bpuhub-tls-XXXXXX";
static char cert[64], key[64], other_key[64], old_cert[64], old_key[64];

static void key_write(EVP_PKEY *k, const char *path)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(PEM_write_PrivateKey(f, k, NULL, NULL, 0, NULL, NULL), 1);
    fclose(f);
}

/* A certificate for 127.0.0.1, signed by itself, that ends in so many seconds. */
static void pair_make(const char *cert_path, const char *key_path, long seconds)
{
    EVP_PKEY *k = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    assert_true(k && x);
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), -86400);
    X509_gmtime_adj(X509_getm_notAfter(x), seconds);
    X509_set_pubkey(x, k);
    X509_NAME *name = X509_get_subject_name(x);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"hub", -1, -1, 0);
    X509_set_issuer_name(x, name);
    X509V3_CTX ctx;
    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, x, x, NULL, NULL, 0);
    static const struct {
        int nid;
        const char *value;
    } parts[] = {{NID_subject_alt_name, "IP:127.0.0.1"}, {NID_basic_constraints, "critical,CA:TRUE"}};
    for (size_t i = 0; i < 2; i++) {
        X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, parts[i].nid, parts[i].value);
        assert_non_null(e);
        X509_add_ext(x, e, -1);
        X509_EXTENSION_free(e);
    }
    assert_true(X509_sign(x, k, EVP_sha256()) > 0);
    FILE *f = fopen(cert_path, "w");
    assert_non_null(f);
    assert_int_equal(PEM_write_X509(f, x), 1);
    fclose(f);
    key_write(k, key_path);
    X509_free(x);
    EVP_PKEY_free(k);
}

static int start(void **state)
{
    (void)state;
    curl_global_init(CURL_GLOBAL_ALL);
    if (!mkdtemp(dir))
        return -1;
    snprintf(cert, sizeof cert, "%s/cert.pem", dir);
    snprintf(key, sizeof key, "%s/key.pem", dir);
    snprintf(old_cert, sizeof old_cert, "%s/old.pem", dir);
    snprintf(old_key, sizeof old_key, "%s/old-key.pem", dir);
    snprintf(other_key, sizeof other_key, "%s/other.pem", dir);
    pair_make(cert, key, 3600);
    pair_make(old_cert, old_key, -60);
    EVP_PKEY *k = EVP_EC_gen("P-256");
    key_write(k, other_key);
    EVP_PKEY_free(k);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    struct service s = {0};
    snprintf(s.dir, sizeof s.dir, "%s", dir);
    service_remove(&s);
    return 0;
}

static bool tls_start(struct service *s, const char *more)
{
    const char *const arguments[] = {"--workers", "1", "--tls-cert", cert, "--tls-key", key, more, NULL};
    snprintf(s->ca, sizeof s->ca, "%s", cert);
    return service_start(s, arguments);
}

static void token_make(const struct service *s, const char *role, char token[128])
{
    char command[256];
    const char *program = getenv("BPUHUB_BIN");
    snprintf(command, sizeof command, "%s token create t --role %s --data %s 2>/dev/null",
             program ? program : "build/bpuhub", role, s->dir);
    FILE *p = popen(command, "r");
    assert_non_null(fgets(token, 128, p));
    assert_int_equal(pclose(p), 0);
    token[strcspn(token, "\n")] = 0;
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

static void test_https(void **state)
{
    (void)state;
    struct service s = {0};
    assert_true(tls_start(&s, NULL));
    assert_int_equal(strncmp(s.url, "https://127.0.0.1:", 18), 0);
    struct reply r = http_get(&s, "/healthz");
    assert_int_equal(r.status, 200);
    assert_non_null(reply_header(&r, "Strict-Transport-Security"));
    reply_free(&r);
    /* A whole check, uploads and waiting included. */
    size_t size;
    char *body = file_read("tests/fixtures/one_conv.json", &size);
    r = http_do(&s, "/v1/check?march=bayes", (struct query){.body = body, .body_size = size});
    assert_int_equal(r.status, 200);
    assert_string_equal(reply_text(&r, "verdict"), "legal");
    reply_free(&r);
    free(body);
    /* Larger than any buffer on the way, both ways. */
    size = (size_t)5 << 20;
    body = malloc(size + 1);
    memset(body, ' ', size);
    body[0] = '{';
    r = http_do(&s, "/v1/models", (struct query){.body = body, .body_size = size});
    assert_int_equal(r.status, 201);
    reply_free(&r);
    free(body);
    /* Who does not know the certificate does not trust it, and http is not spoken. */
    struct service stranger = s;
    snprintf(stranger.ca, sizeof stranger.ca, "%s", old_cert);
    r = http_get(&stranger, "/healthz");
    assert_int_equal(r.status, 0);
    reply_free(&r);
    struct raw raw;
    raw_do(&s, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", &raw);
    assert_int_equal(raw.statuses, 0);
    assert_true(raw.closed);
    assert_int_equal(service_stop(&s, SIGTERM), 0);
    service_remove(&s);
}

static void test_secure_cookie(void **state)
{
    (void)state;
    struct service s = {0};
    char token[128], body[256], cookie[256];
    assert_true(tls_start(&s, NULL));
    token_make(&s, "viewer", token);
    snprintf(body, sizeof body, "{\"token\":\"%s\"}", token);
    struct reply r = http_do(&s, "/v1/session", (struct query){.body = body});
    const char *set = reply_header(&r, "Set-Cookie");
    assert_non_null(set);
    assert_int_equal(strncmp(set, "__Host-bpuhub=", 14), 0);
    assert_non_null(strstr(set, "; Secure"));
    assert_non_null(strstr(set, "; HttpOnly"));
    snprintf(cookie, sizeof cookie, "Cookie: %.*s", (int)strcspn(set, ";"), set);
    reply_free(&r);
    r = http_do(&s, "/v1/jobs", (struct query){.headers = {cookie}});
    assert_int_equal(r.status, 200);
    reply_free(&r);
    assert_int_equal(service_stop(&s, SIGTERM), 0);
    service_remove(&s);
}

/* A client that never finishes the handshake holds its connection no longer than others. */
static void test_slow_handshake(void **state)
{
    (void)state;
    struct service s = {0};
    struct raw r;
    assert_true(tls_start(&s, "--idle-seconds=2"));
    int fd = raw_open(&s);
    double seconds = 0;
    static const char hello[] = "\x16\x03\x01\x01\x00\x01\x00\x00\xfc\x03\x03";
    for (size_t i = 0; i < 40; i++) {
        const char *byte = i < sizeof hello - 1 ? &hello[i] : "a";
        if (!raw_send(fd, byte, 1))
            break;
        raw_read(fd, 300, 300, &r);
        seconds += r.seconds;
        if (r.closed)
            break;
    }
    close(fd);
    assert_true(seconds < 6);
    struct reply ok = http_get(&s, "/healthz");
    assert_int_equal(ok.status, 200);
    reply_free(&ok);
    assert_int_equal(service_stop(&s, SIGTERM), 0);
    service_remove(&s);
}

static int code_with(const char *cert_path, const char *key_path)
{
    char data[96];
    snprintf(data, sizeof data, "%s/refused", dir);
    const char *const arguments[] = {"--listen",   "127.0.0.1:0", "--data",    data,    "--tls-cert",
                                     cert_path,    "--tls-key",   key_path,    NULL};
    return service_refused(arguments);
}

static void test_wrong_files(void **state)
{
    (void)state;
    assert_int_equal(code_with(cert, other_key), 2);
    assert_int_equal(code_with(key, key), 2);
    assert_int_equal(code_with(cert, cert), 2);
    assert_int_equal(code_with(old_cert, old_key), 2);
    char absent[96];
    snprintf(absent, sizeof absent, "%s/absent.pem", dir);
    assert_int_equal(code_with(absent, key), 3);
    assert_int_equal(code_with(dir, key), 2);
    const char *const half[] = {"--listen", "127.0.0.1:0", "--data", dir, "--tls-cert", cert, NULL};
    assert_int_equal(service_refused(half), 2);
}

/* Beyond loopback only with tokens, or when told that everybody may. */
static void test_beyond_loopback(void **state)
{
    (void)state;
    static const char *const world[] = {"--workers", "0", "--listen", "0.0.0.0:0", NULL};
    static const char *const anyway[] = {"--workers", "0", "--listen", "0.0.0.0:0", "--insecure", NULL};
    static const char *const local[] = {"--workers", "0", NULL};
    struct service s = {0};
    char token[128], authorization[160];
    assert_false(service_start(&s, world));
    assert_int_equal(service_stop(&s, SIGTERM), 2);
    /* A certificate alone keeps nobody out. */
    assert_true(service_start(&s, anyway));
    struct reply r = http_get(&s, "/v1/jobs");
    assert_int_equal(r.status, 200);
    reply_free(&r);
    assert_int_equal(service_stop(&s, SIGTERM), 0);
    const char *const tls[] = {"--workers", "0",      "--listen",  "0.0.0.0:0", "--tls-cert",
                               cert,        "--tls-key", key,      NULL};
    assert_false(service_start(&s, tls));
    assert_int_equal(service_stop(&s, SIGTERM), 2);
    token_make(&s, "viewer", token);
    assert_true(service_start(&s, world));
    r = http_get(&s, "/v1/jobs");
    assert_int_equal(r.status, 401);
    reply_free(&r);
    snprintf(authorization, sizeof authorization, "Authorization: Bearer %s", token);
    r = http_do(&s, "/v1/jobs", (struct query){.headers = {authorization}});
    assert_int_equal(r.status, 200);
    reply_free(&r);
    assert_int_equal(service_stop(&s, SIGTERM), 0);
    /* Once there were tokens, also loopback is closed, and --insecure does not open it. */
    assert_true(service_start(&s, local));
    r = http_get(&s, "/v1/jobs");
    assert_int_equal(r.status, 401);
    reply_free(&r);
    assert_int_equal(service_stop(&s, SIGTERM), 0);
    assert_true(service_start(&s, anyway));
    r = http_get(&s, "/v1/jobs");
    assert_int_equal(r.status, 401);
    reply_free(&r);
    assert_int_equal(service_stop(&s, SIGTERM), 0);
    service_remove(&s);
}

static void test_anonymous_read(void **state)
{
    (void)state;
    static const char *const open_reading[] = {"--workers", "0", "--anonymous-read", "--rate", "20", NULL};
    struct service s = {0};
    char token[128], authorization[160];
    assert_true(service_start(&s, open_reading));
    token_make(&s, "submitter", token);
    closed_wait(&s);
    snprintf(authorization, sizeof authorization, "Authorization: Bearer %s", token);
    size_t size;
    char *body = file_read("tests/fixtures/one_conv.json", &size);
    struct query q = {.body = body, .body_size = size, .headers = {authorization}};
    struct reply r = http_do(&s, "/v1/models", q);
    assert_int_equal(r.status, 201);
    reply_free(&r);
    q.headers[0] = NULL;
    r = http_do(&s, "/v1/models", q);
    assert_int_equal(r.status, 403);
    reply_free(&r);
    free(body);
    r = http_get(&s, "/v1/models");
    assert_int_equal(r.status, 200);
    reply_free(&r);
    r = http_get(&s, "/metrics");
    assert_int_equal(r.status, 401);
    reply_free(&r);
    /* The bound is the address's, for whoever has no token. */
    int refused = 0;
    for (int i = 0; i < 80; i++) {
        r = http_get(&s, "/v1/marches");
        refused += r.status == 429 && reply_header(&r, "Retry-After") != NULL;
        reply_free(&r);
    }
    assert_true(refused > 10);
    r = http_do(&s, "/v1/models", (struct query){.headers = {authorization}});
    assert_int_equal(r.status, 200);
    reply_free(&r);
    assert_int_equal(service_stop(&s, SIGTERM), 0);
    service_remove(&s);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_https),       cmocka_unit_test(test_secure_cookie),
        cmocka_unit_test(test_slow_handshake), cmocka_unit_test(test_wrong_files),
        cmocka_unit_test(test_beyond_loopback), cmocka_unit_test(test_anonymous_read),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
