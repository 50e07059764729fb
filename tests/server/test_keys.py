"""Keys by themselves, and asked for by a real server that speaks TLS with clients it knows."""

import os
import ssl
import stat
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import trustme

from countersign import Client, CountersignError, Denied, Tls, Unavailable
from server import Server, ServerError, Settings, readiness
from server.keys import Keys, TooMany, Unknown, hashed, is_private, main, read
from server.server import check_who_may_ask
from server.settings import ROOT

ANY_PORTS = {"http_port": 0, "grpc_port": 0, "metrics_port": 0}


@pytest.fixture
def file(tmp_path) -> Path:
    return tmp_path / "keys.json"


def add(file: Path, capsys: pytest.CaptureFixture, *argv: str) -> str:
    """Adds a key; returns it."""
    assert main(["--file", str(file), "add", *argv]) == 0
    return capsys.readouterr().out.strip()


def test_scrypt_is_that_of_the_rfc():
    """RFC 7914, section 12, with other numbers, by OpenSSL's own command."""
    command = ["openssl", "kdf", "-keylen", "32", "-kdfopt", "pass:secret", "-kdfopt", "hexsalt:00"]
    numbers = ["-kdfopt", "n:16384", "-kdfopt", "r:8", "-kdfopt", "p:1", "SCRYPT"]
    done = subprocess.run([*command, *numbers], capture_output=True, text=True)
    if done.returncode:
        pytest.skip("no openssl command with scrypt")
    assert hashed("secret", "00") == done.stdout.strip().replace(":", "").lower()


def test_a_key_is_found_and_stands_nowhere(file, capsys):
    key = add(file, capsys, "bank", "--may", "detect,log", "--per-minute", "600")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert key not in file.read_text()
    assert key.rpartition("_")[2] not in file.read_text()
    found = Keys(file).find(f"Bearer {key}")
    assert (found.name, found.may, found.per_minute) == ("bank", ("detect", "log"), 600)


def test_others_are_unknown(file, capsys):
    key = add(file, capsys, "bank")
    keys = Keys(file)
    other = key[:-1] + ("A" if key[-1] != "A" else "B")
    for text in ("", "Bearer", f"Basic {key}", f"Bearer {other}", f"Bearer cs_00000000_{'A' * 43}"):
        with pytest.raises(Unknown):
            keys.find(text)


def test_guesses_are_soon_not_looked_at_and_the_known_key_goes_on(file, capsys):
    key = add(file, capsys, "bank")
    keys = Keys(file)
    keys.find(f"Bearer {key}")
    guess = f"Bearer {key[:12]}{'A' * 43}"
    for _ in range(5):
        with pytest.raises(Unknown):
            keys.find(guess)
    began = time.process_time()
    with pytest.raises(TooMany):
        keys.find(guess)
    assert keys.find(f"Bearer {key}").name == "bank"
    assert time.process_time() - began < 0.005  # neither was hashed


def test_a_key_that_was_taken_back_is_unknown(file, capsys):
    key, other = add(file, capsys, "bank"), add(file, capsys, "other")
    keys = Keys(file)
    keys.find(f"Bearer {key}")
    assert main(["--file", str(file), "remove", "bank"]) == 0
    assert keys.changed()
    keys.reload()
    with pytest.raises(Unknown):
        keys.find(f"Bearer {key}")
    assert keys.find(f"Bearer {other}").name == "other"


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (["add", "a b"], "name 'a b': expected up to 64 letters"),
        (["add", "bank", "--may", "write"], "--may: 'write', expected some of detect, read, log"),
        (["add", "bank", "--at-once", "0"], "--at-once: 0, limit 1 to 1000000"),
        (["remove", "bank"], "No such file"),
    ],
)
def test_what_is_no_key_is_told(argv, reason, file, capsys):
    assert main(["--file", str(file), *argv]) == 1
    assert reason in capsys.readouterr().err


def test_a_name_has_one_key(file, capsys):
    add(file, capsys, "bank")
    assert main(["--file", str(file), "add", "bank"]) == 1
    assert "remove it first" in capsys.readouterr().err


def test_a_file_that_others_may_read_or_that_is_none_is_refused(file, capsys):
    add(file, capsys, "bank")
    file.chmod(0o644)
    with pytest.raises(ServerError, match=f"keys {file}: others may read it; chmod 600"):
        read(file)
    file.chmod(0o600)
    file.write_text('[{"name": "bank"}]')
    with pytest.raises(ServerError, match="not a file of keys"):
        read(file)


