#!/usr/bin/python3
"""The networks of published performance figures, from their public definitions.

    /usr/bin/python3 tests/zoo/published.py --out build/published [NAME...]
    /usr/bin/python3 tests/zoo/published.py --list

Writes NAME.onnx: float, batch norm folded, weights of a fixed random sequence. Time, memory and traffic of a program depend on
shapes and types only, so neither training nor scales are needed. What a name alone does not say (activation, deploy form, number
of classes, which outputs) is decided here, and each network's entry says how.

Only Debian's python3-onnx and python3-numpy are used: the definitions are short, and exporters would add nodes of their own."""
import argparse
import os
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def eight(v):
    """Channels as the mobile networks round them: to multiples of 8, not below 0.9 of the value."""
    n = max(8, int(v + 4) // 8 * 8)
    return n + 8 if n < 0.9 * v else n


class Value:
    """A feature map while a network is written: its name and its shape, (n, c, h, w)."""

    def __init__(self, name, shape):
        self.name, self.shape = name, tuple(shape)

    @property
    def c(self):
        return self.shape[1]


class Net:
    """Writes ONNX; counts operations as published reports do: 2 x products of convolutions, nothing else."""

    def __init__(self, name, shape):
        self.name, self.nodes, self.weights, self.ops, self.parameters = name, [], [], 0, 0
        self.rng, self.count, self.names = np.random.default_rng(1), 0, set()
        self.input = self.x = Value("images", shape)

    def node(self, op, inputs, shape, name=None, **attributes):
        self.count += 1
        base = name = name or f"{op.lower()}_{self.count}"
        while name in self.names:
            name = f"{base}_{self.count}"
        self.names.add(name)
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return Value(name, shape)

    def constant(self, name, array):
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def conv(self, x, cout, k=1, s=1, p=None, groups=1, act=None, name=None, bias=True):
        name = name or f"conv_{self.count}"
        p = k // 2 if p is None else p
        n, c, h, w = x.shape
        ho, wo = (h + 2 * p - k) // s + 1, (w + 2 * p - k) // s + 1
        weight = self.rng.standard_normal((cout, c // groups, k, k), np.float32) * np.float32((2 / (c // groups * k * k)) ** 0.5)
        inputs = [x.name, self.constant(f"{name}.weight", weight)]
        if bias:
            inputs.append(self.constant(f"{name}.bias", self.rng.standard_normal(cout, np.float32) * np.float32(0.1)))
        y = self.node("Conv", inputs, (n, cout, ho, wo), name, kernel_shape=[k, k], strides=[s, s], pads=[p] * 4, group=groups)
        self.ops += 2 * n * ho * wo * cout * (c // groups) * k * k
        self.parameters += weight.size + (cout if bias else 0)
        return self.act(y, act)

    def act(self, x, kind):
        if kind is None:
            return x
        if kind == "relu":
            return self.node("Relu", [x.name], x.shape)
        if kind == "relu6":
            return self.node("Clip", [x.name, self.scalar("zero", 0.0), self.scalar("six", 6.0)], x.shape)
        if kind == "leaky":
            return self.node("LeakyRelu", [x.name], x.shape, alpha=0.1)
        if kind == "sigmoid":
            return self.node("Sigmoid", [x.name], x.shape)
        if kind == "silu":
            return self.mul(x, self.act(x, "sigmoid"))
        if kind == "gelu":
            erf = self.node("Erf", [self.node("Div", [x.name, self.scalar("root2", 2 ** 0.5)], x.shape).name], x.shape)
            one = self.node("Add", [erf.name, self.scalar("one", 1.0)], x.shape)
            return self.node("Mul", [self.node("Mul", [x.name, one.name], x.shape).name, self.scalar("half", 0.5)], x.shape)
        raise ValueError(kind)

    def scalar(self, name, v):
        if name not in [w.name for w in self.weights]:
            self.constant(name, np.array(v, np.float32))
        return name

    def add(self, a, b):
        return self.node("Add", [a.name, b.name], a.shape)

    def mul(self, a, b):
        return self.node("Mul", [a.name, b.name], a.shape)

    def cat(self, *xs):
        n, _, h, w = xs[0].shape
        return self.node("Concat", [x.name for x in xs], (n, sum(x.c for x in xs), h, w), axis=1)

    def split(self, x, parts):
        n, c, h, w = x.shape
        self.count += 1
        names = [f"split_{self.count}_{i}" for i in range(parts)]
        self.nodes.append(helper.make_node("Split", [x.name], names, name=f"split_{self.count}", axis=1))
        return [Value(m, (n, c // parts, h, w)) for m in names]

    def max_pool(self, x, k, s, p=0, ceil=False):
        n, c, h, w = x.shape
        def out(v):
            return -(-(v + 2 * p - k) // s) + 1 if ceil else (v + 2 * p - k) // s + 1
        return self.node("MaxPool", [x.name], (n, c, out(h), out(w)), kernel_shape=[k, k], strides=[s, s], pads=[p] * 4,
                         ceil_mode=int(ceil))

    def mean(self, x):
        """An average pool over the map: the form that both operator tables allow."""
        n, c, h, w = x.shape
        return self.node("AveragePool", [x.name], (n, c, 1, 1), kernel_shape=[h, w], strides=[1, 1])

    def global_mean(self, x):
        return self.node("GlobalAveragePool", [x.name], (*x.shape[:2], 1, 1))

    def upsample(self, x):
        n, c, h, w = x.shape
        sizes = self.constant(f"sizes_{self.count}", np.array([1, 1, 2, 2], np.float32))
        return self.node("Resize", [x.name, "", sizes], (n, c, 2 * h, 2 * w), mode="nearest",
                         coordinate_transformation_mode="asymmetric", nearest_mode="floor")

    def save(self, path, outputs):
        def info(v):
            return helper.make_tensor_value_info(v.name, TensorProto.FLOAT, v.shape)
        graph = helper.make_graph(self.nodes, self.name, [info(self.input)], [info(v) for v in outputs], self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 12)], producer_name="published.py")
        model.ir_version = 7
        with open(path, "wb") as f:
            f.write(model.SerializeToString())


# ── classifiers ──

def head(n, x, classes=1000, name="fc", pool="mean"):
    """The linear layer as a 1x1 convolution, as both marches take it."""
    return [n.conv(getattr(n, pool)(x), classes, name=name)]


def mobilenet_v1(n):
    """Howard et al. 2017, width 1.0: 4.2 M parameters. ReLU."""
    x = n.conv(n.x, 32, 3, 2, act="relu", name="conv1")
    for i, (c, s) in enumerate([(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)] + [(512, 1)] * 5 + [(1024, 2), (1024, 1)]):
        x = n.conv(x, x.c, 3, s, groups=x.c, act="relu", name=f"conv{i + 2}.dw")
        x = n.conv(x, c, act="relu", name=f"conv{i + 2}.sep")
    return head(n, x)


def googlenet(n):
    """torchvision's: batch norm, 3x3 in the place of 5x5, no auxiliary heads (evaluation). The first definition (2014) has local
    response normalization, which Bernoulli2 leaves to the CPU."""
    x = n.conv(n.x, 64, 7, 2, act="relu", name="conv1")
    x = n.max_pool(x, 3, 2, ceil=True)
    x = n.conv(x, 64, act="relu", name="conv2")
    x = n.max_pool(n.conv(x, 192, 3, act="relu", name="conv3"), 3, 2, ceil=True)
    rows = [("3a", 64, 96, 128, 16, 32, 32), ("3b", 128, 128, 192, 32, 96, 64), None, ("4a", 192, 96, 208, 16, 48, 64),
            ("4b", 160, 112, 224, 24, 64, 64), ("4c", 128, 128, 256, 24, 64, 64), ("4d", 112, 144, 288, 32, 64, 64),
            ("4e", 256, 160, 320, 32, 128, 128), 2, ("5a", 256, 160, 320, 32, 128, 128), ("5b", 384, 192, 384, 48, 128, 128)]
    for r in rows:
        if not isinstance(r, tuple):
            x = n.max_pool(x, r or 3, 2, ceil=True)
            continue
        name, one, three_in, three, five_in, five, pool = r
        def c(v, out, k, branch):
            return n.conv(v, out, k, act="relu", name=f"inception{name}.{branch}")
        x = n.cat(c(x, one, 1, "branch1"), c(c(x, three_in, 1, "branch2.0"), three, 3, "branch2.1"),
                  c(c(x, five_in, 1, "branch3.0"), five, 3, "branch3.1"), c(n.max_pool(x, 3, 1, 1, ceil=True), pool, 1, "branch4.1"))
    return head(n, x)


def resnet18(n):
    """torchvision's."""
    x = n.max_pool(n.conv(n.x, 64, 7, 2, act="relu", name="conv1"), 3, 2, 1)
    for stage, c in enumerate((64, 128, 256, 512), 1):
        for block in range(2):
            s, skip, name = 2 if stage > 1 and block == 0 else 1, x, f"layer{stage}.{block}"
            y = n.conv(n.conv(x, c, 3, s, act="relu", name=f"{name}.conv1"), c, 3, name=f"{name}.conv2")
            if s > 1:
                skip = n.conv(x, c, 1, s, name=f"{name}.downsample")
            x = n.act(n.add(y, skip), "relu")
    return head(n, x)


def repvgg(n, a, b):
    """Ding et al. 2021, deploy form: each block is one 3x3 convolution and a ReLU."""
    x = n.conv(n.x, min(64, int(64 * a)), 3, 2, act="relu", name="stage0")
    for stage, (blocks, c) in enumerate([(2, 64 * a), (4, 128 * a), (14, 256 * a), (1, 512 * b)], 1):
        for i in range(blocks):
            x = n.conv(x, int(c), 3, 2 if i == 0 else 1, act="relu", name=f"stage{stage}.{i}")
    return head(n, x)


def mobileone_s1(n):
    """Vasu et al. 2022, deploy form: 3x3 depthwise, 1x1, a ReLU behind each. Of S0 (2.1 M parameters) to S4 (14.8 M) S1 has 4.8 M."""
    x = n.conv(n.x, 64, 3, 2, act="relu", name="stage0")
    for stage, (blocks, c) in enumerate([(2, 64 * 1.5), (8, 128 * 1.5), (10, 256 * 2), (1, 512 * 2.5)], 1):
        for i in range(blocks):
            x = n.conv(x, x.c, 3, 2 if i == 0 else 1, groups=x.c, act="relu", name=f"stage{stage}.{i}.depthwise")
            x = n.conv(x, int(c), act="relu", name=f"stage{stage}.{i}.pointwise")
    return head(n, x)


def mobilenet_v2_cifar(n):
    """Sandler et al. 2018 on 32x32 frames, from the rows of the published table: strides and widths as for 224x224, ReLU6 as ReLU
    (fused either way)."""
    x = n.conv(n.x, 32, 3, 2, act="relu", name="features_0_0")
    block = 1
    for t, c, count, s in [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]:
        for i in range(count):
            skip, cin, name, stride = x, x.c, f"features_{block}", s if i == 0 else 1
            if t > 1:
                x = n.conv(x, cin * t, act="relu", name=f"{name}_conv_0_0")
            x = n.conv(x, x.c, 3, stride, groups=x.c, act="relu", name=f"{name}_conv_{int(t > 1)}_0(dw)")
            x = n.conv(x, c, name=f"{name}_proj")
            if stride == 1 and cin == c:
                x = n.add(x, skip)
            block += 1
    x = n.conv(x, 1280, act="relu", name="features_18_0")
    return head(n, x, 10, "classifier")


def efficientnet_b2(n):
    """Tan and Le 2019: width 1.1, depth 1.2, SiLU, squeeze and excitation with SiLU inside; symmetric padding, as torchvision has it."""
    x = n.conv(n.x, eight(32 * 1.1), 3, 2, act="silu", name="stem")
    block = 0
    for t, k, s, c, count in [(1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3), (6, 5, 2, 192, 4),
                              (6, 3, 1, 320, 1)]:
        cout = eight(c * 1.1)
        for i in range(int(np.ceil(count * 1.2))):
            skip, cin, name, stride = x, x.c, f"blocks.{block}", s if i == 0 else 1
            if t > 1:
                x = n.conv(x, cin * t, act="silu", name=f"{name}.expand")
            x = n.conv(x, x.c, k, stride, groups=x.c, act="silu", name=f"{name}.depthwise")
            squeeze = n.conv(n.global_mean(x), max(1, cin // 4), act="silu", name=f"{name}.fc1")
            x = n.mul(x, n.conv(squeeze, x.c, act="sigmoid", name=f"{name}.fc2"))
            x = n.conv(x, cout, name=f"{name}.project")
            if stride == 1 and cin == cout:
                x = n.add(x, skip)
            block += 1
    return head(n, n.conv(x, 4 * eight(320 * 1.1), act="silu", name="top"), pool="global_mean")


def layer_norm(n, x, name):
    """Over channels, in the parts that PyTorch exports; the map is channels-last around it."""
    shape = (x.shape[0], x.shape[2], x.shape[3], x.shape[1])
    y = n.node("Transpose", [x.name], shape, f"{name}.nhwc", perm=[0, 2, 3, 1])
    one = (*shape[:3], 1)
    mean = n.node("ReduceMean", [y.name], one, axes=[-1])
    d = n.node("Sub", [y.name, mean.name], shape)
    v = n.node("ReduceMean", [n.node("Pow", [d.name, n.scalar("two", 2.0)], shape).name], one, axes=[-1])
    r = n.node("Sqrt", [n.node("Add", [v.name, n.scalar("eps", 1e-6)], one).name], one)
    y = n.node("Div", [d.name, r.name], shape)
    w, b = (n.constant(f"{name}.{k}", np.full(x.c, f, np.float32)) for k, f in (("weight", 1), ("bias", 0)))
    y = n.node("Add", [n.node("Mul", [y.name, w], shape).name, b], shape)
    return n.node("Transpose", [y.name], x.shape, f"{name}.nchw", perm=[0, 3, 1, 2])


def convnext_atto(n):
    """timm's: depths 2 2 6 2, widths 40 80 160 320, 1x1 convolutions as MLP, GELU; layer scale is folded into the second of them."""
    x = layer_norm(n, n.conv(n.x, 40, 4, 4, 0, name="stem"), "stem_norm")
    for stage, (depth, c) in enumerate(zip((2, 2, 6, 2), (40, 80, 160, 320))):
        if stage:
            x = n.conv(layer_norm(n, x, f"down{stage}.norm"), c, 2, 2, 0, name=f"down{stage}")
        for i in range(depth):
            name = f"stages.{stage}.{i}"
            y = layer_norm(n, n.conv(x, c, 7, groups=c, name=f"{name}.dw"), f"{name}.norm")
            y = n.conv(n.conv(y, 4 * c, act="gelu", name=f"{name}.fc1"), c, name=f"{name}.fc2")
            x = n.add(y, x)
    return head(n, layer_norm(n, n.global_mean(x), "head_norm"))


# ── detectors ──

def yolov5x_v2(n, act="leaky"):
    """YOLOv5 release 2.0, depth 1.33, width 1.25: Focus, BottleneckCSP, LeakyReLU(0.1), SPP. Outputs: the three maps of 255
    channels, before decoding. Focus and the 3x3 convolution behind it are written as the 6x6 convolution of stride 2 that they
    are equal to: the same products, one layer."""
    def wide(c):
        return int(np.ceil(c * 1.25 / 8) * 8)

    def conv(x, c, k=1, s=1, name=None):
        return n.conv(x, c, k, s, act=act, name=name)

    def csp(x, c, count, shortcut, name):
        c, hidden = wide(c), int(wide(c) * 0.5)
        y = conv(x, hidden, name=f"{name}.cv1")
        for i in range(max(round(count * 1.33), 1)):
            z = conv(conv(y, hidden, name=f"{name}.m.{i}.cv1"), hidden, 3, name=f"{name}.m.{i}.cv2")
            y = n.add(y, z) if shortcut else z
        y = n.conv(y, hidden, name=f"{name}.cv3")
        z = n.conv(x, hidden, name=f"{name}.cv2")
        return conv(n.act(n.cat(y, z), act), c, name=f"{name}.cv4")

    x = n.conv(n.x, wide(64), 6, 2, 2, act=act, name="0.conv")
    x = csp(conv(x, wide(128), 3, 2, "1"), 128, 3, True, "2")
    p3 = x = csp(conv(x, wide(256), 3, 2, "3"), 256, 9, True, "4")
    p4 = x = csp(conv(x, wide(512), 3, 2, "5"), 512, 9, True, "6")
    x = conv(x, wide(1024), 3, 2, "7")
    y = conv(x, x.c // 2, name="8.cv1")
    x = conv(n.cat(y, *(n.max_pool(y, k, 1, k // 2) for k in (5, 9, 13))), wide(1024), name="8.cv2")
    x = csp(x, 1024, 3, False, "9")
    h5 = conv(x, wide(512), name="10")
    x = csp(n.cat(n.upsample(h5), p4), 512, 3, False, "13")
    h4 = conv(x, wide(256), name="14")
    o3 = csp(n.cat(n.upsample(h4), p3), 256, 3, False, "17")
    o4 = csp(n.cat(conv(o3, wide(256), 3, 2, "18"), h4), 512, 3, False, "20")
    o5 = csp(n.cat(conv(o4, wide(512), 3, 2, "21"), h5), 1024, 3, False, "23")
    return [n.conv(o, 255, name=f"24.m.{i}") for i, o in enumerate((o3, o4, o5))]


def yolov8(n, width, depth, act, bottleneck=None, classifier=False, most=1024):
    """Ultralytics' YOLOv8. Outputs of the detector: for each of three maps 64 channels of boxes and 80 of classes, before decoding.
    The classifier: the same backbone without SPPF, 1280 channels, mean, 1000 classes."""
    def wide(c):
        return eight_up(min(c, most) * width)

    def eight_up(v):
        return int(np.ceil(v / 8) * 8)

    def conv(x, c, k=1, s=1, name=None):
        return n.conv(x, c, k, s, act=act, name=name)

    def plain(x, name):
        return conv(conv(x, x.c, 3, name=f"{name}.cv1"), x.c, 3, name=f"{name}.cv2")

    def c2f(x, c, count, shortcut, name):
        c = wide(c)
        parts = n.split(conv(x, c, name=f"{name}.cv1"), 2)
        for i in range(max(round(count * depth), 1)):
            y = (bottleneck or plain)(parts[-1], f"{name}.m.{i}") if not bottleneck else bottleneck(n, parts[-1], f"{name}.m.{i}")
            parts.append(n.add(parts[-1], y) if shortcut else y)
        return conv(n.cat(*parts), c, name=f"{name}.cv2")

    x = conv(conv(n.x, wide(64), 3, 2, "0"), wide(128), 3, 2, "1")
    x = c2f(x, 128, 3, True, "2")
    p3 = x = c2f(conv(x, wide(256), 3, 2, "3"), 256, 6, True, "4")
    p4 = x = c2f(conv(x, wide(512), 3, 2, "5"), 512, 6, True, "6")
    x = c2f(conv(x, wide(1024), 3, 2, "7"), 1024, 3, True, "8")
    if classifier:
        return head(n, conv(x, 1280, name="9.conv"), name="9.linear")
    y = [conv(x, x.c // 2, name="9.cv1")]
    for _ in range(3):
        y.append(n.max_pool(y[-1], 5, 1, 2))
    p5 = conv(n.cat(*y), wide(1024), name="9.cv2")
    h4 = c2f(n.cat(n.upsample(p5), p4), 512, 3, False, "12")
    o3 = c2f(n.cat(n.upsample(h4), p3), 256, 3, False, "15")
    o4 = c2f(n.cat(conv(o3, wide(256), 3, 2, "16"), h4), 512, 3, False, "18")
    o5 = c2f(n.cat(conv(o4, wide(512), 3, 2, "19"), p5), 1024, 3, False, "21")
    outputs = []
    boxes, classes = max(16, o3.c // 4, 64), max(o3.c, 80)
    for i, o in enumerate((o3, o4, o5)):
        for branch, c, last in (("cv2", boxes, 64), ("cv3", classes, 80)):
            y = conv(conv(o, c, 3, name=f"22.{branch}.{i}.0"), c, 3, name=f"22.{branch}.{i}.1")
            outputs.append(n.conv(y, last, name=f"22.{branch}.{i}.2"))
    return outputs


def varg(n, x, name):
    """The bottleneck that the published figure's note describes: a 3x3 group convolution c -> 2c of c/8 groups, a 1x1 2c -> c."""
    y = n.conv(x, 2 * x.c, 3, groups=x.c // 8, act="relu", name=f"{name}.cv1")
    return n.conv(y, x.c, act="relu", name=f"{name}.cv2")


# name: (how, input, published operations per frame or None)
NETWORKS = {
    "mobilenet_v1": (mobilenet_v1, (1, 3, 224, 224), None),
    "googlenet": (googlenet, (1, 3, 224, 224), None),
    "resnet18": (resnet18, (1, 3, 224, 224), None),
    "repvgg_a0": (lambda n: repvgg(n, 0.75, 2.5), (1, 3, 224, 224), None),
    "repvgg_a1": (lambda n: repvgg(n, 1, 2.5), (1, 3, 224, 224), None),
    "mobileone_4.8M": (mobileone_s1, (1, 3, 224, 224), None),
    "yolov5x_v2": (yolov5x_v2, (1, 3, 640, 640), None),
    "yolov8s_varg": (lambda n: yolov8(n, 0.5, 0.33, "relu", varg), (1, 3, 640, 640), 23051673600),
    "yolov8n": (lambda n: yolov8(n, 0.25, 0.33, "silu"), (1, 3, 640, 640), None),
    "yolov8n-cls": (lambda n: yolov8(n, 0.25, 0.33, "silu", classifier=True), (1, 3, 224, 224), None),
    "efficientnet_b2": (efficientnet_b2, (1, 3, 260, 260), None),
    "convnext_atto": (convnext_atto, (1, 3, 224, 224), None),
    "mobilenet_v2_cifar": (mobilenet_v2_cifar, (256, 3, 32, 32), 12249856),
}


# Those whose published description does not say all: the operations that follow from what it does say. They are in no error.
NOT_REPRODUCED = {"yolov8s_varg": 21097676800}


def make(name, out):
    how, shape, ops = NETWORKS[name]
    n = Net(name, shape)
    outputs = how(n)
    per_frame = n.ops // shape[0]
    known = NOT_REPRODUCED.get(name)
    said = "" if ops is None else " as published" if ops == per_frame else f", published {ops}: " + ("WRONG" if per_frame != known else "not the same network")
    print(f"{name:<20}{n.parameters / 1e6:>8.2f} M parameters {per_frame:>14} operations per frame{said}", flush=True)
    if out:
        path = os.path.join(out, f"{name}.onnx")
        n.save(path + ".part", outputs)
        os.replace(path + ".part", path)
    return ops is None or per_frame == (known or ops)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", help="folder; without it operations are only counted")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    if args.list:
        print("\n".join(NETWORKS))
        return
    if args.out:
        os.makedirs(args.out, exist_ok=True)
    right = [make(n, args.out) for n in args.names or NETWORKS]
    sys.exit(0 if all(right) else 1)


if __name__ == "__main__":
    main()
