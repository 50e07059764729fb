"""CAPTCHAs of as many makers as possible: each image draws its own style.

What one portal keeps for all of its images (fonts, sizes, overlap, warps, strokes, paper) is drawn
anew for each of these, from ranges that are meant to hold what makers of CAPTCHAs do. Weights that
read them read a portal that they never saw, or learn it from few of its images. An image depends on
its seed and index alone.
"""

import sysconfig
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFont

from training.captcha.images import DIGITS, HEIGHT, LEAST_PLACES, MOST_PLACES, NUMERALS, WIDTH

LETTERS = "ABDEFGHJKLMNPQRTUVWXYabdefghijkmnqrtuy"  # none that is drawn like a digit
ALPHABET = NUMERALS + LETTERS
CAP = 64  # px, height of a glyph's digits before it is scaled
SHARE_OTHER_LENGTHS = 0.2
SHARE_LETTERS = 0.15

# Under site-packages; requirements/fonts.txt and matplotlib install them.
FONTS = (
    "font_intuitive/files/Intuitive.ttf",
    "fontpkg_alfa_slab_one/files/AlfaSlabOne-Regular.ttf",
    "fontpkg_archivo_black/files/ArchivoBlack-Regular.ttf",
    "fontpkg_arimo/files/Arimo-Italic[wght].ttf",
    "fontpkg_arimo/files/Arimo[wght].ttf",
    "fontpkg_barlow_condensed/files/BarlowCondensed-Bold.ttf",
    "fontpkg_barlow_condensed/files/BarlowCondensed-Light.ttf",
    "fontpkg_barlow_condensed/files/BarlowCondensed-MediumItalic.ttf",
    "fontpkg_cabin/files/Cabin[wdth,wght].ttf",
    "fontpkg_caveat/files/Caveat[wght].ttf",
    "fontpkg_delius/files/Delius-Regular.ttf",
    "fontpkg_ibm_plex_mono/files/IBMPlexMono-BoldItalic.ttf",
    "fontpkg_ibm_plex_mono/files/IBMPlexMono-Light.ttf",
    "fontpkg_ibm_plex_mono/files/IBMPlexMono-Medium.ttf",
    "fontpkg_inconsolata/files/Inconsolata[wdth,wght].ttf",
    "fontpkg_kalam/files/Kalam-Bold.ttf",
    "fontpkg_kalam/files/Kalam-Light.ttf",
    "fontpkg_open_sans/files/OpenSans-Italic[wdth,wght].ttf",
    "fontpkg_open_sans/files/OpenSans[wdth,wght].ttf",
    "fontpkg_oswald/files/Oswald[wght].ttf",
    "fontpkg_permanent_marker/files/PermanentMarker-Regular.ttf",
    "fontpkg_pt_sans/files/PT_Sans-Web-Bold.ttf",
    "fontpkg_pt_sans/files/PT_Sans-Web-Italic.ttf",
    "fontpkg_pt_sans_narrow/files/PT_Sans-Narrow-Web-Bold.ttf",
    "fontpkg_pt_serif/files/PT_Serif-Web-Bold.ttf",
    "fontpkg_pt_serif/files/PT_Serif-Web-Italic.ttf",
    "fontpkg_pt_serif/files/PT_Serif-Web-Regular.ttf",
    "fontpkg_quicksand/files/Quicksand[wght].ttf",
    "fontpkg_roboto_slab/files/RobotoSlab[wght].ttf",
    "fontpkg_russo_one/files/RussoOne-Regular.ttf",
    "fontpkg_sarabun/files/Sarabun-BoldItalic.ttf",
    "fontpkg_sarabun/files/Sarabun-Regular.ttf",
    "fontpkg_zilla_slab/files/ZillaSlab-Bold.ttf",
    "fontpkg_zilla_slab/files/ZillaSlab-MediumItalic.ttf",
    "rinoh_typeface_texgyreadventor/texgyreadventor-bold.otf",
    "rinoh_typeface_texgyrecursor/texgyrecursor-bold.otf",
    "rinoh_typeface_texgyrecursor/texgyrecursor-italic.otf",
    "rinoh_typeface_texgyreheros/texgyreheros-bold.otf",
    "rinoh_typeface_texgyreheros/texgyreheros-bolditalic.otf",
    "rinoh_typeface_texgyreheros/texgyreheros-regular.otf",
    "rinoh_typeface_texgyreheros/texgyreheroscn-bold.otf",
    "rinoh_typeface_texgyreschola/texgyreschola-bold.otf",
    "rinoh_typeface_texgyretermes/texgyretermes-bold.otf",
    "rinoh_typeface_texgyretermes/texgyretermes-italic.otf",
    "rinoh_typeface_texgyretermes/texgyretermes-regular.otf",
    *(
        f"matplotlib/mpl-data/fonts/ttf/{name}.ttf"
        for name in (
            "DejaVuSans",
            "DejaVuSans-Bold",
            "DejaVuSans-BoldOblique",
            "DejaVuSans-Oblique",
            "DejaVuSansMono",
            "DejaVuSansMono-Bold",
            "DejaVuSerif",
            "DejaVuSerif-Bold",
            "DejaVuSerif-Italic",
            "STIXGeneral",
            "STIXGeneralBol",
            "STIXGeneralItalic",
            "cmb10",
            "cmr10",
            "cmss10",
            "cmtt10",
        )
    ),
)
HERSHEY = (
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_PLAIN,
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_COMPLEX,
    cv2.FONT_HERSHEY_TRIPLEX,
    cv2.FONT_HERSHEY_COMPLEX_SMALL,
)
SEGMENTS = {  # of a seven-segment display: top, sides of the upper half, middle, lower sides, base
    "0": "1110111",
    "1": "0010010",
    "2": "1011101",
    "3": "1011011",
    "4": "0111010",
    "5": "1101011",
    "6": "1101111",
    "7": "1010010",
    "8": "1111111",
    "9": "1111011",
}


