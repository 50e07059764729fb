"""Page templates: what is printed on a page, and where hands sign it.

A template prints on a sheet and returns its signing places. One template id stands for one house:
its kind of page, fonts, colours, letterhead and margins.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from training.detector.pages import handwriting, lookalikes, text
from training.detector.pages.sheet import Colour, Look, Sheet

TEMPLATE_SEED = 7103


@dataclass(frozen=True)
class Place:
    """Where a hand signs: the middle of the line it signs on, in 1/1000 of the page height."""

    x: float
    y: float
    width: float  # of a usual signature there
    initials: bool = False


def look(template_id: int) -> Look:
    """The same house style for the same id."""
    rng = np.random.default_rng((TEMPLATE_SEED, template_id))
    language = str(rng.choice(text.LANGUAGES))
    role = str(rng.choice(("serif", "sans", "typewriter"), p=(0.28, 0.27, 0.45)))
    grey = int(rng.integers(0, 70))
    if rng.random() < 0.6:
        accent = (grey, grey, grey)
    else:
        red, green, blue = (int(shade) for shade in rng.integers(0, 160, 3))
        accent = (red, green, blue)
    return Look(
        language=language,
        body=text.pick_font(text.BODY_FONTS.get(language, role), rng),
        head=text.pick_font("bold", rng),
        size=float(rng.uniform(10.5, 16)),
        leading=float(rng.uniform(1.08, 1.5)),
        ink=(grey, grey, grey),
        accent=accent,
        left=float(rng.uniform(0.08, 0.16)),
        right=float(rng.uniform(0.06, 0.15)),
        company=text.company(rng),
        script_head=bool(rng.random() < 0.25),
    )


def kind(template_id: int) -> str:
    """The name in TEMPLATES that this id belongs to."""
    rng = np.random.default_rng((TEMPLATE_SEED, template_id, 1))
    shares = np.array([share for _, share in TEMPLATES.values()])
    return str(rng.choice(list(TEMPLATES), p=shares / shares.sum()))


def _letterhead(sheet: Sheet, rng: np.random.Generator) -> float:
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
        (lookalikes.crest if rng.random() < 0.4 else lookalikes.logo)(sheet, x, y, size, rng)
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


def _footer(sheet: Sheet, rng: np.random.Generator) -> None:
    if rng.random() < 0.5:
        line = f"{sheet.look.company}   {text.address(rng)}   {text.number(10, rng)}"
        sheet.write(
            sheet.width / 2, 975, line, sheet.look.size * 0.6, ink=sheet.look.accent, align="centre"
        )
    if rng.random() < 0.2:
        lookalikes.printed_seal(
            sheet, float(rng.uniform(0.1, 0.9)) * sheet.width, 945, float(rng.uniform(30, 60)), rng
        )
    if rng.random() < 0.12:
        lookalikes.barcode(
            sheet,
            float(rng.uniform(0.05, 0.7)) * sheet.width,
            float(rng.choice((15, 930))),
            55,
            rng,
        )


def _by_hand(rng: np.random.Generator) -> tuple[str, Colour]:
    """A handwriting font's path and an ink."""
    return text.pick_font("hand", rng), handwriting.INKS[str(rng.choice(list(handwriting.INKS)))]


def _closing(sheet: Sheet, y: float, rng: np.random.Generator) -> tuple[float, list[Place]]:
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
    x = sheet.left if rng.random() < 0.5 else float(rng.uniform(0.45, 0.6)) * sheet.width
    if rng.random() < 0.8:
        by_hand = _by_hand(rng) if rng.random() < 0.06 else ("", None)
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


def _table(
    sheet: Sheet, y: float, rows: int, rng: np.random.Generator, ruled: bool = True
) -> float:
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


