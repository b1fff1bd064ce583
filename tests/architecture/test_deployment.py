"""The files of `deploy/` speak of what there is: settings, commands, ports, paths, metrics.

There is no container engine where tests run. What can be known without one is checked here; the
schemas are looked at as `docs/how-to/deploy.md` says.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from adapters.http.health import health_handlers
from adapters.http.routes import Routes
from bootstrap import cli, reference, settings
from bootstrap.gateway import READS, WRITTEN
from bootstrap.roles import ROLES
from bootstrap.wiring.serving import described

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = DEPLOY / "compose"
KUBERNETES = DEPLOY / "kubernetes"
CONTAINERFILE = (DEPLOY / "Containerfile").read_text()
FILES = [path for path in DEPLOY.rglob("*") if path.is_file()]
PLAIN = settings.load({}, home=Path("/nowhere"))
VARIABLES = {each.variable for each in settings.describe(PLAIN)} | {"MINDSTREAM_CONFIG"}
PROGRAM: Any = typer.main.get_command(cli.build())
METRICS = {metric.name for metric in reference.metrics()}
IMAGE = dict(re.findall(r"(MINDSTREAM_\w+)=(\S+)", CONTAINERFILE))
PORTS = {
    "write-api": int(IMAGE["MINDSTREAM_WRITE_API_ADDRESS"].rpartition(":")[2]),
    "read-api": int(IMAGE["MINDSTREAM_READ_API_ADDRESS"].rpartition(":")[2]),
}
TELLS = int(IMAGE["MINDSTREAM_METRICS_ADDRESS"].rpartition(":")[2])
RUNS = sorted(set(ROLES) - {"gateway"})


def documents() -> list[dict[str, Any]]:
    return [
        document
        for path in sorted(KUBERNETES.glob("*.yaml"))
        if path.name != "kustomization.yaml"
        for document in yaml.safe_load_all(path.read_text())
    ]


def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    return {each["metadata"]["name"]: each for each in documents() if each["kind"] == kind}


def composed() -> dict[str, Any]:
    """The compose file, with the example's values."""
    values = dict(
        line.split("=", 1)
        for line in (COMPOSE / "example.env").read_text().splitlines()
        if line and not line.startswith("#")
    )

    def value(found: re.Match[str]) -> str:
        name, _, default = found[1].partition(":-")
        return values.get(name, default)

    text = re.sub(r"(?<!\$)\$\{([^}]+)\}", value, (COMPOSE / "compose.yaml").read_text())
    found: dict[str, Any] = yaml.safe_load(text)["services"]
    return found


def runs(words: list[str]) -> None:
    """Fail unless the command line understands these words."""
    command, context = PROGRAM, PROGRAM.make_context("mindstream", list(words))
    rest = list(words)
    while hasattr(command, "commands"):
        name, command, rest = command.resolve_command(context, rest)
        context = command.make_context(name, list(rest), parent=context)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(DEPLOY)))
def test_every_setting_that_is_named_exists(path: Path) -> None:
    named = set(re.findall(r"MINDSTREAM_[A-Z0-9_]+", path.read_text()))
    assert named <= VARIABLES


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(DEPLOY)))
def test_every_file_that_is_named_exists(path: Path) -> None:
    parts = "adapters|bootstrap|deploy|docs|schema"
    for named in re.findall(rf"(?<![\w./-])((?:{parts})/[\w./-]*\w)", path.read_text()):
        made = named == "deploy/compose/.env"
        assert made or (ROOT / named).exists(), named


def test_the_image_has_everything_that_is_installed_and_no_more() -> None:
    copied = re.findall(r"^COPY ([^-\s]\S*) \1$", CONTAINERFILE, re.MULTILINE)
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    assert sorted(copied) == sorted(build["targets"]["wheel"]["packages"])
    for named in re.findall(r"^COPY ([^-\n]+) \./$", CONTAINERFILE, re.MULTILINE):
        assert all((ROOT / name).exists() for name in named.split())
    settings.load(IMAGE)
    exposed = re.findall(r"^EXPOSE (.*)$", CONTAINERFILE, re.MULTILINE)[0].split()
    assert {int(port) for port in exposed} == {*PORTS.values(), TELLS}


def test_compose_runs_every_role_with_settings_that_are_accepted() -> None:
    services = composed()
    started = {
        name: service["command"]
        for name, service in services.items()
        if service.get("image") == "mindstream" and "command" in service
    }
    assert sorted(started) == RUNS
    for name, command in started.items():
        assert command == ["run", name]
        runs(command)
        loaded = settings.load({**IMAGE, **services[name]["environment"]})
        assert loaded.master_key is not None
        assert loaded.write_dsn != loaded.read_dsn
        test = services[name]["healthcheck"]["test"][-1]
        port = PORTS.get(name, TELLS)
        assert f"http://127.0.0.1:{port}/" in test
        compile(test, name, "exec")
    owner = services["migrate"]["environment"]
    assert settings.load({key: text for key, text in owner.items() if key in VARIABLES}).owner_dsn
    assert not any("MINDSTREAM_OWNER_DSN" in services[name]["environment"] for name in started)


