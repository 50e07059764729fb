"""Forms: `POST /v1/check`, `GET /v1/forms`, `POST /v1/forms/learn`."""

import asyncio
import base64
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from typing import Any

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from countersign.documents import Document, ImageDocument
from countersign.errors import CountersignError
from countersign.messages import Model
from gateway import answers
from gateway.asked import Asked, asked, bad
from gateway.callers import Caller, caller_of, known_caller
from gateway.documents import PageAnswer, answer_document, look_at, opened
from gateway.forms import (
    Form,
    FormError,
    PageMarks,
    Placement,
    Sheet,
    check_body,
    form_row,
    found_marks,
    judge,
    learn,
    open_page,
    place,
    seen_upright,
    upright,
)
from gateway.problems import Problem, problem_of
from gateway.records import begun
from gateway.state import State
from gateway.uploads import files_of, upload_of

router = APIRouter(tags=["forms"])
REVIEW: dict[str, float | int | str] = {"operating_point": "review"}
OWN = ("pages", "dpi")  # the detector's own settings are the form's affair
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
MAX_EXAMPLES = 20
PARTS = ("example", "blank")  # of the form that is posted to learn one


@router.get(
    "/v1/forms",
    response_model=answers.Forms,
    responses=answers.problems(401),
    summary="The forms that documents can be checked for",
)
async def forms(request: Request) -> Any:
    """Forms with their zones, and files that are none with the reason."""
    await known_caller(request)
    good, broken = await asyncio.to_thread(request.app.state.forms.all)
    return {
        "forms": [form_row(form) for form in good.values()],
        "broken": [{"name": name, "why": why} for name, why in broken.items()],
    }


@router.post(
    "/v1/check",
    response_model=answers.CheckedDocument,
    responses=answers.problems(400, 401, 404, 413, 415, 422, 429, 503, 504),
    summary="Are the right marks in the right places?",
)
async def check(request: Request) -> Response:
    """`form=NAME`, and a document as for `/v1/documents`. Boxes are of the review point."""
    state = request.app.state
    caller = caller_of(request)
    state.admission.check()
    upload = await upload_of(request, state.settings.max_document_bytes)
    form = await form_of(state, upload.parameters.get("form", ""))
    wanted = asked_of(upload.parameters)
    state.admission.check()
    async with AsyncExitStack() as stack:
        document = await stack.enter_async_context(opened(upload.data, wanted, state))
        wanted.numbers(document.page_count)
        record = await begun(document, upload.data, wanted, state, caller)
        accept = accept_of(record.model)
        stack.callback(record.put)
        pages = []
        async for answer, sheet in pages_of(document, wanted, state, caller):
            record.pages.append(answer.body)
            pages.append(marks_of(answer, sheet))
        pages.sort(key=lambda page: page.page)
        try:
            async with state.registrations:
                places = await asyncio.to_thread(place, form, pages)
        except ValueError as error:
            raise Problem(413, str(error), "urn:countersign:too-many-pages") from error
        places = [await looked_at_upright(each, document, state, caller) for each in places]
        async with state.registrations:
            checked = await asyncio.to_thread(judge, form, pages, places, accept)
        record.check = check_body(form, checked)
    body = {"check": record.check, **record.document}
    return Response(orjson.dumps(body), media_type="application/json")


@router.post(
    "/v1/forms/learn",
    response_model=answers.LearnedForm,
    responses=answers.problems(400, 401, 413, 415, 422, 429, 503, 504),
    summary="A form from a few good examples",
)
async def learn_form(request: Request) -> Any:
    """`name=NAME`; multipart, 3 to 20 files `example`, and a `blank` if there is one. Nothing is
    kept: write the answer's `yaml` and `references` into the folder of `--forms`."""
    state = request.app.state
    caller = caller_of(request)
    state.admission.check()
    parameters, files = await files_of(request, state.settings.max_document_bytes, PARTS)
    name = parameters.get("name", "")
    if not NAME.fullmatch(name):
        raise bad("name", name[:80], "expected letters, digits, _ . and -, at most 64")
    examples = [data for part, data in files if part == "example"]
    blanks = [data for part, data in files if part == "blank"]
    if len(examples) > MAX_EXAMPLES or len(blanks) > 1:
        raise bad("form", f"{len(examples)} examples, {len(blanks)} blanks", "limit 20 and 1")
    wanted = asked_of({key: value for key, value in parameters.items() if key != "name"})
    accept = accept_of(await state.tritons.model(caller.key))
    columns = [
        await example_pages(f"example {i}", data, wanted, state, caller)
        for i, data in enumerate(examples, 1)
    ]
    blank = [
        page
        for data in blanks
        for page in await example_pages("blank", data, wanted, state, caller)
    ]
    sheets = {page.page: page.sheet for page in blank if page.sheet is not None}
    try:
        async with state.registrations:
            learned = await asyncio.to_thread(learn, name, columns, accept, sheets)
    except FormError as error:
        raise Problem(422, str(error), "urn:countersign:not-learned") from error
    return {
        "name": name,
        "yaml": learned.form.to_yaml(),
        "references": {
            file: base64.b64encode(image).decode() for file, image in learned.files.items()
        },
    }


