#!/usr/bin/python3
"""`make accuracy`: fits all marches, writes docs/accuracy.md and core/perf/accuracy.inc.

    tests/fit/accuracy.py RETIME NETWORKS FOLDER

Exit 1 where the product's figures are not those of the fit: then core/march/*.c is to be changed first."""
import math
import os
import statistics
import sys

import facts
import fit
from clock import Clock

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
PRODUCT = ("bernoulli2", "bayes")
TITLE = {"bernoulli2": "Bernoulli2 (RDK X3, J3)", "bayes": "Bayes (RDK Ultra, J5)", "bayes_e": "Bayes-e (RDK X5)"}


def off(log):
    """|predicted / published - 1|"""
    return abs(math.exp(log) - 1)


def p90(values):
    """The smallest of the values that nine tenths do not pass."""
    return sorted(values)[max(0, math.ceil(0.9 * len(values)) - 1)]


def machine(clock, march):
    mark, count = clock.ask("machine", march)
    rows = [clock.pipe.stdout.readline().split() for _ in range(int(count))]
    return mark, {k: float(v) for k, v in rows}


def small(clock, march):
    """What a small network takes with the product's figures, at the default level: where this changes, times have changed."""
    path = os.path.join(clock.folder, "small.bpu")
    clock.ask("compile", os.path.join(ROOT, "tests/fixtures/lenet_float.onnx"), path, march, 2, "ddr")
    return clock.time(path, march, {})[0]


def spread(values):
    return f"{100 * statistics.median(values):.1f} % | {100 * p90(values):.1f} % | {100 * max(values):.1f} %"


def short(m):
    """The figure that reports carry: the worst of few networks, which says more than a p90 of five."""
    left = [off(e) for e in m.left_out]
    count = len(left)
    return left, f"±{100 * max(left):.0f} % (leave-one-out, {m.name}, {count} network{'s' * (count > 1)}; median {100 * statistics.median(left):.0f} %)"


# ── the page ──

def networks(m, w):
    w(f"## {TITLE[m.name]}\n")
    w("| network | kind | published, us | predicted, us | fitted | left out | operations | DDR bytes a frame |")
    w("|---|---|---:|---:|---:|---:|---|---|")
    done = dict(zip([r.model for r in m.fitted], zip(m.fit_errors, m.left_out, m.fit_traffic)))
    for r in m.runs:
        us, load, store = m.time(r, m.points[m.chosen])
        us += m.start_us() if r.kind == "board" else 0
        ops = m.operations(r) / r.batch
        said = f"{ops:.0f}" + ("" if r.ops is None else ", exact" if ops == r.ops else f", published {r.ops:.0f}")
        bytes_ = f"{(load + store) / r.batch:.0f}" + (f", published {r.ddr:.0f} ({fit.percent(math.log((load + store) / r.batch / r.ddr)).strip()})" if r.ddr else "")
        fitted, left = (fit.percent(done[r.model][0]), fit.percent(done[r.model][1])) if r.model in done else ("–", "–")
        w(f"| {r.model} | {r.kind} | {r.latency_us:.1f} | {us:.1f} | {fitted} | {left} | {said} | {bytes_} |")
    w("")
    left, text = short(m)
    w("| | median | p90 | worst |\n|---|---:|---:|---:|")
    w(f"| fitted | {spread([off(e) for e in m.fit_errors])} |")
    w(f"| left out | {spread(left)} |\n")
    if m.name in PRODUCT:
        w(f"Reports carry: **{text}**\n")


def figures(m, w):
    w("| figure | fitted | as good within one point | left out, it became |\n|---|---:|---|---|")
    for name, (v, low, high, open_low, open_high) in m.sensitivity().items():
        others = sorted({p[name] for p in m.left_points})
        label = {"ddr": "ddr_load_bytes, ddr_store_bytes, ddr_total_bytes", "ddr_one_way": "ddr_load_bytes, ddr_store_bytes"}.get(name, name)
        note = " (the whole grid: **not pinned down**)" if open_low and open_high else \
            " (no upper end: **only bounded from below**)" if open_high else " (no lower end: **only bounded from above**)" if open_low else ""
        w(f"| `{label}` | {v:g} | {low:g} … {high:g}{note} | {', '.join(f'{x:g}' for x in others)} |")
    if any(r.start_us for r in m.fitted):
        seen = ", ".join(f"{r.model} {r.start_us:.0f}" for r in m.fitted if r.start_us)
        w(f"| start of a run, us | {m.start_us():.0f} | median of latency - cores / fps: {seen} | |")
    w("")


def layer_rows(m):
    """(row, ln of computing time, its class) of the layer table."""
    rows = facts.layers()
    out = []
    for r, e in zip(rows, m.layer_logs(rows, m.points[m.chosen])):
        out.append((r, e, f"{'depthwise' if r['groups'] > 1 else 'dense'}, results of {r['hout']}x{r['hout']}"))
    return out


