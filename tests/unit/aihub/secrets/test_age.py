"""The recovery kit opens with age keys and plain ed25519 ssh keys, and says clearly what it cannot take."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from aihub.errors import InvalidInput, PreconditionFailed
from aihub.secrets import age as kit

DATA = b"shares and keys \x00\xff"


def ssh_key(folder: Path, kind: str = "ed25519", passphrase: str = "") -> tuple[Path, str]:
    path = folder / f"id_{kind}{'_locked' if passphrase else ''}"
    size = ["-b", "1024"] if kind == "rsa" else []  # quickly made
    subprocess.run(
        ["ssh-keygen", "-q", "-t", kind, *size, "-N", passphrase, "-C", "me@here", "-f", str(path)], check=True
    )
    return path, path.with_name(path.name + ".pub").read_text().strip()


def age_key(folder: Path) -> tuple[Path, str]:
    text, public = kit.new_identity()
    path = folder / "age-key"
    path.write_text(text)
    return path, public


def test_each_recipient_opens_it_alone_and_nobody_else(tmp_path: Path) -> None:
    age, ssh = age_key(tmp_path), ssh_key(tmp_path)
    text = kit.encrypt(DATA, [age[1], ssh[1]])
    assert text.startswith("-----BEGIN AGE ENCRYPTED FILE-----")
    assert kit.decrypt(text, age[0]) == DATA
    assert kit.decrypt(text, ssh[0]) == DATA
    other = tmp_path / "other"
    other.write_text(kit.new_identity()[0])
    with pytest.raises(PreconditionFailed, match="does not open the recovery kit") as found:
        kit.decrypt(text, other)
    assert found.value.exit_code == 4


def test_the_recipient_of_an_identity_file(tmp_path: Path) -> None:
    path, public = age_key(tmp_path)
    assert kit.recipient_of(path) == public
    with pytest.raises(PreconditionFailed, match="no private age key"):
        kit.recipient_of(ssh_key(tmp_path)[0])


def test_a_damaged_text_is_refused(tmp_path: Path) -> None:
    path, public = age_key(tmp_path)
    lines = kit.encrypt(DATA, [public]).splitlines()
    lines[-2] = lines[-2][:-6] + "AAAAA="
    with pytest.raises(PreconditionFailed):
        kit.decrypt("\n".join(lines), path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda d: ssh_key(d, passphrase="long enough")[0], "protected by a passphrase"),
        (lambda d: ssh_key(d, "ecdsa")[0], "takes ssh-ed25519 keys, this is ecdsa-sha2-nistp256"),
        (lambda d: ssh_key(d, "rsa")[0], "takes ssh-ed25519 keys, this is ssh-rsa"),
        (lambda d: Path(f"{ssh_key(d)[0]}.pub"), "this is a public key"),
        (lambda d: write(d, "age-encryption.org/v1\n-> scrypt\n"), "itself encrypted"),
        (lambda d: write(d, "AGE-SECRET-KEY-1NONSENSE\n"), "not a private age key"),
        (
            lambda d: write(d, "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n"),
            "not an",
        ),
        (lambda d: write(d, "hello\n"), "no private key"),
        (lambda d: write(d, ""), "no private key"),
        (lambda d: d / "missing", "cannot be read"),
    ],
)
def test_what_cannot_open_it_is_told(tmp_path: Path, make, message: str) -> None:
    text = kit.encrypt(DATA, [kit.new_identity()[1]])
    with pytest.raises(PreconditionFailed, match=message):
        kit.decrypt(text, make(tmp_path))


@pytest.mark.parametrize(
    "line",
    ["", "age1nonsense", "ssh-ed25519 AAAA", "ssh-rsa AAAAB3NzaC1yc2E me", "AGE-SECRET-KEY-1", "age1"],
)
def test_what_it_cannot_be_made_for_is_told(line: str) -> None:
    with pytest.raises(InvalidInput) as found:
        kit.encrypt(DATA, [line])
    assert found.value.exit_code == 2
    with pytest.raises(InvalidInput, match="nobody"):
        kit.encrypt(DATA, [])


def write(folder: Path, text: str) -> Path:
    path = folder / "key"
    path.write_text(text)
    return path
