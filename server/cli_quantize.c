/* bpuhub quantize: a network and typical inputs in, a fixed-point network and its report out.  The way
 * between them is core/job/quantize.h, which the jobs of the service take as well. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/export/export.h"
#include "core/job/quantize.h"
#include "server/cli_run.h"

static const char usage_text[] =
    "MODEL --march MARCH [--calibration [NAME=]FILE[:KEY] …] [--qconfig FILE.json]\n"
    "           -o FILE.json|FILE.bpug [--json FILE|-] [--option KEY=VALUE …] [--memory MIB]\n"
    "  options: calibration.scale, calibration.mean, calibration.std (one number, or one per\n"
    "           channel: 0.485,0.456,0.406), calibration.frames, compare.frames";

struct command {
    struct cli cli;
    const char *qconfig_path, *output, *json;
    struct run_inputs calibration;
    struct cli_file file, qconfig_file;
    struct arena arena;
    struct quantization work;
};

/* ── the command line ── */

static int usage(void)
{
    fprintf(stderr, "usage: bpuhub quantize %s\n", usage_text);
    return 2;
}

static bool parse(struct command *c, int argc, char **argv, int *exit_code)
{
    enum { MARCH = 1000, CALIBRATION, QCONFIG, JSON, OPTION, MEMORY, HELP };
    static const struct option options[] = {{"march", required_argument, NULL, MARCH},
                                            {"calibration", required_argument, NULL, CALIBRATION},
                                            {"qconfig", required_argument, NULL, QCONFIG},
                                            {"output", required_argument, NULL, 'o'},
                                            {"json", required_argument, NULL, JSON},
                                            {"option", required_argument, NULL, OPTION},
                                            {"memory", required_argument, NULL, MEMORY},
                                            {"help", no_argument, NULL, HELP},
                                            {0}};
    struct bpu_error err = {0};
    int opt;
    optind = 1;
    while ((opt = getopt_long(argc, argv, "o:", options, NULL)) != -1) {
        bool ok = true;
        switch (opt) {
        case MARCH: c->cli.march = optarg; break;
        case CALIBRATION:
            ok = run_inputs_add(&c->calibration, "--calibration", optarg, RUN_MAX_INPUTS, &err);
            break;
        case QCONFIG: c->qconfig_path = optarg; break;
        case 'o': c->output = optarg; break;
        case JSON: c->json = optarg; break;
        case OPTION: ok = cli_add_option(&c->cli, optarg, &err); break;
        case MEMORY: ok = cli_set_memory(&c->cli, optarg, &err); break;
        case HELP:
            printf("usage: bpuhub quantize %s\n", usage_text);
            *exit_code = 0;
            return false;
        default: *exit_code = usage(); return false;
        }
        if (!ok) {
            *exit_code = cli_fail(&c->cli, &err);
            return false;
        }
    }
    *exit_code = 2;
    if (optind + 1 != argc || !c->cli.march || !c->output) {
        usage();
        return false;
    }
    c->cli.model = argv[optind];
    return true;
}

/* ── the work ── */

static bool open_files(struct command *c, struct bpu_error *err)
{
    return run_inputs_open(&c->arena, &c->calibration, err) &&
           cli_open(c->cli.model, &c->file, err) &&
           (!c->qconfig_path || cli_open(c->qconfig_path, &c->qconfig_file, err));
}

static void progress(void *ctx, const char *stage, double done)
{
    (void)ctx;
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r%3.0f %% %-20s%s", 100 * done, stage, done >= .95 ? "\n" : "");
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
                                    .options = c->cli.options,
                                    .option_count = c->cli.option_count,
                                    .qconfig = c->qconfig_path && !qconfig ? "" : qconfig,
                                    .qconfig_size = c->qconfig_file.size,
                                    .qconfig_what = c->qconfig_path,
                                    .sources = c->calibration.sources,
                                    .source_count = c->calibration.count,
                                    .progress = progress};
    return quantize_run(&c->work, err);
}

/* ── results ── */

static bool write_model(struct command *c, struct bpu_error *err)
{
    struct buf out;
    size_t n = strlen(c->output);
    bool archive = n > 5 && strcmp(c->output + n - 5, ".bpug") == 0;
    buf_init(&out, (size_t)2 << 30);
    bool ok = (archive ? export_bpug(c->work.fixed, &out, err)
                       : export_graph_json(c->work.fixed, &out, true, err)) &&
              cli_write(c->output, &out, err);
    buf_fini(&out);
    return ok;
}

static bool write_reports(struct command *c, struct bpu_error *err)
{
    const struct quant_result r = quantize_result(&c->work);
    bool to_stdout = (c->json && strcmp(c->json, "-") == 0) || strcmp(c->output, "-") == 0;
    struct buf out;
    bool ok = true;
    buf_init(&out, BUF_DEFAULT_CAP);
    if (c->json)
        ok = report_quantize_json(&r, &out, err) && cli_write(c->json, &out, err);
    buf_clear(&out);
    if (ok && !to_stdout)
        ok = report_quantize_text(&r, &out, err) && cli_write("-", &out, err);
    buf_fini(&out);
    return ok;
}

static void finish(struct command *c)
{
    arena_fini(&c->arena);
    run_inputs_close(&c->calibration);
    cli_close(&c->file);
    cli_close(&c->qconfig_file);
    cli_drop_options(&c->cli);
}

int cli_quantize(int argc, char **argv)
{
    struct command *c = calloc(1, sizeof *c);
    struct bpu_error err = {0};
    int code = 4;
    if (!c)
        return code;
    c->cli.command = "quantize";
    c->cli.memory = RUN_MEMORY;
    if (!parse(c, argc, argv, &code)) {
        free(c);
        return code;
    }
    arena_init(&c->arena, c->cli.memory);
    bool ok = open_files(c, &err) && quantize(c, &err) && write_model(c, &err) &&
              write_reports(c, &err);
    code = ok ? 0 : cli_fail(&c->cli, &err);
    finish(c);
    free(c);
    return code;
}
