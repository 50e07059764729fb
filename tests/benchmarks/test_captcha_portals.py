import json
import re
import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from benchmarks.captcha_portals import calibration
from benchmarks.captcha_portals import portals as makers
from benchmarks.captcha_portals.__main__ import (
    START,
    chosen,
    figures,
    mean,
    means,
    sample,
    table,
    wrong_share,
)
from benchmarks.captcha_portals.portals import FINAL, LOOK, MakerError, Portal, draw, portals
from countersign import Reading
from inprocess.repository import REPOSITORY
from server.settings import SAMPLES
from training.captcha import generate
from training.captcha.images import load
from training.captcha.model import load as load_reader
from training.captcha.model import restructured, save
from training.captcha.train import HELD_OUT, logits_of

MAKER = """
import sys
from pathlib import Path
for index, label in enumerate(sys.stdin.read().split()):
    (Path(sys.argv[1]) / f"{label}_{index}.png").write_bytes(label.encode())
"""


@pytest.fixture
def portal(tmp_path):
    (tmp_path / "maker.py").write_text(MAKER)
    return Portal("made up", LOOK, (sys.executable, str(tmp_path / "maker.py")), "nothing")


def row(portal, right, answers, wrong, images=250, asked=100):
    shares = {"right": right, "answered": answers / asked}
    return {"portal": portal, "images": images, "answers": answers, "wrong": wrong} | shares


def test_of_each_pair_one_is_for_looking_and_one_for_the_figures_alone():
    look, final = portals(LOOK), portals(FINAL)
    assert len(look) == len(final) == 6
    assert not look.keys() & final.keys()
    for pair in makers.PAIRS:
        assert len(pair.keys() & look.keys()) == len(pair.keys() & final.keys()) == 1
    assert "captcha" in look  # CRC-32 605374437, django-simple-captcha's is 3418882777
    assert "wheezy" in final  # 1937096755, bettercaptcha's is 562822273


def test_every_package_of_a_maker_is_pinned():
    for program in makers.MAKERS.glob("draw_*.py"):
        head = re.search(r"# dependencies = \[(.*?)\]", program.read_text(), re.DOTALL)
        assert head, program
        for package in re.findall(r'"([^"]+)"', head[1]):
            assert re.fullmatch(r"[\w.-]+==[\d.]+", package), program
    npm = json.loads((makers.MAKERS / "package.json").read_text())["dependencies"]
    assert all(re.fullmatch(r"[\d.]+", version) for version in npm.values())


def test_a_portals_labels_are_six_digits_from_a_seed():
    few = makers.labels("made up", 200, 0)
    assert few == makers.labels("made up", 300, 0)[:200]
    assert few != makers.labels("made up", 200, 1)
    assert all(re.fullmatch("[0-9]{6}", label) for label in few)
    assert any(label.startswith("0") for label in few)


def test_images_are_drawn_once(portal, tmp_path):
    folder = draw(portal, tmp_path / "images", 5, 0)
    drawn = sorted(path.name for path in folder.iterdir())
    assert drawn == sorted(
        f"{label}_{index}.png" for index, label in enumerate(makers.labels("made up", 5, 0))
    )
    (folder / drawn[0]).write_bytes(b"as it was")
    assert (draw(portal, folder, 5, 0) / drawn[0]).read_bytes() == b"as it was"


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ((sys.executable, "-c", "raise ValueError('no font')"), "0 of 5 images, .*no font"),
        ((sys.executable, "-c", ""), "0 of 5 images"),
        (("a-program-that-is-not-there",), "no a-program-that-is-not-there"),
    ],
)
def test_a_maker_that_fails_is_told_with_what_it_needs(tmp_path, program, reason):
    broken = Portal("broken", LOOK, program, "apt-get install it")
    with pytest.raises(MakerError, match=f"broken: {reason}.*; apt-get install it"):
        draw(broken, tmp_path / "images", 5, 0)
    assert not (tmp_path / "images").exists()


def test_a_seeds_images_are_others_of_the_same_folder(portal, tmp_path):
    folder = draw(portal, tmp_path / "images", 40, 0)
    first, second = (chosen(folder, 10, seed, tmp_path / f"seed{seed}") for seed in (0, 1))
    names = [{path.name for path in few.iterdir()} for few in (first, second)]
    assert len(names[0]) == len(names[1]) == 10
    assert names[0] != names[1]
    for path in first.iterdir():
        assert path.read_bytes() == (folder / path.name).read_bytes()


