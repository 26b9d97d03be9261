#!/usr/bin/python3
"""ONNX's published operator tests against `bpuhub run`: outputs must be the published ones, exactly for integers and
booleans, within ONNX's own tolerance (rtol 1e-3, atol 1e-7) for real numbers.

usage: tests/zoo/node_run.py [-v] [-e ENGINE] [NAME…]    needs python3-onnx and libonnx-testdata; environment: BPUHUB

Many tests feed operands that say what the operator is to do (a target shape, axes, a depth) as inputs of the graph; a network
for the BPU has them as constants. Where a test does not run as it is, those operands are made constants of the model: its
vectors of integers, then all but its first input. It must give the published result then.

What is not run is listed here by its reason: REFUSED by what the program says, KNOWN by name. Anything else fails."""
import glob, os, re, subprocess, sys, tempfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
from onnx import numpy_helper

BPUHUB = os.environ.get("BPUHUB", "build/bpuhub")
ROOT = "/usr/share/libonnx-testdata/data/node"

# Operators of ONNX that are no operators of BPU Hub: training, losses, sequences, text, signal processing, control flow, and
# what the public tables name in one march's list of the unsupported and nowhere else.
FOREIGN = """Adagrad Adam Momentum NegativeLogLikelihoodLoss SoftmaxCrossEntropyLoss If Loop Scan TfIdfVectorizer DFT STFT
BlackmanWindow HammingWindow HannWindow MelWeightMatrix Bernoulli MaxUnpool MeanVarianceNormalization ReverseSequence CastLike
Compress NonMaxSuppression Unique ReduceLogSum ReduceSumSquare Mean Scatter DynamicQuantizeLinear"""
REFUSED = [
    (r"opsets from 7 on are read", "written for an opset before 7"),
    (r"operator (onnx|ai\.onnx\.preview\.training):(%s) cannot" % "|".join(FOREIGN.split()), "no operator of BPU Hub"),
    (r"BatchNormalization \(training\) cannot", "statistics of training"),
    (r"Dropout\.mask cannot", "the mask of a Dropout that does nothing"),
    (r"QuantizeLinear_15: the operator torch.quantization.QuantStub cannot", "scales that are computed from the data"),
    (r"shape of .* is not known before the network runs", "the shape of the result depends on the data"),
    (r"an extent is not an integer of 1 or more|the array has the shape [0-9x]*0|is empty", "tensors without elements"),
    (r"changes the batch or the channels|tf_crop_and_resize is not supported", "resizing of other axes, or of a crop"),
    (r"no tensor of numbers", "strings, sequences, optional values"),
]
KNOWN = {
    "test_resize_downsample_scales_cubic_align_corners": "published with an extent that is not rounded; PyTorch rounds it first",
    "test_resize_downsample_scales_linear_align_corners": "published with an extent that is not rounded; PyTorch rounds it first",
    "test_cast_FLOAT_to_BFLOAT16": "published with the digits cut off; PyTorch rounds to nearest",
    "test_castlike_FLOAT_to_BFLOAT16_expanded": "published with the digits cut off; PyTorch rounds to nearest",
    "test_reshape_allowzero_reordered": "a tensor without elements",
    "test_split_zero_size_splits": "a tensor without elements",
    "test_training_dropout": "random: training mode",
    "test_training_dropout_default": "random: training mode",
}
# Their weights as data would be computed in floating point, as the program notes: they are constants here.
CONSTANT_WEIGHTS = {"ConvInteger"}
# Outputs beyond the first that only training reads: not asked for.
TRAINING_OUTPUTS = {"LayerNormalization"}


def bfloat(v):
    return (v.astype(np.uint32) << 16).view(np.float32)  # numpy has no bfloat16


def tensors(folder, kind, declared):
    out = []
    paths = sorted(glob.glob(f"{folder}/test_data_set_0/{kind}_*.pb"), key=lambda p: int(p.split("_")[-1][:-3]))
    for path, vi in zip(paths, declared):
        t = onnx.TensorProto()
        try:
            t.ParseFromString(open(path, "rb").read())
            v = numpy_helper.to_array(t)
        except Exception:
            v = None
        if v is not None and vi.type.tensor_type.elem_type == onnx.TensorProto.BFLOAT16 and v.dtype == np.uint16:
            v = bfloat(v)
        out.append(v if vi.type.HasField("tensor_type") else None)
    return out


