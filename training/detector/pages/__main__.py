"""Write seeded splits of generated pages.

    python -m training.detector.pages --out DIR --seed 0 --train 3600 --validation 300 --test 300
    python -m training.detector.pages --samples server/samples --seed 0  # that the detector finds

DIR gets images/*.jpg and labels.json: file -> width, height, document, split, boxes, and areas to
ignore, as labels.py reads them.
"""

import argparse
from pathlib import Path

from inprocess.repository import REPOSITORY
from training.detector.pages import samples
from training.detector.pages.compose import POOLS
from training.detector.pages.splits import write_splits


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    goal = parser.add_mutually_exclusive_group(required=True)
    goal.add_argument("--out", type=Path, help="folder of the splits")
    goal.add_argument("--samples", type=Path, help="folder of the sample pages instead")
    parser.add_argument("--seed", type=int, default=0)
    for split in POOLS:
        parser.add_argument(f"--{split}", type=int, default=0, help="number of pages")
    arguments = parser.parse_args()
    if arguments.samples:
        from inprocess import Detector  # drawing pages needs no OpenVINO

        samples.write(arguments.samples, arguments.seed, Detector(REPOSITORY).detect)
    else:
        write_splits(
            arguments.out, arguments.seed, {split: getattr(arguments, split) for split in POOLS}
        )


if __name__ == "__main__":
    main()
