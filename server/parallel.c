/* Each thread takes the next piece of work until there is none. */
#include "server/parallel.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

enum { MOST_THREADS = 64 };

struct pool {
    atomic_int next;
    int count;
    void (*work)(void *ctx, int i);
    void *ctx;
};

static void *take_work(void *p)
{
    struct pool *pool = p;
    for (int i; (i = atomic_fetch_add(&pool->next, 1)) < pool->count;)
        pool->work(pool->ctx, i);
    return NULL;
}

void parallel_run(int jobs, int count, void (*work)(void *ctx, int i), void *ctx)
{
    struct pool pool = {.count = count, .work = work, .ctx = ctx};
    pthread_t threads[MOST_THREADS];
    int started = 0;
    jobs = jobs < count ? jobs : count;
    jobs = jobs < MOST_THREADS ? jobs : MOST_THREADS;
    while (started + 1 < jobs && pthread_create(&threads[started], NULL, take_work, &pool) == 0)
        started++;
    take_work(&pool);
    for (int i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
}

int parallel_most(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : n < MOST_THREADS ? (int)n : MOST_THREADS;
}
