"""Every kind of detector, exported and served, finds what its own framework finds.

One server at f32 has them all. Pages are no larger than the input, so that the frameworks and the
served steps enlarge them alike; how pages are shrunk is document_preprocess' own matter.
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import huggingface_hub
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.ops import batched_nms, box_convert
from tritonclient.grpc.model_config_pb2 import ModelInstanceGroup
from ultralytics import RTDETR, YOLO
from ultralytics.nn.tasks import ClassificationModel, SegmentationModel

from countersign import Client, Refused
from export import checkpoints, detector, entries
from export.repository import read_config
from export.rollback import roll_back
from inprocess import Detector
from inprocess.steps import fit
from server import Settings, Triton
from training.detector import lite
from training.detector.labels import Labelled
from training.detector.lite_net import predictions

SHIPPED = Path(__file__).parents[2] / "model_repository"
CHOOSERS = ("yolov10n", "yolo26n")  # end-to-end heads
DETRS = ("conditional", "padded", "detr")
ULTRALYTICS = {  # what each says of its training; imgsz is height, width
    "yolov8n": {"names": ("signature",), "imgsz": 160},
    "yolo11n": {"imgsz": [160, 128]},
    "yolo12n": {"imgsz": [160, 128], "fit": "upright"},
    "yolov10n": {},
    "yolo26n": {"imgsz": [128, 160]},
    "rtdetr": {"imgsz": [160, 128]},
}
ONNX = {"onnx_cpu": "yolov8n", "onnx_openvino": "yolov10n"}
KINDS = (*ULTRALYTICS, "lite", *DETRS, *ONNX)
OPENVINO = """optimization {
  execution_accelerators { cpu_execution_accelerator [ { name: "openvino" } ] }
}
"""
SHAPES = [(128, 128), (90, 128), (128, 60), (64, 48)]  # width, height
ASKED, SURE = 0.25, 0.27  # what is asked for, and what both sides must then have
BOXES, SCORES = 0.5, 1e-2  # largest differences: px of the page, and scores; FP16 rounds weights


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> list[Labelled]:
    """Pages of noise in four shapes, with a box of each class."""
    folder = tmp_path_factory.mktemp("pages")
    rng = np.random.default_rng(0)
    pages = []
    for width, height in SHAPES:
        noise = rng.integers(0, 256, (height // 8, width // 8, 3), np.uint8)
        path = folder / f"{width}x{height}.png"
        cv2.imwrite(str(path), cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC))
        xyxy = np.array([[5, 6, 15, 19], [20, 30, 28, 38]], np.float32)
        none = np.empty((0, 4), np.float32)
        pages.append(Labelled(path, path.stem, (width, height), np.array([0, 1]), xyxy, none))
    return pages


@pytest.fixture(scope="module")
def sources(saved, tmp_path_factory) -> dict[str, Path]:
    """Name of each detector -> its checkpoint."""
    folder = tmp_path_factory.mktemp("checkpoints")
    made = {
        kind: saved(folder / f"{kind}.pt", kind, **properties)
        for kind, properties in ULTRALYTICS.items()
    }
    made |= {kind: saved(folder / kind, kind) for kind in DETRS}
    made["lite"] = saved(folder / "lite.pt", "lite")
    for name, kind in ONNX.items():
        properties = {"end2end": "True"} if kind in CHOOSERS else {"width": 160}
        made[name] = saved(folder / f"{name}.onnx", kind, **properties)
    return made


@pytest.fixture(scope="module")
def repository(sources, pages, tmp_path_factory) -> Path:
    """A repository with a detector of each kind and nothing else."""
    repository = tmp_path_factory.mktemp("served") / "repository"
    for name, source in sources.items():
        card = detector.export(
            checkpoints.load(str(source)), {"noise": pages}, {}, repository, name, precision=0.0
        )
        assert card["name"] == f"{name}_model"
    config = repository / "onnx_openvino_model" / "config.pbtxt"
    config.write_text(config.read_text() + OPENVINO)
    return repository


@pytest.fixture(scope="module")
def zoo(repository):
    """The server of that repository."""
    with Triton(
        Settings(repository, http_port=0, grpc_port=0, metrics_port=0, precision="f32")
    ) as zoo:
        yield zoo


@pytest.fixture
def client(zoo):
    with Client(zoo.grpc_url) as client:
        yield client


def by_ultralytics(name: str, source: Path) -> Callable[[Path], list[tuple]]:
    """What ultralytics' own predict finds on a page, as (label, score, xyxy)."""
    model = (RTDETR if name == "rtdetr" else YOLO)(source.with_suffix(".pt"))
    size = [128, 160] if name == "onnx_cpu" else ULTRALYTICS.get(name, {}).get("imgsz", 128)
    nms = False if name in CHOOSERS or ONNX.get(name) in CHOOSERS else None

    def find(page: Path) -> list[tuple]:
        image = cv2.imread(str(page))
        stretch = np.ones(2)
        if name == "yolo12n" and image.shape[0] >= image.shape[1]:
            stretch = np.array([128, 160]) / image.shape[1::-1]
            image = cv2.resize(image, (128, 160))
        (found,) = model.predict(
            image, imgsz=size, rect=False, conf=ASKED, iou=0.5, max_det=300,
            nms=nms, device="cpu", verbose=False,
        )  # fmt: skip
        edges = np.tile(image.shape[1::-1], 2)
        xyxy = found.boxes.xyxy.numpy().clip(0, edges) / np.tile(stretch, 2)
        rows = zip(found.boxes.cls, found.boxes.conf, xyxy, strict=True)
        return [(found.names[int(i)], float(score), xyxy) for i, score, xyxy in rows]

    return find


