#!/bin/sh
# `bpuhub run`: frames, types, shapes, outputs, traces, refusals.
set -u
cd "$(dirname "$0")/../.." || exit 2
bpuhub=${BPUHUB:-build/bpuhub}
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
failed=0
fixtures=tests/fixtures
frames=$fixtures/data/lenet_frames.npz

arrays() { python3 tests/cases/arrays.py "$@"; }
report() { # what, exit code of the test
    if [ "$2" -eq 0 ]; then
        echo "ok run: $1"
    else
        echo "not ok run: $1"
        head -n 4 "$work/err" "$work/why" 2>/dev/null
        failed=1
    fi
}
run() { "$bpuhub" run "$@" >"$work/out" 2>"$work/err" </dev/null; }
# The run succeeds, and `arrays show` of its output is exactly that.
gives() { # what, lines, arguments of run…
    what=$1 want=$2
    shift 2
    rm -f "$work/o.npz"
    run "$@" --output "$work/o.npz" && arrays show "$work/o.npz" >"$work/shown" 2>"$work/why" &&
        [ "$(cat "$work/shown")" = "$want" ]
    code=$?
    [ $code -eq 0 ] || cat "$work/shown" 2>/dev/null
    report "$what" $code
}
# The run fails with that exit code and that text, and leaves no output.
refuses() { # what, exit code, text, arguments of run…
    what=$1 want=$2 text=$3
    shift 3
    rm -rf "$work/o.npz" "$work/tr"
    run "$@" --output "$work/o.npz"
    code=$?
    [ $code -eq "$want" ] && grep -q -- "$text" "$work/err" && [ ! -e "$work/o.npz" ] && [ ! -e "$work/tr" ] &&
        [ -z "$(ls -d "$work"/tr.* "$work"/o.npz.* 2>/dev/null)" ]
    report "$what" $?
}

graph() { # inputs, nodes, outputs, rest
    printf '{"format": "bpuhub.graph/1", "name": "g", "inputs": [%s], "nodes": [%s], "outputs": [%s]%s}' "$@"
}
graph '{"name": "x", "shape": [1, 2, 2]}' '{"name": "n", "op": "torch.neg", "inputs": ["x"], "outputs": ["y"]}' \
    '"y"' '' >"$work/neg.json"
graph '{"name": "a", "shape": [1, 3]}, {"name": "b", "shape": [1, 3]}' \
    '{"name": "s", "op": "torch.sub", "inputs": ["a", "b"], "outputs": ["y"]}' '"y", "a"' '' >"$work/sub.json"
graph '{"name": "q", "shape": [1, 4], "dtype": "qint8", "scale": 0.5}' \
    '{"name": "d", "op": "torch.quantization.DeQuantStub", "inputs": ["q"], "outputs": ["y"]}' '"y", "q"' '' \
    >"$work/dequant.json"
graph '{"name": "i", "shape": [1, 3], "dtype": "int64"}' \
    '{"name": "n", "op": "torch.neg", "inputs": ["i"], "outputs": ["y"]}' '"y"' '' >"$work/ints.json"
graph '{"name": "x", "shape": [2, 3]}' '{"name": "n", "op": "torch.neg", "inputs": ["x"], "outputs": ["y"]},
     {"name": "m", "op": "torch.mean", "inputs": ["x"], "outputs": ["m"], "attrs": {"dim": [0, 1]}}' '"y", "m"' '' \
    >"$work/batch.json"
graph '{"name": "x", "shape": [1, 4]}' \
    '{"name": "odd", "op": "my.Op", "inputs": ["x"], "outputs": ["y"], "output_shapes": [[1, 4]],
      "output_dtypes": ["float32"]}' '"y"' '' >"$work/odd.json"

