"""Rubber stamps: designs, and the marks they leave."""

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw

from training.detector.pages import text
from training.detector.scan import noise

DESIGN_SEED = 7102
KINDS = ("text", "framed", "date", "word", "round", "oval", "square")
KIND_SHARES = (0.3, 0.14, 0.17, 0.09, 0.17, 0.08, 0.05)
FRAMES = {"text": (1, 0, 0), "word": (0.5, 0.35, 0.15), "date": (0.45, 0.4, 0.15)}
INKS = {  # RGB; half of the real ones are black or grey
    "black": (25, 25, 28),
    "grey": (95, 95, 100),
    "blue": (80, 130, 215),
    "navy": (45, 65, 140),
    "violet": (110, 60, 160),
    "red": (205, 45, 50),
    "crimson": (211, 118, 147),
    "green": (40, 130, 85),
}
INK_SHARES = (0.36, 0.12, 0.12, 0.1, 0.1, 0.1, 0.05, 0.05)
LARGE = 0.12  # share of prints on paper smaller than A4, which are larger on the page
FOILS = ((205, 165, 60), (190, 170, 110), (150, 85, 50), (185, 185, 190), (180, 30, 35))  # RGB
WORDS = (
    "RECEIVED|APPROVED|PAID|CONFIDENTIAL|COPY|ORIGINAL|DRAFT|VERIFIED|CANCELLED|FILED|ENTERED|"
    "REGISTERED|URGENT|ACCEPTED|CERTIFIED|POSTED|CHECKED|SANCTIONED|SECRET|VOID|ATTESTED|TRUE COPY|"
    "EINGEGANGEN|REÇU|RECIBIDO|PAYÉ|BEZAHLT|PAGADO|APROVADO|CONFERIDO"
)


@dataclass(frozen=True)
class Design:
    """One stamp as it was bought; what differs from print to print is not here."""

    design_id: int
    kind: str
    lines: tuple[str, ...]
    fonts: tuple[str, str]  # headline, body
    ink: str
    frame: int  # 0 none, 1 single, 2 double
    emblem: str
    width: float  # in 1/1000 of the page height


def design(design_id: int) -> Design:
    """The same stamp for the same id, whatever the page."""
    rng = np.random.default_rng((DESIGN_SEED, design_id))
    kind = str(rng.choice(KINDS, p=KIND_SHARES))
    office = text.company(rng)
    lines = {
        "text": _text_lines(office, rng),
        "framed": _text_lines(office, rng),
        "date": (text.choice(WORDS, rng, "|"), "", office),
        "word": (text.choice(WORDS, rng, "|"),),
        "round": (office, text.choice(WORDS, rng, "|"), text.choice(text.SURNAMES, rng)),
        "oval": (office, text.choice(WORDS, rng, "|"), text.choice(text.SURNAMES, rng)),
        "square": ("".join(rng.choice(text.WORDS["zh"].split(), 4)),),
    }[kind]
    width = {
        "text": rng.uniform(105, 230),
        "framed": rng.uniform(105, 220),
        "date": rng.uniform(80, 190),
        "word": rng.uniform(70, 220),
        "round": rng.uniform(85, 175),
        "oval": rng.uniform(95, 200),
        "square": rng.uniform(40, 110),
    }[kind]
    return Design(
        design_id=design_id,
        kind=kind,
        lines=lines,
        fonts=(
            text.pick_font("bold", rng),
            text.pick_font(str(rng.choice(("bold", "sans", "serif", "typewriter"))), rng),
        ),
        ink="red" if kind == "square" else str(rng.choice(list(INKS), p=INK_SHARES)),
        frame=int(rng.choice((0, 1, 2), p=FRAMES.get(kind, (0, 0.75, 0.25)))),
        emblem=str(
            rng.choice(("none", "star", "shield", "disc", "bars"), p=(0.3, 0.25, 0.15, 0.15, 0.15))
        ),
        width=float(width),
    )


def _text_lines(office: str, rng: np.random.Generator) -> tuple[str, ...]:
    pool = (
        lambda: office.upper(),
        lambda: text.person(rng),
        lambda: text.choice(text.TITLES, rng, "|"),
        lambda: text.address(rng),
        lambda: f"Reg. No. {text.number(int(rng.integers(4, 9)), rng)}",
        lambda: f"Tel. {text.number(3, rng)} {text.number(4, rng)}",
        lambda: f"For {office}",
        lambda: f"My commission expires {text.date(rng)}",
        lambda: text.sentence("en", int(rng.integers(3, 7)), rng),
    )
    return tuple(pool[i]() for i in rng.permutation(len(pool))[: rng.integers(2, 7)])


