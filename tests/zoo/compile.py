#!/usr/bin/python3
"""Real networks through the compiler, and their programs through the simulator of the machine.

usage: tests/zoo/compile.py [every] [levels] [large] [NAME...]
       environment: ZOO=folder (default build/zoo), BPUHUB=binary, ANY=tests/zoo/compile_any as built, LEVELS

every   each network of the folder compiles at O2 for Bayes
levels  fifteen of them and the int8 ones, calibrated on one frame: at every level, on one core and two, for both marches.
        A program must give, byte for byte, what `bpuhub run` gives of the fixed-point network
large   inputs of 1024x2048, maps of 1x1, DeepLab's dilated layers over 65x65x2048

What the checker refuses by its operator tables must name its rules, and is compiled all the same, by compile_any. What does not
fit must name the layer, how much it needs and how much there is."""
import collections, hashlib, json, os, re, subprocess, sys, tempfile, time

import numpy as np

import export

BPUHUB, ZOO = os.environ.get("BPUHUB", "build/bpuhub"), os.environ.get("ZOO", "build/zoo")
ANY = os.environ.get("ANY", os.path.join(os.path.dirname(BPUHUB), "tests/zoo/compile_any"))
DOZEN = ("mobilenet_v2 mobilenet_v3_small resnet18 resnet50 squeezenet1_1 shufflenet_v2_x0_5 efficientnet_b0 googlenet "
         "densenet121 regnet_y_400mf lraspp_mobilenet_v3_large convnext_tiny swin_t deeplabv3_mobilenet_v3_large").split()
LENET = ["tests/fixtures/lenet_float.onnx", "tests/fixtures/lenet_qat_s8.onnx"]
MARCHES, LEVELS = ("bayes", "bernoulli2"), os.environ.get("LEVELS", "0 1 2 3 fast ddr balance").split()
SECONDS = 120  # of one command


class Count:
    passed = failed = refused = forbidden = runs = 0


def fail(what, command, done):
    Count.failed += 1
    said = "\n    ".join((done.stderr or "").strip().splitlines()[-3:])
    print(f"FAILED {what}: exit {done.returncode}\n    {' '.join(command)}\n    {said}", flush=True)


def call(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, "", f"not done after {SECONDS} s")


def says_why(text):
    """The name of a layer, and either what it needs and what there is or what is not supported."""
    said = re.search(r"(?:^|: )([^\s:][^:]*): (.*)", text.strip().splitlines()[0] if text.strip() else "")
    if not said or "the network needs" in text:
        return False
    return bool(re.search(r"needs [0-9]+ bytes.*there are [0-9]+|unsupported_model|no instruction|has no|no march has this operator", said[2]))


def rules_of(report):
    with open(report) as f:
        r = json.load(f)
    return sorted({f["rule"] for f in r["findings"] if f["severity"] == "error"})


def shape_of(path):
    """The shape of a network's only input, by its name: the exports have one each."""
    name = os.path.basename(path)
    side = 28 if name.startswith("lenet") else 20 if name.startswith("functions") else export.SIDE.get(name.split(".")[0], 224)
    return 1, 1 if side == 28 else 3, side, side


def options_of(path):
    return ["--option", "input.0=" + "x".join(map(str, shape_of(path)))] if path.endswith(".pt") else []


def attempt(what, path, march, level, cores, out, any_path=None, must=False):
    """A program at `out`: True; it must be if a simpler level has one. Refused in a way that says why: False. Anything else is counted as failed: None."""
    report = out + ".json"
    command = [BPUHUB, "compile", path, "--march", march, "-O", level, "--cores", str(cores), "-o", out, "--json", report,
               *([] if any_path else options_of(path))]
    if level == "balance":
        command += ["--balance-factor", "50"]
    done = call(*command)
    if done.returncode == 1:
        rules = rules_of(report)
        if not rules:
            return fail(f"{what}: illegal without a rule", command, done)
        Count.forbidden += 1
        if not any_path and path.endswith(".pt"):  # which does not hold the shape of its input
            any_path = out + ".bpug"
            done = call(BPUHUB, "convert", path, "-o", any_path, *options_of(path))
            if done.returncode:
                return fail(f"{what}: convert", [BPUHUB, "convert", path], done)
        command = [ANY, any_path or path, march, level, str(cores), out]
        done = call(*command)
    if done.returncode == 0 and os.path.getsize(out) > 0:
        Count.passed += 1
        return True
    if must and done.returncode:
        return fail(f"{what}: a simpler level compiles it", command, done)
    if done.returncode in (3, 4) and says_why(done.stderr):
        Count.passed += 1
        Count.refused += 1
        print(f"  {what}: refused: {done.stderr.strip().splitlines()[0][:300]}", flush=True)
        return False
    return fail(what, command, done)


