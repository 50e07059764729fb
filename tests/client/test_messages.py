"""Settings become request parameters, replies become records."""

import numpy as np
import pytest

from countersign import Detection, Detections, Model, Refused
from countersign.messages import (
    detect_parameters,
    to_detections,
    to_models,
    to_reading,
    to_versions,
)


class Reply(dict):
    def as_numpy(self, name):
        return self.get(name)


PAGE = Reply(
    boxes=np.array([[1, 2, 3, 4], [5, 6, 7, 8.5]], np.float32),
    scores=np.array([0.75, 0.5], np.float32),
    labels=np.array([b"stamp", b"signature"], np.object_),
    page_size=np.array([1240, 1754], np.int32),
    page_count=np.array([5], np.int32),
)
CAPTCHA = Reply(
    text=np.array([b"012345"], np.object_),
    confidence=np.array([0.75], np.float32),
    digit_confidence=np.array([1, 1, 1, 1, 1, 0.75], np.float32),
    certain=np.array([True]),
    threshold=np.array([0.5], np.float32),
)


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
        ({"page": np.int64(2)}, {"page": 2}),
        ({"operating_point": "review"}, {"operating_point": "review"}),
    ],
)  # fmt: skip
def test_settings_become_parameters_of_the_types_that_the_server_takes(settings, parameters):
    sent = detect_parameters(**settings)
    assert sent == parameters
    assert [type(value) for value in sent.values()] == [type(v) for v in parameters.values()]


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"confidence": "high"}, "confidence: 'high', expected a number"),
        ({"confidence": {"stamp": None}}, "confidence of stamp: None, expected a number"),
        ({"iou": [0.5]}, r"iou: \[0.5\], expected a number"),
        ({"max_detections": 2.5}, "max_detections: 2.5, expected a whole number"),
        ({"page": None}, "page: None, expected a whole number"),
        ({"operating_point": "high"}, "operating_point: 'high', expected accept or review"),
    ],
)
def test_settings_of_other_types_are_refused_by_name(settings, reason):
    with pytest.raises(Refused, match=reason):
        detect_parameters(**settings)


def test_a_page_reply_becomes_detections():
    detections = to_detections(PAGE, 2)
    assert (detections.page_size, detections.page, detections.page_count) == ((1240, 1754), 2, 5)
    assert detections.labels == ("stamp", "signature")
    assert len(detections) == 2
    assert list(detections) == [
        Detection((1, 2, 3, 4), 0.75, "stamp"),
        Detection((5, 6, 7, 8.5), 0.5, "signature"),
    ]


def test_a_server_that_does_not_count_pages_still_answers():
    older = Reply({name: value for name, value in PAGE.items() if name != "page_count"})
    assert to_detections(older, 1).page_count == 1


def test_a_model_of_another_kind_is_refused_by_name():
    with pytest.raises(Refused, match="model: its reply has no page_size"):
        to_detections(CAPTCHA, 1)


def test_no_detection_is_an_empty_record():
    nothing = Detections(np.empty((0, 4), np.float32), np.empty(0, np.float32), (), (10, 10))
    assert list(nothing) == []


def test_a_captcha_reply_becomes_a_reading():
    reading = to_reading(CAPTCHA)
    assert (reading.text, reading.confidence) == ("012345", 0.75)
    assert reading.digit_confidence == (1, 1, 1, 1, 1, 0.75)
    assert (reading.certain, reading.threshold) == (True, 0.5)


@pytest.mark.parametrize(("min_confidence", "certain"), [(0.75, True), (0.76, False)])
def test_a_threshold_of_the_callers_own_replaces_the_servers(min_confidence, certain):
    reading = to_reading(CAPTCHA, min_confidence)
    assert (reading.certain, reading.threshold) == (certain, min_confidence)


def test_what_the_server_rejects_in_spite_of_its_confidence_stays_uncertain():
    rejected = Reply(CAPTCHA | {"certain": np.array([False])})
    assert to_reading(rejected, 0.1).certain is False


def test_what_the_server_found_too_weak_may_be_certain_enough_for_the_caller():
    weak = Reply(CAPTCHA | {"certain": np.array([False]), "threshold": np.array([0.9])})
    assert to_reading(weak).certain is False
    assert to_reading(weak, 0.7).certain is True


@pytest.mark.parametrize("min_confidence", [None, 0.7])
def test_a_reading_that_nobody_judged_is_refused(min_confidence):
    older = Reply({name: CAPTCHA[name] for name in ("text", "confidence", "digit_confidence")})
    with pytest.raises(Refused, match=r"its reply has no certain; .* too old .*: export it again"):
        to_reading(older, min_confidence)


def config(*steps, **parameters):
    return {
        "ensemble_scheduling": {"step": [{"model_name": name} for name in steps]},
        "parameters": {name: {"string_value": text} for name, text in parameters.items()},
    }


def test_models_are_the_ensembles_with_both_operating_points():
    configs = {
        "detector": config("decode", "graph", "boxes"),
        "older": config("decode", "graph", "bare"),
        "reader": config("decode", "graph", "digits"),
        "decode": config(),
        "graph": config(),
        "boxes": config(classes="a,b", confidence_a="0.5", confidence_b="0.6", review_a="0.1",
                        review_b="0.2"),
        "bare": config(classes="a", confidence_a="0.5"),
        "digits": config(min_confidence="0.9"),
    }  # fmt: skip
    statistics = [{"name": name, "version": str(n)} for name in configs for n in (1, 12, 3)]
    assert to_models(to_versions({"model_stats": statistics}), configs) == [
        Model("detector", 12, {"a": 0.5, "b": 0.6}, {"a": 0.1, "b": 0.2}),
        Model("older", 12, {"a": 0.5}, None),
        Model("reader", 12, 0.9, None),
    ]
