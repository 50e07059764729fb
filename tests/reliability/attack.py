"""Attacks a server as a stranger on its network would, and says what came of it.

    python -m tests.reliability.attack --http HOST:PORT --grpc HOST:PORT [--metrics HOST:PORT]
        [--share 0.1] [--pid PID ...]

Every attack must end in a client's error or a closed connection, with the right answers going on
beside it, their p99 at most three times what it is alone. --share makes all of them smaller; --pid
names the server's processes on this machine, whose memory and files must not grow by more than 5 %
once half of the rounds are over. Exit status 1 if something did not hold. Point it only at a
server of your own.
"""

import argparse
import gzip
import http.client
import json
import socket
import struct
import sys
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import grpc
import numpy as np
from tritonclient.grpc import service_pb2 as messages
from tritonclient.grpc import service_pb2_grpc

from server.settings import SAMPLES
from tests.reliability import inputs
from tests.reliability.witness import PAUSE_S, Witness

READER, DETECTOR = "captcha_reader", "document_detector"
CAPTCHA = (SAMPLES / "captcha_plain.png").read_bytes()
REFUSED = {  # what a refusal may be: a client's error, a full house, or no more connection
    *(
        "400",
        "403",
        "404",
        "405",
        "408",
        "411",
        "413",
        "414",
        "415",
        "429",
        "431",
        "501",
        "503",
        "closed",
    ),
    *("INVALID_ARGUMENT", "NOT_FOUND", "UNIMPLEMENTED", "RESOURCE_EXHAUSTED", "UNAVAILABLE"),
    *("CANCELLED", "PERMISSION_DENIED"),
}
ANSWERED = {"200", "OK"}
P99_FACTOR = 3
BOMBS_P99_MS = 2000  # a good request may wait for the worst image that is within the limits
GROWTH = 1.05


@dataclass(frozen=True)
class Target:
    """Where the server is, and how much of each attack it gets."""

    http: str
    grpc: str
    metrics: str = ""
    share: float = 1.0

    def some(self, number: int) -> int:
        return max(1, round(number * self.share))


Outcome = Counter[str]
Attack = Callable[[Target], Outcome]


# ------------------------------------------------------------------------------------------- wires


def connect(address: str, timeout_s: float = 30) -> socket.socket:
    host, _, port = address.rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), timeout_s)


def answered(connection: socket.socket) -> str:
    """The status of the answer, "closed" if there is none."""
    try:
        start = connection.recv(64)
    except OSError:
        return "closed"
    return start.split()[1].decode() if start.startswith(b"HTTP/1.1 ") else "closed"


def raw(address: str, *parts: bytes, timeout_s: float = 30) -> str:
    """Sends bytes as they are; the status of the answer, or "closed"."""
    with connect(address, timeout_s) as connection:
        with suppress(OSError):  # refused in mid-upload: the answer is there all the same
            for part in parts:
                connection.sendall(part)
        return answered(connection)


def head(path: str, *headers: str, method: str = "POST") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: server", "Connection: close", *headers, "", ""]
    return "\r\n".join(lines).encode()


def post(address: str, path: str, body: bytes, *headers: str) -> str:
    return raw(address, head(path, f"Content-Length: {len(body)}", *headers), body)


def infer(model: str = READER) -> str:
    return f"/v2/models/{model}/infer"


def generate(model: str = READER) -> str:
    return f"/v2/models/{model}/generate"


def tensor(**more: object) -> dict:
    image = b64encode(CAPTCHA).decode()
    return {"name": "image", "shape": [1], "datatype": "BYTES", "data": [image], **more}


def as_json(**body: object) -> bytes:
    return json.dumps(body).encode()


@contextmanager
def channel(target: Target) -> Iterator[grpc.Channel]:
    unlimited = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(target.grpc, options=unlimited) as opened:
        yield opened


def called(call: Callable, *arguments: object, **options: object) -> str:
    """The name of a call's gRPC status."""
    try:
        result = call(*arguments, timeout=60, **options)
        if hasattr(result, "__next__"):
            list(result)
    except grpc.RpcError as error:
        return error.code().name
    return "OK"


def request(model: str = READER, image: bytes = CAPTCHA) -> messages.ModelInferRequest:
    made = messages.ModelInferRequest(model_name=model)
    made.inputs.add(name="image", datatype="BYTES", shape=[1])
    made.raw_input_contents.append(struct.pack("<I", len(image)) + image)
    return made


