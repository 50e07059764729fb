"""The web page of the gateway: its files, and the two routes that serve them."""

import hashlib
from pathlib import Path

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

FOLDER = Path(__file__).parent
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
# Everything comes from the gateway itself, but for pictures that the page makes of dropped files
# (blob:). No string becomes HTML or a script, whatever a file or an answer says.
HEADERS = {
    "Content-Security-Policy": "; ".join(
        [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' blob:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        ]
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",  # asked again each time, answered 304
}


def mount(app: FastAPI) -> None:
    """Adds `GET /`, the page, and `GET /web/{name}`, its files, to `app`; no other path."""
    files = {
        path.name: (path.read_bytes(), TYPES[path.suffix])
        for path in FOLDER.iterdir()
        if path.suffix in TYPES
    }
    etags = {
        name: f'"{hashlib.sha256(body).hexdigest()[:32]}"' for name, (body, _) in files.items()
    }

    def answer(request: Request) -> Response:
        name = request.path_params.get("name", "index.html")
        if name not in files:
            raise HTTPException(404, f"{name[:100]}: the page has no such file")
        headers = HEADERS | {"ETag": etags[name]}
        if request.headers.get("If-None-Match") == etags[name]:
            return Response(status_code=304, headers=headers)
        body, media_type = files[name]
        return Response(body, media_type=media_type, headers=headers)

    app.add_route("/", answer, methods=["GET"], include_in_schema=False)
    app.add_route("/web/{name}", answer, methods=["GET"], include_in_schema=False)
