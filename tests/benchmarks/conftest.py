from pathlib import Path

import pytest

from benchmarks.speed.make_corpus import write


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of one file of three kinds."""
    folder = tmp_path_factory.mktemp("corpus")
    write(folder, files=1, kinds=("a4_150_jpeg", "a4_300_tiff", "captcha"))
    return folder
