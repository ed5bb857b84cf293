"""Who a guest is, as written into its root file system."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from pvelab.world import accounts, cloudinit, identity
from pvelab.world.errors import LabError
from pvelab.world.root import LIMIT, Root

# What is written belongs to whoever owns the root; under a test that is the user who runs it.
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="files of a guest's root are given to root: needs root")


@pytest.fixture
def root(tmp_path: Path) -> Root:
    (tmp_path / "etc").mkdir()
    return Root(tmp_path)


def test_our_lines_in_the_hosts_file_are_replaced_and_others_kept(root: Root) -> None:
    root.write("etc/hosts", "127.0.0.1 localhost\n10.0.0.1 mine\n")
    identity.set_hostname(root, "db", "10.10.10.11", "hub.example")
    identity.set_hostname(root, "db2", "10.10.10.12", "hub.example")
    text = root.read("etc/hosts")
    assert "10.10.10.12 db2.hub.example db2" in text
    assert "10.10.10.11" not in text
    assert "10.0.0.1 mine" in text
    assert text.count("127.0.0.1 localhost") == 1
    assert root.read("etc/hostname") == "db2\n"


def test_keys_are_added_and_those_of_the_guest_stay(root: Root) -> None:
    identity.authorise(root, "root", ["ssh-ed25519 A"])
    identity.authorise(root, "/root", ["ssh-ed25519 B", "ssh-ed25519 A"])
    assert root.read("root/.ssh/authorized_keys") == "ssh-ed25519 A\nssh-ed25519 B\n"
    assert (root.path / "root/.ssh").stat().st_mode & 0o777 == 0o700
    assert (root.path / "root/.ssh/authorized_keys").stat().st_mode & 0o777 == 0o600


def test_a_machine_id_is_given_once(root: Root) -> None:
    identity.set_machine_id(root)
    first = root.read("etc/machine-id")
    identity.set_machine_id(root)
    assert root.read("etc/machine-id") == first
    assert len(first.strip()) == 32


def test_a_link_of_the_guest_does_not_lead_out_of_its_root(
    root: Root, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (root.path / "etc/ssh").symlink_to(outside)
    with pytest.raises(LabError, match="leads nowhere in the guest's root"):
        root.write("etc/ssh/x", "text")
    (root.path / "etc/resolv.conf").symlink_to(outside / "victim")
    identity.set_resolver(root, ["10.0.0.1"], [])
    assert list(outside.iterdir()) == []
    assert "nameserver 10.0.0.1" in root.read("etc/resolv.conf")


def test_a_link_to_a_file_of_the_machine_is_read_as_the_guest_reads_it(root: Root, tmp_path: Path) -> None:
    secret = tmp_path.with_name(f"{tmp_path.name}-secret")
    secret.write_text("192.0.2.1 of-the-machine\n")
    (root.path / "etc/hosts").symlink_to(secret)
    assert root.read("etc/hosts") == ""
    identity.set_hostname(root, "db", "10.10.10.11", "")
    assert "of-the-machine" not in (root.path / "etc/hosts").read_text()
    (root.path / "here").write_text("its own")
    (root.path / "there").symlink_to("/here")
    assert root.read("there") == "its own"


def test_what_would_never_end_is_not_read(root: Root) -> None:
    os.mkfifo(root.path / "etc/passwd")
    with pytest.raises(LabError, match="is no file"):
        root.read("etc/passwd")
    with (root.path / "etc/group").open("w") as file:
        file.truncate(LIMIT + 1)
    with pytest.raises(LabError, match="larger than 1 MiB"):
        root.read("etc/group")


def with_a_shell(root: Root) -> None:
    """Puts a shell that runs into a root file system."""
    libraries = subprocess.run(["ldd", "/bin/sh"], capture_output=True, text=True, check=True).stdout
    for file in ("/bin/sh", *re.findall(r"/\S+", libraries)):
        target = root.path / file.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(Path(file).resolve(), target)


def test_no_program_of_a_guest_s_root_runs_on_the_machine(root: Root) -> None:
    with_a_shell(root)
    proof = root.path / "ran"
    for name in ("useradd", "chpasswd"):
        root.write(f"bin/{name}", "#!/bin/sh\necho as the root of the machine > /ran\n", 0o755)
    subprocess.run(["chroot", str(root.path), "chpasswd"], check=True)
    assert proof.exists(), "it would run"
    proof.unlink()
    root.write("etc/passwd", "root:x:0:0:root:/root:/bin/bash\n")
    root.write("etc/group", "root:x:0:\nsudo:x:27:\n")
    root.write("etc/shadow", "root:*:1:0:99999:7:::\n", 0o640)
    os.chown(root.path / "etc/shadow", 0, 42)
    root.write("etc/skel/.bashrc", "# of Debian\n")
    cloudinit.apply(root, 110, {"ciuser": "debian", "cipassword": "in clear", "sshkeys": "ssh-ed25519%20A"})
    assert not proof.exists()
    assert root.read("etc/passwd").splitlines()[1] == "debian:x:1000:1000::/home/debian:/bin/bash"
    assert root.read("etc/group").splitlines()[2] == "debian:x:1000:"
    assert root.read("etc/shadow").splitlines()[1].startswith("debian:$6$")
    assert root.read("home/debian/.bashrc") == "# of Debian\n"
    assert root.read("home/debian/.ssh/authorized_keys") == "ssh-ed25519 A\n"
    shadow = (root.path / "etc/shadow").stat()
    assert (shadow.st_gid, shadow.st_mode & 0o777) == (42, 0o640)
    for name in ("home/debian", "home/debian/.bashrc", "home/debian/.ssh", "home/debian/.ssh/authorized_keys"):
        assert (root.path / name).stat().st_uid == 1000
    before = root.read("etc/passwd")
    cloudinit.apply(root, 110, {"ciuser": "debian", "cipassword": "$6$salt$hash"})
    assert (root.read("etc/passwd"), root.read("etc/shadow").count("debian:$6$salt$hash:")) == (before, 1)


@pytest.mark.parametrize("user", ["a:0:0", "x\nroot2", "../etc", "-x", ""])
def test_a_user_whose_name_would_be_more_than_a_name_is_refused(root: Root, user: str) -> None:
    with pytest.raises(LabError, match="is no name for a user"):
        accounts.add(root, user)


@pytest.mark.parametrize("number", [65536, 2**32 - 100_000])
def test_nothing_is_given_to_a_user_outside_of_the_map(tmp_path: Path, number: int) -> None:
    root = Root(tmp_path, 100_000)
    root.write("etc/passwd", f"mallory:x:{number}:0::/home/mallory:/bin/sh\n")
    with pytest.raises(LabError, match="outside of the uid map"):
        cloudinit.apply(root, 110, {"ciuser": "mallory", "sshkeys": "ssh-ed25519%20A"})


def test_network_files_say_addresses_before_routes() -> None:
    files = identity.network_files({"eth0": {"ip": "10.0.0.2/24", "gw": "10.0.0.1"}, "eth1": {"ip": "dhcp"}})
    text = files["etc/systemd/network/10-eth0.network"]
    assert text.index("Address=10.0.0.2/24") < text.index("[Route]") < text.index("Gateway=10.0.0.1")
    assert "DHCP=ipv4" in files["etc/systemd/network/10-eth1.network"]


def test_host_keys_are_reported_in_pves_words(root: Root) -> None:
    identity.make_host_keys(root, "root@db")
    lines = identity.host_key_log(root)
    assert lines[0] == "Creating SSH host key 'ssh_host_rsa_key' - this may take some time ..."
    assert lines[5].startswith("done: SHA256:")
    assert lines[5].endswith(" root@db")


def test_a_folder_that_somebody_makes_at_the_same_moment_is_taken(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    make = os.mkdir

    def faster(part: str, *, dir_fd: int) -> None:
        make(part, dir_fd=dir_fd)
        make(part, dir_fd=dir_fd)

    monkeypatch.setattr(os, "mkdir", faster)
    root.write("srv/deep/file", "x")
    assert root.read("srv/deep/file") == "x"
