"""deploy/kubernetes: rendered, held to published schemas and to the rest of the project."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from cloudcoil.models.keda.v1alpha1 import ScaledObject
from cloudcoil.models.prometheus_operator.v1 import PodMonitor, PrometheusRule

import gateway.settings
import server.settings
from countersign.address import KEY_FILE, address
from gateway.app import create_app
from gateway.triton import Tritons
from server import readiness
from server.cores import Plan
from server.memory import SHM_MIB, most_mib
from server.repository import ensembles
from server.settings import Settings
from server.triton import STEPS_EXIT_S

ROOT = Path(__file__).resolve().parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
OVERLAYS = ("test", "production")
OLDEST, NEWEST = "1.30", "1.37"  # releases of Kubernetes: docs/kubernetes.md names the first
CUSTOM = {each.__name__: each for each in (ScaledObject, PodMonitor, PrometheusRule)}
NAMES = {"server": "countersign", "gateway": "countersign-gateway"}  # by container
LABEL = "app.kubernetes.io/name"
PRE_STOP_S = 10

pytestmark = pytest.mark.needs("kubectl")
overlays = pytest.mark.parametrize("overlay", OVERLAYS)
rooms = pytest.mark.parametrize("room", NAMES)
Object = dict[str, Any]


@pytest.fixture(autouse=True, scope="module")
def kustomize() -> None:
    """Skips where kubectl is of before 2023: its kustomize reads another format."""
    told = subprocess.run(["kubectl", "version", "--client", "-o", "json"], capture_output=True)
    version = json.loads(told.stdout).get("kustomizeVersion", "none")
    if not re.match(r"v[5-9]\.", version):
        pytest.skip(f"kubectl has kustomize {version}, 5 or newer is needed: kubectl 1.27 has it")


@cache
def rendered(overlay: str) -> list[Object]:
    """All objects of an overlay."""
    folder = KUBERNETES / "overlays" / overlay
    told = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True)
    assert (told.returncode, told.stderr) == (0, "")  # nor has it a warning
    return list(yaml.safe_load_all(told.stdout))


def of_kind(overlay: str, kind: str) -> dict[str, Object]:
    """Name -> object."""
    return {each["metadata"]["name"]: each for each in rendered(overlay) if each["kind"] == kind}


def pod(overlay: str, room: str) -> Object:
    return of_kind(overlay, "Deployment")[NAMES[room]]["spec"]["template"]["spec"]


def container(overlay: str, room: str) -> Object:
    (found,) = pod(overlay, room)["containers"]
    return found


def settings_of(overlay: str, room: str) -> Any:
    """What the program makes of the container's environment, and of its image's."""
    dockerfile = {"server": "pypi.Dockerfile", "gateway": "gateway.Dockerfile"}[room]
    text = re.sub(r"^#.*\n", "", (ROOT / "docker" / dockerfile).read_text(), flags=re.MULTILINE)
    image = re.findall(r"(COUNTERSIGN_\w+)=(\S+)", text)
    database = "postgresql://user:password@host/log"  # of a Secret
    environment = dict(image) | {
        each["name"]: each.get("value", database) for each in container(overlay, room)["env"]
    }
    return {"server": server.settings, "gateway": gateway.settings}[room].parse([], environment)


def compose() -> dict[str, Object]:
    text = (ROOT / "docker" / "compose.yaml").read_text()
    return yaml.safe_load(re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text))["services"]  # the defaults


def mib(size: str) -> float:
    """A quantity of Kubernetes or of Docker, which says g for GiB."""
    number, unit = re.fullmatch(r"(\d+)(Mi|Gi|m|g)", size).groups()
    return int(number) * {"Mi": 1, "Gi": 1024, "m": 1, "g": 1024}[unit]


@overlays
@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_every_object_is_one_that_kubernetes_takes(overlay, version):
    checked = [each for each in rendered(overlay) if each["kind"] not in CUSTOM]
    assert {"Deployment", "Service", "NetworkPolicy", "PodDisruptionBudget"} <= {
        each["kind"] for each in checked
    }
    for each in checked:
        kubernetes_validate.validate(each, version, strict=True)


def test_custom_objects_are_ones_that_their_operators_take():
    """By models made from the published CRDs; of unknown fields these make nothing."""
    checked = [each for each in rendered("production") if each["kind"] in CUSTOM]
    assert {each["kind"] for each in checked} == set(CUSTOM)
    for each in checked:
        model = CUSTOM[each["kind"]].model_validate(each)
        assert model.model_dump(mode="json", by_alias=True, exclude_unset=True) == each


def test_the_test_overlay_needs_no_custom_objects():
    assert not {each["kind"] for each in rendered("test")} & set(CUSTOM)


def test_kserves_pod_is_the_servers():
    service = yaml.safe_load((KUBERNETES / "kserve.yaml").read_text())
    assert (service["apiVersion"], service["kind"]) == (
        "serving.kserve.io/v1beta1",
        "InferenceService",
    )
    scaling = ("minReplicas", "maxReplicas", "scaleMetric", "scaleTarget")
    spec = {k: v for k, v in service["spec"]["predictor"].items() if k not in scaling}
    metadata = {"name": "countersign"}
    kubernetes_validate.validate(
        {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}, OLDEST, strict=True
    )
    assert service["spec"].keys() == {"predictor"}
    ours, (its,) = container("test", "server"), spec["containers"]
    same = ("resources", "startupProbe", "readinessProbe", "livenessProbe", "lifecycle")
    assert {name: its[name] for name in same} == {name: ours[name] for name in same}
    assert its["securityContext"] == ours["securityContext"]
    for name in ("securityContext", "terminationGracePeriodSeconds", "enableServiceLinks"):
        assert spec[name] == pod("test", "server")[name]
    assert [each for each in spec["volumes"] if "emptyDir" in each] == pod("test", "server")[
        "volumes"
    ]
    environment = {each["name"]: each["value"] for each in its["env"]}
    assert server.settings.parse([], environment).keys == Path("/etc/countersign/keys/keys.json")


@overlays
@rooms
def test_every_variable_is_a_setting(overlay, room):
    """The programs overlook variables that they do not know."""
    known = {
        "server": {server.settings.variable(name) for name in vars(Settings())},
        "gateway": {
            variable
            for name in gateway.settings.Settings.model_fields
            for variable in gateway.settings.variables(name)
        }
        | {KEY_FILE, "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"},
    }
    assert {each["name"] for each in container(overlay, room)["env"]} <= known[room]
    settings_of(overlay, room)  # raises for a value that is none


@overlays
@rooms
def test_no_variable_of_a_service_is_taken_for_a_setting(overlay, room):
    """Else the Service countersign-gateway sets COUNTERSIGN_GATEWAY_PORT=tcp://..."""
    assert pod(overlay, room)["enableServiceLinks"] is False


