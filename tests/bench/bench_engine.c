/* bench_engine: times frames of a network, for tests/bench/engine.py.
 *
 *   bench_engine MODEL SHAPE FRAMES [VARIANT | reference]     one line of JSON on standard output
 *
 * "held" is what the run counts itself, "resident" by how much the process grew from before the run to its end,
 * "peak" the most it had: with the file, the graph, the libraries and what the import took.
 * The bound is measured in the same process: products per second of the engine's own inner loop on
 * operands that stay in the first cache. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "core/import/import.h"
#include "core/job/prepare.h"
#include "core/ops/op.h"
#include "core/run/fast_kernels.h"
#include "core/run/run.h"

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int by_value(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* Best of many short stretches, in products per second. */
static double peak(const struct fast_kernels *k)
{
    enum { ROWS = 6, DEPTH = 256, CALLS = 400 };
    static uint8_t a[ROWS * DEPTH + FAST_SLACK], out[ROWS * FAST_BLOCK];
    static int8_t w[FAST_BLOCK * DEPTH];
    static int32_t bias[2 * FAST_BLOCK];
    static float real[2 * FAST_BLOCK];
    void *b = malloc(k->gemm_bytes(DEPTH, FAST_BLOCK));
    struct fast_requant q = {.bias = bias, .real = real, .hi = 255};
    double best = 0;
    if (!b)
        return 0;
    k->gemm_pack(w, DEPTH, FAST_BLOCK, b);
    struct fast_gemm g = {.a = a, .lda = DEPTH, .rows = ROWS, .depth = DEPTH, .b = b,
                          .channels = FAST_BLOCK, .q = &q, .out = out, .ldo = FAST_BLOCK};
    for (int i = 0; i < 200; i++) {
        double t = now();
        for (int c = 0; c < CALLS; c++)
            k->gemm(&g);
        double rate = (double)ROWS * DEPTH * FAST_BLOCK * CALLS / (now() - t);
        best = rate > best ? rate : best;
    }
    free(b);
    return best;
}

/* Bytes of the process that are in memory now. */
static long resident(void)
{
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f) {
        if (fscanf(f, "%*d %ld", &pages) != 1)
            pages = 0;
        fclose(f);
    }
    return pages * sysconf(_SC_PAGESIZE);
}

static unsigned char *read_file(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    unsigned char *p = NULL;
    if (f && fseek(f, 0, SEEK_END) == 0) {
        long n = ftell(f);
        rewind(f);
        p = n > 0 ? malloc((size_t)n) : NULL;
        *size = p ? fread(p, 1, (size_t)n, f) : 0;
    }
    if (f)
        fclose(f);
    return p;
}

int main(int argc, char **argv)
{
    struct arena a;
    struct bpu_error err = {0};
    size_t size = 0;
    if (argc < 4)
        return 2;
    unsigned char *data = read_file(argv[1], &size);
    int frames = atoi(argv[3]);
    arena_init(&a, (size_t)8 << 30);
    struct import_option shape = {"input.0", argv[2]};
    struct import_request req = {data, size, argv[1], &shape, 1};
    struct graph *g = data ? import_model(&a, &req, &err) : NULL;
    g = g ? job_executable(&a, g, &err) : NULL;
    bool reference = argc > 4 && strcmp(argv[4], "reference") == 0;
    struct run_options options = {.engine = reference ? RUN_REFERENCE : RUN_FAST,
                                  .variant = argc > 4 && !reference ? argv[4] : NULL};
    long before = resident();
    struct run *r = g ? run_new(&a, g, &options, &err) : NULL;
    long made = resident() - before;
    if (!r || g->input_count != 1 || g->output_count != 1 || frames < 1) {
        fprintf(stderr, "%s: %s %s\n", argv[1], err.where, err.message);
        return 1;
    }
    const struct value *x = g->inputs[0], *y = g->outputs[0];
    int64_t n = shape_elements(&x->shape), macs = 0;
    float *in = arena_alloc(&a, (size_t)n * 4, &err);
    void *out = arena_alloc(&a, (size_t)shape_elements(&y->shape) * dtype_size(y->dtype), &err);
    double *times = ARENA_ARRAY(&a, double, frames, &err);
    for (int64_t i = 0; in && i < n; i++)
        in[i] = (float)(i * 7919 % 2000 - 1000) / 400;
    for (int i = 0; i < g->node_count; i++)
        macs += op_macs(g->nodes[i]) > 0 ? op_macs(g->nodes[i]) : 0;
    before = resident() - made;
    for (int i = reference ? 0 : -3; in && out && times && i < frames; i++) {
        const void *inputs[] = {in};
        void *outputs[] = {out};
        double t = now();
        if (!run_frame(r, inputs, outputs, NULL, NULL, &err)) {
            fprintf(stderr, "%s\n", err.message);
            return 1;
        }
        if (i >= 0)
            times[i] = now() - t;
    }
    long grown = resident() - before;
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    qsort(times, (size_t)frames, sizeof *times, by_value);
    const struct fast_kernels *k = fast_kernels_find(options.variant);
    struct run_memory m = run_memory(r);
    printf("{\"variant\": \"%s\", \"best_ms\": %.4f, \"median_ms\": %.4f, \"macs\": %lld, "
           "\"peak_macs_per_s\": %.4g, \"planned\": %zu, \"live\": %zu, \"scratch\": %zu, "
           "\"weights\": %zu, \"held\": %zu, \"resident\": %ld, \"peak\": %ld}\n",
           reference ? "reference" : k->name, times[0] * 1e3, times[frames / 2] * 1e3,
           (long long)macs, reference ? 0 : peak(k), m.planned, m.live, m.scratch, m.weights,
           m.held, grown, use.ru_maxrss * 1024);
    arena_fini(&a);
    free(data);
    return 0;
}
