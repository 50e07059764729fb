"""What was found, counted in Triton's metrics: the scores of each class, and pages without any."""

import time
from collections import defaultdict

import numpy as np
import triton_python_backend_utils as pb_utils

EVERY_S = 2  # Triton is told the sums: each call to it takes as long as this step
LIMITS = {f"{tenth / 10:g}": tenth / 10 for tenth in range(1, 10)} | {"+Inf": 1.0}  # of the buckets
FAMILIES = {
    "countersign_pages_total": "Pages that were answered",
    "countersign_pages_without_detections_total": "Of these, pages on which nothing was found",
    "countersign_score_bucket": "Detections whose score is at most le, in all answers",
    "countersign_score_sum": "Sum of all scores",
    "countersign_score_count": "Detections in all answers",
}
Key = tuple[str, str, str]  # family, class, le


class Tally:
    """Counts of a detector whose step is called `model`."""

    def __init__(self, model: str, classes: list[str]) -> None:
        self._model, self._classes = model, classes
        counter = pb_utils.MetricFamily.COUNTER
        try:
            self._families = {
                name: pb_utils.MetricFamily(name=name, description=text, kind=counter)
                for name, text in FAMILIES.items()
            }
        except pb_utils.TritonModelException:  # a Triton without metrics
            self._families = {}
        self._metrics: dict[Key, pb_utils.Metric] = {}
        self._sums: dict[Key, float] = defaultdict(float)
        self._count(0, 0)
        for name in classes:
            self._score(name, 0.0, 0)
        self.tell()

    def add(self, scores: np.ndarray, class_ids: np.ndarray) -> None:
        """A page's detections."""
        self._count(1, not len(scores))
        for score, class_id in zip(scores.tolist(), class_ids.tolist(), strict=True):
            self._score(self._classes[class_id], score, 1)

    def tell_if_due(self) -> None:
        """Tells Triton, unless it was told a moment ago."""
        if time.monotonic() - self._told_at >= EVERY_S:
            self.tell()

    def _count(self, pages: int, empty: int) -> None:
        self._sums["countersign_pages_total", "", ""] += pages
        self._sums["countersign_pages_without_detections_total", "", ""] += empty

    def _score(self, name: str, score: float, times: int) -> None:
        self._sums["countersign_score_count", name, ""] += times
        self._sums["countersign_score_sum", name, ""] += score * times
        for le, limit in LIMITS.items():
            self._sums["countersign_score_bucket", name, le] += times * (score <= limit)

    def tell(self) -> None:
        """Adds the sums to Triton's metrics, where each is from the start, were it 0."""
        for key, value in self._sums.items() if self._families else ():
            if key not in self._metrics:
                family, name, le = key
                labels = {"model": self._model, "class": name, "le": le}
                known = {label: text for label, text in labels.items() if text}
                self._metrics[key] = self._families[family].Metric(labels=known)
            self._metrics[key].increment(value)
        self._sums.clear()
        self._told_at = time.monotonic()
