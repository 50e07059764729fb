"""PDFs through the client and the command line, against the real server."""

import asyncio
import io
import json

import numpy as np
import pytest
from PIL import Image

from countersign import AsyncClient, Refused
from countersign.cli import main
from tests import pdfs


@pytest.fixture(scope="module")
def contract(samples) -> bytes:
    """A PDF: a scan, a page of 10 km, the scan drawn with a digital signature's field over it."""
    page = (samples / "page_150dpi.jpg").read_bytes()
    size = Image.open(io.BytesIO(page)).size
    points = tuple(edge * 72 / 150 for edge in size)
    matrix = b"%g 0 0 %g 0 0" % points
    pdf = pdfs.Pdf()
    pdf.scan(page, size, matrix, size=points)
    pdf.page(b"", (28_346_457, 28_346_457))
    field = pdf.add(
        b"<< /Type /Annot /Subtype /Widget /FT /Sig /T (Sig1) /V << /Type /Sig >> "
        b"/Rect [10 10 60 40] >>"
    )
    pdf.fields.append(field)
    pdf.scan(page, size, matrix, size=points, annotations=[field])
    return pdf.bytes()


def test_each_page_of_a_pdf_comes_in_order_and_a_bad_one_stops_no_other(client, contract, samples):
    alone = client.detect((samples / "page_150dpi.jpg").read_bytes())
    scan, huge, drawn = client.detect_document(contract)
    assert [scan.page, drawn.page, scan.page_count] == [1, 3, 3]
    assert scan.labels == alone.labels
    np.testing.assert_array_equal(scan.boxes, alone.boxes)
    np.testing.assert_allclose(scan.boxes_points, alone.boxes * 72 / 150, atol=0.1)
    assert sorted(drawn.labels) == sorted(alone.labels)
    assert [field["name"] for field in drawn.signature_fields] == ["Sig1"]
    assert isinstance(huge, Refused)
    assert "10000.00 x 10000.00 m" in str(huge)
    (chosen,) = client.detect_document(contract, pages=[3], dpi=100)
    assert chosen.page_size == tuple(round(edge * 100 / 72) for edge in drawn.size_points)


async def of_all(url: str, document: bytes) -> list:
    async with AsyncClient(url) as client:
        return [page async for page in client.detect_document(document)]


@pytest.mark.parametrize("document", [pdfs.encrypted(), pdfs.blank(0), b"%PDF-1.7"])
def test_a_document_that_cannot_be_opened_is_one_refusal(server, document):
    (refusal,) = asyncio.run(of_all(server.grpc_url, document))
    assert isinstance(refusal, Refused)
    assert str(refusal).startswith("document: ")


def test_the_command_prints_and_draws_each_page(server, contract, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "contract.pdf").write_bytes(contract)
    words = ["detect", "--url", server.grpc_url, "contract.pdf", "--annotate", "drawn"]
    assert main(words) == 1
    printed = capsys.readouterr()
    rows = [line.split() for line in printed.out.splitlines()[1:]]
    assert {(row[0], row[1]) for row in rows} == {("contract.pdf", "1"), ("contract.pdf", "3")}
    assert "field 'Sig1', signed digitally" in printed.out
    assert "contract.pdf, page 2: page 2: 10000.00 x 10000.00 m" in printed.err
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == [
        "contract.pdf.1.jpg",
        "contract.pdf.3.jpg",
    ]
    assert main([*words[:4], "--json"]) == 1
    first, bad, last = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["page"], last["page"], first["page_count"]) == (1, 3, 3)
    assert len(first["detections"][0]["box_points"]) == 4
    assert bad["page"] == 2
    assert last["signature_fields"][0]["signed"]
