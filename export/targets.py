"""What the shipped detector is to reach on validation pages of these kinds, and whether it does."""

from collections.abc import Mapping
from typing import Any

# kind, class, figure, target: at least, but at most of false alarms a page
TARGETS = (
    ("letters", "signature", "ap50", 0.93),
    ("certificates", "signature", "ap50", 0.85),
    ("stamps", "stamp", "ap50", 0.90),
    ("all", "signature", "precision", 0.95),
    ("all", "signature", "recall", 0.80),
    ("all", "stamp", "precision", 0.95),
    ("all", "stamp", "recall", 0.80),
    ("no_marks", "both", "false_alarms a page", 0.02),
)


def verdicts(metrics: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for each target whose kind is in a model card's metrics."""
    rows = []
    for kind, name, figure, target in TARGETS:
        row = metrics.get(kind)
        if row is None:
            continue
        if name == "both":
            alarms = sum(cell["false_alarms"] for cell in row.values() if isinstance(cell, dict))
            value = round(alarms / row["pages"], 4)
            met = value <= target
        else:
            value = row[name][figure]
            met = value is not None and value >= target
        rows.append(
            {"kind": kind, "class": name, "figure": figure, "target": target}
            | {"reached": value, "met": met}
        )
    return rows
