"""`python -m server rollout`: tries a version on a part of the requests, and takes it over or back.

It asks this user's running servers, through their control.sock; docs/rollout.md.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from server import readiness
from server.rollout import SERVED, TRIED, Limits

ANSWER_S = 3600  # a start ends by itself long before
MODEL = "document_yolo"
TIMES = ("p50_ms", "p99_ms")
HELP = {
    "errors": "per cent of answers that fail, above those of the served version",
    "slower": "times as long for a page",
    "differ": "per cent of the pages with another verdict",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0 if all servers did as told."""
    arguments = vars(parser().parse_args(argv))
    action, as_json = arguments.pop("action"), arguments.pop("json", False)
    body = None if action == "status" else json.dumps(arguments).encode()
    path = "/rollout" if body is None else f"/rollout/{action}"
    try:
        for folder in readiness.servers():
            url = readiness.unix(folder, "control.sock")
            told = readiness.call(url, path, ANSWER_S, body).decode()
            print(told if body or as_json else "\n".join(table(json.loads(told))))
    except readiness.NotReady as error:
        print(error.said or error, file=sys.stderr)
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="countersign rollout", description=__doc__)
    actions = found.add_subparsers(dest="action", required=True, metavar="ACTION")
    one = argparse.ArgumentParser(add_help=False)
    one.add_argument("--model", default=MODEL, metavar="NAME", help=f"{MODEL} if left out")
    one.add_argument("--version", type=int, required=True, metavar="N", help="of the repository's")
    start = actions.add_parser("start", parents=[one], help="try a version; again: another share")
    start.add_argument("--share", type=per_cent, metavar="5%", help="of requests that it answers")
    start.add_argument("--shadow", action="store_true", help="it answers nobody; it is compared")
    for limit in fields(Limits):
        words = f"taken back above so many {HELP[limit.name]}; {limit.default:g} if left out"
        start.add_argument(
            f"--{limit.name}", type=float, metavar="N", help=words.replace("%", "%%")
        )
    status = actions.add_parser("status", help="how the versions compare")
    status.add_argument("--json", action="store_true", help="all figures, for programs")
    actions.add_parser("promote", help="the version answers all; it lasts over a restart")
    actions.add_parser("back", help="the version answers nobody, and is held")
    actions.add_parser("hold", parents=[one], help="no start or reload is to serve a version")
    return found


def per_cent(text: str) -> int:
    """The whole number of 5% or 5."""
    return int(text.removesuffix("%"))


def table(status: Mapping[str, Any]) -> Iterator[str]:
    """What a person reads."""
    if ours := status["under_way"]:
        yield f"{ours['model']} {ours['version']} on trial since {ours['began']}, {given(ours)}"
        yield from compared(ours)
    else:
        yield "no roll-out is under way"
        if last := status["last"]:
            why = f": {last['why']}" if last["why"] else ""
            how = last["outcome"].replace("_", " ")
            yield f"the last, of {last['model']} {last['version']}, {how} {last['ended']}{why}"
            yield from compared(last)
    for model, versions in status["held"].items():
        for version, why in versions.items():
            yield f"held: {model} {version}, {why}"


def given(ours: Mapping[str, Any]) -> str:
    return f"answers {ours['share']} %" if ours["share"] else "a shadow, which answers nobody"


def compared(ours: Mapping[str, Any]) -> Iterator[str]:
    """Both versions' figures, and how their answers differ."""
    yield f"{'version':>8} {'asked':>8} {'failed':>7} {'p50 ms':>8} {'p99 ms':>8}"
    for side, version in ((SERVED, ours["before"]), (TRIED, ours["version"])):
        one = ours[side]
        times = [f"{one[name]:>8.0f}" if one[name] is not None else f"{'-':>8}" for name in TIMES]
        yield f"{version:>8} {one['asked']:>8} {one['failed']:>7} {' '.join(times)}"
    found = ours["compared"]
    yield (
        f"{found['pages']} pages compared, {found['other_verdict']} with another verdict"
        + between(found["other_verdict_share"] if found["pages"] else None, 100, " %")
    )
    for name, boxes in found["boxes"].items():
        yield f"  {name}: {boxes['both']} in both, {boxes['gained']} gained, {boxes['lost']} lost"
    yield f"  scores {found['score_shift']:+.3f}" + between(found["score_shift_interval"], 1, "")
    if found["times_as_long"] is not None:
        interval = between(found["times_as_long_interval"], 1, "")
        yield f"  a page takes {found['times_as_long']:.2f} times as long{interval}"


def between(interval: Sequence[float] | None, times: float, unit: str) -> str:
    if interval is None:
        return ""
    least, most = (f"{end * times:.3g}" for end in interval)
    return f" (99.9 % interval: {least} to {most}{unit})"
