"""Where and with what figures were measured, for the reports that publish them."""

import os
import platform
import shlex
import sys
from importlib.metadata import version
from pathlib import Path


def machine() -> dict[str, str | int]:
    """The processor, the cores this process may use, and the versions that matter."""
    return {
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        **{name: version(name) for name in ("openvino", "numpy", "tritonclient")},
    }


def command() -> str:
    """The command line of this process, its paths cut to their names."""
    words = [Path(word).name if word.startswith("/") else word for word in sys.orig_argv[1:]]
    return shlex.join(["python", *words])


def cpu_model() -> str:
    """The processor's name as Linux gives it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()
