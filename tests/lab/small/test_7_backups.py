"""What instances keep is copied, lost, and comes back."""

from __future__ import annotations

import json
import os
import signal
import time
from datetime import UTC, datetime

import pytest
from aihub.secrets import kits

from tests.lab.cli import Cli
from tests.lab.small.test_2_edits import Files, come_true, files

__all__ = ["files"]
pytestmark = pytest.mark.lab
DATA = "/var/lib/hub/notes/data"
VALKEY = """
docker exec -i client-client-1 sh -c '
  { printf "AUTH %s %s\\n" "$(cat /run/secrets/redis_main_user)" "$(cat /run/secrets/redis_main_password)"; cat; } |
  valkey-cli -h $REDIS_HOST --tls --sni $REDIS_HOST --cacert /run/secrets/ca.pem'
"""
TREE = f"cd {DATA} && find . -type f ! -name starts -printf '%p %m %U:%G ' -exec sha256sum {{}} \\;"
STATE = "/var/lib/hub/restic-server/data/state"
REPOSITORY = "/var/lib/hub/restic-server/data/repositories/backup-app-own.restic.small.home.arpa"


def valkey(hub: Cli, *commands: str) -> list[str]:
    """What Valkey answers the client, line by line."""
    return hub.on("app", VALKEY, "".join(f"{one}\n" for one in commands)).splitlines()[1:]


def copies(hub: Cli, *names: str) -> dict[tuple[str, str], dict]:
    """What `aihub backups` knows, by owner and what of it."""
    found = json.loads(hub("backups", *names, "--json").stdout)["copies"]
    return {(one["owner"], one["what"].partition(" ")[0]): one for one in found}


def keep_copies(hub: Cli) -> None:
    """Puts who keeps copies into the running hub, where it is not there yet."""
    text = hub.hub.read_text()
    if "restic-server" not in text:
        hub.hub.write_text(text.replace("stacks: [vault, redis]", "stacks: [vault, redis, restic-server]"))
        come_true(hub, "security", "app", "node pve", "vault@security")


@pytest.fixture(scope="module", autouse=True)
def kept(hub: Cli) -> None:
    """Copies are kept; the last test of tests/attacks/small/test_backups.py takes that out again."""
    keep_copies(hub)


def look_after(hub: Cli) -> None:
    """The keeper does at once, for both repositories, what it does once a day."""
    wait = f"for i in $(seq 600); do [ $(ls {STATE}/*.reading 2>/dev/null | wc -l) = 2 ] && break; sleep 0.2; done"
    hub.on("security", f"rm -f {STATE}/*; docker restart restic-server-keeper-1 > /dev/null; {wait}")


@pytest.fixture
def written(hub: Cli) -> str:
    """Files of every sort and a key, copied; gives how the files look."""
    make = "echo one > a; head -c 3000000 /dev/urandom > deep/er/big; : > 'deep/a name'; ln -sfn a link"
    hub.on("app", f"set -e; cd {DATA}; rm -rf deep b; umask 027; mkdir -p deep/er; {make}; chown -R 1001:1001 .")
    assert valkey(hub, "SET client_app_main:k one") == ["OK"]
    hub.ok("backup")
    return hub.on("app", TREE)


def test_what_is_lost_comes_back_as_it_was(hub: Cli, written: str) -> None:
    assert all(one["copies"] and not one["late"] for one in copies(hub).values())
    hub.on("app", f"echo two > {DATA}/a; rm -r {DATA}/deep; touch {DATA}/b")
    assert valkey(hub, "SET client_app_main:k two", "SET client_app_main:new x") == ["OK", "OK"]
    told = hub("restore", "app")
    assert told.returncode == 0, told.stderr
    assert "stopped meanwhile: client@app, notes@app" in told.stderr
    assert hub.on("app", TREE) == written
    assert hub.on("app", f"readlink {DATA}/link; ls -A {DATA} | tr '\\n' ' '; ls -A /var/lib/hub/notes") == (
        "a\na deep link starts data"
    )
    assert valkey(hub, "GET client_app_main:k", "EXISTS client_app_main:new") == ["one", "0"]
    hub.settles()


