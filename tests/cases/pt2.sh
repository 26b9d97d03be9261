#!/bin/sh
# torch.export programs give PyTorch's numbers: attention with masks, and instance norms that a decomposition rewrote.
set -u
cd "$(dirname "$0")/../.." || exit 2
bpuhub=${BPUHUB:-build/bpuhub}
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
failed=0
fixtures=tests/fixtures/pt2

gives() { # file, inputs, outputs by name: the arrays of the fixture with PyTorch's numbers, in that order
    model=$1 reference=$fixtures/${1%%[._]*}.npz inputs= i=0
    shift
    while [ $i -lt "$1" ]; do
        inputs="$inputs --input $reference:in$i"
        i=$((i + 1))
    done
    shift
    # shellcheck disable=SC2086
    "$bpuhub" run "$fixtures/$model" $inputs --output "$work/o.npz" >"$work/why" 2>&1
    code=$? i=0
    for output in "$@"; do
        [ $code -eq 0 ] && python3 tests/cases/arrays.py same "$work/o.npz:$output" "$reference:out$i" 1e-6 >"$work/why" 2>&1
        code=$?
        i=$((i + 1))
    done
    if [ $code -eq 0 ]; then
        echo "ok pt2: $model"
    else
        echo "not ok pt2: $model"
        head -n 3 "$work/why"
        failed=1
    fi
}
scores=scaled_dot_product_attention
for model in masks.pt2 masks.old.pt2; do
    gives $model 3 $scores ${scores}_1 ${scores}_2 ${scores}_3
done
gives instances.pt2 1 instance_norm_2
gives instances_core.pt2 1 view_6
gives instances_core.old.pt2 1 view_6
exit $failed
