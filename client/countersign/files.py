"""Which files the command asks about, which it cannot, and where the pictures of them go."""

import io
import os
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile

from countersign.errors import Refused
from countersign.images import MOST_BYTES, not_read

SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".tif", ".tiff", ".webp", ".bmp", ".gif")
IMAGES = (  # how they begin; WebP apart
    b"\xff\xd8\xff",
    b"\x89PNG\r\n",
    *(b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    b"BM",
    b"GIF8",
)
PDF, PDF_SUFFIX = b"%PDF-", ".pdf"
UNREAD = {  # pages, but not for this server: how they begin
    PDF: "a PDF file",
    b"\0\0\0\x0cjP  ": "a JPEG 2000 file",
    b"\xff\x4f\xff\x51": "a JPEG 2000 file",
    b"\0\0\0\x0cJXL ": "a JPEG XL file",
    b"\xff\x0a": "a JPEG XL file",
    b"8BPS": "a Photoshop file",
    b"AT&TFORM": "a DjVu file",
    b"%!PS": "a PostScript file",
}
UNREAD_SUFFIXES = (  # whatever they begin with
    *(PDF_SUFFIX, ".heic", ".heif", ".avif", ".jp2", ".j2k", ".jxl"),
    *(".psd", ".djvu", ".djv", ".ps", ".eps"),
)
HEIF = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1", b"avif", b"avis")
HEAD = 16  # bytes
STDIN = "-"
CHUNK = 2**16  # bytes read at a time


@dataclass(frozen=True)
class Source:
    """One file to ask about."""

    name: str  # as it was named, "-" for standard input
    image: Path | bytes = field(repr=False)


@dataclass
class Found:
    """What the paths of a command line give."""

    sources: list[Source] = field(default_factory=list)  # none twice
    unread: list[tuple[str, Refused]] = field(default_factory=list)  # might be pages
    others: list[str] = field(default_factory=list)  # no images by name and content


def find(paths: Iterable[str], skipped: Path | None, pdf: bool = False) -> Found:
    """The files at `paths`, and those in folders and their subfolders, linked ones too, by name.

    Links come last, so that a file goes by its own name. Folder `skipped` is not searched inside
    another. "-" is standard input, read here. With `pdf`, PDF files are asked about too.
    """
    found = Found()
    sources: dict[str, Source] = {}
    for name in dict.fromkeys(str(Path(path)) if path else path for path in paths):
        if name == STDIN:
            try:
                sources[name] = Source(name, standard_input())
            except Refused as refusal:
                found.unread.append((name, refusal))
        elif os.path.isdir(name):
            before = len(sources) + len(found.unread)
            for file, error in search(name, {key_of(skipped)} - {key_of(name)}):
                sort(file, error, found, sources, pdf=pdf)
            if len(sources) + len(found.unread) == before:
                suffixes = (*SUFFIXES, PDF_SUFFIX) if pdf else SUFFIXES
                reason = f"no image in this folder ({' '.join(suffixes)})"
                found.unread.append((name, Refused(reason)))
        else:
            sort(name, None, found, sources, asked=True, pdf=pdf)
    found.sources = list(sources.values())
    return found


def standard_input() -> bytes:
    """All of it. Raises Refused if it is closed, cannot be read or is longer than any image."""
    if sys.stdin is None:
        raise Refused("standard input is closed")
    image = io.BytesIO()
    try:
        while chunk := sys.stdin.buffer.read(CHUNK):
            image.write(chunk)
            if image.tell() > MOST_BYTES:
                raise Refused(f"more than {MOST_BYTES} bytes")
    except OSError as error:
        raise Refused(error.strerror or str(error)) from error
    return image.getvalue()


def sort(
    file: str,
    error: OSError | None,
    found: Found,
    sources: dict[str, Source],
    asked: bool = False,
    pdf: bool = False,
) -> None:
    """Puts one file where it belongs; one that was `asked` for by name is no other."""
    try:
        if error is not None:
            raise error
        kind = unread_kind(file, os.stat(file), asked, pdf)
    except OSError as reason:
        found.unread.append((file, Refused(reason.strerror or str(reason))))
        return
    if kind is None:
        sources[file] = Source(file, Path(file))
    elif kind:
        found.unread.append((file, Refused(kind)))
    else:
        found.others.append(file)


def unread_kind(file: str, status: os.stat_result, asked: bool, pdf: bool) -> str | None:
    """What `file` is, if it is not read; None if it is, "" if it was never a page.

    An image by its name is one, so that the server says what is wrong with it. What has neither
    content nor suffix to go by may have been a page. Raises OSError if it cannot be read.
    """
    if not stat.S_ISREG(status.st_mode):  # opened, a pipe may wait for ever
        return not_read(status) if asked else ""
    with open(file, "rb") as opened:
        head = opened.read(HEAD)
    if pdf and (head.startswith(PDF) or file.lower().endswith(PDF_SUFFIX)):
        return None
    kinds = [kind for begin, kind in UNREAD.items() if head.startswith(begin)]
    if kinds or (head[4:8] == b"ftyp" and head[8:12] in HEIF):
        return f"{kinds[0] if kinds else 'a HEIC or AVIF file'}, not read: convert it to images"
    name = os.path.basename(file)
    suffix = os.path.splitext(name)[1].lower()
    image = head.startswith(IMAGES) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
    if image or asked or suffix in SUFFIXES:
        return not_read(status)
    if suffix in UNREAD_SUFFIXES:
        return f"a {suffix} file, not read: convert it to images"
    return "" if suffix or name.startswith(".") else "neither an image nor of a known kind"


def search(folder: str, seen: set[tuple[int, int] | None]) -> Iterator[tuple[str, OSError | None]]:
    """Every file in and under `folder`, and every folder that cannot be read, with the reason."""
    try:
        key = key_of(folder)
        names = sorted(os.listdir(folder), key=lambda name: (linked(folder, name), name))
    except OSError as error:
        yield folder, error
        return
    if key in seen:  # a link that leads back
        return
    seen.add(key)
    for name in names:
        path = str(Path(folder, name))
        if os.path.isdir(path):
            yield from search(path, seen)
        else:
            yield path, None


def linked(folder: str, name: str) -> bool:
    """Whether that file or folder is a link."""
    return os.path.islink(os.path.join(folder, name))


def key_of(folder: str | Path | None) -> tuple[int, int] | None:
    """What tells a folder by all its names, None if there is none."""
    if folder is None or not os.path.isdir(folder):
        return None
    status = os.stat(folder)
    return status.st_dev, status.st_ino


class Pictures:
    """Where in `folder`, made if need be, the pictures of pages go: as the files lie in their tree.

    None meet. Raises ValueError if `folder` cannot be written, and if one would replace a page.
    """

    def __init__(self, folder: Path, sources: Sequence[Source]) -> None:
        files = [os.path.abspath(source.name) for source in sources if source.name != STDIN]
        self._root = os.path.commonpath([os.path.dirname(file) for file in files] or [""])
        self._folder = folder
        self._taken = {os.path.realpath(file) for file in files}
        for source in sources:
            if os.path.realpath(picture := self._picture(source, "")) in self._taken:
                raise ValueError(
                    f"--annotate: {picture} is one of the pages, choose another folder"
                )
        try:
            folder.mkdir(parents=True, exist_ok=True)
            TemporaryFile(dir=folder).close()
        except OSError as error:
            irregular = isinstance(error, (FileExistsError, NotADirectoryError))
            reason = "not a folder" if irregular else error.strerror
            raise ValueError(f"--annotate: {folder}: {reason}") from error

    def path(self, source: Source, page: int, page_count: int) -> Path:
        """Where the picture of that page goes; another place each time."""
        picture = self._picture(source, f".{page}" if page_count > 1 else "")
        while os.path.realpath(picture) in self._taken:  # a.png and a.png.jpg
            picture = picture.with_name(f"{picture.name}.jpg")
        self._taken.add(os.path.realpath(picture))
        return picture

    def _picture(self, source: Source, number: str) -> Path:
        if source.name == STDIN:
            return self._folder / f"stdin{number}.jpg"
        name = os.path.relpath(os.path.abspath(source.name), self._root)
        plain = name.endswith(".jpg") and not number
        return self._folder / (name if plain else f"{name}{number}.jpg")
