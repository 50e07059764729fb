"""Detector checkpoint -> ONNX -> OpenVINO IR -> model repository.

    python -m export.detector RUN/weights/best.pt --pages DIR [--real DIR] [--int8]

Operating points are chosen on the validation pages of DIR, figures measured on its test pages and
on those of --real. Nothing is written into the repository before the graph has the contract's
names, types and shapes, agrees with the checkpoint and, quantised, finds as much as f32.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import cv2
import nncf
import numpy as np
import onnxruntime
import openvino as ov
import torch
from torch import Tensor, nn
from tqdm import tqdm
from ultralytics import YOLO
from ultralytics.utils.nms import non_max_suppression

from export.gates import check_contract, check_gap, commit
from export.graphs import convert
from export.repository import new_version, read_config, set_parameters
from training.detector.labels import CLASSES, Labelled, read_pages
from training.detector.score import ClassScore, Found, score

REPOSITORY = Path("model_repository")
SIDE = 640  # px of the square input
PADDING = 114  # grey around a letterboxed page
IOU = 0.5  # overlap above which the weaker of two boxes of a class goes
MAX_DETECTIONS = 300
LOWEST_SCORE = 0.001  # for average precision
F32 = {"INFERENCE_PRECISION_HINT": "f32"}  # else a CPU with native bfloat16 uses it
# Largest difference to the checkpoint at f32: box edges in input pixels, among anchors that score
# at least 0.1, and scores.
LIMITS = {
    "onnx": {"boxes": 0.05, "scores": 1e-3},
    "fp16": {"boxes": 1.0, "scores": 2e-2},
}
INT8_DROPS = {"ap50": 0.005, "recall": 0.01}  # largest losses against f32
CALIBRATION = 200  # pages

Predict = Callable[[np.ndarray], np.ndarray]  # pixels (1, S, S, 3) uint8 -> (1, 4 + C, A) float32


class Served(nn.Module):
    """The graph that is served: pixels (1, S, S, 3) uint8 RGB -> predictions (1, 4 + C, A).

    Predictions are centre x, centre y, width, height in input pixels, then scores in [0, 1].
    """

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, pixels: Tensor) -> Tensor:
        return self.detector(pixels.permute(0, 3, 1, 2).float() / 255)


def load(checkpoint: Path) -> Served:
    """The checkpoint's detector, fused, in float32.

    ValueError if its classes are not CLASSES.
    """
    yolo: Any = YOLO(checkpoint)
    names = tuple(yolo.names[i] for i in sorted(yolo.names))
    if names != CLASSES:
        raise ValueError(f"{checkpoint}: classes {names}, the contract has {CLASSES}")
    detector = yolo.model.float().fuse(verbose=False).eval()
    head = detector.model[-1]
    head.export, head.format, head.dynamic = True, "openvino", False
    for parameter in detector.parameters():
        parameter.requires_grad_(False)
    return Served(detector).eval()


def to_graph(served: Served, onnx: Path) -> ov.Model:
    """Write the ONNX file; returns the same graph for OpenVINO: `pixels` -> `predictions`."""
    pixels = torch.zeros(1, SIDE, SIDE, 3, dtype=torch.uint8)
    served(pixels)  # anchors take the input's shape
    torch.onnx.export(
        served,
        (pixels,),
        onnx,
        dynamo=False,
        opset_version=17,
        input_names=["pixels"],
        output_names=["predictions"],
    )
    return convert(onnx)


def letterboxed(page: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
    """A page (H, W, 3) uint8 as input: pixels (1, S, S, 3), scale, and pad_x, pad_y (2,)."""
    height, width = page.shape[:2]
    scale = SIDE / max(height, width)
    fitted = (max(1, round(width * scale)), max(1, round(height * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    pad = np.array([(SIDE - fitted[0]) // 2, (SIDE - fitted[1]) // 2])
    pixels = np.full((1, SIDE, SIDE, 3), PADDING, np.uint8)
    pixels[0, pad[1] : pad[1] + fitted[1], pad[0] : pad[0] + fitted[0]] = cv2.resize(
        page, fitted, interpolation=method
    )
    return pixels, scale, pad


def read_pixels(path: Path) -> tuple[np.ndarray, float, np.ndarray]:
    """`letterboxed` of a page file. ValueError if it does not decode."""
    page = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if page is None:
        raise ValueError(f"{path}: no image")
    return letterboxed(cv2.cvtColor(page, cv2.COLOR_BGR2RGB))


def find(predict: Predict, pages: Sequence[Labelled], name: str) -> list[Found]:
    """What the detector finds on each page, from LOWEST_SCORE up, in pixels of the page."""
    found = []
    for page in tqdm(pages, desc=name, unit="page"):
        pixels, scale, pad = read_pixels(page.path)
        predictions = torch.from_numpy(predict(pixels))
        (rows,) = non_max_suppression(
            predictions,
            LOWEST_SCORE,
            IOU,
            max_det=MAX_DETECTIONS,
            nc=len(CLASSES),
            max_time_img=60.0,  # s; its default cuts short what a busy machine finds
        )
        rows = rows.numpy()  # x0, y0, x1, y1, score, class
        xyxy = (rows[:, :4] - np.tile(pad, 2)) / scale
        found.append(Found(xyxy, rows[:, 4], rows[:, 5].astype(int)))
    return found


def torch_predict(served: Served) -> Predict:
    def predict(pixels: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return served(torch.from_numpy(pixels)).numpy()

    return predict


def onnx_predict(path: Path) -> Predict:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda pixels: session.run(["predictions"], {"pixels": pixels})[0]


def ir_predict(model: ov.Model | Path, settings: dict[str, str]) -> Predict:
    compiled = ov.compile_model(model, "CPU", settings)
    return lambda pixels: compiled(pixels)["predictions"]


def gap(predictions: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Largest differences between two (1, 4 + C, A): boxes, as LIMITS says, and scores."""
    off = np.abs(predictions - truth)[0]
    sure = truth[0, 4:].max(axis=0) >= 0.1
    centre, size = off[:2, sure], off[2:4, sure]
    return {
        "boxes": float((centre + size / 2).max(initial=0)),
        "scores": float(off[4:].max(initial=0)),
    }


