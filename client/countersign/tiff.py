"""A TIFF of several pages, cut into files of one page (TIFF 6.0, and BigTIFF).

Else each page would travel with all the others.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from countersign.errors import Refused

SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8} | {
    13: 4, 16: 8, 17: 8, 18: 8
}  # fmt: skip
INTEGERS = {3: "H", 4: "I", 16: "Q"}
MAX_DIRECTORIES, MAX_ENTRIES = 10_000, 200
NEW_SUBFILE, OLD_SUBFILE = 254, 255
SMALLER_OR_MASK = 0b101  # bits of NewSubfileType
DATA = ((273, 279), (324, 325))  # tags of strips and tiles: where, and how many bytes
POINTERS = {288, 289, 330, 34665, 34853, 40965}  # to what is elsewhere in the file
COMPRESSION, OLD_JPEG = 259, 6  # whose parts are all over the file


class Layout(NamedTuple):
    """How numbers are written: struct formats."""

    order: str
    number: str  # of a directory's entries
    word: str  # an offset, and the number of an entry's values

    @property
    def entry(self) -> str:
        """Tag, type, number of values, and the values or where they are."""
        return f"{self.order}HH{self.word}{struct.calcsize(self.order + self.word)}s"


@dataclass(frozen=True)
class Entry:
    """A field of a directory."""

    kind: int
    count: int
    value: bytes  # all its values, as they are written


Directory = dict[int, Entry]


class Tiff:
    """A TIFF file's pages. Raises Refused if it is none."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        try:
            self._layout, first = layout_of(data)
            self._directories = list(self._walked(first))
        except (struct.error, OverflowError) as error:
            raise Refused("image: a TIFF file, cut short in its directories") from error
        if not self._directories:
            raise Refused("image: a TIFF file without a directory")
        whole = [each for each in self._directories if not self._is_part(each)]
        self.pages = whole or self._large()

    def page(self, number: int) -> bytes | None:
        """A file of page `number`, from 1, alone; None if it cannot be cut out."""
        directory = self.pages[number - 1]
        if self._number(directory, COMPRESSION) == OLD_JPEG:
            return None
        try:
            return self._alone(directory)
        except (struct.error, OverflowError, ValueError):
            return None  # the servers say what is wrong with it

    def _walked(self, at: int) -> Iterator[Directory]:
        order, number_of, word = self._layout
        seen: set[int] = set()
        while at:
            if at in seen or len(seen) >= MAX_DIRECTORIES:
                raise Refused(
                    f"image: a TIFF file whose directories go in a circle, or are over "
                    f"{MAX_DIRECTORIES}"
                )
            seen.add(at)
            (number,) = struct.unpack_from(order + number_of, self._data, at)
            if number > MAX_ENTRIES:
                raise Refused(
                    f"image: a TIFF file with a directory of {number} entries, limit {MAX_ENTRIES}"
                )
            at += struct.calcsize(order + number_of)
            size = struct.calcsize(self._layout.entry)
            directory: Directory = {}
            for _ in range(number):
                tag, kind, values, field = struct.unpack_from(self._layout.entry, self._data, at)
                directory.setdefault(tag, Entry(kind, values, field))
                at += size
            yield directory
            (at,) = struct.unpack_from(order + word, self._data, at)

    def _large(self) -> list[Directory]:
        """Where all say that they are parts of a page: those of over half the largest's area."""
        areas = [self._number(each, 256) * self._number(each, 257) for each in self._directories]
        largest = max(areas, default=0)
        return [
            each for each, area in zip(self._directories, areas, strict=True) if 2 * area > largest
        ]

    def _content(self, entry: Entry) -> bytes:
        """All of an entry's values."""
        size = SIZES.get(entry.kind, 1) * entry.count
        if size <= len(entry.value):
            return entry.value[:size]
        (at,) = struct.unpack(self._layout.order + self._layout.word, entry.value)
        if at + size > len(self._data):
            raise ValueError("an entry behind the end")
        return self._data[at : at + size]

    def _numbers(self, entry: Entry) -> tuple[int, ...]:
        if entry.kind not in INTEGERS:
            raise ValueError(f"type {entry.kind}, not whole numbers")
        form = f"{self._layout.order}{entry.count}{INTEGERS[entry.kind]}"
        return struct.unpack(form, self._content(entry))

    def _number(self, directory: Directory, tag: int) -> int:
        try:
            return self._numbers(directory[tag])[0]
        except (KeyError, IndexError, ValueError, struct.error):
            return 0

    def _is_part(self, directory: Directory) -> bool:
        """Whether it is a smaller version of a page, or a mask, and no page."""
        kind = self._number(directory, NEW_SUBFILE)
        return bool(kind & SMALLER_OR_MASK) or self._number(directory, OLD_SUBFILE) == 2

    def _alone(self, directory: Directory) -> bytes:
        """A file of that directory: header, directory, values, data."""
        order, number_of, word = self._layout
        entries = {tag: entry for tag, entry in directory.items() if tag not in POINTERS}
        contents = {tag: self._content(entry) for tag, entry in entries.items()}
        data: list[bytes] = []
        where: dict[int, list[int]] = {}
        total = 0
        for places, sizes in DATA:
            if places not in entries or sizes not in entries:
                continue
            where[places] = []
            for at, size in zip(
                self._numbers(entries[places]), self._numbers(entries[sizes]), strict=True
            ):
                where[places].append(total)
                data.append(self._data[at : at + size])
                total += len(data[-1])
                if total > len(self._data):
                    raise ValueError("more data than the file has")
        if not where:
            raise ValueError("neither strips nor tiles")
        header = self._data[: 4 if word == "I" else 8]
        word_size = struct.calcsize(order + word)
        first = len(header) + word_size
        values_at = (
            first
            + struct.calcsize(order + number_of)
            + len(entries) * struct.calcsize(self._layout.entry)
            + word_size
        )
        for tag, starts in where.items():  # offsets are as wide as the file's own
            contents[tag] = bytes(word_size * len(starts))
            entries[tag] = Entry(4 if word == "I" else 16, len(starts), b"")
        spots, end = {}, values_at
        for tag, content in contents.items():
            if len(content) > word_size:
                spots[tag] = end
                end += len(content) + len(content) % 2
        for tag, starts in where.items():
            contents[tag] = struct.pack(
                f"{order}{len(starts)}{word}", *(end + start for start in starts)
            )
        parts = [
            header,
            struct.pack(order + word, first),
            struct.pack(order + number_of, len(entries)),
        ]
        for tag in sorted(entries):
            value = (
                struct.pack(order + word, spots[tag])
                if tag in spots
                else contents[tag].ljust(word_size, b"\0")
            )
            parts.append(
                struct.pack(self._layout.entry, tag, entries[tag].kind, entries[tag].count, value)
            )
        parts.append(struct.pack(order + word, 0))
        for tag in spots:
            parts += [contents[tag], bytes(len(contents[tag]) % 2)]
        return b"".join(parts + data)


def layout_of(data: bytes) -> tuple[Layout, int]:
    """How a TIFF is written, and where its first directory is. Raises Refused."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2], "")
    version = struct.unpack_from(f"{order}H", data, 2)[0] if order else None
    if version == 42:
        return Layout(order, "H", "I"), *struct.unpack_from(f"{order}I", data, 4)
    if version == 43:
        return Layout(order, "Q", "Q"), *struct.unpack_from(f"{order}Q", data, 8)
    raise Refused(f"image: begins {data[:4]!r}, no TIFF")
