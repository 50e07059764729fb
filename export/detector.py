"""Detector checkpoint -> ONNX -> OpenVINO IR -> model repository.

    python -m export.detector CHECKPOINT --pages DIR... [--test DIR...] [--name NAME] [--int8]

CHECKPOINT is a .pt file of ultralytics (YOLOv8, YOLOv10, YOLO11, YOLO12, YOLO26, RT-DETR) or of
training/detector/lite.py, a folder or hub id of transformers (DETR, Conditional DETR), or an .onnx
file that ultralytics wrote, which is served as it is. Without --name it is a new version of
document_detector; with it, an ensemble of that name beside it.

Each DIR of --pages is a kind of pages. Operating points are chosen on their validation pages (dev,
valid, val), as export/thresholds.py says, and INT8 is calibrated on their training pages, or on
those of --train. A folder that says no split is divided as the checkpoint's training divided it;
all its pages are chosen on if that learnt from no folder of its name. Figures are of the pages to
choose on, of the test pages and of those of --test. Nothing is written into the repository before
the graph has the contract's names, types and shapes, agrees with the checkpoint and, quantised,
finds as much as f32.
"""

import argparse
import json
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import cv2
import nncf
import numpy as np
import onnxruntime
import openvino as ov
import torch
from tqdm import tqdm

from export import entries, thresholds
from export.checkpoints import Detector, Predict, load
from export.gates import check_contract, check_gap, commit
from export.graphs import F32, convert
from export.repository import new_version
from export.targets import verdicts
from inprocess.steps import fit, heads
from training.detector.labels import (
    CLASSES,
    COMPLETED,
    Labelled,
    hold_out,
    read_pages,
    training_pages,
)
from training.detector.score import (
    INTERVAL,
    MATCH,
    ClassScore,
    Found,
    Kinds,
    draws,
    read_kinds,
    score,
    table,
    views,
)

REPOSITORY = Path("model_repository")
IOU = 0.5  # overlap above which the weaker of two boxes of a class goes
MAX_DETECTIONS = 300
LOWEST_SCORE = 0.001  # for average precision
UNMEASURED = 0.5  # both points of a class that no validation page has
# Largest difference to the checkpoint at f32: box edges in input pixels, among boxes that score
# at least 0.1, and scores.
LIMITS = {
    "onnx": {"boxes": 0.05, "scores": 1e-3},
    "fp16": {"boxes": 1.0, "scores": 2e-2},
}
SURE = 0.1  # score of the boxes that are compared
# INT8 may lose of f32's AP: surely, by the interval over documents, and as measured
SURE_DROP, LARGEST_DROP = 0.005, 0.03
CALIBRATION = 300  # pages at most, spread over all


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


def find_all(
    predict: Predict, detector: Detector, kinds: Kinds, name: str
) -> dict[str, list[Found]]:
    """`find` on every kind of pages."""
    return {
        kind: find(predict, detector, pages, f"{name}, {kind}") for kind, pages in kinds.items()
    }


def label_id(name: str) -> int:
    """The number that labelled pages have for a class, -1 if none."""
    return CLASSES.index(name) if name in CLASSES else -1


def torch_predict(detector: Detector) -> Predict:
    def predict(pixels: np.ndarray, letterbox: np.ndarray) -> np.ndarray:
        inputs = [torch.from_numpy(one) for one in inputs_of(detector, pixels, letterbox)]
        with torch.inference_mode():
            return detector.graph(*inputs).numpy()

    return predict


def onnx_predict(detector: Detector, path: Path) -> Predict:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [tensor.name for tensor in session.get_inputs()]

    def predict(pixels: np.ndarray, letterbox: np.ndarray) -> np.ndarray:
        inputs = inputs_of(detector, pixels, letterbox)
        return session.run(None, dict(zip(names, inputs, strict=True)))[0]

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
    if head in heads.GRIDS:
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
        inputs = fitted(read_page(page.path), detector.fit)
        gaps.append(gap(detector.head, predict(*inputs), reference(*inputs)))
    return {name: float(np.max([g[name] for g in gaps])) for name in gaps[0]}


def quantised(detector: Detector, model: ov.Model, inputs: Sequence) -> ov.Model:
    """The graph in INT8, calibrated on inputs: pixels, or each input's array by its name.

    Each layer's bias makes up for what the layers before it lost. To look at them one by one takes
    minutes; with NNCF's faster way fewer signatures were found.
    """
    ignored = nncf.IgnoredScope(patterns=list(detector.floats), types=["Sigmoid"], validate=False)
    preset = nncf.QuantizationPreset("performance" if detector.symmetric else "mixed")
    return nncf.quantize(
        model, nncf.Dataset(inputs), preset=preset, ignored_scope=ignored, subset_size=len(inputs),
        fast_bias_correction=False,
    )  # fmt: skip


