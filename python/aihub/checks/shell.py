"""One shell per machine, kept open: a command costs one round trip instead of one ssh.

testinfra starts an ssh for each command (28 s for 60 checks on 6 guests, 2.2 s with shared connections); the
checks use it through `ShellBackend`, with its modules unchanged.
"""

from __future__ import annotations

import os
import re
import secrets
import selectors
import shlex
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from testinfra.backend.base import BaseBackend, CommandResult
from testinfra.host import Host

from aihub import process, words
from aihub.errors import Unreachable

TIMEOUT = 90.0  # seconds for one command, also on a machine with much else to do
MOST = 4 << 20  # bytes that it may print on each stream


_CODE = 8  # bytes after a mark: an exit code and the end of the line
_WORDS = 1 << 16  # bytes of what ssh says last


@dataclass(frozen=True)
class Output:
    """How a command ended and what it printed."""

    code: int
    stdout: bytes
    stderr: bytes


class Shell:
    """A shell on another machine that runs one command after the other.

    Each command gets its own `sh -c` without input, so none can eat the next one or change the shell. A
    random mark on stdout and stderr says where its output ends.
    """

    def __init__(self, alias: str, argv: Sequence[str]) -> None:
        self.alias = alias
        self._argv = argv
        self._process: process.Child | None = None
        self._broken = ""
        self._mark = f"end-{secrets.token_hex(12)} "
        self._turn = threading.Lock()

    def open(self) -> None:
        """Starts to connect and returns at once: many shells connect side by side."""
        with self._turn:
            self._open()

    def run(self, command: str, timeout: float = TIMEOUT) -> Output:
        """Runs a shell command. Raises Unreachable when the machine doesn't answer, then and ever after."""
        with self._turn:
            if self._broken:
                raise Unreachable(self._broken, where=self.alias)
            self._open()
            text = f"sh -c {shlex.quote(command)} </dev/null; printf '%s%d\\n' {shlex.quote(self._mark)} $?; "
            text += f"printf '%s\\n' {shlex.quote(self._mark)} >&2\n"
            return self._exchange(text.encode(), command, timeout)

    def close(self) -> None:
        """Ends the shell; the shared ssh connection below it stays."""
        with self._turn:
            if child := self._process:
                self._process = None
                child.end()

    def _open(self) -> None:
        if self._process is None and not self._broken:
            self._process = process.converse(self._argv)

    def _exchange(self, text: bytes, command: str, timeout: float) -> Output:
        child = self._process
        assert child and child.stdin and child.stdout and child.stderr
        deadline = time.monotonic() + timeout
        try:
            child.stdin.write(text)
            child.stdin.flush()
        except BrokenPipeError:
            pass  # the reading below finds out why
        found = {child.stdout.fileno(): bytearray(), child.stderr.fileno(): bytearray()}
        mark = self._mark.encode()
        with selectors.DefaultSelector() as ready:
            for pipe in found:
                ready.register(pipe, selectors.EVENT_READ)
            while ready.get_map():
                events = ready.select(max(0.0, deadline - time.monotonic()))
                if not events:
                    self._fail(f"no answer within {timeout:.0f} s to: {command[:200]}")
                for key, _ in events:
                    chunk = os.read(key.fd, 1 << 16)
                    found[key.fd] += chunk
                    if not chunk:
                        self._fail(_last_words(child.stderr.fileno(), bytes(found[child.stderr.fileno()])))
                    if len(found[key.fd]) > MOST:
                        self._fail(f"more than {MOST >> 20} MiB in answer to: {command[:200]}")
                    if mark in found[key.fd][-len(mark) - _CODE :] and found[key.fd].endswith(b"\n"):
                        ready.unregister(key.fd)
                if time.monotonic() > deadline:
                    self._fail(f"no whole answer within {timeout:.0f} s to: {command[:200]}")
        stdout, _, code = found[child.stdout.fileno()].rpartition(mark)
        stderr = found[child.stderr.fileno()].rpartition(mark)[0]
        if not re.fullmatch(rb"[0-9]{1,3}\n", code):
            self._fail(f"no exit code at the end of the answer to: {command[:200]}")
        return Output(int(code), bytes(stdout), bytes(stderr))

    def _fail(self, why: str) -> None:
        self._broken = why
        if self._process:
            self._process.kill()
            self._process.wait()
        raise Unreachable(why, where=self.alias)


def _last_words(pipe: int, said: bytes) -> str:
    """What ssh still had to say; a shared connection in the background may keep the pipe open without an end."""
    with selectors.DefaultSelector() as ready:
        ready.register(pipe, selectors.EVENT_READ)
        while len(said) < _WORDS and ready.select(0.5) and (chunk := os.read(pipe, 1 << 16)):
            said += chunk
    lines = said[-_WORDS:].decode(errors="replace").strip().splitlines()
    return f"the connection ended: {words.line(lines[-1])}" if lines else "the connection ended"


class Answer(CommandResult):  # type: ignore[misc]  # testinfra has no types
    """A command's result that a failed assertion shows in one line."""

    def __repr__(self) -> str:
        last = (self.stderr.strip() or self.stdout.strip()).splitlines()[-1:]
        return f"`{self.command.decode(errors='replace')}`: {words.line(''.join(last))}"


class ShellBackend(BaseBackend):  # type: ignore[misc]  # testinfra has no types
    """testinfra over a Shell."""

    NAME = "shell"

    def __init__(self, shell: Shell) -> None:
        super().__init__(shell.alias)
        self._shell = shell
        self._encoding = "utf-8"  # else testinfra asks the guest's Python for it

    def run(self, command: str, *args: str, **_: Any) -> CommandResult:
        """Runs a command, `%s` in it replaced by quoted arguments."""
        text = self.get_command(command, *args)
        output = self._shell.run(text)
        return Answer(self, output.code, self.encode(text), output.stdout, output.stderr)


class Shells:
    """The shells of all machines, each opened once."""

    def __init__(self, argv: Callable[[str], Sequence[str]]) -> None:
        self._argv = argv
        self._shells: dict[str, Shell] = {}
        self._hosts: dict[str, Host] = {}

    def open(self, aliases: Sequence[str]) -> None:
        """Starts to connect to all of them side by side."""
        for alias in aliases:
            self.shell(alias).open()

    def shell(self, alias: str) -> Shell:
        """The shell of one machine."""
        return self._shells.setdefault(alias, Shell(alias, self._argv(alias)))

    def host(self, alias: str) -> Host:
        """The testinfra host of one machine."""
        if alias not in self._hosts:
            backend = ShellBackend(self.shell(alias))
            self._hosts[alias] = Host(backend)
            backend.set_host(self._hosts[alias])
        return self._hosts[alias]

    def close(self) -> None:
        """Ends every shell."""
        for shell in self._shells.values():
            shell.close()
