"""The inventory holds everything that roles need, as data, and hashes that change when it does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from aihub import paths, render
from aihub.errors import PreconditionFailed
from aihub.model import derive
from aihub.model.resolved import Hub
from aihub.model.stack import Offer
from aihub.model.target import PVE
from aihub.reading import load
from aihub.render import variables
from aihub.state.directory import State

HOSTILE = "{{ lookup('pipe', 'touch PWNED') }}"


@pytest.fixture(scope="module")
def hub() -> Hub:
    return load.load(paths.DEFAULT_HUB, target="lab")


@pytest.fixture
def state(tmp_path: Path) -> State:
    state = State(tmp_path / "state")
    state.make()
    state.key.with_suffix(".pub").write_text("ssh-ed25519 AAAA controller\n")
    return state


def texts(value: object) -> list[object]:
    """Everything in a JSON value that is neither a marked text nor a container, number or truth value."""
    if isinstance(value, dict):
        return [] if set(value) == {"__ansible_unsafe"} else [t for v in value.values() for t in texts(v)]
    if isinstance(value, list):
        return [t for v in value for t in texts(v)]
    return [value] if isinstance(value, str) else []


def test_every_text_is_marked_as_data(hub: Hub, state: State) -> None:
    found = render.inventory(hub, state)
    assert texts(found["_meta"]["hostvars"]) == []
    assert set(found["_meta"]["hostvars"]) == set(hub.guests)


def test_a_hostile_text_stays_text_in_ansible(tmp_path: Path) -> None:
    inventory = {
        "_meta": {"hostvars": {"one": variables._as_data({"ansible_connection": "local", "evil": HOSTILE})}},
        "guests": {"hosts": ["one"]},
    }
    (tmp_path / "inventory.json").write_text(json.dumps(inventory))
    environment = {
        **os.environ,
        "AIHUB_INVENTORY": str(tmp_path / "inventory.json"),
        "ANSIBLE_HOME": str(tmp_path),
        "ANSIBLE_LOCALHOST_WARNING": "false",
    }
    command = [str(Path(sys.executable).parent / "ansible"), "-i", str(paths.ROOT / "inventory" / "hosts"), "one"]
    command += ["-m", "ansible.builtin.debug", "-a", "msg={{ evil }}"]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=True, text=True)
    assert "touch PWNED" in result.stdout
    assert not list(tmp_path.rglob("PWNED"))


def test_guests_without_a_way_out_use_the_egress_proxy(hub: Hub, state: State) -> None:
    found = render.hostvars(hub, state)
    assert found["private-ai"]["base_proxy"] == "http://10.10.10.12:3128"
    assert found["db"]["base_proxy"] == ""
    assert "10.10.20.0/24" in found["private-ai"]["docker_no_proxy"]


def test_the_way_out_has_one_port_whatever_it_is_called(hub: Hub, state: State) -> None:
    """What guests are told, what the walls let through and what the checks try is the same."""
    assert hub.egress
    gives = {key: Offer.model_validate({"port": port}) for key, port in (("metrics", 9100), ("squid", 3129))}
    stack = hub.egress.stack.model_copy(update={"gives": gives})
    instances = tuple(replace(i, stack=stack) if i == hub.egress else i for i in hub.instances)
    other = replace(hub, instances=instances, flows=derive.flows(hub.file, instances))
    assert render.hostvars(other, state)["private-ai"]["base_proxy"] == "http://10.10.10.12:3129"
    flows = [flow for flow in other.flows if flow.source == "10.10.20.0/24" and flow.destination == "10.10.10.12"]
    assert {flow.port for flow in flows if "listed hosts" in flow.why} == {3129}
    assert other.way_out == (IPv4Address("10.10.10.12"), 3129)


def test_the_kernel_of_a_lab_vm_is_not_its_own(hub: Hub, state: State) -> None:
    assert not render.hostvars(hub, state)["private-ai"]["base_owns_kernel"]
    assert render.hostvars(replace(hub, target=PVE), state)["private-ai"]["base_owns_kernel"]


def test_a_guest_hears_of_its_own_flows_only(hub: Hub, state: State) -> None:
    for name, values in render.hostvars(hub, state).items():
        mine = {(f.source, f.port) for f in hub.flows if f.destination == str(hub.guests[name].address)}
        assert {(f["source"], f["port"]) for f in values["firewall_flows"]} == mine


def test_behind_an_external_router_ssh_comes_from_the_nodes_own_address(hub: Hub, state: State) -> None:
    network = hub.file.network.model_copy(update={"gateway": "external"})
    routed = replace(hub, file=hub.file.model_copy(update={"network": network}))
    assert render.hostvars(hub, state)["db"]["firewall_ssh_from"] == ["10.10.10.1", "10.10.20.1", "10.10.30.1"]
    assert render.hostvars(routed, state)["db"]["firewall_ssh_from"] == ["192.168.1.10"]


def test_operator_keys_come_after_the_controllers(hub: Hub, state: State) -> None:
    changed = replace(hub, operator_keys=("ssh-ed25519 BBBB operator",))
    keys = render.hostvars(changed, state)["db"]["ssh_authorized_keys"]
    assert keys == ["ssh-ed25519 AAAA controller", "ssh-ed25519 BBBB operator"]


def test_without_a_controller_key_nothing_is_rendered(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(PreconditionFailed, match="no key yet"):
        render.inventory(hub, State(tmp_path))


def test_hashes_are_stable(hub: Hub, state: State) -> None:
    assert render.desired(hub, state) == render.desired(hub, state)


def test_a_new_operator_key_concerns_role_ssh_only(hub: Hub, state: State) -> None:
    before = render.desired(hub, state)["db"]
    after = render.desired(replace(hub, operator_keys=("ssh-ed25519 BBBB new",)), state)["db"]
    assert {key for key in before if before[key] != after[key]} == {"ssh"}


def test_a_new_registry_ca_concerns_role_docker_only(hub: Hub, state: State) -> None:
    before = render.desired(hub, state)["db"]
    (state.directory / render.LAB_CA).write_text("-----BEGIN CERTIFICATE-----\n")
    after = render.desired(hub, state)["db"]
    assert {key for key in before if before[key] != after[key]} == {"docker"}


def test_another_flow_concerns_role_firewall_of_its_guest_only(hub: Hub, state: State) -> None:
    flow = replace(hub.flows[0], port=4242)
    before, after = (render.desired(h, state) for h in (hub, replace(hub, flows=(*hub.flows, flow))))
    changed = {(name, key) for name in before for key in before[name] if before[name][key] != after[name][key]}
    target = next(g.name for g in hub.guests.values() if str(g.address) == flow.destination)
    assert changed == {(target, "firewall")}


def test_only_guests_with_stacks_get_docker(hub: Hub, state: State) -> None:
    found = render.inventory(hub, state)
    assert set(found["containers"]["hosts"]) == {i.guest.name for i in hub.instances}
    assert "docker" not in render.desired(hub, state)["cicd"]


def test_every_guest_gets_an_agent_that_knows_nobody_elses_secrets(hub: Hub, state: State) -> None:
    found = render.inventory(hub, state)
    assert set(found["agents"]["hosts"]) == set(hub.guests)
    config = render.hostvars(hub, state)["private-ai"]["vault_agent_config"]
    paths_read = [entry["path"] for instance in config["instances"] for entry in instance["entries"]]
    assert paths_read
    assert all(path.startswith("hub/private-ai/") for path in paths_read)
    machine = config["instances"][0]
    assert (machine["stack"], machine["uid"], machine["certificates"][0]["role"]) == (
        "machine",
        0,
        "machine-private-ai",
    )
    without = replace(hub, instances=tuple(i for i in hub.instances if i.stack.name != "vault"))
    assert "vault_agent" not in render.desired(without, state)["private-ai"]


def test_guests_whose_instances_answer_http_have_a_door(hub: Hub, state: State) -> None:
    found = render.inventory(hub, state)
    assert found["doors"]["hosts"] == ["backup", "private-ai", "public-ai"]
    values = render.hostvars(hub, state)["private-ai"]
    assert values["door_name"] == "private-ai.hub.home.arpa"
    assert [(one["instance"], one["port"], one["inside"]) for one in values["door_openings"]] == [
        ("litellm@private-ai", 4000, 4000),
        ("chroma@private-ai", 8000, 8000),
        ("embeddings@private-ai", 8070, 8070),
        ("open-webui@private-ai", 8080, 8080),
        ("ollama@private-ai", 11434, 11434),
    ]
    assert "caddy" in values["base_upcoming_packages"]
    assert values["vault_agent_config"]["instances"][0]["units"] == ["hub-door.service"]
    desired = render.desired(hub, state)
    assert {guest for guest in hub.guests if "door" in desired[guest]} == {"backup", "private-ai", "public-ai"}


def test_dockers_network_overlaps_no_zone(hub: Hub) -> None:
    zones = {
        **hub.zones,
        "infra": hub.zones["infra"].model_copy(update={"subnet": IPv4Network("172.30.4.0/24")}),
    }
    moved = replace(hub, file=hub.file.model_copy(update={"zones": zones}))
    assert str(variables._pool(hub)) == "172.30.0.0/16"
    assert str(variables._pool(moved)) == "172.29.0.0/16"


def test_packages_are_those_of_the_roles() -> None:
    assert {"python3", "nftables", "docker.io", "qemu-guest-agent"} <= set(render.packages())
    assert "nftables" not in render.packages("docker")
    assert {"docker-cli", "docker-compose"} <= set(render.packages("docker"))
    ubuntu = set(render.packages("docker", "ubuntu"))
    assert "docker-compose-v2" in ubuntu
    assert not {"docker-cli", "docker-compose"} & ubuntu, "there is no such package, or it is the one in Python"
    assert render.packages("door", "ubuntu") == render.packages("door")


def test_the_packages_own_services_that_nobody_wants_are_named() -> None:
    assert render.masked() == ["caddy-api.service", "caddy.service"]


def test_a_container_shares_the_driver_of_its_node(hub: Hub, state: State) -> None:
    shared = replace(hub.guests["db"], gpu="rtx5090")
    values = render.hostvars(replace(hub, guests={**hub.guests, "db": shared}), state)
    assert (values["db"]["nvidia_shared"], values["private-ai"]["nvidia_shared"]) == (True, False)
    real = replace(hub, target=PVE, guests={**hub.guests, "db": shared})
    owns = {
        name: one["nvidia_owns_kernel"] for name, one in render.hostvars(real, state).items() if "nvidia_shared" in one
    }
    assert (owns["db"], owns["private-ai"]) == (False, True)


def test_a_guest_with_a_card_gets_its_driver_and_no_other_does(hub: Hub, state: State) -> None:
    found = render.inventory(hub, state)
    assert found["cards"]["hosts"] == ["private-ai", "public-ai"]
    variables = found["_meta"]["hostvars"]
    assert (variables["private-ai"]["nvidia_simulated"], variables["private-ai"]["docker_cdi"]) == (True, True)
    assert variables["private-ai"]["nvidia_proxy"] == {"__ansible_unsafe": "http://10.10.10.12:3128"}
    assert [name for name in variables["db"] if name.startswith("nvidia") or name == "docker_cdi"] == []
    assert "nvidia" in render.desired(hub, state)["private-ai"]
    assert "nvidia" not in render.desired(hub, state)["db"]
    assert {"developer.download.nvidia.com", "nvidia.github.io"} == set(render.hosts("nvidia"))
