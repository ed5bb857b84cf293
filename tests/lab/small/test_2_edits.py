"""An edit of hub.yml or of a stack comes true in one `up`, whole; what is refused changes nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest

from tests.lab.cli import Api, Cli
from tests.lab.small.test_1_kills import kill_at, kill_when

pytestmark = pytest.mark.lab
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICzkdNXIzyBqEISLoVlCi/RPMZZt0I+7u6DwwySOEoki"  # nobody has its other half
ASK = """
import json, socket, ssl, sys
ca, address, name, *certificate = sys.argv[1:]
trust = ssl.create_default_context(cafile=ca)
for path in certificate:
    trust.load_cert_chain(path)
try:
    with socket.create_connection((address, 8080), 5) as plain, trust.wrap_socket(plain, server_hostname=name) as link:
        link.sendall(f"GET / HTTP/1.0\\r\\nHost: {name}:8080\\r\\n\\r\\n".encode())
        print(link.makefile().read().splitlines()[-1])
except ssl.SSLError as error:
    print(json.dumps({"starts": "", "refused": str(error)}))
"""
DOOR = """systemctl is-active hub-door.service hub-door.path
ls -d /etc/hub/door /run/hub-door /etc/systemd/system/hub-door.* 2>/dev/null
systemctl is-enabled hub-door.path 2>&1 || true"""
PLACES = {"security": "10.20.10.11", "app": "10.20.30.11"}


class Files:
    """hub.yml and the files of its stacks, edited by a test and put back after it."""

    def __init__(self, hub: Cli) -> None:
        self.folder = hub.hub.parent
        every = [path for path in (hub.hub, *hub.stacks.rglob("*")) if path.is_file()]
        self.before = {path: path.read_bytes() for path in every}
        self.times = {path: path.stat().st_mtime_ns for path in every}

    def edit(self, name: str, old: str, new: str) -> None:
        """Replaces a text that must be there once."""
        path = self.folder / name
        text = path.read_text()
        assert text.count(old) == 1, f"{name}: {old!r} is there {text.count(old)} times"
        path.write_text(text.replace(old, new))

    def add(self, name: str, text: str) -> None:
        """Writes a file, new or not."""
        (self.folder / name).write_text(text)

    def put_back(self, hub: Cli) -> None:
        """Everything is as it was at first, its age too: Python compiles anew what is younger than it was."""
        for path in hub.stacks.rglob("*"):
            if path.is_file() and path not in self.before:
                path.unlink()
        for path, content in self.before.items():
            path.write_bytes(content)
            os.utime(path, ns=(self.times[path], self.times[path]))


@pytest.fixture
def files(hub: Cli) -> Iterator[Files]:
    found = Files(hub)
    yield found
    found.put_back(hub)


def come_true(hub: Cli, *subjects: str, allow: tuple[str, ...] = (), told: tuple[str, ...] = ()) -> None:
    """The plan is about these guests, instances and the node, one `up` does it, and nothing is left to do then.

    `told` are options that `up` is given besides.
    """
    options = [word for name in allow for word in ("--allow-destroy", name)]
    done = hub("plan", "--json", *options)
    assert done.returncode == 3, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    planned = {change["subject"].partition(": ")[0] for change in json.loads(done.stdout)["changes"]}
    assert set(subjects) <= planned
    hub.ok("up", "--no-verify", *options, *told)
    code, left = hub.plan()
    assert (code, left["changes"], left["unknown"]) == (0, [], [])


def answer(hub: Cli, guest: str) -> dict[str, str]:
    """What the notes of a guest say of themselves through its door, but for how often they started."""
    return _asked(hub, "node", "/etc/hub-node/small/ca.pem", guest)


def answer_to_itself(hub: Cli, guest: str) -> dict[str, str]:
    """The same, when the guest asks and shows its own certificate."""
    return _asked(hub, guest, "/etc/hub/ca.pem", guest, "/run/hub/machine/tls.pem")


def _asked(hub: Cli, who: str, ca: str, guest: str, certificate: str = "") -> dict[str, str]:
    place = f"{ca} {PLACES[guest]} {guest}.small.home.arpa {certificate}"
    found: dict[str, str] = json.loads(hub.on(who, f"timeout 5 python3 - {place}", ASK))
    del found["starts"]
    return found


def inside(hub: Cli) -> dict[str, object]:
    """All that the edits below touch inside the guests."""
    listed = "docker ps --all --format '{{.Names}}'; ls /run/hub/notes /opt/hub/notes/config 2>/dev/null || true"
    keys = "grep -c nobody@ /etc/ssh/hub_authorized_keys || true"
    return {
        "answer": answer(hub, "app"),
        **{guest: sorted(hub.on(guest, listed).split()) for guest in ("security", "app")},
        "keys": [hub.on(guest, keys) for guest in ("security", "app")],
        "rules": hub.on("security", "nft list table inet hub | grep -c 8080 || true"),
        "door": hub.on("security", DOOR),
        "policies": [row for row in _policies(hub) if "notes" in row],
    }


def _policies(hub: Cli) -> list[str]:
    with hub.opened() as context:
        return sorted(context.vault.names("sys/policies/acl"))


def test_what_runs_on_guests_is_put_in_changed_and_taken_out(hub: Cli, files: Files):
    """An instance and its door, a file, a secret, a setting, a person's key."""
    before = inside(hub)
    assert before["answer"] == {"setting": "one", "file": "first", "api_key": "48"}

    files.edit("hub.yml", "stacks: [vault, redis]", "stacks: [vault, redis, notes]")
    files.edit("hub.yml", "nodes:", f"operator: {{ssh_keys: ['{KEY} nobody@one']}}\nnodes:")
    files.edit("stacks/notes/stack.yml", "secrets:", "secrets:\n    salt: {kind: hex, length: 32}")
    files.add("stacks/notes/config/more", "added\n")
    come_true(hub, "security", "app")
    now = inside(hub)
    assert answer(hub, "security") == before["answer"], "the new instance has its own files and secrets"
    assert {"salt", "more"} <= set(now["app"])
    assert now["keys"] == ["1", "1"]
    assert (now["rules"], len(now["policies"])) == ("1", len(before["policies"]) + 1)
    assert now["door"].split("\n")[:2] == ["active", "active"]
    assert before["door"].split("\n")[:2] == ["inactive", "inactive"]

    files.edit("stacks/notes/compose.yml", 'NOTES_SETTING: "one"', 'NOTES_SETTING: "two"')
    files.edit("hub.yml", "nobody@one", "nobody@two")
    files.edit("stacks/notes/stack.yml", "publish: zone}", "publish: zone, client: required}")
    files.add("stacks/notes/config/words", "second\n")
    files.add("stacks/notes/config/more", "changed\n")
    come_true(hub, "security", "app")
    for guest in PLACES:
        assert answer_to_itself(hub, guest) == {"setting": "two", "file": "second", "api_key": "48"}
        assert "certificate" in answer(hub, guest)["refused"].lower(), "the node shows none, and is let in"
    assert hub.on("app", "cat /opt/hub/notes/config/more; grep -o 'nobody@.*' /etc/ssh/hub_authorized_keys") == (
        "changed\nnobody@two"
    )

    files.put_back(hub)
    come_true(hub, "security", "app", "vault@security")
    assert inside(hub) == before
    assert hub.on("security", "cat /var/lib/hub/notes/data/starts"), "data goes only when it is named"


