"""Handwriting as a hand moves: signatures, initials, words.

A pen trace is a sum of strokes whose speed is a lognormal in time and whose direction turns along
the stroke: the sigma-lognormal model of R. Plamondon and M. Djioua, "A multi-level representation
paradigm for handwriting stroke generation", Human Movement Science 25 (2006). A writer is a set of
habits; a signature is the writer's plan of target points, written with a little noise.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.special import ndtr

from training.detector.pages.traits import weighted

WRITER_SEED = 7101
STYLES = {
    "legible": 0.34, "trailing": 0.27, "loops": 0.12, "zigzag": 0.07, "capitals": 0.1, "tall": 0.1,
}  # fmt: skip
INKS = {  # RGB
    "black": (20, 20, 24),
    "grey": (90, 90, 95),
    "navy": (25, 35, 95),
    "blue": (35, 70, 170),
    "teal": (15, 95, 110),
    "violet": (85, 50, 130),
    "green": (25, 95, 60),
}
# Target points of a letter: (advance, height above the baseline, turn), in x-heights and radians.
LETTERS = {
    "a": ((0.35, 0.9, -0.8), (-0.35, 0.3, 1.6), (0.3, 0.0, 1.2), (0.2, 0.95, 0.5), (0.05, 0, 0.3)),
    "d": ((0.35, 0.9, -0.8), (-0.35, 0.2, 1.5), (0.4, 2.0, 0.5), (-0.05, 0, 0.5)),
    "e": ((0.4, 1.0, 1.0), (0.15, 0, 1.4)),
    "f": ((0.45, 2.2, 0.9), (-0.15, -1.1, 0.5), (0.3, 0, -1.4)),
    "g": ((0.35, 1.0, 0.3), (-0.2, 0.1, 1.0), (0.3, 0.9, 0.3), (-0.25, -1.3, -0.2), (0.5, 0, -1.5)),
    "h": ((0.45, 2.2, 0.9), (-0.05, 0, 0.5), (0.3, 0.95, -0.8), (0.25, 0, -0.2)),
    "i": ((0.3, 1.0, 0.3), (0.2, 0, 0.3)),
    "l": ((0.5, 2.3, 0.9), (-0.05, 0, 0.9)),
    "m": (
        (0.3, 1.0, -0.8),
        (0.1, 0, -0.2),
        (0.3, 1.0, -0.8),
        (0.1, 0, -0.2),
        (0.3, 1, -0.8),
        (0.1, 0, 0),
    ),
    "n": ((0.3, 1.0, -0.8), (0.1, 0, -0.2), (0.3, 1.0, -0.8), (0.15, 0, 0.2)),
    "o": (
        (0.3, 0.95, -0.4),
        (-0.3, 0.3, 1.5),
        (0.25, 0.05, 1.2),
        (0.15, 0.9, 1.2),
        (0.3, 0.8, 0.6),
    ),
    "p": ((0.25, 1.0, 0.2), (-0.1, -1.2, 0.1), (0.15, 0.9, -0.5), (0.25, 0.2, -1.8)),
    "r": ((0.25, 1.0, 0.2), (0.2, 0.85, -0.8), (0.05, 0, 0.3)),
    "s": ((0.35, 1.0, 0.2), (-0.05, 0, -1.5), (0.2, 0.1, 0.5)),
    "t": ((0.35, 1.7, 0.2), (0.0, 0, 0.3)),
    "u": ((0.3, 1.0, 0.3), (0.2, 0, 0.8), (0.3, 1.0, 0.3), (0.1, 0, 0.3)),
    "y": ((0.3, 1.0, 0.3), (0.2, 0.1, 0.9), (0.2, 0.9, 0.2), (-0.3, -1.3, -0.2), (0.5, 0.1, -1.5)),
}
# Pen-down runs of a figure or sign: (x, height above the baseline, turn), as of LETTERS.
FIGURES = {
    "0": (((0.5, 2, 0), (0, 1, 1.6), (0.5, 0, 1.6), (0.9, 1, 1.6), (0.5, 2, 1.6)),),
    "1": (((0.1, 1.6, 0), (0.35, 2, 0), (0.3, 0, 0)),),
    "2": (((0, 1.6, 0), (0.5, 2, -1.2), (0.85, 1.4, -1.4), (0, 0, -0.4), (1, 0.1, 0.4)),),
    "3": (
        ((0.1, 1.8, 0), (0.8, 1.6, -1.8), (0.35, 1, -1.0), (0.85, 0.5, -1.8), (0, 0.1, -1.2)),
    ),
    "4": (((0.3, 2, 0), (0.05, 0.8, 0.2), (0.95, 0.85, 0.1)), ((0.75, 1.7, 0), (0.65, 0, 0))),
    "5": (
        ((0.2, 1.95, 0), (0.1, 1.15, 0), (0.8, 0.7, -1.6), (0, 0.1, -1.6)),
        ((0.2, 1.95, 0), (0.95, 2, 0)),
    ),
    "6": (((0.7, 2, 0), (0.05, 0.6, 0.8), (0.45, 0, 1.4), (0.8, 0.5, 1.6), (0.1, 0.5, 1.6)),),
    "7": (((0, 1.9, 0), (0.9, 1.95, 0), (0.35, 0, 0.2)),),
    "8": (
        (
            (0.8, 1.7, 0), (0.3, 1.9, 1.0), (0.35, 1.1, 1.8), (0.8, 0.5, -1.2), (0.4, 0, -1.5),
            (0.1, 0.5, -1.5), (0.5, 1.1, -0.6), (0.8, 1.7, 0.8),
        ),
    ),
    "9": (((0.8, 1.6, 0), (0.4, 2, 1.3), (0.1, 1.4, 1.5), (0.75, 1.6, 1.8), (0.6, 0, -0.2)),),
    "/": (((0.7, 2.1, 0), (0, -0.3, 0)),),
    "-": (((0, 0.9, 0), (0.55, 1, 0)),),
    ".": (((0, 0, 0), (0.08, 0.08, 0)),),
    ",": (((0.1, 0.1, 0), (0, -0.4, -0.3)),),
}  # fmt: skip

Plan = list[np.ndarray]  # pen-down runs of target points, each (n, 3): x, y (up), turn


@dataclass(frozen=True)
class Writer:
    """Habits of one hand; lengths in x-heights, angles in radians."""

    writer_id: int
    style: str
    slant: float  # shear, x per y
    spread: float  # factor on advances
    ascender: float  # factor on heights above the x-height
    turn: float  # factor on turns: 0 angular, 1.5 round
    overlap: float  # share of a stroke's time in which the next one is already under way
    sigma: float  # lognormal spread of a stroke's speed
    noise: float  # standard deviation of targets between two signatures
    pen: float  # line width in 1/1000 of the page height
    pressure: float  # how much slow parts are thicker
    climb: float  # slope of the baseline
    letters: int  # letters in a name before it trails off
    words: int
    paraph: str  # "", underline, loop, tail or cross
    gesture: int  # seed of the capitals


def writer(writer_id: int) -> Writer:
    """The same habits for the same id, whatever the page."""
    rng = np.random.default_rng((WRITER_SEED, writer_id))
    return Writer(
        writer_id=writer_id,
        style=weighted(STYLES, rng),
        slant=float(rng.normal(0.35, 0.25)),
        spread=float(rng.uniform(0.8, 1.7)),
        ascender=float(rng.uniform(0.7, 1.5)),
        turn=float(rng.uniform(0.5, 1.4)),
        overlap=float(rng.uniform(0.3, 0.6)),
        sigma=float(rng.uniform(0.16, 0.3)),
        noise=float(rng.uniform(0.03, 0.12)),
        pen=float(rng.lognormal(np.log(1.35), 0.35)),
        pressure=float(rng.uniform(0.0, 0.8)),
        climb=float(rng.normal(0.04, 0.06)),
        letters=int(rng.integers(3, 8)),
        words=int(rng.choice((1, 2, 3), p=(0.42, 0.48, 0.1))),
        paraph=str(
            rng.choice(("", "underline", "loop", "tail", "cross"), p=(0.45, 0.18, 0.1, 0.2, 0.07))
        ),
        gesture=int(rng.integers(2**31)),
    )


def _capital(hand: Writer, which: int) -> np.ndarray:
    """The (n, 3) targets of a capital, the writer's own: a tall first stroke, then turns."""
    rng = np.random.default_rng((hand.gesture, which))
    count = int(rng.integers(3, 6))
    tall = rng.uniform(2.0, 3.6) * hand.ascender
    heights = np.where(
        np.arange(count) % 2 == 0,
        tall * rng.uniform(0.7, 1.0, count),
        rng.uniform(-0.4, 0.5, count),
    )
    heights[-1] = rng.uniform(0.0, 0.6)
    advance = rng.uniform(-0.2, 1.0, count)
    turns = rng.uniform(0.6, 2.4, count) * rng.choice((-1, 1), count)
    return np.stack([np.cumsum(advance), heights, turns], axis=1)


