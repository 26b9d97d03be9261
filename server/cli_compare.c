/* bpuhub compare: two reports, or two models that are compiled and timed first, and what changed between them. */
#include <getopt.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check/check.h"
#include "core/job/compare.h"
#include "core/job/report_compile.h"
#include "core/job/report_perf.h"
#include "server/cli.h"
#include "server/parallel.h"

#define DEFAULT_MEMORY_MIB 4096

static const char usage_text[] =
    "BASE HEAD [--json FILE|-] [--html FILE|-] [--fail-on new-errors|new-warnings|new-findings]\n"
    "           [--max-regression 3%|latency=3%,ddr=5%] [--max-latency-us N] [--min-fps N] [--max-ddr-mb N]\n"
    "           [--memory MIB] and, where BASE or HEAD is a model:\n"
    "           --march MARCH [-O LEVEL] [--cores N] [--option KEY=VALUE …]\n"
    "  BASE, HEAD: reports as --json wrote them, or models, which are checked, compiled and timed first";

struct side {
    const char *path;
    struct cli_file file;
    struct arena arena;  /* of the compilation */
    struct compare_side says;
};

struct command {
    struct cli cli;
    const char *json, *html;
    struct job_option gates[GATE_MOST];
    size_t gate_count;
    struct arena arena;
    struct side sides[2];
    struct gates limits;
    struct compare_result result;
};

enum { MARCH = 1000, JSON, HTML, OPTION, MEMORY, CORES, GATE, HELP };

static const struct option long_options[] = {{"march", required_argument, NULL, MARCH},
                                             {"json", required_argument, NULL, JSON},
                                             {"html", required_argument, NULL, HTML},
                                             {"option", required_argument, NULL, OPTION},
                                             {"opt", required_argument, NULL, 'O'},
                                             {"cores", required_argument, NULL, CORES},
                                             {"memory", required_argument, NULL, MEMORY},
                                             {"fail-on", required_argument, NULL, GATE},
                                             {"max-regression", required_argument, NULL, GATE},
                                             {"max-latency-us", required_argument, NULL, GATE},
                                             {"min-fps", required_argument, NULL, GATE},
                                             {"max-ddr-mb", required_argument, NULL, GATE},
                                             {"help", no_argument, NULL, HELP},
                                             {0}};

static int usage(void)
{
    fprintf(stderr, "usage: bpuhub compare %s\n", usage_text);
    return 2;
}

/* ── the command line ── */

static bool add_plain(struct command *c, const char *key, const char *value, struct bpu_error *err)
{
    char all[64];
    snprintf(all, sizeof all, "%s=", key);
    if (!cli_add_option(&c->cli, all, err))
        return false;
    c->cli.options[c->cli.option_count - 1].value = value;
    return true;
}

static bool add_gate(struct command *c, const char *flag, const char *value, struct bpu_error *err)
{
    const char *option = gate_option_of_flag(flag);
    if (c->gate_count == GATE_MOST)
        return error_set(err, BPU_USAGE, flag, "more than %d gates", GATE_MOST);
    c->gates[c->gate_count++] = (struct job_option){option, value};
    return true;
}

/* --option of a gate is the gate; everything else is for the compiler. */
static bool add_option(struct command *c, const char *text, struct bpu_error *err)
{
    if (!cli_add_option(&c->cli, text, err))
        return false;
    const struct job_option *o = &c->cli.options[c->cli.option_count - 1];
    if (!gate_option(o->key))
        return true;
    if (c->gate_count == GATE_MOST)
        return error_set(err, BPU_USAGE, o->key, "more than %d gates", GATE_MOST);
    c->gates[c->gate_count++] = (struct job_option){gate_option_of_flag(o->key), o->value};
    free((void *)(uintptr_t)o->key);
    c->cli.option_count--;
    return true;
}

