/* http_replay: what an Idempotency-Key was answered with, for calls that the store keeps no key for
 * (uploads, cancel, retry).  In memory, bounded: a repeat after a restart is a new request, which
 * for these calls finds the state that the first one left. Jobs have their keys in the store. */
#ifndef BPU_SERVER_HTTP_REPLAY_H
#define BPU_SERVER_HTTP_REPLAY_H

#include <stdbool.h>
#include <stddef.h>

struct replay;
struct arena;
struct bpu_error;

struct replay *replay_new(void);
void replay_free(struct replay *p);
/* Remembers the answer of method-independent `path` and key; the first one stays. Any thread. */
void replay_put(struct replay *p, const char *path, const char *key, unsigned status,
                const char *text, size_t size);
/* The status, and the text in the arena; 0 if nothing is known. */
unsigned replay_find(struct replay *p, const char *path, const char *key, struct arena *a,
                     const char **text, size_t *size);

#endif
