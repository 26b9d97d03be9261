/* program_svg: pictures of a compiled program, for people who ask where its memory and its time go.
 *
 * As draw_svg(): self-contained, no files, the same program gives the same bytes.  docs/compiling.md says
 * how to read them. */
#ifndef BPU_DRAW_PROGRAM_SVG_H
#define BPU_DRAW_PROGRAM_SVG_H

#include "core/program/timing.h"

/* The memory plan: address in on-chip memory over the order of instructions, a box per buffer, what
 * does not stay on the chip in red; one panel per core. */
bool draw_plan_svg(const struct program *p, const struct machine *m, struct buf *out,
                   struct bpu_error *err) BPU_CHECKED;
/* The schedule: engines of each core over time, a bar per instruction; those that are thinner than
 * half a pixel are drawn together. */
bool draw_schedule_svg(const struct program *p, const struct machine *m,
                       const struct program_timing *t, struct buf *out,
                       struct bpu_error *err) BPU_CHECKED;

#endif
