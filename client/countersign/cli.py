"""The `countersign` command: `detect page.jpg scans/`, `read captcha.png`, `models`; of a gateway
`check --form loan scans/`, `form learn`, `log find`, `log export`; where a server runs, `rollout`;
of none, `outcome`.

Exit status 0, 1 if a file failed or was not read, or if no server answers, 2 for wrong arguments,
3 if a document is not complete, 130 after Ctrl-C, 141 if the reader of the output has gone.
"""

import argparse
import asyncio
import io
import logging
import math
import os
import shutil
import signal
import sys
import time
from collections import deque
from collections.abc import AsyncGenerator, Coroutine, Iterator, Sequence
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import countersign
from countersign import calls
from countersign.address import Address, Tls, address, key_in
from countersign.calls import CONCURRENCY, TIMEOUT_S, Batch, Steps
from countersign.client import connect_async
from countersign.documents import DPI, Pages
from countersign.drivers import AsyncConnection, in_order_async, run_async
from countersign.errors import CountersignError, Denied, Refused, Unavailable
from countersign.files import Found, Pictures, Source, find
from countersign.forms import check_documents, learn_form
from countersign.gateway import gateway_address
from countersign.log import ask_log
from countersign.messages import (
    DETECTOR,
    OPERATING_POINTS,
    Confidence,
    Detections,
    PageDetections,
    Reading,
)
from countersign.output import (
    Progress,
    heading,
    json_line,
    model_line,
    models_table,
    print_error,
    printable,
    table_rows,
)
from countersign.readings import keep, mark_files

GONE = (Denied, Unavailable)  # what one page is answered then is the answer to all
ROLLOUT = "rollout"
OF_GATEWAY = {"check": check_documents, "form": learn_form, "log": ask_log}
PATIENCE_S = 0.5  # how long a server may be away before the command says so


@dataclass(frozen=True)
class Ask:
    """One question: a page of a file."""

    source: Source
    page: int = 1
    pages: Pages | None = None  # of the source, for a detector

    def __str__(self) -> str:
        return self.source.name if self.page == 1 else f"{self.source.name}, page {self.page}"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and gives its exit status."""
    argv = sys.argv[1:] if argv is None else argv
    if argv and argv[0] == ROLLOUT:
        return of_server(argv[1:])
    arguments = parse(argv)
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what fails is told by the command
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file's name may be in another encoding
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        if arguments.command in OF_GATEWAY:
            return of_gateway(arguments)
        if arguments.command == "outcome":
            return mark_files(arguments)
        command = prepared(arguments)
        return 2 if command is None else asyncio.run(interruptible(command))
    except KeyboardInterrupt:
        return 130
    except OSError as error:  # of standard output: any other is caught where it happens
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        if isinstance(error, BrokenPipeError):
            return 141
        print_error(f"standard output: {error.strerror}")
        return 1


def prepared(arguments: argparse.Namespace) -> Coroutine[Any, Any, int] | None:
    """What runs the command and gives its exit status; None, and said, if an option is wrong.

    Files are searched for and standard input is read outside a loop, where Ctrl-C ends that.
    """
    try:
        connection = connect_async(server(arguments))
        if arguments.command == "models":
            return list_models(arguments, connection)
        folder = getattr(arguments, "annotate", None)
        found = find(arguments.paths, folder, pdf=arguments.command == "detect")
        pictures = None if folder is None else Pictures(folder, found.sources)
    except (OSError, ValueError) as error:
        print_error(str(error))
        return None
    return ask(arguments, connection, found, pictures)


def of_gateway(arguments: argparse.Namespace) -> int:
    """Runs a command that asks the gateway, gives its exit status."""
    try:
        at = gateway_address(arguments.gateway, **shown(arguments))
    except (OSError, ValueError) as error:
        print_error(str(error))
        return 2
    return OF_GATEWAY[arguments.command](arguments, at)


def of_server(argv: Sequence[str]) -> int:
    """Becomes the server's own command, which commands the servers of this user and machine."""
    name = f"countersign-{ROLLOUT}"
    here = str(Path(sys.executable).parent)
    program = shutil.which(name, path=os.pathsep.join([here, os.environ.get("PATH", "")]))
    if program is None:
        print_error(f"{name} is not on PATH: it comes with the server")
        return 2
    os.execv(program, [program, *argv])