def _letters(hand: Writer, count: int, rng: np.random.Generator, trailing: bool) -> np.ndarray:
    """Targets of `count` joined letters; `trailing` ones flatten and widen towards the end."""
    targets, x = [], 0.0
    for i in range(count):
        fade = max(0.15, 1.0 - i / max(2, count - 1)) if trailing else 1.0
        for advance, height, turn in LETTERS[list(LETTERS)[rng.integers(len(LETTERS))]]:
            x += advance * (1.0 + (1.0 - fade) * 1.6)
            tall = height * (hand.ascender if height > 1 else 1.0)
            targets.append((x, tall * fade + 0.3 * (1 - fade), turn))
    return np.array(targets)


def _loops(hand: Writer, rng: np.random.Generator) -> np.ndarray:
    count = int(rng.integers(5, 14))
    x = np.cumsum(rng.uniform(-0.3, 0.9, count))
    y = np.where(
        np.arange(count) % 2 == 0, rng.uniform(1.2, 2.6, count), rng.uniform(-0.6, 0.4, count)
    )
    return np.stack([x, y, np.full(count, rng.choice((-1, 1)) * rng.uniform(1.2, 2.2))], axis=1)


def _zigzag(rng: np.random.Generator) -> np.ndarray:
    count = int(rng.integers(5, 12))
    x = np.cumsum(rng.uniform(0.1, 0.8, count))
    y = np.where(
        np.arange(count) % 2 == 0, rng.uniform(0.4, 2.4, count), rng.uniform(-0.2, 0.3, count)
    )
    return np.stack([x, y, rng.normal(0, 0.3, count)], axis=1)


