#!/bin/sh
# Sets up, builds, and trains a paper's model on synthetic speech on this machine's adapter; writes affekt-demo.html into
# the folder it is called from.
#
#   ./tools/demo.sh                  # takes the options of `affekt demo`
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)

"$root/tools/setup.sh"
cargo build --release --manifest-path "$root/Cargo.toml" --target-dir "${CARGO_TARGET_DIR:-$root/target}"
exec "${CARGO_TARGET_DIR:-$root/target}/release/affekt" demo "$@"
