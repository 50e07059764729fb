"""Prints of rubber stamps, and seals stuck on."""

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from training.detector.pages import plates, seals
from training.detector.pages.designs import SEALS, Design
from training.detector.scan import noise

LARGE = 0.1  # share of prints on paper smaller than A4, which are larger on the page
FOILS = ((205, 165, 60), (190, 170, 110), (150, 85, 50), (185, 185, 190), (200, 35, 35))  # RGB


@dataclass(frozen=True)
class Print:
    """One print of a stamp: coverage (h, w) float32 in [0, 1] of its ink, and of what is filled in
    by hand, which is not part of it.
    """

    ink: np.ndarray
    second: np.ndarray | None  # what its second ink covers
    entries: np.ndarray | None


def _inked(faces: list[np.ndarray], crisp: bool, rng: np.random.Generator) -> list[np.ndarray]:
    """Faces of one plate as printed: uneven, mottled, in parts missing, doubled or smeared. [0, 1].

    A `crisp` one is inked evenly, as self-inking stamps print.
    """
    shape = (faces[0].shape[0], faces[0].shape[1])
    touch: Any = 1 - rng.uniform(0.02, 0.25 if crisp else 0.75) * noise(
        shape, rng.uniform(2, 5), rng
    )
    if not crisp and rng.random() < 0.6:  # uneven pressure over the plate
        touch *= np.clip(rng.uniform(0.2, 0.8) + 1.2 * noise(shape, max(shape) / 2.5, rng), 0, 1)
    if rng.random() < (0.06 if crisp else 0.24):  # a side that did not touch the paper
        rows, cols = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32)
        angle = rng.uniform(0, 2 * np.pi)
        along = (cols / shape[1] - 0.5) * np.cos(angle) + (rows / shape[0] - 0.5) * np.sin(angle)
        touch = touch * np.clip((rng.uniform(0.15, 0.45) - along) * rng.uniform(6, 25), 0, 1)
    swollen, doubled, smeared = rng.random(3) < ((0.2, 0.04, 0.03) if crisp else (0.25, 0.1, 0.08))
    shift = np.array([[1, 0, rng.uniform(-6, 6)], [0, 1, rng.uniform(-6, 6)]])
    inks = []
    for face in faces:
        ink: Any = face.astype(np.float32) / 255
        if swollen:
            ink = cv2.dilate(ink, np.ones((2, 2), np.uint8))
        ink = ink * touch
        if doubled:
            ink = np.maximum(ink, 0.5 * cv2.warpAffine(ink, shift, shape[::-1]))
        if smeared:
            kernel = np.zeros((9, 9), np.float32)
            kernel[4] = 1 / 9
            ink = np.maximum(ink, 0.8 * cv2.filter2D(ink, -1, kernel))
        inks.append(ink)
    return inks


def _tilt(rng: np.random.Generator) -> float:
    """Degrees: mostly upright or a few degrees off, sometimes far."""
    if rng.random() < 0.06:
        return float(rng.choice((-1, 1)) * rng.uniform(20, 55))
    if rng.random() < 0.03:
        return float(rng.choice((-90, 90, 180)))
    return float(rng.choice((-1, 1)) * rng.uniform(0, 1) ** 1.5 * 11)


def draw(stamp: Design, unit: float, rng: np.random.Generator) -> Print:
    """One print of the stamp; `unit` px = 1/1000 of the page height."""
    size = rng.uniform(1.2, 1.9) if rng.random() < LARGE else rng.uniform(0.92, 1.08)
    width = max(24, int(stamp.width * unit * size))
    fine = 2
    if stamp.kind in SEALS:
        faces = [seals.seal(stamp, width * fine, rng)]
    elif stamp.kind == "square":
        faces = [seals.square(stamp, width * fine)]
    elif stamp.kind == "picture":
        faces = [seals.picture(stamp, width * fine)]
    else:
        faces = plates.plate(stamp, width * fine, rng)
    layers: list[Any] = [
        cv2.resize(face, None, fx=1 / fine, fy=1 / fine, interpolation=cv2.INTER_AREA)
        for face in faces
    ]
    crisp = bool(rng.random() < (0.75 if stamp.kind == "company" else 0.45))
    tilt = _tilt(rng)
    inks = [rotated(ink, tilt) for ink in _inked(layers[:2], crisp, rng)]
    second = inks[1] if len(inks) > 1 and inks[1].any() else None
    entries = layers[2].astype(np.float32) / 255 if len(layers) > 2 and layers[2].any() else None
    return Print(inks[0], second, None if entries is None else rotated(entries, tilt))