def test_what_is_healthy_only_when_its_login_works_comes_up_in_one_run(hub: Cli, files: Files):
    """Its user at the service is retired when it has gone, and there again before it starts."""
    files.edit("hub.yml", "stacks: [client, notes]", "stacks: [notes]")
    come_true(hub, "app")
    assert "client" not in hub.on("app", "docker ps --all --format '{{.Names}}'")

    files.put_back(hub)
    come_true(hub, "app", "redis@security")
    assert hub.on("app", "docker inspect --format '{{.State.Health.Status}}' client-client-1") == "healthy"
    works, refused = map(int, hub.on("app", "docker exec client-client-1 cat /run/canary/count").split()[:2])
    assert (works > 0, refused) == (True, 0)


def test_what_does_not_get_healthy_says_why_and_leaves_all_others_done(hub: Cli, files: Files):
    """Its last words are shown, without its secret and without what would steer a terminal."""
    before = inside(hub)
    files.edit("hub.yml", "stacks: [vault, redis]", "stacks: [vault, redis, notes]")
    files.edit("hub.yml", "stacks: [client, notes]", "stacks: [wrecked, client, notes]")
    files.add("stacks/notes/config/words", "second\n")
    done = hub("up", "--no-verify", "--json")
    assert done.returncode == 1, done.stderr[-3000:]
    rows = {row["subject"]: row for row in json.loads(done.stdout)["outcome"]}
    assert [name for name, row in rows.items() if not row["done"]] == ["wrecked@app"]
    for guest in PLACES:
        assert answer(hub, guest)["file"] == "second"

    said = rows["wrecked@app"]["error"]
    assert "".join(said.split()) in "".join(done.stderr.split()), "it is shown as well, broken into lines"
    assert "container wrecked-wrecked-1 (running, unhealthy) said:\n  opens with (api_key)" in said
    assert "finds no table of contents" in said
    assert "its health check (exit code 1) said:\n  nobody answers" in said
    assert "\x1b" not in done.stderr + said
    secret = hub.on("app", "cat /run/hub/wrecked/api_key")
    assert len(secret) == 48
    assert secret not in done.stdout + done.stderr
    assert [change["parts"] for change in hub.plan()[1]["changes"]] == [["stack/wrecked"]]

    files.put_back(hub)
    come_true(hub, "app", "security")
    assert inside(hub) == before


