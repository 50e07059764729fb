import json
import stat

import pytest

from countersign import Reading, Refused
from countersign.cli import main
from countersign.readings import keep, mark
from training.captcha.images import named_labels

PNG = b"\x89PNG of a CAPTCHA"
GIF = b"GIF89a of another"


def reading(text="001234", certain=True):
    return Reading(text, 0.875, (0.875, *(1.0,) * 5), certain, 0.75)


def record_of(folder, suffix):
    """What is kept beside the one image of that suffix."""
    (image,) = folder.glob(f"*{suffix}")
    return json.loads(image.with_suffix(".reading.json").read_text())


@pytest.fixture
def log(tmp_path):
    folder = tmp_path / "log"
    keep(folder, PNG, reading())
    keep(folder, GIF, reading("999999", certain=False))
    return folder


def test_image_and_reading_are_kept_for_their_owner_alone(log):
    assert stat.S_IMODE(log.stat().st_mode) == 0o700
    files = list(log.iterdir())
    assert len(files) == 4
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    record = record_of(log, ".png")
    assert (log / record["file"]).read_bytes() == PNG
    assert (record["text"], record["certain"], record["threshold"]) == ("001234", True, 0.75)
    assert record["digit_confidence"] == [0.875, 1, 1, 1, 1, 1]
    assert "outcome" not in record


def test_right_answers_are_labels_and_wrong_ones_are_not(log):
    mark(log, PNG, right=True)
    mark(log, GIF, right=False)
    assert named_labels(log) == {record_of(log, ".png")["file"]: "001234"}
    assert record_of(log, ".gif")["outcome"] == "wrong"


def test_what_a_person_reads_of_a_wrong_answer_is_a_label(log):
    mark(log, GIF, right=False, text="099999")
    assert named_labels(log) == {record_of(log, ".gif")["file"]: "099999"}
    mark(log, GIF, right=False)  # the last outcome counts
    with pytest.raises(ValueError, match="2 readings, none has an outcome that is a label"):
        named_labels(log)


def test_an_image_that_comes_again_keeps_its_outcome(log):
    mark(log, PNG, right=True)
    keep(log, PNG, reading("555555"))
    assert record_of(log, ".png")["label"] == "001234"


def test_an_image_that_was_not_kept_has_no_outcome(log):
    with pytest.raises(Refused, match="it was not read with --log"):
        mark(log, b"GIF89a, never seen", right=True)


def test_a_write_that_fails_leaves_what_was_there(log, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    before = {path: path.read_bytes() for path in log.iterdir()}
    monkeypatch.setattr("countersign.readings.os.replace", full)
    with pytest.raises(OSError, match="No space left"):
        mark(log, PNG, right=True)
    assert {path: path.read_bytes() for path in log.iterdir()} == before


def test_the_command_marks_files_by_their_content(log, tmp_path, capsys):
    image = tmp_path / "captcha.png"
    image.write_bytes(PNG)
    assert main(["outcome", "--log", str(log), "right", str(image)]) == 0
    assert record_of(log, ".png")["outcome"] == "right"
    assert main(["outcome", "--log", str(log), "--text", "123456", "wrong", str(image)]) == 0
    assert record_of(log, ".png")["label"] == "123456"
    image.write_bytes(b"\x89PNG of a third")
    assert main(["outcome", "--log", str(log), "right", str(image), "absent.png"]) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert "captcha.png: not in" in first
    assert "absent.png: No such file or directory" in second


@pytest.mark.parametrize(
    "words", [["--text", "1234", "right", "a.png"], ["--text", "1234", "wrong", "a.png", "b.png"]]
)
def test_a_text_is_that_of_one_wrong_answer(log, words, capsys):
    assert main(["outcome", "--log", str(log), *words]) == 2
    assert "--text: only of one file whose answer was wrong" in capsys.readouterr().err