def letter(sheet: Sheet, rng: np.random.Generator) -> list[Place]:
    house = sheet.look
    step = house.size * house.leading
    y = _letterhead(sheet, rng) if rng.random() < 0.75 else float(rng.uniform(40, 90))
    x = sheet.left if rng.random() < 0.4 else sheet.width * 0.6
    if rng.random() < 0.12:
        end = sheet.write(x, y, "Date:" if rng.random() < 0.7 else "")
        sheet.rule(end + 5, y + step, end + 120, y + step)
        sheet.dates.append((end + 12, y + step))
    else:
        sheet.write(x, y, text.date(rng))
    y += step * float(rng.uniform(1.5, 3))
    for line in (text.person(rng), text.company(rng), text.address(rng))[: rng.integers(4)]:
        sheet.write(sheet.left, y, line)
        y += step
    y += step
    if rng.random() < 0.5:
        sheet.write(
            sheet.left + 30, y, "Re: " + text.sentence(house.language, 5, rng), path=house.head
        )
        y += step * 1.6
    greeting = f"Dear {text.choice(text.SURNAMES, rng)}:"
    if rng.random() < 0.08:  # by hand, over a typed letter
        sheet.write(sheet.left, y - step * 0.6, greeting, house.size * 1.7, *_by_hand(rng))
    else:
        sheet.write(sheet.left, y, greeting)
    y += step * 1.6
    end = float(rng.uniform(0.45, 0.85)) * 1000
    while y < end - 4 * step:
        y = (
            sheet.paragraph(y, int(rng.integers(2, 8)), indent=30 if rng.random() < 0.5 else 0)
            + step * 0.7
        )
        if rng.random() < 0.12 and y < end - 12 * step:
            y = _table(sheet, y, int(rng.integers(3, 7)), rng, ruled=rng.random() < 0.5)
    _, places = _closing(sheet, min(y + 8, 880), rng)
    _footer(sheet, rng)
    return places


def continuation(sheet: Sheet, rng: np.random.Generator) -> list[Place]:
    """The last page of a letter: a few lines, the closing, and much empty paper."""
    step = sheet.look.size * sheet.look.leading
    y = float(rng.uniform(30, 120))
    for line in (text.person(rng), text.date(rng), f"Page {rng.integers(2, 5)}")[: rng.integers(4)]:
        sheet.write(sheet.left, y, line)
        y += step
    for _ in range(int(rng.integers(1, 5))):
        y = sheet.paragraph(y + step, int(rng.integers(1, 8)))
    _, places = _closing(sheet, min(y + 10, 880), rng)
    return places


def memo(sheet: Sheet, rng: np.random.Generator) -> list[Place]:
    house = sheet.look
    step = house.size * house.leading
    y = float(rng.uniform(25, 70))
    if rng.random() < 0.6:
        lookalikes.logo(sheet, sheet.left, y, float(rng.uniform(25, 60)), rng)
    heading = str(rng.choice(("Memorandum", "MEMORANDUM", "INTER-OFFICE MEMO", house.company)))
    sheet.write(sheet.right, y, heading, float(rng.uniform(14, 24)), house.head, align="right")
    y += float(rng.uniform(50, 90))
    places = []
    filled = _by_hand(rng) if rng.random() < 0.2 else ("", None)
    size = house.size * (1.4 if filled[0] else 1.0)
    for field in ("TO:", "FROM:", "DATE:", "SUBJECT:"):
        value = text.date(rng) if field == "DATE:" else text.person(rng)
        sheet.write(sheet.left, y, field, path=house.head)
        end = sheet.write(sheet.left + 90, y + house.size - size, value, size, *filled)
        if field == "FROM:" and rng.random() < 0.4:
            places.append(
                Place(end + 35, y + step * 0.8, float(rng.uniform(30, 60)), initials=True)
            )
        y += step * 1.4
    if rng.random() < 0.7:
        sheet.rule(sheet.left, y, sheet.right, y, 1.5)
    end = float(rng.uniform(0.35, 0.8)) * 1000
    while y < end:
        y = sheet.paragraph(y + step, int(rng.integers(2, 7)))
        if rng.random() < 0.25 and y < end - 100:
            y = _table(sheet, y + step, int(rng.integers(3, 9)), rng, ruled=rng.random() < 0.4)
    _, more = _closing(sheet, min(y + 10, 860), rng)
    return places + more


