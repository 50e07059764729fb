"""What is neither signature nor stamp but looks like it: logos, crests, seals in print, barcodes,
Bates numbers, punch holes, and what a hand leaves beside signatures.
"""

import cv2
import numpy as np
from PIL import Image, ImageDraw

from training.detector.pages import handwriting, stamps, text
from training.detector.pages.sheet import Colour, Sheet, hand_text, press


def logo(sheet: Sheet, x: float, y: float, size: float, rng: np.random.Generator) -> None:
    """A printed company sign `size` high with its corner at x, y."""
    u, ink = sheet.unit, sheet.look.accent
    kind = int(rng.integers(5))
    if kind == 0:  # block with letters cut out
        sheet.box(x, y, x + size * 1.1, y + size, fill=ink, ink=ink)
        initials = "".join(w[0] for w in sheet.look.company.split()[:2])
        sheet.write(
            x + size * 0.55,
            y + size * 0.2,
            initials,
            size * 0.6,
            text.FONTS["bold"][0],
            (255, 255, 255),
            "centre",
        )
    elif kind == 1:  # rings
        for r in (0.5, 0.38, 0.2):
            c = (x + size / 2, y + size / 2)
            sheet.pen.ellipse(
                (
                    (c[0] - r * size) * u,
                    (c[1] - r * size) * u,
                    (c[0] + r * size) * u,
                    (c[1] + r * size) * u,
                ),
                outline=ink,
                width=max(1, round(size * u * 0.06)),
            )
    elif kind == 2:  # triangles
        for i in range(3):
            left = x + i * size * 0.35
            points = [(left, y + size), (left + size * 0.3, y), (left + size * 0.6, y + size)]
            sheet.pen.polygon(
                [(p * u, q * u) for p, q in points], fill=ink if i % 2 else None, outline=ink
            )
    elif kind == 3:  # stripes
        for i in range(4):
            sheet.box(
                x,
                y + i * size * 0.27,
                x + size * (1.6 - i * 0.2),
                y + i * size * 0.27 + size * 0.15,
                fill=ink,
                ink=ink,
            )
    else:
        crest(sheet, x, y, size, rng)


def crest(sheet: Sheet, x: float, y: float, size: float, rng: np.random.Generator) -> None:
    """A coat of arms: shield, charges, two supporters and a ribbon."""
    u, ink = sheet.unit, sheet.look.accent
    cx = x + size / 2

    def at(*points: tuple[float, float]) -> list[tuple[float, float]]:
        return [((cx + p * size) * u, (y + q * size) * u) for p, q in points]

    width = max(1, round(size * u * 0.03))
    sheet.pen.polygon(
        at((-0.22, 0.2), (0.22, 0.2), (0.22, 0.55), (0, 0.85), (-0.22, 0.55)),
        outline=ink,
        width=width,
    )
    for i in range(int(rng.integers(1, 4))):
        sheet.pen.line(at((-0.22, 0.3 + i * 0.12), (0.22, 0.3 + i * 0.1)), fill=ink, width=width)
    for side in (-1, 1):
        wiggle = [
            (side * (0.28 + 0.12 * np.sin(t * 3 + i)), 0.15 + 0.7 * t)
            for i in range(3)
            for t in np.linspace(0, 1, 9)
        ]
        sheet.pen.line(at(*wiggle), fill=ink, width=width)
    sheet.pen.polygon(
        at((-0.12, 0.18), (-0.15, 0.0), (0, 0.1), (0.15, 0.0), (0.12, 0.18)), fill=ink
    )
    sheet.pen.arc([*at((-0.45, 0.72))[0], *at((0.45, 1.0))[0]], 20, 160, fill=ink, width=width * 2)


def printed_seal(sheet: Sheet, x: float, y: float, size: float, rng: np.random.Generator) -> None:
    """A quality badge: toothed disc with a word, as printed in letter footers."""
    u, ink = sheet.unit, sheet.look.accent
    angles = np.linspace(0, 2 * np.pi, 49)
    radii = size / 2 * (1 + 0.05 * (np.arange(49) % 2))
    points = [
        ((x + r * np.cos(a)) * u, (y + r * np.sin(a)) * u)
        for a, r in zip(angles, radii, strict=True)
    ]
    filled = rng.random() < 0.5
    sheet.pen.polygon(points, fill=ink if filled else None, outline=ink)
    word = str(rng.choice(("ISO 9001", "ISO", "UKAS", "CERTIFIED", "SINCE 1902", "No. 1")))
    sheet.write(
        x,
        y - size * 0.1,
        word,
        size * 0.2,
        text.FONTS["bold"][0],
        (255, 255, 255) if filled else ink,
        "centre",
    )


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
    sheet.write(sheet.width / 2, y + 8, line, 30, house.head, (255, 255, 255), "centre")


