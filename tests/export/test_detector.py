import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import openvino as ov
import pytest
import torch
from ultralytics.nn.tasks import DetectionModel, yaml_model_load

from export import checkpoints, detector
from export.entries import check_name, check_same
from export.gates import check_contract, check_gap
from export.repository import read_config
from export.rollback import roll_back
from inprocess.repository import REPOSITORY
from inprocess.steps import fit
from training.detector.labels import CLASSES, Labelled, hold_out, training_pages
from training.detector.score import ClassScore, Found


def save_checkpoint(path: Path, names: tuple[str, ...]) -> Path:
    """A narrow YOLO11 with random weights whose scores lie about one half."""
    torch.manual_seed(0)
    config = yaml_model_load("yolo11n.yaml") | {"scales": {"n": [0.34, 0.0625, 1024]}}
    model = DetectionModel(config, nc=len(names), verbose=False)
    model.names = dict(enumerate(names))
    for branch in model.model[-1].cv3:  # so that each class is somewhere the surer one
        weight = 0.3 * torch.randn_like(branch[-1].weight[:1])
        branch[-1].weight.data = torch.cat([weight, -weight] + [weight] * (len(names) - 2))
        torch.nn.init.zeros_(branch[-1].bias)
    args = {"imgsz": [704, 512], "fit": "upright"}  # as those of the shipped version
    torch.save({"model": model, "train_args": args}, path)
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save_checkpoint(tmp_path_factory.mktemp("run") / "best.pt", CLASSES)


@pytest.fixture
def repository(tmp_path):
    for name in ("document_detector", "document_yolo", "document_postprocess"):
        (tmp_path / name).mkdir()
        shutil.copy(REPOSITORY / name / "config.pbtxt", tmp_path / name)
    return tmp_path


@pytest.fixture(scope="module")
def loaded(checkpoint):
    return checkpoints.load(str(checkpoint))


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Three pages of noise, with a box of each class."""
    folder = tmp_path_factory.mktemp("pages")
    rng = np.random.default_rng(0)
    pages = []
    for i, (width, height) in enumerate([(640, 640), (453, 640), (640, 480)]):
        noise = rng.integers(0, 256, (height // 16, width // 16, 3), np.uint8)
        pixels = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
        path = folder / f"{i}.png"
        cv2.imwrite(str(path), pixels)
        xyxy = np.array([[50, 60, 150, 90], [200, 300, 280, 380]], np.float32)
        none = np.empty((0, 4), np.float32)
        pages.append(Labelled(path, str(i), (width, height), np.array([0, 1]), xyxy, none))
    return pages


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_an_export_is_what_the_configs_say(loaded, pages, repository):
    before = read_config(repository / "document_postprocess" / "config.pbtxt")
    card = detector.export(loaded, {"noise": pages}, {"again": pages}, repository, precision=0.0)

    version = repository / "document_yolo" / "1"
    assert {p.name for p in version.iterdir()} == {"model.xml", "model.bin", "model_card.json"}
    assert json.loads((version / "model_card.json").read_text()) == card
    graph = ov.Core().read_model(version / "model.xml")
    check_contract(graph, repository / "document_yolo" / "config.pbtxt")

    after = read_config(repository / "document_postprocess" / "config.pbtxt")
    for name in CLASSES:
        accept, review = (
            float(after.parameters[f"{point}_{name}"].string_value)
            for point in ("confidence", "review")
        )
        assert accept == card["thresholds"]["confidence"][name]
        assert accept >= review == card["thresholds"]["review"][name]
    assert after.parameters["classes"].string_value == "signature,stamp"
    assert (after.input, after.output) == (before.input, before.output)


def test_operating_points_are_chosen_by_the_overlap_that_is_asked_for(loaded, pages):
    """On the first page the signature's box is a half too far right: IoU 1/3."""
    exact = Found(pages[0].xyxy, np.array([0.9, 0.9]), np.array([0, 1]))
    boxes = np.array([[100, 60, 200, 90], [200, 300, 280, 380]])
    shifted = replace(exact, xyxy=boxes, scores=np.array([0.8, 0.9]))
    kinds, found = {"letters": pages}, {"letters": [shifted, exact, exact]}
    strict = detector.operating_points(loaded, kinds, found, 0.95)
    loose = detector.operating_points(loaded, kinds, found, 0.95, overlap=0.25)
    assert strict["confidence"] == {"signature": 0.9, "stamp": 0.9}
    assert loose["confidence"] == {"signature": 0.8, "stamp": 0.9}


