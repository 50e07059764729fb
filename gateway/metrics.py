"""What Prometheus reads at /metrics."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """Of one app; a registry of its own, so that apps of one process do not meet.

    Others of the gateway register theirs with `registry`.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "gateway_requests",
            "Requests answered",
            ["route", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "gateway_request_seconds",
            "From a request's head to the end of its answer",
            ["route"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.pages = Counter(
            "gateway_pages", "Pages answered", ["kind", "outcome"], registry=self.registry
        )
        self.waiting = Gauge(
            "gateway_pages_let_in", "Pages waiting or under way", registry=self.registry
        )
        self.under_way = Gauge(
            "gateway_pages_under_way", "Pages at the servers", registry=self.registry
        )
