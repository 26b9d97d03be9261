#!/usr/bin/python3
"""Quantized networks must run to the bit like PyTorch's qnnpack: every result of every frame, and for the first frame
every intermediate result.

    apt-get install --no-install-recommends python3-torch python3-torchvision
    BPUHUB=build/bpuhub /usr/bin/python3 tests/zoo/exact.py [--frames 20] [--engine fast|reference|both] [NAME ...]

The reference engine, which is slow, runs the first frames of a large network only (--slow-frames).  Networks are made here, once, into ZOO (default build/zoo): torch.quantization-converted, traced, random weights with
calibrated batch norms: real structure and real value ranges.  A NAME that ends in .pt is the file of any such network
with 1x1x28x28 (its name begins with lenet) or 1x3x224x224 inputs.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings

import numpy as np
import torch
import torch.ao.quantization as Q
import torch.nn as nn
import torchvision.models.quantization as MQ
from torch.utils._python_dispatch import TorchDispatchMode

warnings.filterwarnings("ignore")
torch.set_num_threads(1)
torch.backends.quantized.engine = "qnnpack"
BPUHUB = os.environ.get("BPUHUB", "build/bpuhub")
ZOO = os.environ.get("ZOO", "build/zoo")


class LeNet(nn.Module):
    def __init__(self):
        super().__init__()
        block = lambda cin, cout: nn.Sequential(nn.Conv2d(cin, cout, 5), nn.BatchNorm2d(cout), nn.ReLU())
        self.quant, self.dequant = Q.QuantStub(), Q.DeQuantStub()
        self.conv0, self.conv1 = block(1, 10), block(10, 20)
        self.max_pool, self.avg_pool = nn.MaxPool2d(2), nn.AvgPool2d(8)
        self.classifier = nn.Conv2d(20, 10, 1)

    def fuse_model(self):
        Q.fuse_modules(self, [["conv0.0", "conv0.1", "conv0.2"], ["conv1.0", "conv1.1", "conv1.2"]], inplace=True)

    def forward(self, x):
        x = self.max_pool(self.conv0(self.quant(x)))
        return self.dequant(self.classifier(self.avg_pool(self.conv1(x))))


class Functions(nn.Module):
    """Operators that the other networks lack, on quantized tensors from the start.  No scale has few digits: with those
    many results are ties, and on which side of one binary32 falls is nobody's rule."""

    def __init__(self):
        super().__init__()
        self.conv, self.deconv = nn.quantized.Conv2d(3, 8, 3, padding=1), nn.quantized.ConvTranspose2d(8, 8, 3, stride=2)
        self.linear = nn.quantized.Linear(48, 10)
        for m, shape in ((self.conv, (8, 3, 3, 3)), (self.deconv, (8, 8, 3, 3)), (self.linear, (10, 48))):
            w = torch.quantize_per_tensor(torch.randn(shape), .02, 0, torch.qint8)
            m.set_weight_bias(w, torch.randn(shape[0]))
            m.scale, m.zero_point = .11273, 120

    def forward(self, x):
        q = torch.ops.quantized
        x = torch.quantize_per_tensor(x, .03137, 120, torch.quint8)
        a = self.conv(x)
        b = q.leaky_relu(a, .1, False, .07139, 90)
        c = q.elu(a, .05323, 30, 1.2)
        d = q.mul(torch.sigmoid(a), b, .06171, 100)
        e = q.add(torch.tanh(b), q.hardswish(c, .04337, 11), .08271, 70)
        f = q.add_relu(d, e, .07331, 60)
        g = q.add_scalar(q.mul_scalar(f, -1.7), .83)
        # PyTorch 1.13 mixes up the elements of a clamp in channels_last.
        e, f = e.contiguous(), f.contiguous()
        h = q.cat([d, nn.functional.hardtanh(e, -1.5, 2.5), q.relu6(f, False), q.celu(g, .05279, 77, .7)], 1, .06427, 101)
        h = nn.functional.max_pool2d(h, 3, 2, 1)
        i = self.deconv(nn.functional.avg_pool2d(a, 2))
        i = nn.functional.interpolate(i, scale_factor=2, mode="nearest")
        j = torch.cat([nn.functional.adaptive_avg_pool2d(i, (1, 1)), i.mean([2, 3], keepdim=True)], 1)
        k = q.cat([nn.functional.adaptive_avg_pool2d(h, (1, 1)), j], 1, .05381, 110)
        k = nn.functional.threshold(nn.functional.gelu(k), .1, -.2)
        return self.linear(torch.flatten(k, 1)).dequantize()


def torchvision_net(name):
    extra = {"init_weights": False} if name == "googlenet" else {}
    return lambda: getattr(MQ, name)(weights=None, quantize=False, **extra)


NETS = {"lenet": LeNet, "functions": Functions, **{name: torchvision_net(name) for name in (
    "mobilenet_v2", "resnet18", "mobilenet_v3_large", "shufflenet_v2_x0_5")}}
MORE = {name: torchvision_net(name) for name in ("resnet50", "resnext101_32x8d", "googlenet")}


def shape_of(name):
    name = os.path.basename(name)
    return ((1, 1, 28, 28) if name.startswith("lenet") else
            (1, 3, 20, 20) if name.startswith("functions") else (1, 3, 224, 224))


def frames_of(name, count):
    """Smooth images with noise on them: values of all sizes."""
    r = np.random.RandomState(1)
    _, c, h, w = shape_of(name)
    y, x = np.mgrid[0:h, 0:w] / h
    out = np.zeros((count, c, h, w), np.float32)
    for f in range(count):
        for k in range(c):
            a, b, p = r.uniform(2, 12, 3)
            out[f, k] = np.sin(a * x + p) * np.cos(b * y) + r.randn(h, w) * r.choice([.05, .5, 1.5])
    return np.abs(out).clip(0, 1) if c == 1 else out


