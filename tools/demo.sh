#!/bin/sh
# Sets up, builds, and trains a paper's model on synthetic speech on this machine's adapter; writes affekt-demo.html.
#
#   ./tools/demo.sh                  # takes the options of `affekt demo`
set -eu
cd "$(dirname "$0")/.."

./tools/setup.sh
cargo build --release
exec "${CARGO_TARGET_DIR:-target}/release/affekt" demo "$@"
