#!/usr/bin/env bash
# Trains on the bundled textures (the default preset, cut to what time is left of five minutes, 45 s each at
# most), synthesizes fresh 256 px samples of each from the written checkpoints, and tells where the pictures are.
#
# One process per core, one thread each: small pictures use two cores better that way.
set -euo pipefail
cd "$(dirname "$0")/.."
gcn="${GCN:-.venv/bin/gcn}"
out="${DEMO_OUT:-runs/demo}"
jobs="${DEMO_JOBS:-$(getconf _NPROCESSORS_ONLN)}"
began="${DEMO_BEGAN:-$(date +%s)}" # in seconds of the epoch; the installation counts, where make has just done it
textures=(textures/*.png)
turns=$(((${#textures[@]} + jobs - 1) / jobs)) # that many models one after the other
# Each turn takes some time besides learning (start, estimate, fresh samples), and longer on slow machines.
seconds=$(((300 - ($(date +%s) - began)) / turns - ${DEMO_BESIDES:-30}))
budget="${DEMO_BUDGET:-$((seconds < 10 ? 10 : seconds > 45 ? 45 : seconds))}"
mkdir -p "$out"
export OMP_NUM_THREADS=1
echo "Training on ${#textures[@]} textures, $budget s each, $jobs at a time"
printf '%s\0' "${textures[@]}" | xargs -0 -P "$jobs" -I{} \
  "$gcn" train --images {} --config texture --set budget="$budget" --out "$out" > "$out/runs.txt"
xargs -P "$jobs" -I{} "$gcn" synthesize --ckpt {} --size 256 --n 2 --seed 1 -o {}/fresh --quiet \
  < "$out/runs.txt" > /dev/null
"$(dirname "$gcn")/python" scripts/contact_sheet.py --runs "$out/runs.txt" --out "$out/sheet.png"
echo "Exemplars, training chains and fresh samples side by side: $out/sheet.png"
