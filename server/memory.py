"""How much memory the server takes at most, for a container's limit."""

from server.cores import Plan
from server.front import HEAP_MIB, body_max
from server.settings import Settings

BASE_MIB = 1280  # tritonserver, its steps and networks at rest, and this process
IMAGE_MIB = 600  # what the worst image that is decoded takes in its step
SHM_MIB = 1024  # shared memory, which counts as well


def most_mib(settings: Settings) -> int:
    """MiB that are in use when everything that is allowed comes at once."""
    plan = Plan(settings.threads)
    waiting = plan.in_flight * body_max(settings) // 2**20
    return BASE_MIB + HEAP_MIB + SHM_MIB + plan.preprocesses * IMAGE_MIB + waiting