async def interruptible(command: Coroutine[Any, Any, int]) -> int:
    """What `command` gives. Ctrl-C cancels it, as asyncio.run does from Python 3.11 on."""
    task = asyncio.current_task()
    if sys.version_info < (3, 11) and task is not None:
        with suppress(NotImplementedError, RuntimeError):  # on Windows, in another thread
            asyncio.get_running_loop().add_signal_handler(signal.SIGINT, task.cancel)
    try:
        return await command
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


async def ask(
    arguments: argparse.Namespace,
    connection: AsyncConnection,
    found: Found,
    pictures: Pictures | None,
) -> int:
    """Asks the server about each file, prints the answers in order, gives the exit status."""
    for name in found.others:
        print_error(f"{name}: skipped, no image")
    for name, reason in found.unread:
        print_error(f"{name}: {reason}")
        if arguments.json:
            print(json_line(name, reason), flush=True)
    asks = [
        Ask(
            source, 1, Pages(source.image, arguments.dpi) if arguments.command == "detect" else None
        )
        for source in found.sources
    ]
    answers = in_order_async(questions(asks, arguments), connection)
    try:
        async with aclosing(answers):
            log = getattr(arguments, "log", None)
            failed = await print_answers(answers, asks, pictures, arguments.json, log)
    finally:
        await connection.close()
        for asked in asks:
            if asked.pages is not None:
                asked.pages.close()
    if len(found.others) + len(found.unread) > 1:
        print_error(f"{len(found.unread)} not read, {len(found.others)} skipped")
    return 1 if found.unread or failed else 0


async def list_models(arguments: argparse.Namespace, connection: AsyncConnection) -> int:
    """Prints what the server has, gives the exit status."""
    try:
        with notices():
            models = await run_async(calls.models(timeout_s=arguments.timeout), connection)
    except CountersignError as error:
        print_error(str(error))
        return 1
    finally:
        await connection.close()
    print("\n".join(map(model_line, models)) if arguments.json else models_table(models))
    return 0


async def print_answers(
    answers: AsyncGenerator[Detections | Reading | CountersignError, None],
    asks: Sequence[Ask],
    pictures: Pictures | None,
    as_json: bool,
    log: Path | None,
) -> bool:
    """Prints the answer to each page, draws it into `pictures` or keeps it in the folder `log`;
    whether any failed.

    Once the server is gone, or closed to this client, that is the answer to all that follow.
    """
    progress = Progress(len(asks))
    width = max((len(printable(asked.source.name)) for asked in asks), default=0)
    due = deque(asks)
    headed, failed, gone = False, False, None
    with notices() as waiting:
        while due and gone is None:
            progress.show(len(asks) - sum(one.page == 1 for one in due))
            answer = await anext(answers)
            progress.clear()
            asked = due.popleft()
            due.extendleft(reversed(following(asked, answer)))
            if as_json:
                print(json_line(asked.source.name, answer, asked.page), flush=True)
            if isinstance(answer, CountersignError):
                print_error(f"{asked}: {answer}")
                failed = True
                gone = answer if isinstance(answer, GONE) else None
                close_last(asked)
                continue
            waiting.answered()
            if not as_json:
                if not headed:
                    print(heading(answer, width))
                    headed = True
                print(table_rows(asked.source.name, answer, width), flush=True)
            if isinstance(answer, Detections) and pictures is not None:
                picture = pictures.path(asked.source, asked.page, answer.page_count)
                # in a thread: requests under way go on
                failed |= not await asyncio.to_thread(draw, asked, answer, picture)
            if isinstance(answer, Reading) and log is not None:
                failed |= not await asyncio.to_thread(kept, log, asked, answer)
            close_last(asked)
    if gone is not None and due:
        print_error(f"{len(due)} more not sent")
        for asked in due if as_json else ():
            print(json_line(asked.source.name, gone, asked.page), flush=True)
    return failed


def following(asked: Ask, answer: Detections | Reading | CountersignError) -> list[Ask]:
    """The pages after the first of a file, once the answer to the first is there."""
    if asked.pages is None or asked.page > 1 or isinstance(answer, GONE):
        return []
    pages = range(2, asked.pages.count + 1)
    return [Ask(asked.source, page, asked.pages) for page in pages]


