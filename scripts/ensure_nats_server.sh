#!/bin/sh
# Make a nats-server available: from PATH, else the system's package manager, else built with Go into .cache/bin.
# With --current, also build the newest release there: the tests run against both.
# usage: sh scripts/ensure_nats_server.sh [--current]
set -eu
cd "$(dirname "$0")/.."
bin=$PWD/.cache/bin
PATH=$PATH:/usr/local/sbin:/usr/sbin:$bin
export PATH

build() {
    mkdir -p "$bin"
    echo "building the newest nats-server into .cache/bin" >&2
    GOBIN=$bin CGO_ENABLED=0 sh scripts/go.sh install github.com/nats-io/nats-server/v2@latest
}

if [ "${1:-}" = --current ] && [ ! -x "$bin/nats-server" ]; then
    build || echo "the newest nats-server could not be built: the tests run on the installed one only" >&2
fi

if command -v nats-server >/dev/null 2>&1; then exit 0; fi
if sh scripts/system_package.sh nats-server nats-server; then exit 0; fi
if build; then exit 0; fi
echo "no nats-server: install the package nats-server, or Go so that it can be built here" >&2
exit 1
