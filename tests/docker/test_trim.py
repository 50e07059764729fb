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
binutils = pytest.mark.skipif(
    not all(map(shutil.which, ("nm", "as", "ld"))), reason="needs nm, as and ld, of binutils"
)


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the images have Python 3.11")
@pytest.mark.parametrize("pattern", [*OF_WHEELS, *trim.STRIPPED])
def test_the_wheels_have_what_the_images_leave_out(pattern):
    assert trim.files(SITE, pattern)


@pytest.mark.parametrize("library", trim.HOLLOWED)
def test_the_wheels_have_what_the_images_make_hollow_and_its_user(library):
    assert trim.one(SITE, library).is_file()
    assert trim.one(SITE, trim.HOLLOWED[library]).is_file()


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
    for pattern, user in trim.HOLLOWED.items():
        if user.startswith("cv2"):
            trim.hollow(trim.one(tmp_path, pattern), trim.one(tmp_path, user))
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
