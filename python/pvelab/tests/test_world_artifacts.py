"""What is made once on a machine: by one process at a time, whole or not at all, removed by last use."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from pvelab.world import artifacts, images, lab, mounts, sources
from pvelab.world.artifacts import Made
from pvelab.world.lab import Lab

# Makes an artifact in a process of its own: says that it began, then takes its time.
MAKER = """
    import sys, time
    from pathlib import Path
    from pvelab.world import artifacts, lab
    from pvelab.world.artifacts import Made
    lab.STATES, name, seconds = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
    def make():
        print("makes", flush=True)
        file = artifacts.root() / "roots" / "one.tar"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("half")
        time.sleep(seconds)
        file.write_text("whole")
        return Made(["roots/one.tar"], {})
    taken = artifacts.ensure(lab.Lab(name), "root", "one", "k1", make)
    print(taken.outcome, flush=True)
"""


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with an empty cache and two labs."""
    monkeypatch.setenv("PVELAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(artifacts.REPORT, raising=False)
    monkeypatch.setattr(lab, "STATES", tmp_path / "states")
    monkeypatch.setattr(lab, "RUNTIME", tmp_path / "run")
    for name in ("a", "b"):
        Lab(name).state.mkdir(parents=True)
    return tmp_path


def maker(machine: Path, name: str, seconds: float) -> subprocess.Popen[str]:
    """A process that takes artifact k1 for a lab, and makes it if it has to."""
    argv = [sys.executable, "-c", textwrap.dedent(MAKER), str(machine / "states"), name, str(seconds)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)


def make(key: str, size: int = 10) -> Made:
    file = artifacts.root() / "roots" / f"{key}.tar"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"x" * size)
    return Made([f"roots/{key}.tar"], {"key": key})


def ensure(key: str, *, where: str = "a", size: int = 10) -> artifacts.Taken:
    return artifacts.ensure(Lab(where), "root", key, key, lambda: make(key, size))


def there() -> list[str]:
    return sorted(path.stem for path in (artifacts.root() / "roots").iterdir())


def forget(name: str) -> None:
    """The lab is gone from this machine."""
    for file in Lab(name).state.iterdir():
        file.unlink()
    Lab(name).state.rmdir()


def last_used(*keys: str) -> None:
    """Says in which order artifacts were used, the longest ago first."""
    for age, key in enumerate(reversed(keys)):
        then = time.time() - 3600 * (age + 1)
        os.utime(artifacts.root() / "records" / f"root-{key}.json", (then, then))


def test_two_that_ask_for_one_key_at_the_same_time_make_it_once(machine: Path) -> None:
    processes = [maker(machine, name, 1.0) for name in ("a", "b")]
    said = sorted(process.communicate(timeout=30)[0].split() for process in processes)
    assert said == [["makes", "built"], ["reused"]]


def test_the_lock_of_a_killed_maker_goes_with_it_and_nobody_gets_its_half(machine: Path) -> None:
    first = maker(machine, "a", 60)
    assert first.stdout is not None
    assert first.stdout.readline() == "makes\n"
    second = maker(machine, "b", 0)
    time.sleep(0.5)
    assert second.poll() is None
    first.send_signal(signal.SIGKILL)
    assert second.communicate(timeout=30)[0].split() == ["makes", "built"]
    first.communicate()
    assert (artifacts.root() / "roots" / "one.tar").read_text() == "whole"


def test_what_somebody_is_making_is_not_there_for_who_does_not_want_to_wait(machine: Path) -> None:
    first = maker(machine, "a", 2)
    assert first.stdout is not None
    assert first.stdout.readline() == "makes\n"
    assert artifacts.reuse(Lab("b"), "root", "one", "k1") is None
    first.communicate(timeout=30)
    taken = artifacts.reuse(Lab("b"), "root", "one", "k1")
    assert taken is not None
    assert taken.outcome == "reused"


def test_a_failed_maker_leaves_nothing_behind_that_is_taken() -> None:
    def half() -> Made:
        make("k")
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        artifacts.ensure(Lab("a"), "root", "k", "k", half)
    assert artifacts.reuse(Lab("a"), "root", "k", "k") is None
    assert ensure("k").outcome == "built"


def test_an_artifact_that_lost_a_part_is_made_again() -> None:
    ensure("k")
    (artifacts.root() / "roots" / "k.tar").unlink()
    assert artifacts.reuse(Lab("a"), "root", "k", "k") is None
    assert ensure("k").outcome == "built"


