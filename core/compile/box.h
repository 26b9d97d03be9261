/* box: a layer whose rows do not fit on chip is made in boxes.
 *
 * A box is a range of frames, rows, columns and channels of its result.  For each, the boxes of the operands that
 * it needs are loaded, one instruction makes it, and it is stored; a convolution may take its input channels
 * in several parts, each continuing the sums of the one before.  Boxes lie on chip by themselves, with strides
 * of their own: no rings.  What is loaded for the next box may come while one is made.
 *
 *   box_shape.c  which layers can be cut, and which box of an operand a box of the result needs
 *   box.c        how they are cut best, and the steps of a group that is
 *   box_emit.c   tiles and arguments */
#ifndef BPU_COMPILE_BOX_H
#define BPU_COMPILE_BOX_H

#include "core/compile/schedule.h"

/* Bytes of what stands before the weights of a result channel (isa.def). */
enum { BOX_RECORD = 20 };

/* Of a map, by axis: n, h, w, c. */
struct box {
    int at[4], size[4];
};

/* Of a step. */
struct box_step {
    /* PIECE: by tile, in the coordinates of the layer's maps; LOAD, STORE: the first one, of the root. */
    struct box box[PROGRAM_MAX_TILES];
    int slot[PROGRAM_MAX_TILES]; /* by tile: buffer of the group, -1: none */
    int inputs[2];               /* first input channel of the sums, and one behind the last */
    bool sliced;                 /* weights of some input channels only */
    bool records;                /* BLOB of these: their records, not their weights */
    bool begins, ends;           /* the sums */
};

/* ── box_shape.c ── */

/* The weights of a convolution, or NULL. */
const struct blob *box_weights(const struct layer *l);
bool box_possible(const struct network *net, const struct compile_options *o, const struct layer *l);
/* Where the result may be cut along an axis: at multiples of this. */
int box_unit(const struct network *net, const struct layer *l, int axis);
/* The same of input channels; 0: they stay together. */
int box_input_unit(const struct network *net, const struct layer *l);
/* Extents of operand k for the largest box of `size`, with `inputs` input channels at a time. */
void box_reach(const struct layer *l, int k, const int size[4], int inputs, int out[4]);
/* What operand k gives to box y; x in the operand's coordinates. */
void box_operand(const struct layer *l, int k, const struct box *y, const int inputs[2], struct box *x);
/* Arguments that depend on where a piece lies; those that its rows decide are there already. */
void box_fit(const struct layer *l, const struct box_step *b, int32_t *args);
/* Bytes on chip of a box of a map, of another type than its own if `type` is not DT_COUNT. */
enum dtype box_sums_type(const struct layer *l);
int64_t box_bytes(const struct network *net, const struct map *m, enum dtype type, const int size[4]);
/* A unit of weights for `inputs` input channels. */
int64_t box_unit_bytes(const struct layer *l, int inputs);

/* ── box.c ── */

/* The cut of least time in `room` bytes. False: none fits; *least: bytes of the smallest boxes. */
bool box_plan(const struct network *net, const struct layer *l, int64_t room, struct box_cut *out,
              int64_t *least);
bool box_sequence(const struct network *net, const struct group *g, int index, int core, struct steps *out,
                  struct bpu_error *err) BPU_CHECKED;

/* ── box_emit.c ── */

/* Bytes of the buffer that tile t of a step lies in. */
int64_t box_buffer_bytes(const struct network *net, const struct step *s, int t);
void box_emit_piece(const struct network *net, const struct step *s, const struct placement *at,
                    struct instruction *i);
/* The tile of a LOAD or STORE on chip. */
struct tile box_chip_tile(const struct network *net, const struct step *s, int64_t base);
/* Both tiles of a load of weights of some input channels; chip, ddr: where the buffer and the blob begin. */
void box_slice_tiles(const struct step *s, int64_t chip, int64_t ddr, struct tile out[2]);

#endif