def machines(api: Api) -> dict[str, object]:
    """All that the edits below touch at Proxmox and on the node."""
    ours = [g for g in api("GET", "/cluster/resources", type="vm") if g.get("pool") == "hub-small"]
    changing = ("digest", "description")
    return {
        "guests": {
            g["name"]: {
                k: v for k, v in api("GET", f"/nodes/pve/{g['type']}/{g['vmid']}/config").items() if k not in changing
            }
            for g in ours
        },
        "running": {g["name"]: g["status"] for g in ours},
        "mappings": [m["id"] for m in api("GET", "/cluster/mapping/pci")],
    }


def on_node(hub: Cli) -> dict[str, str]:
    """Bridges, addresses and walls of the hub, without counters."""
    families = "for family in inet bridge arp; do nft --stateless list table $family hub_small; done"
    rules = f"{families}; nft --stateless list tables; cat /etc/udev/rules.d/80-hub-small.rules"
    return {"links": hub.on("node", "ip -br address | grep -o 'hub[^ ]* .*'"), "walls": hub.on("node", rules)}


def memory(old: str, new: str) -> tuple[str, str]:
    """The edit of the VM's memory."""
    return f"memory: {old}, disk: 8GiB, stacks: [client", f"memory: {new}, disk: 8GiB, stacks: [client"


EXTRA = """  extra: {vmid: 320, kind: lxc, zone: private, address: 10.20.20.11, cores: 1, memory: 512MiB, disk: 4GiB}
"""


@pytest.fixture(scope="module")
def bare(small_hub: Cli) -> tuple[dict[str, object], dict[str, str]]:
    """Guests and node before any of the edits below."""
    return machines(Api(small_hub)), on_node(small_hub)


