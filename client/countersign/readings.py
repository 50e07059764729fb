"""`countersign read --log` and `countersign outcome`: what was read, and whether it was right.

A folder of images, each under the digest of its bytes, and beside each a record: what was read, and
once the portal has said whether that is right, the outcome. A right answer is a label to train on.
"""

import argparse
import hashlib
import json
import os
import tempfile
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from countersign.errors import Refused
from countersign.files import STDIN, standard_input
from countersign.images import Image, encoded
from countersign.messages import Reading
from countersign.output import print_error

RECORD = ".reading.json"  # after the digest
KINDS = {  # how a file begins: its suffix
    b"\xff\xd8\xff": ".jpg",
    b"\x89PNG": ".png",
    b"GIF8": ".gif",
    b"BM": ".bmp",
    b"II": ".tif",
    b"MM": ".tif",
    b"RIFF": ".webp",
}
DIGEST_LENGTH = 32  # hexadecimal digits


def keep(folder: Path, image: Image, reading: Reading) -> None:
    """Writes image and reading, readable by their owner alone, each whole or not at all.

    An image that is there already keeps its outcome. Raises OSError if they cannot be written.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    data = encoded(image)
    record = folder / f"{digest(data)}{RECORD}"
    if record.exists() and "outcome" in json.loads(record.read_text(encoding="utf-8")):
        return
    suffix = next((kind for begin, kind in KINDS.items() if data.startswith(begin)), ".img")
    file = folder / f"{digest(data)}{suffix}"
    write(file, data)
    said = {
        "file": file.name,
        "text": reading.text,
        "confidence": reading.confidence,
        "digit_confidence": list(reading.digit_confidence),
        "certain": reading.certain,
        "threshold": reading.threshold,
        "time": now(),
    }
    write_record(record, said)


def mark(folder: Path, image: Image, right: bool, text: str | None = None) -> None:
    """Writes whether what was read of the image is right, or with `text` what it shows.

    The last outcome counts. Raises Refused for an image that is not in the folder, OSError if its
    record cannot be read or written.
    """
    record = folder / f"{digest(encoded(image))}{RECORD}"
    if not record.exists():
        raise Refused(f"not in {folder}: it was not read with --log {folder}")
    said: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
    said |= {"outcome": "right" if right else "wrong", "outcome_time": now()}
    said.pop("label", None)
    if right or text:
        said["label"] = text or said["text"]
    write_record(record, said)


def mark_files(arguments: argparse.Namespace) -> int:
    """`countersign outcome`: marks each file, gives the exit status."""
    if arguments.text and (arguments.outcome == "right" or len(arguments.files) > 1):
        print_error("--text: only of one file whose answer was wrong")
        return 2
    failed = False
    for name in arguments.files:
        try:
            image = standard_input() if name == STDIN else name
            mark(arguments.log, image, arguments.outcome == "right", arguments.text)
        except (Refused, OSError, ValueError) as error:  # ValueError: a record that is none
            print_error(f"{name}: {getattr(error, 'strerror', None) or error}")
            failed = True
    return int(failed)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:DIGEST_LENGTH]


def now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def write_record(path: Path, record: dict[str, Any]) -> None:
    write(path, (json.dumps(record, ensure_ascii=False) + "\n").encode())


def write(path: Path, data: bytes) -> None:
    """Puts a file of mode 0600 in its place, once all of it is written."""
    handle, unfinished = tempfile.mkstemp(prefix=".", dir=path.parent)
    try:
        with open(handle, "wb") as file:
            file.write(data)
        os.replace(unfinished, path)
    except BaseException:
        os.unlink(unfinished)
        raise
