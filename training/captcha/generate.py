"""Seeded 6-digit CAPTCHA images in the styles of several imagined portals.

    python -m training.captcha.generate --out DIR --style lines --count 4000 --seed 0

writes DIR/482913_17.png: the label, then the image's index. An image depends on its style, seed and
index alone, so a longer run begins with the same images. Fonts are those that matplotlib installs
and OpenCV's Hershey strokes: nothing is taken from the machine.
"""

import argparse
import json
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from training.captcha import wide
from training.captcha.images import DIGITS, GENERATED, HEIGHT, WIDTH

MARGIN = 8  # px that digits keep from the left and right edge before any warp

SANS = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "cmss10")
SERIF = (
    "DejaVuSerif",
    "DejaVuSerif-Bold",
    "STIXGeneral",
    "STIXGeneralBol",
    "cmr10",
    "cmb10",
)
MONO = ("DejaVuSansMono", "DejaVuSansMono-Bold", "cmtt10")
ITALIC = (
    "DejaVuSans-BoldOblique",
    "DejaVuSerif-BoldItalic",
    "STIXGeneralItalic",
    "DejaVuSerif-Italic",
)
HERSHEY = ("hershey-simplex", "hershey-duplex", "hershey-complex", "hershey-triplex")
HERSHEY_FACES = {
    "hershey-simplex": cv2.FONT_HERSHEY_SIMPLEX,
    "hershey-duplex": cv2.FONT_HERSHEY_DUPLEX,
    "hershey-complex": cv2.FONT_HERSHEY_COMPLEX,
    "hershey-triplex": cv2.FONT_HERSHEY_TRIPLEX,
}

Range = tuple[float, float]


@dataclass(frozen=True)
class Style:
    """What one portal draws; every pair is a range that each image draws from uniformly."""

    fonts: tuple[str, ...]
    digit_height: Range = (24, 32)  # px
    spacing: Range = (2, 8)  # px between neighbouring digits' ink; negative overlaps
    rotation: Range = (-12, 12)  # degrees, each digit its own
    shear: Range = (-0.15, 0.15)  # px sideways for each px upwards, each digit its own
    lift: Range = (-3, 3)  # px up or down, each digit its own
    wave: Range = (0, 0)  # px, amplitude of a sine that bends the whole line of digits
    ink: Range = (0, 90)  # channel values of digits, each channel its own
    paper: Range = (215, 255)  # channel values of the background
    one_ink: bool = True  # all six digits share a colour
    gradient: float = 0  # channel values by which the paper may change from left to right
    grid: bool = False
    arcs: tuple[int, int] = (0, 0)  # least and most number of each kind of clutter
    lines: tuple[int, int] = (0, 0)
    dots: tuple[int, int] = (0, 0)
    noise: Range = (0, 4)  # standard deviation of grain, in channel values
    blur: Range = (0, 0.4)  # sigma, px


STYLES = {
    "plain": Style(fonts=SANS + MONO, dots=(0, 40), one_ink=False),
    "lines": Style(
        fonts=SANS + SERIF,
        rotation=(-20, 20),
        spacing=(-1, 6),
        one_ink=False,
        ink=(0, 140),
        arcs=(1, 3),
        lines=(2, 5),
        dots=(20, 120),
    ),
    "grain": Style(
        fonts=HERSHEY,
        digit_height=(22, 30),
        spacing=(1, 8),
        paper=(180, 240),
        ink=(0, 80),
        lines=(0, 3),
        dots=(50, 300),
        noise=(8, 28),
        blur=(0.2, 0.8),
    ),
    "wave": Style(
        fonts=SERIF + ITALIC,
        spacing=(-2, 3),
        shear=(-0.3, 0.3),
        wave=(1.5, 4),
        gradient=50,
        arcs=(1, 2),
        dots=(0, 60),
    ),
    "dark": Style(
        fonts=MONO + ITALIC,
        ink=(150, 255),
        paper=(10, 80),
        gradient=50,
        grid=True,
        lines=(1, 3),
        dots=(20, 100),
        noise=(2, 12),
    ),
}

# What a new portal draws, for measuring how far weights trained on STYLES carry.
UNSEEN = {
    "unseen": Style(
        fonts=("STIXGeneralBolIta",),
        digit_height=(20, 26),
        spacing=(0, 10),
        rotation=(-25, 25),
        lift=(-6, 6),
        ink=(20, 160),
        paper=(170, 230),
        one_ink=False,
        grid=True,
        arcs=(0, 2),
        dots=(100, 400),
    ),
}


