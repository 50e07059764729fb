"""The CAPTCHA reader: one pass of a shared backbone, then one look along its map for each place.

A judge may look on, which tells pictures of six digits from others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from training.captcha.images import DIGITS, HEIGHT, NUMERALS, WIDTH

CLASSES = len(NUMERALS)
STRIDE = 8  # px from column to column of the map: less than half a digit
DILATIONS = (1, 2, 4, 8)  # of the convolutions along the columns: each column sees all 25
WEIGHT_SCALE = 10.0  # of the heads' weights, and over counts, so that a judge's inputs are alike
STEEP = 4.0  # how quickly a judge's verdict turns


@dataclass(frozen=True)
class ReaderConfig:
    """What rebuilds a reader's layers; saved inside its checkpoint."""

    backbone: str = "resnet10t"  # any timm model that gives feature maps
    channels: int = 64  # kept of the backbone's map at each place
    columns: int = 128  # channels of a column; 0 for the published heads, which see all at once
    hidden: int = 128  # units of each head
    position: int = 16  # length of a published head's position embedding; 0 leaves it out
    places: int = DIGITS  # signs of a text
    alphabet: str = NUMERALS  # what each of them may be
    shared: bool = True  # one head for all places, so that a digit is learnt once; else one each
    judge: int = 0  # channels of a judge; 0 leaves it out, and the published heads have none


