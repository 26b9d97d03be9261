#!/bin/sh
# The times that docs/accuracy.md was made with are those that the program gives now: a small network of each march within 2 %, and
# the published networks still have the operations that are published.
set -u
cd "$(dirname "$0")/../.." || exit 2
bpuhub=${BPUHUB:-build/bpuhub}
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
failed=0

say() { # 0 or 1, what
    if [ "$1" -eq 0 ]; then echo "ok accuracy: $2"; else echo "not ok accuracy: $2"; failed=1; fi
}

for march in bernoulli2 bayes; do
    want=$(sed -n "s/^| $march | \`[0-9a-f]*\` | \([0-9.]*\) |\$/\1/p" docs/accuracy.md)
    "$bpuhub" compile tests/fixtures/same_names.onnx --march $march -o "$work/l.bpu" --json "$work/l.json" >/dev/null 2>&1
    got=$(sed -n 's/.*"predicted_us": *\([0-9.]*\).*/\1/p' "$work/l.json")
    awk -v a="${want:-0}" -v b="${got:-0}" 'BEGIN {exit !(a > 0 && b > 0 && b / a < 1.02 && a / b < 1.02)}'
    say $? "a small network on $march takes ${got:-no} us, ${want:-no} us when \`make accuracy\` was run; run it again if that is meant"
done
# Text, page and JSON of a report say what the page says that they do.
for march in bernoulli2 bayes; do
    words=$(sed -n 's/^Reports carry: \*\*\(.*\)\*\*$/\1/p' docs/accuracy.md | grep -F "$march")
    "$bpuhub" perf tests/fixtures/same_names.onnx --march $march --html "$work/p.html" --json "$work/p.json" >"$work/p.txt" 2>&1
    for report in "$work/p.txt" "$work/p.html" "$work/p.json"; do
        [ -n "$words" ] && grep -qF -- "$words" "$report"
        say $? "${report##*/} of $march carries its expected error"
    done
done
if /usr/bin/python3 -c 'import onnx, numpy' 2>/dev/null; then
    /usr/bin/python3 tests/zoo/published.py mobilenet_v2_cifar >/dev/null
    say $? "operations of the published network are exact"
fi
[ "$failed" -eq 0 ]
