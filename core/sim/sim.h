/* sim: the machine, executed.  It knows a program's tiles and instructions, and nothing of the
 * network; that its results have the bits of the reference interpreter is the proof of the compiler.
 *
 *   inputs ─▶ DDR ═ lanes (core x engine), each in its own order, waits met ═ DDR ─▶ outputs
 *
 * What runs next is chosen among the lanes whose first instruction can start.  A correct program
 * gives the same bits whatever is chosen, and the checks find every program that might not:
 *
 *   memory      each access inside the program's memory, of a kind that the engine reaches; constants and inputs are
 *               never written
 *   content     nothing is read that was not written before, in this frame
 *   races       two accesses to the same bytes, one of them a write, are ordered by waits
 *   waits       all can be met
 *
 * None of them depends on the data: the first frame is checked, later ones only compute. */
#ifndef BPU_SIM_SIM_H
#define BPU_SIM_SIM_H

#include "core/program/program.h"

enum sim_order {
    SIM_LIST,   /* what stands first in the list of instructions */
    SIM_AHEAD,  /* each lane as far as it can, then the next lane */
    SIM_BEHIND, /* what stands last in the list among what can start */
    SIM_RANDOM,
};

struct sim_options {
    enum sim_order order;
    uint64_t seed;  /* of SIM_RANDOM, and of what memory holds before it is written */
    bool unchecked; /* no checks but those that keep accesses inside memory */
};

struct sim;

/* The program must live as long as the simulator. options NULL: SIM_LIST, checked. */
struct sim *sim_new(struct arena *a, const struct program *p, const struct sim_options *options,
                    struct bpu_error *err) BPU_CHECKED;
/* One frame. inputs and outputs: as program.inputs and program.outputs, in PyTorch's order of
 * program_io.shape and in host_dtype, owned by the caller, not necessarily aligned.  An error names
 * the instruction, the layer that it comes from, and the address. */
bool sim_frame(struct sim *s, const void *const *inputs, void *const *outputs,
               struct bpu_error *err) BPU_CHECKED;
/* Bytes that one frame of an input or output takes for sim_frame(). */
int64_t sim_io_bytes(const struct program_io *io);

#endif
