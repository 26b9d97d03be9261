/* Design: tokens and projects are the operator's, who has the data directory; these commands write
 * into its store, also while a daemon uses it, and then wake that daemon.  What they did stands in
 * the audit log under the name "operator". */
#include "server/cli_token.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "server/access.h"
#include "server/json.h"
#include "server/wake.h"

struct operator_call {
    const char *command;
    const char *data;
    struct store *store;
    struct arena arena;
    struct bpu_error err;
};

static bool call_open(struct operator_call *c, const char *command, const char *data)
{
    const char *from_environment = getenv("BPUHUB_DATA");
    *c = (struct operator_call){.command = command};
    c->data = data ? data : from_environment && *from_environment ? from_environment
                                                                  : "./bpuhub-data";
    arena_init(&c->arena, (size_t)256 << 20);
    c->store = store_open(c->data, &c->err);
    return c->store != NULL;
}

/* Ends the command; its exit code. */
static int call_close(struct operator_call *c, bool ok)
{
    if (!ok) {
        fprintf(stderr, "bpuhub %s: %s%s%s\n", c->command, c->err.where,
                c->err.where[0] ? ": " : "", c->err.message);
        if (c->err.hint[0])
            fprintf(stderr, "bpuhub %s: %s\n", c->command, c->err.hint);
    }
    if (c->store)
        store_close(c->store);
    arena_fini(&c->arena);
    return ok ? 0 : error_exit_code(c->err.code);
}

/* Commits what was done together with its entry in the log, and tells the daemon. */
static bool done(struct operator_call *c, const char *action, const char *object)
{
    struct store_audit e = {.actor = "operator",
                            .address = "",
                            .action = action,
                            .object = object,
                            .result = "ok"};
    if (!store_audit_add(c->store, &e, &c->err) || !store_commit(c->store, &c->err))
        return false;
    struct bpu_error ignored = {0}; /* no daemon: it will read when it starts */
    struct wake *w = wake_open(c->data, WAKE_SENDER, &ignored);
    if (w) {
        wake_server(w, WAKE_ACCESS);
        wake_close(w);
    }
    return true;
}

static bool number(const char *text, int64_t max, int64_t *out)
{
    char *end;
    long long v = strtoll(text, &end, 10);
    *out = v;
    return *text && !*end && v >= 0 && v <= max;
}

/* "90d", "12h", "30m"; seconds. */
static bool duration(const char *text, int64_t *out)
{
    char *end;
    long long v = strtoll(text, &end, 10);
    int64_t unit = strcmp(end, "d") == 0   ? 86400
                   : strcmp(end, "h") == 0 ? 3600
                   : strcmp(end, "m") == 0 ? 60
                   : strcmp(end, "s") == 0 ? 1
                                           : 0;
    if (end == text || !unit || v < 1 || v > 36500 * 86400LL / unit)
        return false;
    *out = v * unit;
    return true;
}

static void time_print(int64_t ms, const char *otherwise)
{
    if (!ms) {
        printf("  %-20s", otherwise);
        return;
    }
    time_t seconds = (time_t)(ms / 1000);
    struct tm tm;
    char text[32];
    gmtime_r(&seconds, &tm);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm);
    printf("  %-20s", text);
}

/* ---- token -------------------------------------------------------------------------------------
 */

static const char token_usage[] =
    "usage: bpuhub token create NAME [--role viewer|submitter|admin] [--project P] [--expires 90d]\n"
    "                                [--rate N] [--quota-upload MIB] [--quota-queued N] [--data DIR]\n"
    "       bpuhub token list [--json] [--data DIR]\n"
    "       bpuhub token revoke NUMBER [--data DIR]\n"
    "A token is shown once, when it is made. Roles: a viewer reads; a submitter also uploads, submits,\n"
    "cancels and deletes jobs; an admin also sees all projects and the audit log. --project binds the\n"
    "token to one project: it changes only that one, and sees it also where it is private.\n";

struct token_options {
    struct store_token token;
    int64_t lifetime; /* seconds; 0: for ever */
    const char *data;
    bool json;
    const char *words[3]; /* what is no option */
    int count;
};

static bool option_read(struct token_options *o, int opt, const char *text)
{
    struct store_token *t = &o->token;
    switch (opt) {
    case 'd': o->data = text; return true;
    case 'j': o->json = true; return true;
    case 'r': return store_role_find(text, &t->role);
    case 'p':
        snprintf(t->project, sizeof t->project, "%s", text);
        return *text && strlen(text) < sizeof t->project;
    case 'e': return duration(text, &o->lifetime);
    case 'R': return number(text, 1000000, &t->rate);
    case 'u':
        if (!number(text, INT64_C(1) << 30, &t->quota_upload))
            return false;
        t->quota_upload <<= 20;
        return true;
    case 'q': return number(text, 1000000, &t->quota_queued);
    }
    return false;
}

