"""captcha_postprocess: logits -> the text and how sure it is.

logits            FP32 [1, places, signs]  calibrated: the graph divided them by the temperature
text              STRING [1]               the likeliest sign of each place: six digits as shipped
confidence        FP32 [1]                 probability that all of it is right, [0, 1]
digit_confidence  FP32 [places]            probability of each sign, [0, 1]
certain           BOOL [1]                 whether `confidence` reaches `threshold`
threshold         FP32 [1]                 config.pbtxt's min_confidence

config.pbtxt has min_confidence and alphabet, the signs in their order, which export takes from the
model card.
"""

import json

import numpy as np
import triton_python_backend_utils as pb_utils


def read(logits: np.ndarray, alphabet: str) -> tuple[str, np.ndarray]:
    """(places, signs) logits -> the text and (places,) the softmax probability of each sign."""
    odds = np.exp(logits - logits.max(1, keepdims=True))
    text = "".join(alphabet[sign] for sign in logits.argmax(1))
    return text, (odds.max(1) / odds.sum(1)).astype(np.float32)


def parameter(config: dict, name: str) -> str:
    """A parameter in config.pbtxt; "" if it is not there."""
    return config.get("parameters", {}).get(name, {}).get("string_value", "")


def alphabet_of(config: dict) -> str:
    """The signs of the reader. ValueError unless there are as many as the logits have."""
    inputs = {each["name"]: each["dims"] for each in config["input"]}
    if "logits" not in inputs:
        raise ValueError(f"inputs {sorted(inputs)}, expected logits")
    alphabet, signs = parameter(config, "alphabet"), int(inputs["logits"][-1])
    if len(alphabet) != signs:
        raise ValueError(f"parameter alphabet: {alphabet!r}, limit {signs} signs as logits has")
    return alphabet


def threshold_of(config: dict) -> np.float32:
    """The least confidence of a certain reading. ValueError unless it is in (0, 1]."""
    text = parameter(config, "min_confidence")
    try:
        threshold = float(text)
    except ValueError:
        threshold = np.nan
    if not 0 < threshold <= 1:  # also refuses NaN
        raise ValueError(f"parameter min_confidence: {text!r}, limit a number over 0 up to 1")
    return np.float32(threshold)


def respond(request, alphabet: str, threshold: np.float32):
    """One request's response: five tensors."""
    logits = pb_utils.get_input_tensor_by_name(request, "logits").as_numpy()[0]
    text, digit_confidence = read(logits, alphabet)
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
            config = json.loads(args["model_config"])
            self.alphabet, self.threshold = alphabet_of(config), threshold_of(config)
        except ValueError as error:
            raise pb_utils.TritonModelException(str(error)) from error

    def execute(self, requests):
        return [respond(request, self.alphabet, self.threshold) for request in requests]