class Columns(nn.Module):
    """Each place looks along the map for its own sign: (B, C, h, w) -> (B, places, columns).

    Convolutions tell a column what stands left and right of it, and so which sign it belongs to.
    Position embeddings weigh the columns (a softmax of dot products, as in attention), and a head
    gets the weighted mean.
    """

    def __init__(self, shape: tuple[int, int, int], columns: int, places: int) -> None:
        super().__init__()
        self.enter = nn.Conv1d(shape[0] * shape[1], columns, 1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.BatchNorm1d(columns),
                nn.ReLU(),
                nn.Conv1d(columns, columns, 3, padding=dilation, dilation=dilation),
            )
            for dilation in DILATIONS
        )
        self.position = nn.Linear(columns, places)  # its rows are the embeddings
        self.length = columns

    def look(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Columns (B, w, columns), and the weights (B, w, places) that each place gives them."""
        columns = self.enter(maps.relu().flatten(1, 2))  # (B, columns, w)
        for block in self.blocks:
            columns = columns + block(columns)
        columns = columns.transpose(1, 2)
        return columns, self.position(columns).softmax(1)

    def forward(self, maps: Tensor) -> Tensor:
        columns, weights = self.look(maps)
        return weights.transpose(1, 2) @ columns


class Judge(nn.Module):
    """Whether a picture shows as many signs as there are places and nothing else.

    Columns (B, w, columns) and weights (B, w, places) -> (B,), above `least` where it does.
    """

    def __init__(self, columns: int, places: int, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(columns + places)
        self.enter = nn.Conv1d(columns + places, channels, 1)
        self.beside = nn.Conv1d(channels, channels, 5, padding=2)
        self.decide = nn.Linear(3 * channels, 1)
        self.least: Tensor
        self.register_buffer("least", torch.zeros(()))

    def forward(self, columns: Tensor, weights: Tensor) -> Tensor:
        both = torch.cat([columns, WEIGHT_SCALE * weights], 2).transpose(1, 2)
        seen = self.enter(self.norm(both)).relu()
        seen = (seen + self.beside(seen)).relu()  # (B, channels, w)
        count = seen.sum(2) / WEIGHT_SCALE  # as digits are counted
        return self.decide(torch.cat([seen.mean(2), seen.amax(2), count], 1))[:, 0]

    def share(self, columns: Tensor, weights: Tensor) -> Tensor:
        """(B,) 1 where it shows six digits, 0 where it does not, with a steep slope between."""
        return (STEEP * (self(columns, weights) - self.least)).sigmoid()


class WholeMap(nn.Module):
    """The published way: a head sees the whole map and its position's embedding,
    (B, C, h, w) -> (B, places, C * h * w + position).
    """

    def __init__(self, shape: tuple[int, int, int], position: int, places: int) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.randn(places, position))
        self.length = shape[0] * shape[1] * shape[2] + position

    def forward(self, maps: Tensor) -> Tensor:
        features = maps.flatten(1)[:, None].expand(-1, len(self.position), -1)
        places = self.position.expand(maps.shape[0], -1, -1)
        return torch.cat([features, places], 2)


class CaptchaReader(nn.Module):
    """pixels (B, 50, 200), grey 0 to 255, any dtype -> logits (B, places, signs) float32.

    Each image is brought to mean 0 and deviation 1 first, so its contrast does not matter. Where a
    judge finds no such text, the logits go to 0: no sign is likelier than another.
    """

    def __init__(self, config: ReaderConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = feature_maps(config.backbone) if config.columns else whole(config.backbone)
        with torch.no_grad():
            map_ = self.features(torch.zeros(1, HEIGHT, WIDTH))
        _, channels, h, w = map_.shape
        self.reduce = nn.Conv2d(channels, config.channels, 1)
        shape = config.channels, h, w
        self.see = (
            Columns(shape, config.columns, config.places)
            if config.columns
            else WholeMap(shape, config.position, config.places)
        )
        self.heads = nn.ModuleList(
            nn.Sequential(
                nn.Linear(self.see.length, config.hidden),
                nn.ReLU(),
                nn.Linear(config.hidden, len(config.alphabet)),
            )
            for _ in range(1 if config.shared else config.places)
        )
        self.judge = Judge(config.columns, config.places, config.judge) if config.judge else None

    def features(self, pixels: Tensor) -> Tensor:
        """The backbone's map: (B, C, 7, 25) at a stride of 8, (B, C, 2, 7) of all of it."""
        grey = pixels.float().unsqueeze(1)  # (B, 1, 50, 200)
        mean = grey.mean((2, 3), keepdim=True)
        deviation = (grey - mean).square().mean((2, 3), keepdim=True).add(1).sqrt()
        maps = self.backbone((grey - mean) / deviation)
        return maps[0] if self.config.columns else maps

    def look(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """What `judge` takes, of a reader that sees columns."""
        assert isinstance(self.see, Columns)
        return self.see.look(self.reduce(self.features(pixels)))

    def read(self, seen: Tensor) -> Tensor:
        """What each place sees (B, places, length) -> logits (B, places, signs)."""
        if self.config.shared:
            return self.heads[0](seen).float()
        logits = [head(seen[:, place]) for place, head in enumerate(self.heads)]
        return torch.stack(logits, 1).float()

    def forward(self, pixels: Tensor) -> Tensor:
        if self.judge is None:
            return self.read(self.see(self.reduce(self.features(pixels))))
        columns, weights = self.look(pixels)
        share = self.judge.share(columns, weights)
        return self.read(weights.transpose(1, 2) @ columns) * share[:, None, None]


def feature_maps(backbone: str) -> nn.Module:
    """The backbone's layers up to its map of STRIDE, which it gives in a list.

    ValueError if there is none.
    """
    layers: Any = timm.create_model(backbone, features_only=True)
    strides = layers.feature_info.reduction()
    if STRIDE not in strides:
        raise ValueError(f"backbone {backbone}: maps of strides {strides}, {STRIDE} is needed")
    return timm.create_model(
        backbone, in_chans=1, features_only=True, out_indices=[strides.index(STRIDE)]
    ).eval()


def whole(backbone: str) -> nn.Module:
    """All of the backbone's layers, without pooling and classifier."""
    return timm.create_model(backbone, in_chans=1, num_classes=0, global_pool="").eval()


def restructured(reader: CaptchaReader, places: int, alphabet: str) -> CaptchaReader:
    """A reader of texts of other length and signs that begins with this one's weights.

    What it has no weights for (a place further right, a sign whose other case is unknown too) is
    random. It has no judge.
    """
    config = replace(reader.config, places=places, alphabet=alphabet, judge=0)
    other = CaptchaReader(config)
    kept = reader.state_dict()
    known = [_similar(sign, reader.config.alphabet) for sign in alphabet]
    signs = [(row, place) for row, place in enumerate(known) if place >= 0]
    to, of = ([pair[side] for pair in signs] for side in (0, 1))
    both = min(places, reader.config.places)
    with torch.no_grad():
        for name, weights in other.state_dict().items():
            if name.startswith("see.position"):
                weights[:both] = kept[name][:both]
            elif name.startswith("heads.") and ".2." in name:  # a row for each sign
                if name in kept:  # else the head of a place further right
                    weights[to] = kept[name][of]
            elif name in kept:
                weights.copy_(kept[name])
    return other


def _similar(sign: str, alphabet: str) -> int:
    """The place of a sign in the alphabet, else of its other case, else -1."""
    found = alphabet.find(sign)
    return found if found >= 0 else alphabet.find(sign.swapcase())


def mean_weights(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of state dicts of one structure, in float64."""
    return {
        name: torch.stack([state[name].double() for state in states]).mean(0) for name in states[0]
    }


def save(reader: CaptchaReader, path: Path) -> None:
    """Writes the reader's configuration and weights."""
    torch.save({"config": asdict(reader.config), "weights": reader.state_dict()}, path)


def load(path: Path) -> CaptchaReader:
    """The reader in a checkpoint, in evaluation mode. Runs no code from the file."""
    saved = torch.load(path, map_location="cpu", weights_only=True)
    reader = CaptchaReader(ReaderConfig(**({"shared": False} | saved["config"])))
    reader.load_state_dict(saved["weights"])
    return reader.eval()
