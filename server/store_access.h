/* store_access: what the store keeps about access: tokens, sessions, projects, usage, audit.
 *
 * Part of the store interface (store.h). Secrets never reach it: tokens and sessions are known by the
 * SHA-256 of what their owner holds. Whoever changes something here wakes the daemon (access.h). */
#ifndef BPU_SERVER_STORE_ACCESS_H
#define BPU_SERVER_STORE_ACCESS_H

#include "server/store.h"

enum store_role { ROLE_NONE, ROLE_VIEWER, ROLE_SUBMITTER, ROLE_ADMIN };

#define STORE_TOKEN_NAME 64

struct store_token {
    int64_t n;
    char hash[65];
    char name[STORE_TOKEN_NAME];
    enum store_role role;
    char project[128]; /* "" = not bound to one */
    int64_t created, expires, revoked, last_used; /* 0 = never */
    int64_t rate, quota_upload, quota_queued;     /* 0 = the daemon's */
};

/* Inside store_begin(): several operations of which all are undone if one fails. Ends with ok. */
bool store_all_begin(struct store *s, struct bpu_error *err) BPU_CHECKED;
bool store_all_end(struct store *s, bool ok, struct bpu_error *err) BPU_CHECKED;

const char *store_role_name(enum store_role role);
bool store_role_find(const char *name, enum store_role *out);

/* Adds the token; fills n and created. */
bool store_token_add(struct store *s, struct store_token *t, struct bpu_error *err) BPU_CHECKED;
/* All tokens, oldest first, in the arena. */
bool store_token_list(struct store *s, struct arena *a, struct store_token **items, size_t *count,
                      struct bpu_error *err) BPU_CHECKED;
/* Whether the data directory has tokens; false for one that is not there yet. Opens the database for
 * reading only, and no store. */
bool store_tokens_exist(const char *data_dir, bool *exist, struct bpu_error *err) BPU_CHECKED;
/* Revokes it and ends its sessions; BPU_NOT_FOUND, or BPU_CONFLICT if it is revoked already. */
bool store_token_revoke(struct store *s, int64_t n, struct bpu_error *err) BPU_CHECKED;
/* When it was last used and what it has uploaded on this day since the last call. Not durable at once. */
bool store_token_used(struct store *s, int64_t n, int64_t last_used, int64_t day, int64_t bytes,
                      struct bpu_error *err) BPU_CHECKED;
/* Bytes that the token has uploaded on the day. */
bool store_token_usage(struct store *s, int64_t n, int64_t day, int64_t *bytes,
                       struct bpu_error *err) BPU_CHECKED;
/* Notes who asked for the job; BPU_QUOTA if the token would have more than `most` jobs queued (0: no bound). */
bool store_job_set_token(struct store *s, const char *job, int64_t token, int64_t most,
                         struct bpu_error *err) BPU_CHECKED;

struct store_session {
    char hash[65];
    int64_t token, expires;
};
/* A token has 50 sessions at most: the oldest give way. */
bool store_session_add(struct store *s, const struct store_session *e, struct bpu_error *err) BPU_CHECKED;
bool store_session_remove(struct store *s, const char *hash, struct bpu_error *err) BPU_CHECKED;
/* Those that have not expired. */
bool store_session_list(struct store *s, struct arena *a, struct store_session **items, size_t *count,
                        struct bpu_error *err) BPU_CHECKED;

struct store_project {
    char name[128];
    bool private_;
};
bool store_project_set(struct store *s, const struct store_project *p, struct bpu_error *err) BPU_CHECKED;
/* Those that were ever set. */
bool store_project_list(struct store *s, struct arena *a, struct store_project **items, size_t *count,
                        struct bpu_error *err) BPU_CHECKED;

/* An upload was made for this project ("" = for everybody); *seen: `scope` could see the file before
 * (NULL: whoever asks sees everything).  Call after store_model_add() or store_data_add(), with
 * what that said of the file, in the same transaction. */
bool store_file_give(struct store *s, const char *id, const char *project, bool existed,
                     const char *scope, bool *seen, struct bpu_error *err) BPU_CHECKED;
/* Whether somebody of this project may see the file; NULL: sees everything. */
bool store_file_visible(struct store *s, const char *id, const char *scope, bool *visible,
                        struct bpu_error *err) BPU_CHECKED;
/* store_model_list() and store_data_list() with what `scope` may see. */
bool store_file_list(struct store *s, bool data, const char *scope, const char *cursor, int limit,
                     struct arena *a, struct store_model **items, size_t *count, char next[64],
                     struct bpu_error *err) BPU_CHECKED;

/* Grows whenever tokens, sessions or projects change. */
bool store_access_version(struct store *s, int64_t *version, struct bpu_error *err) BPU_CHECKED;

struct store_audit {
    int64_t n, at; /* filled in */
    int64_t token; /* 0: nobody with a token */
    const char *actor, *address, *action, *object, *result;
};
bool store_audit_add(struct store *s, const struct store_audit *e, struct bpu_error *err) BPU_CHECKED;
/* Newest first, before entry `before` (0: from the newest). */
bool store_audit_list(struct store *s, int64_t before, int limit, struct arena *a,
                      struct store_audit **items, size_t *count, struct bpu_error *err) BPU_CHECKED;
/* Removes audit entries and sessions that are over. */
bool store_access_prune(struct store *s, int64_t audit_before, struct bpu_error *err) BPU_CHECKED;

#endif
