"""Every folder in stacks/ is complete and keeps the rules of stacks/README.md, or names the waiver."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from aihub import paths
from aihub.model.stack import HTTP, Stack
from aihub.reading import document, load

NAMES = load.stack_names()
EXACT = re.compile(r"[a-z0-9./-]+:[A-Za-z0-9_.-]*[0-9]+\.[0-9]+[A-Za-z0-9_.-]*")


def compose(name: str) -> dict[str, Any]:
    return dict(document.read(paths.STACKS / name / "compose.yml").data)


def services() -> list[Any]:
    return [
        pytest.param(name, service, load.stack(name), id=f"{name}/{key}")
        for name in NAMES
        for key, service in compose(name)["services"].items()
    ]


def _builds(name: str) -> bool:
    return (paths.STACKS / name / "lab" / "Dockerfile").is_file()


@pytest.mark.parametrize("name", NAMES)
def test_the_folder_is_complete(name: str) -> None:
    folder = paths.STACKS / name
    for file in ("stack.yml", "compose.yml", "README.md", f"test_{name}.py"):
        assert (folder / file).is_file(), f"stacks/{name}/{file} is missing"
    built = {service["image"] for other in NAMES if _builds(other) for service in compose(other)["services"].values()}
    borrowed = {service["image"] for service in compose(name)["services"].values()} <= built
    assert (_builds(name) or borrowed) == load.stack(name).builds
    assert len((folder / "README.md").read_text().splitlines()) <= 40


@pytest.mark.parametrize("name", NAMES)
def test_the_compose_project_and_a_service_are_called_like_the_stack(name: str) -> None:
    project = compose(name)
    assert project["name"] == name
    assert name in project["services"]


@pytest.mark.parametrize(("name", "service", "stack"), services())
def test_the_service_is_hardened(name: str, service: dict[str, Any], stack: Stack) -> None:
    wanted = {
        "user": service.get("user") == f"{stack.uid}:{stack.uid}",
        "cap_drop": service.get("cap_drop") == ["ALL"],
        "no_new_privileges": "no-new-privileges:true" in service.get("security_opt", []),
        "read_only": service.get("read_only") is True,
        "memory": "mem_limit" in service,
        "health": "test" in service.get("healthcheck", {}),
        "restart": service.get("restart") == "on-failure",
        "version": EXACT.fullmatch(service["image"]) is not None,
    }
    assert [rule for rule, kept in wanted.items() if not kept and rule not in stack.waivers] == []
    assert not {"privileged", "cap_add", "network_mode", "pid", "devices"} & set(service) - set(stack.waivers)


@pytest.mark.parametrize(("name", "service", "stack"), services())
def test_mounts_fail_without_their_source(name: str, service: dict[str, Any], stack: Stack) -> None:
    for mount in service.get("volumes", []):
        assert mount["type"] == "bind"
        assert mount["bind"] == {"create_host_path": False}
        data = [f"${{HUB_DATA:-/var/lib/hub}}/{name}/{data.volume}" for data in stack.data]
        assert mount.get("read_only") is True or mount["source"] in data


@pytest.mark.parametrize("name", NAMES)
def test_who_is_brought_secrets_has_a_service_that_mounts_them(name: str) -> None:
    every = compose(name)["services"].values()
    sources = [mount["source"] for service in every for mount in service.get("volumes", [])]
    assert (f"${{HUB_SECRETS:-/run/hub/{name}}}" in sources) == load.stack(name).delivered


@pytest.mark.parametrize(("name", "service", "stack"), services())
def test_declared_ports_are_published_on_the_guests_address_only_and_http_behind_its_door(
    name: str, service: dict[str, Any], stack: Stack
) -> None:
    behind = stack.gives.get(HTTP)
    declared = {("ADDRESS", given.port) for given in stack.gives.values() if not behind or given.port != behind.port}
    if behind:
        declared.add(("INSIDE", behind.inside or behind.port))
    for port in service.get("ports", []):
        found = re.fullmatch(r"\$\{HUB_(ADDRESS|INSIDE):-127\.0\.0\.1\}:(\d+):(\d+)", port)
        assert found, port
        assert (found[1], int(found[2])) in declared


@pytest.mark.parametrize("name", NAMES)
def test_no_service_may_take_less_than_its_stack_needs_at_least(name: str) -> None:
    limits = [size(str(service["mem_limit"])) for service in compose(name)["services"].values()]
    assert sum(limits) >= load.stack(name).memory


def size(text: str) -> int:
    """Bytes of a limit as Compose writes it."""
    return int(text[:-1]) * {"m": 1 << 20, "g": 1 << 30}[text[-1]]


@pytest.mark.parametrize(("name", "service", "stack"), services())
def test_no_secret_is_in_environment_or_arguments(name: str, service: dict[str, Any], stack: Stack) -> None:
    for key in service.get("environment", {}):
        assert key.endswith("_FILE") or not re.search(r"PASS|SECRET|TOKEN|KEY$", key)


@pytest.mark.parametrize("dockerfile", sorted(paths.STACKS.glob("*/lab/**/Dockerfile")), ids=str)
def test_a_lab_build_starts_from_what_the_lab_makes(dockerfile: Path) -> None:
    text = dockerfile.read_text()
    for base in re.findall(r"^FROM (\S+)", text, re.MULTILINE):
        assert base in ("debian:trixie-slim", "${ENGINE}")
    assert not text.startswith("# syntax")  # would be fetched from a registry
    assert "org.opencontainers.image.title" in text
