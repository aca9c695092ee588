#!/bin/sh
# Make a virtual environment that holds exactly one lock, every file checked against its hash.
#
#   make-venv.sh FOLDER LOCK [--shared]
set -eu

folder=$1
lock=$2
here=$(dirname "$0")

if ! "$folder/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    python=$("$here/find-python.sh" ${3:-})
    echo "airlock: making $folder with $python"
    rm -rf "$folder"
    "$python" -m venv "$folder"
fi
echo "airlock: installing $lock into $folder"
# Wheels alone: a source distribution would run its own code while it is built. The lock is whole, so
# nothing is resolved again: pip would prefer a newer release for "name[extra]" than the lock's "name",
# and refuse it for want of a hash, from the day on that such a release is out.
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
    --require-hashes --no-deps --only-binary :all: --requirement "$lock"
"$folder/bin/python" -m pip check --quiet --disable-pip-version-check