def test_an_earlier_time_can_be_asked_for_and_what_was_there_is_copied_first(hub: Cli, written: str) -> None:
    moment = datetime.now(UTC).astimezone().isoformat(timespec="seconds")
    hub.on("app", f"sleep 1.1; echo three > {DATA}/a")
    hub.ok("backup", "notes@app")
    before = copies(hub, "notes@app")["notes@app", "files"]["copies"]
    hub.on("app", f"echo four > {DATA}/a")
    hub.ok("restore", "notes@app", "--at", moment)
    assert hub.on("app", f"cat {DATA}/a") == "one"
    hub.ok("restore", "notes@app", "--no-backup")
    assert hub.on("app", f"cat {DATA}/a") == "three", (
        "what was copied before something was put back is chosen by nobody"
    )
    assert len(copies(hub, "notes@app")["notes@app", "files"]["copies"]) == len(before) + 1
    early = hub("restore", "notes@app", "--at", "2020-01-01")
    assert early.returncode == 4
    assert "there is no copy from before 2020-01-0" in early.stderr


def test_a_guest_is_made_anew_and_has_what_lay_on_it_killed_once_on_the_way(hub: Cli, written: str) -> None:
    before = hub.on("app", "cat /etc/machine-id")
    hub.on("app", f"echo five > {DATA}/a")
    with hub.start("rebuild", "app") as running:
        for line in running.stdout or ():
            if "app: being created" in line:
                os.killpg(running.pid, signal.SIGKILL)
                break
    assert running.returncode == -signal.SIGKILL, "it was killed after the guest was destroyed"
    again = hub("rebuild", "app")
    assert again.returncode == 0, again.stderr[-3000:] + again.stdout[-3000:]
    assert hub.on("app", "cat /etc/machine-id") != before
    assert hub.on("app", f"cat {DATA}/a") == "five"
    hub.on("app", f"echo one > {DATA}/a")
    assert hub.on("app", TREE) == written
    assert not (hub.directory / "rebuild" / "app.json").exists()
    for name, why in {"security": "the copies lie on it", "nobody": "there is no guest nobody"}.items():
        refused = hub("rebuild", name)
        assert refused.returncode in (2, 4)
        assert why in refused.stderr


def test_an_empty_volume_that_had_data_is_an_alarm_and_no_copy(hub: Cli, written: str) -> None:
    before = copies(hub, "notes@app")["notes@app", "files"]["copies"]
    hub.on("app", f"systemctl stop hub-notes && mv {DATA} {DATA}.away && install -d -o 1001 -g 1001 -m 700 {DATA}")
    try:
        failed = hub("backup", "notes@app")
        assert failed.returncode == 1
        assert f"{DATA} is empty, and had" in failed.stderr
        assert copies(hub, "notes@app")["notes@app", "files"]["copies"] == before
        hub.ok("restore", "notes@app", "--no-backup")
        assert hub.on("app", TREE) == written
    finally:
        hub.on("app", f"rm -rf {DATA}.away; systemctl start hub-notes")
    hub.ok("backup", "notes@app")


def test_a_copy_that_is_killed_leaves_its_instance_running_and_the_next_one_goes_well(hub: Cli, written: str) -> None:
    hub.on("app", f"head -c 200000000 /dev/urandom > {DATA}/deep/er/big; chown 1001:1001 {DATA}/deep/er/big")
    begun = "pgrep -x restic > /dev/null && ! systemctl is-active -q hub-notes"
    kill = f"""
        systemctl start --no-block hub-backup@notes
        for i in $(seq 300); do {begun} && break; sleep 0.1; done
        pgrep -x restic > /dev/null && systemctl kill --signal=KILL hub-backup@notes || exit 1
        for i in $(seq 600); do systemctl is-active -q hub-notes && break; sleep 0.1; done
        systemctl is-active hub-notes
    """
    assert hub.on("app", kill) == "active"
    hub.ok("backup", "notes@app")
    found = copies(hub, "notes@app")["notes@app", "files"]
    assert found["copies"][0]["bytes"] > 200_000_000
    hub.on("app", f"rm {DATA}/deep/er/big")


