import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import openvino as ov
import pytest
import torch

from countersign import Client
from export import captcha
from export.captcha import (
    Served,
    check_int8,
    gap,
    with_views,
    write_ir,
)
from export.gates import check_contract
from export.repository import read_config
from export.rollback import roll_back
from inprocess import Reader
from server import Server, Settings
from training.captcha.images import HEIGHT, WIDTH, Images
from training.captcha.model import (
    CaptchaReader,
    ReaderConfig,
    load,
    save,
)

REPOSITORY = Path(__file__).parents[2] / "model_repository"
export = partial(captcha.export, others=1)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A reader with random weights."""
    torch.manual_seed(0)
    reader = CaptchaReader(ReaderConfig("test_resnet")).eval()
    path = tmp_path_factory.mktemp("run") / "best.pt"
    save(reader, path)
    return path


@pytest.fixture
def repository(tmp_path):
    return repository_in(tmp_path)


def repository_in(folder: Path) -> Path:
    """`folder` with the configs that an export reads."""
    for name in ("captcha_heads", "captcha_postprocess", "captcha_reader"):
        (folder / name).mkdir()
        shutil.copy(REPOSITORY / name / "config.pbtxt", folder / name)
    return folder


@pytest.fixture(scope="module")
def images(checkpoint):
    """Twelve images, labelled with what the random reader reads, so that it is always right."""
    pixels = np.random.default_rng(0).integers(0, 256, (12, HEIGHT, WIDTH), np.uint8)
    with torch.no_grad():
        labels = load(checkpoint)(torch.from_numpy(pixels)).argmax(-1).numpy()
    return Images(pixels, labels, tuple(map(str, range(12))))


def test_views_keep_their_labels_and_follow_a_seed(images):
    viewed = with_views(images, views=2)
    assert viewed.pixels.shape == (36, HEIGHT, WIDTH)
    np.testing.assert_array_equal(viewed.pixels[:12], images.pixels)
    np.testing.assert_array_equal(viewed.labels[12:24], images.labels)
    np.testing.assert_array_equal(with_views(images, views=2).pixels, viewed.pixels)


@pytest.fixture(scope="module")
def exported(checkpoint, images, tmp_path_factory):
    """An export's card and the repository that it went into."""
    folder = repository_in(tmp_path_factory.mktemp("exported"))
    return export(checkpoint, images, {"same": images}, folder, precision=0.5), folder


def test_an_export_serves_the_contract_and_its_card(exported):
    card, folder = exported
    version = folder / "captcha_heads" / "1"
    assert sorted(p.name for p in version.iterdir()) == [
        "model.bin",
        "model.xml",
        "model_card.json",
    ]
    assert json.loads((version / "model_card.json").read_text()) == card
    model = ov.Core().read_model(version / "model.xml")
    check_contract(model, REPOSITORY / "captcha_heads" / "config.pbtxt")
    assert card["metrics"]["f32"]["same"]["images"] == 12
    assert card["metrics"]["f32"]["same"]["exact_match"] == 1


