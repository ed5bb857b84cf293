"""What a guest is called and where an instance stands may change; its data, logins and secrets stay its own."""

from __future__ import annotations

import pytest

from tests.lab.cli import Cli
from tests.lab.small.test_2_edits import Files, come_true, files  # noqa: F401  (a fixture)

pytestmark = pytest.mark.lab
COUNT = "docker exec client-client-1 cat /run/canary/count"


def versions(hub: Cli) -> dict[str, int]:
    """Every entry of the store that a guest or a provider has, with its newest version."""
    with hub.opened() as context:
        paths = [*context.vault.list("hub"), *context.vault.list("operator/pair")]
        return {path: entry.version for path in paths if (entry := context.vault.read(path))}


def users(hub: Cli) -> list[str]:
    """The roles that are somebody's at the provider."""
    return sorted(hub.on("security", "grep -o '^user [^ ]* on' /var/lib/hub/redis/data/users.acl").splitlines())


def test_a_renamed_guest_keeps_its_data_its_logins_and_its_secrets(hub: Cli, files: Files) -> None:  # noqa: F811
    before, known = versions(hub), users(hub)
    kept = hub.on("app", "cat /etc/hub/agent/secret-id")
    assert hub("rename", "app", "front").returncode == 0
    come_true(hub, "front")
    assert (versions(hub), users(hub)) == (before, known)
    assert hub.on("front", "cat /etc/hub/agent/secret-id") == kept.splitlines()[0]
    assert "starts" in hub.on("front", "ls /var/lib/hub/notes/data")
    assert hub.on("front", "hostname") == "front"
    assert "10.20.30.11" in hub.on("security", "getent hosts front.small.home.arpa")
    assert hub.on("security", "getent hosts app.small.home.arpa || echo none") == "none"
    assert hub.on("front", COUNT).split()[1] == "0", "its client was refused"
    files.put_back(hub)
    come_true(hub, "app")
    assert hub.on("app", "hostname") == "app"
    assert (versions(hub), users(hub)) == (before, known)


def test_a_new_name_for_a_known_number_is_refused_and_told_how(hub: Cli, files: Files) -> None:  # noqa: F811
    files.edit("hub.yml", "  app: {", "  front: {")
    done = hub("plan")
    assert done.returncode == 4
    assert "aihub rename app front" in done.stderr
    assert hub("rename", "app", "front").returncode == 0
    assert "front: {id: app, vmid: 311" in hub.hub.read_text()
    assert hub("plan").returncode == 3


def test_a_moved_instance_keeps_its_logins_and_its_secrets(hub: Cli, files: Files) -> None:  # noqa: F811
    before, known = versions(hub), users(hub)
    assert hub("move", "client@app", "security").returncode == 0
    come_true(hub, "app", "security")
    assert (versions(hub), users(hub)) == (before, known)
    assert int(hub.on("security", COUNT).split()[0]) > 0, "its client logs in"
    assert "client" not in hub.on("app", "docker ps --all --format '{{.Names}}'; ls /run/hub /opt/hub")
    files.put_back(hub)
    come_true(hub, "app", "security")
    assert (versions(hub), users(hub)) == (before, known)
    assert hub.on("security", "ls /run/hub /opt/hub").split().count("client") == 0


def test_what_is_moved_by_hand_begins_empty_and_the_plan_says_how_to_take_it_along(
    hub: Cli,
    files: Files,  # noqa: F811
) -> None:
    files.edit("hub.yml", "stacks: [client, notes]", "stacks: [client]")
    files.edit("hub.yml", "stacks: [vault, redis]", "stacks: [vault, redis, notes]")
    done = hub("plan")
    assert done.returncode == 3
    assert "aihub move notes@app security" in " ".join((done.stdout + done.stderr).split())
    assert hub("move", "notes@app", "security").returncode == 0
    assert "{notes: {id: notes@app}}" in hub.hub.read_text()


def kept(hub: Cli) -> set[tuple[str, str]]:
    """What the plan lists as kept for nobody: whose it was, and what it is."""
    return {(one["holder"], one["what"]) for one in hub.plan()[1]["kept"]}


def test_what_an_instance_leaves_is_kept_until_it_is_named(hub: Cli, files: Files) -> None:  # noqa: F811
    others = kept(hub)  # of stacks that tests before this one have taken out
    files.edit("hub.yml", "stacks: [client, notes]", "stacks: []")
    come_true(hub, "app")
    assert kept(hub) - others >= {("notes@app", "volumes"), ("client@app", "client_app_main")}
    hub.ok("up", "--no-verify", "--allow-destroy", "notes@app", "--allow-destroy", "client@app")
    assert hub.plan()[0] == 0
    assert kept(hub) == others
    assert hub.on("app", "ls /var/lib/hub") == ""
    assert "client_app_main" not in hub.on("security", "cat /var/lib/hub/redis/data/users.acl")
    files.put_back(hub)
    come_true(hub, "app")
    assert int(hub.on("app", COUNT).split()[0]) > 0, "its client logs in again"
