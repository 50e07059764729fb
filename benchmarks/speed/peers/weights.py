"""One checkpoint as the ONNX files that peers serve.

    python -m benchmarks.speed.peers.weights --out DIR [--checkpoint best.pt]

Without a checkpoint the weights are random: as fast, but the answers mean nothing.
"""

import argparse
from pathlib import Path

import torch
from ultralytics import YOLO
from ultralytics.nn.tasks import DetectionModel

from export.checkpoints import load
from export.detector import to_graph
from training.detector.labels import CLASSES

USUAL = "usual.onnx"  # as ultralytics exports it: images (1, 3, S, S) float -> (1, 4 + C, A)
SERVED = "served.onnx"  # as this project exports it: pixels (1, S, S, 3) uint8 -> the same


def random_checkpoint(path: Path) -> Path:
    """A YOLO11n of the contract's classes that has learnt nothing."""
    torch.manual_seed(0)
    model = DetectionModel("yolo11n.yaml", nc=len(CLASSES), verbose=False)
    model.names = dict(enumerate(CLASSES))
    args = {"imgsz": [704, 512], "fit": "upright"}  # as the served one, whose steps go around it
    torch.save({"model": model, "train_args": args}, path)
    return path


def write(out: Path, checkpoint: Path | None) -> None:
    """USUAL and SERVED of the checkpoint, or of random weights, in `out`."""
    out.mkdir(parents=True, exist_ok=True)
    source = checkpoint or random_checkpoint(out / "random.pt")
    detector = load(str(source))
    to_graph(detector, out / SERVED)
    copy = out / "copy.pt"  # ultralytics writes beside the checkpoint
    copy.write_bytes(source.read_bytes())
    usual = YOLO(copy).export(
        format="onnx", imgsz=[detector.fit.height, detector.fit.width], verbose=False
    )
    Path(usual).rename(out / USUAL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, help="the detector's; random weights without")
    args = parser.parse_args()
    write(args.out, args.checkpoint)


if __name__ == "__main__":
    main()