def form(sheet: Sheet, rng: np.random.Generator) -> list[Place]:
    """Bank, loan and identity forms: sections, boxed fields, character cells, tick boxes."""
    house = sheet.look
    lookalikes.logo(sheet, sheet.left, 25, float(rng.uniform(25, 50)), rng)
    heading = (
        "ACCOUNT OPENING FORM",
        "LOAN APPLICATION",
        "KNOW YOUR CUSTOMER",
        "CLAIM FORM",
        "MANDATE",
    )
    sheet.write(
        sheet.width / 2,
        32,
        text.choice("|".join(heading), rng, "|"),
        float(rng.uniform(15, 24)),
        house.head,
        align="centre",
    )
    if rng.random() < 0.35:
        lookalikes.barcode(sheet, sheet.right - 130, 20, 50, rng)
    y, end = 90.0, float(rng.uniform(620, 830))
    if rng.random() < 0.3:  # room for a photograph
        sheet.box(sheet.right - 90, y, sheet.right, y + 110)
        right = sheet.right - 100
    else:
        right = sheet.right
    places = []
    while y < end:
        sheet.box(
            sheet.left,
            y,
            right,
            y + 16,
            fill=(225, 225, 225) if rng.random() < 0.6 else house.accent,
        )
        sheet.write(
            sheet.left + 4, y + 2, text.sentence(house.language, 3, rng).upper(), 10, house.head
        )
        y += 22
        for _ in range(int(rng.integers(2, 7))):
            columns = int(rng.integers(1, 4))
            step = (right - sheet.left) / columns
            for i in range(columns):
                x = sheet.left + i * step
                sheet.write(x, y + 4, text.sentence(house.language, 2, rng)[:18], 9)
                style, start = rng.random(), x + min(90.0, step * 0.4)
                if style < 0.35:
                    sheet.box(start, y, x + step - 5, y + 17)
                elif style < 0.7:
                    sheet.rule(start, y + 16, x + step - 5, y + 16, 0.5)
                else:
                    for cell in range(int((x + step - 8 - start) / 13)):
                        sheet.box(
                            start + cell * 13, y + 1, start + cell * 13 + 12, y + 16, width=0.5
                        )
                if rng.random() < 0.6:
                    path = text.pick_font("hand", rng) if rng.random() < 0.5 else house.body
                    sheet.write(start + 4, y + 2, text.choice(text.SURNAMES, rng).upper(), 13, path)
            y += 23
        y += 6
        right = right if y < 210 else sheet.right
    y = sheet.paragraph(y + 6, int(rng.integers(2, 5)), size=house.size * 0.75)
    y += float(rng.uniform(40, 75))
    count = int(rng.integers(1, 4))
    step = (sheet.right - sheet.left) / count
    boxed = rng.random() < 0.4
    for i in range(count):
        x = sheet.left + i * step
        width = min(step * 0.85, 190.0)
        if boxed:
            sheet.box(x, y - 45, x + width, y + 6)
        else:
            sheet.rule(x, y, x + width, y)
        label = str(
            rng.choice(
                ("Signature of applicant", "Authorised signatory", "Signature", "Date", "Guarantor")
            )
        )
        sheet.write(x, y + 8, label, 9)
        if label != "Date":
            places.append(Place(x + width / 2, y - 2, width * 0.8))
        elif rng.random() < 0.8:
            sheet.dates.append((x + 0.1 * width, y))
    return places


def contract(sheet: Sheet, rng: np.random.Generator) -> list[Place]:
    house = sheet.look
    size = min(house.size, 12.5)
    y = float(rng.uniform(35, 70))
    if rng.random() < 0.6:
        sheet.write(sheet.width / 2, y, "AGREEMENT", 20, house.head, align="centre")
        y += 45
    end, clause = float(rng.uniform(380, 720)), int(rng.integers(1, 20))
    while y < end:
        sheet.write(sheet.left, y, f"{clause}.", size)
        y = (
            sheet.paragraph(y, int(rng.integers(2, 7)), left=sheet.left + 26, size=size)
            + size * 0.8
        )
        clause += 1
    y = sheet.paragraph(y, 2, size=size) + 10
    places = []
    columns = int(rng.choice((1, 2, 2)))
    for row in range(int(rng.integers(1, 4))):
        if y > 850:
            break
        for column in range(columns):
            x = sheet.left + column * (sheet.right - sheet.left) / 2
            width = float(rng.uniform(170, 230)) if columns > 1 else 250.0
            line = y + 55
            sheet.write(
                x, y + 4, text.company(rng).upper() if row == 0 else "Witness:", size, house.head
            )
            sheet.write(x, line - size, "By:", size)
            sheet.rule(x + 26, line, x + width, line)
            places.append(Place(x + width * 0.55, line, width * 0.75))
            for i, label in enumerate(
                (
                    "Name: " + text.person(rng),
                    "Title: " + text.choice(text.TITLES, rng, "|"),
                    "Date:",
                )
            ):
                if rng.random() < 0.75:
                    below = line + 5 + i * size * 1.3
                    end = sheet.write(x, below, label, size)
                    if label == "Date:" and rng.random() < 0.5:
                        sheet.dates.append((end + 8, below + size))
        y += 55 + 4.5 * size
    if rng.random() < 0.35:  # each page initialled at the foot
        places.append(Place(sheet.right - 40, 955, 40, initials=True))
    return places