def test_guests_zones_and_sizes_are_put_in_and_changed(hub: Cli, api: Api, files: Files, bare):
    files.edit("hub.yml", "guests:\n", "  private: {subnet: 10.20.20.0/24, internet: outbound}\nguests:\n" + EXTRA)
    files.edit("hub.yml", *memory("2GiB", "3GiB"))
    come_true(hub, "extra", "app")
    now = machines(api)
    assert now["running"] == {"security": "running", "app": "running", "extra": "running"}
    assert int(now["guests"]["app"]["memory"]) == 3072
    assert hub.on("extra", "hostname -f") == "extra.small.home.arpa"
    assert "hubprivate" in on_node(hub)["links"]

    files.edit("hub.yml", "memory: 512MiB, disk: 4GiB", "memory: 1GiB, disk: 5GiB")
    files.edit("hub.yml", *memory("3GiB", "2560MiB"))
    come_true(hub, "extra", "app")
    now = machines(api)
    assert int(now["guests"]["app"]["memory"]) == 2560
    assert int(now["guests"]["extra"]["memory"]) == 1024
    assert "size=5G" in now["guests"]["extra"]["rootfs"]


def test_a_guest_that_is_taken_out_stays_until_it_is_named(hub: Cli, api: Api, bare):
    """The edits of the test before, taken out."""
    come_true(hub, "app")
    assert machines(api)["guests"]["app"] == bare[0]["guests"]["app"]
    assert set(machines(api)["running"]) == {"security", "app", "extra"}
    done = hub("plan")
    assert "extra" in done.stdout + done.stderr
    for called in ("extra", "320"):
        assert hub.ssh(called, "hostname -f; true") == "extra.small.home.arpa"
    (row,) = [one for one in json.loads(hub.ok("status", "--json"))["machines"] if one["vmid"] == 320]
    assert (row["address"], row["note"]) == ("10.20.20.11", "undeclared: aihub ssh 320")
    hub.ok("up", "--no-verify", "--allow-destroy", "extra")
    assert machines(api) == bare[0]
    assert hub("ssh", "extra", "--", "true").returncode == 2


def test_a_zone_goes_together_with_its_last_guest(hub: Cli, bare):
    assert hub.plan()[0] == 0
    assert on_node(hub) == bare[1]


REFUSED = {
    "a smaller disk": ("disk: 8GiB, stacks: [client", "disk: 4GiB, stacks: [client", "disks only grow"),
    "another kind": ("vmid: 311, kind: vm", "vmid: 311, kind: lxc", "--allow-destroy app"),
}


@pytest.mark.parametrize("edit", REFUSED)
def test_a_refused_edit_changes_nothing(hub: Cli, api: Api, files: Files, edit: str):
    old, new, said = REFUSED[edit]
    before, writes = (machines(api), on_node(hub), inside(hub)), api.writes()
    files.edit("hub.yml", old, new)
    done = hub("up", "--no-verify")
    assert done.returncode == 4, f"{done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    assert said in done.stderr
    files.put_back(hub)
    assert api.writes() == writes
    assert (machines(api), on_node(hub), inside(hub)) == before
    assert hub.plan()[0] == 0


@pytest.mark.parametrize("verb", ["plan", "up"])
def test_a_name_that_nobody_knows_is_refused_before_anything_is_changed(hub: Cli, api: Api, files: Files, verb: str):
    writes = api.writes()
    files.edit("hub.yml", *memory("2GiB", "3GiB"))
    done = hub(verb, "--allow-destroy", "ap")
    assert done.returncode == 4, done.stderr
    assert "ap" in done.stderr
    assert api.writes() == writes


def test_an_edit_killed_on_its_way_is_finished_by_the_next_run(hub: Cli, api: Api, files: Files):
    before = inside(hub)
    files.edit("hub.yml", "stacks: [vault, redis]", "stacks: [vault, redis, notes]")
    files.edit("hub.yml", *memory("2GiB", "3GiB"))
    kill_at(hub, "PUT /nodes/pve/qemu/311/config", "after")
    kill_when(hub, "write the settings of the vault agent")
    come_true(hub, "security")
    assert int(machines(api)["guests"]["app"]["memory"]) == 3072
    assert answer(hub, "security") == before["answer"]

    files.put_back(hub)
    kill_when(hub, "write and check the firewall rules")
    come_true(hub, "security")
    assert inside(hub) == before
    assert int(machines(api)["guests"]["app"]["memory"]) == 2048
