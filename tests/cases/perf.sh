#!/bin/sh
# bpuhub perf, from files to files: what it says, what it writes, what it refuses; the report against its schema.
set -u
cd "$(dirname "$0")/../.." || exit 2
bpuhub=${BPUHUB:-build/bpuhub}
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
lenet=tests/fixtures/lenet_float.onnx

expect() { # exit code, text that must show up, what it shows, arguments…
    want=$1 text=$2 what=$3
    shift 3
    "$bpuhub" "$@" >"$work/out" 2>"$work/err" </dev/null
    got=$?
    if [ $got -eq "$want" ] && grep -qF -- "$text" "$work/out" "$work/err"; then
        echo "ok perf: $what"
    else
        echo "not ok perf: $what: exit $got, not $want, or no \"$text\""
        head -n 5 "$work/out" "$work/err"
    fi
}
holds() { # what it shows, command…
    what=$1
    shift
    if "$@" >"$work/held" 2>&1; then echo "ok perf: $what"; else
        echo "not ok perf: $what"
        head -n 10 "$work/held"
    fi
}

# ── what it says ──
expect 0 "latency" "a network" perf $lenet --march bayes --json "$work/plain.json"
holds "the answer comes first" sh -c "sed -n 3,6p '$work/out' | tr '\n' ' ' | grep -q 'FPS .*latency .*DDR .*utilization'"
expect 0 "bound by" "at another level, on two cores, with details" perf $lenet --march bayes -O3 --cores 2 --layer-details \
    --intervals 20 --json "$work/details.json"
expect 0 "" "JSON on standard output" perf $lenet --march bayes --json -
holds "and nothing else there" python3 -c "import json; json.load(open('$work/out'))"
expect 1 "ILLEGAL" "an illegal network: the findings" perf tests/fixtures/illegal.json --march bernoulli2 --json "$work/illegal.json"
holds "its report is that of the check" grep -q '"bpuhub.check/1"' "$work/illegal.json"

# ── several frames a run ──
expect 0 "4 frames a run" "a batch through the shape of the input" perf tests/fixtures/dynamic_batch.onnx --march bayes \
    --option input.0=4x3x8x8 --json "$work/batch.json"

# ── compiled programs ──
"$bpuhub" compile $lenet --march bayes -o "$work/lenet.bpu" >"$work/out" 2>&1
expect 0 "latency" "a compiled program, without a march" perf "$work/lenet.bpu" --json "$work/program.json"
expect 0 "latency" "and with it, in capitals" perf "$work/lenet.bpu" --march BAYES --layer-details
expect 2 "compiled for bayes, not for bernoulli2" "not for another march" perf "$work/lenet.bpu" --march bernoulli2
expect 2 "would change nothing" "no option of the compiler" perf "$work/lenet.bpu" -O 3
head -c 2000 "$work/lenet.bpu" >"$work/short.bpu"
expect 3 "its head says" "one that ends early" perf "$work/short.bpu"
expect 3 "compiled program" "check takes none" check "$work/lenet.bpu" --march bayes

# ── files ──
expect 0 "latency" "everything into a folder" perf $lenet --march bayes --out-dir "$work/all"
holds "which has it" sh -c "cd '$work/all' && ls | tr '\n' ' ' | \
    grep -qx 'graph.svg memory.svg model.bpu report.html report.json report.txt schedule.svg '"
cp "$work/all/report.json" "$work/folder.json"
holds "the program is the compiler's" cmp "$work/all/model.bpu" "$work/lenet.bpu"
expect 0 "latency" "of a program" perf "$work/lenet.bpu" --out-dir "$work/less"
holds "without graph and program" sh -c "cd '$work/less' && ls | tr '\n' ' ' | \
    grep -qx 'memory.svg report.html report.json report.txt schedule.svg '"
expect 0 "latency" "the page alone" perf $lenet --march bayes --html "$work/page.html"
holds "needs nobody" sh -c "! grep -Eq '(src|href)=\"(https?:)?//' '$work/page.html'"
"$bpuhub" perf $lenet --march bayes --json "$work/again.json" >/dev/null 2>&1
holds "the same bytes again" cmp "$work/plain.json" "$work/again.json"

# ── gates ──
expect 0 "max_latency_us" "a gate that holds" perf $lenet --march bayes --max-latency-us 1e6 --min-fps 1 --json "$work/gates.json"
expect 1 "max_latency_us" "one that does not" perf $lenet --march bayes --max-latency-us 0.001

expect 0 "latency" "a legal network with warnings" perf tests/fixtures/same_names.onnx --march bernoulli2 --json "$work/warned.json"

# ── what is refused ──
expect 2 "usage" "no model" perf --march bayes
expect 2 "march" "no march" perf $lenet
expect 2 "march" "no such march" perf $lenet --march vax
expect 2 "1 to 4096" "no intervals" perf $lenet --march bayes --intervals 0
expect 2 "true or false" "no flag" perf $lenet --march bayes --option layer_details=maybe
expect 3 "" "no such file" perf "$work/none" --march bayes
expect 0 "--layer-details" "help" perf --help

# ── reports ──
reports="$work/plain.json $work/details.json $work/batch.json $work/program.json $work/folder.json $work/gates.json $work/warned.json"
# shellcheck disable=SC2086 # a list of words
holds "reports have the form of tests/schema/perf.schema.json" python3 tests/cases/json_schema.py tests/schema/perf.schema.json $reports
for change in 'r["findings"][0]["severity"] = "bad"' 'r["findings"][0].pop("rule")' 'r["summary"].pop("FPS")' 'r["summary"]["interval number"] = "8"' 'r["layers"][0]["bound"] = "fate"' \
    'r["summary"]["latency"] = 1' 'r["memory"]["buffers"][0].pop("from_us")'; do
    python3 -c "import json; r = json.load(open('$work/warned.json')); $change; json.dump(r, open('$work/changed.json', 'w'))"
    if python3 tests/cases/json_schema.py tests/schema/perf.schema.json "$work/changed.json" >/dev/null; then
        echo "not ok perf: the schema takes a report after $change"
    else
        echo "ok perf: the schema refuses a report after $change"
    fi
