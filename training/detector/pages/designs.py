"""Designs of stamps: what each id stands for, on whatever page."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from training.detector.pages import art, text
from training.detector.pages.traits import Traits

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
    emblem: str  # one of art.EMBLEMS
    logo: bool  # the emblem stands at the left of a company's lines
    boxed: bool  # the emblem stands in a box
    centre: str  # of a seal: word, emblem, lines or plate
    inner_ring: bool
    divider: str  # between the words around a seal
    dashes: int
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
    lines = _lines(kind, traits.rng("lines"))
    bare = kind == "round" and lines[-1] in WORDS.split("|") and traits.chance("bare", 0.3)
    centres = {"emblem": 0.45, "lines": 0.55} if len(lines) < 4 else {"lines": 0.6, "plate": 0.4}
    return Design(
        design_id=design_id,
        kind=kind,
        lines=lines,
        fonts=(
            text.pick_font(role, traits.rng("head font")),
            text.pick_font(body, traits.rng("body font")),
        ),
        ink=ink,
        second_ink="red" if traits.chance("second ink", 0.15) else ink,
        frame=traits.pick("frame", frames),
        corner=traits.uniform("corner", 0, 0.06) if traits.chance("rounded", 0.5) else 0.0,
        emblem=traits.one_of("emblem", art.EMBLEMS),
        logo=kind == "company" and traits.chance("logo", 0.65),
        boxed=traits.chance("boxed", 0.4),
        centre="word" if bare else traits.pick("centre", centres),
        inner_ring=traits.chance("inner ring", 0.6),
        divider=traits.one_of("divider", ("*", "★", "•", "-")),
        dashes=int(traits.uniform("dashes", 40, 90)),
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
