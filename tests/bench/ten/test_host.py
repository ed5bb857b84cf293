"""Ten claims about each guest through testinfra's `host`."""


def test_name(host):
    assert host.check_output("hostname")


def test_passwd(host):
    found = host.file("/etc/passwd")
    assert (found.mode, found.user) == (0o644, "root")


def test_root(host):
    assert host.user("root").uid == 0


def test_package(host):
    assert host.package("openssh-server").is_installed


def test_service(host):
    assert host.service("ssh").is_running


def test_port(host):
    assert host.check_output("ss -Hltn 'sport = :22'")


def test_kernel(host):
    assert host.sysctl("kernel.ostype") == "Linux"


def test_root_file_system(host):
    assert host.check_output("findmnt --noheadings --output TARGET /") == "/"


def test_disk(host):
    assert int(host.check_output("df -P / | tail -n1").split()[4].rstrip("%")) <= 90


def test_manifest(host):
    assert host.check_output("head -c1 /etc/hub/manifest.json") == "{"
