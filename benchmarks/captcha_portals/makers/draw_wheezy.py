"""Images of wheezy.captcha as its documentation draws them: 200 x 75, squeezed, warped, a curve."""
# /// script
# requires-python = ">=3.10"
# dependencies = [
#   "wheezy.captcha==3.2.2", "pillow==12.3.0", "fontpkg-pt-serif==1.0", "fontpkg-open-sans==3.3",
# ]
# ///

import random
import sys
from importlib.metadata import files
from pathlib import Path

from wheezy.captcha import image as wheezy

folder = Path(sys.argv[1])
random.seed(int(sys.argv[2]))
fonts = [
    str(path.locate())
    for package in ("fontpkg-pt-serif", "fontpkg-open-sans")
    for path in files(package) or []
    if path.suffix == ".ttf"
]
draw = wheezy.captcha(
    drawings=[
        wheezy.background(),
        wheezy.text(
            fonts=sorted(fonts),
            font_sizes=(50, 53, 56),  # its 65 to 75 are for four letters
            drawings=[wheezy.warp(), wheezy.rotate(), wheezy.offset()],
        ),
        wheezy.curve(),
        wheezy.noise(),
        wheezy.smooth(),
    ]
)
for index, label in enumerate(sys.stdin.read().split()):
    draw(label).save(folder / f"{label}_{index}.png")
