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


def small(clock, march):
    """What a small network takes with the product's figures, at the default level: where this changes, times have changed."""
    path = os.path.join(clock.folder, "small.bpu")
    clock.ask("compile", os.path.join(ROOT, "tests/fixtures/same_names.onnx"), path, march, 2, "ddr")
    return clock.time(path, march, {})[0]


def spread(values):
    return f"{100 * statistics.median(values):.1f} % | {100 * p90(values):.1f} % | {100 * max(values):.1f} %"


def predicts(m):
    """Whether networks can be left out: of one nothing remains."""
    return len(m.fitted) > 1


def short(m):
    """The words that reports carry: the worst of few networks, which says more than a p90 of five. Of one network there is no
    error of prediction, only that of the fit, and of its layers."""
    if predicts(m):
        left = [off(e) for e in m.left_out]
        return f"±{100 * max(left):.0f} % (leave-one-out, {m.name}, {len(left)} networks; median {100 * statistics.median(left):.0f} %)"
    layers = [off(e) for e in m.layer_left.values()]
    return (f"unknown for a network that was not fitted: {m.name} is fitted to one published network and meets it within "
            f"{max(0.1, 100 * off(m.fit_errors[0])):.1f} %; computing time of single layers, left out of the fit: median {100 * statistics.median(layers):.0f} % off, "
            f"worst {100 * max(layers):.0f} %, {len(layers)} layers")


def c_text(text):
    words, lines = text.split(" "), [""]
    for word in words:
        if len(lines[-1]) + len(word) > 80:
            lines.append("")
        lines[-1] += word + " "
    lines[-1] = lines[-1][:-1]
    return "\n         ".join(f'"{line}"' for line in lines)


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
        fitted, left = (fit.percent(done[r.model][0]).strip(), fit.percent(done[r.model][1]).strip() if predicts(m) else "–") if r.model in done else ("–", "–")
        if r.model in facts.NOT_THE_SAME:
            fitted = left = "not the same network"
        w(f"| {r.model} | {r.kind} | {r.latency_us:.1f} | {us:.1f} | {fitted} | {left} | {said} | {bytes_} |")
    w("")
    if predicts(m):
        w("| | median | p90 | worst |\n|---|---:|---:|---:|")
        w(f"| fitted | {spread([off(e) for e in m.fit_errors])} |")
        w(f"| left out, all fitted anew | {spread([off(e) for e in m.left_out])} |")
        w(f"| left out, all but `sram_bytes` fitted anew | {spread([off(e) for e in m.left_held])} |\n")
    else:
        w(f"One network is no leave-one-out. What comes nearest to it: `ddr_total_bytes` not fitted to this run but taken from the other published one, "
          f"whose busiest interval moves 10.5 GB/s; the time of this run is then {fit.percent(m.left_out[0]).strip()} off (its traffic still chooses `sram_bytes`).\n")
    if m.name in PRODUCT:
        w(f"Reports carry: **{short(m)}**\n")
    figures_of = remark_figures(m) if m.name in REMARKS else None
    if figures_of:
        w(REMARKS[m.name].format(**figures_of) + "\n")


REMARKS = {
    "bernoulli2": "**`sram_bytes` rests on one network.** Without {worst} the others are met best with {left_kib} KiB, and {worst} is then predicted "
                  "{worst_error} off; with {kib} KiB held, which {worst} itself decides, no network is more than {held} off. Nothing independent decides between them: yolov8s_varg's published "
                  "traffic (28.4 MB loaded, 24.1 MB stored) is that of maps of 80x80 which do not stay on the chip while those of 40x40 do, so between "
                  "0.82 and 1.64 MB; but programs of ours, which work in bands, move {varg:.1f} MB of the published 52.4 MB with {kib} KiB and would "
                  "move {varg_left:.1f} MB with {left_kib} KiB. Where a network has maps and weights that are both far larger than the memory, as {worst} "
                  "has, the estimate depends on how well a compiler cuts it up, ours and the vendor's; expect errors of this size there, and of a "
                  "few percent elsewhere.",
    "bayes": "`ddr_total_bytes` is the rate that the whole run sustains, {gbs:.2f} GB/s, loads and stores mixed; the 10.5 GB/s are the most that one interval of the "
             "other run shows, so the fit contradicts neither. `sram_bytes` is chosen by traffic and time of the whole; that single layers of the table "
             "neither load nor store where maps would not fit says less, since bands that are fused do that too. features_2_proj (3.75 MiB "
             "with its result) and features_5_conv_0_0 (3.5 MiB) are such layers and contradict it if they were computed whole.",
}


