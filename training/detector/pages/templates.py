"""Page templates: what is printed on a page, and where hands sign it.

A template prints on a sheet and returns its signing places. Invoices and deeds stand in files of
their own.
"""

from collections.abc import Callable

import numpy as np

from training.detector.pages import deeds, houses, invoices, printed, text
from training.detector.pages.houses import Place
from training.detector.pages.sheet import Sheet


def letter(sheet: Sheet, rng: np.random.Generator) -> list[Place]:
    house = sheet.look
    step = house.size * house.leading
    y = houses.letterhead(sheet, rng) if rng.random() < 0.75 else float(rng.uniform(40, 90))
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
        sheet.write(sheet.left, y - step * 0.6, greeting, house.size * 1.7, *houses.in_a_hand(rng))
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
            y = houses.table(sheet, y, int(rng.integers(3, 7)), rng, ruled=rng.random() < 0.5)
    _, places = houses.closing(sheet, min(y + 8, 880), rng)
    houses.footer(sheet, rng)
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
    _, places = houses.closing(sheet, min(y + 10, 880), rng)
    return places


def memo(sheet: Sheet, rng: np.random.Generator) -> list[Place]:
    house = sheet.look
    step = house.size * house.leading
    y = float(rng.uniform(25, 70))
    if rng.random() < 0.6:
        printed.logo(sheet, sheet.left, y, float(rng.uniform(25, 60)), rng)
    heading = str(rng.choice(("Memorandum", "MEMORANDUM", "INTER-OFFICE MEMO", house.company)))
    sheet.write(sheet.right, y, heading, float(rng.uniform(14, 24)), house.head, align="right")
    y += float(rng.uniform(50, 90))
    places = []
    filled = houses.in_a_hand(rng) if rng.random() < 0.2 else ("", None)
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
            y = houses.table(
                sheet, y + step, int(rng.integers(3, 9)), rng, ruled=rng.random() < 0.4
            )
    _, more = houses.closing(sheet, min(y + 10, 860), rng)
    return places + more


def form(sheet: Sheet, rng: np.random.Generator) -> list[Place]:
    """Bank, loan and identity forms: sections, boxed fields, character cells, tick boxes."""
    house = sheet.look
    printed.logo(sheet, sheet.left, 25, float(rng.uniform(25, 50)), rng)
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
        printed.barcode(sheet, sheet.right - 130, 20, 50, rng)
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


def certificate(sheet: Sheet, rng: np.random.Generator) -> list[Place]:
    house = sheet.look
    if rng.random() < 0.35:
        printed.watermark(sheet, rng)
    if rng.random() < 0.35:  # a woven border
        for edge in (22.0, 962.0):
            printed.fine_lines(
                sheet, (20, edge - 8, sheet.width - 20, edge + 24), house.accent, rng
            )
        for corner in (45.0, sheet.width - 45):
            printed.rosette(sheet, corner, 45, 26, house.second, rng)
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
            printed.flourish(sheet, 25, edge, size, turns)
            printed.flourish(sheet, sheet.width - 25, edge, -size, turns)
    y = float(rng.uniform(70, 110))
    if rng.random() < 0.3:
        printed.banner(sheet, y, house.company)
        y += 80
    else:
        printed.crest(sheet, sheet.width / 2 - 45, y, 90, rng)
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
        printed.badge(
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
        y = houses.table(sheet, y, int(rng.integers(4, 16)), rng, ruled=rng.random() < 0.6)
        y = sheet.paragraph(y, int(rng.integers(1, 6))) + 10
    return [Place(sheet.right - 90, y + 40, 130)] if y < 930 else []


def manuscript(sheet: Sheet, rng: np.random.Generator) -> list[Place]:
    """A page to be filled by hand; the hand comes later, with its own note."""
    step = float(rng.uniform(26, 40))
    y = houses.letterhead(sheet, rng) if rng.random() < 0.5 else 60.0
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


TEMPLATES: dict[str, Callable[[Sheet, np.random.Generator], list[Place]]] = {
    "letter": letter,
    "continuation": continuation,
    "memo": memo,
    "form": form,
    "contract": contract,
    "invoice": invoices.invoice,
    "certificate": certificate,
    "deed": deeds.deed,
    "act": deeds.act,
    "statement": deeds.statement,
    "petition": petition,
    "table": table_page,
    "manuscript": manuscript,
    "receipt": invoices.receipt,
    "sparse": sparse,
}
