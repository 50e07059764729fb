"""Each reason why tritonserver cannot be found."""

import pytest

from server.settings import ServerError
from server.wheel import find_wheel, libpython_dirs


def test_a_python_without_a_stub_is_told_which_have_one():
    with pytest.raises(
        ServerError, match=r"Python 3\.99 has no Triton stub; .*3\.10, 3\.11, 3\.12"
    ):
        find_wheel("3.99")


def test_a_python_without_its_shared_library_is_told_how_to_get_it():
    with pytest.raises(ServerError, match=r"libpython3\.99\.so\.1\.0 not found.*apt-get install"):
        libpython_dirs("3.99")
