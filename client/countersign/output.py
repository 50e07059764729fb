"""What the command prints: a table for people, a JSON object a file for machines."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from countersign.errors import CountersignError
from countersign.messages import Detections, Model, PageDetections, Reading

Answer = Detections | Reading | CountersignError

BAR = 30  # characters


def heading(answer: Detections | Reading, width: int) -> str:
    """What stands above `table_rows`."""
    if isinstance(answer, Reading):
        return f"{'file':{width}}  {'text':9}  confidence"
    return f"{'file':{width}}  page  {'label':9}  score      x0      y0      x1      y1"


def table_rows(file: str, answer: Detections | Reading, width: int) -> str:
    """A line for each detection, or that there is none; a line for a reading.

    `width` is that of the file column. Digits below the operating point are not shown.
    """
    file = printable(file)
    if isinstance(answer, Reading):
        text = printable(answer.text) if answer.certain else "uncertain"
        return f"{file:{width}}  {text:9}  {answer.confidence:10.4f}"
    begin = f"{file:{width}}  {answer.page:4}  "
    rows = [
        f"{begin}{printable(found.label):9}  {found.score:5.3f}"
        + "".join(f" {edge:7.1f}" for edge in found.box)
        for found in answer
    ]
    return "\n".join((rows or [f"{begin}nothing"]) + [begin + line for line in _pdf_lines(answer)])


def printable(text: str) -> str:
    """`text` in one line: what moves the cursor or cannot be seen stands as Python's escapes."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def json_line(file: str, answer: Answer, page: int = 1) -> str:
    """One JSON object: the file, of several pages which, with its answer or its "error"."""
    return json.dumps({"file": file, **_fields(answer, page)})


def models_table(models: Sequence[Model]) -> str:
    """A line for each class of each model; "text" is what a reader reads."""
    rows = [
        (
            printable(model.name),
            str(model.version),
            printable(name),
            "-" if at is None else f"{at:.4f}",
            f"{model.review[name]:.4f}" if model.review and name in model.review else "-",
        )
        for model in models
        for name, at in _classes(model).items()
    ]
    head = ("model", "version", "class", "confidence", "review")
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    return "\n".join(
        "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (head, *rows)
    )


def model_line(model: Model) -> str:
    """One JSON object."""
    return json.dumps(
        {
            "model": model.name,
            "version": model.version,
            "confidence": model.confidence,
            "review": model.review,
        }
    )


def _classes(model: Model) -> Mapping[str, float | None]:
    if isinstance(model.confidence, Mapping):
        return model.confidence
    return {"text": model.confidence}


def _pdf_lines(answer: Detections) -> list[str]:
    """What a PDF says of itself on that page."""
    if not isinstance(answer, PageDetections):
        return []
    fields = [
        f"field {field['name']!r}, {'signed' if field['signed'] else 'not signed'} digitally"
        for field in answer.signature_fields
    ]
    return fields + [f"stamp annotation {each['name']!r}" for each in answer.stamp_annotations]


def _fields(answer: Answer, page: int) -> dict[str, Any]:
    if isinstance(answer, CountersignError):
        return {"page": page, "error": str(answer)} if page > 1 else {"error": str(answer)}
    if isinstance(answer, Reading):
        return {
            "text": answer.text,
            "confidence": _short(answer.confidence),
            "digit_confidence": [_short(value) for value in answer.digit_confidence],
            "certain": answer.certain,
            "threshold": _short(answer.threshold),
        }
    detections = [
        {
            "label": found.label,
            "score": _short(found.score),
            "box": [_short(edge) for edge in found.box],
        }
        for found in answer
    ]
    fields: dict[str, Any] = {
        "page": answer.page,
        "page_count": answer.page_count,
        "page_size": list(answer.page_size),
        "detections": detections,
    }
    if isinstance(answer, PageDetections) and answer.boxes_points is not None:
        fields["page_size_points"] = answer.size_points
        for row, box in zip(detections, answer.boxes_points.tolist(), strict=True):
            row["box_points"] = [round(edge, 2) for edge in box]
        fields["signature_fields"] = answer.signature_fields
        fields["stamp_annotations"] = answer.stamp_annotations
    return fields


def _short(value: float) -> float:
    """The shortest decimal of the same float32: 0.9, not 0.8999999761581421."""
    return float(str(np.float32(value)))


def print_error(reason: str) -> None:
    """One line on stderr, whatever a server or a file's name puts into it."""
    print(f"countersign: {printable(reason)}", file=sys.stderr, flush=True)


class Progress:
    """How many of the files are done, on stderr if that is a terminal and they are several."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._shown = total > 1 and sys.stderr.isatty()

    def clear(self) -> None:
        """Take the bar away, so that a line can be printed."""
        if self._shown:
            print(end="\r\x1b[K", file=sys.stderr, flush=True)

    def show(self, done: int) -> None:
        """Draw the bar."""
        if self._shown:
            bar = "#" * (BAR * done // self._total)
            print(end=f"\r[{bar:{BAR}}] {done}/{self._total}", file=sys.stderr, flush=True)
