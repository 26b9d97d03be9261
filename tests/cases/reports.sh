#!/bin/sh
# SARIF and JUnit reports of every fixture and every case of the rules, against what the formats allow.
#
# tests/cases/sarif_schema.py needs no network. Where tests/schema can be installed by its lock file (or is), the
# SARIF files are held against the published schema as well.
set -u
cd "$(dirname "$0")/../.." || exit 2
bpuhub=${BPUHUB:-build/bpuhub}
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
failed=0 made=0

make_reports() { # march, model
    out="$work/$made"
    made=$((made + 1))
    options=
    [ -f "${2%.*}.options" ] && options=$(sed 's/^/--option /' "${2%.*}.options" | tr '\n' ' ')
    # shellcheck disable=SC2086
    "$bpuhub" check "$2" --march "$1" --advice 0 $options --sarif "$out.sarif" --junit "$out.xml" \
        --json "$out.json" >/dev/null 2>&1 </dev/null
    [ $? -le 1 ] || rm -f "$out.sarif" "$out.xml" "$out.json" # refused: test_fixtures says why
}

for model in tests/fixtures/*.onnx tests/fixtures/*.json tests/fixtures/torchscript/*.pt; do
    case $model in */bad_*) continue ;; esac
    for march in bayes bernoulli2; do
        [ -f "$model" ] && make_reports $march "$model"
    done
done
for model in tests/cases/check/*.json; do
    march=${model##*+}
    make_reports "${march%.json}" "$model"
done

count=$(find "$work" -name '*.sarif' | wc -l)
if [ "$count" -gt 250 ] && python3 tests/cases/sarif_schema.py "$work"/*.sarif; then
    echo "ok reports: $count SARIF files are what the standard allows"
else
    echo "not ok reports: SARIF ($count files)"
    failed=1
fi
if python3 tests/cases/sarif_schema.py "$work"/*.xml; then
    echo "ok reports: $count JUnit files are what CI servers read"
else
    echo "not ok reports: JUnit"
    failed=1
fi
if grep -lE '"uri":"code/__torch__[^"]*[.]py"[}],"region":[{]"startLine":[0-9]{2}' "$work"/*.sarif >/dev/null; then
    echo "ok reports: results from TorchScript point to a file and a line"
else
    echo "not ok reports: no result points to a line of TorchScript"
    failed=1
fi

# The checker itself must find what is wrong.
first=$(grep -l '"level":"error"' "$work"/*.sarif | head -n 1)
for change in 's/"version":"2.1.0"/"version":"2.0.0"/' 's/"ruleIndex":0/"ruleIndex":9999/' \
    's/"level":"error"/"level":"fatal"/' 's/"name":"BPU Hub",//' 's/"startLine":[0-9]*/"startLine":0/' \
    's/"uri":"/"uri":"a b\//' 's/"fullyQualifiedName"/"qualifiedName"/' 's/"message":{"text"/"message":{"txt"/'; do
    sed "$change" "$first" >"$work/changed.sarif"
    if cmp -s "$first" "$work/changed.sarif"; then
        echo "not ok reports: $change changes nothing"
        failed=1
    elif python3 tests/cases/sarif_schema.py "$work/changed.sarif" >/dev/null; then
        echo "not ok reports: $change is not noticed"
        failed=1
    else
        echo "ok reports: $change is noticed"
    fi
done
rm -f "$work/changed.sarif"

if command -v node >/dev/null && command -v npm >/dev/null &&
    { [ -d tests/schema/node_modules/ajv ] ||
        (cd tests/schema && npm ci --ignore-scripts --no-audit --no-fund >/dev/null 2>&1); }; then
    if node tests/schema/validate.cjs "$work"; then
        echo "ok reports: $count SARIF files are valid against the published schema"
    else
        echo "not ok reports: the published schema"
        failed=1
    fi
else
    echo "ok reports: the published schema # SKIP no npm or no registry"
fi
# The layers that are proposed instead stand in the HTML report, one a line.
cat >"$work/large.json" <<'END'
{"format": "bpuhub.graph/1", "name": "large", "inputs": [{"name": "x", "shape": [1, 4, 64, 64]}],
 "nodes": [{"name": "conv", "op": "torch.nn.Conv2d", "inputs": ["x"], "outputs": ["y"],
            "attrs": {"in_channels": 4, "out_channels": 8, "kernel_size": 33, "padding": 16}}], "outputs": ["y"]}
END
"$bpuhub" check "$work/large.json" --march bayes --html "$work/large.html" >/dev/null
if grep -q '<li><code>torch.nn.Conv2d(4, 8, (31, 31), padding=(15, 15))</code></li><li>' "$work/large.html"; then
    echo "ok reports: the HTML report shows the layers of a rewrite"
else
    echo "not ok reports: the HTML report shows no layers of a rewrite"
    failed=1
fi
exit $failed