def test_a_dump_that_fails_is_no_copy(hub: Cli, written: str) -> None:
    before = copies(hub)["client@app", "redis"]["copies"]
    hub.on(
        "security",
        "docker pause redis-redis-1; sed -i 's/dump.sh/nothing.sh/' /etc/hub/backup.json; docker unpause redis-redis-1",
    )
    try:
        failed = hub("backup", "redis@security")
        assert failed.returncode == 1
        assert "copy dump:redis:client_app_main" in failed.stderr
        assert copies(hub)["client@app", "redis"]["copies"] == before
    finally:
        hub.on("security", "sed -i 's/nothing.sh/dump.sh/' /etc/hub/backup.json")


def test_what_is_too_old_goes_where_no_guest_gets_at_it(hub: Cli, written: str) -> None:
    look_after(hub)
    found = copies(hub)
    assert {one["wrong"] for one in found.values()} == {""}
    assert {one["reading"].split(" ")[2] for one in found.values()} == {"done:"}


def test_a_flipped_bit_is_found_and_told(hub: Cli, written: str) -> None:
    file = hub.on("security", f"ls {REPOSITORY}/index/* | head -n 1")
    hub.on("security", f"cp -p {file} /root/whole; printf X | dd of={file} bs=1 seek=40 conv=notrunc status=none")
    try:
        look_after(hub)
        bad = hub("backups")
        assert bad.returncode == 7
        assert "failed" in bad.stdout
    finally:
        hub.on("security", f"cp -p /root/whole {file}; rm /root/whole")
    look_after(hub)
    assert hub("backups").returncode == 0


def test_the_recovery_kit_opens_the_copies_without_the_store(hub: Cli, written: str) -> None:
    (kit,) = (hub.directory / "kit").glob("*.kit")
    _, files = kits.opened(kit, hub.directory / "kit" / "lab-identity")
    keys = {one["repository"]: one["key"] for one in json.loads(files["vault/copies.json"]).values()}
    assert set(keys) == {f"backup-{guest}-own.restic.small.home.arpa" for guest in ("app", "security")}
    name = REPOSITORY.rpartition("/")[2]
    restic = f"restic --repo /data/repositories/{name} --password-file /dev/stdin --no-cache --json snapshots"
    assert "notes@app" in hub.on("security", f"docker exec -i restic-server-keeper-1 {restic}", keys[name])


def test_what_goes_with_its_data_is_copied_right_before_and_stays_where_that_fails(hub: Cli, written: str) -> None:
    text = hub.hub.read_text()
    hub.on("app", f"echo last > {DATA}/a")
    hub.hub.write_text(text.replace("stacks: [client, notes]", "stacks: [client]"))
    gone = ("up", "--no-verify", "--allow-destroy", "notes@app")
    try:
        hub.on("app", "mv /usr/bin/restic /usr/bin/restic.away")
        refused = hub(*gone)
        hub.on("app", "mv /usr/bin/restic.away /usr/bin/restic")
        assert refused.returncode == 4, refused.stderr
        assert "no last copy could be made, so nothing was removed" in refused.stderr
        assert "--no-backup" in refused.stderr
        assert hub.on("app", f"cat {DATA}/a; systemctl is-active hub-notes") == "last\nactive"
        hub.ok(*gone)
        assert hub.on("app", "ls -d /var/lib/hub/notes 2>&1 || true").endswith("No such file or directory")
    finally:
        hub.hub.write_text(text)
    hub.ok("up", "--no-verify")
    hub.ok("restore", "notes@app", "--no-backup")
    assert hub.on("app", f"cat {DATA}/a") == "last"
    hub.on("app", f"echo one > {DATA}/a")
    assert hub.on("app", TREE) == written
    hub.settles()


