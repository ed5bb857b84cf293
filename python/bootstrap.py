"""Installs what aihub needs on this machine: system packages and a virtual environment. Standard library only.

`python3 python/bootstrap.py` does both, `--venv` only the second (no root needed), `--tests` also installs what only
the tests need. Says what it installs; a second run does nothing. Needs Debian or Ubuntu, Python 3.11 or newer, and root
where system packages are missing.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
LOCK = ROOT / "python" / "requirements.lock"
PROJECTS = (ROOT / "python" / "pyproject.toml", ROOT / "python" / "pvelab" / "pyproject.toml")
STAMP = VENV / "aihub-installed"
CONFOLD = ("-o", "Dpkg::Options::=--force-confold")  # a file that is there already stays as it is, unasked
APT = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}

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

# What others' clients in pvelab's tests are built with: a tool that is there and new enough is taken as it is, wherever
# it came from. Else the first package that the distribution has: Debian 12 carries a newer Rust beside its own.
TEST_TOOLS: dict[str, tuple[tuple[int, int], tuple[str, ...]]] = {
    "curl": ((7, 0), ("curl",)),
    "node": ((18, 17), ("nodejs",)),
    "npm": ((8, 0), ("npm",)),
    "go": ((1, 19), ("golang-go",)),
    "cargo": ((1, 85), ("cargo-web", "cargo")),
    "cc": ((1, 0), ("gcc",)),
}

# Servers that tests of tests/vault start themselves, as processes of their own.
TEST_PACKAGES = {
    "postgresql": "PostgreSQL, for the tests of rotation",
    "redis-tools": "Redis, for the tests of rotation",
}
NO_CLUSTER = Path("/etc/postgresql-common/createcluster.conf")


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
    if missing:
        refresh(missing)
        install({name: PACKAGES[name] for name in missing})


def test_tools() -> None:
    """Installs the missing tools of the tests; what stays too old is said, and the test that needs it fails."""
    missing = {tool: choices for tool, (least, choices) in TEST_TOOLS.items() if version(tool) < least}
    if not missing:
        return
    refresh([choices[-1] for choices in missing.values()])
    for tool, choices in missing.items():
        if version(tool) >= TEST_TOOLS[tool][0]:
            continue  # came along with another
        install({next(filter(offered, choices), choices[-1]): f"{tool}, for the tests"})
    for tool in missing:
        if version(tool) < TEST_TOOLS[tool][0]:
            say(f"{tool} is older than the tests need: {'.'.join(map(str, TEST_TOOLS[tool][0]))}")


def test_packages() -> None:
    """Installs the missing servers of the tests; PostgreSQL makes no database of its own then."""
    missing = [name for name in TEST_PACKAGES if not installed(name)]
    if not missing:
        return
    refresh(missing)
    if not installed("postgresql-common") and not NO_CLUSTER.exists():
        NO_CLUSTER.parent.mkdir(exist_ok=True)
        NO_CLUSTER.write_text("create_main_cluster = false\n")
    install({name: TEST_PACKAGES[name] for name in missing})


def version(tool: str) -> tuple[int, int]:
    """The first two numbers that a tool says of itself; (0, 0) without the tool."""
    for option in ("--version", "version"):
        try:
            said = subprocess.run([tool, option], capture_output=True, text=True, check=False).stdout
        except OSError:
            break
        if found := re.search(r"([0-9]+)\.([0-9]+)", said):
            return int(found[1]), int(found[2])
    return 0, 0


def offered(package: str) -> bool:
    """Whether the distribution has the package."""
    found = subprocess.run(["apt-cache", "policy", package], capture_output=True, text=True, check=False).stdout
    return "Candidate:" in found and "Candidate: (none)" not in found


def refresh(wanted: list[str]) -> None:
    """Brings the package lists up to date; only root can."""
    if os.geteuid() != 0:
        sys.exit(f"setup: run as root, or install by hand: apt-get install {' '.join(wanted)}")
    subprocess.run(["apt-get", "update", "-qq"], check=True, env=APT, stdout=sys.stderr)


def install(packages: dict[str, str]) -> None:
    """Installs packages, each with the reason."""
    for name, why in packages.items():
        say(f"installing {name}: {why}")
    argv = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *CONFOLD, *packages]
    subprocess.run(argv, check=True, env=APT, stdout=sys.stderr)


def fingerprint() -> str:
    """What the virtual environment was made from: lock, project file and interpreter."""
    files = b"".join(path.read_bytes() for path in (LOCK, *PROJECTS))
    content = files + f"{sys.version_info[:3]} {VENV}".encode()
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
    for path in PROJECTS:  # in this order: an aihub of before takes its own `pvelab` command away when it is replaced
        subprocess.run([*pip, "--no-deps", "--no-build-isolation", "--editable", str(path.parent)], check=True)
    STAMP.write_text(wanted)


def main() -> None:
    """Runs both steps, or with --venv the second only, or with --tests one more between them."""
    if sys.version_info < (3, 11):  # noqa: UP036  (the first thing that runs, on whatever Python there is)
        sys.exit(f"setup: Python 3.11 or newer is needed, this is {sys.version.split()[0]}")
    if "--venv" not in sys.argv[1:]:
        system_packages()
    if "--tests" in sys.argv[1:]:
        test_tools()
        test_packages()
    virtual_environment()


if __name__ == "__main__":
    main()
