"""What each call does step by step, with nothing done."""

import inspect

import numpy as np
import pytest

from countersign import AsyncClient, Client, Refused, Unavailable, calls
from countersign.calls import Encode, Pause, Send
from countersign.messages import Infer


class Reply(dict):
    def as_numpy(self, name):
        return self.get(name)


def page(count=1):
    return Reply(
        boxes=np.zeros((0, 4), np.float32),
        scores=np.zeros(0, np.float32),
        labels=np.zeros(0, np.object_),
        page_size=np.array([10, 20], np.int32),
        page_count=np.array([count], np.int32),
    )


def returned(steps, reply):
    with pytest.raises(StopIteration) as ended:
        steps.send(reply)
    return ended.value.value


def test_a_page_is_encoded_sent_and_read():
    steps = calls.detect("page.jpg", page=2, model="published", timeout_s=None)
    assert next(steps) == Encode("page.jpg")
    assert steps.send(b"bytes") == Send(Infer("published", b"bytes", {"page": 2}), None)
    found = returned(steps, page(3))
    assert (found.page, found.page_count, found.page_size) == (2, 3, (10, 20))


def test_a_lost_connection_is_waited_for_and_asked_again():
    steps = calls.detect(b"image")
    next(steps)
    first = steps.send(b"image")
    assert isinstance(steps.throw(Unavailable("refused")), Pause)
    second = steps.send(None)
    assert second.request == first.request
    assert second.timeout_s <= first.timeout_s <= 30
    returned(steps, page())


def test_a_setting_that_is_no_good_is_refused_before_the_image_is_read():
    with pytest.raises(Refused, match="confidence"):
        next(calls.detect("page.jpg", confidence="high"))


def test_an_image_that_cannot_be_read_ends_the_call():
    steps = calls.read("captcha.png")
    next(steps)
    with pytest.raises(Refused, match="no such file"):
        steps.throw(Refused("no such file"))


def test_the_first_page_adds_the_others():
    batch = calls.detect_pages("scan.tif", concurrency=2)
    first, later = (page_of(batch.call(number), 4) for number in (1, 3))
    assert list(batch.items) == [1]
    assert list(batch.follow(1, first)) == [2, 3, 4]
    assert list(batch.follow(3, later)) == []


def page_of(steps, count):
    next(steps)
    steps.send(b"image")
    return returned(steps, page(count))


@pytest.mark.parametrize("name", ["detect", "detect_pages", "detect_many", "read", "models"])
def test_help_says_all_of_both_clients(name):
    """The same parameters, defaults and words, as they were written once."""
    written = inspect.signature(getattr(calls, name))
    for client in (Client, AsyncClient):
        method = getattr(client, name)
        signature = inspect.signature(method)
        this, *parameters = signature.parameters.values()
        assert this.name == "self"
        assert parameters == list(written.parameters.values())
        assert method.__doc__ == getattr(calls, name).__doc__
        assert method.__qualname__ == f"{client.__name__}.{name}"
        assert "Steps" not in str(signature)
        assert "Batch" not in str(signature)
    assert inspect.iscoroutinefunction(getattr(AsyncClient, name)) == ("_" not in name)
