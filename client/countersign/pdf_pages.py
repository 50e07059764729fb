"""A PDF's pages by PDFium: drawn, or the scan that they are, with fields and stamps."""

import ctypes
import math
import re
from contextlib import suppress
from typing import Any

import pypdfium2 as pdfium
import pypdfium2.raw as c
from PIL import Image

from countersign.pdf_pictures import Refused, check_pixels, jpeg
from countersign.pdf_scans import scan_of, shown

JsonObject = dict[str, Any]
Box = tuple[float, float, float, float]

LEAST_DRAWN = 8  # pixels of an edge: less is no page
ANNOTATIONS_MAX = 5000
# PDFium does not tell of these, and takes an image for what it is without them
MASKED = re.compile(rb"/(?:SMask|Mask|ImageMask|Decode)(?![A-Za-z0-9])")


class Opened:
    """A PDF that is open."""

    def __init__(self, data: bytes) -> None:
        self.data = data  # PDFium reads it as long as the document is open
        handle = c.FPDF_LoadMemDocument64(data, len(data), None)
        if not handle:
            raise unopened(c.FPDF_GetLastError())
        self.document = pdfium.PdfDocument(handle)
        self.page_count = len(self.document)
        self._masked: bool | None = None
        with suppress(pdfium.PdfiumError):  # a document without a form has none
            self.document.init_forms()

    def masked(self) -> bool:
        """Whether any image may be shown otherwise than its pixels are."""
        if self._masked is None:
            self._masked = MASKED.search(self.data) is not None
        return self._masked

    @property
    def all_signed(self) -> bool | None:
        """Whether all of the document's signature fields are signed; None if only some are."""
        fields = [
            c.FPDF_GetSignatureObject(self.document, number)
            for number in range(c.FPDF_GetSignatureCount(self.document))
        ]
        signed = {c.FPDFSignatureObj_GetContents(field, None, 0) > 0 for field in fields}
        return signed.pop() if len(signed) == 1 else None

    def close(self) -> None:
        self.document.close()


def unopened(code: int) -> Refused:
    """Why PDFium did not open a document."""
    if code == c.FPDF_ERR_PASSWORD:
        return Refused("document: an encrypted PDF, which asks for a password", kind="encrypted")
    return Refused(f"document: no PDF that can be read, PDFium's error {code}", kind="unreadable")


def page_of(opened: Opened, number: int, dpi: float, drawn: bool, most: int) -> tuple[Any, bytes]:
    """The fields of a page, and its picture: the scan that it is, unless it is to be `drawn`.

    `most` is the largest number of pixels.
    """
    page = loaded(opened, number)
    try:
        width, height = page.get_size()
        check_size(number, width, height)
        fields, stamps, visible = annotations(opened, page)
        scan = None
        if not drawn and not visible:
            scan = scan_of(page, opened.masked, most)
        if scan is None:
            picture, matrix = draw(page, number, dpi, most)
        else:
            picture, matrix = scan
        answer = {
            "size_points": [round(width, 3), round(height, 3)],
            "matrix": matrix,
            "signature_fields": fields,
            "stamp_annotations": stamps,
            "embedded": scan is not None,
        }
        return answer, picture
    finally:
        page.close()


def loaded(opened: Opened, number: int) -> pdfium.PdfPage:
    """A page. Raises Refused."""
    try:
        return opened.document[number - 1]
    except (pdfium.PdfiumError, IndexError) as error:
        raise Refused(f"page {number}: cannot be read: {error}", kind="unreadable") from error


def check_size(number: int, width: float, height: float) -> None:
    """Raises Refused unless a page has an area."""
    if not (width > 0 and height > 0 and math.isfinite(width * height)):
        raise Refused(f"page {number}: {width:g} x {height:g} points", kind="unreadable")


