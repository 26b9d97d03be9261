#!/usr/bin/python3
"""ONNX's published operator tests against the importer: every one must be read, and the shape and type that BPU Hub infers
for each output must be those of the published output.

usage: tests/zoo/node_tests.py [FOLDER]     needs python3-onnx and libonnx-testdata; environment: BPUHUB

A test may be refused only for a reason that this version documents: REFUSED lists them."""
import glob, json, os, re, subprocess, sys, tempfile
import onnx
from concurrent.futures import ThreadPoolExecutor

BPUHUB = os.environ.get("BPUHUB", "build/bpuhub")
ROOT = sys.argv[1] if len(sys.argv) > 1 else "/usr/share/libonnx-testdata/data"
TYPES = {1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 9: "bool",
         10: "float16", 11: "float64", 12: "uint32", 13: "uint64", 16: "bfloat16"}
# Read twice: as published, with scales that are inputs, and with all but the data as constants.
QUANTIZED = re.compile(r"^test_.*(quantizelinear|qlinear|integer)")
# Fragments of messages that are no fault of the importer.
REFUSED = ("is not a tensor", "opsets from 7 on are read", "changes the batch or the channels",
           "an extent is not an integer of 1 or more")


def tensors(folder, kind):
    for path in sorted(glob.glob(f"{folder}/test_data_set_0/{kind}_*.pb"), key=lambda p: int(p.split("_")[-1][:-3])):
        t = onnx.TensorProto()
        try:
            t.ParseFromString(open(path, "rb").read())
            yield list(t.dims), TYPES.get(t.data_type)
        except Exception:
            yield None, None


def fixed(path):
    """The same test of a quantized operator with all inputs but the first as constants, as networks have them."""
    model = onnx.load(path)
    folder = os.path.dirname(path)
    data = []
    for i in range(1, len(model.graph.input)):
        t = onnx.TensorProto()
        t.ParseFromString(open(f"{folder}/test_data_set_0/input_{i}.pb", "rb").read())
        t.name = model.graph.input[i].name
        data.append(t)
    del model.graph.input[1:]
    model.graph.initializer.extend(data)
    return model


def one(job):
    path, constants = job
    if not constants:
        return judge(path, path, onnx.load(path))
    with tempfile.NamedTemporaryFile(suffix=".onnx") as f:
        model = fixed(path)
        f.write(model.SerializeToString())
        f.flush()
        name, verdict, text = judge(path, f.name, model)
        return name + " with constants", verdict, text


def judge(path, file, model):
    folder = os.path.dirname(path)
    options = []
    known = {i.name for i in model.graph.initializer}
    inputs = [i for i in model.graph.input if i.name not in known]
    for vi, (dims, _) in zip(inputs, tensors(folder, "input")):
        declared = vi.type.tensor_type.shape.dim
        if dims and vi.type.HasField("tensor_type") and any(d.dim_value <= 0 for d in declared):
            options += ["--option", f"input.{vi.name}=" + "x".join(map(str, dims))]
    run = subprocess.run([BPUHUB, "check", file, "--march", "bayes", "--json", "-", *options], capture_output=True,
                         text=True, timeout=60)
    name = os.path.basename(folder)
    if run.returncode not in (0, 1):
        fine = any(r in run.stderr for r in REFUSED)
        return name, "refused" if fine else "error", run.stderr.strip().replace("\n", " ")[:230]
    shapes = {}
    report = json.loads(run.stdout)
    for node in report["nodes"]:
        for o in node["outputs"]:
            if "name" in o:
                shapes[o["name"]] = (o["shape"], o["dtype"])
    unknown = 0
    for vi, (dims, dtype) in zip(model.graph.output, tensors(folder, "output")):
        got = shapes.get(vi.name)
        if got is None or dims is None:
            continue
        if got[0] is None or any(d is None for d in got[0]):
            unknown += 1
        elif got[0] != dims:
            return name, "wrong", f"{vi.name}: {got[0]}, published {dims}"
    return name, "unknown" if unknown else "ok", ""


def main():
    paths = sorted(glob.glob(f"{ROOT}/*/*/model.onnx"))
    if not paths:
        sys.exit(f"no tests under {ROOT}; install libonnx-testdata")
    counts = {}
    with ThreadPoolExecutor(2) as pool:
        jobs = [(p, False) for p in paths]
        jobs += [(p, True) for p in paths
                 if QUANTIZED.search(os.path.basename(os.path.dirname(p))) and "expanded" not in p]
        for name, verdict, text in pool.map(one, jobs):
            counts[verdict] = counts.get(verdict, 0) + 1
            if verdict in ("error", "wrong") or (verdict == "unknown" and "-v" in sys.argv):
                print(f"{verdict}: {name}: {text}")
    print("node tests: " + ", ".join(f"{v} {k}" for k, v in sorted(counts.items())))
    bad = counts.get("error", 0) + counts.get("wrong", 0)
    print(f"{len(jobs) - bad} passed, {bad} failed")
    sys.exit(1 if bad else 0)


main()
