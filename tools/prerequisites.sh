#!/bin/sh
# Names every tool that the build needs and this machine lacks, with the Debian package to install.
#
# usage: tools/prerequisites.sh [aarch64]
#
# Looks at what PYTHON, CC and CXX name, as the build does. With "aarch64" it also looks for the
# cross compiler and the emulator of `make test-aarch64`. Exit status: 0 nothing is missing, 1 else.
set -u

PYTHON=${PYTHON:-python3}
packages=

missing() { # package, what is wrong
    printf 'missing: %s (Debian package: %s)\n' "$2" "$1" >&2
    packages="$packages $1"
}

found() {
    command -v "$1" >/dev/null 2>&1
}

# As CMake chooses: what CC or CXX says, found or not, else the first of the usual names.
compiler() { # value of CC or CXX, usual names...
    if [ -n "$1" ]; then
        printf '%s' "$1"
        return
    fi
    shift
    for name; do
        if found "$name"; then
            printf '%s' "$name"
            return
        fi
    done
}

# Linking, not only compiling: a compiler without the C library's headers or start files is of no use.
links() { # compiler, language, header
    printf '#include <%s>\nint main(void) { return 0; }\n' "$3" |
        ${1:-false} -x "$2" - -o /dev/null >/dev/null 2>&1
}

missing_python() { # package, what is wrong
    missing "$1" "Python 3.11 or newer ($2)"
    missing "$1-venv" "Python's venv module"
    missing "$1-dev" "Python's C headers"
}

check_python() {
    case ${PYTHON##*/} in
    python3.[0-9]*) package=${PYTHON##*/} ;; # python3.12 has python3.12-venv and python3.12-dev
    *) package=python3 ;;
    esac
    if ! "$PYTHON" -c '' >/dev/null 2>&1; then
        missing_python "$package" "there is no $PYTHON"
        return
    fi
    if ! "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        missing_python python3.11 "$("$PYTHON" --version 2>&1) is too old; give make PYTHON=..."
        return
    fi
    if ! "$PYTHON" -c 'import ensurepip, venv' >/dev/null 2>&1; then
        missing "$package-venv" "Python's venv module"
    fi
    include=$("$PYTHON" -c 'import sysconfig; print(sysconfig.get_path("include"))')
    [ -e "$include/Python.h" ] || missing "$package-dev" "Python's C headers"
}

check_compilers() {
    cc=$(compiler "${CC:-}" cc gcc clang)
    if ! found "${cc%% *}"; then
        missing gcc "a C compiler${CC:+, as CC=$CC}"
    elif ! links "$cc" c stdio.h; then
        missing libc6-dev "the C library ($cc cannot link a C program)"
    fi
    cxx=$(compiler "${CXX:-}" c++ g++ clang++)
    if ! links "$cxx" c++ exception; then
        missing g++ "a C++ compiler${CXX:+, as CXX=$CXX}"
    fi
}

check_aarch64() {
    if ! found aarch64-linux-gnu-gcc; then
        missing gcc-aarch64-linux-gnu "a C compiler for aarch64"
    elif ! links aarch64-linux-gnu-gcc c stdio.h; then
        missing libc6-dev-arm64-cross "the C library for aarch64"
    fi
    found qemu-aarch64-static || missing qemu-user-static "the user-mode emulator for aarch64"
}

found make || missing make "make"
check_python
check_compilers
[ "${1:-}" != aarch64 ] || check_aarch64

if [ -n "$packages" ]; then
    printf '\nOn Debian and Ubuntu: apt-get install%s\n' "$packages" >&2
    exit 1
fi
