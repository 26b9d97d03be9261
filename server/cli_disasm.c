/* cli_disasm: `bpuhub disasm`, a compiled program as text. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/program/program.h"
#include "server/cli.h"

static const char usage[] =
    "usage: bpuhub disasm FILE.bpu [--from N] [--to M] [--summary]\n"
    "\n"
    "Prints a compiled program: its memory, inputs and outputs, then one line per instruction.\n"
    "\n"
    "  --from N     begin with instruction N, without the head\n"
    "  --to M       end before instruction M\n"
    "  --summary    the head, and how many instructions of which kind there are\n";

struct disasm {
    const char *path;
    int from, to; /* -1: not given */
    bool summary;
};

/* Instructions per write: a long program needs little memory. */
enum { SLICE = 1024 };

static bool put(struct buf *out, struct bpu_error *err)
{
    bool ok = buf_ok(out, err) && cli_write("-", out, err);
    buf_clear(out);
    return ok;
}

static bool print(const struct disasm *d, const struct program *p, struct buf *out,
                  struct bpu_error *err)
{
    if (d->summary) {
        program_disassemble_summary(p, out);
        return put(out, err);
    }
    int from = d->from < 0 ? 0 : d->from, to = d->to < 0 ? p->code_count : d->to;
    if (from > p->code_count || to > p->code_count || from > to)
        return error_set(err, BPU_BAD_OPTION, from > to ? "--from" : "--to",
                         "instructions %d to %d, the program has %d", from, to, p->code_count);
    if (d->from < 0)
        program_disassemble_head(p, out);
    for (; from < to; from += SLICE) {
        program_disassemble_code(p, from, to - from > SLICE ? from + SLICE : to, out);
        if (!put(out, err))
            return false;
    }
    return put(out, err);
}

static bool number(const char *text, int *out)
{
    char *end;
    long n = strtol(text, &end, 10);
    *out = (int)n;
    return *text && !*end && n >= 0 && n <= INT32_MAX;
}

static bool disasm_options(struct disasm *d, int argc, char **argv, int *rc)
{
    static const struct option options[] = {{"from", required_argument, NULL, 'f'},
                                            {"to", required_argument, NULL, 't'},
                                            {"summary", no_argument, NULL, 's'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    int opt;
    *rc = 2;
    while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1)
        switch (opt) {
        case 'f':
        case 't':
            if (number(optarg, opt == 'f' ? &d->from : &d->to))
                break;
            fprintf(stderr, "bpuhub disasm: \"%s\" is no number of an instruction\n", optarg);
            return false;
        case 's': d->summary = true; break;
        case 'h':
            fputs(usage, stdout);
            *rc = 0;
            return false;
        default: fputs(usage, stderr); return false;
        }
    if (argc - optind != 1) {
        fputs(usage, stderr);
        return false;
    }
    d->path = argv[optind];
    return true;
}

int cli_disasm(int argc, char **argv)
{
    struct disasm d = {.from = -1, .to = -1};
    struct cli cli = {.command = "disasm"};
    struct bpu_error err = {0};
    struct cli_file file;
    struct arena arena;
    struct buf out;
    int rc;
    if (!disasm_options(&d, argc, argv, &rc))
        return rc;
    cli.model = d.path;
    if (!cli_open(d.path, &file, &err))
        return cli_fail(&cli, &err);
    arena_init(&arena, (size_t)1 << 30);
    buf_init(&out, BUF_DEFAULT_CAP);
    const struct program *p = program_read(&arena, file.data, file.size, &err);
    rc = p && print(&d, p, &out, &err) ? 0 : cli_fail(&cli, &err);
    buf_fini(&out);
    arena_fini(&arena);
    cli_close(&file);
    return rc;
}
