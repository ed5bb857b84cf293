"""What metal writes and reads: orders and answers, rendered files, the node's own answers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from aihub import names
from aihub.names import Layout
from metal import actual, texts
from metal.desired import Flow
from metal.exchange import Allowed, Answer, Failure, Order, Refusal, Taken
from metal.refusal import RefusedByNode

from tests.unit.metal.metal_nodes import UPSTREAM, WANTED


def test_an_order_survives_json():
    for order in (Order(WANTED), Order(WANTED, (Allowed("node pve: walls", "configure", False),)), Order(WANTED, ())):
        assert Order.read(order.as_json()) == order


def test_a_later_version_of_the_desired_state_is_refused():
    with pytest.raises(ValueError, match="version 2"):
        Order.read(Order(WANTED).as_json().replace('"version": 1', '"version": 2'))


def test_an_answer_survives_json_whatever_its_values_hold():
    odd = (("a", "1 -> 2 | b", "c\nd"), ("", "\x1b[31m", "--> Starting operation: x"))
    steps = (Taken("walls", "node pve: walls", "configure", odd, False, "failed"),)
    for answer in (
        Answer(steps, failed=Failure("command", "node pve: walls", ("a", "b"))),
        Answer(refused=Refusal("conflict", "what", "hint")),
        Answer(closed=("hubprivate",)),
    ):
        assert Answer.read(answer.as_json()) == answer


def test_the_walls_of_a_zone_without_internet_let_nothing_out():
    text = texts.render("walls.nft.j2", WANTED)
    outward = [line for line in text.splitlines() if "internet outbound" in line]
    assert len(outward) == 1
    assert '"hubinfra"' in outward[0].partition("oifname")[0]
    assert "flush" not in text


def rules(text: str, chain: str) -> list[str]:
    """The rules of a chain, in their order."""
    return [line.strip() for line in text.partition(f"chain {chain} {{")[2].partition("\n\t}\n")[0].splitlines()[1:]]


def test_the_internet_is_where_public_addresses_are_and_the_lan_what_is_named():
    lan = (Flow("10.10.20.0/24", "192.168.1.20", 445, "tcp", "private reaches the LAN"),)
    text = texts.render("walls.nft.j2", replace(WANTED, lan=lan, outside=("203.0.113.80",)), near=("192.0.3.0/28",))
    leaving = [line for line in rules(text, "leaving") if "accept" in line][4:]
    assert leaving == [
        'iifname "hubprivate" ip saddr 10.10.20.0/24 ip daddr 192.168.1.20 tcp dport 445 accept '
        'comment "private reaches the LAN"',
        'iifname "hubinfra" ip daddr { 203.0.113.80 } accept comment "infra: what stands for the internet in this lab"',
        'iifname "hubinfra" ip daddr != @inland accept comment "infra: internet outbound"',
    ]
    (inland,) = (line for line in text.splitlines() if "elements = { 0.0.0.0/8" in line)
    assert set(names.NOT_PUBLIC) | {"192.0.3.0/28"} == set(inland.partition("{")[2].strip(" }").split(", "))


def test_of_a_real_node_nothing_stands_for_the_internet():
    assert "stands for" not in texts.render("walls.nft.j2", WANTED)


def test_a_guests_port_is_bound_wherever_proxmox_plugs_it_in():
    text = texts.render("walls.nft.j2", WANTED)
    for pair in (
        '"veth110i0" . BC:24:11:00:00:6E',
        '"fwpr110p0" . BC:24:11:00:00:6E',
        '"tap201i0" . BC:24:11:00:00:C9',
        '"veth110i0" . 10.10.10.11',
        '"fwpr201p0" . 10.10.20.11',
    ):
        assert text.count(pair) == 1
    assert rules(text, "sending")[-1] == "counter drop"
    assert (
        'iifname "hubprivate" arp saddr ether . arp saddr ip != { BC:24:11:00:00:C9 . 10.10.20.11 } counter drop'
        in text
    )


def test_a_zone_without_guests_lets_nobody_speak():
    text = texts.render("walls.nft.j2", replace(WANTED, ports=()))
    assert rules(text, "spoofing")[1:] == ['iifname "hubinfra" counter drop', 'iifname "hubprivate" counter drop']
    assert "type ifname" not in text, "nft takes no set that begins empty"


def test_flows_inside_a_zone_need_no_rule_and_comments_cannot_end_their_quotes():
    text = texts.render("walls.nft.j2", WANTED)
    rules = [line for line in text.splitlines() if "dport 5432" in line]
    assert len(rules) == 1
    assert "ip saddr 10.10.20.11/32 ip daddr 10.10.10.11 tcp dport 5432 accept" in rules[0]
    assert rules[0].count('"') == 6
    assert ";" not in rules[0]


def test_a_hubs_name_with_a_hyphen_makes_a_table_that_nft_takes():
    assert WANTED.table == "hub_my_hub"


def test_dns_refuses_outside_names_where_there_is_no_internet():
    text = texts.render("unbound.conf.j2", WANTED, UPSTREAM)
    assert "access-control: 10.10.20.0/24 refuse_non_local" in text
    assert "access-control: 10.10.10.0/24 allow" in text
    assert 'local-zone: "hub.home.arpa." static' in text
    assert 'local-data: "ghcr.io. 60 IN A 10.255.255.2"' in text
    assert "forward-addr: 192.0.2.53" in text


def test_a_domain_that_others_answer_too_is_not_closed():
    text = texts.render("unbound.conf.j2", replace(WANTED, domain="hub.example.org"), UPSTREAM)
    assert 'local-zone: "hub.example.org." transparent' in text


def test_every_file_of_ours_is_named_after_the_hub():
    assert all("my-hub" in path for path in Layout("my-hub").files)


LINES = """file\t/etc/a\t644 root root\t12
sum\tabc\t/etc/a
package\tunbound\tinstalled
package\tchrony\tconfig-files
unit\thub-dns-my-hub.service\tenabled\tactive\t1700000000
api\tnetwork\t[{"iface": "vmbr0", "comments": "tab\\tin it"}]
links\t[{"ifname": "vmbr0", "addr_info": [{"local": "192.168.1.10", "prefixlen": 24}]}, {"ifname": "eno1"}, {}]
routes\t[{"dst": "default", "dev": "vmbr0"}]
ports\thubinfra\tveth1 veth2\x20
groups\thubinfra\t0x4000
value\tclock\t1
resolver\t192.0.2.53
interfaces\tnew\t\taddress 10.0.0.1/24""".splitlines()


def test_the_nodes_answer_is_read():
    found = actual.parse(LINES)
    assert found.files["/etc/a"] == actual.File("644 root root", "abc", 12)
    assert found.units["hub-dns-my-hub.service"].active == "active"
    assert found.api["network"][0]["comments"] == "tab\tin it"
    assert found.addresses == {"vmbr0": ["192.168.1.10/24"]}
    assert found.routes == [{"dst": "default", "dev": "vmbr0"}]
    assert found.ports == {"hubinfra": ["veth1", "veth2"]}
    assert found.groups == {"hubinfra": "0x4000"}
    assert found.packages == {"unbound"}
    assert found.interfaces["new"] == ["\taddress 10.0.0.1/24"]


def test_a_machine_without_pvesh_is_refused_in_words():
    with pytest.raises(RefusedByNode, match="not a Proxmox VE node"):
        actual.parse(["fail\tpvesh\tthere is no pvesh: not a Proxmox VE node"])
