"""The mathematics of the Python steps, against hand, torchvision and PyTorch."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.ops import batched_nms

SIDE = 640
CLASSES = ["signature", "stamp"]


@pytest.fixture(scope="module")
def preprocess(step):
    return step("document_preprocess")


@pytest.fixture(scope="module")
def postprocess(step):
    return step("document_postprocess")


@pytest.fixture(scope="module")
def fit(preprocess):
    """The way that YOLO's pages are fitted."""
    return preprocess.Fit(SIDE, SIDE)


@pytest.fixture
def defaults(postprocess):
    return postprocess.Thresholds(np.array([0.25, 0.4], np.float32), 0.5, 300)


def test_an_a4_page_is_centred_between_two_margins(preprocess, fit):
    # 1240 x 1754 at 640/1754: 452.45 wide, so 452, and (640 - 452) / 2 = 94 on the left
    assert preprocess.letterbox(1240, 1754, fit) == (94, 0, 452, 640)


@given(
    size=st.tuples(st.integers(1, 12_000), st.integers(1, 12_000)),
    corner=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_a_point_goes_through_the_letterbox_and_back_within_half_a_pixel(
    preprocess, postprocess, fit, size, corner
):
    page_size = np.array(size, np.int32)
    box = np.array(preprocess.letterbox(*size, fit), np.float32)
    point = np.array(corner) * page_size
    sent = (point / page_size * box[2:] + box[:2]).astype(np.float32)
    (back,) = postprocess.to_page(np.tile(sent, 2)[None], box, page_size)
    assert np.abs(back - np.tile(point, 2)).max() < 0.5


def test_the_page_lies_inside_the_letterbox_and_grey_around_it(preprocess, fit):
    page = np.zeros((100, 50, 3), np.uint8)
    page[..., 0] = 200  # red
    pixels = preprocess.to_pixels(page, (160, 0, 320, 640), fit)
    assert (pixels.shape, pixels.dtype) == ((1, SIDE, SIDE, 3), np.uint8)
    np.testing.assert_array_equal(pixels[0, :, 160:480], np.tile([200, 0, 0], (640, 320, 1)))
    assert set(np.unique(pixels[0, :, :160])) == set(np.unique(pixels[0, :, 480:])) == {114}


def test_shrinking_averages_so_that_thin_lines_stay(preprocess, fit):
    page = np.full((1280, 1280), 255, np.uint8)
    page[:, ::8] = 0  # one black column in eight: two columns of the page are one of the input
    pixels = preprocess.to_pixels(page, (0, 0, SIDE, SIDE), fit)
    assert pixels[0, 0, :8, 0].tolist() == [128, 255, 255, 255, 128, 255, 255, 255]


def test_a_stretched_page_fills_the_square(preprocess):
    # 1280 x 320 loses half its width and doubles its height
    stretch = preprocess.Fit(SIDE, SIDE, "stretch")
    assert preprocess.letterbox(1280, 320, stretch) == (0, 0, SIDE, SIDE)
    assert preprocess.scales(1280, 320, stretch) == (0.5, 2)


def test_a_page_in_the_corner_keeps_its_shape_and_its_shorter_side_a_limit(preprocess):
    # as transformers' processor of DETR: shorter side 800, unless the longer then is over 1333
    corner = preprocess.Fit(1333, 1333, "corner", 800)
    assert preprocess.letterbox(1000, 1250, corner) == (0, 0, 800, 1000)
    assert preprocess.letterbox(1000, 4000, corner) == (0, 0, 333, 1333)


@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((1240, 1754), (0, 0, 512, 704)),  # A4
        ((640, 640), (0, 0, 512, 704)),  # a page that its publisher squashed
        ((1080, 1920), (0, 0, 512, 704)),  # a phone's photo, 16:9
        ((1754, 1240), (0, 171, 512, 362)),  # A4 on its side: 512/1754 of the height
        ((400, 1600), (168, 0, 176, 704)),  # a receipt: 704/1600 of the width
    ],
)
def test_upright_pages_fill_an_upright_input_and_others_keep_their_shape(preprocess, size, box):
    assert preprocess.letterbox(*size, preprocess.Fit(512, 704, "upright")) == box


