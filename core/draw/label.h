/* label: the short texts of a drawing and how wide they are. */
#ifndef BPU_DRAW_LABEL_H
#define BPU_DRAW_LABEL_H

#include "core/ir/graph.h"

/* Estimated width of UTF-8 text in a common sans-serif face, on the generous side, so that boxes
 * fit whatever font the viewer has. */
double text_width(const char *s, double font_size, bool bold);
/* s, or its end after an ellipsis if it is wider than `width`: the end of a name tells most. */
const char *text_fit_end(struct arena *a, const char *s, double font_size, double width,
                         struct bpu_error *err) BPU_CHECKED;
/* s, or its beginning before an ellipsis. */
const char *text_fit_start(struct arena *a, const char *s, double font_size, double width,
                           struct bpu_error *err) BPU_CHECKED;
/* "torch.nn.Conv2d" is "Conv2d", "torch.Tensor.__getitem__" is "slice". */
const char *label_op(const char *op_name);
/* The attributes that a reader looks for, in one line: "3x3 s2 p1 g32 64→128"; may be empty. */
void label_attributes(const struct node *n, struct buf *out);
/* One attribute as text, at most ~200 bytes. */
void label_value(const struct attr *a, struct buf *out);

#endif
