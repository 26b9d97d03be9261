#!/bin/sh
# Attention in three forms (whole layers as one operator, traced in parts, ONNX): PyTorch's numbers, and the same findings.
set -u
cd "$(dirname "$0")/../.." || exit 2
bpuhub=${BPUHUB:-build/bpuhub}
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
failed=0
fixtures=tests/fixtures/torchscript
reference=$fixtures/attention.npz

report() { # what, exit code of the test
    if [ "$2" -eq 0 ]; then
        echo "ok attention: $1"
    else
        echo "not ok attention: $1"
        head -n 4 "$work/why"
        failed=1
    fi
}
gives() { # file, engine, names of the two outputs
    "$bpuhub" run "$fixtures/$1" --engine "$2" --option input.0=2x5x8 --input "$reference:x" --output "$work/o.npz" >"$work/why" 2>&1 &&
        python3 tests/cases/arrays.py same "$work/o.npz:$3" "$reference:y" 2e-5 >"$work/why" 2>&1 &&
        python3 tests/cases/arrays.py same "$work/o.npz:$4" "$reference:weights" 1e-6 >"$work/why" 2>&1
    report "$1 has PyTorch's numbers ($2)" $?
}
for engine in reference fast; do
    gives attention.pt $engine last last/weights.2
    gives attention_parts.pt $engine last.31 last.30
    gives attention.onnx $engine y weights
done

findings() { # file, march: one line each, sorted; fails if there is none
    "$bpuhub" check "$fixtures/$1" --march "$2" --option input.0=2x5x8 --json "$work/report.json" >"$work/why" 2>&1
    python3 -c '
import json, sys
report = json.load(open(sys.argv[1]))
lines = sorted(json.dumps([f["rule"], f["severity"], f["op"], f["actual"]]) for f in report["findings"])
print(report["verdict"], *lines, sep="\n")
sys.exit(not lines)' "$work/report.json" 2>>"$work/why"
}
for march in bayes bernoulli2; do
    findings attention.onnx $march >"$work/onnx"
    report "ONNX has findings on $march" $?
    for form in attention.pt attention_parts.pt; do
        findings $form $march >"$work/form" && diff "$work/onnx" "$work/form" >"$work/why"
        report "$form has the findings of ONNX on $march" $?
    done
done
exit $failed
