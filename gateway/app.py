"""The FastAPI app of a gateway."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.exceptions import HTTPException

from countersign.errors import CountersignError
from gateway.admission import Admission
from gateway.metrics import Metrics
from gateway.problems import (
    Problem,
    answer_client_error,
    answer_fault,
    answer_http_error,
    answer_problem,
)
from gateway.routes import detect, documents, health, models
from gateway.settings import Settings
from gateway.triton import Tritons

ROUTERS = (detect.router, documents.router, models.router, health.router)


def create_app(settings: Settings) -> FastAPI:
    """The app; `app.state` has what routes share, from its start on.

    settings   Settings
    tritons    the servers
    admission  the queue before them
    metrics    what /metrics shows
    log        gateway.log.PredictionLog, None without one: what was answered is put into it
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.tritons = Tritons(settings.tritons)
        app.state.admission = Admission(settings.pages_at_once, settings.max_wait_s)
        app.state.ready_lock = asyncio.Lock()
        try:
            yield
        finally:
            await app.state.tritons.close()

    app = FastAPI(title="countersign", version="1", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.settings = settings
    app.state.metrics = Metrics()
    app.state.log = None
    for router in ROUTERS:
        app.include_router(router)
    app.add_exception_handler(Problem, answer_problem)
    app.add_exception_handler(CountersignError, answer_client_error)
    app.add_exception_handler(HTTPException, answer_http_error)
    app.add_exception_handler(Exception, answer_fault)
    return app
