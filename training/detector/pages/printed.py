"""What is printed and looks like a mark, or hides one: logos, crests, badges, panels, pictures,
codes, fine lines of certificates and of revenue paper.
"""

from itertools import pairwise

import cv2
import numpy as np
from PIL import Image, ImageDraw

from training.detector.pages import art, seals, text
from training.detector.pages.sheet import Colour, Sheet
from training.detector.pages.traits import weighted
from training.detector.scan import noise

WHITE = (255, 255, 255)
STRAYS = {
    "photograph": 0.2, "code": 0.2, "badge": 0.13, "emblem": 0.13, "address": 0.14, "number": 0.14,
    "ring": 0.06, "monogram": 0.15, "diagram": 0.1, "cells": 0.05,
}  # fmt: skip
BOLD = text.FONTS["bold"][0]


def colour(rng: np.random.Generator, light: bool = False) -> Colour:
    """A colour of print: strong, or so `light` that black text reads on it."""
    hue, strong = int(rng.integers(180)), rng.uniform(120, 255)
    low, high = (225, 255) if light else (90, 230)
    hsv = np.array([[[hue, strong * 0.25 if light else strong, rng.uniform(low, high)]]], np.uint8)
    red, green, blue = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0].tolist()
    return red, green, blue


def paler(ink: Colour, share: float) -> Colour:
    """What `share` of an ink leaves on white paper."""
    red, green, blue = (int(255 - (255 - part) * share) for part in ink)
    return red, green, blue


def sign(sheet: Sheet, kind: str, x: float, y: float, side: float, ink: Colour, seed: int) -> None:
    """An emblem of `art` in `ink`, its corner at x, y."""
    face = art.emblem(kind, max(8, round(side * sheet.unit)), seed)
    corner = (round(x * sheet.unit), round(y * sheet.unit))
    sheet.image.paste(ink, corner, Image.fromarray(face))


def logo(sheet: Sheet, x: float, y: float, size: float, rng: np.random.Generator) -> None:
    """A company's sign about `size` high with its corner at x, y; the same on all its pages."""
    u, ink, house = sheet.unit, sheet.look.accent, sheet.look
    kind = house.logo
    second = house.second
    if kind == "block":  # letters cut out of a filled block
        sheet.panel(x, y, x + size * 1.1, y + size, ink, None, size * house.roundness)
        initials = "".join(w[0] for w in house.company.split()[:2])
        sheet.write(x + size * 0.55, y + size * 0.15, initials, size * 0.6, BOLD, WHITE, "centre")
    elif kind == "rings":
        for r, shade in ((0.5, ink), (0.38, second), (0.2, ink)):
            c = (x + size / 2, y + size / 2)
            edge = (c[0] - r * size, c[1] - r * size, c[0] + r * size, c[1] + r * size)
            width = max(1, round(size * u * 0.06))
            sheet.pen.ellipse([e * u for e in edge], outline=shade, width=width)
    elif kind == "triangles":
        for i in range(3):
            left = x + i * size * 0.35
            points = [(left, y + size), (left + size * 0.3, y), (left + size * 0.6, y + size)]
            sheet.pen.polygon([(p * u, q * u) for p, q in points], fill=(ink, second)[i % 2])
    elif kind == "stripes":
        for i in range(4):
            right, top = x + size * (1.6 - i * 0.2), y + i * size * 0.27
            sheet.box(x, top, right, top + size * 0.15, fill=(ink, second)[i % 2], ink=ink)
    elif kind == "word":  # a name with a sweep below it
        path = text.FONTS["bold"][len(house.company) % len(text.FONTS["bold"])]
        end = sheet.write(x, y, house.company.split()[0], size * 0.7, path, ink)
        edge = (x * u, (y + size * 0.4) * u, end * u, (y + size * 1.15) * u)
        sheet.pen.arc(edge, 20, 160, fill=second, width=max(1, round(size * 0.06 * u)))
    elif kind == "medal":  # a round badge with a name around it: a seal, were it not print
        face = ring_badge(house.company.upper(), max(24, round(size * 1.3 * u)), house.emblem, rng)
        sheet.image.paste(ink, (round(x * u), round(y * u)), Image.fromarray(face))
    elif kind == "picture":
        photograph(sheet, x, y, size * 1.5, size, rng, seed=len(house.company))
    else:
        sign(sheet, house.emblem, x, y, size, ink, len(house.company))


