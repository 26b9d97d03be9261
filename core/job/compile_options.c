/* What the user may say about a compilation.  The words are the same on the command line, in URLs and in
 * jobs.  What would have no effect is refused: ignored, it would look as if it had been followed. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/job/compile_model.h"
#include "core/job/frames.h"

#define MOST_JOBS 64

/* ── words ── */

static const char *const source_names[] = {[IO_DDR] = "ddr", [IO_PYRAMID] = "pyramid",
                                           [IO_RESIZER] = "resizer"};
static const char *const layout_names[] = {[IO_NHWC] = "nhwc", [IO_NCHW] = "nchw",
                                           [IO_RAW] = "bpu_raw"};

const char *io_source_name(enum io_source s)
{
    return source_names[s];
}

const char *io_layout_name(enum io_layout l)
{
    return layout_names[l];
}

static bool is_of(const char *key, const char *family)
{
    size_t n = strlen(family);
    return strncmp(key, family, n) == 0 && (key[n] == '\0' || key[n] == '.');
}

bool compile_option(const char *key)
{
    static const char *const plain[] = {"opt", "balance_factor", "cores", "jobs"};
    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++)
        if (strcmp(key, plain[i]) == 0)
            return true;
    return is_of(key, "input_source") || is_of(key, "input_layout") || is_of(key, "output_layout");
}

static bool find_word(const char *const *words, int count, const char *key, const char *value,
                      int *out, struct bpu_error *err)
{
    for (int i = 0; i < count; i++)
        if (strcasecmp(value, words[i]) == 0) {
            *out = i;
            return true;
        }
    error_set(err, BPU_BAD_OPTION, key, "%.80s is \"%.80s\"", key, value);
    return error_hint(err, "Give %s, %s or %s.", words[0], words[1], words[2]);
}

static bool number(const char *key, const char *value, long from, long to, int *out,
                   struct bpu_error *err)
{
    char *end;
    errno = 0;
    long n = strtol(value, &end, 10);
    if (errno || end == value || *end || n < from || n > to) {
        error_set(err, BPU_BAD_OPTION, key, "%s is \"%.80s\"", key, value);
        return error_hint(err, "Give a whole number of %ld to %ld.", from, to);
    }
    *out = (int)n;
    return true;
}

/* ── inputs and outputs ── */

/* "input_layout.x" and "input_layout.0" are about one, "input_layout" about all. */
static int about(struct value *const *list, int count, const char *name)
{
    char *end;
    for (int i = 0; i < count; i++)
        if (strcmp(list[i]->name, name) == 0)
            return i;
    long n = strtol(name, &end, 10);
    return end != name && !*end && n >= 0 && n < count ? (int)n : -1;
}

/* One option into the list of its side.  Those for one input come after those for all (two rounds). */
static bool read_io(struct value *const *list, int count, const char *family, const char *what,
                    const struct job_option *o, bool layout, bool round_of_all,
                    struct compile_io *io, struct bpu_error *err)
{
    size_t n = strlen(family);
    bool all = o->key[n] == '\0';
    int word = 0, one = -1;
    if (!find_word(layout ? layout_names : source_names, 3, o->key, o->value, &word, err))
        return false;
    if (!all && (one = about(list, count, o->key + n + 1)) < 0) {
        error_set(err, BPU_BAD_OPTION, o->key, "the network has no %s \"%.150s\"", what,
                  o->key + n + 1);
        return error_hint(err, "Its first %s is \"%.150s\".", what,
                          count ? list[0]->name : "(none)");
    }
    if (all != round_of_all)
        return true;
    for (int i = 0; i < count; i++) {
        if (!all && i != one)
            continue;
        if (layout)
            io[i].layout = (enum io_layout)word;
        else
            io[i].source = (enum io_source)word;
    }
    return true;
}

