"""One registry answers under many names without mixing them."""

from pathlib import Path

from pvelab.world import builder, registry


def test_repositories_of_a_name_lie_below_it():
    text = registry.virtual_host("ghcr.io")
    assert "server_name ghcr.io;" in text
    assert "rewrite ^/v2/(.*)$ /v2/ghcr.io/$1 break;" in text
    assert "location /v2/ghcr.io/ {" in text


def test_the_builder_inherits_how_package_clients_find_their_registries(tmp_path: Path):
    (tmp_path / "etc/ssl/certs").mkdir(parents=True)
    environment = {
        "PIP_INDEX_URL": "https://mirror.example/simple",
        "PIP_FIND_LINKS": "/not/in/the/builder",
        "SSL_CERT_DIR": "/etc/ssl/certs",
        "https_proxy": "http://proxy.example:3128",
        "HOME": "/home/x",
        "SOME_TOKEN": "value",
    }
    assert builder.client_environment(environment, tmp_path) == {
        "PIP_INDEX_URL": "https://mirror.example/simple",
        "SSL_CERT_DIR": "/etc/ssl/certs",
        "https_proxy": "http://proxy.example:3128",
    }
