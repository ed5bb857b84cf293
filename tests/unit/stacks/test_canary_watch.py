"""What the canary counts as refused, and what as no answer."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest
from aihub import paths

LOST = "Could not connect to Valkey at db:6379: Connection refused"
ANSWERS = {
    "OK\nPONG": "works",
    "WRONGPASS invalid username-password pair or user is disabled.\nNOAUTH Authentication required.": "refused",
    "Could not connect to Valkey at db:6379: SSL_connect failed: certificate verify failed": "refused",
    LOST: "silent",
    f"{LOST}\n{LOST}\nNOAUTH Authentication required.": "silent",  # the server came between two commands
}


@pytest.mark.parametrize(("answer", "kind"), ANSWERS.items(), ids=range(len(ANSWERS)))
def test_an_answer_is_counted_as_what_it_is(tmp_path: Path, answer: str, kind: str) -> None:
    for folder in ("canary", "secrets", "bin"):
        (tmp_path / folder).mkdir()
    (tmp_path / "secrets" / "redis_main_login").write_text("user\npassword\n")
    (tmp_path / "answer").write_text("OK\nPONG")  # nothing counts before the first that works
    client = tmp_path / "bin" / "valkey-cli"
    client.write_text(f"#!/bin/sh\ncat > /dev/null; cat {tmp_path}/answer\n")
    client.chmod(0o755)
    script = (paths.ROOT / "stacks" / "canary" / "config" / "watch.sh").read_text().replace("/run/", f"{tmp_path}/")
    environment = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "CANARY_INTERVAL": "0.02", "REDIS_HOST": "db"}
    running = subprocess.Popen(["sh", "-c", script, "watch.sh", "redis"], env=environment, stderr=subprocess.DEVNULL)
    try:
        wait_for(tmp_path, "works")
        (tmp_path / "answer.new").write_text(answer)
        (tmp_path / "answer.new").rename(tmp_path / "answer")
        counted = wait_for(tmp_path, kind)
    finally:
        running.terminate()
        running.wait()
    others = {"refused", "silent"} - {kind}
    assert not {name: counted[name] for name in others if counted[name]}


# Logins that worked, that were refused; seconds since the last refusal and since the last try.
COUNTS = {
    (3, 0, 10**9, 0): True,
    (0, 0, 10**9, 0): False,  # it never got in
    (3, 1, 5, 0): False,
    (3, 1, 500, 0): True,
    (3, 0, 10**9, 500): False,  # it does not try any more
}


@pytest.mark.parametrize(("count", "well"), COUNTS.items(), ids=range(len(COUNTS)))
def test_it_is_healthy_once_it_got_in_and_is_not_refused(
    tmp_path: Path, count: tuple[int, int, int, int], well: bool
) -> None:
    works, refused, since, tried = count
    now = int(time.time())
    (tmp_path / "count").write_text(f"{works} {refused} 0 {now - since} {now - tried}\n")
    script = (paths.ROOT / "stacks" / "canary" / "config" / "healthy.sh").read_text()
    script = script.replace("/run/canary/", f"{tmp_path}/")
    assert (subprocess.run(["sh", "-c", script], check=False).returncode == 0) == well


def wait_for(folder: Path, kind: str) -> dict[str, int]:
    """The counters, once one of them is more than two."""
    limit = time.monotonic() + 20
    while time.monotonic() < limit:
        path = folder / "canary" / "count"
        words = path.read_text().split() if path.exists() else []
        found = dict(zip(("works", "refused", "silent"), map(int, words), strict=False))
        if found.get(kind, 0) > 2:
            return found
        time.sleep(0.02)
    raise AssertionError(f"{kind} is not counted: {found}")
