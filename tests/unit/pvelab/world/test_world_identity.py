"""Who a guest is, as written into its root file system."""

import os
from pathlib import Path

import pytest
from pvelab.world import identity
from pvelab.world.errors import LabError
from pvelab.world.identity import Root

# What is written belongs to whoever owns the root; under a test that is the user who runs it.
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="files of a guest's root are given to root: needs root")


@pytest.fixture
def root(tmp_path: Path) -> Root:
    (tmp_path / "etc").mkdir()
    return Root(tmp_path)


def test_our_lines_in_the_hosts_file_are_replaced_and_others_kept(root: Root):
    root.write("etc/hosts", "127.0.0.1 localhost\n10.0.0.1 mine\n")
    identity.set_hostname(root, "db", "10.10.10.11", "hub.example")
    identity.set_hostname(root, "db2", "10.10.10.12", "hub.example")
    text = root.read("etc/hosts")
    assert "10.10.10.12 db2.hub.example db2" in text
    assert "10.10.10.11" not in text
    assert "10.0.0.1 mine" in text
    assert text.count("127.0.0.1 localhost") == 1
    assert root.read("etc/hostname") == "db2\n"


def test_keys_are_added_and_those_of_the_guest_stay(root: Root):
    identity.authorise(root, "root", ["ssh-ed25519 A"])
    identity.authorise(root, "/root", ["ssh-ed25519 B", "ssh-ed25519 A"])
    assert root.read("root/.ssh/authorized_keys") == "ssh-ed25519 A\nssh-ed25519 B\n"
    assert (root.path / "root/.ssh").stat().st_mode & 0o777 == 0o700
    assert (root.path / "root/.ssh/authorized_keys").stat().st_mode & 0o777 == 0o600


def test_a_machine_id_is_given_once(root: Root):
    identity.set_machine_id(root)
    first = root.read("etc/machine-id")
    identity.set_machine_id(root)
    assert root.read("etc/machine-id") == first
    assert len(first.strip()) == 32


def test_a_link_of_the_guest_does_not_lead_out_of_its_root(root: Root, tmp_path_factory: pytest.TempPathFactory):
    outside = tmp_path_factory.mktemp("outside")
    (root.path / "etc/ssh").symlink_to(outside)
    with pytest.raises(LabError, match="leads out"):
        root.write("etc/ssh/x", "text")
    (root.path / "etc/resolv.conf").symlink_to(outside / "victim")
    identity.set_resolver(root, ["10.0.0.1"], [])
    assert list(outside.iterdir()) == []
    assert "nameserver 10.0.0.1" in root.read("etc/resolv.conf")


def test_network_files_say_addresses_before_routes():
    files = identity.network_files({"eth0": {"ip": "10.0.0.2/24", "gw": "10.0.0.1"}, "eth1": {"ip": "dhcp"}})
    text = files["etc/systemd/network/10-eth0.network"]
    assert text.index("Address=10.0.0.2/24") < text.index("[Route]") < text.index("Gateway=10.0.0.1")
    assert "DHCP=ipv4" in files["etc/systemd/network/10-eth1.network"]


def test_host_keys_are_reported_in_pves_words(root: Root):
    identity.make_host_keys(root, "root@db")
    lines = identity.host_key_log(root)
    assert lines[0] == "Creating SSH host key 'ssh_host_rsa_key' - this may take some time ..."
    assert lines[5].startswith("done: SHA256:")
    assert lines[5].endswith(" root@db")
