"""Invoices in eight layouts, made of parts that the house's style colours, and till receipts."""

from collections.abc import Callable

import numpy as np

from training.detector.pages import houses, printed, text
from training.detector.pages.houses import Place
from training.detector.pages.sheet import Sheet
from training.detector.pages.traits import Traits

TITLES = {
    "cs": "FAKTURA|FAKTURA - DAŇOVÝ DOKLAD|DODACÍ LIST|OBJEDNÁVKA",
    "pl": "FAKTURA VAT|FAKTURA|RACHUNEK",
    "de": "RECHNUNG|LIEFERSCHEIN|GUTSCHRIFT",
    "fr": "FACTURE|DEVIS|BON DE LIVRAISON",
    "ru": "СЧЁТ НА ОПЛАТУ|СЧЁТ-ФАКТУРА|НАКЛАДНАЯ",
}
ENGLISH = (
    "INVOICE|TAX INVOICE|RECEIPT|STATEMENT|PURCHASE ORDER|PROFORMA INVOICE|DELIVERY NOTE|QUOTE"
)
Part = Callable[[Sheet, float, np.random.Generator], float]


def _title(sheet: Sheet, rng: np.random.Generator) -> str:
    return text.choice(TITLES.get(sheet.look.language, ENGLISH), rng, "|")


def _number(rng: np.random.Generator) -> str:
    return (
        f"No. {text.number(7, rng)}"
        if rng.random() < 0.5
        else f"{rng.integers(2000, 2027)}/{text.number(4, rng)}"
    )


def _party(sheet: Sheet, rng: np.random.Generator) -> list[str]:
    name = text.european_company(rng) if sheet.look.language != "en" else text.company(rng)
    lines = [name, text.address(rng), text.tax_number(rng), text.phone(rng), text.site(name, rng)]
    return lines[: rng.integers(2, 6)]


def letterhead(sheet: Sheet, y: float, rng: np.random.Generator) -> float:
    y = houses.letterhead(sheet, rng)
    sheet.write(sheet.right, y, _title(sheet, rng), 24, sheet.look.head, align="right")
    return y + 36


def logo_and_title(sheet: Sheet, y: float, rng: np.random.Generator) -> float:
    """A logo at the left, the title and number at the right, or the other way round."""
    house, size = sheet.look, float(rng.uniform(35, 80))
    logo_x, edge, align = (sheet.left, sheet.right, "right")
    if house.seed % 3 == 0:
        logo_x, edge, align = (sheet.right - size * 1.6, sheet.left, "left")
    printed.logo(sheet, logo_x, y, size, rng)
    sheet.write(
        edge, y, _title(sheet, rng), float(rng.uniform(20, 34)), house.head, house.accent, align
    )
    for i, line in enumerate((_number(rng), text.date(rng))):
        sheet.write(edge, y + 42 + i * 16, line, align=align)
    return y + max(size, 78) + 15


def colour_band(sheet: Sheet, y: float, rng: np.random.Generator) -> float:
    """A filled band across the head with the title in white."""
    tall = float(rng.uniform(70, 150))
    sheet.box(0, 0, sheet.width, tall, fill=sheet.look.accent, ink=sheet.look.accent)
    sheet.write(
        sheet.left, tall * 0.25, _title(sheet, rng), tall * 0.35, sheet.look.head, printed.WHITE
    )
    sheet.write(sheet.right, tall * 0.3, sheet.look.company, 15, ink=printed.WHITE, align="right")
    if rng.random() < 0.4:
        printed.photograph(sheet, sheet.right - 110, 8, 100, tall - 16, rng, seed=sheet.look.seed)
    return tall + float(rng.uniform(15, 40))


def grid_head(sheet: Sheet, y: float, rng: np.random.Generator) -> float:
    """A form's head: cells with small labels, as accounting programs print them."""
    house = sheet.look
    sheet.write(sheet.left, y, house.company, 15, house.head, house.accent)
    sheet.write(sheet.right, y, _title(sheet, rng), 17, house.head, align="right")
    y += 26
    rows, columns = int(rng.integers(2, 5)), int(rng.integers(2, 4))
    wide, tall = (sheet.right - sheet.left) / columns, float(rng.uniform(28, 60))
    for i in range(rows * columns):
        x0, y0 = sheet.left + i % columns * wide, y + i // columns * tall
        fill = house.tint if rng.random() < 0.25 else None
        sheet.box(x0, y0, x0 + wide, y0 + tall, fill=fill, width=0.6)
        sheet.write(x0 + 4, y0 + 2, text.sentence(house.language, 2, rng)[:-1], 7.5)
        if rng.random() < 0.75:
            value = (
                text.date(rng) if rng.random() < 0.3 else text.number(int(rng.integers(3, 11)), rng)
            )
            sheet.write(x0 + 10, y0 + tall * 0.45, value, house.size)
    return y + rows * tall + 12


