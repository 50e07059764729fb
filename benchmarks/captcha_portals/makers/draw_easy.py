"""Images of easy-captcha-python at its defaults: 130 x 48, outlined digits, a curve."""
# /// script
# requires-python = ">=3.10"
# dependencies = ["easy-captcha-python==1.0.0", "pillow==12.3.0"]
# ///

import random
import sys
from pathlib import Path

from easy_captcha import SpecCaptcha

folder = Path(sys.argv[1])
random.seed(int(sys.argv[2]))
for index, label in enumerate(sys.stdin.read().split()):
    maker = SpecCaptcha(length=len(label))
    maker._chars = label
    with (folder / f"{label}_{index}.png").open("w+b") as file:
        if not maker.out(file):
            sys.exit(f"easy-captcha-python drew no {label}")
