"""How many cores this process may really use, and what is planned on them.

Those are the cores it may run on, and its cgroup's quota of time. OpenVINO sees the first limit,
not the second, and would start a thread for every core.
"""

import os
from dataclasses import dataclass
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


def usable_cores(cgroups: Path = CGROUPS) -> int:
    """Whole cores, at least 1; a part of one is left to the rest of the process."""
    affinity = len(os.sched_getaffinity(0))
    return max(1, int(min(affinity, quota(cgroups))))


def quota(cgroups: Path = CGROUPS) -> float:
    """Cores' worth of time that the cgroup may take, infinite if it has no limit.

    Read where a container sees its own group: cpu.max in cgroup v2, cpu.cfs_* in v1.
    """
    try:
        limit, period = (cgroups / "cpu.max").read_text().split()
    except FileNotFoundError:
        try:
            limit, period = (
                (cgroups / "cpu" / f"cpu.cfs_{name}_us").read_text().strip()
                for name in ("quota", "period")
            )
        except FileNotFoundError:
            return float("inf")
    return float("inf") if limit in ("max", "-1") else int(limit) / int(period)


def share(cores: int, parts: int, part: int) -> int:
    """How many of `cores` fall to one of so many parts, counted from 0; at least 1."""
    return max(1, cores * (part + 1) // parts - cores * part // parts)


@dataclass(frozen=True)
class Plan:
    """What runs on `cores`: each network with a thread for each, pages decoded beside it.

    A page alone has all of a network's threads; pages that come together have streams of a thread
    or few (backends/openvino/model.py). Decoding and scaling take from a fifth of a page's CPU time
    (JPEG) to a half (TIFF, photos), so half as many processes as cores keep up with the network.
    """

    cores: int

    @property
    def preprocesses(self) -> int:
        """Processes of document_preprocess: two overlap one page's decoding with another's."""
        return max(2, -(-self.cores // 2))

    @property
    def in_flight(self) -> int:
        """Inferences that may be under way at a time: two thirds of a second's worth of pages."""
        return 16 * self.cores

    def __str__(self) -> str:
        return (
            f"{self.cores} cores: {self.cores} threads for each network, "
            f"{self.preprocesses} processes of document_preprocess"
        )
