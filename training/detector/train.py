"""Train the detector on generated pages, on real ones, or on both.

    python -m training.detector.train --out RUN [--pages DIR ...] [--real DIR ...] [--weights PT]

--real takes YOLO folders, COCO tables and labels.json (training/detector/labels.py). Pages of one
source stay together: `real_holdout` of them are kept out of training, for validation.

The model is any detector of ultralytics: a yaml (--model yolov8s.yaml, yolo26n.yaml, rtdetr-l.yaml)
or, with --weights, whatever that checkpoint is.

RUN gets weights/best.pt and weights/last.pt, recipe.json (every hyper-parameter, and what it
started from), results.csv and the curves as results.png. `--resume` goes on with an interrupted
run after its last whole epoch, in as many processes as before.
"""

import argparse
import json
import random
from collections.abc import Collection
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.functional import dropout2d
from ultralytics.models.rtdetr.train import RTDETRTrainer
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.nn.modules.conv import Conv, DWConv
from ultralytics.nn.tasks import DetectionModel, RTDETRDetectionModel, load_checkpoint

from training.detector import real
from training.detector.labels import CLASSES, read_pages


@dataclass(frozen=True)
class Recipe:
    """Every hyper-parameter of a run. Defaults suit documents: little turn, little scaling."""

    model: str = "yolo11n.yaml"
    imgsz: int = 640
    epochs: int = 100
    hours: float = 0.0  # if positive, `epochs` gives way to this much time
    batch: int = 16
    optimizer: str = "AdamW"
    lr: float = 2e-3
    final_lr: float = 0.01  # share of lr at the end of the cosine
    warmup_epochs: float = 1.0
    weight_decay: float = 0.0005
    dropout: float = 0.0  # share of the channels that the head does not see
    box: float = 7.5  # weight of the boxes in the loss
    cls: float = 0.5  # weight of the classes in the loss
    patience: int = 30
    mosaic: float = 0.3
    close_mosaic: int = 2
    degrees: float = 1.0
    translate: float = 0.05
    scale: float = 0.25
    hsv_h: float = 0.02
    hsv_s: float = 0.5
    hsv_v: float = 0.3
    generated: int = 0  # generated pages to train on, the first ones; 0: all
    real_weight: int = 1  # how often a real page is seen for once a generated page
    real_copies: int = 6  # variants of a real page with more ink
    real_holdout: int = 20  # real pages kept out, by source, for validation
    seed: int = 0
    fixed_norm: int = 0  # 1: batch statistics stay those of the weights, faster on a CPU
    processes: int = 1  # on a CPU: trainers of one thread each, whose weights are averaged
    sync_every: int = 4  # batches between averagings
    workers: int = 1  # loading pages, for each trainer


class DocumentTrainer(DetectionTrainer):
    """DetectionTrainer with dropout, which ultralytics 8.4.190 gives to classifiers alone, and in
    bfloat16 on CPUs, where its own mixed precision serves CUDA alone.

    Ultralytics opens an autocast context that is off on a CPU; the batch switches it on inside, the
    head's end switches it off, so the loss is float32, and leaving the context restores it.
    """

    model: Any
    optimizer: Any
    lf: Any  # share of the learning rate at an epoch
    batches_done = 0  # of this epoch
    fixed_norm = False

    def _setup_train(self) -> None:
        super()._setup_train()
        head = self.model.model[-1]  # what is saved is the EMA, which has no hooks
        if self.args.dropout:
            head.register_forward_pre_hook(partial(_drop_channels, self.args.dropout))
        if self.device.type == "cpu":
            self.model.to(memory_format=torch.channels_last)
            head.register_forward_hook(_leave_autocast)
        if self.fixed_norm:
            fix_norm(self.model)

    def preprocess_batch(self, batch: dict) -> dict:
        batch = super().preprocess_batch(batch)
        if self.device.type == "cpu" and self.model.training:
            batch["img"] = batch["img"].to(memory_format=torch.channels_last)
            torch.set_autocast_dtype("cpu", torch.bfloat16)
            torch.set_autocast_enabled("cpu", True)
        return batch

    def get_model(
        self, cfg: Any = None, weights: Any = None, verbose: bool = True
    ) -> DetectionModel:
        model = super().get_model(cfg, weights, verbose)
        return model.to(memory_format=torch.channels_last)