def by_lite(source: Path) -> Callable[[Path], list[tuple]]:
    """The same, by torch and torchvision."""
    model = lite.read(source).eval()

    def find(page: Path) -> list[tuple]:
        image = cv2.imread(str(page))[..., ::-1].copy()
        pixels = torch.from_numpy(cv2.resize(image, (128, 160))).permute(2, 0, 1)[None] / 255
        with torch.no_grad():
            rows = predictions(model(pixels), 160, 128)[0].T
        scores, class_ids = rows[:, 4:].max(1)
        xyxy = box_convert(rows[:, :4], "cxcywh", "xyxy")
        asked = scores >= ASKED
        best = batched_nms(xyxy[asked], scores[asked], class_ids[asked], 0.5)
        edges = np.tile(image.shape[1::-1], 2)
        boxes = (xyxy[asked][best].numpy() * edges / (128, 160, 128, 160)).clip(0, edges)
        found = zip(class_ids[asked][best], scores[asked][best], boxes, strict=True)
        return [(model.names[int(i)], float(score), box) for i, score, box in found]

    return find


def by_transformers(name: str, source: Path) -> Callable[[Path], list[tuple]]:
    """The same, by the processor's own post_process_object_detection."""
    config = checkpoints.AutoConfig.from_pretrained(source)
    processor = checkpoints.AutoImageProcessor.from_pretrained(source)
    model = checkpoints.AutoModelForObjectDetection.from_pretrained(source).eval()

    def find(page: Path) -> list[tuple]:
        image = Image.open(page).convert("RGB")
        with torch.no_grad():
            outputs = model(**processor(image, return_tensors="pt"))
        size = np.array(image.size)
        # boxes of one that pads to a fixed size are shares of what it pads to: 128 x 160 px
        padded = np.array([128, 160])
        whole = padded / (padded / size).min() if name == "padded" else size
        (found,) = processor.post_process_object_detection(
            outputs, ASKED, torch.tensor(whole[::-1].copy())[None]
        )
        xyxy = np.clip(found["boxes"].numpy().reshape(-1, 2, 2), 0, size).reshape(-1, 4)
        rows = zip(found["labels"], found["scores"], xyxy, strict=True)
        return [(config.id2label[int(i)], float(score), box) for i, score, box in rows]

    return find


def unmatched(ones: list[tuple], others: list[tuple]) -> list[tuple]:
    """Those of `ones`, surer than SURE, of which `others` have none within the limits."""
    return [
        (label, score, xyxy)
        for label, score, xyxy in ones
        if score >= SURE
        and not any(
            label == other and abs(score - at) <= SCORES and np.abs(xyxy - box).max() <= BOXES
            for other, at, box in others
        )
    ]


