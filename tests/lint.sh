#!/bin/sh
# Rules of the house that a machine can check.  environment: CFLAGS for clang-tidy and cppcheck
#   1. includes go in one direction:  base ← ir ← ops ← march ← {check, import, export, run, data, program} ← {draw, sim} ← quant ← compile ← perf ← job ← server
#   2. core/ includes no HTTP, SQL, thread or process headers
#   3. calls that are banned
#   4. clang-tidy, cppcheck
set -u
bad=0
say() { echo "lint: $*"; bad=1; }

rank() {
    case $1 in
        base) echo 0 ;; ir) echo 1 ;; march) echo 2 ;; ops) echo 2 ;;
        check | import | export | run | data | program) echo 3 ;; draw | sim) echo 4 ;;
        quant) echo 5 ;; compile) echo 6 ;; perf) echo 7 ;; job) echo 8 ;; *) echo 9 ;;
    esac
}
for f in core/*/*.c core/*/*.h; do
    folder=${f#core/} folder=${folder%%/*}
    grep -o '#include "core/[a-z]*/' "$f" | sed 's/.*core\///; s/\///' | sort -u | while read -r other; do
        [ "$other" = "$folder" ] || [ "$(rank "$other")" -lt "$(rank "$folder")" ] ||
            echo "$f includes core/$other"
    done
    grep -nE '#include <(microhttpd|sqlite3|pthread|sys/(socket|wait|un)|seccomp)' "$f" /dev/null
    grep -nE '#include "server/' "$f" /dev/null
done >"${TMPDIR:-/tmp}/lint.$$"
[ -s "${TMPDIR:-/tmp}/lint.$$" ] && { cat "${TMPDIR:-/tmp}/lint.$$"; say "includes go the wrong way"; }
rm -f "${TMPDIR:-/tmp}/lint.$$"

grep -nE '\b(gets|sprintf|vsprintf|strtok|atoi|atol|atof|alloca|system|popen|assert)\(' \
    core/*/*.[ch] server/*.[ch] && say "banned calls"

if command -v cppcheck >/dev/null; then
    cppcheck --quiet --std=c11 --enable=warning,portability --inline-suppr --error-exitcode=1 \
        --suppress=missingIncludeSystem --suppress=unknownMacro -I. core server || say "cppcheck"
else
    say "cppcheck is not installed (make lint-deps)"
fi
if command -v clang-tidy >/dev/null; then
    # shellcheck disable=SC2086
    ls core/*/*.c server/*.c | xargs -P "$(nproc)" -n 1 sh -c 'clang-tidy --quiet "$@" -- '"$CFLAGS"' 2>/dev/null' sh ||
        say "clang-tidy"
else
    say "clang-tidy is not installed (make lint-deps)"
fi
[ "$bad" -eq 0 ] && echo "lint: clean"
exit "$bad"
