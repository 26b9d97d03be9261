/* Jobs: their ids, adding, reading, and what a user does to them.
 *
 * The id of a job is its row number in 13 characters of base 32.  The number is the time in
 * milliseconds shifted left by 21 bits plus random bits, or one more than the newest number if that
 * is larger: unique, growing with time, and the key of every list.
 *
 * The cache: cache_key is the hash of all that decides a result (model, kind, march, options).
 * A new job whose key and tool version are those of a succeeded job is born succeeded; one that is in
 * flight is waited for (store_follow.c). */
#define _GNU_SOURCE
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#include "core/job/job.h"
#include "server/files.h"
#include "server/json.h"
#include "server/store_sqlite.h"

#define ID_LENGTH 13
#define OPTIONS_MAX ((size_t)64 << 10)

static const char id_digits[] = "0123456789abcdefghjkmnpqrstvwxyz";
static const char *const state_names[] = {"queued", "running", "succeeded", "failed", "cancelled"};

const char *job_state_name(enum job_state st)
{
    return state_names[st];
}

bool job_state_find(const char *name, enum job_state *out)
{
    for (size_t i = 0; i < sizeof state_names / sizeof *state_names; i++)
        if (strcmp(name, state_names[i]) == 0) {
            *out = (enum job_state)i;
            return true;
        }
    return false;
}

/* ---- ids ------------------------------------------------------------------------------------- */

void store_id_write(int64_t n, char out[40])
{
    for (int i = ID_LENGTH - 1; i >= 0; i--, n >>= 5)
        out[i] = id_digits[n & 31];
    out[ID_LENGTH] = '\0';
}

bool store_id_range(const char *prefix, int64_t *low, int64_t *high)
{
    uint64_t n = 0;
    size_t length = strlen(prefix);
    if (length == 0 || length > ID_LENGTH)
        return false;
    for (size_t i = 0; i < length; i++) {
        const char *at = strchr(id_digits, tolower((unsigned char)prefix[i]));
        if (!at || (i == 0 && at - id_digits > 7)) /* 63 bits: the first digit is 0..7 */
            return false;
        n = n << 5 | (uint64_t)(at - id_digits);
    }
    unsigned open = 5 * (unsigned)(ID_LENGTH - length);
    *low = (int64_t)(n << open);
    *high = (int64_t)((n << open) | ((UINT64_C(1) << open) - 1));
    return true;
}

bool store_id_read(const char *id, int64_t *n)
{
    int64_t high;
    return strlen(id) == ID_LENGTH && store_id_range(id, n, &high);
}

bool store_job_missing(const char *id, struct bpu_error *err)
{
    return error_set(err, BPU_NOT_FOUND, NULL, "there is no job %.39s", id);
}

bool store_job_number(const char *id, int64_t *n, struct bpu_error *err)
{
    return store_id_read(id, n) || store_job_missing(id, err);
}

/* ---- reading --------------------------------------------------------------------------------- */

bool store_job_read(sqlite3_stmt *q, struct arena *a, struct store_job *out, struct bpu_error *err)
{
    memset(out, 0, sizeof *out);
    store_id_write(sqlite3_column_int64(q, 0), out->id);
    out->state = (enum job_state)sqlite3_column_int(q, 1);
    store_column(q, 2, out->kind, sizeof out->kind);
    store_column(q, 3, out->march, sizeof out->march);
    store_column(q, 4, out->verdict, sizeof out->verdict);
    store_column(q, 5, out->project, sizeof out->project);
    store_column(q, 6, out->stage, sizeof out->stage);
    out->progress = sqlite3_column_double(q, 7);
    out->attempts = sqlite3_column_int(q, 8);
    out->created = sqlite3_column_int64(q, 9);
    out->started = sqlite3_column_int64(q, 10);
    out->finished = sqlite3_column_int64(q, 11);
    out->lease_until = sqlite3_column_int64(q, 12);
    out->cancel_requested = sqlite3_column_int(q, 13) != 0;
    out->priority = sqlite3_column_int(q, 19);
    store_column(q, 17, out->model, sizeof out->model);
    store_column(q, 18, out->model_name, sizeof out->model_name);
    return store_column_dup(q, 14, a, &out->options, err) &&
           store_column_dup(q, 15, a, &out->labels, err) &&
           store_column_dup(q, 16, a, &out->error, err);
}

bool store_job_load(struct store *s, int64_t n, struct arena *a, struct store_job *out,
                    struct bpu_error *err)
{
    char id[40];
    sqlite3_stmt *q = store_query(s, err,
                                  "SELECT " STORE_JOB_COLUMNS
                                  " FROM jobs j JOIN models m ON m.n = j.model_n WHERE j.n = ?",
                                  "i", n);
    int row = q ? store_step(s, q, err) : -1;
    bool ok = row == 1 && store_job_read(q, a, out, err);
    store_done(q);
    if (row == 0) {
        store_id_write(n, id);
        store_job_missing(id, err);
    }
    return ok;
}

