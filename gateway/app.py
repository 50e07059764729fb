"""The FastAPI app of a gateway."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import CapacityLimiter
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from countersign.errors import CountersignError
from gateway import web
from gateway.admission import Admission
from gateway.forms import Forms
from gateway.log import PredictionLog
from gateway.log.predictions import READERS
from gateway.metrics import Metrics
from gateway.pdfs import PdfProcesses
from gateway.problems import (
    Problem,
    answer_client_error,
    answer_fault,
    answer_http_error,
    answer_invalid,
    answer_problem,
)
from gateway.routes import detect, documents, forms, health, models, predict
from gateway.routes import log as log_routes
from gateway.settings import Settings
from gateway.traces import Traces
from gateway.triton import Tritons
from gateway.watch import Watch

ROUTERS = (
    detect.router,
    documents.router,
    forms.router,
    models.router,
    log_routes.router,
    health.router,
)
LOG_EXIT_S = 5  # that the log gets to write what waits, at exit


def create_app(settings: Settings, log: PredictionLog | None = None) -> FastAPI:
    """The app; `app.state` is a state.State from its start on. It closes the log at its end."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.tritons = Tritons(settings.tritons, settings.triton_ca)
        app.state.admission = Admission(settings.pages_at_once, settings.max_wait_s)
        app.state.registrations = asyncio.Semaphore(os.cpu_count() or 1)
        app.state.ready_lock = asyncio.Lock()
        app.state.log_readers = CapacityLimiter(READERS)
        app.state.pdfs = PdfProcesses(settings.pdf_processes, settings.bounds, settings.max_wait_s)
        warming = asyncio.create_task(app.state.pdfs.warm())
        try:
            yield
        finally:
            await asyncio.gather(warming, return_exceptions=True)  # documents tell what is amiss
            app.state.pdfs.close()
            await app.state.tritons.close()
            await asyncio.to_thread(traces.close)
            if log:
                await asyncio.to_thread(log.close, LOG_EXIT_S)

    app = FastAPI(
        title="countersign",
        version="1",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.settings = settings
    app.state.metrics = Metrics()
    app.state.forms = Forms(settings.forms)
    app.state.log = log
    if log:
        app.state.metrics.registry.register(log)
    traces = Traces(settings.traces)
    app.add_middleware(
        Watch,
        metrics=app.state.metrics,
        most=settings.max_held_bytes,
        traces=traces,
        tells=settings.log_requests,
    )
    predict.mount(app, settings)
    for router in ROUTERS:
        app.include_router(router)
    web.mount(app)
    app.add_exception_handler(Problem, answer_problem)
    app.add_exception_handler(CountersignError, answer_client_error)
    app.add_exception_handler(RequestValidationError, answer_invalid)
    app.add_exception_handler(HTTPException, answer_http_error)
    app.add_exception_handler(Exception, answer_fault)
    return app
