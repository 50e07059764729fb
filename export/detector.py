"""Detector checkpoint -> ONNX -> OpenVINO IR -> model repository.

    python -m export.detector CHECKPOINT --pages DIR [--name NAME] [--real DIR] [--int8]

CHECKPOINT is a .pt file of ultralytics (YOLOv8, YOLOv10, YOLO11, YOLO12, YOLO26, RT-DETR), a
folder or hub id of transformers (DETR, Conditional DETR), or an .onnx file that ultralytics wrote,
which is served as it is. Without --name it is a new version of document_detector; with it, an
ensemble of that name beside it.

Operating points are chosen on the validation pages of DIR, figures measured on its test pages and
on those of --real. Nothing is written into the repository before the graph has the contract's
names, types and shapes, agrees with the checkpoint and, quantised, finds as much as f32.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import cv2
import nncf
import numpy as np
import onnxruntime
import openvino as ov
import torch
from tqdm import tqdm

from export import entries
from export.checkpoints import WAYS, Detector, Predict, load
from export.gates import check_contract, check_gap, commit
from export.graphs import convert
from export.repository import new_version, set_parameters
from inprocess.steps import fit, heads
from training.detector.labels import CLASSES, Labelled, read_pages
from training.detector.score import ClassScore, Found, score

REPOSITORY = Path("model_repository")
IOU = 0.5  # overlap above which the weaker of two boxes of a class goes
MAX_DETECTIONS = 300
LOWEST_SCORE = 0.001  # for average precision
UNMEASURED = 0.5  # threshold of a class that no validation page has
F32 = {"INFERENCE_PRECISION_HINT": "f32"}  # else a CPU with native bfloat16 uses it
# Largest difference to the checkpoint at f32: box edges in input pixels, among boxes that score
# at least 0.1, and scores.
LIMITS = {
    "onnx": {"boxes": 0.05, "scores": 1e-3},
    "fp16": {"boxes": 1.0, "scores": 2e-2},
}
SURE = 0.1  # score of the boxes that are compared
INT8_DROPS = {"ap50": 0.005, "recall": 0.01}  # largest losses against f32
CALIBRATION = 200  # pages


def to_graph(detector: Detector, onnx: Path) -> ov.Model:
    """Write the ONNX file; returns the same graph for OpenVINO: `pixels` -> `predictions`."""
    height, width = detector.fit.height, detector.fit.width
    example = [torch.zeros(1, height, width, 3, dtype=torch.uint8)]
    if detector.masked:
        example.append(torch.tensor([0, 0, width, height / 2]))
    detector.graph(*example)  # anchors take the input's shape
    torch.onnx.export(
        detector.graph,
        tuple(example),
        onnx,
        dynamo=False,
        opset_version=17,
        input_names=["pixels", "letterbox"][: len(example)],
        output_names=["predictions"],
    )
    return convert(onnx)


def read_page(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB. ValueError if the file does not decode."""
    page = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if page is None:
        raise ValueError(f"{path}: no image")
    return cv2.cvtColor(page, cv2.COLOR_BGR2RGB)


def fitted(page: np.ndarray, how: fit.Fit) -> tuple[np.ndarray, np.ndarray]:
    """A page (H, W, 3) uint8 as input: pixels, and its letterbox (4,) float32."""
    box = fit.letterbox(page.shape[1], page.shape[0], how)
    return fit.to_pixels(page, box, how), np.array(box, np.float32)


def find(predict: Predict, detector: Detector, pages: Sequence[Labelled], name: str) -> list[Found]:
    """What the detector finds on each page, from LOWEST_SCORE up, in pixels of the page.

    Classes are those of the labels; boxes of other classes are left out.
    """
    lowest = np.full(len(detector.classes), LOWEST_SCORE, np.float32)
    limits = heads.Thresholds(lowest, IOU, MAX_DETECTIONS)
    of_labels = np.array([label_id(name) for name in detector.classes])
    found = []
    for page in tqdm(pages, desc=name, unit="page"):
        image = read_page(page.path)
        pixels, box = fitted(image, detector.fit)
        rows = getattr(heads, detector.head)(predict(pixels, box)[0], limits)
        xyxy = heads.to_page(rows[0], box, np.array([image.shape[1], image.shape[0]]))
        class_ids = of_labels[rows[2]]
        known = class_ids >= 0
        found.append(Found(xyxy[known], rows[1][known], class_ids[known]))
    return found


def label_id(name: str) -> int:
    """The number that labelled pages have for a class, -1 if none."""
    return CLASSES.index(name) if name in CLASSES else -1