def _tall(rng: np.random.Generator) -> np.ndarray:
    """A few strokes up and down, far higher than wide."""
    count = int(rng.integers(3, 7))
    x = np.cumsum(rng.uniform(-0.5, 0.8, count))
    y = np.where(np.arange(count) % 2 == 0, rng.uniform(3, 6, count), rng.uniform(-1.5, 0.5, count))
    return np.stack([x, y, rng.normal(0, 1.2, count)], axis=1)


def _append(run: np.ndarray, more: np.ndarray, gap: float) -> np.ndarray:
    moved = more + np.array([run[:, 0].max() + gap, 0.0, 0.0])
    return np.concatenate([run, moved])


def _paraph(hand: Writer, plan: Plan, rng: np.random.Generator) -> Plan:
    """The plan with the writer's flourish, which goes on from the last run or stands alone."""
    left, right = min(r[:, 0].min() for r in plan), max(r[:, 0].max() for r in plan)
    width = right - left
    if hand.paraph == "tail":
        tail = np.array(
            [[right + width * rng.uniform(0.1, 0.5), rng.uniform(-0.6, 1.2), rng.normal(0, 0.6)]]
        )
        return [*plan[:-1], np.concatenate([plan[-1], tail])]
    if hand.paraph == "underline":
        low = -rng.uniform(0.5, 1.3)
        line = [
            [left + width * rng.uniform(-0.1, 0.4), low, 1.5],
            [right + width * 0.1, low + 0.3, 0.1],
        ]
        return [*plan[:-1], np.concatenate([plan[-1], np.array(line)])]
    if hand.paraph == "loop":
        turn = 2.6
        ring = [
            [right + 0.3, 1.8, turn],
            [left, 1.6, turn],
            [left + 0.2, -0.9, turn],
            [right + 0.8, -0.4, turn],
        ]
        return [*plan[:-1], np.concatenate([plan[-1], np.array(ring)])]
    if hand.paraph == "cross":
        height = rng.uniform(0.8, 1.8)
        bar = np.array(
            [[left + width * 0.3, height, 0.0], [right + width * 0.05, height + 0.4, -0.3]]
        )
        return [*plan, bar]
    return plan


