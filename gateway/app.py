"""The FastAPI app of a gateway."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.exceptions import HTTPException

from countersign.errors import CountersignError
from gateway import web
from gateway.admission import Admission
from gateway.metrics import Metrics
from gateway.pdfs import PdfProcesses
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
from gateway.watch import Watch

ROUTERS = (detect.router, documents.router, models.router, health.router)


def create_app(settings: Settings) -> FastAPI:
    """The app; `app.state` is a state.State from its start on."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.tritons = Tritons(settings.tritons)
        app.state.admission = Admission(settings.pages_at_once, settings.max_wait_s)
        app.state.ready_lock = asyncio.Lock()
        app.state.pdfs = PdfProcesses(settings.pdf_processes, settings.bounds, settings.max_wait_s)
        warming = asyncio.create_task(app.state.pdfs.warm())
        try:
            yield
        finally:
            await warming
            app.state.pdfs.close()
            await app.state.tritons.close()

    app = FastAPI(
        title="countersign", version="1", lifespan=lifespan, docs_url=None, redoc_url=None
    )
    app.state.settings = settings
    app.state.metrics = Metrics()
    app.state.log = None
    app.add_middleware(Watch, metrics=app.state.metrics, most=settings.max_held_bytes)
    for router in ROUTERS:
        app.include_router(router)
    web.mount(app)
    app.add_exception_handler(Problem, answer_problem)
    app.add_exception_handler(CountersignError, answer_client_error)
    app.add_exception_handler(HTTPException, answer_http_error)
    app.add_exception_handler(Exception, answer_fault)
    return app
