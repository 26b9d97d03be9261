/* Errors: one fixed-size record, filled once, carried as the last argument.
 *
 * The first error wins; callers add context with error_context().  Functions that can fail return
 * bool or a pointer and are BPU_CHECKED.  Findings of the checker are not errors. */
#ifndef BPU_BASE_ERROR_H
#define BPU_BASE_ERROR_H

#include <stdarg.h>
#include <stdbool.h>

#define BPU_CHECKED __attribute__((warn_unused_result))
#define BPU_PRINTF(f, a) __attribute__((format(printf, f, a)))

/* One row per error: enum, stable code of the problem document, title, HTTP status, CLI exit code. */
#define BPU_ERROR_MAP(X)                                                                           \
    X(NONE, "none", "No error", 200, 0)                                                            \
    X(USAGE, "bad_request", "The request is wrong", 400, 2)                                        \
    X(BAD_OPTION, "bad_option", "An option is wrong", 400, 2)                                      \
    X(BAD_MARCH, "unknown_march", "The march is not known", 400, 2)                                \
    X(NOT_A_MODEL, "unrecognised_format", "The file is not a model that BPU Hub knows", 422, 3)    \
    X(NOT_DATA, "unrecognised_data", "The file is not data that BPU Hub knows", 422, 3)            \
    X(BAD_MODEL, "bad_model", "The model is damaged or malformed", 422, 3)                         \
    X(BAD_REPORT, "bad_report", "The file is not a report, or is damaged", 422, 3)                 \
    X(NOT_COMPARABLE, "not_comparable", "The two results have nothing in common", 422, 3)          \
    X(UNSUPPORTED, "unsupported_model", "The model uses what BPU Hub does not read", 422, 3)       \
    X(SHAPE_NEEDED, "shape_needed", "An input shape is open", 422, 3)                              \
    X(BAD_SHAPE, "bad_shape", "Shapes do not fit", 422, 3)                                         \
    X(LIMIT, "limit_exceeded", "A limit was exceeded", 413, 4)                                     \
    X(NO_MEMORY, "out_of_memory", "The memory limit was reached", 413, 4)                          \
    X(TIMEOUT, "time_limit", "The time limit was reached", 422, 4)                                 \
    X(CRASH, "worker_crashed", "The job's process died", 500, 4)                                   \
    X(SANDBOX, "sandbox_violation", "The job tried what its sandbox forbids", 422, 4)              \
    X(IO, "io_error", "Reading or writing failed", 500, 3)                                         \
    X(DISK_FULL, "disk_full", "The disk is full", 507, 4)                                          \
    X(DISK, "disk_unavailable", "The disk does not take or give data", 503, 5)                     \
    X(STORE_BUSY, "store_busy", "The database is locked", 503, 5)                                  \
    X(STORE_DAMAGED, "store_damaged", "The database is damaged", 503, 5)                           \
    X(NOT_FOUND, "not_found", "There is no such thing", 404, 5)                                    \
    X(NO_DATA, "unknown_data", "An option names a data file that is not here", 422, 5)             \
    X(CONFLICT, "conflict", "The state does not allow this", 409, 5)                               \
    X(FORBIDDEN, "forbidden", "This is not allowed", 403, 5)                                       \
    X(QUOTA, "quota_exceeded", "A quota is used up", 429, 5)                                       \
    X(SERVER, "server_error", "The server failed", 500, 5)

enum bpu_code {
#define X(name, code, title, http, exit) BPU_##name,
    BPU_ERROR_MAP(X)
#undef X
        BPU_CODE_COUNT
};

struct bpu_error {
    enum bpu_code code;
    char message[512]; /* what is wrong, with the actual value */
    char where[256];   /* byte offset, line, node or JSON pointer; empty if none */
    char hint[384];    /* what to do; empty if nothing sensible can be said */
};

void error_put(struct bpu_error *err, enum bpu_code code, const char *where, const char *fmt, ...)
    BPU_PRINTF(4, 5);
void error_vput(struct bpu_error *err, enum bpu_code code, const char *where, const char *fmt,
                va_list ap) BPU_PRINTF(4, 0);
void error_put_hint(struct bpu_error *err, const char *fmt, ...) BPU_PRINTF(2, 3);
void error_put_where(struct bpu_error *err, const char *fmt, ...) BPU_PRINTF(2, 3);
static inline bool error_false(void) { return false; }

/* error_set(err, code, where, fmt, …) fills *err unless it already holds an error.  where may be NULL.
 * error_hint(err, fmt, …) adds what to do, if no hint is there yet; error_where(err, fmt, …) the place.
 * All of them are false, so that `return error_set(…)` reads well; macros, so that compilers and analyzers see that. */
#define error_set(...) (error_put(__VA_ARGS__), error_false())
#define error_vset(...) (error_vput(__VA_ARGS__), error_false())
#define error_hint(...) (error_put_hint(__VA_ARGS__), error_false())
#define error_where(...) (error_put_where(__VA_ARGS__), error_false())

const char *error_code_name(enum bpu_code code);
const char *error_title(enum bpu_code code);
int error_http_status(enum bpu_code code);
int error_exit_code(enum bpu_code code);
/* The code whose stable name is given; BPU_SERVER if there is none. */
enum bpu_code error_code_find(const char *name);

#endif
