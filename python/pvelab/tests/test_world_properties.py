"""What of a PVE config the lab acts on."""

from urllib.parse import quote

from pvelab.world import properties
from pvelab.world.lxc import Link

LXC = {
    "hostname": "db",
    "memory": "16384",
    "cores": "4",
    "net0": "name=eth0,bridge=hubinfra,gw=10.10.10.1,hwaddr=BC:24:11:00:00:6E,ip=10.10.10.11/24,type=veth",
}
VM = {
    "name": "ai.hub.example",
    "memory": "2048",
    "cores": "6",
    "sockets": "2",
    "net0": "virtio=BC:24:11:00:00:C9,bridge=hubprivate",
    "ipconfig0": "ip=10.10.20.11/24,gw=10.10.20.1",
    "sshkeys": quote("ssh-ed25519 AAAA one@x\nssh-ed25519 BBBB two@x\n", safe=""),
}


def test_an_lxc_network_card_has_the_names_that_pve_gives_it() -> None:
    assert properties.links("lxc", 110, LXC) == [Link("eth0", "hubinfra", "veth110i0", "BC:24:11:00:00:6E")]


def test_a_vm_network_card_is_eth0_as_in_debians_cloud_image() -> None:
    assert properties.links("qemu", 201, VM) == [Link("eth0", "hubprivate", "tap201i0", "BC:24:11:00:00:C9")]


def test_addresses_come_from_net_for_lxc_and_from_ipconfig_for_vms() -> None:
    assert properties.addresses("lxc", LXC) == {"eth0": {"gw": "10.10.10.1", "ip": "10.10.10.11/24"}}
    assert properties.addresses("qemu", VM) == {"eth0": {"gw": "10.10.20.1", "ip": "10.10.20.11/24"}}


def test_keys_of_a_vm_are_url_encoded() -> None:
    assert properties.public_keys("qemu", VM) == ["ssh-ed25519 AAAA one@x", "ssh-ed25519 BBBB two@x"]


def test_cores_of_a_vm_count_per_socket_and_cpulimit_is_a_ceiling() -> None:
    assert properties.limits("qemu", VM, 1).cores == 12
    assert properties.limits("lxc", {**LXC, "cpulimit": "2"}, 1).cores == 2


def test_a_guest_without_a_name_is_called_as_pve_calls_it() -> None:
    assert properties.hostname("lxc", 110, {}) == "CT110"
    assert properties.hostname("qemu", 201, {}) == "VM201"
