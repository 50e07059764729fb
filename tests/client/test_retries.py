"""How often and how long one call may try, on a clock of the test's own."""

import math

import pytest

from countersign import DeadlineExceeded, Denied, Refused, Unavailable
from countersign.errors import unavailable_for_good
from countersign.retries import Attempts

LOST = Unavailable("connection refused")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def pauses(attempts: Attempts, clock: Clock, failure: Unavailable) -> list[float]:
    """All pauses until the attempts give up."""
    found = []
    while True:
        try:
            found.append(attempts.pause_s(failure))
        except Unavailable:
            return found
        clock.now += found[-1]


def test_a_lost_connection_is_tried_until_the_deadline_with_growing_pauses():
    clock = Clock()
    found = pauses(Attempts(30, clock), clock, LOST)
    for pause, most in zip(found, [0.1, 0.2, 0.4, 0.8, 1.6] + [2] * 40, strict=False):
        assert most / 2 <= pause <= most
    assert 28 <= sum(found) < 30


def test_a_failure_at_the_end_says_how_often_it_was_tried():
    clock = Clock()
    attempts = Attempts(1, clock)
    attempts.pause_s(LOST)
    clock.now += 0.95
    with pytest.raises(Unavailable, match=r"^connection refused \(2 attempts\)$"):
        attempts.pause_s(LOST)


def test_without_a_deadline_it_goes_on():
    attempts = Attempts(None, Clock())
    assert attempts.left_s() is None
    assert max(attempts.pause_s(LOST) for _ in range(2000)) <= 2


def test_a_server_that_says_when_is_not_asked_before():
    later = Unavailable("full")
    later.retry_after_s = 7
    assert 7.05 <= Attempts(30, Clock()).pause_s(later) <= 7.1


def test_a_server_that_says_when_is_asked_then_however_often_it_refused():
    clock = Clock()
    soon = Unavailable("full")
    soon.retry_after_s = 0.5
    assert all(0.55 <= pause <= 0.6 for pause in pauses(Attempts(10, clock), clock, soon))


def test_a_server_that_says_a_time_after_the_deadline_is_not_waited_for():
    later = Unavailable("full")
    later.retry_after_s = 7
    with pytest.raises(Unavailable) as raised:
        Attempts(5, Clock()).pause_s(later)
    assert raised.value is later


@pytest.mark.parametrize("timeout_s", [30, None])
@pytest.mark.parametrize("failure", [Refused("a"), Denied("b"), unavailable_for_good("c")])
def test_what_would_fail_again_is_raised_at_once(failure, timeout_s):
    with pytest.raises(type(failure)) as raised:
        Attempts(timeout_s, Clock()).pause_s(failure)
    assert raised.value is failure


def test_a_missed_deadline_names_the_time_that_passed():
    clock = Clock()
    attempts = Attempts(2.5, clock)
    clock.now = 103
    with pytest.raises(DeadlineExceeded, match=r"^host:1: no answer within 2\.5 s$"):
        attempts.pause_s(DeadlineExceeded("host:1: no answer"))


def test_the_time_left_counts_down_to_zero():
    clock = Clock()
    attempts = Attempts(5, clock)
    assert attempts.left_s() == 5
    clock.now = 103
    assert attempts.left_s() == 2
    clock.now = 106
    assert attempts.left_s() == 0


def test_clients_that_failed_together_do_not_return_together():
    assert len({Attempts(30, Clock()).pause_s(LOST) for _ in range(20)}) > 1


@pytest.mark.parametrize("timeout_s", [0, -1, math.nan, "5"])
def test_a_deadline_that_is_none_is_refused_by_name(timeout_s):
    with pytest.raises(Refused, match=f"timeout_s: {timeout_s!r}, expected seconds above 0"):
        Attempts(timeout_s)
