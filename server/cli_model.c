/* bpuhub check, visualize, dump, convert, ops: one model, one process, no server. */
#include <getopt.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check/check.h"
#include "core/draw/draw.h"
#include "core/export/export.h"
#include "core/job/load.h"
#include "core/job/report_html.h"
#include "core/march/march.h"
#include "server/cli.h"

#define DEFAULT_MEMORY_MIB 4096

enum { OPT_MARCH = 1000, OPT_JSON, OPT_SARIF, OPT_JUNIT, OPT_HTML, OPT_FAIL_ON, OPT_OPTION, OPT_ADVICE, OPT_MEMORY, OPT_HELP };

static const struct option long_options[] = {
    {"march", required_argument, NULL, OPT_MARCH},
    {"json", required_argument, NULL, OPT_JSON},
    {"sarif", required_argument, NULL, OPT_SARIF},
    {"junit", required_argument, NULL, OPT_JUNIT},
    {"html", required_argument, NULL, OPT_HTML},
    {"fail-on", required_argument, NULL, OPT_FAIL_ON},
    {"option", required_argument, NULL, OPT_OPTION},
    {"advice", required_argument, NULL, OPT_ADVICE},
    {"memory", required_argument, NULL, OPT_MEMORY},
    {"output", required_argument, NULL, 'o'},
    {"help", no_argument, NULL, OPT_HELP},
    {0},
};

struct command {
    struct cli cli;
    const char *json, *sarif, *junit, *html, *fail_on, *output;
    struct cli_file file;
    struct arena arena;
    struct graph *graph;
    const struct march *march;
};

static int usage(const struct cli *c, const char *text)
{
    fprintf(stderr, "usage: bpuhub %s %s\n", c->command, text);
    return 2;
}

/* Fills c from the command line. *exit_code is set when false comes back. */
static bool parse(struct command *c, const char *name, const char *text, int argc, char **argv,
                  int *exit_code)
{
    struct bpu_error err = {0};
    memset(c, 0, sizeof *c);
    c->cli.command = name;
    c->cli.memory = (size_t)DEFAULT_MEMORY_MIB << 20;
    optind = 1;
    int opt;
    while ((opt = getopt_long(argc, argv, "o:", long_options, NULL)) != -1) {
        char advice[64];
        bool ok = true;
        switch (opt) {
        case OPT_MARCH: c->cli.march = optarg; break;
        case OPT_JSON: c->json = optarg; break;
        case OPT_SARIF: c->sarif = optarg; break;
        case OPT_JUNIT: c->junit = optarg; break;
        case OPT_HTML: c->html = optarg; break;
        case OPT_FAIL_ON:
            c->fail_on = optarg;
            ok = cli_add_pair(&c->cli, "fail_on", optarg, &err);
            break;
        case 'o': c->output = optarg; break;
        case OPT_OPTION: ok = cli_add_option(&c->cli, optarg, &err); break;
        case OPT_ADVICE:
            snprintf(advice, sizeof advice, "advice=%s", optarg);
            ok = cli_add_option(&c->cli, advice, &err);
            if (ok)
                c->cli.options[c->cli.option_count - 1].value = optarg;
            break;
        case OPT_MEMORY: ok = cli_set_memory(&c->cli, optarg, &err); break;
        case OPT_HELP:
            printf("usage: bpuhub %s %s\n", name, text);
            *exit_code = 0;
            return false;
        default: *exit_code = usage(&c->cli, text); return false;
        }
        if (!ok) {
            *exit_code = cli_fail(&c->cli, &err);
            return false;
        }
    }
    if (optind + 1 == argc)
        c->cli.model = argv[optind];
    else if (optind < argc) {
        *exit_code = usage(&c->cli, text);
        return false;
    }
    return true;
}

/* March and model, as far as given. */
static bool open_model(struct command *c, struct bpu_error *err)
{
    arena_init(&c->arena, c->cli.memory);
    if (c->cli.march) {
        c->march = march_find(c->cli.march);
        if (!c->march)
            return job_unknown_march(c->cli.march, err);
    }
    if (!cli_open(c->cli.model, &c->file, err))
        return false;
    c->graph = job_load(&c->arena, c->file.data, c->file.size, cli_base_name(c->cli.model),
                        c->cli.options, c->cli.option_count, err);
    return c->graph != NULL;
}

static void close_model(struct command *c)
{
    arena_fini(&c->arena);
    cli_close(&c->file);
    for (size_t i = 0; i < c->cli.option_count; i++)
        free((void *)(uintptr_t)c->cli.options[i].key); /* cli_add_option() made it */
}

static struct check_result *judge(struct command *c, struct bpu_error *err)
{
    struct check_options options;
    if (!job_check_options(c->cli.options, c->cli.option_count, &c->arena, &options, err))
        return NULL;
    return check_graph(c->graph, c->march, &options, err);
}

/* True if reports or gates were asked for that only `check` has. */
static bool has_reports(const struct command *c)
{
    return c->json || c->sarif || c->junit || c->html || c->fail_on;
}

typedef bool report_fn(const struct check_result *r, const struct report_head *h, struct buf *out,
                       struct bpu_error *err);

/* One report to one file, if asked for. */
static bool write_report(const char *path, report_fn *fn, const struct check_result *r,
                         const struct report_head *h, struct bpu_error *err)
{
    if (!path)
        return true;
    struct buf out;
    buf_init(&out, BUF_DEFAULT_CAP);
    bool ok = fn(r, h, &out, err) && cli_write(path, &out, err);
    buf_fini(&out);
    return ok;
}

