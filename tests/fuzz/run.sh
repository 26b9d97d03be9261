#!/bin/sh
# Runs fuzz targets one after the other.  usage: tests/fuzz/run.sh SECONDS TARGET…   environment: BUILD
#
# What a target learns stays in $BUILD/fuzz/corpus; inputs that break something are left in
# $BUILD/fuzz/found and end the run of their target.  Exit 1 if there are any.
set -u
seconds=$1
shift
: "${BUILD:=build-fuzz}"
export ASAN_OPTIONS="allocator_may_return_null=1:detect_stack_use_after_return=0:${ASAN_OPTIONS:-}"
export UBSAN_OPTIONS=print_stacktrace=1
mkdir -p "$BUILD/fuzz/found"
status=0
for target in "$@"; do
    work="$BUILD/fuzz/corpus/$target"
    mkdir -p "$work"
    set -- "$work"
    for dir in "tests/fuzz/corpus/$target" $(sed -n 's/^seeds: //p' "tests/fuzz/$target.options" 2>/dev/null); do
        [ -d "$dir" ] && set -- "$@" "$dir"
    done
    [ -f "tests/fuzz/$target.dict" ] && set -- "-dict=tests/fuzz/$target.dict" "$@"
    max_len=$(sed -n 's/^max_len: //p' "tests/fuzz/$target.options" 2>/dev/null)
    extra=$(sed -n 's/^flags: //p' "tests/fuzz/$target.options" 2>/dev/null)
    # shellcheck disable=SC2086
    [ -n "$extra" ] && set -- $extra "$@"
    printf '== %s: %s s\n' "$target" "$seconds"
    nice "$BUILD/fuzz/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
        -max_len="${max_len:-4096}" -artifact_prefix="$BUILD/fuzz/found/$target-" \
        -print_final_stats=1 -verbosity=1 "$@" >"$BUILD/fuzz/$target.log" 2>&1 || status=1
    grep -E '^(SUMMARY|.*does not hold|stat::number_of_exec|stat::average_exec|stat::slowest|.*Test unit written|#[0-9]+.*DONE)' \
        "$BUILD/fuzz/$target.log" | tail -8
done
exit "$status"
