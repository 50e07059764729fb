"""What a reader's model card says, in the config.pbtxt files of the models that serve it."""

from pathlib import Path

from tritonclient.grpc.model_config_pb2 import ModelConfig

from export.repository import write_config
from inprocess.repository import read_config

GRAPH, POSTPROCESS, ENSEMBLE = "captcha_heads", "captcha_postprocess", "captcha_reader"


def configs(repository: Path, card: dict) -> dict[Path, ModelConfig]:
    """Each config.pbtxt that depends on the card, as it is to be: length and alphabet of the texts,
    and from which confidence on they are certain.
    """
    places, alphabet = card["input"]["digits"], "".join(card["classes"])
    dims = {"logits": [1, places, len(alphabet)], "digit_confidence": [places]}
    found = {}
    for model in (GRAPH, POSTPROCESS, ENSEMBLE):
        path = repository / model / "config.pbtxt"
        config = read_config(path)
        for tensor in (*config.input, *config.output):
            if tensor.name in dims:
                tensor.dims[:] = dims[tensor.name]
        if model == POSTPROCESS:
            threshold = str(card["thresholds"]["min_confidence"])
            config.parameters["min_confidence"].string_value = threshold
            config.parameters["alphabet"].string_value = alphabet
        found[path] = config
    return found


def write(repository: Path, card: dict) -> None:
    """Writes those that say something else."""
    for path, config in configs(repository, card).items():
        write_config(path, config)
