/* bpuhub perf: a network or a compiled program in, where its time goes out.  The way between them is
 * core/job/perf_model.h, which the jobs of the service take as well. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/draw/program_svg.h"
#include "core/job/report_perf.h"
#include "core/job/report_perf_html.h"
#include "server/cli_run.h"
#include "server/parallel.h"

#define DEFAULT_MEMORY_MIB 4096

static const char usage_text[] =
    "MODEL|FILE.bpu --march MARCH [-O 0|1|2|3|fast|ddr|balance] [--balance-factor 0-100] [--cores N]\n"
    "           [--input-source [NAME=]ddr|pyramid|resizer …] [--input-layout [NAME=]LAYOUT …]\n"
    "           [--output-layout [NAME=]LAYOUT …] [--calibration [NAME=]FILE[:KEY] …]\n"
    "           [--qconfig FILE.json] [--jobs N] [--layer-details] [--intervals N]\n"
    "           [--max-latency-us N] [--min-fps N] [--max-ddr-mb N]\n"
    "           [--json FILE|-] [--html FILE] [--out-dir FOLDER]\n"
    "           [--option KEY=VALUE …] [--memory MIB]\n"
    "  layouts: nhwc, nchw, bpu_raw; of a compiled program --march may be left out\n"
    "  several frames a run: --option input.NAME=16x3x224x224, where the model leaves its batch open";

struct command {
    struct cli cli;
    const char *qconfig_path, *json, *html, *out_dir;
    struct run_inputs calibration;
    struct cli_file file, qconfig_file;
    struct arena arena;
    struct perf_model work;
};

/* ── the command line ── */

static int usage(void)
{
    fprintf(stderr, "usage: bpuhub perf %s\n", usage_text);
    return 2;
}

enum {
    MARCH = 1000, CALIBRATION, QCONFIG, JSON, HTML, OUT_DIR, OPTION, MEMORY, BALANCE, CORES, SOURCE,
    IN_LAYOUT, OUT_LAYOUT, JOBS, DETAILS, INTERVALS, GATE, HELP
};

static const struct option long_options[] = {{"march", required_argument, NULL, MARCH},
                                             {"calibration", required_argument, NULL, CALIBRATION},
                                             {"qconfig", required_argument, NULL, QCONFIG},
                                             {"opt", required_argument, NULL, 'O'},
                                             {"json", required_argument, NULL, JSON},
                                             {"html", required_argument, NULL, HTML},
                                             {"out-dir", required_argument, NULL, OUT_DIR},
                                             {"option", required_argument, NULL, OPTION},
                                             {"memory", required_argument, NULL, MEMORY},
                                             {"balance-factor", required_argument, NULL, BALANCE},
                                             {"cores", required_argument, NULL, CORES},
                                             {"input-source", required_argument, NULL, SOURCE},
                                             {"input-layout", required_argument, NULL, IN_LAYOUT},
                                             {"output-layout", required_argument, NULL, OUT_LAYOUT},
                                             {"jobs", required_argument, NULL, JOBS},
                                             {"layer-details", no_argument, NULL, DETAILS},
                                             {"intervals", required_argument, NULL, INTERVALS},
                                             {"max-latency-us", required_argument, NULL, GATE},
                                             {"min-fps", required_argument, NULL, GATE},
                                             {"max-ddr-mb", required_argument, NULL, GATE},
                                             {"help", no_argument, NULL, HELP},
                                             {0}};

/* False: it is no option; *ok false with *err: its value is wrong. */
static bool take(struct command *c, int opt, int index, bool *ok, struct bpu_error *err)
{
    struct cli *cli = &c->cli;
    switch (opt) {
    case MARCH: cli->march = optarg; break;
    case CALIBRATION:
        *ok = run_inputs_add(&c->calibration, "--calibration", optarg, RUN_MAX_INPUTS, err);
        break;
    case QCONFIG: c->qconfig_path = optarg; break;
    case JSON: c->json = optarg; break;
    case HTML: c->html = optarg; break;
    case OUT_DIR: c->out_dir = optarg; break;
    case OPTION: *ok = cli_add_option(cli, optarg, err); break;
    case MEMORY: *ok = cli_set_memory(cli, optarg, err); break;
    case 'O': *ok = cli_add_pair(cli, "opt", optarg, err); break;
    case BALANCE: *ok = cli_add_pair(cli, "balance_factor", optarg, err); break;
    case CORES: *ok = cli_add_pair(cli, "cores", optarg, err); break;
    case JOBS: *ok = cli_add_pair(cli, "jobs", optarg, err); break;
    case DETAILS: *ok = cli_add_pair(cli, "layer_details", "true", err); break;
    case INTERVALS: *ok = cli_add_pair(cli, "intervals", optarg, err); break;
    case SOURCE: *ok = cli_add_named(cli, "input_source", optarg, err); break;
    case IN_LAYOUT: *ok = cli_add_named(cli, "input_layout", optarg, err); break;
    case OUT_LAYOUT: *ok = cli_add_named(cli, "output_layout", optarg, err); break;
    case GATE:
        *ok = cli_add_pair(cli, gate_option_of_flag(long_options[index].name), optarg, err);
        break;
    default: return false;
    }
    return true;
}

