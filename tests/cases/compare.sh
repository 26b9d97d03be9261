#!/bin/sh
# bpuhub compare, and the gates of compile, perf and compare: exit codes, what is said, what is written.
set -u
cd "$(dirname "$0")/../.." || exit 2
bpuhub=${BPUHUB:-build/bpuhub}
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
failed=0

report() { # what, exit code of the test
    if [ "$2" -eq 0 ]; then
        echo "ok compare: $1"
    else
        echo "not ok compare: $1"
        head -n 5 "$work/out" "$work/err" 2>/dev/null
        failed=1
    fi
}
expect() { # exit code, text that must show up, what it shows, arguments…
    want=$1 text=$2 what=$3
    shift 3
    "$bpuhub" "$@" >"$work/out" 2>"$work/err" </dev/null
    got=$?
    [ $got -eq "$want" ] && grep -qF -- "$text" "$work/out" "$work/err"
    report "$what (exit $got)" $?
}
json() { # what, condition over r
    python3 -c "import json; r = json.load(open('$work/r.json')); assert ($2), r" 2>"$work/err"
    report "$1" $?
}
net() { # names of the two convolutions, channels of the second, kernel of the second
    cat <<END
{"format": "bpuhub.graph/1", "name": "net", "inputs": [{"name": "x", "shape": [1, 16, 32, 32]}],
 "nodes": [{"name": "$1", "op": "torch.nn.Conv2d", "inputs": ["x"], "outputs": ["a"],
            "attrs": {"in_channels": 16, "out_channels": 32, "kernel_size": [3, 3], "padding": [1, 1], "bias": false},
            "params": {"weight": "w1"}},
           {"name": "$2", "op": "torch.nn.Conv2d", "inputs": ["a"], "outputs": ["y"],
            "attrs": {"in_channels": 32, "out_channels": $3, "kernel_size": [$4, $4], "padding": [$(($4 / 2)), $(($4 / 2))], "bias": false},
            "params": {"weight": "w2"}}], "outputs": ["y"],
 "tensors": {"w1": {"shape": [32, 16, 3, 3], "dtype": "float32", "data": "$(zeros $((32 * 16 * 9)))"},
             "w2": {"shape": [$3, 32, $4, $4], "dtype": "float32", "data": "$(zeros $(($3 * 32 * $4 * $4)))"}}}
END
}
zeros() { head -c $((4 * $1)) /dev/zero | base64 -w 0; }
net first second 32 3 >"$work/a.json"
net Conv_0 Conv_1 32 3 >"$work/renamed.json"
net first second 64 3 >"$work/wide.json"
net first second 32 33 >"$work/illegal.json"
a=$work/a.json lenet=tests/fixtures/lenet_float.onnx

# ── gates of one result ──
expect 0 "gate min_fps: passed" "compile passes" compile "$a" --march bayes -o "$work/a.bpu" --min-fps 1 --json "$work/c.json"
expect 1 "above the limit of 0.5" "compile fails" compile "$a" --march bayes -o "$work/a.bpu" --max-latency-us 0.5
expect 1 "gate max_ddr_mb: DDR traffic is" "what failed is said although JSON takes standard output" \
    compile "$a" --march bayes -o "$work/a.bpu" --max-ddr-mb 0.001 --json -
expect 1 "FAILED" "perf fails" perf "$a" --march bayes --max-latency-us 0.5
expect 1 "FAILED" "perf of a program fails" perf "$work/a.bpu" --min-fps 1e9
expect 0 "passed" "perf passes" perf "$a" --march bayes --max-ddr-mb 100 --json "$work/p.json"
expect 2 "not a number" "a limit that is none" compile "$a" --march bayes -o "$work/x.bpu" --max-latency-us soon
expect 2 "max_regression is no gate of this" "a regression needs two" compile "$a" --march bayes -o "$work/x.bpu" --option max_regression=3%
[ ! -e "$work/x.bpu" ]
report "nothing is written for a wrong gate" $?
expect 2 "is no gate of this" "a check has no latency" check "$a" --march bayes --option max_latency_us=3
expect 1 "gate fail_on" "a check by option" check "$lenet" --march bernoulli2 --option fail_on=warning

# ── reports ──
"$bpuhub" compile "$a" --march bayes -O0 -o "$work/a.bpu" --json "$work/slow.json" >/dev/null 2>&1
"$bpuhub" compile "$work/wide.json" --march bayes -o "$work/w.bpu" --json "$work/wide.report" >/dev/null 2>&1
"$bpuhub" compile "$work/renamed.json" --march bayes -o "$work/n.bpu" --json "$work/renamed.report" >/dev/null 2>&1
"$bpuhub" check "$a" --march bayes --json "$work/ok.report" >/dev/null 2>&1
"$bpuhub" check "$work/illegal.json" --march bayes --json "$work/bad.report" >/dev/null 2>&1