def signature_plan(hand: Writer, rng: np.random.Generator) -> Plan:
    """Target points of one signature. `rng` carries what differs between two of one writer."""
    habit = np.random.default_rng((hand.gesture, 999))  # the same letters every time
    if hand.style == "loops":
        plan = [_append(_capital(hand, 0), _loops(hand, habit), 0.1)]
    elif hand.style == "zigzag":
        plan = [_append(_capital(hand, 0), _zigzag(habit), 0.1)]
    elif hand.style == "tall":
        plan = [_append(_capital(hand, 0), _tall(habit), -0.8)]
    elif hand.style == "capitals":
        plan = [_capital(hand, 0)]
        for which in range(1, max(2, hand.words)):
            plan.append(_append(plan[-1], _capital(hand, which), 0.2)[len(plan[-1]) :])
    else:
        plan, end = [], 0.0
        for word in range(hand.words):
            trailing = hand.style == "trailing" or (word == hand.words - 1 and habit.random() < 0.4)
            run = _append(_capital(hand, word), _letters(hand, hand.letters, habit, trailing), 0.0)
            run[:, 0] += end
            end = run[:, 0].max() + habit.uniform(0.0, 0.8)
            plan.append(run)
    return _written(hand, _paraph(hand, plan, habit), rng)


def initials_plan(hand: Writer, rng: np.random.Generator) -> Plan:
    """Target points of two or three capitals in one run."""
    run = _capital(hand, 0)
    for which in range(1, 2 + hand.gesture % 2):
        run = _append(run, _capital(hand, which), -0.2)
    return _written(hand, [run], rng)


def words_plan(hand: Writer, count: int, rng: np.random.Generator) -> Plan:
    """Target points of a line of `count` ordinary words: a note, not a signature."""
    plan, end = [], 0.0
    for _ in range(count):
        run = _letters(hand, int(rng.integers(2, 9)), rng, trailing=False)
        if rng.random() < 0.25:
            run = _append(_capital(hand, int(rng.integers(20))) * (1, 0.6, 1), run, 0.0)
        run[:, 0] += end - run[:, 0].min()
        end = run[:, 0].max() + rng.uniform(0.6, 1.2)
        plan.append(run)
    return _written(hand, plan, rng)


def line_plan(hand: Writer, line: str, rng: np.random.Generator) -> Plan:
    """Target points of jotted figures and signs. One that FIGURES lacks is left out."""
    plan, end = [], 0.0
    for sign in line:
        habit = np.random.default_rng((hand.gesture, ord(sign)))  # the writer's own figure
        runs = [np.array(run, float) for run in FIGURES.get(sign, ())]
        runs = [run + habit.normal(0, (0.08, 0.08, 0.15), run.shape) for run in runs]
        for run in runs:
            run[:, 0] += end
        plan += runs
        gap = rng.uniform(0.5, 1.0) if sign == " " else rng.uniform(0.15, 0.4)
        end = max((run[:, 0].max() for run in runs), default=end) + gap
    return _written(hand, plan, rng)


