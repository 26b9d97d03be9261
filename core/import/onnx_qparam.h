/* onnx_qparam: scales and zero points of ONNX, read from constant operands and given to values.
 *
 * ONNX keeps them beside the tensor, as operands of each node; the graph keeps them in the value.
 * Everything that reads quantized ONNX goes through here: QuantizeLinear and DequantizeLinear
 * (onnx_quant.c) and the operators that take quantized operands (onnx_qoperator.c). */
#ifndef BPU_IMPORT_ONNX_QPARAM_H
#define BPU_IMPORT_ONNX_QPARAM_H

#include "core/import/onnx.h"

struct onnx_qparam {
    bool known;         /* false: computed while the network runs; then q is empty */
    struct quant q;     /* as the graph has it: of UINT16, the zero point is already shifted */
    enum dtype storage; /* as the file stores the integers: UINT8, INT8, UINT16, INT16, INT32 */
    enum dtype dtype;   /* as the graph calls them: QUINT8, QINT8, QINT16, QINT32 */
};

/* Where scale and zero point stand, and what they are of. */
struct onnx_qsource {
    const char *what;          /* "", or which operand: "x_", "w_", "y_" */
    const struct value *x;     /* the tensor; NULL: a result that is not made yet */
    const struct value *scale; /* NULL: 1 (the integers themselves are the numbers) */
    const struct value *zero;  /* NULL: 0, of the type `otherwise` */
    enum dtype otherwise;
    int64_t axis; /* of scales per channel, negative from the end */
};

/* False with an error that names the node if they are no scale and no zero point, or do not fit. */
bool onnx_qparam_read(struct onnx_node *o, const struct onnx_qsource *from,
                      struct onnx_qparam *p) BPU_CHECKED;

/* v, whose integers mean what p says.  A constant becomes a quantized constant; a value that has no
 * scale yet gets p's; one that has another is read through a node that carries p's.  NULL on error.
 */
struct value *onnx_qparam_operand(struct onnx_node *o, struct value *v, const struct onnx_qparam *p,
                                  const char *suffix);
/* Gives v, which o has made, the quantization p. */
bool onnx_qparam_result(struct onnx_node *o, struct value *v,
                        const struct onnx_qparam *p) BPU_CHECKED;

/* The integers of constant x, of the type p->storage, as the graph has them: the same bytes, but
 * shifted into int16 for uint16. NULL on error, and where x holds no bytes. */
const void *onnx_qparam_integers(struct onnx_node *o, const struct value *x,
                                 const struct onnx_qparam *p);
bool onnx_qparam_equal(const struct quant *a, const struct quant *b);
/* True if v is quantized in the file itself: its integers are what a node reads, not the numbers
 * behind a DequantizeLinear. */
bool onnx_is_integer(struct onnx_import *im, struct value *v);
/* The number that integer q of x means; otherwise, if x has not one scale. */
double onnx_real_of_integer(const struct value *x, int64_t q, double otherwise);
/* The same of a bound or filling of node o, given by operand v beside its quantized input 0; `real`
 * if it is no integer, or is left out. */
double onnx_real_of(const struct onnx_node *o, const struct value *v, double real);
/* The dtype of the graph for integers that the file stores as t; DT_UNKNOWN if there is none. */
enum dtype onnx_qparam_dtype(enum dtype t);

#endif