@cache
def truetype(font: str) -> tuple[ImageFont.FreeTypeFont, float]:
    """The font at a size whose "8" is CAP px high, and the height of its base line, px."""
    path = Path(sysconfig.get_paths()["purelib"], font)
    trial = ImageFont.truetype(path, CAP)
    _, top, _, bottom = trial.getbbox("8")
    face = ImageFont.truetype(path, round(CAP * CAP / (bottom - top)))
    return face, face.getbbox("8")[3]


def segment_digit(sign: str) -> np.ndarray:
    """A digit of a seven-segment display: (64, 36) uint8."""
    page = np.zeros((CAP, 36), np.uint8)
    upper, middle, lower = 4, CAP // 2, CAP - 5
    ends = (
        ((6, upper), (29, upper)),
        ((4, upper + 3), (4, middle - 3)),
        ((31, upper + 3), (31, middle - 3)),
        ((6, middle), (29, middle)),
        ((4, middle + 3), (4, lower - 3)),
        ((31, middle + 3), (31, lower - 3)),
        ((6, lower), (29, lower)),
    )
    for lit, (start, end) in zip(SEGMENTS[sign], ends, strict=True):
        if lit == "1":
            cv2.line(page, start, end, (255,), 6)
    return page


@cache
def glyph(font: int, sign: str) -> tuple[np.ndarray, int]:
    """Coverage of one sign, cut to its ink, (h, w) uint8, and the px of it above the base line.

    Fonts are numbered: FONTS, HERSHEY, then the seven-segment display, which has digits only.
    """
    size = 3 * CAP
    if font < len(FONTS):
        face, base = truetype(FONTS[font])
        page = Image.new("L", (size, size))
        ImageDraw.Draw(page).text((CAP, CAP), sign, fill=255, font=face)
        canvas, line = np.asarray(page), CAP + round(base)
    elif font < len(FONTS) + len(HERSHEY):
        strokes_face = HERSHEY[font - len(FONTS)]
        canvas, line = np.zeros((size, size), np.uint8), 2 * CAP
        height = cv2.getTextSize("8", strokes_face, 1, 1)[0][1]
        at, scale = (CAP // 2, line), CAP / height
        cv2.putText(canvas, sign, at, strokes_face, scale, (255,), 6, cv2.LINE_AA)
    else:
        canvas, line = np.zeros((size, size), np.uint8), 2 * CAP
        canvas[CAP:line, CAP : CAP + 36] = segment_digit(sign)
    x, y, w, h = cv2.boundingRect(canvas)
    return canvas[y : y + h, x : x + w].copy(), line - y


def chance(share: float, rng: Generator) -> bool:
    return bool(rng.random() < share)


def text_of(rng: Generator, others: bool) -> str:
    """Six digits; with `others` some texts are of 4 to 8 signs, and some of letters and digits."""
    places = DIGITS
    if others and chance(SHARE_OTHER_LENGTHS, rng):
        places = int(rng.integers(LEAST_PLACES, MOST_PLACES + 1))
    signs = ALPHABET if others and chance(SHARE_LETTERS, rng) else NUMERALS
    return "".join(signs[i] for i in rng.integers(0, len(signs), places))


def placed(text: str, size: tuple[int, int], rng: Generator) -> list[np.ndarray]:
    """Coverage of each sign on a page of `size` (height, width): (h, w) float32 in [0, 1]."""
    height, width = size
    fonts = len(FONTS) + len(HERSHEY) + (1 if text.isdigit() else 0)
    one, mixed = int(rng.integers(fonts)), chance(0.3, rng)
    cap = height * rng.uniform(0.3, 0.85)
    varied = rng.choice([0, 0.1, 0.3])
    turn = rng.choice([0, 8, 20, 30, 45], p=[0.2, 0.25, 0.25, 0.2, 0.1])
    shear = rng.choice([0, 0.2, 0.5], p=[0.5, 0.3, 0.2])
    corner = rng.choice([0, 0.1, 0.25], p=[0.5, 0.3, 0.2])
    stretch = rng.uniform(0.75, 1.3)
    gap = rng.choice([rng.uniform(-0.3, 0), rng.uniform(0, 0.25), rng.uniform(0.2, 0.8)])
    loose = rng.choice([0, 0.1, 0.3])
    bold = chance(0.2, rng)

    signs: list[tuple[np.ndarray, np.ndarray]] = []  # coverage, its map to place at (0, 0)
    lefts, rights = [], []
    x = 0.0
    for sign in text:
        ink, above = glyph(int(rng.integers(fonts)) if mixed else one, sign)
        if bold:
            ink = cv2.dilate(cv2.copyMakeBorder(ink, 3, 3, 3, 3, 0), np.ones((5, 5), np.uint8))
        h, w = ink.shape
        scale = cap / CAP * (1 + varied * rng.uniform(-1, 1))
        box = np.array([[0, 0], [w, 0], [w, h], [0, h]], np.float32)
        to = (box - [w / 2, above - CAP / 2]) * [scale * stretch, scale]
        to += corner * rng.uniform(-0.5, 0.5, (4, 2)) * [w * scale, h * scale]
        angle = np.deg2rad(rng.uniform(-turn, turn))
        slope = rng.uniform(-shear, shear)
        turned = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        to = to @ (turned @ np.array([[1, slope], [0, 1]])).T
        to[:, 0] += x - to[:, 0].min()
        lefts.append(x)
        right = float(to[:, 0].max())
        rights.append(right)
        x = right + (gap + loose * rng.uniform(-1, 1)) * cap * 0.6
        x = max(x, lefts[-1] + 0.35 * (right - lefts[-1]))  # order stays what is read
        signs.append((ink, np.column_stack([to, np.zeros(4)])))

    length = max(rights)
    shrink = min(1.0, width * rng.uniform(0.9, 1) / length)
    if chance(0.25, rng):  # lines of one length
        shrink = min(width * rng.uniform(0.75, 1) / length, 1.6)
    aligned = rng.choice([0, 0.5, rng.random()])
    left = (width - length * shrink) * aligned
    lift = rng.choice([0, 0.06, 0.14, 0.25]) * height
    tilt = rng.uniform(-1, 1) * rng.choice([0, 0.1])  # of the whole line
    middle = height * rng.uniform(0.42, 0.58)
    covers = []
    for ink, corners in signs:
        h, w = ink.shape
        to = corners[:, :2] * shrink
        reach = (to[:, 1].max() - to[:, 1].min()) / 2
        y = middle + rng.uniform(-lift, lift) + tilt * (to[:, 0].mean() + left - width / 2)
        out = 0.12 * reach  # a little may be cut off
        if reach - out < height / 2:
            y = np.clip(y, reach - out, height - reach + out)
        to = to - [0, to[:, 1].mean()] + [left, y]
        box = np.array([[0, 0], [w, 0], [w, h], [0, h]], np.float32)
        soft = cv2.GaussianBlur(ink, (0, 0), 0.4 * CAP / cap) if cap < CAP * 0.8 else ink
        place = cv2.getPerspectiveTransform(box, to.astype(np.float32))
        cover = cv2.warpPerspective(soft, place, (width, height))
        covers.append(cover.astype(np.float32) / 255)
    return covers


def strokes(page: np.ndarray, count: int, tone: float, rng: Generator) -> None:
    """Lines, arcs and waves, mostly across the page, in place."""
    height, width = page.shape
    for _ in range(count):
        thick = int(rng.choice([1, 1, 2, 3])) if height > 40 else 1
        value = (float(np.clip(tone + rng.normal(0, 12), 0, 255)),)
        way = rng.integers(4)
        ends = rng.uniform((0, 0), (width, height), (2, 2))
        if chance(0.6, rng):  # from side to side
            ends[:, 0] = rng.uniform(-0.1, 0.3) * width, rng.uniform(0.7, 1.1) * width
        if way == 0:
            start, end = np.rint(ends).astype(int).tolist()
            cv2.line(page, start, end, value, thick, cv2.LINE_AA)
        elif way == 1:
            axes = (int(rng.uniform(0.1, 0.6) * width), int(rng.uniform(0.1, 0.7) * height))
            first = float(rng.uniform(0, 360))
            centre = np.rint(ends.mean(0)).astype(int).tolist()
            last = first + float(rng.uniform(40, 300))
            cv2.ellipse(page, centre, axes, 0, first, last, value, thick, cv2.LINE_AA)
        else:
            share = np.linspace(0, 1, 24)[:, None]
            points = ends[0] * (1 - share) + ends[1] * share
            phase, turns = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 3)
            points[:, 1] += (
                height * rng.uniform(0.05, 0.3) * np.sin(phase + 2 * np.pi * turns * share[:, 0])
            )
            curve = [np.rint(points).astype(np.int32)]
            cv2.polylines(page, curve, False, value, thick, cv2.LINE_AA)


