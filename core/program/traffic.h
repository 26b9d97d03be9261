/* traffic: what a transfer between DDR and the chip moves. */
#ifndef BPU_PROGRAM_TRAFFIC_H
#define BPU_PROGRAM_TRAFFIC_H

#include "core/program/program.h"

#define TRAFFIC_MAP(X)                                                                             \
    X(NONE, "none", "no transfer")                                                                 \
    X(CONSTANTS, "constants", "weights, tables and constant operands")                             \
    X(INPUTS, "inputs", "inputs of the network")                                                   \
    X(OUTPUTS, "outputs", "outputs of the network")                                                \
    X(SPILLS, "spills", "feature maps that do not stay on the chip")

enum traffic {
#define X(id, name, text) TRAFFIC_##id,
    TRAFFIC_MAP(X)
#undef X
        TRAFFIC_COUNT
};
const char *traffic_name(enum traffic t);
const char *traffic_text(enum traffic t);

/* By where its tile in DDR lies. */
enum traffic instruction_traffic(const struct program *p, const struct instruction *i);

#endif
