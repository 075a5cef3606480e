#!/usr/bin/env bash
# $1 is the program. The test of this example is longer than the example.
exec bash "$(dirname "$0")/../../tests/examples/digest_test.sh" "$1"