def layers(m, w):
    rows = layer_rows(m)
    got = m.clock.layers(m.program(m.runs[0]), m.base, m.set)
    exact = sum(got[r["name"]][3] == r["ops_reported"] for r, _, _ in rows)
    least, repeated = fit.floor(facts.layers())
    w("## Layers (Bayes, mobilenet_v2_cifar)\n")
    w(f"Operations: {exact} of {len(rows)} published layers exact, to the last one; the sum over the network too.\n")
    w("Computing time without DDR (`compute_us`), predicted / published. Figures of a layer are far less certain than those of a network: "
      f"{repeated} shapes stand more than once in the published run, with times up to {worst_repeat():.2f} times apart, so no formula of shapes "
      f"gets below a mean |ln| of {least:.2f} over all rows, and the published order is not that of operations: 2x2 maps of 64 → 384 channels take longer "
      "than those of 96 → 576 with 2.25 times the products.\n")
    w("| class | layers | median of ratios | median error | p90 | worst |\n|---|---:|---:|---:|---:|---:|")
    classes = sorted({c for _, _, c in rows}, key=lambda c: (c.split(",")[0], -int(c.split("x")[-1])))
    for name in [*classes, "dense", "depthwise", "all"]:
        logs = [e for _, e, c in rows if name in (c, c.split(",")[0], "all")]
        label = f"**{name}**" if "," not in name else name
        w(f"| {label} | {len(logs)} | {math.exp(statistics.median(logs)):.2f} | {spread([off(e) for e in logs])} |")
    w("")
    mean = {k: statistics.mean(abs(e) for _, e, c in rows if c.startswith(k)) for k in ("dense", "depthwise")}
    ours = sum(got[r["name"]][0] for r, _, _ in rows)
    w(f"Mean |ln ratio|: dense {mean['dense']:.2f}, depthwise {mean['depthwise']:.2f}. All layers of the table together: published "
      f"{sum(r['compute_us'] for r, _, _ in rows):.0f} us, predicted {ours:.0f} us.\n")
    theirs, mine = sum(r["loadstore_us"] for r, _, _ in rows), sum(sum(got[r["name"]][1:3]) for r, _, _ in rows)
    w(f"Load and store time (`loadstore_us`) together: published {theirs:.0f} us, predicted {mine:.0f} us. Which layer pays for a map that leaves "
      "the chip depends on the vendor's allocation, which is not public; single layers are not compared.\n")
    w("<details><summary>every layer</summary>\n\n| layer | published, us | predicted, us | ratio |\n|---|---:|---:|---:|")
    for r, e, _ in rows:
        w(f"| {r['layer']} | {r['compute_us']:.0f} | {r['compute_us'] * math.exp(e):.1f} | {math.exp(e):.2f} |")
    w("\n</details>\n")


def worst_repeat():
    seen = {}
    for r in facts.layers():
        seen.setdefault(tuple(r[k] for k in ("cin", "cout", "hin", "hout", "k", "stride", "groups")), []).append(r["compute_us"])
    return max(max(v) / min(v) for v in seen.values())


def overview(marches, w):
    w("| march | networks | median | p90 | worst |\n|---|---:|---:|---:|---:|")
    for m in marches:
        left = [off(e) for e in m.left_out]
        w(f"| {TITLE[m.name]} | {len(left)} | {spread(left)} |")
    every = [off(e) for m in marches for e in m.left_out]
    w(f"| all | {len(every)} | {spread(every)} |\n")


def page(marches, marks):
    lines = []
    w = lines.append
    with open(os.path.join(ROOT, "tests/fit/accuracy_head.md"), encoding="utf-8") as f:
        w(f.read().rstrip() + "\n")
    overview(marches, w)
    w("## What is assumed of published figures\n")
    w("| march | network | assumed |\n|---|---|---|")
    for m in marches:
        for r in m.runs:
            w(f"| {m.name} | {r.model} | {facts.ASSUMED[r.model]} |")
    w("\nNot compared:\n")
    for name, why in {**facts.NOT_THE_SAME, **facts.NOT_PUBLIC}.items():
        w(f"- **{name}**: {why}.")
    w("")
    for m in marches:
        networks(m, w)
        if m.name == "bayes_e":
            w("This march is not part of the product: its operator table is not published. The rows show how the same model, with the clock of "
              "that chip and four figures fitted, meets ten more published runs.\n")
        figures(m, w)
        if m.name == "bayes":
            layers(m, w)
    w("## Marks\n")
    w("Checksums of the machine data that these figures were found with, and a small network's time; `make test` compares both with the program's.\n")
    w("| march | mark | tests/fixtures/lenet_float.onnx, us |\n|---|---|---:|")
    for name, (mark, us) in marks.items():
        w(f"| {name} | `{mark}` | {us:.4f} |")
    return "\n".join(lines) + "\n"


def write(path, text):
    path = os.path.join(ROOT, path)
    with open(path + ".part", "w", encoding="utf-8") as f:
        f.write(text)
    os.replace(path + ".part", path)


def main():
    clock = Clock(*sys.argv[1:4])
    marches, marks, same = [], {}, True
    rows = ["/* Written by `make accuracy`: march, mark of its machine, median, p90, worst, networks, words. */"]
    for name in facts.MARCHES:
        m = fit.March(name, clock)
        m.fit()
        fit.show(m)
        marches.append(m)
        if name not in PRODUCT:
            continue
        mark, product = machine(clock, name)
        marks[name] = mark, small(clock, name)
        for k, v in m.set.items():
            if abs(product[k] - v) > 1e-6 * abs(v):
                same = False
                print(f"  core/march/{name}.c has {k} = {product[k]:g}, the fit says {v:g}")
        left, text = short(m)
        rows.append(f'ACCURACY("{name}", 0x{mark}u, {statistics.median(left):.4f}, {p90(left):.4f}, {max(left):.4f}, {len(left)},\n         "{text}")')
    write("docs/accuracy.md", page(marches, marks))
    write("core/perf/accuracy.inc", "\n".join(rows) + "\n")
    print("\ndocs/accuracy.md and core/perf/accuracy.inc are written")
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
