#!/bin/sh
# Write the lock files anew: every package with its hashes for Python 3.11 to 3.13, and no address of a registry.
# usage: sh scripts/lock.sh      (needs a virtual environment of its own in .cache/lock)
set -eu
cd "$(dirname "$0")/.."
[ -x .cache/lock/bin/uv ] || {
    sh scripts/make_venv.sh .cache/lock
    .cache/lock/bin/pip install --quiet uv
}
compile() {
    output=$1
    shift
    .cache/lock/bin/uv pip compile pyproject.toml "$@" --quiet --universal --python-version 3.11 --upgrade \
        --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate --output-file "$output"
}
compile requirements.lock --extra hub --extra dev
.cache/lock/bin/python -c '
import tomllib
print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["node"], sep="\n")
' | .cache/lock/bin/uv pip compile - --quiet --universal --python-version 3.11 --upgrade --generate-hashes \
    --no-emit-index-url --no-emit-find-links --no-header --no-annotate --output-file requirements-node.lock
