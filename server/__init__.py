"""Runs the tritonserver that comes from PyPI on a model repository."""

from server.triton import ServerError, Settings, Triton

__all__ = ["ServerError", "Settings", "Triton"]
