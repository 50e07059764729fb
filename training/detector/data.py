"""What a run learns from: folders of pages, how often each kind is seen, and batches of views."""

import signal
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from training.detector.inks import SIGNATURE, STAMP, CutOut, cut_outs, paste
from training.detector.labels import Labelled, complete, hold_out, training_pages
from training.detector.views import Page, View, cache, read_cached, view

GENERATED, UNMARKED = "generated", "unmarked"  # kinds beside the folders of real pages
PASTED = {GENERATED: 0.35, UNMARKED: 0.4}  # probability that a page gets real ink; others: OTHER
OTHER = 0.2
CROSSED = 0.35  # probability that a page with stamps gets a signature across one
LARGE = 0.004  # of the page's area; smaller stamps are not signed across


@dataclass(frozen=True)
class Data:
    """Pages in the cache: by kind those to train on, and those kept for validation."""

    training: dict[str, list[Page]]
    validation: list[Page]


def read(
    real: Sequence[Path],
    generated: Sequence[Path],
    folder: Path,
    fit: Any,
    held_share: float,
    seed: int,
) -> Data:
    """The pages of all folders, shrunk into `folder`.

    Folders that keep no pages for validation give a share of their sources, drawn by seed. A real
    page without anything on it is of the kind UNMARKED. Raises as `labels.training_pages`;
    ValueError if nothing is left to train on.
    """
    kinds: dict[str, list[Page]] = defaultdict(list)
    validation: list[Page] = []
    for path in real:
        training, held = training_pages(path)
        if not held:
            training, held = hold_out(training, held_share, seed)
        for page in _cached(training, folder, fit, path.name):
            kinds[path.name if len(page.xyxy) + len(page.ignore) else UNMARKED].append(page)
        validation += _cached(held, folder, fit, path.name)
    for path in generated:
        kinds[GENERATED] += _cached(training_pages(path)[0], folder, fit, GENERATED)
    if not any(kinds.values()):
        folders = ", ".join(str(path) for path in [*real, *generated]) or "no folder"
        raise ValueError(f"nothing to train on in {folders} with held_out {held_share}")
    return Data({kind: pages for kind, pages in kinds.items() if pages}, validation)


def _cached(pages: Sequence[Labelled], folder: Path, fit: Any, group: str) -> list[Page]:
    return cache(complete(pages), folder, fit, group) if pages else []


def kind_shares(
    kinds: dict[str, list[Page]], generated: float, unmarked: float
) -> dict[str, float]:
    """How often each kind is seen: the two as told where there are such pages; folders of real
    pages by the square root of their sources, so that a small one is not drowned.
    """
    asked = {GENERATED: generated, UNMARKED: unmarked}
    fixed = {kind: asked[kind] for kind in kinds if kind in asked}
    roots = {
        kind: len({page.source for page in pages}) ** 0.5
        for kind, pages in kinds.items()
        if kind not in asked
    }
    rest = 1 - sum(fixed.values()) if roots else 0.0
    shares = fixed | {kind: rest * root / sum(roots.values()) for kind, root in roots.items()}
    return {kind: share / sum(shares.values()) for kind, share in shares.items()}


