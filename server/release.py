"""What the replicas serve: a copy of the model repository, read at the start and at each reload."""

from dataclasses import dataclass
from pathlib import Path

from server import held
from server.cores import Plan
from server.readiness import Golden, NotReady, goldens
from server.repository import ensembles, lay_out, newest
from server.settings import ServerError, Settings


@dataclass(frozen=True)
class Release:
    """Models of one reading of the repository, and what they must answer."""

    folder: Path  # tritonserver's model repository
    versions: dict[str, int]  # of each model that has one served
    ensembles: dict[str, str]  # names and kinds
    goldens: tuple[Golden, ...]


def read(settings: Settings, folder: Path, versions: dict[str, int] | None = None) -> Release:
    """The settings' repository, copied into `folder`: these `versions`, else the newest not held.

    Raises ServerError for a repository or samples that are none, and for models that cannot be
    copied.
    """
    known = ensembles(settings.repository)
    if not settings.samples.is_dir():
        raise ServerError(f"samples {settings.samples}: no such folder")
    if versions is None:
        versions = newest(settings.repository, held.read(held.path(settings)))
    try:
        asked = goldens(settings.repository, settings.samples)
    except NotReady as error:
        raise ServerError(str(error)) from error
    lay_out(settings.repository, folder, versions, Plan(settings.threads).preprocesses)
    return Release(folder, versions, known, asked)
