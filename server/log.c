/* A line is put together in memory and written with one call. */
#include "server/log.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "server/json.h"

#define LINE_MAX_BYTES ((size_t)16 << 10)

bool log_is_json(void)
{
    const char *form = getenv("BPUHUB_LOG");
    return form && strcmp(form, "json") == 0;
}

void log_begin(struct log_line *l, const char *level, const char *event, const char *fmt, ...)
{
    struct buf message;
    struct timespec now;
    va_list ap;
    l->json = log_is_json();
    buf_init(&l->buf, LINE_MAX_BYTES);
    buf_init(&message, LINE_MAX_BYTES / 4);
    va_start(ap, fmt);
    if (fmt)
        buf_vprintf(&message, fmt, ap);
    va_end(ap);
    if (l->json) {
        clock_gettime(CLOCK_REALTIME, &now);
        buf_puts(&l->buf, "{\"time\":");
        json_write_time(&l->buf, (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000);
        log_text(l, "level", level);
        log_text(l, "event", event);
        log_text(l, "message", buf_str(&message));
    } else {
        buf_printf(&l->buf, "bpuhub: %s", buf_str(&message));
    }
    buf_fini(&message);
}

void log_text(struct log_line *l, const char *name, const char *text)
{
    if (!l->json || !text || !*text)
        return;
    buf_printf(&l->buf, ",\"%s\":", name);
    json_write_string(&l->buf, text);
}

void log_int(struct log_line *l, const char *name, int64_t value)
{
    if (l->json)
        buf_printf(&l->buf, ",\"%s\":%lld", name, (long long)value);
}

void log_number(struct log_line *l, const char *name, double value)
{
    if (l->json)
        buf_printf(&l->buf, ",\"%s\":%.6g", name, value);
}

void log_end(struct log_line *l)
{
    struct bpu_error too_long = {0};
    buf_puts(&l->buf, l->json ? "}\n" : "\n");
    /* A line that does not fit, or that nobody takes, is lost: a log is no reason to fail. */
    if (buf_ok(&l->buf, &too_long)) {
        ssize_t written = write(STDERR_FILENO, l->buf.data, l->buf.size);
        (void)written;
    }
    buf_fini(&l->buf);
}

void log_say(const char *level, const char *event, pid_t pid, const char *fmt, ...)
{
    char message[512];
    struct log_line l;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    log_begin(&l, level, event, "%s", message);
    if (pid)
        log_int(&l, "pid", pid);
    log_end(&l);
}
