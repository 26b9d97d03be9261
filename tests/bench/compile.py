#!/usr/bin/python3
"""The compiler: its time and memory, and how near its programs come to what no program can beat.

    compile.py ZOO BPUHUB BUILD [quality] [cores] [speed] [growth] [--json FILE] [--table FILE]

quality   per network, march and level: on-chip memory, DDR bytes and predicted time over their bounds
cores     predicted time on two cores over that on one, O2 and O3
speed     wall time and peak memory of compiling
growth    processor time over the number of nodes, chains and random graphs up to 5,000

--table writes the figures of quality and cores as the tables of docs/compiling.md.
"""
import json, math, os, random, re, resource, statistics, subprocess, sys, tempfile

ZOO, BPUHUB, BUILD = sys.argv[1:4]
NETWORKS = os.environ.get("NETWORKS", "mobilenet_v2 resnet18 resnet50 efficientnet_b0").split()
MARCHES = ("bayes", "bernoulli2")
LEVELS = os.environ.get("LEVELS", "0 1 2 3 fast ddr balance").split()
RUNS = int(os.environ.get("RUNS", "5"))
NODES = (500, 1000, 2000, 3500, 5000)
RESULTS = []
TABLE = ["| network, march | level | time, us | / bound | DDR, MB | / bound | on chip, MiB | spilled maps | instructions | compiled in, ms |",
         "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|"]
CORES_TABLE = ["| network, march | level | one core, us | two, us | ratio | bound of two, us | DDR of one, MB | of two | compiled in, ms |",
               "|---|---|---:|---:|---:|---:|---:|---:|---:|"]


def row(what, value, unit, aim="", note="", digits=2):
    print(f"{what:<58}{value:>10.{digits}f} {unit:<6}{aim:<14}{note}", flush=True)
    RESULTS.append({"figure": what.strip(), "value": value, "unit": unit, "aim": aim, "note": note})


def measured(path, march, level, tmp, *more):
    """Wall and processor milliseconds, peak bytes and the report of one compilation in a process of its own."""
    report = os.path.join(tmp, "report.json")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    out = subprocess.run([f"{BUILD}/tests/bench/measure", BPUHUB, "compile", path, "--march", march, "-O", level,
                          "-o", os.path.join(tmp, "x.bpu"), "--json", report, *more],
                         check=True, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = 1e3 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    wall, peak, code = out.stdout.split()
    r = None
    if code == "0":
        with open(report) as f:
            r = json.load(f)
    else:
        why = "it is not legal there" if code == "1" else out.stderr.strip().splitlines()[-1]
        print(f"{os.path.basename(path)}, {march}, {level}: not compiled: {why}")
    return float(wall), cpu, int(peak), r


def network(name, march, tmp):
    """Bernoulli2 has no adaptive pool and no linear layer: the same network with AveragePool up to 7x7 and 1x1 convolutions."""
    path = f"{ZOO}/{name}.onnx"
    if march != "bernoulli2":
        return path
    other = os.path.join(tmp, f"{name}_conv.onnx")
    if not os.path.exists(other):
        with_convolutions(path, other)
    return other


def with_convolutions(path, to):
    import onnx
    from onnx import helper, numpy_helper, shape_inference
    model = shape_inference.infer_shapes(onnx.load(path))
    graph = model.graph
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in [*graph.value_info, *graph.input]}
    weights = {w.name: w for w in graph.initializer}
    renamed = {}
    nodes = []
    for n in graph.node:
        for i, name in enumerate(n.input):
            n.input[i] = renamed.get(name, name)
        if n.op_type == "GlobalAveragePool":
            side, x = shapes[n.input[0]][2], n.input[0]
            while side > 1: # windows of at most 7, one after the other
                k = next(k for k in range(7, 1, -1) if side % k == 0)
                side //= k
                y = n.output[0] if side == 1 else f"{n.output[0]}_{side}"
                nodes.append(helper.make_node("AveragePool", [x], [y], name=f"{n.name}_{side}", kernel_shape=[k, k], strides=[k, k]))
                x = y
        elif n.op_type == "Flatten":
            renamed[n.output[0]] = n.input[0]
        elif n.op_type == "Gemm":
            w = weights[n.input[1]]
            w.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(w)[:, :, None, None], w.name))
            nodes.append(helper.make_node("Conv", n.input, n.output, name=n.name))
        else:
            nodes.append(n)
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]
    for o in graph.output:
        n = [d.dim_value for d in o.type.tensor_type.shape.dim]
        o.CopyFrom(helper.make_tensor_value_info(o.name, onnx.TensorProto.FLOAT, n + [1] * (4 - len(n))))
    onnx.save(model, to)


