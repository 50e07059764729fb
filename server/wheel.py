"""Where tritonserver and what it needs lie: in the wheel nvidia-pytriton, or in a folder."""

import ctypes
import os
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from server.settings import ROOT, ServerError

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


@dataclass(frozen=True)
class Wheel:
    """The pieces of nvidia-pytriton that make a server, without PyTriton's own Python."""

    binary: Path
    python_backend: Path  # folder with libtriton_python.so and triton_python_backend_utils.py
    stub: Path  # of the running Python's version
    library_path: list[Path]  # for LD_LIBRARY_PATH: the wheel's libraries and libpython

    def lay_out_backends(self, folder: Path) -> Path:
        """Makes `folder`, tritonserver's --backend-directory: python, and this project's stand-ins.

        Copies, since tritonserver refuses a link that leads out of that directory. Raises
        ServerError if nothing may be started from there.
        """
        shutil.copytree(ROOT / "backends", folder)
        shutil.copytree(self.python_backend, folder / "python")
        stub = Path(shutil.copy2(self.stub, folder / "python"))
        if not os.access(stub, os.X_OK):
            raise ServerError(
                f"{folder.parent}: no program can be started there (mounted noexec?); "
                "TMPDIR names another folder"
            )
        return Path(folder.name)


@dataclass(frozen=True)
class Installed:
    """A tritonserver with backends of its own, among them python and openvino."""

    folder: Path
    library_path: tuple[Path, ...] = ()  # the loader knows

    @property
    def binary(self) -> Path:
        return self.folder / "bin" / "tritonserver"

    def lay_out_backends(self, folder: Path) -> Path:
        """tritonserver's --backend-directory: its own; `folder` is not needed."""
        return self.folder / "backends"


def find_tritonserver(folder: Path | None) -> "Wheel | Installed":
    """That of `folder`, else of the wheel. Raises ServerError if there is none, with the remedy."""
    if folder is None:
        return find_wheel()
    for part in ("bin/tritonserver", "backends/python", "backends/openvino"):
        if not (folder / part).exists():
            raise ServerError(f"--triton: {folder / part} is missing")
    return Installed(folder.resolve())


def find_wheel(version: str = PYTHON) -> Wheel:
    """The installed wheel's pieces for a Python `version`, as 3.11.

    Raises ServerError if one is missing, with the remedy.
    """
    spec = find_spec("pytriton")
    if spec is None or not spec.submodule_search_locations:
        raise ServerError(
            f"nvidia-pytriton is not installed in {sys.prefix}: it carries tritonserver; "
            "pip install --no-deps -r requirements/triton.txt"
        )
    package = Path(spec.submodule_search_locations[0])
    triton = package / "tritonserver"
    stubs = triton / "python_backend_stubs"
    stub = stubs / version / "triton_python_backend_stub"
    if not stub.exists():
        known = ", ".join(sorted(path.name for path in stubs.iterdir()))
        raise ServerError(f"Python {version} has no Triton stub; Pythons with one: {known}")
    return Wheel(
        triton / "bin" / "tritonserver",
        triton / "backends" / "python",
        stub,
        [package.parent / "nvidia_pytriton.libs", *libpython_dirs(version)],
    )


def libpython_dirs(version: str) -> list[Path]:
    """Where the running version's libpython lies, [] if the loader knows; else ServerError."""
    name = f"libpython{version}.so.1.0"
    for folder in (sysconfig.get_config_var("LIBDIR"), Path(sys.base_prefix) / "lib"):
        if folder and (Path(folder) / name).exists():
            return [Path(folder)]
    try:
        ctypes.CDLL(name)
    except OSError:
        raise ServerError(
            f"{name} not found: Triton's Python stub needs Python as a shared library. "
            f"On Debian and Ubuntu: apt-get install libpython{version}; "
            "with pyenv: PYTHON_CONFIGURE_OPTS=--enable-shared pyenv install"
        ) from None
    return []
