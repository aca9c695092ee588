#!/bin/sh
# Pin every dependency, with the hashes of all its files, for every Python and machine we run on.
#
# One resolution for all: the three locks never disagree about a version. No index is named in them.
# To move to newer versions: scripts/lock.sh --upgrade
set -eu
cd "$(dirname "$0")/.."

uv=.cache/lock-venv/bin/uv
if [ ! -x "$uv" ]; then
    python=$(scripts/find-python.sh)
    "$python" -m venv .cache/lock-venv
    .cache/lock-venv/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.8'
fi

pin() {
    out=$1
    shift
    "$uv" pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes \
        --no-emit-index-url --no-emit-find-links --no-annotate \
        --custom-compile-command 'make lock' --output-file "$out" "$@"
}

dev=requirements/dev.txt
pin "$dev" "$@" pyproject.toml --all-extras \
    --group test --group lint --group freeze --group build
pin requirements/bundler.txt pyproject.toml --extra bundler --constraint "$dev"
pin requirements/loader.txt pyproject.toml --constraint "$dev"
pin requirements/freeze.txt pyproject.toml --group freeze --constraint "$dev"
pin requirements/freeze-push.txt --group push --group freeze --constraint "$dev"
pin requirements/fuzz.txt pyproject.toml --group fuzz --constraint "$dev"