def ring_badge(line: str, side: int, emblem: str, rng: np.random.Generator) -> np.ndarray:
    """(side, side) uint8: a round sign with a line around an emblem."""
    dial = seals.Dial(side)
    dial.ring(line, BOLD, side / 2 - 2, max(7, side // 7), 0.75, 0.9, True)
    face = np.array(dial.bent())
    cv2.circle(face, (side // 2, side // 2), side // 2 - 1, (255,), max(1, side // 50))
    inner = int(side * 0.52)
    corner = (side - inner) // 2
    part = face[corner : corner + inner, corner : corner + inner]
    np.maximum(part, art.emblem(emblem, inner, len(line)), out=part)
    return face


def crest(sheet: Sheet, x: float, y: float, size: float, rng: np.random.Generator) -> None:
    """A coat of arms over a letterhead or a certificate."""
    kind = ("crest", "figure", "eagle", "shield")[sheet.look.seed % 4]
    ink = sheet.look.accent if rng.random() < 0.8 else (190, 150, 60)
    sign(sheet, kind, x, y, size, ink, sheet.look.seed)


def badge(sheet: Sheet, x: float, y: float, size: float, rng: np.random.Generator) -> None:
    """A quality badge as printed in footers, its middle at x, y: a toothed disc, a rounded plate or
    a card with a word.
    """
    u, ink = sheet.unit, sheet.look.accent if rng.random() < 0.5 else colour(rng)
    word = str(
        rng.choice(
            ("ISO 9001", "ISO", "UKAS", "CERTIFIED", "SINCE 1902", "No. 1", "VISA", "BIO", "TÜV")
        )
    )
    filled = rng.random() < 0.5
    if rng.random() < 0.5:
        angles = np.linspace(0, 2 * np.pi, 49)
        radii = size / 2 * (1 + 0.05 * (np.arange(49) % 2))
        points = zip(x + radii * np.cos(angles), y + radii * np.sin(angles), strict=True)
        sheet.pen.polygon(
            [(p * u, q * u) for p, q in points], fill=ink if filled else None, outline=ink
        )
    else:
        edge = (x - size * 0.6, y - size * 0.35, x + size * 0.6, y + size * 0.35)
        sheet.panel(*edge, ink if filled else None, ink, size * 0.12)
    shade = WHITE if filled else ink
    sheet.write(x, y - size * 0.12, word, size * 0.22, BOLD, shade, "centre")


def flourish(sheet: Sheet, x: float, y: float, size: float, turns: float) -> None:
    """A printed spiral with leaves, as in a certificate's corners; opens towards x + size, y."""
    u, ink = sheet.unit, sheet.look.accent
    angle = np.linspace(0, turns * 2 * np.pi, 60)
    radius = abs(size) * 0.5 * (1 - angle / angle[-1] * 0.85)
    xs = x + size * 0.5 + np.sign(size) * radius * -np.cos(angle)
    ys = y + radius * np.sin(angle)
    points = list(zip((xs * u).tolist(), (ys * u).tolist(), strict=True))
    sheet.pen.line(points, fill=ink, width=max(1, round(abs(size) * u * 0.05)))
    for px, py in points[5:40:7]:
        leaf = abs(size) * u * 0.09
        sheet.pen.ellipse((px - leaf, py - leaf / 2, px + leaf, py + leaf / 2), fill=ink)


def banner(sheet: Sheet, y: float, line: str) -> None:
    """A heading in white on a filled ribbon across the page, its ends cut to swallowtails."""
    u, house = sheet.unit, sheet.look
    left, right, tall = sheet.left * 0.8, sheet.width - sheet.left * 0.8, 52.0
    edge = [(left, y), (right, y), (right - 14, y + tall / 2), (right, y + tall)]
    edge += [(left, y + tall), (left + 14, y + tall / 2)]
    sheet.pen.polygon([(px * u, py * u) for px, py in edge], fill=house.accent)
    sheet.write(sheet.width / 2, y + 8, line, 30, house.head, WHITE, "centre")


def square_code(sheet: Sheet, x: float, y: float, size: float, rng: np.random.Generator) -> None:
    """The 25 to 45 modules of a QR code, rarely in colour, sometimes with a logo in its middle."""
    modules = int(rng.choice((25, 29, 33, 37, 41, 45)))
    cells = (rng.random((modules, modules)) < 0.5).astype(np.uint8)
    far = modules - 7
    for row, column in ((0, 0), (far, 0), (0, far)):
        cells[max(0, row - 1) : row + 8, max(0, column - 1) : column + 8] = 0
        cells[row : row + 7, column : column + 7] = 1
        cells[row + 1 : row + 6, column + 1 : column + 6] = 0
        cells[row + 2 : row + 5, column + 2 : column + 5] = 1
    eye = modules - 9
    cells[eye : eye + 5, eye : eye + 5] = 1
    cells[eye + 1 : eye + 4, eye + 1 : eye + 4] = 0
    cells[eye + 2, eye + 2] = 1
    if rng.random() < 0.15:
        middle = modules // 2
        cells[middle - 3 : middle + 4, middle - 3 : middle + 4] = 0
    side = max(modules, round(size * sheet.unit))
    face = cv2.resize(cells * 255, (side, side), interpolation=cv2.INTER_NEAREST)
    ink = (0, 0, 0) if rng.random() < 0.85 else colour(rng)
    sheet.image.paste(ink, (round(x * sheet.unit), round(y * sheet.unit)), Image.fromarray(face))


def barcode(sheet: Sheet, x: float, y: float, size: float, rng: np.random.Generator) -> None:
    """Bars over a number, or a QR code; about `size` high."""
    if rng.random() < 0.4:
        square_code(sheet, x, y, size * 1.2, rng)
        return
    u, end = sheet.unit, x
    while end < x + size * 2.2:
        bar = rng.choice((0.8, 1.6, 2.4))
        sheet.pen.rectangle((end * u, y * u, (end + bar) * u, (y + size * 0.5) * u), fill=(0, 0, 0))
        end += bar + rng.choice((0.9, 1.8, 2.6))
    sheet.write(x + size * 0.4, y + size * 0.52, text.number(11, rng), 9)


def photograph(
    sheet: Sheet, x: float, y: float, width: float, height: float, rng: np.random.Generator,
    seed: int | None = None,
) -> None:  # fmt: skip
    """A picture in continuous tone or in the dots of a coarse raster: a view, a face, a thing."""
    u = sheet.unit
    size = (max(8, round(height * u)), max(8, round(width * u)))
    look = rng if seed is None else np.random.default_rng(seed)
    base, second = (np.array(colour(look), np.float32) for _ in range(2))
    ramp = noise(size, max(size) / look.uniform(1.5, 6), look)[..., None]
    image = base * ramp + second * (1 - ramp)
    canvas = np.ascontiguousarray(image, np.float32)
    if look.random() < 0.5:  # head and shoulders
        middle, skin = (size[1] // 2, int(size[0] * 0.4)), look.uniform(90, 230)
        shade = (float(skin), float(skin * 0.8), float(skin * 0.65))
        cv2.ellipse(
            canvas,
            (middle[0], int(size[0] * 1.05)),
            (int(size[1] * 0.4), int(size[0] * 0.4)),
            0,
            0,
            360,
            tuple(float(v) for v in second * 0.5),
            -1,
        )
        cv2.ellipse(canvas, middle, (int(size[1] * 0.2), int(size[0] * 0.24)), 0, 0, 360, shade, -1)
    else:
        for _ in range(int(look.integers(2, 7))):
            spot = (int(look.integers(size[1])), int(look.integers(size[0])))
            radius = int(look.uniform(0.08, 0.35) * min(size))
            cv2.circle(canvas, spot, radius, tuple(float(v) for v in look.uniform(20, 250, 3)), -1)
    canvas *= 0.75 + 0.5 * noise(size, 4, look)[..., None]
    if rng.random() < 0.35:  # in black and white
        canvas = np.repeat(canvas.mean(axis=2, keepdims=True), 3, axis=2)
    if rng.random() < 0.25:
        cell = max(3.0, 3.2 * u)
        rows, columns = np.mgrid[0 : size[0], 0 : size[1]].astype(np.float32) * (2 * np.pi / cell)
        dots = (np.sin(rows) * np.sin(columns) + 1) * 127
        canvas = np.where(canvas.mean(axis=2) > dots, 255, 20)[..., None].repeat(3, axis=2)
    tile = Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8))
    mask = None
    if look.random() < 0.25:
        mask = Image.new("L", tile.size, 0)
        ImageDraw.Draw(mask).ellipse((0, 0, tile.width - 1, tile.height - 1), fill=255)
    sheet.image.paste(tile, (round(x * u), round(y * u)), mask)


def panel_of_lines(
    sheet: Sheet, x: float, y: float, width: float, lines: list[str], rng: np.random.Generator,
    heading: str = "",
) -> float:  # fmt: skip
    """Lines in a box as the house draws boxes: rounded or square, filled or outlined, its heading
    in a bar. Returns the y below it.
    """
    house, size = sheet.look, sheet.look.size * 0.85
    step = size * 1.3
    tall = step * (len(lines) + bool(heading)) + 12
    fill = house.tint if house.panels in ("filled", "both") else None
    edge = house.accent if house.panels in ("outlined", "both", "bar") else None
    if edge or fill:
        sheet.panel(x, y, x + width, y + tall, fill, edge, house.roundness * 20)
    top = y + 6
    if heading:
        if house.panels == "bar":
            sheet.panel(
                x, y, x + width, y + step + 4, house.accent, house.accent, house.roundness * 12
            )
        sheet.write(
            x + 6,
            top - 3,
            heading,
            size,
            house.head,
            WHITE if house.panels == "bar" else house.accent,
        )
        top += step
    for line in lines:
        sheet.write(x + 6, top, line, size)
        top += step
    return y + tall


def contact_block(sheet: Sheet, x: float, y: float, rng: np.random.Generator) -> None:
    """A house's lines of contact in colour with a small sign before each, as footers have."""
    house = sheet.look
    lines = (
        text.address(rng),
        text.phone(rng),
        text.site(house.company, rng),
        text.tax_number(rng),
    )
    for i, line in enumerate(lines[: rng.integers(2, 5)]):
        top = y + i * house.size * 1.1
        edge = (x, top + 1, x + house.size * 0.8, top + house.size * 0.8)
        sheet.panel(*edge, house.second, None, house.size * 0.4 * (house.seed % 2))
        sheet.write(x + house.size * 1.2, top, line, house.size * 0.75, ink=house.accent)


def fine_lines(
    sheet: Sheet, box: tuple[float, float, float, float], ink: Colour, rng: np.random.Generator
) -> None:
    """Woven curves as banknotes have, within x0, y0, x1, y1."""
    u = sheet.unit
    x0, y0, x1, y1 = box
    t = np.linspace(0, 1, 160)
    waves, depth = rng.uniform(2, 14), rng.uniform(0.2, 0.5)
    for phase in np.linspace(0, 2 * np.pi, int(rng.integers(4, 12)), endpoint=False):
        swing = (
            depth * np.sin(waves * 2 * np.pi * t + phase) * np.sin(np.pi * t * rng.integers(1, 4))
        )
        ys = (y0 + (0.5 + swing) * (y1 - y0)) * u
        xs = (x0 + t * (x1 - x0)) * u
        sheet.pen.line(list(zip(xs.tolist(), ys.tolist(), strict=True)), fill=ink, width=1)


def rosette(
    sheet: Sheet, x: float, y: float, radius: float, ink: Colour, rng: np.random.Generator
) -> None:
    """A round woven ornament, its middle at x, y."""
    u = sheet.unit
    t = np.linspace(0, 2 * np.pi, 240)
    lobes = int(rng.integers(5, 16))
    for share in np.linspace(0.4, 1, int(rng.integers(4, 9))):
        r = radius * share * (1 + 0.12 * np.sin(lobes * t + share * 9))
        points = zip(
            ((x + r * np.cos(t)) * u).tolist(), ((y + r * np.sin(t)) * u).tolist(), strict=True
        )
        sheet.pen.line(list(points), fill=ink, width=1)


def watermark(sheet: Sheet, rng: np.random.Generator) -> None:
    """A large pale emblem, or a pale word all over, below the text to come."""
    u, pale = sheet.unit, paler(sheet.look.accent, float(rng.uniform(0.08, 0.25)))
    if rng.random() < 0.6:
        side = float(rng.uniform(250, 480))
        x, y = (sheet.width - side) / 2, float(rng.uniform(250, 500))
        sign(sheet, sheet.look.emblem, x, y, side, pale, sheet.look.seed)
        return
    font = text.font(sheet.look.body, max(6, round(9 * u)))
    line = f"{sheet.look.company.lower()} " * 12
    for row in range(0, sheet.image.height, max(9, round(16 * u))):
        sheet.pen.text((-(row % 97), row), line, fill=pale, font=font)


def revenue_paper(sheet: Sheet, rng: np.random.Generator) -> float:
    """The head of paper that a duty is paid on: woven print, arms, a sum. Returns the y below."""
    ink = sheet.look.accent if rng.random() < 0.3 else colour(rng)
    light = paler(ink, 0.35)
    tall = float(rng.uniform(200, 330))
    left, right = sheet.left * 0.5, sheet.width - sheet.left * 0.5
    sheet.box(
        left,
        20,
        right,
        20 + tall,
        fill=paler(ink, 0.1),
        width=2,
        ink=ink,
    )
    for _ in range(3):
        fine_lines(sheet, (left, 20, right, 20 + tall), light, rng)
    value = str(rng.choice((10, 20, 50, 100, 500, 1000)))
    for x in (left + 75, right - 75):
        rosette(sheet, x, 20 + tall * 0.5, 70, ink, rng)
        sheet.write(x, 20 + tall * 0.5 - 18, value, 32, BOLD, ink, "centre")
    middle = sheet.width / 2
    sign(
        sheet,
        ("crest", "figure", "eagle", "hall")[sheet.look.seed % 4],
        middle - 45,
        30,
        90,
        ink,
        sheet.look.seed,
    )
    words = ("INDIA NON JUDICIAL", "STAMP DUTY", "REVENUE", "HAKSEN KEWANGAN", "TIMBRE FISCAL")
    sheet.write(middle, 20 + tall - 46, str(rng.choice(words)), 22, BOLD, ink, "centre")
    sheet.write(
        left + 20,
        30 + tall,
        f"{text.number(2, rng)} AA {text.number(6, rng)}",
        14,
        BOLD,
        (190, 40, 40),
    )
    return 20 + tall + float(rng.uniform(20, 60))


def adhesive_stamps(
    sheet: Sheet, x: float, y: float, rng: np.random.Generator
) -> list[tuple[float, float]]:
    """One to four revenue stamps stuck side by side; returns their middles."""
    u, ink, word = (
        sheet.unit,
        colour(rng),
        str(rng.choice(("NOTARIAL", "REVENUE", "COURT FEE", "HASIL"))),
    )
    wide, tall = float(rng.uniform(45, 70)), float(rng.uniform(60, 85))
    middles = []
    for i in range(int(rng.integers(1, 5))):
        left, top = x + i * wide * 1.02, y + float(rng.normal(0, 2))
        pale = paler(ink, 0.3)
        sheet.box(left, top, left + wide, top + tall, fill=pale, width=0.5, ink=pale)
        hole = wide / 22
        for k in range(12):
            for hx, hy in (
                (left + k * wide / 11, top),
                (left + k * wide / 11, top + tall),
                (left, top + k * tall / 11),
                (left + wide, top + k * tall / 11),
            ):
                sheet.pen.ellipse(
                    [v * u for v in (hx - hole, hy - hole, hx + hole, hy + hole)],
                    fill=sheet.look.paper,
                )
        sheet.box(
            left + wide * 0.1,
            top + tall * 0.1,
            left + wide * 0.9,
            top + tall * 0.9,
            width=0.7,
            ink=ink,
        )
        sign(
            sheet,
            "figure",
            left + wide * 0.28,
            top + tall * 0.15,
            wide * 0.44,
            ink,
            sheet.look.seed,
        )
        sheet.write(left + wide / 2, top + tall * 0.6, word, wide * 0.13, BOLD, ink, "centre")
        middles.append((left + wide / 2, top + tall / 2))
    return middles


def monogram(sheet: Sheet, x: float, y: float, size: float, rng: np.random.Generator) -> None:
    """A sign of thin lines: an initial among its construction lines, or hatched bars at a slant."""
    ink = colour(rng) if rng.random() < 0.7 else sheet.look.ink
    thin = size * float(rng.uniform(0.01, 0.03))
    if rng.random() < 0.5:
        u, middle = sheet.unit, (x + size / 2, y + size / 2)
        sheet.box(x, y, x + size, y + size, None, thin, ink)
        for share in rng.uniform(0.25, 0.5, int(rng.integers(1, 4))):
            edge = [(m + side * share * size) * u for side in (-1, 1) for m in middle]
            sheet.pen.ellipse(edge, outline=ink, width=max(1, round(thin * u)))
        sheet.rule(x, y, x + size, y + size, thin, ink)
        sheet.rule(x, y + size, x + size, y, thin, ink)
        sheet.write(
            middle[0], y, sheet.look.company[0], size * 0.85, sheet.look.head, ink, "centre"
        )
        return
    step, lean = size * float(rng.uniform(0.06, 0.14)), size * float(rng.uniform(-0.5, 0.5))
    for way in (1, -1)[: rng.integers(1, 3)]:
        for number in range(int(rng.integers(3, 8))):
            at = x + number * step * way + size / 2
            sheet.rule(
                at, y, at + lean * way, y + size * 0.8, step * float(rng.uniform(0.2, 0.6)), ink
            )


def diagram(sheet: Sheet, x: float, y: float, size: float, rng: np.random.Generator) -> None:
    """A ring of strokes with letters at its corners, as structural formulas and circuits are."""
    count, turn = int(rng.integers(4, 9)), float(rng.uniform(0, 6))
    angles = turn + np.arange(count + 1) * 2 * np.pi / count
    across, down = size * float(rng.uniform(0.4, 0.9)), size * float(rng.uniform(0.3, 0.6))
    corners = np.stack([x + across * (1 + np.cos(angles)), y + down * (1 + np.sin(angles))], 1)
    for start, end in pairwise(corners):
        first, last = start + (end - start) * 0.18, end + (start - end) * 0.18
        for shift in (0, 2.5)[: 1 + (rng.random() < 0.3)]:
            sheet.rule(first[0] + shift, first[1] + shift, last[0] + shift, last[1] + shift)
        sign = str(rng.choice(("CH", "CO", "O", "N", "(CH )", "R", "C", "+", "A", "1")))
        sheet.write(start[0], start[1] - 5, sign, size * 0.11, "", None, "centre")


def cells(sheet: Sheet, x: float, y: float, size: float, rng: np.random.Generator) -> None:
    """Two to four boxed cells, one below the other, some filled: a date, a number."""
    wide, tall = size * float(rng.uniform(0.9, 2)), size * float(rng.uniform(0.15, 0.28))
    for row in range(int(rng.integers(2, 5))):
        filled = sheet.look.tint if rng.random() < 0.3 else None
        sheet.box(x, y + row * tall, x + wide, y + (row + 1) * tall, filled, 1.2)
        words = text.number(int(rng.integers(1, 9)), rng) if row % 2 else text.date(rng)
        font = sheet.look.head if rng.random() < 0.5 else BOLD
        sheet.write(x + wide / 2, y + (row + 0.2) * tall, words, tall * 0.6, font, None, "centre")


def strays(sheet: Sheet, rng: np.random.Generator) -> None:
    """One to three things that are printed somewhere on a page and are about as large as marks."""
    house = sheet.look
    for _ in range(int(rng.integers(1, 4))):
        size = float(rng.uniform(40, 110))
        x = float(rng.uniform(0.03, 0.75)) * sheet.width
        y = float(rng.choice((rng.uniform(20, 200), rng.uniform(200, 800), rng.uniform(780, 900))))
        kind = weighted(STRAYS, rng)
        if kind == "photograph":
            photograph(sheet, x, y, size * float(rng.uniform(0.7, 1.8)), size, rng)
        elif kind == "code":
            barcode(sheet, x, y, size * 0.8, rng)
        elif kind == "badge":
            badge(sheet, x + size / 2, y, size, rng)
        elif kind == "emblem":
            emblem = art.EMBLEMS[int(rng.integers(len(art.EMBLEMS)))]
            sign(sheet, emblem, x, y, size * 0.7, colour(rng), int(rng.integers(1000)))
        elif kind == "address":  # boxed, as in the window of an envelope
            lines = [text.company(rng), text.person(rng), text.address(rng), text.phone(rng)]
            panel_of_lines(sheet, x, y, 190, lines[: rng.integers(2, 5)], rng)
        elif kind == "number":
            edge = house.accent if rng.random() < 0.7 else None
            sheet.panel(
                x, y, x + size * 1.6, y + size * 0.4, house.tint, edge, house.roundness * 20
            )
            line = text.number(int(rng.integers(4, 9)), rng)
            sheet.write(x + size * 0.1, y + size * 0.07, line, size * 0.24, house.head)
        elif kind == "monogram":
            monogram(sheet, x, y, size, rng)
        elif kind == "diagram":
            diagram(sheet, x, y, size, rng)
        elif kind == "cells":
            cells(sheet, x, y, size, rng)
        else:  # a ring with a name around it
            side = max(24, round(size * sheet.unit))
            face = ring_badge(text.company(rng).upper(), side, house.emblem, rng)
            corner = (round(x * sheet.unit), round(y * sheet.unit))
            sheet.image.paste(house.accent, corner, Image.fromarray(face))


def highlights(pixels: np.ndarray, unit: float, rng: np.random.Generator) -> None:
    """Strokes of a text marker over (H, W, 3) uint8 `pixels`, in place."""
    height, width = pixels.shape[:2]
    ink = {"yellow": (255, 245, 90), "green": (160, 255, 130), "pink": (255, 160, 210)}
    shade = (
        np.array(ink[weighted({"yellow": 0.7, "green": 0.15, "pink": 0.15}, rng)], np.float32) / 255
    )
    for _ in range(int(rng.integers(1, 5))):
        y, x = int(rng.uniform(0.1, 0.9) * height), int(rng.uniform(0.1, 0.6) * width)
        part = pixels[y : y + int(15 * unit), x : x + int(rng.uniform(50, 250) * unit)]
        part[:] = (part * shade).astype(np.uint8)