def load_rate(march):
    """Bytes a microsecond that one core loads, from the manual's table."""
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../docs/machine.md")) as f:
        table = f.read().split(f"### {march}\n")[1]
    figure = lambda name: float(re.search(rf"`{name}` \| ([0-9.]+) ", table)[1])
    return figure("ddr_load_bytes") * figure("clock_mhz")


def bound_with_memory(r, march):
    """The report's bound takes any weight to be there in time.  But when a layer is done, no more than the on-chip memory's
    size of what the layers behind it load can be there: computing up to it, and the rest of the loads, come one after the other."""
    s, best = r["summary"], r["summary"]["bound_us"]
    computed, later = 0.0, sum(l["ddr_load_bytes"] - l["spill_bytes"] for l in r["layers"])
    for l in r["layers"]:
        computed += l["busy_us"].get("conv", 0)
        later -= l["ddr_load_bytes"] - l["spill_bytes"]
        best = max(best, computed + (later - s["sram_bytes"]) / load_rate(march))
    return best


def quality(tmp):
    for name in NETWORKS:
        for march in MARCHES:
            for level in LEVELS:
                wall, cpu, peak, r = measured(network(name, march, tmp), march, level, tmp)
                if not r:
                    continue
                s = r["summary"]
                moved = s["ddr_load_bytes"] + s["ddr_store_bytes"]
                TABLE.append(f"| {name}, {march} | {level} | {s['predicted_us']:.0f} | {s['predicted_us'] / s['bound_us']:.2f} "
                             f"| {moved / 1e6:.2f} | {moved / s['ddr_bound_bytes']:.2f} | {s['sram_peak_bytes'] / 2**20:.2f} "
                             f"| {s['spilled_maps']} | {s['instructions']} | {cpu:.0f} |")
                what = f"{name}, {march}, {level if level.isalpha() else 'O' + level}"
                row(f"{what}: time / bound", s["predicted_us"] / s["bound_us"], "x", "<= 1.25" if level == "3" else "",
                    f"{s['predicted_us']:.0f} us; bound {s['bound_us']:.0f}, computing {s['compute_cycles'] * s['predicted_us'] / s['predicted_cycles']:.0f}; "
                    f"compiled in {wall:.0f} ms ({cpu:.0f} of a processor), {peak / 1e6:.0f} MB")
                limit = bound_with_memory(r, march)
                row("  time / bound that counts what memory holds", s["predicted_us"] / limit, "x", "", f"{limit:.0f} us, in this order of layers")
                row("  DDR bytes / bound", moved / s["ddr_bound_bytes"], "x", "<= 1.5" if level == "ddr" else "",
                    f"{moved / 1e6:.2f} MB; {s['spilled_maps']} of {s['maps']} maps through DDR, {s['instructions']} instructions")
                row("  on-chip peak / bound", s["sram_peak_bytes"] / max(1, s["sram_bound_bytes"]), "x", "",
                    f"{s['sram_peak_bytes'] / 2**20:.2f} of {s['sram_bytes'] / 2**20:.0f} MiB")


def cores(tmp):
    """The same network on one core and on two; it may never be slower on two."""
    for name in NETWORKS:
        for march in MARCHES:
            for level in ("2", "3"):
                runs = [measured(network(name, march, tmp), march, level, tmp, "--cores", str(n)) for n in (1, 2)]
                if not all(r[3] for r in runs):
                    continue
                (one, two), cpu = [r[3]["summary"] for r in runs], runs[1][1]
                ratio = two["predicted_us"] / one["predicted_us"]
                moved = [s["ddr_load_bytes"] + s["ddr_store_bytes"] for s in (one, two)]
                CORES_TABLE.append(f"| {name}, {march} | {level} | {one['predicted_us']:.0f} | {two['predicted_us']:.0f} | {ratio:.2f} "
                                   f"| {two['bound_us']:.0f} | {moved[0] / 1e6:.2f} | {moved[1] / 1e6:.2f} | {cpu:.0f} |")
                row(f"{name}, {march}, O{level}: time on two cores / on one", ratio, "x", "<= 1",
                    f"{one['predicted_us']:.0f} and {two['predicted_us']:.0f} us; compiled in {cpu:.0f} ms of a processor")