def test_the_served_graph_has_the_temperature_in_it(checkpoint, images, exported):
    card, folder = exported
    ir = folder / "captcha_heads" / "1" / "model.xml"
    compiled = ov.compile_model(ir, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    with torch.no_grad():
        raw = load(checkpoint)(torch.from_numpy(images.pixels[:1])).numpy()
    expected = raw / card["calibration"]["temperature"]
    np.testing.assert_allclose(compiled(images.pixels[:1])["logits"], expected, atol=0.05)


def test_a_run_with_folds_is_calibrated_on_what_they_read(checkpoint, images, tmp_path):
    run, folder = tmp_path / "run", tmp_path / "repository"
    for path in (run, folder):
        path.mkdir()
    shutil.copy(checkpoint, run / "best.pt")
    labels = np.tile(images.labels, (5, 1))
    logits = 9 * np.eye(10, dtype=np.float32)[labels]
    np.savez(run / "held_out.npz", logits=logits, labels=labels)
    card = export(run / "best.pt", None, {"same": images}, repository_in(folder), precision=0.5)
    assert card["calibration"]["images"] == card["data"]["calibration"]["images"] == 60
    assert card["calibration"]["answered"] == 1
    assert card["calibration"]["wrong"] == 0


def test_a_run_without_folds_needs_images_to_calibrate_on(checkpoint, images, repository):
    with pytest.raises(ValueError, match=r"held_out.npz: not there, .* --validation DIR is needed"):
        export(checkpoint, None, {"same": images}, repository)


def test_the_operating_point_reaches_the_postprocess_step(exported):
    card, folder = exported
    config = read_config(folder / "captcha_postprocess" / "config.pbtxt")
    found = float(config.parameters["min_confidence"].string_value)
    assert found == card["thresholds"]["min_confidence"]


def test_the_shipped_card_and_the_shipped_step_share_an_operating_point():
    versions = [p for p in (REPOSITORY / "captcha_heads").iterdir() if p.name.isdigit()]
    newest = max(versions, key=lambda path: int(path.name))
    card = json.loads((newest / "model_card.json").read_text())
    config = read_config(REPOSITORY / "captcha_postprocess" / "config.pbtxt")
    found = float(config.parameters["min_confidence"].string_value)
    assert found == card["thresholds"]["min_confidence"]


def test_a_refused_export_leaves_the_repository_as_it_was(checkpoint, images, repository):
    def contents():
        return {p: p.read_bytes() for p in repository.rglob("*") if p.is_file()}

    wrong = Images(images.pixels, (images.labels + 1) % 10, images.names)
    before = contents()
    with pytest.raises(ValueError, match="none of 72 images is read right"):
        export(checkpoint, wrong, {"same": images}, repository)
    assert contents() == before


def test_a_version_that_is_there_is_replaced_only_when_asked(checkpoint, images, repository):
    (repository / "captcha_heads" / "1").mkdir()
    with pytest.raises(ValueError, match="version 1 is there: --replace, or no --version"):
        export(checkpoint, images, {}, repository, version=1, precision=0.5)


def test_a_graph_of_another_shape_is_refused(checkpoint, images, repository):
    config = repository / "captcha_heads" / "config.pbtxt"
    config.write_text(config.read_text().replace("[ 1, 50, 200 ]", "[ 1, 64, 200 ]"))
    with pytest.raises(ValueError, match=r"input of the graph: .*\[1, 50, 200\].*\[1, 64, 200\]"):
        export(checkpoint, images, {"same": images}, repository, precision=0.5)
    assert not (repository / "captcha_heads" / "1").exists()


def test_int8_is_exported_as_int8(checkpoint, images, repository):
    card = export(checkpoint, images, {}, repository, int8=True, precision=0.5)
    assert card["graph"]["weights"] == "INT8"
    model = ov.Core().read_model(repository / "captcha_heads" / "1" / "model.xml")
    assert "FakeQuantize" in {node.get_type_name() for node in model.get_ops()}


def test_int8_that_reads_one_image_fewer_is_refused_with_the_figures():
    full = {"test": {"images": 200, "exact_match": 1.0}}
    check_int8(full, full)
    with pytest.raises(ValueError, match=r"test: INT8 reads 99\.50% of 200 images, f32 100\.00%"):
        check_int8({"test": {"images": 200, "exact_match": 0.995}}, full)


def test_the_gap_is_the_largest_difference_of_a_probability(images):
    """Of ten equal logits one is raised by 1: e / (e + 9) - 1 / 10 more."""
    truth = np.zeros((12, 6, 10), np.float32)
    answer = truth[:1].copy()
    answer[0, 0, 0] = 1
    found = gap(lambda pixels: answer, images, truth, "test")
    assert found == {"probabilities": pytest.approx(np.e / (np.e + 9) - 0.1, rel=1e-5)}


def test_a_graph_that_drifts_from_its_checkpoint_is_refused(checkpoint, images, tmp_path):
    served = Served(load(checkpoint), temperature=0.01).eval()  # sharp, so that it shows
    wrong = np.zeros((12, 6, 10), np.float32)
    with pytest.raises(ValueError, match=r"onnx: probabilities are .* limit 1e-04"):
        write_ir(served, images, wrong, tmp_path, int8=False)


def test_a_reader_of_other_texts_is_exported_served_and_taken_back(exported, tmp_path):
    """Four signs of an alphabet with letters, then the six digits of the version before."""
    _, six = exported
    repository = shutil.copytree(six, tmp_path / "repository")
    for name in ("captcha_preprocess", "captcha_postprocess/1", "captcha_reader/1"):
        shutil.copytree(REPOSITORY / name, repository / name)
    torch.manual_seed(1)
    reader = CaptchaReader(ReaderConfig(places=4, alphabet="0Bax")).eval()
    save(reader, tmp_path / "best.pt")
    pixels = np.random.default_rng(2).integers(0, 256, (6, HEIGHT, WIDTH), np.uint8)
    with torch.no_grad():
        labels = reader(torch.from_numpy(pixels)).argmax(-1).numpy()
    images = Images(pixels, labels, tuple(map(str, range(6))), alphabet="0Bax")
    card = export(tmp_path / "best.pt", images, {"same": images}, repository, precision=0.5)
    assert (card["version"], card["classes"], card["input"]["digits"]) == (2, list("0Bax"), 4)

    files = [cv2.imencode(".png", each)[1].tobytes() for each in pixels]
    samples = tmp_path / "samples"
    samples.mkdir()
    (samples / "a.png").write_bytes(files[0])
    (samples / "captchas.json").write_text(json.dumps({"a.png": images.texts[0]}))
    settings = Settings(
        repository=repository, samples=samples, http_port=0, grpc_port=0, metrics_port=0
    )
    with Server(settings) as server, Client(server.grpc_url) as client:
        readings = [client.read(file) for file in files]
    assert [reading.text for reading in readings] == images.texts
    assert {len(reading.digit_confidence) for reading in readings} == {4}
    alone = Reader(repository).read(files[0])
    assert alone["text"].tolist() == [images.texts[0]]
    assert alone["digit_confidence"].shape == (4,)

    assert roll_back(repository, "captcha_reader") == (2, 1)
    for name in ("captcha_heads", "captcha_postprocess", "captcha_reader"):
        path = Path(name, "config.pbtxt")
        assert read_config(repository / path) == read_config(six / path)


def test_images_of_another_length_or_alphabet_are_refused(checkpoint, images, repository):
    five = replace(images, labels=images.labels[:, :5])
    with pytest.raises(ValueError, match="same: labels of 5 characters, the reader has 6"):
        export(checkpoint, images, {"same": five}, repository, precision=0.5)
    letters = replace(images, alphabet="abcdefghij")
    with pytest.raises(ValueError, match="is none of 0123456789"):
        export(checkpoint, letters, {}, repository, precision=0.5)
    assert not list((repository / "captcha_heads").glob("[0-9]*"))