static bool parse(struct command *c, int argc, char **argv, int *exit_code)
{
    struct bpu_error err = {0};
    int opt, index = 0;
    optind = 1;
    while ((opt = getopt_long(argc, argv, "O:", long_options, &index)) != -1) {
        bool ok = true;
        if (opt == HELP) {
            printf("usage: bpuhub perf %s\n", usage_text);
            *exit_code = 0;
            return false;
        }
        if (!take(c, opt, index, &ok, &err)) {
            *exit_code = usage();
            return false;
        }
        if (!ok) {
            *exit_code = cli_fail(&c->cli, &err);
            return false;
        }
    }
    *exit_code = 2;
    if (optind + 1 != argc) {
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
        fprintf(stderr, "\r%3.0f %% %-20s%s", 100 * done, stage, done >= .92 ? "\n" : "");
}

static bool measure(struct command *c, struct bpu_error *err)
{
    const char *qconfig = (const char *)c->qconfig_file.data;
    c->work.c = (struct compilation){.arena = &c->arena,
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
                                     .source_count = c->calibration.opened,
                                     .parallel = parallel_run,
                                     .jobs = parallel_most(),
                                     .progress = progress};
    return perf_model_run(&c->work, err);
}

/* ── results ── */

typedef bool report_fn(const struct perf_model *m, struct buf *out, struct bpu_error *err);

static bool plan(const struct perf_model *m, struct buf *out, struct bpu_error *err)
{
    return draw_plan_svg(m->perf.program, m->perf.machine, out, err);
}

static bool schedule(const struct perf_model *m, struct buf *out, struct bpu_error *err)
{
    return draw_schedule_svg(m->perf.program, m->perf.machine, m->perf.timing, out, err);
}

/* The findings of an illegal model, in the forms that were asked for. */
static bool illegal_text(const struct perf_model *m, struct buf *out, struct bpu_error *err)
{
    const struct report_head head = {m->c.model_id, m->c.model_name, m->c.graph->format};
    return report_check_text(m->c.check, &head, out, err);
}

static bool illegal_json(const struct perf_model *m, struct buf *out, struct bpu_error *err)
{
    const struct report_head head = {m->c.model_id, m->c.model_name, m->c.graph->format};
    return report_check_json(m->c.check, &head, out, err);
}

static bool write_file(const struct command *c, const char *path, report_fn *fn,
                       struct bpu_error *err)
{
    struct buf out;
    if (!path)
        return true;
    buf_init(&out, BUF_DEFAULT_CAP);
    bool ok = fn(&c->work, &out, err) && cli_write(path, &out, err);
    buf_fini(&out);
    return ok;
}

static bool in_folder(const struct command *c, const char *name, char path[4096],
                      struct bpu_error *err)
{
    if (snprintf(path, 4096, "%s/%s", c->out_dir, name) >= 4096)
        return error_set(err, BPU_IO, c->out_dir, "the name is too long");
    return true;
}

/* Everything that a job would have, as files of the folder. */
static bool write_folder(const struct command *c, struct bpu_error *err)
{
    static const struct {
        const char *name;
        report_fn *write;
        bool of_models;
    } files[] = {
        {"report.json", report_perf_json, false}, {"report.html", report_perf_html, false},
        {"report.txt", report_perf_text, false},  {"schedule.svg", schedule, false},
        {"memory.svg", plan, false},              {"graph.svg", report_perf_heat, true},
    };
    char path[4096];
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        if (!(files[i].of_models && c->work.from_program) &&
            (!in_folder(c, files[i].name, path, err) || !write_file(c, path, files[i].write, err)))
            return false;
    return c->work.from_program ||
           (in_folder(c, "model.bpu", path, err) && cli_write(path, &c->work.c.file, err));
}

static bool make_folder(const struct command *c, struct bpu_error *err)
{
    if (c->out_dir && mkdir(c->out_dir, 0777) != 0 && errno != EEXIST)
        return error_set(err, BPU_IO, c->out_dir, "the folder cannot be made: %s", strerror(errno));
    return true;
}

/* Text for people goes to standard output, unless something else does. */
static const char *text_place(const struct command *c)
{
    bool taken = (c->json && strcmp(c->json, "-") == 0) || (c->html && strcmp(c->html, "-") == 0);
    return taken ? NULL : "-";
}

static bool write_illegal(const struct command *c, struct bpu_error *err)
{
    char path[4096];
    if (c->out_dir &&
        (!in_folder(c, "report.json", path, err) || !write_file(c, path, illegal_json, err)))
        return false;
    return write_file(c, c->json, illegal_json, err) &&
           write_file(c, c->json && strcmp(c->json, "-") == 0 ? NULL : "-", illegal_text, err);
}

static bool write_results(const struct command *c, struct bpu_error *err)
{
    return write_file(c, c->json, report_perf_json, err) &&
           write_file(c, c->html, report_perf_html, err) && (!c->out_dir || write_folder(c, err)) &&
           write_file(c, text_place(c), report_perf_text, err);
}

static void finish(struct command *c)
{
    arena_fini(&c->arena);
    run_inputs_close(&c->calibration);
    cli_close(&c->file);
    cli_close(&c->qconfig_file);
    cli_drop_options(&c->cli);
}

int cli_perf(int argc, char **argv)
{
    struct command *c = calloc(1, sizeof *c);
    struct bpu_error err = {0};
    int code = 4;
    if (!c)
        return code;
    c->cli.command = "perf";
    c->cli.memory = (size_t)DEFAULT_MEMORY_MIB << 20;
    if (!parse(c, argc, argv, &code)) {
        cli_drop_options(&c->cli);
        free(c);
        return code;
    }
    arena_init(&c->arena, c->cli.memory);
    bool ok = open_files(c, &err) && make_folder(c, &err) && measure(c, &err);
    bool legal = ok && c->work.legal;
    ok = ok && (legal ? write_results(c, &err) : write_illegal(c, &err));
    code = ok ? !legal || !gates_passed(&c->work.c.gates) : cli_fail(&c->cli, &err);
    if (ok && legal && !text_place(c)) /* something else took standard output: what failed is still said */
        cli_gates_complain(&c->cli, &c->work.c.gates);
    finish(c);
    free(c);
    return code;
}
