#!/bin/sh
# bpuhub compile, from files to files: what it writes, what it says, what it refuses; the same bytes each time.
set -u
cd "$(dirname "$0")/../.." || exit 2
bpuhub=${BPUHUB:-build/bpuhub}
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT

expect() { # exit code, text that must show up, what it shows, arguments…
    want=$1 text=$2 what=$3
    shift 3
    "$bpuhub" "$@" >"$work/out" 2>"$work/err" </dev/null
    got=$?
    if [ $got -eq "$want" ] && grep -qF -- "$text" "$work/out" "$work/err"; then
        echo "ok compile: $what"
    else
        echo "not ok compile: $what: exit $got, not $want, or no \"$text\""
        head -n 5 "$work/out" "$work/err"
    fi
}
same() { # what it shows, file, file
    cmp -s "$2" "$3" && echo "ok compile: $1" || echo "not ok compile: $1"
}

# A network that both marches take: two convolutions, a pool, a branch that is added; and images of three channels.
python3 - "$work" <<'PY'
import base64, json, struct, sys
def conv(name, x, y, i, o, k, s):
    return {"name": name, "op": "torch.nn.Conv2d", "inputs": [x], "outputs": [y],
            "attrs": {"in_channels": i, "out_channels": o, "kernel_size": [k, k], "stride": [s, s],
                      "padding": [k // 2, k // 2], "dilation": [1, 1], "groups": 1, "bias": True},
            "params": {"weight": name + ".weight", "bias": name + ".bias"}}
tensors = {}
def weights(name, i, o, k):
    n, seed = o * i * k * k, len(name) * 7919
    w = []
    for _ in range(n + o):
        seed = (seed * 1103515245 + 12345) % 2**31
        w.append(seed / 2**31 - .5)
    data = lambda v: base64.b64encode(struct.pack("<%df" % len(v), *v)).decode()
    tensors[name + ".weight"] = {"shape": [o, i, k, k], "dtype": "float32", "data": data(w[:n])}
    tensors[name + ".bias"] = {"shape": [o], "dtype": "float32", "data": data(w[n:])}
weights("first", 3, 16, 3), weights("left", 16, 16, 3), weights("right", 16, 16, 1), weights("last", 16, 8, 1)
g = {"format": "bpuhub.graph/1", "name": "branches",
     "inputs": [{"name": "image", "shape": [1, 3, 64, 64], "dtype": "float32"}],
     "nodes": [conv("first", "image", "a", 3, 16, 3, 2),
               {"name": "relu", "op": "torch.nn.ReLU", "inputs": ["a"], "outputs": ["b"], "attrs": {}},
               conv("left", "b", "l", 16, 16, 3, 1), conv("right", "b", "r", 16, 16, 1, 1),
               {"name": "sum", "op": "torch.add", "inputs": ["l", "r"], "outputs": ["s"], "attrs": {}},
               {"name": "pool", "op": "torch.nn.MaxPool2d", "inputs": ["s"], "outputs": ["p"],
                "attrs": {"kernel_size": [2, 2], "stride": [2, 2], "padding": [0, 0], "dilation": [1, 1]}},
               conv("last", "p", "y", 16, 8, 1, 1)],
     "outputs": ["y"], "tensors": tensors}
json.dump(g, open(sys.argv[1] + "/net.json", "w"))
g["inputs"][0]["shape"] = [1, 3, 64, 72]
json.dump(g, open(sys.argv[1] + "/odd.json", "w"))
tensors["last.weight"].pop("data")
json.dump(g, open(sys.argv[1] + "/bare.json", "w"))
g["inputs"][0]["shape"] = [1, 512, 8, 8]
g["nodes"], g["outputs"] = [conv("big", "image", "y", 512, 512, 3, 1)], ["y"]
g["tensors"] = {"big.weight": {"shape": [512, 512, 3, 3], "dtype": "float32", "data": base64.b64encode(bytes(4 * 9 * 512 * 512)).decode()},
                "big.bias": {"shape": [512], "dtype": "float32", "data": base64.b64encode(bytes(4 * 512)).decode()}}
json.dump(g, open(sys.argv[1] + "/big.json", "w"))
head = "{'descr': '<f4', 'fortran_order': False, 'shape': (4, 3, 64, 64), }"
head += " " * (63 - (10 + len(head)) % 64) + "\n"
with open(sys.argv[1] + "/images.npy", "wb") as f:
    f.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode())
    f.write(struct.pack("<%df" % (4 * 3 * 64 * 64), *(((i * 2654435761) % 2**32) / 2**31 - 1 for i in range(4 * 3 * 64 * 64))))
PY
net=$work/net.json lenet=tests/fixtures/lenet_float.onnx qat=tests/fixtures/lenet_qat_s8.onnx

# ── every march, level and number of cores ──
for march in bayes bernoulli2; do
    for level in 0 1 2 3 fast ddr; do
        expect 0 "compiled for $march" "$march, level $level" compile "$net" --march $march -O $level -o "$work/$march.$level.bpu" \
            --json "$work/$march.$level.json"
    done
    expect 0 "2 cores" "$march, two cores" compile "$net" --march $march --cores 2 -o "$work/$march.two.bpu"
done
expect 0 "at balance" "balance" compile "$net" --march bayes -O balance --balance-factor 30 -o "$work/balance.bpu"
expect 0 "placeholder scales" "a float model without data is told apart" compile "$net" --march bayes -O2 -o "$work/again.bpu" \
    --json "$work/again.json" --html "$work/again.html" --plan "$work/plan.svg" --schedule "$work/schedule.svg" --heat "$work/heat.svg"
same "the same bytes a second time" "$work/bayes.2.bpu" "$work/again.bpu"
same "the same report a second time" "$work/bayes.2.json" "$work/again.json"
expect 0 "compiled for bayes" "the words of options" compile "$net" --march BAYES --option opt=O2 --option jobs=3 -o "$work/again.bpu"
same "-O2, opt=O2 and threads give the same program" "$work/bayes.2.bpu" "$work/again.bpu"
cmp -s "$work/bayes.0.bpu" "$work/bayes.2.bpu" && echo "not ok compile: levels differ" || echo "ok compile: levels differ"
expect 0 "conv" "the program can be read" disasm "$work/bayes.2.bpu"

# ── scales ──
expect 0 "compiled for bayes" "calibrated on the way" compile "$net" --march bayes --calibration "$work/images.npy" -o "$work/cal.bpu" \
    --json "$work/cal.json"
grep -q placeholder "$work/err" && echo "not ok compile: no word of placeholders then" || echo "ok compile: no word of placeholders then"
"$bpuhub" quantize "$net" --march bayes --calibration "$work/images.npy" -o "$work/net.bpug" >/dev/null
expect 0 "compiled for bayes" "a fixed-point model" compile "$work/net.bpug" --march bayes -o "$work/fixed.bpu" --json "$work/fixed.json"
expect 2 "change nothing" "calibration of a fixed-point model" compile "$work/net.bpug" --march bayes --calibration "$work/images.npy" -o "$work/x.bpu"
expect 0 "compiled for bayes" "QDQ with its own scales" compile $qat --march bayes -o "$work/qat.bpu" --json "$work/qat.json"
expect 0 "compiled for bayes" "from the camera" compile "$net" --march bayes --input-source image=pyramid --output-layout nchw -o "$work/cam.bpu" \
    --json "$work/cam.json"
expect 0 "compiled for bayes" "from the camera, calibrated" compile "$net" --march bayes --input-source pyramid --calibration "$work/images.npy" \
    -o "$work/cam.bpu" --json "$work/cam2.json"
expect 2 "1/128" "a fixed-point model with another scale is not for the camera" compile "$work/net.bpug" --march bayes --input-source pyramid \
    -o "$work/x.bpu"

if python3 - "$work" <<'PY'
import json, re, sys, xml.etree.ElementTree as xml
w = sys.argv[1] + "/"
r = {n: json.load(open(w + n + ".json")) for n in
     ("bayes.0", "bayes.1", "bayes.2", "bernoulli2.2", "cal", "fixed", "qat", "cam", "cam2")}
for n, x in r.items():
    s = x["summary"]
    assert x["schema"] == "bpuhub.compile/1" and x["verdict"] == "legal", n
    assert s["instructions"] > 0 and s["program_bytes"] > 0, (n, s)
    assert 0 < s["sram_peak_bytes"] <= s["sram_bytes"], (n, s)
    assert s["bound_us"] <= s["predicted_us"] + 1e-9 and s["fps"] > 0, (n, s)
    assert s["ddr_load_bytes"] + s["ddr_store_bytes"] >= s["ddr_bound_bytes"] > 0, (n, s)
    d = x["ddr"]
    assert d["inputs_bytes"] >= sum(i["bytes"] for i in x["inputs"]), (n, d)
    assert d["outputs_bytes"] >= sum(o["bytes"] for o in x["outputs"]), (n, d)
    assert d["constants_bytes"] + d["inputs_bytes"] + d["outputs_bytes"] + d["spills_bytes"] == \
           s["ddr_load_bytes"] + s["ddr_store_bytes"], (n, d, s)
    whole = sum(l["time_us"] for l in x["layers"]) + s["idle_us"]
    assert abs(whole - s["predicted_us"]) < 1e-6 * whole, (n, whole, s)
    assert sum(e["instructions"] for e in x["engines"]) == s["instructions"], n
    assert all(0 < e["utilization"] <= 1 for e in x["engines"]), n
    for b in x["memory"]:
        assert b["address"] >= 0 and b["address"] + b["bytes"] <= s["sram_peak_bytes"], (n, b)
        assert 0 <= b["first_instruction"] <= b["last_instruction"] < s["instructions"], (n, b)
assert r["bayes.2"]["uncalibrated"] and r["bayes.2"]["scales"] == "placeholder" and "placeholder" in r["bayes.2"]["notes"][0]
assert r["bayes.2"]["inputs"][0]["scale"] == 1 / 16
assert not r["cal"]["uncalibrated"] and r["cal"]["scales"] == "calibration"
assert r["fixed"]["scales"] == r["qat"]["scales"] == "file" and not r["fixed"]["uncalibrated"]
assert r["fixed"]["summary"]["predicted_us"] == r["cal"]["summary"]["predicted_us"]
assert r["fixed"]["inputs"] == r["cal"]["inputs"] and r["fixed"]["outputs"] == r["cal"]["outputs"]
for n in ("cam", "cam2"):
    assert r[n]["inputs"][0]["source"] == "pyramid" and r[n]["inputs"][0]["scale"] == 1 / 128, r[n]["inputs"]
assert r["cam"]["outputs"][0]["layout"] == "nchw" and r["bayes.2"]["outputs"][0]["layout"] == "nhwc"
names = {l["name"] for l in r["bayes.2"]["layers"]}
assert {"first", "left", "right", "pool", "last"} <= names, names     # the user's own
assert r["bayes.0"]["summary"]["spilled_maps"] > r["bayes.1"]["summary"]["spilled_maps"]
assert r["bayes.0"]["summary"]["predicted_us"] > r["bayes.1"]["summary"]["predicted_us"]
for f in ("plan", "schedule", "heat"):
    root = xml.parse(w + f + ".svg").getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
svg = open(w + "schedule.svg").read()
assert re.search(r"conv \d+ %", svg) and "first" in svg
assert 'class="map"' in open(w + "plan.svg").read() and 'data-share' in open(w + "heat.svg").read()
html = open(w + "again.html").read()
assert html.count("<svg") == 2 and "<script" not in html and not re.search(r'(src|href)="http', html)
assert "Not calibrated" in html
PY
then echo "ok compile: the reports and pictures say what was done"; else echo "not ok compile: the reports and pictures say what was done"; fi

# ── the program computes what the fixed-point network does, to the bit ──
cat >"$work/same.py" <<'PY'
import sys, zipfile
a, b = (zipfile.ZipFile(f) for f in sys.argv[1:])
names = sorted(a.namelist())
sys.exit(not (names and names == sorted(b.namelist()) and all(a.read(n) == b.read(n) for n in names)))
PY
for march in bayes bernoulli2; do
    "$bpuhub" quantize "$net" --march $march --calibration "$work/images.npy" -o "$work/$march.bpug" >/dev/null
    "$bpuhub" run "$work/$march.bpug" --input "$work/images.npy" --output "$work/want.npz" >/dev/null
    for how in "-O 0" "-O 1" "-O 2 --cores 2" "-O fast" "-O ddr --cores 2" "-O 2 --input-layout nchw --output-layout bpu_raw"; do
        # shellcheck disable=SC2086
        "$bpuhub" compile "$net" --march $march $how --calibration "$work/images.npy" -o "$work/run.bpu" >/dev/null &&
            "$bpuhub" run "$work/run.bpu" --input "$work/images.npy" --output "$work/got.npz" >/dev/null
        python3 "$work/same.py" "$work/want.npz" "$work/got.npz" && echo "ok compile: the same bits on $march with $how" ||
            echo "not ok compile: the same bits on $march with $how"
        rm -f "$work/got.npz"
    done
done

# ── dumps ──
expect 0 "── lower ──" "a pass as text" compile "$net" --march bayes --dump lower -o "$work/x.bpu"
expect 0 "compiled" "all passes as files" compile "$net" --march bayes --dump all --dump-to "$work/dumps" -o "$work/x.bpu"
[ "$(find "$work/dumps" -name '*.txt' -size +0 | wc -l)" -ge 3 ] && echo "ok compile: the files are there" || echo "not ok compile: the files are there"
expect 2 "there is no pass" "a pass that is none" compile "$net" --march bayes --dump lowr -o "$work/y.bpu"

# ── refusals ──
rm -f "$work/x.bpu"
expect 1 "is ILLEGAL on bernoulli2" "an illegal model" compile $lenet --march bernoulli2 -o "$work/x.bpu" --json "$work/illegal.json"
grep -q '"bpuhub.check/1"' "$work/illegal.json" && echo "ok compile: its report is the check's" || echo "not ok compile: its report is the check's"
expect 1 "multiple of 16" "a width that the camera has not" compile "$work/odd.json" --march bayes --input-source pyramid -o "$work/x.bpu"
expect 2 "usage:" "a march is needed" compile "$net" -o "$work/x.bpu"
expect 2 "usage:" "a place for the program is needed" compile "$net" --march bayes
expect 2 "unknown_march" "no such march" compile "$net" --march bays -o "$work/x.bpu"
expect 2 'no level "4"' "no such level" compile "$net" --march bayes -O4 -o "$work/x.bpu"
expect 2 "no effect" "a balance without its level" compile "$net" --march bayes --balance-factor 3 -o "$work/x.bpu"
expect 2 "0 to 100" "a balance out of range" compile "$net" --march bayes -O balance --balance-factor 101 -o "$work/x.bpu"
expect 2 "cores" "no cores" compile "$net" --march bayes --cores 0 -o "$work/x.bpu"
expect 2 "cores" "too many cores" compile "$net" --march bayes --cores 3 -o "$work/x.bpu"
expect 2 "jobs" "too many threads" compile "$net" --march bayes --jobs 65 -o "$work/x.bpu"
expect 2 "input_source" "no such source" compile "$net" --march bayes --input-source usb -o "$work/x.bpu"
expect 2 "input" "no such input" compile "$net" --march bayes --input-layout img=nchw -o "$work/x.bpu"
expect 2 "Give nhwc, nchw or bpu_raw" "no such layout" compile "$net" --march bayes --output-layout chwn -o "$work/x.bpu"
expect 2 "no output \"z\"" "no such output" compile "$net" --march bayes --output-layout z=nchw -o "$work/x.bpu"
expect 2 "there is no option" "no such option" compile "$net" --march bayes --option optt=2 -o "$work/x.bpu"
expect 3 "last.weight" "a weight that is not in the file" compile "$work/bare.json" --march bayes -o "$work/x.bpu"
expect 3 "unrecognised_format" "no model" compile README.md --march bayes -o "$work/x.bpu"
expect 4 "out_of_memory" "too little memory" compile "$work/big.json" --march bayes --memory 12 -o "$work/x.bpu"
[ -e "$work/x.bpu" ] && echo "not ok compile: nothing is written on errors" || echo "ok compile: nothing is written on errors"
expect 3 "io_error" "a folder that is not there" compile "$net" --march bayes -o "$work/none/x.bpu"
