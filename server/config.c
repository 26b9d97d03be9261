/* Design: one row per setting names its flag, its environment variable and its line in the config
 * file; three readers walk the rows, the weakest source first, so that the strongest is written
 * last.  The file holds `name = value` lines and # comments. */
#define _GNU_SOURCE
#include "server/config.h"

#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum setting_kind { SETTING_TEXT, SETTING_INT, SETTING_BYTES, SETTING_BOOL };

struct setting {
    const char *name; /* flag --name, file `name`, environment BPUHUB_NAME */
    enum setting_kind kind;
    size_t offset, size; /* in struct config */
    int64_t min, max;
};

#define FIELD(member) offsetof(struct config, member), sizeof(((struct config *)0)->member)

static const struct setting settings[] = {
    {"listen", SETTING_TEXT, FIELD(listen), 0, 0},
    {"data", SETTING_TEXT, FIELD(data), 0, 0},
    {"workers", SETTING_INT, FIELD(workers), 0, 256},
    {"max-upload", SETTING_BYTES, FIELD(max_upload), 1, (int64_t)1 << 40},
    {"job-memory", SETTING_BYTES, FIELD(job_memory), (int64_t)16 << 20, (int64_t)1 << 44},
    {"job-seconds", SETTING_INT, FIELD(job_seconds), 1, 86400},
    {"job-attempts", SETTING_INT, FIELD(job_attempts), 1, 1000},
    {"retention-days", SETTING_INT, FIELD(retention_days), 0, 36500},
    {"retention-bytes", SETTING_BYTES, FIELD(retention_bytes), 0, (int64_t)1 << 50},
    {"pinned-projects", SETTING_TEXT, FIELD(pinned_projects), 0, 0},
    {"log", SETTING_TEXT, FIELD(log), 0, 0},
    {"insecure", SETTING_BOOL, FIELD(insecure), 0, 0},
    {"anonymous-read", SETTING_BOOL, FIELD(anonymous_read), 0, 0},
    {"tls-cert", SETTING_TEXT, FIELD(tls_cert), 0, 0},
    {"tls-key", SETTING_TEXT, FIELD(tls_key), 0, 0},
    {"proxy-tls", SETTING_BOOL, FIELD(proxy_tls), 0, 0},
    {"rate", SETTING_INT, FIELD(rate), 0, 1000000},
    {"quota-upload", SETTING_BYTES, FIELD(quota_upload), 0, (int64_t)1 << 50},
    {"quota-queued", SETTING_INT, FIELD(quota_queued), 0, 1000000},
    {"connections-per-address", SETTING_INT, FIELD(connections), 0, 16384},
    {"idle-seconds", SETTING_INT, FIELD(idle_seconds), 1, 3600},
    {"webhook-private", SETTING_BOOL, FIELD(webhook_private), 0, 0},
    {"webhook-retry-ms", SETTING_INT, FIELD(webhook_retry_ms), 1, 3600000},
    {"audit-days", SETTING_INT, FIELD(audit_days), 1, 36500},
};

#define SETTING_COUNT (sizeof(settings) / sizeof(settings[0]))