static bool take(struct command *c, int opt, int index, bool *ok, struct bpu_error *err)
{
    switch (opt) {
    case MARCH: c->cli.march = optarg; break;
    case JSON: c->json = optarg; break;
    case HTML: c->html = optarg; break;
    case OPTION: *ok = add_option(c, optarg, err); break;
    case MEMORY: *ok = cli_set_memory(&c->cli, optarg, err); break;
    case 'O': *ok = add_plain(c, "opt", optarg, err); break;
    case CORES: *ok = add_plain(c, "cores", optarg, err); break;
    case GATE: *ok = add_gate(c, long_options[index].name, optarg, err); break;
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
            printf("usage: bpuhub compare %s\n", usage_text);
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
    if (optind + 2 != argc) {
        *exit_code = usage();
        return false;
    }
    if (!gates_read(c->gates, c->gate_count, GATES_OF_COMPARISON, &c->limits, &err)) {
        *exit_code = cli_fail(&c->cli, &err);
        return false;
    }
    c->sides[0].path = argv[optind];
    c->sides[1].path = argv[optind + 1];
    return true;
}

/* ── a model ── */

typedef bool report_fn(const struct perf_model *m, struct buf *out, struct bpu_error *err);

static bool check_json(const struct perf_model *m, struct buf *out, struct bpu_error *err)
{
    const struct report_head head = {m->c.model_id, m->c.model_name, m->c.graph->format};
    return report_check_json(m->c.check, &head, out, err);
}

static bool compile_json(const struct perf_model *m, struct buf *out, struct bpu_error *err)
{
    return report_compile_json(&m->c, out, err);
}

static bool read_back(struct side *s, const struct perf_model *m, report_fn *fn, struct bpu_error *err)
{
    struct buf out;
    buf_init(&out, BUF_DEFAULT_CAP);
    bool ok = fn(m, &out, err) && compare_side_read(&s->says, buf_str(&out), out.size, err);
    buf_fini(&out);
    return ok;
}

/* What an estimate, a compilation and a check say of the model; of a program only the first. */
static bool measure(struct command *c, struct side *s, struct bpu_error *err)
{
    struct perf_model *m = ARENA_NEW(&s->arena, struct perf_model, err);
    if (!m)
        return false;
    m->c = (struct compilation){.arena = &s->arena,
                                .model = s->file.data,
                                .model_size = s->file.size,
                                .model_name = cli_base_name(s->path),
                                .model_id = s->file.id,
                                .march = c->cli.march,
                                .options = c->cli.options,
                                .option_count = c->cli.option_count,
                                .parallel = parallel_run,
                                .jobs = parallel_most()};
    if (!perf_model_run(m, err))
        return !c->cli.march ? error_hint(err, "Give --march, or reports instead of models.") : false;
    return (!m->legal || read_back(s, m, report_perf_json, err)) &&
           (!m->legal || m->from_program || read_back(s, m, compile_json, err)) &&
           (m->from_program || read_back(s, m, check_json, err));
}

/* ── both ── */

static bool load(struct command *c, struct side *s, const char *label, struct bpu_error *err)
{
    c->cli.model = s->path; /* for messages */
    compare_side_init(&s->says, &c->arena, label);
    if (!cli_open(s->path, &s->file, err))
        return false;
    bool ok = compare_is_report(s->file.data, s->file.size)
                  ? compare_side_read(&s->says, s->file.data, s->file.size, err)
                  : measure(c, s, err);
    if (ok && (!s->says.model_name || !*s->says.model_name))
        s->says.model_name = cli_base_name(s->path);
    return ok;
}

static bool run(struct command *c, struct bpu_error *err)
{
    bool ok = load(c, &c->sides[0], "base", err) && load(c, &c->sides[1], "head", err);
    if (!ok)
        return false;
    c->cli.model = NULL;
    return compare_sides(&c->arena, &c->sides[0].says, &c->sides[1].says, &c->limits, &c->result, err);
}

typedef bool write_fn(const struct compare_result *c, struct buf *out, struct bpu_error *err);

static bool write_one(const struct command *c, const char *path, write_fn *fn, struct bpu_error *err)
{
    struct buf out;
    if (!path)
        return true;
    buf_init(&out, BUF_DEFAULT_CAP);
    bool ok = fn(&c->result, &out, err) && cli_write(path, &out, err);
    buf_fini(&out);
    return ok;
}

static bool to_stdout(const char *path)
{
    return path && strcmp(path, "-") == 0;
}

static bool write_results(const struct command *c, struct bpu_error *err)
{
    bool quiet = to_stdout(c->json) || to_stdout(c->html);
    if (quiet)
        cli_gates_complain(&c->cli, &c->result.gates);
    return write_one(c, c->json, report_compare_json, err) &&
           write_one(c, c->html, report_compare_html, err) &&
           write_one(c, quiet ? NULL : "-", report_compare_text, err);
}

int cli_compare(int argc, char **argv)
{
    struct command *c = calloc(1, sizeof *c);
    struct bpu_error err = {0};
    int code = 4;
    if (!c)
        return code;
    c->cli.command = "compare";
    c->cli.memory = (size_t)DEFAULT_MEMORY_MIB << 20;
    if (!parse(c, argc, argv, &code)) {
        cli_drop_options(&c->cli);
        free(c);
        return code;
    }
    arena_init(&c->arena, c->cli.memory);
    for (int i = 0; i < 2; i++)
        arena_init(&c->sides[i].arena, c->cli.memory);
    bool ok = run(c, &err) && write_results(c, &err);
    code = ok ? !comparison_passed(&c->result) : cli_fail(&c->cli, &err);
    for (int i = 0; i < 2; i++) {
        arena_fini(&c->sides[i].arena);
        cli_close(&c->sides[i].file);
    }
    arena_fini(&c->arena);
    cli_drop_options(&c->cli);
    free(c);
    return code;
}
