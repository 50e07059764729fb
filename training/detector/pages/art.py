"""Signs that stamps, letterheads and certificates bear: emblems, crests, wreaths."""

from functools import lru_cache

import cv2
import numpy as np

from training.detector.pages.traits import Traits

ART_SEED = 7105
EMBLEMS = (
    "star", "shield", "disc", "bars", "wheel", "globe", "tree", "hall", "crest", "eagle", "figure",
    "figure", "waves", "gear",
)  # fmt: skip


@lru_cache(maxsize=512)
def emblem(kind: str, side: int, seed: int) -> np.ndarray:
    """A sign of EMBLEMS as (side, side) uint8, 255 where it is; the same `seed`, the same sign.

    Do not write on it: it is shared.
    """
    fine = max(1, 160 // max(side, 1))  # thin lines are drawn larger and shrunk
    size = max(8, side) * fine
    face = np.zeros((size, size), np.uint8)
    traits = Traits(ART_SEED, seed)
    DRAWN[kind](face, size / 2, traits, max(1, size // 45))
    sign: np.ndarray = cv2.resize(face, (max(1, side),) * 2, interpolation=cv2.INTER_AREA)
    sign.flags.writeable = False
    return sign


def _polar(middle: float, radii: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """(n, 2) int32 points about (middle, middle)."""
    points = middle + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return np.round(points).astype(np.int32)


def _disc(face: np.ndarray, r: float, traits: Traits, line: int) -> None:
    centre = (int(r), int(r))
    cv2.circle(face, centre, int(r * 0.95), (255,), line * 2)
    cv2.circle(face, centre, int(r * traits.uniform("core", 0.3, 0.6)), (255,), -1)


def _star(face: np.ndarray, r: float, traits: Traits, line: int) -> None:
    points = int(traits.one_of("points", (5, 5, 6, 8)))
    radii = np.where(np.arange(2 * points) % 2 == 0, r, r * traits.uniform("waist", 0.35, 0.6))
    outline = _polar(r, radii, np.arange(2 * points) * np.pi / points - np.pi / 2)
    cv2.fillPoly(face, [outline], (255,))


def _shield(face: np.ndarray, r: float, traits: Traits, line: int) -> None:
    outline = r + r * np.array([[-0.8, -0.9], [0.8, -0.9], [0.8, 0.2], [0, 0.95], [-0.8, 0.2]])
    if traits.chance("filled", 0.5):
        cv2.fillPoly(face, [outline.astype(np.int32)], (255,))
        cv2.circle(face, (int(r), int(r * 0.8)), int(r * 0.35), (0,), -1)
    else:
        cv2.polylines(face, [outline.astype(np.int32)], True, (255,), line * 2)
        cv2.line(face, (int(r * 0.2), int(r)), (int(r * 1.8), int(r)), (255,), line)
        cv2.line(face, (int(r), int(r * 0.1)), (int(r), int(r * 1.9)), (255,), line)


def _bars(face: np.ndarray, r: float, traits: Traits, line: int) -> None:
    for i in range(3):
        top, right = int(i * r * 0.7), int(2 * r - i * r * 0.4)
        cv2.rectangle(face, (0, top), (right, int(top + r * 0.4)), (255,), -1)


def _wheel(face: np.ndarray, r: float, traits: Traits, line: int) -> None:
    spokes = int(traits.one_of("spokes", (8, 12, 16, 24)))
    for angle in np.arange(spokes) * 2 * np.pi / spokes:
        ends = _polar(r, np.array([0.15, 0.85]) * r, np.array([angle, angle]))
        cv2.line(face, ends[0].tolist(), ends[1].tolist(), (255,), line)
    for share in (0.15, 0.85, 0.95):
        cv2.circle(face, (int(r), int(r)), int(r * share), (255,), line)


def _globe(face: np.ndarray, r: float, traits: Traits, line: int) -> None:
    centre, radius = (int(r), int(r)), int(r * 0.92)
    for share in (0.35, 0.7, 1.0):
        cv2.ellipse(face, centre, (int(radius * share), radius), 0, 0, 360, (255,), line)
        cv2.ellipse(face, centre, (radius, int(radius * share)), 0, 0, 360, (255,), line)


def _tree(face: np.ndarray, r: float, traits: Traits, line: int) -> None:
    rng = traits.rng("leaves")
    cv2.line(face, (int(r), int(2 * r)), (int(r), int(r * 0.6)), (255,), line * 3)
    for _ in range(28):
        x, y = r + rng.normal(0, 0.35, 2) * r
        cv2.ellipse(face, (int(x), int(y * 0.8)), (int(r * 0.16), int(r * 0.08)),
                    float(rng.uniform(0, 180)), 0, 360, (255,), -1)  # fmt: skip


def _hall(face: np.ndarray, r: float, traits: Traits, line: int) -> None:
    """A building with columns and a gable."""
    gable = np.array([[0.1, 0.7], [1.0, 0.15], [1.9, 0.7]]) * r
    cv2.polylines(face, [gable.astype(np.int32)], True, (255,), line * 2)
    for i in range(int(traits.one_of("columns", (3, 4, 5)))):
        x = int(r * (0.35 + 0.4 * i))
        cv2.rectangle(face, (x, int(r * 0.8)), (x + line * 3, int(r * 1.6)), (255,), -1)
    cv2.rectangle(face, (int(r * 0.1), int(r * 1.65)), (int(r * 1.9), int(r * 1.8)), (255,), -1)


def _waves(face: np.ndarray, r: float, traits: Traits, line: int) -> None:
    x = np.linspace(0, 2 * r, 40)
    for i in range(4):
        y = r * (0.5 + 0.35 * i) + np.sin(x / r * 3 + i) * r * 0.15
        cv2.polylines(face, [np.stack([x, y], 1).astype(np.int32)], False, (255,), line * 3)


def _gear(face: np.ndarray, r: float, traits: Traits, line: int) -> None:
    teeth = int(traits.one_of("teeth", (8, 10, 14)))
    angles = np.arange(teeth * 4) * 2 * np.pi / (teeth * 4)
    radii = np.where(np.arange(teeth * 4) % 4 < 2, r, r * 0.8)
    cv2.fillPoly(face, [_polar(r, radii, angles)], (255,))
    cv2.circle(face, (int(r), int(r)), int(r * traits.uniform("hub", 0.3, 0.6)), (0,), -1)


def _figure(face: np.ndarray, r: float, traits: Traits, line: int) -> None:
    """Strokes and blobs that lean on a middle axis, as arms and crests do."""
    rng = traits.rng("figure")
    for _ in range(int(rng.integers(8, 20))):
        start = np.array([r * rng.uniform(0.1, 1.0), r * rng.uniform(0.1, 1.9)])
        run = start + np.cumsum(rng.normal(0, 0.16, (int(rng.integers(2, 6)), 2)), axis=0) * r
        points = [np.clip(run, 1, 2 * r - 1).astype(np.int32)]
        if rng.random() < 0.35:
            cv2.fillPoly(face, points, (255,))
        else:
            cv2.polylines(face, points, False, (255,), int(rng.integers(1, 3)) * line)
    half = int(r)
    face[:, -half:] = face[:, :half][:, ::-1]


def _crest(face: np.ndarray, r: float, traits: Traits, line: int) -> None:
    """A figure in a wreath."""
    inner = face[int(r * 0.45) : int(r * 1.45), int(r * 0.5) : int(r * 1.5)]
    part = np.zeros(inner.shape, np.uint8)
    _figure(part, part.shape[1] / 2, traits, line)
    inner[:] = part
    for side in (-1, 1):
        for i in range(9):
            angle = np.pi / 2 + side * (0.25 + i * 0.27)
            x, y = r + 0.82 * r * np.cos(angle), r + 0.82 * r * np.sin(angle)
            lean = float(np.degrees(angle)) + 90 + side * 25
            axes = (int(r * 0.15), int(r * 0.06))
            cv2.ellipse(face, (int(x), int(y)), axes, lean, 0, 360, (255,), -1)


def _eagle(face: np.ndarray, r: float, traits: Traits, line: int) -> None:
    """Spread wings of feathers, a body with a shield, one head or two."""
    for side in (-1, 1):
        for i in range(7):
            angle = -0.9 + i * 0.28
            tip = (int(r + side * r * 0.95 * np.cos(angle)), int(r * 0.9 + r * 0.8 * np.sin(angle)))
            cv2.line(face, (int(r + side * r * 0.2), int(r * 0.8)), tip, (255,), line * 2)
        head = (int(r + side * r * 0.2 * traits.chance("two heads", 0.6)), int(r * 0.4))
        cv2.circle(face, head, int(r * 0.12), (255,), -1)
    cv2.ellipse(face, (int(r), int(r)), (int(r * 0.28), int(r * 0.5)), 0, 0, 360, (255,), -1)
    cv2.circle(face, (int(r), int(r)), int(r * 0.16), (0,), -1)
    tail = np.array([[0.8, 1.4], [1.2, 1.4], [1.35, 1.85], [0.65, 1.85]]) * r
    cv2.fillPoly(face, [tail.astype(np.int32)], (255,))


DRAWN = {
    "star": _star, "shield": _shield, "disc": _disc, "bars": _bars, "wheel": _wheel,
    "globe": _globe, "tree": _tree, "hall": _hall, "crest": _crest, "eagle": _eagle,
    "figure": _figure, "waves": _waves, "gear": _gear,
}  # fmt: skip
