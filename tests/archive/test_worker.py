"""What a worker answers for files: as the server does, or why not."""

import io
import json
import shutil
from datetime import datetime, timezone
from hashlib import sha256
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from archive.looking import Settings, model_of
from archive.rows import ANSWERS
from archive.sources import listing
from archive.worker import Worker
from countersign import Client
from gateway.forms import read as read_form
from tests.pdfs import Pdf, encrypted

ROOT = Path(__file__).resolve().parents[2]
FORMS = ROOT / "examples" / "forms"


def worker_of(settings: Settings, client: Client | None = None) -> Worker:
    return Worker(settings, model_of(settings, client))


def answers(worker: Worker, folder: Path) -> dict[str, dict]:
    """Each file's row, by its key."""
    table = worker(listing(str(folder)).files)
    assert table.schema == ANSWERS
    return {row["key"]: row for row in table.to_pylist()}


@pytest.fixture(scope="module")
def folder(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A JPEG, a TIFF of three pages, a PDF of a scan and a blank page, and what is none."""
    folder = tmp_path_factory.mktemp("archive")
    page = (samples / "page_150dpi.jpg").read_bytes()
    (folder / "page.jpg").write_bytes(page)
    small = Image.open(io.BytesIO(page)).convert("RGB").resize((620, 877))
    others = [small.rotate(180), Image.new("RGB", (300, 200), "white")]
    small.save(folder / "three.tiff", save_all=True, append_images=others)
    pdf = Pdf()
    pdf.scan(page, Image.open(io.BytesIO(page)).size)
    pdf.page(b"")
    (folder / "contract.pdf").write_bytes(pdf.bytes())
    (folder / "locked.pdf").write_bytes(encrypted())
    (folder / "letter").write_bytes(b"hello")  # no suffix: perhaps a page
    (folder / "cut.jpg").write_bytes(page[:3000])
    return folder


@pytest.fixture(scope="module")
def worker(folder: Path) -> Worker:
    return worker_of(Settings(str(folder), "review"))


def test_pages_are_answered_as_a_client_of_the_server_gets_them(worker, folder, server):
    found = answers(worker, folder)
    with Client(server.grpc_url) as client:
        (model,) = [each for each in client.models() if each.name == "document_detector"]
        for name, count in (("page.jpg", 1), ("three.tiff", 3), ("contract.pdf", 2)):
            row = found[name]
            served = list(client.detect_document(folder / name, operating_point="review"))
            assert row["page_count"] == len(row["pages"]) == len(served) == count
            assert row["sha256"] == sha256((folder / name).read_bytes()).hexdigest()
            for page, answer in zip(row["pages"], served, strict=True):
                assert (page["page"], page["error"]) == (answer.page, None)
                assert (page["width"], page["height"]) == answer.page_size
                assert page["labels"] == list(answer.labels)
                boxes = np.array(page["boxes"], np.float32).reshape(-1, 4)
                np.testing.assert_array_equal(boxes, answer.boxes)
                np.testing.assert_array_equal(np.float32(page["scores"]), answer.scores)
                assert (page["model"], page["version"]) == (model.name, model.version)
                assert page["operating_point"] == "review"
                gaps = [abs(one.score - model.confidence[one.label]) for one in answer]
                assert page["margin"] == (pytest.approx(min(gaps)) if gaps else None)
    assert found["page.jpg"]["pages"][0]["labels"]


def test_by_a_server_the_answers_are_the_same(worker, folder, server):
    settings = Settings(str(folder), "review", server=server.grpc_url)
    with Client(server.grpc_url) as client:
        asking = worker_of(settings, client)

    def timeless(rows: dict[str, dict]) -> dict[str, dict]:
        for row in rows.values():
            for page in row["pages"]:
                assert (page.pop("milliseconds") is None) == (page["error"] is not None)
        return rows

    here, there = timeless(answers(worker, folder)), timeless(answers(asking, folder))
    # a server names what it refuses by its ensemble's name too
    cut = there["cut.jpg"]["pages"][0].pop("error")
    assert here["cut.jpg"]["pages"][0].pop("error") in cut
    assert here == there


def test_what_cannot_be_read_is_an_error_of_its_own(worker, folder):
    found = answers(worker, folder)
    for name, why in (
        ("letter", "document: 5 bytes, begins b'hello', expected a PDF, JPEG,"),
        ("locked.pdf", "document: an encrypted PDF, which asks for a password"),
    ):
        row = found[name]
        assert row["error"].startswith(why)
        (page,) = row["pages"]
        assert (page["page"], page["error"], page["boxes"]) == (0, row["error"], None)
    (page,) = found["cut.jpg"]["pages"]
    assert page["page"] == 1
    assert page["error"].startswith("image: 3000 bytes of JPEG")
    assert found["cut.jpg"]["error"] is None
    assert not [row["key"] for row in found.values() if row["failed"]]


def test_a_file_that_is_gone_or_a_server_that_is_down_is_no_answer(worker, folder):
    at = datetime.now(timezone.utc)
    files = pa.Table.from_pylist([{"key": "gone.jpg", "bytes": 9, "modified": at}])
    (row,) = worker(files).to_pylist()
    assert row["failed"].startswith("storage: ")
    assert (row["sha256"], row["pages"]) == (None, None)


def test_documents_are_checked_for_a_form_as_the_gateway_checks_them(tmp_path):
    """The verdicts are those that tests/gateway/test_forms_route.py expects of the gateway."""
    shutil.copy(FORMS / "filled" / "complete.jpg", tmp_path)
    shutil.copy(FORMS / "filled" / "unsigned.jpg", tmp_path)
    upside_down = Image.open(FORMS / "filled" / "complete.jpg").rotate(180)
    upside_down.save(tmp_path / "turned.jpg", quality=95)
    (tmp_path / "letter").write_bytes(b"hello")
    form = read_form(FORMS / "loan.yaml")
    found = answers(worker_of(Settings(str(tmp_path), "review", form=form)), tmp_path)
    assert {name: row["verdict"] for name, row in found.items()} == {
        "complete.jpg": "complete", "unsigned.jpg": "missing", "turned.jpg": "complete",
        "letter": None,
    }  # fmt: skip
    assert json.loads(found["turned.jpg"]["check"])["pages"][0]["turned"] == 180
    assert found["complete.jpg"]["form"] == "loan"
    assert found["complete.jpg"]["why"] == "3 of 3 zones filled"