# ── frames and shapes ──
arrays write "$work/one.npy" f4 1x2x2
arrays write "$work/bare.npy" f4 2x2
arrays write "$work/many.npy" f4 3x2x2
arrays write "$work/other.npy" f4 3x2x3
arrays write "$work/six.npy" f4 6x3
arrays write "$work/seven.npy" f4 7x3
gives "one frame of the graph's shape" "y f4 1x2x2 -0 -1 -2 -3" "$work/neg.json" --input "$work/one.npy"
gives "one frame without the batch axis" "y f4 1x2x2 -0 -1 -2 -3" "$work/neg.json" --input x="$work/bare.npy"
gives "many frames" "y f4 3x2x2 -0 -1 -2 -3" "$work/neg.json" --input "$work/many.npy"
gives "a batch of 2 over 6 rows; a scalar per frame" "y f4 6x3 -0 -1 -2 -3
m f4 3 2.5 8.5 14.5" "$work/batch.json" --input "$work/six.npy"
refuses "another shape" 3 'many.npy.*shape 3x2x2.*"x".*takes 2x3' "$work/batch.json" --input "$work/many.npy"
refuses "another extent" 3 'shape 3x2x3.*takes 1x2x2' "$work/neg.json" --input "$work/other.npy"
refuses "rows that are no whole batches" 3 'shape 7x3' "$work/batch.json" --input "$work/seven.npy"
run "$work/neg.json" --input "$work/many.npy" --output "$work/y.npy" &&
    arrays show "$work/y.npy" 2>"$work/why" | grep -q "f4 3x2x2 -0 -1"
report "a single output as .npy" $?

# ── types ──
arrays write "$work/u1.npy" u1 1x2x2 0,1,254,255
arrays write "$work/f8.npy" f8 1x2x2 0.5:1
arrays write "$work/i1.npy" i1 1x4 -128,-1,0,127
arrays write "$work/i8.npy" i8 1x4 -128,-1,0,127
arrays write "$work/large.npy" i8 1x4 -128,-1,0,128
arrays write "$work/f4.npy" f4 1x4
arrays write "$work/indices.npy" i4 2x3 1:1
gives "bytes into a float input, by value" "y f4 1x2x2 -0 -1 -254 -255" "$work/neg.json" --input "$work/u1.npy"
gives "doubles into a float input" "y f4 1x2x2 -0.5 -1.5 -2.5 -3.5" "$work/neg.json" --input "$work/f8.npy"
gives "bytes into a quantized input" "y f4 1x4 -64 -0.5 0 63.5
q i1 1x4 -128 -1 0 127" "$work/dequant.json" --input "$work/i1.npy"
gives "wider integers into a quantized input" "y f4 1x4 -64 -0.5 0 63.5
q i1 1x4 -128 -1 0 127" "$work/dequant.json" --input "$work/i8.npy"
refuses "an integer that does not fit" 3 'element 3 of frame 0 is 128.*"q" is qint8' "$work/dequant.json" --input "$work/large.npy"
refuses "floats into a quantized input" 3 'holds float32.*"q" takes qint8' "$work/dequant.json" --input "$work/f4.npy"
grep -q 'rint(x / 0.5) + 0' "$work/err"
report "the hint says how to quantize" $?
gives "int32 into an int64 input" "y i8 2x3 -1 -2 -3 -4" "$work/ints.json" --input "$work/indices.npy"