def frozen(model, values, which):
    """The model with these inputs as initializers."""
    m = onnx.ModelProto()
    m.CopyFrom(model)
    keep = []
    for vi in model.graph.input:
        if vi.name in which:
            m.graph.initializer.append(numpy_helper.from_array(values[vi.name], vi.name))
        else:
            keep.append(vi)
    del m.graph.input[:]
    m.graph.input.extend(keep)
    return m


def run(model, values, folder, engine):
    """The outputs, or a text that says why there are none."""
    path, out = f"{folder}/model.onnx", f"{folder}/out.npz"
    with open(path, "wb") as f:
        f.write(model.SerializeToString())
    command = [BPUHUB, "run", path, "--output", out, "--engine", engine]
    for k, vi in enumerate(model.graph.input):
        np.save(f"{folder}/in{k}.npy", np.ascontiguousarray(values[vi.name]))
        command += ["--input", f"{vi.name}={folder}/in{k}.npy"]
        shape = values[vi.name].shape
        if shape and any(not d.HasField("dim_value") for d in vi.type.tensor_type.shape.dim):
            command += ["--option", f"input.{vi.name}=" + "x".join(map(str, shape))]
    r = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if r.returncode != 0:
        return " ".join(r.stderr.split()) or f"exit code {r.returncode}"
    data = np.load(out)
    return {k: data[k] for k in data.files}


def compare(got, want):
    if got.dtype != want.dtype:
        return f"type {got.dtype}, published {want.dtype}"
    if got.shape != want.shape:
        return f"shape {got.shape}, published {want.shape}"
    if want.dtype.kind in "iub":
        return "" if np.array_equal(got, want) else f"{np.sum(got != want)} of {want.size} integers differ"
    try:
        np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-7)
    except AssertionError as e:
        return " ".join(str(e).split())[:200]
    return ""


def one(folder, engine="reference"):
    name = os.path.basename(folder)
    if name in KNOWN:
        return name, "known", KNOWN[name]
    model = onnx.load(f"{folder}/model.onnx")
    inputs, outputs = (tensors(folder, k, v) for k, v in (("input", model.graph.input), ("output", model.graph.output)))
    if any(t is None or t.dtype.kind not in "iubf" for t in inputs + outputs):
        return name, "refused", "an operand is no tensor of numbers"
    if model.graph.node[0].op_type in TRAINING_OUTPUTS:
        del model.graph.node[0].output[1:], model.graph.output[1:], outputs[1:]
    names = [vi.name for vi in model.graph.input]
    values = dict(zip(names, inputs))
    integers = [n for n in names[1:] if values[n].dtype.kind in "iu" and values[n].ndim <= 1]
    how = [("ok", [])]
    if integers:
        how.append(("ok with constant integers", integers))
    if names[1:]:
        how.append(("ok with constant operands", names[1:]))
    if model.graph.node[0].op_type in CONSTANT_WEIGHTS:
        how = how[-1:]
    text = ""
    with tempfile.TemporaryDirectory() as tmp:
        for verdict, which in how:
            got = run(frozen(model, values, which), values, tmp, engine)
            if isinstance(got, str):
                text = got.replace(tmp + "/", "")
                continue
            for o, want in zip(model.graph.output, outputs):
                bad = compare(got[o.name], want) if o.name in got else "it is missing"
                if bad:
                    return name, "wrong", f"{verdict}: {o.name}: {bad}"
            return name, verdict, ""
    return name, "refused", text


def main():
    args = sys.argv[1:]
    engine = args[args.index("-e") + 1] if "-e" in args else "reference"
    names = [a for a in args if a.startswith("test_")]
    folders = [f"{ROOT}/{n}" for n in names] or sorted(glob.glob(f"{ROOT}/*"))
    if not folders or not os.path.isdir(folders[0]):
        sys.exit(f"no tests under {ROOT}; install libonnx-testdata")
    counts, bad = {}, 0
    with ThreadPoolExecutor(2) as pool:
        for name, verdict, text in pool.map(lambda f: one(f, engine), folders):
            if verdict == "refused":
                reasons = [reason for pattern, reason in REFUSED if re.search(pattern, text)]
                verdict = f"not run ({reasons[0]})" if reasons else "refused"
            counts[verdict] = counts.get(verdict, 0) + 1
            bad += verdict in ("wrong", "refused")
            if verdict in ("wrong", "refused") or "-v" in args or names:
                print(f"{verdict}: {name}: {text[:300]}")
    for verdict, count in sorted(counts.items()):
        print(f"{count:5d} {verdict}")
    good = sum(c for v, c in counts.items() if v.startswith("ok"))
    print(f"{good} passed, {bad} failed")
    sys.exit(1 if bad or not good else 0)


if __name__ == "__main__":
    main()
