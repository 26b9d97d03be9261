/* chart: what the pictures of a program share: frame, axes, numbers, colours. */
#ifndef BPU_DRAW_CHART_H
#define BPU_DRAW_CHART_H

#include "core/base/buf.h"

#define CHART_LEFT 150.0  /* room for labels of rows */
#define CHART_WIDTH 1300.0 /* of the plot */
#define CHART_RIGHT 24.0
#define CHART_TOP 96.0

/* Everything up to the plot: <svg>, style, title, a line below it. `class` of the root: every style rule
 * stands below it. */
void chart_open(struct buf *out, const char *class, double height, const char *title,
                const char *line, const char *description);
void chart_close(struct buf *out);
/* One entry of the legend at *x, which moves on. */
void chart_legend(struct buf *out, double *x, const char *class, const char *text);
void chart_text(struct buf *out, const char *class, double x, double y, const char *text);
/* <path class="…" d="box"; the caller writes what is in it and closes with chart_end(). */
void chart_box(struct buf *out, const char *class, double x, double y, double w, double h);
void chart_end(struct buf *out);
/* The step of an axis from 0 to `most` with about `wanted` marks: 1, 2 or 5 times a power of `base`
 * 10, or a power of 2 for base 2. */
double chart_step(double most, int wanted, int base);
/* Marks below a plot from y0 to y1, every `step` of 0 … most, as numbers over `unit`. */
void chart_axis(struct buf *out, double y0, double y1, double most, double step, double unit,
                const char *name);
/* "12,345 bytes", "96 KiB", "1.5 MiB". */
void chart_bytes(struct buf *out, int64_t bytes);
void chart_count(struct buf *out, int64_t n);

#endif
