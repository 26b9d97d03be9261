/* bpuhub eval: how good a network is on a data set, and what fixed point costs it.
 *
 *   MODEL                        its accuracy
 *   MODEL --fixed FILE           a float network against a fixed-point network made of it before
 *   MODEL --march M --calibration FILE   the same, quantized here; and what would be better
 * Gates make it a step of a CI job. */
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/job/frames.h"
#include "core/job/load.h"
#include "core/job/prepare.h"
#include "core/job/quantize.h"
#include "core/march/march.h"
#include "core/quant/evaluate.h"
#include "server/cli_run.h"

static const char usage_text[] =
    "MODEL --data [NAME=]FILE[:KEY] … [--labels FILE[:KEY]]\n"
    "           [--fixed FILE.json|.bpug | --march MARCH --calibration [NAME=]FILE[:KEY] … "
    "[--qconfig FILE]]\n"
    "           [--json FILE|-] [--frames N] [--output NAME] [--engine fast|reference]\n"
    "           [--layer-frames N] [--suggest LAYERS] [--seconds S]\n"
    "           [--min-accuracy PERCENT] [--max-loss POINTS] [--option KEY=VALUE …] [--memory MIB]\n"
    "  options: data.scale, data.mean, data.std and calibration.scale, calibration.mean,\n"
    "           calibration.std (those of calibration hold for the data, too, where it has none\n"
    "           of its own), calibration.frames";

struct command {
    struct cli cli;
    const char *fixed_path, *qconfig_path, *json;
    struct run_inputs data, calibration, labels;
    int64_t frames;
    double min_accuracy, max_loss; /* negative: no gate */
    struct cli_file file, fixed_file, qconfig_file;
    struct arena arena;
    struct quantization work;
    struct job_option options[CLI_MAX_OPTIONS]; /* without data.* */
    size_t option_count;
    struct evaluate_request request;
    double started, took; /* seconds, of the frames alone */
};

/* ── the command line ── */

static bool number(const char *option, const char *text, double lo, double hi, double *out,
                   struct bpu_error *err)
{
    char *end;
    *out = strtod(text, &end);
    if (!*text || *end || !(*out >= lo && *out <= hi))
        return error_set(err, BPU_USAGE, option, "\"%.80s\" is not a number of %g to %g", text, lo,
                         hi);
    return true;
}

static bool whole(const char *option, const char *text, int64_t lo, int64_t hi, int64_t *out,
                  struct bpu_error *err)
{
    char *end;
    *out = strtoll(text, &end, 10);
    if (!*text || *end || *out < lo || *out > hi)
        return error_set(err, BPU_USAGE, option, "\"%.80s\" is not a whole number of %lld to %lld",
                         text, (long long)lo, (long long)hi);
    return true;
}

enum {
    DATA = 1000, LABELS, FIXED, MARCH, CALIBRATION, QCONFIG, JSON, FRAMES, OUTPUT, ENGINE,
    LAYER_FRAMES, SUGGEST, SECONDS, MIN_ACCURACY, MAX_LOSS, OPTION, MEMORY, HELP
};

static bool set(struct command *c, int opt, const char *text, struct bpu_error *err)
{
    struct evaluate_options *o = &c->request.options;
    int64_t n = 0;
    bool ok = true;
    switch (opt) {
    case DATA: return run_inputs_add(&c->data, "--data", text, RUN_MAX_INPUTS, err);
    case LABELS: return run_inputs_add(&c->labels, "--labels", text, 1, err);
    case FIXED: c->fixed_path = text; return true;
    case MARCH: c->cli.march = text; return true;
    case CALIBRATION: return run_inputs_add(&c->calibration, "--calibration", text, RUN_MAX_INPUTS, err);
    case QCONFIG: c->qconfig_path = text; return true;
    case JSON: c->json = text; return true;
    case FRAMES: return whole("--frames", text, 1, 1000000000, &c->frames, err);
    case OUTPUT: o->output = text; return true;
    case ENGINE: return run_engine_read(text, &o->engine, err);
    case LAYER_FRAMES: return whole("--layer-frames", text, 0, 1000000, &o->layer_frames, err);
    case SUGGEST:
        ok = whole("--suggest", text, 0, 1000, &n, err);
        o->suggest = (int)n;
        return ok;
    case SECONDS: return number("--seconds", text, 0, 1e6, &o->seconds, err);
    case MIN_ACCURACY: return number("--min-accuracy", text, 0, 100, &c->min_accuracy, err);
    case MAX_LOSS: return number("--max-loss", text, 0, 100, &c->max_loss, err);
    case OPTION: return cli_add_option(&c->cli, text, err);
    default: return cli_set_memory(&c->cli, text, err);
    }
}