def draw(page: pdfium.PdfPage, number: int, dpi: float, most: int) -> tuple[bytes, list]:
    """A page as a JPEG, and the map of its pixels to points."""
    width, height = page.get_size()
    check_size(number, width, height)
    across, down = (max(LEAST_DRAWN, round(edge * dpi / 72)) for edge in (width, height))
    metres = f"{width / 72 * 0.0254:.2f} x {height / 72 * 0.0254:.2f} m"
    check_pixels(f"page {number}: {metres} at {dpi:g} dpi are", across, down, most)
    bitmap = pdfium.PdfBitmap.new_native(across, down, c.FPDFBitmap_BGRx, rev_byteorder=True)
    try:
        bitmap.fill_rect((255, 255, 255, 255), 0, 0, across, down)
        flags = c.FPDF_ANNOT | c.FPDF_REVERSE_BYTE_ORDER
        c.FPDF_RenderPageBitmap(bitmap, page, 0, 0, across, down, 0, flags)
        if page.formenv:
            c.FPDF_FFLDraw(page.formenv, bitmap, page, 0, 0, across, down, 0, flags)
        size, stride = (across, down), bitmap.stride
        image = Image.frombuffer("RGBX", size, bitmap.buffer, "raw", "RGBX", stride, 1)
        return jpeg(image), [[width / across, 0, 0], [0, height / down, 0]]
    finally:
        bitmap.close()


def annotations(opened: Opened, page: pdfium.PdfPage) -> tuple[list, list, bool]:
    """Signature fields and stamps of a page, and whether any annotation is to be seen on it."""
    fields: list[JsonObject] = []
    stamps: list[JsonObject] = []
    visible = False
    to_shown = shown(page)
    for index in range(min(ANNOTATIONS_MAX, c.FPDFPage_GetAnnotCount(page))):
        annotation = c.FPDFPage_GetAnnot(page, index)
        if not annotation:
            continue
        try:
            kind = c.FPDFAnnot_GetSubtype(annotation)
            box = box_of(annotation, to_shown)
            visible |= kind not in (c.FPDF_ANNOT_LINK, c.FPDF_ANNOT_POPUP) and box is not None
            if kind == c.FPDF_ANNOT_STAMP:
                name = text_of(annotation, b"Name") or text_of(annotation, b"Subj")
                stamps.append({"name": name, "bbox_points": box})
            elif kind == c.FPDF_ANNOT_WIDGET and opened.document.formenv:
                form = opened.document.formenv
                if c.FPDFAnnot_GetFormFieldType(form, annotation) == c.FPDF_FORMFIELD_SIGNATURE:
                    fields.append(signature_field(opened, annotation, box))
        finally:
            c.FPDFPage_CloseAnnot(annotation)
    return fields, stamps, visible


def signature_field(opened: Opened, annotation: Any, box: Box | None) -> JsonObject:
    """A field for a digital signature, which is signed if it has a value.

    The value may be the field's over it, which PDFium does not show: then what all of the
    document's fields have in common counts, and `signed` is None if they differ.
    """
    form = opened.document.formenv
    signed: bool | None = bool(c.FPDFAnnot_HasKey(annotation, b"V"))
    if not signed and c.FPDFAnnot_HasKey(annotation, b"Parent"):
        signed = opened.all_signed
    name = read_text(
        lambda buffer, size: c.FPDFAnnot_GetFormFieldName(form, annotation, buffer, size)
    )
    return {"name": name, "signed": signed, "bbox_points": box}


def text_of(annotation: Any, key: bytes) -> str:
    """A text or name of an annotation, "" if it has none."""
    return read_text(lambda buffer, size: c.FPDFAnnot_GetStringValue(annotation, key, buffer, size))


def read_text(read: Any) -> str:
    """What PDFium writes as UTF-16 into a buffer whose size it tells first."""
    size = min(read(None, 0), 4096)
    buffer = ctypes.create_string_buffer(size + 2)
    read(ctypes.cast(buffer, ctypes.POINTER(c.FPDF_WCHAR)), size)
    return buffer.raw[:size].decode("utf-16-le", errors="replace").partition("\0")[0]


def box_of(annotation: Any, to_shown: Any) -> Box | None:
    """Where an annotation is, in points from the top left of the page as it is shown."""
    rect = c.FS_RECTF()
    if not c.FPDFAnnot_GetRect(annotation, rect):
        return None
    corners = [to_shown(rect.left, rect.bottom), to_shown(rect.right, rect.top)]
    (x0, x1), (y0, y1) = (sorted(edge) for edge in zip(*corners, strict=True))
    if x1 - x0 < 0.01 or y1 - y0 < 0.01:  # a signature that is not to be seen
        return None
    return round(x0, 2), round(y0, 2), round(x1, 2), round(y1, 2)
