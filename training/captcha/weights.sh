#!/usr/bin/env bash
# Makes start weights for portals and a judged reader of six digits from seeds, and exports the reader
# as the next version if it passes: training/captcha/weights.sh RUNS
# Version 3, which is shipped, is such a one; its first cycle was trained in several parts, and version
# 2 by an earlier recipe (its model card names the commit).
set -euo pipefail
runs=$1
export PATH="$PWD/.venv/bin:$PATH"

generate() { # FOLDER STYLE COUNT SEED
  [ -e "$runs/data/$1" ] ||
    python -m training.captcha.generate --out "$runs/data/$1" --style "$2" --count "$3" --seed "$4"
}
generate validation all 3000 1
generate validation_wide wide 3000 1
for style in plain lines grain wave dark; do
  generate "test_$style" "$style" 2000 2
done

for epochs in 24 36; do # two cycles
  python -m training.captcha.pretrain --out "$runs/start" --epochs "$epochs" \
    $([ -e "$runs/start/last.pt" ] && echo --resume)
done

[ -e "$runs/start/judged.pt" ] ||
  python -m training.captcha.judge --reader "$runs/start/digits.pt" --out "$runs/start/judged.pt"

python -m export.captcha "$runs/start/judged.pt" --version 3 \
  --validation "$runs"/data/validation* --test "$runs"/data/test_*
