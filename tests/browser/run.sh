#!/bin/sh
# The dashboard in a real Chromium. Fetches playwright-core by its lock file when it is not there yet.
set -eu
cd "$(dirname "$0")"
if [ ! -d node_modules/playwright-core ] ||
    [ "$(node -p "require('./node_modules/playwright-core/package.json').version")" != \
        "$(node -p "require('./package.json').devDependencies['playwright-core']")" ]; then
    npm ci --ignore-scripts --no-audit --no-fund
fi
exec node run.js "$@"