def make(name, path):
    torch.manual_seed(0)
    model, data = {**NETS, **MORE}[name](), torch.from_numpy(frames_of(name, 8))
    if hasattr(model, "fuse_model"):
        model = quantize(model, data)
    with torch.no_grad():
        torch.jit.trace(model.eval(), data[:1], check_trace=False).save(path + ".part")
    os.replace(path + ".part", path)


def quantize(model, data):
    for m in model.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.momentum = None
            m.reset_running_stats()
            nn.init.uniform_(m.weight, .7, 1.3)
            nn.init.normal_(m.bias, 0, .2)
    model.train()
    for m in model.modules():
        if isinstance(m, nn.Dropout):
            m.eval()
    with torch.no_grad():
        model(data[:4])
        model(data[4:])
        model.eval()
        model.fuse_model()
        model.qconfig = Q.get_default_qconfig("qnnpack")
        Q.prepare(model, inplace=True)
        for i in range(4):
            model(data[i:i + 1])
    return Q.convert(model)


class Watch(TorchDispatchMode):
    """Every quantized tensor that an operator makes."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        y = function(*args, **(kwargs or {}))
        for t in y if isinstance(y, (tuple, list)) else [y]:
            if torch.is_tensor(t) and t.is_quantized and t.qscheme() == torch.per_tensor_affine:
                self.seen.append((str(function), t))
        return y


def key(shape, scale, zero):
    return tuple(shape), float(np.float32(scale)), int(zero)  # some operators round the scale that they keep


def compare_layers(folder, seen):
    """Each traced quantized value must be one of PyTorch's, and the other way round. Returns complaints and count."""
    complaints, ours, theirs = [], {}, {}
    for v in json.load(open(os.path.join(folder, "index.json")))["values"]:
        if v["dtype"] == "quint8":
            array = np.load(os.path.join(folder, v["file"]))
            ours.setdefault(key(v["shape"], v["scale"], v["zero_point"]), []).append((v["value"], array))
    for name, t in seen:
        theirs.setdefault(key(t.shape, t.q_scale(), t.q_zero_point()), []).append((name, t.int_repr().numpy()))
    count = 0
    for k, values in ours.items():
        for value, array in values:
            count += 1
            differ = [int((array != b).sum()) for _, b in theirs.get(k, [])]
            if not differ:
                complaints.append(f"{value} {k}: PyTorch has no such result")
            elif min(differ):
                complaints.append(f"{value} {k}: {min(differ)} of {array.size} elements differ")
    for k, values in theirs.items():
        for name, array in values:
            if not any(np.array_equal(array, b) for _, b in ours.get(k, [])):
                complaints.append(f"{name} {k}: not among our results")
    return complaints, count


def check(path, count, engine):
    model, x = torch.jit.load(path), frames_of(path, count)
    with torch.no_grad(), tempfile.TemporaryDirectory() as work:
        start = time.time()
        with Watch() as watch:
            first = model(torch.from_numpy(x[:1])).numpy()
        want = np.concatenate([first] + [model(torch.from_numpy(x[i:i + 1])).numpy() for i in range(1, count)])
        torch_s = time.time() - start
        inputs, trace = os.path.join(work, "x.npz"), os.path.join(work, "trace")
        np.savez(inputs, x=x)
        start = time.time()
        run = [BPUHUB, "run", path, "--input", inputs, "--output", os.path.join(work, "y.npz"), "--engine", engine]
        # A trace keeps all results; the fast engine is run without as well, so that both memory plans are tested.
        runs = [["--trace", trace]] if engine == "reference" else [[], ["--trace", trace]]
        for extra in runs:
            done = subprocess.run(run + extra, capture_output=True, text=True)
            if done.returncode:
                print(f"{path} ({engine}): exit {done.returncode}: {done.stderr.strip()}")
                return False
            got = np.load(os.path.join(work, "y.npz"))
            got = got[got.files[0]].reshape(want.shape)
            wrong = int((got != want).sum())
            if wrong:
                print(f"{path} ({engine}): {wrong} of {want.size} outputs differ")
        ours_s = (time.time() - start) / len(runs)
        complaints, layers = compare_layers(trace, watch.seen)
        for c in complaints[:10]:
            print(f"  {c}")
        print(f"{os.path.basename(path)} ({engine}): {count} frames, {want.size} outputs, {wrong} differ; {layers} layers "
              f"of the first frame, {len(complaints)} complaints; PyTorch {torch_s:.1f} s, bpuhub {ours_s:.1f} s",
              flush=True)
        return wrong == 0 and not complaints and layers > 0


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--frames", type=int, default=20)
    p.add_argument("--slow-frames", type=int, default=3)
    p.add_argument("--engine", default="both", choices=["fast", "reference", "both"])
    p.add_argument("names", nargs="*", metavar="NAME",
                   help=f"{', '.join([*NETS, *MORE])}, or a file (default: {', '.join(NETS)})")
    a = p.parse_args()
    os.makedirs(ZOO, exist_ok=True)
    failed = 0
    for name in a.names or NETS:
        path = name if name.endswith(".pt") else os.path.join(ZOO, f"{name}_int8.pt")
        if not os.path.exists(path):
            make(name, path)
        for engine in ["reference", "fast"] if a.engine == "both" else [a.engine]:
            slow = engine == "reference" and shape_of(path)[2] > 100
            failed += not check(path, min(a.frames, a.slow_frames) if slow else a.frames, engine)
    print("exact: " + (f"{failed} failed" if failed else "all equal"))
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
