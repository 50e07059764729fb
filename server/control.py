"""What the server answers at its control.sock: its metrics, and what it is commanded to do."""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from server import metrics, readiness, rollout
from server.envoy import Envoy
from server.rollout import Rollouts
from server.settings import ServerError
from server.sockets import Handler, listening
from server.supervisor import Supervisor
from server.traffic import Traffic

RELOAD_S = 3600  # a reload ends by itself long before


class Control(Handler):
    """GET /metrics and /rollout; POST /reload and, with JSON, /rollout/ACTION."""

    supervisor: Supervisor
    envoy: Envoy
    traffic: Traffic
    rollouts: Rollouts

    def do_GET(self) -> None:  # noqa: N802
        if self.path == "/metrics":
            lines = [*self.traffic.lines(), *self.rollouts.lines()]
            self.answer(200, metrics.text(self.supervisor, self.envoy, lines))
        elif self.path == "/rollout":
            self.answer(200, json.dumps(self.rollouts.status()))
        else:
            self.answer(404, "no such path")

    def do_POST(self) -> None:  # noqa: N802
        actions = {
            "/reload": lambda told: reloaded(self.supervisor),
            "/rollout/start": lambda told: self.rollouts.start(*rollout.wanted(told)),
            "/rollout/promote": lambda told: self.rollouts.promote(),
            "/rollout/back": lambda told: self.rollouts.back(),
            "/rollout/hold": lambda told: self.rollouts.hold(*rollout.model_version(told)),
        }
        if self.path not in actions:
            return self.answer(404, "no such path")
        told = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            self.answer(200, actions[self.path](json.loads(told or b"{}")))
        except (ServerError, ValueError) as error:
            self.answer(409, str(error))


@contextmanager
def answering(
    supervisor: Supervisor, envoy: Envoy, traffic: Traffic, rollouts: Rollouts, folder: Path
) -> Iterator[None]:
    """Answers at control.sock in `folder`."""
    parts = {"supervisor": supervisor, "envoy": envoy, "traffic": traffic, "rollouts": rollouts}
    handler = type("ControlOfServer", (Control,), parts)
    with listening(folder, "control.sock", handler):
        yield


def reloaded(supervisor: Supervisor) -> str:
    """Reloads, and says which versions are served. Raises ServerError with what goes on."""
    try:
        served = supervisor.reload()
    except ServerError as error:
        raise ServerError(f"not reloaded, what was served is served on: {error}") from error
    return "reloaded: " + ", ".join(f"{name} {number}" for name, number in sorted(served.items()))


def main(argv: Sequence[str] | None = None) -> int:
    """Has this user's running servers reload. Exit status 0 if all did."""
    argparse.ArgumentParser(
        prog="python -m server reload",
        description="Has this user's running servers serve their model repository as it is now. "
        "Replicas of it are started beside the others; if one is not right, all stays as it was.",
    ).parse_args(argv)
    try:
        for folder in readiness.servers():
            url = readiness.unix(folder, "control.sock")
            print(readiness.call(url, "/reload", RELOAD_S, b"").decode())
    except readiness.NotReady as error:
        print(error.said or error, file=sys.stderr)
        return 1
    return 0
