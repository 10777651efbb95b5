#!/bin/sh
# Builds and runs the comparison of affekt with Burn, then PyTorch on the CPU if this Python has it.
#
#   ./tools/peers/run.sh                       # every row
#   ./tools/peers/run.sh --rounds 9 matmul     # options and words that both programs take
#   AFFEKT_ADAPTER=vulkan:llvmpipe PYTHON=venv/bin/python OUT=results ./tools/peers/run.sh
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=${OUT:-$here/target/results}
python=${PYTHON:-python3}

"$here/../setup.sh"
# The first build takes some twenty minutes of one core.
cargo build --release --locked --manifest-path "$here/Cargo.toml" --target-dir "$here/target"
mkdir -p "$out"

"$here/target/release/peers" --json "$out/peers.json" "$@"

echo
if "$python" -c "import torch" 2>/dev/null; then
    "$python" "$here/peers.py" --json "$out/pytorch.json" "$@"
else
    echo "run: $python has no PyTorch; pip install torch numpy in a virtual environment, and PYTHON names it" >&2
fi

echo
echo "results in $out:"
ls "$out"
