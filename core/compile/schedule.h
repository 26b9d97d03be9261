/* schedule: what the passes between layers and instructions share.
 *
 *   groups     ranges of layers that run together, band by band
 *   steps      pieces, loads and stores in the order in which they are listed
 *   buffers    what lies in on-chip memory from one step to another
 *
 * Rows are counted over all frames of a map: frame f, row r is f * map.frame_rows + r. */
#ifndef BPU_COMPILE_SCHEDULE_H
#define BPU_COMPILE_SCHEDULE_H

#include "core/compile/compile.h"
#include "core/compile/layer.h"

/* Buffers begin at multiples of these, and waits are found by them (sync.c). */
enum { SRAM_GRANULE = 256, DDR_GRANULE = 1024 };

/* ── layout.c ── */

/* Chooses the native block of each map, the one that pads it least, and its strides. */
bool layout_maps(struct network *net, struct bpu_error *err) BPU_CHECKED;
static inline int64_t map_rows(const struct map *m) { return (int64_t)m->n * m->frame_rows; }
static inline int64_t map_bytes(const struct map *m, const struct machine_block *b)
{
    return map_rows(m) / b->h * m->row_bytes;
}
/* The same in memory of the host's order, which is also the order of inputs and outputs. */
struct tile layout_io(const struct map *m, bool image, enum io_layout layout,
                      const struct machine *machine, int64_t *bytes);

/* ── groups ── */

/* How a layer is cut into boxes; size[0] 0: it is not. */
struct box_cut {
    int size[4];    /* of the result: n, h, w, c */
    int inputs;     /* channels of a convolution at a time */
    bool ahead;     /* the next box is loaded while one is made */
    bool by_weights; /* all boxes of the same result channels one after the other */
};

enum { SHARE_ALL = 8 };

struct group {
    int first, last; /* layers, both included */
    int bands;       /* how many pieces the results at its end are made in, over all frames */
    int cores;       /* that share its rows, or */
    int share;       /* one layer in one band: channels of its result and so its weights, of which the first
                        core takes `share` parts of SHARE_ALL; 0: rows */
    bool reload;     /* weights do not stay: each piece loads its own */
    struct box_cut cut; /* one layer, in boxes (box.h) */
    bool tight;      /* one layer in the least memory: nothing is loaded while it computes */
};

struct grouping {
    struct group *groups;
    int count;
    bool *resident; /* by map (roots): stays on chip from its maker to its last reader */
};

/* ── steps ── */

enum step_kind { STEP_PIECE, STEP_LOAD, STEP_STORE, STEP_BLOB };

struct box_step;

struct step {
    uint8_t kind, core;
    bool made;       /* LOAD, STORE, of PIECE see role_of(): which of a map's two rings */
    int group;
    const struct layer *layer; /* LOAD: that asks for it; STORE: that made it */
    int operand;               /* BLOB: which of the layer's */
    struct map *map;           /* LOAD, STORE: a root */
    const struct box_step *box; /* of a group in boxes */
    struct piece_rows p;       /* PIECE: all; LOAD, STORE: frames and rows; BLOB: channels */
};

struct steps {
    struct arena *arena;
    struct step *items;
    size_t count, capacity;
};

/* ── sequence.c ── */

/* A map made in a group, or by all of its makers in it, is read where it is made.  One that comes from
 * DDR, wholly or in part, is read from a second ring that is loaded. */
enum role { ROLE_MADE, ROLE_READ };

/* What a map needs in a group on a core. */
struct ring {
    struct map *map; /* root */
    enum role role;
    int64_t rows; /* a multiple of the block's; map_rows(): the whole map */
    bool resident;
};

struct sequencer;
struct sequencer *sequencer_new(struct arena *a, const struct network *net,
                                struct bpu_error *err) BPU_CHECKED;
/* The pieces, loads and stores of one group on one core, and the rings they need.
 * out NULL: rings only.  max_bands > 0: stops after that many bands, or later, when rings no longer grow.
 * rings: *count of them, valid until the next call. */
bool sequence_group(struct sequencer *s, const struct group *g, int index, const bool *resident,
                    int core, int max_bands, struct steps *out, const struct ring **rings,
                    int *count, struct bpu_error *err) BPU_CHECKED;
/* True if the ring gets room for one band more, so that two engines may work on it at once. */
bool sequence_overlaps(const struct group *g, const bool *resident, const struct ring *r);
/* Where layer l of group g reads a root. */
enum role sequence_role(const struct group *g, const bool *resident, const struct map *root);
/* True if rows of the root that are made in the group go to DDR. */
bool sequence_stores(const struct group *g, const bool *resident, const struct map *root);
bool steps_add(struct steps *s, const struct step *step, struct bpu_error *err) BPU_CHECKED;

/* ── weights.c ── */

/* How many pieces of result channels a layer is cut into where its weights are streamed. */
int layer_chunks(const struct network *net, const struct layer *l);
void layer_chunk(const struct network *net, const struct layer *l, int i, int chunks, int *c0,
                 int *c1);
