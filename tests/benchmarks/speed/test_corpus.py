import io

import numpy as np
import pytest
from PIL import Image

from benchmarks.speed.corpus import SHARES, Box, Sample, drawn, load, mistake, save
from benchmarks.speed.make_corpus import DRAWN, expected, write
from countersign import Client, Detections, Reading

SURE = Box("stamp", 0.9, (0, 0, 100, 100), sure=True)
MAYBE = Box("signature", 0.45, (200, 0, 300, 50), sure=False)
PAGE = Sample("page.jpg", "page_640", boxes=(SURE, MAYBE))


def answer(*rows: tuple[str, float, list[float]]) -> Detections:
    boxes = np.array([row[2] for row in rows], np.float32).reshape(-1, 4)
    scores = np.array([row[1] for row in rows], np.float32)
    return Detections(boxes, scores, tuple(row[0] for row in rows), (640, 640))


def test_the_shares_make_a_whole():
    assert sum(SHARES.values()) == pytest.approx(1)
    assert set(DRAWN) == set(SHARES)


@pytest.mark.parametrize(
    "found",
    [
        answer(("stamp", 0.87, [2, 0, 100, 100])),  # the unsure one may be missing
        answer(("stamp", 0.9, [0, 0, 100, 100]), ("signature", 0.48, [200, 0, 300, 50])),
    ],
)
def test_an_answer_within_the_tolerance_is_right(found):
    assert mistake(PAGE, found) == ""


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (answer(), "no stamp 0.90"),
        (answer(("signature", 0.9, [0, 0, 100, 100])), "none expected"),
        (answer(("stamp", 0.8, [0, 0, 100, 100])), "none expected"),  # a score off by 0.1
        (answer(("stamp", 0.9, [30, 0, 130, 100])), "none expected"),  # overlap 70 / 130
        (
            answer(("stamp", 0.9, [0, 0, 100, 100]), ("stamp", 0.6, [400, 400, 500, 500])),
            "stamp 0.60 at",
        ),
    ],
)
def test_a_wrong_answer_is_told(found, words):
    assert words in mistake(PAGE, found)


def test_digits_must_be_exact():
    captcha = Sample("captcha.png", "captcha", text="482913")
    assert mistake(captcha, Reading("482913", 0.9, (0.9,) * 6, True, 0.8)) == ""
    wrong = mistake(captcha, Reading("482910", 0.9, (0.9,) * 6, True, 0.8))
    assert wrong == "captcha.png: read 482910, expected 482913"


def test_boxes_near_the_threshold_need_not_be_found():
    labels = np.array(["stamp", "stamp"], np.object_)
    found = {"boxes": np.zeros((2, 4)), "scores": np.array([0.52, 0.46]), "labels": labels}
    assert [box.sure for box in expected(found, {"stamp": 0.45})] == [True, False]


def test_the_mix_keeps_its_shares():
    samples = [Sample(kind, kind) for kind in SHARES]
    order = drawn(samples, seed=1)
    kinds = [next(order).kind for _ in range(5000)]
    for kind, share in SHARES.items():
        assert kinds.count(kind) / 5000 == pytest.approx(share, abs=0.03)


def test_samples_come_back_from_the_folder(tmp_path):
    captcha = Sample("captcha.png", "captcha", text="482913")
    save(tmp_path, [PAGE, captcha])
    assert load(tmp_path) == [PAGE, captcha]
    assert load(tmp_path, "captcha") == [captcha]
    with pytest.raises(ValueError, match=r"no sample of kind 'phone_12mp'"):
        load(tmp_path, "phone_12mp")


def test_files_have_the_size_and_form_of_their_kind(corpus):
    by_kind = {sample.kind: Image.open(corpus / sample.name) for sample in load(corpus)}
    page, fax = by_kind["a4_150_jpeg"], by_kind["a4_300_tiff"]
    assert (page.format, page.height) == ("JPEG", 1754)  # 297 mm at 150 dpi
    assert (fax.format, fax.mode, fax.height) == ("TIFF", "1", 3508)
    assert by_kind["captcha"].size == (200, 50)


def test_a_phone_photo_is_stored_sideways_and_has_twelve_megapixels():
    photo = Image.open(io.BytesIO(DRAWN["phone_12mp"][1](0, 0)))
    assert photo.size == (4000, 3000)
    assert photo.getexif()[0x0112] == 6


def test_the_server_answers_as_expected(corpus, server):
    with Client(server.grpc_url) as client:
        for sample in load(corpus):
            image = (corpus / sample.name).read_bytes()
            ask = client.read if sample.kind == "captcha" else client.detect
            assert mistake(sample, ask(image)) == ""
            assert sample.text or any(box.sure for box in sample.boxes)


def test_files_stay_and_answers_are_made_anew(corpus):
    kinds = [sample.kind for sample in load(corpus)]
    before = {path.name: path.stat().st_mtime_ns for path in corpus.glob("*_*")}
    (corpus / "corpus.json").unlink()
    write(corpus, files=1, kinds=kinds)
    assert {path.name: path.stat().st_mtime_ns for path in corpus.glob("*_*")} == before
    assert {sample.kind for sample in load(corpus)} == set(kinds)
