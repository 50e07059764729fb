"""CAPTCHA checkpoint -> ONNX -> OpenVINO IR -> model repository.

    python -m export.captcha RUN/best.pt --test DIR

The calibration temperature and the operating point are fitted on what the readers of the run's
folds read, each of images that it never saw, or with --validation on those images and changed views
of them. Nothing is written into the repository before the graph has the contract's names,
types and shapes, agrees with the checkpoint, and reads the test images as well.
"""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path
from typing import Any

import nncf
import numpy as np
import onnxruntime
import openvino as ov
import torch
from scipy.special import softmax
from torch import Tensor, nn
from tqdm import tqdm

from export import reader as entry
from export.calibration import readings, temperature_and_point
from export.gates import check_gap, check_ports, commit
from export.graphs import F32, convert
from export.repository import new_version, next_version, read_config
from training.captcha.augment import SCREENSHOT, augmented
from training.captcha.generate import STYLES
from training.captcha.images import DIGITS, HEIGHT, NUMERALS, WIDTH, Images, joined, load
from training.captcha.judge import grey
from training.captcha.model import CaptchaReader
from training.captcha.model import load as load_reader
from training.captcha.others import KINDS, other
from training.captcha.train import HELD_OUT, logits_of

REPOSITORY = Path("model_repository")
# Largest difference of a probability, graph at f32 against checkpoint. FP16 rounds weights, and a
# judge is steep: where it wavers, that moves a probability by 0.02.
MAX_GAP = {"onnx": {"probabilities": 1e-4}, "fp16": {"probabilities": 3e-2}}
VIEWS = 5  # changed views of each validation image, beside the image itself
COMPARED = 300  # images whose probabilities the graph must give as the checkpoint does
OTHERS = 200  # pictures of each kind that shows no six digits
OTHERS_SEED = 4

Read = Callable[[np.ndarray], np.ndarray]  # pixels (1, 50, 200) uint8 -> logits (1, 6, 10)


class Served(nn.Module):
    """The graph that is served: pixels (B, 50, 200) uint8 -> logits (B, 6, 10) / temperature."""

    def __init__(self, reader: CaptchaReader, temperature: float) -> None:
        super().__init__()
        self.reader, self.temperature = reader, temperature

    def forward(self, pixels: Tensor) -> Tensor:
        return self.reader(pixels) / self.temperature


def with_views(images: Images, views: int = VIEWS, seed: int = 0) -> Images:
    """The images and `views` shifted, blurred, compressed ... views of each, seeded."""
    rng = torch.Generator().manual_seed(seed)
    plain = torch.from_numpy(images.pixels)
    changed = [augmented(plain, *SCREENSHOT, rng) for _ in range(views)]
    pixels = [images.pixels, *(view.round().byte().numpy() for view in changed)]
    return replace(
        images,
        pixels=np.concatenate(pixels),
        labels=np.tile(images.labels, (views + 1, 1)),
        names=images.names * (views + 1),
    )


def fitting(images: Images, reader: CaptchaReader, name: str) -> Images:
    """The images with labels in the reader's alphabet. ValueError if they are not of its kind."""
    if images.places != reader.config.places:
        raise ValueError(
            f"{name}: labels of {images.places} characters, the reader has {reader.config.places}"
        )
    return images.spelt(reader.config.alphabet)


def onnx_reader(path: Path) -> Read:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda pixels: session.run(["logits"], {"pixels": pixels})[0]


def ir_reader(model: ov.Model | Path, settings: dict[str, str]) -> Read:
    compiled = ov.compile_model(model, "CPU", settings)
    return lambda pixels: compiled(pixels)["logits"]


def read_all(read: Read, images: Images, name: str) -> np.ndarray:
    """(N, 6, 10) logits, one image at a time as it is served."""
    return np.concatenate([read(one[None]) for one in tqdm(images.pixels, desc=name)])


def gap(read: Read, images: Images, truth: np.ndarray, name: str) -> dict[str, float]:
    """The largest difference of a probability to those of the logits `truth`."""
    found = softmax(read_all(read, images, name), axis=-1)
    return {"probabilities": float(np.abs(found - softmax(truth, axis=-1)).max())}


def held_out(checkpoint: Path) -> tuple[np.ndarray, np.ndarray, dict]:
    """Raw logits and labels of the run's own images, each by a reader that did not see it, and what
    they are. ValueError if the run had no folds.
    """
    path = checkpoint.with_name(HELD_OUT)
    if not path.exists():
        raise ValueError(f"{path}: not there, the run had no folds: --validation DIR is needed")
    with np.load(path) as saved:
        logits, labels = saved["logits"], saved["labels"]
    return logits, labels, {"images": len(labels), "read by": "the folds of the run"}