int cli_check(int argc, char **argv)
{
    static const char text[] =
        "MODEL --march MARCH [--json FILE|-] [--sarif FILE] [--junit FILE] [--html FILE] [--advice US] "
        "[--fail-on error|warning|advice|cpu-split] [--option KEY=VALUE …] [--memory MIB]";
    struct command c;
    struct bpu_error err = {0};
    int code;
    if (!parse(&c, "check", text, argc, argv, &code))
        return code;
    if (!c.cli.model || !c.cli.march || c.output)
        return usage(&c.cli, text);
    struct gates gates;
    if (!gates_read(c.cli.options, c.cli.option_count, GATES_OF_CHECK, &gates, &err)) {
        code = cli_fail(&c.cli, &err);
        cli_drop_options(&c.cli);
        return code;
    }
    /* Text for people goes to standard output, unless a report does. */
    const char *paths[] = {c.json, c.sarif, c.junit, c.html};
    bool to_stdout = false;
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++)
        to_stdout = to_stdout || (paths[i] && strcmp(paths[i], "-") == 0);
    struct check_result *r = open_model(&c, &err) ? judge(&c, &err) : NULL;
    bool ok = r != NULL;
    struct report_head head = {c.file.id, cli_base_name(c.cli.model), ok ? c.graph->format : ""};
    ok = ok && write_report(c.json, report_check_json, r, &head, &err) &&
         write_report(c.sarif, report_check_sarif, r, &head, &err) &&
         write_report(c.junit, report_check_junit, r, &head, &err) &&
         write_report(c.html, report_check_html, r, &head, &err) &&
         write_report(to_stdout ? NULL : "-", report_check_text, r, &head, &err);
    if (ok) {
        gates_judge_check(&gates, r);
        cli_gates_complain(&c.cli, &gates);
    }
    code = ok ? !r->legal || !gates_passed(&gates) : cli_fail(&c.cli, &err);
    close_model(&c);
    return code;
}

int cli_visualize(int argc, char **argv)
{
    static const char text[] = "MODEL [--march MARCH] [--option KEY=VALUE …] -o graph.svg";
    struct command c;
    struct bpu_error err = {0};
    int code;
    if (!parse(&c, "visualize", text, argc, argv, &code))
        return code;
    if (!c.cli.model || !c.output || has_reports(&c))
        return usage(&c.cli, text);
    struct buf out;
    struct check_result *r = NULL;
    buf_init(&out, BUF_DEFAULT_CAP);
    bool ok = open_model(&c, &err) && (!c.march || (r = judge(&c, &err))) &&
              draw_svg(c.graph, r, &out, &err) && cli_write(c.output, &out, &err);
    code = ok ? 0 : cli_fail(&c.cli, &err);
    buf_fini(&out);
    close_model(&c);
    return code;
}

int cli_dump(int argc, char **argv)
{
    static const char text[] = "MODEL [--option KEY=VALUE …] [-o graph.txt]";
    struct command c;
    struct bpu_error err = {0};
    int code;
    if (!parse(&c, "dump", text, argc, argv, &code))
        return code;
    if (!c.cli.model || has_reports(&c))
        return usage(&c.cli, text);
    struct buf out;
    buf_init(&out, BUF_DEFAULT_CAP);
    bool ok = open_model(&c, &err);
    if (ok) {
        graph_dump(c.graph, &out);
        ok = buf_ok(&out, &err) && cli_write(c.output ? c.output : "-", &out, &err);
    }
    code = ok ? 0 : cli_fail(&c.cli, &err);
    buf_fini(&out);
    close_model(&c);
    return code;
}

int cli_convert(int argc, char **argv)
{
    static const char text[] = "MODEL [--option KEY=VALUE …] -o graph.json|graph.bpug";
    struct command c;
    struct bpu_error err = {0};
    int code;
    if (!parse(&c, "convert", text, argc, argv, &code))
        return code;
    if (!c.cli.model || !c.output || has_reports(&c))
        return usage(&c.cli, text);
    struct buf out;
    buf_init(&out, (size_t)4 << 30);
    size_t n = strlen(c.output);
    bool packed = n > 5 && strcmp(c.output + n - 5, ".bpug") == 0;
    bool ok = open_model(&c, &err) &&
              (packed ? export_bpug(c.graph, &out, &err)
                      : export_graph_json(c.graph, &out, true, &err)) &&
              cli_write(c.output, &out, &err);
    code = ok ? 0 : cli_fail(&c.cli, &err);
    buf_fini(&out);
    close_model(&c);
    return code;
}

int cli_ops(int argc, char **argv)
{
    static const char text[] = "[--march MARCH] [--json]";
    static const struct option options[] = {{"march", required_argument, NULL, OPT_MARCH},
                                            {"json", no_argument, NULL, OPT_JSON},
                                            {"help", no_argument, NULL, OPT_HELP},
                                            {0}};
    struct cli c = {.command = "ops"};
    struct bpu_error err = {0};
    const struct march *m = NULL;
    bool json = false;
    int opt;
    optind = 1;
    while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1)
        switch (opt) {
        case OPT_MARCH:
            if (!(m = march_find(optarg))) {
                job_unknown_march(optarg, &err);
                return cli_fail(&c, &err);
            }
            break;
        case OPT_JSON: json = true; break;
        case OPT_HELP: printf("usage: bpuhub ops %s\n", text); return 0;
        default: return usage(&c, text);
        }
    if (optind != argc)
        return usage(&c, text);
    struct buf out;
    buf_init(&out, BUF_DEFAULT_CAP);
    bool ok = (json ? march_ops_json(m, &out, &err) : march_ops_text(m, &out, &err)) &&
              cli_write("-", &out, &err);
    int code = ok ? 0 : cli_fail(&c, &err);
    buf_fini(&out);
    return code;
}
