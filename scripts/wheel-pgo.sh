#!/bin/sh
# Builds a wheel into dist/ that is optimised by a profile: an instrumented wheel runs scripts/pgo_train.py, and the
# profiles it leaves steer the second build. The profiles' format is LLVM's, so llvm-profdata must be of the LLVM that
# rustc was built with (or newer); $LLVM_PROFDATA names one, otherwise Debian's llvm-N is used, installed if missing.
set -eu
cd "$(dirname "$0")/.."

host=$(rustc -vV | sed -n 's/^host: //p')
llvm=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
profdata=${LLVM_PROFDATA:-llvm-profdata-$llvm}

if ! command -v "$profdata" >/dev/null; then
    root=
    [ "$(id -u)" = 0 ] || root=sudo
    $root apt-get update -qq
    $root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "llvm-$llvm" ||
        { echo "wheel-pgo: no $profdata: give LLVM_PROFDATA, of LLVM $llvm or newer" >&2; exit 1; }
fi

export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/pgo"
repository=$(pwd)
mkdir -p "$CARGO_TARGET_DIR"
work=$(cd "$CARGO_TARGET_DIR" && pwd)
rm -rf "$work/raw" "$work/wheel" "$work/venv"

# --target keeps the flags from build scripts and proc macros, which would leave profiles too.
RUSTFLAGS="-Cprofile-generate=$work/raw" maturin build --release --quiet --target "$host" --out "$work/wheel"
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet "$work/wheel/"*.whl
# From the work folder: in the repository's root, Python would not find the wheel's package alone.
for level in avx512 avx2 neon; do
    # A level that this processor does not have is left out, and so is scalar: its loops would make all others look cold.
    (cd "$work" && COUNTERPOINT_SIMD=$level venv/bin/python -c 'import counterpoint') 2>/dev/null || continue
    (cd "$work" && OPENBLAS_NUM_THREADS=1 COUNTERPOINT_SIMD=$level venv/bin/python "$repository/scripts/pgo_train.py")
done
"$profdata" merge --output="$work/merged.profdata" "$work/raw"
RUSTFLAGS="-Cprofile-use=$work/merged.profdata" maturin build --release --quiet --target "$host" --out dist
