/* cli_store: the subcommands of an operator; exit codes as in cli.h. */
#ifndef BPU_SERVER_CLI_STORE_H
#define BPU_SERVER_CLI_STORE_H

int cli_backup(int argc, char **argv);
int cli_restore(int argc, char **argv);
int cli_fsck(int argc, char **argv);
int cli_prune(int argc, char **argv);

#endif
