"""Somebody is root on a guest: it is unknown whatever it answers, no other is, and its links lead no root on."""

from __future__ import annotations

import base64
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.attacks.answers.corpus import ALIKE, BAD, BY_PYTHON
from tests.lab.cli import BIN, Cli

pytestmark = pytest.mark.lab

HOSTILE, OTHER = "app", "security"
WORST = (
    "a newline in a file's name",
    "an escape in a file's name",
    "endless text",
    "endless standard error",
    "a million empty lists",
    "nested 100,000 times",
    "silence",
)
PYTHON = "/usr/local/bin/python3"
ENDLESS = "#!/usr/bin/python3 -I\nimport os\nwhile True:\n    os.write(1, b'x' * 65536)\n"
MEMORY, SECONDS = 64.0, 10.0
TABLE = Path(__file__).resolve().parents[3] / "build" / "hostile.json"


@contextmanager
def answering(hub: Cli, text: str) -> Iterator[None]:
    """The guest's python3 is a program of the attacker's."""
    program = base64.b64encode(text.encode()).decode()
    hub.on(HOSTILE, f"base64 -d > {PYTHON} && chmod 755 {PYTHON}", program)
    try:
        yield
    finally:
        hub.on(HOSTILE, f"rm {PYTHON}")


def measured(hub: Cli, *arguments: str) -> tuple[int, str, str, float, float]:
    """A run of aihub: exit code, what it printed, seconds, and the most memory of the process itself (MiB)."""
    program = (
        "import json, os, sys, time\n"
        "began = time.monotonic()\n"
        "pid = os.spawnv(os.P_NOWAIT, sys.argv[2], sys.argv[2:])\n"
        "_, status, used = os.wait4(pid, 0)\n"
        "found = [os.waitstatus_to_exitcode(status), time.monotonic() - began, used.ru_maxrss / 1024]\n"
        "json.dump(found, open(sys.argv[1], 'w'))\n"
    )
    told = hub.state / "measured.json"
    done = subprocess.run(
        [sys.executable, "-c", program, str(told), str(BIN / "aihub"), *arguments],
        env=hub.env, capture_output=True, text=True, errors="surrogateescape", timeout=300, check=False,
    )  # fmt: skip
    code, seconds, memory = json.loads(told.read_text())
    return code, done.stdout, done.stderr, seconds, memory


@contextmanager
def drifted(hub: Cli) -> Iterator[None]:
    """Something of the other guest is to be put right, so that its part of a plan can be compared."""
    hub.on(OTHER, "echo '# by hand' >> /etc/ssh/sshd_config")
    try:
        yield
    finally:
        hub.on(OTHER, "sed -i '/^# by hand$/d' /etc/ssh/sshd_config")


def test_root_on_a_guest_fools_nobody_about_others(hub: Cli) -> None:
    rows: dict[str, Any] = {}
    with drifted(hub):
        code, honest, _, seconds, memory = measured(hub, "plan", "--json")
        assert code == 3
        assert [change["subject"] for change in json.loads(honest)["changes"]] == [OTHER]
        for name in WORST:
            with answering(hub, f"{BY_PYTHON}{ALIKE}{BAD[name]}\n"):
                code, out, err, long, much = measured(hub, "plan", "--json")
            rows[name] = {"exit": code, "MiB more": round(much - memory, 1), "seconds more": round(long - seconds, 1)}
            assert code == 1, (name, out, err)
            plan = json.loads(out)
            assert plan["unknown"] == [HOSTILE], name
            others = [change for change in plan["changes"] if change["subject"] != HOSTILE]
            assert others == json.loads(honest)["changes"], name
            assert "Traceback" not in err, err
            assert "fault of its own" not in err, err
            assert much - memory < MEMORY, rows
            assert long - seconds < SECONDS, rows
        TABLE.parent.mkdir(exist_ok=True)
        TABLE.write_text(json.dumps(rows, indent=1) + "\n")
    assert hub.plan()[0] == 0, "put back, it is as it was"


