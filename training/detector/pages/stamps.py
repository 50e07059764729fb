"""Rubber stamps: designs, and the marks they leave."""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw

from training.detector.pages import art, text
from training.detector.pages.traits import Traits
from training.detector.scan import noise

DESIGN_SEED = 7104
KINDS = {  # share among designs
    "text": 0.1,  # a few centred lines
    "company": 0.14,  # a logo box and even lines
    "registry": 0.06,  # cells with labels, filled in with another ink
    "framed": 0.07,  # lines in a frame, sometimes with room to fill in
    "date": 0.1,  # RECEIVED, the date, an office
    "dateline": 0.05,  # a date alone, without a frame
    "certified": 0.06,  # CERTIFIED TRUE COPY, room to sign, a name and titles
    "word": 0.06,
    "round": 0.16,
    "rings": 0.1,  # a round seal of two rings of Cyrillic text
    "oval": 0.08,
    "square": 0.03,  # a name seal in Chinese characters
    "picture": 0.03,  # a line drawing
}
SEALS = ("round", "rings", "oval")
SIZES = {  # width in 1/1000 of the page height
    "text": (105, 230), "company": (115, 230), "registry": (110, 220), "framed": (105, 220),
    "date": (70, 180), "dateline": (60, 150), "certified": (130, 240), "word": (70, 220),
    "round": (100, 190), "rings": (110, 175), "oval": (105, 205), "square": (40, 110),
    "picture": (50, 130),
}  # fmt: skip
INKS = {  # RGB
    "black": (25, 25, 28),
    "grey": (95, 95, 100),
    "blue": (80, 130, 215),
    "azure": (60, 165, 225),
    "navy": (45, 65, 140),
    "violet": (105, 60, 165),
    "red": (205, 45, 50),
    "crimson": (211, 100, 135),
    "green": (40, 130, 85),
    "teal": (30, 150, 150),
}
INK_SHARES = {
    "black": 0.15, "grey": 0.03, "blue": 0.22, "azure": 0.05, "navy": 0.14, "violet": 0.18,
    "red": 0.1, "crimson": 0.04, "green": 0.06, "teal": 0.03,
}  # fmt: skip
LARGE = 0.1  # share of prints on paper smaller than A4, which are larger on the page
FOILS = ((205, 165, 60), (190, 170, 110), (150, 85, 50), (185, 185, 190), (200, 35, 35))  # RGB
WORDS = (
    "RECEIVED|APPROVED|PAID|CONFIDENTIAL|COPY|ORIGINAL|DRAFT|VERIFIED|CANCELLED|FILED|ENTERED|"
    "REGISTERED|URGENT|ACCEPTED|CERTIFIED|POSTED|CHECKED|SANCTIONED|SECRET|VOID|ATTESTED|TRUE COPY|"
    "BEST COPY|COPIED|EINGEGANGEN|REÇU|RECIBIDO|PAYÉ|BEZAHLT|PAGADO|APROVADO|CONFERIDO|ZAPLACENO|"
    "UHRAZENO|ZAPŁACONO|DITERIMA|FIZETVE"
)
RECEIVED = "RECEIVED|RECEIVED|RECEIVED|RECORDED|DITERIMA PADA|EINGANG|REÇU LE|DOŠLO|WPŁYNĘŁO|PAID"
CERTIFIED = (
    "CERTIFIED TRUE COPY|Certified True Copy|CERTIFIED TRUE COPY OF THE ORIGINAL|ATTESTED|"
    "ATTESTED BY ME|TRUE COPY ATTESTED|Original Sighted|CONFORME À L'ORIGINAL|COPIA AUTÉNTICA"
)
RIMS = (
    "NOTARY|NOTARY PUBLIC|OFFICE OF THE NOTARY|COMMISSIONER FOR OATHS|ADVOCATE & NOTARY|REGISTRAR"
)
STATES = "GOVT. OF INDIA|MALAYSIA|STATE OF TEXAS|GOVERNMENT OF KERALA|COUNTY COURT|REPUBLIC"
LABELS = (
    "Date|No.|Ref.|By|Amount|Account|Booked|Checked|Cost centre|VAT|Dne|Č.j.|Data|Nr|Datum|Konto"
)


