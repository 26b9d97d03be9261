/* Design: core errors carry their stable code, title and status in one table (core/base/error.h);
 * errors that only HTTP has (method, host, readiness) are written as struct problem directly.  The
 * type member is a URN made of the code. */
#include "server/problem.h"

#include "server/json.h"

struct problem problem_of_error(const struct bpu_error *err)
{
    enum bpu_code code = err->code == BPU_NONE ? BPU_SERVER : err->code;
    return (struct problem){
        .status = error_http_status(code),
        .code = error_code_name(code),
        .title = error_title(code),
        .detail = err->message,
        /* Of our own faults the place is a path or a statement: for the log, not for the client. */
        .where = error_http_status(code) < 500 ? err->where : "",
        .hint = err->hint,
    };
}

static void member(struct buf *out, const char *name, const char *value)
{
    if (!value || !*value)
        return;
    buf_printf(out, ",\"%s\":", name);
    json_write_string(out, value);
}

void problem_write(struct buf *out, const struct problem *p)
{
    buf_printf(out, "{\"type\":\"urn:bpuhub:problem:%s\"", p->code);
    member(out, "title", p->title);
    buf_printf(out, ",\"status\":%d", p->status);
    member(out, "detail", p->detail);
    member(out, "code", p->code);
    member(out, "where", p->where);
    member(out, "hint", p->hint);
    buf_putc(out, '}');
}

void problem_write_error(struct buf *out, const struct bpu_error *err)
{
    struct problem p = problem_of_error(err);
    problem_write(out, &p);
}
