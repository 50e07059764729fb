"""Roll-outs on a real server under load: a good version, worse ones, and what is refused."""

import io
import json
import logging
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from countersign import Client, CountersignError
from server import Server, __main__, vitals
from server.compare import Failed, Refused
from server.readiness import call, unix
from server.replica import State
from server.rollout import SERVED, TRIED, Limits, Rollout, Side, count
from server.settings import ROOT
from tests.reliability.chaos import Victim
from tests.server.test_repair import until

PLAIN = ROOT / "server" / "samples" / "captcha_plain.png"
PAGE = ROOT / "server" / "samples" / "page_150dpi.jpg"
MODEL = "captcha_postprocess"
DETECTOR = "document_postprocess"
EXECUTE = "def execute(self, requests):\n"
GOOD, FAILS, WRONG, FALSE = 2, 3, 4, 5  # versions
LINES = {  # before a step's own; but for the last, the server's samples are answered well
    GOOD: "",
    FAILS: "if requests[0].request_id() != 'countersign-sample': raise ValueError('broken')",
    WRONG: "self.threshold = np.float32(2)",  # is never certain
    FALSE: "raise ValueError('broken')",
}
WIDTH = 1230  # pixels of a page that is none of the server's samples
ALL_STAMPS = f"""
        width, _ = pb_utils.get_input_tensor_by_name(requests[0], "page_size").as_numpy()
        classes = ["stamp", "stamp"] if width == {WIDTH} else self.classes
        self.labels = np.array(classes, np.object_)
"""


def add_version(model: Path, version: int, line: str) -> None:
    """One that runs a line before a request, in a model's folder that has version 1."""
    step = shutil.copytree(model / "1", model / str(version)) / "model.py"
    head, execute, body = step.read_text().partition(EXECUTE)
    step.write_text(f"{head}{execute}        {line}\n{body}")


@pytest.fixture(scope="module")
def repository(captcha_repository, tmp_path_factory) -> Path:
    """The CAPTCHA models; once version 1 of a step is served, others are there."""
    return shutil.copytree(captcha_repository, tmp_path_factory.mktemp("rollout") / "repository")


@pytest.fixture(scope="module")
def victim(repository) -> Iterator[Victim]:
    with Victim("--repository", str(repository)) as victim:
        for version, line in LINES.items():
            add_version(repository / MODEL, version, line)
        yield victim


def command(victim: Victim, *arguments: str) -> tuple[int, str]:
    """The exit status of `python -m server ...` and what it prints."""
    out, before = io.StringIO(), tempfile.gettempdir()
    tempfile.tempdir = str(victim.folder)  # where it looks for servers
    try:
        with redirect_stdout(out), redirect_stderr(out):
            return __main__.main(list(arguments)), out.getvalue()
    finally:
        tempfile.tempdir = before


def start(victim: Victim, version: int, *arguments: str) -> tuple[int, str]:
    given = ("--model", MODEL, "--version", str(version), *arguments)
    return command(victim, "rollout", "start", *given)


def status(victim: Victim) -> dict:
    return json.loads(command(victim, "rollout", "status", "--json")[1])


