"""A YOLO checkpoint as the next size of its family, which finds the same and has room to learn.

    python -m training.detector.widen RUN/weights/last.pt --model yolo11s.yaml --out WIDE

WIDE gets weights/last.pt, to train on, and recipe.json, which names what was widened. Every channel
stands twice, and its readers take an uneven share of each copy, so that training tells the copies
apart: Chen, Goodfellow and Shlens, "Net2Net: Accelerating Learning via Knowledge Transfer", 2016.
"""

import argparse
import sys
from pathlib import Path

import torch
from torch import Tensor, nn
from ultralytics.nn.modules.block import Attention
from ultralytics.nn.tasks import DetectionModel

from training.detector.mean import read, write
from training.detector.train import origin


def widen(model: nn.Module, architecture: str, seed: int = 0) -> DetectionModel:
    """A detector of `architecture`, a yaml of ultralytics, that computes what `model` does.

    Each of its layers has as many channels as that of `model`, or twice as many; ValueError if not.
    """
    narrow = model.float().state_dict()
    wide = DetectionModel(architecture, nc=len(model.names), verbose=False)
    state = wide.state_dict()
    if narrow.keys() != state.keys():
        raise ValueError(f"{architecture}: {min(narrow.keys() ^ state.keys())} is not in both")
    writes, reads = {}, {}  # layers whose channels lie head by head: how many heads
    for name, module in model.named_modules():
        if isinstance(module, Attention):
            writes[f"{name}.qkv"] = writes[f"{name}.pe"] = module.num_heads
            reads[f"{name}.proj"] = module.num_heads
    generator = torch.Generator().manual_seed(seed)
    for name, value in narrow.items():
        layer = name.rsplit(".", 2)[0]
        if value.ndim > 0:
            source, _ = _twice(name, value.shape[0], state[name].shape[0], writes.get(layer))
            value = value[source]
        if value.ndim == 4:
            source, second = _twice(name, value.shape[1], state[name].shape[1], reads.get(layer))
            if len(source) > value.shape[1]:
                share = torch.empty(value.shape[:2]).uniform_(0.2, 0.8, generator=generator)
                share = torch.where(second, 1 - share[:, source], share[:, source])
                value = value[:, source] * share[..., None, None]
        state[name] = value
    wide.load_state_dict(state)
    wide.names = model.names
    return wide


def _twice(name: str, old: int, new: int, blocks: int | None) -> tuple[Tensor, Tensor]:
    """Where each of `new` channels comes from among `old` ones, and whether it is a second copy.

    Copies lie side by side, channel by channel or in `blocks`, as concatenation and splitting need.
    """
    if new not in (old, 2 * old):
        raise ValueError(f"{name}: {new} channels, neither {old} nor {2 * old}")
    size = old // (blocks or old)
    source = torch.arange(old).view(-1, size).repeat_interleave(new // old, 0).flatten()
    return source, torch.arange(new) // size % 2 == 1


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path, help=".pt file of a smaller model")
    parser.add_argument("--model", default="yolo11s.yaml", help="the larger one")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    given = parser.parse_args()
    try:
        saved = read(given.checkpoint)
        model = widen(saved["model"], given.model)
    except ValueError as error:
        sys.exit(f"training.detector.widen: {error}")
    write(saved, model, {"model": given.model, "widened": origin(given.checkpoint)}, given.out)


if __name__ == "__main__":
    main()
