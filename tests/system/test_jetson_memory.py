"""The role jetson_memory on a host with real swap files and real zram devices."""

import time

import pytest

MIB = 1024 * 1024
FILE = "/srv/disk/swapfile"
EXCHANGE = {"jetson_memory_exchange_path": "/srv/disk/exchange.swap", "jetson_memory_exchange_size": "300M"}
UNDO = "/var/lib/tfleet/memory-exchange-undo"


@pytest.fixture
def jetson(host):
    """A host that has zram from JetPack's own unit."""
    host.install("nvzramconfig.sh", "/etc/systemd/nvzramconfig.sh", "755")
    host.install("nvzramconfig.service", "/etc/systemd/system/nvzramconfig.service")
    host.run("systemctl daemon-reload; systemctl enable --now nvzramconfig.service")
    return host


def zram(host):
    """MiB of zram in use."""
    return sum(size for path, (size, _priority) in host.swaps().items() if path.startswith("/dev/zram"))


def half_of_memory(host):
    return int(host.run("awk '/^MemTotal/ { print $2 }' /proc/meminfo")) // 2048


def leaves_nothing(host):
    assert host.run("ls -A /var/lib/tfleet/originals 2>/dev/null || true") == ""


def test_swap_file_is_made_grown_moved_and_taken_back(host):
    fstab = host.run("cat /etc/fstab")
    host.changes("jetson_memory", jetson_memory_swap_size="64M", jetson_memory_swap_path=FILE)
    assert host.swaps()[FILE][0] == 64
    assert host.run(f"stat -c '%a %U %s' {FILE}") == f"600 root {64 * MIB}"
    assert host.run("cat /etc/fstab") == f"{fstab}\n{FILE} none swap sw,nofail 0 0".strip()

    host.changes("jetson_memory", jetson_memory_swap_size="100M", jetson_memory_swap_path=FILE, jetson_memory_swap_priority=7)
    assert host.swaps()[FILE] == (100, 7)
    assert host.run(f"grep -c {FILE} /etc/fstab") == "1"

    elsewhere = "/srv/disk/other/swap file"
    host.run("mkdir /srv/disk/other")
    host.changes_once("jetson_memory", jetson_memory_swap_size="100M", jetson_memory_swap_path=elsewhere)
    assert set(host.swaps()) == {r"/srv/disk/other/swap\040file"}
    assert not host.succeeds(f"test -e {FILE}")

    host.changes_once("jetson_memory", jetson_memory_state="absent")
    assert host.swaps() == {}
    assert host.run("cat /etc/fstab") == fstab
    assert host.run("ls -A /srv/disk/other") == ""
    leaves_nothing(host)


def test_a_swap_file_of_somebody_else_is_grown_and_put_back_as_it_was(host):
    host.run(f"fallocate -l 48M {FILE} && chmod 600 {FILE} && mkswap {FILE} && swapon {FILE} && echo '{FILE} swap swap defaults 0 0' >> /etc/fstab")
    host.changes("jetson_memory", jetson_memory_swap_size="64M", jetson_memory_swap_path=FILE)
    assert host.run("cat /etc/fstab").splitlines()[-1] == f"{FILE} none swap sw,nofail 0 0"
    host.changes("jetson_memory", jetson_memory_state="absent")
    assert host.swaps()[FILE][0] == 48
    assert host.run("cat /etc/fstab").splitlines()[-1] == f"{FILE} swap swap defaults 0 0"


def test_places_that_take_no_swap_file_are_refused(host):
    before = host.run("ls -A /opt /dev/shm /srv/disk; cat /etc/fstab")
    for path, words in (("/opt/swapfile", "overlay"), ("/dev/shm/swapfile", "tmpfs"), ("/nowhere/swapfile", "no directory")):
        failure = host.role("jetson_memory", jetson_memory_swap_size="64M", jetson_memory_swap_path=path).failure
        assert words in failure
    assert "10 % of the disk stay free" in host.role("jetson_memory", jetson_memory_swap_size="100000G", jetson_memory_swap_path=FILE).failure
    host.run(f"echo data > {FILE}")
    assert "without a swap signature" in host.role("jetson_memory", jetson_memory_swap_size="64M", jetson_memory_swap_path=FILE).failure
    host.run(f"rm {FILE}")
    assert host.run("ls -A /opt /dev/shm /srv/disk; cat /etc/fstab") == before


