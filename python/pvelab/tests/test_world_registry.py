"""One registry answers under many names without mixing them."""

from ipaddress import IPv4Network

from pvelab.world import appliance, registry


def test_repositories_of_a_name_lie_below_it() -> None:
    text = registry.virtual_host("ghcr.io")
    assert "server_name ghcr.io;" in text
    assert "rewrite ^/v2/(.*)$ /v2/ghcr.io/$1 break;" in text
    assert "location /v2/ghcr.io/ {" in text


def test_what_reaches_the_helpers_from_outside_is_guests_at_the_registry_s_port() -> None:
    text = appliance.rules([IPv4Network("10.10.10.0/24"), IPv4Network("10.10.20.0/24")])
    assert 'oifname "labbr0" ip saddr { 10.10.10.0/24, 10.10.20.0/24 } tcp dport 443 accept' in text
    assert text.index("10.10.10.0/24") < text.index('oifname "labbr0" drop')
    assert "ip daddr 10.255.254.0/29 drop" in text


def test_every_name_refuses_what_writes_but_at_the_builder_s_address() -> None:
    assert "if ($refused) { return 403; }" in registry.virtual_host("ghcr.io")
    assert registry.PUSH_ADDRESS != registry.ADDRESS
    assert registry._HEAD.count("if ($refused) { return 403; }") == 1
    assert f'"~^{registry.PUSH_ADDRESS} "'.replace(".", r"\.") in registry._HEAD