def check_int8(
    quick: dict[str, ClassScore], full: dict[str, ClassScore], classes: Sequence[str]
) -> dict[str, dict]:
    """What INT8 loses of f32's AP, by class: both values, and of AP50 the interval of the drop.

    ValueError with the figures if one is surely over SURE_DROP or at all over LARGEST_DROP, or if
    no page has a box of a class.
    """
    drops = {}
    for name in classes:
        if name not in full or not full[name].boxes:
            raise ValueError(f"INT8: no page has a {name} to check it on")
        drawn = draws(len(full[name].boxes_of))
        ap50 = [scores[name].resampled(1.0, drawn)["ap50"] for scores in (full, quick)]
        low, high = np.nanpercentile(ap50[0] - ap50[1], INTERVAL)
        drops[name] = {
            "ap50": [round(scores[name].ap50, 4) for scores in (full, quick)],
            "ap50_95": [round(scores[name].ap50_95, 4) for scores in (full, quick)],
            "ap50_drop_interval": [round(float(low), 4), round(float(high), 4)],
        }
        for figure in ("ap50", "ap50_95"):
            before, after = drops[name][figure]
            sure = low if figure == "ap50" else 0.0
            if not (before - after <= LARGEST_DROP and sure <= SURE_DROP):
                raise ValueError(
                    f"INT8: {figure} of {name} is {after}, f32 {before}; the drop may be "
                    f"{LARGEST_DROP}, and by the lower end of its interval, {low:.4f}, {SURE_DROP}"
                )
    return drops


def measured(
    predict: Predict, detector: Detector, kinds: Kinds, name: str
) -> dict[str, ClassScore]:
    """Each class over the pages of all kinds."""
    found = find_all(predict, detector, kinds, name)
    pages = [page for those in kinds.values() for page in those]
    return score(pages, [seen for those in found.values() for seen in those])


def by_class(
    kinds: Kinds, found: Mapping[str, Sequence[Found]], classes: Sequence[str], overlap: float
) -> dict[str, dict[str, ClassScore]]:
    """The score of each class on each kind, as thresholds are chosen: the first of its `views`."""
    scores = {}
    for kind, pages in kinds.items():
        _, those, seen = next(iter(views(kind, pages, found[kind])))
        scores[kind] = score(those, seen, overlap)
    known = [name for name in classes if name in CLASSES]
    return {name: {kind: own[name] for kind, own in scores.items()} for name in known}


