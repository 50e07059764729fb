"""captcha_postprocess: logits -> six digits and how sure they are.

logits            FP32 [1, 6, 10]   calibrated: the graph has divided them by the temperature
text              STRING [1]        the six likeliest digits
confidence        FP32 [1]          probability that all six are right, [0, 1]
digit_confidence  FP32 [6]          probability of each digit, [0, 1]
certain           BOOL [1]          whether `confidence` reaches `threshold`
threshold         FP32 [1]          config.pbtxt's min_confidence, which export takes from the card
"""

import json

import numpy as np
import triton_python_backend_utils as pb_utils


def read(logits: np.ndarray) -> tuple[str, np.ndarray]:
    """(6, 10) logits -> the text and (6,) the softmax probability of each of its digits."""
    odds = np.exp(logits - logits.max(1, keepdims=True))
    return "".join(map(str, logits.argmax(1))), (odds.max(1) / odds.sum(1)).astype(np.float32)


def threshold_of(config: dict) -> np.float32:
    """The least confidence of a certain reading. ValueError unless it is in (0, 1]."""
    text = config.get("parameters", {}).get("min_confidence", {}).get("string_value", "")
    try:
        threshold = float(text)
    except ValueError:
        threshold = np.nan
    if not 0 < threshold <= 1:  # also refuses NaN
        raise ValueError(f"parameter min_confidence: {text!r}, limit a number over 0 up to 1")
    return np.float32(threshold)


def respond(request, threshold: np.float32):
    """One request's response: five tensors."""
    logits = pb_utils.get_input_tensor_by_name(request, "logits").as_numpy()[0]
    text, digit_confidence = read(logits)
    confidence = digit_confidence.prod(keepdims=True)
    return pb_utils.InferenceResponse(
        [
            pb_utils.Tensor("text", np.array([text], np.object_)),
            pb_utils.Tensor("confidence", confidence),
            pb_utils.Tensor("digit_confidence", digit_confidence),
            pb_utils.Tensor("certain", confidence >= threshold),
            pb_utils.Tensor("threshold", np.array([threshold])),
        ]
    )


class TritonPythonModel:
    def initialize(self, args):
        try:
            self.threshold = threshold_of(json.loads(args["model_config"]))
        except ValueError as error:
            raise pb_utils.TritonModelException(str(error)) from error

    def execute(self, requests):
        return [respond(request, self.threshold) for request in requests]