def networks():
    here = sorted(n[:-5] for n in os.listdir(ZOO) if n.endswith(".onnx"))
    return [f"{ZOO}/{n}.onnx" for n in here]


def quantized():
    return sorted(f"{ZOO}/{n}" for n in os.listdir(ZOO) if n.endswith(("_int8.pt", "_qdq.onnx"))) + LENET[1:]


def every(tmp, names):
    out = os.path.join(tmp, "every.bpu")
    for path in [*networks(), *quantized()]:
        if names and not any(n in path for n in names):
            continue
        start, forbidden = time.time(), Count.forbidden
        done = attempt(f"{os.path.basename(path)}, bayes, O2", path, "bayes", "2", 1, out)
        note = " (rules " + " ".join(rules_of(out + ".json")) + ")" if Count.forbidden > forbidden else ""
        print(f"{os.path.basename(path)}: {'compiled' if done else 'not compiled'} in {time.time() - start:.1f} s{note}", flush=True)


def frame(path, to):
    """One frame of noise over waves, the same each time, as large as the network's input."""
    _, c, h, w = shape = shape_of(path)
    r = np.random.default_rng(1)
    y, x = np.mgrid[0:h, 0:w] / h
    a = np.stack([np.sin((k + 3) * x + k) * np.cos((k + 2) * y) for k in range(c)]) + r.standard_normal((c, h, w)) / 2
    np.save(to, a.reshape(shape).astype(np.float32))


def levels(tmp, names):
    for path in [*[f"{ZOO}/{n}.onnx" for n in DOZEN], LENET[0], *quantized()]:
        if names and not any(n in path for n in names):
            continue
        start, seen, refused = time.time(), {}, Count.refused
        file = lambda name: os.path.join(tmp, name)
        frame(path, file("x.npy"))
        has_scales = path in quantized()
        command = [BPUHUB, "quantize", path, "--march", "bayes", "-o", file("fixed.bpug"), *options_of(path),
                   *([] if has_scales else ["--calibration", file("x.npy"), "--option", "compare.frames=1"])]
        done = call(*command)
        if done.returncode:
            fail(f"{path}: quantize", command, done)
            continue
        command = [BPUHUB, "run", file("fixed.bpug"), "--input", file("x.npy"), "--output", file("want.npz")]
        done = call(*command)
        if done.returncode:
            fail(f"{path}: run", command, done)
            continue
        with open(file("want.npz"), "rb") as f:
            want = f.read()
        spread = len(np.unique(np.concatenate([v.ravel() for v in np.load(file("want.npz")).values()])))
        if spread < 2:
            Count.failed += 1
            print(f"FAILED {path}: all its results are the same number: nothing would be compared")
        for march in MARCHES:
            must = False
            for level in LEVELS:
                for cores in (1, 2):
                    what, bpu = f"{os.path.basename(path)}, {march}, {level}, {cores} core(s)", file("x.bpu")
                    if not attempt(what, file("fixed.bpug"), march, level, cores, bpu, file("fixed.bpug"), must):
                        continue
                    must = True
                    with open(bpu, "rb") as f: # but for the words of the options, levels may find the same program
                        digest = hashlib.sha256(f.read()).digest()
                    if digest in seen:
                        continue
                    seen[digest] = what
                    command = [BPUHUB, "run", bpu, "--input", file("x.npy"), "--output", file("got.npz")]
                    done = call(*command)
                    Count.runs += 1
                    if done.returncode:
                        fail(f"{what}: does not run", command, done)
                        continue
                    with open(file("got.npz"), "rb") as f:
                        same = f.read() == want
                    if not same:
                        fail(f"{what}: other results", command, done)
                    else:
                        Count.passed += 1
        print(f"{os.path.basename(path)}: {len(seen)} programs run, {spread} different numbers in its results, "
              f"{Count.refused - refused} refused, {time.time() - start:.1f} s", flush=True)


