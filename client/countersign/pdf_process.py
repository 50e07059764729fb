"""The process that opens a PDF and draws its pages: `python -m countersign.pdf_process`.

A PDF may be made to break or to exhaust who reads it, so it is read here, with bounds of memory and
of time, and whoever asks ends this process when it takes too long. What is asked comes on standard
input, what is answered goes to standard output: a line of JSON, whose `bytes` tell how many bytes
follow it.

open {bytes}                     -> {page_count}; the document replaces the one before
page {number, dpi, drawn, most}  -> the fields of a Page; then its picture, an image file
picture {number, dpi, most}      -> {}; then the page as a JPEG at that dpi, of an image file too

An answer with `refused` says why there is none.
"""

import ctypes
import io
import json
import math
import os
import re
import signal
import struct
import sys
from contextlib import suppress
from typing import Any, BinaryIO

import pypdfium2 as pdfium
import pypdfium2.raw as c
from PIL import Image, UnidentifiedImageError

JsonObject = dict[str, Any]
Box = tuple[float, float, float, float]

GRACE_S = 5  # after which a page's own alarm ends what nobody ended
JPEG_QUALITY = 90
UNKNOWN_DPI = 150  # of an image that does not say its own
NO_DPI = 72  # what is said, by files and by Pillow, when nothing is known
ORIENTATION = 274  # EXIF's tag
LEAST_DRAWN = 8  # pixels of an edge: less is no page
OBJECTS_MAX = 20_000  # of a page that is looked at for being a scan; text under it is many
ANNOTATIONS_MAX = 5000
COVERED = 0.7  # of a page's area, by a scan
BEYOND = 0.01  # of a page's edge, that a scan may be cut by
HIDDEN_TEXT = 3  # PDF's text rendering mode, of recognised text under a scan
# PDFium does not tell of these, and takes an image for what it is without them
MASKED = re.compile(rb"/(?:SMask|Mask|ImageMask|Decode)(?![A-Za-z0-9])")
JPEG_SPACES = (
    c.FPDF_COLORSPACE_DEVICEGRAY,
    c.FPDF_COLORSPACE_DEVICERGB,
    c.FPDF_COLORSPACE_CALGRAY,
    c.FPDF_COLORSPACE_CALRGB,
    c.FPDF_COLORSPACE_ICCBASED,
)
JPEG_FRAME = re.compile(rb"\xff[\xc0-\xc3\xc5-\xc7\xc9-\xcb\xcd-\xcf]..\x08....(.)", re.DOTALL)
SIDEWAYS = (5, 6, 7, 8)  # EXIF's orientations that swap width and height
TURNS = {  # of Pillow, by EXIF's orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Refused(Exception):
    """Why there is no answer; `what` is what was too large, if that is it."""

    def __init__(self, detail: str, **extra: Any) -> None:
        super().__init__(detail)
        self.fields = {"refused": detail, **extra}


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

    @property
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
            scan = scan_of(opened, page, most)
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


def jpeg(image: Image.Image) -> bytes:
    """`image` as a JPEG file."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=JPEG_QUALITY)
    return file.getvalue()


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


def shown(page: pdfium.PdfPage) -> Any:
    """The map from a page's own coordinates to points from the top left as it is shown."""
    rect = c.FS_RECTF()
    c.FPDF_GetPageBoundingBox(page, rect)
    width, height = rect.right - rect.left, rect.top - rect.bottom
    turn = c.FPDFPage_GetRotation(page) % 4  # quarters, clockwise

    def to_shown(x: float, y: float) -> tuple[float, float]:
        u, v = x - rect.left, rect.top - y
        return ((u, v), (height - v, u), (width - u, height - v), (v, width - u))[turn]

    return to_shown


def scan_of(opened: Opened, page: pdfium.PdfPage, most: int) -> tuple[bytes, list] | None:
    """The one image that a page consists of, as an image file, and the map of its pixels to points.

    None if the page has anything else that is to be seen, or if the image is cut, skewed, masked or
    too large.
    """
    image = only_image(page)
    if image is None or opened.masked or c.FPDFPageObj_HasTransparency(image):
        return None
    matrix = c.FS_MATRIX()
    meta = c.FPDF_IMAGEOBJ_METADATA()
    if not (
        c.FPDFPageObj_GetMatrix(image, matrix)
        and c.FPDFImageObj_GetImageMetadata(image, page, meta)
    ):
        return None
    across, down = meta.width, meta.height
    if not 0 < across * down <= most:
        return None
    to_shown = shown(page)
    corners = [  # of the image: its top left, top right and bottom left
        to_shown(matrix.a * x + matrix.c * y + matrix.e, matrix.b * x + matrix.d * y + matrix.f)
        for x, y in ((0, 1), (1, 1), (0, 0))
    ]
    orientation = turned(corners)
    if orientation is None or not covers(corners, page.get_size()):
        return None
    picture = embedded(page, image, meta, orientation)
    if picture is None:
        return None
    if orientation in SIDEWAYS:
        across, down = down, across
    (x0, x1), (y0, y1) = spans(corners)
    return picture, [[(x1 - x0) / across, 0, x0], [0, (y1 - y0) / down, y0]]


def only_image(page: pdfium.PdfPage) -> Any:
    """The image of a page that has nothing else to be seen, None for any other page."""
    image = None
    count = c.FPDFPage_CountObjects(page)
    if not 0 < count <= OBJECTS_MAX:
        return None
    for index in range(count):
        found = c.FPDFPage_GetObject(page, index)
        kind = c.FPDFPageObj_GetType(found)
        if kind == c.FPDF_PAGEOBJ_IMAGE:
            if image is not None or clipped(found):
                return None
            image = found
        elif kind != c.FPDF_PAGEOBJ_TEXT or c.FPDFTextObj_GetTextRenderMode(found) != HIDDEN_TEXT:
            return None
    return image


def clipped(image: Any) -> bool:
    """Whether an image is shown in part."""
    path = c.FPDFPageObj_GetClipPath(image)
    return bool(path) and c.FPDFClipPath_CountPaths(path) > 0


def spans(corners: list[tuple[float, float]]) -> tuple[tuple[float, float], tuple[float, float]]:
    """The least and the largest x, and y, of an upright parallelogram's three corners."""
    (xs, ys) = zip(*corners, strict=True)
    return (min(xs), max(xs)), (min(ys), max(ys))


def turned(corners: list[tuple[float, float]]) -> int | None:
    """EXIF's orientation of an image whose corners are shown there; None if it is skewed."""
    (x0, y0), right, down = corners
    across = (right[0] - x0, right[1] - y0)  # along a row of the image, as it is shown
    along = (down[0] - x0, down[1] - y0)  # down a column
    size = max(map(abs, (*across, *along)))
    if size <= 0:
        return None
    if max(abs(across[1]), abs(along[0])) < 1e-3 * size:
        return {(1, 1): 1, (-1, 1): 2, (-1, -1): 3, (1, -1): 4}[sign(across[0]), sign(along[1])]
    if max(abs(across[0]), abs(along[1])) < 1e-3 * size:
        return {(1, 1): 5, (-1, 1): 6, (-1, -1): 7, (1, -1): 8}[sign(along[0]), sign(across[1])]
    return None


def sign(value: float) -> int:
    return 1 if value > 0 else -1


def covers(corners: list[tuple[float, float]], size: tuple[float, float]) -> bool:
    """Whether an image is all of a page, but for margins, and the page all of the image."""
    (x0, x1), (y0, y1) = spans(corners)
    width, height = size
    inside = min(x0, width - x1) >= -BEYOND * width and min(y0, height - y1) >= -BEYOND * height
    return inside and (x1 - x0) * (y1 - y0) >= COVERED * width * height


def embedded(page: Any, image: Any, meta: Any, orientation: int) -> bytes | None:
    """The image as a file: a JPEG as it is, any other as a TIFF (two colours) or a JPEG."""
    filters = [
        filter_of(image, index) for index in range(c.FPDFImageObj_GetImageFilterCount(image))
    ]
    if filters == ["DCTDecode"] and meta.colorspace in JPEG_SPACES:
        file = raw_data(image)
        frame = JPEG_FRAME.search(file[: 2**16])
        if file.startswith(b"\xff\xd8\xff") and frame and frame[1] in (b"\1", b"\3"):
            return file[:2] + exif(orientation) + file[2:]
    if "JPXDecode" in filters:
        return None
    found = c.FPDFImageObj_GetBitmap(image)
    if not found:
        return None
    bitmap = pdfium.PdfBitmap.from_raw(found)
    try:
        if (bitmap.width, bitmap.height) != (meta.width, meta.height):
            return None
        picture = bitmap.to_pil()
        if picture.mode not in ("L", "RGB"):
            picture = picture.convert("RGB")
        if orientation in TURNS:
            picture = picture.transpose(TURNS[orientation])
        if picture.mode == "L" and only_black_and_white(picture):
            tiff = io.BytesIO()
            picture.convert("1", dither=Image.Dither.NONE).save(tiff, "TIFF", compression="group4")
            return tiff.getvalue()
        return jpeg(picture)
    finally:
        bitmap.close()


def only_black_and_white(picture: Image.Image) -> bool:
    """Whether a grey picture has no other colours."""
    counts = picture.histogram()
    return counts[0] + counts[255] == sum(counts)


def filter_of(image: Any, index: int) -> str:
    """The name of one of an image's filters."""
    size = c.FPDFImageObj_GetImageFilter(image, index, None, 0)
    buffer = ctypes.create_string_buffer(size)
    c.FPDFImageObj_GetImageFilter(image, index, buffer, size)
    return buffer.value.decode("ascii", errors="replace")


def raw_data(image: Any) -> bytes:
    """An image's stream as it stands in the document."""
    size = c.FPDFImageObj_GetImageDataRaw(image, None, 0)
    buffer = ctypes.create_string_buffer(size)
    c.FPDFImageObj_GetImageDataRaw(image, buffer, size)
    return buffer.raw


def exif(orientation: int) -> bytes:
    """A segment of a JPEG that says so; as the first, it overrules the JPEG's own (which a PDF's
    reader does not look at)."""
    entry = struct.pack(">HHIHH", 274, 3, 1, orientation, 0)
    body = b"Exif\0\0MM\0*" + struct.pack(">IH", 8, 1) + entry + bytes(4)
    return b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body


def image_picture(data: bytes, number: int, dpi: float, most: int) -> bytes:
    """A page of a TIFF, or of any image that Pillow reads, upright and as a JPEG."""
    try:
        image = Image.open(io.BytesIO(data))
        image.seek(number - 1)
        check_pixels(f"page {number}:", image.width, image.height, most)
        own_dpi = float(image.info.get("dpi", (0, 0))[0])
        scale = dpi / (own_dpi if own_dpi > NO_DPI else UNKNOWN_DPI)
        return resized(image, image.width * scale, image.height * scale)
    except EOFError as error:
        raise Refused(f"page: {number}, the file has fewer", kind="number") from error
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise Refused(f"page {number}: cannot be read: {error}", kind="unreadable") from error


def scan_picture(scan: bytes, matrix: list, dpi: float) -> bytes:
    """A scan of a PDF's page as a JPEG at `dpi` of that page."""
    image = Image.open(io.BytesIO(scan))
    (across, _, _), (_, down, _) = matrix  # points for a pixel, upright
    if image.getexif().get(ORIENTATION, 1) in SIDEWAYS:
        across, down = down, across
    return resized(image, image.width * across * dpi / 72, image.height * down * dpi / 72)


def resized(image: Image.Image, width: float, height: float) -> bytes:
    """`image` upright and as a JPEG, of that size before it is turned, or its own if smaller."""
    size = max(1, round(width)), max(1, round(height))
    orientation = image.getexif().get(ORIENTATION, 1)
    if size[0] < image.width:
        image.draft("RGB", size)  # a JPEG is decoded smaller
        if image.mode not in ("L", "RGB"):
            image = image.convert("RGB")
        image = image.resize(size, Image.Resampling.BOX, reducing_gap=2.0)
    if image.mode not in ("L", "RGB"):
        image = image.convert("RGB")
    return jpeg(image.transpose(TURNS[orientation]) if orientation in TURNS else image)


def check_pixels(where: str, width: int, height: int, most: int) -> None:
    """Raises Refused for more than `most` pixels."""
    if width * height > most:
        raise Refused(
            f"{where} {width * height} pixels, limit {most}",
            kind="pixels",
            value=width * height,
            limit=most,
        )


def bounded(bytes_max: int) -> None:
    """Bounds this process's memory, and keeps it from writing files, where the system can."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (bytes_max, bytes_max))
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def alarm(seconds: float) -> None:
    """Has the system end this process after so many seconds, 0 for never, where it can."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)


def serve(questions: BinaryIO, answers: BinaryIO) -> None:
    """Answers until the questions end."""
    opened: Opened | None = None
    data = b""
    while line := questions.readline():
        asked = json.loads(line)
        payload = b""
        alarm(asked.get("seconds", 60) + GRACE_S)
        try:
            if asked["do"] == "open":
                if opened is not None:
                    opened.close()
                    opened = None
                data = questions.read(asked["bytes"])
                if asked["kind"] == "pdf":
                    opened = Opened(data)
                    answer: JsonObject = {"page_count": opened.page_count}
                else:
                    answer = {}
            elif asked["do"] == "picture" and opened is None:
                payload = image_picture(data, asked["number"], asked["dpi"], asked["most"])
                answer = {}
            elif opened is None:
                raise Refused("document: none is open", kind="unreadable")
            elif asked["do"] == "picture":
                number, dpi, most = asked["number"], asked["dpi"], asked["most"]
                fields, payload = page_of(opened, number, dpi, False, most)
                if fields["embedded"]:
                    payload = scan_picture(payload, fields["matrix"], dpi)
                answer = {}
            else:
                answer, payload = page_of(
                    opened, asked["number"], asked["dpi"], asked["drawn"], asked["most"]
                )
        except Refused as refusal:
            answer, payload = refusal.fields, b""
        except MemoryError:
            answer, payload = {"refused": "takes too much memory", "kind": "memory"}, b""
        except pdfium.PdfiumError as error:
            answer, payload = {"refused": f"cannot be read: {error}", "kind": "unreadable"}, b""
        alarm(0)
        answers.write(json.dumps({**answer, "bytes": len(payload)}).encode() + b"\n" + payload)
        answers.flush()


def main() -> None:
    """Serves on standard input and output; the bound of memory is the only argument."""
    bounded(int(sys.argv[1]))
    Image.MAX_IMAGE_PIXELS = None  # who asks says how many there may be
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whoever prints is not taken for an answer
    serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
