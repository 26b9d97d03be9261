/* bpuhub compile: a network in, a program and its report out.  The way between them is
 * core/job/compile_model.h, which the jobs of the service take as well. */
#include <errno.h>
#include <getopt.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/draw/program_svg.h"
#include "core/job/report_compile.h"
#include "server/cli_run.h"
#include "server/parallel.h"

#define DEFAULT_MEMORY_MIB 4096

static const char usage_text[] =
    "MODEL --march MARCH [-O 0|1|2|3|fast|ddr|balance] [--balance-factor 0-100] [--cores N]\n"
    "           [--input-source [NAME=]ddr|pyramid|resizer …] [--input-layout [NAME=]LAYOUT …]\n"
    "           [--output-layout [NAME=]LAYOUT …] [--calibration [NAME=]FILE[:KEY] …]\n"
    "           [--qconfig FILE.json] [--jobs N] [--max-latency-us N] [--min-fps N] [--max-ddr-mb N] -o model.bpu [--json FILE|-] [--html FILE]\n"
    "           [--plan FILE.svg] [--schedule FILE.svg] [--heat FILE.svg]\n"
    "           [--dump PASS|all [--dump-to FOLDER]] [--option KEY=VALUE …] [--memory MIB]\n"
    "  layouts: nhwc, nchw, bpu_raw; without calibration a float model gets placeholder scales";

struct command {
    struct cli cli;
    const char *qconfig_path, *output, *json, *html, *plan, *schedule, *heat, *dump, *dump_to;
    struct run_inputs calibration;
    struct cli_file file, qconfig_file;
    struct arena arena;
    struct compilation work;
    int dumped;
    struct bpu_error dump_error;
};

/* ── the command line ── */

static int usage(void)
{
    fprintf(stderr, "usage: bpuhub compile %s\n", usage_text);
    return 2;
}

enum {
    MARCH = 1000, CALIBRATION, QCONFIG, JSON, HTML, PLAN, SCHEDULE, HEAT, DUMP, DUMP_TO, OPTION, MEMORY,
    BALANCE, CORES, SOURCE, IN_LAYOUT, OUT_LAYOUT, JOBS, GATE, HELP
};

static const struct option long_options[] = {{"march", required_argument, NULL, MARCH},
                                             {"calibration", required_argument, NULL, CALIBRATION},
                                             {"qconfig", required_argument, NULL, QCONFIG},
                                             {"output", required_argument, NULL, 'o'},
                                             {"opt", required_argument, NULL, 'O'},
                                             {"json", required_argument, NULL, JSON},
                                             {"html", required_argument, NULL, HTML},
                                             {"plan", required_argument, NULL, PLAN},
                                             {"schedule", required_argument, NULL, SCHEDULE},
                                             {"heat", required_argument, NULL, HEAT},
                                             {"dump", required_argument, NULL, DUMP},
                                             {"dump-to", required_argument, NULL, DUMP_TO},
                                             {"option", required_argument, NULL, OPTION},
                                             {"memory", required_argument, NULL, MEMORY},
                                             {"balance-factor", required_argument, NULL, BALANCE},
                                             {"cores", required_argument, NULL, CORES},
                                             {"input-source", required_argument, NULL, SOURCE},
                                             {"input-layout", required_argument, NULL, IN_LAYOUT},
                                             {"output-layout", required_argument, NULL, OUT_LAYOUT},
                                             {"jobs", required_argument, NULL, JOBS},
                                             {"max-latency-us", required_argument, NULL, GATE},
                                             {"min-fps", required_argument, NULL, GATE},
                                             {"max-ddr-mb", required_argument, NULL, GATE},
                                             {"help", no_argument, NULL, HELP},
                                             {0}};

