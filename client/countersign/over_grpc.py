"""gRPC: how the server is called, and what its failures mean."""

import asyncio
import re
import socket
import struct
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import grpc
import tritonclient.grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from tritonclient.grpc import service_pb2, service_pb2_grpc

from countersign.address import Address, Tls
from countersign.errors import CountersignError, closed, meant, unavailable_for_good
from countersign.lifetimes import Unforked, cancelled, renew_after_fork
from countersign.messages import NO_HEADERS, Config, Infer, Request, id_headers

OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # reconnect at the pace of the attempts: gRPC's own pauses begin at 1 s and end at 2 minutes
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # else the clients of a process share one connection and its backoff
    ("grpc.use_local_subchannel_pool", 1),
    # else pages and keys go to the proxy of http_proxy or grpc_proxy, on loopback too
    ("grpc.enable_http_proxy", 0),
)
IN_TURN = (
    ("grpc.lb_policy_name", "round_robin"),
    # a name is looked up again when a connection ends; gRPC's own least pause is 30 s
    ("grpc.dns_min_time_between_resolutions_ms", 1000),
)
PARAMETER_FIELDS = {float: "double_param", int: "int64_param", str: "string_param"}
# gRPC repeats the address and a status of its own
LAST_ERROR = re.compile(r"last error: [A-Z_]+: (?:ipv[46]:\S+: )?(.+)", re.DOTALL)
NOT_HTTP2, HUNG_UP = "Failed parsing HTTP/2", ("Socket closed", "Connection reset by peer")
PROBE = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
PROBE_TIMEOUT_S = 1.0
UNDER_WAY = Unforked(patience_s=5.0)  # gRPC may crash in a child that was forked during a call
SPLIT = (
    "this process was forked while a call over gRPC was under way, which gRPC does not survive: "
    "fork before the first call, start it by spawn, or use HTTP"
)


class GrpcConnection:
    """For any number of threads, and in the children of a fork."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._credentials = credentials(address.tls)
        self._metadata = tuple(address.headers.items())
        self._lock, self._closed = threading.Lock(), threading.Event()
        self._doubt = Doubt()
        self._channels: list[grpc.Channel] = []
        self._stub: Any = None  # of the last channel
        renew_after_fork(self)

    def renew(self) -> None:
        """Made for a child of fork, where the channel is dead, and not to be closed or freed."""
        self._lock, self._stub = threading.Lock(), None

    def send(self, request: Request, timeout_s: float | None) -> Any:
        """The reply. Raises CountersignError."""
        if UNDER_WAY.split:
            raise unavailable_for_good(f"{self._address.netloc}: {SPLIT}")
        method, message = to_message(request)
        try:
            call = getattr(self._opened(), method)
            told = (*self._metadata, *id_headers(request).items())
            with UNDER_WAY.call():
                reply = call(message, timeout=timeout_s, metadata=told)
        except (grpc.RpcError, ValueError) as error:
            if self._closed.is_set():
                raise closed(self._address.netloc) from error
            if not isinstance(error, grpc.RpcError):
                raise
            raise translated(error, self._address, self._doubt) from error
        self._doubt.end()
        return from_message(reply)

    def pause(self, seconds: float) -> None:
        """Returns after so many seconds. Raises Closed."""
        if self._closed.wait(seconds):
            raise closed(self._address.netloc)

    def close(self) -> None:
        """Calls under way raise Closed."""
        with self._lock:
            self._closed.set()
            if self._stub is not None:
                self._channels[-1].close()

    def _opened(self) -> Any:
        with self._lock:
            if self._closed.is_set():
                raise closed(self._address.netloc)
            if self._stub is None:
                self._channels.append(channel(grpc, self._address, self._credentials))
                self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channels[-1])
            return self._stub


class AsyncGrpcConnection:
    """For the one event loop of its first call."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._credentials = credentials(address.tls)
        self._metadata = tuple(address.headers.items())
        self._doubt = Doubt()
        self._channel: grpc.aio.Channel | None = None  # made inside the loop, which it binds to
        self._stub: Any = None
        self._closed = asyncio.Event()

    async def send(
        self, request: Request, timeout_s: float | None, headers: Mapping[str, str] = NO_HEADERS
    ) -> Any:
        """The reply; `headers` go with it beside the address's own. Raises CountersignError."""
        if self._closed.is_set():
            raise closed(self._address.netloc)
        if self._channel is None:
            self._channel = channel(grpc.aio, self._address, self._credentials)
            self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        method, message = to_message(request)
        try:
            told = (*self._metadata, *id_headers(request).items(), *headers.items())
            reply = await getattr(self._stub, method)(message, timeout=timeout_s, metadata=told)
        except grpc.RpcError as error:
            if self._closed.is_set():
                raise closed(self._address.netloc) from error
            # it may ask the server once more, and that blocks
            raise await asyncio.to_thread(translated, error, self._address, self._doubt) from error
        except asyncio.CancelledError as error:
            if self._closed.is_set() and not cancelled():
                raise closed(self._address.netloc) from error
            raise
        self._doubt.end()
        return from_message(reply)

    async def pause(self, seconds: float) -> None:
        """Returns after so many seconds. Raises Closed."""
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._closed.wait(), seconds)
            raise closed(self._address.netloc)

    async def close(self) -> None:
        """Calls under way raise Closed."""
        self._closed.set()
        if self._channel is not None:
            await self._channel.close()


def channel(module: Any, address: Address, secret: grpc.ChannelCredentials | None) -> Any:
    """A channel of grpc or grpc.aio to the server, or to servers that take turns."""
    options = OPTIONS if address.resolver is None else OPTIONS + IN_TURN
    if secret is None:
        return module.insecure_channel(address.target, options)
    return module.secure_channel(address.target, secret, options)


