"""The scan for leaked secrets: twenty leaks, one of each kind, are planted here and found; what belongs is not."""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from aihub import process
from aihub.checks import leaks
from aihub.checks.leaks import Found, Hit, Known, fed, on_guest
from aihub.errors import BadAnswer, HubError, TaskFailed
from aihub.reading import load
from aihub.state.directory import State
from pvelab.api import pve

from tests.unit.aihub import cases

VALUE = "Kq?+Zt/0w'R$9 x\"Lm4=Vb&n2YpHs8"  # what every kind of escaping must change
PLAIN = "f3N8sQw1ZxC6vB9mK2jH5gD7tR4yU0pA"
PROGRAM = Path(on_guest.__file__)
ENCODED: dict[str, Callable[[str], bytes]] = {
    "raw": lambda value: value.encode(),
    "base64 at 0": lambda value: base64.b64encode(b"abc" + value.encode()),
    "base64 at 1": lambda value: base64.b64encode(b"a" + value.encode() + b"zz"),
    "base64 at 2": lambda value: base64.b64encode(b"ab" + value.encode() + b"\n"),
    "base64url at 0": lambda value: base64.urlsafe_b64encode(value.encode()),
    "hex": lambda value: value.encode().hex().encode(),
    "upper hex": lambda value: value.encode().hex().upper().encode(),
    "URL": lambda value: quote(value, safe="").encode(),
    "JSON": lambda value: json.dumps({"key": value}).encode(),
    "shell quotes": lambda value: f"export KEY={shlex.quote(value)}".encode(),
    "shell backslashes": lambda value: b"KEY=Kq\\?+Zt/0w\\'R\\$9\\ x\\\"Lm4=Vb\\&n2YpHs8",
    "UTF-16 le": lambda value: value.encode("utf-16"),
    "UTF-16 be": lambda value: value.encode("utf-16-be"),
    "reversed": lambda value: value.encode()[::-1],
}