class DocumentTransformerTrainer(DocumentTrainer, RTDETRTrainer):
    """The same for RT-DETR, whose data, loss and validation are ultralytics' RTDETRTrainer's."""


def trainer_class(model: str) -> type[DocumentTrainer]:
    """The trainer of a model's yaml or of a checkpoint (.pt), which is loaded to see."""
    if model.endswith(".pt"):
        transformer = isinstance(load_checkpoint(model)[0], RTDETRDetectionModel)
    else:
        transformer = "rtdetr" in Path(model).name
    return DocumentTransformerTrainer if transformer else DocumentTrainer


def fix_norm(model: torch.nn.Module) -> None:
    """Train with the batch statistics that `model` has, folded into the convolutions' weights."""
    for layer in model.modules():
        if type(layer) in (Conv, DWConv):
            layer.forward = partial(_convolve, layer)


def _convolve(layer: Any, x: torch.Tensor) -> torch.Tensor:
    norm, conv = layer.bn, layer.conv
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    weight = conv.weight * scale[:, None, None, None]
    return layer.act(conv._conv_forward(x, weight, norm.bias - norm.running_mean * scale))


def average_weights(model: torch.nn.Module, processes: int) -> None:
    """Set every weight and running statistic to its mean over the processes, in place."""
    tensors = [t for t in model.state_dict().values() if t.is_floating_point()]
    flat = torch.cat([t.detach().flatten() for t in tensors])
    dist.all_reduce(flat)
    flat /= processes
    for tensor, mean in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(mean.view_as(tensor))


def _begin(trainer: DocumentTrainer) -> None:
    trainer.batches_done = 0


def _count(trainer: DocumentTrainer) -> None:
    trainer.batches_done += 1


def _set_rate(trainer: DocumentTrainer) -> None:
    """Follow the cosine with every batch, where ultralytics takes a step an epoch; a run of few
    epochs would end far above `final_lr`. Ultralytics' warm-up comes after this and overrides it.
    """
    epochs = trainer.epoch + trainer.batches_done / len(trainer.train_loader)
    for group in trainer.optimizer.param_groups:
        group["lr"] = group["initial_lr"] * trainer.lf(epochs)


def _drop_channels(share: float, head: torch.nn.Module, inputs: tuple) -> tuple:
    features, *rest = inputs
    return [dropout2d(level, share, head.training) for level in features], *rest


def _leave_autocast(module: torch.nn.Module, inputs: Any, outputs: Any) -> Any:
    torch.set_autocast_enabled("cpu", False)
    return _float(outputs)