def invoice(sheet: Sheet, rng: np.random.Generator) -> list[Place]:
    house = sheet.look
    y = _letterhead(sheet, rng)
    sheet.write(
        sheet.right,
        y,
        str(rng.choice(("INVOICE", "RECEIPT", "STATEMENT", "PURCHASE ORDER"))),
        24,
        house.head,
        align="right",
    )
    y += 36
    for i in range(4):
        sheet.write(
            sheet.left,
            y + i * 17,
            (text.person(rng), text.address(rng), f"No. {text.number(7, rng)}", text.date(rng))[i],
        )
    y = _table(sheet, y + 85, int(rng.integers(4, 18)), rng)
    for label in ("Subtotal", "Tax", "TOTAL"):
        sheet.write(sheet.right - 150, y, label)
        sheet.write(sheet.right, y, f"{rng.uniform(10, 99999):,.2f}", align="right")
        y += 18
    y = min(y + float(rng.uniform(40, 90)), 900)
    x = float(rng.choice((sheet.left, sheet.right - 170)))
    sheet.rule(x, y, x + 160, y)
    sheet.write(x, y + 4, f"For {house.company}", 10)
    _footer(sheet, rng)
    short = bool(rng.random() < 0.4)  # as tall as wide
    return [Place(x + 80, y, float(rng.uniform(60, 125)), initials=short)]


def certificate(sheet: Sheet, rng: np.random.Generator) -> list[Place]:
    house = sheet.look
    for i in range(int(rng.integers(0, 4))):
        inset = 18 + i * float(rng.uniform(6, 14))
        sheet.box(
            inset,
            inset,
            sheet.width - inset,
            1000 - inset,
            width=float(rng.uniform(0.8, 5)),
            ink=house.accent,
        )
    if rng.random() < 0.35:
        size, turns = float(rng.uniform(50, 120)), float(rng.uniform(1.2, 2.5))
        for edge in (30 + size / 2, 970 - size / 2):
            lookalikes.flourish(sheet, 25, edge, size, turns)
            lookalikes.flourish(sheet, sheet.width - 25, edge, -size, turns)
    y = float(rng.uniform(70, 110))
    if rng.random() < 0.3:
        lookalikes.banner(sheet, y, house.company)
        y += 80
    else:
        lookalikes.crest(sheet, sheet.width / 2 - 45, y, 90, rng)
        y += 120
    for line, size, path in (
        (house.company, 30.0, house.head),
        (
            str(
                rng.choice(
                    ("Certificate of Merit", "Certificate", "Diploma", "Letter of Appointment")
                )
            ),
            44.0,
            text.pick_font("script", rng),
        ),
        (text.sentence(house.language, 6, rng), 17.0, house.body),
        (text.person(rng), 40.0, text.pick_font("script", rng)),
        (text.sentence(house.language, 8, rng), 17.0, house.body),
        (text.sentence(house.language, 7, rng), 17.0, house.body),
        (text.date(rng), 16.0, house.body),
    ):
        if y < 700:
            sheet.write(sheet.width / 2, y, line, size, path, align="centre")
            y += size * float(rng.uniform(1.5, 2.2))
    if rng.random() < 0.3:
        lookalikes.printed_seal(
            sheet, sheet.width * float(rng.uniform(0.2, 0.8)), 830, float(rng.uniform(80, 130)), rng
        )
    places = []
    count = int(rng.integers(1, 4))
    for row in range(int(rng.choice((1, 1, 2)))):
        for i in range(count):
            x = sheet.width * (i + 0.5) / count
            base = 790.0 + row * 80
            sheet.rule(x - 75, base, x + 75, base)
            sheet.write(x, base + 4, text.choice(text.TITLES, rng, "|"), 11, align="centre")
            places.append(Place(x, base, float(rng.uniform(90, 150))))
    return places


