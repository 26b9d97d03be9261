#!/usr/bin/python3
"""Predicted against published computing time of single layers, as the machine's figures for Bayes have it.

    tests/fit/layers.py LAYERS.csv [BPUHUB]

LAYERS.csv has a row per published layer: layer, cin, cout, hin, hout, k, stride, groups, batch, compute_us. Each becomes a
network of one convolution, is compiled with every map through DDR, and the conv engine's busy time is compared."""
import csv, json, math, os, subprocess, sys, tempfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

BPUHUB = sys.argv[2] if len(sys.argv) > 2 else "build/bpuhub"


def network(path, l):
    rng = np.random.default_rng(1)
    weight = rng.standard_normal((l["cout"], l["cin"] // l["groups"], l["k"], l["k"])).astype(np.float32)
    pad = l["k"] // 2
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="conv", group=l["groups"], pads=[pad] * 4, strides=[l["stride"]] * 2)
    graph = helper.make_graph(
        [node], "layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [l["batch"], l["cin"], l["hin"], l["hin"]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [l["batch"], l["cout"], l["hout"], l["hout"]])],
        [numpy_helper.from_array(weight, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(model, path)


def predicted_us(l, tmp):
    path, report = os.path.join(tmp, "l.onnx"), os.path.join(tmp, "l.json")
    network(path, l)
    done = subprocess.run([BPUHUB, "compile", path, "--march", "bayes", "-O", "0", "-o", os.path.join(tmp, "l.bpu"), "--json", report],
                          capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{l['layer']}: {done.stderr.strip()}")
    with open(report) as f:
        return sum(x["busy_us"].get("conv", 0) for x in json.load(f)["layers"])


def main():
    with open(sys.argv[1]) as f:
        rows = list(csv.DictReader(f))
    errors = {"dense": [], "depthwise": []}
    print(f"{'layer':<28}{'published us':>14}{'predicted us':>14}{'ratio':>8}")
    with tempfile.TemporaryDirectory() as tmp:
        for r in rows:
            l = {k: r[k] if k == "layer" else int(r[k]) for k in ("layer", "cin", "cout", "hin", "hout", "k", "stride", "groups", "batch")}
            us, want = predicted_us(l, tmp), float(r["compute_us"])
            errors["depthwise" if l["groups"] > 1 else "dense"].append(math.log(us / want))
            print(f"{l['layer']:<28}{want:>14.0f}{us:>14.1f}{us / want:>8.2f}")
    for kind, e in errors.items():
        if e:
            print(f"{kind}: {len(e)} layers, mean of |ln ratio| {sum(map(abs, e)) / len(e):.3f}, "
                  f"geometric mean of ratios {math.exp(sum(e) / len(e)):.3f}")


main()