def _float(value: Any) -> Any:
    """Floating point tensors in nested dicts, lists and tuples as float32."""
    if isinstance(value, torch.Tensor):
        return value.float() if value.is_floating_point() else value
    if isinstance(value, dict):
        return {name: _float(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_float(item) for item in value)
    return value


def data_files(
    pages: list[Path], real_folders: list[Path], out: Path, recipe: Recipe
) -> list[Path]:
    """Write a data file for each process under `out`, each with its own share of the pages:
    the generated ones and, `real_weight` times, the real ones.

    Validation is on the held-out real pages and three times as many generated ones.
    """
    training, validation = [], []
    for folder in pages:
        found = sorted((folder / "images" / "train").glob("*.jpg"))
        if not found:
            raise FileNotFoundError(f"--pages {folder}: no images/train/*.jpg")
        training += found
        validation += sorted((folder / "images" / "validation").glob("*.jpg"))
    training = training[: recipe.generated or None]
    if not pages and not real_folders:
        raise ValueError("nothing to train on: give --pages, --real or both")
    real_pages = [page for folder in real_folders for page in read_pages(folder)]
    if real_pages:
        kept, held = real.split(real_pages, recipe.real_holdout)
        if not kept:
            held_out = f"real_holdout {recipe.real_holdout}"
            raise ValueError(f"--real: {len(real_pages)} pages, none left with {held_out}")
        training += (
            real.write(kept, out / "real" / "train", recipe.real_copies, recipe.seed)
            * recipe.real_weight
        )
        held_paths = real.write(held, out / "real" / "holdout", 0, recipe.seed)
        validation = validation[: 3 * len(held_paths)] + held_paths
    names = "".join(f"  {i}: {name}\n" for i, name in enumerate(CLASSES))
    _write_list(out / "val.txt", validation)
    random.Random(recipe.seed).shuffle(training)
    share = len(training) // recipe.processes
    files = []
    for rank in range(recipe.processes):
        _write_list(out / f"train_{rank}.txt", training[rank * share : (rank + 1) * share])
        files.append(out / f"data_{rank}.yaml")
        files[-1].write_text(
            f"path: {out.resolve()}\ntrain: train_{rank}.txt\nval: val.txt\nnames:\n{names}"
        )
    return files


def _write_list(target: Path, paths: list[Path]) -> None:
    target.write_text("".join(f"{path.resolve()}\n" for path in paths))


def overrides(recipe: Recipe, data: Path, out: Path) -> dict[str, Any]:
    """The recipe in Ultralytics' words."""
    settings: dict[str, Any] = dict(
        model=recipe.model, data=str(data),
        project=str(out.resolve().parent), name=out.name, exist_ok=True,
        imgsz=recipe.imgsz, epochs=recipe.epochs, batch=recipe.batch, nbs=recipe.batch,
        optimizer=recipe.optimizer, lr0=recipe.lr, lrf=recipe.final_lr, cos_lr=True,
        warmup_epochs=recipe.warmup_epochs, warmup_bias_lr=0.0, weight_decay=recipe.weight_decay,
        dropout=recipe.dropout, box=recipe.box, cls=recipe.cls,
        patience=recipe.patience, mosaic=recipe.mosaic, close_mosaic=recipe.close_mosaic,
        degrees=recipe.degrees, translate=recipe.translate, scale=recipe.scale,
        hsv_h=recipe.hsv_h, hsv_s=recipe.hsv_s, hsv_v=recipe.hsv_v,
        fliplr=0.0, flipud=0.0, erasing=0.0,
        seed=recipe.seed, deterministic=False, workers=recipe.workers,
        amp=False, plots=True, device="cpu",
    )  # fmt: skip
    if torch.cuda.is_available():
        settings.update(device=0, amp="bf16")
    if recipe.hours > 0:
        settings["time"] = recipe.hours
    return settings


def _run(rank: int, settings: list[dict[str, Any]], recipe: Recipe, meeting: str) -> None:
    """One trainer. The first one validates, saves and says when to stop; all of them learn."""
    if recipe.processes > 1:
        torch.set_num_threads(1)
        dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=recipe.processes)
    trainer = trainer_class(settings[rank]["model"])(overrides=settings[rank])
    trainer.fixed_norm = bool(recipe.fixed_norm)
    stopped = torch.zeros(1)

    def meet(trainer: DocumentTrainer) -> None:
        if trainer.batches_done % recipe.sync_every == 0:
            average_weights(trainer.model, recipe.processes)

    def let_next_set_up(trainer: DocumentTrainer) -> None:
        for _ in range(recipe.processes - rank):
            dist.barrier()

    def stop_together(trainer: DocumentTrainer) -> None:
        if not stopped:  # ultralytics calls this once more after the last epoch
            stopped.fill_(trainer.stop)
            dist.broadcast(stopped, src=0)
            trainer.stop = bool(stopped)

    trainer.add_callback("on_train_epoch_start", _begin)
    trainer.add_callback("on_train_batch_start", _set_rate)
    trainer.add_callback("on_train_batch_end", _count)
    if recipe.processes > 1:
        # One after the other: ultralytics replaces the labels' caches, which all of them share.
        for _ in range(rank):
            dist.barrier()
        trainer.add_callback("on_pretrain_routine_end", let_next_set_up)
        trainer.add_callback("on_train_batch_end", meet)
        trainer.add_callback("on_fit_epoch_end", stop_together)
    trainer.train()


