"""Both clients over both protocols, against a stand-in that answers as scripted."""

import asyncio
import gc
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from countersign import (
    AsyncClient,
    Client,
    Closed,
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
        return list(answer) if "_" in method else answer


def awaited(fake, method, *arguments, options=None, **settings):
    async def run():
        async with AsyncClient(fake.url, protocol=fake.protocol, **(options or {})) as client:
            answer = getattr(client, method)(*arguments, **settings)
            return [one async for one in answer] if "_" in method else await answer

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
    assert detections.page_size == (4, 1)
    assert (detections.page, detections.page_count) == (1, 1)


def test_the_request_holds_image_and_settings(fake, ask):
    settings = {"confidence": {"stamp": 0.25}, "iou": 0.5, "max_detections": 3}
    ask(fake, "detect", b"\0any\xff", page=2, operating_point="review", **settings)
    (asked,) = fake.asked
    assert (asked.model, asked.image) == ("document_detector", b"\0any\xff")
    assert asked.parameters == {
        "confidence_stamp": 0.25,
        "iou": 0.5,
        "max_detections": 3,
        "page": 2,
        "operating_point": "review",
    }


def test_one_page_of_several_tells_how_many_there_are(fake, ask):
    found = ask(fake, "detect", b"3 pages", page=2)
    assert (found.page, found.page_count, found.page_size) == (2, 3, (7, 2))


def test_all_pages_of_a_file_come_in_their_order(fake, ask):
    pages = ask(fake, "detect_pages", b"3 pages", confidence=0.5)
    assert [(each.page, each.page_size[1]) for each in pages] == [(1, 1), (2, 2), (3, 3)]
    assert [asked.parameters["confidence"] for asked in fake.asked] == [0.5] * 3


def test_a_page_that_fails_hides_no_other(fake, ask):
    fake.script = ["", "refused"]
    pages = ask(fake, "detect_pages", b"3 pages", concurrency=1)
    assert [type(each).__name__ for each in pages] == ["Detections", "Refused", "Detections"]


def test_a_file_whose_first_page_fails_gives_one_error(fake, ask):
    (error,) = ask(fake, "detect_pages", b"bad")
    assert isinstance(error, Refused)


def test_headers_and_key_go_with_each_request(fake, ask):
    ask(fake, "detect", b"page", options={"headers": {"X-Secret": "abc"}, "key": "k1"})
    headers = fake.asked[0].headers
    assert (headers["x-secret"], headers["authorization"]) == ("abc", "Bearer k1")


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


def test_a_server_that_stays_away_is_asked_until_the_deadline(fake, ask):
    fake.script = ["unavailable"] * 99
    with pytest.raises(Unavailable) as raised:
        ask(fake, "detect", b"page", timeout_s=0.8)
    assert len(fake.asked) > 1
    expected = f"{fake.url}: server is stopping ({len(fake.asked)} attempts)"
    assert str(raised.value) == expected


def test_a_server_that_says_when_is_asked_then(fake, ask):
    fake.script = ["shed"]
    fake.hints = {"retry-after": "1"}
    assert len(ask(fake, "detect", b"page")) == 2
    first, second = fake.times
    assert second - first >= 1


def test_a_server_that_says_a_time_after_the_deadline_is_not_waited_for(fake, ask):
    fake.script = ["shed"]
    fake.hints = {"retry-after": "60"}
    with pytest.raises(Unavailable, match=r"reached concurrency limit$"):
        ask(fake, "detect", b"page")
    assert len(fake.asked) == 1


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
    """The stand-in says nothing for ever."""
    fake.script = ["stall"]
    with pytest.raises(DeadlineExceeded, match=f"^{fake.url}: no answer within 0.3 s$"):
        ask(fake, "detect", b"page", timeout_s=0.3)
    assert len(fake.asked) == 1


def test_the_deadline_spans_the_retries(fake, ask):
    fake.script = ["unavailable", "stall"]
    with pytest.raises(DeadlineExceeded, match=r"within 0\.6 s"):
        ask(fake, "detect", b"page", timeout_s=0.6)


def test_no_deadline_is_none(fake, ask):
    assert len(ask(fake, "detect", b"slow", timeout_s=None)) == 2


def test_a_missed_deadline_ends_the_servers_work(fake, ask):
    fake.script = ["stall"]
    with pytest.raises(DeadlineExceeded):
        ask(fake, "detect", b"page", timeout_s=0.3)
    assert fake.abandoned.acquire(timeout=5)


def test_a_call_that_is_cancelled_ends_the_servers_work(fake):
    fake.script = ["stall"]

    async def run():
        async with AsyncClient(fake.url, protocol=fake.protocol) as client:
            call = asyncio.create_task(client.detect(b"page"))
            await asyncio.to_thread(fake.stalled.acquire, timeout=5)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert await asyncio.to_thread(fake.abandoned.acquire, timeout=5)

    asyncio.run(run())


def test_closing_ends_calls_under_way(fake):
    fake.script = ["stall"] * 2
    client = Client(fake.url, protocol=fake.protocol)
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(client.detect, b"page") for _ in range(2)]
        for _ in calls:
            assert fake.stalled.acquire(timeout=5)
        client.close()
        for call in calls:
            with pytest.raises(Closed, match=f"^{fake.url}: the client is closed$"):
                call.result(timeout=5)


def test_closing_ends_calls_under_way_of_asyncio(fake):
    fake.script = ["stall"]

    async def run():
        client = AsyncClient(fake.url, protocol=fake.protocol)
        call = asyncio.create_task(client.detect(b"page"))
        await asyncio.to_thread(fake.stalled.acquire, timeout=5)
        await client.close()
        with pytest.raises(Closed, match="the client is closed"):
            await asyncio.wait_for(call, 5)

    asyncio.run(run())


