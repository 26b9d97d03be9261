#!/bin/sh
# Files that are built to make a reader slow: each is checked and drawn in time that grows with its size.  The limits, in
# processor time, are more than ten times what is needed, so that only quadratic work fails.
set -u
cd "$(dirname "$0")/../.." || exit 2
bpuhub=${BPUHUB:-build/bpuhub}
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
failed=0 size=400000 check_limit=4 draw_limit=12
# Sanitizers take several times as long.
[ -n "${SAN:-}" ] && size=200000 check_limit=20 draw_limit=60

python3 tests/cases/hostile.py "$work" $size || { echo "not ok hostile: the files cannot be made"; exit 1; }
measure() { # command, processor seconds that it may take, file, arguments…
    command=$1 limit=$2 model=$3
    shift 3
    (ulimit -t "$limit" && exec "$bpuhub" "$command" "$model" --march bayes "$@") >"$work/out" 2>"$work/err"
    code=$?
    # Illegal, or too large for a limit, is an answer; a file that cannot be read would prove nothing.
    case $code in
        0 | 1 | 4) echo "ok hostile: $command ${model##*/}" ;;
        *)
            echo "not ok hostile: $command ${model##*/} (exit $code; above 128: more than $limit s of processor time)"
            head -n 3 "$work/err"
            failed=1
            ;;
    esac
}
for model in "$work"/*.json "$work"/*.onnx "$work"/*.pt "$work"/*.pt2; do
    set --
    case $model in
        *.pt) set -- --option input.0=1x4x6x6 ;;
        *.pt2) set -- --option input.0=2x4 ;;
    esac
    measure check $check_limit "$model" --json "$work/report" "$@"
    measure visualize $draw_limit "$model" -o "$work/svg" "$@"
    rm -f "$work/report" "$work/svg"
done
exit $failed