bool store_job_get(struct store *s, const char *id, struct arena *a, struct store_job *out,
                   struct bpu_error *err)
{
    int64_t n;
    return store_job_number(id, &n, err) && store_job_load(s, n, a, out, err);
}

/* ---- adding ---------------------------------------------------------------------------------- */

/* A JSON object with sorted keys in the arena; *object is the caller's to release. */
static const char *canonical(const char *text, const char *what, struct arena *a, json_t **object,
                             struct bpu_error *err)
{
    text = text && *text ? text : "{}";
    *object = json_parse(text, strlen(text), OPTIONS_MAX, err);
    if (*object && !json_is_object(*object))
        error_set(err, BPU_USAGE, what, "%s must be a JSON object", what);
    if (!*object || !json_is_object(*object)) {
        error_where(err, "%s", what);
        return NULL;
    }
    char *dump = json_dumps(*object, JSON_COMPACT | JSON_SORT_KEYS);
    if (!dump) {
        error_set(err, BPU_NO_MEMORY, what, "no memory for %s", what);
        return NULL;
    }
    const char *out = arena_strdup(a, dump, err);
    free(dump);
    return out;
}

static bool labels_check(const json_t *labels, struct bpu_error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)labels, key, value) if (!json_is_string(value)) return error_set(
        err, BPU_USAGE, "labels", "the label \"%.64s\" is not a string", key);
    return true;
}

static bool labels_insert(struct store *s, int64_t n, const json_t *labels, struct bpu_error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach(
        (json_t *)labels, key,
        value) if (!store_run(s, err, "INSERT INTO job_labels (key, value, job_n) VALUES (?, ?, ?)",
                              "tti", key, json_string_value(value), n)) return false;
    return true;
}

static bool cache_key(const struct store_job *j, const char *options, char hex[65],
                      struct bpu_error *err)
{
    const char *const parts[] = {j->model, j->kind, j->march, options};
    struct files_hash h;
    if (!files_hash_init(&h, err))
        return false;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (!files_hash_add(&h, parts[i], strlen(parts[i]) + 1, err)) {
            files_hash_drop(&h);
            return false;
        }
    return files_hash_end(&h, hex, err);
}

/* The files that options name are there; else the job would fail later, when nobody looks. */
static bool files_check(struct store *s, const struct store_job *j, const json_t *options,
                        struct arena *a, struct bpu_error *err)
{
    const char *key, *array;
    json_t *value;
    json_object_foreach((json_t *)options, key, value)
    {
        char id[65];
        struct store_model file;
        struct bpu_error missing = {0};
        if (!job_option_file(j->kind, key))
            continue;
        if (!json_is_string(value) || !job_file_value(json_string_value(value), id, &array)) {
            error_set(err, BPU_BAD_OPTION, NULL, "the option %s is not the id of a data file", key);
            error_where(err, "/options/%.100s", key);
            return error_hint(err, "Upload the file with POST /v1/data and give the id that it "
                                   "answers with; :NAME behind it picks one array of an .npz.");
        }
        if (store_data_get(s, id, a, &file, &missing))
            continue;
        if (missing.code != BPU_NOT_FOUND) {
            *err = missing;
            return false;
        }
        error_set(err, BPU_NO_DATA, NULL, "the option %s names the data file %s, which is not here",
                  key, id);
        error_where(err, "/options/%.100s", key);
        return error_hint(err, "Upload it with POST /v1/data first.");
    }
    return true;
}

/* The job that came first with this key: 1 found, 0 none, -1 failed or the key is for other work.
 */
static int idempotent_job(struct store *s, const char *key, const char *hash, int64_t *n,
                          struct bpu_error *err)
{
    sqlite3_stmt *q = store_query(s, err,
                                  "SELECT j.n, j.cache_key = ? FROM idempotency i"
                                  " JOIN jobs j ON j.n = i.job_n WHERE i.key = ?",
                                  "tt", hash, key);
    int row = q ? store_step(s, q, err) : -1;
    bool same = row == 1 && sqlite3_column_int(q, 1);
    if (row == 1)
        *n = sqlite3_column_int64(q, 0);
    store_done(q);
    if (row != 1 || same)
        return row;
    error_set(err, BPU_CONFLICT, "Idempotency-Key", "this key was used for a different job");
    error_hint(err, "Use a new key for each new request, and the same key only to repeat one.");
    return -1;
}

