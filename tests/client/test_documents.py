"""Files become pages, and what is made to break a reader is refused in bounded time and memory."""

import io
import time
import zipfile
from contextlib import suppress

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from countersign.documents import Pages, kind_of, open_document
from countersign.errors import Refused
from countersign.pages import Bounds, Encrypted, OtherKind, TooLarge
from countersign.pdf import PdfProcess
from tests import pdfs

SMALL = Bounds(max_bytes=2**24, max_pages=50, max_pixels=4_000_000, page_s=3)


@pytest.fixture(scope="module", autouse=True)
def _no_process_is_left():
    yield
    for process in LENT:
        process.close()


def jpeg(size=(200, 300), colour="RGB", **options) -> bytes:
    """A JPEG whose left upper quarter is black and the rest white."""
    image = Image.new(colour, size, "white")
    image.paste("black", (0, 0, size[0] // 2, size[1] // 2))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=95, **options)
    return file.getvalue()


LENT: list[PdfProcess] = []  # one for most tests: starting it takes a quarter of a second


def opened(pdf: pdfs.Pdf | bytes, dpi: float = 72, bounds: Bounds = SMALL):
    """The document, in the tests' own process if its bounds are theirs."""
    if not (LENT and LENT[0].alive):
        LENT[:] = [PdfProcess(SMALL)]
    process = LENT[0] if bounds is SMALL else None
    return open_document(pdf if isinstance(pdf, bytes) else pdf.bytes(), dpi, bounds, process)


def pixels(page) -> np.ndarray:
    """The page's picture in grey, as it is shown."""
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(page.image))).convert("L"))


@pytest.fixture
def document():
    """Opens documents, and closes them at the test's end."""
    made = []

    def make(*args, **options):
        made.append(opened(*args, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (pdfs.encrypted, Encrypted, "encrypted PDF, which asks for a password"),
        (lambda: pdfs.blank(0), Refused, "a PDF of 0 pages"),
        (lambda: pdfs.blank(1, count=100_000), TooLarge, "100000 pages, limit 50"),
        (lambda: b"%PDF-1.7\nnothing", Refused, "no PDF that can be read"),
        (lambda: pdfs.blank(51), TooLarge, "51 pages, limit 50"),
        (lambda: b"%PDF-" + bytes(2**24), TooLarge, "16777221 bytes, limit 16777216"),
        (lambda: b"hello", OtherKind, "begins b'hello', expected a PDF"),
        (lambda: b"", OtherKind, "0 bytes"),
        (lambda: jpeg() + b"", None, ""),
    ],
    ids=["encrypted", "no page", "count", "text", "pages", "bytes", "unknown", "empty", "good"],
)
def test_what_is_no_document_is_refused_with_value_and_limit(make, error, words):
    if error is None:
        assert opened(make()).page_count == 1
        return
    with pytest.raises(error, match=words) as told:
        opened(make())
    assert type(told.value) is error


def with_zip(data: bytes) -> bytes:
    file = io.BytesIO(data)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("a.txt", "x")
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "both"),
    [
        (jpeg(comment=b"%PDF-1.7"), "JPEG and PDF"),
        (b"II*\0" + pdfs.blank(), "TIFF and PDF"),
        (with_zip(pdfs.blank()), "PDF and ZIP"),
        (with_zip(jpeg()), "JPEG and ZIP"),
    ],
    ids=["JPEG", "TIFF", "PDF and archive", "JPEG and archive"],
)
def test_a_file_that_is_two_formats_is_refused(data, both):
    with pytest.raises(OtherKind, match=f"two formats in one file, {both}"):
        kind_of(data)


def test_a_pdf_may_have_a_few_bytes_before_it(document):
    assert document(b"\x1b%-12345X@PJL\r\n" + pdfs.blank(2)).page_count == 2


@pytest.mark.parametrize(
    "make",
    [pdfs.recursive_form, lambda: pdfs.doubling_forms(25), lambda: pdfs.image_bomb(12_000)],
    ids=["recursive", "doubling", "image"],
)
def test_a_page_that_would_take_for_ever_ends_alone_in_time(make, document):
    """It is drawn, as far as it can be, or refused; the document can be asked on."""
    opened = document(make())
    began = time.monotonic()
    with suppress(Refused):
        assert pixels(opened.page(1)).shape == (842, 595)
    assert time.monotonic() - began < SMALL.page_s + 1
    with pytest.raises(Refused, match="page: 2, limit 1 to 1"):
        opened.page(2)


