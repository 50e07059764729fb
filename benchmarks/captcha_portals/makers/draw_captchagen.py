"""Images of captchagen with all that it can: 240 x 80, mixed fonts and colours, dots and lines."""
# /// script
# requires-python = ">=3.10"
# dependencies = [
#   "captchagen==0.1.0", "pillow==12.3.0", "fontpkg-zilla-slab==1.2", "fontpkg-oswald==4.103",
#   "fontpkg-kalam==2.1",
# ]
# ///

import random
import shutil
import sys
import tempfile
from importlib.metadata import files
from pathlib import Path

from CaptchaGen import CaptchaConfig, CaptchaGenerator

folder = Path(sys.argv[1])
random.seed(int(sys.argv[2]))
config = CaptchaConfig(
    width=240, min_len=6, max_len=6, text_mode="digits", rotate=True, noise=True, random_color=True
)
with tempfile.TemporaryDirectory() as fonts:
    for package in ("fontpkg-zilla-slab", "fontpkg-oswald", "fontpkg-kalam"):
        for path in files(package) or []:
            if path.suffix == ".ttf":
                shutil.copy(str(path.locate()), fonts)
    maker = CaptchaGenerator(fonts, config)
    maker.fonts.sort()
    for index, label in enumerate(sys.stdin.read().split()):
        maker._random_text = lambda label=label: label
        maker.generate()[0].save(folder / f"{label}_{index}.png")
