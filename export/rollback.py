"""Back to the version before: takes out a model's newest, and restores the settings.

    python -m export.rollback [--name NAME] [--repository DIR]

The server serves it from its next start on.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

from export import entries, reader
from inprocess.steps import REPOSITORY


def roll_back(repository: Path, name: str = entries.SHIPPED) -> tuple[int, int]:
    """The version that was taken out, and the one that is the newest now.

    Raises ValueError, and changes nothing, if there is none before it or that has no model card.
    """
    of_reader = name == reader.ENSEMBLE
    graph = repository / (reader.GRAPH if of_reader else entries.step_names(name)[0])
    versions = sorted(int(path.name) for path in graph.glob("[0-9]*"))
    if len(versions) < 2:
        raise ValueError(f"{graph}: versions {versions}, none to go back to")
    *_, before, newest = versions
    card = graph / str(before) / "model_card.json"
    if not card.exists():
        raise ValueError(f"{card}: no such file, the settings of version {before} are not known")
    if of_reader:
        reader.write(repository, json.loads(card.read_text()))
    else:
        entries.write(repository, name, before)
    shutil.rmtree(graph / str(newest))
    return newest, before


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--name", default=entries.SHIPPED, help="of the ensemble")
    parser.add_argument("--repository", type=Path, default=REPOSITORY)
    arguments = parser.parse_args()
    try:
        newest, before = roll_back(arguments.repository, arguments.name)
    except ValueError as error:
        sys.exit(f"export.rollback: {error}")
    print(f"{arguments.name}: version {newest} taken out, version {before} is the newest")


if __name__ == "__main__":
    main()
