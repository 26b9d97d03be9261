/* Design: backup, restore, fsck and prune: the subcommands of an operator, each a few flags around one call of
 * store_care.h.  They take the data directory from --data or BPUHUB_DATA, as `bpuhub serve` does. */
#define _GNU_SOURCE
#include "server/cli_store.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "server/store_backup_file.h"
#include "server/config.h"
#include "server/store_care.h"
#include "server/wake.h"

struct flags {
    struct config config; /* --data, --config and the retention settings, as serve reads them */
    const char *path;     /* the one argument */
    bool repair, quick, dry_run;
};

static int fail(const char *command, const struct bpu_error *err)
{
    fprintf(stderr, "bpuhub %s: %s%s%s\n", command, err->where, *err->where ? ": " : "", err->message);
    if (*err->hint)
        fprintf(stderr, "bpuhub %s: %s\n", command, err->hint);
    return error_exit_code(err->code);
}

/* Takes out our own flags and leaves the rest to the settings of serve. */
static bool flags_read(struct flags *f, int argc, char **argv, bool wants_path, struct bpu_error *err)
{
    char **rest = calloc((size_t)argc + 1, sizeof *rest);
    int n = 0;
    if (!rest)
        return error_set(err, BPU_NO_MEMORY, NULL, "no memory for the command line");
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--repair") == 0)
            f->repair = true;
        else if (strcmp(argv[i], "--quick") == 0)
            f->quick = true;
        else if (strcmp(argv[i], "--dry-run") == 0)
            f->dry_run = true;
        else if (i > 0 && argv[i][0] != '-' && wants_path && !f->path &&
                 (argv[i - 1][0] != '-' || strchr(argv[i - 1], '=')))
            f->path = argv[i];
        else
            rest[n++] = argv[i];
    }
    bool ok = config_load(&f->config, n, rest, err);
    free(rest);
    if (ok && wants_path && !f->path && !f->config.help)
        ok = error_set(err, BPU_USAGE, NULL, "no file or folder is given");
    return ok;
}

/* The store of an existing directory: these commands do not make one. */
static struct store *open_existing(const struct config *c, struct bpu_error *err)
{
    char path[sizeof c->data + 16];
    struct stat st;
    snprintf(path, sizeof path, "%s/hub.db", c->data);
    if (stat(path, &st) == 0)
        return store_open(c->data, err);
    error_set(err, BPU_NOT_FOUND, c->data, "there is no BPU Hub in this folder");
    error_hint(err, "Give the data directory with --data DIR.");
    return NULL;
}

static void found(void *ctx, const char *text, bool repaired)
{
    (void)ctx;
    printf("%s%s\n", repaired ? "repaired: " : "", text);
}

int cli_fsck(int argc, char **argv)
{
    struct flags f = {0};
    struct bpu_error err = {0}, ignored = {0};
    struct fsck_result r;
    if (!flags_read(&f, argc, argv, false, &err))
        return fail("fsck", &err);
    if (f.config.help) {
        puts("usage: bpuhub fsck [--data DIR] [--repair] [--quick]\n"
             "Looks whether the data directory holds together: the database, every content and its hash, the queue.\n"
             "  --repair   mends what can be mended; damaged files go to DIR/damaged\n"
             "  --quick    compares sizes only and hashes nothing\n"
             "Exit code 0: all is well, or was repaired; 1: something is left.");
        return 0;
    }
    struct store *s = open_existing(&f.config, &err);
    if (!s)
        return fail("fsck", &err);
    /* Whoever gets the daemon's lock is alone, as far as daemons go. */
    struct wake *alone = wake_open(f.config.data, WAKE_SERVER, &ignored);
    struct fsck_options o = {
        .repair = f.repair, .quick = f.quick, .alone = alone != NULL, .found = found};
    bool ok = store_fsck(s, &o, &r, &err);
    wake_close(alone);
    store_close(s);
    if (!ok)
        return fail("fsck", &err);
    printf("%lld files, %.1f MB%s: %lld problems, %lld repaired\n", (long long)r.files,
           (double)r.bytes / 1e6, f.quick ? " (not hashed)" : "", (long long)r.problems,
           (long long)r.repaired);
    return r.problems > r.repaired ? 1 : 0;
}

