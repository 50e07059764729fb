"""Archives on a real Ray of two machines, on a disk and in a real S3: every page once."""

import io
import shutil
from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from PIL import Image
from ray.cluster_utils import Cluster

from archive.looking import Settings, model_of
from archive.run import Progress, run
from archive.sources import listing
from archive.store import Store
from tests.storage import S3

REPOSITORY = Path(__file__).resolve().parents[2] / "model_repository"
POISON = b"ends who reads it"
STEP = "    def execute(self, requests):\n"  # of document_preprocess
ENDING = f"""
        import os
        images = [pb_utils.get_input_tensor_by_name(one, "image").as_numpy()[0] for one in requests]
        if any(image.endswith({POISON!r}) for image in images):
            os.kill(os.getpid(), 9)
"""
MACHINE = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
SYSTEM = {
    "agent_register_timeout_ms": 120_000,  # these machines may be slow to start
    # and one that went away is missed within seconds, not within half a minute
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 15000,
    "health_check_failure_threshold": 2,
}


@pytest.fixture(scope="module")
def ray_cluster(s3: S3) -> Iterator[Cluster]:
    """Two machines with a core each, whose workers know the S3 service."""
    head = {**MACHINE, "include_dashboard": False, "_system_config": SYSTEM}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        cluster.add_node(**MACHINE)
        yield cluster
    finally:
        cluster.shutdown()


def run_on(cluster: Cluster, source: str, store: Store, repository: str = "", **more) -> Progress:
    """Looks at what is missing."""
    found = listing(source)
    settings = Settings(found.base, "accept", repository or None)
    ray = {"address": cluster.address, "log_to_driver": False, "logging_level": "ERROR"}
    todo = store.missing(found.files)
    return run(todo, settings, model_of(settings), store, ray, **more)


def rows(store: Store, kind: str) -> list[dict]:
    found = store.dataset(kind)
    return found.to_table().to_pylist() if found is not None else []


def times(store: Store) -> Counter[tuple[str, int]]:
    """How often each page of each content is there."""
    return Counter((row["sha256"], row["page"]) for row in rows(store, "pages"))


@pytest.fixture(scope="module")
def contents(samples: Path) -> list[bytes]:
    """Small pages that differ."""
    page = Image.open(samples / "page_150dpi.jpg").convert("RGB").resize((620, 877))
    files = []
    for i in range(60):
        file = io.BytesIO()
        page.resize((400 + i, 600)).save(file, "JPEG")
        files.append(file.getvalue())
    return files


def fill(folder: Path, contents: list[bytes]) -> set[tuple[str, int]]:
    """Writes files; their digests, each with page 1."""
    folder.mkdir()
    for i, content in enumerate(contents):
        (folder / f"{i:03}.jpg").write_bytes(content)
    return {(sha256(content).hexdigest(), 1) for content in contents}


def test_a_file_that_ends_its_worker_costs_its_own_rows(ray_cluster, tmp_path, contents):
    repository = shutil.copytree(REPOSITORY, tmp_path / "repository")
    step = repository / "document_preprocess" / "1" / "model.py"
    step.write_text(step.read_text().replace(STEP, STEP + ENDING))
    expected = fill(tmp_path / "archive", contents[:6])
    poisoned = contents[7] + POISON
    (tmp_path / "archive" / "003a.jpg").write_bytes(poisoned)
    store = Store(str(tmp_path / "out"))
    progress = run_on(ray_cluster, str(tmp_path / "archive"), store, str(repository))
    assert not progress.failed
    ended = (sha256(poisoned).hexdigest(), 0)
    assert times(store) == dict.fromkeys({*expected, ended}, 1)
    errors = {row["key"]: row["error"] for row in rows(store, "pages") if row["error"]}
    assert errors == {"003a.jpg": "document: ends whatever worker looks at it"}


def test_s3_to_s3_and_a_second_run_does_what_is_new(ray_cluster, s3, contents):
    bucket = s3.bucket("bank")
    for i, content in enumerate(contents[:3]):
        bucket.put_object(Key=f"scans/2024/{i}.jpg", Body=content)
    bucket.put_object(Key="scans/copy of 0.jpg", Body=contents[0])
    store = Store("s3://bank/rows")
    progress = run_on(ray_cluster, "s3://bank/scans", store)
    assert (progress.pages, progress.failed) == (4, {})
    first = {(sha256(content).hexdigest(), 1) for content in contents[:3]}
    assert times(store) == dict.fromkeys(first, 1)
    keys = [row["key"] for row in rows(store, "files")]
    assert sorted(keys) == ["2024/0.jpg", "2024/1.jpg", "2024/2.jpg", "copy of 0.jpg"]

    again = Store("s3://bank/rows")
    assert not len(again.missing(listing("s3://bank/scans").files))
    bucket.put_object(Key="scans/new.jpg", Body=contents[9])
    assert run_on(ray_cluster, "s3://bank/scans", again).files == 1
    assert times(again) == dict.fromkeys({*first, (sha256(contents[9]).hexdigest(), 1)}, 1)


def test_a_machine_that_goes_away_in_the_middle_costs_nothing(ray_cluster, tmp_path, contents):
    """It is not replaced: what was on its way to it goes to the other one."""
    expected = fill(tmp_path / "archive", contents)
    store = Store(str(tmp_path / "out"))
    (machine,) = ray_cluster.worker_nodes

    def leave(progress: Progress) -> None:
        if progress.files_done and machine in ray_cluster.worker_nodes:
            assert progress.files_done < len(contents) - 10
            ray_cluster.remove_node(machine, allow_graceful=False)

    progress = run_on(ray_cluster, str(tmp_path / "archive"), store, tell=leave, silent_s=3)
    assert not ray_cluster.worker_nodes
    assert not progress.failed
    assert times(store) == dict.fromkeys(expected, 1)
