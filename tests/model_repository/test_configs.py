"""The repository keeps the rules of Triton's native OpenVINO backend, and its copies agree."""

import json
import re
import shutil

import openvino as ov
import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig, ModelInstanceGroup

from inprocess.model import load_module
from inprocess.repository import REPOSITORY
from server import Settings

MODELS = sorted(path.parent.name for path in REPOSITORY.glob("*/config.pbtxt"))
OV_TYPES = {DataType.TYPE_UINT8: ov.Type.u8, DataType.TYPE_FP32: ov.Type.f32}


def config_of(model: str) -> ModelConfig:
    return text_format.Parse((REPOSITORY / model / "config.pbtxt").read_text(), ModelConfig())


OPENVINO = [model for model in MODELS if config_of(model).backend == "openvino"]
ENSEMBLES = [model for model in MODELS if config_of(model).platform == "ensemble"]


def test_a_step_that_no_server_set_has_the_servers_limits(monkeypatch):
    for name in ("MAX_IMAGE_BYTES", "MAX_IMAGE_PIXELS"):
        monkeypatch.delenv(f"COUNTERSIGN_{name}", raising=False)
    decode = load_module(REPOSITORY / "document_preprocess" / "1" / "decode.py")
    assert Settings().max_image_bytes == decode.MAX_BYTES
    assert Settings().max_image_pixels == decode.MAX_PIXELS


def test_both_ensembles_and_their_graphs_are_there():
    assert ENSEMBLES == ["captcha_reader", "document_detector"]
    assert OPENVINO == ["captcha_heads", "document_yolo"]


@pytest.mark.parametrize("model", OPENVINO)
def test_a_graph_has_the_names_types_and_static_shapes_of_its_config(model):
    config = config_of(model)
    newest = max(int(path.name) for path in (REPOSITORY / model).iterdir() if path.is_dir())
    graph = ov.Core().read_model(REPOSITORY / model / str(newest) / "model.xml")
    for ports, ios in ((graph.inputs, config.input), (graph.outputs, config.output)):
        assert len(ports) == len(ios)
        for io in ios:
            (port,) = (port for port in ports if io.name in port.get_names())
            assert port.partial_shape.is_static
            assert list(port.shape) == list(io.dims)
            assert port.element_type == OV_TYPES[io.data_type]


@pytest.mark.parametrize(
    "graph", sorted(REPOSITORY.glob("*/*/model.xml")), ids=lambda path: "/".join(path.parts[-3:-1])
)
def test_a_graph_is_of_operations_that_an_older_native_openvino_knows(graph):
    text = graph.read_text()
    assert re.search(r'<net [^>]*version="11"', text)
    opsets = {int(number) for number in re.findall(r'version="opset(\d+)"', text)}
    assert max(opsets) <= 14  # 15 came with OpenVINO 2024.4, that of Triton 24.10


@pytest.mark.parametrize("model", OPENVINO)
def test_a_graph_is_not_batched_and_runs_on_the_cpu(model):
    config = config_of(model)
    assert config.max_batch_size <= 1
    assert not config.HasField("dynamic_batching")
    assert [group.kind for group in config.instance_group] == [ModelInstanceGroup.KIND_CPU]
    assert not config.HasField("optimization")  # the backend never reads it


@pytest.mark.parametrize("ensemble", ENSEMBLES)
def test_an_ensembles_steps_take_and_give_the_tensors_it_maps(ensemble):
    config = config_of(ensemble)
    types = {io.name: (io.data_type, list(io.dims)) for io in config.input}
    for step in config.ensemble_scheduling.step:
        model = config_of(step.model_name)
        assert {io.name for io in model.input} == set(step.input_map)
        for io in model.input:
            assert types[step.input_map[io.name]] == (io.data_type, list(io.dims))
        for io in model.output:
            if io.name in step.output_map:
                types[step.output_map[io.name]] = (io.data_type, list(io.dims))
    for io in config.output:
        assert types[io.name] == (io.data_type, list(io.dims))


def test_the_detectors_settings_are_those_of_its_newest_model_card():
    newest = max((REPOSITORY / "document_yolo").glob("[0-9]*"), key=lambda path: int(path.name))
    card = json.loads((newest / "model_card.json").read_text())
    parameters = config_of("document_postprocess").parameters
    settings = {name: value.string_value for name, value in parameters.items()}
    assert settings.pop("classes").split(",") == card["classes"]
    assert settings.pop("head") == card.get("head", "grid")
    chosen = {f"confidence_{name}": at for name, at in card["thresholds"]["confidence"].items()}
    chosen |= {f"review_{name}": at for name, at in card["thresholds"].get("review", {}).items()}
    chosen |= {name: card["thresholds"][name] for name in ("iou", "max_detections")}
    assert {name: float(value) for name, value in settings.items()} == chosen


def test_the_readers_operating_point_is_that_of_its_model_card():
    newest = max((REPOSITORY / "captcha_heads").glob("[0-9]*"), key=lambda path: int(path.name))
    card = json.loads((newest / "model_card.json").read_text())
    parameters = config_of("captcha_postprocess").parameters
    served = float(parameters["min_confidence"].string_value)
    assert served == card["thresholds"]["min_confidence"]
    assert list(parameters["alphabet"].string_value) == card["classes"]
    places = card["input"]["digits"]
    assert list(config_of("captcha_heads").output[0].dims) == [1, places, len(card["classes"])]


def test_both_preprocess_steps_decode_alike_wherever_the_repository_is_copied(tmp_path):
    """One has the code and the other links to it: relative links that stay inside, which object
    storage and copies that follow links turn into files.
    """
    links = [path for path in REPOSITORY.rglob("*") if path.is_symlink()]
    folder = REPOSITORY / "captcha_preprocess" / "1"
    assert sorted(links) == [folder / "decode.py", folder / "header.py"]
    for link in links:
        assert not link.readlink().is_absolute()
        assert link.resolve() == REPOSITORY / "document_preprocess" / "1" / link.name
    copied = shutil.copytree(folder, tmp_path / "1", symlinks=False)
    assert not (copied / "decode.py").is_symlink()
    assert (copied / "decode.py").read_bytes() == (folder / "decode.py").read_bytes()


@pytest.mark.parametrize("model", MODELS)
def test_the_repository_holds_nothing_but_what_triton_loads(model):
    code = {"model.py", "decode.py", "fit.py", "header.py", "heads.py", "tally.py"}
    allowed = code | {"model.xml", "model.bin", "model_card.json", ".gitkeep"}
    files = {
        path.name
        for path in (REPOSITORY / model).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert files - allowed == {"config.pbtxt"}
