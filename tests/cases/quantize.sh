#!/bin/sh
# bpuhub quantize, from files to files: what it writes, what it refuses, and that the result runs and is legal.
set -u
cd "$(dirname "$0")/../.." || exit 2
bpuhub=${BPUHUB:-build/bpuhub}
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT

# Frames as people have them: uint8 digits of 28x28 and the same as float32 of 0 … 1.
python3 - "$work" <<'PY'
import random, struct, sys
random.seed(4)
frames = [bytes(max(0, 255 - 40 * abs(x - 8 - i) - 9 * abs(y - 14)) if random.random() < .9 else 0
                for y in range(28) for x in range(28)) for i in range(12)]
def npy(name, descr, data, shape):
    head = "{'descr': '%s', 'fortran_order': False, 'shape': %s, }" % (descr, shape)
    head += " " * (63 - (10 + len(head)) % 64) + "\n"
    with open(sys.argv[1] + "/" + name, "wb") as f:
        f.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() + data)
pixels = b"".join(frames)
npy("u8.npy", "|u1", pixels, (12, 28, 28))
npy("f32.npy", "<f4", b"".join(struct.pack("<f", p / 255) for p in pixels), (12, 1, 28, 28))
npy("nan.npy", "<f4", b"".join(struct.pack("<f", float("nan") if i % 50 == 0 else p / 255)
                              for i, p in enumerate(pixels)), (12, 1, 28, 28))
npy("wrong.npy", "<f4", bytes(4 * 12 * 27 * 28), (12, 1, 27, 28))
PY

expect() { # exit code, text that must show up, what it shows, arguments…
    want=$1 text=$2 what=$3
    shift 3
    "$bpuhub" "$@" >"$work/out" 2>"$work/err" </dev/null
    got=$?
    if [ $got -eq "$want" ] && grep -qF -- "$text" "$work/out" "$work/err"; then
        echo "ok quantize: $what"
    else
        echo "not ok quantize: $what: exit $got, not $want, or no \"$text\""
        head -n 5 "$work/out" "$work/err"
    fi
}
net=tests/fixtures/lenet_float.onnx
expect 0 '"x", an input: 189 numbers are NaN or infinite' "NaN in the data is told" \
    quantize $net --march bayes --calibration "$work/nan.npy" -o "$work/nan.json"
expect 0 "5 nodes in integers, 0 in float" "float frames" \
    quantize $net --march bayes --calibration "$work/f32.npy" -o "$work/a.json" --json "$work/a.report"
expect 0 "5 nodes in integers" "pixels, scaled" quantize $net --march bernoulli2 --calibration "x=$work/u8.npy" \
    --option calibration.scale=0.00392156862745098 -o "$work/b.bpug" --json "$work/b.report"
expect 0 "scales of the file" "QDQ needs no frames" \
    quantize tests/fixtures/lenet_qat_s8.onnx --march bayes -o "$work/q.json" --json "$work/q.report"
grep -q "no scale of its own in the file" "$work/q.report" && echo "ok quantize: a pool that the file does not quantize is told" ||
    echo "not ok quantize: a pool that the file does not quantize is told"
for f in a.json b.bpug q.json; do
    expect 0 "is legal on" "$f is legal" check "$work/$f" --march bayes
    "$bpuhub" run "$work/$f" --input "$work/f32.npy" --output "$work/$f.npz" >/dev/null 2>&1 &&
        echo "ok quantize: $f runs" || echo "not ok quantize: $f runs"
done
if python3 - "$work" <<'PY'
import json, sys
w = sys.argv[1] + "/"
a, b, q = (json.load(open(w + n + ".report")) for n in "abq")
assert all(r["schema"] == "bpuhub.quantize/1" and r["model"]["format"] == "onnx" for r in (a, b, q))
assert a["march"] == "bayes" and b["march"] == "bernoulli2"
assert a["summary"]["fixed"] == 5 and a["summary"]["float"] == 0 and a["summary"]["calibration_frames"] == 12
assert a["summary"]["scales"] == "calibration" and q["summary"]["scales"] == "file"
assert [f["sequence"] for f in a["fused"]] == ["conv,relu", "conv,relu"] and a["not_fused"] == []
assert a["outputs"][0]["cosine"] > .999 and a["outputs"][0]["sqnr_db"] > 28, a["outputs"]
db = [l["sqnr_db"] for l in a["layers"]]
assert db == sorted(db) and len(db) == 6
for va, vb in zip(a["values"], b["values"]):   # the same data, once as pixels
    assert va["name"] == vb["name"] and va["dtype"] == vb["dtype"]
    assert abs(va["max"] - vb["max"]) < 1e-5 * max(1, abs(va["max"]))
    h = va["histogram"]
    frame = 1
    for d in va["shape"]: frame *= d
    assert sum(h["counts"]) == 12 * frame and len(h["counts"]) == 128
    assert va["scale"] == {"availability": "unavailable", "reason": "leaves without requantization"} or va["scale"] > 0
assert q["layers"]["availability"] == "unavailable" and q["values"]["availability"] == "unavailable"
fixed = json.load(open(w + "a.json"))
conv = next(n for n in fixed["nodes"] if n["op"] == "torch.nn.Conv2d")
assert sorted(conv["params"]) == ["bias", "multiplier", "shift", "weight"] and conv["attrs"]["activation"] == "relu"
PY
then echo "ok quantize: the reports say what was done"; else echo "not ok quantize: the reports say what was done"; fi

expect 2 "usage:" "a march is needed" quantize $net --calibration "$work/f32.npy" -o "$work/x.json"
expect 2 "unknown_march" "no such march" quantize $net --march bays --calibration "$work/f32.npy" -o "$work/x.json"
expect 2 "no scales of its own" "a float network needs frames" quantize $net --march bayes -o "$work/x.json"
expect 3 "1x1x28x28" "frames of another shape" quantize $net --march bayes --calibration "$work/wrong.npy" -o "$work/x.json"
expect 2 "not a number" "an option that is none" quantize $net --march bayes --calibration "$work/f32.npy" \
    --option calibration.scale=big -o "$work/x.json"
expect 2 "calibration.scale: 0" "a scale of 0" quantize $net --march bayes --calibration "$work/f32.npy" \
    --option calibration.scale=0 -o "$work/x.json"
expect 2 "1 channels" "more means than channels" quantize $net --march bayes --calibration "$work/f32.npy" \
    --option calibration.mean=0.1,0.2,0.3 -o "$work/x.json"
printf '{"activation": {"obsever": "kl"}}' >"$work/c.json"
expect 2 'Did you mean "observer"?' "a key that is none" quantize $net --march bayes --calibration "$work/f32.npy" \
    --qconfig "$work/c.json" -o "$work/x.json"
[ -e "$work/x.json" ] && echo "not ok quantize: nothing is written on errors" || echo "ok quantize: nothing is written on errors"