def _written(hand: Writer, plan: Plan, rng: np.random.Generator) -> Plan:
    """The plan with the writer's spread, slant, climb and this writing's noise."""
    written = []
    for run in plan:
        x, y, turn = run.T
        x = x * hand.spread + rng.normal(0, hand.noise, len(x))
        y = y + rng.normal(0, hand.noise, len(y))
        written.append(np.stack([x + hand.slant * y, y + hand.climb * x, turn * hand.turn], axis=1))
    return written


def trace(targets: np.ndarray, overlap: float, sigma: float) -> np.ndarray:
    """Pen path through (n, 3) targets as (t, 3): x, y, speed, by the sigma-lognormal model.

    Neighbouring strokes overlap in time, so corners are rounded and targets are passed near by.
    """
    start, ends, turn = targets[0, :2], targets[1:, :2], targets[1:, 2]
    chord = ends - targets[:-1, :2]
    length = np.hypot(*chord.T) + 1e-6
    turn = np.where(np.abs(turn) < 0.05, 0.05, turn)
    heading = np.arctan2(chord[:, 1], chord[:, 0]) - turn / 2
    arc = length * (turn / 2) / np.sin(turn / 2)
    mu = -1.6
    duration = np.exp(mu + 3 * sigma)
    onset = np.arange(len(arc)) * duration * (1 - overlap)
    steps = int(np.clip(length.sum() * 12, 24, 900))
    time = np.linspace(0, onset[-1] + duration, steps)[:, None]
    elapsed = np.maximum(time - onset, 1e-9)
    done = ndtr((np.log(elapsed) - mu) / sigma)  # share of each stroke written, (t, strokes)
    angle = heading + turn * done
    dx = arc / turn * (np.sin(angle) - np.sin(heading))
    dy = arc / turn * (np.cos(heading) - np.cos(angle))
    path = start + np.stack([dx.sum(axis=1), dy.sum(axis=1)], axis=1)
    speed = np.hypot(*np.gradient(path, axis=0).T)
    return np.column_stack([path, speed])


def draw(
    hand: Writer, plan: Plan, size: tuple[float, float], pen: float, stretch: float = 1.0
) -> np.ndarray:
    """The plan's ink as coverage (h, w) float32 in [0, 1], at most `size` (w, h) px large.

    `pen` is the line width in px. Slow parts are thicker and darker, as pressed. `stretch` widens
    the letters, not the line.
    """
    paths = [trace(run, hand.overlap, hand.sigma) * (stretch, 1, 1) for run in plan if len(run) > 1]
    everything = np.concatenate(paths)
    low, high = everything[:, :2].min(axis=0), everything[:, :2].max(axis=0)
    scale = min(size[0] / max(high[0] - low[0], 1e-3), size[1] / max(high[1] - low[1], 1e-3))
    fine = 3  # supersampling
    margin = pen + 1
    width, height = ((high - low) * scale + 2 * margin).astype(int) + 1
    canvas = np.zeros((height * fine, width * fine), np.uint8)
    fast = np.quantile(everything[:, 2], 0.9) + 1e-6
    for path in paths:
        x = (path[:, 0] - low[0]) * scale + margin
        y = (high[1] - path[:, 1]) * scale + margin
        slow = np.clip(1 - path[:, 2] / fast, 0, 1)
        thickness = np.maximum(1, pen * fine * (1 - 0.35 * hand.pressure + hand.pressure * slow))
        points = np.round(np.stack([x, y], axis=1) * fine).astype(int)
        dark = (170 + 85 * slow).astype(int)
        for i in range(len(points) - 1):
            cv2.line(canvas, points[i], points[i + 1], (int(dark[i]),), int(thickness[i]))
    return (
        cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    )
