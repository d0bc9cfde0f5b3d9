#!/bin/sh
# Get the real servers and the browser that the tests use: the oldest and the newest nats-server that can be had,
# a MongoDB-protocol server, Podman, Chromium. What cannot be had is named; its tests are then skipped, or fail when CI=true.
# usage: sh scripts/ensure_test_servers.sh
set -eu
cd "$(dirname "$0")/.."
bin=$PWD/.cache/bin
mkdir -p "$bin"

# The packaged server first (Debian 12 has 2.9), then the newest one beside it.
sh scripts/system_package.sh nats-server nats-server || true
sh scripts/ensure_nats_server.sh --current

if [ -z "${BOXHUB_TEST_MONGODB_URL:-}" ] && ! command -v mongod >/dev/null 2>&1; then
    echo "building FerretDB into .cache/bin" >&2
    CGO_ENABLED=0 sh scripts/go.sh build -C tests/servers/ferretdb \
        -trimpath -mod=readonly -ldflags='-s -w' -o "$bin/ferretdb" . ||
        echo "no MongoDB-protocol server: install mongod, or Go 1.22" >&2
fi

sh scripts/system_package.sh podman podman || true
sh scripts/system_package.sh runc runc || true # the other runtime, crun, refuses cgroups of both versions at once

sh scripts/system_package.sh libatomic.so.1 libatomic1 libatomic || true # the Node inside Playwright links against it
for browser in chromium chromium-browser google-chrome; do
    if command -v "$browser" >/dev/null 2>&1; then exit 0; fi
done
sh scripts/system_package.sh chromium chromium || true