def barcode(sheet: Sheet, x: float, y: float, size: float, rng: np.random.Generator) -> None:
    """Vertical bars, or the square modules of a two-dimensional code."""
    u = sheet.unit
    if rng.random() < 0.4:
        cells = rng.random((21, 21)) < 0.5
        for cx, cy in ((0, 0), (14, 0), (0, 14)):
            cells[cy : cy + 7, cx : cx + 7] = True
            cells[cy + 1 : cy + 6, cx + 1 : cx + 6] = False
            cells[cy + 2 : cy + 5, cx + 2 : cx + 5] = True
        for row, col in zip(*np.nonzero(cells), strict=True):
            step = size / 21
            sheet.pen.rectangle(
                (
                    (x + col * step) * u,
                    (y + row * step) * u,
                    (x + (col + 1) * step) * u,
                    (y + (row + 1) * step) * u,
                ),
                fill=(0, 0, 0),
            )
        return
    end = x
    while end < x + size * 2.2:
        bar = rng.choice((0.8, 1.6, 2.4))
        sheet.pen.rectangle((end * u, y * u, (end + bar) * u, (y + size * 0.5) * u), fill=(0, 0, 0))
        end += bar + rng.choice((0.9, 1.8, 2.6))
    sheet.write(x + size * 0.4, y + size * 0.52, text.number(11, rng), 9)


def bates_number(pixels: np.ndarray, unit: float, rng: np.random.Generator) -> None:
    """A page number of a court's file, upright at the right edge or flat at the foot."""
    path = (
        text.FONTS["bold"][int(rng.integers(3))]
        if rng.random() < 0.6
        else text.FONTS["typewriter"][1]
    )
    font = text.font(path, int(rng.uniform(13, 22) * unit))
    mark = text.number(int(rng.integers(8, 11)), rng)
    if rng.random() < 0.2:
        mark = f"TIMN {mark[:7]}"
    image = Image.new("L", (int(font.getlength(mark)) + 2, int(font.size * 1.3)), 0)
    ImageDraw.Draw(image).text((0, 0), mark, fill=255, font=font)
    ink = np.asarray(image).astype(np.float32) / 255
    height, width = pixels.shape[:2]
    if rng.random() < 0.7:
        ink = np.rot90(ink, int(rng.choice((1, 3))))
        corner = (width - ink.shape[1] - rng.uniform(4, 25) * unit, height * rng.uniform(0.6, 0.85))
    else:
        corner = (width * rng.uniform(0.1, 0.7), height - ink.shape[0] - rng.uniform(4, 25) * unit)
    press(pixels, stamps.rotated(np.ascontiguousarray(ink), rng.normal(0, 1)), (15, 15, 15), corner)


def punch_holes(pixels: np.ndarray, unit: float, rng: np.random.Generator) -> None:
    """Dark or shaded discs at the left or upper edge."""
    height, width = pixels.shape[:2]
    radius = max(2, int(rng.uniform(6, 11) * unit))
    shade = int(rng.choice((0, 15, 60, 200)))
    if rng.random() < 0.6:
        x = int(rng.uniform(12, 35) * unit)
        places = [
            (x, int(height * p))
            for p in ((0.13, 0.5, 0.87) if rng.random() < 0.6 else (0.35, 0.65))
        ]
    else:
        y = int(rng.uniform(12, 30) * unit)
        places = [(int(width * p), y) for p in (0.37, 0.63)]
    for place in places:
        cv2.circle(pixels, place, radius, (shade,) * 3, -1, cv2.LINE_AA)


def _ink(rng: np.random.Generator) -> Colour:
    return handwriting.INKS[str(rng.choice(list(handwriting.INKS)))]


def note(
    pixels: np.ndarray,
    unit: float,
    corner: tuple[float, float],
    hand: handwriting.Writer,
    rng: np.random.Generator,
) -> None:
    """Lines of ordinary handwriting, in strokes or in a handwriting font, sometimes at a tilt."""
    ink, strength = _ink(rng), rng.uniform(0.6, 1.0)
    tilt = rng.normal(0, 4) if rng.random() < 0.8 else rng.uniform(-40, 40)
    size = (rng.uniform(11, 24) if rng.random() < 0.75 else rng.uniform(24, 60)) * unit
    path = text.pick_font("hand", rng)
    by_font = rng.random() < 0.5
    for i in range(int(rng.choice((1, 1, 2, 3, 4)) if by_font else rng.integers(2, 6))):
        count = int(rng.integers(1, 6)) if by_font else int(rng.integers(2, 7))
        if by_font and rng.random() < 0.4:
            mark = jotted(jotting(rng), size, unit, hand, rng)
        elif by_font:
            mark = hand_text(text.sentence("en", count, rng), path, int(size), rng)
        else:
            plan = handwriting.words_plan(hand, count, rng)
            mark = handwriting.draw(
                hand, plan, (size * 3 * count, size * 1.5), max(0.8, hand.pen * unit * 0.8)
            )
        place = (corner[0] + rng.normal(0, 4) * unit, corner[1] + i * size * rng.uniform(1.1, 1.5))
        press(pixels, stamps.rotated(mark, tilt), ink, place, strength)


