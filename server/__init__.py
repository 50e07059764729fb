"""Runs the tritonserver that comes from PyPI on a model repository."""

from server.settings import ServerError, Settings
from server.triton import Triton

__all__ = ["ServerError", "Settings", "Triton"]