const char *config_usage(void)
{
    return "usage: bpuhub serve [options]\n"
           "  --listen HOST:PORT   where to listen (127.0.0.1:8080; port 0 picks a free one)\n"
           "  --data DIR           database and files (./bpuhub-data)\n"
           "  --workers N          worker processes (2)\n"
           "  --max-upload BYTES   largest model, K M G allowed (1G)\n"
           "  --job-memory BYTES   memory of one job (2G)\n"
           "  --job-seconds N      time of one job (600)\n"
           "  --job-attempts N     how often a job is tried that is killed, or kills its worker (3)\n"
           "  --retention-days N   forget ended jobs that are older (0: never)\n"
           "  --retention-bytes N  forget the oldest ended jobs when files take more, K M G allowed (0: never)\n"
           "  --pinned-projects A,B  projects whose jobs are never forgotten\n"
           "  --log text|json      json: a line for each request and job too (text)\n"
           "  --insecure           allow addresses beyond loopback without tokens\n"
           "  --check-config       say whether these settings could be served with, and end\n"
           "  --anonymous-read     public projects may be read without a token\n"
           "  --tls-cert FILE      certificate chain (PEM); with --tls-key, serve https\n"
           "  --tls-key FILE       its private key (PEM)\n"
           "  --proxy-tls          a proxy in front speaks TLS: cookies are for https only\n"
           "  --rate N             requests a second of one token, or of one address (500; 0 no bound)\n"
           "  --quota-upload BYTES uploads of one token in a day (100G; 0 no bound)\n"
           "  --quota-queued N     queued jobs of one token (1000; 0 no bound)\n"
           "  --connections-per-address N  beyond loopback (256; 0 no bound)\n"
           "  --idle-seconds N     time for the head of a request, and of silence (60)\n"
           "  --webhook-private    webhooks may lead to this machine and private networks\n"
           "  --webhook-retry-ms N before a notice is sent again; grows fourfold each time (10000)\n"
           "  --audit-days N       how long the audit log is kept (400)\n"
           "  --config FILE        file of `name = value` lines with the names above\n"
           "Every option can also be given as BPUHUB_NAME in the environment (BPUHUB_MAX_UPLOAD).\n"
           "Flags win over the environment, the environment over the file.\n";
}

static bool number_parse(const char *text, bool bytes, int64_t *out)
{
    char *end;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (end == text || errno || v < 0)
        return false;
    int shift = 0;
    if (bytes && *end) {
        const char *units = "KMGT";
        const char *u = strchr(units, *end >= 'a' ? *end - 32 : *end);
        if (!u)
            return false;
        shift = 10 * (int)(u - units + 1);
        end++;
        if (strncasecmp(end, "iB", 2) == 0)
            end += 2;
    }
    if (*end || v > (INT64_MAX >> shift))
        return false;
    *out = (int64_t)v << shift;
    return true;
}

static bool setting_set(struct config *c, const struct setting *s, const char *value,
                        const char *source, struct bpu_error *err)
{
    char *field = (char *)c + s->offset;
    if (s->kind == SETTING_TEXT) {
        if (!*value || strlen(value) >= s->size)
            return error_set(err, BPU_USAGE, source, "%s needs a text of 1 to %zu bytes", s->name,
                             s->size - 1);
        strcpy(field, value);
        return true;
    }
    if (s->kind == SETTING_BOOL) {
        bool yes = !strcasecmp(value, "1") || !strcasecmp(value, "true") ||
                   !strcasecmp(value, "yes") || !strcasecmp(value, "on");
        bool no = !strcasecmp(value, "0") || !strcasecmp(value, "false") ||
                  !strcasecmp(value, "no") || !strcasecmp(value, "off") || !*value;
        if (!yes && !no)
            return error_set(err, BPU_USAGE, source, "%s is \"%.60s\", not true or false", s->name,
                             value);
        *(bool *)field = yes;
        return true;
    }
    int64_t v;
    if (!number_parse(value, s->kind == SETTING_BYTES, &v) || v < s->min || v > s->max)
        return error_set(err, BPU_USAGE, source,
                         "%s is \"%.60s\", a number from %lld to %lld is needed", s->name, value,
                         (long long)s->min, (long long)s->max);
    *(int64_t *)field = v;
    return true;
}

static const struct setting *setting_find(const char *name, size_t n)
{
    for (size_t i = 0; i < SETTING_COUNT; i++)
        if (strlen(settings[i].name) == n && memcmp(settings[i].name, name, n) == 0)
            return &settings[i];
    return NULL;
}

/* Cuts white space off both ends, in place. */
static char *trim(char *s)
{
    s += strspn(s, " \t\r\n");
    size_t n = strlen(s);
    while (n && strchr(" \t\r\n", s[n - 1]))
        s[--n] = 0;
    return s;
}

