#!/usr/bin/python3
"""The estimator: its own time, and the whole way of a network over HTTP.

    perf.py ZOO BPUHUB BUILD [estimate] [pipeline]

estimate   milliseconds for a compiled program, over one pass of its costs in the same process
pipeline   upload to the finished job (check, compile, perf, visualize), beside bpuhub perf of the same file in a process of its own
"""
import json, os, resource, statistics, subprocess, sys, tempfile

import bench
import compile as compiling
from compile import row

ZOO, BPUHUB, BUILD = sys.argv[1:4]
RUNS = int(os.environ.get("RUNS", "9"))


def estimated(path, march, tmp):
    program = os.path.join(tmp, "x.bpu")
    subprocess.run([BPUHUB, "compile", path, "--march", march, "-o", program], check=True, capture_output=True)
    out = subprocess.run([f"{BUILD}/tests/bench/bench_perf", program, str(5 * RUNS)], check=True, capture_output=True, text=True)
    return json.loads(out.stdout)


def estimate(tmp):
    large = os.path.join(tmp, "made.onnx")
    compiling.made(large, 2500, True)
    networks = [(name, f"{ZOO}/{name}.onnx", "bayes") for name in ("mobilenet_v2", "resnet50")]
    networks.append(("resnet50", compiling.network("resnet50", "bernoulli2", tmp), "bernoulli2"))
    networks.append(("a chain of 2500 convolutions", large, "bayes"))
    for name, path, march in networks:
        r = estimated(path, march, tmp)
        row(f"estimate of {name}, {march}: {r['instructions']} instructions", r["estimate"], "ms", "<= 20 at 5000",
            f"timing {r['timing']:.2f}, measuring {r['measure']:.2f}, {r['advice']} pieces of advice {r['advise']:.2f}")
        row("  bound: one pass over its costs", r["bound"], "ms", "", f"{r['estimate'] / r['bound']:.1f} times that")


def changed(body, i, to):
    """A changed name in the text part of the file makes new content, so that nothing is cached."""
    with open(to, "wb") as f:
        f.write(body.replace(b"pytorch", b"pyt%04d" % i, 1))


def processor():
    use = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1e3 * (use.ru_utime + use.ru_stime)


def pipeline(tmp):
    upload = os.path.join(tmp, "upload.onnx")
    for name, aim in (("mobilenet_v2", 200), ("resnet50", None)):
        data = os.path.join(tmp, name)
        os.makedirs(data)
        with open(f"{ZOO}/{name}.onnx", "rb") as f:
            body = f.read()
        changed(body, 0, upload)
        before = processor()
        alone = [bench.run([BPUHUB, "perf", upload, "--march", "bayes", "--json", os.path.join(tmp, "r.json")])[0] for _ in range(RUNS)]
        between, times = processor(), []
        with bench.server(data) as address:
            for i in range(RUNS):
                changed(body, i, upload)
                times.append(bench.post(f"http://{address}/v1/pipeline?march=bayes&filename=m.onnx", upload))
        after = processor()
        row(f"POST /v1/pipeline of {name}, upload to results", statistics.median(times), "ms", f"<= {aim}" if aim else "",
            f"min {min(times):.1f}, max {max(times):.1f}", 1)
        row("  of a processor, with the service's start and curl", (after - between) / RUNS, "ms", "", "", 1)
        row("  peer: bpuhub perf of the same file", statistics.median(alone), "ms", "",
            f"min {min(alone):.1f}, max {max(alone):.1f}; {(between - before) / RUNS:.1f} of a processor", 1)


def main():
    parts = {"estimate": estimate, "pipeline": pipeline}
    wanted = [w for w in sys.argv[4:] if w in parts] or list(parts)
    with tempfile.TemporaryDirectory(prefix="bpuhub-bench-") as tmp:
        for part in wanted:
            parts[part](tmp)


main()
