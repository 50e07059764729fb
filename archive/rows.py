"""What is written: a row a page and a row a file, as Arrow has them."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from archive.sources import LISTED
from countersign.messages import Detections

# On their way, the pages travel with their file: whole or not at all
PAGE = pa.struct(
    [
        ("page", pa.int32()),  # from 1; 0 for a file that has none to look at
        ("width", pa.int32()),  # pixels
        ("height", pa.int32()),
        ("boxes", pa.list_(pa.list_(pa.float32(), 4))),  # x0 y0 x1 y1, pixels
        ("scores", pa.list_(pa.float32())),
        ("labels", pa.list_(pa.string())),
        ("margin", pa.float32()),  # distance of the score nearest to its accept threshold from it
        ("model", pa.string()),
        ("version", pa.int32()),
        ("operating_point", pa.string()),
        ("milliseconds", pa.float32()),
        ("error", pa.string()),  # why there is nothing to be said of the page
    ]
)
FILES = pa.schema(
    [
        *LISTED,
        ("sha256", pa.string()),
        ("page_count", pa.int32()),
        ("error", pa.string()),  # why it has no pages to look at
        ("form", pa.string()),
        ("verdict", pa.string()),  # of the form: complete, missing or review
        ("why", pa.string()),
        ("check", pa.string()),  # all of it, JSON
    ]
)
PAGES = pa.schema([("sha256", pa.string()), ("key", pa.string()), *PAGE])
# `failed`: what kept it from being looked at, and may not the next time
ANSWERS = pa.schema([*FILES, ("pages", pa.list_(PAGE)), ("failed", pa.string())])


def margin(found: Detections, accept: Mapping[str, float]) -> float | None:
    """How near a mark's score comes to its class' accept threshold; None if there is no mark."""
    gaps = [abs(one.score - accept[one.label]) for one in found if one.label in accept]
    return min(gaps, default=None)


def pages_of(answers: pa.Table) -> pa.Table:
    """The pages of files, each with its file's digest and key."""
    lists = answers["pages"].combine_chunks()
    parents = pc.list_parent_indices(lists)
    fields = dict(zip(PAGE.names, lists.flatten().flatten(), strict=True))
    ids = {name: answers[name].take(parents) for name in ("sha256", "key")}
    return pa.table([(ids | fields)[name] for name in PAGES.names], schema=PAGES)


def first_of(digests: pa.ChunkedArray, known: set[bytes]) -> np.ndarray:
    """(n,) bool: where a digest, in hex, is neither known nor there before; they then are known."""
    new = np.zeros(len(digests), bool)
    for i, digest in enumerate(map(bytes.fromhex, digests.to_pylist())):
        new[i] = digest not in known
        known.add(digest)
    return new
