#!/bin/sh
# Write the lock files anew: every package with its hashes for Python 3.11 to 3.13, and no address of a registry.
# usage: sh scripts/lock.sh      (makes a virtual environment of its own in .cache/lock)
set -eu
cd "$(dirname "$0")/.."
[ -x .cache/lock/bin/uv ] || {
    sh scripts/make_venv.sh .cache/lock
    .cache/lock/bin/pip install --quiet --disable-pip-version-check uv
}
# compile SOURCE OUTPUT [--extra NAME]...
compile() {
    source=$1 output=$2
    shift 2
    .cache/lock/bin/uv pip compile "$source" "$@" --quiet --universal --python-version 3.11 --upgrade \
        --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate --output-file "$output"
}
extra() {
    .cache/lock/bin/python -c 'import sys, tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
print(*project["optional-dependencies"][sys.argv[1]], sep="\n")' "$1"
}
compile pyproject.toml requirements.lock --extra hub --extra container --extra sandlock --extra boxlite \
    --extra dev
extra node | compile - requirements-node.lock
extra go | compile - requirements-go.lock
