/* serve: `bpuhub serve`, the HTTP daemon and its worker processes. */
#ifndef BPU_SERVER_SERVE_H
#define BPU_SERVER_SERVE_H

/* argv[0] is "serve". Returns the exit code. */
int serve_main(int argc, char **argv);

#endif
