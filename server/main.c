/* bpuhub: one binary, subcommands. */
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/version.h"
#include "server/cli.h"
#include "server/cli_store.h"
#include "server/cli_token.h"
#include "server/serve.h"
#include "server/worker.h"

static int worker_command(int argc, char **argv);
static int version_command(int argc, char **argv);
static int help_command(int argc, char **argv);

static const struct {
    const char *name;
    int (*run)(int argc, char **argv); /* argv[0] is the name */
    const char *what;
} commands[] = {
    {"check", cli_check, "is this network legal on a march, and if not, why"},
    {"visualize", cli_visualize, "draw a network as SVG, illegal layers in red"},
    {"convert", cli_convert, "write a network as graph JSON, or with its weights as .bpug"},
    {"dump", cli_dump, "print the graph as the program sees it"},
    {"quantize", cli_quantize, "make a fixed-point network of a float one and typical inputs"},
    {"compile", cli_compile, "make a scheduled program for a march, and say how long it runs"},
    {"compare", cli_compare, "what changed between two reports or two models, with gates"},
    {"perf", cli_perf, "where the time of a network or a program goes, and what to change"},
    {"eval", cli_eval, "accuracy on a data set, and what fixed point costs, layer by layer"},
    {"run", cli_run, "run a network over the frames of array files"},
    {"disasm", cli_disasm, "print a compiled program as text"},
    {"ops", cli_ops, "the operator table with all limits"},
    {"serve", serve_main, "run the HTTP service with its workers"},
    {"backup", cli_backup, "copy a data directory, while the service runs"},
    {"restore", cli_restore, "make a data directory of a backup"},
    {"fsck", cli_fsck, "look whether a data directory holds together, and mend it"},
    {"prune", cli_prune, "forget old jobs by age and size"},
    {"worker", worker_command, "run one more worker on a data directory"},
    {"token", token_main, "make, list and revoke access tokens"},
    {"project", project_main, "which projects are private"},
    {"audit", audit_main, "who did what, and when"},
    {"--version", version_command, "print the version"},
    {"help", help_command, "this text"},
};

enum { COMMANDS = sizeof commands / sizeof commands[0] };

static int help_command(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    printf("usage: bpuhub COMMAND …\n\n");
    for (size_t i = 0; i < COMMANDS; i++)
        printf("  %-12s%s\n", commands[i].name, commands[i].what);
    printf("\n`bpuhub COMMAND --help` shows a command's arguments.\n");
    return 0;
}

static int version_command(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    printf("%s %s\n", BPU_NAME, BPU_VERSION);
    return 0;
}

static bool number(const char *text, long min, long max, long *out)
{
    char *end;
    *out = strtol(text, &end, 10);
    return *text && !*end && *out >= min && *out <= max;
}

static int worker_command(int argc, char **argv)
{
    static const char usage[] = "usage: bpuhub worker --data DIR [--job-memory MIB] "
                                "[--job-seconds N] [--job-attempts N] [--name NAME] "
                                "[--drain] [--namespaces]\n";
    static const struct option options[] = {{"data", required_argument, NULL, 'd'},
                                            {"job-memory", required_argument, NULL, 'm'},
                                            {"job-seconds", required_argument, NULL, 's'},
                                            {"job-attempts", required_argument, NULL, 'a'},
                                            {"name", required_argument, NULL, 'w'},
                                            {"drain", no_argument, NULL, 'i'},
                                            {"namespaces", no_argument, NULL, 'n'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    struct worker_options o = {.tool_version = BPU_VERSION};
    long n = 0;
    int opt;
    while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
        bool ok = true;
        switch (opt) {
        case 'd': o.data_dir = optarg; break;
        case 'm':
            ok = number(optarg, 16, 1 << 20, &n);
            o.job_memory = (int64_t)n << 20;
            break;
        case 's':
            ok = number(optarg, 1, 7 * 24 * 3600, &n);
            o.job_seconds = (int)n;
            break;
        case 'a':
            ok = number(optarg, 1, 1000, &n);
            o.max_attempts = (int)n;
            break;
        case 'w':
            ok = *optarg && strlen(optarg) < 100;
            o.name = optarg;
            break;
        case 'i': o.stop_when_idle = true; break;
        case 'n': o.namespaces = true; break;
        case 'h': fputs(usage, stdout); return 0;
        default: fputs(usage, stderr); return 2;
        }
        if (!ok) {
            fprintf(stderr, "bpuhub worker: \"%s\" is out of range\n%s", optarg, usage);
            return 2;
        }
    }
    if (!o.data_dir || optind != argc) {
        fputs(usage, stderr);
        return 2;
    }
    return worker_main(&o);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        help_command(0, NULL);
        return 2;
    }
    for (size_t i = 0; i < COMMANDS; i++)
        if (strcmp(commands[i].name, argv[1]) == 0)
            return commands[i].run(argc - 1, argv + 1);
    if (strcmp(argv[1], "--help") == 0)
        return help_command(0, NULL);
    fprintf(stderr, "bpuhub: there is no command \"%s\"; `bpuhub help` lists them\n", argv[1]);
    return 2;
}
