"""What a screenshot, a scaled page or a poor JPEG does to CAPTCHA pixels, on whole batches.

Every function takes and returns pixels (B, 50, 200) float32 in [0, 255] and draws its strengths
from `rng`, each image its own.
"""

import cv2
import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn.functional import affine_grid, conv2d, grid_sample, interpolate, pad

SCREENSHOT = (2, 0.025, 0.05)  # degrees, shares: what screenshots do, less than training does
CORNERS = torch.tensor([[-1.0, -1], [1, -1], [1, 1], [-1, 1]])  # x, y; a full side is 2


def uniform(low: float, high: float, shape: tuple[int, ...], rng: Generator) -> Tensor:
    return torch.rand(shape, generator=rng) * (high - low) + low


def homographies(source: Tensor, target: Tensor) -> Tensor:
    """The (B, 3, 3) projective maps that take four points (B, 4, 2) to four others."""
    (x, y), (u, v) = source.unbind(-1), target.unbind(-1)  # (B, 4) each
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    rows_u = torch.stack([x, y, one, zero, zero, zero, -u * x, -u * y], -1)
    rows_v = torch.stack([zero, zero, zero, x, y, one, -v * x, -v * y], -1)
    solved = torch.linalg.solve(torch.cat([rows_u, rows_v], 1), torch.cat([u, v], 1))  # (B, 8)
    return pad(solved, (0, 1), value=1).reshape(-1, 3, 3)


def moved(
    pixels: Tensor,
    rotation: float,
    translation: float,
    perspective: float,
    rng: Generator,
) -> Tensor:
    """Turned by up to `rotation` degrees, shifted by up to the share `translation` of each side,
    and, every second image, seen from aside: corners moved inwards by up to the share
    `perspective` of half a side. What comes into view repeats the edge.
    """
    count, height, width = pixels.shape
    inwards = perspective * torch.rand((count, 4, 2), generator=rng)
    inwards *= (torch.rand((count, 1, 1), generator=rng) < 0.5).float()
    corners = CORNERS * (1 - inwards)
    angle = torch.deg2rad(uniform(-rotation, rotation, (count, 1), rng))
    sides = torch.tensor([width, height]) / 2
    x, y = (corners * sides).unbind(-1)  # px, so that a turn stays a turn
    turned = torch.stack([x * angle.cos() - y * angle.sin(), x * angle.sin() + y * angle.cos()], -1)
    shift = 2 * uniform(-translation, translation, (count, 1, 2), rng)
    maps = homographies(turned / sides + shift, CORNERS.expand(count, 4, 2))
    places = affine_grid(
        torch.eye(2, 3).expand(count, 2, 3),
        [count, 1, height, width],
        align_corners=False,
    )
    homogeneous = pad(places.flatten(1, 2), (0, 1), value=1.0) @ maps.mT  # (B, H * W, 3)
    grid = (homogeneous[..., :2] / homogeneous[..., 2:]).reshape(count, height, width, 2)
    return grid_sample(pixels[:, None], grid, padding_mode="border", align_corners=False).squeeze(1)


def blurred(pixels: Tensor, strongest: float, rng: Generator) -> Tensor:
    """Gaussian blur with a sigma of 0 to `strongest` px, 7 px wide."""
    sigma = uniform(0.01, strongest, (len(pixels), 1), rng)
    kernel = torch.exp(-0.5 * (torch.arange(-3, 4) / sigma) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True))[:, None]  # (B, 1, 7)
    padded = pad(pixels, (3, 3, 3, 3), mode="replicate")[None]  # (1, B, 56, 206)
    across = conv2d(padded, kernel[:, :, None], groups=len(pixels))
    return conv2d(across, kernel[..., None], groups=len(pixels))[0]


def rescaled(pixels: Tensor, low: float, high: float, rng: Generator) -> Tensor:
    """Drawn at another scale, one for the whole batch, and back."""
    scale = float(uniform(low, high, (1,), rng))
    size = [round(side * scale) for side in pixels.shape[1:]]
    other = interpolate(pixels[:, None], size=size, mode="bilinear", antialias=True)
    back = interpolate(other, size=pixels.shape[1:], mode="bilinear", antialias=True)
    return back.squeeze(1)


def toned(pixels: Tensor, rng: Generator) -> Tensor:
    """Other contrast, brightness and gamma, cut at 0 and 255."""
    count = len(pixels)
    contrast = uniform(0.5, 1.2, (count, 1, 1), rng)
    brightness = uniform(-30, 30, (count, 1, 1), rng)
    gamma = uniform(-0.5, 0.5, (count, 1, 1), rng).exp()
    middle = pixels.mean((1, 2), keepdim=True)
    flat = ((pixels - middle) * contrast + middle + brightness).clamp(0, 255)
    return 255 * (flat / 255) ** gamma


def grained(pixels: Tensor, strongest: float, rng: Generator) -> Tensor:
    """With grain of a standard deviation of 0 to `strongest`."""
    deviation = uniform(0, strongest, (len(pixels), 1, 1), rng)
    return pixels + deviation * torch.randn(pixels.shape, generator=rng)


def compressed(pixels: Tensor, low: int, high: int, rng: Generator) -> Tensor:
    """Through a JPEG file of quality `low` to `high`."""
    rounded = pixels.clamp(0, 255).round().byte().numpy()
    qualities = torch.randint(low, high + 1, (len(rounded),), generator=rng).tolist()
    through = [
        cv2.imdecode(
            cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, quality])[1],
            cv2.IMREAD_GRAYSCALE,
        )
        for grey, quality in zip(rounded, qualities, strict=True)
    ]
    return torch.from_numpy(np.stack(through)).float()


def augmented(
    pixels: Tensor,
    rotation: float,
    translation: float,
    perspective: float,
    rng: Generator,
) -> Tensor:
    """pixels (B, 50, 200) uint8 -> float32 in [0, 255], geometry always, each of the rest for
    a random part of the batch. Never mirrored: a mirrored digit is another sign.
    """
    batch = moved(pixels.float(), rotation, translation, perspective, rng)
    for change, share in (
        (lambda part: toned(part, rng), 0.5),
        (lambda part: blurred(part, 1.2, rng), 0.3),
        (lambda part: rescaled(part, 0.5, 1.6, rng), 0.3),
        (lambda part: grained(part, 12, rng), 0.3),
        (lambda part: compressed(part, 25, 95, rng), 0.3),
    ):
        rows = (torch.rand(len(batch), generator=rng) < share).nonzero().squeeze(1)
        if len(rows):
            batch[rows] = change(batch[rows])
    return batch.clamp(0, 255)