def plain_head(sheet: Sheet, y: float, rng: np.random.Generator) -> float:
    """A few typed lines and no more."""
    for line in (
        sheet.look.company,
        text.address(rng),
        text.phone(rng),
        "",
        f"{_title(sheet, rng)} {_number(rng)}",
    ):
        sheet.write(sheet.left, y, line, path=sheet.look.head if line.isupper() else "")
        y += sheet.look.size * 1.35
    return y + 12


def side_column(sheet: Sheet, y: float, rng: np.random.Generator) -> float:
    """A coloured column down the left edge with the logo and contacts; moves the left margin."""
    wide = float(rng.uniform(120, 180))
    sheet.box(0, 0, wide, 1000, fill=sheet.look.tint, ink=sheet.look.tint)
    printed.logo(sheet, 20, 40, wide * 0.45, rng)
    printed.contact_block(sheet, 14, 160 + wide * 0.4, rng)
    sheet.left = wide + 15
    sheet.write(sheet.left, y, _title(sheet, rng), 28, sheet.look.head, sheet.look.accent)
    return y + 55


def two_panels(sheet: Sheet, y: float, rng: np.random.Generator) -> float:
    """Supplier and customer side by side in the house's boxes."""
    wide = (sheet.right - sheet.left) / 2 - 8
    heads = ("Dodavatel", "Odběratel") if sheet.look.language == "cs" else ("From", "Bill to")
    ends = [
        printed.panel_of_lines(
            sheet, sheet.left + i * (wide + 16), y, wide, _party(sheet, rng), rng, heading
        )
        for i, heading in enumerate(heads)
    ]
    return max(ends) + 14


def address_lines(sheet: Sheet, y: float, rng: np.random.Generator) -> float:
    x = sheet.left if rng.random() < 0.6 else sheet.width * 0.55
    for line in _party(sheet, rng):
        sheet.write(x, y, line)
        y += sheet.look.size * 1.35
    return y + 15


def ruled_table(sheet: Sheet, y: float, rng: np.random.Generator) -> float:
    return houses.table(sheet, y, int(rng.integers(4, 20)), rng)


def open_table(sheet: Sheet, y: float, rng: np.random.Generator) -> float:
    return houses.table(sheet, y, int(rng.integers(2, 12)), rng, ruled=False)


def striped_table(sheet: Sheet, y: float, rng: np.random.Generator) -> float:
    """A coloured head, rows shaded in turn, no upright rules."""
    house, columns = sheet.look, int(rng.integers(4, 7))
    step = house.size * float(rng.uniform(1.5, 2.3))
    edges = [
        sheet.left,
        *np.linspace(sheet.left + 0.4 * (sheet.right - sheet.left), sheet.right, columns),
    ]
    for row in range(int(rng.integers(4, 18))):
        fill = house.accent if row == 0 else house.tint if row % 2 else None
        if fill:
            sheet.box(sheet.left, y, sheet.right, y + step, fill=fill, ink=fill)
        ink = printed.WHITE if row == 0 else None
        sheet.write(
            sheet.left + 4,
            y + step * 0.2,
            text.sentence(house.language, 3, rng)[:30],
            house.size * 0.85,
            ink=ink,
        )
        for edge in edges[2:]:
            cell = (
                text.sentence(house.language, 1, rng)[:8]
                if row == 0
                else f"{rng.uniform(0, 9999):.2f}"
            )
            sheet.write(
                float(edge) - 4, y + step * 0.2, cell, house.size * 0.85, ink=ink, align="right"
            )
        y += step
    sheet.rule(sheet.left, y, sheet.right, y, 1, house.accent)
    return y + 12


def total_lines(sheet: Sheet, y: float, rng: np.random.Generator) -> float:
    for label in ("Subtotal", "Tax", "TOTAL"):
        sheet.write(sheet.right - 150, y, label)
        sheet.write(sheet.right, y, f"{rng.uniform(10, 99999):,.2f}", align="right")
        y += 18
    return y


def total_panel(sheet: Sheet, y: float, rng: np.random.Generator) -> float:
    """The sum in a box of its own, large, filled or outlined: as wide as a stamp."""
    house = sheet.look
    wide, tall = float(rng.uniform(140, 260)), float(rng.uniform(34, 60))
    x, filled = sheet.right - wide, house.panels in ("filled", "bar")
    sheet.panel(
        x,
        y,
        sheet.right,
        y + tall,
        house.accent if filled else None,
        house.accent,
        house.roundness * 30,
    )
    ink = printed.WHITE if filled else house.accent
    sheet.write(
        x + 8,
        y + tall * 0.3,
        str(rng.choice(("TOTAL", "Celkem", "Razem", "Summe"))),
        tall * 0.32,
        house.head,
        ink,
    )
    sheet.write(
        sheet.right - 8,
        y + tall * 0.28,
        f"{rng.uniform(10, 99999):,.2f}",
        tall * 0.36,
        house.head,
        ink,
        "right",
    )
    return y + tall + 14