static bool rules(const struct command *c, struct bpu_error *err)
{
    bool quantizes = c->cli.march || c->calibration.count || c->qconfig_path;
    if (c->fixed_path && quantizes)
        return error_set(err, BPU_USAGE, "--fixed",
                         "the fixed-point network is either given, or made here with --march");
    if (quantizes && !c->cli.march) {
        error_set(err, BPU_USAGE, "--march", "quantizing needs to know for which march");
        return error_hint(err, "Add --march bayes or --march bernoulli2.");
    }
    if ((c->min_accuracy >= 0 || c->max_loss >= 0) && !c->labels.count) {
        error_set(err, BPU_USAGE, c->min_accuracy >= 0 ? "--min-accuracy" : "--max-loss",
                  "without labels there is no accuracy");
        return error_hint(err, "Add --labels FILE.");
    }
    if (c->max_loss >= 0 && !c->fixed_path && !quantizes) {
        error_set(err, BPU_USAGE, "--max-loss", "one network alone loses nothing");
        return error_hint(err, "Add --fixed FILE, or --march and --calibration.");
    }
    return true;
}

static bool parse(struct command *c, int argc, char **argv, int *exit_code)
{
    static const struct option options[] = {{"data", required_argument, NULL, DATA},
                                            {"labels", required_argument, NULL, LABELS},
                                            {"fixed", required_argument, NULL, FIXED},
                                            {"march", required_argument, NULL, MARCH},
                                            {"calibration", required_argument, NULL, CALIBRATION},
                                            {"qconfig", required_argument, NULL, QCONFIG},
                                            {"json", required_argument, NULL, JSON},
                                            {"frames", required_argument, NULL, FRAMES},
                                            {"output", required_argument, NULL, OUTPUT},
                                            {"engine", required_argument, NULL, ENGINE},
                                            {"layer-frames", required_argument, NULL, LAYER_FRAMES},
                                            {"suggest", required_argument, NULL, SUGGEST},
                                            {"seconds", required_argument, NULL, SECONDS},
                                            {"min-accuracy", required_argument, NULL, MIN_ACCURACY},
                                            {"max-loss", required_argument, NULL, MAX_LOSS},
                                            {"option", required_argument, NULL, OPTION},
                                            {"memory", required_argument, NULL, MEMORY},
                                            {"help", no_argument, NULL, HELP},
                                            {0}};
    struct bpu_error err = {0};
    int opt;
    optind = 1;
    while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
        *exit_code = opt == HELP ? 0 : 2;
        if (opt == HELP || opt == '?') {
            fprintf(opt == HELP ? stdout : stderr, "usage: bpuhub eval %s\n", usage_text);
            return false;
        }
        if (!set(c, opt, optarg, &err)) {
            *exit_code = cli_fail(&c->cli, &err);
            return false;
        }
    }
    *exit_code = 2;
    if (optind + 1 != argc || !c->data.count) {
        fprintf(stderr, "usage: bpuhub eval %s\n", usage_text);
        return false;
    }
    c->cli.model = argv[optind];
    if (rules(c, &err))
        return true;
    *exit_code = cli_fail(&c->cli, &err);
    return false;
}

/* ── files ── */

