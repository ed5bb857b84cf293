"""What root of a guest could do to the machine that its lab runs on, and to other labs there."""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.lab.cli import Api, Cli

GUESTS = {"app": "311", "security": "310"}  # one stands in for a virtual machine, one is a container
NOBODY = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
PLANTED = "var/tmp/planted"


def run(*argv: str, timeout: float = 30) -> subprocess.CompletedProcess[str]:
    """Runs a program on the machine."""
    return subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False, cwd="/")


@pytest.mark.parametrize("guest", GUESTS)
def test_a_setuid_program_of_a_guest_is_out_of_every_local_user_s_reach(hub: Cli, guest: str) -> None:
    hub.on(guest, f"cp /bin/bash /{PLANTED} && chmod 6755 /{PLANTED}")
    try:
        asked = f"{' '.join(NOBODY)} /{PLANTED} -p -c 'id -u'"
        assert hub.on(guest, asked) == "0", "in the guest itself it is what it was made to be"
        planted = Path(hub.world()["state"]) / "lxc" / GUESTS[guest] / "rootfs" / PLANTED
        assert planted.stat().st_mode & 0o6000 == 0o6000, "the machine's root sees it"
        assert run(*NOBODY, "true").returncode == 0
        assert run(*NOBODY, "ls", str(planted)).returncode != 0
        assert run(*NOBODY, str(planted), "-p", "-c", "id -u").stdout == ""
        # Each of these alone would do: whoever comes past one finds the next.
        assert planted.stat().st_uid != 0, "its owner is nobody on the machine"
        assert os.statvfs(planted).f_flag & os.ST_NOSUID
        assert os.statvfs(planted).f_flag & os.ST_NODEV
    finally:
        hub.on(guest, f"rm -f /{PLANTED}")


@pytest.mark.parametrize("guest", GUESTS)
def test_nobody_of_the_machine_gets_in_by_way_of_nobody_of_a_guest(hub: Cli, guest: str) -> None:
    """Where both are one user to the kernel, /proc of one's process is a door that the other may use."""
    mark = f"{4000 + os.getpid() % 1000}.5"
    hub.on(guest, f"nohup setsid {' '.join(NOBODY)} sleep {mark} >/dev/null 2>&1 </dev/null &")
    try:
        limit, pids = time.monotonic() + 10, list[str]()
        while not pids and time.monotonic() < limit:
            pids = run("pgrep", "-x", "-f", f"sleep {mark}").stdout.split()
        (pid,) = pids
        assert Path(f"/proc/{pid}/root/etc/hostname").read_text().strip() == guest, "the machine's root may"
        assert run(*NOBODY, "cat", f"/proc/{pid}/root/etc/hostname").stdout == ""
        assert run(*NOBODY, "kill", pid).returncode != 0
    finally:
        hub.on(guest, f"pkill -x -f 'sleep {mark}'")


def test_folders_that_hold_roots_caches_and_states_are_closed(hub: Cli) -> None:
    world = hub.world()
    state, cache = Path(world["state"]), Path(world["registry"]["ca"]).parents[1]
    made = cache / "made"
    for folder in (state, state / "lxc", state / "snapshots", state / "api", cache, made, made / "roots"):
        assert list(folder.iterdir()) or folder.name == "snapshots", f"{folder}: there is something to see"
        seen = run(*NOBODY, "ls", str(folder))
        assert (seen.returncode, seen.stdout) != (0, ""), folder
        assert seen.stdout == "", folder


def test_a_link_in_a_guest_s_root_leads_to_no_file_of_the_machine(hub: Cli, api: Api, tmp_path: Path) -> None:
    """The node writes a guest's hosts and network files; what lies there before is the guest's choice."""
    secret = tmp_path / "secret"
    secret.write_text("192.0.2.1 of-the-machine\n")
    secret.chmod(0o600)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    config = f"/nodes/pve/lxc/{GUESTS['security']}/config"
    card = api("GET", config)["net0"]
    network = "/etc/systemd/network"
    hub.on("security", f"cp -a /etc/hosts /etc/hosts.kept && ln -sfn {secret} /etc/hosts")
    hub.on("security", f"cp -a {network} {network}.kept && rm -r {network} && ln -s {elsewhere} {network}")
    try:
        with suppress(AssertionError):  # refused is well, too
            api("PUT", config, net0=f"{card},firewall=1")  # whatever changes a card makes the node write
        assert "of-the-machine" not in hub.on("security", "cat /etc/hosts 2>/dev/null || true")
        assert secret.read_text() == "192.0.2.1 of-the-machine\n"
        assert list(elsewhere.iterdir()) == []
    finally:
        hub.on("security", f"rm -rf {network} /etc/hosts; mv {network}.kept {network}; mv /etc/hosts.kept /etc/hosts")
    hub.on("security", f"rm -f {network}/10-eth0.network")
    for wanted in (card, f"{card},firewall=1", card):
        api("PUT", config, net0=wanted)
    assert "Address=" in hub.on("security", f"cat {network}/10-eth0.network"), "what is the node's it still writes"


def test_nothing_of_the_lab_listens_on_the_machine_but_the_api_on_its_loopback(hub: Cli) -> None:
    world = hub.world()
    listening = run("ss", "-H", "-l", "-t", "-n").stdout.splitlines()
    places = {line.split()[3] for line in listening}
    assert f"127.0.0.1:{world['api']['port']}" in places
    assert not [place for place in places if place.rpartition(":")[2] in ("5000", "443", "8006")]
