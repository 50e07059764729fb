import os

import pytest

from server.cores import Plan, quota, usable_cores

INFINITE = float("inf")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "max 100000\n"}, INFINITE),
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, INFINITE),
        ({"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4),
        ({}, INFINITE),
    ],
    ids=["v2, none", "v2", "v1, none", "v1", "no cgroup"],
)
def test_a_quota_is_read_in_cores(files, expected, tmp_path):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert quota(tmp_path) == expected


@pytest.mark.parametrize(("limit", "expected"), [("50000", 1), ("150000", 1), ("100000", 1)])
def test_less_than_two_cores_are_one(limit, expected, tmp_path):
    (tmp_path / "cpu.max").write_text(f"{limit} 100000")
    assert usable_cores(tmp_path) == expected


def test_cores_that_the_process_may_not_run_on_do_not_count(tmp_path):
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert usable_cores(tmp_path) == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert usable_cores(tmp_path) == len(allowed)


@pytest.mark.parametrize(("cores", "processes"), [(1, 2), (4, 2), (5, 3), (32, 16)])
def test_half_as_many_processes_decode_pages_and_never_one(cores, processes):
    assert Plan(cores).preprocesses == processes