# ── large inputs, small maps, far windows ──


def made(path, shape, layers):
    """A chain of (operator, attributes, channels) with weights of a fixed ramp."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    x, c, nodes, weights, r = "input", shape[1], [], [], np.random.default_rng(len(layers))
    for i, (op, attrs, out) in enumerate(layers):
        y, ins = f"v{i}", [x]
        if op == "Conv":
            k = attrs["kernel_shape"]
            groups = attrs.get("group", 1)
            weights.append(numpy_helper.from_array((r.standard_normal((out, c // groups, *k)) / (c * k[0]) ** .5).astype(np.float32), f"w{i}"))
            ins.append(f"w{i}")
        nodes.append(helper.make_node(op, ins, [y], name=f"{op.lower()}{i}", **attrs))
        x, c = y, out if op == "Conv" else c
    graph = helper.make_graph(nodes, "made", [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
                              [helper.make_tensor_value_info(x, TensorProto.FLOAT, None)], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(onnx.shape_inference.infer_shapes(model), path)


def conv(k, out, stride=1, dilation=1, group=1):
    pad = dilation * (k // 2)
    return "Conv", {"kernel_shape": [k, k], "strides": [stride] * 2, "dilations": [dilation] * 2, "pads": [pad] * 4,
                    "group": group}, out


RELU, POOL = ("Relu", {}, 0), ("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2]}, 0)


def cases():
    yield "street", [1, 3, 1024, 2048], [conv(3, 32, 2), RELU, conv(3, 32, group=32), RELU, conv(1, 64), RELU, POOL,
                                         conv(3, 128, 2), RELU, conv(3, 128), RELU, conv(1, 19)]
    yield "street at full size", [1, 3, 1024, 2048], [conv(3, 64), RELU, conv(3, 64), RELU, conv(3, 19)]
    yield "wide rows", [1, 64, 8, 16384], [conv(3, 64), RELU, conv(3, 64)]
    yield "one pixel", [1, 512, 1, 1], [conv(1, 1024), RELU, conv(3, 1024), RELU, conv(1, 7)]
    yield "one row", [1, 16, 1, 512], [conv(3, 32), RELU, conv(1, 32)]
    yield "one column", [1, 16, 512, 1], [conv(3, 32), RELU, conv(1, 32)]
    for d in (6, 12, 24, 36):
        yield f"65x65x2048 dilated by {d}", [1, 2048, 65, 65], [conv(3, 256, dilation=d), RELU, conv(1, 256)]
    yield "129x129x2048 dilated by 36", [1, 2048, 129, 129], [conv(3, 256, dilation=36), RELU, conv(1, 21)]
    yield "depthwise over 257x257x960, dilated", [1, 960, 257, 257], [conv(3, 960, dilation=4, group=960), RELU, conv(1, 160)]


def large(tmp, names):
    for number, (name, shape, layers) in enumerate(cases()):
        if names and not any(n in name for n in names):
            continue
        start, path = time.time(), os.path.join(tmp, f"made{number}.onnx")
        made(path, shape, layers)
        outcome = collections.Counter()
        for march in MARCHES:
            must = False
            for level, cores in (("0", 1), ("1", 1), ("2", 1), ("2", 2), ("3", 1), ("ddr", 2)):
                bpu = os.path.join(tmp, "large.bpu")
                done = attempt(f"{name}, {march}, {level}, {cores} core(s)", path, march, level, cores, bpu, None, must)
                must |= done is True
                outcome["compiled" if done else "refused" if done is False else "failed"] += 1
        print(f"{name} ({'x'.join(map(str, shape))}): {dict(outcome)}, {time.time() - start:.1f} s", flush=True)
        os.remove(path)


def main():
    parts = {"every": every, "levels": levels, "large": large}
    wanted = [w for w in sys.argv[1:] if w in parts] or list(parts)
    names = [w for w in sys.argv[1:] if w not in parts]
    with tempfile.TemporaryDirectory(prefix="bpuhub-compile-") as tmp:
        for part in wanted:
            parts[part](tmp, names)
    print(f"{Count.runs} programs run; {Count.forbidden} compiled past the checker, {Count.refused} refused with a reason")
    print(f"compile: {Count.passed} passed, {Count.failed} failed")
    sys.exit(1 if Count.failed or not Count.passed else 0)


main()
