"""The recovery kit: one file that brings hub and vault back when this machine is gone.

It holds age files as text. `root` is what exists once (shares, the authority's key) and is encrypted once: later kits
carry it over unchanged. `hub` is the hub file, versions, keys and logins; made anew when they change. `proof` is a
short code: whoever can read it can open the rest. Without aihub: `jq -r .blobs.root FILE.kit | age -d -i KEY`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from aihub.errors import HubError, InvalidInput, PreconditionFailed
from aihub.model.resolved import Hub
from aihub.paths import STACKS
from aihub.state.directory import State
from aihub.state.statefile import replace as replace_file
from aihub.vault import pending
from aihub.vault.certificates import Authority, belongs
from aihub.vault.pending import Pending

from . import age

FORMAT = 1
LAB_KEY = "lab-identity"
HOW = (
    "jq -r .blobs.root FILE | age -d -i KEY   (shares and the authority's key); "
    ".blobs.hub: hub file, keys, logins; in vault/copies.json the keys of the repositories with all copies"
)
_CODE = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"  # nothing that reads like something else


@dataclass(frozen=True)
class Root:
    """What exists once and is encrypted once."""

    shares: tuple[str, ...] = field(repr=False)
    authority: Authority = field(repr=False)


@dataclass(frozen=True)
class Kit:
    """The newest kit of a hub."""

    path: Path
    made: str
    recipients: tuple[str, ...]
    proven: str = ""  # when it was opened; empty: never


def root_of(pending: Pending) -> Root:
    """The part of what is pending that belongs into the kit."""
    return Root(pending.shares, pending.authority)


def recipients(hub: Hub, state: State) -> tuple[str, ...]:
    """Who can open the kit. A rehearsal makes a throw-away key where hub.yml names nobody (lab_identity)."""
    if hub.operator_recovery:
        return hub.operator_recovery
    if hub.target.needs_people:
        raise InvalidInput(
            "it names no key, so nobody could open the recovery kit", where="operator.recovery", hint=age.HOW
        )
    return (age.recipient_of(lab_identity(state)),)


def lab_identity(state: State) -> Path:
    """The lab's throw-away key: it lies beside the kit that it opens, which protects nothing."""
    path = state.kit / LAB_KEY
    if not path.is_file():
        replace_file(path, age.new_identity()[0])
    return path


def issue(hub: Hub, state: State, to: Sequence[str], root: Root | None = None) -> Kit:
    """The kit with today's content, made where the newest is another one. `root` is needed for the first, or when
    recipients change; after that it is carried over unread. A carried-over kit stays proven.
    """
    known, files = _known(state), contents(hub, state)
    if known and not _why(known, state, files, to) and (root is None or _same_root(known, root)):
        return _kit(state, known)
    salt = known["salt"] if known else secrets.token_hex(16)
    old = _old_blobs(state, known, to, root)
    code = "" if old else "".join(secrets.choice(_CODE) for _ in range(8))
    if not old and root is None:
        raise PreconditionFailed(
            "the recovery kit is gone or its recipients changed, and only it holds the vault's shares",
            where=known["file"] if known else str(state.kit),
            hint="aihub secrets kit --restore FILE --identity KEY, then aihub up",
        )
    number = known["number"] + 1 if known else 1
    name = f"aihub-{hub.name}-{number}.kit"
    made = datetime.now(UTC).isoformat(timespec="seconds")
    blobs = old or {"root": age.encrypt(_root_text(root), to), "proof": age.encrypt(f"{code}\n".encode(), to)}
    text = {"format": FORMAT, "hub": hub.name, "id": hub.id, "number": number, "made": made, "open": HOW}
    about = {"recipients": list(to), "blobs": {**blobs, "hub": age.encrypt(_packed(files), to)}}
    replace_file(state.kit / name, json.dumps({**text, **about}, indent=1) + "\n")
    facts = {
        "format": FORMAT,
        "file": name,
        "number": number,
        "made": made,
        "recipients": list(to),
        "salt": salt,
        "files": {path: _digest(salt, data) for path, data in files.items()},
        "root": known["root"] if known and old else _digest(salt, _root_text(root)),
        "code": known["code"] if known and old else _digest(salt, code.encode()),
        "proven": known["proven"] if known and old else "",
    }
    replace_file(state.kit / "kit.json", json.dumps(facts, indent=1) + "\n")
    for path in state.kit.glob("aihub-*.kit"):
        if path.name != name:
            path.unlink()
    return _kit(state, facts)


