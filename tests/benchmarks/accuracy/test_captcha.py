import io
import time

import cv2
import numpy as np
import pytest
from PIL import Image

from benchmarks.accuracy.captcha import (
    SHIFTS,
    Answer,
    ask,
    calibration_error,
    measure,
    reliability,
    summary,
)
from countersign import Client, Reading
from training.captcha.generate import write
from training.captcha.images import named_labels


def reading(text, confidence=0.99, certain=True):
    return Reading(text, confidence, (confidence,) * 6, certain, 0.9)


def decoded(file):
    return cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR)


@pytest.fixture
def page():
    """White with one black pixel at x 100, y 25."""
    image = np.full((50, 200, 3), 255, np.uint8)
    image[25, 100] = 0
    return image


def test_clean_sends_the_pixels_as_they_are(page):
    np.testing.assert_array_equal(decoded(SHIFTS["clean"](page)), page)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("5 px right", (25, 105)),
        ("5 px left", (25, 95)),
        ("5 px down", (30, 100)),
        ("5 px up", (20, 100)),
    ],
)
def test_five_pixels_are_five_pixels(page, name, place):
    dark = np.argwhere(decoded(SHIFTS[name](page)).max(axis=2) == 0)
    assert dark.tolist() == [list(place)]


@pytest.mark.parametrize(("name", "size"), [("scale 1.5", (300, 75)), ("scale 0.75", (150, 38))])
def test_a_scale_changes_the_size_that_is_sent(page, name, size):
    assert Image.open(io.BytesIO(SHIFTS[name](page))).size == size


def test_a_jpeg_is_a_jpeg_of_quality_40(page):
    sent = Image.open(io.BytesIO(SHIFTS["JPEG quality 40"](page)))
    assert sent.format == "JPEG"
    assert sent.quantization[0][0] == 20  # libjpeg's 16 at quality 50, times 50 / 40


def test_contrast_draws_values_towards_the_middle(page):
    found = decoded(SHIFTS["contrast 0.5"](page))
    assert found[0, 0].tolist() == [192] * 3  # 128 + 127 / 2, rounded to even
    assert found[25, 100].tolist() == [64] * 3


def test_the_colour_cast_takes_from_blue(page):
    assert decoded(SHIFTS["colour cast"](page))[0, 0].tolist() == [191, 255, 255]  # BGR


def test_a_summary_counts_wrong_answers_apart_from_abstentions():
    answers = [
        Answer("123456", reading("123456"), 1.0),
        Answer("123456", reading("123457"), 2.0),  # a wrong answer
        Answer("123456", reading("999999", 0.2, certain=False), 3.0),  # wrong, but not given
        Answer("123456", reading("123456", 0.5, certain=False), 9.0),
    ]
    assert summary(answers) == {
        "images": 4,
        "exact_match": 0.5,
        "digit_accuracy": pytest.approx((6 + 5 + 0 + 6) / 24),
        "abstained": 0.5,
        "right_of_answered": 0.5,
        "wrong_answers": 1,
        "latency_p50_ms": 2.5,
    }


def test_reliability_is_the_share_right_in_each_bin():
    confidence = np.array([0.05, 0.91, 0.93, 0.95, 1.0])
    rows = reliability(confidence, np.array([False, True, True, False, True]))
    assert [row["count"] for row in rows] == [1, 4]
    assert rows[1]["confidence"] == pytest.approx(0.9475)
    assert rows[1]["right"] == 0.75
    assert calibration_error(rows) == pytest.approx((0.05 + 4 * (0.9475 - 0.75)) / 5)


def test_an_answer_keeps_its_label_and_takes_time():
    def read(image: bytes) -> Reading:
        time.sleep(0.02)
        return reading(image.decode())

    answer = ask(read, "123456", b"654321")
    assert (answer.label, answer.reading.text) == ("123456", "654321")
    assert answer.latency_ms >= 20


def test_the_server_reads_generated_images_in_every_shift(server, tmp_path):
    write(tmp_path, "plain", count=4, seed=11)
    labels = {tmp_path / name: label for name, label in named_labels(tmp_path).items()}
    with Client(server.grpc_url) as client:
        answers = measure(client.read, labels)
    assert list(answers) == list(SHIFTS)
    for of_set in answers.values():
        assert [answer.label for answer in of_set] == list(labels.values())
    assert summary(answers["clean"])["exact_match"] == 1
