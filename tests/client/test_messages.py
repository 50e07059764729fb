"""Requests as tritonclient takes them, and records of replies."""

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http

from countersign import Detection, Detections, Refused
from countersign.messages import detect_arguments, to_detections, to_reading


class Reply(dict):
    def as_numpy(self, name):
        return self[name]


PAGE = Reply(
    boxes=np.array([[1, 2, 3, 4], [5, 6, 7, 8.5]], np.float32),
    scores=np.array([0.75, 0.5], np.float32),
    labels=np.array([b"stamp", b"signature"], np.object_),
    page_size=np.array([1240, 1754], np.int32),
)
CAPTCHA = Reply(
    text=np.array([b"012345"], np.object_),
    confidence=np.array([0.75], np.float32),
    digit_confidence=np.array([1, 1, 1, 1, 1, 0.75], np.float32),
)


@pytest.mark.parametrize("triton", [tritonclient.grpc, tritonclient.http], ids=["grpc", "http"])
@pytest.mark.parametrize(
    ("settings", "parameters"),
    [
        ({}, {}),
        ({"confidence": 0}, {"confidence": 0.0}),
        ({"confidence": {"stamp": 1, "signature": 0.5}},
         {"confidence_stamp": 1.0, "confidence_signature": 0.5}),
        ({"confidence": np.float32(0.5), "iou": np.float64(0.25)},
         {"confidence": 0.5, "iou": 0.25}),
        ({"max_detections": np.int64(3)}, {"max_detections": 3}),
    ],
)  # fmt: skip
def test_settings_become_parameters_of_the_types_that_the_server_takes(
    triton, settings, parameters
):
    sent = detect_arguments(triton, b"image", **settings)["parameters"]
    assert sent == parameters
    assert [type(value) for value in sent.values()] == [type(v) for v in parameters.values()]


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"confidence": "high"}, "confidence: 'high', expected a number"),
        ({"confidence": {"stamp": None}}, "confidence of stamp: None, expected a number"),
        ({"iou": [0.5]}, r"iou: \[0.5\], expected a number"),
        ({"max_detections": 2.5}, "max_detections: 2.5, expected a whole number"),
    ],
)
def test_settings_of_other_types_are_refused_by_name(settings, reason):
    with pytest.raises(Refused, match=reason):
        detect_arguments(tritonclient.grpc, b"image", **settings)


def test_a_page_reply_becomes_detections():
    detections = to_detections(PAGE)
    assert detections.page_size == (1240, 1754)
    assert detections.labels == ("stamp", "signature")
    assert len(detections) == 2
    assert list(detections) == [
        Detection((1, 2, 3, 4), 0.75, "stamp"),
        Detection((5, 6, 7, 8.5), 0.5, "signature"),
    ]


def test_no_detection_is_an_empty_record():
    nothing = Detections(np.empty((0, 4), np.float32), np.empty(0, np.float32), (), (10, 10))
    assert list(nothing) == []


@pytest.mark.parametrize(("min_confidence", "certain"), [(0.75, True), (0.76, False), (None, None)])
def test_a_reading_is_certain_from_the_operating_point_on(min_confidence, certain):
    assert to_reading(CAPTCHA, min_confidence).certain is certain


def test_a_captcha_reply_becomes_a_reading():
    reading = to_reading(CAPTCHA, None)
    assert reading.text == "012345"
    assert reading.confidence == 0.75
    assert reading.digit_confidence == (1, 1, 1, 1, 1, 0.75)
