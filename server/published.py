"""A model repository from object storage, kept in a local folder: taken whole, and verified first.

In the cache, under a name for the URL, lie DIGEST/manifest.json, manifest.sig and models/ of what
was taken, and links to two of these: `current`, which is served or about to be, and `good`, which
was served last.
"""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Event, Thread

from server import held, manifest, signature
from server.folder import private_folder, reason
from server.log import say, warn
from server.manifest import Manifest, Refused, sha256
from server.settings import ServerError, Settings
from server.storage import Missing, Storage, Unreachable

AGAIN_S = 600  # after which what was refused is tried again
REST_S = 5  # for a look that is under way at the end
CURRENT, GOOD, PART = "current", "good", ".part-"


class Published:
    """What is published at the settings' URL, as a context manager: on entry, `folder` is it.

    Where that cannot be had or is refused, it is the last good one of the cache. Raises ServerError
    if there is none either, and if another server uses the cache.
    """

    def __init__(self, settings: Settings) -> None:
        url, _, pin = settings.published.partition("@sha256:")
        self.pin = manifest.digest_of(f"sha256:{pin}") if "@sha256:" in settings.published else ""
        self._storage = Storage(url)
        self._settings = settings
        self._keys = (
            signature.public_keys(settings.repository_key) if settings.repository_key else None
        )
        self.is_newest = True  # as far as the last look told
        self._away = False  # and that was said
        self._done = Event()
        self._thread: Thread | None = None

    def __enter__(self) -> "Published":
        with ExitStack() as stack:
            with self._writing():
                cache = self._settings.repository_cache or stack.enter_context(private_folder())
                self._cache = cache.absolute() / sha256(self._storage.url.encode())[:16]
                self._cache.mkdir(0o700, parents=True, exist_ok=True)
                self._lock(stack)
            self._begin()
            self._close = stack.pop_all().close
        return self

    def __exit__(self, *_: object) -> None:
        self.rest()
        if self._thread:
            self._thread.join(REST_S)
        self._close()

    @property
    def folder(self) -> Path:
        """The model repository: always the same path, and another content after taking()."""
        return self._cache / CURRENT / "models"

    @property
    def digest(self) -> str:
        """Of the manifest that the folder is."""
        return self._linked(CURRENT)

    def go_back(self) -> bool:
        """Has the folder be the last good one, if that is another."""
        if self.pin or self._linked(GOOD) in ("", self.digest):
            return False
        with self._writing():
            self._check(self._linked(GOOD))
            self._point(CURRENT, self._linked(GOOD))
        self.is_newest = False
        return True

    def keep(self) -> None:
        """What the folder is becomes the last good one; others are forgotten."""
        with self._writing():
            self._point(GOOD, self.digest)
            self._prune()

    @contextmanager
    def taking(self) -> Iterator[None]:
        """The folder is what is published now, and for good if the block ends well, else it is
        what it was. Raises ServerError if that cannot be had or is refused."""
        before, newest = self.digest, self._newest()
        self._take(newest)
        with self._writing():
            self._point(CURRENT, newest)
        try:
            yield
        except BaseException:
            with self._writing():
                self._point(CURRENT, before)
                self._prune()
            raise
        self.keep()
        self.is_newest = True

    def watch(self, reload: Callable[[], str]) -> None:
        """Begins to call `reload`, which takes it and says what came of it, once another is
        published."""
        if not self.pin and self._settings.repository_poll_s:
            self._thread = Thread(target=self._watch, args=[reload], name="published", daemon=True)
            self._thread.start()

    def rest(self) -> None:
        """Calls no more."""
        self._done.set()

    # -------------------------------------------------------------------------------------- looks

    def _watch(self, reload: Callable[[], str]) -> None:
        refused, refused_at = None, 0.0
        while not self._done.wait(self._settings.repository_poll_s):
            try:
                latest = self._storage.latest()
                if self._away:
                    self._away = False
                    warn(f"{self._storage.url}: answers again")
                self.is_newest = latest.digest == self.digest
                again = time.monotonic() - refused_at > AGAIN_S
                if self.is_newest or (latest == refused and not again):
                    continue
                refused, refused_at = latest, time.monotonic()
                say(reload())
            except ServerError as error:
                self.is_newest = False
                away = isinstance(error, Unreachable)
                if away:
                    refused = None  # as a part of it may be
                if not (self._done.is_set() or (away and self._away)):
                    warn(f"{error}; sha256:{self.digest} is served on" if away else str(error))
                self._away = away

    def _newest(self) -> str:
        """The digest to be served."""
        return self.pin or self._storage.latest().digest

    # -------------------------------------------------------------------------------------- cache

    def _begin(self) -> None:
        good = self._linked(GOOD)
        try:
            digest = self._newest()
            self._take(digest)
        except ServerError as error:
            if self.pin or not good:
                raise
            try:
                self._check(good)
            except Refused as worse:
                raise ServerError(f"{error}; and the last good one: {worse}") from error
            digest, self.is_newest = good, False
            warn(f"{error}; served instead: the last good one, sha256:{good}")
        with self._writing():
            self._point(CURRENT, digest)
            self._prune()

    def _take(self, digest: str) -> None:
        """Has that manifest's files in the cache, all verified."""
        place = self._cache / digest
        with self._writing():
            if place.exists():
                try:
                    self._check(digest)
                    return
                except Refused as error:
                    warn(f"{place}: {error}; it is fetched again")
            part = Path(tempfile.mkdtemp(prefix=PART, dir=self._cache))
            try:
                self._fetch(digest, part)
                shutil.rmtree(place, ignore_errors=True)
                part.rename(place)
            finally:
                shutil.rmtree(part, ignore_errors=True)

    def _fetch(self, digest: str, folder: Path) -> None:
        """Fetches a manifest, and its files once it has proved right, and verifies them."""
        name = manifest.manifest_name(digest)
        text = self._storage.read(name, manifest.MANIFEST_MAX)
        (folder / "manifest.json").write_bytes(text)
        with suppress(Missing):
            signed = self._storage.read(manifest.signature_name(digest), manifest.SIGNATURE_BYTES)
            (folder / "manifest.sig").write_bytes(signed)
        known = self._manifest(folder, digest)
        models = folder / "models"
        for path in known.folders:
            (models / path).mkdir(parents=True, exist_ok=True)
        for path, file in known.files.items():
            (models / path).parent.mkdir(parents=True, exist_ok=True)
            self._storage.save(manifest.file_name(file.sha256), models / path, file.size)
        self._verify(known, models)

    def _check(self, digest: str) -> None:
        """Raises Refused unless the cache has that manifest and its files."""
        self._verify(self._manifest(self._cache / digest, digest), self._cache / digest / "models")

    def _manifest(self, folder: Path, digest: str) -> Manifest:
        """The manifest in `folder`. Raises Refused if it has another digest, is not signed though
        it must be, or is none."""
        what = f"{self._storage.url}@sha256:{digest}"
        try:
            text = (folder / "manifest.json").read_bytes()
        except FileNotFoundError:
            raise Refused(f"{what}: no manifest") from None
        if (found := sha256(text)) != digest:
            raise Refused(f"{what}: the manifest's sha256 is {found}")
        if self._keys is not None:
            try:
                signed = (folder / "manifest.sig").read_bytes()
            except FileNotFoundError:
                raise Refused(f"{what}: not signed, and {self._key} asks for it") from None
            if not signature.is_signed(text, signed, self._keys):
                raise Refused(f"{what}: the signature is of no key in {self._key}")
        try:
            return manifest.read(text)
        except Refused as error:
            raise Refused(f"{what}: {error}") from error

    def _verify(self, known: Manifest, models: Path) -> None:
        try:
            manifest.check_folder(known, models)
        except Refused as error:
            raise Refused(f"{self._storage.url}@sha256:{known.digest}: {error}") from error

    @property
    def _key(self) -> str:
        return f"--repository-key {self._settings.repository_key}"

    def _point(self, name: str, digest: str) -> None:
        """Has the link of that name lead to what has the digest, in one step."""
        fresh = self._cache / f"{PART}{name}"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(digest)
        fresh.replace(self._cache / name)

    def _linked(self, name: str) -> str:
        """The digest that a link leads to, "" if it leads nowhere."""
        try:
            digest = os.readlink(self._cache / name)
        except OSError:
            return ""
        return digest if manifest.DIGEST.fullmatch(digest) else ""

    def _prune(self) -> None:
        """Removes all but what the links lead to."""
        kept = {CURRENT, GOOD, "lock", held.FILE, self._linked(CURRENT), self._linked(GOOD)}
        for path in self._cache.iterdir():
            if path.name not in kept:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    def _lock(self, stack: ExitStack) -> None:
        lock = stack.enter_context((self._cache / "lock").open("w"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ServerError(
                f"--repository-cache: {self._cache} is another server's; each needs its own"
            ) from None

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Has what the disk refuses raised as ServerError."""
        try:
            yield
        except OSError as error:
            where = self._settings.repository_cache or tempfile.gettempdir()
            raise ServerError(
                f"--repository-cache: {where}: {reason(error)}; a folder that can be written, with "
                "room for the models twice"
            ) from error
