#!/bin/sh
# The threat model and the tests belong together.
cd "$(dirname "$0")/../.." && exec python3 tests/cases/security_doc.py
