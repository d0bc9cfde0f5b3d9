#!/bin/sh
# Make the virtual environment DIRECTORY with a Python of at least 3.11; installs python3-venv where Debian left it out.
# usage: sh scripts/make_venv.sh DIRECTORY      (PYTHON=... chooses the interpreter)
set -eu
directory=$1
new_enough='import sys; sys.exit(sys.version_info < (3, 11))'

for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python}; do
    if command -v "$candidate" >/dev/null 2>&1 && "$candidate" -c "$new_enough" 2>/dev/null; then
        python=$candidate
        break
    fi
done
if [ -z "${python:-}" ]; then
    echo "boxhub needs Python 3.11 or newer: install it, or name it with PYTHON=/path/to/python" >&2
    exit 1
fi

if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    # Debian splits ensurepip off into a package named after the version; there is no command to look for.
    sh scripts/system_package.sh "no-command-python$version-venv" "python$version-venv" 2>/dev/null || true
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        echo "$python cannot make a virtual environment: install the package python$version-venv" >&2
        exit 1
    fi
fi
"$python" -m venv "$directory"
