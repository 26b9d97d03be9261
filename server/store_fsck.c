/* fsck: does the data directory hold together?
 *
 *   the database    SQLite's integrity check, foreign keys, the trigram index, the counters
 *   rows            every content that a row names is there, with its size and its hash
 *   files           every content is named by a row, or about to be swept
 *   the queue       running jobs have a holder, waiting ones somebody to wait for
 *
 * Repair never invents: a content with the wrong hash is moved to damaged/, a job that has lost an artifact becomes failed,
 * so that the cache does not answer with it and a retry computes it again; a model that has lost its file keeps its row
 * while jobs name it, and uploading it again mends it. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/files.h"
#include "server/store_care.h"
#include "server/store_sqlite.h"

#define YOUNG_MS 3600000 /* a file without a row may be an upload on its way */

struct fsck {
    struct store *s;
    const struct fsck_options *o;
    struct fsck_result *out;
    struct bpu_error *err;
};

static void found(struct fsck *f, bool repaired, const char *fmt, ...) BPU_PRINTF(3, 4);
static void found(struct fsck *f, bool repaired, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    f->out->problems++;
    f->out->repaired += repaired;
    if (f->o->found)
        f->o->found(f->o->ctx, text, repaired);
}

/* Runs a repair in a transaction of its own; false if it is not wanted or did not work. */
static bool mend(struct fsck *f, const char *sql, const char *types, const char *text)
{
    struct bpu_error why = {0};
    if (!f->o->repair || !store_op_begin(f->s, &why))
        return false;
    bool ok = *types ? store_run(f->s, &why, sql, "t", text) : store_run(f->s, &why, sql, "");
    return store_op_end(f->s, ok, &why);
}

/* ---- the database ---------------------------------------------------------------------------- */

static bool check_integrity(struct fsck *f)
{
    int row = -1;
    sqlite3_stmt *q = store_query(f->s, f->err, "PRAGMA integrity_check(20)", "");
    while (q && (row = store_step(f->s, q, f->err)) == 1) {
        const char *text = (const char *)sqlite3_column_text(q, 0);
        if (text && strcmp(text, "ok") != 0)
            found(f, false, "database: %s", text);
    }
    store_done(q);
    if (row != 0)
        return false;
    q = store_query(f->s, f->err, "PRAGMA foreign_key_check", "");
    while (q && (row = store_step(f->s, q, f->err)) == 1)
        found(f, false, "database: row %lld of %s refers to a row of %s that is not there",
              (long long)sqlite3_column_int64(q, 1), (const char *)sqlite3_column_text(q, 0),
              (const char *)sqlite3_column_text(q, 2));
    store_done(q);
    return row == 0;
}

static bool check_search(struct fsck *f)
{
    struct bpu_error why = {0};
    bool sound = store_op_begin(f->s, &why) &&
                 store_op_end(f->s,
                              store_run(f->s, &why,
                                        "INSERT INTO job_search (job_search, rank)"
                                        " VALUES ('integrity-check', 1)",
                                        ""),
                              &why);
    if (!sound && why.code != BPU_STORE_DAMAGED) {
        *f->err = why;
        return false;
    }
    if (!sound)
        found(f, mend(f, "INSERT INTO job_search (job_search) VALUES ('rebuild')", "", NULL),
              "the index of the search does not fit its texts");
    return true;
}

/* Counts what a query finds; > 0 is a problem that one statement mends. */
static bool check_count(struct fsck *f, const char *query, const char *repair, const char *what)
{
    int64_t n = 0;
    sqlite3_stmt *q = store_query(f->s, f->err, query, "");
    int row = q ? store_step(f->s, q, f->err) : -1;
    if (row == 1)
        n = sqlite3_column_int64(q, 0);
    store_done(q);
    if (row != 1)
        return false;
    if (n > 0)
        found(f, mend(f, repair, "", NULL), "%lld %s", (long long)n, what);
    return true;
}

