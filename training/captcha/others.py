"""Pictures that are no CAPTCHA of six digits, in the styles of the generator, for the judge.

Each kind is a function of a style and a seeded generator that gives (50, 200, 3) uint8 RGB.
"""

import zlib
from collections.abc import Callable

import cv2
import numpy as np
from numpy.random import Generator

from training.captcha.generate import (
    STYLES,
    UNSEEN,
    Style,
    bent,
    clutter,
    colour,
    digit_masks,
    draw,
    paper,
)
from training.captcha.images import DIGITS, HEIGHT, WIDTH

LETTERS = "ACEFGHJKLMNPRTUVWXYadefhjkmnprtuvwxy"  # none that is drawn like a digit
COVERED = 0.3  # ink at which a pixel belongs to a digit


def digits(count: int, rng: Generator) -> str:
    return "".join(map(str, rng.integers(0, 10, count)))


def of_length(*counts: int) -> Callable[[Style, Generator], np.ndarray]:
    """Digits, but not six."""
    return lambda style, rng: draw(style, digits(int(rng.choice(counts)), rng), rng)


def letters(style: Style, rng: Generator) -> np.ndarray:
    return draw(style, "".join(rng.choice(list(LETTERS), DIGITS)), rng)


def mixed(style: Style, rng: Generator) -> np.ndarray:
    """Six signs, at least one and at most five of them letters."""
    text = np.array(list(digits(DIGITS, rng)))
    places = rng.permutation(DIGITS)[: rng.integers(1, DIGITS)]
    text[places] = rng.choice(list(LETTERS), len(places))
    return draw(style, "".join(text), rng)


def with_covers(style: Style, rng: Generator) -> tuple[np.ndarray, list[np.ndarray]]:
    """Six digits on paper, (50, 200, 3) float32, and each one's coverage (50, 200)."""
    page = paper(style, rng)
    wave = (rng.uniform(*style.wave), rng.uniform(60, 140), rng.uniform(0, 2 * np.pi))
    masks = digit_masks(style, digits(DIGITS, rng), rng)
    covers = [bent(mask, *wave) if style.wave[1] else mask for mask in masks]
    shared = colour(style.ink, rng)
    for cover in covers:
        ink = shared if style.one_ink else colour(style.ink, rng)
        page = page * (1 - cover[..., None]) + ink * cover[..., None]
    return page, covers


def finished(page: np.ndarray, style: Style, rng: Generator) -> np.ndarray:
    """The page with the style's clutter, blur and grain."""
    clutter(page, style, rng)
    if (sigma := rng.uniform(*style.blur)) > 0.2:
        page = cv2.GaussianBlur(page, (0, 0), sigma)
    page = page + rng.normal(0, rng.uniform(*style.noise), page.shape)
    return np.clip(np.rint(page), 0, 255).astype(np.uint8)


def extent(cover: np.ndarray) -> tuple[int, int, int, int]:
    """x, y, width, height of a digit's ink."""
    x, y, width, height = cv2.boundingRect((cover > COVERED).astype(np.uint8))
    return x, y, width, height


