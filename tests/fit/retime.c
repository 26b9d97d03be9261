/* The compiler and the clock with figures of the machine that the caller chooses, for fit.py.
 *
 *     retime < requests
 *
 *   compile MODEL OUT.bpu MARCH LEVEL SOURCE [NAME=VALUE …]   ok INSTRUCTIONS
 *   time FILE.bpu MARCH [NAME=VALUE …]     ok US LOAD STORE (bytes), then busy us by engine
 *   layers FILE.bpu MARCH [NAME=VALUE …]   ok COUNT, then a line each: NAME COMPUTE LOAD STORE (us) OPS
 *   machine MARCH                          ok MARK COUNT, then a line each: NAME VALUE
 *
 * One request a line, answers on standard output, or "error TEXT".  NAME is a row of MACHINE_MAP.
 * SOURCE is ddr or pyramid.  A network is compiled whether its operator table allows it or not: some
 * published runs are of networks that the published tables forbid. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/arena.h"
#include "core/compile/compile.h"
#include "core/job/prepare.h"
#include "core/job/quantize.h"
#include "core/march/limit.h"
#include "core/perf/accuracy.h"
#include "core/program/timing.h"
#include "core/run/kernel.h"

#define MAX_WORDS 64

/* The program that was last timed: a fit times one often, or each once. */
struct retime {
    char path[512]; /* "": none */
    unsigned char *data;
    struct arena arena;
    struct program *program;
};

static void forget(struct retime *r)
{
    if (r->data) {
        arena_fini(&r->arena);
        free(r->data);
    }
    *r = (struct retime){0};
}

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

static bool fail(struct bpu_error *err, const char *what)
{
    error_set(err, BPU_BAD_OPTION, NULL, "%.200s", what);
    return false;
}

/* NAME=VALUE … onto the march's own figures. */
static bool figures(const char *march, char **words, int count, struct machine *out,
                    struct bpu_error *err)
{
    const struct march *m = march_find(march);
    if (!m)
        return fail(err, "no such march");
    *out = *march_machine(m);
    for (int i = 0; i < count; i++) {
        char *equals = strchr(words[i], '=');
        const struct machine_row *row = machine_rows;
        if (!equals)
            return fail(err, words[i]);
        *equals = '\0';
        while (row->name && strcmp(row->name, words[i]) != 0)
            row++;
        if (!row->name)
            return fail(err, words[i]);
        ((struct machine_figure *)(void *)((char *)out + row->offset))->v = strtod(equals + 1, NULL);
    }
    return true;
}

/* ── compile ── */

/* Nodes without an integer form are the CPU's, as in core/job/compile_model.c. */
static bool mark_host(struct arena *a, const struct graph *g, struct compile_options *o,
                      struct bpu_error *err)
{
    bool *on_host = ARENA_ARRAY(a, bool, g->node_count, err);
    for (int i = 0; on_host && i < g->node_count; i++) {
        const char *kernel = kernel_of(g->nodes[i])->name;
        on_host[i] = strcmp(kernel, "quantize") != 0 && strcmp(kernel, "dequantize") != 0 &&
                     strcmp(kernel, "identity") != 0 && !kernel_is_fixed(g->nodes[i]);
        if (on_host[i])
            fprintf(stderr, "on the CPU: %s %s\n", g->nodes[i]->name, kernel);
    }
    o->on_host = on_host;
    return on_host != NULL;
}

static struct program *compiled(struct arena *a, struct quantization *q, struct compile_options *o,
                                const struct machine *machine, struct bpu_error *err)
{
    static const struct compile_io camera = {.source = IO_PYRAMID};
    struct compile_summary summary;
    if (!quantize_load(q, err))
        return NULL;
    const char *names[] = {q->graph->input_count ? q->graph->inputs[0]->name : ""};
    if (o->input_count) {
        o->inputs = &camera;
        q->fixed_inputs = names;
        q->fixed_input_count = 1;
        q->fixed_scale = 1.0 / 128;
    }
    if (!quantize_run(q, err))
        return NULL;
    o->uncalibrated = q->uncalibrated;
    struct march march = *q->target;
    march.machine = machine;
    if (!mark_host(a, q->fixed, o, err))
        return NULL;
    return compile_graph(a, q->fixed, &march, o, &summary, err);
}