async def form_of(state: State, name: str) -> Form:
    """The form of that name. Raises Problem 404, or 409 for one that cannot be used."""
    good, broken = await asyncio.to_thread(state.forms.all)
    if name in good:
        return good[name]
    if name in broken:
        raise Problem(409, broken[name], "urn:countersign:broken-form")
    known = ", ".join(sorted(good)) or f"none: --forms is {str(state.forms.folder)!r}"
    raise Problem(404, f"form: {name[:80]!r}, known are {known}", "urn:countersign:no-form")


def asked_of(parameters: Mapping[str, str]) -> Asked:
    """What a request asks beside its form. Raises Problem 400."""
    for name in parameters:
        if name not in (*OWN, "form"):
            raise bad("parameter", name[:80], f"unknown here, known are form, {', '.join(OWN)}")
    wanted = asked(parameters, others=("form",))
    return Asked({**wanted.detector, **REVIEW}, wanted.pages, wanted.dpi)


def accept_of(model: Model) -> dict[str, float]:
    """The detector's accept thresholds by class. Raises Problem 503 if it has none."""
    if not isinstance(model.confidence, Mapping):
        raise Problem(503, f"{model.name}: no thresholds by class", "urn:countersign:no-thresholds")
    return dict(model.confidence)


async def pages_of(
    document: Document, wanted: Asked, state: State, caller: Caller
) -> AsyncGenerator[tuple[PageAnswer, Sheet | str | None], None]:
    """Each page's answer, as it gets ready, with its sheet or what kept it from being one.

    A page's picture is let go once its sheet is there, so that memory is bounded by the sheets.
    """
    async with aclosing(answer_document(document, wanted, state, caller.key)) as answers_:
        async for answer in answers_:
            sheet: Sheet | str | None = None
            if answer.page is not None:
                try:
                    async with state.registrations:
                        sheet = await asyncio.to_thread(
                            open_page, answer.page.image, answer.page.page_number
                        )
                except ValueError as error:
                    sheet = str(error)
            yield replace(answer, page=None), sheet


def marks_of(answer: PageAnswer, sheet: Sheet | str | None) -> PageMarks:
    """A page as forms take it."""
    if answer.detections is None:
        error = answer.body["error"]["detail"]
        return PageMarks(answer.number, 0, 0, (), error=f"not read: {error}")
    width, height = answer.detections.page_size
    if isinstance(sheet, str):
        return PageMarks(answer.number, width, height, (), error=f"not read: {sheet}")
    return PageMarks(answer.number, width, height, found_marks(answer.detections), sheet)


async def looked_at_upright(
    placed: Placement, document: Document, state: State, caller: Caller
) -> Placement:
    """A page that turns out to lie on its side or its head, with the marks that the detector finds
    once it is upright: it knows such pages best."""
    laid, marks = placed.registration, placed.page
    if laid is None or marks is None or not laid.turned:
        return placed
    try:
        page = await document.page_async(marks.page)
        async with state.registrations:
            image = await asyncio.to_thread(upright, page.image, page.page_number, laid.turned)
        alone = ImageDocument(image, 1)
        answer = await look_at(alone, 1, Asked(REVIEW), state, caller.key, patient=True)
    except CountersignError as error:
        why = f"the page is turned by {laid.turned} degrees, and upright: {error}"
        return replace(placed, doubts=(*placed.doubts, why))
    assert answer.detections is not None
    return seen_upright(placed, found_marks(answer.detections))


async def example_pages(
    name: str, data: bytes, wanted: Asked, state: State, caller: Caller
) -> list[PageMarks]:
    """The pages of an example. Raises Problem, which names it."""
    try:
        async with opened(data, wanted, state) as document:
            found = pages_of(document, wanted, state, caller)
            pages = [marks_of(answer, sheet) async for answer, sheet in found]
    except CountersignError as error:
        problem = problem_of(error)
        problem.detail = f"{name}: {problem.detail}"
        raise problem from error
    return sorted(pages, key=lambda page: page.page)
