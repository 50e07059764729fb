"""The routes of platforms that run one container: Vertex AI, SageMaker, Azure ML, KServe's v1.

`predict_route` takes {"instances": [{"image": {"b64": ...}}], "parameters": {...}} and answers
{"predictions": [...]}, in the order of the instances; a file as the body is one instance.
`health_route` is /readyz. Errors are as Google's services tell theirs (google.rpc.Code).
"""

import asyncio
import base64
import binascii
from collections.abc import Mapping
from typing import Any

import orjson
from anyio import CapacityLimiter
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from countersign.errors import CountersignError
from gateway import answers
from gateway.asked import Asked, asked
from gateway.callers import caller_of
from gateway.descriptions import PREDICTIONS, takes_instances
from gateway.problems import Problem, problem_of
from gateway.records import one_page
from gateway.routes.health import readyz
from gateway.settings import Settings
from gateway.state import State
from gateway.uploads import FORM_SPARE, body_of, upload_of

JsonObject = dict[str, Any]
JSON = "application/json"
INSTANCES_MAX = 128
CODES = {  # of google.rpc.Code, whose HTTP mapping has no more
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    502: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def mount(app: FastAPI, settings: Settings) -> None:
    """Adds both routes. They go before others of their paths, if they come first."""
    app.add_api_route(
        settings.predict_route,
        predict,
        methods=["POST"],
        tags=["platforms"],
        response_model=answers.Predictions,
        summary="Pages as a platform sends them",
        openapi_extra=takes_instances(PREDICTIONS),
    )
    app.add_api_route(
        settings.health_route,
        health,
        methods=["GET"],
        tags=["platforms"],
        response_model=answers.Health,
        summary="Are pages answered?",
    )


async def predict(request: Request) -> Response:
    """An instance that fails has an `error` in place of its marks; if all do, the first one's is
    the answer."""
    try:
        found = await predictions(request, request.app.state)
    except (Problem, CountersignError) as error:
        found = [as_problem(error)]
    failed = [each for each in found if isinstance(each, Problem)]
    if len(failed) == len(found):
        first, content = failed[0], {"error": error_of(failed[0])}
        return Response(orjson.dumps(content), first.status, first.headers, JSON)
    rows = [{"error": error_of(each)} if isinstance(each, Problem) else each for each in found]
    return Response(orjson.dumps({"predictions": rows}), media_type=JSON)


async def health(request: Request) -> Any:
    """As /readyz; a platform sends pages once it is 200."""
    return await readyz(request)


async def predictions(request: Request, state: State) -> list[JsonObject | Problem]:
    """A page's marks for each instance, in order, or why there are none. Raises Problem or
    CountersignError where that is of all."""
    caller = caller_of(request)
    state.admission.check()
    limit = state.settings.max_document_bytes
    if request.headers.get("content-type", "").partition(";")[0].strip() != JSON:
        upload = await upload_of(request, limit)
        wanted = of_a_page(upload.parameters)
        return [(await one_page(upload.data, 1, wanted, state, caller, patient=True)).body]
    most = -(-limit // 3) * 4 + FORM_SPARE  # the base64 text of the largest file
    body = await body_of(request, most, most, "body")
    instances, parameters = read(body)
    wanted = of_a_page(parameters)
    state.admission.check()
    turns = CapacityLimiter(state.settings.document_pages_at_once)

    async def one(instance: Any) -> JsonObject | Problem:
        async with turns:
            try:
                data, page = file_of(instance)
                return (await one_page(data, page, wanted, state, caller, patient=True)).body
            except (Problem, CountersignError) as error:
                return as_problem(error)

    return await asyncio.gather(*map(one, instances))


def read(body: bytes) -> tuple[list[Any], dict[str, str]]:
    """The instances, and the parameters as texts. Raises Problem 400, 413."""
    try:
        sent = orjson.loads(body)
    except ValueError as error:
        raise bad(f"body: {len(body)} bytes, no JSON: {error}") from None
    instances = sent.get("instances") if isinstance(sent, dict) else None
    if not isinstance(instances, list) or not instances:
        raise bad('body: no "instances", expected {"instances": [{"image": {"b64": "..."}}]}')
    if len(instances) > INSTANCES_MAX:
        raise Problem(413, f"instances: {len(instances)}, limit {INSTANCES_MAX}")
    parameters = sent.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise bad(f"parameters: {str(parameters)[:80]!r}, expected an object")
    for name, value in parameters.items():
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise bad(f"{name[:80]}: {str(value)[:80]!r}, expected a number or a text")
    return instances, {name: str(value) for name, value in parameters.items()}


def file_of(instance: Any) -> tuple[bytes, int]:
    """The file's bytes, and which of its pages. Raises Problem 400."""
    if not isinstance(instance, dict) or instance.keys() - {"image", "page"}:
        raise bad('instance: expected {"image": {"b64": "..."}}, "page" beside it or not')
    page = instance.get("page", 1)
    if type(page) is not int or not 1 <= page <= 10**6:
        raise bad(f"page: {str(page)[:80]!r}, limit 1 to 1000000")
    image = instance.get("image")
    text = image.get("b64") if isinstance(image, dict) else None
    if not isinstance(text, str) or not text:
        raise bad('image: expected {"b64": "..."}, the base64 text of a file')
    try:
        return base64.b64decode("".join(text.split()), validate=True), page
    except (binascii.Error, ValueError) as error:
        raise bad(f"image: {len(text)} characters, no base64: {error}") from None


def of_a_page(parameters: Mapping[str, str]) -> Asked:
    """What `parameters` ask for. Raises Problem 400, also for what is not a page's."""
    if "pages" in parameters:
        raise bad('pages: an instance is one page, which its own "page" says')
    return asked(parameters)


def bad(detail: str) -> Problem:
    """400."""
    return Problem(400, detail, "urn:countersign:bad-request")


def as_problem(error: Problem | CountersignError) -> Problem:
    """What an error means to who asked."""
    return error if isinstance(error, Problem) else problem_of(error)


def error_of(problem: Problem) -> JsonObject:
    """A problem as Google's services tell it."""
    code = CODES.get(problem.status, "INVALID_ARGUMENT")
    return {"code": problem.status, "message": problem.detail, "status": code}