def specks(page: np.ndarray, tone: float, rng: Generator) -> None:
    """Dots, rings, dashes or salt and pepper, in place."""
    height, width = page.shape
    value = (float(np.clip(tone + rng.normal(0, 15), 0, 255)),)
    way = rng.integers(5)
    if way == 0:
        count = int(rng.uniform(0.005, 0.08) * height * width)
        page[rng.integers(0, height, count), rng.integers(0, width, count)] = value[0]
    elif way == 1:
        count = int(rng.uniform(0.005, 0.05) * height * width)
        tones = rng.uniform(0, 255, count)
        page[rng.integers(0, height, count), rng.integers(0, width, count)] = tones
    else:
        reach = max(1, round(height / 50))
        for x, y in rng.integers((0, 0), (width, height), (rng.integers(5, 70), 2)).tolist():
            if way == 2:
                cv2.circle(page, (x, y), int(rng.integers(1, 2 + reach)), value, -1, cv2.LINE_AA)
            elif way == 3:
                cv2.circle(page, (x, y), int(rng.integers(1, 5) * reach), value, 1, cv2.LINE_AA)
            else:
                dx, dy = rng.integers(-4 * reach, 4 * reach + 1, 2).tolist()
                thick = int(rng.integers(1, 2 + reach))
                cv2.line(page, (x, y), (x + dx, y + dy), value, thick, cv2.LINE_AA)