@pytest.mark.parametrize("name", KINDS)
def test_served_boxes_are_those_of_the_framework(client, sources, pages, name):
    if name == "lite":
        theirs_of = by_lite(sources[name])
    else:
        theirs_of = (by_transformers if name in DETRS else by_ultralytics)(name, sources[name])
    for page in pages:
        found = client.detect(page.path, confidence=ASKED, model=name)
        served = [(one.label, one.score, np.array(one.box)) for one in found]
        theirs = theirs_of(page.path)
        assert theirs
        assert unmatched(theirs, served) == []
        assert unmatched(served, theirs) == []
        assert found.page_size == page.size


@pytest.mark.parametrize("name", KINDS)
def test_one_process_answers_as_the_server_does(client, repository, pages, name):
    alone = Detector(repository, name, precision="f32")
    for page in pages:
        served = client.detect(page.path, confidence=ASKED, model=name)
        found = alone.detect(page.path.read_bytes(), confidence=ASKED)
        np.testing.assert_array_equal(found["boxes"], served.boxes)
        np.testing.assert_array_equal(found["scores"], served.scores)
        assert tuple(found["labels"]) == served.labels


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_models_are_listed_with_version_and_operating_point(zoo, repository, protocol):
    with Client(getattr(zoo, f"{protocol}_url"), protocol=protocol) as client:
        models = {model.name: model for model in client.models()}
    assert set(models) == set(KINDS)
    for name, model in models.items():
        card = json.loads((repository / f"{name}_model" / "1" / "model_card.json").read_text())
        assert model.version == 1
        assert model.confidence == card["thresholds"]["confidence"]
    assert list(models["yolov8n"].confidence) == ["signature"]


def test_a_detector_without_nms_refuses_an_overlap(client, pages):
    with pytest.raises(Refused, match="parameter iou: unknown"):
        client.detect(pages[0].path, iou=0.5, model="yolov10n")


def test_each_page_is_answered_by_the_detector_that_was_asked(client, pages):
    """Whatever sizes and ways to fit a page the others have."""
    found = [client.detect(pages[1].path, confidence=0.1, model=name) for name in ULTRALYTICS]
    again = [client.detect(pages[1].path, confidence=0.1, model=name) for name in ULTRALYTICS]
    for one, other in zip(found, again, strict=True):
        np.testing.assert_array_equal(one.boxes, other.boxes)
    assert len({one.scores.tobytes() for one in found}) == len(ULTRALYTICS)


def test_graphs_follow_the_rules_of_the_native_backends(repository):
    """What they are, export checks itself; here what a config may say and a graph consist of."""
    for name in KINDS:
        config = read_config(repository / f"{name}_model" / "config.pbtxt")
        assert config.backend == ("onnxruntime" if name in ONNX else "openvino")
        assert config.max_batch_size == 0
        assert not config.HasField("dynamic_batching")
        assert [group.kind for group in config.instance_group] == [ModelInstanceGroup.KIND_CPU]
        assert all(size > 0 for io in (*config.input, *config.output) for size in io.dims)
        if name not in ONNX:
            assert not config.HasField("optimization")
            text = (repository / f"{name}_model" / "1" / "model.xml").read_text()
            opsets = {int(number) for number in re.findall(r'version="opset(\d+)"', text)}
            assert max(opsets) <= 14


def test_an_ensembles_steps_take_and_give_the_tensors_it_maps(repository):
    for name in KINDS:
        config = read_config(repository / name / "config.pbtxt")
        tensors = {io.name: (io.data_type, list(io.dims)) for io in config.input}
        for step in config.ensemble_scheduling.step:
            model = read_config(repository / step.model_name / "config.pbtxt")
            assert {io.name for io in model.input} == set(step.input_map)
            for io in model.input:
                assert tensors[step.input_map[io.name]] == (io.data_type, list(io.dims))
            for io in model.output:
                if io.name in step.output_map:
                    tensors[step.output_map[io.name]] = (io.data_type, list(io.dims))
        for io in config.output:
            assert tensors[io.name] == (io.data_type, list(io.dims))


