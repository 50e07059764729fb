"""Houses: the style that pages of one template have in common, and the parts that they share.

One template id stands for one house: its kind of page, fonts, colours, letterhead and margins.
"""

from dataclasses import dataclass

import numpy as np

from training.detector.pages import art, handwriting, printed, text
from training.detector.pages.sheet import Colour, Look, Sheet
from training.detector.pages.traits import Traits

TEMPLATE_SEED = 7106
SHARES = {  # of the kinds of page
    "letter": 0.17,
    "continuation": 0.05,
    "memo": 0.09,
    "form": 0.08,
    "contract": 0.07,
    "invoice": 0.2,
    "certificate": 0.08,
    "deed": 0.08,
    "act": 0.07,
    "statement": 0.03,
    "petition": 0.03,
    "table": 0.03,
    "manuscript": 0.02,
    "receipt": 0.03,
    "sparse": 0.01,
}
LOGOS = {
    "block": 0.15, "rings": 0.06, "triangles": 0.08, "stripes": 0.08, "word": 0.2, "medal": 0.12,
    "picture": 0.11, "emblem": 0.2,
}  # fmt: skip
COLOURFUL = {"invoice": 0.8, "certificate": 0.8, "deed": 0.6, "letter": 0.45, "form": 0.55}
HEADS = {"bold": 0.65, "slab": 0.15, "condensed": 0.2}
PASTEL = {"certificate": 0.5, "deed": 0.4, "act": 0.05, "form": 0.06, "receipt": 0.1}


@dataclass(frozen=True)
class Place:
    """Where a hand signs: the middle of the line it signs on, in 1/1000 of the page height."""

    x: float
    y: float
    width: float  # of a usual signature there
    initials: bool = False


def look(template_id: int) -> Look:
    """The same house style for the same id."""
    traits, page = Traits(TEMPLATE_SEED, template_id), kind(template_id)
    language = "ru" if page == "act" else traits.pick("language", text.LANGUAGES)
    if page == "invoice" and traits.chance("european", 0.4):
        language = traits.one_of("european language", ("cs", "pl", "de", "fr"))
    typed = 0.12 if page in ("invoice", "certificate") else 0.4
    roles = {"serif": 0.5 - typed / 2, "sans": 0.5 - typed / 2, "typewriter": typed}
    role = traits.pick("role", roles)
    grey = int(traits.uniform("grey", 0, 70))
    bright = traits.chance("bright", COLOURFUL.get(page, 0.3))
    accent = printed.colour(traits.rng("accent")) if bright else (grey,) * 3
    pale = printed.colour(traits.rng("tint"), light=True)
    company = text.european_company if language in ("cs", "pl", "de") else text.company
    return Look(
        seed=template_id,
        language=language,
        body=text.pick_font(text.BODY_FONTS.get(language, role), traits.rng("body")),
        head=text.pick_font(
            "cyrillic_bold" if language == "ru" else traits.pick("head role", HEADS),
            traits.rng("head"),
        ),
        size=traits.uniform("size", 9.5, 14)
        if page == "invoice"
        else traits.uniform("size", 10.5, 16),
        leading=traits.uniform("leading", 1.08, 1.5),
        ink=(grey,) * 3,
        accent=accent,
        second=printed.colour(traits.rng("second")) if bright else (grey + 90,) * 3,
        tint=pale if bright else (int(traits.uniform("shade", 205, 240)),) * 3,
        paper=printed.colour(traits.rng("paper"), light=True)
        if traits.chance("pastel", PASTEL.get(page, 0.03))
        else printed.WHITE,
        left=traits.uniform("left", 0.06, 0.16),
        right=traits.uniform("right", 0.06, 0.15),
        company=company(traits.rng("company")),
        script_head=traits.chance("script head", 0.2),
        logo=traits.pick("logo", LOGOS),
        emblem=traits.one_of("emblem", art.EMBLEMS),
        panels=traits.one_of("panels", ("filled", "outlined", "both", "bar", "none")),
        roundness=traits.uniform("roundness", 0, 0.5) if traits.chance("rounded", 0.5) else 0.0,
    )


def kind(template_id: int) -> str:
    """The name in SHARES that this id belongs to."""
    return Traits(TEMPLATE_SEED, template_id).pick("kind", SHARES)


def letterhead(sheet: Sheet, rng: np.random.Generator) -> float:
    """Print the head of a letter; returns the y below it."""
    house, y = sheet.look, float(rng.uniform(25, 60))
    centred = rng.random() < 0.5
    middle = sheet.width / 2
    if rng.random() < 0.7:
        size = float(rng.uniform(28, 75))
        x = (
            middle - size / 2
            if centred
            else (sheet.left if rng.random() < 0.7 else sheet.right - size * 1.5)
        )
        (printed.crest if rng.random() < 0.4 else printed.logo)(sheet, x, y, size, rng)
        y += size * (1.1 if centred else 0.2)
    path = text.pick_font("script", rng) if house.script_head else house.head
    size = float(rng.uniform(16, 46 if house.script_head else 30))
    x = middle if centred else sheet.left + 90
    sheet.write(x, y, house.company, size, path, house.accent, "centre" if centred else "left")
    y += size * 1.3
    sheet.write(
        x,
        y,
        text.address(rng),
        house.size * 0.75,
        ink=house.accent,
        align="centre" if centred else "left",
    )
    y += 22
    if rng.random() < 0.3:
        sheet.rule(sheet.left, y, sheet.right, y, float(rng.uniform(0.6, 2.5)), house.accent)
    if rng.random() < 0.15:  # partners down the margins, as law firms print them
        for column in (sheet.left * 0.5, sheet.right - 60):
            for i in range(int(rng.integers(8, 22))):
                sheet.write(column, 60 + i * 8, text.person(rng), 6.5, ink=house.accent)
        y = max(y, 245)
    return y + float(rng.uniform(10, 30))


