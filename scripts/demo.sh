#!/usr/bin/env bash
# Trains on the bundled textures (the default preset, shortened), synthesizes a fresh 256 px sample
# of each from the written checkpoint, and tells where the pictures are.
set -euo pipefail
cd "$(dirname "$0")/.."
gcn="${GCN:-.venv/bin/gcn}"
out="${DEMO_OUT:-runs/demo}"
mkdir -p "$out"
"$gcn" train --images textures --config texture --set pace="${DEMO_PACE:-0.3}" --out "$out" > "$out/runs.txt"
while read -r run; do
  "$gcn" synthesize --ckpt "$run" --size 256 --n 2 --seed 1 -o "$run/fresh" > /dev/null
done < "$out/runs.txt"
"$(dirname "$gcn")/python" scripts/contact_sheet.py --runs "$out/runs.txt" --out "$out/sheet.png"
echo "Exemplars, training chains and fresh samples side by side: $out/sheet.png"
