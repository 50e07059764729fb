"""Each status of either protocol has its error, and each error its place."""

import gc
import inspect
from http import HTTPStatus
from pathlib import Path

import aiohttp
import grpc
import pytest

import countersign
from countersign import (
    CountersignError,
    DeadlineExceeded,
    Denied,
    Refused,
    Unavailable,
    errors,
)
from countersign.errors import meant, without_frames
from countersign.over_http import FAILURES

README = Path(__file__).resolve().parents[2] / "client" / "README.md"


def test_every_grpc_status_stands_in_the_table():
    assert set(errors.GRPC) == {code.name for code in grpc.StatusCode} - {"OK"}


def test_every_http_status_stands_in_the_table():
    known = {status.value for status in HTTPStatus if status >= 400}
    assert known <= set(errors.HTTP)


def test_every_error_is_exported_and_in_the_readme():
    kinds = {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, CountersignError)
    }
    assert kinds <= set(countersign.__all__)
    documented = {line.split("`")[1] for line in README.read_text().splitlines() if "| `" in line}
    assert kinds - {"CountersignError"} <= documented


@pytest.mark.parametrize(
    ("status", "reason", "kind"),
    [
        ("INVALID_ARGUMENT", "image: 3 bytes", Refused),
        (413, "image: 9 bytes, limit 8", Refused),
        ("RESOURCE_EXHAUSTED", "too many requests", Unavailable),
        ("RESOURCE_EXHAUSTED", "CLIENT: Sent message larger than max (9 vs. 8)", Refused),
        ("RESOURCE_EXHAUSTED", "Payload Too Large, limit 9 bytes", Refused),
        (429, "too many requests", Unavailable),
        ("UNAVAILABLE", "This API is restricted, expecting header 'x'", Denied),
        ("NOT_FOUND", "unknown model: 'x' has no available versions", Unavailable),
        (400, "unknown model: 'x' has no available versions", Unavailable),
        ("NOT_FOUND", "unknown model: 'x' is not found", Refused),
        (401, "no key", Denied),
        (504, "upstream request timeout", DeadlineExceeded),
        (599, "no status of any standard", CountersignError),
        (302, "elsewhere", CountersignError),
    ],
)
def test_a_status_is_read_with_its_words(status, reason, kind):
    error = meant(status, reason, "host:1")
    assert type(error) is kind
    assert reason in str(error)


def test_every_error_of_aiohttp_has_its_meaning():
    found = {
        name: next(kind for failure, kind in FAILURES if issubclass(error, failure)).__name__
        for name, error in vars(aiohttp).items()
        if inspect.isclass(error) and issubclass(error, aiohttp.ClientError)
    }
    assert found["ClientConnectorCertificateError"] == found["ClientConnectorSSLError"] == "Denied"
    assert found["ServerTimeoutError"] == "DeadlineExceeded"
    assert found["ServerDisconnectedError"] == found["ClientConnectorDNSError"] == "Unavailable"
    assert found["ClientPayloadError"] == found["ClientOSError"] == "Unavailable"
    assert found["InvalidURL"] == "CountersignError"


def test_an_error_that_is_kept_holds_nothing_of_the_call():
    class Upload:
        pass

    def failing():
        upload = Upload()
        try:
            raise OSError("cut")
        except OSError as cause:
            assert upload
            raise Unavailable("lost") from cause

    try:
        failing()
    except Unavailable as error:
        bare = without_frames(error)
    gc.collect()
    assert str(bare.__cause__) == "cut"
    assert not [one for one in gc.get_objects() if isinstance(one, Upload)]
