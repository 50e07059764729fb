"""`python -m archive SOURCE OUT`: signatures and stamps on all pages of an archive, as Parquet.

SOURCE is a folder, or a text file that names files, a path or URL a line; OUT a folder. Both may be
in object storage: s3://, gs://, abfs://. What OUT has is not done again. Exit status 0: all is
done; 1: some files could not be reached, and another run looks at them again; 2: nothing was begun.
"""

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from archive.looking import Settings, model_of
from archive.run import Progress, run
from archive.sheet import PAGES, sheet
from archive.sources import listing
from archive.store import Store
from archive.summary import REASONS, Summary, lowest_margins, reason, summary
from countersign import Client
from countersign.errors import CountersignError
from countersign.messages import OPERATING_POINTS, Model
from countersign.output import printable
from countersign.pdf import DPI
from gateway.forms import read as read_form

SHEET = "sheet.html"
TOLD_EVERY_S = 10.0
LOCAL_STORE = 2**28  # bytes of shared memory for a Ray that is started here: lists and rows only


def parser() -> argparse.ArgumentParser:
    """The command line."""
    what = argparse.ArgumentParser(
        prog="python -m archive",
        description=(__doc__ or "").partition("\n\n")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what.add_argument("source", metavar="SOURCE", help="a folder, or a list of files")
    what.add_argument("out", metavar="OUT", help="where the rows go")
    what.add_argument(
        "--operating-point",
        choices=OPERATING_POINTS,
        default=OPERATING_POINTS[0],
        help="which thresholds: accept, or review, which finds what a person should look at too",
    )
    what.add_argument(
        "--check",
        metavar="FORM",
        type=Path,
        help="a form's YAML file: check each document for it, at the review point",
    )
    what.add_argument("--dpi", type=float, default=DPI, help="at which pages of PDFs are drawn")
    what.add_argument(
        "--repository", help="another model repository; it must be on each machine of the cluster"
    )
    what.add_argument(
        "--server",
        metavar="URL",
        help="ask this server, as the client names it ($COUNTERSIGN_KEY), not a network here",
    )
    what.add_argument(
        "--ray",
        metavar="ADDRESS",
        default=os.environ.get("RAY_ADDRESS", "local"),
        help="a Ray cluster's, or auto; local starts one here ($RAY_ADDRESS)",
    )
    what.add_argument(
        "--workers", type=int, help="how many; else one for each core, four with --server"
    )
    return what


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs it; the exit status."""
    asked = parser().parse_args(arguments)
    try:
        if asked.workers is not None and asked.workers < 1:
            raise ValueError(f"--workers: {asked.workers}, limit 1 or more")
        form = read_form(asked.check) if asked.check else None
        source = listing(asked.source)
        settings = Settings(
            base=source.base if "://" in source.base else os.path.abspath(source.base),
            operating_point=OPERATING_POINTS[1] if form else asked.operating_point,
            repository=asked.repository and os.path.abspath(asked.repository),
            server=asked.server,
            dpi=asked.dpi,
            form=form,
        )
        model = detector(settings)
        store = Store(asked.out)
        store.settle(identity(settings, model))
        todo = store.missing(source.files)
    except (ValueError, CountersignError, OSError) as error:
        print(f"archive: {error}", file=sys.stderr)
        return 2
    tell(f"{len(source.files)} files, {len(todo)} to do; {source.skipped} are no pages by name")
    if len(todo) and asked.ray == "local":
        tell("Ray starts, which takes a while")
    try:
        progress = run(todo, settings, model, store, cluster(asked.ray), asked.workers, Teller())
    except ConnectionError as error:
        print(f"archive: --ray {asked.ray}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        tell("stopped; what was done is kept, and another run goes on from there")
        return 130
    progress.failed |= source.absent
    rows = lowest_margins(store, PAGES)
    if rows:
        store.put(SHEET, sheet(rows, settings.base).encode())
    print("\n".join(closing(progress, summary(store), asked.out, bool(rows))))
    return 1 if progress.failed else 0


def detector(settings: Settings) -> Model:
    """What looks at the pages. Raises ValueError or CountersignError if there is none."""
    if settings.server is None:
        return model_of(settings)
    with Client(settings.server) as client:
        return model_of(settings, client)


def identity(settings: Settings, model: Model) -> dict[str, object]:
    """What all rows of one place have in common."""
    return {
        "model": model.name,
        "version": model.version,
        "operating_point": settings.operating_point,
        "dpi": settings.dpi,
        "form": settings.form and settings.form.to_yaml(),
    }


def cluster(address: str) -> dict[str, object]:
    """Arguments of ray.init."""
    here = {"include_dashboard": False, "object_store_memory": LOCAL_STORE}
    return {
        "address": address,
        "logging_level": "ERROR",
        "log_to_driver": False,
        **(here if address == "local" else {}),
    }


class Teller:
    """Prints how far a run is, now and then."""

    def __init__(self) -> None:
        self._next = time.monotonic() + TOLD_EVERY_S

    def __call__(self, progress: Progress) -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + TOLD_EVERY_S
        if not progress.files_done:
            tell("nothing is done yet: workers start, or look at their first files")
            return
        left = "" if progress.left_s is None else f", {duration(progress.left_s)} left"
        failed = f", {len(progress.failed)} not reached" if progress.failed else ""
        tell(
            f"{progress.files_done} of {progress.files} files, {progress.pages} pages, "
            f"{progress.pages_per_s:.1f} pages/s{left}{failed}"
        )


def tell(line: str) -> None:
    """On stderr, with the time."""
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """7 s, 5 min, 3 h 20 min, 12 d 4 h."""
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:.0f} s"
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def closing(progress: Progress, found: Summary, out: str, sheet_there: bool) -> list[str]:
    """The lines that a run ends with."""
    lines = [
        f"{progress.pages} pages of {progress.files_done} files in {duration(progress.seconds)}, "
        f"{progress.pages_per_s:.1f} pages/s",
        f"{out} has {found.pages} pages of {found.files} files, {found.contents} of them different",
        f"  {found.marked} pages with marks" + _counts(found.marks),
    ]
    if found.verdicts:
        lines.append("  files" + _counts(found.verdicts))
    if found.errors:
        lines.append(f"  {found.errors.total()} pages or files that cannot be looked at:")
        lines += _most(found.errors)
    if progress.failed:
        lines.append(f"not reached: {len(progress.failed)} files; run it again")
        lines += _most(Counter(map(reason, progress.failed.values())))
    if sheet_there:
        lines.append(f"to look at: {out.rstrip('/')}/{SHEET}")
    return lines


def _counts(counts: Counter[str]) -> str:
    return "".join(f", {printable(name)} {times}" for name, times in sorted(counts.items()))


def _most(reasons: Counter[str]) -> list[str]:
    lines = [f"  {times:8}  {printable(why)}" for why, times in reasons.most_common(REASONS)]
    rest = len(reasons) - REASONS
    return [*lines, f"            and {rest} more reasons"] if rest > 0 else lines


if __name__ == "__main__":
    sys.exit(main())
