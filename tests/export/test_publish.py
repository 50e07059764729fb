"""What publishing leaves in object storage, and what it does not where it goes wrong."""

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from export.publish import main, publish
from server.settings import ServerError
from server.storage import Storage, Unreachable
from tests.storage import S3, SECRET

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def bucket(s3: S3):
    return s3.bucket("publish")


@pytest.fixture
def url(s3: S3, bucket) -> str:
    """Where nothing is published yet."""
    return s3.unused(bucket)


@pytest.fixture
def repository(tmp_path) -> Path:
    """A small one."""
    version = tmp_path / "a" / "1"
    version.mkdir(parents=True)
    (version.parent / "config.pbtxt").write_text('name: "a"\n')
    (version / "model_card.json").write_text("{}")
    return tmp_path


def objects(bucket, url: str) -> dict[str, bytes]:
    """What lies at a URL."""
    prefix = url.removeprefix("s3://publish/") + "/"
    return {
        each.key.removeprefix(prefix): each.get()["Body"].read()
        for each in bucket.objects.filter(Prefix=prefix)
    }


@pytest.fixture
def run(capsys) -> Callable[..., tuple[int, str, str]]:
    """The command's exit status and what it says."""
    return lambda *arguments: (main(list(map(str, arguments))), *capsys.readouterr())


def test_the_layout_is_files_by_digest_a_manifest_and_a_pointer(bucket, url, repository):
    digest = publish(Storage(url), repository).digest
    found = objects(bucket, url)
    listed = json.loads(found[f"manifests/{digest}.json"])
    config, card = (hashlib.sha256(text).hexdigest() for text in (b'name: "a"\n', b"{}"))
    assert listed == {
        "format": 1,
        "files": {
            "a/config.pbtxt": {"sha256": config, "bytes": 10},
            "a/1/model_card.json": {"sha256": card, "bytes": 2},
        },
        "folders": [],
    }
    assert found[f"files/{config}"] == b'name: "a"\n'
    assert found["latest"] == f"sha256:{digest}\n".encode()
    assert hashlib.sha256(found[f"manifests/{digest}.json"]).hexdigest() == digest
    assert len(found) == 4


class Breaking(Storage):
    """Fails at the last of so many objects."""

    left = 0

    def write(self, name: str, data: bytes) -> None:
        self.left -= 1
        if not self.left:
            raise Unreachable(f"{name}: gone")
        super().write(name, data)


@pytest.mark.parametrize("whole", [0, 1, 2])
def test_what_breaks_off_leaves_what_was_published(bucket, url, repository, whole):
    before = publish(Storage(url), repository).digest
    (repository / "a" / "1" / "model_card.json").write_text('{"version": 2}')
    breaking = Breaking(url)
    breaking.left = whole + 1
    with pytest.raises(ServerError, match="gone"):
        publish(breaking, repository)
    assert objects(bucket, url)["latest"] == f"sha256:{before}\n".encode()
    assert publish(Storage(url), repository).digest != before  # again, to its end


class Slow(Storage):
    """Has another publish while it uploads."""

    other: Path | None = None

    def write(self, name: str, data: bytes) -> None:
        super().write(name, data)
        if other := self.other:
            self.other = None
            self.digest = publish(Storage(self.url), other).digest


@pytest.mark.parametrize("first", [True, False], ids=["the first", "a later one"])
def test_of_two_that_publish_at_once_the_second_is_told(url, repository, tmp_path_factory, first):
    other = tmp_path_factory.mktemp("other")
    (other / "b").mkdir()
    (other / "b" / "config.pbtxt").write_text("")
    if not first:
        publish(Storage(url), repository)
        (repository / "a" / "1" / "model_card.json").write_text('{"version": 2}')
    slow = Slow(url)
    slow.other = other
    with pytest.raises(ServerError, match="another was published meanwhile, sha256:") as told:
        publish(slow, repository)
    assert Storage(url).latest().digest == slow.digest
    assert slow.digest in str(told.value)


def test_a_repository_that_servers_would_refuse_is_not_published(bucket, url, tmp_path):
    with pytest.raises(ServerError, match="no model in it"):
        publish(Storage(url), tmp_path)
    assert objects(bucket, url) == {}


def test_the_command_publishes_lists_and_goes_back(run, url, repository):
    status, first, told = run(url, "--repository", repository)
    assert (status, told) == (0, "")
    assert re.fullmatch(rf"{url}@sha256:[0-9a-f]{{64}}\n", first)
    before = first.strip().partition("@")[2]
    (repository / "a" / "2").mkdir()
    (repository / "a" / "2" / "model_card.json").write_text("{}")
    status, second, _ = run(url, "--repository", repository)
    assert second.splitlines()[1] == f"before: {before}"
    assert run(url, "--again", before)[:2] == (0, f"{first}before: {second[len(url) + 1 :][:71]}\n")
    status, told, _ = run(url, "--list")
    lines = sorted(line.partition("  ")[2] for line in told.splitlines())
    assert lines == sorted([f"{before}  published  a 1", f"{second[len(url) + 1 :][:71]}  a 2"])
    assert status == 0


def test_the_command_says_in_a_line_what_is_wrong_and_no_secret(run, s3, repository):
    for arguments, said in (
        (["s3://none/a"], "s3://none/a/latest: NoSuchBucket: The specified bucket does not exist"),
        (["s3://publish/a", "--sign", ROOT / "README.md"], r".*README\.md: not a PEM file of a .*"),
        (["s3://publish/a", "--again", "latest"], "'latest', expected sha256: and 64 hexa.*"),
    ):
        status, told, line = run(*arguments, "--repository", repository)
        assert (status, told) == (1, "")
        assert re.fullmatch(rf"export\.publish: {said}\n", line)
        assert SECRET not in line