static bool open_files(struct command *c, struct bpu_error *err)
{
    for (size_t i = 0; i < c->cli.option_count; i++)
        if (!frames_option("data", c->cli.options[i].key))
            c->options[c->option_count++] = c->cli.options[i];
    return run_inputs_open(&c->arena, &c->data, err) &&
           run_inputs_open(&c->arena, &c->calibration, err) &&
           run_inputs_open(&c->arena, &c->labels, err) && cli_open(c->cli.model, &c->file, err) &&
           (!c->fixed_path || cli_open(c->fixed_path, &c->fixed_file, err)) &&
           (!c->qconfig_path || cli_open(c->qconfig_path, &c->qconfig_file, err));
}

/* ── networks ── */

/* With the shapes of the data where the file leaves them open. */
static struct graph *load(struct command *c, const char *path, const struct cli_file *f,
                          struct bpu_error *err)
{
    struct bpu_error first = {0};
    struct job_option *options;
    size_t count;
    struct graph *g = job_load(&c->arena, f->data, f->size, cli_base_name(path), c->options,
                               c->option_count, &first);
    if (g)
        return g;
    if (first.code == BPU_SHAPE_NEEDED &&
        feed_shape_options(&c->arena, c->data.sources, c->data.count, c->options, c->option_count,
                           &options, &count, err))
        return job_load(&c->arena, f->data, f->size, cli_base_name(path), options, count, err);
    if (err->code == BPU_NONE)
        *err = first;
    return NULL;
}

