"""At which dpi pages of a PDF are drawn: what is found at each, and what that costs.

    python -m benchmarks.accuracy.dpi --url 127.0.0.1:8001 [--pages 100] [--dpi 75 100 150 200]

Generated test pages of 200 dpi in a PDF, with a dot beside each so that it has to be drawn, asked
of a running server page by page through the client.
"""

import argparse
import io
import resource
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pypdfium2 as pdfium
from PIL import Image

from benchmarks.machine import machine
from countersign import Client, PageDetections
from countersign.documents import open_document
from training.detector.labels import CLASSES, Labelled
from training.detector.pages.compose import draw_page
from training.detector.score import Found, score

SCANNED_DPI = 200
A4_INCHES = 11.69  # its longer side
LEAST = 0.01  # score that is asked for, so that the average precision is a whole one
SEED = 11


def drawn(count: int) -> tuple[bytes, list[Labelled]]:
    """A PDF of generated pages, and what is on each in points."""
    document = pdfium.PdfDocument.new()
    labelled = []
    for index in range(count):
        made = draw_page("test", index, SEED, round(A4_INCHES * SCANNED_DPI))
        height, width = (edge * 72 / SCANNED_DPI for edge in made.pixels.shape[:2])
        page = document.new_page(width, height)
        file = io.BytesIO()
        Image.fromarray(made.pixels).save(file, "JPEG", quality=95)
        image = pdfium.PdfImage.new(document)
        image.load_jpeg(file, inline=True)
        image.set_matrix(pdfium.PdfMatrix().scale(width, height))
        page.insert_obj(image)
        dot = pdfium.raw.FPDFPageObj_CreateNewRect(1, 1, 1, 1)
        pdfium.raw.FPDFPath_SetDrawMode(dot, pdfium.raw.FPDF_FILLMODE_WINDING, False)
        pdfium.raw.FPDFPage_InsertObject(page, dot)
        page.gen_content()
        scale = 72 / SCANNED_DPI
        labelled.append(
            Labelled(
                Path(str(index)),
                str(index),
                (round(width), round(height)),
                made.class_ids,
                made.xyxy * scale,
                made.ignore * scale,
            )
        )
    saved = io.BytesIO()
    document.save(saved)
    return saved.getvalue(), labelled


def found(pages: Sequence[object]) -> list[Found]:
    """What was found on each page, in points. Raises the first error."""
    answers = []
    for page in pages:
        if not isinstance(page, PageDetections):
            raise page if isinstance(page, Exception) else TypeError(page)
        assert page.boxes_points is not None  # a PDF
        class_ids = np.array([CLASSES.index(label) for label in page.labels], np.int64)
        answers.append(Found(page.boxes_points, page.scores, class_ids))
    return answers


def drawing_ms(data: bytes, dpi: float, count: int) -> float:
    """Mean ms of CPU that drawing a page takes, with its share of its process's start."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    document = open_document(data, dpi)
    for number in range(1, count + 1):
        document.page(number)
    document.close()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return spent * 1000 / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", help="of a running server; else $COUNTERSIGN_URL, or this machine")
    parser.add_argument("--pages", type=int, default=100)
    parser.add_argument("--dpi", type=float, nargs="+", default=[75, 100, 150, 200])
    args = parser.parse_args()
    data, labelled = drawn(args.pages)
    print(", ".join(f"{name} {value}" for name, value in machine().items()))
    with Client(args.url) as client:
        points = {model.name: model for model in client.models()}["document_detector"].confidence
        assert isinstance(points, dict)
        for dpi in args.dpi:
            pages = list(client.detect_document(data, LEAST, dpi=dpi))
            scores = score(labelled, found(pages))
            figures = "; ".join(
                f"{name} AP50 {scores[name].ap50:.3f}, recall {at['recall']:.2f}, "
                f"precision {at['precision']:.2f}"
                for name in CLASSES
                for at in [scores[name].at(points[name])]
            )
            cost_ms = drawing_ms(data, dpi, args.pages)
            print(f"{dpi:4.0f} dpi: {cost_ms:5.1f} ms of CPU a page; {figures}")


if __name__ == "__main__":
    main()