done
if python3 - "$work" <<'PY'; then echo "ok perf: sums in the reports come out"; else echo "not ok perf: sums in the reports"; fi
import json, re, sys
w = sys.argv[1] + "/"
r = {n: json.load(open(w + n + ".json")) for n in ("plain", "details", "batch", "program", "folder")}
near = lambda a, b: abs(a - b) <= 1e-6 * max(1, abs(a), abs(b))
for n, x in r.items():
    s, layers, t = x["summary"], x["layers"], x["traffic"]
    assert near(sum(l["time_us"] for l in layers) + s["idle_us"], s["latency_us"]), n
    assert near(s["latency (us)"], round(s["latency_us"], 3)) and near(s["latency (ms)"] * 1000, s["latency (us)"]), n
    assert sum(l["ops"] for l in layers) == s["ops"] == s["BPU OPs per run (effective)"], n
    assert s["BPU OPs per frame (effective)"] == s["ops"] // s["frame per run"], n
    assert sum(l["ddr_load_bytes"] for l in layers) == s["ddr_load_bytes"] == s["loaded bytes per run"], n
    assert sum(l["ddr_store_bytes"] for l in layers) == s["ddr_store_bytes"] == s["stored bytes per run"], n
    assert s["DDR bytes per run"] == s["ddr_bytes"] == s["ddr_load_bytes"] + s["ddr_store_bytes"], n
    assert abs(s["DDR megabytes per run"] * 2**20 - s["ddr_bytes"]) < 1, n
    assert abs(s["FPS"] - 1e6 * s["frames"] / s["latency_us"]) < .01, n
    assert abs(s["run per second"] * s["frame per run"] - s["FPS"]) < .01 * s["frames"], n
    assert abs(s["DDR bytes per second"] * s["latency_us"] / 1e6 - s["ddr_bytes"]) < s["latency_us"], n
    assert sum(y["ddr_load_bytes"] + y["ddr_store_bytes"] for y in t["tensors"]) == s["ddr_bytes"], n
    for kind in ("constants", "inputs", "outputs", "spills"):
        assert sum(y["ddr_load_bytes"] + y["ddr_store_bytes"] for y in t["tensors"] if y["kind"] == kind) == t[kind + "_bytes"], n
    cuts = x["intervals"]
    assert len(cuts) == s["interval number"] == len(s["interval computing unit utilization"]), n
    assert near(sum(c["length_us"] for c in cuts), s["latency_us"]), n
    assert near(sum(c["ddr_load_bytes"] for c in cuts), s["ddr_load_bytes"]), n
    assert all(abs(c["compute"] - u) <= .0005 for c, u in zip(cuts, s["interval computing unit utilization"])), n
    bandwidth = sum(s["interval loading bandwidth (megabytes/s)"]) * s["interval time (ms)"] / 1000 * 2**20
    assert abs(bandwidth - s["ddr_load_bytes"]) <= .51 * len(cuts) * s["interval time (ms)"] / 1000 * 2**20, n
    line = x["timeline"]
    assert sum(l["instructions"] for l in line["lanes"]) == s["instructions"] == line["instructions"], n
    for l in line["lanes"]:
        assert near(sum(b[4] for b in l["bars"]), l["busy_us"]), (n, l["engine"])
        assert all(b[0] <= b[1] for b in l["bars"]) and all(a[1] <= b[0] + 1e-6 for a, b in zip(l["bars"], l["bars"][1:])), n
    assert s["bound_us"] <= s["latency_us"] * (1 + 1e-9), n
    assert all(a["win_us"] <= b["win_us"] + 1e-9 for b, a in zip(x["advice"], x["advice"][1:])), n
    assert all(0 < a["win_us"] < s["latency_us"] for a in x["advice"]), n
    assert x["memory"]["sram_peak_bytes"] >= max(c["sram_bytes"] for c in cuts), n
d = r["details"]["summary"]["layer details"]
assert d[0][:4] == ["layer", "ops", "computing cost (no DDR)", "load/store cost"]
assert len(d) == 1 + sum(l["instructions"] > 0 for l in r["details"]["layers"])
for row in d[1:]:
    assert re.fullmatch(r"\d{1,3}(,\d{3})*", row[1]) and all(re.fullmatch(r"\d+ us \(\d+% of model\)", c) for c in row[2:4]), row
assert "layer details" not in r["plain"]["summary"]
assert r["details"]["summary"]["BPU core number"] == 2 and r["details"]["summary"]["interval number"] == 20
assert r["plain"]["summary"]["BPU march"] == "BAYES" and r["plain"]["summary"]["input features"][1] == ["x", "1x28x28x1"], r["plain"]["summary"]["input features"]
assert r["batch"]["summary"]["frame per run"] == 4
a, b = r["plain"]["summary"], r["program"]["summary"]
assert all(a[k] == b[k] for k in a if k not in ("host_nodes", "model json file")), [k for k in a if a[k] != b[k]]
assert r["program"]["layers"] == r["plain"]["layers"] and r["program"]["advice"] == r["plain"]["advice"]
assert r["program"]["model"]["format"] == "program"
PY