static void progress(void *ctx, const char *stage, double done)
{
    struct command *c = ctx;
    struct timespec t;
    if (strcmp(stage, "evaluate") == 0 && (done <= 0 || done >= 1)) {
        clock_gettime(CLOCK_MONOTONIC, &t);
        double now = (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
        *(done <= 0 ? &c->started : &c->took) = done <= 0 ? now : now - c->started;
    }
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r%3.0f %% %-20s%s", 100 * done, stage, done >= 1 ? "\n" : "");
}

static bool quantize(struct command *c, struct bpu_error *err)
{
    const char *qconfig = (const char *)c->qconfig_file.data;
    c->work = (struct quantization){.arena = &c->arena,
                                    .model = c->file.data,
                                    .model_size = c->file.size,
                                    .model_name = cli_base_name(c->cli.model),
                                    .model_id = c->file.id,
                                    .march = c->cli.march,
                                    .options = c->options,
                                    .option_count = c->option_count,
                                    .qconfig = c->qconfig_path && !qconfig ? "" : qconfig,
                                    .qconfig_size = c->qconfig_file.size,
                                    .qconfig_what = c->qconfig_path,
                                    .sources = c->calibration.sources,
                                    .source_count = c->calibration.count,
                                    .uncompared = true};
    struct evaluate_request *r = &c->request;
    if (!quantize_run(&c->work, err))
        return false;
    r->graph = c->work.graph;
    r->fused = c->work.fused;
    r->fixed = c->work.fixed;
    r->march = c->work.target;
    r->calibration = c->work.calibration.items ? &c->work.calibration : NULL;
    r->calibration_data = c->work.data;
    r->qconfig = c->work.qconfig;
    r->qconfig_size = c->work.qconfig_size;
    return true;
}

/* One of the file's own, or one that was quantized before. */
static bool open_networks(struct command *c, struct bpu_error *err)
{
    struct evaluate_request *r = &c->request;
    if (c->cli.march)
        return quantize(c, err);
    struct graph *g = load(c, c->cli.model, &c->file, err), *runs;
    if (!g || !(runs = job_executable(&c->arena, g, err)))
        return false;
    r->graph = g;
    if (c->fixed_path) {
        struct graph *fixed = load(c, c->fixed_path, &c->fixed_file, err);
        r->fixed = fixed ? job_executable(&c->arena, fixed, err) : NULL;
        return r->fixed || error_where(err, "%s", c->fixed_path);
    }
    for (int i = 0; i < runs->value_count && !r->fixed; i++)
        if (!runs->values[i]->constant && dtype_is_quantized(runs->values[i]->dtype) &&
            runs->values[i]->dtype != DT_QBOOL)
            r->fixed = runs;
    if (r->fixed)
        r->graph = NULL;
    return true;
}

static bool open_data(struct command *c, struct bpu_error *err)
{
    struct evaluate_request *r = &c->request;
    const struct graph *g = r->graph ? r->graph : r->fixed;
    if (!frames_open(&c->arena, g, c->data.sources, c->data.count, c->cli.options,
                     c->cli.option_count, "data", "calibration", &r->data, err))
        return false;
    if (c->frames && c->frames < r->data.frames)
        r->data.frames = c->frames;
    if (!c->labels.count)
        return true;
    const struct feed_source *s = &c->labels.sources[0];
    const struct array *labels = array_find(&s->arrays, s->key, err);
    if (!labels)
        return error_where(err, "%s", s->what);
    if (!evaluate_labels_read(&c->arena, labels, s->what, &r->labels, err))
        return false;
    r->labels.more = c->frames > 0;
    return true;
}

/* ── results ── */

static bool write_reports(struct command *c, const struct evaluate_result *e, struct bpu_error *err)
{
    struct buf out;
    bool ok = true;
    buf_init(&out, BUF_DEFAULT_CAP);
    if (c->json)
        ok = evaluate_json(e, &out, err) && cli_write(c->json, &out, err);
    buf_clear(&out);
    if (ok && !(c->json && strcmp(c->json, "-") == 0)) {
        ok = evaluate_text(e, &out, err);
        if (c->took > 0)
            buf_printf(&out, "%lld frames took %.2f s\n", (long long)c->request.data.frames, c->took);
        ok = ok && buf_ok(&out, err) && cli_write("-", &out, err);
    }
    buf_fini(&out);
    return ok;
}

/* 1 if a gate fails. */
static int gates(const struct command *c, const struct evaluate_result *e)
{
    double floats = evaluate_top1_float(e), fixed = evaluate_top1_fixed(e);
    double top1 = 100 * (fixed >= 0 ? fixed : floats), loss = 100 * (floats - fixed);
    int code = 0;
    /* A hair's breadth for shares that are no binary fractions. */
    if (c->min_accuracy >= 0 && top1 < c->min_accuracy - 1e-9) {
        fprintf(stderr, "bpuhub eval: gate failed: top-1 is %.3f %%, at least %g %% is asked for\n",
                top1, c->min_accuracy);
        code = 1;
    }
    if (c->max_loss >= 0 && loss > c->max_loss + 1e-9) {
        fprintf(stderr,
                "bpuhub eval: gate failed: fixed point loses %.3f points, at most %g are allowed\n",
                loss, c->max_loss);
        code = 1;
    }
    return code;
}

static int evaluate(struct command *c)
{
    struct bpu_error err = {0};
    struct evaluate_request *r = &c->request;
    struct evaluate_result *e = NULL;
    r->model_id = c->file.id;
    r->model_name = cli_base_name(c->cli.model);
    if (open_files(c, &err) && open_networks(c, &err) && open_data(c, &err)) {
        r->model_format = r->graph ? r->graph->format : r->fixed->format;
        r->march_text = r->march ? march_name(r->march) : NULL;
        e = evaluate_run(&c->arena, r, progress, c, &err);
    }
    if (!e || !write_reports(c, e, &err))
        return cli_fail(&c->cli, &err);
    return gates(c, e);
}

static void finish(struct command *c)
{
    arena_fini(&c->arena);
    run_inputs_close(&c->data);
    run_inputs_close(&c->calibration);
    run_inputs_close(&c->labels);
    cli_close(&c->file);
    cli_close(&c->fixed_file);
    cli_close(&c->qconfig_file);
    cli_drop_options(&c->cli);
}

int cli_eval(int argc, char **argv)
{
    struct command *c = calloc(1, sizeof *c);
    int code = 4;
    if (!c)
        return code;
    c->cli.command = "eval";
    c->cli.memory = RUN_MEMORY;
    c->min_accuracy = c->max_loss = -1;
    c->request.options = evaluate_defaults();
    if (parse(c, argc, argv, &code)) {
        arena_init(&c->arena, c->cli.memory);
        code = evaluate(c);
        finish(c);
    }
    free(c);
    return code;
}
