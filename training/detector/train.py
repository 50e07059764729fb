"""Train a detector: our own network and loss, or ultralytics', in a loop of our own.

    python -m training.detector.train --real my_pages/ --start shipped.pt --out RUN

--real takes labels.json, YOLO folders and COCO tables (training/detector/labels.py), by split where
they say one; pages of split test are never looked at. Without --generated, `drawn` pages are drawn
into RUN and mixed in. The defaults suit a start from weights that know documents already; without
--start, our own network (training/detector/lite.py) starts from a backbone that knows ImageNet, and
`--model yolov8s.yaml` (yolo26n.yaml, rtdetr-l.yaml) from nothing.

The rate rises over `warmup` views, stays, and falls over the last `decay` of them. So a run can be
cut off anywhere: `--start RUN/last.pt --views N --decay 1` ends it over N views more; and
`--within MINUTES` ends it in time.

RUN gets last.pt (the mean of the weights, to export or to start from), state.pt (to go on from),
recipe.json, progress.csv and curves.png, every `minutes`. The same command goes on after an
interruption, with the weights of a run without one.
"""

import argparse
import csv
import json
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from inprocess.steps import fit as fits
from inprocess.steps import heads
from training.detector import lite
from training.detector.data import Views, batches, collate, kind_shares, marks_of, read
from training.detector.labels import CLASSES, Labelled
from training.detector.pages.splits import write_splits
from training.detector.score import Found, score
from training.detector.views import Page, plain_view

matplotlib.use("Agg")
from matplotlib import pyplot

STATISTICS = 480  # views to measure batch statistics on
IOU = 0.5  # overlap above which the weaker of two boxes of a class goes, in validation
LOWEST_SCORE = 0.01


@dataclass(frozen=True)
class Recipe:
    """Every hyper-parameter of a run."""

    model: str = ""  # to build where no weights are started from: ultralytics' YAML; left out, lite
    height: int = 704  # px of the input, a multiple of the network's stride
    width: int = 512
    fit: str = "upright"  # how a page comes into it, a way of fit.py
    views: int = 20_000
    batch: int = 16
    lr: float = 3e-4
    warmup: int = 4_000  # views
    decay: float = 0.2  # share of the views
    final_lr: float = 0.01  # share of lr at the end
    weight_decay: float = 0.02  # AdamW's, decoupled; not on norms and biases
    clip: float = 10.0  # largest norm of the gradient
    ema: float = 0.999  # share of the mean that a batch leaves
    final_ema: float = 0.9998  # the same from the decay on
    box: float = 7.5  # weights in the loss
    cls: float = 0.5
    dfl: float = 1.5
    generated: float = 0.25  # share of the views
    unmarked: float = 0.15  # share of the views, of real pages with nothing on them
    drawn: int = 600  # generated pages to draw where no folder of them is given
    drawn_seed: int = 0
    zoom: float = 0.2  # share of the views at another scale
    held_out: float = 0.1  # share of the sources of a folder that keeps no pages for validation
    fixed_norm: bool = False  # keep the first batch statistics: a fifth faster on a CPU
    seed: int = 0
    minutes: float = 15.0  # between checkpoints
    loaders: int = 1  # processes that make views
    threads: int = 1  # of the network, on a CPU; two wait for each other wherever others work too

    def __post_init__(self) -> None:
        """ValueError names a field whose value no run can have, and its limit."""
        if self.fit not in fits.WAYS:
            raise ValueError(f"fit {self.fit!r}, known are {', '.join(fits.WAYS)}")
        for name in ("height", "width", "views", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)}, limit at least 1")
        for name in ("decay", "generated", "unmarked", "zoom", "held_out"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} {getattr(self, name)}, limit 0 to 1")


@dataclass
class State:
    """What a run is made of between two batches."""

    model: Any
    mean: Any  # the exponential mean of its weights
    optimizer: torch.optim.Optimizer
    views: int = 0


