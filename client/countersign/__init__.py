"""Signatures and stamps on pages, digits of CAPTCHAs: the client of a countersign server.

from countersign import Client

with Client("127.0.0.1:8001") as client:
    for detection in client.detect("page.jpg"):
        print(detection.label, detection.score, detection.box)
"""

from countersign.address import Tls
from countersign.client import AsyncClient, Client
from countersign.errors import (
    Closed,
    CountersignError,
    DeadlineExceeded,
    Denied,
    Refused,
    Unavailable,
)
from countersign.messages import Detection, Detections, Model, PageDetections, Reading

__all__ = [
    "AsyncClient",
    "Client",
    "Closed",
    "CountersignError",
    "DeadlineExceeded",
    "Denied",
    "Detection",
    "Detections",
    "Model",
    "PageDetections",
    "Reading",
    "Refused",
    "Tls",
    "Unavailable",
]
__version__ = "0.1.0"
