/* layer: a network as the machine sees it, before anything has a place or a time.
 *
 *   fixed-point graph ─ lower ─▶ maps and layers ─ group ─ sequence ─ place ─ emit ─▶ program
 *
 * A map is a feature map in channels-last order, n x h x w x c.  A layer is one machine operation
 * over whole maps; the compiler cuts it into pieces of result rows (and result channels) that each
 * become one instruction.  The only thing a layer must be able to say is which rows of its
 * operands a range of result rows needs: layer_rows(). */
#ifndef BPU_COMPILE_LAYER_H
#define BPU_COMPILE_LAYER_H

#include "core/program/program.h"

struct layer;
struct piece_rows;

/* ── forms ──
 *
 * How the axes of a value lie in n, h, w, c:
 *   IMAGE     (N, C), (N, C, L), (N, C, H, W), (N, C, D, H, W)   → n = N, h = D * H, w, c = C    c is axis 1
 *   FEATURES  (…, C): c is the last axis, w the one before it, h the next, n all others
 * Values of rank 0 and 1, and of rank 2 whose first extent is 1, are the same in both.  One value may exist in both forms;
 * a COPY layer makes one from the other.  (N, C) as IMAGE has h = w = 1. */
enum form { FORM_IMAGE, FORM_FEATURES, FORM_COUNT };

/* ── maps ── */

struct map {
    int index;
    const char *name;
    const struct value *value; /* NULL: made by the compiler */
    int n, h, w, c;
    enum dtype dtype;
    double scale;
    int32_t zero;
    /* A part of a larger map with the same type, scale and number of frames: a slice that is read in place, or a
     * piece of a concatenation that is written in place.  Offsets in the parent; the parent has no
     * parent. */
    struct map *parent;
    int off_h, off_w, off_c;
    /* Content known before the network runs (a constant operand): elements in n, h, w, c order. */
    const void *constant;
    int input, output;     /* index of the network's input or output that this map is, or -1 */
    struct layer **makers; /* layers that write it or a part of it, in order */
    int maker_count;
    struct layer **readers;
    int reader_count;
    /* By layout.c: native block, and bytes of a block row of the whole map. */
    int block;              /* index into machine.blocks */
    int frame_rows;         /* h, padded to the block */
    int64_t stride_h, stride_w, stride_c, row_bytes;
};
static inline struct map *map_root(struct map *m) { return m->parent ? m->parent : m; }
/* True if both have elements in common. */
bool map_meets(const struct map *a, const struct map *b);

/* ── layers ── */

/* Which rows of an operand a range of result rows needs. */
enum need {
    NEED_SAME,       /* row r reads row r; an operand with h = 1 is repeated, one with n = 1 too */
    NEED_WINDOW,     /* rows r * stride - pad … + (kernel - 1) * dilation, clipped to the map */
    NEED_TRANSPOSED, /* rows that meet r + pad in a transposed window */
    NEED_ADAPTIVE,   /* floor(r * in / out) … ceil((r + 1) * in / out) - 1 */
    NEED_RESAMPLED,  /* (r + 0.5) * in / out - 0.5 and one more on either side */
    NEED_FRAME,      /* all rows of the same frame */
    NEED_ALL,        /* all rows of all frames */
};

/* Bytes that are the same for every run: weights, tables. */
struct blob {
    int index;
    const unsigned char *data;
    int64_t bytes;
    /* Cut by result channels: units of unit_bytes for unit_channels each; units 1: never cut. */
    int units, unit_channels;
    int64_t unit_bytes;
};

struct operand {
    struct map *map;   /* or */
    struct blob *blob; /* or neither: left out */
    enum need need;
    bool in_place;     /* the result may take over this map's memory: element for element, same type */
};

struct rows_window {
    int kernel, stride, dilation, pad; /* of h */
};

struct layer {
    int index;
    enum opcode op;
    bool on_host;
    const struct node *node; /* of the fixed-point graph */
    int source;              /* program.sources */
    int64_t macs;
    struct map *out[2];      /* tiles that are written, in the order of the row of isa.def */
    int out_count;
    struct operand in[PROGRAM_MAX_TILES]; /* the other tiles in that order */
    int in_count;
    struct rows_window window;
    int32_t args[PROGRAM_MAX_ARGS];
    bool whole_frame; /* a piece holds all rows of a frame */
    bool whole;       /* one instruction over everything */
    /* Completes args that depend on where a piece lies (pad_top, first_in_h …).  NULL: none do. */
    void (*fit)(const struct layer *l, const struct piece_rows *p, int32_t *args);
};

/* The name of the user's node, or of what the compiler made. */
const char *layer_name(const struct layer *l);

/* A piece: result rows r0 … r1-1 of frames f0 … f1-1 (several frames only with all their rows),
 * channels c0 … c1-1, and of each operand the rows that it gets. */
struct piece_rows {
    int f0, f1, r0, r1, c0, c1;
    int in_r0[PROGRAM_MAX_TILES], in_r1[PROGRAM_MAX_TILES];
};

/* Rows lo … hi-1 of operand i (of its own frame) that result rows r0 … r1-1 need; lo < hi. */
void layer_rows(const struct layer *l, int i, int r0, int r1, int *lo, int *hi);

/* The same along any axis of an operand: of `all` elements, for results r0 … r1-1; NEED_SAME, windows. */
void window_range(const struct rows_window *w, enum need need, int all, int r0, int r1, int *lo, int *hi);

/* ── the network ── */

/* An input or output of the graph. */
struct network_io {
    const struct value *value; /* of the graph: name and shape */
    struct map *map;           /* NULL: an input that nobody reads */
    bool features;             /* the map's form */
    bool host_float;           /* the host quantizes it (QuantStub) or dequantizes it (DeQuantStub) */
    bool host_divides;         /* inputs: round(x / scale), as ONNX says */
};

struct network {
    struct arena *arena;
    const struct machine *machine;
    const struct graph *graph;
    struct map **maps;
    int map_count, map_capacity;
    struct layer **layers; /* in an order in which they can run */
    int layer_count, layer_capacity;
    int blob_count;
    struct program_source *sources;
    int source_count, source_capacity;
    int *source_of;        /* by node index of the graph: its source, or -1 */
    struct network_io *inputs, *outputs; /* as graph.inputs and graph.outputs */
    int input_count, output_count;
};

/* New maps and layers, appended. */
struct map *network_map(struct network *net, const char *name, int n, int h, int w, int c,
                        enum dtype dtype, double scale, int32_t zero,
                        struct bpu_error *err) BPU_CHECKED;
struct layer *network_layer(struct network *net, enum opcode op, const struct node *node,
                            struct bpu_error *err) BPU_CHECKED;
/* A constant that is never cut; data must live as long as the arena. */
struct blob *network_blob(struct network *net, const void *data, int64_t bytes,
                          struct bpu_error *err) BPU_CHECKED;
/* Fills makers and readers of all maps, puts the layers into an order in which they can run, drops
 * those whose results nobody reads.  Called once, at the end of lowering. */
bool network_link(struct network *net, struct bpu_error *err) BPU_CHECKED;
/* Text of everything, for people and golden tests. */
void network_dump(const struct network *net, struct buf *out);

#endif
