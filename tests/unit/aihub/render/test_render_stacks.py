"""An instance's files: compose as it is, templates rendered strictly, nothing secret."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from aihub import paths, render
from aihub.errors import InvalidInput
from aihub.model.resolved import Hub
from aihub.reading import load
from aihub.render import containers, stacks


@pytest.fixture(scope="module")
def hub() -> Hub:
    return load.load(paths.DEFAULT_HUB, target="lab")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for stacks/egress."""
    path = tmp_path / "egress"
    (path / "config").mkdir(parents=True)
    (path / "compose.yml").write_text("services:\n  egress:\n    image: example/egress:1\n")
    monkeypatch.setattr(stacks, "STACKS", tmp_path)
    monkeypatch.setattr(containers, "STACKS", tmp_path)
    containers._read.cache_clear()
    return path


def test_every_instance_of_the_default_hub_renders(hub: Hub) -> None:
    for instance in hub.instances:
        files = render.stack_files(hub, instance)
        assert files["compose.yml"] == (paths.STACKS / instance.stack.name / "compose.yml").read_bytes()
        assert f"HUB_ADDRESS={instance.guest.address}\n".encode() in files[".env"]


def test_templates_are_rendered_and_lose_their_ending(hub: Hub, folder: Path) -> None:
    (folder / "config" / "allow.txt.j2").write_text("{% for host in egress_hosts %}\n{{ host }}\n{% endfor %}\n")
    (folder / "config" / "as-it-is.txt").write_text("{{ not a template }}\n")
    own = replace(hub, package_hosts=("packages.example.org",))
    files = render.stack_files(own, own.instance("egress@cache"))
    assert "packages.example.org\n" in files["config/allow.txt"].decode()
    assert files["config/as-it-is.txt"] == b"{{ not a template }}\n"


def test_the_way_out_leads_nowhere_that_is_not_public_but_where_a_lab_says_so(hub: Hub) -> None:
    def rules(own: Hub) -> list[str]:
        text = render.stack_files(own, own.instance("egress@cache"))["config/squid.conf"].decode()
        return [line for line in text.splitlines() if line.startswith("http_access deny in")]

    assert rules(hub) == ["http_access deny inside", "http_access deny inland"]
    lab = replace(hub, outside=("203.0.113.80",))
    assert rules(lab) == ["http_access deny inside", "http_access deny inland !outside"]


def test_a_way_out_that_no_zone_needs_yet_lets_nobody_through(tmp_path: Path) -> None:
    """Squid takes no empty list, and no word for one."""
    small = (paths.ROOT / "tests" / "lab" / "small" / "hub.yml").read_text()
    path = tmp_path / "hub.yml"
    path.write_text(small.replace("vault, redis", "vault, egress").replace(", stacks: [client, notes]", ""))
    own = load.load(path, target="lab")
    text = render.stack_files(own, own.instance("egress@security"))["config/squid.conf"].decode()
    assert [line for line in text.splitlines() if line.startswith("acl clients")] == ["acl clients src 192.0.2.0/32"]


def test_an_unknown_name_in_a_template_is_an_error_with_its_place(hub: Hub, folder: Path) -> None:
    (folder / "config" / "bad.conf.j2").write_text("{{ nobody }}\n")
    with pytest.raises(InvalidInput, match="nobody") as caught:
        render.stack_files(hub, hub.instance("egress@cache"))
    assert "bad.conf.j2" in caught.value.where


def test_other_configuration_means_another_label_on_every_container(hub: Hub, folder: Path) -> None:
    def revision() -> str:
        files = render.stack_files(hub, hub.instance("egress@cache"))
        return str(json.loads(files["compose.override.yml"])["services"]["egress"]["labels"]["hub.revision"])

    (folder / "config" / "a.conf").write_text("one\n")
    before = revision()
    assert before == revision()
    (folder / "config" / "a.conf").write_text("two\n")
    assert before != revision()


def test_a_consumer_gets_user_and_password_as_files_and_whom_to_trust(hub: Hub) -> None:
    files = render.secret_files(hub, hub.instance("canary@monitoring"))
    logins = [f"{where}_main_{what}" for where in ("postgres", "redis") for what in ("login", "password", "user")]
    assert files == ["ca.pem", *logins]


def test_the_checks_own_logins_reach_no_guest(hub: Hub) -> None:
    assert render.secret_files(hub, hub.instance("postgres@db")) == ["ca.pem", "reconcile_a", "reconcile_b", "tls.pem"]


def test_the_unit_waits_for_every_secret(hub: Hub) -> None:
    unit = stacks.unit_file(hub, hub.instance("postgres@db"))
    assert "for file in ca.pem reconcile_a reconcile_b tls.pem;" in unit
    for needs_nothing in ("egress@cache", "vault@security"):
        assert "ExecStartPre" not in stacks.unit_file(hub, hub.instance(needs_nothing))


def test_log_files_are_cut_where_a_stack_writes_any(hub: Hub) -> None:
    text = stacks.logrotate(hub.instance("vault@security"))
    assert "/var/lib/hub/vault/audit/audit.log {\n" in text
    assert "    daily\n    rotate 90\n" in text
    assert "        docker compose --project-directory /opt/hub/vault kill --signal HUP vault\n" in text
    assert stacks.logrotate(hub.instance("postgres@db")) == ""
