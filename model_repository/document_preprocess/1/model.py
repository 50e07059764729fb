"""document_preprocess: encoded page -> detector input.

image      STRING [1]               an image file, or its base64 text
pixels     UINT8 [1, S, S, 3]       RGB, the page centred on grey; scaling lives in the graph
letterbox  FP32 [4]                 pad_x, pad_y, width, height of the page in `pixels`
page_size  INT32 [2]                width, height of the page that was sent, upright
"""

import json

import cv2
import numpy as np
import triton_python_backend_utils as pb_utils
from decode import open_image, read_pixels

PADDING = 114  # the grey that YOLO is trained with


def letterbox(width: int, height: int, side: int) -> tuple[int, int, int, int]:
    """pad_x, pad_y, width, height in whole pixels of a page fitted into a square of `side`."""
    scale = side / max(width, height)
    fitted_width = max(1, round(width * scale))
    fitted_height = max(1, round(height * scale))
    return (side - fitted_width) // 2, (side - fitted_height) // 2, fitted_width, fitted_height


def to_pixels(page: np.ndarray, box: tuple[int, int, int, int], side: int) -> np.ndarray:
    """(H, W) or (H, W, 3) uint8 page -> (1, side, side, 3) uint8 RGB, the page inside `box`."""
    pad_x, pad_y, width, height = box
    # AREA keeps thin strokes when it shrinks; to enlarge it would repeat pixels
    shrinks = page.shape[1] > width or page.shape[0] > height
    fitted = cv2.resize(
        page, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    )
    pixels = np.full((1, side, side, 3), PADDING, np.uint8)
    inside = pixels[0, pad_y : pad_y + height, pad_x : pad_x + width]
    inside[:] = fitted if fitted.ndim == 3 else fitted[..., None]
    return pixels


def respond(request, side: int):
    """One request's response: three tensors, or INVALID_ARGUMENT with the reason."""
    sent = pb_utils.get_input_tensor_by_name(request, "image").as_numpy()[0]
    try:
        file, header = open_image(sent)
        shrink = min(1.0, side / max(header.size))
        page, size = read_pixels(file, header, shrink, grey=False)
    except ValueError as error:
        refusal = pb_utils.TritonError(str(error), pb_utils.TritonError.INVALID_ARG)
        return pb_utils.InferenceResponse([], refusal)
    box = letterbox(*size, side)
    return pb_utils.InferenceResponse(
        [
            pb_utils.Tensor("pixels", to_pixels(page, box, side)),
            pb_utils.Tensor("letterbox", np.array(box, np.float32)),
            pb_utils.Tensor("page_size", np.array(size, np.int32)),
        ]
    )


class TritonPythonModel:
    def initialize(self, args):
        outputs = json.loads(args["model_config"])["output"]
        self.side = next(int(o["dims"][1]) for o in outputs if o["name"] == "pixels")

    def execute(self, requests):
        return [respond(request, self.side) for request in requests]