# ── names, files, keys ──
arrays write "$work/a.npy" f4 1x3 5,6,7
arrays write "$work/b.npy" f4 1x3 1,1,2
arrays write "$work/b2.npy" f4 2x3 1:1
arrays write "$work/a3.npy" f4 3x3 0:1
both="y f4 1x3 4 5 5
a f4 1x3 5 6 7"
gives "inputs by position" "$both" "$work/sub.json" --input "$work/a.npy" --input "$work/b.npy"
gives "inputs by name" "$both" "$work/sub.json" --input b="$work/b.npy" --input a="$work/a.npy"
gives "a name and a position" "$both" "$work/sub.json" --input "$work/a.npy" --input b="$work/b.npy"
(cd "$work" && python3 -m zipfile -c both.npz b.npy a.npy)
gives "an .npz by the names of its arrays" "$both" "$work/sub.json" --input "$work/both.npz"
gives "arrays of an .npz by key" "y f4 1x3 -4 -5 -5
a f4 1x3 1 1 2" "$work/sub.json" --input b="$work/both.npz:a" --input "$work/both.npz:b"
refuses "an input that is missing" 2 'nothing is given for the input "b"' "$work/sub.json" --input "$work/a.npy"
refuses "an input too many" 2 'no further input' "$work/neg.json" --input "$work/one.npy" --input "$work/one.npy"
refuses "an input twice" 2 'given twice' "$work/sub.json" --input a="$work/a.npy" --input a="$work/b.npy"
refuses "a name that is no input" 2 'no input "c"' "$work/sub.json" --input c="$work/a.npy"
refuses "a key that is not there" 3 'no array "c"' "$work/sub.json" --input "$work/both.npz:c" --input "$work/a.npy"
refuses "different numbers of frames" 3 '2 frames.*"b".*holds 3' "$work/sub.json" --input "$work/a3.npy" --input "$work/b2.npy"
gives "one frame beside many is used for all of them" "y f4 2x3 4 4 4 1
a f4 2x3 5 6 7 5" "$work/sub.json" --input "$work/a.npy" --input "$work/b2.npy"
refuses "no array at all" 3 'no known format' "$work/neg.json" --input "$work/neg.json"
refuses "a file that is not there" 3 'cannot be opened' "$work/neg.json" --input "$work/none.npy"
refuses "an operator that cannot run" 3 'odd: the operator my.Op cannot be executed' "$work/odd.json" --input "$work/f4.npy"
refuses "an engine that is none" 2 'reference or fast' "$work/neg.json" --input "$work/one.npy" --engine slow
graph '{"name": "x", "shape": [1, 512, 1024]}' '{"name": "n", "op": "torch.neg", "inputs": ["x"], "outputs": ["y"]}' \
    '"y"' '' >"$work/large.json"
arrays write "$work/large_x.npy" f4 512x1024
refuses "too little memory" 4 'MiB of memory' "$work/large.json" --input "$work/large_x.npy" --memory 1
head -c 60 "$work/one.npy" >"$work/cut.npy"
refuses "a damaged array" 3 'cut.npy.*damaged' "$work/neg.json" --input "$work/cut.npy"

# ── real networks ──
for engine in reference fast; do
    run $fixtures/lenet_float.onnx --input "$frames:x" --engine $engine --output "$work/float.npz" --json "$work/t.json" &&
        arrays same "$work/float.npz" "$frames:float" 2e-5 2>"$work/why"
    report "LeNet in float gives PyTorch's outputs ($engine)" $?
done
python3 - "$work/t.json" 2>"$work/why" <<'END'
import json, sys
r = json.load(open(sys.argv[1]))
m = r["memory"]
assert r["schema"] == "bpuhub.run/1" and r["frames"] == 4 and r["model"]["format"] == "onnx"
assert 0 < m["live_bytes"] <= m["planned_bytes"] <= 1.2 * m["live_bytes"], m
assert m["held_bytes"] >= m["weights_bytes"] + m["planned_bytes"] + m["scratch_bytes"], m
assert r["time"]["total_ms"] >= r["time"]["frame_max_ms"] >= r["time"]["frame_median_ms"] > 0
END
report "the report: frames, time, memory within 1.2 x the largest live set" $?
run $fixtures/lenet_qat_s8.onnx --input "$frames:x" --engine reference --output "$work/ref.npz" &&
    run $fixtures/lenet_qat_s8.onnx --input "$frames:x" --engine fast --output "$work/fast.npz" &&
    cmp "$work/ref.npz" "$work/fast.npz" 2>"$work/why"