/* The same of what a core has of a group with a share; its channels; false: there is nothing for some core. */
int share_chunks(const struct network *net, const struct layer *l, const struct group *g, int core);
void share_chunk(const struct layer *l, const struct group *g, int core, int i, int chunks, int *c0, int *c1);
bool share_possible(const struct layer *l, const struct group *g);
/* Bytes of a layer's constants, `parts` parts of its weights at once where these are streamed. */
int64_t layer_constants(const struct network *net, const struct layer *l, int parts);
/* Channels of operand k that result channels c0 … c1-1 read. */
void layer_channels(const struct layer *l, int k, int c0, int c1, int *from, int *to);
/* The operand that is cut by channels, or -1. */
int layer_filter(const struct layer *l);
/* Bytes of a blob that channels c0 … c1-1 need, and where they begin. */
int64_t blob_part(const struct blob *b, int c0, int c1, int64_t *offset);

/* ── group.c ── */

/* sram: what there is; groups of several layers may take `percent` of it. BPU_LIMIT: a layer fits in no way. */
bool group_layers(struct arena *a, const struct network *net, const struct compile_options *o,
                  int64_t sram, int percent, int variant, struct grouping *out, struct bpu_error *err) BPU_CHECKED;
/* The text of a refusal: which layer, what it needs, what there is, what would help. */
bool group_refuse(const struct network *net, const struct layer *l, int64_t need, int64_t sram,
                  struct bpu_error *err);
/* How many different searches there are at a level, and the share of memory that one begins with. */
int group_variants(const struct compile_options *o);
int group_percent(const struct compile_options *o, int variant);
/* True if it is not one of the quick searches of O2. */
bool group_patient(const struct compile_options *o, int variant);

/* ── place.c ── */

struct buffer {
    enum buffer_kind kind;
    int core;
    struct map *map;         /* a root, or */
    const struct blob *blob; /* blob_bytes of it from blob_offset */
    const struct layer *layer;
    int operand;
    int64_t blob_offset;
    bool listed;     /* its loads are steps of the group */
    int64_t bytes, address;
    int ring;        /* rows; 0: the whole map */
    int first, last; /* steps */
    /* Small constants that are needed together come in one transfer: the first of them stands for all,
     * `next` chains the others, whose `host` it is. -1: alone. */
    int host, next;
    int64_t host_offset, host_bytes; /* of a member: where it lies; of the first: bytes of all */
};

/* By step: the buffers of its tiles in the order of the instruction's tiles; -1: none. */
struct step_buffers {
    int of[PROGRAM_MAX_TILES];
};

struct placement {
    struct arena *arena;
    const struct network *net;
    const struct compile_options *options;
    const struct grouping *grouping;
    int64_t sram;
    bool patient; /* tries more shares of memory for what is loaded ahead */
    struct buffer *buffers;
    size_t count, capacity;
    struct step_buffers *of_step;
    size_t step_capacity;
    size_t emitting; /* the step that emit_piece() is asked about */
    int *resident[MACHINE_MAX_CORES]; /* by map: buffer, or -1 */
    int *ring[2];                     /* by role and map: buffer of the group at hand */
    int *slots;                       /* by slot of a group in boxes: its buffer */
    size_t slot_capacity;
    int64_t peak, bound; /* bytes of the core that needs most: of the plan, and of live buffers */
    const struct layer *peak_layer; /* where most bytes are live, if it does not fit */
    int64_t *ddr;        /* by map: address of roots that lie in DDR, or -1 */
    int64_t ddr_bytes;      /* of the workspace */
    int64_t constant_bytes; /* that transfers read, without the gaps between them; by emit.c */
    int spilled;
};

bool placement_init(struct placement *p, struct arena *a, const struct network *net,
                    const struct grouping *g, const struct compile_options *o, int64_t sram,
                    struct bpu_error *err) BPU_CHECKED;
/* Buffers for the steps from `from` on, which belong to one group and core. */
bool placement_group(struct placement *p, const struct steps *steps, size_t from,
                     const struct ring *rings, int count, struct bpu_error *err) BPU_CHECKED;
/* Steps that load weights, as early as memory allows; then addresses. *fits false: it needs more than
 * there is, p->peak says how much, p->peak_layer where. */
bool placement_finish(struct placement *p, struct steps *steps, bool *fits,
                      struct bpu_error *err) BPU_CHECKED;

/* ── emit.c, sync.c ── */

/* A run of bytes; and a constant operand of a piece, at `base`. */
struct tile emit_bytes_tile(enum space space, int64_t base, int64_t bytes);
struct tile emit_blob_tile(const struct layer *l, int k, const struct piece_rows *p, int64_t base);
/* Opcode, tiles and arguments of one piece; at NULL: without addresses, for what it costs. */
void emit_piece(const struct network *net, const struct step *step, const struct placement *at,
                struct instruction *i);

bool emit_program(struct arena *a, const struct network *net, const struct steps *steps,
                  struct placement *p, const struct compile_options *o, struct program *out,
                  struct bpu_error *err) BPU_CHECKED;
/* Waits from the memory that instructions touch; serial: each waits for the one before it. */
bool sync_program(struct arena *a, struct program *p, bool serial, struct bpu_error *err) BPU_CHECKED;

#endif
