"""Faces of rectangular stamps; 255 where they ink."""

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw

from training.detector.pages import art, text
from training.detector.pages.designs import Design

LEADING = 1.22
LOGO = 0.24  # width of the logo box
CELL = 0.13  # height of a cell or a line to fill in, in shares of the width
FIRST, SECOND, HAND = range(3)  # layers: inks of the stamp, and what is filled in by hand


@dataclass(frozen=True)
class Row:
    """A printed line of a plate; "" leaves room."""

    line: str
    font: str
    px: int
    layer: int = FIRST


def plate(stamp: Design, width: int, rng: np.random.Generator) -> list[np.ndarray]:
    """The three layers, (h, width) uint8: first ink, second ink, entries by hand."""
    pad = max(3, width // 24)
    logo = int(width * LOGO) if stamp.logo else 0
    rows = _rows(stamp, width, width - 2 * pad - logo, rng)
    tall = sum(int(row.px * LEADING) for row in rows)
    fields, columns = _fields(stamp)
    lines = -(-len(fields) // columns)
    height = max(tall + lines * int(width * CELL) + 2 * pad, logo)
    layers = [Image.new("L", (width, height), 0) for _ in range(3)]
    pens = [ImageDraw.Draw(layer) for layer in layers]
    stroke = max(1, width // 110)

    y = pad + (height - tall - 2 * pad) // 2 if logo else pad
    for row in rows:
        font = text.font(row.font, row.px)
        x = pad + logo if logo else (width - font.getlength(row.line)) / 2
        pens[row.layer].text((x, y), row.line, fill=255, font=font)
        dater = stamp.kind == "date" and row is rows[1]
        if dater and stamp.blanks == 2 and stamp.frame != "none":  # a box round the date
            box = (pad * 2, y, width - pad * 2, y + int(row.px * LEADING))
            pens[FIRST].rectangle(box, outline=255, width=stroke)
        y += int(row.px * LEADING)
    if logo:
        _logo(layers[FIRST], stamp, pad, stroke)
    _fill(pens, stamp, (y, stroke, width), rng)
    for ring in range({"none": 0, "double": 2}.get(stamp.frame, 1)):
        inset = ring * max(3, width // 50)
        edge = (inset, inset, width - 1 - inset, height - 1 - inset)
        line = max(2, width // (70 + 60 * ring))
        pens[FIRST].rounded_rectangle(edge, stamp.corner * width, outline=255, width=line)
    return [np.asarray(layer) for layer in layers]


def _rows(stamp: Design, width: int, inner: int, rng: np.random.Generator) -> list[Row]:
    """The lines from top to bottom; those of a block are of one size, at most `inner` px wide."""
    head, *rest = stamp.lines
    bold, plain = stamp.fonts

    def block(lines: list[str], font: str, tallest: float, layer: int = FIRST) -> list[Row]:
        lines = [line for line in lines if line]
        px = text.fitting(lines, font, inner, width * tallest)
        return [Row(line, font, px, layer) for line in lines]

    if stamp.kind == "dateline":
        return block([text.stamp_date(rng)], bold, 0.16)
    if stamp.kind == "date":
        layer = SECOND if stamp.second_ink != stamp.ink else FIRST
        date = block([text.stamp_date(rng)], bold, 0.13, layer)
        return block([head], bold, 0.15) + date + block(rest, plain, 0.1)
    if stamp.kind == "word":
        return block([head, *rest], bold, 0.3)
    if stamp.kind == "certified":
        room = Row("", plain, int(width * rng.uniform(0.12, 0.22)))
        return [*block([head], bold, 0.09), room, *block(rest, plain, 0.075)]
    if stamp.kind == "registry":
        return block([head], bold, 0.12)
    if stamp.kind == "framed":
        return block([head], bold, 0.12) + block(rest, plain, 0.075)
    even = block([head, *rest], plain, 0.075 if len(rest) > 1 else 0.1)
    wide = text.font(bold, even[0].px).getlength(head)
    return [replace(even[0], font=bold), *even[1:]] if wide <= inner else even


def _fields(stamp: Design) -> tuple[list[str], int]:
    """The labels of cells or lines to fill in, and in how many columns."""
    if stamp.kind == "registry":
        return list(stamp.lines[1:]), 2
    return ["By", "Date"][: stamp.blanks if stamp.kind == "framed" else 0], 1


def _fill(
    pens: list[ImageDraw.ImageDraw], stamp: Design, place: tuple[int, int, int],
    rng: np.random.Generator,
) -> None:  # fmt: skip
    """Cells or lines from `place` (y, stroke, width) on, most of them filled in by a hand."""
    (fields, columns), (y, stroke, width) = _fields(stamp), place
    tall, hand = int(width * CELL), text.pick_font("hand", rng)
    small = text.font(stamp.fonts[1], max(5, int(width * 0.04)))
    for i, label in enumerate(fields):
        row, column = divmod(i, columns)
        x, top = column * width // columns, y + row * tall
        wide = width - x if i + 1 == len(fields) else width // columns
        if columns > 1:
            pens[FIRST].rectangle((x, top, x + wide, top + tall), outline=255, width=stroke)
        else:
            foot = top + tall * 0.8
            pens[FIRST].line((width * 0.2, foot, width * 0.95, foot), fill=255, width=stroke)
            x = int(width * 0.05)
        pens[FIRST].text((x + stroke * 2, top + stroke), label, fill=255, font=small)
        if rng.random() < 0.65:
            entry = text.short_date(rng) if i % 2 else text.number(int(rng.integers(2, 6)), rng)
            font = text.font(hand, int(tall * rng.uniform(0.55, 0.9)))
            spot = (x + wide * rng.uniform(0.2, 0.4), top + tall * rng.uniform(0, 0.3))
            pens[HAND].text(spot, entry, fill=255, font=font)


def _logo(face: Image.Image, stamp: Design, pad: int, stroke: int) -> None:
    """An emblem at the left, in a box or not."""
    side = min(int(face.width * LOGO) - pad, face.height - 2 * pad)
    top = (face.height - side) // 2
    face.paste(255, (pad, top), Image.fromarray(art.emblem(stamp.emblem, side, stamp.design_id)))
    if stamp.boxed:
        box = (pad, top, pad + side, top + side)
        ImageDraw.Draw(face).rectangle(box, outline=255, width=stroke)
