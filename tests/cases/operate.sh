#!/bin/sh
# Metrics, logs, readiness, settings and retention of a running service.
set -u
cd "$(dirname "$0")/../.." || exit 1
exec python3 tests/torture/operate.py