def test_figures_count_what_was_right_answered_and_wrongly_answered(tmp_path):
    for label in ("000001", "000002", "000003", "000004"):
        Image.fromarray(np.zeros((5, 5), np.uint8)).save(tmp_path / f"{label}.png")
    readings = iter(
        [
            Reading("000001", 0.9, (1,), True, 0.8),
            Reading("000002", 0.5, (1,), False, 0.8),  # right, not answered
            Reading("999999", 0.4, (1,), False, 0.8),
            Reading("999999", 0.9, (1,), True, 0.8),
        ]
    )
    found = figures(lambda image: next(readings), tmp_path, 4)
    assert (found["right"], found["answered"]) == (0.5, 0.5)
    assert (found["asked"], found["answers"], found["wrong"]) == (4, 2, 1)


def test_portals_weigh_the_same_however_many_seeds_they_have():
    rows = [row("a", 1.0, 100, 0), row("a", 0.9, 80, 2), row("b", 0.5, 20, 0)]
    of_all = mean(rows)
    assert (of_all["right"], of_all["answered"]) == pytest.approx((0.725, 0.55))
    assert of_all["wrong among answered"]["wrong"] == 2
    assert of_all["wrong among answered"]["share"] == pytest.approx(0.01)
    found = means([*rows, row("a", 0.3, 1, 0, images=0)])
    assert list(found) == ["0", "250"]
    assert list(found["250"]) == ["a", "b", "all"]
    assert found["250"]["a"]["right"] == pytest.approx(0.95)


def test_none_wrong_of_300_may_still_be_one_in_82():
    found = wrong_share([row("a", 1, 100, 0), row("b", 1, 200, 0)])
    low, high = found["interval"]
    assert low == 0
    assert high == pytest.approx(1 - 0.025 ** (1 / 300))  # by hand: (1 - p) ** 300 = 0.025
    assert wrong_share([row("a", 0.2, 0, 0)])["interval"] == [0, 1]


def test_the_table_has_a_row_for_each_portal_and_one_for_all():
    text = table(means([row("a", 0.975, 90, 1), row("b", 0.5, 10, 0)]))
    lines = text.splitlines()
    assert len(lines) == 2 + 3
    assert lines[2].startswith("| 250 | a | 97.50% | 90.00% | 1.111% (")
    assert lines[4].startswith("| 250 | all | 73.75% | 50.00% | 1.000% (")


def test_the_sample_is_one_that_the_reader_reads_right(tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for name in ("000000.png", "265649.png"):
        shutil.copy(SAMPLES / "captcha_plain.png", images / name)
    folder = sample(images, REPOSITORY, tmp_path / "samples")
    assert json.loads((folder / "captchas.json").read_text()) == {"265649.png": "265649"}
    assert sorted(path.name for path in folder.iterdir()) == ["265649.png", "captchas.json"]
    (images / "265649.png").unlink()
    with pytest.raises(RuntimeError, match="not one of the images"):
        sample(images, REPOSITORY, tmp_path / "none")


def test_a_readers_calibration_is_told_from_the_images_it_did_not_see(tmp_path):
    pool = tmp_path / "pool"
    pool.mkdir()
    for index in range(80):
        pixels, text = generate.sample("plain", 5, index)
        Image.fromarray(pixels).save(pool / f"{text}_{index}.png")
    seen = load(chosen(pool, 30, 0, tmp_path / "images"))
    reader = restructured(load_reader(START), 6, "0123456789")
    (tmp_path / "run").mkdir()
    save(reader, tmp_path / "run" / "best.pt")
    np.savez(tmp_path / "run" / HELD_OUT, logits=logits_of(reader, seen.pixels), labels=seen.labels)
    row = calibration.measured(tmp_path, pool)
    assert row["others"] == 50
    assert row["right"] >= 0.96
    assert row["slope"] > 0  # the surer, the more often right
    assert row["answered at 0.9995"] <= row["answered at 0.995"]
    assert row["wrong at 0.9995"] == 0
