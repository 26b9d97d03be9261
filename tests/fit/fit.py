#!/usr/bin/python3
"""Fits the machines of the marches to what is published, and to nothing else.

    tests/fit/fit.py RETIME NETWORKS FOLDER [MARCH...]

RETIME is tests/fit/retime as built, NETWORKS the folder that tests/zoo/published.py wrote, FOLDER takes programs. Prints, for
each march, the value of each figure, how far it can move before the error grows by a point, and the error of each network, fitted and
predicted by the fit of the others.

Few figures, each with a meaning, and each from the evidence that speaks of it most directly:

  start of a run from the difference of two published figures of one network: one thread waits for it, several hide it
  the rest       every combination of a grid: the one with the least mean of |ln(predicted / published)| over times and DDR bytes;
                 the mean and not its square, so that one network with operators that nobody understands does not bend the others

A grid has no start value, no step size and no seed: the same evidence gives the same figures."""
import itertools
import math
import statistics
import sys

import facts
from clock import Clock

KIB, MIB = 1 << 10, 1 << 20

# figure: values, in order. "ddr" stands for all three rates of a bus, of which times of one core cannot tell one from the other;
# "ddr_one_way" for loads and stores, where two cores' frames per second bound the whole. 8 positions of 32 channels are all 256
# products of Bernoulli2's array: depthwise layers cannot be faster.
GRIDS = {
    "bernoulli2": {
        "sram_bytes": [k * KIB for k in (512, 768, 1024, 1536, 2048)],
        "depthwise_c": [4, 8, 16, 32],
        "ddr_one_way": [1.6, 1.8, 2, 2.2, 2.4, 2.6, 2.8],
    },
    "bayes": {
        "sram_bytes": [k * MIB // 4 for k in range(8, 18)],
        "ddr_total_bytes": [round(4.9 + 0.1 * i, 2) for i in range(22)],
    },
    "bayes_e": {
        "sram_bytes": [k * MIB // 4 for k in (4, 5, 6, 7)],
        "array_cells": [6, 7, 8],
        "ddr": [5.5, 6, 6.5, 7, 7.5],
    },
}
HELD = ("sram_bytes",)  # what is held in the second kind of leaving out
# Of layers: what a published layer's computing time depends on.
LAYER_GRID = {"issue_cycles": list(range(0, 301, 25))}
DEPTHWISE_GRID = {"depthwise_h": [1, 2, 4, 8], "depthwise_w": [4, 8, 16], "depthwise_c": [4, 8, 16, 32, 64]}
# What of Bayes is another board's: the clock is published.
FIRST = {"bernoulli2": {}, "bayes": {}, "bayes_e": {"clock_mhz": 1000, "cores": 1, "array_cells": 6}}
# Without the only network's time: the most that was seen on the bus, 10.5 GB/s.
UNFITTED = {"bayes": {"ddr_total_bytes": 7.0}}


def figures(point):
    """A point of a grid as rows of the machine."""
    out = {k: v for k, v in point.items() if k not in ("ddr", "ddr_one_way")}
    if "ddr_one_way" in point:
        out.update({k: point["ddr_one_way"] for k in ("ddr_load_bytes", "ddr_store_bytes")})
    if "ddr" in point:
        out.update({k: point["ddr"] for k in ("ddr_load_bytes", "ddr_store_bytes", "ddr_total_bytes")})
    return out


def points(grid):
    return [dict(zip(grid, v)) for v in itertools.product(*grid.values())]


class March:
    def __init__(self, name, clock):
        self.name, self.clock, self.base = name, clock, facts.BASE[name]
        self.runs = [r for r in facts.runs() if r.march == name and r.public]
        self.fitted = [r for r in self.runs if r.fitted]
        self.set = dict(FIRST[name])
        self.why = {}

    # ── one prediction ──
    def program(self, run, with_figures=None):
        return self.clock.program(run, self.base, {**self.set, **(with_figures or {})})

    def time(self, run, point):
        """(us, loaded, stored) of the program that stands for the run, with the figures of a point."""
        return self.clock.run(run, self.base, {**self.set, **figures(point)})

    def start_us(self, without=None):
        seen = [r.start_us for r in self.fitted if r.start_us and r is not without]
        return max(0.0, statistics.median(seen)) if seen else 0.0

    def operations(self, run):
        """Of a run, as the program itself counts them."""
        return sum(v[3] for v in self.clock.layers(self.program(run), self.base, self.set).values())

    def clock_mhz(self):
        return self.set["clock_mhz"] if "clock_mhz" in self.set else self.clock.machine(self.base)[1]["clock_mhz"]

    # ── times and traffic of networks ──
    def table(self):
        """What each point of the grid says of each run: us without the start, DDR bytes of a frame."""
        self.points = points(GRIDS[self.name])
        self.said = []
        for p in self.points:
            row = []
            for r in self.fitted:
                us, load, store = self.time(r, p)
                row.append((us, (load + store) / r.batch))
            self.said.append(row)

    def errors(self, k, without=None):
        """ln(predicted / published) of times."""
        start = self.start_us(without)
        return [math.log((us + (start if r.kind == "board" else 0)) / r.latency_us) for (us, _), r in zip(self.said[k], self.fitted)]

    def traffic(self, k):
        """The same of DDR bytes; None where none are published."""
        return [math.log(b / r.ddr) if r.ddr else None for (_, b), r in zip(self.said[k], self.fitted)]

    def loss(self, k, without=None):
        logs = [e for e, r in zip(self.errors(k, without), self.fitted) if r is not without]
        logs += [e for e, r in zip(self.traffic(k), self.fitted) if e is not None and r is not without]
        return statistics.mean(map(abs, logs))

    def best(self, without=None, **held):
        """The index of a point; of points that are as good, the first. Only points with the figures that are held."""
        def worth(k):
            if without and len(self.fitted) == 1:  # nothing is left but what is seen elsewhere, and its own traffic
                return sum(abs(self.points[k][n] - v) for n, v in UNFITTED[self.name].items()) + abs(self.traffic(k)[0])
            return round(self.loss(k, without), 5)
        return min((k for k, p in enumerate(self.points) if all(p[n] == v for n, v in held.items())), key=worth)

    def fit(self):
        if self.name == "bayes":
            self.fit_layers()
        self.table()
        self.chosen = self.best()
        self.set.update(figures(self.points[self.chosen]))
        self.fit_errors, self.fit_traffic = self.errors(self.chosen), self.traffic(self.chosen)
        self.left_out, self.left_points, self.left_held = [], [], []
        held = {n: self.points[self.chosen][n] for n in HELD}
        for i, r in enumerate(self.fitted):
            k = self.best(r)
            self.left_points.append(self.points[k])
            self.left_out.append(self.errors(k, r)[i])
            self.left_held.append(self.errors(self.best(r, **held), r)[i])

    def sensitivity(self):
        """How far each figure can go, the others as fitted, before the mean |ln| of times and traffic grows by 0.01."""
        fitted, out = self.points[self.chosen], {}
        limit = self.loss(self.chosen) + 0.01
        for name in fitted:
            line = [k for k, p in enumerate(self.points) if all(p[n] == fitted[n] for n in fitted if n != name)]
            good = [self.points[k][name] for k in line if self.loss(k) <= limit]
            values = GRIDS[self.name][name]
            out[name] = (fitted[name], min(good), max(good), min(good) == values[0], max(good) == values[-1])
        return out

    # ── times of layers ──
    def layer_logs(self, rows, point):
        run = self.runs[0]
        got = self.clock.layers(self.program(run), self.base, {**self.set, **figures(point)})
        return [math.log(got[r["name"]][0] / r["compute_us"]) for r in rows]

    def fit_layers(self):
        """Least mean |ln|: half of the identical layers are wrong by the others, and a square would follow the worst of them."""
        rows = facts.layers()
        self.layer_choice, self.layer_left, self.layer_points = {}, {}, {}
        for kind, grid in (("dense", LAYER_GRID), ("depthwise", DEPTHWISE_GRID)):
            mine = [r for r in rows if (r["groups"] > 1) == (kind == "depthwise")]
            logs = [self.layer_logs(mine, p) for p in points(grid)]
            def best(of, logs=logs):
                return min(range(len(logs)), key=lambda k: (round(statistics.mean(abs(logs[k][i]) for i in of), 4), k))
            every = best(range(len(mine)))
            self.layer_choice[kind] = statistics.mean(map(abs, logs[every])), points(grid)[every]
            self.set.update(points(grid)[every])
            # Each shape left out with all layers that have it, fitted to the others, and predicted.
            self.layer_points[kind] = set()
            for s in {shape(r): None for r in mine}:
                k = best([i for i, r in enumerate(mine) if shape(r) != s])
                self.layer_points[kind].add(tuple(points(grid)[k].values()))
                self.layer_left.update({r["layer"]: logs[k][i] for i, r in enumerate(mine) if shape(r) == s})


def shape(row):
    return tuple(row[k] for k in ("cin", "cout", "hin", "hout", "k", "stride", "groups", "batch"))


def floor(rows):
    """What no formula of shapes can go below: mean |ln| of identical layers against their own middle."""
    groups, logs = {}, []
    for r in rows:
        groups.setdefault(shape(r), []).append(math.log(r["compute_us"]))
    for g in groups.values():
        logs += [abs(v - statistics.median(g)) for v in g]
    return statistics.mean(logs), sum(len(g) > 1 for g in groups.values())


def percent(log):
    return f"{100 * (math.exp(log) - 1):+6.1f} %"


def show(m):
    print(f"\n{m.name}")
    print("  " + " ".join(f"{k}={v:g}" for k, v in sorted(m.set.items())), f"start of a run {m.start_us():.0f} us")
    for name, (v, low, high, open_low, open_high) in m.sensitivity().items():
        print(f"  {name} {v:g}: {'≤ ' if open_low else ''}{low:g} … {'≥ ' if open_high else ''}{high:g}")
    for r, e, t, l, p in zip(m.fitted, m.fit_errors, m.fit_traffic, m.left_out, m.left_points):
        print(f"  {r.model:<20}{r.latency_us:>11.1f} us, fitted {percent(e)}, left out {percent(l)}"
              + (f", DDR bytes {percent(t)}" if t is not None else "") + "  " + " ".join(f"{k}={v:g}" for k, v in p.items()))


def main():
    clock = Clock(sys.argv[1], sys.argv[2], sys.argv[3])
    for name in sys.argv[4:] or facts.MARCHES:
        m = March(name, clock)
        m.fit()
        show(m)
        if name == "bayes":
            print("  layers:", m.layer_choice, "floor", floor(facts.layers()))


if __name__ == "__main__":
    main()
