#!/usr/bin/env bash
# $1 is the program. The test of this example is longer than the example.
exec python3 "$(dirname "$0")/../../tests/examples/http_fanout_test.py" "$1"
