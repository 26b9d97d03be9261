/* bpuhub run of a compiled program: the machine simulator in place of an engine.
 *
 * Inputs and outputs of a program are shown to the rest of the command as those of a graph without
 * nodes, so that files are matched, converted and written in the same way. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/base/version.h"
#include "core/sim/sim.h"
#include "server/cli_run.h"

struct run_program {
    struct program *program;
    struct sim *sim;
};

static struct value *value_of(struct graph *g, const struct program_io *io, struct bpu_error *err)
{
    struct value *v = graph_add_value(g, io->name, err);
    if (!v)
        return NULL;
    v->shape = io->shape;
    v->dtype = io->host_dtype;
    if (dtype_is_quantized(v->dtype))
        v->quant = io->quant;
    return v;
}

static struct graph *graph_of(struct arena *a, const struct program *p, struct bpu_error *err)
{
    struct graph *g = graph_new(a, p->name, "bpu", err);
    struct value *v;
    for (int i = 0; g && i < p->input_count; i++)
        if (!(v = value_of(g, &p->inputs[i], err)) || !graph_add_input(g, v, err))
            return NULL;
    for (int i = 0; g && i < p->output_count; i++) {
        /* An input may go out as it came in. */
        if (!(v = value_of(g, &p->outputs[i], err)) || !graph_add_output(g, v, err))
            return NULL;
        v->name = p->outputs[i].name;
    }
    return g;
}

struct graph *run_program_open(struct arena *a, const struct cli_file *f, struct run_program **out,
                               struct bpu_error *err)
{
    struct run_program *r = ARENA_NEW(a, struct run_program, err);
    if (!r || !(r->program = program_read(a, f->data, f->size, err)) ||
        !(r->sim = sim_new(a, r->program, NULL, err)))
        return NULL;
    if (r->program->uncalibrated)
        fprintf(stderr,
                "bpuhub run: warning: the program was compiled without calibration; its scales are "
                "placeholders, and its results mean nothing\n");
    *out = r;
    return graph_of(a, r->program, err);
}

bool run_program_frame(struct run_program *r, const void *const *inputs, void *const *outputs,
                       struct bpu_error *err)
{
    return sim_frame(r->sim, inputs, outputs, err);
}

bool run_program_json(const struct run_program *r, const char *path, const struct cli_file *f,
                      const char *name, int64_t frames, double seconds, struct bpu_error *err)
{
    const struct program *p = r->program;
    json_t *j = json_pack(
        "{s:s, s:{s:s, s:s}, s:{s:s, s:s, s:s}, s:s, s:s, s:b, s:I, s:{s:f}, s:{s:I, s:I}, s:i}",
        "schema", "bpuhub.run/1", "tool", "name", BPU_NAME, "version", BPU_VERSION, "model", "id",
        f->id, "name", name, "format", "bpu", "engine", "simulator", "march", p->march,
        "uncalibrated", (int)p->uncalibrated, "frames", (json_int_t)frames, "time", "total_ms",
        seconds * 1e3, "memory", "sram_bytes", (json_int_t)p->sram_bytes, "ddr_bytes",
        (json_int_t)p->ddr_bytes, "instructions", p->code_count);
    char *text = j ? json_dumps(j, JSON_INDENT(1)) : NULL;
    struct buf out;
    buf_init(&out, BUF_DEFAULT_CAP);
    if (text)
        buf_puts(&out, text);
    buf_putc(&out, '\n');
    bool ok = text ? cli_write(path, &out, err)
                   : error_set(err, BPU_NO_MEMORY, NULL, "no memory for the report");
    buf_fini(&out);
    free(text);
    json_decref(j);
    return ok;
}
