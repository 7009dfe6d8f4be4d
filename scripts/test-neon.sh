#!/bin/sh
# Runs every kernel at every length on NEON: cross-compiles counterpoint-core's `kernels` test with Debian's rustc for
# arm64 and runs it under qemu-user. (qemu-user 7.2 hangs on any spawned thread: that test spawns none.)
set -eu
cd "$(dirname "$0")/.."

target=aarch64-unknown-linux-gnu
rustc=/usr/bin/rustc # rustc-web's, not rustup's: it is the one that has Debian's arm64 libstd

ready() {
    command -v qemu-aarch64 && command -v aarch64-linux-gnu-gcc && [ -x "$rustc" ] &&
        [ -n "$("$rustc" --print target-libdir --target "$target" 2>&1 | xargs -I{} find {} -name 'libstd-*.rlib')" ]
} >/dev/null 2>&1

if ! ready; then
    root=
    [ "$(id -u)" = 0 ] || root=sudo
    $root dpkg --add-architecture arm64
    $root apt-get update -qq
    $root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        rustc-web libstd-rust-web-dev:arm64 gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user
    ready || { echo "test-neon: the packages are installed, and a tool is still missing" >&2; exit 1; }
fi

export RUSTC="$rustc"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR_NEON:-target-neon}"
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -cpu max -L /usr/aarch64-linux-gnu"
# Forced: the test fails, rather than passing without NEON, if qemu's processor lacked it.
export COUNTERPOINT_SIMD=neon
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS RUSTUP_TOOLCHAIN
exec cargo test --quiet -p counterpoint-core --test kernels --target "$target"