/* The newest succeeded job of identical work, 0 if none. */
static bool cached_job(struct store *s, const char *hash, const char *tool, int64_t *n,
                       struct bpu_error *err)
{
    sqlite3_stmt *q = store_query(s, err,
                                  "SELECT n FROM jobs WHERE cache_key = ? AND tool = ? AND"
                                  " state = 2 ORDER BY n DESC LIMIT 1",
                                  "tt", hash, tool);
    int row = q ? store_step(s, q, err) : -1;
    *n = row == 1 ? sqlite3_column_int64(q, 0) : 0;
    store_done(q);
    return row >= 0;
}

/* A project's next turn: behind its last one, and not before the queue's present one. */
static bool turn_take(struct store *s, const struct store_job *j, int64_t *turn,
                      struct bpu_error *err)
{
    sqlite3_stmt *q = store_query(
        s, err,
        "INSERT INTO project_turns (project, priority, last)"
        " VALUES (?1, ?2, coalesce((SELECT now FROM turns WHERE priority = ?2), 0))"
        " ON CONFLICT (project, priority) DO UPDATE SET last = max(last + 1, excluded.last)"
        " RETURNING last",
        "ti", j->project, (int64_t)j->priority);
    int row = q ? store_step(s, q, err) : -1;
    if (row == 1)
        *turn = sqlite3_column_int64(q, 0);
    store_done(q);
    return row == 1;
}

static bool job_insert(struct store *s, const struct store_job *j, int64_t turn, const char *options,
                       const char *labels, const char *hash, const char *tool, int64_t *n,
                       struct bpu_error *err)
{
    uint32_t noise;
    int64_t now = store_now();
    if (getrandom(&noise, sizeof noise, 0) != (ssize_t)sizeof noise)
        noise = 0; /* the newest number + 1 still keeps ids apart */
    sqlite3_stmt *q = store_query(
        s, err,
        "INSERT INTO jobs (n, state, model_n, kind, march, project, created, cache_key, tool,"
        " options, labels, priority, turn)"
        " SELECT max(?1, coalesce((SELECT max(n) FROM jobs), 0) + 1), 0, m.n, ?3, ?4, ?5, ?6, ?7,"
        " ?8, ?9, ?10, ?11, ?12 FROM models m WHERE m.id = ?2 RETURNING n",
        "ittttittttii", now << 21 | (noise & 0x1fffff), j->model, j->kind, j->march, j->project, now,
        hash, tool, options, labels, (int64_t)j->priority, turn);
    int row = q ? store_step(s, q, err) : -1;
    if (row == 1) {
        *n = sqlite3_column_int64(q, 0);
        row = store_step(s, q, err) == 0 ? 1 : -1;
    }
    store_done(q);
    if (row == 0) {
        error_set(err, BPU_NOT_FOUND, "model", "there is no model %.64s", j->model);
        error_hint(err, "Upload it with POST /v1/models first.");
    }
    return row == 1;
}

static bool job_add(struct store *s, struct store_job *j, const char *tool, const char *key,
                    struct arena *a, json_t **objects, struct bpu_error *err)
{
    char hash[65];
    int64_t n, cached, leader = 0, turn = 0;
    const char *options = canonical(j->options, "options", a, &objects[0], err);
    const char *labels = options ? canonical(j->labels, "labels", a, &objects[1], err) : NULL;
    if (!labels || !labels_check(objects[1], err) || !files_check(s, j, objects[0], a, err) ||
        !cache_key(j, options, hash, err))
        return false;
    int known = key ? idempotent_job(s, key, hash, &n, err) : 0;
    if (known != 0)
        return known == 1 && store_job_load(s, n, a, j, err);
    if (!cached_job(s, hash, tool, &cached, err) ||
        (!cached && !store_follow_find(s, hash, tool, &leader, err)) ||
        (!cached && !leader && !turn_take(s, j, &turn, err)) ||
        !job_insert(s, j, turn, options, labels, hash, tool, &n, err) ||
        !labels_insert(s, n, objects[1], err) ||
        !store_run(s, err,
                   "INSERT INTO job_text SELECT j.n, m.name || char(10) || j.project FROM jobs j"
                   " JOIN models m ON m.n = j.model_n WHERE j.n = ?",
                   "i", n))
        return false;
    if (key && !store_run(s, err, "INSERT INTO idempotency (key, job_n, created) VALUES (?, ?, ?)",
                          "tii", key, n, store_now()))
        return false;
    if (leader && !store_follow(s, n, leader, j->priority, err))
        return false;
    if (cached && (!store_run(s, err,
                              "UPDATE jobs SET state = 2, progress = 1, stage = 'cached',"
                              " started = created, finished = created,"
                              " verdict = (SELECT verdict FROM jobs WHERE n = ?2) WHERE n = ?1",
                              "ii", n, cached) ||
                   !store_run(s, err,
                              "INSERT INTO job_artifacts (job_n, ordinal, name, type, sha256,"
                              " bytes) SELECT ?1, ordinal, name, type, sha256, bytes"
                              " FROM job_artifacts WHERE job_n = ?2",
                              "ii", n, cached)))
        return false;
    return store_job_load(s, n, a, j, err);
}