def test_an_overlap_that_no_box_can_have_is_refused(checkpoint, tmp_path):
    command = f"{checkpoint} --pages {tmp_path} --repository {tmp_path} --overlap 1.5"
    with pytest.raises(ValueError, match=r"--overlap 1\.5, it is above 0 and at most 1"):
        detector.export_as_asked(detector.parser().parse_args(command.split()))


def test_a_version_that_is_there_is_replaced_only_when_asked(loaded, pages, repository):
    (repository / "document_yolo" / "9").mkdir()
    (repository / "document_yolo" / "10").mkdir()
    with pytest.raises(ValueError, match=r"version 10 is there; --replace .* no --version"):
        detector.export(loaded, {"noise": pages}, {}, repository, version=10)
    assert check_name(repository, "document_detector", 10, replace=True) == 10
    assert check_name(repository, "document_detector", None, replace=False) == 11


@pytest.mark.parametrize("boxes", [0, 2])
def test_a_precision_out_of_reach_leaves_the_repository_as_it_was(loaded, pages, repository, boxes):
    """Of pages with nothing on them, and with boxes of one pixel that nobody finds."""
    tiny = np.array([[0, 0, 1, 1], [9, 9, 10, 10]], np.float32)[:boxes]
    unlike = [replace(page, class_ids=np.arange(boxes), xyxy=tiny) for page in pages]
    before = contents(repository)
    with pytest.raises(ValueError, match=r"precision of 0\.95"):
        detector.export(loaded, {"noise": unlike}, {}, repository)
    assert contents(repository) == before


def test_a_graph_off_the_checkpoint_leaves_the_repository_as_it_was(
    loaded, pages, repository, monkeypatch
):
    monkeypatch.setitem(detector.LIMITS, "fp16", {"boxes": 0.0, "scores": 0.0})
    before = contents(repository)
    with pytest.raises(ValueError, match=r"fp16: .* off the checkpoint, limit 0e"):
        detector.export(loaded, {"noise": pages}, {}, repository, precision=0.0)
    assert contents(repository) == before


def test_other_classes_do_not_become_document_detector(tmp_path, pages, repository):
    other = checkpoints.load(str(save_checkpoint(tmp_path / "other.pt", ("logo", "stamp"))))
    before = contents(repository)
    with pytest.raises(ValueError, match=r"document_detector has .* this one logo,stamp.*--name"):
        detector.export(other, {"noise": pages}, {}, repository)
    assert contents(repository) == before


def test_int8_keeps_the_contract(loaded, pages, tmp_path):
    inputs = [detector.fitted(detector.read_page(page.path), loaded.fit)[0] for page in pages]
    graph = detector.quantised(loaded, detector.to_graph(loaded, tmp_path / "x.onnx"), inputs)
    ov.save_model(graph, tmp_path / "model.xml")
    saved = ov.Core().read_model(tmp_path / "model.xml")
    check_contract(saved, REPOSITORY / "document_yolo" / "config.pbtxt")
    assert first_weights(saved) == ov.Type.i8
    last = [
        op for op in saved.get_ops() if re.search(r"cv[23]\.\d\.2/Conv", op.get_friendly_name())
    ]
    sources = [op.input_value(0).get_node() for op in last if op.get_type_name() == "Convolution"]
    assert len(sources) == 6
    assert not any(source.get_type_name() == "FakeQuantize" for source in sources)


