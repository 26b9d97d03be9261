#!/bin/sh
# `bpuhub eval`: figures, gates, refusals.
set -u
cd "$(dirname "$0")/../.." || exit 2
bpuhub=${BPUHUB:-build/bpuhub}
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
failed=0
fixtures=tests/fixtures
net=$fixtures/lenet_float.onnx
frames=$fixtures/data/lenet_frames.npz:x

arrays() { python3 tests/cases/arrays.py "$@"; }
report() { # what, exit code of the test
    if [ "$2" -eq 0 ]; then
        echo "ok eval: $1"
    else
        echo "not ok eval: $1"
        head -n 4 "$work/err" "$work/why" 2>/dev/null
        failed=1
    fi
}
eval_() { "$bpuhub" eval "$@" >"$work/out" 2>"$work/err" </dev/null; }
gives() { # what, exit code, text of standard output, arguments of eval…
    what=$1 want=$2 text=$3
    shift 3
    eval_ "$@"
    code=$?
    [ $code -eq "$want" ] && grep -q -- "$text" "$work/out"
    report "$what" $?
}
# The command fails with that exit code and that text, and leaves no report.
refuses() { # what, exit code, text, arguments of eval…
    what=$1 want=$2 text=$3
    shift 3
    rm -f "$work/r.json"
    eval_ "$@" --json "$work/r.json"
    code=$?
    [ $code -eq "$want" ] && grep -q -- "$text" "$work/err" && [ ! -s "$work/out" ] && [ ! -e "$work/r.json" ]
    report "$what" $?
}
json() { # what, condition over r
    python3 -c "import json, sys; r = json.load(open('$work/r.json')); assert ($2), r.get('summary')" 2>"$work/why"
    report "$1" $?
}

# Right is what PyTorch's float network answers.
python3 - "$work" <<'END'
import sys
sys.path.insert(0, "tests/cases")
import arrays
_, shape, scores = arrays.load("tests/fixtures/data/lenet_frames.npz:float")["float"]
n = len(scores) // shape[0]
best = [max(range(n), key=lambda c: scores[i * n + c]) for i in range(shape[0])]
text = lambda x: ",".join(map(str, x))
arrays.write(sys.argv[1] + "/right.npy", "i8", "4", text(best))
arrays.write(sys.argv[1] + "/three.npy", "u1", "4", text(best[:3] + [(best[3] + 1) % 10]))
arrays.write(sys.argv[1] + "/few.npy", "i8", "3", text(best[:3]))
arrays.write(sys.argv[1] + "/above.npy", "i8", "4", text(best[:3] + [10]))
arrays.write(sys.argv[1] + "/below.npy", "i4", "4", text(best[:3] + [-1]))
arrays.write(sys.argv[1] + "/half.npy", "f4", "4", text(best[:3] + [.5]))
arrays.write(sys.argv[1] + "/images.npy", "f4", "4x1x27x28")
END
"$bpuhub" quantize $net --march bayes --calibration $frames -o "$work/fixed.bpug" >/dev/null 2>"$work/err"
report "a fixed-point network to compare with" $?

# ── figures ──
gives "a float network alone" 0 'float *top-1 100.000 %  (4 of 4)' $net --data $frames --labels "$work/right.npy"
gives "a fixed-point network alone" 0 'fixed point *top-1 100.000 %' "$work/fixed.bpug" --data $frames --labels "$work/right.npy"
gives "one wrong label of four" 0 'top-1  75.000 %' $net --data $frames --labels "$work/three.npy"
gives "without labels" 0 'same top-1 in 100.000 %' $net --fixed "$work/fixed.bpug" --data $frames
gives "fewer frames than labels, on demand" 0 '(3 of 3)' $net --data $frames --labels "$work/three.npy" --frames 3
eval_ $net --fixed "$work/fixed.bpug" --data $frames --labels "$work/right.npy" --json "$work/r.json"
report "float against fixed point" $?
json "the report: both accuracies, layers, no suggestions without calibration data" \
    'r["schema"] == "bpuhub.evaluate/1" and r["float"]["top1"] == 1 and r["fixed"]["correct"] == 4 and
     r["loss_points"] == 0 and len(r["layers"]) >= 5 and r["march"] is None and
     r["suggestions"]["availability"] == "unavailable" and "calibration" in r["suggestions"]["reason"]'
cp "$work/r.json" "$work/fast.json"
eval_ $net --fixed "$work/fixed.bpug" --data $frames --labels "$work/right.npy" --json "$work/r.json"
cmp "$work/r.json" "$work/fast.json" 2>"$work/why"
report "the same evaluation writes the same bytes" $?
eval_ "$work/fixed.bpug" --data $frames --json "$work/r.json" && cp "$work/r.json" "$work/fast.json" &&
    eval_ "$work/fixed.bpug" --data $frames --engine reference --json "$work/r.json" && cmp "$work/r.json" "$work/fast.json" 2>"$work/why"
report "both engines give a fixed-point network the same report" $?
gives "quantized on the way, with suggestions" 0 '^suggestions: [0-9]* changes of 1 layers' $net --march bayes \
    --calibration $frames --data $frames --labels "$work/right.npy" --suggest 1 --json "$work/r.json"