def speed(tmp):
    for name, level, aim_ms, aim_mb in (("mobilenet_v2", "2", 80, 100), ("resnet50", "3", 1000, None),
                                        ("mobilenet_v2", "3", None, None), ("resnet18", "2", None, None),
                                        ("efficientnet_b0", "2", None, None)):
        path = network(name, "bayes", tmp)
        runs = [measured(path, "bayes", level, tmp)[:3] for _ in range(RUNS)]
        walls = [r[0] for r in runs]
        row(f"bpuhub compile {name} -O{level}", statistics.median(walls), "ms", f"<= {aim_ms}" if aim_ms else "",
            f"min {min(walls):.0f}, max {max(walls):.0f}; processor {min(r[1] for r in runs):.0f}; "
            f"{os.path.getsize(path) / 1e6:.0f} MB file", 0)
        row("  peak memory", max(r[2] for r in runs) / 1e6, "MB", f"<= {aim_mb}" if aim_mb else "", "", 0)
    row("  published: Arm Vela 3.10, mobilenet_v2, this kind of machine", 2000, "ms", "", "2000 to 2500 ms and 205 MB", 0)


def made(path, nodes, chain):
    """A network of 1x1 convolutions and additions with so many nodes: a chain, or with operands from anywhere near."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    rng, pick = np.random.default_rng(nodes), random.Random(nodes)
    c, ops, weights, values = 16, [], [], ["x"]
    for i in range(nodes):
        name = f"v{i}"
        if not chain and i > 2 and pick.random() < 0.4:
            a, b = pick.sample(range(max(0, len(values) - 12), len(values)), 2)
            ops.append(helper.make_node("Add", [values[a], values[b]], [name], name=f"add{i}"))
        else:
            weights.append(numpy_helper.from_array((rng.standard_normal((c, c, 1, 1)) / 4).astype(np.float32), f"w{i}"))
            source = values[-1] if chain else values[pick.randrange(max(0, len(values) - 6), len(values))]
            ops.append(helper.make_node("Conv", [source, f"w{i}"], [name], name=f"conv{i}"))
        values.append(name)
    used = {n for op in ops for n in op.input}
    ends = [v for v in values[1:] if v not in used]
    while len(ends) > 1: # one result: the loose ends are added up
        name = f"end{len(ends)}"
        ops.append(helper.make_node("Add", [ends.pop(), ends.pop()], [name], name=name))
        ends.insert(0, name)
    shape = [1, c, 16, 16]
    graph = helper.make_graph(ops, "made", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
                              [helper.make_tensor_value_info(ends[0], TensorProto.FLOAT, shape)], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(model, path)
    return len(ops)


def growth(tmp):
    for chain in (True, False):
        paths = [os.path.join(tmp, f"{nodes}{chain}.onnx") for nodes in NODES]
        counts = [made(path, nodes, chain) for path, nodes in zip(paths, NODES)]
        for level, times in (("2", 3), ("3", 1)):
            points = []
            for path, count in zip(paths, counts):
                runs = [measured(path, "bayes", level, tmp) for _ in range(times)]
                wall, cpu = min(r[0] for r in runs), min(r[1] for r in runs)
                points.append((count, cpu))
                row(f"{'chain' if chain else 'random graph'} of {count} nodes, -O{level}", cpu, "ms", "",
                    f"of a processor; wall {wall:.0f}; {1e3 * cpu / (count * math.log2(count)):.2f} us per node and log2(nodes)", 0)
            (n0, t0), (n1, t1) = points[0], points[-1]
            row("  growth over that of n log n", t1 / t0 / (n1 * math.log2(n1) / (n0 * math.log2(n0))), "x", "<= 1",
                f"{n0} to {n1} nodes")


def main():
    words = sys.argv[4:]
    to = words[words.index("--json") + 1] if "--json" in words else None
    table = words[words.index("--table") + 1] if "--table" in words else None
    parts = {"quality": quality, "cores": cores, "speed": speed, "growth": growth}
    wanted = [w for w in words if w in parts] or list(parts)
    with tempfile.TemporaryDirectory(prefix="bpuhub-bench-") as tmp:
        for part in wanted:
            parts[part](tmp)
    if to:
        with open(to, "w") as f:
            json.dump(RESULTS, f, indent=1)
    if table:
        with open(table, "w") as f:
            f.write("\n\n".join("\n".join(t) for t in (TABLE, CORES_TABLE) if len(t) > 2) + "\n")


if __name__ == "__main__":
    main()
