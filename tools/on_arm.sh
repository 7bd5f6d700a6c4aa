#!/usr/bin/env bash
# Runs this checkout's Python programs on an emulated aarch64 (as on a Jetson, a Raspberry Pi, a Graviton):
#   tools/on_arm.sh script.py ARGUMENTS | -c CODE | -m MODULE ARGUMENTS
# Prepares itself once, in two minutes and 600 MB under $XDG_CACHE_HOME/facula-arm: Debian's Python for arm64 with what
# it depends on, unpacked and not installed, and wheels for aarch64. Of the machine it wants Debian (or a derivative
# whose package source serves arm64), qemu-user and a python3 with pip; as root it installs qemu-user itself.
# Emulation is 20 to 50 times as slow: for right and wrong, not for speed.
# A program that starts Python anew (sys.executable) comes through here again.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
at=${XDG_CACHE_HOME:-$HOME/.cache}/facula-arm
root=$at/root

give_up() { echo "on_arm.sh: $*" >&2; exit 3; }

emulator() {
  command -v qemu-aarch64 >/dev/null && return
  command -v apt-get >/dev/null || give_up "needs qemu-aarch64 (Debian's package qemu-user), and apt-get for what runs in it"
  [ "$(id -u)" = 0 ] || give_up "needs qemu-aarch64: sudo apt-get install qemu-user"
  apt-get update -qq && apt-get install -y -qq qemu-user >/dev/null || give_up "could not install qemu-user"
}

# apt with lists and a state of its own: another architecture, and nothing of this machine changes.
apt_arm() {
  mkdir -p "$at"/apt/{lists,cache}/partial && touch "$at/apt/status"
  apt-get -qq -o APT::Architecture=arm64 -o APT::Architectures::=arm64 -o Dir::State::lists="$at/apt/lists" \
    -o Dir::State::status="$at/apt/status" -o Dir::Cache="$at/apt/cache" -o Dir::Cache::archives="$at/apt/cache" \
    -o APT::Sandbox::User=root -o Debug::NoLocking=1 -o APT::Install-Recommends=0 "$@"
}

prepare() {
  emulator
  command -v apt-get >/dev/null || give_up "needs apt-get, to fetch Python for arm64"
  echo "on_arm.sh: fetching Python, numpy and llvmlite for aarch64 into $at (once)" >&2
  rm -rf "$root" "$at/site" && mkdir -p "$root" "$at/site"
  apt_arm update || give_up "no package lists for arm64"
  apt_arm install --download-only -y python3 libstdc++6 || give_up "no Python for arm64 in this system's package sources"
  for package in "$at"/apt/cache/*.deb; do dpkg -x "$package" "$root"; done
  version=$(basename "$(ls "$root"/usr/bin/python3.[0-9]* | head -1)"); version=${version#python}
  platforms=$(for v in 2014 _2_17 _2_26 _2_27 _2_28; do printf -- '--platform manylinux%s_aarch64 ' "$v"; done)
  ${PYTHON:-python3} -m pip install -q --disable-pip-version-check --root-user-action=ignore --target "$at/site" --only-binary=:all: \
    --python-version "$version" --implementation cp $platforms --platform any numpy llvmlite pytest hypothesis mpmath tqdm \
    || give_up "no wheels for aarch64"
  printf 'import os\nimport sys\nsys.executable = os.environ.get("ON_ARM", sys.executable)\n' > "$at/site/sitecustomize.py"
  echo "$version" > "$at/python"
}

[ -e "$at/python" ] || prepare
version=$(cat "$at/python")
libraries=$root/usr/lib/aarch64-linux-gnu:$root/lib/aarch64-linux-gnu
if [ -z "${ON_ARM:-}" ]; then  # what the first of these processes is told, those that it starts may change
  mkdir -p -m 700 "$at/kernels"
  export ON_ARM=$here/tools/on_arm.sh PYTHONDONTWRITEBYTECODE=1 FACULA_CACHE_DIR=$at/kernels
  export PYTHONPATH=$at/site:$here/src:$here/tests/support
fi
unset OPENBLAS_CORETYPE  # a processor that NumPy's BLAS was told to be on is one of this machine
exec qemu-aarch64 -L "$root" -E LD_LIBRARY_PATH="$libraries" "$root/usr/bin/python$version" "$@"
