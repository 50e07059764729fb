"""Draws the corpus from seeds and answers it in one process.

    python -m benchmarks.speed.make_corpus --out DIR [--files 4] [--seed 5]

Files that are there stay; the answers are made anew, with the weights that are served.
"""

import argparse
import io
import json
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from tqdm import tqdm

from benchmarks.speed.corpus import SCORE_GAP, SHARES, Box, Sample, save
from inprocess import Detector, Reader
from inprocess.model import Tensors
from inprocess.repository import parameters
from server import Settings
from training.captcha import generate
from training.detector import scan
from training.detector.pages import samples
from training.detector.pages.compose import draw_page

FILES = 4  # of each kind
PHONE = (3000, 4000)  # px, width and height as held
TURNED = 6  # EXIF orientation: the camera stored the page lying on its side
ORIENTATION = 0x0112
GRAIN = 0.1  # of the sensor at full size; makes files as large as phones make them
TRIES = 60  # pages drawn until one shows something that is surely found


def drawn_page(index: int, seed: int, long_side: int, source: scan.Source) -> Image.Image:
    """A generated test page, upright, its longer side `long_side` px."""
    page = draw_page("test", index, seed, long_side, source)
    return Image.fromarray(page.pixels)


def scanned(suffix: str, dpi: int) -> Callable[[int, int], bytes]:
    """Draws a scan of A4 size into a file's bytes, in the manner of the sample pages."""

    def draw(index: int, seed: int) -> bytes:
        height = round(samples.A4_INCHES * dpi)
        return file_bytes(drawn_page(index, seed, height, samples.CLEAN), suffix, dpi)

    return draw


def file_bytes(page: Image.Image, suffix: str, dpi: int) -> bytes:
    """A page as colour JPEG, bilevel TIFF (fax group 4) or grey PNG."""
    if suffix == ".tiff":
        page = page.convert("L").point(lambda grey: 255 * (grey > 160), mode="1")
        return encoded(page, "TIFF", compression="group4", dpi=(dpi, dpi))
    if suffix == ".png":
        return encoded(page.convert("L").quantize(16), "PNG", optimize=True, dpi=(dpi, dpi))
    return encoded(page, "JPEG", quality=80, dpi=(dpi, dpi))


def encoded(image: Image.Image, form: str, **settings) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **settings)
    return file.getvalue()


def photographed(index: int, seed: int) -> bytes:
    """A phone's 12-megapixel JPEG, stored sideways with an EXIF orientation."""
    page = drawn_page(index, seed, max(PHONE) // 2, scan.SOURCES["phone"]).resize(PHONE)
    grain = scan.sensor_noise(np.asarray(page), GRAIN, np.random.default_rng(index))
    exif = Image.Exif()
    exif[ORIENTATION] = TURNED
    lying = Image.fromarray(grain).transpose(Image.Transpose.ROTATE_90)
    return encoded(lying, "JPEG", quality=90, exif=exif)


def small(index: int, seed: int) -> bytes:
    """A page of 640 x 640 px, as data sets come."""
    page = drawn_page(index, seed, 1754, samples.CLEAN).resize((640, 640), Image.Resampling.BOX)
    return encoded(page, "JPEG", quality=85)


def captcha(index: int, seed: int) -> bytes:
    image, _ = generate.sample("all", seed, index)
    return encoded(Image.fromarray(image), "PNG")


DRAWN: dict[str, tuple[str, Callable[[int, int], bytes]]] = {
    "a4_150_jpeg": (".jpg", scanned(".jpg", 150)),
    "a4_300_jpeg": (".jpg", scanned(".jpg", 300)),
    "a4_300_tiff": (".tiff", scanned(".tiff", 300)),
    "a4_150_png": (".png", scanned(".png", 150)),
    "phone_12mp": (".jpg", photographed),
    "page_640": (".jpg", small),
    "captcha": (".png", captcha),
}


def expected(found: Tensors, thresholds: dict[str, float]) -> tuple[Box, ...]:
    """The boxes of one page, found with lowered thresholds."""
    rows = zip(*(found[name].tolist() for name in ("labels", "scores", "boxes")), strict=True)
    return tuple(
        Box(label, score, tuple(xyxy), score >= thresholds[label] + SCORE_GAP)
        for label, score, xyxy in rows
    )


def answerer() -> Callable[[str, str, bytes], Sample]:
    """Says of a file's name, kind and bytes what is right, by the served weights."""
    repository = Settings().repository
    detector, reader = Detector(repository), Reader(repository)
    settings = parameters(repository / "document_postprocess")
    classes = settings["classes"].split(",")
    thresholds = {name: float(settings[f"confidence_{name}"]) for name in classes}
    lowered = {f"confidence_{name}": max(0.0, thresholds[name] - SCORE_GAP) for name in classes}

    def answer(name: str, kind: str, image: bytes) -> Sample:
        if kind == "captcha":
            return Sample(name, kind, text=str(reader.read(image)["text"][0]))
        return Sample(name, kind, boxes=expected(detector.detect(image, **lowered), thresholds))

    return answer


def write(
    out: Path, files: int = FILES, seed: int = 5, kinds: Sequence[str] = tuple(SHARES)
) -> list[Sample]:
    """Files of each kind under `out`, drawn where missing, and corpus.json.

    Pages on which nothing is surely found are passed over; ValueError if TRIES give too few.
    """
    cv2.setNumThreads(1)
    out.mkdir(parents=True, exist_ok=True)
    settings = {"files": files, "seed": seed, "kinds": list(kinds)}
    answer = answerer()
    if _drawn_with(out) != settings:
        for old in out.glob("*_[0-9]*.*"):
            old.unlink()
        for kind in tqdm(kinds, desc="corpus"):
            _draw(out, kind, files, seed, answer)
        (out / "drawn.json").write_text(json.dumps(settings) + "\n")
    names = sorted(path for kind in kinds for path in out.glob(f"{kind}_*"))
    made = [answer(path.name, path.stem.rpartition("_")[0], path.read_bytes()) for path in names]
    save(out, made)
    return made


def _drawn_with(out: Path) -> dict | None:
    record = out / "drawn.json"
    return json.loads(record.read_text()) if record.exists() else None


def _draw(out: Path, kind: str, files: int, seed: int, answer: Callable) -> None:
    suffix, draw = DRAWN[kind]
    drawn = ((index, draw(index, seed)) for index in range(TRIES))
    shows = (
        (index, image)
        for index, image in drawn
        if kind == "captcha" or any(box.sure for box in answer("", kind, image).boxes)
    )
    chosen = list(islice(shows, files))
    if len(chosen) < files:
        raise ValueError(f"{kind}: {len(chosen)} of {TRIES} pages show anything, {files} wanted")
    for index, image in chosen:
        (out / f"{kind}_{index}{suffix}").write_bytes(image)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the corpus")
    parser.add_argument("--files", type=int, default=FILES, help="files of each kind")
    parser.add_argument("--seed", type=int, default=5)
    args = parser.parse_args()
    made = write(args.out, args.files, args.seed)
    counts = np.unique([sample.kind for sample in made], return_counts=True)
    for kind, count in zip(*counts, strict=True):
        size = sum((args.out / each.name).stat().st_size for each in made if each.kind == kind)
        print(f"{kind:12} {count} files, {size / count / 1000:.0f} kB each")


if __name__ == "__main__":
    main()