def read_raw(reader: CaptchaReader, viewed: Images) -> np.ndarray:
    """Logits of these images as they are read without a judge: a few that it levels would ask for a
    temperature that makes all others sure.
    """
    judge, reader.judge = reader.judge, None
    logits = logits_of(reader, viewed.pixels).numpy()
    reader.judge = judge
    return logits


def to_graph(served: Served, onnx: Path) -> ov.Model:
    """Writes the ONNX file and returns the same graph for OpenVINO: `pixels` -> `logits`."""
    example = torch.zeros(1, HEIGHT, WIDTH, dtype=torch.uint8)
    torch.onnx.export(
        served, (example,), onnx, dynamo=False, input_names=["pixels"], output_names=["logits"]
    )
    return convert(onnx)


def score(logits: np.ndarray, images: Images, threshold: float) -> dict[str, float]:
    """What the model card says of one set of images."""
    digits, confidence = readings(logits)
    right = (digits == images.labels).all(1)
    answered = confidence >= threshold
    return {
        "images": len(images),
        "exact_match": float(right.mean()),
        "digit_accuracy": float((digits == images.labels).mean()),
        "abstained": float((~answered).mean()),
        "wrong_answers": int((answered & ~right).sum()),
    }


def certain_of_others(read: Read, threshold: float, count: int) -> dict[str, float]:
    """Of each kind of pictures that do not show six digits, the share that is read as certain."""
    shares = {}
    styles = list(STYLES)
    for kind in tqdm(KINDS, desc="others"):
        drawn = [other(kind, styles[i % len(styles)], OTHERS_SEED, i) for i in range(count)]
        logits = np.concatenate([read(grey(picture)[None]) for picture in drawn])
        shares[kind] = float((readings(logits)[1] >= threshold).mean())
    return shares


