#!/bin/sh
# Get what a user would pick instead of a box, for the benchmark that stands them side by side. What cannot be had is
# named, and has no row.
# usage: sh scripts/ensure_alternatives.sh
set -eu
cd "$(dirname "$0")/.."

sh scripts/system_package.sh bwrap bubblewrap || true
sh scripts/system_package.sh podman podman || true
