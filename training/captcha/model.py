"""The CAPTCHA reader: one pass of a shared backbone, then one head for each of the six digits."""

from dataclasses import asdict, dataclass
from pathlib import Path

import timm
import torch
from torch import Tensor, nn

from training.captcha.images import DIGITS, HEIGHT, WIDTH

CLASSES = 10  # 0 to 9


@dataclass(frozen=True)
class ReaderConfig:
    """What rebuilds a reader's layers; saved inside its checkpoint."""

    backbone: str = "test_resnet"  # 0.4 M parameters; any timm model whose features are a map
    channels: int = 64  # kept of the backbone's map at each place
    hidden: int = 128  # units of each head
    position: int = 16  # length of a position's embedding; 0 leaves it out


class CaptchaReader(nn.Module):
    """pixels (B, 50, 200), grey 0 to 255, any dtype -> logits (B, 6, 10) float32.

    Each image is brought to mean 0 and deviation 1 first, so its contrast does not matter.
    """

    def __init__(self, config: ReaderConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = timm.create_model(
            config.backbone, in_chans=1, num_classes=0, global_pool=""
        )
        with torch.no_grad():
            map_ = self.backbone.eval()(torch.zeros(1, 1, HEIGHT, WIDTH))
        _, channels, h, w = map_.shape
        self.reduce = nn.Conv2d(channels, config.channels, 1)
        self.position = nn.Parameter(torch.randn(DIGITS, config.position))
        self.heads = nn.ModuleList(
            nn.Sequential(
                nn.Linear(config.channels * h * w + config.position, config.hidden),
                nn.ReLU(),
                nn.Linear(config.hidden, CLASSES),
            )
            for _ in range(DIGITS)
        )

    def forward(self, pixels: Tensor) -> Tensor:
        grey = pixels.float().unsqueeze(1)  # (B, 1, 50, 200)
        mean = grey.mean((2, 3), keepdim=True)
        deviation = (grey - mean).square().mean((2, 3), keepdim=True).add(1).sqrt()
        maps = self.backbone((grey - mean) / deviation)  # (B, C, h, w)
        features = self.reduce(maps).flatten(1)  # (B, channels * h * w): places are kept
        places = self.position.expand(features.shape[0], DIGITS, -1)  # (B, 6, position)
        logits = [
            head(torch.cat([features, places[:, digit]], 1))  # (B, 10)
            for digit, head in enumerate(self.heads)
        ]
        return torch.stack(logits, 1).float()


def save(reader: CaptchaReader, path: Path) -> None:
    """Writes the reader's configuration and weights."""
    torch.save({"config": asdict(reader.config), "weights": reader.state_dict()}, path)


def load(path: Path) -> CaptchaReader:
    """The reader in a checkpoint, in evaluation mode. Runs no code from the file."""
    saved = torch.load(path, map_location="cpu", weights_only=True)
    reader = CaptchaReader(ReaderConfig(**saved["config"]))
    reader.load_state_dict(saved["weights"])
    return reader.eval()
