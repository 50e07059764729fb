"""Versions that lie in the repository and are not to be served: on trial, taken back, or to come.

held.json has {model: {version: why}}. A start and a reload pass over them, so that a version that
was taken back does not come with the next start.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from server.settings import ServerError, Settings

FILE = "held.json"
Held = Mapping[str, Mapping[int, str]]


def path(settings: Settings) -> Path:
    """--held, else beside what the repository holds; of a URL's, in its part of the cache."""
    repository = settings.repository
    folder = repository.parent.parent if settings.published else repository
    return settings.held or folder / FILE


def read(file: Path) -> Held:
    """{} where there is no such file. Raises ServerError for one that has another form."""
    try:
        told = json.loads(file.read_text())
        return {
            model: {int(version): str(why) for version, why in versions.items()}
            for model, versions in told.items()
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError) as error:
        raise ServerError(f"{file}: {error}; expected {{model: {{version: why}}}}") from error


def write(file: Path, held: Held) -> None:
    """Raises ServerError with the remedy."""
    fresh = file.with_name(f"{file.name}.new")
    kept = {model: versions for model, versions in held.items() if versions}
    try:
        with open(fresh, "w") as stream:
            json.dump(kept, stream, indent=2, sort_keys=True)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(fresh, file)
    except OSError as error:
        raise ServerError(
            f"{file} cannot be written, by which a start knows what not to serve: "
            f"{error.strerror}; --held names another"
        ) from error


def with_one(held: Held, model: str, version: int, why: str) -> Held:
    """`held` with a version more."""
    return {**held, model: {**held.get(model, {}), version: why}}


def without(held: Held, model: str, version: int) -> Held:
    """`held` without a version."""
    others = {number: why for number, why in held.get(model, {}).items() if number != version}
    return {**held, model: others}