def first_weights(graph: ov.Model) -> ov.Type:
    """Of the first convolution."""
    node = next(op for op in graph.get_ordered_ops() if op.get_type_name() == "Convolution")
    node = node.input_value(1).get_node()
    while node.get_type_name() != "Constant":
        node = node.input_value(0).get_node()
    return node.get_element_type()


def test_int8_of_relus_has_no_zero_points(pages, tmp_path):
    lite = checkpoints.load("training/detector/shipped.pt", [64, 64])
    inputs = [detector.fitted(detector.read_page(page.path), lite.fit)[0] for page in pages]
    graph = detector.quantised(lite, detector.to_graph(lite, tmp_path / "x.onnx"), inputs)
    ranges = [
        [op.input_value(i).get_node().get_data().ravel() for i in (1, 2)]
        for op in graph.get_ops()
        if op.get_type_name() == "FakeQuantize"
    ]
    assert first_weights(graph) == ov.Type.i8
    assert any((low < 0).any() for low, _ in ranges)
    for low, high in ranges:
        np.testing.assert_allclose(low[low < 0], -high[low < 0], rtol=0.01)  # by 128 / 127


def test_pixels_are_scaled_once_and_colours_come_first():
    pixels = torch.zeros(1, 2, 3, 3, dtype=torch.uint8)
    pixels[0, 1, 2] = torch.tensor([255, 51, 0])  # red, green, blue of row 1, column 2
    planes = checkpoints.Served(torch.nn.Identity())(pixels)
    assert planes.shape == (1, 3, 2, 3)
    assert planes[0, :, 1, 2].tolist() == pytest.approx([1.0, 0.2, 0.0])


def test_boxes_come_back_in_pixels_of_the_page(tmp_path):
    """On a page of 1280 x 320 the input shows half its size, 240 px down."""
    cv2.imwrite(str(tmp_path / "wide.png"), np.full((320, 1280, 3), 255, np.uint8))
    none = np.empty((0, 4), np.float32)
    page = Labelled(tmp_path / "wide.png", "", (1280, 320), np.empty(0, np.int64), none, none)
    predictions = np.zeros((1, 7, 8400), np.float32)
    predictions[0, :, 7] = [100, 300, 40, 20, 0.1, 0, 0.8]  # a stamp about (100, 300)
    predictions[0, :, 9] = [300, 300, 40, 20, 0, 0.9, 0]  # and what no label is for
    three = checkpoints.Detector(None, ("signature", "logo", "stamp"), "grid", fit.Fit(640, 640))
    (seen,) = detector.find(lambda *_: predictions, three, [page], "one")
    np.testing.assert_allclose(seen.xyxy, [[160, 100, 240, 140]], atol=1e-3)
    np.testing.assert_array_equal(seen.class_ids, [1])
    np.testing.assert_allclose(seen.scores, [0.8])


def test_a_version_may_vote_where_the_one_before_did_not():
    grid = checkpoints.Detector(None, ("signature", "stamp"), "grid", fit.Fit(512, 704, "upright"))
    for head in ("grid", "voted_grid"):
        check_same(REPOSITORY, "document_detector", replace(grid, head=head))
    for other in (replace(grid, head="end2end"), replace(grid, classes=("signature",))):
        with pytest.raises(ValueError, match="document_detector has classes and head"):
            check_same(REPOSITORY, "document_detector", other)


def test_rows_that_a_head_chose_are_compared_wherever_they_stand():
    truth = np.array([[0, 0, 10, 10, 0.9, 0], [0, 0, 10, 10, 0.8, 1], [5, 5, 6, 6, 0.05, 0]])
    moved = truth[[1, 0, 2]] + [[0, 0, 0, 0, 0, 0], [0, 0, 0.5, 0, -0.1, 0], [9, 0, 0, 0, 0, 0]]
    assert detector.gap_of_chosen(moved, truth) == pytest.approx({"boxes": 0.5, "scores": 0.1})
    lost = truth[truth[:, 5] == 0]
    assert detector.gap_of_chosen(lost, truth)["boxes"] == float("inf")