def close_last(asked: Ask) -> None:
    """Closes the file whose last page this is."""
    if asked.pages is not None and asked.page >= asked.pages.count:
        asked.pages.close()


def questions(asks: Sequence[Ask], arguments: argparse.Namespace) -> Batch[Ask, Any]:
    """What to ask about each file: a detector about all pages, the reader about an image."""

    def detect(asked: Ask) -> Steps[PageDetections]:
        assert asked.pages is not None
        return calls.detect_page(
            asked.pages,
            asked.page,
            arguments.confidence,
            operating_point=arguments.operating_point,
            model=arguments.model,
            timeout_s=arguments.timeout,
        )

    def read(asked: Ask) -> Steps[Reading]:
        return calls.read(asked.source.image, arguments.min_confidence, timeout_s=arguments.timeout)

    call = detect if arguments.command == "detect" else read
    return Batch(call, asks, arguments.concurrency, following)


def server(arguments: argparse.Namespace) -> Address:
    """The server that the command line describes; raises as `address` does."""
    return address(arguments.url, arguments.protocol, **shown(arguments))


def shown(arguments: argparse.Namespace) -> dict[str, Any]:
    """What `address` takes beside the URL; raises as it does."""
    tls = Tls(arguments.ca, arguments.cert, arguments.cert_key)
    return {
        "tls": tls if arguments.tls or tls != Tls() else None,
        "headers": dict(arguments.header),
        "key": None if arguments.key_file is None else key_in(arguments.key_file),
    }


def draw(asked: Ask, detections: Detections, picture: Path) -> bool:
    """Writes `picture`; False, and said on stderr, if that fails."""
    from countersign.drawing import annotate  # needs Pillow, which is optional

    image = asked.source.image
    try:
        if isinstance(detections, PageDetections) and detections.size_points and asked.pages:
            image = asked.pages.page(asked.page).image  # of the PDF
            detections = replace(detections, page=1, page_count=1)
        annotate(image, detections, picture)
    except (OSError, Refused) as error:
        print_error(f"{asked}: not drawn: {error}")
        return False
    return True


def kept(log: Path, asked: Ask, reading: Reading) -> bool:
    """Writes image and reading into the folder; False, and said on stderr, if that fails."""
    try:
        keep(log, asked.source.image, reading)
    except (OSError, ValueError) as error:  # ValueError: a record that is none
        print_error(f"{asked}: not kept in {log}: {getattr(error, 'strerror', None) or error}")
        return False
    return True


class Waiting(logging.Handler):
    """Says once that the server is away, if it is for more than PATIENCE_S."""

    def __init__(self) -> None:
        super().__init__()
        self._since: float | None = None
        self._said = False

    def emit(self, record: logging.LogRecord) -> None:
        """A call failed and will be tried again."""
        self._since = self._since or time.monotonic()
        if not self._said and time.monotonic() - self._since >= PATIENCE_S:
            self._said = True
            print_error(f"waiting: {record.getMessage()}")

    def answered(self) -> None:
        """The server is there."""
        self._since, self._said = None, False


@contextmanager
def notices() -> Iterator[Waiting]:
    """Failed attempts are told to the handler that this gives."""
    log, waiting = logging.getLogger("countersign"), Waiting()
    level = log.level
    log.addHandler(waiting)
    log.setLevel(logging.INFO)
    try:
        yield waiting
    finally:
        log.removeHandler(waiting)
        log.setLevel(level)


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
            parser.error("--annotate needs Pillow: pip install 'countersign-client[draw]'")
    return arguments


