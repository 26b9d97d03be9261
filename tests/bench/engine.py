#!/usr/bin/python3
"""The int8 engine: its speed against ONNX Runtime on the same QDQ file, one thread each, in turns; its memory against the aim.

    engine.py ZOO BUILD [speed] [memory]      speed uses node and the pinned onnxruntime-node of package.json beside this file
"""
import json, os, statistics, subprocess, sys

HERE = os.path.dirname(os.path.abspath(__file__))
ZOO, BUILD = sys.argv[1], sys.argv[2]
NETWORKS = ("mobilenet_v2", "resnet18", "resnet50")
HELD = NETWORKS + ("mobilenet_v3_large", "shufflenet_v2_x0_5")  # the last one is small: all that is beside weights counts
ROUNDS, FRAMES = int(os.environ.get("RUNS", "5")), "20"


def ours(path, *variant, frames=FRAMES):
    out = subprocess.run([f"{BUILD}/tests/bench/bench_engine", path, "1x3x224x224", frames, *variant], check=True, capture_output=True, text=True)
    return json.loads(out.stdout)


def peer(path):
    out = subprocess.run(["node", f"{HERE}/peer.cjs", path, FRAMES], check=True, capture_output=True, text=True, cwd=HERE)
    return json.loads(out.stdout)


def row(what, value, unit, aim, note="", digits=2):
    print(f"{what:<58}{value:>10.{digits}f} {unit:<6}{aim:<14}{note}", flush=True)


def qdq_of(name):
    qdq = f"{ZOO}/{name}_qdq.onnx"
    if not os.path.exists(qdq):
        subprocess.run(["/usr/bin/python3", f"{HERE}/make_qdq.py", f"{ZOO}/{name}.onnx", qdq], check=True)
    return qdq


def speed():
    if not os.path.isdir(f"{HERE}/node_modules/onnxruntime-node"):
        subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=HERE, check=True, stdout=subprocess.DEVNULL)
    for name in NETWORKS:
        qdq = qdq_of(name)
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
        for variant in ("avx2", "portable"):
            row(f"  the same by {variant}", ours(qdq, variant)["best_ms"], "ms", "")


def memory():
    """All that a run holds, by its own count, against weights + 1.2 x the largest live set; what the process took beside it."""
    mb = lambda n: f"{n / 1e6:.2f}"
    for name in HELD:
        for engine in ("fast", "reference"):
            m = ours(qdq_of(name), *(() if engine == "fast" else (engine,)), frames="1")
            row(f"int8 {name}, {engine}: (plan + scratch) / live", (m["planned"] + m["scratch"]) / m["live"], "x", "<= 1.2",
                f"live {mb(m['live'])} MB, plan {mb(m['planned'])}, scratch {mb(m['scratch'])}", 3)
            row("  held / (weights + 1.2 x live)", m["held"] / (m["weights"] + 1.2 * m["live"]), "x", "<= 1",
                f"held {mb(m['held'])} MB, weights {mb(m['weights'])}; the process grew by {mb(m['resident'])}, peak RSS {mb(m['peak'])}", 3)


def main():
    wanted = sys.argv[3:] or ["speed", "memory"]
    if "speed" in wanted:
        speed()
    if "memory" in wanted:
        memory()


main()
