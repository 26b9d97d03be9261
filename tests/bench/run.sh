#!/bin/sh
# make bench: figures of speed and memory, with a bound or a peer measured in the same run.
# environment: ZOO folder with the networks (default build/zoo; made when missing), BPUHUB binary, BUILD
set -eu
cd "$(dirname "$0")/../.."
zoo=${ZOO:-build/zoo}
mkdir -p "$zoo"
for name in mobilenet_v2 resnet18 resnet50; do
    [ -f "$zoo/$name.onnx" ] || /usr/bin/python3 tests/zoo/export.py --out "$zoo" "$name"
done
make -s "${BUILD:-build}/tests/bench/seed_store" "${BUILD:-build}/tests/bench/measure" "${BUILD:-build}/tests/bench/bench_engine"
ZOO=$zoo /usr/bin/python3 tests/bench/bench.py "$@"
[ $# -gt 0 ] || exec /usr/bin/python3 tests/bench/engine.py "$zoo" "${BUILD:-build}"