@dataclass(frozen=True)
class Design:
    """One stamp as it was bought; what differs from print to print is not here."""

    design_id: int
    kind: str
    lines: tuple[str, ...]
    fonts: tuple[str, str]  # headline, body
    ink: str
    second_ink: str  # of dates set in another colour; the same as `ink` if they are not
    frame: str  # none, single, double or dashed
    corner: float  # radius of a frame's corners, in shares of its width
    emblem: str  # none, or one of art.EMBLEMS
    boxed: bool  # the emblem stands in a box
    squash: float  # height over width of an oval one
    blanks: int  # lines to fill in
    cut_out: bool  # characters white on ink
    width: float  # in 1/1000 of the page height


@lru_cache(maxsize=8192)
def kind_of(design_id: int) -> str:
    """The kind of a design, one of KINDS."""
    return Traits(DESIGN_SEED, design_id).pick("kind", KINDS)


@lru_cache(maxsize=8192)
def design(design_id: int) -> Design:
    """The same stamp for the same id, whatever the page."""
    traits, kind = Traits(DESIGN_SEED, design_id), kind_of(design_id)
    cyrillic = kind == "rings"
    role = {"certified": "condensed", "dateline": "condensed"}.get(kind, "bold")
    body = traits.one_of("body", ("bold", "sans", "sans", "serif", "condensed", "typewriter"))
    if traits.chance("slab", 0.15):
        role = "slab"
    if cyrillic:
        role, body = "cyrillic_bold", "cyrillic"
    if kind == "square":
        ink = "red"
    elif cyrillic:
        ink = traits.pick("ink", {"blue": 0.5, "azure": 0.2, "navy": 0.1, "violet": 0.2})
    else:
        ink = traits.pick("ink", INK_SHARES)
    frames = {
        "text": {"none": 1.0},
        "company": {"none": 0.75, "single": 0.25},
        "registry": {"single": 1.0},
        "framed": {"single": 0.75, "double": 0.25},
        "date": {"none": 0.5, "single": 0.35, "double": 0.15},
        "dateline": {"none": 1.0},
        "certified": {"none": 0.85, "single": 0.15},
        "word": {"none": 0.5, "single": 0.35, "double": 0.15},
        "picture": {"none": 0.7, "single": 0.3},
    }.get(kind, {"single": 0.45, "double": 0.3, "dashed": 0.25})
    low, high = SIZES[kind]
    return Design(
        design_id=design_id,
        kind=kind,
        lines=_lines(kind, traits.rng("lines")),
        fonts=(
            text.pick_font(role, traits.rng("head font")),
            text.pick_font(body, traits.rng("body font")),
        ),
        ink=ink,
        second_ink="red" if traits.chance("second ink", 0.15) else ink,
        frame=traits.pick("frame", frames),
        corner=traits.uniform("corner", 0, 0.06) if traits.chance("rounded", 0.5) else 0.0,
        emblem=traits.one_of("emblem", art.EMBLEMS)
        if traits.chance("has emblem", 0.65)
        else "none",
        boxed=traits.chance("boxed", 0.4),
        squash=traits.uniform("squash", 0.5, 0.8),
        blanks=int(traits.one_of("blanks", (0, 0, 1, 2))),
        cut_out=traits.chance("cut out", 0.5),
        width=traits.uniform("width", low, high),
    )


def _lines(kind: str, rng: np.random.Generator) -> tuple[str, ...]:
    """What a stamp says, headline first."""
    office = text.company(rng)
    if kind in ("text", "framed"):
        return _text_lines(office, rng)
    if kind == "company":
        name = text.european_company(rng) if rng.random() < 0.7 else office
        more = (text.address(rng), text.tax_number(rng), text.phone(rng), text.site(name, rng))
        return (name, *more, text.tax_number(rng))[: rng.integers(3, 7)]
    if kind == "registry":
        count = int(rng.integers(3, 8))
        return (office, *(text.choice(LABELS, rng, "|") for _ in range(count)))
    if kind == "date":
        return (text.choice(RECEIVED, rng, "|"), "", text.choice(f"{office}|MAIL ROOM||", rng, "|"))
    if kind == "dateline":
        return ("",)
    if kind == "certified":
        title = text.choice(text.TITLES, rng, "|")
        lines = (
            text.person(rng).upper(),
            title,
            f"{text.choice('MIA MACS LS BC', rng)} {text.number(5, rng)}",
        )
        return (text.choice(CERTIFIED, rng, "|"), *lines[: rng.integers(1, 4)])
    if kind == "word":
        return tuple(text.choice(WORDS, rng, "|").split(" ", int(rng.integers(2))))
    if kind == "square":
        return ("".join(rng.choice(text.WORDS["zh"].split(), 4)),)
    if kind == "rings":
        city = text.choice(text.CYRILLIC_CITIES, rng)
        number = f"ОГРН {text.number(13, rng)} * ИНН {text.number(10, rng)} *"
        name = f"«{text.choice(text.CYRILLIC_CITIES, rng)}»"
        return (f"{text.choice(text.CYRILLIC_OFFICES, rng, '|')} * г. {city} *", number, name)
    name = text.person(rng)
    inner = (
        name,
        f"Regd. No. {text.number(5, rng)}",
        text.company(rng).split()[0],
        f"Exp. {text.date(rng)}",
    )
    if rng.random() < 0.5:
        return (
            text.choice(RIMS, rng, "|"),
            text.choice(STATES, rng, "|"),
            *inner[: rng.integers(1, 5)],
        )
    return (office.upper(), text.choice(text.SURNAMES, rng).upper(), text.choice(WORDS, rng, "|"))