@cache
def glyph(font: str, digit: str, height: int) -> np.ndarray:
    """Ink coverage of one digit, cut to its ink: (h, w) float32 in [0, 1], `height` px high."""
    if font in HERSHEY_FACES:
        canvas = np.zeros((160, 160), np.uint8)
        cv2.putText(canvas, digit, (40, 120), HERSHEY_FACES[font], 3, (255,), 8, cv2.LINE_AA)
    else:
        path = Path(matplotlib.get_data_path(), "fonts", "ttf", f"{font}.ttf")
        page = Image.new("L", (160, 160))
        ImageDraw.Draw(page).text((40, 20), digit, fill=255, font=ImageFont.truetype(path, 96))
        canvas = np.asarray(page)
    x, y, w, h = cv2.boundingRect(canvas)
    size = (max(2, round(w * height / h)), height)
    ink = cv2.resize(canvas[y : y + h, x : x + w], size, interpolation=cv2.INTER_AREA)
    return ink.astype(np.float32) / 255


def tilted(ink: np.ndarray, rotation: float, shear: float) -> np.ndarray:
    """The glyph turned by `rotation` degrees and sheared, in a box large enough to hold it."""
    h, w = ink.shape
    turn = cv2.getRotationMatrix2D((0, 0), rotation, 1)[:, :2]
    linear = turn @ np.array([[1, -shear], [0, 1]])
    corners = np.array([[0, 0], [w, 0], [0, h], [w, h]]) @ linear.T
    offset = 1 - corners.min(axis=0)
    box_w, box_h = np.ceil(corners.max(axis=0) + offset + 1).astype(int)
    return cv2.warpAffine(ink, np.column_stack([linear, offset]), (int(box_w), int(box_h)))


def digit_masks(style: Style, text: str, rng: Generator) -> list[np.ndarray]:
    """Coverage of each digit at its place: six (50, 200) float32 in [0, 1].

    The line of digits is shrunk, if need be, until it fits between the margins.
    """
    font = str(rng.choice(style.fonts))
    height = rng.uniform(*style.digit_height)
    tilts = [(rng.uniform(*style.rotation), rng.uniform(*style.shear)) for _ in text]
    gaps = rng.uniform(*style.spacing, len(text) - 1)
    while True:
        inks = [tilted(glyph(font, d, round(height)), *t) for d, t in zip(text, tilts, strict=True)]
        length = sum(ink.shape[1] for ink in inks) + gaps.sum()
        tallest = max(ink.shape[0] for ink in inks)
        if length <= WIDTH - 2 * MARGIN and tallest <= HEIGHT - 4:
            break
        height -= 1
    x = rng.uniform(MARGIN, WIDTH - MARGIN - length)
    masks = []
    for ink, gap in zip(inks, [*gaps, 0], strict=True):
        room = HEIGHT - ink.shape[0]
        y = np.clip(room / 2 + rng.uniform(*style.lift), 1, room - 1)
        place = np.array([[1, 0, x], [0, 1, y]])  # sub-pixel
        masks.append(cv2.warpAffine(ink, place, (WIDTH, HEIGHT)))
        x += ink.shape[1] + gap
    return masks


def bent(mask: np.ndarray, amplitude: float, length: float, phase: float) -> np.ndarray:
    """The mask with each column moved up or down along a sine of `length` px."""
    x, y = np.meshgrid(np.arange(WIDTH, dtype=np.float32), np.arange(HEIGHT, dtype=np.float32))
    shift = amplitude * np.sin(2 * np.pi * x / length + phase)
    return cv2.remap(mask, x, (y + shift).astype(np.float32), cv2.INTER_LINEAR)


def colour(bounds: Range, rng: Generator) -> np.ndarray:
    return rng.uniform(*bounds, 3).astype(np.float32)  # RGB