def test_a_page_of_ten_kilometres_is_refused_and_its_neighbour_is_not(document):
    pdf = pdfs.Pdf()
    pdf.page(b"", (28_346_457, 28_346_457))  # points in 10 km
    pdf.page(b"")
    opened = document(pdf)
    with pytest.raises(TooLarge, match=r"page 1: 10000\.00 x 10000\.00 m at 72 dpi .*4000000"):
        opened.page(1)
    assert pixels(opened.page(2)).shape == (842, 595)


def test_a_page_that_ends_the_process_is_refused_alone(document):
    """The bound of time holds, and the next page has a new process."""
    pdf = pdfs.Pdf()
    last = pdf.stream(b"0 0 595 842 re f", b"/Type /XObject /Subtype /Form /BBox [0 0 595 842]")
    for _ in range(27):
        last = pdf.stream(
            b"/F Do " * 8,
            b"/Type /XObject /Subtype /Form /BBox [0 0 595 842] "
            b"/Resources << /XObject << /F %d 0 R >> >>" % last,
        )
    pdf.page(b"/F Do " * 8, resources=b"/XObject << /F %d 0 R >>" % last)
    pdf.page(b"")
    opened = document(pdf, bounds=Bounds(2**24, 50, 4_000_000, page_s=1))
    with pytest.raises(Refused, match=r"page 1: takes (longer than 1 s|too much)"):
        opened.page(1)
    assert pixels(opened.page(2)).mean() == 255


def test_a_drawn_page_has_its_size_in_points_and_its_boxes(document):
    pdf = pdfs.Pdf()
    pdf.page(
        b"0 g 100 642 50 100 re f"
    )  # points from the bottom left: y is 100 to 200 from the top
    page = document(pdf, dpi=144).page(1)
    assert (page.size_points, page.embedded) == ((595, 842), False)
    dark = np.argwhere(pixels(page) < 128)
    (y0, x0), (y1, x1) = dark.min(axis=0), dark.max(axis=0) + 1
    assert (x0, y0, x1, y1) == (200, 200, 300, 400)
    np.testing.assert_allclose(
        page.to_points(np.array([[200, 200, 300, 400]])), [[100, 100, 150, 200]]
    )


@pytest.mark.parametrize(
    ("rotate", "box"),  # of a mark at 10..30 from the left and 20..60 from the top of 100 x 200
    [
        (0, (10, 20, 30, 60)),
        (90, (140, 10, 180, 30)),
        (180, (70, 140, 90, 180)),
        (270, (20, 70, 60, 90)),
    ],
)
def test_a_turned_and_cropped_page_has_points_as_it_is_shown(document, rotate, box):
    pdf = pdfs.Pdf()
    field = pdf.add(
        b"<< /Type /Annot /Subtype /Widget /FT /Sig /T (Sig1) /V << /Type /Sig >> "
        b"/Rect [60 190 80 230] >>"
    )
    pdf.fields.append(field)
    entries = b"/CropBox [50 50 150 250] /Rotate %d" % rotate
    pdf.page(b"0 g 60 190 20 40 re f", (300, 400), entries=entries, annotations=[field])
    page = document(pdf).page(1)
    dark = np.argwhere(pixels(page) < 128)
    (y0, x0), (y1, x1) = dark.min(axis=0), dark.max(axis=0) + 1
    assert (x0, y0, x1, y1) == box
    assert page.signature_fields == [{"name": "Sig1", "signed": True, "bbox_points": list(box)}]