/* False: it is no option; *ok false with *err: its value is wrong. */
static bool take(struct command *c, int opt, int index, bool *ok, struct bpu_error *err)
{
    switch (opt) {
    case GATE: *ok = cli_add_pair(&c->cli, gate_option_of_flag(long_options[index].name), optarg, err); break;
    case MARCH: c->cli.march = optarg; break;
    case CALIBRATION: *ok = run_inputs_add(&c->calibration, "--calibration", optarg, RUN_MAX_INPUTS, err); break;
    case QCONFIG: c->qconfig_path = optarg; break;
    case 'o': c->output = optarg; break;
    case 'O': *ok = cli_add_pair(&c->cli, "opt", optarg, err); break;
    case JSON: c->json = optarg; break;
    case HTML: c->html = optarg; break;
    case PLAN: c->plan = optarg; break;
    case SCHEDULE: c->schedule = optarg; break;
    case HEAT: c->heat = optarg; break;
    case DUMP: c->dump = optarg; break;
    case DUMP_TO: c->dump_to = optarg; break;
    case OPTION: *ok = cli_add_option(&c->cli, optarg, err); break;
    case MEMORY: *ok = cli_set_memory(&c->cli, optarg, err); break;
    case BALANCE: *ok = cli_add_pair(&c->cli, "balance_factor", optarg, err); break;
    case CORES: *ok = cli_add_pair(&c->cli, "cores", optarg, err); break;
    case SOURCE: *ok = cli_add_named(&c->cli, "input_source", optarg, err); break;
    case IN_LAYOUT: *ok = cli_add_named(&c->cli, "input_layout", optarg, err); break;
    case OUT_LAYOUT: *ok = cli_add_named(&c->cli, "output_layout", optarg, err); break;
    case JOBS: *ok = cli_add_pair(&c->cli, "jobs", optarg, err); break;
    default: return false;
    }
    return true;
}