# ----------------------------------------------------------------------------------------- attacks


def form_types(target: Target) -> Outcome:
    """What curl sends with -d: the content type of a form, with more than 4 MiB."""
    form = "Content-Type: application/x-www-form-urlencoded"
    body = as_json(image="A" * 5_000_000)
    found = Counter(post(target.http, path, body, form) for path in (generate(), infer(), "/"))
    if target.metrics:
        found[post(target.metrics, "/metrics", body, form)] += 1
    return found


def tiny_chunks(target: Target) -> Outcome:
    """3 MB in chunks of 4 bytes, 12 MB in chunks of 1."""
    start = head(infer(), "Transfer-Encoding: chunked")
    fours, ones = target.some(750_000), target.some(12_000_000)
    return Counter(
        [
            raw(target.http, start, b"4\r\nAAAA\r\n" * fours, b"0\r\n\r\n"),
            raw(target.http, start, b"1\r\nA\r\n" * ones, b"0\r\n\r\n"),
        ]
    )


def deep_json(target: Target) -> Outcome:
    bodies = [b"[" * 32_500, b'{"image":' + b"[" * 10**6, b'{"a":' * 32_500]
    return Counter(
        post(target.http, path, body) for body in bodies for path in (infer(), generate())
    )


def odd_json(target: Target) -> Outcome:
    """JSON that is none, or much of little."""
    bodies = [
        b"",
        b"{",
        b'{"image":"' + b"A" * 100,
        b'{"image":"a","image":"b"}',
        b'{"\\u0063lassification":1,"image":"a"}',
        b'{"image":"' + rb"\\" * target.some(3_000_000) + b'"}',
        b" " * target.some(30_000_000),
        b"[" + b"1," * target.some(10_000_000) + b"1]",
        b'{"image":1e999}',
        b"\xff\xfe\x00" * 1000,
        b"\x00" * 1000,
    ]
    return Counter(
        post(target.http, path, body) for body in bodies for path in (infer(), generate())
    )


def parameters(target: Target) -> Outcome:
    """Parameters that Triton acts on, of the request, the input and the output."""
    image = b64encode(CAPTCHA).decode()
    names = ("classification", "sequence_id", "priority", "timeout", "triton_enable_empty_final")
    shared = {"shared_memory_region": "a", "shared_memory_byte_size": 4}
    bodies = [
        *(as_json(inputs=[tensor()], parameters={name: 1}) for name in names),
        as_json(inputs=[tensor()], outputs=[{"name": "text", "parameters": {"classification": 1}}]),
        as_json(inputs=[tensor()], outputs=[{"name": "text", "parameters": shared}]),
        as_json(inputs=[tensor(parameters=shared)]),
        as_json(inputs=[tensor(parameters={"binary_data_size": 2**40})]),
        as_json(inputs=[tensor(), tensor()]),
        as_json(inputs=[tensor(shape=[2**62])]),
        as_json(inputs=[tensor(shape=[-1])]),
        as_json(inputs=[tensor(datatype="FP64")]),
    ]
    found = Counter(post(target.http, infer(), body) for body in bodies)
    found += Counter(
        post(target.http, generate(), as_json(image=image, **{name: 1})) for name in names
    )
    with channel(target) as opened:
        call = service_pb2_grpc.GRPCInferenceServiceStub(opened).ModelInfer
        for name in names:
            made = request()
            made.parameters[name].int64_param = 1
            found[called(call, made)] += 1
        made = request()
        made.outputs.add(name="text").parameters["classification"].int64_param = 1
        found[called(call, made)] += 1
        made = request()
        made.inputs[0].parameters["shared_memory_region"].string_param = "a"
        found[called(call, made)] += 1
        for shape in ([2**62], [-1], [1, 1], [], [0]):
            made = request()
            del made.inputs[0].shape[:]
            made.inputs[0].shape.extend(shape)
            found[called(call, made)] += 1
    return found


