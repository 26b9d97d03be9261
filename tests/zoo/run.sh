#!/bin/sh
# Real networks: every torchvision export must be read, checked for both marches and drawn.
#
#   tests/zoo/run.sh [NAME...]      ZOO=folder of the networks (default build/zoo), BPUHUB=binary
#                                   ZOO_SET=families (default), small, all: what is made when the folder lacks it
#
# Needs, to make the networks (python3-onnx and python3 alone to check those that are there):
#   apt-get install --no-install-recommends python3-torch python3-torchvision python3-onnx
# Asserted: exit 0 or 1 (legal or not), no error, every shape in the report static, and equal to what
# onnx.shape_inference says wherever both know it. Wall times are printed.
set -u
cd "$(dirname "$0")/../.." || exit 2
zoo=${ZOO:-build/zoo} bpuhub=${BPUHUB:-build/bpuhub} python=${PYTHON:-/usr/bin/python3}
[ -x "$bpuhub" ] || { echo "zoo: $bpuhub is missing; run make first" >&2; exit 2; }
mkdir -p "$zoo" || exit 2
case ${ZOO_SET:-families} in
    families) set_flag= ;;
    small) set_flag=--small ;;
    all) set_flag=--all ;;
    *) echo "zoo: ZOO_SET is families, small or all" >&2; exit 2 ;;
esac
if [ $# -gt 0 ]; then
    names=$*
else
    names=$("$python" tests/zoo/export.py $set_flag --list 2>/dev/null) ||
        names=$(cd "$zoo" && ls | sed -n 's/\.onnx$//p') # without PyTorch: what is there
fi
for name in $names; do
    [ -f "$zoo/$name.onnx" ] && continue
    "$python" tests/zoo/export.py --out "$zoo" "$name" || {
        echo "zoo: $name cannot be made; see the apt-get line at the top of this file" >&2
        exit 2
    }
done

work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
now() { date +%s%N; }
took() { echo "$((($(now) - $1) / 1000000)) ms"; }
passed=0 failed=0
verify() { # label, status of the step
    if [ "$2" -eq 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "  FAILED $1"; fi
}

[ -n "$names" ] || { echo "zoo: no networks in $zoo" >&2; exit 2; }
for name in $names; do
    model=$zoo/$name.onnx
    echo "$name ($(($(wc -c <"$model") / 1000000)) MB)"
    for march in bernoulli2 bayes; do
        start=$(now)
        timeout 120 "$bpuhub" check "$model" --march $march --json "$work/report.json" >"$work/out" 2>"$work/err"
        code=$?
        echo "  check $march: $(took "$start"), exit $code"
        [ $code -le 1 ] || head -3 "$work/err"
        [ $code -le 1 ] && "$python" tests/zoo/compare.py "$work/report.json" "$zoo/$name.json"
        verify "$name $march" $?
    done
    start=$(now)
    timeout 120 "$bpuhub" visualize "$model" --march bayes -o "$work/graph.svg" >"$work/out" 2>"$work/err"
    code=$?
    echo "  visualize: $(took "$start"), exit $code, $(wc -c <"$work/graph.svg" 2>/dev/null || echo 0) bytes"
    [ $code -eq 0 ] || head -3 "$work/err"
    [ $code -eq 0 ] && tail -c 200 "$work/graph.svg" | grep -q '</svg>'
    verify "$name visualize" $?
    rm -f "$work"/*
done
echo "zoo: $passed passed, $failed failed"
[ $failed -eq 0 ]