def test_a_page_that_is_no_image_is_named(tmp_path):
    (tmp_path / "page.jpg").write_bytes(b"hello")
    with pytest.raises(ValueError, match=r"page\.jpg: no image"):
        detector.read_page(tmp_path / "page.jpg")


@pytest.mark.parametrize("off", [0.3, float("nan")])
def test_a_gap_over_its_limit_is_refused(off):
    with pytest.raises(ValueError, match=r"onnx: boxes are .* limit 2e-01"):
        check_gap("onnx", {"boxes": off, "scores": 0.0}, {"boxes": 0.2, "scores": 0.1})


def scores(ap50: float, found: str) -> dict[str, ClassScore]:
    """Both classes alike: a document for each sign, + where its one box is found."""
    hits = np.flatnonzero([one == "+" for one in found])
    of_class = ClassScore(
        ap50, ap50, np.linspace(0.9, 0.8, len(hits)), np.ones(len(hits), bool), hits,
        np.ones(len(found), np.int64),
    )  # fmt: skip
    return dict.fromkeys(CLASSES, of_class)


FULL = scores(0.9, "+" * 90 + "-" * 10)


@pytest.mark.parametrize(
    ("ap50", "found"),
    [
        pytest.param(0.86, "+" * 86 + "-" * 14, id="at all"),
        pytest.param(0.88, "+" * 78 + "-" * 22, id="surely"),
        pytest.param(0.0, "-" * 100, id="a class"),
    ],
)
def test_int8_that_loses_too_much_is_refused_with_the_figures(ap50, found):
    with pytest.raises(ValueError, match=rf"INT8: ap50 of signature is {ap50}, f32 0\.9; the drop"):
        detector.check_int8(scores(ap50, found), FULL, CLASSES)


def test_int8_may_lose_what_may_be_chance_and_the_card_says_its_interval():
    """One of the 100 documents: drawn 0 to 3 times."""
    drops = detector.check_int8(scores(0.89, "+" * 89 + "-" * 11), FULL, CLASSES)["stamp"]
    assert drops["ap50"] == [0.9, 0.89]
    low, high = drops["ap50_drop_interval"]
    assert low == 0
    assert 0.02 <= high <= 0.04


def test_int8_is_refused_where_a_class_has_no_box_to_check_it_on():
    nothing = FULL | {"stamp": scores(float("nan"), "")["stamp"]}
    with pytest.raises(ValueError, match="INT8: no page has a stamp to check it on"):
        detector.check_int8(nothing, nothing, CLASSES)
    with pytest.raises(ValueError, match="INT8: no page has a logo"):
        detector.check_int8(FULL, FULL, ("signature", "logo"))


def test_int8_is_calibrated_on_training_pages_and_on_no_others(pages, tmp_path, checkpoint):
    labels = {
        page.path.name: {
            "width": page.size[0], "height": page.size[1], "split": "dev",
            "boxes": [{"class": "stamp", "xyxy": page.xyxy[1].tolist()}],
        }
        for page in pages
    }  # fmt: skip
    (tmp_path / "images").symlink_to(pages[0].path.parent)
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    command = f"{checkpoint} --pages {tmp_path} --int8 --repository {tmp_path / 'repository'}"
    with pytest.raises(ValueError, match="INT8: no training pages to calibrate on, --train DIR"):
        detector.export_as_asked(detector.parser().parse_args(command.split()))


def test_pages_without_a_split_are_divided_as_training_divided_them(pages, tmp_path, capsys):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "images").symlink_to(pages[0].path.parent)
    labels = {
        page.path.name: {"width": page.size[0], "height": page.size[1], "boxes": []}
        for page in pages
    }
    (folder / "labels.json").write_text(json.dumps(labels))
    made = {"real": ["mine"], "held_out": 0.4, "seed": 3}
    kinds, learnt = detector.divided([folder], made)
    training, held = hold_out(training_pages(folder)[0], 0.4, 3)  # as training does
    assert [page.path for page in learnt] == [page.path for page in training]
    assert [page.path for page in kinds["mine"]] == [page.path for page in held]
    assert (len(training), len(held)) == (2, 1)

    with pytest.raises(ValueError, match=r"its 3 pages say no split.* kept none .*held_out 0\.1"):
        detector.divided([folder], made | {"held_out": 0.1})
    assert not capsys.readouterr().err
    kinds, learnt = detector.divided([folder], made | {"real": ["others"]})
    assert (len(kinds["mine"]), learnt) == (3, [])
    assert "the pages say no split, all 3 are chosen on" in capsys.readouterr().err


