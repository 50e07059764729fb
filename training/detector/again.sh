#!/usr/bin/env bash
# Makes the shipped detector's weights again from seeds, in stages of growing image size, and
# exports them if they pass: training/detector/again.sh RUNS [REAL_PAGES [REAL_VALIDATION]]
set -euo pipefail
runs=$1
real=${2:+--real $2}
validation=${3:+--real $3}
export PATH="$PWD/.venv/bin:$PATH"

draw() { # FOLDER SEED TRAIN VALIDATION TEST
  [ -e "$runs/$1/labels.json" ] ||
    python -m training.detector.pages --out "$runs/$1" --seed "$2" \
      --train "$3" --validation "$4" --test "$5"
}
draw pages0 0 3600 300 300
draw pages1 1 2200 60 0
draw pages2 2 3200 60 0
draw pages3 3 4000 300 300
draw pages4 4 6000 300 300
draw pages5 5 6000 300 300
draw pages6 6 2400 60 0
draw pages7 7 6000 300 300
draw pages9 9 6000 300 300
draw pages10 10 6000 300 300

weights=
stage() { # NAME "PAGES ..." IMAGE_SIZE EPOCHS GENERATED_PAGES LEARNING_RATE FINAL_SHARE MOSAIC SEED [OPTION ...]
  local out=$runs/$1 pages= folder
  for folder in $2; do pages+=" --pages $runs/$folder"; done
  if [ -e "$out/weights/last.pt" ] && [ ! -e "$out/done" ]; then
    python -m training.detector.train --out "$out" --resume
  elif [ ! -e "$out/done" ]; then
    python -m training.detector.train $pages $real --out "$out" \
      ${weights:+--weights "$weights"} --imgsz "$3" --epochs "$4" --generated "$5" --lr "$6" \
      --final_lr "$7" --mosaic "$8" --seed "$9" --batch 8 --processes 2 --warmup_epochs 0.2 "${@:10}"
  fi
  touch "$out/done"
  weights=$out/weights/last.pt
}
stage 352 pages0 352 2 3600 2e-3 0.4 0.3 0
stage 448 pages0 448 2 2000 1.5e-3 0.3 0.2 0
stage 512 pages0 512 3 800 1.5e-3 0.4 0.25 1
stage 640 pages0 640 2 2400 1.2e-3 0.01 0.25 2
stage 640b pages0 640 5 700 1e-3 0.01 0.2 3
stage 640c pages1 640 9 2200 1.4e-3 0.01 0.1 4
stage 640d "pages0 pages2" 640 3 6800 1.4e-3 0.5 0.1 5 --warmup_epochs 0.1 --close_mosaic 0
stage 640e "pages3 pages2" 640 5 5600 1.2e-3 0.01 0.1 6 --warmup_epochs 0.1
stage 640f "pages3 pages2" 640 1 7200 1.3e-3 0.8 0.1 7 --warmup_epochs 0.05 --close_mosaic 0 \
  --scale 0.5 --real_copies 10
stage 640g pages4 640 2 6000 1.3e-3 0.9 0.1 8 --warmup_epochs 0.1 --close_mosaic 0 \
  --scale 0.5 --real_copies 10
stage 640h pages4 640 4 3000 1.1e-3 0.01 0.1 9 --warmup_epochs 0.05 --close_mosaic 1 \
  --scale 0.5 --real_copies 10
stage 640i "pages5 pages4" 640 3 10500 1.2e-3 0.01 0.1 10 --warmup_epochs 0.05 --close_mosaic 1 \
  --scale 0.5 --real_copies 15 --real_weight 2
stage 640j "pages6 pages5" 640 2 5000 8e-4 0.01 0.1 11 --warmup_epochs 0.05 --close_mosaic 1 \
  --scale 0.5 --real_copies 15
stage 640k "pages7 pages6 pages5" 640 3 12500 1.2e-3 0.01 0.1 12 --warmup_epochs 0.05 \
  --close_mosaic 1 --scale 0.5 --real_copies 15 --real_weight 2

# better on the letters held out than either
python -m training.detector.mean "$runs/640h/weights/last.pt" "$weights" --out "$runs/mean"
weights=$runs/mean/weights/last.pt
stage 640l pages9 640 7 6000 1.2e-3 0.01 0.1 13 --warmup_epochs 0.05 \
  --close_mosaic 1 --scale 0.5 --real_copies 15
# finds less on generated pages than its last stage, but more on real ones
python -m training.detector.mean "$weights" "$runs/mean/weights/last.pt" --out "$runs/mean2"
python -m training.detector.mean "$runs/mean2/weights/last.pt" --out "$runs/mean2_measured" \
  --images "$runs/pages9/images/train" ${2:+--images "$runs/640l/real/train/images"}
weights=$runs/mean2_measured/weights/last.pt
stage 640m "pages10 pages9" 640 6 8000 8e-4 0.01 0.1 14 --warmup_epochs 0.05 \
  --close_mosaic 1 --scale 0.5 --real_copies 15 --fixed_norm 1
python -m training.detector.mean "$weights" "$runs/mean2_measured/weights/last.pt" \
  --out "$runs/mean3" \
  --images "$runs/pages10/images/train" ${2:+--images "$runs/640m/real/train/images"}

to_repository() { # RUN PAGES VERSION [OPTION ...]
  python -m export.detector "$runs/$1/weights/last.pt" --pages "$runs/$2" \
    $validation --precision 0.95 --version "$3" --replace "${@:4}"
}
to_repository mean2 pages9 3 --int8
to_repository mean3 pages10 4
to_repository mean3 pages10 5 --int8