static bool check_queue(struct fsck *f)
{
    if (!check_count(f,
                     "SELECT count(*) FROM jobs f WHERE waits_for > 0 AND (state != 0 OR NOT EXISTS"
                     " (SELECT 1 FROM jobs l WHERE l.n = f.waits_for AND l.state < 2))",
                     "UPDATE jobs SET waits_for = 0 WHERE waits_for > 0 AND (state != 0 OR NOT EXISTS"
                     " (SELECT 1 FROM jobs l WHERE l.n = jobs.waits_for AND l.state < 2))",
                     "jobs wait for a job that has ended") ||
        !check_count(f,
                     "SELECT count(*) FROM totals WHERE count != CASE name"
                     " WHEN 'jobs' THEN (SELECT count(*) FROM jobs)"
                     " ELSE (SELECT count(*) FROM models) END",
                     "UPDATE totals SET count = CASE name WHEN 'jobs' THEN (SELECT count(*) FROM jobs)"
                     " ELSE (SELECT count(*) FROM models) END",
                     "counters are wrong") ||
        !check_count(f, "SELECT count(*) FROM jobs j WHERE NOT EXISTS"
                        " (SELECT 1 FROM job_text t WHERE t.n = j.n)",
                     "INSERT INTO job_text SELECT j.n, m.name || char(10) || j.project FROM jobs j"
                     " JOIN models m ON m.n = j.model_n WHERE NOT EXISTS"
                     " (SELECT 1 FROM job_text t WHERE t.n = j.n)",
                     "jobs are unknown to the search"))
        return false;
    if (f->o->alone)
        return check_count(f, "SELECT count(*) FROM jobs WHERE state = 1",
                           "UPDATE jobs SET state = 0, worker = '', lease_until = 0, stage = '',"
                           " progress = 0 WHERE state = 1",
                           "jobs are held by a worker that is gone");
    return check_count(f,
                       "SELECT count(*) FROM jobs WHERE state = 1 AND lease_until <"
                       " unixepoch() * 1000 - 60000",
                       "UPDATE jobs SET state = 0, worker = '', lease_until = 0, stage = '',"
                       " progress = 0 WHERE state = 1 AND lease_until <"
                       " unixepoch() * 1000 - 60000",
                       "leases ran out a minute ago and nobody has taken the jobs");
}

/* ---- contents -------------------------------------------------------------------------------- */

struct shelf_of {
    const char *folder, *noun;
    const char *rows;  /* id, bytes */
    const char *known; /* whether a row names this content */
};

static const struct shelf_of shelves[] = {
    {"models", "model", "SELECT id, bytes FROM models", "SELECT 1 FROM models WHERE id = ?"},
    {"data", "data file", "SELECT id, bytes FROM data", "SELECT 1 FROM data WHERE id = ?"},
    {"artifacts", "artifact", "SELECT sha256, max(bytes) FROM job_artifacts GROUP BY sha256",
     "SELECT 1 FROM job_artifacts WHERE sha256 = ?1 UNION ALL SELECT 1 FROM trash WHERE sha256 = ?1"
     " LIMIT 1"},
};

static bool hash_fits(const char *path, const char *id, struct bpu_error *err)
{
    char hex[65], *block = malloc(1 << 20);
    struct files_hash h;
    FILE *in = fopen(path, "re");
    bool ok = block && in && files_hash_init(&h, err);
    if (ok) {
        size_t n;
        while (ok && (n = fread(block, 1, 1 << 20, in)) > 0)
            ok = files_hash_add(&h, block, n, err);
        ok = ok && !ferror(in);
        if (ok)
            ok = files_hash_end(&h, hex, err) && strcmp(hex, id) == 0;
        else
            files_hash_drop(&h);
    }
    if (in)
        fclose(in);
    free(block);
    return ok;
}

/* A job that has lost an artifact is no answer any more. */
static bool artifact_lost(struct fsck *f, const char *id)
{
    return mend(f,
                "UPDATE jobs SET state = 3, verdict = '', error ="
                " '{\"type\":\"urn:bpuhub:problem:artifact_lost\",\"title\":\"An artifact was lost\","
                "\"status\":500,\"code\":\"artifact_lost\",\"detail\":\"a file of this job was missing or"
                " damaged\",\"hint\":\"Retry the job: it is computed again.\"}'"
                " WHERE state = 2 AND n IN (SELECT job_n FROM job_artifacts WHERE sha256 = ?1)",
                "t", id) &&
           mend(f, "DELETE FROM job_artifacts WHERE sha256 = ?1", "t", id);
}

static bool content_lost(struct fsck *f, const struct shelf_of *shelf, const char *id)
{
    if (shelf == &shelves[2])
        return artifact_lost(f, id);
    if (shelf == &shelves[1])
        return false; /* options of jobs name it: only the same upload mends it */
    return mend(f, "DELETE FROM models WHERE id = ?1 AND NOT EXISTS"
                   " (SELECT 1 FROM jobs WHERE model_n = models.n)", "t", id) &&
           sqlite3_changes(f->s->db) > 0;
}

static bool set_aside(struct fsck *f, const char *path, const char *id)
{
    char folder[PATH_MAX], to[PATH_MAX + 80];
    struct bpu_error why = {0};
    snprintf(folder, sizeof folder, "%s/damaged", f->s->dir);
    snprintf(to, sizeof to, "%s/%.64s", folder, id);
    return files_mkdirs(folder, &why) && rename(path, to) == 0 && files_sync_dir(folder, &why);
}

