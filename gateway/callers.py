"""Who asks: the one place that decides it.

The gateway has no keys of its own. Who sends `Authorization: Bearer KEY` is passed on with it,
and the servers' front decides; what is answered without the servers asks the front first.
"""

from dataclasses import dataclass, field

from starlette.requests import Request

from gateway.problems import Problem

ANYONE = "anyone"
BEARER = "bearer "


@dataclass(frozen=True)
class Caller:
    """Who asks, and the key that is passed on."""

    name: str = ANYONE  # the key's ID, which is no secret; anyone without a key
    key: str | None = field(default=None, repr=False)


def caller_of(request: Request) -> Caller:
    """Who sent `request`. Raises Problem 401 where keys are asked for and none is there."""
    sent = request.headers.get("authorization", "")
    if sent[: len(BEARER)].lower() == BEARER and (key := sent[len(BEARER) :].strip()):
        return Caller(name_of(key), key)
    if sent:
        raise Problem(401, "authorization: expected Bearer and a key", "urn:countersign:denied")
    if request.app.state.settings.keyed:
        raise Problem(
            401, "authorization: missing, expected Bearer and a key", "urn:countersign:denied"
        )
    return Caller()


def name_of(key: str) -> str:
    """What of a key may be written down: cs_ID of cs_ID_SECRET."""
    kind, _, rest = key.partition("_")
    return f"cs_{rest[:8]}" if kind == "cs" else "another"


async def known_caller(request: Request) -> Caller:
    """As `caller_of`, for what is answered without the servers: their front knows the key.

    Raises Problem 401 if it does not, 503 if it cannot be asked.
    """
    caller = caller_of(request)
    if caller.key is not None:
        await request.app.state.tritons.check_key(caller.key)
    return caller