def test_a_letterbox_in_an_input_that_is_no_square(preprocess):
    fit = preprocess.Fit(512, 704)
    assert preprocess.letterbox(1024, 1024, fit) == (0, 96, 512, 512)
    assert preprocess.letterbox(512, 1408, fit) == (128, 0, 256, 704)
    pixels = preprocess.to_pixels(np.zeros((1408, 512), np.uint8), (128, 0, 256, 704), fit)
    assert pixels.shape == (1, 704, 512, 3)
    assert [set(np.unique(part)) for part in np.split(pixels, [128, 384], axis=2)] == [
        {114}, {0}, {114},
    ]  # fmt: skip


def test_a_stretched_box_comes_back_with_a_scale_for_each_direction(postprocess):
    # 1024 x 704 shown as 512 x 704: x doubles, y stays
    letterbox, page_size = np.array([0, 0, 512, 704], np.float32), np.array([1024, 704])
    (box,) = postprocess.to_page(np.array([[10, 20, 30, 50.0]]), letterbox, page_size)
    assert box.tolist() == [20, 20, 60, 50]


def test_planes_are_the_same_pixels_between_0_and_1(preprocess):
    page = np.zeros((4, 8, 3), np.uint8)
    page[..., 2] = 51  # blue
    planes = preprocess.to_pixels(page, (0, 2, 8, 4), preprocess.Fit(8, 8, planes=True))
    assert (planes.shape, planes.dtype) == ((1, 3, 8, 8), np.float32)
    np.testing.assert_allclose(planes[0, :, 4, 4], [0, 0, 0.2], atol=1e-6)
    np.testing.assert_allclose(planes[0, :, 0, 0], 114 / 255, atol=1e-6)


def test_the_config_says_how_each_output_is_made(preprocess):
    outputs = [
        {"name": "pixels", "data_type": "TYPE_UINT8", "dims": ["1", "640", "640", "3"]},
        {"name": "pixels_a", "data_type": "TYPE_FP32", "dims": ["1", "3", "96", "64"]},
        {"name": "pixels_b", "data_type": "TYPE_UINT8", "dims": ["1", "1333", "1333", "3"]},
        {"name": "pixels_c", "data_type": "TYPE_UINT8", "dims": ["1", "704", "512", "3"]},
        {"name": "page_size", "data_type": "TYPE_INT32", "dims": ["2"]},
    ]
    ways = {"fit_a": "stretch", "fit_b": "corner 800", "fit_c": "upright"}
    parameters = {name: {"string_value": way} for name, way in ways.items()}
    assert preprocess.fits_of({"output": outputs, "parameters": parameters}) == {
        "": preprocess.Fit(640, 640),
        "_a": preprocess.Fit(64, 96, "stretch", planes=True),
        "_b": preprocess.Fit(1333, 1333, "corner", 800),
        "_c": preprocess.Fit(512, 704, "upright"),
    }


def test_a_head_that_chose_is_only_held_against_the_thresholds(postprocess):
    rows = np.array(
        [[0, 0, 9, 9, 0.3, 0], [0, 0, 9, 9, 0.5, 1], [1, 1, 9, 9, 0.9, 0], [2, 2, 9, 9, 0.6, 1]]
    )
    limits = postprocess.Thresholds(np.array([0.3, 0.6]), None, 2)
    xyxy, scores, class_ids = postprocess.heads.end2end(rows, limits)
    assert (scores.tolist(), class_ids.tolist()) == ([0.9, 0.6], [0, 1])
    assert xyxy.tolist() == [[1, 1, 9, 9], [2, 2, 9, 9]]


