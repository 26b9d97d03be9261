/* Design: the dashboard is part of the binary.  A name is looked up in the table of embedded files
 * and nowhere else, so that no path leads out of it.  Files revalidate by ETag at each use: a new
 * binary is a new dashboard at once. */
#include "server/static.h"

#include <string.h>

#include "server/api.h"
#include "server/files.h"

#define STATIC_MAX 256

/* What the dashboard may do: its own scripts, styles and connections, and data images. The style rules of a drawing are checked
 * and adopted by script (static/sanitise.js), so inline styles stay forbidden. */
#define DASHBOARD_POLICY                                                                           \
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "        \
    "connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'self'; "                   \
    "frame-ancestors 'none'"

/* Process-wide and constant after static_init(). */
static char etags[STATIC_MAX][FILES_SHA256_HEX + 2];

bool static_init(struct bpu_error *err)
{
    if (static_entry_count > STATIC_MAX)
        return error_set(err, BPU_SERVER, NULL, "more than %d static files are embedded",
                         STATIC_MAX);
    for (size_t i = 0; i < static_entry_count; i++) {
        const struct static_entry *e = &static_entries[i];
        char hex[FILES_SHA256_HEX];
        if (!files_sha256(e->begin, (size_t)(e->end - e->begin), hex, err))
            return false;
        etags[i][0] = '"';
        memcpy(etags[i] + 1, hex, 32);
        strcpy(etags[i] + 33, "\"");
    }
    return true;
}

static const char *media_type(const char *name)
{
    static const struct {
        const char *suffix, *type;
    } types[] = {
        {".html", "text/html; charset=utf-8"},
        {".js", "text/javascript; charset=utf-8"},
        {".mjs", "text/javascript; charset=utf-8"},
        {".css", "text/css; charset=utf-8"},
        {".json", "application/json"},
        {".svg", "image/svg+xml"},
        {".png", "image/png"},
        {".ico", "image/x-icon"},
        {".woff2", "font/woff2"},
        {".txt", "text/plain; charset=utf-8"},
        {".webmanifest", "application/manifest+json"},
    };
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < sizeof types / sizeof types[0]; i++)
        if (strcmp(dot, types[i].suffix) == 0)
            return types[i].type;
    return "application/octet-stream";
}

static void serve(struct http_request *r, const char *name)
{
    for (size_t i = 0; i < static_entry_count; i++) {
        const struct static_entry *e = &static_entries[i];
        if (strcmp(e->name, name) != 0)
            continue;
        union {
            const void *in;
            void *out;
        } bytes = {.in = e->begin};
        bool same = http_etag_matches(r, etags[i]);
        size_t size = same ? 0 : (size_t)(e->end - e->begin);
        struct MHD_Response *response =
            MHD_create_response_from_buffer(size, bytes.out, MHD_RESPMEM_PERSISTENT);
        http_reply_response(r, same ? 304 : 200, response);
        if (!response)
            return;
        (void)MHD_add_response_header(response, "ETag", etags[i]);
        (void)MHD_add_response_header(response, "Cache-Control", "no-cache");
        (void)MHD_add_response_header(response, "Content-Security-Policy", DASHBOARD_POLICY);
        if (!same)
            (void)MHD_add_response_header(response, "Content-Type", media_type(name));
        return;
    }
    struct bpu_error err = {0};
    error_set(&err, BPU_NOT_FOUND, r->path, "there is no file of that name");
    http_reply_error(r, &err);
}

void static_index(struct http_request *r)
{
    serve(r, "index.html");
}

void static_file(struct http_request *r)
{
    serve(r, r->captures[0]);
}

void static_openapi(struct http_request *r)
{
    serve(r, "openapi.json");
}
