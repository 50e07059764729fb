"""The metrics of server, replicas, steps and front in one text, in Prometheus' form."""

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress

from server.envoy import Envoy
from server.readiness import NotReady, call
from server.replica import SERVING, State
from server.supervisor import Supervisor

TIMEOUT_S = 2
SAMPLE = re.compile(r"([A-Za-z_:][\w:]*)(?:\{(.*)\})?( .*)")  # name, labels, value


def text(supervisor: Supervisor, envoy: Envoy, others: Iterable[str]) -> str:
    """What a scrape gets, `others` among it; nothing of parts that do not answer."""
    replicas = {str(slot.index + 1): slot.current for slot in supervisor.slots}
    if (trial := supervisor.trial) and trial.replica.state in SERVING:
        replicas["trial"] = trial.replica
    found = {}
    for name, replica in replicas.items():
        with suppress(NotReady):
            found[name] = call(replica.triton.metrics_url, "/metrics", TIMEOUT_S).decode()
    lines = [*own(supervisor), *others, *merged(found)]
    with suppress(NotReady):
        lines.append(envoy.admin("/stats/prometheus").decode())
    return "\n".join(lines) + "\n"


def own(supervisor: Supervisor) -> Iterator[str]:
    """What the supervisor knows."""
    yield from family("countersign_replica_state", "gauge", "1 in the state that a replica is in")
    for slot in supervisor.slots:
        for state in State:
            labels = f'replica="{slot.index + 1}",state="{state.value}"'
            yield f"countersign_replica_state{{{labels}}} {int(slot.current.state is state)}"
    yield from family("countersign_replica_memory_bytes", "gauge", "memory of its processes")
    for slot in supervisor.slots:
        taken = slot.current.memory_mib * 2**20
        yield f'countersign_replica_memory_bytes{{replica="{slot.index + 1}"}} {taken}'
    limit_name = "countersign_replica_memory_limit_bytes"
    yield from family(limit_name, "gauge", "memory above which a replica is replaced")
    for slot in supervisor.slots:
        limit = slot.current.most_mib * 2**20
        yield f'{limit_name}{{replica="{slot.index + 1}"}} {limit}'
    yield from family("countersign_restarts_total", "counter", "times that a part was started anew")
    for name in ("front", *(slot.name for slot in supervisor.slots)):
        yield f'countersign_restarts_total{{part="{name}"}} {supervisor.restarts[name]}'
    yield from family("countersign_model_version", "gauge", "version of each model that is served")
    for name, version in supervisor.release.versions.items():
        yield f'countersign_model_version{{model="{name}"}} {version}'
    if published := supervisor.published:
        name = "countersign_repository_is_newest"
        yield from family(name, "gauge", "1 if what is served is what is published at its URL")
        yield f'{name}{{sha256="{published.digest}"}} {int(published.is_newest)}'


def family(name: str, kind: str, text: str) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"


def merged(texts: dict[str, str]) -> Iterator[str]:
    """The metrics of replicas, each sample with its replica as a label, and each family once."""
    families: dict[str, list[str]] = {}  # by its first comment
    for replica, found in texts.items():
        comments: list[str] = []
        for line in found.splitlines():
            if line.startswith("# HELP"):
                comments = [line]
            elif line.startswith("#"):
                comments.append(line)
            elif sample := SAMPLE.fullmatch(line):
                name, labels, value = sample.groups()
                rest = f",{labels}" if labels else ""
                samples = families.setdefault("\n".join(comments), [])
                samples.append(f'{name}{{replica="{replica}"{rest}}}{value}')
    for head, samples in families.items():
        yield head
        yield from samples