def build_parser() -> argparse.ArgumentParser:
    """The commands; those of one server share its options."""
    reached = argparse.ArgumentParser(add_help=False)
    reached.add_argument(
        "--json", action="store_true", help="JSON objects, one a line, not a table"
    )
    way = reached.add_argument_group("connection")
    way.add_argument(
        "--timeout",
        type=deadline,
        default=TIMEOUT_S,
        metavar="SECONDS",
        help=f"for each answer, with new attempts until then; or none; {TIMEOUT_S:g} if left out",
    )
    way.add_argument(
        "--key-file",
        metavar="FILE",
        help="holds the key; else $COUNTERSIGN_KEY, else the file $COUNTERSIGN_KEY_FILE",
    )
    way.add_argument(
        "--header",
        action="append",
        type=pair,
        default=[],
        metavar="NAME=VALUE",
        help="goes with each request, repeatable",
    )
    way.add_argument("--tls", action="store_true", help="encrypt, if the URL has no scheme")
    way.add_argument("--ca", metavar="PEM", help="authority to trust, not the system's")
    way.add_argument("--cert", metavar="PEM", help="client certificate")
    way.add_argument("--cert-key", metavar="PEM", help="the certificate's key")

    shared = argparse.ArgumentParser(add_help=False, parents=[reached])
    server = shared.add_argument_group("server")
    server.add_argument(
        "--url",
        metavar="[SCHEME://]HOST[:PORT]",
        help="scheme grpc, grpcs, http or https, or dns:/// for all addresses of a name in turn; "
        "else $COUNTERSIGN_URL, else this machine",
    )
    server.add_argument("--protocol", choices=["grpc", "http"], help="if the URL has no scheme")

    gateway = argparse.ArgumentParser(add_help=False, parents=[reached])
    gateway.add_argument(
        "--gateway",
        metavar="[SCHEME://]HOST[:PORT]",
        help="scheme http or https; else $COUNTERSIGN_GATEWAY, else this machine, port 8080",
    )

    images = argparse.ArgumentParser(add_help=False, parents=[shared])
    images.add_argument(
        "paths", nargs="+", metavar="PATH", help="PDF, image, folder, or - for standard input"
    )
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
        "--operating-point",
        choices=OPERATING_POINTS,
        help="which of the model's own scores: to be relied on (the model's default) or looked at",
    )
    detect.add_argument(
        "--dpi", type=count, default=DPI, metavar="N", help="at which pages of PDFs are drawn"
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
        help="uncertain below it, 0 to 1; else the server's own threshold",
    )
    read.add_argument(
        "--log", type=Path, metavar="FOLDER", help="keep images and readings there, to train on"
    )
    outcome = commands.add_parser("outcome", help="was what `read --log` gave right?")
    outcome.add_argument("--log", type=Path, required=True, metavar="FOLDER")
    outcome.add_argument("--text", metavar="TEXT", help="what a wrongly read CAPTCHA shows")
    outcome.add_argument("outcome", choices=["right", "wrong"])
    outcome.add_argument(
        "files", nargs="+", metavar="FILE", help="the image, found by its content; - is stdin"
    )
    commands.add_parser("models", parents=[shared], help="what the server has")
    check = commands.add_parser(
        "check", parents=[gateway], help="are the right marks in the right places of a form?"
    )
    check.add_argument("--form", required=True, metavar="NAME", help="one of the gateway's forms")
    check.add_argument("--pages", metavar="1-3,7", help="of each file; all if left out")
    check.add_argument("--zones", action="store_true", help="show filled zones too")
    check.add_argument("paths", nargs="+", metavar="PATH", help="image, PDF or folder")
    forms = commands.add_parser("form", help="makes forms").add_subparsers(
        dest="action", required=True, metavar="ACTION"
    )
    learn = forms.add_parser("learn", parents=[gateway], help="a form from a few good examples")
    learn.add_argument("--name", required=True, help="of the form")
    learn.add_argument("--out", type=Path, default=Path("forms"), metavar="FOLDER")
    learn.add_argument("--blank", type=Path, metavar="FILE", help="the blank form, if there is one")
    learn.add_argument("--force", action="store_true", help="replace a form of that name")
    learn.add_argument("examples", nargs="+", metavar="FILE", help="complete documents, 3 or more")
    commands.add_parser(
        ROLLOUT, help="a new version on a part of the requests: this machine's server"
    )
    log = commands.add_parser("log", help="what was answered before").add_subparsers(
        dest="action", required=True, metavar="ACTION"
    )
    find_ = log.add_parser("find", parents=[gateway], help="all answers about files")
    find_.add_argument("files", nargs="+", metavar="FILE", help="found by its content; - is stdin")
    export = log.add_parser("export", parents=[gateway], help="corrected pages, to train on")
    export.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="a new one")
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


def deadline(text: str) -> float | None:
    """A finite number above 0, or none."""
    if text == "none":
        return None
    number = float(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text}, limit a finite number above 0, or none")
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