def test_what_was_made_for_one_lab_is_taken_by_the_next_with_what_is_known_of_it() -> None:
    assert ensure("k", where="a").outcome == "built"
    taken = ensure("k", where="b")
    assert (taken.outcome, taken.details) == ("reused", {"key": "k"})


def test_the_least_recently_used_goes_first_and_only_until_the_rest_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("old", "middle", "new"):
        ensure(key, size=100)
    last_used("old", "middle", "new")
    ensure("old")  # a use, not an age
    forget("a")
    assert artifacts.trim(250) == ["root-middle"]
    assert there() == ["new", "old"]
    assert artifacts.trim(250) == []
    monkeypatch.setattr(artifacts, "LIMIT", 250)
    ensure("next", where="b", size=100)
    assert there() == ["next", "old"]


def test_what_a_lab_of_this_machine_took_stays_however_old() -> None:
    ensure("mine", where="a", size=100)
    ensure("other", where="b", size=100)
    last_used("mine", "other")
    forget("b")
    assert artifacts.trim(0) == ["root-other"]
    assert there() == ["mine"]


def test_a_line_that_was_not_written_to_its_end_keeps_nobody_from_making(machine: Path) -> None:
    ensure("k", where="a")
    with Lab("a").artifacts.open("a") as file:
        file.write('{"kind": "ro\n')
    assert ensure("other", where="b").outcome == "built"
    assert [entry["key"] for entry in artifacts.used(Lab("a"))] == ["k"]


def test_what_a_killed_maker_left_is_removed_but_never_beside_a_maker(machine: Path) -> None:
    ensure("k")
    left = artifacts.root() / "roots" / ".part-x"
    (left / "root").mkdir(parents=True)
    running = maker(machine, "b", 1)
    assert running.stdout is not None
    assert running.stdout.readline() == "makes\n"
    assert artifacts.trim() == []
    assert left.exists()
    running.communicate(timeout=30)
    assert not left.exists(), "the last maker trims"
    assert there() == ["k", "one"]


def test_blobs_stay_while_an_image_or_a_lab_needs_them() -> None:
    digests = {name: name * 32 for name in ("aa", "bb", "cc")}
    for digest in digests.values():
        blob = images.storage() / images._blob(f"sha256:{digest}")
        blob.parent.mkdir(parents=True)
        blob.write_text("x")
    by_hand = images.home(Lab("b")) / "docker/registry/v2/repositories/x/_layers/sha256" / digests["bb"] / "link"
    by_hand.parent.mkdir(parents=True)
    by_hand.write_text(f"sha256:{digests['bb']}")
    files = [f"images/{images._blob('sha256:' + digests['aa'])}"]
    artifacts.ensure(Lab("a"), "image", "one", "k", lambda: Made(files, {}))
    assert {path.parent.name for path in images.storage().glob("blobs/*/*/*/data")} == {digests["aa"], digests["bb"]}
    forget("b")
    artifacts.trim()
    assert {path.parent.name for path in images.storage().glob("blobs/*/*/*/data")} == {digests["aa"]}
    assert not images.home(Lab("b")).exists()


def test_each_use_is_told_beside_the_lab_s_state_and_where_the_environment_says(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(artifacts.REPORT, str(machine / "report"))
    ensure("k", where="a")
    ensure("k", where="b")
    lines = [json.loads(line) for line in (machine / "report").read_text().splitlines()]
    told = [(line["lab"], line["kind"], line["name"], line["key"], line["outcome"]) for line in lines]
    assert told == [("a", "root", "k", "k", "built"), ("b", "root", "k", "k", "reused")]
    assert artifacts.used(Lab("b")) == [lines[1]]
    assert lines[0]["seconds"] >= 0


def test_a_changed_input_is_a_new_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "host_sources", lambda: [sources.Source("http://deb.example/debian", ("trixie",))])
    key = images.key("files", "2026-W48")
    assert key == images.key("files", "2026-W48")
    assert key != images.key("other files", "2026-W48")
    assert key != images.key("files", "2026-W49"), "another week of the package index"
    monkeypatch.setattr(sources, "host_sources", lambda: [sources.Source("http://other.example/debian", ("trixie",))])
    assert key != images.key("files", "2026-W48")


def test_a_lab_keeps_the_week_of_its_first_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts, "guard", lambda folder: None)  # takes root, and a mount would stay behind
    here = Lab("a")
    now = here.week
    assert len(now) == len("2026-W48")
    (here.state / "week").write_text("2020-W01\n")
    assert here.week == "2020-W01"
    here.make()
    assert here.week == "2020-W01"
