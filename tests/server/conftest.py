"""What tests of the server share."""

import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

from server.settings import ROOT


@pytest.fixture(scope="session")
def captcha_repository(tmp_path_factory) -> Path:
    """The CAPTCHA models alone, which start faster."""
    repository = tmp_path_factory.mktemp("repository")
    for model in (ROOT / "model_repository").glob("captcha_*"):
        shutil.copytree(model, repository / model.name)
    return repository


def misread(version: Path) -> None:
    """Lets a reader's version answer wrongly, whose files are right but for their digests: no
    weights in the layer that tells digits apart (10 by hidden units).
    """
    graph = ElementTree.parse(version / "model.xml")
    (layer,) = (data for data in graph.iter("data") if data.get("shape") == "10, 128")
    begin, size = int(layer.attrib["offset"]), int(layer.attrib["size"])
    weights = bytearray((version / "model.bin").read_bytes())
    weights[begin : begin + size] = bytes(size)
    (version / "model.bin").write_bytes(weights)


def processes_of(group: int) -> list[str]:
    """Command lines of the living processes in a process group."""
    return [args for _, args in pids_of(group)]


def pids_of(group: int) -> list[tuple[int, str]]:
    """Process id and command line of each living process in a process group."""
    command = ["ps", "-ww", "-eo", "pgid,pid,stat,args"]
    rows = subprocess.run(command, capture_output=True, text=True).stdout.splitlines()[1:]
    fields = [row.split(None, 3) for row in rows]
    return [
        (int(pid), args)
        for pgid, pid, stat, args in fields
        if pgid == str(group) and not stat.startswith("Z")
    ]


def leftovers(folder: Path) -> list[Path]:
    """What is left of a server's temporary folder and shared memory."""
    return [*Path("/dev/shm").glob(f"{folder.name}*"), *folder.parent.glob(folder.name)]
