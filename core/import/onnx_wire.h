/* onnx_wire: the first look at the bytes of an ONNX file, before protobuf-c sees them.
 *
 * protobuf-c recurses without a bound and copies every tensor. This walk checks every length against what is left,
 * bounds the nesting, checks texts for UTF-8, drops fields that the schema does not know, and writes a
 * skeleton of the same message in which TensorProto.raw_data is replaced by TensorProto.segment {begin, end}: the
 * byte range of the tensor in the file.  So weights are never copied, and a parse error names its byte. */
#ifndef BPU_IMPORT_ONNX_WIRE_H
#define BPU_IMPORT_ONNX_WIRE_H

#include "core/base/buf.h"
#include "core/base/error.h"

/* Deepest nesting of messages that is accepted; exporters stay below 20. */
#define ONNX_MAX_DEPTH 64

/* Appends the skeleton of the ModelProto at data to *out. */
bool onnx_wire_skeleton(const unsigned char *data, size_t size, struct buf *out,
                        struct bpu_error *err) BPU_CHECKED;
/* True if the first n bytes can be the beginning of a ModelProto. */
bool onnx_wire_looks_like_model(const unsigned char *head, size_t n);

#endif