def printed(stamp: Design, unit: float, rng: np.random.Generator) -> np.ndarray:
    """A seal as certificates have it in print, upright and even: coverage as of a Print."""
    width = max(24, int(stamp.width * unit))
    face = cv2.resize(
        seals.seal(stamp, width * 2, rng), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA
    )
    return face.astype(np.float32) / 255


def stick(
    pixels: np.ndarray, stamp: Design, centre: tuple[float, float], rng: np.random.Generator
) -> np.ndarray:
    """Stick a toothed foil seal with the design's words in relief on (H, W, 3) uint8 `pixels`, in
    place, its middle at `centre`, often on ribbons. Returns the (n, 2) x, y of its pixels.
    """
    width = int(rng.uniform(0.1, 0.22) * pixels.shape[0])
    lines = (*stamp.lines, "OFFICIAL", "SEAL")[:3]
    relief = np.zeros((width, width), np.uint8)  # some are bare
    if rng.random() < 0.75:
        relief = seals.seal(
            replace(stamp, kind="round", lines=lines, frame="single", centre="lines"), width, rng
        )
    rows, cols = np.mgrid[0:width, 0:width] - width / 2
    angle, radius = np.arctan2(rows, cols), np.hypot(rows, cols) / (width / 2)
    teeth = int(rng.integers(24, 70))
    depth = rng.uniform(0.02, 0.06)
    disc = radius < 0.97 - depth * (0.5 + 0.5 * np.cos(angle * teeth))
    light = 1 + rng.uniform(0.1, 0.3) * np.cos(2 * angle + rng.uniform(0, 6)) * radius
    light = light + 0.15 * noise((width, width), 5, rng)
    light = light + 0.0025 * (np.roll(relief, (1, 1), (0, 1)).astype(np.float32) - relief)
    foil = np.array(FOILS[int(rng.integers(len(FOILS)))], np.float32)
    seal = np.clip(foil * light[..., None], 0, 255).astype(np.uint8)

    x, y = round(centre[0] - width / 2), round(centre[1] - width / 2)
    covered = np.zeros(pixels.shape[:2], np.uint8)
    if rng.random() < 0.4:
        ribbon = [int(shade) for shade in rng.integers(0, 200, 3)]
        for side in (-1, 1):
            tip = np.array([side * rng.uniform(0.1, 0.4), rng.uniform(0.6, 0.95)]) * width + centre
            band = np.array([[-0.12, 0], [0.12, 0]]) * width
            ends = np.concatenate([band + centre, band[::-1] + tip]).astype(np.int32)
            cv2.fillPoly(covered, [ends], (1,))
        pixels[covered > 0] = ribbon
    left, top = max(0, -x), max(0, -y)
    window = pixels[y + top : y + width, x + left : x + width]
    disc = disc[top : top + window.shape[0], left : left + window.shape[1]]
    window[disc] = seal[top:, left:][: window.shape[0], : window.shape[1]][disc]
    covered[y + top : y + width, x + left : x + width][disc] = 1
    marked = np.nonzero(covered)
    return np.stack(marked[::-1], axis=1).astype(np.float32)


def rotated(ink: np.ndarray, degrees: float) -> np.ndarray:
    """The patch turned, its canvas grown to hold it all."""
    height, width = ink.shape
    turn: np.ndarray = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    cos, sin = abs(turn[0, 0]), abs(turn[0, 1])
    size = (int(height * sin + width * cos) + 1, int(height * cos + width * sin) + 1)
    turn[:, 2] += (size[0] / 2 - width / 2, size[1] / 2 - height / 2)
    return cv2.warpAffine(ink, turn, size)
