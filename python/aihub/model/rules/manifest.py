"""A stack manifest by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..findings import Finding
from ..resolved import LOGIN_STACKS, RECONCILE, VAULT
from ..stack import Stack
from . import not_yet


def check_stack(stack: Stack) -> list[Finding]:
    """What is wrong inside one stack.yml that its schema can't tell."""
    return [
        *_repeated(stack),
        *_ports(stack),
        *_first(stack),
        *_secrets(stack),
        *_vault(stack),
        *_reload(stack),
        *_data(stack),
        *_logs(stack),
        *_itself(stack),
        *not_yet.check(stack),
    ]


def _repeated(stack: Stack) -> Iterator[Finding]:
    lists: dict[tuple[str, ...], Sequence[str]] = {
        ("zones",): stack.zones,
        ("needs", "postgres"): stack.needs.postgres,
        ("needs", "redis"): stack.needs.redis,
        ("needs", "internet"): stack.needs.internet,
        ("needs", "stacks"): stack.needs.stacks,
    }
    for place, names in lists.items():
        for index, name in enumerate(names):
            if name in names[:index]:
                yield Finding((*place, index), f'"{name}" is in the list already')


def _ports(stack: Stack) -> Iterator[Finding]:
    seen: dict[int, str] = {}
    for key, port in stack.gives.items():
        first = seen.setdefault(port.port, key)
        # Pages and metrics of one listener are two entries of one port.
        if first != key and stack.gives[first].publish != port.publish:
            other = stack.gives[first].publish
            text = f"port {port.port} is {first}'s already, published to {other}, not {port.publish}"
            yield Finding(("gives", key, "publish"), text)


def _first(stack: Stack) -> Iterator[Finding]:
    if not stack.start_first:
        return
    if stack.main_port is None:
        text = "a stack that starts first is the way out for others, and no port of it is given"
        yield Finding(("start_first",), text, at_key=True)
    for key in ("postgres", "redis", "secrets", "tls", "stacks"):
        if getattr(stack.needs, key):
            text = "a stack that starts first waits for nothing: remove this or start_first"
            yield Finding(("needs", key), text, at_key=True)


def _secrets(stack: Stack) -> Iterator[Finding]:
    derived = {RECONCILE, f"{RECONCILE}_a", f"{RECONCILE}_b"} if stack.name in LOGIN_STACKS else set()
    for provider, keys in stack.logins.items():
        derived |= {f"{provider}_{key}{part}" for key in keys for part in ("", "_user", "_password", "_login")}
    for name, spec in stack.needs.secrets.items():
        if name in derived:
            text = f'"{name}" is a name that aihub gives to a login itself: name the secret otherwise'
            yield Finding(("needs", "secrets", name), text, at_key=True)
        whole = {"hex": 2, "base64": 4}.get(spec.kind, 1)
        if spec.length % whole:
            text = f"{spec.length} characters of {spec.kind} are no whole bytes: take a multiple of {whole}"
            yield Finding(("needs", "secrets", name, "length"), text)


def _vault(stack: Stack) -> Iterator[Finding]:
    if stack.name != VAULT:
        return
    for key in ("postgres", "redis", "secrets", "tls"):
        if getattr(stack.needs, key):
            text = "the vault can't wait for what comes out of it: remove this"
            yield Finding(("needs", key), text, at_key=True)


def _reload(stack: Stack) -> Iterator[Finding]:
    needs = stack.needs
    if stack.reload is None:
        asked: list[tuple[str, ...]] = [
            ("needs", "secrets", name) for name, spec in needs.secrets.items() if spec.on_change == "reload"
        ]
        if needs.tls and needs.tls.on_change == "reload":
            asked.append(("needs", "tls"))
        if needs.on_login_change == "reload":
            asked.append(("needs", "on_login_change"))
        for place in asked:
            text = "a change is to reload the service, and no `reload:` says how: add one, or `on_change: restart`"
            yield Finding(place, text, at_key=True)
    elif (stack.reload.signal is None) == (not stack.reload.exec):
        yield Finding(("reload",), "a reload is either a signal or an exec", at_key=True)


def _data(stack: Stack) -> Iterator[Finding]:
    seen: set[str] = set()
    for index, data in enumerate(stack.data):
        if data.volume in seen:
            yield Finding(("data", index, "volume"), f'volume "{data.volume}" is in the list already')
        seen.add(data.volume)
        if data.backup == "none" and (data.before or data.after or data.restore):
            yield Finding(("data", index), "a volume that is not kept has no before, after or restore")


def _logs(stack: Stack) -> Iterator[Finding]:
    volumes, seen = {data.volume for data in stack.data}, set[str]()
    for index, log in enumerate(stack.logs):
        place, volume = ("logs", index, "file"), log.file.partition("/")[0]
        if volume not in volumes:
            yield Finding(place, f'"{volume}" is no volume of `data`')
        if log.file in seen:
            yield Finding(place, f'"{log.file}" is in the list already')
        seen.add(log.file)
    if stack.logs and stack.reload is None:
        text = "a service goes on writing to the old file until it is told, and no `reload:` says how"
        yield Finding(("logs",), text, at_key=True)


def _itself(stack: Stack) -> Iterator[Finding]:
    if stack.name in (*stack.needs.stacks, *stack.logins):
        yield Finding(("needs",), f'stack "{stack.name}" needs itself', at_key=True)
