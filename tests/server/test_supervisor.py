"""The supervisor's decisions, on replicas that are stand-ins: what it does in which order."""

from itertools import pairwise
from pathlib import Path

import pytest

from server import supervisor as module
from server.readiness import Golden
from server.release import Release
from server.replica import State
from server.settings import ServerError, Settings
from server.supervisor import Supervisor
from server.tries import MOST, Tries


class StandIn:
    """A replica whose state a test sets."""

    def __init__(self, settings, place, release, *_):
        self.name, self.release, self.threads = place.name, release, settings.threads
        self.state, self.fault, self.ready_at = State.STARTING, None, 0.0
        self.left_after_s = None

    def look(self):
        pass

    def leave(self, patience_s):
        self.left_after_s = patience_s if self.left_after_s is None else self.left_after_s


class Front:
    """A front whose fault a test sets."""

    def __init__(self):
        self.told, self.starts = "", 0

    def fault(self):
        return self.told

    def end(self):
        pass

    def start(self):
        self.told, self.starts = "", self.starts + 1


@pytest.fixture
def make(monkeypatch, tmp_path):
    """`make(replicas)` -> a supervisor with so many replicas that are well, at the time 0."""

    def make(replicas):
        monkeypatch.setattr(module, "Replica", StandIn)
        settings = Settings(replicas=replicas, threads=4)
        made = Supervisor(settings, tmp_path, lambda: None, lambda *_: None)
        made.release = Release(Path("models-1"), {}, {}, ())
        made.slots = [
            module.Slot(index, made._replica(index, made.release)) for index in range(replicas)
        ]
        for slot in made.slots:
            slot.current.state = State.WELL
        made._front = Front()
        made.tick(0)
        return made

    return make


def asked(supervisor: Supervisor) -> list[str]:
    """The replicas that the front is told to ask."""
    return [name for name, healthy in supervisor._listed if healthy]


def fail(replica: StandIn, state=State.FAULTY, fault="a step died") -> None:
    replica.state, replica.fault = state, ServerError(fault)


def test_a_lone_faulty_replica_is_asked_until_its_heir_is_ready(make):
    supervisor = make(1)
    (slot,) = supervisor.slots
    old = slot.current
    fail(old)
    supervisor.tick(100)
    heir = slot.heir
    assert asked(supervisor) == [old.name]
    assert old.left_after_s is None
    supervisor.tick(101)
    assert slot.heir is heir  # one is enough
    heir.state = State.WELL
    supervisor.tick(102)
    assert asked(supervisor) == [heir.name]
    assert (old.name, False) in supervisor._listed  # it may finish what it has
    assert old.left_after_s == module.FAULTY_LEAVES_S
    old.state = State.GONE
    supervisor.tick(103)
    supervisor.tick(104)
    assert supervisor.replicas() == [heir]


def test_a_faulty_replica_is_not_asked_while_another_is_well(make):
    supervisor = make(2)
    faulty, well = (slot.current for slot in supervisor.slots)
    fail(faulty)
    supervisor.tick(100)
    assert asked(supervisor) == [well.name]
    assert faulty.left_after_s == module.FAULTY_LEAVES_S
    assert supervisor.slots[0].heir.threads == 2  # its share of the cores


def test_one_that_takes_too_much_memory_answers_until_its_heir_is_ready(make):
    supervisor = make(2)
    worn = supervisor.slots[0].current
    fail(worn, State.WORN, "9000 MiB")
    supervisor.tick(100)
    assert worn.name in asked(supervisor)
    supervisor.slots[0].heir.state = State.WELL
    supervisor.tick(101)
    assert worn.name not in asked(supervisor)
    assert worn.left_after_s == supervisor.settings.exit_timeout_s


def test_heirs_in_vain_wait_longer_and_end_it_when_nobody_serves(make):
    supervisor = make(1)
    fail(supervisor.slots[0].current)
    began = []

    def live_on():
        for quarter in range(400, 800):
            supervisor.tick(quarter / 4)
            if (heir := supervisor.slots[0].heir) and heir.state is State.STARTING:
                began.append(quarter / 4)
                fail(heir, State.GONE, "no room")

    with pytest.raises(ServerError, match=f"gave up after {MOST} tries: no room"):
        live_on()
    assert [round(after - before) for before, after in pairwise(began)] == [1, 2, 4, 8]


def test_one_slot_without_hope_does_not_end_what_another_serves(make):
    supervisor = make(2)
    fail(supervisor.slots[0].current)
    for now in range(100, 300):
        supervisor.tick(now)
        if heir := supervisor.slots[0].heir:
            fail(heir, State.GONE, "no room")
    assert asked(supervisor) == [supervisor.slots[1].current.name]


def test_a_long_life_is_not_a_try_in_vain():
    tries = Tries()
    for now in range(0, 1000, 20):
        tries.death(now, lived_s=15)
    assert not tries.hopeless
    for now in range(1000, 1000 + MOST):
        tries.death(now, lived_s=1)
    assert tries.hopeless


