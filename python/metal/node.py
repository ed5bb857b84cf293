"""The node over pyinfra: its ssh, and every step as one of its operations. The only user of pyinfra.

gevent has patched the standard library before this module is imported: pyinfra waits on two pipes at once.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import paramiko
from pyinfra.api.command import FileUploadCommand, StringCommand
from pyinfra.api.config import Config
from pyinfra.api.exceptions import ConnectError, PyinfraError
from pyinfra.api.inventory import Inventory
from pyinfra.api.operation import OperationMeta, add_op, operation
from pyinfra.api.operations import run_ops
from pyinfra.api.state import State
from pyinfra.connectors.ssh import SSHConnector
from pyinfra.connectors.sshuserclient.client import StrictPolicy

from .exchange import Cause
from .run import Failed
from .steps import Step, Upload

Commands = Generator[str | FileUploadCommand, None, None]


class UnknownHostKey(paramiko.SSHException):
    """No key is pinned that the node could have shown."""


class PyinfraNode:
    """A machine by its name in an ssh_config; connected when something is first asked of it."""

    def __init__(self, name: str, ssh_config: Path, known_hosts: Path) -> None:
        settings = {
            "ssh_config_file": str(ssh_config),
            "ssh_known_hosts_file": str(known_hosts),
            "ssh_strict_host_key_checking": "yes",
        }
        self._state = State(Inventory(([(name, settings)], {})), Config())  # type: ignore[no-untyped-call]
        (self._host,) = self._state.inventory

    def read(self, script: str) -> list[str]:
        """The lines that a script prints there. Raises Failed."""
        self._connect()
        with _heard() as heard:
            try:
                well, output = self._host.run_shell_command(StringCommand(script))
            except (OSError, EOFError, paramiko.SSHException) as error:
                raise Failed("unreachable", [*heard, f"{type(error).__name__}: {error}"]) from error
        if not well:
            raise Failed(self._cause(), output.stderr_lines or output.stdout_lines or heard)
        return list(output.stdout_lines)

    def take(self, steps: Sequence[Step]) -> tuple[int, Failed | None]:
        """Takes steps until one fails: how many were taken whole, and what stopped it."""
        self._connect()
        added: list[OperationMeta] = [add_op(self._state, _take, step, name=step.subject)[self._host] for step in steps]
        with _heard() as heard:
            try:
                run_ops(self._state)
            except (PyinfraError, OSError, EOFError, paramiko.SSHException) as error:
                if type(error) is not PyinfraError:  # that one says only that this machine, the last one, has failed
                    heard.append(f"{type(error).__name__}: {error}")
        whole = [one.is_complete() and one.did_succeed() for one in added]
        if all(whole):
            return len(steps), None
        broken = added[whole.index(False)]
        told = (broken.stderr_lines or broken.stdout_lines) if broken.is_complete() else []
        return whole.index(False), Failed(self._cause(), told or heard)

    def _connect(self) -> None:
        if self._host.connected:
            return
        try:
            with _heard():
                self._host.connect(show_errors=False, raise_exceptions=True)
        except ConnectError as error:
            raise Failed(_why(error), [str(error)]) from error
        self._state.activate_host(self._host)

    def _cause(self) -> Cause:
        """Whether a command failed, or the connection under it."""
        connector = self._host.connector
        client = connector.client if isinstance(connector, SSHConnector) else None
        transport = client.get_transport() if client else None
        return "command" if transport and transport.is_active() else "unreachable"


@operation()
def _take(step: Step) -> Commands:
    """Brings one object of the node to what it should be."""
    for command in step.commands:
        if isinstance(command, Upload):
            yield f"mkdir -p {command.path.rpartition('/')[0]}"
            yield FileUploadCommand(StringIO(command.text), command.path)
            yield f"chown root:root {command.path} && chmod {command.mode} {command.path}"
        else:
            yield command


def _why(error: ConnectError) -> Cause:
    # pyinfra flattens what happened to a text; the exception that it was is still there.
    if isinstance(error.__context__, paramiko.AuthenticationException):
        return "authentication"
    if isinstance(error.__context__, paramiko.BadHostKeyException | UnknownHostKey):
        return "host key"
    return "unreachable"


@contextmanager
def _heard() -> Iterator[list[str]]:
    """What pyinfra says meanwhile: for an upload that fails it is all there is."""
    lines: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("pyinfra")
    logger.addHandler(handler)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)


def prepare() -> None:
    """Makes two things of paramiko and pyinfra as they are needed here, for the whole process."""
    # paramiko leaves Nagle's algorithm on: against delayed acknowledgements every command then takes 40 ms.
    original = paramiko.Transport.__init__

    def at_once(self: paramiko.Transport, *args: Any, **more: Any) -> None:
        original(self, *args, **more)
        if isinstance(self.sock, socket.socket):
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def unknown(self: StrictPolicy, client: object, hostname: str, key: object) -> None:
        raise UnknownHostKey(f"no host key is pinned for {hostname}")

    paramiko.Transport.__init__ = at_once  # type: ignore[method-assign]
    StrictPolicy.missing_host_key = unknown  # type: ignore[method-assign]