static int options_read(struct token_options *o, int argc, char **argv, const char *usage)
{
    static const struct option options[] = {{"data", required_argument, NULL, 'd'},
                                            {"json", no_argument, NULL, 'j'},
                                            {"role", required_argument, NULL, 'r'},
                                            {"project", required_argument, NULL, 'p'},
                                            {"expires", required_argument, NULL, 'e'},
                                            {"rate", required_argument, NULL, 'R'},
                                            {"quota-upload", required_argument, NULL, 'u'},
                                            {"quota-queued", required_argument, NULL, 'q'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    int opt;
    *o = (struct token_options){.token.role = ROLE_SUBMITTER};
    while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (opt == 'h') {
            fputs(usage, stdout);
            return 0;
        }
        if (opt == '?' || !option_read(o, opt, optarg)) {
            if (opt != '?')
                fprintf(stderr, "bpuhub %s: \"%s\" cannot be used here\n", argv[0], optarg);
            fputs(usage, stderr);
            return 2;
        }
    }
    for (; optind < argc && o->count < 3; optind++)
        o->words[o->count++] = argv[optind];
    return optind == argc ? -1 : 2;
}

static bool token_create(struct operator_call *c, struct token_options *o)
{
    struct store_token *t = &o->token;
    char secret[ACCESS_SECRET_SIZE], object[32];
    snprintf(t->name, sizeof t->name, "%s", o->words[1]);
    if (o->lifetime)
        t->expires = access_now() + o->lifetime * 1000;
    if (!access_secret(ACCESS_TOKEN_PREFIX, secret, sizeof secret, &c->err))
        return false;
    if (!access_hash(secret, t->hash))
        return error_set(&c->err, BPU_SERVER, NULL, "the token cannot be made");
    if (!store_begin(c->store, &c->err) || !store_token_add(c->store, t, &c->err))
        return false;
    snprintf(object, sizeof object, "%lld", (long long)t->n);
    if (!done(c, "token.create", object))
        return false;
    /* The token alone on standard output, so that scripts can take it. */
    fprintf(stderr, "token %lld, %s%s%s; it is shown only now:\n", (long long)t->n,
            store_role_name(t->role), t->project[0] ? " of project " : "", t->project);
    printf("%s\n", secret);
    explicit_bzero(secret, sizeof secret);
    return true;
}

static bool token_list_json(const struct store_token *items, size_t count, struct bpu_error *err)
{
    struct buf b;
    buf_init(&b, (size_t)64 << 20);
    buf_puts(&b, "{\"items\":[");
    for (size_t i = 0; i < count; i++) {
        const struct store_token *t = &items[i];
        buf_printf(&b, "%s{\"id\":%lld,\"name\":", i ? "," : "", (long long)t->n);
        json_write_string(&b, t->name);
        buf_printf(&b, ",\"role\":\"%s\",\"project\":", store_role_name(t->role));
        json_write_string_or_null(&b, t->project);
        const struct {
            const char *name;
            int64_t at;
        } times[] = {{"created", t->created},
                     {"expires", t->expires},
                     {"revoked", t->revoked},
                     {"last_used", t->last_used}};
        for (size_t k = 0; k < sizeof times / sizeof times[0]; k++) {
            buf_printf(&b, ",\"%s\":", times[k].name);
            json_write_time(&b, times[k].at);
        }
        buf_putc(&b, '}');
    }
    buf_puts(&b, "]}\n");
    bool ok = buf_ok(&b, err);
    if (ok)
        fputs(buf_str(&b), stdout);
    buf_fini(&b);
    return ok;
}

static bool token_list(struct operator_call *c, const struct token_options *o)
{
    struct store_token *items;
    size_t count;
    if (!store_token_list(c->store, &c->arena, &items, &count, &c->err))
        return false;
    if (o->json)
        return token_list_json(items, count, &c->err);
    for (size_t i = 0; i < count; i++) {
        const struct store_token *t = &items[i];
        printf("%4lld  %-9s", (long long)t->n, store_role_name(t->role));
        time_print(t->created, "");
        if (t->revoked)
            printf("  %-20s", "revoked");
        else
            time_print(t->expires, "never expires");
        time_print(t->last_used, "never used");
        printf("  %s%s%s\n", t->name, t->project[0] ? ", project " : "", t->project);
    }
    return true;
}

static bool token_revoke(struct operator_call *c, const struct token_options *o)
{
    int64_t n;
    if (!number(o->words[1], INT64_MAX, &n))
        return error_set(&c->err, BPU_USAGE, o->words[1], "that is not the number of a token");
    return store_begin(c->store, &c->err) && store_token_revoke(c->store, n, &c->err) &&
           done(c, "token.revoke", o->words[1]);
}

int token_main(int argc, char **argv)
{
    struct token_options o;
    struct operator_call c;
    int code = options_read(&o, argc, argv, token_usage);
    if (code == 0)
        return 0;
    bool (*run)(struct operator_call *, struct token_options *) = NULL;
    bool list = o.count == 1 && strcmp(o.words[0], "list") == 0;
    bool revoke = o.count == 2 && strcmp(o.words[0], "revoke") == 0;
    if (o.count == 2 && strcmp(o.words[0], "create") == 0)
        run = token_create;
    if (code == 2 || (!run && !list && !revoke)) {
        fputs(token_usage, stderr);
        return 2;
    }
    if (run && (!o.words[1][0] || strlen(o.words[1]) >= STORE_TOKEN_NAME)) {
        fprintf(stderr, "bpuhub token: a name has 1 to %d bytes\n", STORE_TOKEN_NAME - 1);
        return 2;
    }
    if (o.token.role == ROLE_ADMIN && o.token.project[0]) {
        fprintf(stderr, "bpuhub token: an admin is for all projects\n");
        return 2;
    }
    bool ok = call_open(&c, "token", o.data);
    if (ok)
        ok = list ? token_list(&c, &o) : revoke ? token_revoke(&c, &o) : run(&c, &o);
    return call_close(&c, ok);
}

/* ---- project -----------------------------------------------------------------------------------
 */

static const char project_usage[] = "usage: bpuhub project list [--data DIR]\n"
                                    "       bpuhub project set NAME public|private [--data DIR]\n"
                                    "A project is public unless it is set to private. What is in a "
                                    "private one is\nseen by tokens of that project and by admins.\n";

static bool project_list(struct operator_call *c)
{
    struct store_project *items;
    size_t count;
    if (!store_project_list(c->store, &c->arena, &items, &count, &c->err))
        return false;
    for (size_t i = 0; i < count; i++)
        printf("%-8s %s\n", items[i].private_ ? "private" : "public", items[i].name);
    return true;
}

static bool project_set(struct operator_call *c, const char *name, bool private_)
{
    struct store_project p = {.private_ = private_};
    if (!*name || strlen(name) >= sizeof p.name)
        return error_set(&c->err, BPU_USAGE, NULL, "a project's name has 1 to %zu bytes",
                         sizeof p.name - 1);
    strcpy(p.name, name);
    return store_begin(c->store, &c->err) && store_project_set(c->store, &p, &c->err) &&
           done(c, private_ ? "project.private" : "project.public", name);
}

int project_main(int argc, char **argv)
{
    struct token_options o;
    struct operator_call c;
    int code = options_read(&o, argc, argv, project_usage);
    if (code == 0)
        return 0;
    bool list = o.count == 1 && strcmp(o.words[0], "list") == 0;
    bool set = o.count == 3 && strcmp(o.words[0], "set") == 0;
    bool private_ = set && strcmp(o.words[2], "private") == 0;
    if (code == 2 || (!list && !(set && (private_ || strcmp(o.words[2], "public") == 0)))) {
        fputs(project_usage, stderr);
        return 2;
    }
    bool ok = call_open(&c, "project", o.data);
    if (ok)
        ok = list ? project_list(&c) : project_set(&c, o.words[1], private_);
    return call_close(&c, ok);
}

/* ---- audit -------------------------------------------------------------------------------------
 */

static const char audit_usage[] =
    "usage: bpuhub audit [COUNT] [--data DIR]\n"
    "The newest entries of the audit log (100): time, who, from where, what, on what, result.\n";

/* Without control characters: paths in the log are as clients sent them. */
static const char *plain(struct arena *a, const char *text)
{
    struct bpu_error ignored = {0};
    char *copy = *text ? arena_strdup(a, text, &ignored) : NULL;
    for (char *p = copy; p && *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = '?';
    return copy ? copy : "-";
}

int audit_main(int argc, char **argv)
{
    struct token_options o;
    struct operator_call c;
    struct store_audit *items;
    size_t count;
    int64_t limit = 100;
    int code = options_read(&o, argc, argv, audit_usage);
    if (code == 0)
        return 0;
    if (code == 2 || o.count > 1 || (o.count == 1 && !number(o.words[0], 1000000, &limit))) {
        fputs(audit_usage, stderr);
        return 2;
    }
    bool ok = call_open(&c, "audit", o.data) &&
              store_audit_list(c.store, 0, (int)limit, &c.arena, &items, &count, &c.err);
    for (size_t i = 0; ok && i < count; i++) {
        const struct store_audit *e = &items[i];
        time_print(e->at, "");
        printf("  %-16s %-16s %-16s %s  %s\n", plain(&c.arena, e->actor),
               *e->address ? e->address : "-", e->action, plain(&c.arena, e->object), e->result);
    }
    return call_close(&c, ok);
}
