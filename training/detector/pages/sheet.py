"""The paper that a page is printed and written on."""

from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageDraw

from training.detector.pages import text

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Look:
    """What the templates of one house have in common."""

    seed: int
    language: str
    body: str  # font paths
    head: str
    size: float  # body text, in 1/1000 of the page height
    leading: float  # line distance in font sizes
    ink: Colour
    accent: Colour
    second: Colour
    tint: Colour  # of filled panels and cells, light
    paper: Colour
    left: float  # margins in shares of the page
    right: float
    company: str
    script_head: bool
    logo: str
    emblem: str
    panels: str  # filled, outlined, both, bar or none
    roundness: float  # of panels and blocks, 0 to 0.5


class Sheet:
    """A page of width x height px under print; lengths in 1/1000 of its height (`unit`).

    `dates` are the x, y where lines begin that a hand puts the date on; `seals` are the x, y where
    a stamp goes, and its kind.
    """

    def __init__(self, width: int, height: int, look: Look, rng: np.random.Generator):
        self.image = Image.new("RGB", (width, height), look.paper)
        self.pen = ImageDraw.Draw(self.image)
        self.look = look
        self.rng = rng
        self.unit = height / 1000
        self.width = width / self.unit
        self.left = look.left * self.width
        self.right = (1 - look.right) * self.width
        self.dates: list[tuple[float, float]] = []
        self.seals: list[tuple[float, float, str]] = []

    def write(
        self,
        x: float,
        y: float,
        line: str,
        size: float = 0,
        path: str = "",
        ink: Colour | None = None,
        align: str = "left",
    ) -> float:
        """Print one line with its top at y; returns the x where it ends."""
        font = text.font(path or self.look.body, round((size or self.look.size) * self.unit))
        length = font.getlength(line) / self.unit
        x -= {"left": 0.0, "centre": length / 2, "right": length}[align]
        self.pen.text((x * self.unit, y * self.unit), line, fill=ink or self.look.ink, font=font)
        return x + length

    def rule(
        self,
        x0: float,
        y0: float,
        x1: float,
        y1: float,
        width: float = 0.8,
        ink: Colour | None = None,
    ) -> None:
        u = self.unit
        self.pen.line(
            (x0 * u, y0 * u, x1 * u, y1 * u),
            fill=ink or self.look.ink,
            width=max(1, round(width * u)),
        )

    def box(
        self,
        x0: float,
        y0: float,
        x1: float,
        y1: float,
        fill: Colour | None = None,
        width: float = 0.8,
        ink: Colour | None = None,
    ) -> None:
        u = self.unit
        self.pen.rectangle(
            (x0 * u, y0 * u, x1 * u, y1 * u),
            fill=fill,
            outline=ink or self.look.ink,
            width=round(max(width * u, min(width, 1))),
        )

    def panel(
        self, x0: float, y0: float, x1: float, y1: float, fill: Colour | None,
        edge: Colour | None, radius: float,
    ) -> None:  # fmt: skip
        """A box with rounded corners."""
        u = self.unit
        self.pen.rounded_rectangle(
            (x0 * u, y0 * u, x1 * u, y1 * u),
            radius=max(0, min(radius, (x1 - x0) / 2, (y1 - y0) / 2)) * u,
            fill=fill,
            outline=edge,
            width=max(1, round(u)),
        )

    def paragraph(
        self,
        y: float,
        lines: int,
        left: float = 0,
        right: float = 0,
        indent: float = 0,
        size: float = 0,
    ) -> float:
        """Running text from y down, the last line short; returns the y below it."""
        left, right, size = left or self.left, right or self.right, size or self.look.size
        font = text.font(self.look.body, round(size * self.unit))
        step = size * self.look.leading
        spell = text.sentence(self.look.language, 40, self.rng)
        words_a_line = max(
            2, int((right - left) * self.unit / max(1.0, font.getlength(spell)) * 40)
        )
        for i in range(lines):
            count = words_a_line if i < lines - 1 else int(self.rng.integers(1, words_a_line + 1))
            line = text.sentence(self.look.language, count, self.rng)
            while font.getlength(line) > (right - left) * self.unit and " " in line:
                line = line.rsplit(" ", 1)[0]
            self.write(left + (indent if i == 0 else 0), y, line, size)
            y += step
        return y


def press(
    pixels: np.ndarray,
    ink: np.ndarray,
    colour: Colour,
    corner: tuple[float, float],
    strength: float = 1.0,
) -> np.ndarray:
    """Darken (H, W, 3) uint8 `pixels` in place where the (h, w) coverage `ink` lies at `corner`.

    Ink multiplies with what is below, as on paper. Returns the (n, 2) x, y of the marked pixels.
    """
    x, y = round(corner[0]), round(corner[1])
    top, left = max(0, -y), max(0, -x)
    bottom, right = min(ink.shape[0], pixels.shape[0] - y), min(ink.shape[1], pixels.shape[1] - x)
    if bottom <= top or right <= left:
        return np.empty((0, 2), np.float32)
    part = ink[top:bottom, left:right] * strength
    window = pixels[y + top : y + bottom, x + left : x + right]
    absorbed = 1 - np.asarray(colour, np.float32) / 255
    window[:] = (window * (1 - part[..., None] * absorbed) + 0.5).astype(np.uint8)
    rows, cols = np.nonzero(part > 0.2 * strength)
    return np.stack([cols + x + left, rows + y + top], axis=1).astype(np.float32)


def hand_text(line: str, path: str, size: int, rng: np.random.Generator) -> np.ndarray:
    """(h, w) float32 coverage of a line in a handwriting font, its baseline a little wavy."""
    font = text.font(path, size)
    face = Image.new("L", (int(font.getlength(line)) + size, int(size * 1.6)), 0)
    ImageDraw.Draw(face).text((size // 3, size // 5), line, fill=255, font=font)
    ink = np.asarray(face)
    rows, cols = np.mgrid[0 : ink.shape[0], 0 : ink.shape[1]].astype(np.float32)
    wave = (
        np.sin(cols / (size * rng.uniform(1.5, 4)) + rng.uniform(0, 6))
        * size
        * rng.uniform(0, 0.09)
    )
    return cv2.remap(ink, cols, rows + wave, cv2.INTER_LINEAR).astype(np.float32) / 255