def test_one_preprocess_serves_all_and_postprocess_has_the_code_of_the_shipped_one(repository):
    steps = sorted(path.parent.parent.name for path in repository.glob("*/1/model.py"))
    names = KINDS
    assert steps == sorted(["document_preprocess", *(f"{name}_postprocess" for name in names)])
    for name in names:
        copy, shipped = repository / f"{name}_postprocess", SHIPPED / "document_postprocess"
        for file in ("model.py", "heads.py"):
            assert (copy / "1" / file).read_bytes() == (shipped / "1" / file).read_bytes()


@pytest.fixture
def empty(tmp_path) -> Path:
    return tmp_path / "repository"


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path):
    (tmp_path / "notes.pt").write_text("hello")
    with pytest.raises(ValueError, match=r"notes\.pt: 5 bytes, no checkpoint$"):
        checkpoints.load(str(tmp_path / "notes.pt"))


@pytest.mark.parametrize(
    ("kind", "head"), [("yolov8n-seg", "Segment"), ("yolov8n-cls", "Classify")]
)
def test_a_checkpoint_for_another_task_is_refused(tmp_path, kind, head):
    model = (SegmentationModel if head == "Segment" else ClassificationModel)(
        f"{kind}.yaml", nc=2, verbose=False
    )
    torch.save({"model": model, "train_args": {}}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=rf"other\.pt: a checkpoint with the head {head}, those"):
        checkpoints.load(str(tmp_path / "other.pt"))


def test_a_file_that_torch_saved_and_no_model_is_refused(tmp_path):
    torch.save({"weights": torch.zeros(2)}, tmp_path / "state.pt")
    with pytest.raises(ValueError, match=r"state\.pt: no ultralytics checkpoint: .*"):
        checkpoints.load(str(tmp_path / "state.pt"))


def test_an_unknown_head_is_refused(saved, tmp_path):
    path = saved(tmp_path / "other.pt", "yolov8n")
    content = torch.load(path, weights_only=False)
    content["model"].model[-1].__class__ = type("NewHead", (checkpoints.Detect,), {})
    sys.modules["__main__"].NewHead = content["model"].model[-1].__class__
    content["model"].model[-1].__class__.__module__ = "__main__"
    torch.save(content, path)
    with pytest.raises(ValueError, match=r"other\.pt: a checkpoint with the head NewHead, those"):
        checkpoints.load(str(path))


def test_a_transformers_model_of_another_head_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "yolos"}')
    with pytest.raises(ValueError, match="head of yolos, known are detr, conditional_detr"):
        checkpoints.load(str(tmp_path))


def test_a_class_name_that_repeats_is_refused(saved, tmp_path):
    path = saved(tmp_path / "twice.pt", "yolov8n", names=("stamp", "stamp"))
    with pytest.raises(ValueError, match=r"twice\.pt: classes stamp are there more than once"):
        checkpoints.load(str(path))


def test_a_hub_id_without_network_names_the_way_with_a_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    source = "countersign/nobody-has-this-in-a-cache"
    command = f"export.detector {source} --pages nowhere --name x --repository {tmp_path}"
    monkeypatch.setattr(sys, "argv", command.split())
    with pytest.raises(SystemExit, match=rf"^export\.detector: .*hf download {source} --local-dir"):
        detector.main()
    assert not list(tmp_path.iterdir())


def test_an_onnx_file_without_classes_is_refused(saved, tmp_path):
    path = saved(tmp_path / "plain.onnx", "yolov8n", task="segment")
    with pytest.raises(ValueError, match=r"plain\.onnx: a graph for segment, only detect"):
        checkpoints.load(str(path))
    path.write_bytes(b"hello")
    with pytest.raises(ValueError, match=r"plain\.onnx: no ONNX file"):
        checkpoints.load(str(path))


