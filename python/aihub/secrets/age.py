"""Age encryption for the recovery kit; the only importer of pyrage."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aihub.errors import InvalidInput, PreconditionFailed

AGE = "age1"
SSH = "ssh-ed25519"
HOW = "age-keygen -o FILE, or ssh-keygen -t ed25519 -N '' -f FILE"


def encrypt(data: bytes, recipients: Sequence[str]) -> str:
    """An armored age file that each recipient can open by itself. Raises InvalidInput for one that is none."""
    import pyrage

    if not recipients:
        raise InvalidInput(
            "it names no key, so nobody could open the recovery kit", where="operator.recovery", hint=HOW
        )
    return bytes(pyrage.encrypt(data, [_recipient(line) for line in recipients], armored=True)).decode()


def decrypt(armored: str, identity: Path) -> bytes:
    """What an armored age file holds, opened with an identity file.

    Raises PreconditionFailed when the file is no identity, needs a passphrase, or does not fit.
    """
    import pyrage

    try:
        return bytes(pyrage.decrypt(armored.encode(), _identities(identity)))
    except pyrage.DecryptError as error:
        raise PreconditionFailed(
            f"this key does not open the recovery kit: {error}",
            where=str(identity),
            hint="use the private half of one of operator.recovery",
        ) from None


def new_identity() -> tuple[str, str]:
    """A fresh age identity: its file's text, and the recipient."""
    import pyrage

    found = pyrage.x25519.Identity.generate()
    public = str(found.to_public())
    return f"# public key: {public}\n{found}\n", public


def recipient_of(identity: Path) -> str:
    """The recipient of an age identity file that aihub made."""
    import pyrage

    found = [one for one in _identities(identity) if isinstance(one, pyrage.x25519.Identity)]
    if not found:
        raise PreconditionFailed("there is no private age key (AGE-SECRET-KEY-...) in it", where=str(identity))
    return str(found[0].to_public())


def _recipient(line: str) -> Any:
    import pyrage

    try:
        if line.startswith(AGE):
            return pyrage.x25519.Recipient.from_str(line.strip())
        if line.startswith(SSH + " "):
            return pyrage.ssh.Recipient.from_str(" ".join(line.split()[:2]))
    except pyrage.RecipientError as error:
        raise InvalidInput(f"not a key that can be encrypted to: {error}", where=line[:60], hint=HOW) from None
    raise InvalidInput("the recovery kit takes age1... and ssh-ed25519 keys only", where=line[:60], hint=HOW)


def _identities(path: Path) -> list[Any]:
    import pyrage

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PreconditionFailed(f"the key cannot be read: {error}", where=str(path), hint=HOW) from None
    if "BEGIN OPENSSH PRIVATE KEY" in text:
        return [_ssh(text, path)]
    if text.startswith("age-encryption.org/") or "BEGIN AGE ENCRYPTED FILE" in text:
        raise PreconditionFailed(
            "this file of private keys is itself encrypted",
            where=str(path),
            hint="age -d FILE > elsewhere, and use that",
        )
    lines = [line.strip() for line in text.splitlines()]
    try:
        found = [pyrage.x25519.Identity.from_str(line) for line in lines if line.startswith("AGE-SECRET-KEY-")]
    except pyrage.IdentityError as error:
        raise PreconditionFailed(f"not a private age key: {error}", where=str(path), hint=HOW) from None
    if not found:
        what = "this is a public key, the private one is needed" if _public(text) else "there is no private key in it"
        raise PreconditionFailed(what, where=str(path), hint=HOW)
    return found


def _ssh(text: str, path: Path) -> Any:
    import pyrage

    kind, cipher = _ssh_kind(text)
    if cipher not in ("", "none"):
        raise PreconditionFailed(
            "this ssh key is protected by a passphrase, which age's ssh keys can't have here",
            where=str(path),
            hint="ssh-keygen -p -N '' -f on a copy of it, or take an age key",
        )
    if kind and kind != SSH:
        raise PreconditionFailed(f"the recovery kit takes ssh-ed25519 keys, this is {kind}", where=str(path), hint=HOW)
    try:
        return pyrage.ssh.Identity.from_buffer(text.encode())
    except pyrage.IdentityError as error:
        raise PreconditionFailed(f"not an ssh key that can decrypt: {error}", where=str(path), hint=HOW) from None


def _ssh_kind(text: str) -> tuple[str, str]:
    """Type and cipher of an OpenSSH private key; empty where it is broken."""
    body = text.partition("-----BEGIN OPENSSH PRIVATE KEY-----")[2].partition("-----END")[0]
    try:
        blob = base64.b64decode("".join(body.split()))
        rest = blob[len(b"openssh-key-v1\0") :]
        cipher, rest = _field(rest)
        _, rest = _field(rest)
        _, rest = _field(rest)
        public, _ = _field(rest[4:])
        return _field(public)[0].decode(), cipher.decode()
    except (ValueError, IndexError):
        return "", ""


def _field(blob: bytes) -> tuple[bytes, bytes]:
    size = int.from_bytes(blob[:4], "big")
    return blob[4 : 4 + size], blob[4 + size :]


def _public(text: str) -> bool:
    return text.startswith((AGE, "ssh-"))