def remark_figures(m):
    """What a remark says in numbers; None where they do not bear it out any more."""
    if m.name == "bayes":
        return {"gbs": m.points[m.chosen]["ddr_total_bytes"] * m.clock_mhz() / 1000}
    k = max(range(len(m.fitted)), key=lambda i: off(m.left_out[i]))
    if m.left_points[k]["sram_bytes"] == m.points[m.chosen]["sram_bytes"]:
        return None
    run = next(r for r in m.runs if r.model == "yolov8s_varg")
    def moved(point):
        return sum(m.time(run, point)[1:]) / 1e6
    return {"worst": m.fitted[k].model, "worst_error": fit.percent(m.left_out[k]).strip(), "kib": m.points[m.chosen]["sram_bytes"] // fit.KIB,
            "left_kib": m.left_points[k]["sram_bytes"] // fit.KIB, "held": f"{100 * max(map(off, m.left_held)):.1f} %",
            "varg": moved(m.points[m.chosen]), "varg_left": moved(m.left_points[k])}


def figures(m, w):
    w("| figure | fitted | as good within 0.01 of mean \\|ln\\| | " + ("left out, it became |" if predicts(m) else "without this run |") + "\n|---|---:|---|---|")
    for name, (v, low, high, open_low, open_high) in m.sensitivity().items():
        others = sorted({p[name] for p in m.left_points})
        label = {"ddr": "ddr_load_bytes, ddr_store_bytes, ddr_total_bytes", "ddr_one_way": "ddr_load_bytes, ddr_store_bytes"}.get(name, name)
        note = " (the whole grid: **not pinned down**)" if open_low and open_high else \
            " (no upper end: **only bounded from below**)" if open_high else " (no lower end: **only bounded from above**)" if open_low else ""
        w(f"| `{label}` | {v:.9g} | {low:.9g} … {high:.9g}{note} | {', '.join(f'{x:.9g}' for x in others)} |")
    if any(r.start_us for r in m.fitted):
        seen = ", ".join(f"{r.model} {r.start_us:.0f}" for r in m.fitted if r.start_us)
        w(f"| start of a run, us | {m.start_us():.0f} | median of latency - cores / fps: {seen} | |")
    if m.name == "bayes":
        for kind, (_, point) in m.layer_choice.items():
            for i, (name, v) in enumerate(point.items()):
                others = sorted({p[i] for p in m.layer_points[kind]})
                w(f"| `{name}` | {v:g} | from {kind} layers | each shape left out: {', '.join(f'{x:g}' for x in others)} |")
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
    w("*Left out*: all layers of one shape taken out of the evidence, the figures that layers decide (`issue_cycles` by dense ones, the three of "
      "the depthwise unit by depthwise ones) fitted to the rest, and these layers predicted. The shape of the dense array is not fitted anew.\n")
    w("| class | layers | median of ratios | median error | p90 | worst | left out: median | p90 | worst |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    classes = sorted({c for _, _, c in rows}, key=lambda c: (c.split(",")[0], -int(c.split("x")[-1])))
    for name in [*classes, "dense", "depthwise", "all"]:
        logs = [e for _, e, c in rows if name in (c, c.split(",")[0], "all")]
        label = f"**{name}**" if "," not in name else name
        left = [off(m.layer_left[r["layer"]]) for r, _, c in rows if name in (c, c.split(",")[0], "all")]
        w(f"| {label} | {len(logs)} | {math.exp(statistics.median(logs)):.2f} | {spread([off(e) for e in logs])} | {spread(left)} |")
    w("")
    mean = {k: statistics.mean(abs(e) for _, e, c in rows if c.startswith(k)) for k in ("dense", "depthwise")}
    ours = sum(got[r["name"]][0] for r, _, _ in rows)
    w(f"Mean |ln ratio|: dense {mean['dense']:.2f}, depthwise {mean['depthwise']:.2f}. All layers of the table together: published "
      f"{sum(r['compute_us'] for r, _, _ in rows):.0f} us, predicted {ours:.0f} us.\n")
    theirs, mine = sum(r["loadstore_us"] for r, _, _ in rows), sum(sum(got[r["name"]][1:3]) for r, _, _ in rows)
    w(f"Load and store time (`loadstore_us`) together: published {theirs:.0f} us, predicted {mine:.0f} us. Which layer pays for a map that leaves "
      "the chip depends on the vendor's allocation, which is not public; single layers are not compared.\n")
    w("<details><summary>every layer</summary>\n\n| layer | published, us | predicted, us | ratio | left out |\n|---|---:|---:|---:|---:|")
    for r, e, _ in rows:
        w(f"| {r['layer']} | {r['compute_us']:.0f} | {r['compute_us'] * math.exp(e):.1f} | {math.exp(e):.2f} | {math.exp(m.layer_left[r['layer']]):.2f} |")
    w("\n</details>\n")


def worst_repeat():
    seen = {}
    for r in facts.layers():
        seen.setdefault(fit.shape(r), []).append(r["compute_us"])
    return max(max(v) / min(v) for v in seen.values())


def overview(marches, w):
    w("Time of networks, each left out of the fit that predicts it:\n")
    w("| march | networks | median | p90 | worst |\n|---|---:|---:|---:|---:|")
    for m in marches:
        left = [off(e) for e in m.left_out]
        w(f"| {TITLE[m.name]} | {len(left)} | {spread(left) if predicts(m) else '– | – | –: one network is fitted, none predicted'} |")
    every = [off(e) for m in marches if predicts(m) for e in m.left_out]
    w(f"| all | {len(every)} | {spread(every)} |\n")
    bytes_ = [abs(math.exp(e) - 1) for m in marches for e in m.fit_traffic if e is not None]
    w(f"DDR bytes of a frame, fitted, {len(bytes_)} networks that publish them: worst {100 * max(bytes_):.1f} % off.\n")


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
              f"that chip and three figures and the start of a run fitted, meets {len(m.fitted)} more published runs.\n")
        figures(m, w)
        if m.name == "bayes":
            layers(m, w)
    w("## Marks\n")
    w("Checksums of the machine data that these figures were found with, and a small network's time; `make test` compares both with the program's.\n")
    w("| march | mark | tests/fixtures/same_names.onnx, us |\n|---|---|---:|")
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
    rows = ["/* Written by `make accuracy`: march, mark of its machine, whether networks were predicted, median, p90, worst, networks, words. */"]
    for name in facts.MARCHES:
        m = fit.March(name, clock)
        m.fit()
        fit.show(m)
        marches.append(m)
        if name not in PRODUCT:
            continue
        mark, product = clock.machine(name)
        marks[name] = mark, small(clock, name)
        for k, v in m.set.items():
            if abs(product[k] - v) > 1e-6 * abs(v):
                same = False
                print(f"  core/march/{name}.c has {k} = {product[k]:g}, the fit says {v:g}")
        left = [off(e) for e in m.left_out] if predicts(m) else [0]
        rows.append(f'ACCURACY("{name}", 0x{mark}u, {str(predicts(m)).lower()}, {statistics.median(left):.4f}, {p90(left):.4f}, {max(left):.4f}, '
                    f'{len(m.fitted)},\n         {c_text(short(m))})')
    write("docs/accuracy.md", page(marches, marks))
    write("core/perf/accuracy.inc", "\n".join(rows) + "\n")
    print("\ndocs/accuracy.md and core/perf/accuracy.inc are written")
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
