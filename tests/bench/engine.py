#!/usr/bin/python3
"""The fast int8 engine against ONNX Runtime on the same QDQ file, one thread each, in turns.

    engine.py ZOO BUILD      uses node and the pinned onnxruntime-node of package.json beside this file
"""
import json, os, statistics, subprocess, sys

HERE = os.path.dirname(os.path.abspath(__file__))
ZOO, BUILD = sys.argv[1], sys.argv[2]
NETWORKS = ("mobilenet_v2", "resnet18", "resnet50")
ROUNDS, FRAMES = int(os.environ.get("RUNS", "5")), "20"


def ours(path, *variant):
    out = subprocess.run([f"{BUILD}/tests/bench/bench_engine", path, "1x3x224x224", FRAMES, *variant], check=True, capture_output=True, text=True)
    return json.loads(out.stdout)


def peer(path):
    out = subprocess.run(["node", f"{HERE}/peer.cjs", path, FRAMES], check=True, capture_output=True, text=True, cwd=HERE)
    return json.loads(out.stdout)


def row(what, value, unit, aim, note=""):
    print(f"{what:<58}{value:>10.2f} {unit:<6}{aim:<14}{note}", flush=True)


def main():
    if not os.path.isdir(f"{HERE}/node_modules/onnxruntime-node"):
        subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=HERE, check=True, stdout=subprocess.DEVNULL)
    for name in NETWORKS:
        qdq = f"{ZOO}/{name}_qdq.onnx"
        if not os.path.exists(qdq):
            subprocess.run(["/usr/bin/python3", f"{HERE}/make_qdq.py", f"{ZOO}/{name}.onnx", qdq], check=True)
        a, b = [], []
        for _ in range(ROUNDS):
            a.append(ours(qdq))
            b.append(peer(os.path.abspath(qdq)))
        mine, other = min(x["best_ms"] for x in a), min(x["best_ms"] for x in b)
        peak = max(x["peak_macs_per_s"] for x in a)
        row(f"int8 {name}, one frame ({a[0]['variant']})", mine, "ms", "",
            f"medians {statistics.median(x['median_ms'] for x in a):.2f}")
        row("  peer: ONNX Runtime, same QDQ file, one thread", other, "ms", "",
            f"medians {statistics.median(x['median_ms'] for x in b):.2f}")
        row("  peer / ours", other / mine, "x", ">= 1")
        row("  share of the measured peak of one core", 100 * a[0]["macs"] / (mine / 1e3) / peak, "%", "",
            f"{peak / 1e9:.0f} G products/s, {a[0]['macs'] / 1e9:.2f} G in the network")
        row("  memory of values / largest live set", a[0]["planned"] / a[0]["live"], "x", "<= 1.2",
            f"{a[0]['planned'] / 1e6:.2f} MB beside {a[0]['weights'] / 1e6:.2f} MB of weights")
        for variant in ("avx2", "portable"):
            row(f"  the same by {variant}", ours(qdq, variant)["best_ms"], "ms", "")


main()