def reload(supervisor: Supervisor) -> module.Reload:
    """A reload under way, of another release."""
    fresh = Release(Path("models-2"), {"a": 2}, {}, (Golden("a", "other", ()),))
    supervisor._reload = module.Reload(fresh)
    return supervisor._reload


def test_a_new_release_takes_over_one_replica_after_another(make):
    supervisor = make(2)
    first, second = (slot.current for slot in supervisor.slots)
    asked_for = reload(supervisor)
    supervisor.tick(100)
    heir = supervisor.slots[0].heir
    assert (heir.release, supervisor.slots[1].heir) == (asked_for.release, None)
    heir.state = State.WELL
    supervisor.tick(101)
    supervisor.tick(102)
    assert asked(supervisor) == [heir.name, second.name]
    assert first.left_after_s == supervisor.settings.exit_timeout_s
    supervisor.slots[1].heir.state = State.WELL
    supervisor.tick(103)
    assert asked_for.done.is_set()
    assert asked_for.refused == ""
    assert supervisor.release is asked_for.release


def test_a_new_release_that_is_not_right_leaves_all_as_it_was(make):
    supervisor = make(2)
    before = [slot.current for slot in supervisor.slots]
    asked_for = reload(supervisor)
    supervisor.tick(100)
    fail(supervisor.slots[0].heir, State.GONE, "a: corrupt")
    for now in range(101, 110):
        supervisor.tick(now)
    assert asked_for.done.is_set()
    assert asked_for.refused == "a: corrupt"
    assert supervisor.replicas() == before


def tried(supervisor: Supervisor) -> module.Trial:
    """A trial under way, of another release, whose replica is well."""
    fresh = Release(Path("models-2"), {"a": 2}, {}, (Golden("a", "other", ()),))
    supervisor.trial = module.Trial(supervisor._replica(0, fresh))
    supervisor.trial.replica.state = State.WELL
    supervisor.tick(100)
    return supervisor.trial


def test_a_version_on_trial_is_asked_by_its_share_alone_while_it_is_well(make):
    supervisor = make(2)
    before = [slot.current for slot in supervisor.slots]
    trial = tried(supervisor)
    assert asked(supervisor) == [each.name for each in before]
    assert supervisor._tried == trial.replica.name
    fail(trial.replica)
    supervisor.tick(101)
    assert supervisor._tried == ""
    assert [slot.heir for slot in supervisor.slots] == [None, None]  # nobody takes its place


def test_a_trial_that_ends_finishes_what_it_has_and_leaves(make):
    supervisor = make(1)
    before, trial = supervisor.slots[0].current, tried(supervisor)
    trial.ends = True
    supervisor.tick(101)
    assert (supervisor.trial, supervisor._tried) == (None, "")
    assert (trial.replica.name, False) in supervisor._listed
    assert trial.replica.left_after_s == supervisor.settings.exit_timeout_s
    trial.replica.state = State.GONE
    supervisor.tick(102)
    assert supervisor.replicas() == [before]


def test_a_trial_that_wins_takes_the_first_place_and_the_others_follow(make):
    supervisor = make(2)
    first, second = (slot.current for slot in supervisor.slots)
    trial = tried(supervisor)
    trial.wins = True
    asked_for = supervisor._reload = module.Reload(trial.replica.release)
    supervisor.tick(101)
    assert supervisor.slots[0].current is trial.replica
    assert first.left_after_s == supervisor.settings.exit_timeout_s
    supervisor.tick(102)
    heir = supervisor.slots[1].heir
    assert heir.release is trial.replica.release
    heir.state = State.WELL
    supervisor.tick(103)
    assert asked(supervisor) == [trial.replica.name, heir.name]
    assert asked_for.done.is_set()
    assert second.left_after_s == supervisor.settings.exit_timeout_s


def test_a_trial_waits_for_a_repair_before_it_takes_over(make):
    supervisor = make(1)
    (slot,) = supervisor.slots
    trial = tried(supervisor)
    fail(slot.current)
    supervisor.tick(101)
    heir, trial.wins = slot.heir, True
    supervisor.tick(102)
    assert slot.heir is heir
    heir.state = State.WELL
    supervisor.tick(103)
    supervisor.tick(104)
    assert slot.current is trial.replica


def test_a_front_that_died_is_started_again(make):
    supervisor = make(1)
    for now in range(100, 200, 20):
        supervisor._front.told = "the front died"
        supervisor.tick(now)
    assert supervisor._front.starts == 5


def test_a_front_that_dies_again_and_again_is_not_started_for_ever(make):
    supervisor = make(1)

    def live_on():
        for now in range(100, 200):
            supervisor._front.told = "the front died"
            supervisor.tick(now)

    with pytest.raises(ServerError, match=f"gave up after {MOST} tries: the front died"):
        live_on()
    assert supervisor._front.starts == MOST - 1
