/* Design: one row per method and path; a segment in braces captures.  The table is short enough to
 * be walked. openapi.json describes the same rows, and a test compares the two. */
#include <string.h>

#include "server/api.h"

static const struct route table[] = {
    {METHOD_GET, "/", BODY_NONE, NULL, static_index},
    {METHOD_POST, "/v1/models", BODY_UPLOAD, api_models_upload_head, api_models_upload},
    {METHOD_GET, "/v1/models", BODY_NONE, NULL, api_models_list},
    {METHOD_GET, "/v1/models/{id}", BODY_NONE, NULL, api_model_get},
    {METHOD_POST, "/v1/data", BODY_UPLOAD, api_data_upload_head, api_data_upload},
    {METHOD_GET, "/v1/data", BODY_NONE, NULL, api_data_list},
    {METHOD_GET, "/v1/data/{id}", BODY_NONE, NULL, api_data_get},
    {METHOD_POST, "/v1/jobs", BODY_JSON, NULL, api_jobs_create},
    {METHOD_GET, "/v1/jobs", BODY_NONE, NULL, api_jobs_list},
    {METHOD_GET, "/v1/jobs/{id}", BODY_NONE, NULL, api_job_get},
    {METHOD_DELETE, "/v1/jobs/{id}", BODY_NONE, NULL, api_job_delete},
    {METHOD_POST, "/v1/jobs/{id}/cancel", BODY_NONE, NULL, api_job_cancel},
    {METHOD_POST, "/v1/jobs/{id}/retry", BODY_NONE, NULL, api_job_retry},
    {METHOD_GET, "/v1/jobs/{id}/report", BODY_NONE, NULL, api_report},
    {METHOD_GET, "/v1/jobs/{id}/report.sarif", BODY_NONE, NULL, api_report_sarif},
    {METHOD_GET, "/v1/jobs/{id}/report.junit.xml", BODY_NONE, NULL, api_report_junit},
    {METHOD_GET, "/v1/jobs/{id}/report.html", BODY_NONE, NULL, api_report_html},
    {METHOD_GET, "/v1/jobs/{id}/graph.svg", BODY_NONE, NULL, api_graph_svg},
    {METHOD_GET, "/v1/jobs/{id}/artifacts/{name}", BODY_NONE, NULL, api_artifact},
    {METHOD_GET, "/v1/jobs/{id}/events", BODY_NONE, NULL, api_events},
    {METHOD_POST, "/v1/check", BODY_UPLOAD, api_onecall_head, api_onecall},
    {METHOD_POST, "/v1/visualize", BODY_UPLOAD, api_onecall_head, api_onecall},
    {METHOD_POST, "/v1/compile", BODY_UPLOAD, api_onecall_head, api_onecall},
    {METHOD_POST, "/v1/perf", BODY_UPLOAD, api_onecall_head, api_onecall},
    {METHOD_POST, "/v1/pipeline", BODY_UPLOAD, api_onecall_head, api_onecall},
    {METHOD_POST, "/v1/quantize", BODY_UPLOAD, api_onecall_head, api_onecall},
    {METHOD_POST, "/v1/evaluate", BODY_UPLOAD, api_onecall_head, api_onecall},
    {METHOD_GET, "/v1/compare", BODY_NONE, NULL, api_compare},
    {METHOD_GET, "/v1/compare.html", BODY_NONE, NULL, api_compare_html},
    {METHOD_GET, "/v1/marches", BODY_NONE, NULL, api_marches},
    {METHOD_GET, "/v1/marches/{march}", BODY_NONE, NULL, api_march},
    {METHOD_GET, "/v1/marches/{march}/ops", BODY_NONE, NULL, api_march_ops},
    {METHOD_GET, "/v1/session", BODY_NONE, NULL, api_session_get},
    {METHOD_POST, "/v1/session", BODY_JSON, NULL, api_session_create},
    {METHOD_DELETE, "/v1/session", BODY_NONE, NULL, api_session_delete},
    {METHOD_POST, "/v1/webhooks", BODY_JSON, NULL, api_hooks_create},
    {METHOD_GET, "/v1/webhooks", BODY_NONE, NULL, api_hooks_list},
    {METHOD_GET, "/v1/webhooks/{id}", BODY_NONE, NULL, api_hook_get},
    {METHOD_DELETE, "/v1/webhooks/{id}", BODY_NONE, NULL, api_hook_delete},
    {METHOD_GET, "/v1/webhooks/{id}/deliveries", BODY_NONE, NULL, api_hook_deliveries},
    {METHOD_GET, "/v1/audit", BODY_NONE, NULL, api_audit},
    {METHOD_GET, "/healthz", BODY_NONE, NULL, api_healthz},
    {METHOD_GET, "/readyz", BODY_NONE, NULL, api_readyz},
    {METHOD_GET, "/metrics", BODY_NONE, NULL, api_metrics},
    {METHOD_GET, "/openapi.json", BODY_NONE, NULL, static_openapi},
    {METHOD_GET, "/static/{name}", BODY_NONE, NULL, static_file},
};

#define TABLE_COUNT (sizeof table / sizeof table[0])

const struct route *route_table(size_t *count)
{
    *count = TABLE_COUNT;
    return table;
}

/* Walks both segment by segment; with r, copies what the braces capture. */
static bool pattern_match(const char *pattern, const char *path, struct http_request *r)
{
    int captured = 0;
    for (;;) {
        if (*pattern == '{') {
            size_t n = strcspn(path, "/");
            if (n == 0)
                return false;
            if (r) {
                struct bpu_error err = {0};
                r->captures[captured] = arena_strndup(&r->arena, path, n, &err);
                if (!r->captures[captured++])
                    return false;
            }
            path += n;
            pattern += strcspn(pattern, "}") + 1;
        } else if (*pattern != *path) {
            return false;
        } else if (!*pattern) {
            return true;
        } else {
            pattern++;
            path++;
        }
    }
}

/* What Allow says for a set of methods (bit per enum http_method). */
static const char *allow_text(unsigned methods)
{
    static const char *const texts[] = {
        NULL,     "GET, HEAD",         "POST",         "GET, HEAD, POST",
        "DELETE", "GET, HEAD, DELETE", "POST, DELETE", "GET, HEAD, POST, DELETE"};
    return texts[methods & 7];
}

const struct route *route_find(enum http_method method, const char *path, struct http_request *r,
                               const char **allow)
{
    unsigned methods = 0;
    for (size_t i = 0; i < TABLE_COUNT; i++) {
        if (!pattern_match(table[i].pattern, path, NULL))
            continue;
        if (table[i].method == method)
            return pattern_match(table[i].pattern, path, r) ? &table[i] : NULL;
        methods |= 1u << table[i].method;
    }
    *allow = allow_text(methods);
    return NULL;
}