def operating_points(
    detector: Detector,
    kinds: Kinds,
    found: Mapping[str, Sequence[Found]],
    precision: float,
    overlap: float = MATCH,
) -> dict[str, dict]:
    """`confidence` (accept), `review`, and how they were `chosen`, each by class.

    A box finds a mark that it overlaps by `overlap` (IoU). UNMEASURED for a class without a box.
    ValueError if no class has one, or if the measured precision of one is below `precision` at
    every score.
    """
    scores = by_class(kinds, found, detector.classes, overlap)
    measured = {
        name: by_kind
        for name, by_kind in scores.items()
        if any(one.boxes for one in by_kind.values())
    }
    if not measured:
        raise ValueError(
            f"no validation page has a box of {', '.join(detector.classes)}: "
            f"no score can be chosen for a precision of {precision}"
        )
    points = {name: thresholds.accept(by_kind, precision) for name, by_kind in measured.items()}
    blank = [
        kind for kind in kinds if not any(by_kind[kind].boxes for by_kind in scores.values())
    ]  # pages without marks
    if blank and precision:
        pages = sum(len(kinds[kind]) for kind in blank)
        points = thresholds.with_few_alarms(points, measured, blank, pages)
    unmeasured = dict.fromkeys(detector.classes, UNMEASURED)
    review = {
        name: thresholds.review(measured[name], point.threshold) for name, point in points.items()
    }
    return {
        "confidence": unmeasured | {name: point.threshold for name, point in points.items()},
        "review": unmeasured | review,
        "chosen": {
            name: {"rule": point.rule, "pools": point.pools} for name, point in points.items()
        },
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
    kinds: Kinds,
    tests: Kinds,
    repository: Path = REPOSITORY,
    name: str = entries.SHIPPED,
    version: int | None = None,
    replace: bool = False,
    calibration: Sequence[Labelled] = (),
    precision: float = 0.95,
    origin: dict | None = None,
    overlap: float = MATCH,
) -> dict:
    """Write a version of the detector `name`, its steps' settings too; returns the model card.

    Points are chosen on `kinds`; `tests` are measured besides. With pages for `calibration` it is
    INT8. Without `version` it is the next. `replace` puts it in the place of one that is there, or
    of all of a detector that is not the shipped one. `origin` is what the card says of data and
    training.

    Raises ValueError, and leaves the repository as it was, if the name or the version is taken or a
    check fails: the contract, the gap to the checkpoint, a class whose precision never reaches
    `precision`, or an INT8 that loses too much.
    """
    version = entries.check_name(repository, name, version, replace)
    if calibration and detector.head not in heads.GRIDS:
        raise ValueError(f"INT8: for grid heads alone, this one is {detector.head}")
    there = (repository / name).exists()
    known = there and (name == entries.SHIPPED or not replace)
    if known:
        entries.check_same(repository, name, detector)
    folder = repository / entries.step_names(name)[0]
    with new_version(folder / str(version)) as fresh:
        every = [page for pages in kinds.values() for page in pages]
        few = every[:: max(1, len(every) // 20)]
        model, file, gaps = write_graph(detector, fresh, few)
        graph = entries.read_graph(fresh, detector.fit)
        (fresh / "config.pbtxt").write_text(entries.graph_config(graph))
        check_contract(model, fresh / "config.pbtxt")
        (fresh / "config.pbtxt").unlink()

        is_onnx = file.suffix == ".onnx"
        losses = {}
        if calibration:
            full = measured(ir_predict(detector, model, F32), detector, kinds, "f32")
            inputs = [fitted(read_page(page.path), detector.fit)[0] for page in calibration]
            ov.save_model(quantised(detector, model, inputs), file)
            quick = measured(ir_predict(detector, file, F32), detector, kinds, "INT8")
            losses = {"int8": check_int8(quick, full, detector.classes)}
        served = onnx_predict(detector, file) if is_onnx else ir_predict(detector, file, {})
        found = find_all(served, detector, kinds, "validation")
        points = operating_points(detector, kinds, found, precision, overlap)
        metrics = table(kinds, found, points["confidence"])
        found = find_all(served, detector, tests, "test")
        tested = table(tests, found, points["confidence"])

        limits = {"iou": IOU} if detector.head in heads.GRIDS else {}
        most_rows = graph.rows[2] if detector.head in heads.GRIDS else graph.rows[1]
        card = {
            "name": folder.name,
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
                "weights": "as it is" if is_onnx else "INT8" if calibration else "FP16",
                "gaps": gaps,
                **losses,
            },
            "thresholds": {
                **points,
                **limits,
                "max_detections": min(MAX_DETECTIONS, most_rows),
                "precision": precision,
                "overlap": overlap,
            },
            "metrics": {"validation": metrics, "test": tested},
            **({"targets": verdicts(metrics)} if name == entries.SHIPPED else {}),
            **(origin or {}),
            "commit": commit(),
            "date": date.today().isoformat(),
        }
        (fresh / "model_card.json").write_text(card_text(card))
        if there and not known:
            entries.remove(repository, name)
    entries.write(repository, name, version)
    return card


def card_text(card: dict) -> str:
    """JSON of a model card, with lists of numbers and of words on one line."""
    text = json.dumps(card, indent=2)
    return re.sub(r"\[[^][{}]+\]", lambda found: " ".join(found[0].split()), text) + "\n"


def run_of(checkpoint: Path) -> dict:
    """Command and recipe of the run whose checkpoint this is, as training/detector leaves them
    beside it; nothing for another's.
    """
    recipe = checkpoint.resolve().with_name("recipe.json")
    if not recipe.exists():
        return {}
    made = json.loads(recipe.read_text())
    module = "recipe" if "mean_of" in made else "train"
    return {"command": f"python -m training.detector.{module}", "recipe": made}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", help=".pt or .onnx file, transformers folder or hub id")
    parser.add_argument(
        "--pages",
        type=Path,
        nargs="+",
        required=True,
        metavar="DIR",
        help="labelled pages: train, validation and test; a folder for each kind",
    )
    parser.add_argument(
        "--train",
        type=Path,
        nargs="+",
        metavar="DIR",
        help="pages that INT8 is calibrated on; else the training pages of --pages",
    )
    parser.add_argument(
        "--test", type=Path, nargs="+", default=(), metavar="DIR", help="more pages to measure on"
    )
    parser.add_argument(
        "--credits", type=Path, metavar="JSON", help="whose pages these are, for the model card"
    )
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
        "--fit", default="", choices=fit.WAYS, help="of pages into it; else the checkpoint's own"
    )
    parser.add_argument("--int8", action="store_true", help="quantise weights and activations")
    parser.add_argument("--precision", type=float, default=0.95, help="at the operating points")
    parser.add_argument(
        "--overlap", type=float, default=MATCH,
        help="IoU by which a box has found a mark, where operating points are chosen",
    )  # fmt: skip
    return parser