def _text_lines(office: str, rng: np.random.Generator) -> tuple[str, ...]:
    pool = (
        lambda: office.upper(),
        lambda: text.person(rng),
        lambda: text.choice(text.TITLES, rng, "|"),
        lambda: text.address(rng),
        lambda: f"Reg. No. {text.number(int(rng.integers(4, 9)), rng)}",
        lambda: text.phone(rng),
        lambda: f"For {office}",
        lambda: f"My commission expires {text.date(rng)}",
        lambda: text.sentence("en", int(rng.integers(3, 7)), rng),
    )
    return tuple(pool[i]() for i in rng.permutation(len(pool))[: rng.integers(2, 7)])


@dataclass(frozen=True)
class Print:
    """One print of a stamp: coverage (h, w) float32 in [0, 1] of its ink, and of what is filled in
    by hand, which is not part of it.
    """

    ink: np.ndarray
    second: np.ndarray | None  # what its second ink covers
    entries: np.ndarray | None


class Face:
    """A rectangular stamp's face under construction, `width` px wide; 255 where it inks."""

    def __init__(self, width: int, height: int):
        self.layers = [Image.new("L", (width, height), 0) for _ in range(3)]
        self.pens = [ImageDraw.Draw(layer) for layer in self.layers]
        self.pen = self.pens[0]

    def arrays(self) -> list[np.ndarray]:
        return [np.asarray(layer) for layer in self.layers]


def _size(lines: tuple[str, ...], path: str, width: float, tallest: float) -> int:
    """The font size in px at which all lines fit `width` px, at most `tallest`."""
    trial = text.font(path, 40)
    longest = max((trial.getlength(line) for line in lines), default=1)
    return int(np.clip(min(40 * width / max(longest, 1), tallest), 5, None))


