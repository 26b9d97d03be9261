#!/bin/sh
# Starts the service in the background, checks a sample network, says where the dashboard is.
# usage: server/quickstart.sh build/bpuhub [MODEL]     environment: BPUHUB_DATA, BPUHUB_LISTEN
set -eu
bpuhub=$1
model=${2:-tests/fixtures/lenet_float.onnx}
data=${BPUHUB_DATA:-./bpuhub-data}
march=bayes
mkdir -p "$data"

answers() { [ -s "$data/url" ] && curl -fsS -o /dev/null --max-time 5 "$(cat "$data/url")/healthz" 2>/dev/null; }

if answers; then
    echo "The service is running already."
else
    start() {
        rm -f "$data/url.new"
        nohup "$bpuhub" serve --listen "$1" --data "$data" >"$data/url.new" 2>"$data/serve.log" </dev/null &
        pid=$!
        for _ in $(seq 100); do
            grep -q '^listening on ' "$data/url.new" && break
            kill -0 "$pid" 2>/dev/null || return 1
            sleep .1
        done
        grep -q '^listening on ' "$data/url.new" || return 1
        sed -n 's/^listening on //p' "$data/url.new" >"$data/url"
        echo "$pid" >"$data/pid"
    }
    # The usual port, or any free one if somebody has it.
    start "${BPUHUB_LISTEN:-127.0.0.1:8080}" || start 127.0.0.1:0 || {
        cat "$data/serve.log" >&2
        exit 1
    }
fi

url=$(cat "$data/url")
name=$(basename "$model")
answer=$(curl -fsS --data-binary "@$model" -H 'Content-Type: application/octet-stream' \
    "$url/v1/check?march=$march&filename=$name")
field() { printf %s "$answer" | tr -d '\n' | sed -n "s/.*\"$1\": *\"\([^\"]*\)\".*/\1/p"; }
id=$(printf %s "$answer" | tr -d '\n' | sed -n 's/^{[^{]*"id": *"\([^"]*\)".*/\1/p')
echo
echo "$name on $march: $(field verdict)"
echo "result:    $url/#/jobs/$id"
echo "dashboard: $url/"
echo "stop with: kill $(cat "$data/pid")"