def newest(state: State) -> Kit | None:
    """The newest kit; None when there never was one here."""
    known = _known(state)
    return _kit(state, known) if known else None


def stale(hub: Hub, state: State, to: Sequence[str]) -> str:
    """Why the newest kit no longer fits, naming it; empty when it does."""
    known = _known(state)
    if known is None:
        return "there is no recovery kit"
    why = _why(known, state, contents(hub, state), to)
    return f"{known['file']} is stale: {why}" if why else ""


def prove_file(state: State, identity: Path) -> Kit:
    """Opens all of the newest kit with a key and looks at what is in it; it counts as proven then."""
    known = _required(state)
    root, files = opened(state.kit / known["file"], identity)
    salt = known["salt"]
    if not _same_root(known, root) or {n: _digest(salt, d) for n, d in files.items()} != known["files"]:
        raise HubError("the recovery kit does not hold what was put into it", where=known["file"], hint="aihub up")
    return _proven(state, known)


def prove_code(state: State, code: str) -> Kit:
    """Takes the code that decrypting `proof` yields. Raises PreconditionFailed for another one."""
    known = _required(state)
    if not hmac.compare_digest(_digest(known["salt"], code.strip().upper().encode()), known["code"]):
        raise PreconditionFailed(
            "this is not the code in the recovery kit",
            where=known["file"],
            hint=f"jq -r .blobs.proof {state.kit / known['file']} | age -d -i KEY",
        )
    return _proven(state, known)