def emblem(draw: ImageDraw.ImageDraw, kind: str, box: tuple[float, float, float, float]) -> None:
    """A small filled sign within `box` x0 y0 x1 y1: star, shield, disc or bars."""
    x0, y0, x1, y1 = box
    cx, cy, r = (x0 + x1) / 2, (y0 + y1) / 2, min(x1 - x0, y1 - y0) / 2
    if kind == "star":
        angles = np.arange(10) * np.pi / 5 - np.pi / 2
        radii = np.where(np.arange(10) % 2 == 0, r, r * 0.42)
        draw.polygon(
            [(cx + p * np.cos(a), cy + p * np.sin(a)) for a, p in zip(angles, radii, strict=True)],
            fill=255,
        )
    elif kind == "shield":
        draw.polygon(
            [
                (cx - r, cy - r),
                (cx + r, cy - r),
                (cx + r, cy + r / 4),
                (cx, cy + r),
                (cx - r, cy + r / 4),
            ],
            fill=255,
        )
        draw.ellipse((cx - r / 3, cy - r / 2, cx + r / 3, cy + r / 6), fill=0)
    elif kind == "disc":
        draw.ellipse((cx - r, cy - r, cx + r, cy + r), outline=255, width=max(1, int(r / 5)))
        draw.ellipse((cx - r / 2, cy - r / 2, cx + r / 2, cy + r / 2), fill=255)
    elif kind == "bars":
        for i in range(3):
            draw.rectangle(
                (x0, y0 + i * r * 0.7, x1 - i * r * 0.4, y0 + i * r * 0.7 + r * 0.4), fill=255
            )


def _fitted(line: str, path: str, width: float, height: float) -> tuple[str, int]:
    """The line and the largest font size whose text fits width x height px."""
    trial = text.font(path, 40)
    box = trial.getbbox(line)
    ratio = min(width / max(1.0, box[2]), height / max(1, box[3]))
    return line, int(max(5, 40 * ratio))