def test_without_keys_other_machines_are_kept_out_unless_meant(file):
    for host in ("127.0.0.1", "localhost", "::1"):
        check_who_may_ask(Settings(host=host))
    with pytest.raises(ServerError, match=r"--host: 0\.0\.0\.0 is open .*--keys .*--allow-anyone"):
        check_who_may_ask(Settings(host="0.0.0.0"))
    check_who_may_ask(Settings(host="0.0.0.0", allow_anyone=True))
    check_who_may_ask(Settings(host="0.0.0.0", keys=file))


def test_the_command_runs_from_any_folder(tmp_path):
    command = [ROOT / "server" / "countersign-keys", "--file", "k.json", "add", "bank"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert Keys(tmp_path / "k.json").find(f"Bearer {done.stdout.strip()}").name == "bank"


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"tls_cert": "cert.pem"}, "--tls-cert and --tls-key: one without the other"),
        ({"tls_client_ca": "ca.pem"}, "--tls-client-ca: needs --tls-cert"),
        ({"tls_cert": "no.pem", "tls_key": "no.pem"}, "no.pem: No such file"),
        ({"tls_cert": "keys.json", "tls_key": "keys.json"}, "--tls-cert .*keys.json"),
    ],
)
def test_files_that_are_no_certificates_are_named(settings, reason, tmp_path):
    (tmp_path / "keys.json").write_text("[]")
    paths = {name: tmp_path / path for name, path in settings.items()}
    with pytest.raises(ServerError, match=reason):
        Server(Settings(**paths, **ANY_PORTS)).start()


class Guarded:
    """A server that asks for a key and a certificate, and what its clients need."""

    def __init__(self, folder: Path, repository: Path):
        self.folder, self.file = folder, folder / "keys.json"
        self.authority = trustme.CA()
        self.authority.cert_pem.write_to_path(folder / "ca.pem")
        self.renew()
        issued = self.authority.issue_cert("client@example.com")
        issued.private_key_and_cert_chain_pem.write_to_path(folder / "client.pem")
        self.settings = Settings(
            repository=repository,
            keys=self.file,
            tls_cert=folder / "cert.pem",
            tls_key=folder / "key.pem",
            tls_client_ca=folder / "ca.pem",
            **ANY_PORTS,
        )

    def renew(self) -> None:
        """Another certificate and key, in the same files."""
        issued = self.authority.issue_cert("localhost", "127.0.0.1")
        issued.private_key_pem.write_to_path(self.folder / "key.pem")
        issued.cert_chain_pems[0].write_to_path(self.folder / "cert.pem")

    def client(self, server: Server, protocol: str, key: str, tls: Tls | None = None) -> Client:
        port = getattr(server.settings, f"{protocol}_port")
        pem = self.folder / "client.pem"
        known = Tls(ca=self.folder / "ca.pem", cert=pem, key=pem)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return Client(f"localhost:{port}", protocol=protocol, tls=tls or known, headers=headers)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory, captcha_repository) -> Guarded:
    return Guarded(tmp_path_factory.mktemp("guarded"), captcha_repository)


@pytest.fixture(scope="module")
def keys(guarded) -> dict[str, str]:
    """Keys by name: all, detector, hurried and lonely."""
    made = {}
    for name, *options in (
        ("all", "--may", "detect,read"),
        ("detector", "--may", "detect"),
        ("hurried", "--per-minute", "3"),
        ("lonely", "--at-once", "1"),
    ):
        command = [ROOT / "server" / "countersign-keys", "--file", guarded.file, "add", name]
        done = subprocess.run([*command, *options], capture_output=True, text=True, check=True)
        made[name] = done.stdout.strip()
    return made


@pytest.fixture(scope="module")
def closed(guarded, keys):
    with Server(guarded.settings) as server:
        yield server


both = pytest.mark.parametrize("protocol", ["grpc", "http"])


@both
def test_a_known_client_with_a_key_gets_its_answer(protocol, guarded, closed, keys, samples):
    with guarded.client(closed, protocol, keys["all"]) as client:
        assert client.read(samples / "captcha_plain.png").text == "265649"


