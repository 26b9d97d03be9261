#!/bin/sh
# Golden reports: what `bpuhub check` says of every model in tests/fixtures, to the byte.
#
#   tests/golden/run.sh [--update] [NAME...]      BPUHUB=binary (default build/bpuhub)
#
# tests/golden/NAME.MARCH.json is the report of a model that is read, one finding, node and value a line and
# without the tool's version; tests/golden/NAME.err is the exit code and the message of one that is refused.
# --update writes them: read the difference before committing it.
set -u
cd "$(dirname "$0")/../.." || exit 2
bpuhub=${BPUHUB:-build/bpuhub}
golden=tests/golden
update=no
[ "${1:-}" = --update ] && { update=yes; shift; }
[ -x "$bpuhub" ] || { echo "golden: $bpuhub is missing; run make first" >&2; exit 2; }
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT

# The report, cut into lines at objects, so that a difference names its place.
normalise() {
    sed -e 's/"tool": *{[^}]*}/"tool":{}/' -e 's/{"/\n{"/g' "$1" | sed -e 's/[[:space:]]*$//' -e '/^$/d'
}

passed=0 failed=0
ok() { passed=$((passed + 1)); echo "ok golden $1"; }
not_ok() { failed=$((failed + 1)); echo "not ok golden $1"; }
judge() { # the golden file, what was made
    name_of=${1##*/}
    if [ $update = yes ]; then
        cp "$2" "$1"
        ok "$name_of"
    elif [ ! -f "$1" ]; then
        not_ok "$name_of: there is no golden file; make it with --update"
    elif cmp -s "$1" "$2"; then
        ok "$name_of"
    else
        not_ok "$name_of"
        diff -u "$1" "$2" | head -20
    fi
}

for model in tests/fixtures/*.onnx tests/fixtures/*.json; do
    [ -f "$model" ] || continue
    name=${model##*/}
    name=${name%.*}
    case " $* " in "  " | *" $name "*) ;; *) continue ;; esac
    options=
    [ -f "tests/fixtures/$name.options" ] &&
        options=$(sed 's/^/--option /' "tests/fixtures/$name.options" | tr '\n' ' ')
    for march in bernoulli2 bayes; do
        # shellcheck disable=SC2086 # options are words
        timeout 60 "$bpuhub" check "$model" --march $march $options --json - \
            >"$work/json" 2>"$work/stderr" </dev/null
        code=$?
        if [ $code -le 1 ]; then
            normalise "$work/json" >"$work/made"
            judge "$golden/$name.$march.json" "$work/made"
            [ -f "$golden/$name.err" ] && not_ok "$name: read, but must be refused"
        else
            { echo "exit $code"; cat "$work/stderr"; } >"$work/made"
            judge "$golden/$name.err" "$work/made"
            break # a refusal does not depend on the march
        fi
    done
done
echo "golden: $passed passed, $failed failed"
[ $failed -eq 0 ] && [ $passed -gt 0 ]
