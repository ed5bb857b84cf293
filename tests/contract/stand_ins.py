"""What stands in for the programs that reach a node: there is no ssh to a Proxmox without guests and without a node.

The lease's own script runs here instead of on the node; `pvesh` and metal act on the API as root@pam does; a host key
is the one that the create log of backend none names. Each changing command is a write that a run can be killed at.
"""

from __future__ import annotations

import base64
import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

from aihub import crashpoint, names, process
from aihub.ssh import lease
from metal.desired import Desired
from metal.exchange import Answer, Order, Refusal, Taken, subject
from metal.refusal import RefusedByNode
from metal.run import refuse_more
from metal.steps import Step
from pvelab.backend_none import host_key

from tests.contract.rooted import Root, grant

ADDRESSES = {
    "10.10.10.11": "db", "10.10.10.21": "db", "10.10.20.31": "db", "192.168.1.10": "node",
    "10.10.20.11": "ai", "10.10.20.21": "ai", "10.10.10.31": "ai",
}  # fmt: skip
GUESTS = ("db", "ai")
REAL = process.run
GUARD = " || exit 1"
REFUSED = 255  # how pvesh ends when the API says no


class Node:
    """Answers every program that aihub starts."""

    def __init__(self, root: Root, certificate: Path, lease_file: Path) -> None:
        self.root = root
        self.certificate = certificate
        self.lease_file = lease_file

    def install(self) -> None:
        """Takes the place of the one door to other programs."""
        process.run = self.run
        lease._path = lambda hub: str(self.lease_file)

    def run(self, argv: Any, *, stdin: bytes = b"", **more: Any) -> process.Result:
        """One program; anything that is not known here is an error of the test."""
        text = list(argv)
        if text[0] == "ssh-keygen":
            with crashpoint.write("ssh-keygen"):
                return REAL(text, stdin=stdin, **more)
        if "ssh-keyscan" in text:
            return self._scan(text[-1])
        if "metal" in text:
            return self._metal(text, stdin)
        if text[0] == "ssh" and "--" in text and text[text.index("--") - 1] in GUESTS:
            return REAL(text, stdin=stdin, **more)  # a test that looks into guests has an `ssh` of its own
        if text[0] == "ssh":
            return self._ssh(text)
        raise AssertionError(f"no stand-in for {text}")

    def _ssh(self, text: list[str]) -> process.Result:
        if text[-2].startswith("root@"):
            return _said(self.certificate.read_bytes(), write="the controller's key on the node")
        words = shlex.split(text[-1].removesuffix(GUARD))
        if words[0] == "sh":
            return _run(words, "lease")
        if words[0] == "pvesh":
            said = self._pvesh(*words[1:])
            said.returncode = 1 if said.returncode and text[-1].endswith(GUARD) else said.returncode
            return said
        assert words == ["true"], text
        return _said(b"")

    def _scan(self, address: str) -> process.Result:
        blob = base64.b64encode(host_key(ADDRESSES[address])).decode()
        return _said(f"{address} ssh-ed25519 {blob}\n".encode())

    def _pvesh(self, verb: str, path: str, *options: str) -> process.Result:
        pairs = dict(zip((o.removeprefix("--") for o in options[::2]), options[1::2], strict=True))
        pairs.pop("output-format", None)
        if verb == "get":
            return _told(self.root.call("GET", path, **pairs))
        method = {"set": "PUT", "create": "POST", "delete": "DELETE"}[verb]
        with crashpoint.write(f"pvesh {verb} {path}"):
            answer = self.root.call(method, path, **pairs)
        return _told(answer)

    def _metal(self, text: list[str], stdin: bytes) -> process.Result:
        """Of all that metal does, the token and its rights."""
        order = Order.read(stdin.decode())
        wanted = order.desired
        have = self.root.call("GET", names.token_path(wanted.hub))
        said = have.json()["data"].get("comment", "") if have.ok else None
        step = Step("token", f"token {wanted.token}", "delete" if wanted.removed else "update")
        changed = have.ok if wanted.removed else said != wanted.token_comment or not wanted.kept
        if not changed:
            return _said(Answer().as_json().encode())
        try:
            refuse_more(order, [step])
        except RefusedByNode as refused:
            return _said(Answer(refused=Refusal(refused.kind, refused.what, refused.hint)).as_json().encode())
        dry = "--dry" in text
        if not dry:
            with crashpoint.write(f"{step.action} {step.subject}"):
                self._token(wanted, there=have.ok)
        name = subject(step, wanted.node)
        taken = Taken(step.kind, name, step.action, (), False, "planned" if dry else "done")
        return _said(Answer((taken,)).as_json().encode())

    def _token(self, wanted: Desired, *, there: bool) -> None:
        path = names.token_path(wanted.hub)
        if wanted.removed:
            self.root("DELETE", path)
            return
        if not there:
            self.root("POST", path, privsep=1, comment=wanted.marker)
        grant(self.root, tokens=wanted.token)


def _told(answer: Any) -> process.Result:
    """What pvesh makes of an answer of the API."""
    if answer.ok:
        return subprocess.CompletedProcess([], 0, json.dumps(answer.json().get("data")).encode(), b"")
    return subprocess.CompletedProcess([], REFUSED, b"", str(answer.json().get("message") or answer.reason).encode())


def _said(output: bytes, write: str = "") -> process.Result:
    if write:
        with crashpoint.write(write):
            pass
    return subprocess.CompletedProcess([], 0, output, b"")


def _run(words: list[str], name: str) -> process.Result:
    with crashpoint.write(name) as due:
        crashpoint.inside(due, 0.004)
        return REAL(words, check=False, timeout=30)