bool store_job_add(struct store *s, struct store_job *j, const char *tool_version,
                   const char *idempotency_key, struct arena *a, struct bpu_error *err)
{
    json_t *objects[2] = {NULL, NULL};
    if (!store_op_begin(s, err))
        return false;
    bool ok = job_add(s, j, tool_version, idempotency_key, a, objects, err);
    json_decref(objects[0]);
    json_decref(objects[1]);
    return store_op_end(s, ok, err);
}

/* ---- what a user does to a job --------------------------------------------------------------- */

static bool state_of(struct store *s, const char *id, int64_t *n, enum job_state *state,
                     struct bpu_error *err)
{
    if (!store_job_number(id, n, err))
        return false;
    sqlite3_stmt *q = store_query(s, err, "SELECT state FROM jobs WHERE n = ?", "i", *n);
    int row = q ? store_step(s, q, err) : -1;
    if (row == 1)
        *state = (enum job_state)sqlite3_column_int(q, 0);
    store_done(q);
    return row == 1 || (row == 0 && store_job_missing(id, err));
}

bool store_job_cancel(struct store *s, const char *id, struct bpu_error *err)
{
    int64_t n;
    enum job_state state;
    if (!store_op_begin(s, err))
        return false;
    bool ok = state_of(s, id, &n, &state, err);
    if (ok && state == JOB_QUEUED)
        ok = store_run(s, err,
                       "UPDATE jobs SET state = 4, finished = ?, waits_for = 0, not_before = 0"
                       " WHERE n = ?",
                       "ii", store_now(), n) &&
             store_follow_end(s, n, JOB_CANCELLED, err);
    else if (ok && state == JOB_RUNNING)
        ok = store_run(s, err, "UPDATE jobs SET cancel = 1 WHERE n = ?", "i", n);
    else if (ok)
        ok = error_set(err, BPU_CONFLICT, NULL, "the job has already ended: it is %s",
                       job_state_name(state));
    return store_op_end(s, ok, err);
}

/* The files of a job become candidates for the sweep. */
static bool artifacts_discard(struct store *s, int64_t n, struct bpu_error *err)
{
    return store_run(s, err,
                     "INSERT OR REPLACE INTO trash (sha256, since)"
                     " SELECT sha256, ? FROM job_artifacts WHERE job_n = ?",
                     "ii", store_now(), n) &&
           store_run(s, err, "DELETE FROM job_artifacts WHERE job_n = ?", "i", n);
}

bool store_job_retry(struct store *s, const char *id, struct bpu_error *err)
{
    int64_t n;
    enum job_state state;
    if (!store_op_begin(s, err))
        return false;
    bool ok = state_of(s, id, &n, &state, err);
    if (ok && state != JOB_FAILED && state != JOB_CANCELLED) {
        ok = error_set(err, BPU_CONFLICT, NULL, "the job is %s", job_state_name(state));
        error_hint(err, "Only a failed or cancelled job can be retried.");
    }
    ok = ok && artifacts_discard(s, n, err) &&
         store_run(s, err,
                   "UPDATE jobs SET state = 0, verdict = '', stage = '', progress = 0,"
                   " attempts = 0, started = 0, finished = 0, worker = '', lease_until = 0,"
                   " cancel = 0, error = NULL, waits_for = 0, not_before = 0 WHERE n = ?",
                   "i", n);
    return store_op_end(s, ok, err);
}

bool store_job_delete(struct store *s, const char *id, struct bpu_error *err)
{
    int64_t n;
    enum job_state state;
    if (!store_op_begin(s, err))
        return false;
    bool ok = state_of(s, id, &n, &state, err);
    if (ok && state == JOB_RUNNING) {
        ok = error_set(err, BPU_CONFLICT, NULL, "the job is running");
        error_hint(err, "Cancel it first.");
    }
    ok = ok && artifacts_discard(s, n, err) &&
         (state != JOB_QUEUED || store_follow_end(s, n, JOB_CANCELLED, err)) &&
         store_run(s, err, "DELETE FROM job_text WHERE n = ?", "i", n) &&
         store_run(s, err, "DELETE FROM jobs WHERE n = ?", "i", n);
    return store_op_end(s, ok, err);
}
