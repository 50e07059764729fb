"""Images of bettercaptcha with all that it can: rows shifted by a sine, colour on colour.

The width follows the digits, about 180 x 65.
"""
# /// script
# requires-python = ">=3.10, <3.12"
# dependencies = [
#   "bettercaptcha==1.0.2", "pillow==9.5.0", "numpy==1.26.4", "fontpkg-cabin==3.1",
# ]
# ///

import random
import sys
from importlib.metadata import files
from pathlib import Path

from bettercaptcha import Background, CaptchaImage

folder = Path(sys.argv[1])
random.seed(int(sys.argv[2]))
fonts = sorted(str(path.locate()) for path in files("fontpkg-cabin") or [] if path.suffix == ".ttf")
for index, label in enumerate(sys.stdin.read().split()):
    maker = CaptchaImage(
        font=random.choice(fonts),
        font_size=40,
        color=tuple(random.randrange(130) for _ in range(3)),
        text=label,
        background=Background.COLOR,
        distortion=True,
        lines=6,
        points=30,
        frame=True,
    )
    maker.create().save(folder / f"{label}_{index}.png")
