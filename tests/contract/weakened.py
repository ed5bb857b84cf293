"""The product with one defence taken away, to see that the fault which it is there against does break something.

Each weakening changes the one process that it is applied in; the tests run a fault with it and expect the invariants
to be broken. A fault that a weakened product survives would prove nothing about the product as it is.
"""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from aihub import crashpoint
from aihub.errors import TaskFailed
from aihub.owners import guests as guests_owner
from aihub.proxmox import client as proxmox
from aihub.proxmox import clock as proxmox_clock
from aihub.proxmox import state as proxmox_state
from aihub.proxmox import tasks as proxmox_tasks
from aihub.proxmox.errors import AccessRefused, RefusedByProxmox
from aihub.proxmox.guests import change as provision_guest
from aihub.proxmox.guests import provision
from aihub.proxmox.guests import site as provision_site
from aihub.ssh import lease
from aihub.state import journal, lock, statefile
from requests.adapters import HTTPAdapter

WEAKENED: dict[str, Callable[[], None]] = {}


def weakening(name: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Registers a weakening under the words that the table prints."""

    def register(change: Callable[[], None]) -> Callable[[], None]:
        WEAKENED[name] = change
        return change

    return register


def apply(name: str) -> None:
    """Weakens this process."""
    WEAKENED[name]()


@weakening("no intent is written before a create")
def _no_intent() -> None:
    begin, note = journal.Journal.begin, journal.Journal.note

    def only_others(self: journal.Journal, entry: journal.Entry) -> None:
        if entry.action != "create":
            begin(self, entry)

    def if_there(self: journal.Journal, vmid: int, **what: Any) -> None:
        if self.get(vmid):
            note(self, vmid, **what)

    journal.Journal.begin, journal.Journal.note = only_others, if_there  # type: ignore[method-assign]


@weakening("state files are written in place")
def _in_place() -> None:
    def replace_in_place(path: Path, content: str | bytes) -> None:
        raw = content.encode() if isinstance(content, str) else content
        with crashpoint.write(f"file {path.name}") as due, path.open("wb") as file:
            file.write(raw[: len(raw) // 2])
            file.flush()
            crashpoint.inside(due)
            file.write(raw[len(raw) // 2 :])

    statefile.replace = replace_in_place


@weakening("a call is tried once")
def _once() -> None:
    proxmox.READ_TRIES = proxmox.WRITE_TRIES = 1


@weakening("a lost change is sent again without a look")
def _blindly() -> None:
    proxmox._look = lambda *_: None


@weakening("calls are tried for ever and without a pause")
def _for_ever() -> None:
    proxmox.READ_TRIES = proxmox.WRITE_TRIES = 10_000
    proxmox.PAUSE = proxmox.LOOK_PAUSE = 0.0


@weakening("every end of a task is a good one")
def _all_good() -> None:
    proxmox_tasks.Ended.good = property(lambda _: True)  # type: ignore[assignment]


@weakening("warnings are failures")
def _strict() -> None:
    proxmox_tasks.Ended.good = property(lambda self: self.status == "OK")  # type: ignore[assignment]


@weakening("a task that is late is stopped")
def _stopped() -> None:
    task = provision_site.Site.task

    def impatient(self: provision_site.Site, *arguments: Any) -> None:
        try:
            task(self, *arguments)
        except TaskFailed as error:
            if "not over yet" in error.what:
                self.px.write("delete", f"/nodes/pve/tasks/{error.where}", {}, landed=lambda: None)
            raise

    provision_site.Site.task = impatient  # type: ignore[method-assign]


@weakening("a task that nobody knows has ended well")
def _unknown_is_done() -> None:
    status = proxmox_tasks.Tasks._status

    def hopeful(self: proxmox_tasks.Tasks, upid: str, *, young: bool) -> proxmox_tasks.Ended | None:
        try:
            return status(self, upid, young=young)
        except RefusedByProxmox:
            return proxmox_tasks.Ended(upid, "OK")

    proxmox_tasks.Tasks._status = hopeful  # type: ignore[method-assign]


@weakening("a guest's lock is not looked at")
def _no_lock_seen() -> None:
    read = proxmox_state.read_guest

    def blind(get: Any, guest: proxmox_state.ActualGuest) -> proxmox_state.ActualGuest | None:
        found = read(get, guest)
        return replace(found, lock="") if found else None

    proxmox_state.read_guest = provision_site.read_guest = blind


@weakening("a refused change counts as done")
def _refused_is_done() -> None:
    call = proxmox.Proxmox._call

    def deaf(self: proxmox.Proxmox, method: str, *arguments: Any) -> Any:
        try:
            return call(self, method, *arguments)
        except AccessRefused:
            if method == "get":
                raise
            return None

    proxmox.Proxmox._call = deaf  # type: ignore[method-assign]


@weakening("a refused token means that no guest is there")
def _nothing_there() -> None:
    read = guests_owner.read

    def nothing(run: Any) -> proxmox_state.ActualGuests:
        found = read(run)
        return proxmox_state.ActualGuests({}) if run.token_refused else found

    guests_owner.read = nothing


@weakening("clocks are not compared")
def _any_time() -> None:
    proxmox_clock.MOST = float("inf")


@weakening("an answer that cannot be read counts as an empty one")
def _empty() -> None:
    send = proxmox._Connection.send

    def careless(self: Any, *arguments: Any) -> Any:
        try:
            return send(self, *arguments) or []
        except Exception:
            if self.answer is not None and self.answer.status_code == 200:
                return []
            raise

    proxmox._Connection.send = careless  # type: ignore[method-assign]


@weakening("any certificate will do")
def _any_certificate() -> None:
    class Trusting(HTTPAdapter):
        def init_poolmanager(self, *arguments: Any, **named: Any) -> None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            super().init_poolmanager(*arguments, ssl_context=context, **named)

        def cert_verify(self, conn: Any, *_: Any) -> None:
            conn.cert_reqs = "CERT_NONE"

    proxmox._pinned = lambda *_: Trusting()


@weakening("no digest is compared")
def _no_digest() -> None:
    update, write = provision_guest.update, proxmox.Proxmox.write

    def whatever(site: Any, want: Any, planned: Any = None) -> None:
        update(site, want)

    def undigested(self: proxmox.Proxmox, method: str, path: str, data: Any = None, **more: Any) -> Any:
        return write(self, method, path, {k: v for k, v in (data or {}).items() if k != "digest"}, **more)

    provision_guest.update = provision.provision_guest.update = whatever
    proxmox.Proxmox.write = undigested  # type: ignore[method-assign]
    guests_owner.require_agreed = lambda *_: None


@weakening("a marker is believed on any number")
def _any_number() -> None:
    def ours(self: proxmox_state.ActualGuest, hub: str) -> bool:
        return self.marker is not None and self.marker.hub == hub

    proxmox_state.ActualGuest.belongs_to = ours  # type: ignore[method-assign]


@weakening("the lock is not taken")
def _no_lock() -> None:
    @contextlib.contextmanager
    def free(path: Path, verb: str = "") -> Iterator[lock.Holder]:
        yield lock.me(verb)

    lock.held = free


@weakening("the lease is taken from whoever has it")
def _robbed() -> None:
    lease._TAKE = lease._TAKE.replace('[ "$who" != "$owner" ]', "false")


@weakening("Ctrl-C stops nothing")
def _unstoppable() -> None:
    class Deaf(threading.Event):
        def set(self) -> None:
            """Is not heard."""

    make = provision_site.Site.__init__

    def busy(self: provision_site.Site, *arguments: Any) -> None:
        make(self, *arguments)
        self.stop = Deaf()

    provision_site.Site.__init__ = busy  # type: ignore[method-assign]