class Views(Dataset):
    """Endless views of pages. Which is the n-th depends on the seed and n alone, so that a run goes
    on where it stopped, in any number of loaders.
    """

    def __init__(
        self, kinds: dict[str, list[Page]], shares: dict[str, float], marks: Sequence[CutOut],
        fit: Any, zoom: float, views: int, seed: int,
    ) -> None:  # fmt: skip
        self.sources = {kind: _by_source(pages) for kind, pages in kinds.items()}
        self.kinds, self.shares = list(shares), np.array(list(shares.values()))
        self.signatures = [mark for mark in marks if mark.class_id == SIGNATURE]
        self.stamps = [mark for mark in marks if mark.class_id == STAMP]
        self.fit, self.zoom, self.views, self.seed = fit, zoom, views, seed

    def __len__(self) -> int:
        return self.views

    def __getitem__(self, number: int) -> View:
        if number >= self.views:
            raise IndexError(number)
        rng = np.random.default_rng((self.seed, number))
        kind = self.kinds[rng.choice(len(self.kinds), p=self.shares)]
        source = self.sources[kind][rng.integers(len(self.sources[kind]))]
        page = source[rng.integers(len(source))]
        pixels = read_cached(page.file)
        class_ids, xyxy = self.inked(kind, page, pixels, rng)
        return view(page, pixels, class_ids, xyxy, self.fit, self.zoom, rng)

    def inked(
        self, kind: str, page: Page, pixels: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Press real marks onto a page now and then, in place; returns what it then bears, boxes as
        shares.
        """
        size = np.tile(pixels.shape[1::-1], 2).astype(np.float32)
        class_ids, xyxy = page.class_ids, page.xyxy * size
        if rng.random() < PASTED.get(kind, OTHER):
            for marks in (self.stamps, self.signatures):
                for _ in range(rng.integers(3)):
                    if marks:
                        mark = marks[rng.integers(len(marks))]
                        class_ids, xyxy = paste(pixels, class_ids, xyxy, mark, rng)
        sides = (xyxy[:, 2:] - xyxy[:, :2]) / size[:2]
        (large,) = np.nonzero((class_ids == STAMP) & (sides.prod(axis=1) > LARGE))
        if len(large) and self.signatures and rng.random() < CROSSED:
            mark = self.signatures[rng.integers(len(self.signatures))]
            stamp = xyxy[large[rng.integers(len(large))]]
            class_ids, xyxy = paste(pixels, class_ids, xyxy, mark, rng, over=stamp)
        return class_ids, xyxy / size


def _by_source(pages: Sequence[Page]) -> list[list[Page]]:
    sources: dict[str, list[Page]] = defaultdict(list)
    for page in pages:
        sources[page.source].append(page)
    return list(sources.values())


@dataclass(frozen=True)
class Batch:
    """B views as ultralytics' networks and losses take them."""

    pixels: Tensor  # (B, 3, H, W) uint8
    image: Tensor  # (N,) which view each box is on
    class_ids: Tensor  # (N,)
    cxcywh: Tensor  # (N, 4) shares of the input
    ignore: list[np.ndarray]  # B of (m, 4), xyxy in pixels of the input
    labelled: Tensor  # (B, C) bool

    def pin_memory(self) -> "Batch":
        """With pixels where a GPU fetches them while others are computed; a loader calls it."""
        return replace(self, pixels=self.pixels.pin_memory())


def collate(views: Sequence[View]) -> Batch:
    height, width = views[0].pixels.shape[:2]
    counts = [len(one.class_ids) for one in views]
    xyxy = np.concatenate([one.xyxy for one in views]) / np.array([width, height] * 2, np.float32)
    return Batch(
        pixels=torch.from_numpy(np.stack([one.pixels for one in views])).permute(0, 3, 1, 2),
        image=torch.arange(len(views)).repeat_interleave(torch.tensor(counts)).float(),
        class_ids=torch.from_numpy(np.concatenate([one.class_ids for one in views])).float(),
        cxcywh=torch.from_numpy(
            np.hstack([(xyxy[:, :2] + xyxy[:, 2:]) / 2, xyxy[:, 2:] - xyxy[:, :2]])
        ),
        ignore=[one.ignore for one in views],
        labelled=torch.from_numpy(np.stack([one.labelled for one in views])),
    )


def background(batch: Batch, strides: list[int]) -> Tensor:
    """(B, A, C) bool: where a cell without a box is background of a class: where the page is
    labelled with it, and no area is to be ignored.

    The cells are those of each stride's grid, row by row; their middles count.
    """
    height, width = batch.pixels.shape[2:]
    cells = [_cells(height, width, stride) for stride in strides]
    x, y = (np.concatenate(axis) for axis in zip(*cells, strict=True))
    outside = np.ones((len(batch.ignore), len(x)), bool)
    for image, areas in enumerate(batch.ignore):
        for x0, y0, x1, y1 in areas:
            outside[image] &= ~((x >= x0) & (x <= x1) & (y >= y0) & (y <= y1))
    return torch.from_numpy(outside)[..., None] & batch.labelled[:, None]


def _cells(height: int, width: int, stride: int) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[0 : height // stride, 0 : width // stride]
    return (x.ravel() + 0.5) * stride, (y.ravel() + 0.5) * stride


def batches(views: Views, first: int, size: int, loaders: int) -> DataLoader:
    """The batches from view `first` on."""
    return DataLoader(
        Subset(views, range(first, len(views))),
        batch_size=size,
        num_workers=loaders,
        collate_fn=collate,
        worker_init_fn=_begin_loader,
        drop_last=True,
        pin_memory=torch.cuda.is_available(),
        prefetch_factor=4 if loaders else None,
    )


def _begin_loader(_: int) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # the trainer hears them, saves, and ends it
        signal.signal(number, signal.SIG_IGN)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def marks_of(kinds: dict[str, list[Page]]) -> list[CutOut]:
    """What can be cut out of the real pages."""
    return cut_outs([page for kind, pages in kinds.items() if kind != GENERATED for page in pages])
