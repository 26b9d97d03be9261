/* cli_token: the subcommands with which an operator, who has the data directory, decides who may do what. */
#ifndef BPU_SERVER_CLI_TOKEN_H
#define BPU_SERVER_CLI_TOKEN_H

/* `bpuhub token`, `bpuhub project`, `bpuhub audit`; exit codes as in cli.h. */
int token_main(int argc, char **argv);
int project_main(int argc, char **argv);
int audit_main(int argc, char **argv);

#endif