def test_an_operating_point_of_few_boxes_is_warned_of():
    few, many = {"boxes": 5, "interval": [0.398, 1.0]}, {"boxes": 99, "interval": [0.96, 1.0]}
    chosen = {
        "confidence": {"stamp": 0.0114, "signature": 0.5},
        "chosen": {"stamp": {"pools": {"a": few}}, "signature": {"pools": {"a": many}}},
    }
    (warning,) = detector.unsure(chosen, 0.95)
    assert warning.startswith("stamp: accept 0.0114 was chosen on 5 boxes")
    assert "at least 0.40 by the interval, 0.95 was asked for" in warning


def test_the_card_says_how_a_checkpoint_was_trained_where_its_run_does(tmp_path):
    assert detector.run_of(tmp_path / "last.pt") == {}
    (tmp_path / "recipe.json").write_text('{"views": 8000}')
    assert detector.run_of(tmp_path / "last.pt")["recipe"] == {"views": 8000}


def test_a_card_keeps_what_it_says_and_its_intervals_on_one_line():
    card = {"ap50": [0.5, 0.25], "classes": ["a b", "c"], "rows": [{"x": []}, {"y": None}]}
    text = detector.card_text(card)
    assert json.loads(text) == card
    assert '"ap50": [ 0.5, 0.25 ],\n' in text


def test_another_input_is_a_new_version_and_the_one_before_can_come_back(
    checkpoint, loaded, pages, repository
):
    """Portrait after square: steps' configs follow, and follow again when it is taken out."""
    kinds = {"noise": pages}
    square = checkpoints.load(str(checkpoint), [640], "letterbox")
    detector.export(square, kinds, {}, repository, precision=0.0)
    names = ("document_detector", "document_yolo", "document_postprocess")
    before = {name: read_config(repository / name / "config.pbtxt") for name in names}
    card = detector.export(loaded, kinds, {}, repository, precision=0.0)
    assert card["input"] | {"padding": None} == {
        "width": 512, "height": 704, "pixels": "RGB uint8", "fit": "upright", "shortest": 0,
        "padding": None,
    }  # fmt: skip
    graph = ov.Core().read_model(repository / "document_yolo" / "2" / "model.xml")
    check_contract(graph, repository / "document_yolo" / "config.pbtxt")
    assert list(graph.input().shape) == [1, 704, 512, 3]
    step = read_config(repository / "document_preprocess" / "config.pbtxt")
    outputs = {output.name: list(output.dims) for output in step.output}
    assert outputs["pixels_512x704_upright"] == [1, 704, 512, 3]
    assert "pixels" not in outputs  # which nobody takes any more
    assert step.parameters["fit_512x704_upright"].string_value == "upright"
    taken = read_config(repository / "document_detector" / "config.pbtxt").ensemble_scheduling.step
    assert taken[0].output_map["pixels_512x704_upright"] == "pixels"
    rows = read_config(repository / "document_postprocess" / "config.pbtxt").input[0].dims
    assert list(rows) == [1, 6, 88 * 64 + 44 * 32 + 22 * 16]

    assert roll_back(repository) == (2, 1)
    for name, config in before.items():
        assert read_config(repository / name / "config.pbtxt") == config
    step = read_config(repository / "document_preprocess" / "config.pbtxt")
    assert {output.name for output in step.output} == {
        "pixels", "letterbox", "page_size", "page_count",
    }  # fmt: skip
    assert {key: value.string_value for key, value in step.parameters.items()} == {
        "fit": "letterbox"
    }