report "a quantized network gives the same bits in both engines" $?
"$bpuhub" convert $fixtures/lenet_float.onnx -o "$work/net.bpug" 2>"$work/err" &&
    "$bpuhub" convert "$work/net.bpug" -o "$work/again.bpug" && cmp "$work/net.bpug" "$work/again.bpug" 2>"$work/why" &&
    run "$work/net.bpug" --input "$frames:x" --output "$work/bpug.npz" && cmp "$work/float.npz" "$work/bpug.npz" 2>"$work/why"
report "a .bpug gives the same bits, and is written the same again" $?
run $fixtures/lenet_float.onnx --input "$frames:x" --output "$work/again.npz" && cmp "$work/float.npz" "$work/again.npz" 2>"$work/why"
report "the same run writes the same bytes" $?
# TorchScript files do not say what shape their inputs have.
arrays write "$work/image.npy" f4 2x3x32x32 -1:0.0003
run $fixtures/torchscript/conv.pt --input "$work/image.npy" --output "$work/conv.npz" && arrays show "$work/conv.npz" >"$work/shown"
report "a shape that the model leaves open is taken from the file" $?
run $fixtures/torchscript/conv.pt --input "$work/image.npy" --option input.0=2x3x32x32 --output "$work/conv2.npz"
code=$?
[ $code -eq 0 ] && arrays show "$work/conv2.npz" >"$work/shown2"
report "an option gives another batch" $code

# ── traces ──
run $fixtures/lenet_qat_s8.onnx --input "$frames:x" --output "$work/o.npz" --trace "$work/trace" &&
    python3 - "$work" >"$work/why" 2>&1 <<'END'
import json, os, sys
sys.path.insert(0, "tests/cases")
import arrays
work = sys.argv[1]
index = json.load(open(work + "/trace/index.json"))
assert index["schema"] == "bpuhub.trace/1"
values = index["values"]
assert sorted(v["file"] for v in values) + ["index.json"] == sorted(os.listdir(work + "/trace"))
quantized = [v for v in values if v["dtype"] == "qint8"]
assert len(quantized) >= 5 and all(v["scale"] > 0 and v["zero_point"] == 0 for v in quantized)
for v in values:
    dtype, shape, data = arrays.load(work + "/trace/" + v["file"])[""]
    assert list(shape) == v["shape"] and v["node"] and v["op"], v
    assert dtype == {"qint8": "i1", "qint16": "i2", "float32": "f4"}[v["dtype"]]
END
report "a trace: one file per result, an index" $?
for engine in reference fast; do
    run $fixtures/lenet_qat_s8.onnx --input "$frames:x" --output "$work/o.npz" --trace "$work/$engine" --engine $engine
done
diff -r "$work/reference" "$work/fast" >"$work/why" 2>&1
report "both engines trace the same bits" $?
refuses_trace() {
    rm -f "$work/o.npz"
    run $fixtures/lenet_float.onnx --input "$frames:x" --output "$work/o.npz" --trace "$work/trace"
    [ $? -eq 3 ] && grep -q "does not exist yet" "$work/err" && [ ! -e "$work/o.npz" ]
}
refuses_trace
report "a folder that is not empty is not overwritten" $?
arrays write "$work/late.npy" i8 2x4 1,2,3,4,5,6,7,300
refuses "a run that fails later leaves no trace" 3 'element 3 of frame 1 is 300' "$work/dequant.json" --input "$work/late.npy" --trace "$work/tr"
run "$work/neg.json" --input "$work/one.npy" --output "$work/no/such/o.npz" --trace "$work/tr"
[ $? -eq 3 ] && [ ! -e "$work/tr" ] && [ -z "$(ls -d "$work"/tr.* 2>/dev/null)" ]
report "nor does one whose output cannot be written" $?
"$bpuhub" run >"$work/out" 2>"$work/err"
[ $? -eq 2 ] && grep -q "usage: bpuhub run" "$work/err"
report "usage" $?
[ $failed -eq 0 ]