static bool parse(struct command *c, int argc, char **argv, int *exit_code)
{
    struct bpu_error err = {0};
    int opt, index = 0;
    optind = 1;
    while ((opt = getopt_long(argc, argv, "o:O:", long_options, &index)) != -1) {
        bool ok = true;
        if (opt == HELP) {
            printf("usage: bpuhub compile %s\n", usage_text);
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
    if (optind + 1 != argc || !c->cli.march || !c->output || (c->dump_to && !c->dump)) {
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

/* A pass as text: to standard error, or as a file NN-PASS.txt of a folder. */
static void dump(void *ctx, const char *pass, const char *text)
{
    struct command *c = ctx;
    if (strcmp(c->dump, "all") != 0 && strcmp(c->dump, pass) != 0)
        return;
    c->dumped++;
    if (!c->dump_to) {
        fprintf(stderr, "── %s ──\n%s", pass, text);
        return;
    }
    char path[4096];
    struct buf out;
    if (snprintf(path, sizeof path, "%s/%02d-%.60s.txt", c->dump_to, c->dumped, pass) >=
        (int)sizeof path) {
        error_set(&c->dump_error, BPU_IO, c->dump_to, "the name is too long");
        return;
    }
    buf_init(&out, (size_t)1 << 30);
    buf_puts(&out, text);
    if (!buf_ok(&out, &c->dump_error) || !cli_write(path, &out, &c->dump_error))
        c->dumped--;
    buf_fini(&out);
}

static bool dump_begin(const struct command *c, struct bpu_error *err)
{
    if (c->dump_to && mkdir(c->dump_to, 0777) != 0 && errno != EEXIST)
        return error_set(err, BPU_IO, c->dump_to, "the folder cannot be made: %s", strerror(errno));
    return true;
}

static bool dump_end(const struct command *c, struct bpu_error *err)
{
    if (c->dump_error.code != BPU_NONE) {
        *err = c->dump_error;
        return false;
    }
    if (c->dump && !c->dumped && c->work.program) {
        error_set(err, BPU_USAGE, "--dump", "there is no pass \"%.80s\"", c->dump);
        return error_hint(err, "--dump all shows them, each below its name.");
    }
    return true;
}

static bool compile(struct command *c, struct bpu_error *err)
{
    const char *qconfig = (const char *)c->qconfig_file.data;
    c->work = (struct compilation){.arena = &c->arena,
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
                                   .progress = progress,
                                   .dump = c->dump ? dump : NULL,
                                   .dump_ctx = c};
    return dump_begin(c, err) && compile_run(&c->work, err) && dump_end(c, err);
}

/* ── results ── */

typedef bool report_fn(const struct compilation *c, struct buf *out, struct bpu_error *err);

static bool plan(const struct compilation *c, struct buf *out, struct bpu_error *err)
{
    return draw_plan_svg(c->program, c->machine, out, err);
}

static bool schedule(const struct compilation *c, struct buf *out, struct bpu_error *err)
{
    return draw_schedule_svg(c->program, c->machine, &c->timing, out, err);
}

/* The findings of an illegal model, in the forms that were asked for. */
static bool illegal_text(const struct compilation *c, struct buf *out, struct bpu_error *err)
{
    const struct report_head head = {c->model_id, c->model_name, c->graph->format};
    return report_check_text(c->check, &head, out, err);
}

static bool illegal_json(const struct compilation *c, struct buf *out, struct bpu_error *err)
{
    const struct report_head head = {c->model_id, c->model_name, c->graph->format};
    return report_check_json(c->check, &head, out, err);
}

static bool write_file(const struct command *c, const char *path, report_fn *fn, size_t cap,
                       struct bpu_error *err)
{
    struct buf out;
    if (!path)
        return true;
    buf_init(&out, cap);
    bool ok = fn(&c->work, &out, err) && cli_write(path, &out, err);
    buf_fini(&out);
    return ok;
}

/* Text for people goes to standard output, unless something else does. */
static const char *text_place(const struct command *c)
{
    const char *const paths[] = {c->output, c->json, c->html, c->plan, c->schedule, c->heat};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++)
        if (paths[i] && strcmp(paths[i], "-") == 0)
            return NULL;
    return "-";
}

static bool write_illegal(const struct command *c, struct bpu_error *err)
{
    return write_file(c, c->json, illegal_json, BUF_DEFAULT_CAP, err) &&
           write_file(c, c->json && strcmp(c->json, "-") == 0 ? NULL : "-", illegal_text,
                      BUF_DEFAULT_CAP, err);
}

static bool write_results(const struct command *c, struct bpu_error *err)
{
    if (c->work.program->uncalibrated)
        fprintf(stderr,
                "bpuhub compile: %s: placeholder scales: speed and memory are real, results are not. "
                "Give --calibration FILE for real ones.\n",
                c->cli.model);
    return cli_write(c->output, &c->work.file, err) &&
           write_file(c, c->json, report_compile_json, BUF_DEFAULT_CAP, err) &&
           write_file(c, c->html, report_compile_html, BUF_DEFAULT_CAP, err) &&
           write_file(c, c->plan, plan, BUF_DEFAULT_CAP, err) &&
           write_file(c, c->schedule, schedule, BUF_DEFAULT_CAP, err) &&
           write_file(c, c->heat, report_compile_heat, BUF_DEFAULT_CAP, err) &&
           write_file(c, text_place(c), report_compile_text, BUF_DEFAULT_CAP, err);
}

static void finish(struct command *c)
{
    arena_fini(&c->arena);
    run_inputs_close(&c->calibration);
    cli_close(&c->file);
    cli_close(&c->qconfig_file);
    cli_drop_options(&c->cli);
}

int cli_compile(int argc, char **argv)
{
    struct command *c = calloc(1, sizeof *c);
    struct bpu_error err = {0};
    int code = 4;
    if (!c)
        return code;
    c->cli.command = "compile";
    c->cli.memory = (size_t)DEFAULT_MEMORY_MIB << 20;
    if (!parse(c, argc, argv, &code)) {
        free(c);
        return code;
    }
    arena_init(&c->arena, c->cli.memory);
    bool ok = open_files(c, &err) && compile(c, &err);
    bool legal = ok && c->work.check->legal;
    ok = ok && (legal ? write_results(c, &err) : write_illegal(c, &err));
    code = ok ? !legal || !gates_passed(&c->work.gates) : cli_fail(&c->cli, &err);
    if (ok && legal && !text_place(c)) /* something else took standard output: what failed is still said */
        cli_gates_complain(&c->cli, &c->work.gates);
    finish(c);
    free(c);
    return code;
}
