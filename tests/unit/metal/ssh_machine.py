"""A machine that answers over ssh and is none: every command is given to a function, every file is kept in memory."""

from __future__ import annotations

import io
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import paramiko

Answer = tuple[int, str, str]  # exit code, output, errors


class Machine(paramiko.ServerInterface):
    """Lets one key in and remembers what was asked. `answer` of a command may raise ConnectionError to hang up."""

    def __init__(self, answer: Callable[[str], Answer]) -> None:
        self.answer = answer
        self.commands: list[str] = []
        self.files: dict[str, str] = {}
        self.takes_files = True
        self.host_key = paramiko.ECDSAKey.generate()
        self.client_key = paramiko.ECDSAKey.generate()
        self.port = 0

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return paramiko.AUTH_SUCCESSFUL if key == self.client_key else paramiko.AUTH_FAILED

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED

    def check_channel_subsystem_request(self, channel: paramiko.Channel, name: str) -> bool:
        return self.takes_files and super().check_channel_subsystem_request(channel, name)

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        threading.Thread(target=self._run, args=(channel, command.decode()), daemon=True).start()
        return True

    def _run(self, channel: paramiko.Channel, command: str) -> None:
        channel.makefile("rb").read()  # its end comes when the client knows that the command runs
        self.commands.append(command)
        try:
            code, out, err = self.answer(command)
        except ConnectionError:
            channel.get_transport().close()
            return
        with suppress(OSError):
            channel.sendall(out.encode())
            channel.sendall_stderr(err.encode())
            channel.send_exit_status(code)
            channel.close()


class Files(paramiko.SFTPServerInterface):
    """What is uploaded."""

    def __init__(self, server: Machine, *args: object) -> None:
        super().__init__(server, *args)
        self.machine = server

    def open(self, path: str, flags: int, attr: paramiko.SFTPAttributes) -> paramiko.SFTPHandle:
        handle = paramiko.SFTPHandle(flags)
        handle.writefile = _Kept(self.machine, path)
        return handle

    def stat(self, path: str) -> paramiko.SFTPAttributes:
        found = paramiko.SFTPAttributes()
        found.st_size = len(self.machine.files[path].encode())
        return found


class _Kept(io.BytesIO):
    def __init__(self, machine: Machine, path: str) -> None:
        super().__init__()
        self._machine, self._path = machine, path

    def close(self) -> None:
        if not self.closed:
            self._machine.files[self._path] = self.getvalue().decode()
        super().close()


@contextmanager
def serving(machine: Machine) -> Iterator[None]:
    """The machine answers on a port of the loopback."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        machine.port = server.getsockname()[1]
        thread = threading.Thread(target=_accept, args=(server, machine), daemon=True)
        thread.start()
        yield
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def _accept(server: socket.socket, machine: Machine) -> None:
    transports = []
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            break
        transport = paramiko.Transport(connection)
        transports.append(transport)
        transport.add_server_key(machine.host_key)
        transport.set_subsystem_handler("sftp", paramiko.SFTPServer, Files)
        with suppress(paramiko.SSHException, EOFError):
            transport.start_server(server=machine)
    for transport in transports:
        transport.close()


def known(machine: Machine, folder: Path, *, host_key: paramiko.PKey | None = None) -> list[str]:
    """The options of metal that lead to the machine as `node`; its host key is pinned, or the one given."""
    key = folder / "key"
    machine.client_key.write_private_key_file(str(key))
    pinned = host_key or machine.host_key
    hosts = folder / "known_hosts"
    name = f"[127.0.0.1]:{machine.port}"
    hosts.write_text(f"{name} {pinned.get_name()} {pinned.get_base64()}\n")
    config = folder / "config"
    config.write_text(
        f"Host node\n  HostName 127.0.0.1\n  Port {machine.port}\n  User {os.environ.get('USER', 'root')}\n"
        f"  IdentityFile {key}\n  IdentitiesOnly yes\n  IdentityAgent none\n"
    )
    return ["node", "--ssh-config", str(config), "--known-hosts", str(hosts)]