def main() -> None:
    arguments = parser().parse_args()
    try:
        card = export_as_asked(arguments)
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"export.detector: {error}")
    print(json.dumps(card, indent=2))
    for warning in unsure(card["thresholds"], arguments.precision):
        print(f"export.detector: {warning}", file=sys.stderr)


def unsure(chosen: Mapping[str, Mapping], precision: float) -> Iterator[str]:
    """A line for each class whose precision at accept may be below `precision`, by its interval."""
    for name, how in chosen["chosen"].items():
        pools = how["pools"].values()
        surely = min(pool["interval"][0] for pool in pools)
        if surely < precision:
            yield (
                f"{name}: accept {chosen['confidence'][name]} was chosen on "
                f"{sum(pool['boxes'] for pool in pools)} boxes: its precision is at least "
                f"{surely:.2f} by the interval, {precision} was asked for"
            )


def export_as_asked(arguments: argparse.Namespace) -> dict:
    """What the command line asks for; raises as `load`, `read_pages` and `export`."""
    entries.check_name(arguments.repository, arguments.name, arguments.version, arguments.replace)
    if not 0 < arguments.overlap <= 1:
        raise ValueError(f"--overlap {arguments.overlap}, it is above 0 and at most 1")
    detector = load(arguments.checkpoint, arguments.imgsz, arguments.fit)
    credit = {"credits": json.loads(arguments.credits.read_text())} if arguments.credits else {}
    made = run_of(Path(arguments.checkpoint))
    kinds, learnt = divided(arguments.pages, made.get("recipe", {}))
    tests = {
        f"{kind}, test" if kind in kinds else kind: pages
        for kind, pages in read_kinds(arguments.test, "test").items()
    }
    for folder in arguments.pages:
        held = [page for page in read_pages(folder) if page.split == "test"]
        tests |= {f"{folder.resolve().name}, test": held} if held else {}
    calibration: list[Labelled] = []
    if arguments.int8:
        if arguments.train:
            learnt = [page for folder in arguments.train for page in training_pages(folder)[0]]
        if not learnt:
            raise ValueError("INT8: no training pages to calibrate on, --train DIR")
        calibration = learnt[:: -(-len(learnt) // CALIBRATION)]
    return export(
        detector,
        kinds,
        tests,
        arguments.repository,
        arguments.name,
        arguments.version,
        arguments.replace,
        calibration,
        arguments.precision,
        origin={
            "data": data_of(kinds | tests, calibration) | credit,
            "training": made,
            "license": detector.license,
        },
        overlap=arguments.overlap,
    )


def divided(
    folders: Sequence[Path], made: Mapping[str, Any]
) -> tuple[dict[str, list[Labelled]], list[Labelled]]:
    """Each folder's pages to choose operating points on, and the pages of all to calibrate on.

    As the pages say by their split. Where they say none, as they were divided by the run of the
    recipe `made`, if it learnt from a folder of that name; else all are to choose on. ValueError
    if that run kept none; raises as `read_kinds`.
    """
    kinds = read_kinds(folders, "validation")
    learnt: list[Labelled] = []
    for folder in folders:
        name = folder.resolve().name
        pages = kinds[name]
        if any(page.split for page in pages):
            learnt += [page for page in read_pages(folder) if page.split == "train"]
        elif folder.name in made.get("real", ()):
            trained, kinds[name] = hold_out(pages, made["held_out"], made["seed"])
            learnt += trained
            if not kinds[name]:
                raise ValueError(
                    f"{folder}: its {len(pages)} pages say no split, and training kept none of "
                    f"them (held_out {made['held_out']}) to choose operating points on"
                )
        else:
            print(
                f"export.detector: {folder}: the pages say no split, all {len(pages)} are chosen "
                "on; figures flatter a checkpoint that learnt from them", file=sys.stderr,
            )  # fmt: skip
    return kinds, learnt


def data_of(kinds: Kinds, calibration: Sequence[Labelled]) -> dict[str, Any]:
    """Pages of each kind and of the calibration, and how many boxes completed others' labels."""
    added = json.loads(COMPLETED.read_text()) if COMPLETED.exists() else {}
    boxes = Counter(box["by"] for page in added.values() for box in page["boxes"])
    return {
        "pages": {kind: len(pages) for kind, pages in kinds.items()},
        "calibration": len(calibration),
        "completed": dict(boxes),
    }


if __name__ == "__main__":
    main()