def _plate(stamp: Design, width: int, rng: np.random.Generator) -> np.ndarray:
    """A rectangular stamp's face, (h, w) uint8, 255 where it inks."""
    lines = list(stamp.lines)
    if stamp.kind == "date":
        lines[1] = text.date(rng).upper()
    heights = [
        width * (0.16 if i == 0 and stamp.kind in ("date", "framed") else 0.105)
        for i in range(len(lines))
    ]
    if stamp.kind == "word":
        heights = [width * 0.3]
    pad = int(width * 0.05) + 2
    logo = stamp.kind == "text" and stamp.emblem != "none"
    left = pad + (int(width * 0.18) if logo else 0)
    fitted = [
        _fitted(
            line,
            stamp.fonts[0 if i == 0 else 1],
            (width - left - pad) * rng.uniform(0.85, 1.0),
            tall,
        )
        for i, (line, tall) in enumerate(zip(lines, heights, strict=True))
    ]
    gap = max(1, int(width * 0.015))
    spare = (
        int(width * 0.14) if stamp.kind == "framed" and stamp.design_id % 2 else 0
    )  # to be filled in by hand
    total = sum(int(size * 1.12) + gap for _, size in fitted) + 2 * pad + 2 * spare
    face = Image.new("L", (width, total), 0)
    pen = ImageDraw.Draw(face)
    y = pad
    for i, (line, size) in enumerate(fitted):
        font = text.font(stamp.fonts[0 if i == 0 else 1], size)
        x = left + (0 if logo else (width - left - pad - font.getlength(line)) / 2)
        pen.text((x, y), line, fill=255, font=font)
        y += int(size * 1.12) + gap
    for row in range(2 if spare else 0):
        y += spare
        font = text.font(stamp.fonts[1], max(5, int(width * 0.055)))
        label = ("By", "Date", "No.", "Ref.")[(row + stamp.design_id) % 4]
        pen.text((pad, y - width * 0.06), label, fill=255, font=font)
        pen.line((pad + width * 0.14, y, width - pad, y), fill=255, width=max(1, width // 120))
    if logo:
        emblem(pen, stamp.emblem, (pad, pad, width * 0.18, min(total - pad, width * 0.2)))
    for ring in range(stamp.frame):
        inset, stroke = ring * max(3, width // 50), max(2, width // (70 + 60 * ring))
        pen.rounded_rectangle(
            (inset, inset, width - 1 - inset, total - 1 - inset),
            radius=(stamp.design_id % 3) * width // 40,
            outline=255,
            width=stroke,
        )
    return np.asarray(face)


def _ring_text(line: str, path: str, diameter: int, depth: int, upper: bool) -> np.ndarray:
    """(diameter, diameter) uint8 with `line` bent along the circle's upper or lower inside."""
    font = text.font(path, max(6, int(depth * 0.8)))
    around = int(np.pi * diameter)
    strip = Image.new("L", (around, diameter // 2), 0)
    length = min(font.getlength(line), around * 0.48)
    word = Image.new("L", (max(1, int(font.getlength(line))), depth), 0)
    ImageDraw.Draw(word).text((0, depth * 0.05), line, fill=255, font=font)
    word = word.resize((max(1, int(length)), depth))
    if upper:  # outermost row is the letters' top: radius grows downwards in a polar image
        word = word.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
        middle = around * 0.75
    else:
        word = word.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        middle = around * 0.25
    strip.paste(word, (int(middle - length / 2), diameter // 2 - depth - max(3, diameter // 26)))
    polar = cv2.rotate(np.asarray(strip), cv2.ROTATE_90_CLOCKWISE)  # rows angle, columns radius
    polar = np.ascontiguousarray(polar[:, ::-1])
    return cv2.warpPolar(
        polar,
        (diameter, diameter),
        (diameter / 2, diameter / 2),
        diameter / 2,
        cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP | cv2.WARP_FILL_OUTLIERS,
    )


def _seal(stamp: Design, width: int, rng: np.random.Generator) -> np.ndarray:
    """A round or oval stamp's face, (h, w) uint8."""
    face = Image.new("L", (width, width), 0)
    pen = ImageDraw.Draw(face)
    line, depth = max(2, width // 60), width // 7
    pen.ellipse((1, 1, width - 2, width - 2), outline=255, width=line * stamp.frame)
    if stamp.design_id % 3:
        inset = depth + width // 22
        pen.ellipse(
            (inset, inset, width - inset, width - inset), outline=255, width=max(1, line // 2)
        )
    middle = stamp.lines[1] if stamp.design_id % 2 else text.date(rng)
    if stamp.emblem == "none" or stamp.kind == "oval":
        label, size = _fitted(middle, stamp.fonts[1], width * 0.56, width * 0.16)
        font = text.font(stamp.fonts[1], size)
        pen.text(
            ((width - font.getlength(label)) / 2, width * 0.5 - size * 0.6),
            label,
            fill=255,
            font=font,
        )
    else:
        emblem(pen, stamp.emblem, (width * 0.36, width * 0.34, width * 0.64, width * 0.62))
    plate = np.asarray(face)
    plate = np.maximum(
        plate, _ring_text(stamp.lines[0].upper(), stamp.fonts[0], width, depth, True)
    )
    plate = np.maximum(
        plate, _ring_text(stamp.lines[2].upper(), stamp.fonts[0], width, depth, False)
    )
    if stamp.kind == "oval":
        plate = cv2.resize(plate, (width, int(width * (0.55 + 0.1 * (stamp.design_id % 3)))))
    return plate


def _square(stamp: Design, width: int) -> np.ndarray:
    """A square name seal's face, (w, w) uint8: two columns of characters, cut out or raised."""
    face = Image.new("L", (width, width), 0)
    pen = ImageDraw.Draw(face)
    cut_out = stamp.design_id % 2 == 0
    pen.rectangle(
        (0, 0, width - 1, width - 1),
        fill=255 if cut_out else 0,
        outline=255,
        width=max(2, width // 18),
    )
    font = text.font(text.FONTS["chinese"][0], int(width * 0.4))
    for i, character in enumerate(stamp.lines[0][:4]):
        place = (width * (0.52 - 0.42 * (i // 2)), width * (0.06 + 0.43 * (i % 2)))
        pen.text(place, character, fill=0 if cut_out else 255, font=font)
    return np.asarray(face)


def _inked(face: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The face as printed: uneven, mottled, in parts missing, doubled or smeared. [0, 1]."""
    ink: Any = face.astype(np.float32) / 255
    shape = (ink.shape[0], ink.shape[1])
    if rng.random() < 0.25:
        ink = cv2.dilate(ink, np.ones((2, 2), np.uint8))
    ink = ink * (1 - rng.uniform(0.1, 0.75) * noise(shape, rng.uniform(2, 5), rng))  # mottle
    if rng.random() < 0.6:  # uneven pressure over the plate
        ink = ink * np.clip(rng.uniform(0.2, 0.8) + 1.2 * noise(shape, max(shape) / 2.5, rng), 0, 1)
    if rng.random() < 0.22:  # a side that did not touch the paper
        rows, cols = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32)
        angle = rng.uniform(0, 2 * np.pi)
        along = (cols / shape[1] - 0.5) * np.cos(angle) + (rows / shape[0] - 0.5) * np.sin(angle)
        ink = ink * np.clip((rng.uniform(0.15, 0.45) - along) * rng.uniform(6, 25), 0, 1)
    if rng.random() < 0.1:  # double strike
        shift = np.array([[1, 0, rng.uniform(-6, 6)], [0, 1, rng.uniform(-6, 6)]])
        ink = np.maximum(ink, rng.uniform(0.3, 0.8) * cv2.warpAffine(ink, shift, shape[::-1]))
    if rng.random() < 0.08:  # smear
        kernel = np.zeros((9, 9), np.float32)
        kernel[4] = 1 / 9
        ink = np.maximum(ink, 0.8 * cv2.filter2D(ink, -1, kernel))
    return ink


def _tilt(rng: np.random.Generator) -> float:
    """Degrees: mostly upright or a few degrees off, sometimes far."""
    if rng.random() < 0.06:
        return float(rng.choice((-1, 1)) * rng.uniform(20, 55))
    if rng.random() < 0.04:
        return float(rng.choice((-90, 90, 180)))
    return float(rng.choice((-1, 1)) * rng.uniform(0, 1) ** 1.5 * 11)


def draw(stamp: Design, unit: float, rng: np.random.Generator) -> np.ndarray:
    """One print of the stamp as ink coverage (h, w) float32 in [0, 1]; `unit` px = 1/1000 page."""
    size = rng.uniform(1.2, 1.9) if rng.random() < LARGE else rng.uniform(0.92, 1.08)
    width = max(24, int(stamp.width * unit * size))
    fine = 2
    if stamp.kind in ("round", "oval"):
        face = _seal(stamp, width * fine, rng)
    elif stamp.kind == "square":
        face = _square(stamp, width * fine)
    else:
        face = _plate(stamp, width * fine, rng)
    face = cv2.resize(face, None, fx=1 / fine, fy=1 / fine, interpolation=cv2.INTER_AREA)
    return rotated(_inked(face, rng), _tilt(rng))


def stick(
    pixels: np.ndarray, stamp: Design, centre: tuple[float, float], rng: np.random.Generator
) -> np.ndarray:
    """Stick a toothed foil seal with the design's words in relief on (H, W, 3) uint8 `pixels`, in
    place, its middle at `centre`, often on ribbons. Returns the (n, 2) x, y of its pixels.
    """
    width = int(rng.uniform(0.11, 0.3) * pixels.shape[0])
    lines = (*stamp.lines, "OFFICIAL", "SEAL")[:3]
    relief = _seal(replace(stamp, kind="round", lines=lines, frame=1), width, rng)
    rows, cols = np.mgrid[0:width, 0:width] - width / 2
    angle, radius = np.arctan2(rows, cols), np.hypot(rows, cols) / (width / 2)
    teeth = int(rng.integers(24, 70))
    depth = rng.uniform(0.02, 0.06)
    disc = radius < 0.97 - depth * (0.5 + 0.5 * np.cos(angle * teeth))
    light = 1 + rng.uniform(0.1, 0.3) * np.cos(2 * angle + rng.uniform(0, 6)) * radius
    light = light + 0.15 * noise((width, width), 5, rng)
    light = light + 0.0025 * (np.roll(relief, (1, 1), (0, 1)).astype(np.float32) - relief)
    foil = np.array(FOILS[int(rng.integers(len(FOILS)))], np.float32)
    seal = np.clip(foil * light[..., None], 0, 255).astype(np.uint8)

    x, y = round(centre[0] - width / 2), round(centre[1] - width / 2)
    covered = np.zeros(pixels.shape[:2], np.uint8)
    if rng.random() < 0.4:
        ribbon = [int(shade) for shade in rng.integers(0, 200, 3)]
        for side in (-1, 1):
            tip = np.array([side * rng.uniform(0.1, 0.4), rng.uniform(0.6, 0.95)]) * width + centre
            band = np.array([[-0.12, 0], [0.12, 0]]) * width
            ends = np.concatenate([band + centre, band[::-1] + tip]).astype(np.int32)
            cv2.fillPoly(covered, [ends], (1,))
        pixels[covered > 0] = ribbon
    left, top = max(0, -x), max(0, -y)
    window = pixels[y + top : y + width, x + left : x + width]
    disc = disc[top : top + window.shape[0], left : left + window.shape[1]]
    window[disc] = seal[top:, left:][: window.shape[0], : window.shape[1]][disc]
    covered[y + top : y + width, x + left : x + width][disc] = 1
    marked = np.nonzero(covered)
    return np.stack(marked[::-1], axis=1).astype(np.float32)


def rotated(ink: np.ndarray, degrees: float) -> np.ndarray:
    """The patch turned, its canvas grown to hold it all."""
    height, width = ink.shape
    turn: np.ndarray = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    cos, sin = abs(turn[0, 0]), abs(turn[0, 1])
    size = (int(height * sin + width * cos) + 1, int(height * cos + width * sin) + 1)
    turn[:, 2] += (size[0] / 2 - width / 2, size[1] / 2 - height / 2)
    return cv2.warpAffine(ink, turn, size)
