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
from export.entries import check_name
from export.gates import check_contract, check_gap
from export.repository import read_config
from inprocess.steps import fit
from training.detector.labels import CLASSES, Labelled
from training.detector.score import ClassScore

REPOSITORY = Path(__file__).parents[2] / "model_repository"


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
    torch.save({"model": model, "train_args": {}}, path)
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
    card = detector.export(loaded, pages, {"again": pages}, repository, precision=0.0)

    version = repository / "document_yolo" / "1"
    assert {p.name for p in version.iterdir()} == {"model.xml", "model.bin", "model_card.json"}
    assert json.loads((version / "model_card.json").read_text()) == card
    graph = ov.Core().read_model(version / "model.xml")
    check_contract(graph, repository / "document_yolo" / "config.pbtxt")

    after = read_config(repository / "document_postprocess" / "config.pbtxt")
    for name in CLASSES:
        sent = float(after.parameters[f"confidence_{name}"].string_value)
        assert sent == card["thresholds"]["confidence"][name]
    assert after.parameters["classes"].string_value == "signature,stamp"
    assert (after.input, after.output) == (before.input, before.output)


def test_a_version_that_is_there_is_replaced_only_when_asked(loaded, pages, repository):
    (repository / "document_yolo" / "9").mkdir()
    (repository / "document_yolo" / "10").mkdir()
    with pytest.raises(ValueError, match=r"version 10 is there; --replace .* no --version"):
        detector.export(loaded, pages, {}, repository, version=10)
    assert check_name(repository, "document_detector", 10, replace=True) == 10
    assert check_name(repository, "document_detector", None, replace=False) == 11


@pytest.mark.parametrize("boxes", [0, 2])
def test_a_precision_out_of_reach_leaves_the_repository_as_it_was(loaded, pages, repository, boxes):
    """Of pages with nothing on them, and with boxes of one pixel that nobody finds."""
    tiny = np.array([[0, 0, 1, 1], [9, 9, 10, 10]], np.float32)[:boxes]
    unlike = [replace(page, class_ids=np.arange(boxes), xyxy=tiny) for page in pages]
    before = contents(repository)
    with pytest.raises(ValueError, match=r"precision of 0\.95"):
        detector.export(loaded, unlike, {}, repository)
    assert contents(repository) == before


def test_a_graph_off_the_checkpoint_leaves_the_repository_as_it_was(
    loaded, pages, repository, monkeypatch
):
    monkeypatch.setitem(detector.LIMITS, "fp16", {"boxes": 0.0, "scores": 0.0})
    before = contents(repository)
    with pytest.raises(ValueError, match=r"fp16: .* off the checkpoint, limit 0e"):
        detector.export(loaded, pages, {}, repository, precision=0.0)
    assert contents(repository) == before


def test_other_classes_do_not_become_document_detector(tmp_path, pages, repository):
    other = checkpoints.load(str(save_checkpoint(tmp_path / "other.pt", ("logo", "stamp"))))
    before = contents(repository)
    with pytest.raises(ValueError, match=r"document_detector has .* this one logo,stamp.*--name"):
        detector.export(other, pages, {}, repository)
    assert contents(repository) == before


def test_int8_keeps_the_contract(loaded, pages, tmp_path):
    graph = detector.quantised(loaded, detector.to_graph(loaded, tmp_path / "x.onnx"), pages)
    ov.save_model(graph, tmp_path / "model.xml")
    saved = ov.Core().read_model(tmp_path / "model.xml")
    check_contract(saved, REPOSITORY / "document_yolo" / "config.pbtxt")
    assert any(op.get_type_name() == "FakeQuantize" for op in saved.get_ops())
    last = [
        op for op in saved.get_ops() if re.search(r"cv[23]\.\d\.2/Conv", op.get_friendly_name())
    ]
    sources = [op.input_value(0).get_node() for op in last if op.get_type_name() == "Convolution"]
    assert len(sources) == 6
    assert not any(source.get_type_name() == "FakeQuantize" for source in sources)


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


def scores(ap50: float, recall: float) -> dict[str, ClassScore]:
    """Both classes alike: 100 boxes, of which 100 * recall are found above 0.5."""
    hits = np.ones(round(100 * recall), bool)
    return dict.fromkeys(CLASSES, ClassScore(100, ap50, 0.0, np.full(len(hits), 0.9), hits))


@pytest.mark.parametrize(
    ("ap50", "recall", "figure"), [(0.894, 0.9, "ap50"), (0.9, 0.88, "recall")]
)
def test_int8_that_loses_too_much_is_refused_with_the_figures(ap50, recall, figure):
    thresholds = dict.fromkeys(CLASSES, 0.5)
    with pytest.raises(ValueError, match=f"{figure} of signature is 0.8.*f32 0.9"):
        detector.check_int8(scores(ap50, recall), scores(0.9, 0.9), thresholds)
    detector.check_int8(scores(0.896, 0.9), scores(0.9, 0.9), thresholds)


def test_a_threshold_is_never_rounded_down():
    assert detector.rounded_up(0.12341) == 0.1235
    assert detector.rounded_up(0.25) == 0.25