@overlays
def test_ports_are_those_of_the_settings_and_of_compose(overlay):
    ports = {room: container(overlay, room)["ports"] for room in NAMES}
    numbers = {
        room: {port["name"]: port["containerPort"] for port in found}
        for room, found in ports.items()
    }
    settings = settings_of(overlay, "server")
    assert numbers["server"] == {
        "http": settings.http_port,
        "grpc": settings.grpc_port,
        "metrics": settings.metrics_port,
    }
    assert numbers["gateway"] == {"http": settings_of(overlay, "gateway").port}
    published = {
        room: {int(port.rpartition(":")[2]) for port in compose()[service]["ports"]}
        for room, service in {"server": "pypi", "gateway": "gateway"}.items()
    }
    assert published == {room: set(found.values()) for room, found in numbers.items()}


@overlays
def test_services_lead_to_the_pods_ports(overlay):
    pods = {
        each["spec"]["template"]["metadata"]["labels"][LABEL]: each["spec"]["template"]["spec"]
        for each in of_kind(overlay, "Deployment").values()
    }
    for service in of_kind(overlay, "Service").values():
        (selected,) = pods[service["spec"]["selector"][LABEL]]["containers"]
        numbers = {port["name"]: port["containerPort"] for port in selected["ports"]}
        for port in service["spec"]["ports"]:
            assert numbers[port["targetPort"]] == port["port"]


@overlays
def test_the_gateway_asks_every_server_in_turn(overlay):
    settings = settings_of(overlay, "gateway")
    (url,) = settings.tritons
    found = address(url, key="none")
    service = of_kind(overlay, "Service")[found.endpoint[0]]["spec"]
    assert service["clusterIP"] == "None"  # an address for each pod
    assert found.endpoint[1] in {port["port"] for port in service["ports"]}
    assert (found.tls is not None) == (settings_of(overlay, "server").tls_cert is not None)
    (asked,) = Tritons([url])._servers
    assert asked.address.target == f"dns:///{found.netloc}"