def footer(sheet: Sheet, rng: np.random.Generator) -> None:
    if rng.random() < 0.5:
        line = f"{sheet.look.company}   {text.address(rng)}   {text.number(10, rng)}"
        sheet.write(
            sheet.width / 2, 975, line, sheet.look.size * 0.6, ink=sheet.look.accent, align="centre"
        )
    if rng.random() < 0.2:
        printed.badge(
            sheet, float(rng.uniform(0.1, 0.9)) * sheet.width, 945, float(rng.uniform(30, 60)), rng
        )
    if rng.random() < 0.12:
        printed.barcode(
            sheet,
            float(rng.uniform(0.05, 0.7)) * sheet.width,
            float(rng.choice((15, 930))),
            55,
            rng,
        )
    if rng.random() < 0.15:
        printed.contact_block(sheet, sheet.left, 915, rng)


def in_a_hand(rng: np.random.Generator) -> tuple[str, Colour]:
    """A handwriting font's path and an ink."""
    return text.pick_font("hand", rng), handwriting.INKS[str(rng.choice(list(handwriting.INKS)))]


def closing(sheet: Sheet, y: float, rng: np.random.Generator) -> tuple[float, list[Place]]:
    """A greeting and names with room above to sign; returns the y below, and the places."""
    house, places = sheet.look, []
    step = house.size * house.leading
    greeting = (
        "Sincerely,",
        "Yours faithfully,",
        "Best regards,",
        "Very truly yours,",
        "Cordially,",
        "Thank you,",
    )
    x = sheet.left if rng.random() < 0.3 else float(rng.uniform(0.45, 0.6)) * sheet.width
    if rng.random() < 0.8:
        by_hand = in_a_hand(rng) if rng.random() < 0.06 else ("", None)
        size = house.size * (1.5 if by_hand[0] else 1.0)
        sheet.write(x, y, text.choice("|".join(greeting), rng, "|"), size, *by_hand)
        y += step
    stacked = rng.random() < 0.5
    for i in range(int(rng.choice((1, 1, 1, 1, 2, 3)))):
        room = float(rng.uniform(18, 55))
        column = x if stacked or i == 0 else sheet.left + (i - 1) * 0.4 * sheet.width
        if stacked or i == 0:
            y += room
        width = float(rng.uniform(90, 220))
        places.append(Place(column + width * 0.45, y, width))
        if rng.random() < 0.25:
            sheet.rule(column, y, column + width, y)
            y += 2
        if rng.random() < 0.9:
            sheet.write(column, y, text.person(rng))
            if rng.random() < 0.7:
                sheet.write(column, y + step, text.choice(text.TITLES, rng, "|"))
        y += step * (2.4 if stacked or i == 0 else 0)
    if rng.random() < 0.5:
        author = "ABCDEFGH"[rng.integers(8)] + "KLMNPRS"[rng.integers(7)]
        sheet.write(sheet.left, y, f"{author}:{text.choice('ab mf jd', rng)}")
        y += step * 1.5
    if rng.random() < 0.5:
        for i in range(int(rng.integers(1, 8))):
            sheet.write(
                sheet.left + (0 if i == 0 else 30), y, ("cc: " if i == 0 else "") + text.person(rng)
            )
            y += step
            if y > 960:
                break
    return y, places


def table(sheet: Sheet, y: float, rows: int, rng: np.random.Generator, ruled: bool = True) -> float:
    columns = int(rng.integers(3, 7))
    edges = np.linspace(sheet.left, sheet.right, columns + 1)
    step = sheet.look.size * float(rng.uniform(1.3, 1.8))
    if ruled and rng.random() < 0.5:
        sheet.box(sheet.left, y, sheet.right, y + step, fill=(215, 215, 215))
    for row in range(rows):
        for i in range(columns):
            cell = (
                text.sentence(sheet.look.language, 2, rng)[:16]
                if i == 0 or row == 0
                else f"{rng.uniform(0, 9999):.2f}"
            )
            sheet.write(float(edges[i]) + 3, y + step * 0.15, cell, sheet.look.size * 0.85)
        if ruled:
            sheet.rule(sheet.left, y, sheet.right, y)
        y += step
    if ruled:
        sheet.rule(sheet.left, y, sheet.right, y)
        for edge in edges:
            sheet.rule(float(edge), y - rows * step, float(edge), y)
    return y + step * 0.5