def paper(size: tuple[int, int], tone: float, ink: float, rng: Generator) -> np.ndarray:
    """The background: (h, w) float32, flat or with a gradient, a texture, a grid, small signs."""
    height, width = size
    page = np.full(size, tone, np.float32)
    contrast = abs(tone - ink)
    if chance(0.3, rng):
        slope = np.linspace(-0.5, 0.5, width) * rng.uniform(-1, 1)
        page += contrast * 0.7 * (slope + np.linspace(-0.5, 0.5, height)[:, None] * rng.random())
    if chance(0.25, rng):
        few = rng.normal(0, 1, (rng.integers(2, 8), rng.integers(3, 24))).astype(np.float32)
        how = cv2.INTER_CUBIC if chance(0.6, rng) else cv2.INTER_NEAREST
        page += (
            contrast * rng.uniform(0.05, 0.25) * cv2.resize(few, (width, height), interpolation=how)
        )
    if chance(0.15, rng):
        step = int(rng.integers(5, 24))
        line = tone + (ink - tone) * rng.uniform(0.15, 0.8)
        page[:, int(rng.integers(step)) :: step] = line
        if chance(0.6, rng):
            page[int(rng.integers(step)) :: step] = line
    if chance(0.06, rng):  # rings around a point
        faint = (float(tone + (ink - tone) * rng.uniform(0.15, 0.9)),)
        centre = (int(rng.uniform(0.2, 0.8) * width), int(rng.uniform(0.2, 0.8) * height))
        apart, flat = rng.uniform(4, 14), rng.uniform(0.2, 1)
        for ring in range(1, int(rng.integers(4, 16))):
            axes = (int(apart * ring), max(1, int(apart * ring * flat)))
            cv2.ellipse(page, centre, axes, 0, 0, 360, faint, 1, cv2.LINE_AA)
    if chance(0.1, rng):  # stripes
        x = np.arange(width) + rng.uniform(-1, 1) * np.arange(height)[:, None]
        page += contrast * rng.uniform(0.05, 0.3) * np.sin(x * rng.uniform(0.2, 1.5))
    if chance(0.12, rng):  # small signs of another text
        faint = (float(tone + (ink - tone) * rng.uniform(0.15, 0.6)),)
        for _ in range(rng.integers(3, 25)):
            at = rng.integers((0, 5), (width, height + 5)).tolist()
            sign = ALPHABET[rng.integers(len(ALPHABET))]
            face = HERSHEY[rng.integers(len(HERSHEY))]
            cv2.putText(page, sign, at, face, rng.uniform(0.25, 0.45), faint, 1, cv2.LINE_AA)
    return page


