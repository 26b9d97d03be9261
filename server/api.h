/* api: the handlers of the routes, one file per family. */
#ifndef BPU_SERVER_API_H
#define BPU_SERVER_API_H

#include "core/base/version.h"
#include "server/http.h"
#include "server/store.h"

/* api_models.c */
void api_models_upload_head(struct http_request *r);
void api_models_upload(struct http_request *r);
void api_models_list(struct http_request *r);
void api_model_get(struct http_request *r);
void api_data_upload_head(struct http_request *r);
void api_data_upload(struct http_request *r);
void api_data_list(struct http_request *r);
void api_data_get(struct http_request *r);

/* api_jobs.c */
void api_jobs_create(struct http_request *r);
void api_job_get(struct http_request *r);
void api_job_cancel(struct http_request *r);
void api_job_retry(struct http_request *r);
void api_job_delete(struct http_request *r);

/* api_list.c */
void api_jobs_list(struct http_request *r);

/* api_onecall.c: POST /v1/check and its like */
void api_onecall_head(struct http_request *r);
void api_onecall(struct http_request *r);

/* api_artifacts.c */
void api_report(struct http_request *r);
void api_report_sarif(struct http_request *r);
void api_report_junit(struct http_request *r);
void api_report_html(struct http_request *r);
void api_graph_svg(struct http_request *r);
void api_artifact(struct http_request *r);

/* api_compare.c */
void api_compare(struct http_request *r);
void api_compare_html(struct http_request *r);

/* api_events.c */
void api_events(struct http_request *r);

/* api_marches.c */
void api_marches(struct http_request *r);
void api_march(struct http_request *r);
void api_march_ops(struct http_request *r);
/* The canonical name of a march, or BPU_BAD_MARCH with the known ones. */
bool api_march_check(const char *name, char *out, size_t size, struct bpu_error *err) BPU_CHECKED;

/* api_health.c */
void api_healthz(struct http_request *r);
void api_readyz(struct http_request *r);
void api_metrics(struct http_request *r);

/* api_session.c */
void api_session_get(struct http_request *r);
void api_session_create(struct http_request *r);
void api_session_delete(struct http_request *r);

/* api_audit.c */
void api_audit(struct http_request *r);

/* api_hooks.c */
void api_hooks_create(struct http_request *r);
void api_hooks_list(struct http_request *r);
void api_hook_get(struct http_request *r);
void api_hook_delete(struct http_request *r);
void api_hook_deliveries(struct http_request *r);
/* At the start: has notices delivered if there is a webhook. */
void hooks_look(struct http_server *h);

/* static.c */
void static_index(struct http_request *r);
void static_file(struct http_request *r);
void static_openapi(struct http_request *r);
/* Computes the ETags; once, before the first request. */
bool static_init(struct bpu_error *err) BPU_CHECKED;

/* api_view.c: what jobs and models look like from outside */
void view_job(struct buf *out, const struct store_job *j, const struct store_artifact *artifacts,
              size_t count);
/* gates: JSON of what gates.json says, or NULL. */
void view_job_gated(struct buf *out, const struct store_job *j, const struct store_artifact *artifacts,
                    size_t count, const char *gates);
void view_model(struct buf *out, const struct store_model *m, bool with_info);
/* A data file; its arrays, with with_info. */
void view_data(struct buf *out, const struct store_model *m, bool with_info);
/* Reads a job and its artifacts and writes its view. */
bool view_job_read(struct store *s, const char *id, struct arena *a, struct store_job *job,
                   struct buf *out, struct bpu_error *err) BPU_CHECKED;
/* The snapshot that waiters share; NULL with *err. */
struct snapshot *view_snapshot(struct store *s, const char *id, struct bpu_error *err) BPU_CHECKED;
bool job_state_ended(enum job_state st);

/* The part of a new job that comes from a client: texts checked and copied into the arena. */
struct job_draft {
    struct store_job job;
    const char *idempotency_key; /* as the store keeps it, or NULL */
    struct http_request *asked_by; /* set by draft_finish(); NULL for jobs of the daemon's own */
    struct job_text_pair {
        const char *key, *value;
    } * options, *labels;
    size_t option_count, label_count, option_capacity, label_capacity;
};
bool draft_set_kind(struct job_draft *d, const char *kind, struct bpu_error *err) BPU_CHECKED;
/* A kind of the contract that this version cannot do: answers 501. */
bool draft_kind_refused(const struct job_draft *d, struct http_request *r, const char *where);
bool draft_set_march(struct job_draft *d, const char *march, struct bpu_error *err) BPU_CHECKED;
bool draft_set_project(struct job_draft *d, const char *project, struct bpu_error *err) BPU_CHECKED;
/* -10 to 10 as text, the higher the earlier; above 0 needs an admin, which draft_finish() sees to. */
bool draft_set_priority(struct job_draft *d, const char *text, struct bpu_error *err) BPU_CHECKED;
bool draft_add_option(struct job_draft *d, struct arena *a, const char *key, const char *value,
                      struct bpu_error *err) BPU_CHECKED;
bool draft_add_label(struct job_draft *d, struct arena *a, const char *key, const char *value,
                     struct bpu_error *err) BPU_CHECKED;
/* Checks what belongs together and writes options and labels in canonical form. */
bool draft_finish(struct job_draft *d, struct http_request *r, struct bpu_error *err) BPU_CHECKED;
/* Queues the job inside the write lane; refuses a reused key and an unknown model. */
bool draft_add(struct job_draft *d, struct store *s, struct arena *a,
               struct bpu_error *err) BPU_CHECKED;
/* After the commit: wakes a worker if there is work. */
void draft_announce(struct http_server *h, const struct job_draft *d);

#endif
