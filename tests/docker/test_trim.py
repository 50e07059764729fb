"""What docker/trim.py takes out of an image is in the wheels; what links a hollow library loads."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from docker import trim

SITE = Path(cv2.__file__).resolve().parents[1]
OF_WHEELS = [pattern for pattern in trim.REMOVED if not re.match(r"pip|_?distutils", pattern)]
OF_WHEELS = [pattern for pattern in OF_WHEELS if pattern not in trim.BUILT_WITH]
ELSEWHERE = (
    "cv2/cv2.abi3.so",
    "pytriton/tritonserver/backends/python/libtriton_python.so",
    "pytriton/tritonserver/bin/tritonserver",
    f"pytriton/tritonserver/python_backend_stubs/{trim.PYTHON}/triton_python_backend_stub",
)
binutils = pytest.mark.skipif(
    not all(map(shutil.which, ("nm", "as", "ld", "readelf"))), reason="needs binutils"
)


def linked(program: Path) -> list[str]:
    """The names of the libraries that it asks the loader for."""
    told = subprocess.check_output(["readelf", "--dynamic", "--wide", program], text=True)
    return re.findall(r"\(NEEDED\).*\[(.+)\]", told)


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the images have Python 3.11")
@pytest.mark.parametrize("pattern", [*OF_WHEELS, *trim.STRIPPED])
def test_the_wheels_have_what_the_images_leave_out(pattern):
    assert trim.files(SITE, pattern)


@binutils
def test_whoever_stays_finds_what_it_links():
    """A library that was removed, or is hollow to another, would end it at its start, or later."""
    replaced = {trim.one(SITE, each) for each in (*trim.HOLLOWED, *trim.OF_THE_BASE)}
    gone = {path for each in OF_WHEELS for path in trim.files(SITE, each)}
    links: dict[str, list[Path]] = {}
    for pattern in ("nvidia_pytriton.libs/*", "opencv_python_headless.libs/*", *ELSEWHERE):
        for path in set(trim.files(SITE, pattern)) - replaced - gone:
            for name in linked(path):
                links.setdefault(name, []).append(path)
    assert not links.keys() & {path.name for path in gone}
    for library, users in trim.HOLLOWED.items():
        found = links[trim.one(SITE, library).name]
        assert sorted(found) == sorted(trim.one(SITE, user) for user in users), library


def test_a_file_that_a_newer_wheel_lacks_is_named_and_nothing_is_changed(tmp_path):
    kept = tmp_path / "cv2" / "data" / "face.xml"  # the first of the list is there, the next is not
    kept.parent.mkdir(parents=True)
    kept.touch()
    done = subprocess.run(
        [sys.executable, trim.__file__, tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert trim.REMOVED[1] in done.stderr
    assert kept.exists()


@binutils
def test_opencv_resizes_the_same_on_hollow_libraries(tmp_path):
    """The images' OpenCV: all that it links but does not call for this is gone."""
    for name in ("cv2", "opencv_python_headless.libs"):
        shutil.copytree(SITE / name, tmp_path / name)
    for pattern, users in trim.HOLLOWED.items():
        if users == [trim.CV2]:
            trim.hollow(trim.one(tmp_path, pattern), [trim.one(tmp_path, trim.CV2)])
    page = np.random.default_rng(7).integers(0, 256, (90, 70, 3), np.uint8)
    code = (
        "import sys, cv2, numpy as np; assert cv2.__file__.startswith(sys.argv[1]);"
        "page = np.frombuffer(sys.stdin.buffer.read(), np.uint8).reshape(90, 70, 3);"
        "sys.stdout.buffer.write(cv2.resize(page, (31, 40), interpolation=cv2.INTER_AREA).data)"
    )
    resized = subprocess.check_output(
        [sys.executable, "-c", code, str(tmp_path)],
        input=page.tobytes(),
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )
    assert resized == cv2.resize(page, (31, 40), interpolation=cv2.INTER_AREA).tobytes()
    blas = trim.one(tmp_path, "opencv_python_headless.libs/libopenblas-*")
    assert (
        blas.stat().st_size
        < trim.one(SITE, "opencv_python_headless.libs/libopenblas-*").stat().st_size / 100
    )