@overlays
@rooms
def test_a_pod_has_whole_cores_and_memory_of_its_own(overlay, room):
    """Requests equal to limits of whole cores: what the static CPU manager pins."""
    resources = container(overlay, room)["resources"]
    assert resources["requests"] == resources["limits"]
    assert re.fullmatch("[1-9][0-9]*", resources["limits"]["cpu"])
    assert "initContainers" not in pod(overlay, room)


@overlays
def test_the_server_gets_the_memory_that_its_limits_may_take(overlay):
    limits = container(overlay, "server")["resources"]["limits"]
    most = most_mib(Settings(threads=int(limits["cpu"])))
    assert most <= mib(limits["memory"]) < most + 1024


def test_the_base_has_the_size_of_compose():
    for room, service in {"server": "pypi", "gateway": "gateway"}.items():
        limits, theirs = container("test", room)["resources"]["limits"], compose()[service]
        assert int(limits["cpu"]) == theirs["cpus"]
        assert mib(limits["memory"]) == mib(theirs["mem_limit"])


@overlays
def test_shared_memory_and_temporary_files_are_memory(overlay):
    volumes = {each["name"]: each.get("emptyDir") for each in pod(overlay, "server")["volumes"]}
    mounts = {
        each["mountPath"]: volumes[each["name"]]
        for each in container(overlay, "server")["volumeMounts"]
    }
    assert mounts["/dev/shm"] == {"medium": "Memory", "sizeLimit": f"{SHM_MIB // 1024}Gi"}
    assert mounts["/tmp"]["medium"] == "Memory"
    (tmp,) = compose()["pypi"]["tmpfs"]
    assert mib(mounts["/tmp"]["sizeLimit"]) == mib(re.search(r"size=(\w+)", tmp)[1])


