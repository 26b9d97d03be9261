/* Compiles any network, also one that its march's operator table forbids: what the compiler can do
 * is asked apart from what the checker allows.  Scales as `bpuhub compile` finds them.
 *
 *     compile_any MODEL MARCH LEVEL CORES OUT.bpu
 *
 * Exit codes as bpuhub's; standard error names the place and the reason. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/arena.h"
#include "core/base/buf.h"
#include "core/compile/compile.h"
#include "core/job/prepare.h"
#include "core/job/quantize.h"
#include "core/run/kernel.h"

static unsigned char *whole_file(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    unsigned char *data = NULL;
    long n;
    if (f && fseek(f, 0, SEEK_END) == 0 && (n = ftell(f)) > 0 && (data = malloc((size_t)n))) {
        rewind(f);
        *size = fread(data, 1, (size_t)n, f);
    }
    if (f)
        fclose(f);
    return data;
}

/* Nodes without an integer form are the CPU's, as in core/job/compile_model.c. */
static bool mark_host(struct arena *a, const struct graph *g, struct compile_options *o,
                      struct bpu_error *err)
{
    bool *on_host = ARENA_ARRAY(a, bool, g->node_count, err);
    for (int i = 0; on_host && i < g->node_count; i++) {
        const char *kernel = kernel_of(g->nodes[i])->name;
        on_host[i] = strcmp(kernel, "quantize") != 0 && strcmp(kernel, "dequantize") != 0 &&
                     strcmp(kernel, "identity") != 0 && !kernel_is_fixed(g->nodes[i]);
    }
    o->on_host = on_host;
    return on_host != NULL;
}

static bool compile(struct arena *a, struct quantization *q, struct compile_options *o,
                    struct buf *file, struct bpu_error *err)
{
    struct compile_summary summary;
    struct program *p;
    if (!quantize_load(q, err))
        return false;
    if (!job_is_fixed(q->graph) && !quantize_run(q, err))
        return false;
    const struct graph *fixed = job_is_fixed(q->graph) ? q->graph : q->fixed;
    o->uncalibrated = q->uncalibrated;
    if (!mark_host(a, fixed, o, err))
        return false;
    p = compile_graph(a, fixed, q->target, o, &summary, err);
    return p && program_write(p, file, err);
}

int main(int argc, char **argv)
{
    struct compile_options o = compile_default();
    struct quantization q = {.uncompared = true, .placeholders = true};
    struct bpu_error err = {0};
    struct arena arena;
    struct buf file;
    FILE *out;
    if (argc != 6 || !compile_level_find(argv[3], &o.level) || (o.cores = atoi(argv[4])) < 1) {
        fprintf(stderr, "usage: compile_any MODEL MARCH LEVEL CORES OUT.bpu\n");
        return 2;
    }
    unsigned char *data = whole_file(argv[1], &q.model_size);
    const char *name = strrchr(argv[1], '/');
    arena_init(&arena, (size_t)8 << 30);
    buf_init(&file, (size_t)4 << 30);
    q.arena = &arena;
    q.model = data;
    q.model_id = "model";
    q.model_name = name ? name + 1 : argv[1];
    q.march = argv[2];
    if (!data || !compile(&arena, &q, &o, &file, &err)) {
        fprintf(stderr, "%s: %s %s\n", err.where, data ? err.message : "cannot be read", err.hint);
    } else if (!(out = fopen(argv[5], "wb"))) {
        err.code = BPU_IO;
    } else {
        if (fwrite(file.data, 1, file.size, out) != file.size)
            err.code = BPU_IO;
        fclose(out);
    }
    static const int codes[] = {
#define X(name, code, title, http, exit) exit,
        BPU_ERROR_MAP(X)
#undef X
    };
    buf_fini(&file);
    arena_fini(&arena);
    free(data);
    return data ? codes[err.code] : 3;
}
