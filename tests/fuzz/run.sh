#!/bin/sh
# Runs fuzz targets one after the other.  usage: tests/fuzz/run.sh SECONDS TARGET…   environment: BUILD
#
# Each target gets that many seconds of processor time, in as many runs as a busy machine needs for
# them.  What a target learns stays in $BUILD/fuzz/corpus; inputs that break something are left in
# $BUILD/fuzz/found and end the run of their target.  One line a target is printed and added to
# $BUILD/fuzz/summary.tsv.  Exit 1 if something was found.
#
# TARGET.options may say  max_len: N   seeds: folders   dict: file beside it   flags: for libFuzzer
set -u
seconds=$1
shift
: "${BUILD:=build-fuzz}"
export ASAN_OPTIONS="allocator_may_return_null=1:detect_stack_use_after_return=0:${ASAN_OPTIONS:-}"
export UBSAN_OPTIONS=print_stacktrace=1
mkdir -p "$BUILD/fuzz/found"
summary="$BUILD/fuzz/summary.tsv"
times="$BUILD/fuzz/times.$$"
trap 'rm -f "$times"' EXIT
status=0

# cpu: seconds of processor time of all children so far.  (A shell within $(…) would have its own.)
cpu_now() {
    times >"$times"
    cpu=$(sed -n '2{s/[ms]/ /g;p;}' "$times" | awk '{printf "%d\n", $1 * 60 + $2 + $3 * 60 + $4}')
}

option() {
    sed -n "s/^$2: //p" "tests/fuzz/$1.options" 2>/dev/null
}

# The largest or the sum of what libFuzzer says of a number in all runs of the log.
stat_of() {
    awk -v key="stat::$2:" -v how="$3" \
        '$1 == key { sum += $2; if ($2 > max) max = $2 } END { print how == "sum" ? sum + 0 : max + 0 }' "$1"
}

row() {
    printf '%-17s %12s %9s %9s %7s %7s %9s %9s\n' "$@"
}

[ -s "$summary" ] ||
    printf 'date\trevision\ttarget\texecutions\tcoverage\tfeatures\tcorpus\tcpu_s\tslowest_s\tfindings\n' >"$summary"
revision=$(git describe --always --dirty 2>/dev/null || echo -)
row target executions coverage features corpus cpu_s slowest_s findings
for target in "$@"; do
    work="$BUILD/fuzz/corpus/$target"
    log="$BUILD/fuzz/$target.log"
    mkdir -p "$work"
    : >"$log"
    set -- "$work"
    for dir in "tests/fuzz/corpus/$target" $(option "$target" seeds); do
        [ -d "$dir" ] && set -- "$@" "$dir"
    done
    dict=$(option "$target" dict)
    dict="tests/fuzz/${dict:-$target.dict}"
    [ -f "$dict" ] && set -- "-dict=$dict" "$@"
    max_len=$(option "$target" max_len)
    # shellcheck disable=SC2046
    set -- $(option "$target" flags) "$@"
    cpu_now
    begin=$cpu
    used=0
    while [ "$used" -lt "$seconds" ]; do
        before=$used
        nice -n 19 "$BUILD/fuzz/$target" -max_total_time=$((seconds - used)) -timeout=10 -rss_limit_mb=2048 \
            -max_len="${max_len:-4096}" -artifact_prefix="$BUILD/fuzz/found/$target-" \
            -print_final_stats=1 -verbosity=1 "$@" >>"$log" 2>&1 || { status=1; break; }
        cpu_now
        used=$((cpu - begin))
        [ "$used" -gt "$before" ] || break
    done
    cpu_now
    used=$((cpu - begin))
    cov=$(sed -n 's/^#.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
    ft=$(sed -n 's/^#.* ft: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
    corp=$(sed -n 's/^#.* corp: \([0-9]*\).*/\1/p' "$log" | tail -n 1)
    found=$(grep -ac 'Test unit written' "$log")
    executions=$(stat_of "$log" number_of_executed_units sum)
    slowest=$(stat_of "$log" slowest_unit_time_sec max)
    row "$target" "$executions" "${cov:--}" "${ft:--}" "${corp:--}" "$used" "$slowest" "$found"
    printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$revision" "$target" \
        "$executions" "${cov:--}" "${ft:--}" "${corp:--}" "$used" "$slowest" "$found" >>"$summary"
    grep -aE '^(SUMMARY|.*does not hold|.*runtime error|.*Test unit written)' "$log" | tail -n 4
done
exit "$status"
