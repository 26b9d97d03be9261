#define _GNU_SOURCE
#include "tests/server/http_client.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define ARGUMENTS_MAX 24

/* In the child: becomes the program. */
static void become(const char *const *arguments, int out)
{
    const char *program = getenv("BPUHUB_BIN");
    union {
        const char *in;
        char *out;
    } argv[ARGUMENTS_MAX + 3] = {{.in = "bpuhub"}, {.in = "serve"}};
    int n = 2;
    for (; n < ARGUMENTS_MAX && arguments[n - 2]; n++)
        argv[n].in = arguments[n - 2];
    char *list[ARGUMENTS_MAX + 3] = {0};
    for (int i = 0; i < n; i++)
        list[i] = argv[i].out;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (out >= 0)
        dup2(out, STDOUT_FILENO);
    if (!getenv("HTTP_TEST_VERBOSE")) {
        int null = open("/dev/null", O_WRONLY);
        /* Sanitizers report on standard error: a log file keeps it. */
        dup2(null, STDERR_FILENO);
    }
    execv(program ? program : "build/bpuhub", list);
    _exit(127);
}

bool service_start(struct service *s, const char *const *extra)
{
    const char *arguments[ARGUMENTS_MAX] = {"--listen", "127.0.0.1:0", "--data", s->dir};
    int n = 4;
    while (extra && *extra && n < ARGUMENTS_MAX - 1)
        arguments[n++] = *extra++;
    if (!s->dir[0]) {
        strcpy(s->dir, "/tmp/bpuhub-http-XXXXXX");
        if (!mkdtemp(s->dir))
            return false;
    }
    int pipes[2];
    if (pipe2(pipes, O_CLOEXEC) != 0)
        return false;
    s->pid = fork();
    if (s->pid == 0)
        become(arguments, pipes[1]);
    close(pipes[1]);
    char line[128] = "";
    size_t got = 0;
    struct pollfd fd = {.fd = pipes[0], .events = POLLIN};
    while (got < sizeof line - 1 && !strchr(line, '\n') && poll(&fd, 1, 20000) > 0) {
        ssize_t r = read(pipes[0], line + got, sizeof line - 1 - got);
        if (r <= 0)
            break;
        got += (size_t)r;
        line[got] = 0;
    }
    close(pipes[0]);
    /* Exactly one line, and nothing behind it. */
    return sscanf(line, "listening on %63s", s->url) == 1 && strchr(line, '\n') == line + got - 1 &&
           sscanf(s->url, "%*[a-z]://%*[0-9.]:%d", &s->port) == 1 && s->port > 0;
}

static int wait_end(pid_t pid)
{
    int status;
    for (int i = 0; i < 2000; i++) {
        if (waitpid(pid, &status, WNOHANG) == pid)
            return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
        usleep(10000);
    }
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    return -1000;
}

int service_stop(struct service *s, int signal)
{
    if (s->pid <= 0)
        return -1000;
    kill(s->pid, signal);
    int code = wait_end(s->pid);
    s->pid = 0;
    return code;
}

int service_refused(const char *const *arguments)
{
    pid_t pid = fork();
    if (pid == 0)
        become(arguments, -1);
    return wait_end(pid);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *f)
{
    (void)st;
    (void)type;
    (void)f;
    return remove(path);
}

