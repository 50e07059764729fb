"""Requests as spans, for the OpenTelemetry collector that --traces names; and their ids."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from uuid import uuid4

from starlette.types import Scope

from gateway.problems import Problem

REQUEST_ID: ContextVar[str] = ContextVar("request_id")  # of the request that is being answered
ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")  # as the front takes it


def id_of(scope: Scope) -> str:
    """The request's own X-Request-Id, or a new one. Raises Problem for what the front refuses."""
    found = header(scope, b"x-request-id")
    if found and not ID.fullmatch(found):
        raise Problem(400, f"x-request-id: {found[:64]!r}, limit 64 letters, digits, ., _ and -")
    return found or uuid4().hex


def header(scope: Scope, name: bytes) -> str:
    """The value of a request's header, "" if it has none."""
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")


class Traces:
    """Spans that are sent to `url` by OTLP over HTTP; none if that is empty. Close it."""

    def __init__(self, url: str) -> None:
        self._provider = None
        if not url:
            return
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        self._provider = TracerProvider(
            resource=Resource.create({"service.name": "countersign-gateway"})
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(OTLPSpanExporter(endpoint=url), schedule_delay_millis=1000)
        )

    @contextmanager
    def span(self, scope: Scope, request_id: str) -> Iterator[None]:
        """A span of the request, under the caller's own; its name is that of the route.

        Paths are not told: they may name what was asked about.
        """
        if self._provider is None:
            yield
            return
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        carrier = {name: header(scope, name.encode()) for name in ("traceparent", "tracestate")}
        with self._provider.get_tracer("countersign").start_as_current_span(
            scope["method"],
            context=TraceContextTextMapPropagator().extract(carrier),
            kind=SpanKind.SERVER,
            attributes={"countersign.request_id": request_id},
        ) as span:
            yield
            span.update_name(f"{scope['method']} {getattr(scope.get('route'), 'path', 'other')}")

    def close(self) -> None:
        """Sends what waits."""
        if self._provider is not None:
            self._provider.shutdown()
