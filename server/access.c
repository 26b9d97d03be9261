/* Design: one mutex guards the table: entries of tokens, which live as long as the table so that
 * their counters survive a reload, and two sorted arrays, of secrets' hashes and of private
 * projects, which a reload makes anew and swaps in.
 *
 * Secrets have 256 random bits, so their SHA-256 needs neither salt nor stretching; and as it is
 * hashes that are compared, how long a comparison takes tells nothing about a secret. */
#define _GNU_SOURCE
#include "server/access.h"

#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "server/access_keeper.h"
#include "server/files.h"

static int hash_compare(const void *a, const void *b)
{
    return strcmp(((const struct secret *)a)->hash, ((const struct secret *)b)->hash);
}

static int name_compare(const void *a, const void *b)
{
    return strcmp(a, b);
}

bool access_hash(const char *secret, char hash[65])
{
    struct bpu_error err = {0};
    return files_sha256(secret, strlen(secret), hash, &err);
}

bool access_secret(const char *prefix, char *out, size_t size, struct bpu_error *err)
{
    static const char digits[] = "0123456789abcdef";
    unsigned char random[32];
    size_t n = strlen(prefix);
    if (n + 2 * sizeof random >= size ||
        getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        return error_set(err, BPU_SERVER, NULL, "the system gives no random numbers");
    memcpy(out, prefix, n);
    for (size_t i = 0; i < sizeof random; i++) {
        out[n++] = digits[random[i] >> 4];
        out[n++] = digits[random[i] & 15];
    }
    out[n] = 0;
    explicit_bzero(random, sizeof random);
    return true;
}

/* ---- reading anew ------------------------------------------------------------------------------
 */

/* The entry of token n; entries are kept in a list by number. */
static struct entry *locked_entry(struct access_table *t, int64_t n)
{
    for (struct entry *e = t->entries; e; e = e->next)
        if (e->token.n == n)
            return e;
    struct entry *e = calloc(1, sizeof *e);
    if (e) {
        e->next = t->entries;
        t->entries = e;
    }
    return e;
}

struct news {
    struct store_token *tokens;
    struct store_session *sessions;
    struct store_project *projects;
    size_t token_count, session_count, project_count;
};

static bool news_read(struct store *s, struct arena *a, struct news *n, struct bpu_error *err)
{
    return store_token_list(s, a, &n->tokens, &n->token_count, err) &&
           store_session_list(s, a, &n->sessions, &n->session_count, err) &&
           store_project_list(s, a, &n->projects, &n->project_count, err);
}

/* The hashes of tokens and sessions that are good, sorted. */
static bool locked_secrets(struct access_table *t, const struct news *n, struct bpu_error *err)
{
    struct secret *list = calloc(n->token_count + n->session_count + 1, sizeof *list);
    size_t count = 0;
    for (size_t i = 0; list && i < n->token_count; i++) {
        struct entry *e = locked_entry(t, n->tokens[i].n);
        if (!e)
            goto no_memory;
        e->token = n->tokens[i];
        if (e->token.revoked)
            continue;
        struct secret *x = &list[count++];
        memcpy(x->hash, e->token.hash, sizeof x->hash);
        x->entry = e;
        x->expires = e->token.expires;
    }
    for (size_t i = 0; list && i < n->session_count; i++) {
        struct entry *e = locked_entry(t, n->sessions[i].token);
        if (!e)
            goto no_memory;
        if (e->token.revoked)
            continue;
        struct secret *x = &list[count++];
        memcpy(x->hash, n->sessions[i].hash, sizeof x->hash);
        x->entry = e;
        x->expires = n->sessions[i].expires;
        x->session = true;
    }
    if (!list)
        goto no_memory;
    qsort(list, count, sizeof *list, hash_compare);
    free(t->secrets);
    t->secrets = list;
    t->secret_count = count;
    return true;
no_memory:
    free(list);
    return error_set(err, BPU_NO_MEMORY, NULL, "no memory for the table of tokens");
}

static bool locked_projects(struct access_table *t, const struct news *n, struct bpu_error *err)
{
    char(*list)[ACCESS_PROJECT] = calloc(n->project_count + 1, sizeof *list);
    size_t count = 0;
    if (!list)
        return error_set(err, BPU_NO_MEMORY, NULL, "no memory for the table of projects");
    for (size_t i = 0; i < n->project_count; i++)
        if (n->projects[i].private_)
            memcpy(list[count++], n->projects[i].name, sizeof *list);
    qsort(list, count, sizeof *list, name_compare);
    free(t->hidden);
    t->hidden = list;
    t->hidden_count = count;
    return true;
}

bool access_reload(struct access_table *t, struct store *s, struct bpu_error *err)
{
    struct arena a;
    struct news n = {0};
    int64_t version = 0;
    arena_init(&a, (size_t)256 << 20);
    /* The version first: a change in between is then read twice and not missed. */
    bool ok = store_access_version(s, &version, err) && news_read(s, &a, &n, err);
    if (ok) {
        pthread_mutex_lock(&t->lock);
        /* Two reloads may overtake each other: the newer one stays. */
        if (version >= t->version) {
            ok = locked_secrets(t, &n, err) && locked_projects(t, &n, err);
            if (ok) {
                t->version = version;
                t->closed = t->closed || n.token_count > 0;
            }
        }
        pthread_mutex_unlock(&t->lock);
    }
    arena_fini(&a);
    return ok;
}

/* ---- asking ------------------------------------------------------------------------------------
 */

bool access_is_open(struct access_table *t)
{
    pthread_mutex_lock(&t->lock);
    bool open = !t->closed;
    pthread_mutex_unlock(&t->lock);
    return open;
}

static int64_t bound(int64_t own, int64_t general)
{
    return own > 0 ? own : general;
}

bool access_find(struct access_table *t, const char *secret, bool session, struct access *out)
{
    struct secret key = {0};
    if (!access_hash(secret, key.hash))
        return false;
    int64_t now = access_now();
    pthread_mutex_lock(&t->lock);
    const struct secret *x =
        bsearch(&key, t->secrets, t->secret_count, sizeof key, hash_compare);
    const struct store_token *k = x ? &x->entry->token : NULL;
    bool good = x && x->session == session && (!x->expires || x->expires > now) &&
                (!k->expires || k->expires > now);
    if (good) {
        x->entry->used = now;
        *out = (struct access){
            .role = k->role,
            .token = k->n,
            .session = session,
            .rate = bound(k->rate, t->rate),
            .quota_upload = bound(k->quota_upload, t->quota_upload),
            .quota_queued = bound(k->quota_queued, t->quota_queued),
        };
        memcpy(out->name, k->name, sizeof out->name);
        memcpy(out->project, k->project, sizeof out->project);
        if (session)
            memcpy(out->session_hash, key.hash, sizeof out->session_hash);
    }
    pthread_mutex_unlock(&t->lock);
    return good;
}

static bool sees_all(const struct access *a)
{
    return a->open || (a->role == ROLE_ADMIN && !a->project[0]);
}

bool access_hides(struct access_table *t, const struct access *a, const char *project)
{
    if (sees_all(a) || !*project || strcmp(a->project, project) == 0)
        return false;
    char key[ACCESS_PROJECT] = "";
    snprintf(key, sizeof key, "%s", project);
    pthread_mutex_lock(&t->lock);
    bool hidden = t->hidden_count &&
                  bsearch(key, t->hidden, t->hidden_count, sizeof key, name_compare) != NULL;
    pthread_mutex_unlock(&t->lock);
    return hidden;
}

/* The token is neither revoked nor expired, and the session, if it is one, not over. */
static bool locked_good(const struct access_table *t, const struct access *a, int64_t now)
{
    bool token = false, session = !a->session;
    for (size_t i = 0; i < t->secret_count && !(token && session); i++) {
        const struct secret *x = &t->secrets[i];
        const struct store_token *k = &x->entry->token;
        if (k->n != a->token || (x->expires && x->expires <= now) || (k->expires && k->expires <= now))
            continue;
        token = true;
        session = session || (x->session && strcmp(x->hash, a->session_hash) == 0);
    }
    return token && session;
}

bool access_holds(struct access_table *t, const struct access *a, const char *project)
{
    if (a->open)
        return access_is_open(t);
    if (access_hides(t, a, project))
        return false;
    if (!a->token) /* anonymous reading */
        return true;
    pthread_mutex_lock(&t->lock);
    bool good = locked_good(t, a, access_now());
    pthread_mutex_unlock(&t->lock);
    return good;
}

const char *access_scope(struct access_table *t, const struct access *a)
{
    pthread_mutex_lock(&t->lock);
    bool any = t->hidden_count > 0;
    pthread_mutex_unlock(&t->lock);
    return sees_all(a) || !any ? NULL : a->project;
}

/* ---- what a token uploads in a day -------------------------------------------------------------
 */

static struct entry *locked_today(struct access_table *t, const struct access *a)
{
    struct entry *e = locked_entry(t, a->token);
    int64_t today = access_now() / ACCESS_DAY_MS;
    if (e && e->day != today) {
        /* What yesterday's last seconds uploaded is lost to yesterday's sum: nobody asks for it. */
        e->day = today;
        e->uploaded = e->unsaved = 0;
    }
    return e;
}

bool access_upload(struct access_table *t, const struct access *a, int64_t bytes)
{
    if (!a->token)
        return true;
    pthread_mutex_lock(&t->lock);
    struct entry *e = locked_today(t, a);
    if (e) {
        e->uploaded += bytes;
        e->unsaved += bytes;
    }
    bool within = !e || !a->quota_upload || e->uploaded <= a->quota_upload;
    pthread_mutex_unlock(&t->lock);
    return within;
}

int64_t access_upload_left(struct access_table *t, const struct access *a)
{
    if (!a->token || !a->quota_upload)
        return INT64_MAX;
    pthread_mutex_lock(&t->lock);
    struct entry *e = locked_today(t, a);
    int64_t left = e ? a->quota_upload - e->uploaded : INT64_MAX;
    pthread_mutex_unlock(&t->lock);
    return left > 0 ? left : 0;
}
