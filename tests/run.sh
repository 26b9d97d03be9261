#!/bin/sh
# Runs all tests and counts them.  usage: tests/run.sh TEST_PROGRAM…   environment: BUILD, SAN, ONLY=pattern
#
# Test programs print TAP (cmocka); scripts print lines "ok …" and "not ok …" too. Each runs in its own process with a
# time limit; one that dies or prints no result counts as failed.
set -u
BUILD=${BUILD:-build} SAN=${SAN:-} ONLY=${ONLY:-}
export BPUHUB="$PWD/$BUILD/bpuhub" BPUHUB_BIN="$PWD/$BUILD/bpuhub" BUILD SAN
export CMOCKA_MESSAGE_OUTPUT=TAP
export ASAN_OPTIONS="detect_leaks=1:allocator_may_return_null=1:${ASAN_OPTIONS:-}"
export UBSAN_OPTIONS=print_stacktrace=1
limit=${TEST_SECONDS:-300}
logs="$BUILD/test-logs"
mkdir -p "$logs"
passed=0 failed=0 broken=

run() { # name command…
    name=$1
    shift
    case $name in *$ONLY*) ;; *) return ;; esac
    log="$logs/$name.log"
    start=$(date +%s%N)
    timeout -k 5 "$limit" "$@" >"$log" 2>&1
    status=$?
    ok=$(grep -c '^ok ' "$log")
    # cmocka marks what it skipped as not ok.
    bad=$(grep '^not ok ' "$log" | grep -vc '# SKIP')
    skipped=$(grep -c '^not ok .*# SKIP' "$log")
    # Dying without a failed test to show for it is one failure.
    [ "$status" -ne 0 ] && [ "$bad" -eq 0 ] && bad=1
    [ "$ok" -eq 0 ] && [ "$bad" -eq 0 ] && bad=1
    note=
    [ "$skipped" -gt 0 ] && note=" ($skipped skipped)"
    passed=$((passed + ok)) failed=$((failed + bad))
    printf '%-28s %5d passed %3d failed %8d ms%s\n' "$name" "$ok" "$bad" \
        "$((($(date +%s%N) - start) / 1000000))" "$note"
    if [ "$bad" -gt 0 ]; then
        broken="$broken $name"
        [ "$status" -eq 124 ] && echo "  (stopped after $limit s)"
        grep -v '^ok ' "$log" | tail -n 40 | sed 's/^/  | /'
    fi
}

for t in "$@"; do
    run "$(basename "$t")" "$t"
done
if [ -n "${PROGRAMS_ONLY:-}" ]; then
    echo "$passed passed, $failed failed"
    [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
    exit
fi
for t in tests/cases/*.sh; do
    [ -x "$t" ] && run "$(basename "$t" .sh)" "$t"
done
run golden tests/golden/run.sh
run golden_disasm python3 tests/golden/disasm.py
[ -f tests/unit/test_tables.py ] && run test_tables python3 tests/unit/test_tables.py
run http_fuzz python3 tests/torture/http_fuzz.py 3000
run faults python3 tests/torture/faults.py
run torture python3 tests/torture/torture.py --kills 20
run walkthrough tests/walkthrough/run.sh
[ -z "${NO_BROWSER:-}" ] && [ -f tests/browser/run.sh ] && run browser tests/browser/run.sh

[ -n "$broken" ] && echo "failed:$broken"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