class Load(logging.Handler):
    """Clients over both protocols, as a context manager; they get what `ask` gets of a client."""

    def __init__(self, asked: Victim | Server, ask: Callable[[Client], str]) -> None:
        super().__init__()
        self._urls, self._get = {"grpc": asked.grpc_url, "http": asked.http_url}, ask
        self._done = threading.Event()
        self.answers: list[str] = []
        self.told: list[str] = []  # of attempts that failed, and of errors

    def emit(self, record: logging.LogRecord) -> None:
        self.told.append(record.getMessage())

    def __enter__(self) -> "Load":
        log = logging.getLogger("countersign")
        log.addHandler(self)
        log.setLevel(logging.INFO)
        self._pool = ThreadPoolExecutor(2)
        for protocol in self._urls:
            self._pool.submit(self._ask, protocol)
        return self

    def _ask(self, protocol: str) -> None:
        with Client(self._urls[protocol], protocol=protocol) as client:
            while not self._done.wait(0.01):
                try:
                    self.answers.append(self._get(client))
                except CountersignError as error:
                    self.told.append(str(error))

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Returns once nothing is asked any more."""
        self._done.set()
        self._pool.shutdown()
        logging.getLogger("countersign").removeHandler(self)


@pytest.fixture(scope="module")
def load(victim) -> Iterator[Load]:
    with Load(victim, lambda client: client.read(PLAIN).text) as load:
        yield load
    assert set(load.answers) == {"265649"}


def tritons(victim: Victim) -> list[vitals.Process]:
    return [each for each in victim.processes() if each.name == "tritonserver"]


def taken_back(victim: Victim, version: int) -> dict:
    """How the roll-out of that version ended, once it is over."""
    until(lambda: not status(victim)["under_way"])
    last = status(victim)["last"]
    assert (last["outcome"], last["version"]) == ("taken_back", version), last
    return last


def test_one_that_fails_is_taken_back_and_the_served_one_answers_in_its_place(victim, load):
    before = len(load.answers)
    told = start(victim, FAILS, "--share", "50%")
    assert told == (0, f"on trial: {MODEL} {FAILS}: 50 % of the requests\n")
    why = taken_back(victim, FAILS)["why"]
    assert re.match(r"\d+ of \d+ answers failed, of the served version 0 of \d+; limit 1 %", why)
    assert len(load.answers) > before
    assert load.told == []
    until(lambda: len(tritons(victim)) == 1)


def test_a_detector_that_takes_every_mark_for_a_stamp_is_taken_back(server):
    add_version(server.settings.repository / DETECTOR, 2, ALL_STAMPS)
    control = unix(server.folder, "control.sock")
    trial = json.dumps({"model": DETECTOR, "version": 2, "share": 50}).encode()
    file = io.BytesIO()
    with Image.open(PAGE) as sample:
        sample.crop((0, 0, WIDTH, sample.height)).save(file, "JPEG")
    page = file.getvalue()

    def rollout() -> dict:
        return json.loads(call(control, "/rollout", 60))

    with Load(server, lambda client: " ".join(sorted(client.detect(page).labels))) as load:
        until(lambda: bool(load.answers))
        good = load.answers[0]
        call(control, "/rollout/start", 60, trial)
        until(lambda: not rollout()["under_way"], 180)
        before = len(load.answers)
        until(lambda: len(load.answers) > before + 5)
    until(lambda: len(server.tritons) == 1)  # what the other says at its end is in no later test
    last = rollout()["last"]
    assert (last["outcome"], last["version"]) == ("taken_back", 2)
    assert re.match(r"(\d+) of \1 pages have another verdict; limit 20 %", last["why"])
    boxes = last["compared"]["boxes"]
    assert boxes["stamp"]["gained"] == boxes["signature"]["lost"] > boxes["stamp"]["lost"] == 0
    assert load.told == []
    assert "signature" in good
    assert set(load.answers) == {good, good.replace("signature", "stamp")}
    assert set(load.answers[before + 2 :]) == {good}  # two were under way


def test_another_start_changes_the_share_and_one_of_another_version_is_refused(victim, load):
    assert start(victim, GOOD, "--shadow")[0] == 0
    code, told = start(victim, WRONG, "--share", "5%")
    shadow = f"{MODEL} {GOOD}: a shadow, which answers nobody"
    assert (code, told) == (
        1,
        f"a roll-out is under way: {shadow}; promote or back ends it\n",
    )
    code, told = command(victim, "reload")
    assert code == 1
    assert "a roll-out is under way" in told
    told = start(victim, GOOD, "--share", "100")
    assert told == (0, f"on trial: {MODEL} {GOOD}: 100 % of the requests\n")


def test_a_version_whose_process_died_is_taken_back_and_nobody_notices(victim, load):
    """That of the test before."""
    until(lambda: status(victim)["under_way"]["tried"]["p50_ms"] is not None)
    newest = max(tritons(victim), key=lambda each: int(each.started))
    os.kill(newest.pid, signal.SIGKILL)
    taken_back(victim, GOOD)
    assert load.told == []


def test_one_that_answers_a_sample_wrongly_is_not_started_and_not_promoted(victim, load):
    code, told = start(victim, FALSE, "--share", "50%")
    assert code == 1
    broken = "in ensemble 'captcha_reader', .*broken"
    assert re.match(f"not started, what was served is served on: {broken}", told)
    code, told = command(victim, "rollout", "promote")
    assert code == 1
    held = f"{MODEL} {FALSE} is held: not started .*broken"
    assert re.match(f"no roll-out is under way; .*{held}", told)
    assert load.told == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("start --version 99 --shadow", f"--version: 99, of {MODEL} there are 1, 2, 3, 4, 5"),
        ("start --version 1 --shadow", f"--version: 1, which is what is served of {MODEL}"),
        ("start --version 0 --shadow", "--version: 0, limit a whole number from 1"),
        ("start --version 2 --share 0%", "--share: 0, limit a whole number of per cent, 1 to 100"),
        ("start --version 2 --share 101", "--share: 101, limit .*"),
        ("start --version 2", "--share or --shadow: one of them is needed"),
        ("start --version 2 --share 1 --shadow", "--share or --shadow: one of them .*"),
        ("start --version 2 --shadow --differ nan", "--differ: nan, limit 0 to 100"),
        ("hold --version 1", f"--version: 1, which is what is served of {MODEL}"),
        ("hold --version 2 --model a", "--model: 'a', known are captcha_heads, .*"),
        ("back", "no roll-out is under way; .*"),
    ],
)
def test_what_cannot_be_done_is_told(victim, arguments, expected):
    action, *options = arguments.split()
    if action != "back" and "--model" not in options:
        options += ["--model", MODEL]
    code, told = command(victim, "rollout", action, *options)
    assert code == 1
    assert re.fullmatch(expected + "\n", told)


def test_what_is_promoted_is_served_alone_and_is_held_no_more(victim, load):
    assert start(victim, GOOD, "--share", "30%")[0] == 0
    with urllib.request.urlopen(f"http://{victim.metrics_url}/metrics") as reply:
        assert "\ncountersign_rollout_share 30\n" in reply.read().decode()
    until(lambda: status(victim)["under_way"]["compared"]["pages"] > 1)
    code, told = command(victim, "rollout", "status")
    assert code == 0
    assert re.match(
        rf"{MODEL} {GOOD} on trial since \S+, answers 30 %\n version +asked .*\n +1 .*\n +2 .*\n"
        r"\d+ pages compared, 0 with another verdict \(99\.9 % interval: 0 to \S+ %\)\n",
        told,
    )
    assert command(victim, "rollout", "promote") == (0, f"{MODEL} {GOOD} is served\n")
    assert victim.metric("countersign_model_version")[f'model="{MODEL}"'] == GOOD
    ended = victim.metric("countersign_rollouts_total")
    assert ended == {'outcome="promoted"': 1, 'outcome="back"': 0, 'outcome="taken_back"': 2}
    assert set(status(victim)["held"][MODEL]) == {str(FAILS), str(WRONG), str(FALSE)}  # newer
    until(lambda: len(tritons(victim)) == 1)
    assert load.told == []


def test_each_roll_out_has_left_lines_for_programs(victim):
    told = [line for line in victim.log.read_text().splitlines() if line.startswith("{")]
    ours = [(line["what"], line["version"]) for line in map(json.loads, told)]
    assert ours == [
        ("started", FAILS), ("taken_back", FAILS),
        ("started", GOOD), ("changed", GOOD), ("taken_back", GOOD),
        ("started", GOOD), ("promoted", GOOD),
    ]  # fmt: skip


def test_a_server_that_starts_again_serves_no_version_that_was_on_trial(victim, load, repository):
    """The last of these, which ends the server."""
    assert start(victim, WRONG, "--shadow")[0] == 0
    load.end()
    assert victim.end() == 0
    with Victim("--repository", str(repository)) as another:
        assert another.metric("countersign_model_version")[f'model="{MODEL}"'] == GOOD
        told = command(another, "rollout", "status")[1]
    assert re.match(r"no roll-out is under way\n", told)
    assert f"\nheld: {MODEL} {WRONG}, on trial since " in told


def test_the_client_s_command_becomes_the_server_s_where_that_is_installed(tmp_path):
    (tmp_path / "countersign-rollout").symlink_to(ROOT / "server" / "countersign-rollout")
    path = os.pathsep.join([str(tmp_path), str(Path(sys.executable).parent)])
    done = subprocess.run(
        [sys.executable, "-c", "from countersign.cli import main; main()", "rollout", "status"],
        env=os.environ | {"PATH": f"{path}:{os.environ['PATH']}", "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr == f"no server of this user has its sockets in {tmp_path}\n"


@pytest.fixture
def ours() -> Rollout:
    """One whose replica is well, and of which nothing is known yet."""
    trial = SimpleNamespace(replica=SimpleNamespace(state=State.WELL))
    return Rollout("document_yolo", 7, 6, 5, Limits(), trial, "today")


@pytest.mark.parametrize(
    ("ratio", "pages", "fault"),
    [
        (3, 120, "a page takes 3.00 times as long, at least 3.00, of 100; limit 2"),
        (3, 119, ""),
        (1.9, 500, ""),
    ],
)
def test_a_slow_version_is_found_out_once_it_was_asked_enough(ours, ratio, pages, fault):
    for _ in range(pages):
        ours.differences.took(0.1, 0.1 * ratio)
    assert ours.fault() == fault


def test_one_that_is_slow_now_and_then_is_not_certain_to_be(ours):
    """Its times vary as those of a busy machine do: alike for a while, then otherwise."""
    for page in range(300):
        ours.differences.took(0.1, 1.0 if page // 30 % 2 else 0.1)
        assert ours.fault() == ""
    assert math.exp(ours.differences.slower.mean) > ours.limits.slower


ANSWER = {"boxes": [0, 0, 9, 9], "scores": [0.9], "labels": ["stamp"]}, 0.1


@pytest.mark.parametrize(
    ("served", "tried", "failed", "pages"),
    [
        (ANSWER, ANSWER, (0, 0), 1),
        (ANSWER, Failed("timed out"), (0, 1), 0),
        (Failed("timed out"), ANSWER, (1, 0), 0),
        (ANSWER, Refused("image: cut short"), (0, 1), 0),
        (Refused("image: cut short"), ANSWER, (0, 0), 0),
        (Refused("image: cut short"), Refused("image: cut short"), (0, 0), 0),
        (ANSWER, (ANSWER[0] | {"labels": []}, 0.1), (0, 1), 0),
    ],
    ids=["both", "tried fails", "served fails", "refuses", "finds", "both refuse", "malformed"],
)
def test_a_compared_page_is_counted_for_what_came_of_it(ours, served, tried, failed, pages):
    count(ours, "detector", served, tried)
    assert (ours.sides[SERVED].asked, ours.sides[TRIED].asked) == (1, 1)
    assert (ours.sides[SERVED].failed, ours.sides[TRIED].failed) == failed
    assert ours.differences.pages == pages


@pytest.mark.parametrize(
    ("failed", "asked", "served_failed", "is_found"),
    [(2, 2, 0, False), (3, 3, 0, True), (2, 30, 0, False), (3, 30, 0, True), (3, 30, 100, False)],
)
def test_failures_count_above_those_of_the_served_version(
    ours, failed, asked, served_failed, is_found
):
    ours.sides[SERVED], ours.sides[TRIED] = Side(1000, served_failed), Side(asked, failed)
    assert bool(ours.fault()) == is_found
