#!/usr/bin/python3
"""A float ONNX network as the QDQ form that ONNX Runtime's static quantizer writes: uint8 activations, int8 weights per channel.

    make_qdq.py FLOAT.onnx QDQ.onnx

For timing, and for exactness against another engine: scales are set from the operator, not from data.  Pairs stand behind every
operator of KINDS and in front of its weights; a ReLU or Clip takes the place of the convolution's own result.
"""
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

KINDS = {"Conv", "Gemm", "MatMul", "Add", "Mul", "GlobalAveragePool", "AveragePool", "MaxPool", "Concat", "Flatten", "Relu", "Clip",
         "Reshape", "Transpose", "Slice", "HardSigmoid", "Sigmoid", "HardSwish", "ReduceMean"}
SAME = {"MaxPool", "Flatten", "Reshape", "Transpose", "Slice"}  # the scale of their input


def main(source, target):
    model = onnx.load(source)
    g = model.graph
    whole = {v.name for v in onnx.shape_inference.infer_shapes(model).graph.value_info
             if v.type.tensor_type.elem_type != TensorProto.FLOAT}  # the arithmetic of shapes
    weights = {i.name: numpy_helper.to_array(i) for i in g.initializer}
    for n in [n for n in g.node if n.op_type == "Identity" and n.input[0] in weights]:  # PyTorch shares equal weights
        weights[n.output[0]] = weights[n.input[0]]
        g.node.remove(n)
    users = {}
    for n in g.node:
        for x in n.input:
            users.setdefault(x, []).append(n)
    nodes, initializers, quantized = [], [], {}
    scales = {}

    def constant(name, array):
        initializers.append(numpy_helper.from_array(array, name))
        return name

    def pair(name, scale, zero):
        if name in quantized:
            return quantized[name]
        s = constant(name + "_scale", np.array(scale, np.float32))
        z = constant(name + "_zero", np.array(zero, np.uint8))
        nodes.append(helper.make_node("QuantizeLinear", [name, s, z], [name + "_q"]))
        nodes.append(helper.make_node("DequantizeLinear", [name + "_q", s, z], [name + "_dq"]))
        quantized[name], scales[name] = name + "_dq", (scale, zero)
        return quantized[name]

    def weight(name):
        w = weights[name]
        s = np.maximum(np.abs(w).reshape(w.shape[0], -1).max(1), 1e-6).astype(np.float32) / 127
        q = np.clip(np.rint(w / s.reshape((-1,) + (1,) * (w.ndim - 1))), -127, 127).astype(np.int8)
        nodes.append(helper.make_node("DequantizeLinear", [constant(name + "_q", q), constant(name + "_scale", s),
                                                           constant(name + "_zero", np.zeros(len(s), np.int8))], [name + "_dq"], axis=0))
        return name + "_dq", s

    def bias(name, x_scale, w_scale):
        s = (x_scale * w_scale).astype(np.float32)
        q = np.clip(np.rint(weights[name] / s), -2**31, 2**31 - 1).astype(np.int32)
        nodes.append(helper.make_node("DequantizeLinear", [constant(name + "_q", q), constant(name + "_scale", s),
                                                           constant(name + "_zero", np.zeros(len(s), np.int32))], [name + "_dq"], axis=0))
        return name + "_dq"

    for x in g.input:
        pair(x.name, 4 / 255, 128)
    for n in g.node:
        if n.op_type not in KINDS or n.output[0] in whole:
            nodes.append(n)
            continue
        inputs = list(n.input)
        for i, x in enumerate(inputs):
            if x in quantized:
                inputs[i] = quantized[x]
        if n.op_type in ("Conv", "Gemm"):
            inputs[1], s = weight(n.input[1])
            if len(inputs) > 2:
                inputs[2] = bias(n.input[2], scales[n.input[0]][0], s)
        copy = helper.make_node(n.op_type, inputs, list(n.output), n.name)
        copy.attribute.extend(n.attribute)
        nodes.append(copy)
        y = n.output[0]
        after = users.get(y, [])
        if n.op_type in ("Conv", "Add") and len(after) == 1 and after[0].op_type in ("Relu", "Clip"):
            continue  # fused with what follows
        source_scale = scales.get(n.input[0])
        if n.op_type in SAME and source_scale:
            pair(y, *source_scale)
        elif n.op_type in ("Relu", "Clip"):
            pair(y, 6 / 255, 0)
        else:
            pair(y, 8 / 255, 128)
    outputs = []
    for o in g.output:
        outputs.append(helper.make_tensor_value_info(quantized.get(o.name, o.name), TensorProto.FLOAT, None))
    used = {x for n in nodes for x in n.input}
    keep = [i for i in g.initializer if i.name in used]
    graph = helper.make_graph(nodes, g.name, list(g.input), outputs, keep + initializers)
    out = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], producer_name="make_qdq")
    out.ir_version = 7
    onnx.save(out, target)


main(*sys.argv[1:])