def test_a_query_stands_for_one_class_in_detr_and_for_each_in_conditional_detr(postprocess):
    rows = np.array([[10, 20, 4, 6, 0.5, 0.4], [30, 40, 2, 2, 0.1, 0.7]])
    limits = postprocess.Thresholds(np.array([0.4, 0.4]), None, 10)
    one = postprocess.heads.queries(rows, limits)
    assert (one[1].tolist(), one[2].tolist()) == ([0.7, 0.5], [1, 0])
    assert one[0].tolist() == [[29, 39, 31, 41], [8, 17, 12, 23]]
    each = postprocess.heads.query_classes(rows, limits)
    assert (each[1].tolist(), each[2].tolist()) == ([0.7, 0.5, 0.4], [1, 0, 1])
    assert each[0].tolist() == [[29, 39, 31, 41], [8, 17, 12, 23], [8, 17, 12, 23]]


def test_overlap_is_no_parameter_of_a_head_without_nms(postprocess):
    accept = postprocess.Thresholds(np.array([0.4, 0.4]), None, 10)
    with pytest.raises(ValueError, match="parameter iou: unknown, known are confidence"):
        postprocess.thresholds({"iou": 0.5}, CLASSES, {"accept": accept}, 300)


def predictions_of(xyxy, scores):
    """(N, 4) and (N, C) -> (4 + C, N) as the detector writes them."""
    centre, size = (xyxy[:, :2] + xyxy[:, 2:]) / 2, xyxy[:, 2:] - xyxy[:, :2]
    return np.vstack([centre.T, size.T, scores.T]).astype(np.float32)


