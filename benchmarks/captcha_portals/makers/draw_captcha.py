"""Images of PyPI's captcha at its defaults: 160 x 60, warped digits that touch, dots and an arc."""
# /// script
# requires-python = ">=3.10"
# dependencies = ["captcha==0.7.1", "pillow==12.3.0"]
# ///

import random
import sys
from pathlib import Path

from captcha.image import ImageCaptcha

folder = Path(sys.argv[1])
random.seed(int(sys.argv[2]))
maker = ImageCaptcha()
for index, label in enumerate(sys.stdin.read().split()):
    maker.write(label, str(folder / f"{label}_{index}.png"))
