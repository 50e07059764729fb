"""An ensemble of a model repository run in this process: its steps, one after the other."""

from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path

import numpy as np

from inprocess.model import Model, Tensors
from inprocess.repository import read_config

# Takes the tensors made so far, by their names in the ensemble, and the request's parameters;
# gives those that it makes
Step = Callable[[Tensors, Mapping[str, object]], Tensors]


class Ensemble:
    """What an ensemble of a repository answers to an image file.

    Its graphs are compiled as the server compiles them, so on one machine the answers are the
    server's to the last bit. May be called from several threads. Loading one sets OpenCV to a
    single thread in the whole process.
    """

    def __init__(
        self, repository: str | PathLike[str], name: str, threads: int = 0, precision: str = ""
    ) -> None:
        """`threads` of each graph, 0 for all cores; `precision` is f32, bf16 or the CPU's own.

        ValueError if the repository has no such ensemble, or a model of it cannot be loaded.
        """
        folder = Path(repository)
        names = ensembles(folder)
        if name not in names:
            raise ValueError(f"{folder}: no ensemble {name!r}, there are {', '.join(names)}")
        config = read_config(folder / name / "config.pbtxt")
        server = {"COUNTERSIGN_THREADS": str(threads), "COUNTERSIGN_PRECISION": precision}
        self.outputs = [output.name for output in config.output]
        self.steps: dict[str, Step] = {
            step.model_name: _mapped(
                Model(folder / step.model_name, server),
                dict(step.input_map),
                dict(step.output_map),
            )
            for step in config.ensemble_scheduling.step
        }

    def answer(self, image: bytes, parameters: Mapping[str, object]) -> Tensors:
        """The ensemble's outputs for an image file, by name.

        ValueError for an image or a parameter that is refused, with the server's words.
        """
        tensors = {"image": np.array([image], np.object_)}
        for step in self.steps.values():
            tensors |= step(tensors, parameters)
        return {name: tensors[name] for name in self.outputs}


class Detector:
    """A detector of a repository; `name` is that of its ensemble."""

    def __init__(
        self,
        repository: str | PathLike[str],
        name: str = "document_detector",
        threads: int = 0,
        precision: str = "",
    ) -> None:
        """Arguments and errors as Ensemble's."""
        self.ensemble = Ensemble(repository, name, threads, precision)

    def detect(self, image: bytes, **parameters: object) -> Tensors:
        """The signatures and stamps on a page: `boxes`, `scores`, `labels`, `page_size`, ...

        `image` is the bytes of an image file; outputs and parameters are those of the ensemble, as
        docs/serving.md lists them. ValueError for what the server would refuse, in its words.
        """
        return self.ensemble.answer(image, parameters)


class Reader:
    """The CAPTCHA reader of a repository; `name` is that of its ensemble."""

    def __init__(
        self,
        repository: str | PathLike[str],
        name: str = "captcha_reader",
        threads: int = 0,
        precision: str = "",
    ) -> None:
        """Arguments and errors as Ensemble's."""
        self.ensemble = Ensemble(repository, name, threads, precision)

    def read(self, image: bytes) -> Tensors:
        """The digits on a CAPTCHA: `text`, `confidence`, `certain`, ... as docs/serving.md lists.

        `image` is the bytes of an image file. ValueError for what the server would refuse.
        """
        return self.ensemble.answer(image, {})


def ensembles(repository: Path) -> list[str]:
    """The names of a repository's ensembles, sorted."""
    configs = sorted(repository.glob("*/config.pbtxt"))
    return [path.parent.name for path in configs if read_config(path).platform == "ensemble"]


def _mapped(model: Model, input_map: dict[str, str], output_map: dict[str, str]) -> Step:
    """The model as a step; the maps lead from the model's names to the ensemble's."""

    def step(tensors: Tensors, parameters: Mapping[str, object]) -> Tensors:
        inputs = {name: tensors[mapped] for name, mapped in input_map.items()}
        made = model(inputs, list(output_map), parameters)
        return {mapped: made[name] for name, mapped in output_map.items()}

    return step