def some_of(sets: dict[str, Images]) -> Images:
    """Up to COMPARED images of all the sets, evenly."""
    pixels = np.concatenate([images.pixels for images in sets.values()])
    labels = np.concatenate([images.labels for images in sets.values()])
    rows = np.arange(0, len(pixels), max(1, len(pixels) // COMPARED))
    return Images(pixels[rows], labels[rows], tuple(str(row) for row in rows))


def check_int8(quantised: dict[str, dict], full: dict[str, dict]) -> None:
    """ValueError with the figures if INT8 reads an image fewer than f32 of a test set."""
    for name, found in quantised.items():
        if found["exact_match"] < full[name]["exact_match"]:
            raise ValueError(
                f"{name}: INT8 reads {found['exact_match']:.2%} of {found['images']} images, "
                f"f32 {full[name]['exact_match']:.2%}"
            )


def write_ir(
    served: Served, some: Images, truth: np.ndarray, folder: Path, int8: bool
) -> tuple[ov.Model, dict[str, dict]]:
    """Writes model.xml and model.bin; returns the f32 graph and each form's gap to `truth`.

    truth (N, 6, 10) are the checkpoint's logits for `some` images, which also calibrate INT8.
    Raises ValueError if a gap is over its limit.
    """
    onnx, ir = folder / "reader.onnx", folder / "model.xml"
    model = to_graph(served, onnx)
    ov.save_model(model, ir, compress_to_fp16=True)
    gaps = {
        "onnx": gap(onnx_reader(onnx), some, truth, "onnx"),
        "fp16": gap(ir_reader(ir, F32), some, truth, "fp16"),
    }
    for form, limits in MAX_GAP.items():
        check_gap(form, gaps[form], limits)
    onnx.unlink()
    if int8:
        ov.save_model(nncf.quantize(model, nncf.Dataset(list(some.pixels[:, None]))), ir)
    return model, gaps


def export(
    checkpoint: Path,
    validation: Images | None,
    tests: dict[str, Images],
    repository: Path = REPOSITORY,
    version: int | None = None,
    int8: bool = False,
    precision: float = 0.999,
    in_place: bool = False,
    others: int = OTHERS,
) -> dict:
    """Writes captcha_heads/VERSION and what config.pbtxt files say of it; returns the model card.

    Without `version` it is the next; `in_place` replaces one that is there. Raises
    ValueError, and leaves the repository as it was, if one is there or a check fails: the contract,
    the largest gap to the checkpoint, or INT8 that reads a test image fewer than f32.
    """
    heads = repository / entry.GRAPH
    for model in (entry.GRAPH, entry.POSTPROCESS, entry.ENSEMBLE):
        read_config(repository / model / "config.pbtxt")  # before the work, not after
    version = next_version(heads) if version is None else version
    if (heads / str(version)).exists() and not in_place:
        raise ValueError(f"version {version} is there: --replace, or no --version for the next")

    reader = load_reader(checkpoint)
    tests = {name: fitting(images, reader, name) for name, images in tests.items()}
    if validation is not None:
        viewed = with_views(fitting(validation, reader, "validation"))
        raw, labels = read_raw(reader, viewed), viewed.labels
        rests_on = validation.source | {"views": VIEWS}
    else:
        raw, labels, rests_on = held_out(checkpoint)
    temperature, point = temperature_and_point(raw, labels, precision)
    threshold = point.threshold
    served = Served(reader, temperature).eval()
    some = some_of(tests if validation is None else {"validation with views": viewed})
    truth = logits_of(served, some.pixels).numpy()

    reads_six_digits = (reader.config.places, reader.config.alphabet) == (DIGITS, NUMERALS)
    with new_version(heads / str(version)) as fresh:
        model, gaps = write_ir(served, some, truth, fresh, int8)
        full, quick = ir_reader(model, F32), ir_reader(fresh / "model.xml", {})
        metrics = {
            "f32": {
                name: score(read_all(full, images, f"{name}, f32"), images, threshold)
                for name, images in tests.items()
            },
            "served": {
                name: score(read_all(quick, images, f"{name}, served"), images, threshold)
                for name, images in tests.items()
            },
        }
        if int8:
            check_int8(metrics["served"], metrics["f32"])
        card = {
            "name": "captcha_heads",
            "version": version,
            "classes": list(reader.config.alphabet),
            "input": {
                "width": WIDTH,
                "height": HEIGHT,
                "pixels": "grey uint8",
                "digits": reader.config.places,
            },
            "graph": {"weights": "INT8" if int8 else "FP16", "gaps": gaps},
            "thresholds": {"min_confidence": threshold, "precision": precision},
            "calibration": {"temperature": temperature} | asdict(point),
            "metrics": metrics,
            "certain of what shows no six digits": certain_of_others(quick, threshold, others)
            if reads_six_digits
            else {},
            "data": {
                "training": beside(checkpoint, "data.json"),
                "calibration": rests_on,
                "test": {name: images.source for name, images in tests.items()},
            },
            "model": asdict(served.reader.config),
            "training": {
                "command": "python -m training.captcha.train",
                "config": beside(checkpoint, "config.json"),
                "epochs": len(beside(checkpoint, "history.json")),
            },
            "commit": commit(),
            "license": "Apache-2.0",
            "date": date.today().isoformat(),
        }
        config = heads / "config.pbtxt"
        written = ov.Core().read_model(fresh / "model.xml")
        check_ports(written, entry.configs(repository, card)[config], config)
        (fresh / "model_card.json").write_text(json.dumps(card, indent=2) + "\n")
    entry.write(repository, card)
    return card


def beside(checkpoint: Path, name: str) -> Any:
    """What a JSON file of the checkpoint's run says; an empty dict if there is none."""
    path = checkpoint.with_name(name)
    return json.loads(path.read_text()) if path.exists() else {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument(
        "--validation",
        type=Path,
        nargs="+",
        help="labelled images to calibrate on, else those of the folds",
    )
    parser.add_argument("--test", type=Path, nargs="+", required=True, help="labelled images")
    parser.add_argument("--repository", type=Path, default=REPOSITORY)
    parser.add_argument("--version", type=int, help="else the next one")
    parser.add_argument("--replace", action="store_true", help="the version that is there")
    parser.add_argument("--int8", action="store_true", help="quantise weights and activations")
    parser.add_argument("--precision", type=float, default=0.999, help="of what is answered")
    args = parser.parse_args()
    try:
        card = export(
            args.checkpoint,
            joined([load(folder) for folder in args.validation]) if args.validation else None,
            {folder.name: load(folder) for folder in args.test},
            args.repository,
            args.version,
            args.int8,
            args.precision,
            args.replace,
        )
    except ValueError as error:
        sys.exit(f"export.captcha: {error}")
    print(json.dumps(card, indent=2))


if __name__ == "__main__":
    main()
