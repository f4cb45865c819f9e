#!/bin/sh
# Make the virtual environment $1 as the lock file $2 says, with Orlop itself in it (editable).
set -eu

venv=$1
lock=$2

interpreter() {
    # Debian's own first: it starts faster than most that people build.
    for candidate in ${PYTHON:-} /usr/bin/python3 python3 python3.13 python3.12 python3.11; do
        if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "error: no Python 3.11 or newer with venv was found" >&2
    echo "hint: install python3 and python3-venv, or set PYTHON" >&2
    return 1
}

[ -x "$venv/bin/python" ] || "$(interpreter)" -m venv "$venv"
pip="$venv/bin/python -m pip --disable-pip-version-check --quiet"
$pip install --require-hashes --requirement "$lock"
$pip install --no-deps --no-build-isolation --editable .
# An editable package is compiled when it is first imported, unless PYTHONDONTWRITEBYTECODE is set; each start
# would then take twice as long.
"$venv/bin/python" -m compileall -q src/orlop
