"""`countersign log find` and `countersign log export`: asks a gateway's prediction log."""

import argparse
import hashlib
import json
import os
import re
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from countersign.address import Address
from countersign.errors import CountersignError, Denied, Unavailable
from countersign.gateway import Body, answered, ask_gateway
from countersign.output import print_error, printable

# What an export has, and nothing that leads out of the folder
NAME = re.compile(
    r"(?:yolo|coco)/(?:images|labels|annotations)/\w[\w.-]*|yolo/data\.yaml|export\.json"
)
NOT_EXPORTED = {
    "without_picture": "corrected pages are not stored, or cannot be drawn",
    "of_other_classes": "corrected pages were looked at for other classes",
}
CHUNK = 2**20


def ask_log(arguments: argparse.Namespace, at: Address) -> int:
    """Does what is asked of the log; gives the exit status."""
    return {"find": find_files, "export": export_pages}[arguments.action](arguments, at)


def find_files(arguments: argparse.Namespace, at: Address) -> int:
    """Prints what was answered about each file, found by its SHA-256. Exit status 0, or 1 if the
    log has nothing about one of them."""
    failed = False
    for name in arguments.files:
        try:
            path = f"/v1/predictions/{digest_of(name)}"
            found = json.loads(ask_gateway(at, "GET", path, timeout_s=arguments.timeout))
        except (CountersignError, OSError) as error:
            failed = True
            reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
            print_error(f"{name}: {reason}")
            if arguments.json:
                print(json.dumps({"file": name, "error": reason}), flush=True)
            if isinstance(error, (Denied, Unavailable)):
                break
            continue
        if arguments.json:
            print(json.dumps({"file": name, **found}), flush=True)
        else:
            print("\n".join(log_rows(printable(name), found)), flush=True)
    return int(failed)


def digest_of(name: str) -> str:
    """SHA-256 of a file, of standard input for -. OSError if it cannot be read."""
    digest = hashlib.sha256()
    with sys.stdin.buffer if name == "-" else open(name, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def log_rows(file: str, found: dict[str, Any]) -> Iterator[str]:
    """A line for each answer about a file, the newest first, and below it one for each mark; then
    one for each page's newest correction and its marks."""
    for answer in found["predictions"]:
        model = answer["model"]
        check = answer["check"]
        outcome = f"  {check['form']}: {check['verdict']}" if check else ""
        yield (
            f"{file}  {answer['time']}  {model['name']} {model['version']}"
            f"  {answer['operating_point']}  {answer['caller']}{outcome}"
        )
        for page in answer["pages"]:
            yield from page_rows(page)
    if more := found["total"] - len(found["predictions"]):
        yield f"{file}  {more} older answers"
    newest = {each["page"]: each for each in reversed(found["corrections"])}
    for page, correction in sorted(newest.items()):
        said = f"{correction['caller']}, version {correction['version']}"
        yield f"{file}  {correction['time']}  page {page} corrected by {said}"
        yield from page_rows(correction)


def page_rows(page: dict[str, Any]) -> Iterator[str]:
    """A line for each mark of a page, one if there is none, or if it failed or is a CAPTCHA."""
    number = f"  page {page['page']:4}"
    if "error" in page:
        yield f"{number}  {page['error']['detail']}"
    elif "text" in page:
        yield f"{number}  {page['text']}  {page['confidence']:.4f}"
    elif not page["detections"]:
        yield f"{number}  nothing"
    for mark in page.get("detections", ()):
        score = f"{mark['confidence']:5.3f}" if "confidence" in mark else "     "
        edges = "".join(f" {edge:7.1f}" for edge in mark["bbox"])
        yield f"{number}  {mark['class']:9}  {score}{edges}"


def export_pages(arguments: argparse.Namespace, at: Address) -> int:
    """Writes corrected pages into a new folder, whole or not at all. Exit status 0, or 1 if that
    failed or there are none."""
    out: Path = arguments.out
    if out.exists():
        print_error(f"{out}: is there already, name a folder that is not")
        return 1
    part = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
        with answered(at, "GET", "/v1/export", b"", at.headers, arguments.timeout) as body:
            unpack(body, part)
        counts = json.loads((part / "export.json").read_text())
        if counts["pages"]:
            part.chmod(0o755)
            part.rename(out)
    except (CountersignError, OSError, tarfile.TarError) as error:
        print_error(str(error))
        return 1
    finally:
        if part is not None:
            shutil.rmtree(part, ignore_errors=True)
    for name, words in NOT_EXPORTED.items():
        if counts[name]:
            print_error(f"{counts[name]} {words}")
    print_error(f"{out}: {counts['pages']} pages" if counts["pages"] else "no page to export")
    return 0 if counts["pages"] else 1


def unpack(stream: Body, folder: Path) -> None:
    """Writes an export's files. Raises tarfile.TarError if it is cut short, or none."""
    ended = False
    with tarfile.open(fileobj=stream, mode="r|") as tar:  # type: ignore[call-overload]
        for member in tar:
            if not NAME.fullmatch(member.name):
                raise tarfile.TarError(f"{member.name!r} in the export")
            path = folder / member.name
            path.parent.mkdir(parents=True, exist_ok=True)
            if member.islnk():
                if not NAME.fullmatch(member.linkname):
                    raise tarfile.TarError(f"{member.linkname!r} in the export")
                os.link(folder / member.linkname, path)
            elif content := tar.extractfile(member):
                path.write_bytes(content.read())
            ended = member.name == "export.json"
    if not ended:
        raise tarfile.TarError("the export was cut short")
