"""Images of light-captcha at its defaults: 250 x 80, skewed digits, strokes over them."""
# /// script
# requires-python = ">=3.10"
# dependencies = ["light-captcha==0.0.5", "pillow==12.3.0"]
# ///

import random
import sys
from pathlib import Path

from light_captcha import CaptchaGenerator

folder = Path(sys.argv[1])
random.seed(int(sys.argv[2]))
maker = CaptchaGenerator()
for index, label in enumerate(sys.stdin.read().split()):
    maker._generate_number = lambda label=label: label
    maker.generate().data.save(folder / f"{label}_{index}.png")