def test_an_instance_takes_its_data_to_another_guest_killed_once_on_the_way_and_back(hub: Cli, written: str) -> None:
    text = hub.hub.read_text()
    hub.on("app", f"echo moved > {DATA}/a")
    hub.ok("move", "notes@app", "security")
    refused = hub("up", "--no-verify")
    assert refused.returncode == 4
    assert "--allow-move notes@security --with-data" in refused.stderr
    assert hub.on("app", "systemctl is-active hub-notes") == "active", "nothing was touched"
    with hub.start("up", "--no-verify", "--allow-move", "notes@security", "--with-data") as running:
        for line in running.stdout or ():
            if "notes@security: copied on app" in line:
                os.killpg(running.pid, signal.SIGKILL)
                break
    assert running.returncode == -signal.SIGKILL
    assert "put back from the copy of" in json.dumps(hub.plan()[1]["changes"])
    hub.ok("up", "--no-verify", "--allow-move", "notes@security")
    assert hub.on("security", f"cat {DATA}/a") == "moved"
    hub.on("security", f"echo one > {DATA}/a")
    assert hub.on("security", TREE) == written
    assert hub.plan()[0] == 0
    assert copies(hub)["notes@security", "files"]["copies"], "its copies moved, too"
    hub.ok("move", "notes@security", "app")
    hub.on("security", f"echo back > {DATA}/a")
    hub.ok("up", "--no-verify", "--allow-move", "notes@app", "--with-data")
    assert hub.on("app", f"cat {DATA}/a") == "back"
    hub.on("app", f"echo one > {DATA}/a")
    assert hub.on("app", TREE) == written
    assert ("notes@security", "volumes") in {(one["holder"], one["what"]) for one in hub.plan()[1]["kept"]}
    hub.hub.write_text(text)
    hub.ok("up", "--no-verify", "--allow-destroy", "notes@security")
    hub.settles()


BAD = "use strict;\nopen(my $spoilt, '>', '/data/a'); print $spoilt 'spoilt'; close $spoilt; exit 1;\n"


def test_an_update_that_does_not_do_well_comes_back_with_its_data_and_a_good_one_stays(
    hub: Cli, files: Files, written: str
) -> None:
    starts = hub.on("app", f"cat {DATA}/starts")
    files.edit("stacks/notes/config/serve.pl", "use strict;\n", BAD)
    began = time.monotonic()
    bad = hub("update", "notes@app")
    print(f"a bad update was back on the old version after {time.monotonic() - began:.0f} s")
    assert bad.returncode == 1, bad.stderr
    assert "it is back at its former version" in bad.stderr
    assert hub.on("app", f"cat {DATA}/a; ls -A /var/lib/hub") == "one\nnotes"
    assert hub.on("app", TREE) == written
    assert hub.on("app", f"cat {DATA}/starts") == str(int(starts) + 1), "it started once more"
    code, plan = hub.plan()
    assert code == 0, plan["changes"]
    assert any("notes@app is held at its former version" in one for one in plan["warnings"])
    assert hub("verify", "app").returncode == 0
    hub.ok("up", "--no-verify")
    assert "spoilt" not in hub.on("app", "cat /opt/hub/notes/config/serve.pl")
    files.edit("stacks/notes/config/serve.pl", BAD, "use strict;\n# anew\n")
    assert hub.plan()[0] == 3, "what is declared now is another version"
    hub.ok("update", "notes@app")
    assert "# anew" in hub.on("app", "cat /opt/hub/notes/config/serve.pl; ls -A /var/lib/hub")
    assert hub.on("app", TREE) == written
    files.put_back(hub)
    hub.ok("up", "--no-verify")
    hub.settles()
    assert not (hub.directory / "held.json").exists()
