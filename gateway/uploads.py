"""What was posted: a file, as multipart or as the whole body, and what was asked about it."""

from dataclasses import dataclass, field

from anyio import fail_after
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from gateway.problems import Problem, too_large

FORM_SPARE = 2**16  # bytes of a form beside its file
PARTS_MAX = 64
FIELD_MAX = 4096  # bytes
FILE = "file"
UPLOAD_S = 60  # that an upload may take


@dataclass(frozen=True)
class Upload:
    """The file's bytes, and the parameters of query and form by name."""

    data: bytes = field(repr=False)
    parameters: dict[str, str]


async def upload_of(request: Request, limit: int) -> Upload:
    """What `request` posts; a form's file is its part `file`.

    Raises Problem 413 for a file of more than `limit` bytes, before it is read if its size is
    told; 400 for a form that is none or has no file.
    """
    parameters = dict(request.query_params)
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    form = kind == b"multipart/form-data"
    body = await body_of(request, limit + FORM_SPARE if form else limit, limit)
    if form:
        fields, data = parts(body, options.get(b"boundary", b""))
        parameters |= fields
        if len(data) > limit:
            raise too_large("file", len(data), limit, "bytes")
    else:
        data = body
    if not data:
        raise Problem(400, "file: 0 bytes", "urn:countersign:empty")
    return Upload(data, parameters)


async def files_of(
    request: Request, limit: int, names: tuple[str, ...]
) -> tuple[dict[str, str], list[tuple[str, bytes]]]:
    """The parameters, and the files of a multipart form whose parts have one of `names`, in order.

    Raises Problem 415 for what is no such form, 413 for one over `limit` bytes, 400 for a damaged.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data":
        expected = (
            f"content type: {kind.decode(errors='replace')[:80]!r}, limit multipart/form-data"
        )
        raise Problem(415, expected, "urn:countersign:no-form-data")
    body = await body_of(request, limit, limit)
    fields, files = sorted_parts(body, options.get(b"boundary", b""), names)
    return {**request.query_params, **fields}, files


async def body_of(request: Request, most: int, limit: int, what: str = "file") -> bytes:
    """The whole body, of up to `most` bytes. Raises Problem 413, which names `what` and `limit`."""
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > most:
        raise too_large(what, int(length), limit, "bytes")
    chunks, size = [], 0
    try:
        with fail_after(UPLOAD_S):
            async for chunk in request.stream():
                size += len(chunk)
                if size > most:
                    raise too_large(what, size, limit, "bytes")
                chunks.append(chunk)
    except TimeoutError:
        raise Problem(408, f"upload: {size} bytes in {UPLOAD_S} s, and not whole") from None
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def parts(body: bytes, boundary: bytes) -> tuple[dict[str, str], bytes]:
    """A form's fields (RFC 7578), and its part `file`. Raises Problem 400."""
    fields, files = sorted_parts(body, boundary, (FILE,))
    if len(files) != 1:
        raise bad_form(f"{len(files)} parts named file, limit 1")
    return fields, files[0][1]


def sorted_parts(
    body: bytes, boundary: bytes, names: tuple[str, ...]
) -> tuple[dict[str, str], list[tuple[str, bytes]]]:
    """A form's fields, and its parts of these names, which are files. Raises Problem 400."""
    found: list[tuple[dict[bytes, bytes], list[memoryview]]] = []
    header: list[bytes] = [b"", b""]
    whole = memoryview(body)

    def begin() -> None:
        if len(found) >= PARTS_MAX:
            raise bad_form(f"more than {PARTS_MAX} parts")
        found.append(({}, []))

    def name(data: bytes, start: int, end: int) -> None:
        header[0] += data[start:end]

    def value(data: bytes, start: int, end: int) -> None:
        header[1] += data[start:end]

    def header_end() -> None:
        found[-1][0][header[0].lower()] = header[1]
        header[:] = [b"", b""]

    def content(_: bytes, start: int, end: int) -> None:
        found[-1][1].append(whole[start:end])

    ended: list[bool] = []
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": begin,
                "on_header_field": name,
                "on_header_value": value,
                "on_header_end": header_end,
                "on_part_data": content,
                "on_end": lambda: ended.append(True),
            },
        )
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise bad_form(str(error)) from error
    if not ended:
        raise bad_form("cut short")
    fields: dict[str, str] = {}
    files: list[tuple[str, bytes]] = []
    for headers, pieces in found:
        _, options = parse_options_header(headers.get(b"content-disposition", b""))
        field_name = options.get(b"name", b"").decode(errors="replace")
        data = b"".join(pieces)
        if field_name in names:
            files.append((field_name, data))
        elif b"filename" in options:
            expected = " or ".join(map(repr, names))
            raise bad_form(f"a file in the part {field_name!r}, expected in the part {expected}")
        elif len(data) > FIELD_MAX:
            raise bad_form(f"{field_name!r} has {len(data)} bytes, limit {FIELD_MAX}")
        else:
            fields[field_name] = data.decode(errors="replace")
    return fields, files


def bad_form(what: str) -> Problem:
    """400: a form that is none."""
    return Problem(400, f"form: {what}", "urn:countersign:bad-form")
