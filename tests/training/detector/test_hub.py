"""The published pages, fetched with the hub's own client from a stand-in for the hub."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from threading import Thread

import numpy as np
import polars
import pytest
from PIL import Image

from training.detector.hub import class_names, fetch, write_split
from training.detector.labels import read_pages

ROOT = Path(__file__).resolve().parents[3]
DATASET = "tech4humans/signature-detection"
COMMIT = "0123456789" * 4
CARD = """---
license: apache-2.0
dataset_info:
  config_name: full
  features:
    - {name: image_id, dtype: int64}
    - {name: image, dtype: image}
    - name: objects
      sequence:
        - {name: bbox, sequence: float32, length: 4}
        - name: category
          dtype: {class_label: {names: {'0': signature}}}
---
# Pages
"""


def jpeg(width: int, height: int) -> bytes:
    file = BytesIO()
    Image.new("RGB", (width, height), "white").save(file, "JPEG")
    return file.getvalue()


def row(number: int, path: str | None, bbox: list[list[float]]) -> dict:
    return {
        "image_id": number,
        "image": {"bytes": jpeg(100, 200), "path": path},
        "width": 100,
        "height": 200,
        "objects": {"bbox": bbox, "category": [0] * len(bbox)},
    }


def parquet(*rows: dict) -> bytes:
    file = BytesIO()
    schema = {
        "image_id": polars.Int64,
        "image": polars.Struct({"bytes": polars.Binary, "path": polars.String}),
        "width": polars.Int32,
        "height": polars.Int32,
        "objects": polars.Struct(
            {
                "bbox": polars.List(polars.List(polars.Float32)),
                "category": polars.List(polars.Int64),
            }
        ),
    }
    polars.DataFrame(rows, schema=schema).write_parquet(file)
    return file.getvalue()


@dataclass
class Hub:
    """The files of one dataset; behind consent if it is gated."""

    files: dict[str, bytes]
    gated: bool = False
    url: str = ""


@pytest.fixture
def hub() -> Iterator[Hub]:
    files = {
        "README.md": CARD.encode(),
        "full/train-00000-of-00002.parquet": parquet(
            row(0, "a_jpg.rf.0f.jpg", [[10, 20, 20, 40]]), row(1, "a_jpg.rf.1e.jpg", [])
        ),
        "full/train-00001-of-00002.parquet": parquet(row(2, None, [[1, 2, 3, 4], [5, 6, 7, 8]])),
        "full/validation-00000-of-00001.parquet": parquet(row(0, None, [])),
    }
    hub = Hub(files)

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, body: bool) -> None:
            name = self.path.partition(f"/resolve/{COMMIT}/")[2]
            headers = {"X-Repo-Commit": COMMIT}
            if hub.gated:
                status, content = 403, b""
                headers["X-Error-Code"] = "GatedRepo"
            elif name:
                status, content = 200, hub.files[name]
                headers["ETag"] = f'"{sha1(content).hexdigest()}"'
            elif "/tree/" in self.path:
                tree = [
                    {
                        "type": "file",
                        "path": path,
                        "size": len(data),
                        "oid": sha1(data).hexdigest(),
                    }
                    for path, data in hub.files.items()
                ]
                status, content = 200, json.dumps(tree).encode()
            else:
                status, content = 200, json.dumps({"id": DATASET, "sha": COMMIT}).encode()
            self.send_response(status)
            for key, value in (headers | {"Content-Length": str(len(content))}).items():
                self.send_header(key, value)
            self.end_headers()
            if body:
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield hub
    server.shutdown()
    thread.join()
    server.server_close()


def run(tmp_path: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"HF_HOME": str(tmp_path / "home")} | variables
    command = ["-m", "training.detector.hub", "--out", str(tmp_path / "out")]
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True
    )


def test_the_published_pages_become_pages_to_train_on(hub, tmp_path):
    done = run(tmp_path, HF_ENDPOINT=hub.url)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("out: 4 pages, 3 boxes")

    first, empty, third = read_pages(tmp_path / "out", "train")
    np.testing.assert_array_equal(first.xyxy, [[10, 20, 30, 60]])
    np.testing.assert_array_equal(first.class_ids, [0])
    assert len(empty.xyxy) == 0
    np.testing.assert_array_equal(third.xyxy, [[1, 2, 4, 6], [5, 6, 12, 14]])
    assert first.source == empty.source == "a_jpg"  # two copies of one page
    assert third.path.read_bytes() == jpeg(100, 200)
    assert len(read_pages(tmp_path / "out" / "train")) == 3  # as --real is read
    (validation,) = read_pages(tmp_path / "out", "validation")
    assert validation.source != third.source


@pytest.mark.parametrize(
    "variables",
    [{"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}],
    ids=["offline", "unreachable"],
)
def test_without_a_network_one_line_says_what_to_do(tmp_path, variables):
    done = run(tmp_path, **variables)
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith(f"{DATASET}: not to be had from the hub")
    assert "give its folder to --real" in line
    assert not (tmp_path / "out").exists()


def test_a_login_that_is_wanted_is_named(hub, tmp_path):
    hub.gated = True
    done = run(tmp_path, HF_ENDPOINT=hub.url)
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert f"consent at https://huggingface.co/datasets/{DATASET}" in line


def test_a_dataset_without_parquet_is_taken_as_it_is(tmp_path):
    """Roboflow's COCO export, uploaded as it came."""
    snapshot = tmp_path / "snapshot"
    (snapshot / "train").mkdir(parents=True)
    (snapshot / "train" / "a.jpg").write_bytes(jpeg(100, 200))
    table = {
        "images": [{"id": 0, "file_name": "a.jpg", "width": 100, "height": 200}],
        "annotations": [{"image_id": 0, "category_id": 1, "bbox": [10, 20, 20, 40]}],
        "categories": [{"id": 1, "name": "stamp"}],
    }
    (snapshot / "train" / "_annotations.coco.json").write_text(json.dumps(table))

    def download(dataset: str, repo_type: str, revision: str | None) -> str:
        assert (dataset, repo_type, revision) == ("me/mine", "dataset", "v2")
        return str(snapshot)

    fetch("me/mine", "v2", tmp_path / "out", download)
    (page,) = read_pages(tmp_path / "out", "train")
    np.testing.assert_array_equal(page.xyxy, [[10, 20, 30, 60]])


def test_a_card_without_classes_is_refused(tmp_path):
    (tmp_path / "README.md").write_text("# Pages\n")
    with pytest.raises(ValueError, match=r"README\.md: names no classes"):
        class_names(tmp_path / "README.md")


def test_two_pages_of_one_name_are_refused(tmp_path):
    rows = polars.read_parquet(BytesIO(parquet(row(0, "a.jpg", []), row(1, "a.jpg", []))))
    with pytest.raises(ValueError, match="2 images, and some have the same name"):
        write_split(rows, ["signature"], tmp_path)
