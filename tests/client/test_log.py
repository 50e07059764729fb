"""What of an export is written."""

import io
import tarfile

import pytest

from countersign.log import page_rows, unpack


def tar(**files):
    """An export of these files; a text is the name that a hard link leads to."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.LNKTYPE, content
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return io.BytesIO(whole.getvalue())


PAGE = "yolo/images/a.png"
WHOLE = {PAGE: b"png", "coco/images/a.png": PAGE, "export.json": b"{}"}


def test_an_export_is_written_with_its_links(tmp_path):
    unpack(tar(**WHOLE), tmp_path)
    assert (tmp_path / "coco/images/a.png").samefile(tmp_path / "yolo/images/a.png")
    assert (tmp_path / "yolo/images/a.png").read_bytes() == b"png"


@pytest.mark.parametrize("end", [100, 512, 1024, 1536])
def test_an_export_that_is_cut_short_is_an_error(tmp_path, end):
    with pytest.raises(tarfile.TarError):
        unpack(io.BytesIO(tar(**WHOLE).getvalue()[:end]), tmp_path)


@pytest.mark.parametrize(
    "files",
    [
        {"../outside": b""},
        {"/etc/outside": b""},
        {"yolo/images/..": b""},
        {"yolo/images/a/../../../outside": b""},
        {PAGE: "/etc/passwd"},
        {PAGE: "../outside"},
    ],
)
def test_nothing_is_written_outside_the_folder(tmp_path, files):
    folder = tmp_path / "folder"
    with pytest.raises(tarfile.TarError, match="in the export"):
        unpack(tar(**files), folder)
    assert not (tmp_path / "outside").exists()


def test_a_page_that_failed_and_one_without_marks_are_a_line_each():
    failed = {"page": 2, "error": {"detail": "image: cut short"}}
    assert list(page_rows(failed)) == ["  page    2  image: cut short"]
    assert list(page_rows({"page": 3, "detections": []})) == ["  page    3  nothing"]
