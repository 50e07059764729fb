"""What a body or a form is taken for."""

import pytest

from gateway.asked import asked
from gateway.problems import Problem
from gateway.uploads import parts

PART = '--x\r\nContent-Disposition: form-data; name="{}"{}\r\n\r\n'


def form(*fields: tuple[str, str, bytes], end: bytes = b"--x--\r\n") -> bytes:
    """A form of (name, more of its head, content)."""
    return b"".join(PART.format(n, m).encode() + c + b"\r\n" for n, m, c in fields) + end


def test_a_form_has_its_file_byte_by_byte_and_its_fields():
    data = bytes(range(256)) * 40 + b"\r\n--y\r\n\r\n--"
    body = form(
        ("pages", "", b"1-2"),
        ("file", '; filename="a b.pdf"\r\nContent-Type: application/pdf', data),
        ("dpi", "", b"100"),
    )
    assert parts(body, b"x") == ({"pages": "1-2", "dpi": "100"}, data)


@pytest.mark.parametrize(
    ("body", "boundary", "words"),
    [
        (form(("other", "", b"x")), b"x", "0 parts named file"),
        (form(("file", "", b"x"), ("file", "", b"y")), b"x", "2 parts named file"),
        (form(("file", "", b"x"), end=b""), b"x", "cut short"),
        (form(("file", "", b"x")), b"", "form"),
        (form(("file", "", b"x"), ("note", "", bytes(5000))), b"x", "5000 bytes, limit 4096"),
        (form(*[("a", "", b"x")] * 65), b"x", "more than 64 parts"),
        (form(("f", '; filename="a"', b"x")), b"x", "a file in the part 'f', expected in"),
        (b"", b"x", "cut short"),
        (b"nothing of the kind", b"x", "form"),
    ],
)
def test_what_is_no_form_with_a_file_is_told(body, boundary, words):
    with pytest.raises(Problem, match=words) as told:
        parts(body, boundary)
    assert told.value.status == 400


def test_pages_are_each_once_and_in_order():
    assert asked({"pages": "7, 1-3,2"}).numbers(9) == [1, 2, 3, 7]
    assert asked({}).numbers(3) == [1, 2, 3]
    with pytest.raises(Problem, match="limit 3, the document's pages"):
        asked({"pages": "1-999999999"}).numbers(3)


def test_parameters_are_those_of_the_ensembles_and_typed():
    found = asked(
        {
            "confidence_stamp": "0.5",
            "max_detections": "7",
            "operating_point": "review",
            "form": "x",
        },
        others=("form",),
    )
    assert found.detector == {
        "confidence_stamp": 0.5,
        "max_detections": 7,
        "operating_point": "review",
    }
    with pytest.raises(Problem, match="'form', unknown"):
        asked({"form": "x"})
