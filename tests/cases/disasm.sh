#!/bin/bash
# bpuhub disasm: text, parts of it, and what it refuses.
set -u
cd "$(dirname "$0")/../.." || exit 1
tmp=$(mktemp -d) && trap 'rm -rf "$tmp"' EXIT
file="$tmp/lenet.bpu"
check() { # name, then a command that must succeed
    name=$1
    shift
    if "$@" >"$tmp/log" 2>&1; then echo "ok - $name"; else echo "not ok - $name"; sed 's/^/# /' "$tmp/log"; fi
}
code() { # expected exit code, pattern of standard error, arguments of disasm
    local want=$1 pattern=$2
    shift 2
    "$BPUHUB" disasm "$@" >"$tmp/out" 2>"$tmp/err"
    [ $? -eq "$want" ] && grep -q -- "$pattern" "$tmp/err" && return
    cat "$tmp/out" "$tmp/err"
    return 1
}
check "compiles" "$BPUHUB" compile tests/fixtures/lenet_qat_s8.onnx --march bayes -O 2 -o "$file"
"$BPUHUB" compile tests/fixtures/lenet_qat_s8.onnx --march bayes -O 2 -o "$tmp/again.bpu" >/dev/null 2>&1
check "the same bytes again" cmp "$file" "$tmp/again.bpu"
"$BPUHUB" disasm "$file" >"$tmp/all"
check "head and instructions" grep -q '^program "lenet_qat_s8.onnx" for bayes, 1 core' "$tmp/all"
check "an instruction" grep -q '^ *[0-9]* 0.conv  *conv y.* weights.* kernel_h=5 .*; .*Conv$' "$tmp/all"
n=$(sed -n 's/^\([0-9]*\) instructions,.*/\1/p' "$tmp/all")
lines=$(grep -c ' ; ' "$tmp/all")
check "one line each" test "$n" -gt 0 -a "$n" -eq "$lines"
"$BPUHUB" disasm "$file" --from 2 --to 4 >"$tmp/part"
grep ' ; ' "$tmp/all" | sed -n 3,4p >"$tmp/expected"
check "a part is the part of the whole" cmp "$tmp/part" "$tmp/expected"
"$BPUHUB" disasm "$file" --summary >"$tmp/summary"
check "summary counts all" test "$(awk '/^kind/ {on = 1; next} on {sum += $2} END {print sum}' "$tmp/summary")" -eq "$n"
check "beyond the end" code 2 "the program has $n" "$file" --to $((n + 1))
check "backwards" code 2 "instructions 3 to 1" "$file" --from 3 --to 1
check "no number" code 2 "is no number" "$file" --from x
check "no file named" code 2 "usage"
check "no such file" code 3 "cannot be opened" "$tmp/none.bpu"
check "a model is no program" code 3 "no compiled program" tests/fixtures/lenet_qat_s8.onnx
: >"$tmp/empty"
check "an empty file" code 3 "no compiled program" "$tmp/empty"
head -c 3000 "$file" >"$tmp/cut"
check "cut off" code 3 "the file has 3000 bytes" "$tmp/cut"
sed 's/\r$//' "$file" >"$tmp/text"
check "copied as text" code 3 "line ends were converted" "$tmp/text"
for at in 5 9 40 490 600 2000; do
    cp "$file" "$tmp/bad"
    printf '\125' | dd of="$tmp/bad" bs=1 seek=$at conv=notrunc 2>/dev/null
    check "damaged at byte $at" code 3 "bad_model\|unsupported_model" "$tmp/bad"
done
