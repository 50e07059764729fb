"""A sheet of what to look at: the pages whose marks were the hardest to tell, with pictures."""

import base64
from collections.abc import Iterable
from contextlib import closing
from html import escape
from typing import Any

from archive.looking import BOUNDS
from archive.sources import SourceError, read
from countersign.documents import picture_of
from countersign.errors import CountersignError
from countersign.pdf import PdfProcess

PAGES = 40
DPI = 60
COLOURS = {"signature": "#005ac8", "stamp": "#c81e3c"}
OTHER = "#007850"
STYLE = """
body { font: 15px sans-serif; margin: 2em; color: #222 }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(22em, 1fr)); gap: 1.5em }
figure { margin: 0; border: 1px solid #bbb; padding: .6em } svg { width: 100%; height: auto }
figcaption { overflow-wrap: anywhere; margin-bottom: .5em }
"""


def sheet(rows: Iterable[dict[str, Any]], base: str) -> str:
    """An HTML page that stands alone, of pages as `summary.lowest_margins` gives them."""
    with closing(PdfProcess(BOUNDS)) as process:
        figures = [_figure(row, base, process) for row in rows]
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        f"<title>What to look at</title>\n<style>{STYLE}</style>\n"
        "<h1>What to look at</h1>\n<p>The pages whose marks come nearest to the scores from which"
        " on they are relied on, the nearest first.</p>\n"
        f"<main>\n{''.join(figures)}</main>\n</html>\n"
    )


def _figure(row: dict[str, Any], base: str, process: PdfProcess) -> str:
    marks = list(zip(row["labels"], row["scores"], row["boxes"], strict=True))
    found = ", ".join(f"{escape(label)} {score:.3f}" for label, score, _ in marks)
    caption = f"<b>{escape(row['key'])}</b>, page {row['page']}<br>{found}"
    try:
        picture = _picture(row, base, process)
    except (CountersignError, SourceError, OSError) as error:
        return f"<figure><figcaption>{caption}</figcaption>{escape(str(error))}</figure>\n"
    width, height = row["width"], row["height"]
    boxes = "".join(
        f'<rect x="{x0:.1f}" y="{y0:.1f}" width="{x1 - x0:.1f}" height="{y1 - y0:.1f}" fill="none"'
        f' stroke="{COLOURS.get(label, OTHER)}" stroke-width="{max(width, height) / 300:.1f}"/>'
        for label, _, (x0, y0, x1, y1) in marks
    )
    data = base64.b64encode(picture).decode()
    return (
        f'<figure><figcaption>{caption}</figcaption><svg viewBox="0 0 {width} {height}">'
        f'<image width="{width}" height="{height}" href="data:image/jpeg;base64,{data}"'
        f' preserveAspectRatio="none"/>{boxes}</svg></figure>\n'
    )


def _picture(row: dict[str, Any], base: str, process: PdfProcess) -> bytes:
    content = read(base, row["key"], BOUNDS.max_bytes)
    if content.data is None:
        raise SourceError(f"{row['key']}: {content.length} bytes, limit {BOUNDS.max_bytes}")
    return picture_of(content.data, row["page"], DPI, BOUNDS, process)
