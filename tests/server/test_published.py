"""Repositories in a real S3 API on loopback, and the cache that they are taken into."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from countersign import Client
from export.publish import publish, publish_again
from server import Server, ServerError, Settings, signature
from server.published import Published
from server.settings import ROOT, parse
from server.storage import Storage
from tests.reliability.chaos import Victim
from tests.server.conftest import misread
from tests.server.test_repair import until
from tests.storage import S3, SECRET

CAPTCHA = ROOT / "server" / "samples" / "captcha_plain.png"


@pytest.fixture(scope="module")
def bucket(s3: S3):
    return s3.bucket("models")


@pytest.fixture
def url(s3: S3, bucket) -> str:
    """Where nothing is published yet."""
    return s3.unused(bucket)


@pytest.fixture
def repository(tmp_path) -> Path:
    """A small one."""
    model = tmp_path / "repository" / "a"
    (model / "1").mkdir(parents=True)
    (model / "2").mkdir()
    (model / "config.pbtxt").write_text('name: "a"\n')
    (model / "1" / "model.bin").write_bytes(b"weights" * 1000)
    return model.parent


def opened(url: str, cache: Path, **others) -> Published:
    return Published(Settings(published=url, repository_cache=cache, **others))


def taken(url: str, cache: Path, **others) -> tuple[str, bytes]:
    """What a server that starts finds: the digest, and the weights."""
    with opened(url, cache, **others) as published:
        published.keep()  # as after a good start
        return published.digest, (published.folder / "a" / "1" / "model.bin").read_bytes()


def change(repository: Path, weights: bytes) -> None:
    (repository / "a" / "1" / "model.bin").write_bytes(weights)


def put(bucket, url: str, name: str, content: bytes | None) -> None:
    """Overwrites an object as somebody else would; None takes it away."""
    found = bucket.Object(f"{url.removeprefix('s3://models/')}/{name}")
    found.delete() if content is None else found.put(Body=content)


def pem(path: Path, key: Ed25519PrivateKey | None = None) -> tuple[Path, Path]:
    """Files of a private key, a new one unless given, and of its public one."""
    key = key or Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    path.mkdir()
    (path / "key.pem").write_bytes(private)
    (path / "public.pem").write_bytes(public)
    return path / "key.pem", path / "public.pem"


def test_what_is_published_is_taken_whole(url, repository, tmp_path):
    made = publish(Storage(url), repository)
    with opened(url, tmp_path / "cache") as published:
        assert published.digest == made.digest
        found = {
            path.relative_to(published.folder).as_posix(): path.read_bytes()
            for path in published.folder.rglob("*")
            if path.is_file()
        }
        assert found == {
            "a/config.pbtxt": b'name: "a"\n',
            "a/1/model.bin": b"weights" * 1000,
        }
        assert (published.folder / "a" / "2").is_dir()


DAMAGE = {  # which object, its new content if it has any, what is said
    "altered": ("file", b"WEIGHTS" * 2, r"a/1/model\.bin: sha256 \w{64}, expected \w{64}"),
    "cut short": ("file", b"weights", r"a/1/model\.bin: 7 bytes, expected 14"),
    "too long": ("file", b"weights" * 10**6, r"/files/\w{64}: 7000000 bytes, limit 14"),
    "missing": ("file", None, r"/files/\w{64}: no such object"),
    "another manifest": ("manifest", b"{}", r"the manifest's sha256 is \w{64}"),
    "a long manifest": ("manifest", b" " * 2**21, "2097152 bytes, limit 1048576"),
    "no manifest": ("manifest", None, r"/manifests/\w{64}\.json: no such object"),
    "another pointer": (
        "latest",
        b"sha256:../../x",
        "latest: 'sha256:../../x', expected .*",
    ),
    "a long pointer": ("latest", b"x" * 10**6, "latest: 1000000 bytes, limit 128"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_differs_is_refused_and_the_last_good_one_kept(
    bucket, url, repository, tmp_path, capsys, damage
):
    good = publish(Storage(url), repository).digest
    taken(url, tmp_path / "cache")
    change(repository, b"weights" * 2)
    made = publish(Storage(url), repository)
    which, content, said = DAMAGE[damage]
    weights = made.files["a/1/model.bin"].sha256
    names = {"file": f"files/{weights}", "manifest": f"manifests/{made.digest}.json"}
    put(bucket, url, names.get(which, which), content)
    assert taken(url, tmp_path / "cache") == (good, b"weights" * 1000)
    (line,) = capsys.readouterr().err.splitlines()
    assert re.match(rf"W {url}.*{said}; served instead: the last good one, sha256:{good}$", line)
    with pytest.raises(ServerError, match=said):
        taken(url, tmp_path / "empty")
    assert [path.name for path in (tmp_path / "empty").rglob("*") if path.is_file()] == ["lock"]


def test_without_the_storage_the_last_good_one_is_served_or_nothing(
    s3, url, repository, tmp_path, capsys
):
    good = publish(Storage(url), repository).digest
    taken(url, tmp_path / "cache")
    with s3.away():
        assert taken(url, tmp_path / "cache")[0] == good
        with pytest.raises(ServerError, match=f"^{url}/latest: .*error sending request"):
            taken(url, tmp_path / "empty")
        with pytest.raises(ServerError, match="error sending request"):  # of another URL is none
            taken(f"{url}/other", tmp_path / "cache")
    line = capsys.readouterr().err
    assert re.fullmatch(rf"W {url}/latest: .*; served instead: the last good one.*{good}\n", line)


def test_a_url_where_nothing_is_published_or_no_bucket_is_says_so(url, tmp_path, s3):
    with pytest.raises(ServerError, match=f"^{url}/latest: no such object$"):
        taken(url, tmp_path)
    with pytest.raises(ServerError, match=r"^s3://none/a/latest: NoSuchBucket: The specified"):
        taken("s3://none/a", tmp_path)


def test_a_pinned_manifest_stays_and_needs_no_storage_once_it_is_there(
    s3, url, repository, tmp_path
):
    first = publish(Storage(url), repository).digest
    change(repository, b"other weights")
    publish(Storage(url), repository)
    pinned = f"{url}@sha256:{first}"
    assert taken(pinned, tmp_path / "cache") == (first, b"weights" * 1000)
    with s3.away():
        assert taken(pinned, tmp_path / "cache")[0] == first
        with pytest.raises(ServerError, match="error sending request"):  # not the last good one
            taken(f"{url}@sha256:{'0' * 64}", tmp_path / "cache")
    with pytest.raises(ServerError, match="'sha256:latest', expected sha256: and 64"):
        opened(f"{url}@sha256:latest", tmp_path)


def test_publishing_an_older_one_again_rolls_back(url, repository, tmp_path):
    storage = Storage(url)
    first = publish(storage, repository).digest
    change(repository, b"other weights")
    second = publish(storage, repository).digest
    assert taken(url, tmp_path)[0] == second
    publish_again(storage, first)
    assert taken(url, tmp_path) == (first, b"weights" * 1000)
    with pytest.raises(ServerError, match=f"{'0' * 64}.json: no such object"):
        publish_again(storage, "0" * 64)
    assert storage.latest().digest == first


@pytest.mark.parametrize("garbage", ["altered", "more", "link", "manifest", "nothing"])
def test_garbage_in_the_cache_is_never_served(url, repository, tmp_path, capsys, garbage):
    digest = publish(Storage(url), repository).digest
    taken(url, tmp_path)
    (place,) = tmp_path.glob(f"*/{digest}")
    weights = place / "models" / "a" / "1" / "model.bin"
    if garbage == "altered":
        weights.write_bytes(b"Weights" * 1000)
    elif garbage == "more":
        weights.with_name("model.py").write_text("evil")
    elif garbage == "link":
        shutil.move(weights, tmp_path / "elsewhere")
        weights.symlink_to(tmp_path / "elsewhere")
    elif garbage == "manifest":
        (place / "manifest.json").write_text("{}")
    else:
        shutil.rmtree(place / "models")
    (place.parent / ".part-1").mkdir()
    assert taken(url, tmp_path) == (digest, b"weights" * 1000)
    assert not (weights.with_name("model.py")).exists()
    assert not weights.is_symlink()
    assert {path.name for path in place.parent.iterdir()} == {"current", "good", "lock", digest}
    assert "it is fetched again" in capsys.readouterr().err


def test_garbage_in_the_cache_is_not_served_while_the_storage_is_away(
    s3, url, repository, tmp_path
):
    publish(Storage(url), repository)
    taken(url, tmp_path)
    (weights,) = tmp_path.glob("*/current/models/a/1/model.bin")
    weights.write_bytes(b"Weights" * 1000)
    with s3.away(), pytest.raises(ServerError, match=r"and the last good one: .*expected"):
        taken(url, tmp_path)


def test_a_cache_is_one_servers(url, repository, tmp_path):
    publish(Storage(url), repository)
    with opened(url, tmp_path), pytest.raises(ServerError, match="is another server's"):
        taken(url, tmp_path)
    taken(url, tmp_path)


def test_a_cache_that_cannot_be_written_is_named(url, repository, tmp_path):
    publish(Storage(url), repository)
    (tmp_path / "file").touch()
    with pytest.raises(ServerError, match=r"--repository-cache: .*file: .*Not a directory.*; a"):
        taken(url, tmp_path / "file")


def test_what_must_be_signed_is_refused_unless_it_is(bucket, url, repository, tmp_path):
    ours, public = pem(tmp_path / "ours")
    theirs, other = pem(tmp_path / "theirs")
    asked = {"repository_key": public}
    storage = Storage(url)
    made = publish(storage, repository)
    with pytest.raises(ServerError, match=rf"{made.digest}: not signed, and --repository-key"):
        taken(url, tmp_path / "cache", **asked)
    publish(storage, repository, theirs)
    with pytest.raises(ServerError, match=r"the signature is of no key in .*public\.pem"):
        taken(url, tmp_path / "cache", **asked)
    publish_again(storage, made.digest, ours)
    assert taken(url, tmp_path / "cache", **asked)[0] == made.digest
    both = tmp_path / "both.pem"
    both.write_bytes(other.read_bytes() + public.read_bytes())  # while keys are changed
    assert taken(url, tmp_path / "cache", repository_key=both)[0] == made.digest
    with pytest.raises(ServerError, match="the signature is of no key"):  # though it is cached
        taken(url, tmp_path / "cache", repository_key=other)
    for wrong in (bytes(64), b"short", bytes(65)):
        put(bucket, url, f"manifests/{made.digest}.sig", wrong)
        with pytest.raises(ServerError, match=r"signature is of no key|65 bytes, limit 64"):
            taken(url, tmp_path / "empty", **asked)


def test_a_signature_is_that_of_rfc_8032():
    """Its section 7.1, test 2."""
    public = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
    signed = (
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public))
    assert signature.is_signed(b"\x72", bytes.fromhex(signed), [key])
    assert not signature.is_signed(b"\x73", bytes.fromhex(signed), [key])


def test_files_that_are_no_keys_are_named(tmp_path):
    private, public = pem(tmp_path / "keys")
    for read, path in (
        (signature.public_keys, private),
        (signature.private_key, public),
        (signature.public_keys, CAPTCHA),
        (signature.private_key, CAPTCHA),
        (signature.public_keys, tmp_path / "none"),
        (signature.private_key, tmp_path / "none"),
    ):
        with pytest.raises(ServerError, match=f"^{path}: "):
            read(path)
    with pytest.raises(ServerError, match="--repository-key: the repository is a folder"):
        Settings(repository_key=public)


@pytest.mark.parametrize(
    "url",
    ["s3://key:hidden@models/a", "s3://models/a?secret=hidden", "https://a:hidden@host/a",
     "s3:///a", "ftp://host/a", "s3://models/a#hidden"],
)  # fmt: skip
def test_a_url_that_is_none_is_refused_without_its_secrets(url, tmp_path):
    with pytest.raises(ServerError) as refused:
        opened(url, tmp_path)
    assert "hidden" not in str(refused.value)
    assert re.search(r"expected s3://|credentials come from the environment", str(refused.value))


def test_the_repository_of_a_url_is_a_setting_like_a_folder():
    url = "s3://models/a@sha256:0"
    for settings in (parse(["--repository", url], {}), parse([], {"COUNTERSIGN_REPOSITORY": url})):
        assert settings.published == url
    assert parse(["--repository", "a/b"], {"COUNTERSIGN_REPOSITORY": url}) == Settings(
        repository=Path("a/b")
    )


# ------------------------------------------------------------------------------------ real servers


@pytest.fixture(scope="module")
def models(captcha_repository, tmp_path_factory) -> Path:
    """The CAPTCHA models, to be changed."""
    return shutil.copytree(captcha_repository, tmp_path_factory.mktemp("own") / "repository")


@pytest.fixture(scope="module")
def keys(tmp_path_factory) -> tuple[Path, Path]:
    return pem(tmp_path_factory.mktemp("keys") / "ours")


@pytest.fixture(scope="module")
def storage(bucket) -> Storage:
    return Storage("s3://models/served")


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def victim(models, keys, storage, cache) -> Iterator[Victim]:
    """A server of what is published and signed."""
    private, public = keys
    publish(storage, models, private)
    options = ["--repository", storage.url, "--repository-poll-s", "0.3"]
    options += ["--repository-cache", str(cache), "--repository-key", str(public)]
    with Victim(*options) as victim:
        yield victim


def read(url: str) -> str:
    with Client(url) as client:
        return client.read(CAPTCHA, timeout_s=60).text


def heads(victim: Victim) -> float:
    """The version of the graph that is served."""
    return victim.metric("countersign_model_version")['model="captcha_heads"']


def is_newest(victim: Victim) -> float:
    (value,) = victim.metric("countersign_repository_is_newest").values()
    return value


def test_a_new_manifest_is_served_without_a_word(victim, models, keys, storage):
    assert (read(victim.grpc_url), heads(victim), is_newest(victim)) == ("265649", 3, 1)
    shutil.copytree(models / "captcha_heads" / "3", models / "captcha_heads" / "4")
    publish(storage, models, keys[0])
    until(lambda: heads(victim) == 4, 60)
    assert read(victim.grpc_url) == "265649"


def test_one_that_answers_wrongly_is_refused_and_told_once(victim, models, keys, storage):
    """Its weights have the right size, and the digest that the signed manifest says."""
    weights = models / "captcha_heads" / "4" / "model.bin"
    right = weights.read_bytes()
    misread(weights.parent)
    publish(storage, models, keys[0])
    weights.write_bytes(right)
    until(lambda: "captcha_plain.png: read " in victim.log.read_text(), 60)
    until(lambda: is_newest(victim) == 0)
    assert (read(victim.grpc_url), heads(victim)) == ("265649", 4)
    assert victim.log.read_text().count("not reloaded, what was served is served on: ") == 1


def test_one_that_is_not_signed_is_refused(victim, models, storage):
    (models / "captcha_heads" / "4" / "note").touch()
    publish(storage, models)
    until(lambda: ": not signed, and --repository-key" in victim.log.read_text())
    assert (read(victim.grpc_url), heads(victim)) == ("265649", 4)


def test_a_storage_that_goes_away_is_told_once_and_changes_nothing(victim, s3):
    with s3.away():
        until(lambda: "is served on\n" in victim.log.read_text())
        assert read(victim.grpc_url) == "265649"
    until(lambda: "W s3://models/served: answers again\n" in victim.log.read_text())
    lines = victim.log.read_text().splitlines()
    assert len([line for line in lines if line.endswith("is served on")]) == 1


def test_no_credential_is_logged_or_handed_to_the_models(victim):
    assert SECRET not in victim.log.read_text()
    names = {each.name for each in victim.processes()}
    assert {"tritonserver", "envoy", "captcha_heads"} <= names
    for each in victim.processes():
        assert SECRET.encode() not in Path(f"/proc/{each.pid}/environ").read_bytes()


def test_a_start_on_one_that_answers_wrongly_serves_the_last_good_one(
    victim, models, keys, storage, cache, capsys
):
    """The last of these, which ends the server; the next has its cache."""
    assert victim.end() == 0
    misread(models / "captcha_heads" / "4")
    shutil.rmtree(models / "captcha_heads" / "3")
    shutil.rmtree(models / "captcha_heads" / "2")
    publish(storage, models, keys[0])
    ports = {"http_port": 0, "grpc_port": 0, "metrics_port": 0}
    settings = Settings(
        published=storage.url, repository_cache=cache, repository_key=keys[1], **ports
    )
    with Server(settings) as server:
        assert server.supervisor.release.versions["captcha_heads"] == 4
        assert read(server.grpc_url) == "265649"
    assert re.search(
        r"captcha_plain\.png: read .*; served instead: the last good one, sha256:",
        capsys.readouterr().err,
    )
