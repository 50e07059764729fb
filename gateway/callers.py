"""Who asks: the one place that decides it.

The gateway has no keys of its own. Who sends `Authorization: Bearer KEY` is passed on with it, and
the servers' front decides. What is answered without the servers, as the log, asks the front first.
The servers' file of keys, if it is told, only says what a key that the front took is called, and
whether it may read the log.
"""

import json
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from starlette.requests import Request

from gateway.problems import Problem

ANYONE = "anyone"
BEARER = "bearer "
DENIED = "urn:countersign:denied"
KEY_MAX = 512  # characters
LOG = "log"  # what of a key's `may` lets it read what the log says of others


@dataclass(frozen=True)
class Caller:
    """Who asks, and the key that is passed on."""

    name: str = ANYONE
    key: str | None = field(default=None, repr=False)


def caller_of(request: Request) -> Caller:
    """Who sent `request`. Raises Problem 401 for no key where one is due, or a bad one."""
    sent = request.headers.get("authorization", "")
    if sent[: len(BEARER)].lower() == BEARER and (key := sent[len(BEARER) :].strip()):
        if len(key) > KEY_MAX or not (key.isascii() and key.isprintable()):
            expected = f"limit {KEY_MAX} printable characters of ASCII"
            raise Problem(401, f"authorization: a key of {len(key)} characters, {expected}", DENIED)
        line = line_of(request.app.state.settings.keys, id_of(key))
        return Caller(line.get("name") or f"cs_{id_of(key)}", key)
    if sent or request.app.state.settings.asks_for_keys:
        raise Problem(401, "authorization: expected Bearer and a key", DENIED)
    return Caller()


async def known_caller(request: Request, may: str | None = None) -> Caller:
    """As `caller_of`, for what is answered without the servers: their front knows the key.

    Raises Problem 403 for a key that may not what `may` says, as LOG; a CountersignError if the
    front does not take the key or cannot be asked.
    """
    caller = caller_of(request)
    if caller.key is None:
        return caller
    await request.app.state.tritons.check_key(caller.key)
    if may is not None:
        line = line_of(request.app.state.settings.keys, id_of(caller.key))
        if may not in line.get("may", ()):
            raise Problem(403, f"key {caller.name}: may not {may}", DENIED)
    return caller


def id_of(key: str) -> str:
    """The ID of cs_ID_SECRET, which is no secret; "" for another kind of key."""
    kind, _, rest = key.partition("_")
    return rest.partition("_")[0][:8] if kind == "cs" else ""


def line_of(keys: Path | None, key_id: str) -> dict[str, Any]:
    """What the servers' file of keys says of an ID; empty without a file, or for an unknown one."""
    if keys is None:
        return {}
    try:
        stat = keys.stat()
        lines = lines_of(keys, stat.st_mtime_ns, stat.st_size)
    except (OSError, ValueError, TypeError, KeyError):
        return {}
    return lines.get(key_id, {})


@lru_cache(maxsize=4)
def lines_of(keys: Path, _changed: int, _size: int) -> dict[str, dict[str, Any]]:
    """The file's lines by ID, read again when it changes."""
    return {line["id"]: line for line in json.loads(keys.read_text())}
