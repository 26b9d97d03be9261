/* svg: the writer.  It owns ids, classes, tooltips and styles; docs/drawing.md lists them. */
#ifndef BPU_DRAW_SVG_H
#define BPU_DRAW_SVG_H

#include "core/draw/scene.h"

#define SVG_MARGIN 24.0

/* The head line, the legend and the list of what is illegal; returns their height. */
double svg_header(const struct scene *s, struct buf *out, double *width);
void svg_style(const struct scene *s, struct buf *out);
/* A coordinate: at most one decimal, none if it is 0. */
void svg_number(struct buf *out, double x);
/* s as XML text or attribute; what is not valid becomes U+FFFD.  The short form ends after 400
 * bytes. */
void svg_text(struct buf *out, const char *s);
void svg_text_short(struct buf *out, const char *s);
/* A text that may be cut after SVG_LINE bytes.  Its memory is there from the start, so that only the cut can fail
 * it; false: there is none. */
#define SVG_LINE 4096
bool svg_line_init(struct buf *b);
/* Lines of <title> text. */
void svg_box_tooltip(const struct scene *s, int box, struct buf *out);
void svg_net_tooltip(const struct scene *s, int net, struct buf *out);
#define SVG_HEAT_LEVELS 8
/* 0, the coldest, to SVG_HEAT_LEVELS - 1: where a share lies between 0 and the hottest one; -1: not known. */
int svg_heat_level(const struct scene *s, const struct node *n);
/* "legal", "illegal", "induced", "folded", "input", "output", "far". */
const char *svg_box_state(const struct box *x);
/* Class of an operator for colours: "conv". */
const char *svg_op_class(const struct node *n);
void svg_write(const struct scene *s, struct buf *out);

#endif
