"""PDFs written by hand (ISO 32000-1), of what a test says of them."""

import zlib
from collections.abc import Sequence

A4 = (595, 842)  # points


class Pdf:
    """A PDF in the making: objects, and pages that are made of them."""

    def __init__(self) -> None:
        self.objects: list[bytes] = [b"", b""]  # 1 the catalogue, 2 the pages
        self.pages: list[int] = []
        self.fields: list[int] = []
        self.trailer = b""

    def add(self, body: bytes) -> int:
        """Its number."""
        self.objects.append(body)
        return len(self.objects)

    def stream(self, data: bytes, entries: bytes = b"") -> int:
        return self.add(b"<< %s /Length %d >>\nstream\n%s\nendstream" % (entries, len(data), data))

    def image(self, data: bytes, size: tuple[int, int], entries: bytes) -> int:
        """An image; `entries` tell its colours and its filter."""
        told = b"/Type /XObject /Subtype /Image /Width %d /Height %d " % size
        return self.stream(data, told + entries)

    def page(
        self,
        content: bytes,
        size: Sequence[float] = A4,
        resources: bytes = b"",
        entries: bytes = b"",
        annotations: Sequence[int] = (),
    ) -> int:
        """A page of that content; `size` is width and height, or the whole MediaBox."""
        box = [0, 0, *size] if len(size) == 2 else size
        told = " ".join(f"{edge:.3f}" for edge in box).encode()
        shown = b" ".join(b"%d 0 R" % each for each in annotations)
        number = self.add(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [%s] /Contents %d 0 R "
            b"/Resources << %s >> /Annots [%s] %s >>"
            % (told, self.stream(content), resources, shown, entries)
        )
        self.pages.append(number)
        return number

    def scan(
        self,
        jpeg: bytes,
        pixels: tuple[int, int],
        matrix: bytes = b"595 0 0 842 0 0",
        colour: bytes = b"/DeviceRGB",
        more: bytes = b"",
        **page: object,
    ) -> int:
        """A page that is one JPEG; `more` is content after it."""
        entries = b"/ColorSpace %s /BitsPerComponent 8 /Filter /DCTDecode" % colour
        image = self.image(jpeg, pixels, entries)
        content = b"q %s cm /I Do Q %s" % (matrix, more)
        return self.page(content, resources=b"/XObject << /I %d 0 R >>" % image, **page)

    def bytes(self, count: int | None = None) -> bytes:
        """The file; `count` is what it says of how many pages it has."""
        kids = b" ".join(b"%d 0 R" % each for each in self.pages)
        form = b" ".join(b"%d 0 R" % each for each in self.fields)
        self.objects[0] = b"<< /Type /Catalog /Pages 2 0 R /AcroForm << /Fields [%s] >> >>" % form
        told = len(self.pages) if count is None else count
        self.objects[1] = b"<< /Type /Pages /Kids [%s] /Count %d >>" % (kids, told)
        file, places = bytearray(b"%PDF-1.7\n"), []
        for number, body in enumerate(self.objects, 1):
            places.append(len(file))
            file += b"%d 0 obj\n%s\nendobj\n" % (number, body)
        start = len(file)
        file += b"xref\n0 %d\n0000000000 65535 f \n" % (len(places) + 1)
        file += b"".join(b"%010d 00000 n \n" % place for place in places)
        file += b"trailer << /Size %d /Root 1 0 R %s >>\nstartxref\n%d\n%%%%EOF\n" % (
            len(places) + 1,
            self.trailer,
            start,
        )
        return bytes(file)


def blank(pages: int = 1, size: Sequence[float] = A4, count: int | None = None) -> bytes:
    """White pages."""
    pdf = Pdf()
    for _ in range(pages):
        pdf.page(b"", size)
    return pdf.bytes(count)


def encrypted() -> bytes:
    """A PDF that no empty password opens: its check of the password is made of nothing."""
    pdf = Pdf()
    pdf.page(b"")
    pdf.trailer = (
        b"/Encrypt << /Filter /Standard /V 1 /R 2 /P -4 /O <%s> /U <%s> >> /ID [<00> <00>]"
        % (b"ab" * 32, b"cd" * 32)
    )
    return pdf.bytes()


def recursive_form() -> bytes:
    """A page whose form paints itself, twice each time."""
    pdf = Pdf()
    form = len(pdf.objects) + 1
    pdf.stream(
        b"/F Do /F Do",
        b"/Type /XObject /Subtype /Form /BBox [0 0 595 842] "
        b"/Resources << /XObject << /F %d 0 R >> >>" % form,
    )
    pdf.page(b"/F Do", resources=b"/XObject << /F %d 0 R >>" % form)
    return pdf.bytes()


def doubling_forms(depth: int) -> bytes:
    """A page whose form paints another twice, which does so too, and so on: 2 ** depth in all."""
    pdf = Pdf()
    last = pdf.stream(b"0 0 595 842 re f", b"/Type /XObject /Subtype /Form /BBox [0 0 595 842]")
    for _ in range(depth):
        last = pdf.stream(
            b"/F Do /F Do",
            b"/Type /XObject /Subtype /Form /BBox [0 0 595 842] "
            b"/Resources << /XObject << /F %d 0 R >> >>" % last,
        )
    pdf.page(b"/F Do", resources=b"/XObject << /F %d 0 R >>" % last)
    return pdf.bytes()


def recursive_pages() -> bytes:
    """Pages whose kid are themselves."""
    pdf = Pdf()
    pdf.page(b"")
    pdf.pages.append(2)
    return pdf.bytes(count=2)


def image_bomb(side: int = 30_000) -> bytes:
    """A page of an image of side x side black pixels, which take few bytes."""
    packed = zlib.compress(zlib.compress(bytes(side * side), 1), 9)
    pdf = Pdf()
    image = pdf.image(
        packed,
        (side, side),
        b"/ColorSpace /DeviceGray /BitsPerComponent 8 /Filter [/FlateDecode /FlateDecode]",
    )
    pdf.page(b"q 595 0 0 842 0 0 cm /I Do Q", resources=b"/XObject << /I %d 0 R >>" % image)
    return pdf.bytes()