def jotted(
    line: str, size: float, unit: float, hand: handwriting.Writer, rng: np.random.Generator
) -> np.ndarray:
    """(h, w) float32 coverage of a line about `size` px high: in a hand's strokes or in a font.

    Words alone are in a font, since in strokes they are letters by chance, as in a signature.
    """
    if rng.random() < 0.4 or not any(sign.isdigit() for sign in line):
        return hand_text(line, text.pick_font("hand", rng), int(size), rng)
    plan = handwriting.line_plan(hand, line, rng)
    return handwriting.draw(hand, plan, (size * len(line), size), max(0.8, hand.pen * unit))


def jotting(rng: np.random.Generator) -> str:
    """A date, a number or a word as people write them beside other things."""
    return str(
        rng.choice(
            (
                text.date(rng),
                text.short_date(rng),
                f"# {text.number(5, rng)}",
                f"cc: {text.choice(text.SURNAMES, rng)}",
                f"{text.number(3, rng)}-{text.number(4, rng)}",
                f"{rng.integers(1, 999)}",
                "File", "file", "OK", "Copy", "see att.", "Rec'd", "Call!", "?", "N.B.", "Legal",
                "Hold", "Return", text.choice(text.SURNAMES, rng),
            )
        )
    )  # fmt: skip


def tick(
    pixels: np.ndarray,
    unit: float,
    corner: tuple[float, float],
    hand: handwriting.Writer,
    rng: np.random.Generator,
) -> None:
    """A tick, a cross, a ring around a word, a bracket, or a line through a word."""
    ink, size = _ink(rng), rng.uniform(9, 26) * unit
    kind = int(rng.integers(5))
    shapes: tuple[list, ...] = (
        [[[0, 0.5, 0], [0.35, 0, 0.1], [1.1, 1.2, 0.2]]],
        [[[0, 0, 0], [1, 1, 0.1]], [[0, 1, 0], [1, 0, 0.1]]],
        [[[0, 0.5, 0], [1.5, 1.1, -1.5], [3, 0.5, -1.5], [1.5, 0, -1.5], [0.1, 0.6, -1.5]]],
        [[[0.3, 3, 0], [0, 2.8, 0.5], [0.05, 0.2, 0.1], [0.35, 0, 0.5]]],
        [[[0, 0.1, 0], [4, 0.2, 0.05]], [[0, 0, 0], [4, 0.1, 0.05]], [[0, 0.25, 0], [4, 0.1, 0.1]]],
    )
    plan = [np.array(run, float) + rng.normal(0, 0.05, (len(run), 3)) for run in shapes[kind]]
    scale = (1.0, 1.0, 3.0, 0.4, 4.0)[kind]
    mark = handwriting.draw(
        hand, plan, (size * scale, size * (3 if kind == 3 else 1.2)), max(0.8, hand.pen * unit)
    )
    press(pixels, mark, ink, corner, rng.uniform(0.6, 1.0))


def crossed_out(
    pixels: np.ndarray,
    unit: float,
    corner: tuple[float, float],
    hand: handwriting.Writer,
    rng: np.random.Generator,
) -> None:
    """A scribble that hides a word, or a blacked-out bar."""
    if rng.random() < 0.4:
        x, y = int(corner[0]), int(corner[1])
        end = (x + int(rng.uniform(40, 200) * unit), y + int(rng.uniform(8, 20) * unit))
        cv2.rectangle(pixels, (x, y), end, (int(rng.integers(0, 40)),) * 3, -1)
        return
    count = int(rng.integers(8, 22))
    run = np.stack(
        [np.linspace(0, 6, count), np.arange(count) % 2 * 1.0, rng.normal(0, 0.4, count)], axis=1
    )
    mark = handwriting.draw(
        hand, [run], (rng.uniform(25, 110) * unit, 14 * unit), max(1.0, hand.pen * unit)
    )
    press(pixels, mark, _ink(rng), corner)
