"""The Jetson: the distribution's engine beside somebody's options, nvidia as the default runtime, power, boot and memory as declared."""

import json
import os

import pytest

testinfra_hosts = ["ansible://jetsons"]
SYSTEM = os.environ.get("CI") == "true" or os.environ.get("TFLEET_TEST_SYSTEM") == "1"
machine_wide = pytest.mark.skipif(not SYSTEM, reason="swap and zram are the whole machine's: set CI=true or TFLEET_TEST_SYSTEM=1")


def test_the_distributions_engine_is_there_and_not_held(host):
    assert host.package("docker.io").is_installed
    assert host.check_output("apt-mark showhold") == ""


def test_somebodys_option_is_still_there(host):
    assert json.loads(host.file("/etc/docker/daemon.json").content_string)["debug"] is False


def test_every_container_gets_the_nvidia_runtime(host, docker_info, container):
    assert docker_info["DefaultRuntime"] == "nvidia"
    before = host.run("cat /run/nvidia-container-runtime.asked").stdout
    done = container()
    assert done.rc == 0, done.stderr
    assert len(host.file("/run/nvidia-container-runtime.asked").content_string) > len(before)


def test_the_toolkit_is_that_of_the_l4t_and_not_that_of_servers(host):
    assert host.package("nvidia-container").is_installed
    assert host.package("nvidia-container-toolkit").version == "1.16.2-1"
    assert not host.file("/etc/apt/sources.list.d/nvidia-container-toolkit.list").exists


def test_the_board_is_in_its_power_mode_with_locked_clocks(host):
    assert "NV Power Mode: 25W" in host.check_output("nvpmodel -q")
    assert host.file("/var/lib/device/clock").content_string == "locked in mode 1\n"
    assert host.service("tfleet-jetson-clocks").is_enabled


def test_the_fan_is_cool(host):
    assert "FAN_DEFAULT_PROFILE cool" in host.file("/etc/nvfancontrol.conf").content_string
    assert host.service("nvfancontrol").is_running


def test_it_boots_without_a_desktop(host):
    assert host.check_output("systemctl get-default") == "multi-user.target"
    assert host.run("systemctl is-active graphical.target").stdout.strip() == "inactive"


@machine_wide
def test_zram_has_the_declared_size(host):
    lines = [line.split() for line in host.check_output("cat /proc/swaps").splitlines() if line.startswith("/dev/zram")]
    assert abs(sum(int(line[2]) for line in lines) / 1024 - 64) < 2
    assert "mem=$(( 67108864" in host.file("/etc/systemd/nvzramconfig.sh").content_string


@machine_wide
def test_the_swap_file_is_in_use_and_in_fstab_once(host):
    assert host.file("/srv/disk/swapfile").size == 96 * 1024 * 1024
    assert host.file("/srv/disk/swapfile").mode == 0o600
    assert "/srv/disk/swapfile" in host.check_output("cat /proc/swaps")
    lines = [line for line in host.file("/etc/fstab").content_string.splitlines() if "/srv/disk/swapfile" in line]
    assert len(lines) == 1
    assert "nofail" in lines[0]


@machine_wide
def test_the_kernel_swaps_as_declared(host):
    assert host.check_output("cat /proc/sys/vm/swappiness") == "13"


def test_ansibles_docker_modules_have_what_they_need(host):
    assert host.run("/usr/bin/python3 -c 'import requests'").rc == 0