def test_what_a_killed_run_left_is_cleaned_up(host):
    host.run("fallocate -l 32M /srv/disk/.swapfile.tfleet-new")
    host.changes("jetson_memory", jetson_memory_swap_size="64M", jetson_memory_swap_path=FILE)
    assert host.run("ls -A /srv/disk") == "swapfile"


def test_zram_of_jetpack_is_resized_disabled_and_taken_back(jetson):
    script = jetson.run("cat /etc/systemd/nvzramconfig.sh")
    assert zram(jetson) == pytest.approx(half_of_memory(jetson), abs=2)

    run = jetson.changes("jetson_memory", jetson_memory_zram_size="200M")
    assert zram(jetson) == pytest.approx(200, abs=1)
    assert run.facts["jetson_memory_reboot_needed"] is None
    assert jetson.run("stat -c %a /etc/systemd/nvzramconfig.sh") == "755"
    # Its next boot does the same.
    jetson.run("swapoff /dev/zram0 /dev/zram1; echo 1 > /sys/block/zram0/reset; echo 1 > /sys/block/zram1/reset; systemctl start nvzramconfig.service")
    assert zram(jetson) == pytest.approx(200, abs=1)

    jetson.changes("jetson_memory", jetson_memory_zram_size="0")
    assert zram(jetson) == 0
    assert jetson.run("systemctl is-enabled nvzramconfig.service", check=False) == "disabled"

    jetson.changes_once("jetson_memory", jetson_memory_state="absent")
    assert zram(jetson) == pytest.approx(half_of_memory(jetson), abs=2)
    assert jetson.run("cat /etc/systemd/nvzramconfig.sh") == script
    assert jetson.run("systemctl is-enabled nvzramconfig.service") == "enabled"
    leaves_nothing(jetson)


@pytest.mark.parametrize(
    "refused",
    [{"jetson_memory_swap_size": "64M", "jetson_memory_swap_path": "/nowhere/swapfile"}, {"jetson_memory_swappiness": "200"}],
    ids=["swap file", "swappiness"],
)
def test_what_is_refused_is_refused_before_zram_changes(jetson, refused):
    swaps = jetson.swaps()
    run = jetson.role("jetson_memory", jetson_memory_zram_size="200M", **refused)
    assert run.failure and run.changed == [] and jetson.swaps() == swaps


def test_zram_of_somebody_else_is_left_alone(jetson):
    jetson.write("/etc/udev/rules.d/99-zram.rules", 'KERNEL=="zram0", ATTR{disksize}="64M", RUN="/sbin/mkswap $env{DEVNAME}"\n')
    swaps = jetson.swaps()
    run = jetson.role("jetson_memory", jetson_memory_zram_size="200M")
    assert "managed by somebody else: /etc/udev/rules.d/99-zram.rules" in run.failure
    assert jetson.swaps() == swaps


def test_zram_tools_are_installed_sized_and_removed_where_nothing_manages_zram(host):
    # Debian's package, from its repository.
    host.changes_once("jetson_memory", jetson_memory_zram_size="128M", jetson_memory_zram_package="zram-tools")
    assert host.swaps() == {"/dev/zram0": (128, 100)}
    # Two managers never.
    host.install("nvzramconfig.sh", "/etc/systemd/nvzramconfig.sh", "755")
    host.install("nvzramconfig.service", "/etc/systemd/system/nvzramconfig.service")
    host.run("systemctl daemon-reload; systemctl enable nvzramconfig.service")
    assert "Two managers" in host.role("jetson_memory", jetson_memory_zram_size="64M").failure
    host.run("systemctl disable nvzramconfig.service; rm /etc/systemd/system/nvzramconfig.service; systemctl daemon-reload")

    host.changes("jetson_memory", jetson_memory_state="absent")
    assert host.swaps() == {}
    assert not host.succeeds("dpkg-query --show --showformat='${Status}' zram-tools | grep ' installed'")
    leaves_nothing(host)


