"""document_preprocess: encoded page -> input of any detector in the repository.

image      STRING [1]               an image file, or its base64 text
pixels     UINT8 [1, H, W, 3]       RGB, the page centred on grey; scaling lives in the graph
letterbox  FP32 [4]                 pad_x, pad_y, width, height of the page in `pixels`
page_size  INT32 [2]                width, height of the page that was sent, upright
page_count INT32 [1]                pages in the file, over 1 in a TIFF alone

The request parameter `page`, from 1, chooses the page; without it, it is the first.

A detector that wants another size or way has two more outputs in config.pbtxt, `pixels_X` and
`letterbox_X`, and the parameter `fit_X`: a way of fit.py, or corner and the pixels of the shorter
side. FP32 [1, 3, H, W] is RGB in [0, 1]. A request is given what its ensemble takes.
"""

import json

import numpy as np
import triton_python_backend_utils as pb_utils
from decode import in_time, open_image, read_pixels
from fit import Fit, letterbox, scales, to_pixels


def fits_of(config: dict) -> dict[str, Fit]:
    """What follows `pixels` in an output's name -> how that output is made."""
    fits = {}
    for output in config["output"]:
        name, suffix = output["name"][: len("pixels")], output["name"][len("pixels") :]
        if name != "pixels":
            continue
        asked = config.get("parameters", {}).get(f"fit{suffix}", {"string_value": "letterbox"})
        way, *shortest = asked["string_value"].split()
        planes = output["data_type"] == "TYPE_FP32"
        height, width = map(int, output["dims"][2:] if planes else output["dims"][1:3])
        fits[suffix] = Fit(width, height, way, int(shortest[0]) if shortest else 0, planes)
    return fits


def respond(request, fits: dict[str, Fit]):
    """One request's response: the tensors asked for, or INVALID_ARGUMENT with the reason."""
    asked = set(request.requested_output_names())
    wanted = {
        suffix: fit
        for suffix, fit in fits.items()
        if asked & {f"pixels{suffix}", f"letterbox{suffix}"}
    }
    sent = pb_utils.get_input_tensor_by_name(request, "image").as_numpy()[0]
    parameters = json.loads(request.parameters() or "{}")
    try:
        image = open_image(sent, parameters.get("page", 1))
        shrink = max((max(scales(*image.size, fit)) for fit in wanted.values()), default=1.0)
        page = read_pixels(image, min(1.0, shrink), grey=False)
    except ValueError as error:
        refusal = pb_utils.TritonError(str(error), pb_utils.TritonError.INVALID_ARG)
        return pb_utils.InferenceResponse([], refusal)
    tensors = [
        pb_utils.Tensor("page_size", np.array(image.size, np.int32)),
        pb_utils.Tensor("page_count", np.array([image.page_count], np.int32)),
    ]
    for suffix, fit in wanted.items():
        box = letterbox(*image.size, fit)
        tensors.append(pb_utils.Tensor(f"pixels{suffix}", to_pixels(page, box, fit)))
        tensors.append(pb_utils.Tensor(f"letterbox{suffix}", np.array(box, np.float32)))
    return pb_utils.InferenceResponse(tensors)


class TritonPythonModel:
    def initialize(self, args):
        self.fits = fits_of(json.loads(args["model_config"]))

    def execute(self, requests):
        with in_time():
            return [respond(request, self.fits) for request in requests]
