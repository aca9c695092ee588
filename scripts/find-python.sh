#!/bin/sh
# Print the first Python that can do the job; otherwise the one line that mends it, and exit 2.
#
#   find-python.sh           a Python >= 3.11 that can make a virtual environment
#   find-python.sh --shared  the same, with a shared libpython and binutils: what PyInstaller needs
set -eu

probe='
import os, sys, sysconfig
if sys.version_info < (3, 11):
    sys.exit(3)
import ensurepip, venv
if sys.argv[1:] == ["--shared"]:
    get = sysconfig.get_config_var
    name = get("INSTSONAME") or ""
    folders = [d for d in (get("LIBDIR"), os.path.join(get("LIBDIR") or "", get("MULTIARCH") or ""), get("LIBPL")) if d]
    if ".so" not in name or not any(os.path.exists(os.path.join(d, name)) for d in folders):
        sys.exit(3)
print(os.path.realpath(sys.executable) if sys.prefix == sys.base_prefix else os.path.realpath(sys._base_executable))
'

want=${1:-}
lack=""
if [ "$want" = --shared ] && ! command -v objdump >/dev/null 2>&1; then
    lack="binutils"
else
    for name in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11 /usr/bin/python3; do
        # A name on PATH may be a shim for a version that is not there: only running it tells.
        if found=$("$name" -c "$probe" $want 2>/dev/null) && [ -n "$found" ]; then
            printf '%s\n' "$found"
            exit 0
        fi
    done
fi

version=$(/usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || echo 3)
packages="python3 python3-venv"
[ "$want" = --shared ] && packages="$packages binutils"
[ "$want" = --shared ] && [ "$version" != 3 ] && packages="$packages libpython$version"
{
    echo "airlock: ${lack:-no Python 3.11 or later that can make a virtual environment}${lack:+ is missing}. Mend it with:"
    echo "  apt-get install -y --no-install-recommends $packages"
} >&2
exit 2