def petition(sheet: Sheet, rng: np.random.Generator) -> list[Place]:
    """Names in rows or two columns, each with a line to sign: attendance lists, resolutions."""
    house = sheet.look
    y = float(rng.uniform(40, 150))
    sheet.write(
        sheet.width / 2,
        y,
        text.sentence(house.language, 4, rng).upper(),
        15,
        house.head,
        align="centre",
    )
    y = sheet.paragraph(y + 40, int(rng.integers(1, 6))) + 30
    table, columns = rng.random() < 0.4, int(rng.choice((1, 2)))
    step = float(rng.uniform(34, 60))
    width = float(rng.uniform(100, 190))
    places = []
    for _ in range(int(rng.integers(3, 9))):
        if y > 920:
            break
        if table:
            sheet.rule(sheet.left, y + 6, sheet.right, y + 6)
        for column in range(columns):
            x = sheet.left + column * (sheet.right - sheet.left) / 2
            if table or columns == 1:
                sheet.write(x, y - house.size, text.person(rng))
                x += 190 if columns == 1 else 120
            else:
                sheet.rule(x, y, x + width, y)
                sheet.write(x, y + 2, text.person(rng), house.size * 0.8)
            places.append(Place(x + width / 2, y, width * 0.85))
        y += step
    return places


def table_page(sheet: Sheet, rng: np.random.Generator) -> list[Place]:
    house = sheet.look
    sheet.write(sheet.left, 40, text.sentence(house.language, 5, rng), 18, house.head)
    y = 80.0
    while y < 800:
        y = _table(sheet, y, int(rng.integers(4, 16)), rng, ruled=rng.random() < 0.6)
        y = sheet.paragraph(y, int(rng.integers(1, 6))) + 10
    return [Place(sheet.right - 90, y + 40, 130)] if y < 930 else []


def manuscript(sheet: Sheet, rng: np.random.Generator) -> list[Place]:
    """A page to be filled by hand; the hand comes later, with its own note."""
    step = float(rng.uniform(26, 40))
    y = _letterhead(sheet, rng) if rng.random() < 0.5 else 60.0
    path, rows = text.pick_font("hand", rng), int(rng.integers(5, 18))
    ruled = rng.random() < 0.4
    ink = (20, 20, 30) if rng.random() < 0.5 else (30, 45, 110)
    for _ in range(rows):
        line = text.sentence("en", int(rng.integers(4, 9)), rng)
        sheet.write(
            sheet.left + float(rng.normal(0, 4)),
            y + float(rng.normal(0, 2)),
            line,
            step * 0.75,
            path,
            ink,
        )
        if ruled:
            sheet.rule(
                sheet.left, y + step * 0.85, sheet.right, y + step * 0.85, 0.4, (150, 160, 190)
            )
        y += step
        if y > 850:
            break
    return [Place(sheet.right - 120, y + 35, float(rng.uniform(100, 200)))]


def sparse(sheet: Sheet, rng: np.random.Generator) -> list[Place]:
    """A cover sheet, a plate or an all but empty page; nobody signs it."""
    if rng.random() < 0.7:
        sheet.write(
            sheet.width / 2,
            float(rng.uniform(100, 600)),
            sheet.look.company,
            30,
            sheet.look.head,
            align="centre",
        )
    if rng.random() < 0.5:
        x, y = float(rng.uniform(40, 300)), float(rng.uniform(100, 500))
        shades = rng.integers(40, 250, 9)
        for i, shade in enumerate(shades):
            left, top = x + 80 * (i % 3), y + 80 * (i // 3)
            sheet.box(left, top, left + 78, top + 78, fill=(int(shade),) * 3)
    return []


TEMPLATES: dict[str, tuple[Callable[[Sheet, np.random.Generator], list[Place]], float]] = {
    "letter": (letter, 0.25),
    "continuation": (continuation, 0.08),
    "memo": (memo, 0.13),
    "form": (form, 0.11),
    "contract": (contract, 0.1),
    "invoice": (invoice, 0.14),
    "certificate": (certificate, 0.05),
    "petition": (petition, 0.05),
    "table": (table_page, 0.04),
    "manuscript": (manuscript, 0.03),
    "sparse": (sparse, 0.02),
}
