"""What the routes of an app share: `request.app.state` of it."""

import asyncio
from typing import Protocol

from anyio import CapacityLimiter

from gateway.admission import Admission
from gateway.forms import Forms
from gateway.log import PredictionLog
from gateway.metrics import Metrics
from gateway.pdfs import PdfProcesses
from gateway.settings import Settings
from gateway.triton import Tritons


class State(Protocol):
    """There from the app's start on."""

    settings: Settings
    tritons: Tritons  # the servers
    admission: Admission  # the queue before them
    pdfs: PdfProcesses
    metrics: Metrics  # what /metrics shows
    forms: Forms  # those of a folder
    registrations: asyncio.Semaphore  # a turn for each page that is laid onto its form
    ready_lock: asyncio.Lock
    log: PredictionLog | None  # what was answered is put into it
    log_readers: CapacityLimiter  # threads that ask it
