"""CAPTCHA portals as others make them: a dozen packages, each run by itself.

A maker in makers/ is a program: `draw_NAME.* FOLDER SEED` reads labels, one a line, and writes
FOLDER/LABEL_INDEX.png. Its packages are pinned in its head (Python, installed by uv when it first
runs) or in makers/package-lock.json (npm), or are Debian's; nothing else needs them.

No weights are trained on them, and nothing is chosen by the final half: else its figures would no
longer say how a portal is read that nobody has seen. So that chance decides what is in which half,
makers that are alike stand in pairs, and the one of a pair is for looking whose package's name has
the smaller CRC-32.
"""

import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from zlib import crc32

MAKERS = Path(__file__).with_name("makers")
LOOK, FINAL = "look", "final"
PAIRS = (  # name: package
    {"captcha": "captcha", "django": "django-simple-captcha"},  # Python's most used
    {"better": "bettercaptcha", "wheezy": "wheezy.captcha"},  # warped
    {"svg": "svg-captcha", "ppfun": "ppfun-captcha"},  # outlines and strokes, transparent
    {"gd": "GD::SecurityImage", "gregwar": "gregwar"},  # libgd: lines, specks
    {"captchagen": "captchagen", "easy": "easy-captcha-python"},  # show fonts, many colours
    {"deep": "deepcaptcha", "light": "light-captcha"},  # large, thick strokes
)
RUN_BY = {".js": "node", ".php": "php", ".pl": "perl"}
NEEDS = {
    ".py": "PyPI, for the packages in its head",
    ".js": "Node.js, and npm ci --prefix benchmarks/captcha_portals/makers",
    ".php": "apt-get install php-cli php-gd php-gregwar-captcha",
    ".pl": "apt-get install libgd-securityimage-perl fonts-dejavu-core ttf-bitstream-vera",
}


class MakerError(RuntimeError):
    """A maker that did not draw, with its own words and what it needs."""


@dataclass(frozen=True)
class Portal:
    """A maker and the half of the comparison that it is in."""

    name: str
    half: str
    command: tuple[str, ...]
    needs: str


def portals(half: str) -> dict[str, Portal]:
    """The portals of a half, by name."""
    place = (LOOK, FINAL).index(half)
    names = [_by_chance(pair)[place] for pair in PAIRS]
    return {name: _portal(name, half) for name in names}


def _by_chance(pair: dict[str, str]) -> list[str]:
    return sorted(pair, key=lambda name: crc32(pair[name].encode()))


def _portal(name: str, half: str) -> Portal:
    (program,) = MAKERS.glob(f"draw_{name}.*")
    uv = str(Path(sys.executable).with_name("uv"))
    by = (
        (RUN_BY[program.suffix],) if program.suffix in RUN_BY else (uv, "run", "-q", "--no-project")
    )
    return Portal(name, half, (*by, str(program)), NEEDS[program.suffix])


def labels(portal: str, count: int, seed: int) -> list[str]:
    """Six digits each, drawn evenly; as good as no label is there twice."""
    rng = random.Random(crc32(portal.encode()) + seed)
    return [f"{rng.randrange(10**6):06}" for _ in range(count)]


def draw(portal: Portal, folder: Path, count: int, seed: int) -> Path:
    """Has `count` labelled images of the portal in the folder, drawn now if they are not there.

    Raises MakerError if the maker fails.
    """
    if folder.is_dir() and sum(1 for _ in folder.glob("*.png")) >= count:
        return folder
    unfinished = folder.with_name(f"{folder.name}.part")
    rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        done = subprocess.run(
            [*portal.command, str(unfinished), str(seed)],
            input="\n".join(labels(portal.name, count, seed)) + "\n",
            capture_output=True,
            text=True,
        )
        reason = done.stderr.strip().rpartition("\n")[2]
    except FileNotFoundError as error:
        raise MakerError(f"{portal.name}: no {error.filename}; {portal.needs}") from error
    drawn = sum(1 for _ in unfinished.glob("*.png"))
    if done.returncode or drawn != count:
        raise MakerError(f"{portal.name}: {drawn} of {count} images, {reason}; {portal.needs}")
    rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)
    return folder