def _plate(stamp: Design, width: int, rng: np.random.Generator) -> list[np.ndarray]:
    """A rectangular stamp's three layers, (h, w) uint8: ink, second ink, entries by hand.

    All lines of a block are of one size.
    """
    head, *rest = stamp.lines
    dated = stamp.kind in ("date", "dateline")
    date = text.stamp_date(rng) if dated else ""
    pad = max(3, width // 24)
    logo = int(width * 0.24) if stamp.kind == "company" and stamp.emblem != "none" else 0
    left, inner = pad + logo, width - 2 * pad - logo
    even = [line for line in rest if line]
    if stamp.kind in ("company", "text"):
        even = list(stamp.lines)
    size = _size(tuple(even), stamp.fonts[1], inner, width * (0.075 if len(even) > 2 else 0.1))
    tall = _size((head,), stamp.fonts[0], inner, width * (0.3 if stamp.kind == "word" else 0.15))
    date_size = _size(
        (date,), stamp.fonts[0], inner * (0.8 if stamp.kind == "date" else 1), width * 0.16
    )

    rows: list[tuple[str, int, int]] = []  # line, layer, px; a negative size is empty space
    if stamp.kind == "dateline":
        rows = [(date, 0, date_size)]
    elif stamp.kind == "date":
        rows = [(head, 0, tall), (date, 1 if stamp.second_ink != stamp.ink else 0, date_size)]
        rows += [(line, 0, size) for line in even]
    elif stamp.kind == "word":
        tall = _size(stamp.lines, stamp.fonts[0], inner, width * 0.3)
        rows = [(line, 0, tall) for line in stamp.lines]
    elif stamp.kind == "certified":
        rows = [
            (head, 0, min(tall, int(width * 0.09))),
            ("", 0, int(width * rng.uniform(0.12, 0.22))),
        ]
        rows += [(line, 0, size) for line in even]
    elif stamp.kind in ("company", "text"):
        rows = [(line, 0, size) for line in even]
    else:
        rows = [(head, 0, min(tall, int(width * 0.12)))]
        rows += [(line, 0, size) for line in even] if stamp.kind == "framed" else []
    cells = stamp.kind == "registry"
    blanks = stamp.blanks if stamp.kind == "framed" else 0
    cell_rows = (len(rest) + 1) // 2 if cells else 0
    row_height = int(width * 0.13)
    text_height = sum(int(px * 1.22) for _, _, px in rows)
    height = text_height + 2 * pad + cell_rows * row_height + blanks * int(width * 0.12)
    if logo:
        height = max(height, logo)
    face = Face(width, height)
    y: float = pad + (max(0, logo - text_height - 2 * pad) / 2 if logo else 0)
    for line, layer, px in rows:
        if line:
            first = line == head and stamp.kind != "dateline"
            font = text.font(stamp.fonts[0 if first or line == date else 1], px)
            x = left if logo else left + (inner - font.getlength(line)) / 2
            face.pens[layer].text((x, y), line, fill=255, font=font)
        y += int(px * 1.22)
    stroke = max(1, width // 110)
    if stamp.kind == "date" and stamp.blanks == 2 and stamp.frame != "none":  # a box round the date
        top = pad + int(tall * 1.22)
        face.pen.rectangle(
            (pad * 2, top, width - pad * 2, top + int(date_size * 1.2)), outline=255, width=stroke
        )
    if logo:
        side = int(min(logo - pad, height - 2 * pad))
        top = (height - side) // 2
        sign = art.emblem(stamp.emblem, side, stamp.design_id)
        face.layers[0].paste(255, (pad, top), Image.fromarray(sign))
        if stamp.boxed:
            face.pen.rectangle((pad, top, pad + side, top + side), outline=255, width=stroke)
    hand = text.pick_font("hand", rng)
    label_font = text.font(stamp.fonts[1], max(5, int(width * 0.04)))
    for i, label in enumerate(rest if cells else ["By", "Date"][:blanks]):
        column, row = (i % 2, i // 2) if cells else (0, i)
        x0 = column * width / 2 if cells else pad
        y0 = y + row * (row_height if cells else int(width * 0.12))
        wide = width / 2 if cells and (i + 1 < len(rest) or i % 2) else width - x0
        if cells:
            face.pen.rectangle((x0, y0, x0 + wide, y0 + row_height), outline=255, width=stroke)
        else:
            y1 = y0 + width * 0.1
            face.pen.line((pad + width * 0.14, y1, width - pad, y1), fill=255, width=stroke)
        face.pen.text((x0 + stroke * 2, y0 + stroke), label, fill=255, font=label_font)
        if rng.random() < 0.65:
            entry = text.short_date(rng) if i % 2 else text.number(int(rng.integers(2, 6)), rng)
            font = text.font(hand, int(row_height * rng.uniform(0.55, 0.9)))
            shift = (rng.uniform(0.2, 0.4) * wide, row_height * rng.uniform(0, 0.3))
            face.pens[2].text((x0 + shift[0], y0 + shift[1]), entry, fill=255, font=font)
    for ring in range({"none": 0, "double": 2}.get(stamp.frame, 1)):
        inset = ring * max(3, width // 50)
        edge = (inset, inset, width - 1 - inset, height - 1 - inset)
        face.pen.rounded_rectangle(
            edge, radius=stamp.corner * width, outline=255, width=max(2, width // (70 + 60 * ring))
        )
    return face.arrays()


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


def _seal(stamp: Design, width: int, rng: np.random.Generator) -> np.ndarray:
    """A round or oval stamp's face, (h, w) uint8."""
    face = Image.new("L", (width, width), 0)
    pen = ImageDraw.Draw(face)
    line = max(2, width // 70)

    def circle(radius: float, stroke: int) -> None:
        r, c = radius, width / 2
        pen.ellipse((c - r, c - r, c + r, c + r), outline=255, width=stroke)

    radius, rings = width / 2 - 2, stamp.kind == "rings"
    if stamp.frame == "dashed":
        ticks = 40 + stamp.design_id % 50
        for i in range(ticks):
            turn = 360 / ticks
            pen.arc((1, 1, width - 2, width - 2), i * turn, (i + 0.6) * turn, 255, line * 2)
    else:
        circle(radius, line * (2 if stamp.frame == "single" else 1))
    radius -= line * 2.5
    if stamp.frame == "double":
        circle(radius, max(1, line // 2))
        radius -= line
    if (
        stamp.kind == "round"
        and not stamp.blanks
        and len(stamp.lines) == 3
        and stamp.cut_out
        and not rings
    ):
        lines = stamp.lines[2].split()  # a word or two in a ring, no more
        size = _size(tuple(lines), stamp.fonts[0], radius * 1.5, radius * 0.6)
        _stack(pen, lines, stamp.fonts[0], size, width)
        return np.asarray(face)
    dial = Dial(width)
    depth = int(width * (0.08 if rings else 0.125))
    upper, lower, *inner = stamp.lines
    if rings:
        dial.ring(upper, stamp.fonts[0], radius, depth, 0.75, 0.97, True)
        dial.ring(lower, stamp.fonts[1], radius - depth * 1.1, int(depth * 0.85), 0.75, 0.95, True)
        radius -= depth * 2.1
    else:
        dial.ring(upper, stamp.fonts[0], radius, depth, 0.75, 0.52, True)
        dial.ring(lower, stamp.fonts[0], radius, depth, 0.25, 0.36, False)
        for share in (0.0, 0.5):
            dial.ring("★" if stamp.boxed else "*", STAR, radius, depth, share, 0.06, True)
        radius -= depth * 1.1
    plate = dial.bent()
    if rings or stamp.blanks:
        circle(radius, max(1, line // 2))
    picture = stamp.emblem != "none" and (rings or len(inner) < 2)
    if picture and stamp.blanks != 2:
        side = int(radius * 1.35)
        sign = art.emblem(stamp.emblem, side, stamp.design_id)
        face.paste(255, ((width - side) // 2, (width - side) // 2), Image.fromarray(sign))
    else:
        lines = [text.date(rng) if "Exp." in part else part for part in inner]
        size = _size(
            tuple(lines), stamp.fonts[1], radius * 1.55, radius * (0.3 if len(lines) > 2 else 0.42)
        )
        _stack(pen, lines, stamp.fonts[1], size, width)
        if stamp.boxed and len(lines) > 2:  # a plate in the middle, as commissioners have
            tall = size * 0.65 * len(lines) + line * 2
            pen.rectangle(
                (
                    width / 2 - radius * 0.86,
                    width / 2 - tall,
                    width / 2 + radius * 0.86,
                    width / 2 + tall,
                ),
                outline=255,
                width=line,
            )
    plate = np.maximum(plate, np.asarray(face))
    if stamp.kind == "oval":
        plate = cv2.resize(plate, (width, int(width * stamp.squash)), interpolation=cv2.INTER_AREA)
    return plate


def _stack(pen: ImageDraw.ImageDraw, lines: list[str], path: str, size: int, width: int) -> None:
    """Lines of one size, centred on a face `width` px wide and high."""
    font, step = text.font(path, size), size * 1.2
    for i, line in enumerate(lines):
        y = width / 2 + (i - len(lines) / 2) * step
        pen.text(((width - font.getlength(line)) / 2, y), line, fill=255, font=font)


STAR = "matplotlib/mpl-data/fonts/ttf/DejaVuSans.ttf"


def _square(stamp: Design, width: int) -> np.ndarray:
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


def _picture(stamp: Design, width: int) -> np.ndarray:
    """A stamp that is a line drawing, with a word below it or not, (h, w) uint8."""
    kind = stamp.emblem if stamp.emblem != "none" else "figure"
    sign = art.emblem(kind, width, stamp.design_id)
    face = Image.new("L", (width, int(width * (1.2 if stamp.boxed else 1.0))), 0)
    face.paste(255, (0, 0), Image.fromarray(sign))
    if stamp.boxed:
        word = stamp.lines[-1][:16]
        size = _size((word,), stamp.fonts[0], width * 0.95, width * 0.16)
        font = text.font(stamp.fonts[0], size)
        ImageDraw.Draw(face).text(
            ((width - font.getlength(word)) / 2, width), word, fill=255, font=font
        )
    return np.asarray(face)


def _inked(faces: list[np.ndarray], crisp: bool, rng: np.random.Generator) -> list[np.ndarray]:
    """Faces of one plate as printed: uneven, mottled, in parts missing, doubled or smeared. [0, 1].

    A `crisp` one is inked evenly, as self-inking stamps print.
    """
    shape = (faces[0].shape[0], faces[0].shape[1])
    touch: Any = 1 - rng.uniform(0.02, 0.25 if crisp else 0.75) * noise(
        shape, rng.uniform(2, 5), rng
    )
    if not crisp and rng.random() < 0.6:  # uneven pressure over the plate
        touch *= np.clip(rng.uniform(0.2, 0.8) + 1.2 * noise(shape, max(shape) / 2.5, rng), 0, 1)
    if rng.random() < (0.06 if crisp else 0.24):  # a side that did not touch the paper
        rows, cols = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32)
        angle = rng.uniform(0, 2 * np.pi)
        along = (cols / shape[1] - 0.5) * np.cos(angle) + (rows / shape[0] - 0.5) * np.sin(angle)
        touch = touch * np.clip((rng.uniform(0.15, 0.45) - along) * rng.uniform(6, 25), 0, 1)
    swollen, doubled, smeared = rng.random(3) < ((0.2, 0.04, 0.03) if crisp else (0.25, 0.1, 0.08))
    shift = np.array([[1, 0, rng.uniform(-6, 6)], [0, 1, rng.uniform(-6, 6)]])
    inks = []
    for face in faces:
        ink: Any = face.astype(np.float32) / 255
        if swollen:
            ink = cv2.dilate(ink, np.ones((2, 2), np.uint8))
        ink = ink * touch
        if doubled:
            ink = np.maximum(ink, 0.5 * cv2.warpAffine(ink, shift, shape[::-1]))
        if smeared:
            kernel = np.zeros((9, 9), np.float32)
            kernel[4] = 1 / 9
            ink = np.maximum(ink, 0.8 * cv2.filter2D(ink, -1, kernel))
        inks.append(ink)
    return inks


def _tilt(rng: np.random.Generator) -> float:
    """Degrees: mostly upright or a few degrees off, sometimes far."""
    if rng.random() < 0.06:
        return float(rng.choice((-1, 1)) * rng.uniform(20, 55))
    if rng.random() < 0.03:
        return float(rng.choice((-90, 90, 180)))
    return float(rng.choice((-1, 1)) * rng.uniform(0, 1) ** 1.5 * 11)


def draw(stamp: Design, unit: float, rng: np.random.Generator) -> Print:
    """One print of the stamp; `unit` px = 1/1000 of the page height."""
    size = rng.uniform(1.2, 1.9) if rng.random() < LARGE else rng.uniform(0.92, 1.08)
    width = max(24, int(stamp.width * unit * size))
    fine = 2
    if stamp.kind in SEALS:
        faces = [_seal(stamp, width * fine, rng)]
    elif stamp.kind == "square":
        faces = [_square(stamp, width * fine)]
    elif stamp.kind == "picture":
        faces = [_picture(stamp, width * fine)]
    else:
        faces = _plate(stamp, width * fine, rng)
    layers: list[Any] = [
        cv2.resize(face, None, fx=1 / fine, fy=1 / fine, interpolation=cv2.INTER_AREA)
        for face in faces
    ]
    crisp = bool(rng.random() < (0.75 if stamp.kind == "company" else 0.45))
    tilt = _tilt(rng)
    inks = [rotated(ink, tilt) for ink in _inked(layers[:2], crisp, rng)]
    second = inks[1] if len(inks) > 1 and inks[1].any() else None
    entries = layers[2].astype(np.float32) / 255 if len(layers) > 2 and layers[2].any() else None
    return Print(inks[0], second, None if entries is None else rotated(entries, tilt))


def printed(stamp: Design, unit: float, rng: np.random.Generator) -> np.ndarray:
    """A seal as certificates have it in print, upright and even: coverage as of a Print."""
    width = max(24, int(stamp.width * unit))
    face = cv2.resize(
        _seal(stamp, width * 2, rng), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA
    )
    return face.astype(np.float32) / 255


def stick(
    pixels: np.ndarray, stamp: Design, centre: tuple[float, float], rng: np.random.Generator
) -> np.ndarray:
    """Stick a toothed foil seal with the design's words in relief on (H, W, 3) uint8 `pixels`, in
    place, its middle at `centre`, often on ribbons. Returns the (n, 2) x, y of its pixels.
    """
    width = int(rng.uniform(0.1, 0.22) * pixels.shape[0])
    lines = (*stamp.lines, "OFFICIAL", "SEAL")[:3]
    relief = np.zeros((width, width), np.uint8)  # some are bare
    if rng.random() < 0.75:
        relief = _seal(replace(stamp, kind="round", lines=lines, frame="single"), width, rng)
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
