#!/bin/sh
# make bench: figures of speed and memory, with a bound or a peer measured in the same run.
#   run.sh [check | draw | http | list | lenet | speed | memory | compile | perf | service]…      default: all
# environment: ZOO folder with the networks (default build/zoo; made when missing), BPUHUB binary, BUILD
set -eu
cd "$(dirname "$0")/../.."
zoo=${ZOO:-build/zoo} build=${BUILD:-build}
bpuhub=${BPUHUB:-$build/bpuhub}
mkdir -p "$zoo"
for name in mobilenet_v2 resnet18 resnet50 efficientnet_b0 mobilenet_v3_large shufflenet_v2_x0_5; do
    [ -f "$zoo/$name.onnx" ] || /usr/bin/python3 tests/zoo/export.py --out "$zoo" "$name"
done
make -s BUILD="$build" "$build/tests/bench/seed_store" "$build/tests/bench/measure" "$build/tests/bench/bench_engine" \
    "$build/tests/bench/load" "$build/tests/bench/bench_perf"
[ $# -gt 0 ] || set -- check draw http list lenet speed memory compile perf service
pages= engine= lenet= compile= perf= service=
for part; do
    case $part in
    check | draw | http | list) pages="$pages $part" ;;
    lenet) lenet=yes ;;
    compile) compile=yes ;;
    perf) perf=yes ;;
    service) service=yes ;;
    speed | memory) engine="$engine $part" ;;
    *) echo "run.sh: no part of the benchmark is called $part" >&2 && exit 2 ;;
    esac
done
# shellcheck disable=SC2086 # lists of words
{
    [ -z "$pages" ] || ZOO=$zoo BPUHUB=$bpuhub BUILD=$build /usr/bin/python3 tests/bench/bench.py $pages
    [ -z "$lenet" ] || /usr/bin/python3 tests/bench/lenet.py "$bpuhub" "$build"
    [ -z "$engine" ] || /usr/bin/python3 tests/bench/engine.py "$zoo" "$build" $engine
    [ -z "$compile" ] || /usr/bin/python3 tests/bench/compile.py "$zoo" "$bpuhub" "$build"
    [ -z "$perf" ] || BPUHUB=$bpuhub BUILD=$build ZOO=$zoo /usr/bin/python3 tests/bench/perf.py "$zoo" "$bpuhub" "$build"
    [ -z "$service" ] || BPUHUB=$bpuhub BUILD=$build /usr/bin/python3 tests/bench/service.py
}