def test_a_name_that_is_there_is_replaced_only_when_asked(saved, pages, tmp_path, empty):
    """And a version beside it is another matter, with a way back."""
    one = checkpoints.load(str(saved(tmp_path / "one.pt", "yolov8n", names=("signature",))))
    first = detector.export(one, {"noise": pages}, {}, empty, "mine", precision=0.0)
    with pytest.raises(ValueError, match=r"'mine': version 1 is there; --replace"):
        detector.export(one, {"noise": pages}, {}, empty, "mine", version=1, precision=0.0)
    second = detector.export(one, {"noise": pages[:1]}, {}, empty, "mine", precision=0.0)
    assert (first["version"], second["version"]) == (1, 2)
    assert second["thresholds"] != first["thresholds"]
    config = empty / "mine_postprocess" / "config.pbtxt"
    set_to = read_config(config).parameters["confidence_signature"].string_value
    assert float(set_to) == second["thresholds"]["confidence"]["signature"]

    assert roll_back(empty, "mine") == (2, 1)
    assert [path.name for path in (empty / "mine_model").glob("[0-9]*")] == ["1"]
    set_to = read_config(config).parameters["confidence_signature"].string_value
    assert float(set_to) == first["thresholds"]["confidence"]["signature"]
    with pytest.raises(ValueError, match=r"versions \[1\], none to go back to"):
        roll_back(empty, "mine")

    two = checkpoints.load(str(saved(tmp_path / "two.pt", "yolov10n")))
    with pytest.raises(ValueError, match=r"mine has classes and head signature, grid"):
        detector.export(two, {"noise": pages}, {}, empty, "mine", precision=0.0)
    detector.export(two, {"noise": pages}, {}, empty, "mine", replace=True, precision=0.0)
    assert read_config(config).parameters["head"].string_value == "end2end"


@pytest.mark.parametrize(
    ("imgsz", "reason"),
    [([100, 128], "100 x 128, no multiples of its stride 32"), ([1, 2, 3], "known are one or two")],
)
def test_an_input_size_that_cannot_be_is_refused(saved, tmp_path, imgsz, reason):
    path = saved(tmp_path / "one.pt", "yolov8n")
    with pytest.raises(ValueError, match=rf"one\.pt: input size .*{reason}"):
        checkpoints.load(str(path), imgsz)


def test_a_checkpoint_is_fitted_as_asked_and_else_as_it_says(saved, tmp_path):
    path = saved(tmp_path / "one.pt", "yolov8n", imgsz=[160, 128], fit="upright")
    assert checkpoints.load(str(path)).fit == fit.Fit(128, 160, "upright")
    assert checkpoints.load(str(path), [64], "stretch").fit == fit.Fit(64, 64, "stretch")
    with pytest.raises(ValueError, match="fit 'upright', but its pages are fitted as its proc"):
        checkpoints.load(str(saved(tmp_path / "detr", "detr")), way="upright")
    saved(path, "yolov8n", fit="tilted")
    with pytest.raises(ValueError, match=r"one\.pt: trained with fit 'tilted', known are letterb"):
        checkpoints.load(str(path))


@pytest.mark.parametrize("name", ["../x", "two words", "captcha_reader"])
def test_a_name_that_is_none_or_something_elses_is_refused(name):
    with pytest.raises(ValueError, match=f"name '{re.escape(name)}'"):
        entries.check_name(SHIPPED, name, 1, replace=True)


def test_the_comparison_has_a_row_for_each_detector(zoo, pages, tmp_path):
    labels = {
        page.path.name: {
            "width": page.size[0],
            "height": page.size[1],
            "boxes": [{"class": "signature", "xyxy": page.xyxy[0].tolist()}],
        }
        for page in pages
    }
    (tmp_path / "images").symlink_to(pages[0].path.parent)
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    command = ["-m", "benchmarks.accuracy.compare", "--pages", tmp_path, "--out", tmp_path / "out"]
    subprocess.run(
        [sys.executable, *map(str, command), "--url", zoo.grpc_url], cwd=SHIPPED.parent, check=True
    )
    report = json.loads((tmp_path / "out" / "compare.json").read_text())
    rows = {row["model"]: row for row in report["models"]}
    assert set(rows) == set(KINDS)
    for row in rows.values():
        assert set(row["classes"]) == {"signature"}  # no page has a stamp
        assert row["classes"]["signature"]["boxes"] == len(pages)
        assert row["latency_ms"]["median"] > 0
    Image.open(tmp_path / "out" / "compare.png").verify()
