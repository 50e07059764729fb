#!/usr/bin/env bash
# Makes the shipped CAPTCHA weights again from seeds, in three rounds that each take more images,
# and exports them if they pass: training/captcha/again.sh RUNS (1.5 hours on 2 cores)
set -euo pipefail
runs=$1
export PATH="$PWD/.venv/bin:$PATH"

generate() { # FOLDER STYLE COUNT SEED
  [ -e "$runs/data/$1" ] ||
    python -m training.captcha.generate --out "$runs/data/$1" --style "$2" --count "$3" --seed "$4"
}
generate train0 all 20000 0
generate train10 all 25000 10
generate train20 all 40000 20
generate validation all 3000 1
for style in plain lines grain wave dark; do
  generate "test_$style" "$style" 2000 2
done

train() { # FOLDER --images DIR ... ; goes on where it was stopped
  local out=$runs/$1
  shift
  python -m training.captcha.train --out "$out" "$@" $([ -e "$out/last.pt" ] && echo --resume)
}
train round1 --images "$runs/data/train0" --epochs 16
train round2 --images "$runs/data/train10" --start "$runs/round1/best.pt" \
  --epochs 10 --learning-rate 1e-3 --translation 0.05 --perspective 0.15
train round3 --images "$runs"/data/train{0,10,20} --start "$runs/round2/best.pt" --seed 2 \
  --epochs 4 --learning-rate 1e-3 --translation 0.05 --perspective 0.15 --held-out 0.03

python -m export.captcha "$runs/round3/best.pt" --precision 0.9998 \
  --validation "$runs/data/validation" --test "$runs"/data/test_*
