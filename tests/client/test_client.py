"""Both clients over both protocols, against a stand-in that answers as scripted."""

import asyncio
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from countersign import (
    AsyncClient,
    Client,
    CountersignError,
    DeadlineExceeded,
    Denied,
    Refused,
    Tls,
    Unavailable,
)


def blocking(fake, method, *arguments, options=None, **settings):
    with Client(fake.url, protocol=fake.protocol, **(options or {})) as client:
        answer = getattr(client, method)(*arguments, **settings)
        return list(answer) if method == "detect_many" else answer


def awaited(fake, method, *arguments, options=None, **settings):
    async def run():
        async with AsyncClient(fake.url, protocol=fake.protocol, **(options or {})) as client:
            answer = getattr(client, method)(*arguments, **settings)
            return [one async for one in answer] if method == "detect_many" else await answer

    return asyncio.run(run())


@pytest.fixture(params=[blocking, awaited])
def ask(request):
    return request.param


def test_a_page_comes_back_as_detections(fake, ask):
    detections = ask(fake, "detect", b"page")
    assert detections.boxes.tolist() == [[10, 20, 110, 60], [5.5, 6.5, 7.5, 8.5]]
    assert detections.scores.tolist() == pytest.approx([0.9, 0.4])
    assert (detections.boxes.dtype, detections.scores.dtype) == (np.float32, np.float32)
    assert detections.labels == ("signature", "stamp")
    assert detections.page_size == (4, 7)


def test_the_request_holds_image_settings_and_every_output(fake, ask):
    settings = {"confidence": {"stamp": 0.25}, "iou": 0.5, "max_detections": 3}
    ask(fake, "detect", b"\0any\xff", **settings)
    (asked,) = fake.asked
    assert (asked.model, asked.image) == ("document_detector", b"\0any\xff")
    assert asked.parameters == {"confidence_stamp": 0.25, "iou": 0.5, "max_detections": 3}
    assert asked.outputs == ("boxes", "scores", "labels", "page_size")


def test_headers_go_with_each_request(fake, ask):
    ask(fake, "detect", b"page", options={"headers": {"X-Secret": "abc"}})
    assert fake.asked[0].headers["x-secret"] == "abc"


def test_an_image_may_be_larger_than_grpcs_default_message(fake, ask):
    """4 MB: what is left if channel arguments replace tritonclient's own."""
    size = 5 * 2**20
    assert ask(fake, "detect", bytes(size)).page_size[0] == size


def test_a_server_that_stumbles_is_asked_again(fake, ask):
    fake.script = ["unavailable", "unavailable"]
    assert len(ask(fake, "detect", b"page")) == 2
    assert len(fake.asked) == 3


def test_a_connection_cut_by_the_server_is_made_again(fake_http, ask):
    fake_http.script = ["hang up"]
    assert len(ask(fake_http, "detect", b"page")) == 2


def test_a_server_that_stays_away_is_asked_four_times(fake, ask):
    fake.script = ["unavailable"] * 9
    with pytest.raises(Unavailable, match=f"^{fake.url}: server is stopping$"):
        ask(fake, "detect", b"page")
    assert len(fake.asked) == 4


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_nobody_listening_is_unavailable(protocol, ask):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # taken, but not listening
        nobody = Nobody(f"127.0.0.1:{unused.getsockname()[1]}", protocol)
        with pytest.raises(Unavailable, match=nobody.url):
            ask(nobody, "detect", b"page")


class Nobody:
    def __init__(self, url, protocol):
        self.url, self.protocol = url, protocol


@pytest.mark.parametrize(
    ("fate", "error", "reason"),
    [
        ("refused", Refused, "^image: 3 bytes, no image$"),
        ("restricted", Denied, "API is restricted"),
        ("broken", CountersignError, "Stub process is not healthy"),
    ],
)
def test_what_the_server_decided_is_raised_without_another_try(fake, ask, fate, error, reason):
    fake.script = [fate]
    with pytest.raises(error, match=reason) as raised:
        ask(fake, "detect", b"page")
    assert type(raised.value) is error
    assert len(fake.asked) == 1


def test_the_deadline_ends_the_wait(fake, ask):
    fake.script = ["stall"]
    start = time.perf_counter()
    with pytest.raises(DeadlineExceeded, match=f"^{fake.url}: no answer within 0.3 s$"):
        ask(fake, "detect", b"page", timeout_s=0.3)
    assert time.perf_counter() - start < 0.9  # the stand-in says nothing for 1 s
    assert len(fake.asked) == 1


def test_the_deadline_spans_the_retries(fake, ask):
    fake.script = ["unavailable", "stall"]
    start = time.perf_counter()
    with pytest.raises(DeadlineExceeded):
        ask(fake, "detect", b"page", timeout_s=0.4)
    assert time.perf_counter() - start < 0.9


