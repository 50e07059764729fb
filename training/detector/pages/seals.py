"""Faces of stamps that are round, square or a picture; 255 where they ink."""

import cv2
import numpy as np
from PIL import Image, ImageDraw

from training.detector.pages import art, text
from training.detector.pages.designs import Design

STAR = "matplotlib/mpl-data/fonts/ttf/DejaVuSans.ttf"


class Dial:
    """A round face `width` px wide under construction: rings of text in polar form."""

    def __init__(self, width: int):
        self.width = width
        self.around = int(np.pi * width)
        self.strip = Image.new("L", (self.around, width // 2), 0)

    def ring(
        self,
        line: str,
        path: str,
        outer: float,
        depth: int,
        middle: float,
        span: float,
        upright: bool,
    ) -> None:
        """Bend `line` along the inside of the radius `outer` px, `depth` px high: about `middle` of
        the turn (0 right, clockwise), over at most `span` of it, its feet inwards if `upright`.
        """
        font = text.font(path, max(6, int(depth * 0.8)))
        natural = font.getlength(line) * (self.width / 2) / max(outer - depth / 2, 1)
        length = max(1, int(min(natural * 1.15, self.around * span)))
        word = Image.new("L", (max(1, int(font.getlength(line))), depth), 0)
        _, top, _, foot = font.getbbox("H")
        ImageDraw.Draw(word).text((0, (depth - top - foot) / 2), line, fill=255, font=font)
        word = word.resize((length, depth)).transpose(
            Image.Transpose.FLIP_TOP_BOTTOM if upright else Image.Transpose.FLIP_LEFT_RIGHT
        )
        x = int(middle * self.around - length / 2) % self.around
        for start in (x, x - self.around):  # across the seam
            self.strip.paste(255, (start, int(outer - depth)), word)

    def bent(self) -> np.ndarray:
        """(width, width) uint8."""
        polar = np.ascontiguousarray(np.asarray(self.strip).T)  # rows angle, columns radius
        middle = (self.width / 2, self.width / 2)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP | cv2.WARP_FILL_OUTLIERS
        return cv2.warpPolar(polar, (self.width, self.width), middle, self.width / 2, flags)


def seal(stamp: Design, width: int, rng: np.random.Generator) -> np.ndarray:
    """A round or oval stamp's face, (h, width) uint8."""
    face = Image.new("L", (width, width), 0)
    pen, dial = ImageDraw.Draw(face), Dial(width)
    radius = _rim(pen, stamp, width)
    if stamp.centre == "word":  # a word or two in a ring, no more
        lines = stamp.lines[-1].split()
        size = text.fitting(lines, stamp.fonts[0], radius * 1.5, radius * 0.6)
        _stack(pen, lines, stamp.fonts[0], size, width)
    else:
        radius = _around(dial, stamp, radius)
        if stamp.kind == "rings" or stamp.inner_ring:
            _circle(pen, width, radius, max(1, width // 140))
        _middle(face, stamp, radius, rng)
    plate: np.ndarray = np.maximum(dial.bent(), np.asarray(face))
    if stamp.kind == "oval":
        tall = int(width * stamp.squash)
        plate = cv2.resize(plate, (width, tall), interpolation=cv2.INTER_AREA)
    return plate


def _circle(pen: ImageDraw.ImageDraw, width: int, radius: float, stroke: int) -> None:
    low, high = width / 2 - radius, width / 2 + radius
    pen.ellipse((low, low, high, high), outline=255, width=stroke)


def _rim(pen: ImageDraw.ImageDraw, stamp: Design, width: int) -> float:
    """A rim of one ring, two, or dashes; returns the radius within it."""
    line, radius = max(2, width // 70), width / 2 - 2
    if stamp.frame == "dashed":
        turn = 360 / stamp.dashes
        for i in range(stamp.dashes):
            pen.arc((1, 1, width - 2, width - 2), i * turn, (i + 0.6) * turn, 255, line * 2)
    else:
        _circle(pen, width, radius, line * (2 if stamp.frame == "single" else 1))
    radius -= line * 2.5
    if stamp.frame == "double":
        _circle(pen, width, radius, max(1, line // 2))
        radius -= line
    return radius


def _around(dial: Dial, stamp: Design, radius: float) -> float:
    """The words in a ring: two rings all around, or one above and below between two stars. Returns
    the radius within them.
    """
    (first, second), (upper, lower) = stamp.fonts, stamp.lines[:2]
    if stamp.kind == "rings":
        depth = int(dial.width * 0.08)
        dial.ring(upper, first, radius, depth, 0.75, 0.97, True)
        dial.ring(lower, second, radius - depth * 1.1, int(depth * 0.85), 0.75, 0.95, True)
        return radius - depth * 2.1
    depth = dial.width // 8
    dial.ring(upper, first, radius, depth, 0.75, 0.52, True)
    dial.ring(lower, first, radius, depth, 0.25, 0.36, False)
    for share in (0.0, 0.5):
        dial.ring(stamp.divider, STAR, radius, depth, share, 0.06, True)
    return radius - depth * 1.1


def _middle(face: Image.Image, stamp: Design, radius: float, rng: np.random.Generator) -> None:
    """What stands within the ring: an emblem, or lines, in a plate as commissioners have or not."""
    width = face.width
    if stamp.centre == "emblem":
        side = int(radius * 1.35)
        sign = art.emblem(stamp.emblem, side, stamp.design_id)
        face.paste(255, ((width - side) // 2, (width - side) // 2), Image.fromarray(sign))
        return
    pen, line = ImageDraw.Draw(face), max(2, width // 70)
    lines = [text.date(rng) if part.startswith("Exp.") else part for part in stamp.lines[2:]]
    tallest = radius * (0.3 if len(lines) > 2 else 0.42)
    size = text.fitting(lines, stamp.fonts[1], radius * 1.55, tallest)
    _stack(pen, lines, stamp.fonts[1], size, width)
    if stamp.centre == "plate":
        x, y = radius * 0.86, size * 0.65 * len(lines) + line * 2
        box = (width / 2 - x, width / 2 - y, width / 2 + x, width / 2 + y)
        pen.rectangle(box, outline=255, width=line)


def _stack(pen: ImageDraw.ImageDraw, lines: list[str], path: str, size: int, width: int) -> None:
    """Lines of one size, centred on a face `width` px wide and high."""
    font, step = text.font(path, size), size * 1.2
    for i, line in enumerate(lines):
        y = width / 2 + (i - len(lines) / 2) * step
        pen.text(((width - font.getlength(line)) / 2, y), line, fill=255, font=font)


def square(stamp: Design, width: int) -> np.ndarray:
    """A square name seal's face, (w, w) uint8: two columns of characters, cut out or raised."""
    face = Image.new("L", (width, width), 0)
    pen = ImageDraw.Draw(face)
    pen.rectangle(
        (0, 0, width - 1, width - 1),
        fill=255 if stamp.cut_out else 0,
        outline=255,
        width=max(2, width // 18),
    )
    font = text.font(text.FONTS["chinese"][0], int(width * 0.4))
    for i, character in enumerate(stamp.lines[0][:4]):
        place = (width * (0.52 - 0.42 * (i // 2)), width * (0.02 + 0.43 * (i % 2)))
        pen.text(place, character, fill=0 if stamp.cut_out else 255, font=font)
    return np.asarray(face)


def picture(stamp: Design, width: int) -> np.ndarray:
    """A stamp that is a line drawing, with a word below it or not, (h, w) uint8."""
    sign = art.emblem(stamp.emblem, width, stamp.design_id)
    face = Image.new("L", (width, int(width * (1.2 if stamp.boxed else 1.0))), 0)
    face.paste(255, (0, 0), Image.fromarray(sign))
    if stamp.boxed:
        word = stamp.lines[-1][:16]
        size = text.fitting((word,), stamp.fonts[0], width * 0.95, width * 0.16)
        font = text.font(stamp.fonts[0], size)
        ImageDraw.Draw(face).text(
            ((width - font.getlength(word)) / 2, width), word, fill=255, font=font
        )
    return np.asarray(face)