@overlays
@rooms
def test_a_container_is_nobody_and_may_nothing(overlay, room):
    assert container(overlay, room)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod(overlay, room)["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "runAsGroup": 1000,
        "fsGroup": 1000,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert pod(overlay, room)["automountServiceAccountToken"] is False
    account = of_kind(overlay, "ServiceAccount")[pod(overlay, room)["serviceAccountName"]]
    assert account["automountServiceAccountToken"] is False


@overlays
@rooms
def test_a_pod_gets_the_time_that_a_stop_may_take(overlay, room):
    assert container(overlay, room)["lifecycle"]["preStop"] == {"sleep": {"seconds": PRE_STOP_S}}
    drain = settings_of(overlay, room).exit_timeout_s + PRE_STOP_S
    drain += 2 * STEPS_EXIT_S if room == "server" else 0
    assert pod(overlay, room)["terminationGracePeriodSeconds"] > drain


@overlays
def test_ready_means_that_inferences_are_answered(overlay):
    dockerfile = (ROOT / "docker" / "pypi.Dockerfile").read_text()
    command = re.search(r"^HEALTHCHECK .*CMD (.*)", dockerfile, re.MULTILINE)[1].split()
    probed = container(overlay, "server")
    for probe in ("startupProbe", "readinessProbe"):
        assert probed[probe]["exec"]["command"] == command
    start = probed["startupProbe"]
    assert start["periodSeconds"] * start["failureThreshold"] > Settings().ready_timeout_s
    probed = container(overlay, "gateway")
    assert probed["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}


@overlays
def test_probed_paths_are_served(overlay):
    paths = create_app(settings_of(overlay, "gateway")).openapi()["paths"]
    for probe in ("readinessProbe", "livenessProbe"):
        assert container(overlay, "gateway")[probe]["httpGet"]["path"] in paths
    live = container(overlay, "server")["livenessProbe"]["httpGet"]
    scheme = "HTTPS" if settings_of(overlay, "server").tls_cert else "HTTP"
    assert (live["path"], live.get("scheme", "HTTP")) == ("/v2/health/live", scheme)


@overlays
@rooms
def test_a_roll_out_takes_no_server_away_and_zones_share_them(overlay, room):
    deployment = of_kind(overlay, "Deployment")[NAMES[room]]["spec"]
    assert deployment["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    zones, nodes = pod(overlay, room)["topologySpreadConstraints"]
    assert zones["topologyKey"] == "topology.kubernetes.io/zone"
    assert nodes["topologyKey"] == "kubernetes.io/hostname"
    assert zones["whenUnsatisfiable"] == (
        "DoNotSchedule" if overlay == "production" else "ScheduleAnyway"
    )
    budget = of_kind(overlay, "PodDisruptionBudget")[NAMES[room]]["spec"]
    assert budget["maxUnavailable"] == 1
    labels = deployment["template"]["metadata"]["labels"]
    for each in (deployment["selector"], zones["labelSelector"], nodes["labelSelector"]):
        assert each["matchLabels"] == budget["selector"]["matchLabels"] == labels


def peers(overlay: str, room: str, port: str) -> list[str]:
    """Who may reach a port of a room's pods, by all policies that select them."""
    found = []
    for policy in of_kind(overlay, "NetworkPolicy").values():
        selected = policy["spec"]["podSelector"].get("matchLabels", {})
        if selected.get(LABEL, NAMES[room]) != NAMES[room]:
            continue
        for rule in policy["spec"].get("ingress", []):
            if port in [each["port"] for each in rule["ports"]]:
                found += [described(each) for each in rule["from"]]
    return sorted(found)


def described(peer: Object) -> str:
    labels = {**peer.get("namespaceSelector", {}).get("matchLabels", {})}
    labels |= peer.get("podSelector", {}).get("matchLabels", {})
    return " ".join(f"{name}={value}" for name, value in sorted(labels.items()))


@overlays
def test_the_gateway_and_named_clients_alone_reach_the_server(overlay):
    clients = "countersign-client=true countersign-clients=true"
    for port in ("http", "grpc"):
        assert peers(overlay, "server", port) == [f"{LABEL}=countersign-gateway", clients]
    metrics = ["kubernetes.io/metadata.name=monitoring"] if overlay == "production" else []
    assert peers(overlay, "server", "metrics") == metrics
    nothing = of_kind(overlay, "NetworkPolicy")["nothing-else"]["spec"]
    assert nothing == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def egress(overlay: str, room: str) -> Iterator[Object]:
    for policy in of_kind(overlay, "NetworkPolicy").values():
        if policy["spec"]["podSelector"].get("matchLabels", {}).get(LABEL) == NAMES[room]:
            yield from policy["spec"].get("egress", [])


@overlays
def test_the_server_reaches_nobody(overlay):
    assert not list(egress(overlay, "server"))


@overlays
def test_the_gateway_reaches_servers_names_and_its_database_alone(overlay):
    reached = [[each["port"] for each in rule["ports"]] for rule in egress(overlay, "gateway")]
    grpc_port = settings_of(overlay, "server").grpc_port
    database = [[5432]] if overlay == "production" else []
    assert reached == [[grpc_port], [53, 53], *database]


def test_keys_and_certificates_come_from_secrets_that_the_manual_names():
    manual = (ROOT / "docs" / "kubernetes.md").read_text()
    for room in NAMES:
        spec, its = pod("production", room), container("production", room)
        volumes = {each["name"]: each for each in spec["volumes"]}
        mounts = {each["mountPath"]: volumes[each["name"]] for each in its["volumeMounts"]}
        secrets = [each["secret"]["secretName"] for each in volumes.values() if "secret" in each]
        for variable in its["env"]:
            if variable.get("value", "").startswith("/etc/"):
                folder, _, _ = variable["value"].rpartition("/")
                assert "secret" in mounts[folder]
            if variable["name"].endswith("LOG_URL"):
                secrets.append(variable["valueFrom"]["secretKeyRef"]["name"])
        assert secrets
        assert all(f"create secret generic {name} " in manual for name in secrets)


def test_production_asks_for_keys_and_encrypts():
    settings = settings_of("production", "server")
    assert not settings.allow_anyone
    assert settings.keys
    assert settings.tls_cert
    assert not settings_of("production", "gateway").allow_anyone


def test_pages_under_way_are_as_many_as_the_servers_take():
    """More would be refused there; fewer would leave servers idle, and hide what waits."""
    scaled = of_kind("production", "ScaledObject")["countersign"]["spec"]
    most = {"test": of_kind("test", "Deployment")["countersign"]["spec"]["replicas"]}
    most["production"] = scaled["maxReplicaCount"]
    for overlay, servers in most.items():
        cores = int(container(overlay, "server")["resources"]["limits"]["cpu"])
        gateways = of_kind(overlay, "Deployment")["countersign-gateway"]["spec"]["replicas"]
        at_once = settings_of(overlay, "gateway").at_once
        assert gateways * at_once == servers * Plan(cores).in_flight


def test_the_autoscaler_and_nobody_else_says_how_many_servers_there_are():
    scaled = of_kind("production", "ScaledObject")["countersign"]["spec"]
    deployment = of_kind("production", "Deployment")[scaled["scaleTargetRef"]["name"]]
    assert "replicas" not in deployment["spec"]  # else each apply sets it back


def test_the_autoscaler_asks_for_metrics_that_the_server_has(server):
    (trigger,) = of_kind("production", "ScaledObject")["countersign"]["spec"]["triggers"]
    query = trigger["metadata"]["query"]
    shown = readiness.call(server.metrics_url, "/metrics", 10).decode()
    waits, answered = "nv_inference_queue_duration_us", "nv_inference_request_success"
    assert re.findall(r"\bnv_\w+", query) == [waits, answered]
    (models,) = re.findall(r'model=~"([\w|]+)"', query)
    assert set(models.split("|")) == ensembles(server.settings.repository).keys()
    for model in ("document_preprocess", "document_yolo"):
        assert re.search(rf'^{waits}{{.*model="{model}"', shown, re.MULTILINE)
    for model in models.split("|"):  # the server's own samples are counted
        assert re.search(rf'^{answered}{{.*model="{model}".*}} [1-9]', shown, re.MULTILINE)


def test_rules_and_scrapes_are_those_of_observability():
    folder = ROOT / "deploy" / "observability"
    rules = of_kind("production", "PrometheusRule")["countersign"]["spec"]
    assert rules == yaml.safe_load((folder / "alerts.yaml").read_text())
    config = yaml.safe_load((folder / "prometheus.yaml").read_text())
    monitor = of_kind("production", "PodMonitor")["countersign"]["spec"]
    (scraped,) = monitor["podMetricsEndpoints"]
    assert scraped["interval"] == config["global"]["scrape_interval"]
    (job,) = config["scrape_configs"]
    labels = of_kind("production", "Deployment")["countersign"]["spec"]["template"]["metadata"]
    assert labels["labels"][monitor["jobLabel"]] == job["job_name"]
    assert (job.get("metrics_path", "/metrics"), scraped["port"]) == (scraped["path"], "metrics")


@overlays
@rooms
def test_monitors_select_the_pods(overlay, room):
    for monitor in of_kind(overlay, "PodMonitor").values():
        selected = monitor["spec"]["selector"]["matchLabels"][LABEL]
        (named,) = {port["port"] for port in monitor["spec"]["podMetricsEndpoints"]}
        if selected == NAMES[room]:
            assert named in {port["name"] for port in container(overlay, room)["ports"]}


@overlays
def test_models_come_from_object_storage_with_a_component(overlay, tmp_path):
    text = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [os.path.relpath(KUBERNETES / "overlays" / overlay, tmp_path)],
        "components": [os.path.relpath(KUBERNETES / "components" / "published", tmp_path)],
    }
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(text))
    told = subprocess.run(["kubectl", "kustomize", tmp_path], capture_output=True, text=True)
    assert (told.returncode, told.stderr) == (0, "")
    objects = list(yaml.safe_load_all(told.stdout))
    for each in objects:
        if each["kind"] not in CUSTOM:
            kubernetes_validate.validate(each, OLDEST, strict=True)
    by_name = {(each["kind"], each["metadata"]["name"]): each for each in objects}
    assert by_name["NetworkPolicy", "countersign-storage"]
    spec = by_name["Deployment", "countersign"]["spec"]["template"]["spec"]
    (server_container,) = spec["containers"]
    environment = {each["name"]: each["value"] for each in server_container["env"]}
    known = {server.settings.variable(name) for name in vars(Settings())}
    assert environment.keys() - known == {"AWS_REGION"}
    settings = server.settings.parse([], environment | {"COUNTERSIGN_HOST": "0.0.0.0"})
    assert settings.published == "s3://bank-models/production"
    mounts = {each["mountPath"]: each for each in server_container["volumeMounts"]}
    assert not mounts[str(settings.repository_cache)].get("readOnly")
    assert mounts[str(settings.repository_key.parent)]["readOnly"]
    assert {each["name"] for each in mounts.values()} <= {each["name"] for each in spec["volumes"]}