expect 0 "layers: 2 unchanged, 0 changed" "a report and itself" compare "$work/c.json" "$work/c.json" --max-regression 0%
expect 0 "worse" "a slower program passes without a gate" compare "$work/c.json" "$work/slow.json"
expect 1 "above the limit of 3 %" "and fails with one" compare "$work/c.json" "$work/slow.json" --max-regression 3%
expect 0 "is no worse" "a faster one passes" compare "$work/slow.json" "$work/c.json" --max-regression latency=0%,ddr=0%
expect 1 "gate max_regression" "one figure of two" compare "$work/c.json" "$work/slow.json" --max-regression latency=99999%,ddr=1%
expect 0 "2 renamed" "other names, the same layers" compare "$work/c.json" "$work/renamed.report" --max-regression 0%
expect 0 "changed  second" "another width" compare "$work/c.json" "$work/wide.report"
expect 0 "figures are the same" "a compilation and an estimate of it" compare "$work/c.json" "$work/p.json"
expect 1 "+ error conv2d.kernel_h: second" "a head that is illegal" compare "$work/ok.report" "$work/bad.report"
expect 0 "- error conv2d.kernel_h: second" "a head that was mended" compare "$work/bad.report" "$work/ok.report" --fail-on new-findings
expect 1 "gained, the first: error conv2d.kernel_h" "findings as a gate" compare "$work/ok.report" "$work/bad.report" --fail-on new-errors
expect 1 "is not known" "a figure that no report has" compare "$work/ok.report" "$work/ok.report" --max-latency-us 5

"$bpuhub" compare "$work/c.json" "$work/wide.report" --json "$work/r.json" --html "$work/r.html" --max-regression 3% >/dev/null 2>&1
json "JSON has what changed" 'r["schema"] == "bpuhub.compare/1" and r["figures"]["ops"]["delta"] > 0 and r["layers"]["changed"] == 2
      and r["layers"]["items"][0]["name"] == "second" and r["layers"]["items"][0]["reshaped"] and r["gates"]["passed"] is False
      and r["passed"] is False and r["same"]["march"] is True and r["same"]["model"] is False'
grep -q '</html>' "$work/r.html" && ! grep -qE '<script|https?:|src=' "$work/r.html"
report "HTML is one file" $?
"$bpuhub" compare "$work/c.json" "$work/wide.report" --json - 2>/dev/null | python3 -c 'import json, sys; json.load(sys.stdin)'
report "JSON to standard output, and nothing else" $?
if [ -f tests/cases/json_schema.py ]; then
    python3 tests/cases/json_schema.py tests/schema/compare.schema.json "$work/r.json" >"$work/out" 2>&1
    report "it is what its schema says" $?
fi

# ── models ──
expect 0 "perf, compile, check" "two models" compare "$a" "$work/wide.json" --march bayes
expect 1 "gate max_latency_us" "two models and a gate" compare "$a" "$a" --march bayes --max-latency-us 0.5
expect 0 "(O0 cores=1)" "a report and a model" compare "$work/c.json" "$a" --march bayes -O 0
expect 0 "w.bpu" "a program that was compiled before" compare "$a" "$work/w.bpu" --march bayes
expect 1 "illegal" "a model that is illegal" compare "$a" "$work/illegal.json" --march bayes
expect 2 "no march" "a model without a march" compare "$a" "$a"

# ── refusals ──
printf '{"schema": "bpuhub.check/1", "findings": [' >"$work/cut.json"
printf '{"schema": "bpuhub.party/1"}' >"$work/other.json"
printf '{"schema": "bpuhub.evaluate/1", "fixed": {"top1": 0.5}}' >"$work/e.json"
expect 3 "ends too early" "a report that is cut off" compare "$work/cut.json" "$work/c.json"
expect 3 "its schema is" "a report of no kind" compare "$work/c.json" "$work/other.json"
expect 3 "have nothing in common" "two that have nothing in common" compare "$work/c.json" "$work/e.json"
expect 3 "cannot be opened" "a file that is not there" compare "$work/c.json" "$work/none.json"
expect 2 "usage: bpuhub compare" "one file" compare "$work/c.json"
expect 2 "is no limit for a regression" "a limit that is none" compare "$work/c.json" "$work/c.json" --max-regression fast=3%
expect 2 "is not new-errors" "a word that is none" compare "$work/c.json" "$work/c.json" --fail-on warning
[ $failed -eq 0 ]