def test_fields_and_stamps_are_told(document):
    pdf = pdfs.Pdf()
    widget = b"<< /Type /Annot /Subtype /Widget /FT /Sig /T (%s) /Rect [%s] %s >>"
    empty = pdf.add(widget % (b"Unsigned", b"10 10 110 60", b""))
    hidden = pdf.add(widget % (b"Hidden", b"0 0 0 0", b"/V << /Type /Sig /Contents <00> >>"))
    parent = pdf.add(
        b"<< /FT /Sig /T (Over) /V << /Type /Sig /Contents <00> >> /Kids [%d 0 R] >>"
        % (len(pdf.objects) + 2)
    )
    kid = pdf.add(
        b"<< /Type /Annot /Subtype /Widget /Parent %d 0 R /Rect [0 742 50 842] >>" % parent
    )
    stamp = pdf.add(b"<< /Type /Annot /Subtype /Stamp /Name /Approved /Rect [100 642 200 742] >>")
    pdf.fields += [empty, hidden, parent]
    pdf.page(b"", annotations=[empty, hidden, kid, stamp])
    page = document(pdf).page(1)
    assert page.signature_fields == [
        {"name": "Unsigned", "signed": False, "bbox_points": [10, 782, 110, 832]},
        {"name": "Hidden", "signed": True, "bbox_points": None},
        {"name": "Over", "signed": None, "bbox_points": [0, 0, 50, 100]},  # others are not
    ]
    assert page.stamp_annotations == [{"name": "Approved", "bbox_points": [100, 100, 200, 200]}]


def test_a_page_that_is_one_scan_gives_that_scan(document):
    scan = jpeg()
    pdf = pdfs.Pdf()
    pdf.scan(scan, (200, 300), more=b"BT 3 Tr /F 12 Tf (words that were recognised) Tj ET")
    page = document(pdf).page(1)
    assert page.embedded
    assert scan[2:] in page.image
    np.testing.assert_array_equal(
        pixels(page), np.asarray(Image.open(io.BytesIO(scan)).convert("L"))
    )
    np.testing.assert_allclose(page.to_points(np.array([[0, 0, 100, 150]])), [[0, 0, 297.5, 421]])


@pytest.mark.parametrize(
    "matrix",
    [
        b"595 0 0 842 0 0",
        b"-595 0 0 842 595 0",
        b"-595 0 0 -842 595 842",
        b"595 0 0 -842 0 842",
        b"0 842 595 0 0 0",
        b"0 842 -595 0 595 0",
        b"0 -842 -595 0 595 842",
        b"0 -842 595 0 0 842",
    ],
)
@pytest.mark.parametrize("rotate", [0, 90])
def test_a_turned_scan_is_shown_as_the_page_is(document, matrix, rotate):
    """However it lies on the page, its pixels and the drawn page's are the same."""
    exif = Image.Exif()
    exif[274] = 3  # which a PDF's reader does not look at
    pdf = pdfs.Pdf()
    pdf.scan(jpeg(exif=exif.tobytes()), (200, 300), matrix, entries=b"/Rotate %d" % rotate)
    opened = document(pdf)
    page, drawn = opened.page(1), opened.page(1, drawn=True)
    assert (page.embedded, drawn.embedded) == (True, False)
    size = pixels(drawn).shape[::-1]
    shown = np.asarray(Image.fromarray(pixels(page)).resize(size, Image.Resampling.BOX))
    assert np.abs(shown.astype(int) - pixels(drawn)).mean() < 4
    corner = np.array([[0, 0, *pixels(page).shape[::-1]]])
    np.testing.assert_allclose(page.to_points(corner), [[0, 0, *page.size_points]], atol=1e-3)


@pytest.mark.parametrize(
    ("more", "page"),
    [
        (b"0 0 1 rg 10 10 50 50 re f", {}),
        (b"BT /F 12 Tf (words) Tj ET", {}),
        (b"", {"matrix": b"200 0 0 300 10 10"}),
        (b"", {"matrix": b"700 0 0 900 0 0"}),
        (b"", {"matrix": b"500 80 -80 700 90 0"}),
        (b"q 1 0 0 1 0 0 cm /I Do Q", {}),
    ],
    ids=["a mark over it", "words", "small", "cut", "skewed", "twice"],
)
def test_a_page_that_has_more_than_a_scan_is_drawn(document, more, page):
    pdf = pdfs.Pdf()
    pdf.scan(jpeg(), (200, 300), more=more, **page)
    assert not document(pdf).page(1).embedded


