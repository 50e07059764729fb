"""Runs the tritonserver that comes from PyPI on a model repository, behind Envoy."""

from server.server import Server
from server.settings import ServerError, Settings
from server.triton import Triton

__all__ = ["Server", "ServerError", "Settings", "Triton"]