def bank_and_code(sheet: Sheet, y: float, rng: np.random.Generator) -> float:
    """Bank details in a panel, with a payment code beside them or not."""
    lines = [
        f"IBAN {text.number(4, rng)} {text.number(4, rng)} {text.number(4, rng)}",
        f"BIC {text.number(6, rng)}",
        text.date(rng),
    ]
    end = printed.panel_of_lines(sheet, sheet.left, y, 230, lines, rng, "Bank")
    if rng.random() < 0.6:
        printed.square_code(sheet, sheet.left + 250, y, float(rng.uniform(55, 100)), rng)
        end = max(end, y + 95)
    return end + 12


LAYOUTS: dict[str, tuple[Part, ...]] = {
    "classic": (letterhead, address_lines, ruled_table, total_lines),
    "modern": (logo_and_title, two_panels, striped_table, total_panel, bank_and_code),
    "band": (colour_band, two_panels, striped_table, total_lines),
    "accounting": (grid_head, two_panels, ruled_table, total_panel),
    "typed": (plain_head, address_lines, open_table, total_lines),
    "column": (side_column, address_lines, striped_table, total_panel),
    "boxes": (logo_and_title, grid_head, ruled_table, bank_and_code, total_panel),
    "letter": (letterhead, two_panels, open_table, total_panel, bank_and_code),
}


def invoice(sheet: Sheet, rng: np.random.Generator) -> list[Place]:
    """A page of the house's layout; signed below the sums, in cells, or not at all."""
    house, traits = sheet.look, Traits(sheet.look.seed)
    layout = traits.one_of("layout", list(LAYOUTS))
    y = float(rng.uniform(25, 60))
    for part in LAYOUTS[layout]:
        if y < 860:
            y = part(sheet, y, rng)
    if rng.random() < 0.3 and y < 820:
        y = sheet.paragraph(y + 6, int(rng.integers(1, 4)), size=house.size * 0.8)
    foot = traits.pick("foot", {"line": 0.35, "cells": 0.35, "free": 0.3})
    y = float(np.clip(y + rng.uniform(40, 110), 0, 930))
    houses.footer(sheet, rng)
    if rng.random() < 0.12:
        printed.photograph(
            sheet, float(rng.uniform(sheet.left, sheet.right - 110)), min(y, 880), 100, 70, rng
        )
    if foot == "free":
        x = float(rng.uniform(sheet.left + 60, sheet.right - 60))
        return [Place(x, y, float(rng.uniform(50, 110)), initials=bool(rng.random() < 0.3))]
    if foot == "line":
        x = float(rng.choice((sheet.left, sheet.right - 170)))
        sheet.rule(x, y, x + 160, y)
        sheet.write(x, y + 4, f"For {house.company}", 9)
        return [Place(x + 80, y, float(rng.uniform(60, 125)), initials=bool(rng.random() < 0.3))]
    count, places = int(rng.integers(2, 4)), []
    wide, top = (sheet.right - sheet.left) / count, min(y - 20, 885.0)
    for i in range(count):
        x = sheet.left + i * wide
        sheet.box(x, top, x + wide, top + 75, width=0.6)
        label = str(
            rng.choice(
                (
                    "Issued by",
                    "Received by",
                    "Vystavil",
                    "Převzal",
                    "Razítko a podpis",
                    "Approved",
                    "Podpis",
                )
            )
        )
        sheet.write(x + 4, top + 3, label, 8)
        places.append(
            Place(
                x + wide / 2,
                top + 62,
                float(rng.uniform(50, 100)),
                initials=bool(rng.random() < 0.3),
            )
        )
    return places


def receipt(sheet: Sheet, rng: np.random.Generator) -> list[Place]:
    """A narrow till receipt on a table; nobody signs it."""
    table = printed.colour(rng)
    sheet.box(0, 0, sheet.width, 1000, fill=table, ink=table)
    wide = float(rng.uniform(260, 420))
    x0 = float(rng.uniform(20, sheet.width - wide - 20))
    top, foot = float(rng.uniform(0, 80)), float(rng.uniform(700, 1000))
    sheet.box(x0, top, x0 + wide, foot, fill=(250, 250, 248), ink=(230, 230, 230))
    size, y = float(rng.uniform(12, 20)), top + 20
    path = text.pick_font("typewriter", rng)
    sheet.write(
        x0 + wide / 2, y, sheet.look.company[:18], size * 1.8, sheet.look.head, align="centre"
    )
    y += size * 3
    while y < foot - 150:
        sheet.write(x0 + 12, y, text.sentence("en", 2, rng)[:16], size, path)
        sheet.write(x0 + wide - 12, y, f"{rng.uniform(0, 99):.2f}", size, path, align="right")
        y += size * 1.4
    sheet.write(x0 + 12, y, "TOTAL", size * 1.6, sheet.look.head)
    sheet.write(
        x0 + wide - 12, y, f"{rng.uniform(0, 999):.2f}", size * 1.6, sheet.look.head, align="right"
    )
    printed.barcode(sheet, x0 + wide * 0.2, y + size * 2.5, 75, rng)
    return []
