"""A guest that can't be copied any more is made anew from the copies that there are; kills and flipped bits."""

from __future__ import annotations

import random
import time

import pytest

from tests.lab.cli import Cli
from tests.lab.small.test_7_backups import DATA, REPOSITORY, TREE, copies, kept, look_after, written

__all__ = ["kept", "written"]
pytestmark = pytest.mark.lab


def test_a_silent_guest_is_made_anew_from_its_last_copies(hub: Cli, written: str) -> None:
    silent = "systemctl stop ssh.socket ssh.service; pkill -KILL sshd"  # connections that are shared end, too
    hub.on("app", f"echo lost > {DATA}/a; systemd-run --quiet --on-active=2 sh -c '{silent}'")
    time.sleep(4)
    refused = hub("rebuild", "app")
    assert refused.returncode == 4
    assert "--no-backup" in refused.stderr
    hub.ok("rebuild", "app", "--no-backup")
    assert hub.on("app", TREE) == written
    hub.settles()


CHECK = """
open() {{ name=$(awk -v role="$1" '$1 == role {{ print $2 }}' /etc/restic/repositories); }}; open backup_app_own
restic --repo /data/repositories/$name --password-file /run/secrets/restic_backup_app_own_password --no-cache {0}
"""
KILLS, FLIPS = 40, 100


def restic(hub: Cli, words: str) -> str:
    """What the keeper's restic says of the repository of `app`; its exit code at the end."""
    return hub.on("security", "docker exec -i restic-server-keeper-1 sh -s 2>&1; echo exit $?", CHECK.format(words))


def test_copies_that_are_killed_leave_the_repository_sound(hub: Cli, written: str) -> None:
    chance = random.Random(1)
    hit = 0
    for _ in range(KILLS):
        hub.on("app", f"head -c 20000000 /dev/urandom > {DATA}/deep/er/big; chown 1001:1001 {DATA}/deep/er/big")
        kill = f"""
            systemctl start --no-block hub-backup@notes; sleep {chance.uniform(0.2, 4):.2f}
            systemctl is-active hub-backup@notes; systemctl kill --signal=KILL hub-backup@notes
            while [ "$(systemctl is-active hub-backup@notes)" = activating -o "$(systemctl is-active hub-backup@notes)" = deactivating ]; do sleep 0.1; done
        """  # noqa: E501
        hit += "activating" in hub.on("app", kill)
        assert restic(hub, "check --no-lock --quiet").endswith("exit 0")
    print(f"{hit} of {KILLS} kills met a copy on its way; the repository was sound after each")
    assert hit >= KILLS // 2
    look_after(hub)
    assert all(" done: " in one["reading"] for one in copies(hub).values()), "nobody had to remove a lock"
    hub.ok("backup", "notes@app")
    assert hub("backups").returncode == 0, "what was killed is tidied up without a person"


def test_every_flipped_bit_is_found_when_all_is_read(hub: Cli, written: str) -> None:
    chance = random.Random(2)
    files = hub.on("security", f"cd {REPOSITORY} && find . -type f ! -path './locks/*' -printf '%s %p\\n'").splitlines()
    by_class: dict[str, list[tuple[int, str]]] = {}
    for size, _, path in (line.partition(" ") for line in files):
        by_class.setdefault(path.split("/")[1], []).append((int(size), path))
    assert set(by_class) == {"config", "data", "index", "keys", "snapshots"}
    missed = []
    for number in range(FLIPS):
        kind = sorted(by_class)[number % len(by_class)]
        size, path = chance.choice(by_class[kind])
        place, bit = chance.randrange(size), 1 << chance.randrange(8)
        flip = (
            f"import sys; f = open('{REPOSITORY}/{path}', 'r+b'); f.seek({place}); b = f.read(1)[0]; f.seek({place}); "
        )
        flip += f"f.write(bytes([b ^ {bit}]))"
        hub.on("security", f'chmod u+w {REPOSITORY}/{path}; python3 -c "{flip}"')
        if restic(hub, "check --no-lock --quiet --read-data").endswith("exit 0"):
            missed.append(f"{path} at {place}")
        hub.on("security", f'python3 -c "{flip}"')
    print(f"{FLIPS - len(missed)} of {FLIPS} flipped bits were found")
    assert not missed
    assert restic(hub, "check --no-lock --quiet --read-data").endswith("exit 0")
