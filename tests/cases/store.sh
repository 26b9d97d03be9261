#!/bin/sh
# Backup, restore, fsck and prune of a data directory that a real service has filled.
set -u
cd "$(dirname "$0")/../.." || exit 1
exec python3 tests/torture/care.py
