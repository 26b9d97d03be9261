/* sim_machine: memories, lanes and checks, which the functions of the instructions do not see. */
#ifndef BPU_SIM_SIM_MACHINE_H
#define BPU_SIM_SIM_MACHINE_H

#include "core/sim/sim_private.h"

/* ── views: the bytes of one tile ──
 *
 * Every row of a box is the same pattern of runs, moved. */
struct sim_run {
    int64_t first, bytes;
};
struct sim_view {
    const struct tile *tile;
    struct sim_memory *memory;
    const int64_t *rows, *columns, *channels; /* NULL: one run of bytes that nobody indexes */
    int64_t row_count;
    const struct sim_run *runs;
    int64_t run_count;
    int64_t first, end; /* all bytes lie between */
};
/* plain: no tables if the tile is one run. BPU_BAD_MODEL: extents, blocks or addresses that make no sense. */
bool sim_view_make(struct arena *a, const struct tile *t, bool plain, struct sim_view *out,
                   struct bpu_error *err) BPU_CHECKED;

/* Calls `body` with at, bytes for each run; neighbours are joined. */
#define SIM_EACH_RUN(view, at, bytes, ...)                                                         \
    for (int64_t row_ = 0, at = 0, bytes = 0; row_ < (view)->row_count; row_++)                    \
        for (int64_t q_ = 0; q_ < (view)->run_count; q_++) {                                       \
            int64_t from_ = (view)->rows[row_] + (view)->runs[q_].first;                           \
            bool last_ = row_ + 1 == (view)->row_count && q_ + 1 == (view)->run_count;             \
            if (bytes && at + bytes == from_) {                                                    \
                bytes += (view)->runs[q_].bytes;                                                   \
            } else {                                                                               \
                if (bytes) {                                                                       \
                    __VA_ARGS__                                                                    \
                }                                                                                  \
                at = from_;                                                                        \
                bytes = (view)->runs[q_].bytes;                                                    \
            }                                                                                      \
            if (last_) {                                                                           \
                __VA_ARGS__                                                                        \
            }                                                                                      \
        }

/* ── memories ── */

/* A part of a memory of which races are watched. */
struct sim_area {
    int64_t first, end;
    bool read_only;  /* constants and inputs */
    const char *what; /* "the constants", "input x" */
    int shift;       /* log2 of bytes per cell */
    int64_t cells;
    uint32_t *writer;  /* by cell: lane << SIM_LANE_SHIFT | number in the lane; 0: nobody */
    uint32_t *readers; /* by cell and slot: number in the lane */
    int slots;
    uint8_t slot_lane[PROGRAM_LANES];
    int8_t lane_slot[PROGRAM_LANES]; /* -1: this lane does not read here */
    uint32_t lanes_read, lanes_write; /* sets */
    int64_t grain;                    /* all runs start at multiples of it */
};
#define SIM_LANE_SHIFT 26

struct sim_memory {
    char name[40]; /* "on-chip memory of core 0", "DDR" */
    unsigned char *bytes, *written; /* written: by byte from `fixed` on */
    int64_t size;
    int64_t fixed; /* bytes before are constants */
    struct sim_area *areas; /* sorted, without overlap; they cover everything */
    int area_count;
};

struct sim_lane {
    int count;       /* instructions */
    int *list;       /* their indices */
    int done;
};

struct sim {
    struct arena *arena;
    struct arena scratch;
    const struct program *program;
    struct sim_options options;
    struct sim_memory sram[MACHINE_MAX_CORES], ddr;
    struct sim_lane lanes[PROGRAM_LANES];
    uint8_t used[PROGRAM_LANES]; /* lanes that have instructions */
    int used_count;
    uint32_t *clocks;  /* by instruction and used lane: finished before it starts */
    uint32_t *numbers; /* by instruction: its number in its lane, from 1 */
    uint64_t random;
    int64_t frames;
    bool checking; /* this frame */
};

static inline int sim_lane_of(const struct instruction *i)
{
    return i->core * ENGINE_COUNT + i->engine;
}
struct sim_memory *sim_memory_of(struct sim *s, const struct instruction *i, const struct tile *t);

/* sim_memory.c: areas, poison, content. */
bool sim_memory_new(struct sim *s, struct bpu_error *err) BPU_CHECKED;
void sim_memory_clear(struct sim *s);
bool sim_content_read(const struct sim_view *v, int64_t *at);
void sim_content_write(const struct sim_view *v, const unsigned char *wrote);
/* The area that holds all of the view, NULL if several do. */
struct sim_area *sim_area_of(const struct sim_memory *m, int64_t first, int64_t end);

/* sim_race.c. False with *err: the instruction's access is not ordered after another one's. */
bool sim_race_new(struct sim *s, struct bpu_error *err) BPU_CHECKED;
void sim_race_clear(struct sim *s);
bool sim_race_read(struct sim *s, int instruction, int tile, const struct sim_view *v,
                   struct bpu_error *err) BPU_CHECKED;
bool sim_race_write(struct sim *s, int instruction, int tile, const struct sim_view *v,
                    struct bpu_error *err) BPU_CHECKED;

/* sim_lanes.c: waits, clocks and order. */
bool sim_lanes_new(struct sim *s, struct bpu_error *err) BPU_CHECKED;
void sim_lanes_start(struct sim *s);
/* Index of the next instruction, -1 at the end. */
int sim_lanes_next(struct sim *s);
void sim_lanes_done(struct sim *s, int instruction);

/* sim_io.c */
bool sim_input(struct sim *s, const struct program_io *io, const void *data,
               struct bpu_error *err) BPU_CHECKED;
bool sim_output(struct sim *s, const struct program_io *io, void *data,
                struct bpu_error *err) BPU_CHECKED;

/* "instruction 12 (conv of "layer1.0", torch.nn.Conv2d)": into out. */
#define SIM_NAME_MAX 200
const char *sim_name(const struct sim *s, int instruction, char out[SIM_NAME_MAX]);

#endif