def inked(
    page: np.ndarray, covers: list[np.ndarray], ink: float, tone: float, rng: Generator
) -> np.ndarray:
    """The signs on the page in one of several ways: filled, as outlines, with a shadow, ..."""
    way = rng.choice(["filled", "outline", "hollow", "shadow", "raised", "veil", "dotted"],
                     p=[0.58, 0.07, 0.07, 0.07, 0.07, 0.08, 0.06])  # fmt: skip
    varied = rng.choice([0, 0.15, 0.4]) * abs(ink - tone)
    pen = np.ones((3, 3), np.uint8) if page.shape[0] < 80 else np.ones((5, 5), np.uint8)
    depth = np.rint(rng.uniform(-3, 3, 2) * page.shape[0] / 50)
    dots = (rng.random(page.shape) < 0.7).astype(np.float32) if way == "dotted" else None
    alpha = rng.uniform(0.45, 0.9) if way == "veil" else 1.0
    for cover in covers:
        value = ink + varied * rng.uniform(-1, 1)
        if way == "outline":
            cover = cv2.dilate(cover, pen) - cover
        elif way == "hollow":
            around = cv2.dilate(cover, pen)
            page = page * (1 - around) + value * around
            value = tone + 0.25 * (ink - tone) * rng.random()
        elif way == "shadow":
            place = np.array([[1, 0, depth[0]], [0, 1, depth[1]]], np.float32)
            dark = cv2.warpAffine(cover, place, page.shape[::-1]) * 0.5
            page = page * (1 - dark) + (0.4 * tone + 0.6 * ink) * dark
        elif way == "raised":  # lit from one side, dark on the other
            for side, end in ((-1, 255 if ink < tone else 0), (1, 2 * ink - tone)):
                place = np.array([[1, 0, side * depth[0]], [0, 1, side * depth[1]]], np.float32)
                edge = cv2.warpAffine(cover, place, page.shape[::-1])
                page = page * (1 - edge) + float(np.clip(end, 0, 255)) * edge
            value = tone + (ink - tone) * rng.choice([0.1, 0.5])
        elif dots is not None:
            cover = cover * dots
        page = page * (1 - alpha * cover) + alpha * value * cover
    return page


