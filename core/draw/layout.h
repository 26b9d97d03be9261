/* layout: where boxes stand and how lines run, without knowing what they mean.
 *
 *   ranks ── trunks ── order within ranks ── columns (x) ── rows (y) ── routes
 *
 * A net is one value: one source, any number of users, drawn as one tree.  Where a user is more
 * than one rank away the net gets a trunk, a point on each rank between, shared by all its users: a
 * value that thirty concatenations read is one line with thirty taps, not thirty lines.  Trunks
 * hold a place in the order of their rank, so lines run beside boxes and never through them.
 *
 * Work is bounded: O((n + e) log n) with a fixed number of sweeps; n counts the points of trunks,
 * which layout_reach() keeps under a budget.  Nothing recurses. */
#ifndef BPU_DRAW_LAYOUT_H
#define BPU_DRAW_LAYOUT_H

#include "core/base/arena.h"

/* Distances in CSS pixels. */
#define LAYOUT_LABEL_H                                                                             \
    19.0                 /* straight run below a box, beside which the label of its output stands */
#define LAYOUT_ARROW 6.0 /* height of an arrow head */

struct layout_box {
    double w, h;
    double left, right; /* room that is needed to both sides of the centre, labels included */
    int rank;
    double x, y; /* result: centre, top */
};

enum layout_step_kind { STEP_MOVE, STEP_LINE, STEP_CURVE, STEP_ARROW };

/* One step of a path; an arrow is a head whose tip is (x, y) with the direction (x1, y1). */
struct layout_step {
    enum layout_step_kind kind;
    double x1, y1, x2, y2, x, y;
};

struct layout_net {
    int source;      /* box */
    int slot, slots; /* one of `slots` nets that leave the source side by side; result: which one */
    const int *users; /* boxes, each once */
    int user_count;
    struct layout_step *steps; /* result */
    int step_count;
    double x, y; /* result: where the net leaves its source */
};

struct layout {
    struct layout_box *boxes;
    int box_count;
    struct layout_net *nets;
    int net_count;
    double width, height; /* result */
};

/* Longest-path ranks; boxes that could stand lower for free do.  Every net must lead from a lower
 * to a higher box index. */
bool layout_rank(struct layout *l, struct arena *a, struct bpu_error *err) BPU_CHECKED;
/* The largest number of ranks that lines may cross so that all trunks together have at most
 * `budget` points; INT_MAX when nothing must be cut. */
bool layout_reach(const struct layout *l, struct arena *a, int64_t budget, int *reach,
                  struct bpu_error *err) BPU_CHECKED;
/* Our own layout of ranked boxes. */
bool layout_run(struct layout *l, struct arena *a, struct bpu_error *err) BPU_CHECKED;

/* ── between the files of the layout ── */

/* A box or a point of a trunk. */
struct vertex {
    int rank, box, net;       /* box -1: point of the trunk of `net` */
    int pos;                  /* place in its rank */
    int block;                /* column of vertices that share one x */
    int align_up, align_down; /* vertex right above or below in the same column, or -1 */
    double left, right, x;
};

/* A piece of a net between neighbouring ranks. */
struct segment {
    int up, down, net;
    int weight; /* how much we want it straight */
};

struct layering {
    struct layout *layout;
    struct arena *arena;
    struct vertex *v;
    int count;
    struct segment *s;
    int seg_count;
    int *down_at, *down; /* segments below vertex i: down[down_at[i]] … */
    int *up_at, *up;     /* segments above */
    int rank_count;
    int *rank_at; /* order[rank_at[r]] … are the vertices of rank r from left to right */
    int *order;
    int *seg_at; /* s[seg_at[r]] … lead from rank r to r + 1 */
};

bool layering_new(struct layering *g, struct layout *l, struct arena *a,
                  struct bpu_error *err) BPU_CHECKED;
bool layering_order(struct layering *g, struct bpu_error *err) BPU_CHECKED;
bool layering_place(struct layering *g, struct bpu_error *err) BPU_CHECKED;
bool layering_route(struct layering *g, struct bpu_error *err) BPU_CHECKED;
/* Groups vertices that are linked by align_up / align_down; returns the number of blocks.  Blocks
 * are numbered by their topmost vertex. */
int layering_blocks(struct layering *g);

#endif
