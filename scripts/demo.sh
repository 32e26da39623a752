#!/usr/bin/env bash
# Trains on the bundled textures (the default preset, cut to 45 s each), synthesizes fresh 256 px samples
# of each from the written checkpoints, and tells where the pictures are.
#
# One process per core, one thread each: small pictures use two cores better that way.
set -euo pipefail
cd "$(dirname "$0")/.."
gcn="${GCN:-.venv/bin/gcn}"
out="${DEMO_OUT:-runs/demo}"
jobs="${DEMO_JOBS:-$(getconf _NPROCESSORS_ONLN)}"
mkdir -p "$out"
export OMP_NUM_THREADS=1
printf '%s\0' textures/*.png | xargs -0 -P "$jobs" -I{} \
  "$gcn" train --images {} --config texture --set budget="${DEMO_BUDGET:-45}" --out "$out" > "$out/runs.txt"
while read -r run; do
  "$gcn" synthesize --ckpt "$run" --size 256 --n 2 --seed 1 -o "$run/fresh" --quiet > /dev/null
done < "$out/runs.txt"
"$(dirname "$gcn")/python" scripts/contact_sheet.py --runs "$out/runs.txt" --out "$out/sheet.png"
echo "Exemplars, training chains and fresh samples side by side: $out/sheet.png"