def opened(file: Path, identity: Path) -> tuple[Root, dict[str, bytes]]:
    """Everything in a kit: what exists once, and the files of the hub by name."""
    blobs = _blobs(file)
    try:
        data = json.loads(age.decrypt(blobs["root"], identity))
        root = Root(tuple(data["shares"]), Authority(data["certificate"], data["key"]))
        files = json.loads(age.decrypt(blobs["hub"], identity))
        found = {name: base64.b64decode(text) for name, text in files.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise HubError("the recovery kit is damaged", where=str(file)) from None
    if len(root.shares) < 3 or not belongs(root.authority):
        raise HubError("the recovery kit is damaged: shares or key are not whole", where=str(file))
    return root, found


def restore(state: State, file: Path, identity: Path) -> list[str]:
    """Puts a kit's files back where they were in the state directory, and gives their names.

    Shares and the authority's key become pending again: the next `aihub up` does with them what is missing, and
    makes the next kit. Files that are there and differ are refused; an authority that was made here for a vault that
    never got one gives way.
    """
    root, files = opened(file, identity)
    left = pending.read(state)
    if left is not None and left.shares and left.shares != root.shares:
        raise PreconditionFailed(
            "this machine is in the middle of setting up another Vault", where=str(state.vault_pending), hint="aihub up"
        )
    if left is not None and not left.shares and state.ca.is_file() and not state.vault_login.is_file():
        state.ca.unlink()
    placed = {name: data for name, data in files.items() if name in _places(state)}
    for name, data in placed.items():
        path = _places(state)[name]
        if path.is_file() and path.read_bytes() != data:
            raise PreconditionFailed(
                f"{name} is here already, and is another one", where=str(path), hint="move it away, then run it again"
            )
    pending.restored(state, Pending(root.authority, shares=root.shares))
    for name, data in placed.items():
        path = _places(state)[name]
        if not path.is_file():
            replace_file(path, data.decode())
    return sorted(placed)


def contents(hub: Hub, state: State) -> dict[str, bytes]:
    """The files of the `hub` part, by name."""
    found = {"hub.yml": Path(hub.path).read_bytes(), "versions.json": _versions(hub)}
    return found | {name: path.read_bytes() for name, path in _places(state).items() if path.is_file()}


def _places(state: State) -> dict[str, Path]:
    paths = [state.key, state.key.with_suffix(".pub"), state.known_hosts, state.token, state.certificate]
    return {str(p.relative_to(state.directory)): p for p in (*paths, state.ca, state.vault_login, state.copies)}


def _versions(hub: Hub) -> bytes:
    images = {
        name: re.findall(r"^\s*image:\s*(\S+)", (STACKS / name / "compose.yml").read_text(), re.MULTILINE)
        for name in sorted({i.stack.name for i in hub.instances})
        if (STACKS / name / "compose.yml").is_file()
    }
    return (
        json.dumps({"aihub": metadata.version("aihub"), "images": images}, indent=1, sort_keys=True) + "\n"
    ).encode()


def _why(known: Mapping[str, Any], state: State, files: Mapping[str, bytes], to: Sequence[str]) -> str:
    if not (state.kit / known["file"]).is_file():
        return "it is gone from this machine"
    if list(to) != known["recipients"]:
        return "other people may open it now"
    now = {name: _digest(known["salt"], data) for name, data in files.items()}
    changed = sorted(n for n in now.keys() | known["files"].keys() if now.get(n) != known["files"].get(n))
    return f"{', '.join(changed)} changed since" if changed else ""


def _old_blobs(state: State, known: Any, to: Sequence[str], root: Root | None) -> dict[str, str] | None:
    """The parts that are carried over byte by byte; None where they must be made."""
    if not known or list(to) != known["recipients"] or not (state.kit / known["file"]).is_file():
        return None
    if root is not None and not _same_root(known, root):
        return None
    blobs = _blobs(state.kit / known["file"])
    return {"root": blobs["root"], "proof": blobs["proof"]}


def _blobs(file: Path) -> dict[str, str]:
    try:
        data = json.loads(file.read_text())
        if data["format"] != FORMAT:
            raise ValueError(f"format {data['format']}, this version knows {FORMAT}")
        return {name: str(data["blobs"][name]) for name in ("root", "proof", "hub")}
    except FileNotFoundError:
        raise PreconditionFailed("there is no such recovery kit", where=str(file)) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PreconditionFailed(f"not a recovery kit: {error}", where=str(file)) from None


def _known(state: State) -> Any:
    path = state.kit / "kit.json"
    try:
        data = json.loads(path.read_text())
        if data["format"] != FORMAT:
            raise ValueError(f"format {data['format']}, this version knows {FORMAT}")
        return data
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise HubError(f"what is known of the recovery kit cannot be read: {error}", where=str(path)) from None


def _required(state: State) -> Any:
    known = _known(state)
    if known is None:
        raise PreconditionFailed("there is no recovery kit", where=str(state.kit), hint="aihub up")
    return known


def _proven(state: State, known: Mapping[str, Any]) -> Kit:
    facts = {**known, "proven": datetime.now(UTC).isoformat(timespec="seconds")}
    replace_file(state.kit / "kit.json", json.dumps(facts, indent=1) + "\n")
    return _kit(state, facts)


def _kit(state: State, known: Mapping[str, Any]) -> Kit:
    return Kit(state.kit / known["file"], known["made"], tuple(known["recipients"]), known["proven"])


def _same_root(known: Mapping[str, Any], root: Root) -> bool:
    return hmac.compare_digest(_digest(known["salt"], _root_text(root)), known["root"])


def _root_text(root: Root | None) -> bytes:
    if root is None:
        raise HubError("the recovery kit lacks Vault's shares and its authority's key, which nothing else holds")
    data = {"shares": list(root.shares), "certificate": root.authority.certificate, "key": root.authority.key}
    return (json.dumps({**data, "threshold": 3}, indent=1) + "\n").encode()


def _packed(files: Mapping[str, bytes]) -> bytes:
    return (json.dumps({n: base64.b64encode(d).decode() for n, d in files.items()}, indent=1) + "\n").encode()


def _digest(salt: str, data: bytes) -> str:
    return hmac.new(bytes.fromhex(salt), data, hashlib.sha256).hexdigest()