void service_remove(struct service *s)
{
    if (s->dir[0])
        (void)nftw(s->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    s->dir[0] = 0;
}

static int file_count;

static int count_one(const char *path, const struct stat *st, int type, struct FTW *f)
{
    (void)path;
    (void)st;
    (void)f;
    file_count += type == FTW_F;
    return 0;
}

int files_under(const char *path)
{
    file_count = 0;
    (void)nftw(path, count_one, 16, FTW_PHYS);
    return file_count;
}

struct growing {
    char *data;
    size_t size;
};

static size_t grow(char *data, size_t one, size_t n, void *ctx)
{
    struct growing *g = ctx;
    char *p = realloc(g->data, g->size + one * n + 1);
    if (!p)
        return 0;
    g->data = p;
    memcpy(p + g->size, data, one * n);
    g->size += one * n;
    p[g->size] = 0;
    return one * n;
}

struct source {
    const char *data;
    size_t left;
};

static size_t give(char *out, size_t one, size_t n, void *ctx)
{
    struct source *s = ctx;
    size_t count = one * n < s->left ? one * n : s->left;
    memcpy(out, s->data, count);
    s->data += count;
    s->left -= count;
    return count;
}

struct reply http_do(const struct service *s, const char *path, struct query q)
{
    struct reply r = {0};
    struct growing body = {0}, headers = {0};
    CURL *c = curl_easy_init();
    struct curl_slist *list = NULL;
    curl_mime *form = NULL;
    char url[1024];
    size_t size = q.body_size ? q.body_size : q.body ? strlen(q.body) : 0;
    struct source source = {q.body, size};
    snprintf(url, sizeof url, "%s%s", s->url, path);
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_PATH_AS_IS, 1L);
    if (s->ca[0])
        curl_easy_setopt(c, CURLOPT_CAINFO, s->ca);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_PROXY, "");
    curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, q.timeout_ms ? q.timeout_ms : 30000L);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, grow);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, &body);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, grow);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, &headers);
    for (size_t i = 0; i < sizeof q.headers / sizeof q.headers[0] && q.headers[i]; i++)
        list = curl_slist_append(list, q.headers[i]);
    if (q.form_field) {
        form = curl_mime_init(c);
        curl_mimepart *part = curl_mime_addpart(form);
        curl_mime_name(part, q.form_field);
        curl_mime_data(part, q.body, size);
        curl_mime_filename(part, q.form_filename ? q.form_filename : "model");
        curl_easy_setopt(c, CURLOPT_MIMEPOST, form);
    } else if (q.chunked) {
        list = curl_slist_append(list, "Transfer-Encoding: chunked");
        curl_easy_setopt(c, CURLOPT_POST, 1L);
        curl_easy_setopt(c, CURLOPT_READFUNCTION, give);
        curl_easy_setopt(c, CURLOPT_READDATA, &source);
    } else if (q.body) {
        curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)size);
        curl_easy_setopt(c, CURLOPT_POSTFIELDS, q.body);
    }
    if (q.method && strcmp(q.method, "HEAD") == 0)
        curl_easy_setopt(c, CURLOPT_NOBODY, 1L);
    else if (q.method)
        curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, q.method);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, list);
    (void)curl_easy_perform(c);
    curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &r.status);
    curl_easy_getinfo(c, CURLINFO_TOTAL_TIME, &r.seconds);
    curl_mime_free(form);
    curl_slist_free_all(list);
    curl_easy_cleanup(c);
    r.body = body.data ? body.data : strdup("");
    r.size = body.size;
    r.headers = headers.data ? headers.data : strdup("");
    r.json = json_loadb(r.body, r.size, 0, NULL);
    return r;
}

struct reply http_get(const struct service *s, const char *path)
{
    return http_do(s, path, (struct query){0});
}

void reply_free(struct reply *r)
{
    free(r->body);
    free(r->headers);
    json_decref(r->json);
    *r = (struct reply){0};
}

const char *reply_header(const struct reply *r, const char *name)
{
    static char value[512];
    size_t n = strlen(name);
    const char *found = NULL;
    /* The last one: before it may stand those of `100 Continue`. */
    for (const char *line = r->headers; line && *line;
         line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
        if (strncasecmp(line, name, n) == 0 && line[n] == ':')
            found = line + n + 1;
    if (!found)
        return NULL;
    found += strspn(found, " ");
    snprintf(value, sizeof value, "%.*s", (int)strcspn(found, "\r\n"), found);
    return value;
}

const char *reply_text(const struct reply *r, const char *name)
{
    const char *text = json_string_value(json_object_get(r->json, name));
    return text ? text : "";
}

char *file_read(const char *path, size_t *size)
{
    struct growing g = {0};
    char buffer[65536];
    FILE *f = fopen(path, "rb");
    if (!f)
        return NULL;
    for (size_t n; (n = fread(buffer, 1, sizeof buffer, f)) > 0;)
        grow(buffer, 1, n, &g);
    fclose(f);
    *size = g.size;
    return g.data;
}