@pytest.mark.parametrize("iou", [0.0, 0.3, 0.5, 0.7, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_nms_keeps_what_torchvision_keeps(postprocess, seed, iou):
    random = np.random.default_rng(seed)
    top_left = random.uniform(0, 500, (600, 2))
    xyxy = np.hstack([top_left, top_left + random.uniform(5, 140, (600, 2))])
    scores = random.permutation(1200).reshape(600, 2) / 1200  # no ties
    limits = postprocess.Thresholds(np.array([0.3001, 0.6001], np.float32), iou, 8400)

    found = postprocess.heads.grid(predictions_of(xyxy, scores), limits)

    best, class_ids = torch.tensor(scores).max(1)
    passed = torch.nonzero(best >= torch.tensor([0.3001, 0.6001])[class_ids])[:, 0]
    order = passed[batched_nms(torch.tensor(xyxy)[passed], best[passed], class_ids[passed], iou)]
    np.testing.assert_allclose(found[0], xyxy[order], atol=1e-3)
    np.testing.assert_allclose(found[1], best[order], atol=1e-6)
    np.testing.assert_array_equal(found[2], class_ids[order])


def test_a_threshold_of_zero_considers_the_best_thousand(postprocess):
    corner = np.arange(1500.0)[:, None] * 20  # no two overlap
    scores = np.random.default_rng(0).permutation(3000).reshape(1500, 2) / 3000
    limits = postprocess.Thresholds(np.zeros(2, np.float32), 0.5, 8400)
    xyxy = np.hstack([corner, corner, corner + 10, corner + 10])
    found = postprocess.heads.grid(predictions_of(xyxy, scores), limits)
    np.testing.assert_allclose(found[1], np.sort(scores.max(1))[:-1001:-1], atol=1e-6)


def test_a_box_is_what_those_of_its_class_about_it_agree_on(postprocess):
    xyxy = np.array(
        [[0, 0, 100, 100], [0, 0, 100, 80], [0, 0, 100, 60], [20, 0, 100, 100], [0, 0, 90, 100.0]]
    )
    scores = np.array([[0.8, 0], [0.2, 0], [0.5, 0], [0, 0.6], [0.09, 0]])
    predictions = predictions_of(xyxy, scores)
    # the second overlaps the first by 0.8; the third by too little, the next is another class's,
    # and the last has no vote
    lower = (0.8 * 100 + 0.2 * 0.8 * 80) / (0.8 + 0.2 * 0.8)
    for confidence in (0.1, 0.7):
        limits = postprocess.Thresholds(np.full(2, confidence, np.float32), 0.5, 8400)
        boxes, found, class_ids = postprocess.heads.voted_grid(predictions, limits)
        assert boxes[0].tolist() == pytest.approx([0, 0, 100, lower], abs=1e-3)
        assert found[0] == pytest.approx(0.8)
    limits = postprocess.Thresholds(np.array([0.9, 0.05], np.float32), 0.5, 8400)
    boxes, found, class_ids = postprocess.heads.voted_grid(predictions, limits)
    assert boxes.tolist() == [pytest.approx([20, 0, 100, 100])]
    assert class_ids.tolist() == [1]


@pytest.mark.parametrize("head", ["grid", "voted_grid"])
def test_no_detection_is_an_empty_array_of_the_right_shape(postprocess, defaults, head):
    nothing = np.zeros((6, 8400), np.float32)
    xyxy, scores, class_ids = getattr(postprocess.heads, head)(nothing, defaults)
    assert (xyxy.shape, scores.shape, class_ids.shape) == ((0, 4), (0,), (0,))
    page = postprocess.to_page(xyxy, np.array([94, 0, 452, 640]), np.array([1240, 1754]))
    assert page.shape == (0, 4)


def test_boxes_are_cut_at_the_edges_of_the_page(postprocess):
    letterbox, page_size = np.array([94, 0, 452, 640], np.float32), np.array([904, 1280])
    (box,) = postprocess.to_page(np.array([[90, -5, 600, 700.0]]), letterbox, page_size)
    assert box.tolist() == [0, 0, 904, 1280]


def test_only_the_best_of_max_detections_come(postprocess):
    xyxy = np.array([[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10.0]])
    scores = np.array([[0.5, 0], [0.9, 0], [0.7, 0]])
    limits = postprocess.Thresholds(np.array([0.1, 0.1], np.float32), 0.5, 2)
    assert postprocess.heads.grid(predictions_of(xyxy, scores), limits)[
        1
    ].tolist() == pytest.approx([0.9, 0.7])


def test_a_class_threshold_beats_the_common_one_beats_the_models(postprocess, defaults):
    def chosen(sent):
        points = {"accept": defaults, "review": review}
        return postprocess.thresholds(sent, CLASSES, points, 8400).confidence.tolist()

    review = defaults._replace(confidence=np.array([0.1, 0.2], np.float32))

    assert chosen({}) == pytest.approx([0.25, 0.4])
    assert chosen({"confidence": 0.6}) == pytest.approx([0.6, 0.6])
    assert chosen({"confidence_stamp": 0, "confidence": 0.6}) == pytest.approx([0.6, 0])
    assert chosen({"operating_point": "review"}) == pytest.approx([0.1, 0.2])
    assert chosen({"operating_point": "review", "confidence_stamp": 0.6}) == pytest.approx(
        [0.1, 0.6]
    )
    assert defaults.confidence.tolist() == pytest.approx([0.25, 0.4])  # not changed by requests


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        ({"confidence": float("nan")}, "parameter confidence: nan, limit a number 0 to 1"),
        ({"confidence": -1}, "parameter confidence: -1, limit a number 0 to 1"),
        ({"confidence_stamp": 2}, "parameter confidence_stamp: 2, limit a number 0 to 1"),
        ({"iou": "abc"}, "parameter iou: 'abc', limit a number 0 to 1"),
        ({"iou": True}, "parameter iou: True, limit a number 0 to 1"),
        ({"max_detections": 0}, "max_detections: 0, limit a whole number 1 to 8400"),
        ({"max_detections": 1.5}, "max_detections: 1.5, limit a whole number 1 to 8400"),
        ({"max_detections": 8401}, "max_detections: 8401, limit a whole number 1 to 8400"),
        ({"confidence_seal": 0.5}, "parameter confidence_seal: unknown, known are confidence, "),
        ({"operating_point": "sure"}, "operating_point: 'sure', known are accept"),
        ({"operating_point": 0.5}, "operating_point: 0.5, known are accept"),
        ({"operating_point": "review"}, "operating_point: 'review', known are accept"),
    ],
)
def test_a_bad_threshold_is_refused_by_name_value_and_limit(postprocess, defaults, sent, reason):
    with pytest.raises(ValueError, match=reason.replace("(", r"\(")):
        postprocess.thresholds(sent, CLASSES, {"accept": defaults}, 8400)


