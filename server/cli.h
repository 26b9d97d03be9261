/* cli: the subcommands of `bpuhub` that work on a local file, without a server. Each returns the exit code of
 * contract: 0 done and every gate passed, 1 illegal or a gate failed, 2 wrong command line, 3 unreadable input,
 * 4 limits, 5 server or network. */
#ifndef BPU_SERVER_CLI_H
#define BPU_SERVER_CLI_H

#include "core/base/arena.h"
#include "core/base/buf.h"
#include "core/base/error.h"
#include "core/ir/graph.h"
#include "core/job/gate.h"
#include "core/job/job.h"

#define CLI_MAX_OPTIONS 64

/* What most subcommands share: a model, a march, --option. */
struct cli {
    const char *command;
    const char *model;   /* path */
    const char *march;   /* as given, or NULL */
    struct job_option options[CLI_MAX_OPTIONS];
    size_t option_count;
    size_t memory; /* bytes; --memory MIB */
};

/* A file mapped for reading, and the SHA-256 of its bytes. */
struct cli_file {
    unsigned char *data;
    size_t size;
    char id[65];
};

bool cli_open(const char *path, struct cli_file *f, struct bpu_error *err) BPU_CHECKED;
void cli_close(struct cli_file *f);
/* Writes all of b to `path`, "-" for standard output; a file appears whole or not at all. */
bool cli_write(const char *path, const struct buf *b, struct bpu_error *err) BPU_CHECKED;
/* Prints the error to standard error in one readable form; returns its exit code. */
int cli_fail(const struct cli *c, const struct bpu_error *err);
/* "key=value" into c->options. */
bool cli_add_option(struct cli *c, const char *text, struct bpu_error *err) BPU_CHECKED;
/* The option key=value (cli_options.c). */
bool cli_add_pair(struct cli *c, const char *key, const char *value,
                  struct bpu_error *err) BPU_CHECKED;
/* text VALUE: key=VALUE; NAME=VALUE: key.NAME=VALUE. */
bool cli_add_named(struct cli *c, const char *key, const char *text,
                   struct bpu_error *err) BPU_CHECKED;
/* "MIB" into c->memory. */
bool cli_set_memory(struct cli *c, const char *text, struct bpu_error *err) BPU_CHECKED;
/* Prints the gates that failed to standard error. */
void cli_gates_complain(const struct cli *c, const struct gates *g);
/* Frees what cli_add_option() made; models and arenas that refer to it are closed before. */
void cli_drop_options(struct cli *c);
/* The base name, as people know the file. */
const char *cli_base_name(const char *path);

int cli_check(int argc, char **argv);
int cli_visualize(int argc, char **argv);
int cli_ops(int argc, char **argv);
int cli_dump(int argc, char **argv);
int cli_disasm(int argc, char **argv);
int cli_convert(int argc, char **argv);
int cli_quantize(int argc, char **argv);
int cli_compile(int argc, char **argv);
int cli_perf(int argc, char **argv);
int cli_compare(int argc, char **argv);
int cli_eval(int argc, char **argv);
int cli_run(int argc, char **argv);

#endif