static bool read_ios(const struct compilation *c, struct compile_io *inputs,
                     struct compile_io *outputs, struct bpu_error *err)
{
    const struct graph *g = c->graph;
    for (int round = 0; round < 2; round++)
        for (size_t i = 0; i < c->option_count; i++) {
            const struct job_option *o = &c->options[i];
            bool ok = true;
            if (is_of(o->key, "input_source"))
                ok = read_io(g->inputs, g->input_count, "input_source", "input", o, false,
                             round == 0, inputs, err);
            else if (is_of(o->key, "input_layout"))
                ok = read_io(g->inputs, g->input_count, "input_layout", "input", o, true,
                             round == 0, inputs, err);
            else if (is_of(o->key, "output_layout"))
                ok = read_io(g->outputs, g->output_count, "output_layout", "output", o, true,
                             round == 0, outputs, err);
            if (!ok)
                return false;
        }
    return true;
}

enum io_source compile_source_of(const struct compilation *c, int i)
{
    return c->with.inputs[i].source;
}

/* ── all of them ── */

static const char *option(const struct compilation *c, const char *key)
{
    return job_option_find(c->options, c->option_count, key);
}

static bool read_level(struct compilation *c, struct bpu_error *err)
{
    const char *opt = option(c, "opt"), *balance = option(c, "balance_factor");
    if (opt && !compile_level_find(opt, &c->with.level)) {
        error_set(err, BPU_BAD_OPTION, "opt", "there is no level \"%.80s\"", opt);
        return error_hint(err, "Levels are 0, 1, 2, 3, fast, ddr and balance.");
    }
    if (!balance)
        return true;
    if (c->with.level != LEVEL_BALANCE) {
        error_set(err, BPU_BAD_OPTION, "balance_factor",
                  "balance_factor has no effect at level %s", compile_level_name(c->with.level));
        return error_hint(err, "Give opt=balance as well.");
    }
    return number("balance_factor", balance, 0, 100, &c->with.balance, err);
}

static bool read_cores(struct compilation *c, struct bpu_error *err)
{
    const char *cores = option(c, "cores"), *jobs = option(c, "jobs");
    int most = (int)c->machine->cores.v;
    if (cores && !number("cores", cores, 1, MACHINE_MAX_CORES, &c->with.cores, err))
        return false;
    if (c->with.cores > most) {
        error_set(err, BPU_BAD_OPTION, "cores", "%s has %d core%s, not %d", march_name(c->target),
                  most, most == 1 ? "" : "s", c->with.cores);
        return error_hint(err, "Give 1%s.", most > 1 ? " or 2" : "");
    }
    if (c->jobs > 0)
        c->with.jobs = c->jobs;
    if (jobs && !number("jobs", jobs, 1, MOST_JOBS, &c->with.jobs, err))
        return false;
    c->with.parallel = c->parallel;
    if (!c->parallel)
        c->with.jobs = 1; /* the program is the same */
    return true;
}

bool compile_options_read(struct compilation *c, struct bpu_error *err)
{
    const struct graph *g = c->graph;
    struct compile_io *inputs = ARENA_ARRAY(c->arena, struct compile_io, g->input_count, err);
    struct compile_io *outputs =
        inputs ? ARENA_ARRAY(c->arena, struct compile_io, g->output_count, err) : NULL;
    if (!outputs)
        return false;
    for (int i = 0; i < g->input_count; i++)
        inputs[i] = (struct compile_io){.name = g->inputs[i]->name};
    for (int i = 0; i < g->output_count; i++)
        outputs[i] = (struct compile_io){.name = g->outputs[i]->name};
    c->with = compile_default();
    if (!read_level(c, err) || !read_cores(c, err) || !read_ios(c, inputs, outputs, err))
        return false;
    c->with.inputs = inputs;
    c->with.input_count = g->input_count;
    c->with.outputs = outputs;
    c->with.output_count = g->output_count;
    c->with.dump = c->dump;
    c->with.dump_ctx = c->dump_ctx;
    return true;
}