def hidden(style: Style, rng: Generator) -> np.ndarray:
    """One of six digits under a box, a disc or a scribble, in ink or in paper."""
    page, covers = with_covers(style, rng)
    x, y, width, height = extent(covers[rng.integers(DIGITS)])
    tone = [float(value) for value in colour(style.ink if rng.random() < 0.5 else style.paper, rng)]
    centre = (x + width // 2, y + height // 2)
    way = rng.integers(3)
    if way == 0:
        cv2.rectangle(page, (x - 1, y - 1), (x + width + 1, y + height + 1), tone, -1)
    elif way == 1:
        cv2.ellipse(page, centre, (width * 7 // 10 + 2, height * 7 // 10 + 2), 0, 0, 360, tone, -1)
    else:
        for _ in range(rng.integers(9, 16)):
            ends = rng.integers((x - 2, y), (x + width + 3, y + height + 1), (2, 2))
            cv2.line(page, ends[0].tolist(), ends[1].tolist(), tone, int(rng.integers(2, 5)))
    return finished(page, style, rng)


def cut_at_the_side(style: Style, rng: Generator) -> np.ndarray:
    """The first or last digit is out of the picture by 40 % of its width or more."""
    page, covers = with_covers(style, rng)
    image = finished(page, style, rng)
    left = rng.random() < 0.5
    x, _, width, _ = extent(covers[0 if left else -1])
    margin = x if left else WIDTH - x - width
    gone = int(np.ceil(margin + width * rng.uniform(0.4, 1.2)))
    if rng.random() < 0.5:  # the rest is stretched
        rest = image[:, gone:] if left else image[:, : WIDTH - gone]
        return cv2.resize(rest, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)
    place = np.array([[1, 0, -gone if left else gone], [0, 1, 0]], np.float32)
    return cv2.warpAffine(image, place, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REPLICATE)


def cut_across(style: Style, rng: Generator) -> np.ndarray:
    """Half of the line or more is above or below the picture."""
    page, covers = with_covers(style, rng)
    image = finished(page, style, rng)
    _, y, _, height = extent(np.max(covers, axis=0))
    gone = int(y + height * rng.uniform(0.5, 0.9))
    rest = image[gone:] if rng.random() < 0.5 else image[: HEIGHT - gone]
    if rng.random() < 0.5:
        return cv2.resize(rest, (WIDTH, HEIGHT))
    return cv2.copyMakeBorder(rest, 0, HEIGHT - len(rest), 0, 0, cv2.BORDER_REPLICATE)


def blank(style: Style, rng: Generator) -> np.ndarray:
    return finished(paper(style, rng), style, rng)


def words(style: Style, rng: Generator) -> np.ndarray:
    """Lines of text in small or large letters, as a part of a page."""
    page = np.full((HEIGHT, WIDTH, 3), rng.uniform(180, 255), np.float32)
    signs = list("abcdefghijklmnopqrstuvwxyz ABCDEFGHIJ 0123456789.,-")
    for _ in range(rng.integers(1, 5)):
        text = "".join(rng.choice(signs, rng.integers(5, 40)))
        place = (int(rng.integers(-10, 30)), int(rng.integers(8, 50)))
        font, size = int(rng.integers(8)), float(rng.uniform(0.3, 1))
        cv2.putText(page, text, place, font, size, [float(rng.uniform(0, 120))] * 3, 1, cv2.LINE_AA)
    return np.clip(page + rng.normal(0, 4, page.shape), 0, 255).astype(np.uint8)


def texture(style: Style, rng: Generator) -> np.ndarray:
    """Patches of colour, shapes or soft noise: what photos and drawings look like from afar."""
    way = rng.integers(3)
    if way == 0:
        few = rng.uniform(0, 255, (rng.integers(2, 6), rng.integers(3, 14), 3)).astype(np.float32)
        how = cv2.INTER_CUBIC if rng.random() < 0.5 else cv2.INTER_NEAREST
        page = cv2.resize(few, (WIDTH, HEIGHT), interpolation=how)
    elif way == 1:
        page = np.full((HEIGHT, WIDTH, 3), rng.uniform(0, 255, 3), np.float32)
        for _ in range(rng.integers(1, 25)):
            ends = rng.integers((0, 0), (WIDTH, HEIGHT), (2, 2)).tolist()
            tone = rng.uniform(0, 255, 3)
            width = int(rng.integers(1, 5))
            if rng.random() < 0.5:
                cv2.rectangle(page, ends[0], ends[1], tone.tolist(), width)
            else:
                cv2.line(page, ends[0], ends[1], tone.tolist(), width)
            cv2.circle(page, ends[0], int(rng.integers(2, 30)), tone.tolist(), 2, cv2.LINE_AA)
    else:
        noise = rng.normal(0, 1, (HEIGHT, WIDTH, 3)).astype(np.float32)
        soft = cv2.GaussianBlur(noise, (0, 0), float(rng.uniform(0.3, 6)))
        page = soft / soft.std() * rng.uniform(10, 70) + rng.uniform(60, 200)
    return np.clip(page, 0, 255).astype(np.uint8)


KINDS: dict[str, Callable[[Style, Generator], np.ndarray]] = {
    "4 digits": of_length(4),
    "5 digits": of_length(5),
    "7 digits": of_length(7),
    "8 digits": of_length(8),
    "1 to 3 digits, 9 or 10": of_length(1, 2, 3, 9, 10),
    "letters": letters,
    "letters and digits": mixed,
    "a digit hidden": hidden,
    "cut at the side": cut_at_the_side,
    "cut across": cut_across,
    "blank": blank,
    "words": words,
    "texture": texture,
}


def other(kind: str, style: str, seed: int, index: int) -> np.ndarray:
    """Picture `index` of a kind in a style: (50, 200, 3) uint8 RGB. KeyError for unknown names."""
    rng = np.random.default_rng([zlib.crc32(f"{kind} {style}".encode()), seed, index])
    return KINDS[kind]((STYLES | UNSEEN)[style], rng)