def credentials(tls: Tls | None) -> grpc.ChannelCredentials | None:
    """gRPC's form of `tls`, None for none. Raises OSError if a file cannot be read."""
    if tls is None:
        return None
    ca, key, cert = (path and Path(path).read_bytes() for path in (tls.ca, tls.key, tls.cert))
    return grpc.ssl_channel_credentials(ca, key, cert)


def to_message(request: Request) -> tuple[str, Message]:
    """The method of the service that answers `request`, and the message that it takes."""
    if isinstance(request, Infer):
        message = service_pb2.ModelInferRequest(model_name=request.model, id=request.id)
        message.inputs.add(name="image", datatype="BYTES", shape=[1])
        message.raw_input_contents.append(struct.pack("<I", len(request.image)) + request.image)
        for name, value in request.parameters.items():
            setattr(message.parameters[name], PARAMETER_FIELDS[type(value)], value)
        return "ModelInfer", message
    if isinstance(request, Config):
        return "ModelConfig", service_pb2.ModelConfigRequest(name=request.model)
    return "ModelStatistics", service_pb2.ModelStatisticsRequest()


def from_message(reply: Message) -> Any:
    """An inference as tritonclient's InferResult, a config or statistics as HTTP's JSON has it."""
    if isinstance(reply, service_pb2.ModelInferResponse):
        return tritonclient.grpc.InferResult(reply)
    fields = MessageToDict(reply, preserving_proto_field_name=True)
    return fields["config"] if isinstance(reply, service_pb2.ModelConfigResponse) else fields


class Doubt:
    """Whether a server does not speak gRPC: it never answered, and hung up time and again, twice
    while it spoke HTTP. One that starts again may do so once."""

    def __init__(self) -> None:
        self._answered, self._hung_up, self._spoke_http = False, 0, 0

    def end(self) -> None:
        """The server answered."""
        self._answered = True

    def certain(self, reason: str, endpoint: tuple[str, int]) -> bool:
        """A call failed for `reason`; whether that makes it certain."""
        if self._answered or not any(words in reason for words in HUNG_UP):
            return False
        self._hung_up += 1
        self._spoke_http += self._hung_up > 1 and speaks_http(endpoint)
        return self._spoke_http > 1


def translated(error: grpc.RpcError, address: Address, doubt: Doubt) -> CountersignError:
    """What a failed call means. A server in doubt is asked over HTTP."""
    reason = error.details() or ""
    if NOT_HTTP2 in reason or doubt.certain(reason, address.endpoint):
        return unavailable_for_good(
            f"{address.netloc}: this port does not speak gRPC: name the gRPC port, or protocol http"
        )
    if error.code() is grpc.StatusCode.UNIMPLEMENTED:
        return unavailable_for_good(f"{address.netloc}: {reason}: is this the server's gRPC port?")
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        reason = "no answer"  # the call adds how long it waited
    if found := LAST_ERROR.search(reason):
        reason = found[1]
    metadata = [*(error.initial_metadata() or ()), *(error.trailing_metadata() or ())]
    return meant(error.code().name, reason, address.netloc, retry_after_s(metadata))


def retry_after_s(metadata: Sequence[tuple[str, Any]]) -> float:
    """When to come again, by a failed call's metadata: gRPC's, google.rpc's, a proxy's; else 0."""
    hints = dict(metadata)
    with suppress(ValueError, KeyError):
        return max(0.0, int(hints["grpc-retry-pushback-ms"]) / 1000)
    with suppress(ValueError, KeyError):
        return max(0.0, float(hints["retry-after"]))
    with suppress(DecodeError, KeyError):
        status = retry_messages()["Status"].FromString(hints["grpc-status-details-bin"])
        for detail in status.details:
            if detail.type_url.endswith("/google.rpc.RetryInfo"):
                delay = retry_messages()["RetryInfo"].FromString(detail.value).retry_delay
                return max(0.0, delay.seconds + delay.nanos / 1e9)
    return 0.0


@cache
def retry_messages() -> dict[str, Any]:
    """google.rpc's Status and RetryInfo, as far as they are read here."""
    pool = DescriptorPool()
    for wrapped in (any_pb2, duration_pb2):
        pool.AddSerializedFile(wrapped.DESCRIPTOR.serialized_pb)
    file = FileDescriptorProto(name="retry.proto", syntax="proto3")
    file.dependency.extend(["google/protobuf/any.proto", "google/protobuf/duration.proto"])
    field = FieldDescriptorProto
    for name, key, number, label, kind in (
        ("Status", "details", 3, field.LABEL_REPEATED, "Any"),
        ("RetryInfo", "retry_delay", 1, field.LABEL_OPTIONAL, "Duration"),
    ):
        file.message_type.add(name=name).field.add(
            name=key,
            number=number,
            label=label,
            type=field.TYPE_MESSAGE,
            type_name=f".google.protobuf.{kind}",
        )
    pool.Add(file)
    return {
        name: GetMessageClass(pool.FindMessageTypeByName(name)) for name in ("Status", "RetryInfo")
    }


def speaks_http(endpoint: tuple[str, int]) -> bool:
    """Whether the server answers in HTTP/1, and in plain text."""
    try:
        with socket.create_connection(endpoint, PROBE_TIMEOUT_S) as connection:
            connection.settimeout(PROBE_TIMEOUT_S)
            connection.sendall(PROBE)
            return connection.recv(7) == b"HTTP/1."
    except OSError:
        return False
