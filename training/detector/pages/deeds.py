"""Papers that are signed before an office: deeds on revenue paper, acts of two parties, certified
statements.
"""

import numpy as np

from training.detector.pages import houses, printed, text
from training.detector.pages.houses import Place
from training.detector.pages.sheet import Sheet


def deed(sheet: Sheet, rng: np.random.Generator) -> list[Place]:
    """An agreement or affidavit, on revenue paper or not, with parties, witnesses and a notary."""
    house = sheet.look
    size = float(np.clip(house.size, 12, 15))
    if rng.random() < 0.25:
        printed.watermark(sheet, rng)
    y = printed.revenue_paper(sheet, rng) if rng.random() < 0.55 else float(rng.uniform(40, 90))
    if rng.random() < 0.3:
        across = float(rng.uniform(sheet.left, sheet.width * 0.6))
        stuck = printed.adhesive_stamps(sheet, across, float(rng.uniform(60, 800)), rng)
        sheet.seals.append((*stuck[len(stuck) // 2], "round"))
    if rng.random() < 0.7:
        heading = ("RENT AGREEMENT", "AFFIDAVIT", "SALE DEED", "POWER OF ATTORNEY", "DECLARATION")
        sheet.write(
            sheet.width / 2, y, str(rng.choice(heading)), size * 1.5, house.head, align="centre"
        )
        y += size * 2.6
    end = float(rng.uniform(max(y + 60, 420), 800))
    clause = 1
    while y < end:
        sheet.write(sheet.left, y, f"{clause}.", size)
        y = (
            sheet.paragraph(y, int(rng.integers(2, 7)), left=sheet.left + 26, size=size)
            + size * 0.6
        )
        clause += 1
    y = min(y + float(rng.uniform(25, 70)), 900)
    places = []
    for i, label in enumerate(("Landlord", "Tenant", "DEPONENT", "1.", "2.")[: rng.integers(1, 6)]):
        right = i % 2 == 0 and i < 3
        x = sheet.right - 150 if right else sheet.left
        sheet.write(x, y + 4, label if rng.random() < 0.6 else text.person(rng), size, house.head)
        if rng.random() < 0.4:
            sheet.rule(x, y, x + 140, y)
        places.append(Place(x + 75, y, float(rng.uniform(70, 130))))
        if not right or i == 2:
            y += float(rng.uniform(38, 65))
        if y > 950:
            break
    return places


def act(sheet: Sheet, rng: np.random.Generator) -> list[Place]:
    """A contract or act of two parties in eastern Europe: approvals at the head, at the foot each
    party's details, a line to sign and the place of the seal.
    """
    house, y, places = sheet.look, float(rng.uniform(35, 70)), []
    size = float(np.clip(house.size, 11, 14))
    if rng.random() < 0.4:  # approved by
        x = sheet.width * 0.58
        for line in ("УТВЕРЖДАЮ", "Директор", house.company):
            sheet.write(x, y, line, size)
            y += size * 1.3
        sheet.rule(x, y + 30, x + 130, y + 30)
        sheet.write(x + 135, y + 30 - size, text.choice(text.CYRILLIC_NAMES, rng), size)
        places.append(Place(x + 65, y + 30, float(rng.uniform(60, 110))))
        y += 60
    title = ("АКТ ПРИЁМА-ПЕРЕДАЧИ", "ДОГОВОР ОКАЗАНИЯ УСЛУГ", "ПРОТОКОЛ", "СПРАВКА", "РЕШЕНИЕ")
    sheet.write(sheet.width / 2, y, str(rng.choice(title)), size * 1.3, house.head, align="centre")
    y += size * 3
    end = float(rng.uniform(380, 720))
    while y < end:
        y = sheet.paragraph(y, int(rng.integers(2, 8)), indent=30, size=size) + size * 0.4
        if rng.random() < 0.12:
            y = houses.table(sheet, y, int(rng.integers(3, 7)), rng)
    columns = 2 if rng.random() < 0.6 else 1
    top = min(y + 20, 800.0)
    for column in range(columns):
        x = sheet.left + column * (sheet.right - sheet.left) / 2
        y = top
        if columns > 1:
            for line in (
                "Исполнитель:" if column else "Заказчик:",
                text.choice(text.CYRILLIC_OFFICES, rng, "|")[:30],
                f"ИНН {text.number(10, rng)}",
                f"р/с {text.number(20, rng)}",
            ):
                sheet.write(x, y, line, size * 0.9)
                y += size * 1.25
        line_y = y + float(rng.uniform(35, 60))
        for row in range(1 if columns > 1 else int(rng.integers(1, 4))):
            post = text.choice("Директор|Председатель|Секретарь|Гл. бухгалтер|Судья", rng, "|")
            after = sheet.write(x, line_y - size, post, size)
            sheet.rule(after + 8, line_y, after + 118, line_y)
            initials = text.choice("А.В. И.П. Н.С. Е.К.", rng)
            name = f"{initials} {text.choice(text.CYRILLIC_NAMES, rng)}"
            sheet.write(after + 124, line_y - size, name, size)
            places.append(Place(after + 60, line_y, float(rng.uniform(60, 110))))
            if row == 0:
                beside = (after + float(rng.uniform(-40, 90)), line_y + float(rng.uniform(-25, 35)))
                sheet.seals.append((*beside, "rings"))
                sheet.write(x + 10, line_y + size * 0.8, "М.П.", size * 0.9)
            line_y += float(rng.uniform(35, 55))
    return places


def statement(sheet: Sheet, rng: np.random.Generator) -> list[Place]:
    """A balance sheet or report whose copy is certified somewhere low on the page."""
    house, y = sheet.look, float(rng.uniform(50, 90))
    for line, size in (
        (house.company, 15.0),
        ("Statement of Financial Position", 14.0),
        (text.date(rng), 12.0),
    ):
        sheet.write(sheet.width / 2, y, line, size, house.head, align="centre")
        y += size * 1.6
    end = float(rng.uniform(550, 850))
    y += 20
    while y < end:
        sheet.write(
            sheet.left, y, text.sentence(house.language, int(rng.integers(2, 5)), rng), house.size
        )
        for edge in (0.15, 0.0):
            sheet.write(
                sheet.right - edge * sheet.width,
                y,
                f"{rng.uniform(0, 9e6):,.0f}",
                house.size,
                align="right",
            )
        if rng.random() < 0.15:
            sheet.rule(
                sheet.right - 0.28 * sheet.width,
                y + house.size * 1.2,
                sheet.right,
                y + house.size * 1.2,
            )
        y += house.size * 1.5
    across = float(rng.uniform(0.25, 0.75)) * sheet.width
    sheet.seals.append((across, float(rng.uniform(700, 900)), "certified"))
    return []
