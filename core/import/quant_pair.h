/* quant_pair: quantize and dequantize as pairs that say what dtype and scale a value has.
 *
 *     conv ─ Q ─ DQ ─ conv        →  conv ══ qint8, scale ══ conv
 * ONNX's QuantizeLinear / DequantizeLinear and torch.export's quantized_decomposed operators mean
 * the same; their readers find the scales, and this file says what becomes of the nodes. */
#ifndef BPU_IMPORT_QUANT_PAIR_H
#define BPU_IMPORT_QUANT_PAIR_H

#include "core/ir/graph.h"

/* The quantized type over integers of this one: qint8 over int8. */
enum dtype quant_pair_dtype(enum dtype storage);

/* Scales and zero points (NULL: all 0) of known constants, checked against `axis` of x (may be
 * NULL; from the back if negative).  False with `why` filled if they are wrong; if why is empty,
 * *err is set. *known false: they are computed from the data. */
bool quant_pair_scales(struct arena *a, const struct value *scale, const struct value *zero,
                       int64_t axis, const struct value *x, struct quant *out, bool *known,
                       char why[160], struct bpu_error *err) BPU_CHECKED;

struct quant_range {
    double lo, hi; /* of the integers */
    bool inverse;  /* multiplied by 1 / scale, as PyTorch does, instead of divided */
};
struct quant_range quant_pair_range(enum dtype storage);

/* n (QuantStub, with operand x) makes y of it: the integers of a constant; the dtype and scale of
 * the operator before it, and n is folded; or a stub on an input of the graph. */
bool quant_pair_quantize(struct graph *g, struct node *n, struct value *x, struct value *y,
                         const struct quant *q, enum dtype storage, struct quant_range range,
                         struct bpu_error *err) BPU_CHECKED;
/* n (DeQuantStub, with operand x) makes y of it: a constant with its scale; folded between
 * operators; a real conversion where the value `leaves` the graph. */
bool quant_pair_dequantize(struct graph *g, struct node *n, struct value *x, struct value *y,
                           const struct quant *q, bool leaves, struct bpu_error *err) BPU_CHECKED;
/* False: integers of this type are no quantized values. */
bool quant_pair_readable(const struct value *x);
/* Once the outputs are known: folded DeQuantStubs whose value leaves the graph are real. */
void quant_pair_restore_stubs(struct graph *g);

#endif
