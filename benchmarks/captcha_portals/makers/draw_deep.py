"""Images of deepcaptcha with four lines: 400 x 100, sheared digits, specks, rainbow noise, blur."""
# /// script
# requires-python = ">=3.10"
# dependencies = ["deepcaptcha==1.0.2", "pillow==12.3.0", "numpy==2.2.6"]
# ///

import random
import sys
from pathlib import Path

import numpy as np
from deepcaptcha import DeepCaptcha

folder = Path(sys.argv[1])
random.seed(int(sys.argv[2]))
np.random.seed(int(sys.argv[2]))
maker = DeepCaptcha(width=400, num_lines=4)  # eight hide whole digits
for index, label in enumerate(sys.stdin.read().split()):
    maker._generate_random_text = lambda label=label: label
    maker.generate()[0].save(folder / f"{label}_{index}.png")