def warped(page: np.ndarray, rng: Generator) -> np.ndarray:
    """The page bent by a wave, by waves in both directions or by a soft random field."""
    height, width = page.shape
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    way = rng.integers(3)
    if way < 2:
        phase = rng.uniform(0, 2 * np.pi, 2)
        dy = height * rng.uniform(0.02, 0.1) * np.sin(x / width * rng.uniform(4, 16) + phase[0])
        dx = height * rng.uniform(0, 0.08) * np.sin(y / height * rng.uniform(3, 9) + phase[1])
        dx = dx if way else np.zeros_like(x)
    else:
        few = rng.normal(0, height * rng.uniform(0.015, 0.04), (2, 4, 9)).astype(np.float32)
        dx, dy = (cv2.resize(part, (width, height), interpolation=cv2.INTER_CUBIC) for part in few)
    to = (x + dx).astype(np.float32), (y + dy).astype(np.float32)
    return cv2.remap(page, *to, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def finished(page: np.ndarray, ink: float, tone: float, rng: Generator) -> np.ndarray:
    """Blur, two tones only, grain or a poor JPEG, each of some pages: (h, w) uint8."""
    if chance(0.2, rng):
        page = cv2.GaussianBlur(page, (0, 0), rng.uniform(0.3, 1.1) * page.shape[0] / 50)
    if chance(0.08, rng):
        cut = (ink + tone) / 2
        page = np.where((page > cut) == (tone > ink), tone, ink)
    if chance(0.25, rng):
        page = page + rng.normal(0, rng.uniform(2, 0.2 * abs(ink - tone) + 2), page.shape)
    grey = np.clip(np.rint(page), 0, 255).astype(np.uint8)
    if chance(0.15, rng):
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(20, 90))]
        grey = cv2.imdecode(cv2.imencode(".jpg", grey, quality)[1], cv2.IMREAD_GRAYSCALE)
    return grey


def page_size(rng: Generator) -> tuple[int, int]:
    """Height and width in px of the picture that the portal sends."""
    if chance(0.4, rng):
        return HEIGHT, WIDTH
    height = int(rng.choice([rng.integers(28, 50), rng.integers(50, 75), rng.integers(75, 111)]))
    return height, round(height * rng.uniform(2.2, 5))


def draw(text: str, rng: Generator) -> np.ndarray:
    """One CAPTCHA that shows `text`, as the reader gets it: (50, 200) uint8 grey."""
    size = page_size(rng)
    contrast = rng.uniform(45, 230)
    dark = rng.uniform(0, 255 - contrast)
    tone, ink = (dark, dark + contrast) if chance(0.2, rng) else (dark + contrast, dark)
    page = paper(size, tone, ink, rng)
    way = rng.integers(3)  # clutter: none, some, much
    for after in (False, True):
        if after:
            page = inked(page, placed(text, size, rng), ink, tone, rng)
        if chance(0.3 * way, rng):
            like = tone if after and chance(0.2, rng) else ink + (tone - ink) * rng.choice([0, 0.4])
            strokes(page, int(rng.integers(1, 3 + 2 * way)), like, rng)
        if chance(0.3 * way, rng):
            specks(page, ink + (tone - ink) * rng.choice([0, 0.5]), rng)
    if chance(0.35, rng):
        page = warped(page, rng)
    if chance(0.08, rng):
        cv2.rectangle(page, (0, 0), (size[1] - 1, size[0] - 1), (float(ink),), 1)
    grey = finished(page, ink, tone, rng)
    shrinks = size[1] > WIDTH or size[0] > HEIGHT
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(grey, (WIDTH, HEIGHT), interpolation=how)


def sample(seed: int, index: int, others: bool = False) -> tuple[np.ndarray, str]:
    """Image `index`: (50, 200) uint8 grey, and its text, six digits unless `others` are wanted."""
    rng = np.random.default_rng([20111, seed, index, others])
    text = text_of(rng, others)
    return draw(text, rng), text