@both
def test_no_key_or_one_that_may_not_is_denied(protocol, guarded, closed, keys, samples):
    for key, reason in (
        ("", "authorization: missing"),
        (keys["all"][:-4] + "AAAA", "authorization: unknown key"),
        (keys["detector"], "key detector may not read"),
    ):
        with (
            guarded.client(closed, protocol, key) as client,
            pytest.raises(Denied, match=reason),
        ):
            client.read(samples / "captcha_plain.png")


@both
def test_no_certificate_is_no_answer(protocol, guarded, closed, keys, samples):
    with (
        guarded.client(closed, protocol, keys["all"], Tls(ca=guarded.folder / "ca.pem")) as client,
        pytest.raises((Unavailable, Denied)),
    ):
        client.read(samples / "captcha_plain.png", timeout_s=2)


def test_more_than_a_keys_requests_a_minute_are_told_when_to_come_again(
    guarded, closed, keys, samples
):
    with guarded.client(closed, "grpc", keys["hurried"]) as client:
        for _ in range(3):
            client.read(samples / "captcha_plain.png")
        with pytest.raises(CountersignError, match="key hurried: limit 3 requests a minute"):
            client.read(samples / "captcha_plain.png", timeout_s=2)


def test_a_key_for_one_request_at_once_gets_its_answers_by_and_by(guarded, closed, keys, samples):
    image = (samples / "captcha_plain.png").read_bytes()
    with guarded.client(closed, "grpc", keys["lonely"]) as client, ThreadPoolExecutor(8) as pool:
        texts = pool.map(lambda _: client.read(image, timeout_s=20).text, range(16))
        assert set(texts) == {"265649"}


def test_keys_and_certificates_are_read_again_when_they_change(guarded, closed, keys, samples):
    command = [ROOT / "server" / "countersign-keys", "--file", guarded.file, "remove", "detector"]
    subprocess.run(command, check=True)
    before = certificate(closed)
    guarded.renew()
    deadline = time.monotonic() + 20
    while (same := certificate(closed) == before) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not same
    with guarded.client(closed, "grpc", keys["all"]) as client:
        assert client.read(samples / "captcha_plain.png").text == "265649"
    reason = "may not read"  # which is remembered for seconds
    while "may not read" in reason and time.monotonic() < deadline:
        with (
            guarded.client(closed, "grpc", keys["detector"]) as client,
            pytest.raises(Denied) as denied,
        ):
            client.read(samples / "captcha_plain.png")
        reason = str(denied.value)
    assert "unknown key" in reason


def certificate(server: Server) -> str:
    """The certificate that the server shows."""
    return ssl.get_server_certificate(("127.0.0.1", server.settings.http_port))


def test_neither_keys_nor_secrets_stand_in_what_others_can_read(closed, keys):
    for pid in (closed.tritons[0].pid, closed.envoy.pid):
        for name in ("cmdline", "environ"):
            text = Path(f"/proc/{pid}/{name}").read_bytes().decode(errors="replace")
            assert not any(key in text for key in keys.values())
    folder = closed.folder
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for path in Path("/dev/shm").glob(f"{folder.name}*"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_the_health_check_needs_no_key(closed, guarded, monkeypatch, capsys):
    monkeypatch.setattr(readiness, "gettempdir", lambda: str(closed.folder.parent))
    monkeypatch.setattr(readiness, "PREFIX", closed.folder.name)
    assert readiness.main(["--repository", str(guarded.settings.repository)]) == 0
    monkeypatch.setattr(readiness, "PREFIX", "no-such-")
    assert readiness.main([]) == 1
    assert "no server of this user" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("mode", "owner", "group", "private"),
    [
        (0o600, 1000, 1000, True),
        (0o640, 1000, 1000, False),
        (0o440, 0, 1000, True),  # a Secret of Kubernetes, by fsGroup
        (0o440, 0, 2000, False),
        (0o444, 0, 1000, False),
        (0o460, 0, 1000, False),
    ],
)
def test_a_file_of_roots_for_this_group_is_private(mode, owner, group, private):
    found = os.stat_result((mode, 0, 0, 1, owner, group, 0, 0, 0, 0))
    assert is_private(found, 1000, 1000) == private


def test_roots_own_group_is_not_its_own():
    assert not is_private(os.stat_result((0o440, 0, 0, 1, 0, 0, 0, 0, 0, 0)), 0, 0)
