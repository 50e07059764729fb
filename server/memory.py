"""How much memory the server takes at most, for a container's limit; and one replica of it."""

from server.cores import Plan, share
from server.front import HEAP_MIB, body_max
from server.settings import Settings

BASE_MIB = 256  # this process, and what the system needs
REPLICA_MIB = 512  # tritonserver, its steps and networks; 300 at rest
IMAGE_MIB = 600  # what the worst image that is decoded takes in its step
SHM_MIB = 1024  # shared memory, which counts as well
SHM_LEAST_MIB = 256  # of it, that must be free; less if images may only be small
SHM_REST_MIB = 12  # of a replica; 11 measured
SHM_BODIES = 3  # of the largest request, that a step which takes images comes to have; 2.6 measured


def replica_mib(settings: Settings) -> int:
    """MiB of a replica with all of the threads when the worst comes to each of its processes."""
    return REPLICA_MIB + SHM_MIB + Plan(settings.threads).preprocesses * IMAGE_MIB


def most_mib(settings: Settings) -> int:
    """MiB that are in use when all that is allowed comes at once, and a replica is replaced."""
    replicas = settings.replicas
    plans = [Plan(share(settings.threads, replicas, each)) for each in range(replicas)]
    images = sum(plan.preprocesses for plan in plans) * IMAGE_MIB
    waiting = Plan(settings.threads).in_flight * body_max(settings) // 2**20
    return BASE_MIB + (replicas + 1) * REPLICA_MIB + HEAP_MIB + SHM_MIB + images + waiting


def shm_least_mib(settings: Settings) -> int:
    """MiB of shared memory that must be free for a replica."""
    takers = Plan(settings.threads).preprocesses + 1  # that of CAPTCHAs
    bodies = -(-takers * SHM_BODIES * body_max(settings) // 2**20)
    return min(SHM_LEAST_MIB, SHM_REST_MIB + bodies)


def shm_start_mib(settings: Settings) -> int:
    """MiB of shared memory that must be free for a server: one replica may replace another."""
    return min(SHM_LEAST_MIB, (settings.replicas + 1) * shm_least_mib(settings))
