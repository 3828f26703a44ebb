#!/bin/sh
# Installs gpuseg, its locked dependencies and compiled kernels below a folder: the steps of the
# image. They can be checked without a container: sh container/install.sh FOLDER
set -eu
prefix="$1"
requirements="${2:-requirements.txt}"
python="${PYTHON:-python3}"
here="$(cd "$(dirname "$0")" && pwd)"
SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-1735689600}"
export SOURCE_DATE_EPOCH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

# The wheel is built with the tools that are locked, too, and in an environment of its own.
"$python" -m venv "$work/build"
"$work/build/bin/python" -m pip install --quiet --require-hashes --only-binary=:all: \
    -r "$here/requirements-build.txt"
"$work/build/bin/python" -m pip wheel --quiet --no-deps --no-build-isolation \
    --wheel-dir "$work/wheel" "$here/.."

"$python" -m venv "$prefix/venv"
"$prefix/venv/bin/python" -m pip install --quiet --require-hashes --only-binary=:all: \
    -r "$here/$requirements"
"$prefix/venv/bin/python" -m pip install --quiet --no-deps --no-index "$work"/wheel/gpuseg-*.whl
"$prefix/venv/bin/python" -m pip check
"$prefix/venv/bin/python" -m pip uninstall --quiet --yes pip setuptools

# Layers of images keep whole seconds. numba compares the time of a source with the one that it
# compiled, to the fraction: so the times are made whole before the kernels are compiled.
find "$prefix/venv" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
mkdir -p "$prefix/kernels"
NUMBA_CACHE_DIR="$prefix/kernels" PYTHONDONTWRITEBYTECODE=1 \
    "$prefix/venv/bin/python" "$here/compile_kernels.py"
