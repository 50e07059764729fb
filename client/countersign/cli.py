"""The `countersign` command: `detect page.jpg scans/`, `read captcha.png`, `models`.

Exit status 0, 1 if a file failed or no server answers, 2 for wrong arguments, 130 after Ctrl-C,
141 if the reader of the output has gone.
"""

import argparse
import asyncio
import io
import math
import os
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import countersign
from countersign.client import CONCURRENCY, TIMEOUT_S, AsyncClient, in_order_async
from countersign.connections import Tls
from countersign.errors import CountersignError, Denied, Refused, Unavailable
from countersign.messages import DETECTOR, Confidence, Detections, Reading
from countersign.output import (
    Answer,
    Progress,
    heading,
    json_line,
    model_line,
    models_table,
    table_rows,
)

SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and gives its exit status."""
    arguments = parse(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file's name may be in another encoding
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return asyncio.run(
            list_models(arguments) if arguments.command == "models" else run(arguments)
        )
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        return 141


async def run(arguments: argparse.Namespace) -> int:
    """Asks the server about each file, prints the answers in order, gives the exit status."""
    folder = getattr(arguments, "annotate", None)
    files, missing = find_images(arguments.paths, folder)
    for path, error in missing:
        print_error(f"{path}: {error}")
        if arguments.json:
            print(json_line(path, error), flush=True)
    if not files:
        return 1
    try:
        pictures = picture_paths(files, folder)
        client = open_client(arguments)
    except (OSError, ValueError) as error:
        print_error(str(error))
        return 2
    answers = in_order_async(question(client, arguments), files, arguments.concurrency)
    async with client, aclosing(answers):
        failed = await print_answers(answers, files, pictures, arguments.json)
    return 1 if missing or failed else 0


async def list_models(arguments: argparse.Namespace) -> int:
    """Prints what the server has, gives the exit status."""
    try:
        client = open_client(arguments)
    except (OSError, ValueError) as error:
        print_error(str(error))
        return 2
    async with client:
        try:
            models = await client.models(timeout_s=arguments.timeout)
        except CountersignError as error:
            print_error(str(error))
            return 1
    print("\n".join(map(model_line, models)) if arguments.json else models_table(models))
    return 0


async def print_answers(
    answers: AsyncGenerator[Answer, None],
    files: Sequence[Path],
    pictures: dict[Path, Path],
    as_json: bool,
) -> bool:
    """Prints the answer to each file and draws it where `pictures` says; whether any failed.

    Once the server is gone, or closed to this client, that is the answer to all that follow.
    """
    progress, width = Progress(len(files)), max(len(str(file)) for file in files)
    headed, failed, unsent = False, False, 0
    gone: CountersignError | None = None
    for done, file in enumerate(files):
        progress.show(done)
        answer: Answer = await anext(answers) if gone is None else gone
        progress.clear()
        if as_json:
            print(json_line(file, answer), flush=True)
        if isinstance(answer, CountersignError):
            failed = True
            if gone is None:
                print_error(f"{file}: {answer}")
            else:
                unsent += 1
            if isinstance(answer, (Denied, Unavailable)):
                gone = answer
        elif not as_json:
            if not headed:
                print(heading(answer, width))
                headed = True
            print(table_rows(file, answer, width), flush=True)
        if isinstance(answer, Detections) and file in pictures:
            failed |= not draw(file, answer, pictures[file])
    if unsent:
        print_error(f"{unsent} more not sent")
    return failed


def find_images(
    paths: Iterable[Path], skipped: Path | None
) -> tuple[list[Path], list[tuple[Path, Refused]]]:
    """The files to ask about, none twice, and the paths that give none, with the reason.

    A folder gives its images and its folders' images, sorted, without those under `skipped`.
    """
    files: list[Path] = []
    missing = []
    for path in paths:
        found = folder_images(path, skipped) if path.is_dir() else [path]
        if not found:
            missing.append((path, Refused(f"no image in this folder ({' '.join(SUFFIXES)})")))
        elif not found[0].exists():
            missing.append((path, Refused("no such file or folder")))
        else:
            files += found
    return list(dict.fromkeys(files)), missing


def folder_images(folder: Path, skipped: Path | None) -> list[Path]:
    """The image files anywhere in `folder`, sorted, without those in a subfolder `skipped`."""
    inner = {skipped.resolve()} if skipped is not None else set()
    inner.discard(folder.resolve())
    return sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in SUFFIXES
        if file.is_file() and inner.isdisjoint(file.resolve().parents)
    )


def picture_paths(files: Sequence[Path], folder: Path | None) -> dict[Path, Path]:
    """Where in `folder` the picture of each file goes: in the files' own tree, so none meet.

    None for no folder. Raises ValueError if a picture would replace a file.
    """
    if folder is None:
        return {}
    root = os.path.commonpath([os.path.dirname(os.path.abspath(file)) for file in files])
    names = {file: os.path.relpath(os.path.abspath(file), root) for file in files}
    pictures = {
        file: folder / (name if name.endswith(".jpg") else f"{name}.jpg")
        for file, name in names.items()
    }
    sources = {file.resolve() for file in files}
    for picture in pictures.values():
        if picture.resolve() in sources:
            raise ValueError(f"--annotate: {picture} is one of the pages, choose another folder")
    return pictures


def draw(page: Path, detections: Detections, picture: Path) -> bool:
    """Writes `picture`; False, and said on stderr, if that fails."""
    from countersign.drawing import annotate  # needs Pillow, which is optional

    try:
        annotate(page, detections, picture)
    except OSError as error:
        print_error(f"{page}: not drawn: {error}")
        return False
    return True


def open_client(arguments: argparse.Namespace) -> AsyncClient:
    """The client that the command line describes; raises as it does."""
    tls = Tls(arguments.ca, arguments.cert, arguments.key)
    return AsyncClient(
        arguments.url,
        protocol=arguments.protocol,
        tls=tls if arguments.tls or tls != Tls() else None,
        headers=dict(arguments.header),
    )


def question(
    client: AsyncClient, arguments: argparse.Namespace
) -> Callable[[Path], Awaitable[Detections | Reading]]:
    """What to ask about each file."""
    if arguments.command == "detect":
        return partial(
            client.detect,
            confidence=arguments.confidence,
            model=arguments.model,
            timeout_s=arguments.timeout,
        )
    return partial(
        client.read, min_confidence=arguments.min_confidence, timeout_s=arguments.timeout
    )


def print_error(reason: str) -> None:
    """One line on stderr."""
    print(f"countersign: {reason}", file=sys.stderr, flush=True)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line, checked and in the client's terms; exits with 2 if it is wrong."""
    parser = build_parser()
    arguments = parser.parse_args(argv)
    if arguments.command == "detect":
        try:
            arguments.confidence = merged(arguments.confidence)
        except ValueError as error:
            parser.error(str(error))
        if arguments.annotate is not None and find_spec("PIL") is None:
            parser.error("--annotate needs Pillow: pip install 'countersign[draw]'")
    return arguments