def build(recipe: Recipe, start: Path | None) -> Any:
    """The network in float32, of CLASSES: that of a checkpoint, else the recipe's, seeded.

    Raises ValueError if there is a checkpoint and the recipe names a network as well.
    """
    torch.manual_seed(recipe.seed)
    if start and recipe.model:
        raise ValueError(f"{start} is a network already; leave out model {recipe.model}")
    if lite.is_one(start) if start else recipe.model in ("", lite.NAME):
        model: Any = lite.build(start)
    else:
        from training.detector import yolo  # ultralytics is not needed for what is not its own

        model = yolo.build(recipe.model, start)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    return model.float().to(memory_format=torch.channels_last)


def network_of(model: nn.Module) -> Any:
    """The module that knows a network: its loss, its batch statistics, its answers, its file."""
    if isinstance(model, lite.Lite):
        return lite
    from training.detector import yolo

    return yolo


def optimizer_of(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW whose decay leaves norms and biases alone."""
    matrices = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    vectors = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.lr, betas=(0.9, 0.999))


def rate(recipe: Recipe, views: int, done: float) -> float:
    """The learning rate after so many views, with this share of the run done."""
    warm = min(1.0, (views + recipe.batch) / max(1, recipe.warmup))
    left = (1 - done) / recipe.decay if recipe.decay else 1.0
    return recipe.lr * warm * (recipe.final_lr + (1 - recipe.final_lr) * min(1.0, max(0.0, left)))


def mean_share(recipe: Recipe, views: int, done: float) -> float:
    """How much of the mean of the weights a batch leaves; little at first, when it is young."""
    batches_done = views / recipe.batch
    most = recipe.final_ema if done >= 1 - recipe.decay else recipe.ema
    return min(most, (1 + batches_done) / (10 + batches_done))


@torch.no_grad()
def update_mean(mean: nn.Module, model: nn.Module, share: float) -> None:
    """Move every weight and statistic of `mean` towards those of `model`, in place."""
    for old, new in zip(mean.state_dict().values(), model.state_dict().values(), strict=True):
        if old.is_floating_point():
            old.lerp_(new, 1 - share)
        else:
            old.copy_(new)


@torch.no_grad()
def measure_statistics(model: nn.Module, views: Views, batch: int) -> None:
    """Set the batch statistics to their mean over STATISTICS views."""
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    momentum = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean
        norm.train()
    for first in tqdm(range(0, min(STATISTICS, len(views)), batch), "statistics", unit="batch"):
        some = collate([views[n] for n in range(first, min(first + batch, len(views)))])
        pixels = some.pixels.to(_device(model), memory_format=torch.channels_last)
        with torch.autocast(pixels.device.type, torch.bfloat16):
            model(pixels.float() / 255)
    for norm, before in zip(norms, momentum, strict=True):
        norm.momentum = before
    model.eval()


def learn(
    state: State, views: Views, recipe: Recipe, seconds: float = float("inf")
) -> Iterator[dict[str, float]]:
    """Go through the views from where the state is; yields the batch's losses.

    With `seconds`, the run's share that is done is that of the time, if that is more, and it ends
    with it. FloatingPointError on the first loss that is not finite, before its update.
    """
    begun = time.monotonic()
    gains = {"box": recipe.box, "cls": recipe.cls, "dfl": recipe.dfl}
    loss = network_of(state.model).loss_of(state.model, gains)
    state.model.train()
    for batch in batches(views, state.views, recipe.batch, recipe.loaders):
        done = max(state.views / recipe.views, (time.monotonic() - begun) / max(seconds, 1e-9))
        if done >= 1:
            return
        for group in state.optimizer.param_groups:
            group["lr"] = rate(recipe, state.views, done)
        total, parts = loss(batch, done)
        if not torch.isfinite(total):
            raise FloatingPointError(f"view {state.views}: loss {total.item()}")
        state.optimizer.zero_grad()
        total.backward()
        nn.utils.clip_grad_norm_(state.model.parameters(), recipe.clip)
        state.optimizer.step()
        state.views += len(batch.labelled)
        update_mean(state.mean, state.model, mean_share(recipe, state.views, done))
        yield {name: value.item() for name, value in parts.items()}


@torch.no_grad()
def find(model: Any, pages: Sequence[Page], fit: Any) -> tuple[list[Labelled], list[Found]]:
    """What there is on each page and what the network finds, in pixels of the input."""
    truth, found = [], []
    limits = heads.Thresholds(np.full(len(CLASSES), LOWEST_SCORE, np.float32), IOU, 300)
    model.eval()
    for page in pages:
        view = plain_view(page, fit)
        pixels = torch.from_numpy(view.pixels).permute(2, 0, 1)[None].to(_device(model))
        with torch.autocast(pixels.device.type, torch.bfloat16):
            outputs = model(pixels.to(memory_format=torch.channels_last).float() / 255)
        found.append(network_of(model).found(model, outputs, fit, limits))
        truth.append(
            Labelled(
                path=page.file,
                source=page.source,
                size=(fit.width, fit.height),
                class_ids=view.class_ids,
                xyxy=view.xyxy,
                ignore=view.ignore,
                labelled=frozenset(n for n, all in zip(CLASSES, page.labelled, strict=True) if all),
                group=page.group,
            )
        )
    return truth, found


def validate(model: Any, pages: Sequence[Page], fit: Any) -> dict[str, float]:
    """AP50 of each class: over all pages, and by group where a group has boxes of it."""
    truth, found = find(model, pages, fit)
    figures = {}
    for group in ["all", *sorted({page.group for page in truth})]:
        some = [i for i, page in enumerate(truth) if group in ("all", page.group)]
        scores = score([truth[i] for i in some], [found[i] for i in some])
        for name, of_class in scores.items():
            if of_class.boxes:
                figures[f"{group}: {name}"] = of_class.ap50
    return figures


def train(
    recipe: Recipe,
    real: Sequence[Path],
    generated: Sequence[Path],
    out: Path,
    start: Path | None,
    cache: Path | None = None,
    minutes: float = float("inf"),
) -> dict[str, float]:
    """One run into `out`, from where it stands; returns the last figures of `validate`.

    It learns for `minutes` at most, its rate falling to the end in that time. `cache` is a folder
    of shrunk pages that runs share, `out`/cache if left out; pages that are drawn lie beside it.
    ValueError if `out` holds a run of another recipe, or there is nothing to train on; raises as
    `labels.read_pages` and `learn`, and FileNotFoundError without the file `start`.
    """
    if start and not start.is_file():
        raise FileNotFoundError(f"{start}: no such file to start from")
    out.mkdir(parents=True, exist_ok=True)
    write_recipe(recipe, real, generated, start, out / "recipe.json")
    cache = cache or out / "cache"
    if not generated and recipe.generated and recipe.drawn:
        generated = [draw_pages(cache.parent, recipe.drawn_seed, recipe.drawn)]
    fit = fits.Fit(recipe.width, recipe.height, recipe.fit)
    data = read(real, generated, cache, fit, recipe.held_out, recipe.seed)
    torch.set_num_threads(recipe.threads)
    shares = kind_shares(data.training, recipe.generated, recipe.unmarked)
    for kind, pages in data.training.items():
        print(f"{kind}: {len(pages)} pages, {shares[kind]:.2f} of the views", flush=True)
    marks = marks_of(data.training)
    views = Views(data.training, shares, marks, fit, recipe.zoom, recipe.views, recipe.seed)
    state = begin(recipe, start, views, out / "state.pt")
    figures: dict[str, float] = {}
    losses: dict[str, list[float]] = defaultdict(list)
    due = time.monotonic() + recipe.minutes * 60
    with stopping() as asked, tqdm(total=recipe.views, initial=state.views, unit="image") as bar:
        for parts in learn(state, views, recipe, minutes * 60):
            bar.update(recipe.batch)
            for name, value in parts.items():
                losses[name].append(value)
            if time.monotonic() > due:
                save(state, recipe, out)
                figures = report(state, data.validation, fit, losses, out)
                losses.clear()
                due = time.monotonic() + recipe.minutes * 60
            if asked.is_set():
                break
    save(state, recipe, out)
    if losses and not asked.is_set():
        figures = report(state, data.validation, fit, losses, out)
    return figures


def begin(recipe: Recipe, start: Path | None, views: Views, saved: Path) -> State:
    """A run's state: as it was saved, else anew."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = build(recipe, start).to(device)
    if recipe.fixed_norm and not saved.exists():
        measure_statistics(model, views, recipe.batch)
    mean = deepcopy(model).eval().requires_grad_(False)
    if recipe.fixed_norm:
        network_of(model).fix_norm(model)
    state = State(model, mean, optimizer_of(model, recipe))
    if saved.exists():
        before = torch.load(saved, map_location=device, weights_only=True)
        model.load_state_dict(before["model"])
        mean.load_state_dict(before["mean"])
        state.optimizer.load_state_dict(before["optimizer"])
        state.views = before["views"]
    return state


def save(state: State, recipe: Recipe, out: Path) -> None:
    """Write state.pt, and last.pt as the network's module reads it, each whole or not at all;
    recipe.json then says how many views were done.
    """
    _write(
        {
            "model": state.model.state_dict(),
            "mean": state.mean.state_dict(),
            "optimizer": state.optimizer.state_dict(),
            "views": state.views,
        },
        out / "state.pt",
    )
    write_checkpoint(deepcopy(state.mean), recipe, out / "last.pt")
    if (out / "recipe.json").exists():
        settings = json.loads((out / "recipe.json").read_text()) | {"views_done": state.views}
        (out / "recipe.json").write_text(json.dumps(settings, indent=2) + "\n")


def write_checkpoint(model: Any, recipe: Recipe, target: Path) -> None:
    """Write a network, which is not fit for use afterwards, as its module reads it."""
    model.args = {"imgsz": [recipe.height, recipe.width], "fit": recipe.fit}
    _write(network_of(model).checkpoint(model), target)


def _write(content: dict[str, Any], target: Path) -> None:
    part = target.with_suffix(".part")
    torch.save(content, part)
    part.replace(target)


def report(
    state: State, pages: Sequence[Page], fit: Any, losses: dict[str, list[float]], out: Path
) -> dict[str, float]:
    """Add a line to progress.csv, draw curves.png; returns the line's figures of `validate`."""
    figures = validate(state.mean, pages, fit) if pages else {}
    line = {"views": float(state.views)}
    line |= {f"loss: {name}": float(np.mean(values)) for name, values in losses.items()}
    lines = [*read_progress(out), line | figures]
    names = list(dict.fromkeys(name for one in lines for name in one))
    with (out / "progress.csv").open("w", newline="") as table:
        writer = csv.DictWriter(table, names, restval="")
        writer.writeheader()
        writer.writerows({name: f"{value:.6g}" for name, value in one.items()} for one in lines)
    draw_curves(lines, out / "curves.png")
    print(", ".join(f"{name} {value:.3f}" for name, value in figures.items()), flush=True)
    return figures


def read_progress(out: Path) -> list[dict[str, float]]:
    """The lines of a run's progress.csv, none if it has none yet."""
    if not (out / "progress.csv").exists():
        return []
    with (out / "progress.csv").open() as table:
        return [
            {name: float(value) for name, value in line.items() if value}
            for line in csv.DictReader(table)
        ]


def draw_curves(lines: Sequence[dict[str, float]], target: Path) -> None:
    """Losses beside AP50 on the validation pages, over the views."""
    figure, axes = pyplot.subplots(1, 2, figsize=(12, 5))
    for name in lines[-1]:
        if name != "views":
            some = [line for line in lines if name in line]
            axis = axes[0] if name.startswith("loss") else axes[1]
            axis.plot([line["views"] for line in some], [line[name] for line in some], label=name)
    axes[1].set(ylim=(0, 1), ylabel="AP50")
    for axis in axes:
        axis.set_xlabel("views")
        axis.grid(alpha=0.3)
        if axis.lines:
            axis.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(target, dpi=100)
    pyplot.close(figure)


@contextmanager
def stopping() -> Iterator[threading.Event]:
    """Set at SIGTERM and SIGINT, so that a run is saved before it ends."""
    asked = threading.Event()
    before = {
        number: signal.signal(number, lambda *_: asked.set())
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def draw_pages(parent: Path, seed: int, count: int) -> Path:
    """Draw generated training pages into a folder of that seed and count, unless it is there."""
    folder = parent / f"generated_{seed}_{count}"
    if not folder.exists():
        part = folder.with_suffix(".part")
        write_splits(part, seed, {"train": count})
        part.rename(folder)
    return folder


def write_recipe(
    recipe: Recipe,
    real: Sequence[Path],
    generated: Sequence[Path],
    start: Path | None,
    target: Path,
) -> None:
    """Write what a run is made of. ValueError if `target` says something else."""
    content = asdict(recipe) | {
        "real": [folder.name for folder in real],
        "generated_pages": [folder.name for folder in generated],
        "start": origin(start) if start else "",
    }
    if target.exists():
        before = json.loads(target.read_text())
        changed = [name for name in content if content[name] != before.get(name, content[name])]
        free = {"minutes", "loaders", "threads"}
        if set(changed) - free:
            raise ValueError(
                f"{target}: the run there has another {', '.join(changed)}; take another --out"
            )
    target.write_text(json.dumps(content, indent=2) + "\n")


def origin(weights: Path) -> Any:
    """The recipe of the run that a checkpoint comes from, else its name."""
    recipe = weights.resolve().with_name("recipe.json")
    return json.loads(recipe.read_text()) if recipe.exists() else weights.name


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def add_arguments(parser: argparse.ArgumentParser, chosen_elsewhere: Collection[str] = ()) -> None:
    """What a run is made of: folders, weights, and the recipe but for the fields named."""
    parser.add_argument(
        "--real", type=Path, action="append", default=[], help="folder of labelled pages"
    )
    parser.add_argument(
        "--generated", type=Path, action="append", default=[], dest="generated_folders",
        help="folder of generated pages",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--start", type=Path, help="start from this checkpoint")
    parser.add_argument("--cache", type=Path, help="folder of shrunk pages, to share among runs")
    for field in fields(Recipe):
        if field.name not in chosen_elsewhere:
            option = (
                "--generated-share"
                if field.name == "generated"
                else (f"--{field.name.replace('_', '-')}")
            )
            parser.add_argument(
                option, type=_flag if isinstance(field.default, bool) else type(field.default),
                default=field.default, dest=field.name,
            )  # fmt: skip


def _flag(text: str) -> bool:
    if text not in ("yes", "no"):
        raise argparse.ArgumentTypeError(f"{text!r}, expected yes or no")
    return text == "yes"


def recipe_of(values: dict[str, Any]) -> Recipe:
    """The recipe in a command line's values or in recipe.json; the rest is as by default."""
    return Recipe(**{f.name: values[f.name] for f in fields(Recipe) if f.name in values})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_arguments(parser)
    parser.add_argument(
        "--within", type=float, default=float("inf"), metavar="MINUTES",
        help="learn for so long at most, the rate falling to the end in that time",
    )  # fmt: skip
    options = vars(parser.parse_args())
    try:
        train(
            recipe_of(options), options["real"], options["generated_folders"], options["out"],
            options["start"], options["cache"], options["within"],
        )  # fmt: skip
    except (ValueError, FileNotFoundError) as error:
        parser.exit(1, f"training.detector.train: {error}\n")


if __name__ == "__main__":
    main()
