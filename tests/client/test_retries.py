"""How often and how long one call may try, on a clock of the test's own."""

import pytest

from countersign import DeadlineExceeded, Denied, Refused, Unavailable
from countersign.retries import Attempts

LOST = Unavailable("connection refused")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_lost_connection_is_tried_four_times_with_growing_pauses():
    attempts = Attempts(30, Clock())
    pauses = [attempts.pause_s(LOST) for _ in range(3)]
    assert 0.05 <= pauses[0] <= 0.1 < 0.15 <= pauses[1] <= 0.3 < 0.45 <= pauses[2] <= 0.9
    with pytest.raises(Unavailable) as raised:
        attempts.pause_s(LOST)
    assert raised.value is LOST


@pytest.mark.parametrize("failure", [Refused("a"), Denied("b")])
def test_what_would_fail_again_is_raised_at_once(failure):
    with pytest.raises(type(failure)) as raised:
        Attempts(30, Clock()).pause_s(failure)
    assert raised.value is failure


def test_a_missed_deadline_names_the_time_of_the_whole_call():
    with pytest.raises(DeadlineExceeded, match=r"^host:1: no answer within 2\.5 s$"):
        Attempts(2.5, Clock()).pause_s(DeadlineExceeded("host:1: no answer"))


def test_the_time_left_counts_down_to_zero():
    clock = Clock()
    attempts = Attempts(5, clock)
    assert attempts.left_s() == 5
    clock.now = 103
    assert attempts.left_s() == 2
    clock.now = 106
    assert attempts.left_s() == 0


def test_no_pause_goes_past_the_deadline():
    clock = Clock()
    attempts = Attempts(5, clock)
    clock.now = 104.96  # 0.04 s left, the first pause is 0.05 s at least
    with pytest.raises(Unavailable):
        attempts.pause_s(LOST)


def test_clients_that_failed_together_do_not_return_together():
    assert len({Attempts(30, Clock()).pause_s(LOST) for _ in range(20)}) > 1
