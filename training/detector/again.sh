#!/usr/bin/env bash
# Makes the shipped detector's weights again from seeds, in stages of growing image size, and
# exports them if they pass: training/detector/again.sh RUNS [REAL_PAGES [REAL_VALIDATION]]
set -euo pipefail
runs=$1
real=${2:+--real $2}
validation=${3:+--real $3}
export PATH="$PWD/.venv/bin:$PATH"

pages=$runs/pages
[ -e "$pages/sources.json" ] ||
  python -m training.detector.pages --out "$pages" --seed 1 --train 3600 --validation 300 --test 300

weights=
stage() { # NAME IMAGE_SIZE EPOCHS GENERATED_PAGES LEARNING_RATE FINAL_SHARE MOSAIC SEED
  local out=$runs/$1
  [ -e "$out/done" ] ||
    python -m training.detector.train --pages "$pages" $real --out "$out" \
      ${weights:+--weights "$weights"} --imgsz "$2" --epochs "$3" --generated "$4" --lr "$5" \
      --final_lr "$6" --mosaic "$7" --seed "$8" --batch 8 --processes 2 --warmup_epochs 0.2
  touch "$out/done"
  weights=$out/weights/best.pt
}
stage 352 352 2 3600 2e-3 0.4 0.3 0
stage 448 448 2 2000 1.5e-3 0.3 0.2 0
stage 512 512 3 800 1.5e-3 0.4 0.25 1
stage 640 640 2 2400 1.2e-3 0.01 0.25 2
stage 640b 640 5 700 1e-3 0.01 0.2 3
stage 640c 640 9 2200 1.4e-3 0.01 0.1 4

python -m export.detector "$weights" --pages "$pages" $validation --int8 --precision 0.9