json "activations of the calibration, and what was tried" \
    'r["march"] == "bayes" and r["activations"][0]["histogram"]["counts"] and r["suggestions"]["tried"] >= 3 and
     not r["suggestions"]["cut_off"]'
gives "the clock ends suggestions" 0 'before the time was up' $net --march bayes --calibration $frames --data $frames --seconds 0
gives "a network with scales of its own against the float network behind it" 0 'agreement' \
    $fixtures/lenet_qat_s8.onnx --march bayes --data $frames
eval_ $net --data $frames --json - && python3 -c "import json, sys; json.load(open('$work/out'))" 2>"$work/why"
report "--json - gives JSON and nothing else" $?

# ── gates ──
gives "an accuracy that is reached" 0 top-1 $net --data $frames --labels "$work/three.npy" --min-accuracy 75
gives "an accuracy that is missed" 1 top-1 $net --data $frames --labels "$work/three.npy" --min-accuracy 75.1
grep -q "gate failed: top-1 is 75.000 %, at least 75.1 %" "$work/err"
report "the gate says what it wanted" $?
gives "a loss of nothing" 0 top-1 $net --fixed "$work/fixed.bpug" --data $frames --labels "$work/right.npy" --max-loss 0
# Scales that leave two steps for the scores of the last layer's input.
printf '{"operators": {"torch.nn.Conv2d": {"activation": {"observer": "clip", "min": -0.001, "max": 0.001}}}}' >"$work/bad.json"
gives "a loss that is too much" 1 'loses' $net --march bayes --calibration $frames --qconfig "$work/bad.json" \
    --data $frames --labels "$work/right.npy" --max-loss 10 --suggest 0
grep -q "gate failed: fixed point loses" "$work/err"
report "the gate says how much" $?
gives "both gates at once" 1 top-1 $net --march bayes --calibration $frames --qconfig "$work/bad.json" --suggest 0 \
    --data $frames --labels "$work/right.npy" --max-loss 10 --min-accuracy 99
[ "$(grep -c 'gate failed' "$work/err")" -eq 2 ]
report "and both are told" $?

# ── refusals ──
refuses "no data" 2 'usage: bpuhub eval' $net
refuses "no model" 2 'usage: bpuhub eval' --data $frames
refuses "an unknown option" 2 'usage: bpuhub eval' $net --data $frames --colour red
refuses "two ways to a fixed-point network" 2 'either given' $net --data $frames --fixed "$work/fixed.bpug" --march bayes
refuses "calibration without a march" 2 'which march' $net --data $frames --calibration $frames
refuses "a march that is none" 2 'unknown_march' $net --data $frames --calibration $frames --march mars
refuses "a float network without calibration data" 2 'no scales of its own' $net --data $frames --march bayes
refuses "a gate without labels" 2 'without labels' $net --data $frames --min-accuracy 90
refuses "a loss of one network" 2 'loses nothing' $net --data $frames --labels "$work/right.npy" --max-loss 1
refuses "a percentage that is none" 2 'not a number of 0 to 100' $net --data $frames --labels "$work/right.npy" --min-accuracy 101
refuses "no frames" 2 'not a whole number' $net --data $frames --frames 0
refuses "an engine that is none" 2 'neither fast nor reference' $net --data $frames --engine slow
refuses "labels twice" 2 'more than 1 file' $net --data $frames --labels "$work/right.npy" --labels "$work/right.npy"
refuses "too few labels" 3 'there are 3 labels for 4 answers' $net --data $frames --labels "$work/few.npy"
refuses "a label that is no class" 3 'label 3 is 10; the network knows the classes 0 to 9' $net --data $frames --labels "$work/above.npy"
refuses "a negative label" 3 'below.npy: label 3 is -1' $net --data $frames --labels "$work/below.npy"
refuses "half a label" 3 'label 3 is 0.5, which is no class' $net --data $frames --labels "$work/half.npy"
refuses "an output that is none" 2 'no output "logits"' $net --data $frames --output logits
refuses "images of another size" 3 '4x1x27x28' $net --data "$work/images.npy"
refuses "data that is none" 3 'no known format' $net --data $net
refuses "a file that is not there" 3 'cannot be opened' $net --data "$work/none.npy"
refuses "a fixed-point network that is none" 3 'none.bpug: the file cannot be opened' $net --data $frames --fixed "$work/none.bpug"
refuses "a fixed-point network of something else" 3 'made from the first' $net --data $frames --fixed $fixtures/opset13.onnx
refuses "a qconfig that is none" 2 'no observer "maximal"' $net --data $frames --march bayes --calibration $frames \
    --qconfig "$(printf '{"activation": {"observer": "maximal"}}' >"$work/q.json"; echo "$work/q.json")"
printf '{"format": "bpuhub.graph/1", "name": "g", "inputs": [{"name": "x", "shape": [1, 512, 1024]}],
 "nodes": [{"name": "n", "op": "torch.neg", "inputs": ["x"], "outputs": ["y"]}], "outputs": ["y"]}' >"$work/large.json"
arrays write "$work/large.npy" f4 512x1024
refuses "too little memory" 4 'memory' "$work/large.json" --data "$work/large.npy" --memory 1
[ $failed -eq 0 ]
