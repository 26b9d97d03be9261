/* draw: the drawing of a graph as one self-contained SVG.
 *
 * Layered by graphviz, bounded, with a layout of our own to fall back on, so that no graph hangs.
 * Illegal nodes are red, induced ones orange, folded ones quiet; tooltips carry the rules; the ids
 * ("node-<index>") are those of the report's nodes. */
#ifndef BPU_DRAW_H
#define BPU_DRAW_H

#include "core/check/check.h"

/* r may be NULL: the drawing without verdicts. Same input, same bytes. */
bool draw_svg(const struct graph *g, const struct check_result *r, struct buf *out,
              struct bpu_error *err) BPU_CHECKED;
/* Loads graphviz' plugins once, so that a forked child needs no file system. */
void draw_warm_up(void);

#endif
