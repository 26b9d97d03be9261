#!/bin/sh
# Exit codes of `bpuhub check --fail-on`: what each gate lets through.
set -u
cd "$(dirname "$0")/../.." || exit 2
bpuhub=${BPUHUB:-build/bpuhub}
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
failed=0

expect() { # exit code, what it shows, arguments of check…
    want=$1 what=$2
    shift 2
    "$bpuhub" check "$@" >"$work/out" 2>"$work/err" </dev/null
    got=$?
    if [ $got -eq "$want" ]; then
        echo "ok gate: $what"
    else
        echo "not ok gate: $what: exit $got, not $want"
        head -n 3 "$work/err"
        failed=1
    fi
}

graph() { # operator
    printf '{"format": "bpuhub.graph/1", "name": "g",
 "inputs": [{"name": "x", "shape": [1, 16, 64, 64]}, {"name": "z", "shape": [1, 16, 64, 64]}],
 "nodes": [{"name": "c", "op": "torch.nn.Conv2d", "inputs": ["x"], "outputs": ["a"],
            "attrs": {"in_channels": 16, "out_channels": 16, "kernel_size": 3, "padding": 1}},
           {"name": "k", "op": "%s", "inputs": ["a", "z"], "outputs": ["y"]}], "outputs": ["y"]}' "$1"
}
graph torch.add >"$work/add.json"
graph torch.sub >"$work/sub.json"       # Bernoulli2: BPU by the torch table, CPU by the ONNX table
graph torch.maximum >"$work/max.json"   # Bernoulli2: not supported
wide=tests/cases/check/advice_channels+bayes.json
risk=tests/cases/check/stub_between+bayes.json

expect 0 "a legal model passes" "$work/add.json" --march bernoulli2
expect 0 "a legal model on the BPU passes cpu-split" "$work/add.json" --march bernoulli2 --fail-on cpu-split
expect 0 "placement by the ONNX table alone is no error" "$work/sub.json" --march bernoulli2 --fail-on error
expect 1 "placement by the ONNX table fails cpu-split" "$work/sub.json" --march bernoulli2 --fail-on cpu-split
expect 1 "an illegal model fails every gate" "$work/max.json" --march bernoulli2 --fail-on cpu-split
expect 0 "warnings pass without a gate" "$risk" --march bayes
expect 1 "warnings fail the warning gate" "$risk" --march bayes --fail-on warning
expect 0 "advice passes the warning gate" "$wide" --march bayes --advice 0 --fail-on warning
expect 1 "advice fails the advice gate" "$wide" --march bayes --advice 0 --fail-on advice
expect 0 "no advice without the option" "$wide" --march bayes --fail-on advice
expect 2 "an unknown gate is refused" "$wide" --march bayes --fail-on everything
expect 0 "--option input_source is known" "$work/add.json" --march bayes --option input_source=ddr
expect 1 "an input that the camera cannot feed" "$work/add.json" --march bayes --option input_source.x=pyramid
expect 2 "a source that is none" "$work/add.json" --march bayes --option input_source=camera
[ $failed -eq 0 ]
