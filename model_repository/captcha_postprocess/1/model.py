"""captcha_postprocess: logits -> six digits and how sure they are.

logits            FP32 [1, 6, 10]   calibrated: the graph has divided them by the temperature
text              STRING [1]        the six likeliest digits
confidence        FP32 [1]          probability that all six are right, [0, 1]
digit_confidence  FP32 [6]          probability of each digit, [0, 1]
"""

import numpy as np
import triton_python_backend_utils as pb_utils


def read(logits: np.ndarray) -> tuple[str, np.ndarray]:
    """(6, 10) logits -> the text and (6,) the softmax probability of each of its digits."""
    odds = np.exp(logits - logits.max(1, keepdims=True))
    return "".join(map(str, logits.argmax(1))), (odds.max(1) / odds.sum(1)).astype(np.float32)


def respond(request):
    """One request's response: three tensors."""
    logits = pb_utils.get_input_tensor_by_name(request, "logits").as_numpy()[0]
    text, digit_confidence = read(logits)
    return pb_utils.InferenceResponse(
        [
            pb_utils.Tensor("text", np.array([text], np.object_)),
            pb_utils.Tensor("confidence", digit_confidence.prod(keepdims=True)),
            pb_utils.Tensor("digit_confidence", digit_confidence),
        ]
    )


class TritonPythonModel:
    def execute(self, requests):
        return [respond(request) for request in requests]