def test_the_others_are_brought_up_and_verified_all_the_same(hub: Cli) -> None:
    with drifted(hub), answering(hub, ENDLESS):
        began = time.monotonic()
        up = hub("up", "--no-verify")
        assert up.returncode == 1, up.stderr
        assert "4 MiB" in up.stderr
        assert time.monotonic() - began < 60
        assert "# by hand" not in hub.on(OTHER, "cat /etc/ssh/sshd_config"), "the other guest was put right"
        status = hub("status")
        assert status.returncode == 0
        assert f"data is kept on {HOSTILE} is not known" in status.stdout
        verify = hub("verify", "--json", OTHER, HOSTILE, timeout=400)
    assert verify.returncode == 7, verify.stdout + verify.stderr
    checks = json.loads(verify.stdout)["checks"]
    failed = [check for check in checks if check["outcome"] == "failed"]
    assert HOSTILE in {check["subject"] for check in failed}
    others = [check for check in failed if check["subject"].rpartition("@")[2] != HOSTILE]
    assert not [one for one in others if "proves nothing" not in one["message"]], "its word is the control of a wall"
    assert hub.plan()[0] == 0


def test_a_plan_writes_nothing(hub: Cli) -> None:
    """Not of what guests say, and not of what hub.yml says now: the next `up` does."""

    def content() -> dict[str, tuple[bytes, int]]:
        files = [path for path in hub.directory.rglob("*") if path.is_file()]
        return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}

    before, text = content(), hub.hub.read_text()
    hub.on(HOSTILE, "echo 'deb http://evil.example/debian trixie main' > /etc/apt/sources.list.d/evil.list")
    try:
        assert hub.plan()[0] == 0, "a package source of a guest is no matter of the hub"
        hub.hub.write_text(text.replace("  app: {vmid: 311", "  other: {vmid: 312", 1).replace("30.11", "30.12", 1))
        edited = hub("plan", "--json")
        assert edited.returncode in (3, 4, 6), edited.stderr
    finally:
        hub.hub.write_text(text)
        hub.on(HOSTILE, "rm /etc/apt/sources.list.d/evil.list")
    assert content() == before


def test_a_door_that_was_taken_leads_root_nowhere(hub: Cli) -> None:
    """What answers the network runs as a user of its own; root copies the certificate to it at each reload."""
    plant = "cd /run/hub-door && rm -f tls.pem && ln -s /etc/planted.d tls.pem"
    hub.on(HOSTILE, "mkdir /etc/planted.d")
    try:
        hub.on(HOSTILE, f"runuser -u caddy -- sh -c {shlex.quote(plant)}")
        hub.on(HOSTILE, "systemctl reload hub-door")
        assert hub.on(HOSTILE, "ls /etc/planted.d") == ""
        assert hub.on(HOSTILE, "stat -c '%F %U %a' /run/hub-door/tls.pem") == "regular file caddy 400"
    finally:
        hub.on(HOSTILE, "rm -r /etc/planted.d; systemctl restart hub-door")


def test_log_files_are_cut_and_a_link_among_them_is_not_followed(hub: Cli) -> None:
    """The folder is the service's own; root cuts what is in it, each night."""
    folder = "/var/lib/hub/vault/audit"
    hub.on(OTHER, f"echo root > /etc/planted.log; ln -s /etc/planted.log {folder}/audit.log-2020-01-01-1")
    try:
        hub.on(OTHER, "logrotate --force /etc/logrotate.d/hub-vault")
        assert hub.on(OTHER, "cat /etc/planted.log; stat -c %u:%g:%a /etc/planted.log").split() == ["root", "0:0:644"]
        assert int(hub.on(OTHER, f"ls {folder} | wc -l")) >= 2, "the log itself was cut"
    finally:
        hub.on(OTHER, f"rm -f /etc/planted.log {folder}/audit.log-2020-01-01-1*")