static bool compile(char **w, int count, struct bpu_error *err)
{
    struct compile_options o = compile_default();
    struct quantization q = {.uncompared = true, .placeholders = true, .model_id = "model"};
    struct machine machine;
    struct arena arena;
    struct buf file;
    if (count < 6 || !compile_level_find(w[4], &o.level))
        return fail(err, "compile MODEL OUT MARCH LEVEL SOURCE …");
    if (!figures(w[3], w + 6, count - 6, &machine, err))
        return false;
    unsigned char *data = whole_file(w[1], &q.model_size);
    if (!data)
        return fail(err, w[1]);
    arena_init(&arena, (size_t)8 << 30);
    buf_init(&file, (size_t)4 << 30);
    o.input_count = strcmp(w[5], "pyramid") == 0;
    q.arena = &arena;
    q.model = data;
    q.model_name = "model";
    q.march = w[3];
    struct program *p = compiled(&arena, &q, &o, &machine, err);
    bool ok = p && program_write(p, &file, err);
    FILE *out = ok ? fopen(w[2], "wb") : NULL;
    if (ok && (!out || fwrite(file.data, 1, file.size, out) != file.size))
        ok = fail(err, w[2]);
    if (out)
        fclose(out);
    if (ok)
        printf("ok %d\n", p->code_count);
    buf_fini(&file);
    arena_fini(&arena);
    free(data);
    return ok;
}

/* ── time ── */

static struct program *load(struct retime *r, const char *path, struct bpu_error *err)
{
    size_t size = 0;
    if (strcmp(r->path, path) == 0)
        return r->program;
    forget(r);
    if (strlen(path) >= sizeof r->path || !(r->data = whole_file(path, &size))) {
        fail(err, path);
        return NULL;
    }
    arena_init(&r->arena, (size_t)4 << 30);
    r->program = program_read(&r->arena, r->data, size, err);
    if (r->program)
        strcpy(r->path, path);
    return r->program;
}

static void print_layers(const struct program *p, const struct machine *m,
                         const struct program_timing *t)
{
    printf("ok %d\n", p->source_count);
    for (int s = 0; s < p->source_count; s++) {
        double us[3] = {0};
        for (int i = 0; i < p->code_count; i++) {
            if (p->code[i].source != (uint32_t)s)
                continue;
            int e = p->code[i].engine;
            us[e == ENGINE_LOAD ? 1 : e == ENGINE_STORE ? 2 : 0] += t->at[i].end - t->at[i].start;
        }
        printf("%s %.3f %.3f %.3f %lld\n", p->sources[s].name, us[0] / m->clock_mhz.v,
               us[1] / m->clock_mhz.v, us[2] / m->clock_mhz.v,
               (long long)(2 * p->sources[s].macs));
    }
}

static bool timed(struct retime *r, char **w, int count, bool layers, struct bpu_error *err)
{
    struct machine machine;
    struct program_timing t;
    struct arena arena;
    struct program *p = count >= 3 ? load(r, w[1], err) : NULL;
    if (!p || !figures(w[2], w + 3, count - 3, &machine, err))
        return err->code ? false : fail(err, "time FILE MARCH …");
    arena_init(&arena, (size_t)4 << 30);
    bool ok = program_time(&arena, p, &machine, &t, err);
    if (ok && layers)
        print_layers(p, &machine, &t);
    else if (ok) {
        printf("ok %.4f %lld %lld", t.end / machine.clock_mhz.v, (long long)t.ddr_load,
               (long long)t.ddr_store);
        for (int e = 0; e < ENGINE_COUNT; e++)
            printf(" %.3f", t.busy[e] / machine.clock_mhz.v);
        printf("\n");
    }
    arena_fini(&arena);
    return ok;
}

static bool show_machine(const char *march, struct bpu_error *err)
{
    struct machine m;
    int count = 0;
    if (!figures(march, NULL, 0, &m, err))
        return false;
    while (machine_rows[count].name)
        count++;
    printf("ok %08x %d\n", perf_machine_mark(&m), count);
    for (int i = 0; i < count; i++)
        printf("%s %.9g\n", machine_rows[i].name, machine_row_figure(&m, &machine_rows[i])->v);
    return true;
}

static bool request(struct retime *r, char **w, int count, struct bpu_error *err)
{
    if (strcmp(w[0], "compile") == 0) {
        forget(r); /* it may be the file that is written anew */
        return compile(w, count, err);
    }
    if (strcmp(w[0], "time") == 0 || strcmp(w[0], "layers") == 0)
        return timed(r, w, count, w[0][0] == 'l', err);
    if (strcmp(w[0], "machine") == 0 && count == 2)
        return show_machine(w[1], err);
    return fail(err, w[0]);
}

int main(void)
{
    static struct retime r;
    char line[8192];
    while (fgets(line, sizeof line, stdin)) {
        struct bpu_error err = {0};
        char *words[MAX_WORDS], *rest = NULL;
        int count = 0;
        for (char *w = strtok_r(line, " \n", &rest); w && count < MAX_WORDS;
             w = strtok_r(NULL, " \n", &rest))
            words[count++] = w;
        if (count && !request(&r, words, count, &err))
            printf("error %s %s\n", err.where, err.message);
        fflush(stdout);
    }
    forget(&r);
    return 0;
}
