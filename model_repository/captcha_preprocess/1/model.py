"""captcha_preprocess: encoded image -> reader input.

image   STRING [1]              an image file of up to MAX_PIXELS, or its base64 text
pixels  UINT8 [1, 50, 200]      grey, stretched to size; scaling lives in the graph
"""

import json

import cv2
import numpy as np
import triton_python_backend_utils as pb_utils
from decode import in_time, open_image, read_pixels

MAX_PIXELS = 4_000_000  # of a file: no CAPTCHA is as large, and a page would hold up the others


def pixels_of(sent: bytes, width: int, height: int) -> np.ndarray:
    """(1, height, width) uint8 grey. ValueError for what is no image or over a limit."""
    encoded = open_image(sent, max_pixels=MAX_PIXELS)
    shrink = min(1.0, max(width, height) / min(encoded.size))
    image = read_pixels(encoded, shrink, grey=True)
    shrinks = image.shape[1] > width or image.shape[0] > height
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(image, (width, height), interpolation=interpolation)[None]


def respond(request, width: int, height: int):
    """One request's response: `pixels`, or INVALID_ARGUMENT with the reason."""
    sent = pb_utils.get_input_tensor_by_name(request, "image").as_numpy()[0]
    try:
        if names := sorted(json.loads(request.parameters() or "{}")):
            raise ValueError(f"parameter {names[0]}: unknown, captcha_reader takes none")
        pixels = pixels_of(sent, width, height)
    except ValueError as error:
        refusal = pb_utils.TritonError(str(error), pb_utils.TritonError.INVALID_ARG)
        return pb_utils.InferenceResponse([], refusal)
    return pb_utils.InferenceResponse([pb_utils.Tensor("pixels", pixels)])


class TritonPythonModel:
    def initialize(self, args):
        (pixels,) = json.loads(args["model_config"])["output"]
        _, self.height, self.width = (int(size) for size in pixels["dims"])

    def execute(self, requests):
        with in_time():
            return [respond(request, self.width, self.height) for request in requests]
