/* draw: the drawing of a graph as one self-contained SVG.
 *
 * A layered layout of our own (core/draw/layout.h) with bounded work, so that no graph hangs.  No
 * files, no fonts, no global state: it runs in the sandbox as it is.  docs/drawing.md tells why it
 * is not graphviz' and lists ids, classes and attributes.
 *
 * Illegal nodes are red, induced ones orange, folded ones quiet; tooltips carry the rules; the ids
 * ("node-<index>") are those of the report's nodes. */
#ifndef BPU_DRAW_H
#define BPU_DRAW_H

#include "core/check/check.h"

/* r may be NULL: the drawing without verdicts. Same input, same bytes. */
bool draw_svg(const struct graph *g, const struct check_result *r, struct buf *out,
              struct bpu_error *err) BPU_CHECKED;

/* What a heat map colours boxes by. */
struct draw_heat {
    const double *share;        /* by node of g: of the whole, 0 … 1; below 0: nothing is known */
    const char *const *figures; /* by node: "41.2 us", or NULL */
    const char *what;           /* "of the time of one run" */
};

/* The drawing with its boxes coloured by share, from pale to dark. */
bool draw_heat_svg(const struct graph *g, const struct draw_heat *heat, struct buf *out,
                   struct bpu_error *err) BPU_CHECKED;

#endif
