#!/bin/sh
# Build the dashboard from hub/dashboard/web into hub/dashboard/static, with Node from PATH (20 or newer)
# or else from the package that requirements-node.lock pins, installed into the virtual environment.
# usage: sh scripts/build_dashboard.sh VENV
set -eu
venv=$1
web=hub/dashboard/web
node_is_new_enough='process.exit(Number(process.versions.node.split(".")[0]) >= 20 ? 0 : 1)'

if ! { command -v npm && node -e "$node_is_new_enough"; } >/dev/null 2>&1; then
    "$venv/bin/pip" install --quiet --require-hashes --no-deps -r requirements-node.lock
    PATH=$PWD/$venv/bin:$PATH
    export PATH
fi
npm ci --prefix "$web" --no-audit --no-fund --loglevel=error
npm run build --prefix "$web" --silent
