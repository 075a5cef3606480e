#!/usr/bin/env bash
# Makes the site of the documentation. Installs what is missing on Debian and Ubuntu; elsewhere says what is needed.
set -euo pipefail

usage() {
  cat <<'END'
usage: docs/site.sh [--serve [PORT]]

Makes a site of README.md and docs/ by MkDocs, in build/site: build/site/index.html is its first page. A page that is
missing from the navigation, and a link that leads nowhere, are errors.

  --serve [PORT]   then serves it at http://127.0.0.1:PORT (8000), until interrupted: browsers do not run the search
                   on pages that are opened as files
  --help
END
}

cd "$(dirname "$0")/.."
# shellcheck source-path=SCRIPTDIR source=../.ci/deps.sh
. .ci/deps.sh

port=
case ${1-} in
  '') ;;
  --serve) port=${2:-8000} ;;
  --help | -h)
    usage
    exit 0
    ;;
  *)
    usage >&2
    exit 2
    ;;
esac
require python mkdocs pygments
has_mkdocs || die "cannot go on without it"
docs/site/make.py
if [ -n "$port" ]; then exec python3 -m http.server --bind 127.0.0.1 --directory build/site "$port"; fi