def build_parser() -> argparse.ArgumentParser:
    """Three commands with the server's options, and one or two of their own."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--json", action="store_true", help="JSON objects, one a line, not a table")
    server = shared.add_argument_group("server")
    server.add_argument(
        "--url",
        default=os.environ.get("COUNTERSIGN_URL"),
        metavar="HOST:PORT",
        help="else $COUNTERSIGN_URL, else 127.0.0.1 and the protocol's port",
    )
    server.add_argument("--protocol", choices=["grpc", "http"], default="grpc")
    server.add_argument(
        "--timeout", type=seconds, default=TIMEOUT_S, metavar="SECONDS", help="for each answer"
    )
    server.add_argument(
        "--header",
        action="append",
        type=pair,
        default=[],
        metavar="NAME=VALUE",
        help="goes with each request, repeatable",
    )
    server.add_argument("--tls", action="store_true", help="encrypt")
    server.add_argument("--ca", metavar="PEM", help="authority to trust, not the system's")
    server.add_argument("--cert", metavar="PEM", help="client certificate")
    server.add_argument("--key", metavar="PEM", help="its key")

    images = argparse.ArgumentParser(add_help=False, parents=[shared])
    images.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="image or folder")
    images.add_argument(
        "--concurrency", type=count, default=CONCURRENCY, metavar="N", help="files at a time"
    )

    parser = argparse.ArgumentParser(
        "countersign", description="Signatures and stamps on pages, digits of CAPTCHAs."
    )
    parser.add_argument("--version", action="version", version=countersign.__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    detect = commands.add_parser("detect", parents=[images], help="signatures and stamps on pages")
    detect.add_argument(
        "--confidence",
        action="append",
        type=threshold,
        default=[],
        metavar="[CLASS=]SCORE",
        help="lowest score, 0 to 1; repeatable with a class; else the model's own",
    )
    detect.add_argument(
        "--annotate", type=Path, metavar="FOLDER", help="draw the boxes on copies of the pages"
    )
    detect.add_argument("--model", default=DETECTOR, metavar="NAME", help="which of the detectors")
    read = commands.add_parser("read", parents=[images], help="digits of CAPTCHAs")
    read.add_argument(
        "--min-confidence",
        type=fraction,
        metavar="SCORE",
        help="uncertain below it, 0 to 1; else the server's operating point, if it tells one",
    )
    commands.add_parser("models", parents=[shared], help="what the server has")
    return parser


def merged(thresholds: list[tuple[str, float]]) -> Confidence | None:
    """One score for all classes, a score per class, or None if there are none.

    Raises ValueError for both kinds at once, and for a second score for all.
    """
    if not thresholds:
        return None
    classes = dict(thresholds)
    if "" not in classes:
        return classes
    if len(thresholds) > 1:
        raise ValueError("--confidence: a SCORE for all classes stands alone")
    return classes[""]


def threshold(text: str) -> tuple[str, float]:
    """Class and score of CLASS=SCORE; the class is "" for a SCORE alone."""
    name, _, score = text.rpartition("=")
    return name, fraction(score)


def fraction(text: str) -> float:
    """A number in [0, 1]."""
    number = float(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text}, limit 0 to 1")
    return number


def seconds(text: str) -> float:
    """A finite number above 0."""
    number = float(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text}, limit a finite number above 0")
    return number


def count(text: str) -> int:
    """A whole number above 0."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}, limit 1 or more")
    return number


def pair(text: str) -> tuple[str, str]:
    """Name and value of NAME=VALUE."""
    name, _, value = text.partition("=")
    if not name or not value:
        raise argparse.ArgumentTypeError(f"{text!r}, expected NAME=VALUE")
    return name, value