def broken_messages(target: Target) -> Outcome:
    """gRPC messages that are none, many, or packed."""
    texts = [
        b"",
        b"\xff" * 40,
        b"\x0a\x05ab",
        b"\x0a" + b"\x80" * 12,
        b"\x08\x01" * 5000,
        b"\x0b" * 9,
    ]
    good = request().SerializeToString()
    texts += [good[:-5], good + good, good[: len(good) // 2], good + b"\x3a\x00"]
    with channel(target) as opened:
        call = opened.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=bytes,
            response_deserializer=bytes,
        )
        found = Counter(called(call, text) for text in texts)
        packed = request(image=bytes(target.some(30_000_000))).SerializeToString()
        found[called(call, packed, compression=grpc.Compression.Gzip)] += 1
        found[called(call, bytes(target.some(2**28) + 2**26))] += 1  # beyond every limit
    return found


def packed_bodies(target: Target) -> Outcome:
    """8 MB of gzip are 8 GB of JSON."""
    small = gzip.compress(bytes(10**7), 9)
    body = small * target.some(800)
    kinds = ("gzip", "deflate", "br", "gzip, gzip", "identity, gzip")
    return Counter(post(target.http, infer(), body, f"Content-Encoding: {kind}") for kind in kinds)


def large_bodies(target: Target) -> Outcome:
    """6 GiB, told before or not, to all kinds of paths and ports."""
    block = b"A" * 2**20
    count = target.some(6 * 1024) + 48
    found: Outcome = Counter()
    addresses = [(target.http, path) for path in (infer(), "/", "/v2/health/live")]
    if target.metrics:
        addresses.append((target.metrics, "/metrics"))
    for address, path in addresses:
        found[raw(address, head(path, f"Content-Length: {6 * 2**30}"), *[block] * 64)] += 1
        chunks = (b"100000\r\n" + block + b"\r\n" for _ in range(count))
        found[raw(address, head(path, "Transfer-Encoding: chunked"), *chunks)] += 1
    return found


def wrong_lengths(target: Target) -> Outcome:
    """Lengths that are none, contradict each other, or are not kept."""
    body = as_json(image="AAAA")
    found = Counter(
        raw(target.http, head(generate(), *headers), body)
        for headers in (
            ("Content-Length: -1",),
            ("Content-Length: 1e3",),
            ("Content-Length: 99999999999999999999999",),
            (f"Content-Length: {len(body)}", "Content-Length: 7"),
            (f"Content-Length: {len(body)}", "Transfer-Encoding: chunked"),
            ("Transfer-Encoding: chunked, identity",),
            ("Transfer-Encoding: xchunked",),
            ("Transfer-Encoding: chunked",),
        )
    )
    for length in ("-1", "0x10", "4294967297", "65537", "9" * 30, "1,1"):
        found[post(target.http, infer(), body, f"Inference-Header-Content-Length: {length}")] += 1
    chunk = b"FFFFFFFFFFFFFFFF\r\nAAAA\r\n0\r\n\r\n"
    start = head(infer(), "Transfer-Encoding: chunked")
    found[raw(target.http, start, chunk, timeout_s=3)] += 1  # which goes on for ever
    return found


def half_bodies(target: Target) -> Outcome:
    """Clients that go away in the middle of their body, or before the answer."""
    body = as_json(image=b64encode(CAPTCHA).decode())

    def leave(share: float) -> str:
        with connect(target.http) as connection:
            connection.sendall(head(generate(), f"Content-Length: {len(body)}"))
            connection.sendall(body[: int(len(body) * share)])
        return "closed"

    return Counter(leave(i % 5 / 4) for i in range(target.some(1000)))


def slow_senders(target: Target) -> Outcome:
    """500 clients that send a byte now and then, of their headers or of their body."""
    opened = []
    for i in range(target.some(500)):
        connection = connect(target.http)
        start = head(generate(), f"Content-Length: {10**6}")
        connection.sendall(start[:-4] if i % 2 else start)
        opened.append(connection)
    ended = time.monotonic() + 20 * target.share
    while time.monotonic() < ended:
        for connection in opened:
            with suppress(OSError):
                connection.sendall(b"A")
        time.sleep(0.5)
    for connection in opened:
        connection.close()
    return Counter(closed=len(opened))


def long_headers(target: Target) -> Outcome:
    many = [f"X-{i}: a" for i in range(1000)]
    found = Counter(
        raw(target.http, head("/v2", *headers, method="GET"))
        for headers in (many, [f"X: {'a' * 10**5}"], ["a_b: c"], ["X: \0"], [": a"], ["X\r\n y: a"])
    )
    found[raw(target.http, head("/v2/models/" + "a" * 10**5, method="GET"))] += 1
    found[raw(target.http, b"\0\xff garbage\r\n\r\n")] += 1
    found[raw(target.http, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 1000)] += 1
    return found


def restricted(target: Target) -> Outcome:
    """Calls that are not for clients: repository, shared memory, trace, log, steps, streams."""
    paths = [
        *("/v2/repository/index", f"/v2/repository/models/{READER}/unload"),
        f"/v2/repository/models/{READER}/load",
        *("/v2/systemsharedmemory/status", "/v2/systemsharedmemory/region/a/register"),
        *("/v2/cudasharedmemory/status", "/v2/trace/setting", "/v2/logging"),
        f"/v2/models/{READER}/trace/setting",
        f"{generate()}_stream",
        *(
            infer("captcha_preprocess"),
            infer("document_yolo"),
            "/metrics",
            "/stats",
            "/quitquitquit",
        ),
    ]
    found = Counter(post(target.http, path, b"{}") for path in paths)
    with channel(target) as opened:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(opened)
        for call, message in (
            (stub.RepositoryIndex, messages.RepositoryIndexRequest()),
            (stub.RepositoryModelLoad, messages.RepositoryModelLoadRequest(model_name=READER)),
            (stub.RepositoryModelUnload, messages.RepositoryModelUnloadRequest(model_name=READER)),
            (stub.SystemSharedMemoryStatus, messages.SystemSharedMemoryStatusRequest()),
            (stub.CudaSharedMemoryStatus, messages.CudaSharedMemoryStatusRequest()),
            (stub.TraceSetting, messages.TraceSettingRequest()),
            (stub.LogSettings, messages.LogSettingsRequest()),
            (stub.ModelInfer, request("captcha_preprocess")),
            (stub.ModelStreamInfer, iter([request()])),
        ):
            found[called(call, message)] += 1
    return found


def odd_names(target: Target) -> Outcome:
    """Model names that are paths."""
    names = [
        *("../x", "..%2f..%2fetc%2fpasswd", "%2e%2e", "a%00b", "a/b", ".", "..;", "a" * 5000, "é"),
        *("$(id)", "`id`", "a b", "a%0d%0aX:%20y", "*", "captcha_reader%20"),
    ]
    found = Counter(
        raw(target.http, head(f"/v2/models/{name}/config".replace(" ", "%20"), method="GET"))
        for name in names
    )
    with channel(target) as opened:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(opened)
        for name in names:
            found[called(stub.ModelConfig, messages.ModelConfigRequest(name=name))] += 1
            found[called(stub.ModelInfer, request(name))] += 1
    return found


def crowds(target: Target) -> Outcome:
    """1,000 small requests at once, each on its own connection."""
    body = as_json(image=b64encode(CAPTCHA).decode())
    opened = []
    for _ in range(target.some(1000)):
        connection = connect(target.http)
        connection.sendall(head(generate(), f"Content-Length: {len(body)}") + body[:-1])
        opened.append(connection)
    for connection in opened:
        connection.sendall(body[-1:])
    found = Counter(answered(connection) for connection in opened)
    for connection in opened:
        connection.close()
    return found


def bombs(target: Target) -> Outcome:
    """Images that are small files and large pictures."""
    found: Outcome = Counter()
    header = "Inference-Header-Content-Length: 0"
    with channel(target) as opened:
        call = service_pb2_grpc.GRPCInferenceServiceStub(opened).ModelInfer
        for image in list(inputs.bombs().values())[: target.some(8) + 2]:
            for model in (READER, DETECTOR):
                found[post(target.http, infer(model), image, header)] += 1
                found[called(call, request(model, image))] += 1
    return found


def mutations(target: Target) -> Outcome:
    """10,000 images with faults, of every format, over both protocols."""
    header = {"Inference-Header-Content-Length": "0"}

    def some(seed: int) -> Outcome:
        found: Outcome = Counter()
        connection = http.client.HTTPConnection(target.http, timeout=60)
        with channel(target) as opened:
            call = service_pb2_grpc.GRPCInferenceServiceStub(opened).ModelInfer
            for i, (_, image) in enumerate(islice(inputs.mutated(seed), target.some(2500))):
                model = READER if i % 4 < 2 else DETECTOR
                if i % 2:
                    found[called(call, request(model, image))] += 1
                    continue
                connection.request("POST", infer(model), image, header)
                reply = connection.getresponse()
                reply.read()
                found[str(reply.status)] += 1
        connection.close()
        return found

    with ThreadPoolExecutor(4) as threads:
        return sum(threads.map(some, range(4)), Counter())


ATTACKS: dict[Attack, set[str]] = {  # and what it may end in beside a refusal
    form_types: set(),
    tiny_chunks: set(),
    deep_json: set(),
    odd_json: set(),
    parameters: set(),
    broken_messages: set(),
    packed_bodies: set(),
    large_bodies: set(),
    wrong_lengths: set(),
    half_bodies: set(),
    slow_senders: set(),
    long_headers: set(),
    restricted: set(),
    odd_names: set(),
    crowds: ANSWERED,
    bombs: ANSWERED,  # some are within the limits
    mutations: ANSWERED,
}


# --------------------------------------------------------------------------------------- verdicts


def size(pids: list[int]) -> dict[str, float]:
    """Memory in MiB, open files, and shared memory in MiB, of processes and all their children."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    family, grown = set(pids), True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in family} - family
        family, grown = family | more, bool(more)
    rss = files = 0.0
    for pid in family:
        with suppress(OSError):
            status = Path(f"/proc/{pid}/status").read_text()
            rss += int(status.partition("VmRSS:")[2].split()[0]) / 1024
            files += len(list(Path(f"/proc/{pid}/fd").iterdir()))
    shm = sum(path.stat().st_blocks / 2048 for path in Path("/dev/shm").glob("countersign-*"))
    return {"memory": rss, "files": files, "shared memory": shm}


def run(target: Target, attack: Attack, witness: Witness) -> tuple[Outcome, list[float], str]:
    """What an attack ended in, how long good requests beside it took, what did not hold."""
    began = time.monotonic()
    try:
        found = attack(target)
    except OSError as error:
        return Counter(), [], f"the server was not to be reached: {error}"
    time.sleep(2 * PAUSE_S)
    took_s, wrong = witness.since(began)
    if surplus := set(found) - REFUSED - ATTACKS[attack]:
        return found, took_s, f"ended in {', '.join(sorted(surplus))}"
    if wrong:
        return found, took_s, f"{len(wrong)} wrong beside it, as {wrong[0]}"
    return found, took_s, ""


def p99_ms(took_s: list[float]) -> float:
    return float(np.percentile(took_s, 99)) * 1000 if took_s else 0.0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--http", default="127.0.0.1:8000", help="host:port")
    parser.add_argument("--grpc", default="127.0.0.1:8001", help="host:port")
    parser.add_argument("--metrics", default="", help="host:port")
    parser.add_argument("--share", type=float, default=1.0, help="of each attack, from 0 to 1")
    parser.add_argument("--pid", type=int, action="append", default=[], help="of the server")
    parser.add_argument("--rounds", type=int, default=6, help="of all; the first half warms up")
    parser.add_argument("--only", help="the attacks whose name has this in it")
    args = parser.parse_args()
    target = Target(args.http, args.grpc, args.metrics, args.share)
    sizes = []
    attacks = [attack for attack in ATTACKS if not args.only or args.only in attack.__name__]
    with Witness(target.grpc) as witness:
        began = time.monotonic()
        time.sleep(10)
        took_s, wrong = witness.since(began)
        alone_ms, held = p99_ms(took_s), not wrong
        print(f"alone: p99 {alone_ms:.0f} ms, {len(wrong)} wrong")
        for attack in attacks * args.rounds:
            began = time.monotonic()
            found, took_s, failure = run(target, attack, witness)
            limit_ms = BOMBS_P99_MS if attack is bombs else P99_FACTOR * alone_ms
            if p99_ms(took_s) > limit_ms and len(took_s) >= 100:
                failure = failure or f"p99 beside it over {limit_ms:.0f} ms"
            ends = ", ".join(f"{end} {count}" for end, count in sorted(found.items()))
            figures = f"{time.monotonic() - began:5.0f} s  p99 {p99_ms(took_s):6.0f} ms"
            print(f"{attack.__name__:16}{figures}  {ends}  {failure}", flush=True)
            held = held and not failure
            if "not to be reached" in failure:
                break
            if attack is attacks[-1]:
                sizes.append(size(args.pid))
    for what in sizes[0] if args.pid and sizes else ():
        after = [each[what] for each in sizes]
        print(f"{what} after each round: {', '.join(format(each, '.0f') for each in after)}")
        held = held and after[-1] <= GROWTH * after[(len(after) - 1) // 2]
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
