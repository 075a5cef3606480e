#!/usr/bin/env bash
# install.sh CMAKE BUILD_DIR INSTALLED MOVED: installs the library, then moves the tree, so that what is tested does
# not depend on the place that it was installed to.
set -euo pipefail
cmake=$1 build=$2 installed=$3 moved=$4
rm -rf "$installed" "$moved"
"$cmake" --install "$build" --prefix "$installed"
mv "$installed" "$moved"
if grep -rn -e "$installed" -e "$build" "$moved"; then
  echo "the installed files name the place that they were made in" >&2
  exit 1
fi