def train(
    recipe: Recipe,
    pages: list[Path],
    real_folders: list[Path],
    out: Path,
    weights: Path | None,
) -> None:
    """One run into `out`; `weights` starts from a checkpoint, whose architecture is then the model.

    ValueError for `hours` in several processes, which would not end in the same batch.
    """
    if recipe.hours > 0 and recipe.processes > 1:
        raise ValueError(f"hours {recipe.hours}: {recipe.processes} processes need epochs instead")
    out.mkdir(parents=True, exist_ok=True)
    if weights:
        recipe = replace(recipe, model=architecture(weights))
    sources = {
        "real": [folder.name for folder in real_folders],
        "weights": origin(weights) if weights else "",
    }
    (out / "recipe.json").write_text(json.dumps(asdict(recipe) | sources, indent=2))
    settings = [
        overrides(recipe, data, out) for data in data_files(pages, real_folders, out, recipe)
    ]
    for rank, own in enumerate(settings):
        if weights:
            own["model"] = str(weights)
        if rank:
            own.update(name=f"{out.name}_{rank}", val=False, plots=False)
    _start(settings, recipe, out)


def resume(out: Path) -> None:
    """Go on with the run in `out` after its last whole epoch; its recipe.json says how.

    Every process starts from the first one's last.pt, optimizer state included. FileNotFoundError
    if there is none; ValueError if the run is finished.
    """
    last = (out / "weights" / "last.pt").resolve()
    if not last.exists():
        raise FileNotFoundError(f"{out}: nothing to resume, no weights/last.pt")
    if load_checkpoint(last)[1]["epoch"] < 0:  # as ultralytics marks it
        raise ValueError(f"{out}: nothing to resume, the run is finished")
    saved = json.loads((out / "recipe.json").read_text())
    recipe = recipe_of(saved)
    settings = []
    for rank in range(recipe.processes):
        own = dict(model=str(last), resume=str(last), data=str(out / f"data_{rank}.yaml"))
        save_dir = out.with_name(f"{out.name}_{rank}") if rank else out
        settings.append(own | dict(save_dir=str(save_dir), val=not rank, plots=not rank))
    _start(settings, recipe, out)


def _start(settings: list[dict[str, Any]], recipe: Recipe, out: Path) -> None:
    if recipe.processes == 1:
        _run(0, settings, recipe, "")
    else:
        meeting = (out / "meeting").resolve()
        meeting.unlink(missing_ok=True)
        mp.spawn(_run, (settings, recipe, f"file://{meeting}"), nprocs=recipe.processes)


def architecture(weights: Path) -> str:
    """The name of the yaml that a checkpoint was built from, else the checkpoint's own."""
    return Path(load_checkpoint(weights)[0].yaml.get("yaml_file", weights)).name


def origin(weights: Path) -> Any:
    """The recipe of the run that a checkpoint comes from, else its name."""
    recipe = weights.resolve().parents[1] / "recipe.json"
    return json.loads(recipe.read_text()) if recipe.exists() else weights.name


def add_arguments(parser: argparse.ArgumentParser, chosen_elsewhere: Collection[str] = ()) -> None:
    """What a run is made of: folders, weights, and the recipe but for the fields named."""
    parser.add_argument(
        "--pages", type=Path, action="append", default=[], help="folder of generated pages"
    )
    parser.add_argument(
        "--real", type=Path, action="append", default=[], help="folder of labelled pages"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--weights", type=Path, help="start from this checkpoint")
    for field in fields(Recipe):
        if field.name not in chosen_elsewhere:
            parser.add_argument(f"--{field.name}", type=type(field.default), default=field.default)


def recipe_of(given: dict[str, Any]) -> Recipe:
    """The recipe in a command line's values or in recipe.json; the rest is as by default."""
    return Recipe(
        **{field.name: given[field.name] for field in fields(Recipe) if field.name in given}
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_arguments(parser)
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    given = vars(parser.parse_args())
    if given["resume"]:
        return resume(given["out"])
    train(recipe_of(given), given["pages"], given["real"], given["out"], given["weights"])


if __name__ == "__main__":
    main()
