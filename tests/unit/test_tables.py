"""The operator tables in the program against the figures of the two public tables, row by row.

tests/facts/*.json hold the figures only: operator, march, supported or placed where, dtypes, limits,
and how blank or ambiguous cells are read.  `bpuhub ops --json` is exported from the data that the
checker judges with, so a figure that differs here would be judged wrongly.
"""
import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
BINARY = os.environ.get("BPUHUB", os.path.join(HERE, "../../build/bpuhub"))
MARCHES = ("bernoulli2", "bayes")
# What the program adds to a limit in its own words.
OWN_WORDS = ("why", "reading")

failures = 0
checks = 0


def report(good, name, detail=""):
    global failures, checks
    checks += 1
    failures += not good
    print(("ok" if good else "not ok") + f" {checks} {name}" + (f": {detail}" if not good else ""))


def facts(name):
    with open(os.path.join(HERE, "../facts", name), encoding="ascii") as f:
        return json.load(f)


def limits_differ(ours, theirs):
    """"" if the two lists say the same, in the same order; else what differs."""
    if len(ours) != len(theirs):
        return f"{len(ours)} limits, expected {len(theirs)}"
    for mine, fact in zip(ours, theirs):
        mine = {k: v for k, v in mine.items() if k not in OWN_WORDS}
        if fact.get("relation") is True:  # prose in the source: ours must say something
            fact = dict(fact, relation=mine.get("relation", "missing"))
            if fact["relation"] == "missing":
                return f"{mine} has no relation"
        if mine != fact:
            return f"{json.dumps(mine)} expected {json.dumps(fact)}"
    return ""


def torch_differs(ours, fact):
    expected = fact["supported"]
    reading = fact.get("reading", {})
    if ours["blank"] != (expected is None):
        return "blank"
    if ours["supported"] != (reading.get("supported", False) if expected is None else expected):
        return "supported"
    if not ours["supported"]:
        return ""
    # A reading stands where the cell is empty, and where it widens a cell.
    inputs = fact["inputs"] or reading.get("inputs", [])
    outputs = reading.get("outputs") or fact["outputs"]
    for key, mine, wanted in (("inputs", ours["inputs"], inputs), ("outputs", ours["outputs"], outputs)):
        if mine != wanted and (isinstance(wanted, str) or sorted(mine) != sorted(wanted)):
            return f"{key} {mine}, expected {wanted}"
    for key in ("inputs_by_name", "outputs_by_name"):
        if ours.get(key) != fact.get(key):
            return f"{key} {ours.get(key)}, expected {fact.get(key)}"
    return limits_differ(ours["limits"], fact["limits"]) or limits_differ(
        ours.get("reading_limits", []), reading.get("limits", []))


def onnx_differs(ours, fact):
    if ours["placement"] != fact["placement"]:
        return f"placement {ours['placement']}, expected {fact['placement']}"
    return limits_differ(ours["limits"], fact["limits"])


def compare(march, table, rows, wanted, differs):
    ours = {}
    for row in rows:
        report(row["op"] not in ours, f"{march} {table} {row['op']} stands once")
        ours[row["op"]] = row
    for fact in wanted:
        cell, mine = fact[march], ours.pop(fact["op"], None)
        name = f"{march} {table} {fact['op']}"
        if cell is None:
            report(mine is None, name, "is a row here and none in the table")
        elif mine is None:
            report(False, name, "is missing")
        else:
            what = differs(mine, cell)
            report(not what, name, what)
            if table == "torch":
                eager = " or ".join(fact["eager_replacement"]) or None
                report(mine["eager_replacement"] == eager, name + " eager replacement",
                       str(mine["eager_replacement"]))
    report(not ours, f"{march} {table} has no other rows", ", ".join(ours))


def main():
    out = subprocess.run([BINARY, "ops", "--json"], check=True, capture_output=True, timeout=60)
    export = json.loads(out.stdout)
    marches = {m["name"]: m for m in export["marches"]}
    report(sorted(marches) == sorted(MARCHES), "marches", str(sorted(marches)))
    torch, onnx = facts("torch_ops.json"), facts("onnx_ops.json")
    report(len(torch) == 118 and len(onnx) == 160, "rows of the public tables")
    for name in MARCHES:
        compare(name, "torch", marches[name]["torch"], torch, torch_differs)
        compare(name, "onnx", marches[name]["onnx"], onnx, onnx_differs)
        rules = {r["id"]: r["limits"] for r in marches[name]["general_rules"]}
        if name == "bernoulli2":
            report(rules.get("torch.rank", [{}])[0].get("in") == [4], "bernoulli2 rank rule")
            report(rules.get("x3.batch", [{}])[0].get("max") == 128, "bernoulli2 batch rule")
        else:
            shape = {l["quantity"]: (l.get("min"), l.get("max")) for l in rules.get("ultra.shape", [])}
            report(shape == {"H": (1, 65536), "W": (1, 65536), "C": (1, 65536), "N": (None, 4096)},
                   "bayes shape rule", str(shape))
            report(rules.get("ultra.bytes", [{}])[0].get("max") == 2 ** 30, "bayes size rule")
    used = {l["quantity"] for m in export["marches"] for t in ("torch", "onnx") for r in m[t]
            for l in r["limits"]}
    missing = sorted(q for q in used if not export["quantities"].get(q, {}).get("description"))
    report(not missing, "every quantity is described", ", ".join(missing))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