static void print_copied(const char *done, const struct backup_result *r)
{
    printf("%s: %lld jobs, %lld models, %lld files, of which %lld (%.1f MB) were copied\n", done,
           (long long)r->jobs, (long long)r->models, (long long)r->files, (long long)r->copied,
           (double)r->bytes / 1e6);
    if (r->missing)
        fprintf(stderr, "%lld files are missing: see `bpuhub fsck`\n", (long long)r->missing);
}

int cli_backup(int argc, char **argv)
{
    struct flags f = {0};
    struct bpu_error err = {0};
    struct backup_result r;
    if (!flags_read(&f, argc, argv, true, &err))
        return fail("backup", &err);
    if (f.config.help) {
        puts("usage: bpuhub backup [--data DIR] FOLDER | FILE.zip\n"
             "Copies the database and all files, while the service runs.  A FOLDER with an earlier backup is brought up\n"
             "to date: only new files are copied.");
        return 0;
    }
    struct store *s = open_existing(&f.config, &err);
    bool ok = s && (store_backup_is_file(f.path) ? store_backup_file(s, f.path, &r, &err)
                                           : store_backup(s, f.path, &r, &err));
    store_close(s);
    if (!ok)
        return fail("backup", &err);
    print_copied("saved", &r);
    return r.missing ? 1 : 0;
}

int cli_restore(int argc, char **argv)
{
    struct flags f = {0};
    struct bpu_error err = {0};
    struct backup_result r;
    struct fsck_result checked = {0};
    if (!flags_read(&f, argc, argv, true, &err))
        return fail("restore", &err);
    if (f.config.help) {
        puts("usage: bpuhub restore [--data DIR] FOLDER | FILE.zip\n"
             "Makes a new data directory of a backup, hashing every file on the way.  DIR must not exist or be empty.");
        return 0;
    }
    if (!(store_backup_is_file(f.path) ? store_restore_file(f.path, f.config.data, &r, &err)
                                 : store_restore(f.path, f.config.data, &r, &err)))
        return fail("restore", &err);
    /* Opening migrates; what was running when the backup was made is free to be claimed. */
    struct store *s = store_open(f.config.data, &err);
    struct fsck_options o = {.repair = true, .quick = true, .alone = true};
    bool ok = s && store_fsck(s, &o, &checked, &err);
    store_close(s);
    if (!ok)
        return fail("restore", &err);
    print_copied("restored", &r);
    return r.missing || checked.problems > checked.repaired ? 1 : 0;
}

int cli_prune(int argc, char **argv)
{
    struct flags f = {0};
    struct bpu_error err = {0};
    const char *pinned[CONFIG_PINNED_MAX + 1];
    char names[sizeof f.config.pinned_projects];
    struct prune_result r = {.more = true}, all = {0};
    if (!flags_read(&f, argc, argv, false, &err))
        return fail("prune", &err);
    if (f.config.help) {
        puts("usage: bpuhub prune [--data DIR] [--retention-days N] [--retention-bytes SIZE]\n"
             "                    [--pinned-projects A,B,…] [--dry-run]\n"
             "Forgets ended jobs that are older than N days, and the oldest until files take no more than SIZE; jobs of\n"
             "pinned projects stay.  The settings are those of `bpuhub serve`, which does the same by itself.\n"
             "  --dry-run   says what would go");
        return 0;
    }
    if (f.config.retention_days == 0 && f.config.retention_bytes == 0) {
        error_set(&err, BPU_USAGE, NULL, "neither --retention-days nor --retention-bytes is given");
        return fail("prune", &err);
    }
    strcpy(names, f.config.pinned_projects);
    config_pinned(names, pinned);
    struct prune_policy p = {.max_age_ms = f.config.retention_days * 86400000,
                             .max_bytes = f.config.retention_bytes,
                             .pinned = pinned,
                             .dry_run = f.dry_run};
    struct store *s = open_existing(&f.config, &err);
    bool ok = s != NULL;
    while (ok && r.more) {
        ok = store_prune(s, &p, &r, &err);
        all.jobs += r.jobs;
        all.models += r.models;
        all.bytes += r.bytes;
        all.bytes_left = r.bytes_left;
    }
    ok = ok && (f.dry_run || store_sweep(s, 3600000, &err));
    store_close(s);
    if (!ok)
        return fail("prune", &err);
    printf("%s: %lld jobs, %lld models, %.1f MB\n", f.dry_run ? "would go" : "gone",
           (long long)all.jobs, (long long)all.models, (double)all.bytes / 1e6);
    return 0;
}
