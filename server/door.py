"""Answers the front's question whose a key is, and tells it when keys or certificates change.

The front asks through a socket in the private folder, and remembers an answer for seconds
(front.lua), so that a request costs no hash and mostly not even this question.
"""

import json
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

from server import front
from server.keys import Keys, TooMany, Unknown, stamp
from server.log import warn
from server.settings import ServerError, Settings
from server.sockets import Handler, listening

EVERY_S = 1.0  # how often the files are looked at


class Question(Handler):
    """One question: a GET with the client's Authorization."""

    keys: Keys

    def do_GET(self) -> None:  # noqa: N802
        headers: dict[str, str] = {}
        try:
            key = self.keys.find(self.headers.get("Authorization", ""))
        except Unknown:
            status = 401
        except TooMany:
            status = 429
        else:
            status = 200
            headers = {"x-name": key.name, "x-may": ",".join(key.may)}
            headers |= {"x-per-minute": str(key.per_minute)} if key.per_minute else {}
            headers |= {"x-at-once": "1"} if key.at_once else {}
        self.send_response(status)
        for name, value in (headers | {"Content-Length": "0"}).items():
            self.send_header(name, value)
        self.end_headers()


@contextmanager
def answering(keys: Keys, folder: Path) -> Iterator[None]:
    """Answers at keys.sock in `folder`."""
    with listening(folder, "keys.sock", type("QuestionOfKeys", (Question,), {"keys": keys})):
        yield


def write(path: Path, resources: list[front.Config]) -> None:
    """Gives Envoy new resources of a kind: it looks for files that are moved into place."""
    fresh = path.with_suffix(".new")
    text = json.dumps({"version_info": str(stamp(path)), "resources": resources})
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    os.replace(fresh, path)


def write_clusters(keys: Keys, folder: Path) -> None:
    """Those that bound what a key has under way."""
    write(folder / "clusters.json", front.key_clusters(keys.all.values()))


def write_certificates(settings: Settings, folder: Path) -> None:
    """The certificate and whom it trusts. Raises ServerError if they are none."""
    check_certificates(settings)
    for secret in front.certificates(settings):
        write(folder / f"{secret['name']}.json", [secret])


def check_certificates(settings: Settings) -> None:
    """Raises ServerError that names the file unless the PEM files hold what they should."""
    cert, key, ca = settings.tls_cert, settings.tls_key, settings.tls_client_ca
    if (cert is None) != (key is None):
        raise ServerError("--tls-cert and --tls-key: one without the other")
    if cert is None or key is None:
        if ca is not None:
            raise ServerError("--tls-client-ca: needs --tls-cert and --tls-key")
        return
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key, password="")
    except (OSError, ValueError) as error:  # ssl.SSLError among them
        raise ServerError(f"--tls-cert {cert}, --tls-key {key}: {reason(error)}") from error
    if ca is not None:
        try:
            context.load_verify_locations(ca)
        except OSError as error:
            raise ServerError(f"--tls-client-ca {ca}: {reason(error)}") from error


def reason(error: Exception) -> str:
    return getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)


@contextmanager
def watching(settings: Settings, keys: Keys | None, folder: Path) -> Iterator[None]:
    """Tells the front of changed files; what is no key file or no certificate changes nothing."""
    done = Event()

    def watch() -> None:
        pem = [settings.tls_cert, settings.tls_key, settings.tls_client_ca]
        before = [stamp(path) for path in pem if path]
        while not done.wait(EVERY_S):
            try:
                if keys and keys.changed():
                    keys.reload()
                    write_clusters(keys, folder)
                now = [stamp(path) for path in pem if path]
                if now != before:
                    before = now
                    write_certificates(settings, folder)
            except (ServerError, OSError) as error:
                warn(f"{error}; those of before stay")

    thread = Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