def torch_predict(detector: Detector) -> Predict:
    def predict(pixels: np.ndarray, letterbox: np.ndarray) -> np.ndarray:
        given = [torch.from_numpy(one) for one in inputs_of(detector, pixels, letterbox)]
        with torch.inference_mode():
            return detector.graph(*given).numpy()

    return predict


def onnx_predict(detector: Detector, path: Path) -> Predict:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [tensor.name for tensor in session.get_inputs()]

    def predict(pixels: np.ndarray, letterbox: np.ndarray) -> np.ndarray:
        given = inputs_of(detector, pixels, letterbox)
        return session.run(None, dict(zip(names, given, strict=True)))[0]

    return predict


def ir_predict(detector: Detector, model: ov.Model | Path, settings: dict[str, str]) -> Predict:
    compiled = ov.compile_model(model, "CPU", settings)
    return lambda pixels, letterbox: compiled(inputs_of(detector, pixels, letterbox))["predictions"]


def inputs_of(
    detector: Detector, pixels: np.ndarray, letterbox: np.ndarray
) -> tuple[np.ndarray, ...]:
    """What its graph takes of the two."""
    return (pixels, letterbox) if detector.masked else (pixels,)


def gap(head: str, predictions: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Largest differences between two predictions: boxes, as LIMITS says, and scores."""
    if head == "end2end":
        return gap_of_chosen(predictions[0], truth[0])
    if head == "grid":
        predictions, truth = predictions.swapaxes(1, 2), truth.swapaxes(1, 2)
    off = np.abs(predictions - truth)[0]
    sure = truth[0, :, 4:].max(axis=1) >= SURE
    centre, size = off[sure, :2], off[sure, 2:4]
    return {
        "boxes": float((centre + size / 2).max(initial=0)),
        "scores": float(off[:, 4:].max(initial=0)),
    }


def gap_of_chosen(predictions: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """The same for rows (N, 6) that the graph has chosen and put in order.

    Each sure one of `truth` is held against the nearest of its class, wherever that stands.
    """
    worst = {"boxes": 0.0, "scores": 0.0}
    for row in truth[truth[:, 4] >= SURE]:
        others = predictions[predictions[:, 5] == row[5]]
        if not len(others):
            return {"boxes": float("inf"), "scores": float("inf")}
        edges = np.abs(others[:, :4] - row[:4]).max(axis=1)
        nearest = edges.argmin()
        worst["boxes"] = max(worst["boxes"], float(edges[nearest]))
        worst["scores"] = max(worst["scores"], float(abs(others[nearest, 4] - row[4])))
    return worst


def worst_gap(
    predict: Predict, reference: Predict, detector: Detector, pages: Sequence[Labelled]
) -> dict[str, float]:
    gaps = []
    for page in pages:
        given = fitted(read_page(page.path), detector.fit)
        gaps.append(gap(detector.head, predict(*given), reference(*given)))
    return {name: float(np.max([g[name] for g in gaps])) for name in gaps[0]}


def quantised(detector: Detector, model: ov.Model, pages: Sequence[Labelled]) -> ov.Model:
    """The graph in INT8, calibrated on the pages."""
    some = pages[:: max(1, len(pages) // CALIBRATION)]
    data = nncf.Dataset([fitted(read_page(page.path), detector.fit)[0] for page in some])
    return nncf.quantize(
        model, data, preset=nncf.QuantizationPreset.MIXED, ignored_scope=ignored(detector),
        subset_size=len(some),
    )  # fmt: skip


def ignored(detector: Detector) -> nncf.IgnoredScope:
    """What stays float in a quantised graph: the first block, attention, and the head's end."""
    head = rf".*model\.{detector.last_block}/"
    ends = r"(cv[23]\.\d/cv[23]\.\d\.2/Conv|Add|Sub|Mul|Div|Concat|Split|Slice).*"
    return nncf.IgnoredScope(
        patterns=[r".*model\.0/.*", r".*/attn/.*", r".*/dfl/.*", head + ends],
        types=["Sigmoid"], validate=False,
    )  # fmt: skip


def check_int8(
    quick: dict[str, ClassScore], full: dict[str, ClassScore], thresholds: dict[str, float]
) -> None:
    """ValueError with the figures if INT8 loses more than INT8_DROPS of a class."""
    for name in full:
        pairs = {
            "ap50": (quick[name].ap50, full[name].ap50),
            "recall": tuple(s[name].at(thresholds[name])["recall"] for s in (quick, full)),
        }
        for figure, (low, high) in pairs.items():
            if not high - low <= INT8_DROPS[figure]:
                raise ValueError(
                    f"INT8: {figure} of {name} is {low:.4f}, f32 {high:.4f}, "
                    f"largest drop {INT8_DROPS[figure]}"
                )


def rounded_up(threshold: float) -> float:
    """To four decimals, never below, since a lower one would answer more."""
    return float(np.ceil(threshold * 1e4) / 1e4)


def measured(
    predict: Predict, detector: Detector, pages: Sequence[Labelled], name: str
) -> dict[str, ClassScore]:
    """The score of each of its classes that the pages have boxes of."""
    scores = score(pages, find(predict, detector, pages, name))
    return {name: own for name, own in scores.items() if own.boxes and name in detector.classes}


def operating_points(
    detector: Detector, scores: dict[str, ClassScore], precision: float
) -> dict[str, float]:
    """The threshold of each class; UNMEASURED for one without a score.

    ValueError if there are no scores at all, or one never reaches `precision`.
    """
    if not scores:
        raise ValueError(
            f"no validation page has a box of {', '.join(detector.classes)}: "
            f"no score can be chosen for a precision of {precision}"
        )
    return {
        name: rounded_up(scores[name].operating_point(precision)) if name in scores else UNMEASURED
        for name in detector.classes
    }


def figures(scores: dict[str, ClassScore], thresholds: dict[str, float]) -> dict[str, dict]:
    """What the model card says of one set of pages."""
    return {
        name: {key: round(value, 4) for key, value in own.at(thresholds[name]).items()}
        | {"ap50": round(own.ap50, 4), "ap50_95": round(own.ap50_95, 4)}
        for name, own in scores.items()
    }


def write_graph(
    detector: Detector, folder: Path, few: Sequence[Labelled]
) -> tuple[ov.Model, Path, dict[str, dict]]:
    """Writes model.xml and model.bin, or model.onnx as it is.

    Gives the graph at f32, its file, and the gaps to the checkpoint. ValueError if one is over its
    limit on the pages.
    """
    if isinstance(detector.graph, Path):
        file = folder / "model.onnx"
        shutil.copy(detector.graph, file)
        return ov.Core().read_model(file), file, {}
    onnx, file = folder / "detector.onnx", folder / "model.xml"
    model = to_graph(detector, onnx)
    ov.save_model(model, file, compress_to_fp16=True)
    predicts = {
        "onnx": onnx_predict(detector, onnx),
        "fp16": ir_predict(detector, file, F32),
    }
    gaps = {}
    for form, predict in predicts.items():
        gaps[form] = worst_gap(predict, torch_predict(detector), detector, few)
        check_gap(form, gaps[form], LIMITS[form])
    onnx.unlink()
    return model, file, gaps


def export(
    detector: Detector,
    validation: Sequence[Labelled],
    tests: dict[str, Sequence[Labelled]],
    repository: Path = REPOSITORY,
    name: str = entries.SHIPPED,
    version: int | None = None,
    replace: bool = False,
    int8: bool = False,
    precision: float = 0.95,
    origin: dict | None = None,
) -> dict:
    """Write a version of the detector `name`, its steps' settings too; returns the model card.

    Without `version` it is the next. `replace` puts it in the place of one that is there, or of all
    of a detector that is not the shipped one. `origin` is what the card says of data and training.

    Raises ValueError, and leaves the repository as it was, if the name or the version is taken or a
    check fails: the contract, the gap to the checkpoint, a class that never reaches `precision` on
    the validation pages, or INT8 that loses more than INT8_DROPS.
    """
    version = entries.check_name(repository, name, version, replace)
    if int8 and detector.head != "grid":
        raise ValueError(f"INT8: for grid heads alone, this one is {detector.head}")
    there = (repository / name).exists()
    known = there and (name == entries.SHIPPED or not replace)
    if known:
        entries.check_same(repository, name, detector)
    graph = repository / entries.step_names(name)[0]
    with new_version(graph / str(version)) as fresh:
        few = validation[:: max(1, len(validation) // 20)]
        model, file, gaps = write_graph(detector, fresh, few)
        tensors = (model.inputs[0].any_name, model.output().any_name)
        rows = [int(size) for size in model.output().shape]
        config = entries.graph_config(detector, tensors, rows)
        (fresh / "config.pbtxt").write_text(config)
        check_contract(model, (graph if known else fresh) / "config.pbtxt")
        (fresh / "config.pbtxt").unlink()

        as_it_is = file.suffix == ".onnx"
        served = onnx_predict(detector, file) if as_it_is else ir_predict(detector, model, F32)
        full = measured(served, detector, validation, "validation, f32")
        thresholds = operating_points(detector, full, precision)
        metrics = {"validation, f32": figures(full, thresholds)}
        if int8:
            ov.save_model(quantised(detector, model, validation), file)
            quick = measured(ir_predict(detector, file, F32), detector, validation, "INT8")
            check_int8(quick, full, thresholds)
            metrics["validation, int8"] = figures(quick, thresholds)
        if not as_it_is:
            served = ir_predict(detector, file, {})
        for kind, pages in tests.items():
            metrics[kind] = figures(measured(served, detector, pages, kind), thresholds)

        limits = {"iou": IOU} if detector.head == "grid" else {}
        rows_given = rows[2] if detector.head == "grid" else rows[1]
        card = {
            "name": graph.name,
            "version": version,
            "classes": list(detector.classes),
            "head": detector.head,
            "input": {
                "width": detector.fit.width,
                "height": detector.fit.height,
                "pixels": "RGB float32 planes" if detector.fit.planes else "RGB uint8",
                "fit": detector.fit.way,
                "shortest": detector.fit.shortest,
                "padding": fit.PADDING,
            },
            "graph": {
                "weights": "as it is" if as_it_is else "INT8" if int8 else "FP16",
                "gaps": gaps,
            },
            "thresholds": {
                "confidence": thresholds,
                **limits,
                "max_detections": min(MAX_DETECTIONS, rows_given),
                "precision": precision,
            },
            "metrics": metrics,
            **(origin or {}),
            "commit": commit(),
            "date": date.today().isoformat(),
        }
        (fresh / "model_card.json").write_text(json.dumps(card, indent=2) + "\n")
        if there and not known:
            entries.remove(repository, name)
    settings = entries.settings_of(card)
    if known:
        set_parameters(repository / entries.step_names(name)[1] / "config.pbtxt", settings)
    else:
        entries.write(repository, name, detector, tensors, rows, settings)
    return card


def run_of(checkpoint: Path) -> dict:
    """Command and recipe of the run whose folder holds a checkpoint, if any."""
    recipe = checkpoint.resolve().with_name("recipe.json")
    if not recipe.exists():
        return {}
    return {
        "command": "python -m training.detector.train",
        "recipe": json.loads(recipe.read_text()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", help=".pt or .onnx file, transformers folder or hub id")
    parser.add_argument(
        "--pages", type=Path, required=True, help="labelled pages, validation and test"
    )
    parser.add_argument("--real", type=Path, help="more labelled pages to test on")
    parser.add_argument("--repository", type=Path, default=REPOSITORY)
    parser.add_argument("--name", default=entries.SHIPPED, help="of the ensemble")
    parser.add_argument("--version", type=int, help="else the next one")
    parser.add_argument(
        "--replace", action="store_true", help="the version, or with --name the whole detector"
    )
    parser.add_argument(
        "--imgsz",
        type=int,
        nargs="+",
        default=(),
        metavar="PX",
        help="height and width of the input, or one number for both; else the checkpoint's own",
    )
    parser.add_argument(
        "--fit", default="", choices=WAYS, help="of pages into it; else the checkpoint's own"
    )
    parser.add_argument("--int8", action="store_true", help="quantise weights and activations")
    parser.add_argument("--precision", type=float, default=0.95, help="at the operating points")
    given = parser.parse_args()
    try:
        card = export_given(given)
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"export.detector: {error}")
    print(json.dumps(card, indent=2))


def export_given(given: argparse.Namespace) -> dict:
    """What the command line asks for; raises as `load`, `read_pages` and `export`."""
    entries.check_name(given.repository, given.name, given.version, given.replace)
    detector = load(given.checkpoint, given.imgsz, given.fit)
    validation, test = (read_pages(given.pages, split) for split in ("validation", "test"))
    tests: dict[str, Sequence[Labelled]] = {"test": test}
    if given.real:
        tests["real"] = read_pages(given.real)
        tests["real, ink only"] = read_pages(given.real, ink_only=True)
    pages = {"validation": len(validation), "test": len(test)}
    return export(
        detector,
        validation,
        tests,
        given.repository,
        given.name,
        given.version,
        given.replace,
        given.int8,
        given.precision,
        origin={
            "data": {"folder": given.pages.name, "pages": pages},
            "training": run_of(Path(given.checkpoint)),
            "license": detector.license,
        },
    )


if __name__ == "__main__":
    main()
