#!/bin/sh
# A quantized ONNX file and what `bpuhub convert` makes of it, graph JSON and .bpug, give the same numbers bit for bit.
set -u
cd "$(dirname "$0")/../.." || exit 2
bpuhub=${BPUHUB:-build/bpuhub}
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
failed=0 ran=0

# An array for each input of the graph JSON: numbers spread over a few units, or over the integers of the type.
feed() { # graph.json, folder: prints the arguments of run
    python3 - "$1" "$2" <<'END'
import json, subprocess, sys
CODES = {"float32": "f4", "qint8": "i1", "int8": "i1", "quint8": "u1", "uint8": "u1", "qint16": "i2", "int16": "i2",
         "int32": "i4", "qint32": "i4", "int64": "i8", "bool": "b1"}
for i, x in enumerate(json.load(open(sys.argv[1]))["inputs"]):
    n = 1
    for d in x["shape"]:
        n *= d
    code, path = CODES[x["dtype"]], f"{sys.argv[2]}/in{i}.npy"
    # A walk of a large step through a small range: no two neighbours are alike, and nothing is random.
    lo, span = {"f4": (-3, 6), "u1": (0, 256), "b1": (0, 2)}.get(code, (-128, 256))
    values = [lo + (k * 97 + 31 * i) % 1009 / 1009 * span for k in range(n)]
    text = ",".join(str(v if code == "f4" else int(v // 1)) for v in values)
    subprocess.run([sys.executable, "tests/cases/arrays.py", "write", path, code, "x".join(map(str, x["shape"])) or "scalar",
                    text], check=True)
    print("--input", path)
END
}

for model in tests/fixtures/lenet_qat_s8.onnx tests/fixtures/qdq.onnx tests/fixtures/qdq_per_channel.onnx \
    tests/fixtures/quantized/*.onnx; do
    case $model in */bad_*) continue ;; esac
    name=$(basename "$model" .onnx)
    rm -f "$work"/*
    if ! "$bpuhub" convert "$model" -o "$work/g.json" 2>"$work/err" || ! "$bpuhub" convert "$model" -o "$work/g.bpug" 2>>"$work/err"; then
        echo "not ok roundtrip: $name is converted"
        cat "$work/err"
        failed=1
        continue
    fi
    inputs=$(feed "$work/g.json" "$work") || failed=1
    # shellcheck disable=SC2086
    "$bpuhub" run "$model" $inputs --output "$work/onnx.npz" >/dev/null 2>"$work/err.onnx"
    want=$?
    for form in json bpug; do
        # shellcheck disable=SC2086
        "$bpuhub" run "$work/g.$form" $inputs --output "$work/$form.npz" >/dev/null 2>"$work/err"
        got=$?
        if [ $got -ne $want ] || { [ $want -eq 0 ] && ! cmp "$work/onnx.npz" "$work/$form.npz"; }; then
            echo "not ok roundtrip: $name as $form (exit $got, ONNX $want)"
            head -n 3 "$work/err.onnx" "$work/err"
            failed=1
        elif [ $want -eq 0 ]; then
            ran=$((ran + 1))
        fi
    done
done
# Networks with a scale that is only known while they run cannot be executed in either form.
if [ $ran -ge 60 ]; then
    echo "ok roundtrip: $ran conversions of quantized ONNX give the same bits"
else
    echo "not ok roundtrip: only $ran conversions ran"
    failed=1
fi
exit $failed