def paper(style: Style, rng: Generator) -> np.ndarray:
    """The background: (50, 200, 3) float32."""
    slope = np.linspace(-0.5, 0.5, WIDTH)[None, :, None] * rng.uniform(-1, 1, 3) * style.gradient
    page = np.broadcast_to(colour(style.paper, rng) + slope, (HEIGHT, WIDTH, 3))
    page = np.ascontiguousarray(page, np.float32)
    if style.grid:
        step, tone = int(rng.integers(8, 20)), rng.uniform(-25, 25)
        page[:: max(4, step // 2)] += tone
        page[:, ::step] += tone
    return page


def clutter(page: np.ndarray, style: Style, rng: Generator) -> None:
    """Draws arcs, lines and dots in ink colours onto the page, in place."""

    def point() -> tuple[int, int]:
        return int(rng.integers(0, WIDTH)), int(rng.integers(0, HEIGHT))

    def ink() -> list[float]:
        return [float(c) for c in colour(style.ink, rng)]

    for _ in range(rng.integers(style.arcs[0], style.arcs[1] + 1)):
        axes = (int(rng.integers(40, 120)), int(rng.integers(8, 30)))
        start = float(rng.uniform(0, 360))
        end = start + float(rng.uniform(60, 180))
        tilt = float(rng.uniform(-15, 15))
        cv2.ellipse(page, point(), axes, tilt, start, end, ink(), 1, cv2.LINE_AA)
    for _ in range(rng.integers(style.lines[0], style.lines[1] + 1)):
        cv2.line(page, point(), point(), ink(), 1, cv2.LINE_AA)
    for _ in range(rng.integers(style.dots[0], style.dots[1] + 1)):
        x, y = point()
        page[y, x] = ink()


def draw(style: Style, text: str, rng: Generator) -> np.ndarray:
    """One CAPTCHA that shows `text`: (50, 200, 3) uint8 RGB."""
    page = paper(style, rng)
    masks = digit_masks(style, text, rng)
    wave = (rng.uniform(*style.wave), rng.uniform(60, 140), rng.uniform(0, 2 * np.pi))
    shared = colour(style.ink, rng)
    for mask in masks:
        ink = shared if style.one_ink else colour(style.ink, rng)
        cover = (bent(mask, *wave) if style.wave[1] else mask)[..., None]
        page = page * (1 - cover) + ink * cover
    clutter(page, style, rng)
    if (sigma := rng.uniform(*style.blur)) > 0.2:  # narrower does nothing visible
        page = cv2.GaussianBlur(page, (0, 0), sigma)
    page += rng.normal(0, rng.uniform(*style.noise), page.shape)
    return np.clip(np.rint(page), 0, 255).astype(np.uint8)


def sample(name: str, seed: int, index: int) -> tuple[np.ndarray, str]:
    """Image `index` of a style and its label: (50, 200, 3) uint8 RGB, six digits.

    The style "all" takes turns through STYLES, "wide" is that of training/captcha/wide.py. KeyError
    for an unknown name.
    """
    if name == "wide":
        grey, text = wide.sample(seed, index)
        return np.repeat(grey[..., None], 3, axis=2), text
    if name == "all":
        name = list(STYLES)[index % len(STYLES)]
    rng = np.random.default_rng([zlib.crc32(name.encode()), seed, index])
    text = "".join(str(digit) for digit in rng.integers(0, 10, DIGITS))
    return draw((STYLES | UNSEEN)[name], text, rng), text


def write(folder: Path, style: str, count: int, seed: int) -> None:
    """Writes `count` labelled PNG files into the folder, which is made if missing."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / GENERATED).write_text(json.dumps({"style": style, "seed": seed}) + "\n")
    for index in tqdm(range(count), desc=f"{style}, seed {seed}", unit="image"):
        image, text = sample(style, seed, index)
        Image.fromarray(image).save(folder / f"{text}_{index}.png")


def write_samples(folder: Path, seed: int) -> None:
    """Writes one image of each of four styles, and captchas.json: file name -> label."""
    folder.mkdir(parents=True, exist_ok=True)
    labels = {}
    for style in ("plain", "lines", "grain", "dark"):
        image, labels[f"captcha_{style}.png"] = sample(style, seed, index=0)
        Image.fromarray(image).save(folder / f"captcha_{style}.png")
    (folder / "captchas.json").write_text(json.dumps(labels, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the images")
    parser.add_argument("--style", choices=[*STYLES, *UNSEEN, "all", "wide"], default="all")
    parser.add_argument("--count", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--samples", action="store_true", help="write the four server/samples")
    args = parser.parse_args()
    if args.samples:
        write_samples(args.out, args.seed)
    else:
        write(args.out, args.style, args.count, args.seed)


if __name__ == "__main__":
    main()