def test_many_answers_keep_the_order_and_lose_no_error(fake, ask, tmp_path):
    images = [b"slow", b"1", b"bad", str(tmp_path / "none.jpg"), b"12345", b"slow", b"12", b"123"]
    answers = ask(fake, "detect_many", images, concurrency=3)
    kinds = [type(answer).__name__ for answer in answers]
    assert kinds == ["Detections"] * 2 + ["Refused"] * 2 + ["Detections"] * 4
    assert [answers[i].page_size[0] for i in (0, 1, 4, 5, 6, 7)] == [4, 1, 5, 4, 2, 3]


def test_many_run_at_once(fake, ask):
    start = time.perf_counter()
    assert len(ask(fake, "detect_many", [b"slow"] * 6, concurrency=6)) == 6
    assert time.perf_counter() - start < 1.5  # one after another: 1.8 s


def test_many_take_the_settings_of_one(fake, ask):
    ask(fake, "detect_many", [b"1", b"2"], confidence=0.5, max_detections=1)
    assert [asked.parameters for asked in fake.asked] == [
        {"confidence": 0.5, "max_detections": 1}
    ] * 2


def test_many_of_nothing_is_nothing(fake, ask):
    assert ask(fake, "detect_many", []) == []


def test_many_hold_only_a_few_images_at_a_time(fake):
    """Else a folder of scans would lie in memory."""
    taken = []

    def images():
        for number in range(50):
            taken.append(number)
            yield b"page"

    with Client(fake.url, protocol=fake.protocol) as client:
        answers = client.detect_many(images(), concurrency=2)
        next(answers)
        assert len(taken) == 4
        answers.close()


def test_a_concurrency_of_none_is_refused(fake, ask):
    with pytest.raises(ValueError, match="concurrency: 0, limit 1 or more"):
        ask(fake, "detect_many", [b"page"], concurrency=0)


def test_a_captcha_comes_back_as_a_reading(fake, ask):
    reading = ask(fake, "read", b"captcha", min_confidence=0.5)
    assert (reading.text, reading.certain) == ("123456", True)
    assert reading.confidence == pytest.approx(0.8)
    assert reading.digit_confidence == pytest.approx((0.99, 0.98, 0.97, 0.96, 0.95, 0.94))


@pytest.mark.parametrize(
    ("told", "certain"), [("0.79", True), ("0.81", False), ("", None)], ids=["below", "above", "no"]
)
def test_the_operating_point_is_the_servers(fake, ask, told, certain):
    fake.min_confidence = told
    assert ask(fake, "read", b"captcha").certain is certain


def test_an_operating_point_of_the_callers_own_is_not_overruled(fake, ask):
    fake.min_confidence = "0.1"
    assert ask(fake, "read", b"captcha", min_confidence=0.9).certain is False


def test_a_server_that_hides_its_operating_point_still_reads(fake, ask):
    fake.config = "restricted"
    assert ask(fake, "read", b"captcha").certain is None


def test_one_client_serves_many_threads(fake):
    images = [bytes(n) for n in range(1, 25)]
    with Client(fake.url, protocol=fake.protocol) as client, ThreadPoolExecutor(6) as pool:
        widths = [found.page_size[0] for found in pool.map(client.detect, images)]
    assert widths == list(range(1, 25))


def test_closing_twice_is_no_error(fake):
    client = Client(fake.url, protocol=fake.protocol)
    client.detect(b"page")
    client.close()
    client.close()


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_wrong_address_is_refused_by_name(kind):
    with pytest.raises(ValueError, match="url: 'http://host:8000', expected host:port"):
        kind("http://host:8000", protocol="http")
    with pytest.raises(ValueError, match="protocol: 'tcp', expected grpc or http"):
        kind("host:8000", protocol="tcp")


def test_an_encrypted_server_is_asked_with_authority_and_certificate(encrypted, certificate, ask):
    tls = Tls(ca=certificate.pem, cert=certificate.pem, key=certificate.key)
    assert len(ask(encrypted, "detect", b"page", options={"tls": tls})) == 2


def test_an_authority_that_is_not_trusted_is_unavailable(encrypted, ask):
    with pytest.raises(Unavailable, match=r"(?i)certificate|ssl"):
        ask(encrypted, "detect", b"page", options={"tls": Tls()})


@pytest.mark.parametrize("protocol", ["grpc", "http"])
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_missing_certificate_is_named_before_any_call(kind, protocol, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"authority\.pem"):
        kind("host:1", protocol=protocol, tls=Tls(ca=tmp_path / "authority.pem"))
