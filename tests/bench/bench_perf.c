/* bench_perf: times the estimator on a compiled program, for tests/bench/perf.py.
 *
 *   bench_perf FILE.bpu RUNS      one line of JSON on standard output: medians, milliseconds of a processor
 *
 * "estimate" is all of it: costs, timing, measuring, advice.  The bound is measured in the same process: the costs
 * of all instructions and one pass over them, which no estimate by events can do without. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "core/base/buf.h"
#include "core/march/march.h"
#include "core/perf/perf.h"
#include "core/program/program.h"

enum { BOUND, TIMING, MEASURE, ADVISE, ESTIMATE, PARTS };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t); /* one thread: others' load does not count */
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static int by_value(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static double median(double *list, int count)
{
    qsort(list, (size_t)count, sizeof *list, by_value);
    return list[count / 2];
}

static bool read_file(const char *path, struct buf *out)
{
    char part[1 << 16];
    FILE *f = fopen(path, "rb");
    if (!f)
        return false;
    for (size_t n; (n = fread(part, 1, sizeof part, f)) > 0;)
        buf_add(out, part, n);
    fclose(f);
    return !out->failed;
}

static bool one_run(const struct program *p, const struct machine *m, double *ms[PARTS], int run,
                    struct perf *perf, struct bpu_error *err)
{
    struct arena a;
    struct program_timing t;
    double cycles = 0, start = now();
    for (int i = 0; i < p->code_count; i++)
        cycles += instruction_cost(m, &p->code[i]).cycles;
    ms[BOUND][run] = now() - start;
    arena_init(&a, (size_t)4 << 30);
    double begin = now();
    bool ok = cycles > 0 && program_time(&a, p, m, &t, err);
    double timed = now();
    ok = ok && perf_measure(&a, p, m, &t, 0, perf, err);
    double measured = now();
    ok = ok && perf_advise(perf, 12, err);
    double end = now();
    ms[TIMING][run] = timed - begin;
    ms[MEASURE][run] = measured - timed;
    ms[ADVISE][run] = end - measured;
    ms[ESTIMATE][run] = end - begin;
    arena_fini(&a);
    return ok;
}

int main(int argc, char **argv)
{
    struct buf file;
    struct arena a;
    struct perf perf = {0};
    struct bpu_error err = {0};
    double *ms[PARTS] = {0};
    int runs = argc == 3 ? atoi(argv[2]) : 0;
    if (runs < 1)
        return 2;
    buf_init(&file, (size_t)4 << 30);
    arena_init(&a, (size_t)4 << 30);
    bool ok = read_file(argv[1], &file);
    const struct program *p = ok ? program_read(&a, file.data, file.size, &err) : NULL;
    const struct march *march = p && p->march ? march_find(p->march) : NULL;
    for (int k = 0; k < PARTS; k++)
        ok = ok && (ms[k] = ARENA_ARRAY(&a, double, runs, &err));
    ok = ok && march;
    for (int run = 0; run < runs && ok; run++)
        ok = one_run(p, march_machine(march), ms, run, &perf, &err);
    if (ok)
        printf("{\"instructions\": %d, \"bound\": %.4f, \"timing\": %.4f, \"measure\": %.4f, \"advise\": %.4f, "
               "\"estimate\": %.4f, \"latency_us\": %.1f, \"advice\": %d}\n",
               p->code_count, median(ms[BOUND], runs), median(ms[TIMING], runs), median(ms[MEASURE], runs),
               median(ms[ADVISE], runs), median(ms[ESTIMATE], runs), perf.latency_us, perf.advice_count);
    else
        fprintf(stderr, "%s: %s\n", argv[1], err.message);
    arena_fini(&a);
    buf_fini(&file);
    return !ok;
}