static bool file_read(struct config *c, const char *path, struct bpu_error *err)
{
    FILE *f = fopen(path, "re");
    if (!f)
        return error_set(err, BPU_IO, path, "the config file cannot be read: %s", strerror(errno));
    char line[4096], source[128];
    bool ok = true;
    for (int number = 1; ok && fgets(line, sizeof line, f); number++) {
        snprintf(source, sizeof source, "%.80s line %d", path, number);
        char *text = trim(line);
        if (!*text || *text == '#')
            continue;
        char *eq = strchr(text, '=');
        if (!eq) {
            ok = error_set(err, BPU_USAGE, source, "the line is not `name = value`");
            break;
        }
        *eq = 0;
        char *name = trim(text);
        const struct setting *s = setting_find(name, strlen(name));
        ok = s ? setting_set(c, s, trim(eq + 1), source, err)
               : error_set(err, BPU_USAGE, source, "there is no setting \"%.60s\"", name);
    }
    fclose(f);
    return ok;
}

static bool environment_read(struct config *c, struct bpu_error *err)
{
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        char name[64] = "BPUHUB_";
        size_t n = strlen(name);
        for (const char *p = settings[i].name; *p; p++)
            name[n++] = *p == '-' ? '_' : (char)(*p - 32);
        name[n] = 0;
        const char *value = getenv(name);
        if (value && !setting_set(c, &settings[i], value, name, err))
            return false;
    }
    return true;
}

/* The value of argument i, which is --name=value or --name value; NULL if it is missing. */
static const char *flag_value(int argc, char **argv, int *i, const char *eq)
{
    if (eq)
        return eq + 1;
    return *i + 1 < argc ? argv[++*i] : NULL;
}

/* c == NULL: only look for --config. */
static bool flags_read(struct config *c, int argc, char **argv, const char **config_file,
                       struct bpu_error *err)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            if (c)
                c->help = true;
            continue;
        }
        if (strcmp(argv[i], "--check-config") == 0) {
            if (c)
                c->check_config = true;
            continue;
        }
        const char *flag = argv[i];
        const char *name = strncmp(flag, "--", 2) == 0 ? flag + 2 : "";
        const char *eq = strchr(name, '=');
        size_t n = eq ? (size_t)(eq - name) : strlen(name);
        bool is_config = n == 6 && memcmp(name, "config", 6) == 0;
        const struct setting *s = setting_find(name, n);
        if (!s && !is_config) {
            error_set(err, BPU_USAGE, flag, "there is no such option");
            return error_hint(err, "bpuhub serve --help lists them");
        }
        const char *value =
            s && s->kind == SETTING_BOOL && !eq ? "true" : flag_value(argc, argv, &i, eq);
        if (!value)
            return error_set(err, BPU_USAGE, flag, "the option needs a value");
        if (is_config)
            *config_file = value;
        else if (c && !setting_set(c, s, value, flag, err))
            return false;
    }
    return true;
}

void config_pinned(char *names, const char *list[CONFIG_PINNED_MAX + 1])
{
    int n = 0;
    char *rest = names;
    for (char *name; n < CONFIG_PINNED_MAX && (name = strsep(&rest, ",")) != NULL;) {
        name = trim(name);
        if (*name)
            list[n++] = name;
    }
    list[n] = NULL;
}

bool config_load(struct config *c, int argc, char **argv, struct bpu_error *err)
{
    *c = (struct config){
        .listen = "127.0.0.1:8080",
        .data = "./bpuhub-data",
        .workers = 2,
        .max_upload = (int64_t)1 << 30,
        .job_memory = (int64_t)2 << 30,
        .job_seconds = 600,
        .job_attempts = 3,
        .log = "text",
        .rate = -1,
        .quota_upload = (int64_t)100 << 30,
        .quota_queued = 1000,
        .connections = -1,
        .idle_seconds = 60,
        .webhook_retry_ms = 10000,
        .audit_days = 400,
    };
    const char *file = getenv("BPUHUB_CONFIG");
    if (!flags_read(NULL, argc, argv, &file, err))
        return false;
    if (file && *file && !file_read(c, file, err))
        return false;
    if (!environment_read(c, err) || !flags_read(c, argc, argv, &file, err))
        return false;
    if (strcmp(c->log, "text") != 0 && strcmp(c->log, "json") != 0)
        return error_set(err, BPU_USAGE, "log", "log is \"%s\", not text or json", c->log);
    return true;
}