CONFIGURED = {
    "head": "grid", "iou": "0.5", "max_detections": "300",
    "confidence_signature": "0.6", "confidence_stamp": "0.7",
}  # fmt: skip


def test_operating_points_are_those_of_the_config(postprocess):
    (accept,) = postprocess.operating_points(CONFIGURED, CLASSES).values()
    assert accept.confidence.tolist() == pytest.approx([0.6, 0.7])
    assert (accept.iou, accept.max_detections) == (0.5, 300)
    lower = {"review_signature": "0.1", "review_stamp": "0.2"}
    points = postprocess.operating_points(CONFIGURED | lower, CLASSES)
    assert points["review"].confidence.tolist() == pytest.approx([0.1, 0.2])


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"confidence_stamp": "-1"}, "confidence_stamp: -1.0, limit a number 0 to 1"),
        ({"confidence_stamp": "nan"}, "confidence_stamp: nan, limit a number 0 to 1"),
        ({"confidence_stamp": "0"}, "confidence_stamp: '0', limit over 0"),
        ({"confidence_stamp": "high"}, "confidence_stamp: 'high', a number is needed"),
        ({"review_stamp": "0.2"}, "review_signature: None, a number is needed"),
        ({"iou": "1.5"}, "iou: 1.5, limit a number 0 to 1"),
        ({"max_detections": "0"}, "max_detections: '0', limit a whole number from 1"),
    ],
)
def test_a_config_that_no_request_could_ask_for_is_refused(postprocess, settings, reason):
    with pytest.raises(ValueError, match=f"parameter {reason}"):
        postprocess.operating_points(CONFIGURED | settings, CLASSES)


def test_the_reader_takes_the_likeliest_digits_and_their_softmax(step):
    logits = np.random.default_rng(0).normal(0, 3, (6, 10)).astype(np.float32)
    logits[2, 7] = 80  # would overflow an exponential in float32
    text, digit_confidence = step("captcha_postprocess").read(logits, "0123456789")
    probability, digits = torch.tensor(logits).softmax(1).max(1)
    assert text == "".join(map(str, digits.tolist()))
    np.testing.assert_allclose(digit_confidence, probability, rtol=1e-5)


def test_a_text_has_as_many_signs_as_places_and_keeps_its_zeros(step):
    logits = 9 * np.eye(4, dtype=np.float32)[[0, 0, 2, 3, 1]]
    text, digit_confidence = step("captcha_postprocess").read(logits, "0Bax")
    assert (text, digit_confidence.shape) == ("00axB", (5,))


def test_an_alphabet_of_another_length_than_the_logits_fails_its_load(step):
    config = {
        "input": [{"name": "logits", "dims": ["1", "6", "10"]}],
        "parameters": {"alphabet": {"string_value": "0123456"}},
    }
    with pytest.raises(ValueError, match="alphabet: '0123456', limit 10 signs as logits has"):
        step("captcha_postprocess").alphabet_of(config)


@pytest.mark.parametrize("bad", ["", "high", "nan", "0", "-1", "1.01"])
def test_a_bad_operating_point_of_the_reader_fails_its_load(step, bad):
    config = {"parameters": {"min_confidence": {"string_value": bad}}}
    with pytest.raises(ValueError, match=f"min_confidence: '{bad}', limit a number over 0 up to 1"):
        step("captcha_postprocess").threshold_of(config)
