"""What is neither signature nor stamp but looks like it: Bates numbers, punch holes, and what a
hand leaves beside signatures. What is printed stands in printed.py.
"""

from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image, ImageDraw

from training.detector.pages import handwriting, stamps, text
from training.detector.pages.sheet import Colour, hand_text, press


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


Write = Callable[[np.ndarray, Colour, tuple[float, float], float], object]  # as Paper.write


def note(
    write: Write,
    unit: float,
    corner: tuple[float, float],
    hand: handwriting.Writer,
    rng: np.random.Generator,
) -> None:
    """Lines of ordinary handwriting, sometimes at a tilt: in a handwriting font, or small and of
    many words in strokes, so that no line of it could be a signature.
    """
    ink, strength = _ink(rng), rng.uniform(0.6, 1.0)
    tilt = rng.normal(0, 4) if rng.random() < 0.8 else rng.uniform(-40, 40)
    path, by_font = text.pick_font("hand", rng), rng.random() < 0.65
    size = (rng.uniform(11, 24) if rng.random() < 0.75 else rng.uniform(24, 60)) * unit
    if not by_font:
        size = rng.uniform(7, 12) * unit
    for i in range(int(rng.choice((1, 1, 2, 3, 4)) if by_font else rng.integers(2, 6))):
        count = int(rng.integers(1, 6) if by_font else rng.integers(4, 8))
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
        write(stamps.rotated(mark, tilt), ink, place, strength)


def jotted(
    line: str, size: float, unit: float, hand: handwriting.Writer, rng: np.random.Generator
) -> np.ndarray:
    """(h, w) float32 coverage of a line about `size` px high: in a hand's strokes or in a font.

    Words are in a font, since in strokes they are letters by chance, as in a signature.
    """
    figures = any(map(str.isdigit, line)) and not any(map(str.isalpha, line))
    if rng.random() < 0.4 or not figures:
        ink = hand_text(line, text.pick_font("hand", rng), int(size), rng)
        return leaning(ink, hand.slant / 2, float(rng.uniform(0.8, 1.35)))
    plan = handwriting.line_plan(hand, line, rng)
    return handwriting.draw(hand, plan, (size * len(line), size), max(0.8, hand.pen * unit))


def leaning(ink: np.ndarray, slant: float, stretch: float) -> np.ndarray:
    """Coverage (h, w) leaning to the right by `slant`, x per y, and so much wider."""
    height, width = ink.shape
    lean = abs(slant) * height
    matrix = np.array([[stretch, -slant, max(0.0, slant) * height], [0, 1, 0]], np.float32)
    return cv2.warpAffine(ink, matrix, (int(width * stretch + lean) + 1, height))


def instead(rng: np.random.Generator) -> str:
    """What people write where a signature is due: a date, a word, a name in capitals."""
    kind = int(rng.choice(6, p=(0.25, 0.2, 0.2, 0.15, 0.1, 0.1)))
    name = text.person(rng)
    initials = "".join(f"{part[0]}." for part in name.split())
    words = (
        "N/A|n/a|on file|see above|see overleaf|pending|void|not required|absent|on leave|refused|"
        "copy|as agreed|to follow|p.p.|illegible|same as above|verbal|by phone|Dr.|Mrs.|per pro"
    )
    return (
        text.date(rng),
        text.short_date(rng),
        text.choice(words, rng, "|"),
        name.upper(),
        f"{initials} {text.short_date(rng)}",
        jotting(rng),
    )[kind]


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
    write: Write,
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
    write(mark, ink, corner, rng.uniform(0.6, 1.0))


def crossed_out(
    write: Write,
    unit: float,
    corner: tuple[float, float],
    hand: handwriting.Writer,
    rng: np.random.Generator,
) -> None:
    """A scribble that hides a word, or a blacked-out bar."""
    if rng.random() < 0.4:
        bar = (int(rng.uniform(8, 20) * unit), int(rng.uniform(40, 200) * unit))
        write(np.ones(bar, np.float32), (int(rng.integers(0, 40)),) * 3, corner, 1.0)
        return
    count = int(rng.integers(8, 22))
    run = np.stack(
        [np.linspace(0, 6, count), np.arange(count) % 2 * 1.0, rng.normal(0, 0.4, count)], axis=1
    )
    mark = handwriting.draw(
        hand, [run], (rng.uniform(25, 110) * unit, 14 * unit), max(1.0, hand.pen * unit)
    )
    write(mark, _ink(rng), corner, 1.0)