def test_swappiness_is_set_and_taken_back(host):
    before = host.run("cat /proc/sys/vm/swappiness")
    host.changes("jetson_memory", jetson_memory_swappiness="10")
    assert host.run("cat /proc/sys/vm/swappiness") == "10"
    assert host.run("sysctl --system 2>&1 | grep swappiness") == "vm.swappiness = 10"
    assert "from 0 to 100" in host.role("jetson_memory", jetson_memory_swappiness="200").failure
    host.changes("jetson_memory", jetson_memory_state="absent")
    assert host.run("cat /proc/sys/vm/swappiness") == before
    leaves_nothing(host)


# ---- the exchange around a build ----
@pytest.fixture
def exchanged(jetson):
    """A host in the middle of an exchange, with what it had before."""
    before = jetson.swaps()

    def begin(**variables):
        run = jetson.role("jetson_memory", entry="exchange_begin", **{**EXCHANGE, **variables})
        assert run.failure is None
        assert {path: size for path, (size, _priority) in jetson.swaps().items()} == {"/srv/disk/exchange.swap": 300}
        return before

    return begin


def back(host, before):
    """Everything is as before, and nothing of the exchange is left."""
    return host.swaps() == before and gone(host)


def gone(host):
    """Nothing of the exchange is left."""
    return (
        host.run("ls -A /srv/disk") == ""
        and host.run("ls -A /var/lib/tfleet") == ""
        and not host.succeeds("ls /etc/systemd/system/*/tfleet-memory-exchange* /etc/systemd/system/tfleet-memory-exchange*")
        and host.run("systemctl list-units --all --no-legend 'tfleet-memory-exchange*'") == ""
    )


def wait_until(condition, seconds):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.5)


def test_exchange_is_taken_back_at_the_end_of_the_build(jetson, exchanged):
    assert jetson.role("jetson_memory", entry="exchange_begin", check=True, **EXCHANGE).changed
    before = exchanged()
    # Not in fstab: it is for now only.
    assert "exchange" not in jetson.run("cat /etc/fstab")
    assert "exchanged for a swap file just now" in jetson.role("jetson_memory", jetson_memory_zram_size="200M").failure
    end = jetson.role("jetson_memory", entry="exchange_end")
    assert end.failure is None and end.changed
    assert back(jetson, before)
    assert jetson.role("jetson_memory", entry="exchange_end").changed == []


def test_exchange_is_taken_back_in_time_when_nobody_ends_it(jetson, exchanged):
    # Ansible is gone: the host helps itself.
    before = exchanged(jetson_memory_exchange_time="45s")
    wait_until(lambda: back(jetson, before), 90)


def test_exchange_is_taken_back_at_the_next_boot(jetson, exchanged):
    # A container has the boot id of its machine, before and after; give it one that lasts as long as its boot. What is swapped on lasts
    # as long as the machine's kernel.
    jetson.run("cat /proc/sys/kernel/random/uuid > /run/boot_id; mount --bind /run/boot_id /proc/sys/kernel/random/boot_id")
    exchanged()
    jetson.run("swapoff /srv/disk/exchange.swap")
    jetson.restart()
    wait_until(lambda: gone(jetson), 90)


def test_exchange_that_fails_half_way_is_taken_back_at_once(jetson):
    before = jetson.swaps()
    run = jetson.role("jetson_memory", entry="exchange_begin", jetson_memory_exchange_path="/opt/exchange.swap", jetson_memory_exchange_size="300M")
    assert "overlay" in run.failure
    assert back(jetson, before)


def test_exchange_that_was_never_ended_is_begun_anew(jetson, exchanged):
    before = exchanged()
    exchanged(jetson_memory_exchange_time="5h")
    assert jetson.role("jetson_memory", entry="exchange_end").failure is None
    assert back(jetson, before)