def test_what_compose_mounts_is_there() -> None:
    for service in composed().values():
        for mount in service.get("volumes", ()):
            source = mount.split(":")[0]
            if source.startswith("."):
                assert (COMPOSE / source).is_file(), source


@pytest.mark.parametrize("path", [COMPOSE / "migrate.sh", *KUBERNETES.glob("migrate.yaml")])
def test_what_is_called_before_the_start_exists(path: Path) -> None:
    called = re.findall(r"mindstream ((?:[a-z]+ ?)+)", re.sub(r"#.*", "", path.read_text()))
    assert called
    for words in called:
        runs(words.split())


def test_the_proxy_parts_reads_and_writes_as_the_gateway_does() -> None:
    text = (COMPOSE / "nginx.conf").read_text()
    methods = re.search(r"~\^\(([A-Z|]+)\)\$\s+(read-api:\d+);", text)
    assert methods is not None
    assert set(methods[1].split("|")) == READS
    assert methods[2] == f"read-api:{PORTS['read-api']}"
    assert f"~^{WRITTEN} write-api:{PORTS['write-api']};" in text
    assert set(re.findall(r"write-api:(\d+)", text)) == {str(PORTS["write-api"])}


def test_the_route_does_so_too() -> None:
    auth, reads, rest = of_kind("HTTPRoute")["mindstream"]["spec"]["rules"]
    assert auth["matches"] == [{"path": {"type": "PathPrefix", "value": WRITTEN}}]
    assert {match["method"] for match in reads["matches"]} == READS
    assert [rule["backendRefs"][0]["name"] for rule in (auth, reads, rest)] == [
        "write-api",
        "read-api",
        "write-api",
    ]
    assert {"write-api", "read-api"} == set(of_kind("Service"))


@pytest.mark.parametrize("name", RUNS)
def test_a_deployment_runs_probes_and_stops_as_it_should(name: str) -> None:
    pod = of_kind("Deployment")[name]["spec"]["template"]
    [container] = pod["spec"]["containers"]
    assert container["args"] == ["run", name]
    runs(container["args"])
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports.pop("metrics") == TELLS
    assert ports == ({"http": PORTS[name]} if name in PORTS else {})
    routes = Routes([*described(PLAIN), *health_handlers(None)])  # type: ignore[arg-type]
    for probe in ("startupProbe", "livenessProbe"):
        path = container[probe]["httpGet"]["path"]
        asked = container[probe]["httpGet"]["port"]
        assert path == "/metrics" if asked == "metrics" else "GET" in routes.methods(path)
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert pod["spec"]["securityContext"]["runAsNonRoot"]
    # Longer than a process takes to end in good order.
    assert pod["spec"]["terminationGracePeriodSeconds"] >= 40


def test_disruptions_are_bounded_and_what_waits_is_scaled() -> None:
    deployments = of_kind("Deployment")
    assert sorted(deployments) == RUNS
    for name, budget in of_kind("PodDisruptionBudget").items():
        labels = deployments[name]["spec"]["template"]["metadata"]["labels"].items()
        assert budget["spec"]["selector"]["matchLabels"].items() <= labels
    assert set(of_kind("PodDisruptionBudget")) == set(RUNS) - {"scheduler"}
    assert set(of_kind("HorizontalPodAutoscaler")) == set(PORTS)
    scaled = of_kind("ScaledObject")
    assert set(scaled) == {"projector", "worker"}
    for name, each in scaled.items():
        assert each["spec"]["scaleTargetRef"]["name"] == name
        query = each["spec"]["triggers"][0]["metadata"]["query"]
        assert set(re.findall(r"mindstream_\w+", query)) <= METRICS


def test_the_cluster_s_settings_are_accepted() -> None:
    given = of_kind("ConfigMap")["mindstream"]["data"]
    secrets = of_kind("Secret")
    shared = {**IMAGE, **given, **secrets["mindstream"]["stringData"]}
    assert settings.load(shared).owner_dsn is None
    assert settings.load({**shared, **secrets["mindstream-owner"]["stringData"]}).owner_dsn


def test_everything_but_secrets_and_the_migration_is_applied_together() -> None:
    [listed] = [yaml.safe_load(path.read_text()) for path in KUBERNETES.glob("kustomization.yaml")]
    files = {path.name for path in KUBERNETES.glob("*.yaml")}
    left = {"kustomization.yaml", "migrate.yaml", "secret.example.yaml"}
    assert set(listed["resources"]) == files - left