def worst_gap(predict: Predict, reference: Predict, pages: Sequence[Labelled]) -> dict[str, float]:
    gaps = []
    for page in pages:
        pixels = read_pixels(page.path)[0]
        gaps.append(gap(predict(pixels), reference(pixels)))
    return {name: float(np.max([g[name] for g in gaps])) for name in gaps[0]}


def quantised(model: ov.Model, pages: Sequence[Labelled]) -> ov.Model:
    """The graph in INT8, calibrated on the pages; box decoding and the scores' end stay float."""
    some = pages[:: max(1, len(pages) // CALIBRATION)]
    data = nncf.Dataset([read_pixels(page.path)[0] for page in some])
    head = nncf.IgnoredScope(
        patterns=[r".*/dfl/.*", r".*model\.23/(Add|Sub|Mul|Div|Concat|Split|Slice).*"],
        types=["Sigmoid"],
        validate=False,
    )
    return nncf.quantize(
        model, data, preset=nncf.QuantizationPreset.MIXED, ignored_scope=head,
        subset_size=len(some),
    )  # fmt: skip


def check_int8(
    quick: dict[str, ClassScore], full: dict[str, ClassScore], thresholds: dict[str, float]
) -> None:
    """ValueError with the figures if INT8 loses more than INT8_DROPS of a class."""
    for name in CLASSES:
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


def figures(scores: dict[str, ClassScore], thresholds: dict[str, float]) -> dict[str, dict]:
    """What the model card says of one set of pages."""
    return {
        name: {key: round(value, 4) for key, value in own.at(thresholds[name]).items()}
        | {"ap50": round(own.ap50, 4), "ap50_95": round(own.ap50_95, 4)}
        for name, own in scores.items()
    }


def export(
    checkpoint: Path,
    validation: Sequence[Labelled],
    tests: dict[str, Sequence[Labelled]],
    repository: Path = REPOSITORY,
    version: int = 1,
    int8: bool = False,
    precision: float = 0.95,
    data: dict | None = None,
) -> dict:
    """Write document_yolo/VERSION and document_postprocess' parameters; returns the model card.

    Raises ValueError, and leaves the repository as it was, if a check fails: the contract, the gap
    to the checkpoint, a class that never reaches `precision` on the validation pages, or INT8 that
    loses more than INT8_DROPS.
    """
    config = repository / "document_yolo" / "config.pbtxt"
    postprocess = repository / "document_postprocess" / "config.pbtxt"
    read_config(postprocess)  # before the work, not after
    served = load(checkpoint)
    with new_version(repository / "document_yolo" / str(version)) as fresh:
        onnx, ir = fresh / "detector.onnx", fresh / "model.xml"
        model = to_graph(served, onnx)
        ov.save_model(model, ir, compress_to_fp16=True)
        few = validation[:: max(1, len(validation) // 20)]
        gaps = {}
        for form, predict in {
            "onnx": onnx_predict(onnx),
            "fp16": ir_predict(ir, F32),
        }.items():
            gaps[form] = worst_gap(predict, torch_predict(served), few)
            check_gap(form, gaps[form], LIMITS[form])
        onnx.unlink()

        full = score(validation, find(ir_predict(model, F32), validation, "validation, f32"))
        thresholds = {
            name: rounded_up(own.operating_point(precision)) for name, own in full.items()
        }
        metrics = {"validation, f32": figures(full, thresholds)}
        if int8:
            ov.save_model(quantised(model, validation), ir)
            quick = score(validation, find(ir_predict(ir, F32), validation, "validation, int8"))
            check_int8(quick, full, thresholds)
            metrics["validation, int8"] = figures(quick, thresholds)
        check_contract(ov.Core().read_model(ir), config)
        for name, pages in tests.items():
            found = find(ir_predict(ir, {}), pages, name)
            metrics[name] = figures(score(pages, found), thresholds)

        card = {
            "name": "document_yolo",
            "version": version,
            "classes": list(CLASSES),
            "input": {"width": SIDE, "height": SIDE, "pixels": "RGB uint8", "padding": PADDING},
            "graph": {"weights": "INT8" if int8 else "FP16", "gaps": gaps},
            "thresholds": {
                "confidence": thresholds,
                "iou": IOU,
                "max_detections": MAX_DETECTIONS,
                "precision": precision,
            },
            "metrics": metrics,
            "data": data or {},
            "training": run_of(checkpoint),
            "commit": commit(),
            "license": "AGPL-3.0",
            "date": date.today().isoformat(),
        }
        (fresh / "model_card.json").write_text(json.dumps(card, indent=2) + "\n")
    set_parameters(
        postprocess,
        {
            "classes": ",".join(CLASSES),
            "iou": str(IOU),
            "max_detections": str(MAX_DETECTIONS),
            **{f"confidence_{name}": str(value) for name, value in thresholds.items()},
        },
    )
    return card


def run_of(checkpoint: Path) -> dict:
    """Recipe and finished epochs of the run whose weights/ folder holds a checkpoint, if any."""
    run = checkpoint.resolve().parent.parent
    recipe, results = run / "recipe.json", run / "results.csv"
    if not (recipe.exists() and results.exists()):
        return {}
    return {
        "command": "python -m training.detector.train",
        "recipe": json.loads(recipe.read_text()),
        "epochs": len(results.read_text().splitlines()) - 1,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument(
        "--pages", type=Path, required=True, help="labelled pages, validation and test"
    )
    parser.add_argument("--real", type=Path, help="more labelled pages to test on")
    parser.add_argument("--repository", type=Path, default=REPOSITORY)
    parser.add_argument("--version", type=int, default=1)
    parser.add_argument("--int8", action="store_true", help="quantise weights and activations")
    parser.add_argument("--precision", type=float, default=0.95, help="at the operating points")
    given = parser.parse_args()
    validation, test = (read_pages(given.pages, split) for split in ("validation", "test"))
    tests: dict[str, Sequence[Labelled]] = {"test": test}
    if given.real:
        tests["real"] = read_pages(given.real)
        tests["real, ink only"] = read_pages(given.real, ink_only=True)
    sources = given.pages / "sources.json"  # beside generated pages
    seed = {"seed": json.loads(sources.read_text())["seed"]} if sources.exists() else {}
    card = export(
        given.checkpoint,
        validation,
        tests,
        given.repository,
        given.version,
        given.int8,
        given.precision,
        data=seed
        | {"folder": given.pages.name, "pages": {"validation": len(validation), "test": len(test)}},
    )
    print(json.dumps(card, indent=2))


if __name__ == "__main__":
    main()
