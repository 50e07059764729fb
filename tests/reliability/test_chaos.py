"""A short run of chaos: two replicas, a few blows, users who lose nothing."""

import signal

import pytest

from tests.reliability.chaos import Victim, bad, during, strike
from tests.reliability.users import Users

pytestmark = pytest.mark.alone


@pytest.fixture(scope="module")
def run():
    """A server under load: its blows, and the users' answers."""
    blows = []
    with Victim("--replicas", "2") as victim:
        with Users(victim.http_url, victim.grpc_url, users=8) as users:  # more than hang at once
            for name, sent in (
                ("document_yolo", signal.SIGKILL),
                ("tritonserver", signal.SIGSTOP),
                ("envoy", signal.SIGKILL),
            ):
                blows.append(strike(victim, name, sent))
            users.end()
        yield blows, users.answers, victim


def test_nothing_is_lost_and_nothing_wrong(run):
    _, answers, _ = run
    assert bad(answers) == ([], [])


def test_one_replica_answers_while_the_other_is_replaced(run):
    blows, answers, _ = run
    for blow in blows[:2]:  # without Envoy nobody is reached
        assert len(during(blow, answers)) > 10, blow


def test_the_server_says_what_it_replaced(run):
    _, _, victim = run
    told = victim.log.read_text()
    assert told.count("; another is started") == 2
    assert "W the front died, exit status -9; it is started again" in told