def test_a_scan_under_a_stamp_or_a_mask_is_drawn(document):
    pdf = pdfs.Pdf()
    stamp = pdf.add(b"<< /Type /Annot /Subtype /Stamp /Name /Draft /Rect [100 642 200 742] >>")
    pdf.scan(jpeg(), (200, 300), annotations=[stamp])
    assert not document(pdf).page(1).embedded
    inverted = pdfs.Pdf()
    inverted.scan(jpeg(colour="L"), (200, 300), colour=b"/DeviceGray /Decode [1 0]")
    page = document(inverted).page(1)
    assert not page.embedded
    assert pixels(page).mean() < 128


def test_a_scan_of_two_colours_is_a_small_tiff_and_any_other_a_jpeg(document):
    rng = np.random.default_rng(0)
    bits = rng.random((300, 200)) < 0.1  # dark
    packed = np.packbits(~bits, axis=1).tobytes()
    grey = (np.arange(60_000) % 251).astype(np.uint8).reshape(300, 200)
    pdf = pdfs.Pdf()
    for data, depth in ((packed, 1), (grey.tobytes(), 8)):
        told = b"/ColorSpace /DeviceGray /BitsPerComponent %d" % depth
        image = pdf.image(data, (200, 300), told)
        pdf.page(b"q 595 0 0 842 0 0 cm /I Do Q", resources=b"/XObject << /I %d 0 R >>" % image)
    opened = document(pdf)
    np.testing.assert_array_equal(pixels(opened.page(1)) == 0, bits)
    assert opened.page(1).image.startswith(b"II*\0")
    assert opened.page(2).image.startswith(b"\xff\xd8")
    assert np.abs(pixels(opened.page(2)).astype(int) - grey).mean() < 8


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_each_page_of_a_tiff_is_cut_out_alone(big, order):
    rng = np.random.default_rng(1)
    pages = [rng.integers(0, 256, (40 + n, 30, 3), np.uint8) for n in range(3)]
    file = io.BytesIO()
    with tifffile.TiffWriter(file, bigtiff=big, byteorder=order) as writer:
        for n, page in enumerate(pages):
            tile = {"tile": (16, 16)} if n == 1 else {"rowsperstrip": 8}
            writer.write(page, photometric="rgb", compression=None if n else "zlib", **tile)
    document = open_document(file.getvalue())
    assert (document.kind, document.page_count) == ("image", 3)
    for number, page in enumerate(pages, 1):
        made = document.page(number)
        assert (made.number, made.page_number) == (number, 1)
        np.testing.assert_array_equal(tifffile.imread(io.BytesIO(made.image)), page)
        assert len(made.image) < len(file.getvalue()) / 2


def test_a_tiff_whose_directories_go_in_a_circle_is_refused():
    directory = b"\1\0" + b"\0\1\3\0\1\0\0\0\1\0\0\0" + b"\x08\0\0\0"
    with pytest.raises(Refused, match="in a circle"):
        open_document(b"II*\0\x08\0\0\0" + directory)


def test_strips_that_lie_over_one_another_do_not_multiply():
    """300 strips that are all the whole file would make a file of 300 times its size."""
    image = np.zeros((600, 64), np.uint8)
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for _ in range(2):
            writer.write(image, rowsperstrip=2)
    data = bytearray(file.getvalue())
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as tiff:
        tag = tiff.pages[0].tags["StripByteCounts"]
        size = {3: 2, 4: 4}[tag.dtype]
        most = min(len(data), 256**size - 1)
        for n in range(tag.count):
            at = tag.valueoffset + n * size
            data[at : at + size] = most.to_bytes(size, "little")
    page = open_document(bytes(data)).page(1)
    assert len(page.image) <= len(data)


def test_pages_are_opened_when_the_first_is_asked_for(tmp_path):
    pages = Pages(tmp_path / "contract.pdf", 72)
    (tmp_path / "contract.pdf").write_bytes(pdfs.blank(3))
    assert pages.count == 0
    assert pages.page(2).number == 2
    assert pages.count == 3
    pages.close()
    with pytest.raises(Refused, match="closed"):
        pages.page(1)


def test_what_no_client_knows_is_for_the_server_to_refuse():
    assert Pages(b"some text").page(1).image == b"some text"