class Machine:
    """A machine made of a directory: its files, and a `docker` and a `journalctl` that print what lies there."""

    def __init__(self, home: Path) -> None:
        self.root, self.bin, self.told, self.private = (home / name for name in ("root", "bin", "told", "private"))
        for folder in (self.root, self.bin, self.told, self.private):
            folder.mkdir()
        self.say("inspect-c1", b'{"Id": "c1"}\n')
        self.say("inspect-i1", b'{"Id": "sha256:i1"}\n')
        self.say("logs", b"ready\n")
        self.say("journal", b"_MACHINE_ID=" + Path("/etc/machine-id").read_bytes())
        each = 'test -e "inspect-$name" || { echo "error: no such object: $name" >&2; gone=1; continue; }'
        inspect = f'inspect) shift 3; cd {self.told}; for name; do {each}; cat "inspect-$name"; done; exit $gone'
        cases = ("ps) echo c1", "image) echo i1 i9", inspect, f"*) cat {self.told}/logs")
        self._program("docker", f'case "$1" in {";; ".join(cases)};; esac')
        self._program("journalctl", f"cat {self.told}/journal")

    def _program(self, name: str, script: str) -> None:
        (self.bin / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.bin / name).chmod(0o755)

    def say(self, name: str, data: bytes) -> None:
        with (self.told / name).open("ab") as out:
            out.write(data)

    def write(self, name: str, data: bytes) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def scan(self, **more: Any) -> dict[str, Any]:
        known = Known((("kv/one", VALUE), ("kv/two", PLAIN)), {}, 0.0)
        media = ("processes", "docker", "journal", "files", "modes", "git")
        request = leaks.compose(known, more.pop("allowed", {}), more.pop("media", media), True)
        request |= {"roots": [{"path": str(self.root), "since": 0.0, "mine": False}], "private": [str(self.private)]}
        request |= {"checkout": str(self.root / "checkout"), **more}
        assert not [value for value in (VALUE, PLAIN) if value in json.dumps(request)]
        env = {**os.environ, "PATH": f"{self.bin}:{os.environ['PATH']}"}
        argv = [sys.executable, "-I", str(PROGRAM), request["marker"]]
        done = subprocess.run(argv, input=json.dumps(request).encode(), env=env, stdout=subprocess.PIPE, check=True)
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def feed(self, monkeypatch: pytest.MonkeyPatch, **more: Any) -> tuple[fed.Fed, fed.Summary, str]:
        """What is found here in what the machine hands over, and all that it was told for that."""
        roots = [{"path": str(self.root), "since": 0.0, "mine": False}]
        media = {"marker": "aihub-scan-0123456789", "roots": roots, "skip": (), "largest": 0, "deep": False}
        asked = {**fed.request(media, (), deep=False), **more}
        told: list[str] = []

        @contextmanager
        def stream(
            _state: State, _guest: str, program: Path, request: Any, marker: str, **limits: Any
        ) -> Iterator[Any]:
            told.append(json.dumps(request))
            argv = [sys.executable, "-I", str(program), marker]
            with process.streamed(argv, stdin=told[0].encode(), **limits) as found:
                yield found

        monkeypatch.setenv("PATH", str(self.bin), prepend=":")
        monkeypatch.setattr(fed.ssh, "stream", stream)
        values = (("kv/one", VALUE), ("kv/two", PLAIN))
        found, summary, _ = fed.search(State(self.root), "db", PROGRAM, asked, values)
        return found, summary, told[0]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def planted(machine: Machine, tmp_path: Path) -> Iterator[dict[tuple[str, str], str]]:
    """Twenty leaks: (medium, encoding) -> a part of the place that must be named."""
    found: dict[tuple[str, str], str] = {}
    for number, (encoding, encode) in enumerate(ENCODED.items()):
        machine.write(f"etc/{number}.conf", b"key = " + encode(VALUE) + b"\nend\n")
        found["files", encoding] = f"etc/{number}.conf"
    machine.say("inspect-c1", json.dumps({"Id": "c1", "Env": [f"KEY={VALUE}"]}).encode() + b"\n")
    machine.say("inspect-i1", json.dumps({"Id": "sha256:i1", "Env": [f"KEY={PLAIN}"]}).encode() + b"\n")
    found["docker", "JSON"] = "inspect c1"
    found["docker", "raw"] = "inspect i1"
    machine.say("journal", b"MESSAGE\n" + (40).to_bytes(8, "little") + PLAIN.encode() + b"\n")
    found["journal", "raw"] = "journal"
    checkout = machine.root / "checkout"
    git = ["git", "-C", str(checkout), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    machine.write("checkout/notes", b"password: " + PLAIN.encode())
    subprocess.run(["git", "init", "--quiet", str(checkout)], check=True)
    subprocess.run([*git, "add", "notes"], check=True)  # its blob stays, though nothing ever refers to it
    (checkout / "notes").unlink()
    found["git", "raw"] = "git blob"
    machine.write("var/log/old.log.gz", gzip.compress(b"old " + PLAIN.encode()))
    found["gz", "raw"] = "old.log.gz"
    (machine.private / "password").write_text("x")
    (machine.private / "password").chmod(0o640)
    found["modes", "mode"] = "private/password"
    wait = [sys.executable, "-c", "import time; time.sleep(60)"]
    children = [subprocess.Popen([*wait, PLAIN]), subprocess.Popen(wait, env={"PASSWORD": PLAIN})]
    found["argv", "raw"] = f"{children[0].pid}/cmdline"
    found["environment", "raw"] = f"{children[1].pid}/environ"
    try:
        yield found
    finally:
        for child in children:
            child.kill()
            child.wait()


def test_twenty_planted_leaks_are_twenty_found(machine: Machine, planted: dict[tuple[str, str], str]) -> None:
    assert len(planted) >= 20
    answer = machine.scan()
    assert answer["blind"] == []
    missed = {
        kind: place
        for kind, place in planted.items()
        if not any(place in hit[1] and hit[3] == kind[1] for hit in answer["hits"])
    }
    assert missed == {}
    text = json.dumps(answer)
    assert VALUE not in text
    assert PLAIN not in text
    # And nothing else: what is named more than once was planted as such.
    assert {hit[1].rsplit("/", 1)[-1] for hit in answer["hits"] if hit[0] == "files"} == {
        place.rsplit("/", 1)[-1] for (medium, _), place in planted.items() if medium in ("files", "gz")
    }


def test_what_is_no_secret_of_a_guest_is_searched_here_and_the_guest_gets_no_hint(
    machine: Machine, planted: dict[tuple[str, str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.say("journal", b"\n__REALTIME_TIMESTAMP=1\n")
    found, summary, told = machine.feed(monkeypatch)
    assert (summary["blind"], summary["cut"]) == ([], [])
    assert found.controls == {"processes", "journal", "files"}
    missed = {
        kind: place
        for kind, place in planted.items()
        if kind[0] not in ("git", "modes") and not any(place in hit[1] and hit[3] == kind[1] for hit in found.hits)
    }
    assert missed == {}
    for value in (VALUE, PLAIN):
        for _, encoded, _, _ in on_guest.encodings(value):
            # Shorter ones are in the paths of a test's own folder now and then.
            pieces = [encoded[at : at + 8] for at in range(len(encoded) - 7)]
            assert not [piece for piece in pieces if piece in told.encode()]


@pytest.mark.slow
def test_a_limit_leaves_out_what_is_large_and_says_so(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.write("etc/small", PLAIN.encode())
    machine.write("var/large", b"x" * (3 << 20) + PLAIN.encode())
    machine.write("var/hole", bytes(8 << 20))
    found, summary, _ = machine.feed(monkeypatch, budget=2 << 20)
    assert [Path(hit[1]).name for hit in found.hits if hit[0] == "files"] == ["small"]
    assert summary["cut"] == ["files: 2 of 3, without 8 MiB in the larger ones"]
    found, summary, _ = machine.feed(monkeypatch, budget=8 << 20)
    assert sorted(Path(hit[1]).name for hit in found.hits if hit[0] == "files") == ["large", "small"]
    assert summary["cut"] == [], "what is empty counts for nothing"


HOSTILE = {
    "no heading": b"what\n",
    "another heading": b'["files", "/etc/x"]\n',
    "unknown medium": b'["secrets", "/etc/x", 1]\nx',
    "negative": b'["files", "/etc/x", -1]\n',
    "a number that is none": b'["files", "/etc/x", true]\nx',
    "too large": b'["files", "/etc/x", 999999999999]\n',
    "a heading without an end": b"[" * (1 << 20),
    "nothing more": b'["files", "/etc/x", 10]\nxx',
    "another summary": b'{"seen": {}, "blind": [], "cut": [], "hits": [["files", "/", "kv/one", "raw"]]}\n',
    "silence": b"",
}


@pytest.mark.parametrize("said", HOSTILE.values(), ids=HOSTILE)
def test_a_guest_that_hands_over_something_else_is_that_guest_s_error(
    machine: Machine, said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = machine.write("hostile.py", f"import sys; sys.stdout.buffer.write({said!r})".encode())
    monkeypatch.setattr(sys.modules[__name__], "PROGRAM", program)
    with pytest.raises(TaskFailed):
        machine.feed(monkeypatch)


@pytest.mark.slow
def test_a_guest_that_never_stops_is_ended(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    text = b"import os\nwhile True: os.write(1, b'[\"files\", \"/x\", 65536]\\n' + b'x' * 65536)"
    monkeypatch.setattr(sys.modules[__name__], "PROGRAM", machine.write("endless.py", text))
    with pytest.raises(BadAnswer, match="said more than"):
        machine.feed(monkeypatch, budget=1 << 20)
    silent = b"import time; time.sleep(60)"
    monkeypatch.setattr(sys.modules[__name__], "PROGRAM", machine.write("silent.py", silent))
    monkeypatch.setattr(fed, "_LATER", 0.5)
    with pytest.raises(TaskFailed, match="did not end"):
        machine.feed(monkeypatch, seconds=0)


FILES = {"media": ("files",)}


def hits(answer: dict[str, Any]) -> list[tuple[str, str]]:
    assert answer["blind"] == []
    return [(Path(place).name, label) for _, place, label, _ in answer["hits"]]


def test_what_belongs_somewhere_may_be_there_and_nowhere_else(machine: Machine) -> None:
    one = machine.write("run/hub/app/one", VALUE.encode())
    machine.write("run/hub/app/two", VALUE.encode() + PLAIN.encode())
    assert hits(machine.scan(**FILES, allowed={str(one): ("kv/one",)})) == [("two", "kv/one"), ("two", "kv/two")]
    assert hits(machine.scan(**FILES, allowed={str(one): ("kv/two",)}))[0] == ("one", "kv/one")


def test_a_machine_s_own_secrets_are_known_to_its_scan(machine: Machine) -> None:
    """A secret-id and a private key: nobody but the guest can read them."""
    secret_id = machine.write("etc/secret-id", b"0f8fad5b-d9cb-469f-a165-70867728950e\n")
    body = [f"{n}" * 48 + "AbCdEfGh" * 2 for n in range(3)]
    key = "-----BEGIN EC PRIVATE KEY-----\n" + "\n".join(body) + "\n-----END EC PRIVATE KEY-----\n"
    tls = machine.write("run/tls.pem", key.encode() + b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")
    machine.write("home/copy", secret_id.read_bytes())
    machine.write("home/key.json", json.dumps({"key": key}).encode())
    found = hits(machine.scan(**FILES, own=[str(secret_id), str(machine.root / "run" / "*.pem")]))
    assert sorted(set(found)) == [("copy", str(secret_id)), ("key.json", str(tls))]


def test_the_keys_of_all_certificates_are_a_machine_s_own_and_the_authority_is_no_secret() -> None:
    hub = load.load(cases.CASES / "hub" / "valid" / "kinds.yml", cases.STACKS, target="lab")
    shown = [f"/run/hub/{i.stack.name}/{one.file}" for one in hub.certificates for i in [hub.instance(one.instance)]]
    assert shown and not [file for file in shown if not any(fnmatch(file, own) for own in leaks._OWN)]
    assert not [own for own in leaks._OWN if fnmatch("/run/hub/ink/ca.pem", own)]


def test_the_first_line_of_an_openssh_key_is_that_of_every_key() -> None:
    first = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW"
    lines = [
        "-----BEGIN OPENSSH PRIVATE KEY-----",
        first,
        "x" * 70,
        "y" * 70,
        "AA==",
        "-----END OPENSSH PRIVATE KEY-----",
    ]
    assert on_guest.lines_of("\n".join(lines)) == ["x" * 70, "y" * 70]


def test_the_same_beginning_is_a_coincidence(machine: Machine) -> None:
    machine.write("etc/other", PLAIN[:20].encode() + b"-and-then-something-else")
    assert hits(machine.scan(**FILES)) == []


@pytest.mark.slow
def test_a_secret_across_two_chunks_of_a_long_log_is_found(machine: Machine) -> None:
    machine.say("logs", b"x" * (on_guest.CHUNK - 20) + PLAIN.encode() + b"\n")
    assert hits(machine.scan(media=("docker",))) == [("docker logs c1", "kv/two")]


def test_only_what_is_younger_than_the_secrets_is_looked_at(machine: Machine) -> None:
    path = machine.write("etc/leak", PLAIN.encode())
    root, born = {"path": str(machine.root), "mine": False}, path.stat().st_ctime
    assert hits(machine.scan(**FILES, roots=[{**root, "since": born - 5}])) == [("leak", "kv/two")]
    assert hits(machine.scan(**FILES, roots=[{**root, "since": born + 5}])) == []


def test_a_broken_archive_is_searched_as_far_as_it_can_be_unpacked(machine: Machine) -> None:
    packed = gzip.compress(PLAIN.encode() + os.urandom(1 << 20))
    machine.write("log/cut.gz", packed[: 1 << 19])
    machine.write("log/broken.gz", packed[: 1 << 19] + b"\xff" * 64 + packed[1 << 19 :])
    machine.write("log/other.gz", b"no archive")
    assert hits(machine.scan(**FILES)) == [("broken.gz", "kv/two"), ("cut.gz", "kv/two")]


def test_what_could_not_be_looked_at_is_said(machine: Machine) -> None:
    (machine.bin / "journalctl").write_text("#!/bin/sh\nexit 1\n")
    (machine.bin / "docker").write_text("#!/bin/sh\nexit 1\n")
    told = machine.scan(media=("docker", "journal", "git"))["blind"]
    assert [line.partition(":")[0] for line in told] == ["docker", "journal", "journal", "git"]


@pytest.mark.parametrize(("boot", "blind"), [("disabled", False), ("enabled", True)])
def test_docker_that_is_off_for_good_has_nothing_to_say_and_one_that_is_down_might(
    machine: Machine, boot: str, blind: bool
) -> None:
    machine._program("docker", "exit 1")
    machine._program("systemctl", f"echo ActiveState=inactive; echo UnitFileState={boot}")
    assert bool(machine.scan(media=("docker",))["blind"]) == blind


def test_an_empty_journal_is_no_proof(machine: Machine) -> None:
    (machine.told / "journal").write_text("")
    assert machine.scan(media=("journal",))["blind"] == ["journal: what is certainly there was not found"]


@pytest.mark.parametrize("value", ["short", "of two lines\nand quite long"])
def test_a_value_that_proves_nothing_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="kv/one"):
        list(on_guest.rows("kv/one", value, b"salt"))


@pytest.mark.parametrize(
    ("value", "pieces"),
    [
        ("a token that is long enough", ["a token that is long enough"]),
        ("too short", []),
        ("the first, long enough\nshort\n  a third, long too  ", ["the first, long enough", "a third, long too"]),
        ("-----BEGIN CERTIFICATE-----\n" + "M" * 64 + "\n-----END CERTIFICATE-----", ["M" * 64]),
        ("-----BEGIN PRIVATE KEY-----\n" + "k" * 64 + "\nshort\n-----END PRIVATE KEY-----\n", ["k" * 64]),
    ],
)  # fmt: skip
def test_of_what_a_person_gave_the_long_lines_are_searched_for(value: str, pieces: list[str]) -> None:
    assert leaks.pieces_of(value) == pieces


def test_a_piece_tells_at_most_eight_bytes_of_a_secret() -> None:
    for name, whole, start, size in on_guest.encodings(PLAIN):
        piece = whole[start : start + size]
        if name.startswith("base64"):
            continue  # six bytes
        text = {"hex": bytes.fromhex, "upper hex": bytes.fromhex}.get(name, str.encode)(piece.decode("latin-1"))
        assert text.replace(b"\0", b"")[:: -1 if name == "reversed" else 1] == PLAIN[:8].encode(), name


def test_the_token_may_lie_where_the_emulated_proxmox_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def run(argv: list[str], *, stdin: bytes, **_: Any) -> subprocess.CompletedProcess[bytes]:
        asked.update(json.loads(stdin))
        return subprocess.CompletedProcess(argv, 0, b'{"hits": [], "looked": {}, "unread": []}', b"")

    monkeypatch.setattr(leaks.process, "run", run)
    with suppress(HubError, KeyError):  # what the scan answers is not what this is about
        leaks.controller(State(tmp_path), Known((), {}, 0.0), lab="x")
    (kept,) = re.findall(r'UserConfig\(state / "([^"]+)"\)', Path(pve.__file__).read_text())
    assert asked["allowed"][f"{leaks.LABS}/x/api/{kept}"] == [leaks.TOKEN]


def test_a_waiver_holds_for_a_stacks_own_secrets_in_environments_alone() -> None:
    def hit(place: str, secret: str, medium: str = "processes") -> Hit:
        return Hit(medium, place, secret, "raw")

    waived = hit("/proc/12/environ (node)", "hub/ai/gateway/salt#value")
    others = (
        hit("/proc/12/cmdline (node)", "hub/ai/gateway/salt#value"),
        hit("/proc/12/environ (node)", "hub/ai/page/key#value"),
        hit("/proc/1/environ.txt", "hub/ai/gateway/salt#value", "files"),
    )
    found = Found("ai", (waived, *others), {}, (), 0.0).without({"hub/ai/gateway/salt#value"})
    assert (found.waived, set(found.hits)) == ((waived,), set(others))
