"""Corrected pages as data to train on, a YOLO folder and a COCO folder in one tar.

    yolo/data.yaml, yolo/images/PAGE, yolo/labels/PAGE.txt
    coco/annotations/instances_default.json, coco/images/PAGE
    export.json     {"pages", "without_picture", "of_other_classes"}: how many

PAGE is SHA256.rf.NUMBER: as in Roboflow's exports, what stands before ".rf." is the document, whose
pages a training keeps together. The pictures of coco/ are hard links to those of yolo/.
"""

import json
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from countersign.documents import kind_of, open_document, picture_of
from countersign.errors import CountersignError
from countersign.pages import Bounds
from countersign.pdf import PdfProcess

Members = Iterator[tuple[str, bytes | str]]  # name, and content or the name that it links to
BLOCK = tarfile.BLOCKSIZE
SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "WebP": ".webp", "BMP": ".bmp"}
XMP_ORIENTATION = b"tiff:Orientation"  # which OpenCV does not read
FINEST_DPI = 600  # of a picture that is drawn again; nothing is enlarged


@dataclass(frozen=True)
class Picture:
    """A page as a person sees it."""

    image: bytes = field(repr=False)  # a file
    suffix: str  # of that file: .jpg, .png
    width: int  # px
    height: int


Draw = Callable[[Mapping[str, Any]], Picture | None]  # of a corrected page, None if it has none


def members(corrected: Iterable[Mapping[str, Any]], draw: Draw) -> Members:
    """The files of the export, of corrections as PredictionLog.corrected gives them.

    All have the classes of the first; pages that were looked at for others are left out.
    """
    names: list[str] = []
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    without = others = 0
    for correction in corrected:
        names = names or correction["classes"]
        if correction["classes"] != names:
            others += 1
            continue
        picture = draw(correction)
        if picture is None:
            without += 1
            continue
        stem = f"{correction['sha256']}.rf.{correction['page']}"
        name = stem + picture.suffix
        boxes = [
            (names.index(mark["class"]), scaled(mark["bbox"], correction, picture))
            for mark in correction["detections"]
        ]
        yield f"yolo/images/{name}", picture.image
        yield f"coco/images/{name}", f"yolo/images/{name}"
        lines = [yolo_line(number, box, picture) for number, box in boxes]
        yield f"yolo/labels/{stem}.txt", "".join(lines).encode()
        size = {"width": picture.width, "height": picture.height}
        images.append({"id": len(images) + 1, "file_name": name} | size)
        for number, box in boxes:
            annotations.append(coco_annotation(len(annotations) + 1, len(images), number, box))
    categories = [{"id": number, "name": name} for number, name in enumerate(names, 1)]
    table = {"images": images, "annotations": annotations, "categories": categories}
    yield "coco/annotations/instances_default.json", json.dumps(table).encode()
    listed = "".join(f"  {number}: {name}\n" for number, name in enumerate(names))
    yield "yolo/data.yaml", f"train: images\nval: images\nnames:\n{listed}".encode()
    counts = {"pages": len(images), "without_picture": without, "of_other_classes": others}
    yield "export.json", json.dumps(counts).encode()


def page_picture(
    content: bytes, page: Mapping[str, Any], dpi: int, bounds: Bounds, process: PdfProcess
) -> Picture | None:
    """The picture of a corrected page of the file, None if it cannot be drawn.

    The image as it is in the file, where OpenCV reads it in the frame of the boxes, as a training
    does; else a JPEG of it.
    """
    try:
        with closing(open_document(content, dpi, bounds, process)) as document:
            sent = document.page(page["page"])
        suffix = SUFFIXES.get(kind_of(sent.image))
        if suffix and sent.page_number == 1 and XMP_ORIENTATION not in sent.image:
            size = size_of(sent.image)
            if size and same_shape(size, (page["width"], page["height"])):
                return Picture(sent.image, suffix, *size)
        image = picture_of(content, page["page"], FINEST_DPI, bounds, process)
    except CountersignError:
        return None
    size = size_of(image)
    return Picture(image, ".jpg", *size) if size else None


def size_of(image: bytes) -> tuple[int, int] | None:
    """Width and height in px as OpenCV reads the file, None if it does not."""
    pixels = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)
    return None if pixels is None else (pixels.shape[1], pixels.shape[0])


def same_shape(size: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether one is the other at another resolution, but for a pixel."""
    factor = size[0] / other[0]
    return abs(size[1] - other[1] * factor) <= max(1.0, factor)


def scaled(box: Iterable[float], page: Mapping[str, Any], picture: Picture) -> list[float]:
    """A box of a page of that "width" and "height", in pixels of its picture."""
    across, down = picture.width / page["width"], picture.height / page["height"]
    return [edge * factor for edge, factor in zip(box, (across, down) * 2, strict=True)]


def yolo_line(number: int, box: list[float], picture: Picture) -> str:
    """Class, centre and size, in shares of the page."""
    x0, y0, x1, y1 = box
    across = (x0 + x1) / 2 / picture.width, (x1 - x0) / picture.width
    down = (y0 + y1) / 2 / picture.height, (y1 - y0) / picture.height
    return f"{number} {across[0]:.8f} {down[0]:.8f} {across[1]:.8f} {down[1]:.8f}\n"


def coco_annotation(id_: int, image: int, number: int, box: list[float]) -> dict[str, Any]:
    """Corner and size, in px; categories count from 1."""
    x0, y0, x1, y1 = (round(edge, 3) for edge in box)
    bbox = [x0, y0, round(x1 - x0, 3), round(y1 - y0, 3)]
    return {
        "id": id_,
        "image_id": image,
        "category_id": number + 1,
        "bbox": bbox,
        "area": round(bbox[2] * bbox[3], 3),
        "iscrowd": 0,
    }


def archive(files: Members) -> Iterator[bytes]:
    """The files as a tar (POSIX.1-2001), piece by piece."""
    for name, content in files:
        info = tarfile.TarInfo(name)
        if isinstance(content, str):
            info.type, info.linkname = tarfile.LNKTYPE, content
            yield info.tobuf(tarfile.PAX_FORMAT)
            continue
        info.size = len(content)
        yield info.tobuf(tarfile.PAX_FORMAT)
        yield content
        yield bytes(-len(content) % BLOCK)
    yield bytes(2 * BLOCK)