static void check_content(struct fsck *f, const struct shelf_of *shelf, const char *id, int64_t bytes)
{
    char path[PATH_MAX];
    struct stat st;
    struct bpu_error why = {0};
    snprintf(path, sizeof path, "%s/%s/%.2s/%.64s", f->s->dir, shelf->folder, id, id);
    if (stat(path, &st) != 0) {
        found(f, f->o->repair && content_lost(f, shelf, id), "the %s %s is not there: %s", shelf->noun,
              id, strerror(errno));
        return;
    }
    f->out->files++;
    f->out->bytes += st.st_size;
    bool sized = st.st_size == bytes;
    if (sized && (f->o->quick || hash_fits(path, id, &why)))
        return;
    /* Set aside first: then a re-upload or a retry can store the right one. */
    bool aside = f->o->repair && set_aside(f, path, id);
    found(f, aside && content_lost(f, shelf, id), "the %s %s is damaged: %s", shelf->noun, id,
          sized ? "its hash is another" : "its size is another");
}

/* Ids are gathered first, because repairs change what is being walked. */
static bool check_rows(struct fsck *f, const struct shelf_of *shelf)
{
    struct row {
        char id[65];
        int64_t bytes;
    } *rows = NULL;
    size_t count = 0, capacity = 0;
    int row = -1;
    sqlite3_stmt *q = store_query(f->s, f->err, shelf->rows, "");
    while (q && (row = store_step(f->s, q, f->err)) == 1) {
        if (count == capacity) {
            capacity = capacity ? capacity * 2 : 1024;
            struct row *more = reallocarray(rows, capacity, sizeof *rows);
            if (!more) {
                error_set(f->err, BPU_NO_MEMORY, NULL, "no memory for the list of contents");
                row = -1;
                break;
            }
            rows = more;
        }
        store_column(q, 0, rows[count].id, sizeof rows[count].id);
        rows[count++].bytes = sqlite3_column_int64(q, 1);
    }
    store_done(q);
    for (size_t i = 0; row == 0 && i < count; i++)
        check_content(f, shelf, rows[i].id, rows[i].bytes);
    free(rows);
    return row == 0;
}

/* 1 a row names it, 0 none, -1 failed. */
static int is_known(struct fsck *f, const struct shelf_of *shelf, const char *id)
{
    sqlite3_stmt *q = store_query(f->s, f->err, shelf->known, "t", id);
    int row = q ? store_step(f->s, q, f->err) : -1;
    store_done(q);
    return row;
}

static bool check_file(struct fsck *f, const struct shelf_of *shelf, const char *folder,
                       const char *name)
{
    char path[PATH_MAX + 256];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int known = files_sha256_valid(name) ? is_known(f, shelf, name) : 0;
    if (known != 0)
        return known > 0;
    if (stat(path, &st) != 0)
        return true; /* swept meanwhile */
    if (!f->o->alone && store_now() - (int64_t)st.st_mtime * 1000 < YOUNG_MS)
        return true;
    /* Under the write lock no row can come meanwhile. */
    bool gone = false;
    struct bpu_error why = {0};
    if (f->o->repair && store_op_begin(f->s, &why)) {
        gone = (!files_sha256_valid(name) || is_known(f, shelf, name) == 0) && unlink(path) == 0;
        gone &= store_op_end(f->s, true, &why);
    }
    found(f, gone, "no row names the file %s/%.2s/%s (%lld bytes)", shelf->folder, name, name,
          (long long)st.st_size);
    return true;
}

static bool check_folder(struct fsck *f, const struct shelf_of *shelf)
{
    char folder[PATH_MAX];
    bool ok = true;
    for (int i = 0; ok && i < 256; i++) {
        snprintf(folder, sizeof folder, "%s/%s/%02x", f->s->dir, shelf->folder, (unsigned)i);
        DIR *d = opendir(folder);
        if (!d) {
            struct bpu_error why = {0};
            found(f, f->o->repair && files_mkdirs(folder, &why), "the folder %s/%02x is not there",
                  shelf->folder, (unsigned)i);
            continue;
        }
        for (struct dirent *e; ok && (e = readdir(d));)
            if (e->d_name[0] != '.')
                ok = check_file(f, shelf, folder, e->d_name);
        closedir(d);
    }
    return ok;
}

bool store_fsck(struct store *s, const struct fsck_options *o, struct fsck_result *out,
                struct bpu_error *err)
{
    struct fsck f = {.s = s, .o = o, .out = out, .err = err};
    *out = (struct fsck_result){0};
    if (!check_integrity(&f) || !check_search(&f) || !check_queue(&f))
        return false;
    for (size_t i = 0; i < sizeof shelves / sizeof *shelves; i++)
        if (!check_rows(&f, &shelves[i]) || !check_folder(&f, &shelves[i]))
            return false;
    return true;
}