def test_closing_ends_the_wait_for_a_server(fake):
    fake.script = ["shed"]
    fake.hints = {"retry-after": "20"}
    client = Client(fake.url, protocol=fake.protocol)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(client.detect, b"page")
        while not fake.asked:
            time.sleep(0.01)
        client.close()
        with pytest.raises(Closed):
            call.result(timeout=5)


def test_a_closed_client_says_so(fake, ask):
    async def run():
        client = AsyncClient(fake.url, protocol=fake.protocol)
        await client.close()
        await client.detect(b"page")

    with pytest.raises(Closed):
        asyncio.run(run())
    client = Client(fake.url, protocol=fake.protocol)
    client.close()
    with pytest.raises(Closed):
        client.detect(b"page")


@pytest.mark.parametrize("held", [False, True])
def test_leaving_many_leaves_no_task(fake, held):
    """At once if nothing holds what is left, else with the client."""

    async def run():
        async with AsyncClient(fake.url, protocol=fake.protocol) as client:
            before = asyncio.all_tasks()
            answers = client.detect_many([b"slow"] * 50, concurrency=4)
            async for _ in answers:
                break
            if not held:
                del answers
                gc.collect()
                for _ in range(20):
                    await asyncio.sleep(0.005)
                assert asyncio.all_tasks() == before
        for _ in range(20):
            await asyncio.sleep(0.005)
        return len(asyncio.all_tasks() - before)

    assert asyncio.run(run()) == 0
    assert len(fake.asked) <= 12


def test_refused_images_are_not_kept(fake, tmp_path):
    """16 of 4 MB, as files: what is left of them is the errors."""
    page = tmp_path / "page.jpg"
    page.write_bytes(b"bad" + bytes(2**22))
    with Client(fake.url, protocol=fake.protocol) as client:
        list(client.detect_many([page]))  # imports and buffers
        fake.asked.clear()
        tracemalloc.start()
        errors = list(client.detect_many([page] * 8, concurrency=2))
        for _ in range(8):
            with pytest.raises(Refused) as raised:
                client.detect(page)
            errors.append(raised.value)
        fake.asked.clear()
        gc.collect()
        held_bytes, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert {type(error) for error in errors} == {Refused}
    assert held_bytes < 2 * 2**22


def test_many_answers_keep_the_order_and_lose_no_error(fake, ask, tmp_path):
    images = [b"slow", b"1", b"bad", str(tmp_path / "none.jpg"), b"12345", b"slow", b"12", b"123"]
    answers = ask(fake, "detect_many", images, concurrency=3)
    kinds = [type(answer).__name__ for answer in answers]
    assert kinds == ["Detections"] * 2 + ["Refused"] * 2 + ["Detections"] * 4
    assert [answers[i].page_size[0] for i in (0, 1, 4, 5, 6, 7)] == [4, 1, 5, 4, 2, 3]


def test_many_run_at_once(fake, ask):
    """Each of three is answered when all have arrived."""
    fake.script = ["stall"] * 3

    def release():
        for _ in range(3):
            assert fake.stalled.acquire(timeout=5)
        fake.release.set()

    with ThreadPoolExecutor(1) as pool:
        released = pool.submit(release)
        assert len(ask(fake, "detect_many", [b"page"] * 3, concurrency=3)) == 3
        released.result()


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


@pytest.mark.parametrize("certain", [True, False])
def test_a_captcha_comes_back_as_a_reading(fake, ask, certain):
    fake.certain = certain
    reading = ask(fake, "read", b"captcha")
    assert (reading.text, reading.certain, reading.threshold) == ("123456", certain, 0.75)
    assert reading.confidence == pytest.approx(0.8)
    assert reading.digit_confidence == pytest.approx((0.99, 0.98, 0.97, 0.96, 0.95, 0.94))
    assert len(fake.asked) == 1


def test_a_threshold_of_the_callers_own_is_not_overruled(fake, ask):
    assert ask(fake, "read", b"captcha", min_confidence=0.9).certain is False


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


def test_an_encrypted_server_is_asked_with_authority_and_certificate(encrypted, certificate, ask):
    tls = Tls(ca=certificate.pem, cert=certificate.pem, key=certificate.key)
    assert len(ask(encrypted, "detect", b"page", options={"tls": tls})) == 2


def test_a_scheme_encrypts_with_the_systems_authorities(encrypted, ask):
    scheme = {"grpc": "grpcs", "http": "https"}[encrypted.protocol]
    encrypted.url = f"{scheme}://{encrypted.url}"
    with pytest.raises(Denied, match=r"(?i)certificate.verify.failed"):
        ask(encrypted, "detect", b"page")


def test_a_missing_client_certificate_ends_the_call(encrypted, certificate, ask):
    """Over gRPC it reads as a server that hangs up, which may come back."""
    with pytest.raises((Denied, Unavailable), match=encrypted.url):
        ask(encrypted, "detect", b"page", options={"tls": Tls(ca=certificate.pem)}, timeout_s=0.5)


def test_a_server_without_tls_is_not_asked_twice(fake_grpc, ask):
    with pytest.raises(Denied, match="WRONG_VERSION_NUMBER"):
        ask(fake_grpc, "detect", b"page", options={"tls": Tls()})


@pytest.mark.parametrize("protocol", ["grpc", "http"])
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_missing_certificate_is_named_before_any_call(kind, protocol, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"authority\.pem"):
        kind("host:1", protocol=protocol, tls=Tls(ca=tmp_path / "authority.pem"))
