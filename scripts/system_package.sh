#!/bin/sh
# Make NEED, a command or a shared library, available through the system's package manager; does nothing when it is
# there already. Ends with 1 and one line that says what to install when that cannot be done.
# usage: sh scripts/system_package.sh NEED PACKAGE [PACKAGE_OUTSIDE_DEBIAN]
set -eu
need=$1 package=$2
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export PATH
command -v apt-get >/dev/null 2>&1 || package=${3:-$package}

have() {
    case $need in
    lib*.so*) ! command -v ldconfig >/dev/null 2>&1 || ldconfig -p | grep -q "$need" ;;
    *) command -v "$need" >/dev/null 2>&1 ;;
    esac
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif command -v sudo >/dev/null 2>&1 && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then sudo "$@"
    else return 1
    fi
}

install_with_apt() {
    as_root apt-get update -qq &&
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package"
}

if have; then exit 0; fi
echo "installing the package $package" >&2
{ # their progress is noise; their errors are not
    if command -v apt-get >/dev/null 2>&1; then install_with_apt
    elif command -v dnf >/dev/null 2>&1; then as_root dnf install -y -q "$package"
    elif command -v apk >/dev/null 2>&1; then as_root apk add --quiet "$package"
    elif command -v brew >/dev/null 2>&1; then brew install --quiet "$package"
    else false
    fi
} >/dev/null || true

if have; then exit 0; fi
echo "boxhub needs $need: install the package $package, or run this once as root or with sudo" >&2
exit 1
