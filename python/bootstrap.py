"""Installs what aihub needs on this machine: system packages and a virtual environment. Standard library only.

`python3 python/bootstrap.py` does both, `--venv` only the second (no root needed). Says what it installs; a second run
does nothing. Needs Debian or Ubuntu, Python 3.11 or newer, and root where system packages are missing.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
LOCK = ROOT / "python" / "requirements.lock"
PROJECT = ROOT / "python" / "pyproject.toml"
STAMP = VENV / "aihub-installed"

PACKAGES = {
    "ca-certificates": "trust store, inherited by the lab",
    "iproute2": "network namespaces of the lab",
    "lxc": "guests of the lab",
    "mmdebstrap": "root file systems of the lab",
    "netcat-openbsd": "ssh into the lab's network namespace",
    "nftables": "nft, to check rules before they are sent",
    "openssl": "certificates of the lab",
    "openssh-client": "the one way into node and guests",
    "python3-venv": "the virtual environment",
    "restic": "backups",
    "slirp4netns": "the lab's way to package mirrors",
    "util-linux": "nsenter and unshare",
    "zstd": "guest archives",
}


def say(text: str) -> None:
    """One line for the person who waits."""
    sys.stderr.write(f"setup: {text}\n")
    sys.stderr.flush()


def installed(package: str) -> bool:
    """Whether dpkg has the package configured."""
    query = ["dpkg-query", "--show", "--showformat=${db:Status-Status}", package]
    result = subprocess.run(query, capture_output=True, text=True, check=False)
    return result.returncode == 0 and result.stdout == "installed"


def system_packages() -> None:
    """Installs the missing system packages with apt-get."""
    if shutil.which("apt-get") is None:
        sys.exit("setup: apt-get not found: aihub's lab needs Debian or Ubuntu")
    missing = [name for name in PACKAGES if not installed(name)]
    if not missing:
        return
    for name in missing:
        say(f"installing {name}: {PACKAGES[name]}")
    if os.geteuid() != 0:
        sys.exit(f"setup: run as root, or install by hand: apt-get install {' '.join(missing)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "update", "-qq"], check=True, env=environment, stdout=sys.stderr)
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing]
    subprocess.run(install, check=True, env=environment, stdout=sys.stderr)


def fingerprint() -> str:
    """What the virtual environment was made from: lock, project file and interpreter."""
    content = LOCK.read_bytes() + PROJECT.read_bytes() + f"{sys.version_info[:3]} {VENV}".encode()
    return hashlib.sha256(content).hexdigest()


def virtual_environment() -> None:
    """Makes .venv hold exactly what the lock file names, and this project."""
    wanted = fingerprint()
    if STAMP.exists() and STAMP.read_text() == wanted:
        return
    say(f"making {VENV.name} from {LOCK.name} (every package with its hash)")
    if not (VENV / "bin" / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
    pip = [str(VENV / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--require-hashes", "-r", str(LOCK)], check=True)
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", "--editable", str(PROJECT.parent)], check=True)
    STAMP.write_text(wanted)


def main() -> None:
    """Runs both steps, or with --venv the second only."""
    if sys.version_info < (3, 11):  # noqa: UP036  (the first thing that runs, on whatever Python there is)
        sys.exit(f"setup: Python 3.11 or newer is needed, this is {sys.version.split()[0]}")
    if "--venv" not in sys.argv[1:]:
        system_packages()
    virtual_environment()


if __name__ == "__main__":
    main()
