"""`countersign check` and `countersign form learn`: asks a gateway about forms."""

import argparse
import base64
import json
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from countersign.address import Address
from countersign.errors import CountersignError, Denied, Unavailable
from countersign.files import Source, find
from countersign.gateway import ask_gateway
from countersign.output import print_error, printable

OPEN = 3  # exit status: some document is not complete
MORE_TIME = 4  # times the time limit of a page that a document may take


def check_documents(arguments: argparse.Namespace, at: Address) -> int:
    """Prints what each file shows of a form. Exit status 0 if all are complete, 3 if not all are,
    1 if one was not read."""
    found = find(arguments.paths, None, pdf=True)
    reasons = [(name, "skipped, no image") for name in found.others]
    reasons += [(name, str(reason)) for name, reason in found.unread]
    for name, reason in reasons:
        _print_failure(name, reason, arguments.json)
    failed, unfinished = bool(found.unread), False
    width = max((len(printable(source.name)) for source in found.sources), default=0)
    for i, source in enumerate(found.sources):
        try:
            answer = _asked(source, arguments, at)
        except (CountersignError, OSError) as error:
            failed = True
            _print_failure(source.name, _text(error), arguments.json)
            if isinstance(error, (Denied, Unavailable)):
                if left := len(found.sources) - i - 1:
                    print_error(f"{left} more not sent")
                break
            continue
        check = answer["check"]
        unfinished |= check["verdict"] != "complete"
        if arguments.json:
            print(json.dumps({"file": source.name, **answer}), flush=True)
        else:
            print("\n".join(check_rows(source.name, check, width, arguments.zones)), flush=True)
    return 1 if failed else OPEN if unfinished else 0


def check_rows(file: str, check: dict[str, Any], width: int, all_zones: bool) -> list[str]:
    """A line with the document's verdict, and one for each zone that a person must look at."""
    rows = [f"{printable(file):{width}}  {check['verdict']:8}"]
    shown = [
        zone
        for zone in check["zones"]
        if all_zones or (zone["required"] and zone["verdict"] != "complete")
    ]
    if not shown:
        rows[0] += f"  {check['why']}"
    for zone in shown:
        page = zone["document_page"]
        place = f"page {page}" if page else f"form's page {zone['page']}"
        rows.append(f"{'':{width}}    {zone['verdict']:8}  {zone['name']} ({place}): {zone['why']}")
    if check["extra_pages"]:
        pages = ", ".join(map(str, check["extra_pages"]))
        rows.append(f"{'':{width}}    not of the form: page {pages}")
    return rows


def learn_form(arguments: argparse.Namespace, at: Address) -> int:
    """Writes the form that the examples have in common, and its blank pages, into a folder."""
    folder: Path = arguments.out
    target = folder / f"{arguments.name}.yaml"
    if target.exists() and not arguments.force:
        print_error(f"{target}: is there already; --force replaces it")
        return 1
    try:
        files = [("example", Path(path).read_bytes()) for path in arguments.examples]
        if arguments.blank is not None:
            files.append(("blank", arguments.blank.read_bytes()))
        body, kind = multipart(files)
        timeout_s = arguments.timeout and arguments.timeout * MORE_TIME
        content = ask_gateway(
            at, "POST", "/v1/forms/learn", {"name": arguments.name}, body, kind, timeout_s
        )
        learned = json.loads(content)
        folder.mkdir(parents=True, exist_ok=True)
        for name, image in learned["references"].items():
            (folder / Path(name).name).write_bytes(base64.b64decode(image))
        target.write_text(learned["yaml"], encoding="utf-8")
    except (CountersignError, OSError) as error:
        print_error(_text(error))
        return 1
    print(learned["yaml"], end="")
    print_error(f"{target}: written; look through it, then start the gateway with --forms {folder}")
    return 0


def multipart(files: Sequence[tuple[str, bytes]]) -> tuple[bytes, str]:
    """A form of files (RFC 7578) by their parts' names, and its content type."""
    boundary = secrets.token_hex(16)
    pieces = []
    for name, data in files:
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{name}"'
        pieces += [
            f"{head}\r\nContent-Type: application/octet-stream\r\n\r\n".encode(),
            data,
            b"\r\n",
        ]
    pieces.append(f"--{boundary}--\r\n".encode())
    return b"".join(pieces), f"multipart/form-data; boundary={boundary}"


def _asked(source: Source, arguments: argparse.Namespace, at: Address) -> dict[str, Any]:
    data = source.image if isinstance(source.image, bytes) else source.image.read_bytes()
    query = {"form": arguments.form}
    if arguments.pages:
        query["pages"] = arguments.pages
    timeout_s = arguments.timeout and arguments.timeout * MORE_TIME
    answer: dict[str, Any] = json.loads(
        ask_gateway(at, "POST", "/v1/check", query, data, timeout_s=timeout_s)
    )
    return answer


def _print_failure(name: str, reason: str, as_json: bool) -> None:
    print_error(f"{name}: {reason}")
    if as_json:
        print(json.dumps({"file": name, "error": reason}), flush=True)


def _text(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)
