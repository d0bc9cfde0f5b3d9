#!/bin/sh
# Build the dashboard from hub/dashboard/web into hub/dashboard/static, with Node from PATH when it is new enough
# or else from the package that requirements-node.lock pins, installed into the virtual environment.
# usage: sh scripts/build_dashboard.sh VENV
set -eu
venv=$1
web=hub/dashboard/web
# The same as "engines" in its package.json.
node_is_new_enough='const [major, minor] = process.versions.node.split(".").map(Number);
process.exit((major === 20 && minor >= 19) || (major === 22 && minor >= 12) || major > 22 ? 0 : 1)'

if ! { command -v npm && node -e "$node_is_new_enough"; } >/dev/null 2>&1; then
    "$venv/bin/pip" install --quiet --require-hashes --no-deps -r requirements-node.lock
    PATH=$PWD/$venv/bin:$PATH
    export PATH
fi
npm ci --prefix "$web" --no-audit --no-fund --loglevel=error
npm run build --prefix "$web" --silent
