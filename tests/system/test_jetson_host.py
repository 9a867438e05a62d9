"""The roles jetson_headless and jetson_power on a host with systemd and the power tools of an Orin Nano."""

import pytest

LINK = "/etc/systemd/system/default.target"
ORIGINALS = "ls -A /var/lib/tfleet/originals 2>/dev/null || true"


# ---- the desktop ----
def test_desktop_goes_now_and_comes_back(host):
    assert host.run("systemctl get-default; systemctl is-active graphical.target") == "graphical.target\nactive"
    run = host.changes("jetson_headless", jetson_headless_state="present")
    assert run.facts["jetson_headless_reboot_needed"] is True
    assert host.run("systemctl get-default; systemctl is-active graphical.target") == "multi-user.target\nactive"

    now = host.role("jetson_headless", jetson_headless_state="present", jetson_headless_apply="now")
    assert now.failure is None and now.changed == ["Isolate the target"]
    assert host.run("systemctl is-active graphical.target multi-user.target", check=False) == "inactive\nactive"
    assert host.role("jetson_headless", jetson_headless_state="present").facts["jetson_headless_reboot_needed"] is False

    host.changes_once("jetson_headless", jetson_headless_state="absent", jetson_headless_apply="now")
    assert not host.succeeds(f"test -e {LINK}")
    assert host.run("systemctl get-default; systemctl is-active graphical.target") == "graphical.target\nactive"
    assert host.run(ORIGINALS) == ""


def test_earlier_target_of_an_administrator_comes_back(host):
    host.run("systemctl --quiet set-default rescue.target")
    link = host.run(f"readlink {LINK}")
    host.changes("jetson_headless", jetson_headless_state="present")
    host.changes("jetson_headless", jetson_headless_state="absent")
    assert host.run(f"readlink {LINK}") == link


# ---- the power ----
@pytest.fixture
def orin(host):
    host.install("nvpmodel", "/usr/sbin/nvpmodel", "755")
    host.install("nvpmodel.conf", "/etc/nvpmodel.conf")
    host.install("jetson_clocks", "/usr/bin/jetson_clocks", "755")
    host.install("nvfancontrol.conf", "/etc/nvfancontrol.conf")
    host.install("nvfancontrol.service", "/etc/systemd/system/nvfancontrol.service")
    host.write("/var/lib/nvpmodel/status", "pmode:0000 fmode:quiet\n")
    host.write("/var/lib/device/clock", "as the mode has it\n")
    host.run("mkdir -p /var/lib/nvfancontrol; systemctl daemon-reload; systemctl enable --now --quiet nvfancontrol.service")
    return host


def mode(host):
    return host.run("nvpmodel -q 2>/dev/null | tail -1")


def clock(host):
    return host.run("cat /var/lib/device/clock")


def test_mode_clocks_and_fan_are_set_and_taken_back(orin):
    fan = orin.run("cat /etc/nvfancontrol.conf")
    declared = {"jetson_power_mode": "maxn_super", "jetson_power_clocks": True, "jetson_power_fan_profile": "cool"}
    orin.changes("jetson_power", **declared)
    assert (mode(orin), clock(orin)) == ("2", "locked in mode 2")
    assert orin.run("cat /etc/nvfancontrol.conf") == fan.replace("PROFILE quiet", "PROFILE cool")
    assert orin.run("cat /var/lib/nvfancontrol/status; systemctl is-active nvfancontrol.service") == "cool\nactive"

    # The clocks are those of the mode, and locked again after a boot.
    orin.changes("jetson_power", **{**declared, "jetson_power_mode": "25W"})
    assert (mode(orin), clock(orin)) == ("1", "locked in mode 1")
    orin.write("/var/lib/device/clock", "as the mode has it\n")
    orin.restart()
    assert clock(orin) == "locked in mode 1"

    orin.changes_once("jetson_power", jetson_power_state="absent")
    assert (mode(orin), clock(orin)) == ("0", "as the mode has it")
    assert orin.run("cat /etc/nvfancontrol.conf") == fan
    assert orin.run("cat /var/lib/nvfancontrol/status") == "quiet"
    assert orin.run("ls /etc/systemd/system | grep tfleet || true") == "" and orin.run(ORIGINALS) == ""


def test_mode_that_needs_a_reboot_is_refused_and_then_allowed(orin):
    run = orin.role("jetson_power", jetson_power_mode="7W")
    assert "needs a reboot to change its power mode from 15W to 7W" in run.failure and "jetson_power_reboot" in run.failure
    assert mode(orin) == "0"
    known = orin.role("jetson_power", check=True, jetson_power_mode="7W", device={"module": "orin-nano"})
    assert "needs a reboot" in known.failure

    # A refusal leaves the clocks as they were too.
    orin.changes("jetson_power", jetson_power_clocks=True)
    assert "needs a reboot" in orin.role("jetson_power", jetson_power_mode="7W", jetson_power_clocks=True).failure
    assert clock(orin) == "locked in mode 0"
    orin.changes("jetson_power")

    # A container has the boot id of its machine, before and after; give it one that lasts as long as its boot.
    orin.run("cat /proc/sys/kernel/random/uuid > /run/boot_id; mount --bind /run/boot_id /proc/sys/kernel/random/boot_id")
    run = orin.role("jetson_power", jetson_power_mode="7W", jetson_power_reboot=True, jetson_power_reboot_timeout=120)
    assert run.failure is None and "Set the mode and reboot" in run.changed
    assert mode(orin) == "3"
    assert orin.role("jetson_power", jetson_power_mode="7W").changed == []


@pytest.mark.parametrize(
    "variables, words",
    [
        ({"jetson_power_mode": "MAXN"}, "It has: 15W, 25W, MAXN_SUPER, 7W"),
        ({"jetson_power_fan_pwm": "200"}, "From JetPack 5 on set jetson_power_fan_profile instead"),
    ],
    ids=["mode", "fan"],
)
def test_what_the_board_does_not_have_is_refused(orin, variables, words):
    before = orin.run("ls -A /etc/systemd/system /var/lib; nvpmodel -q")
    run = orin.role("jetson_power", **variables)
    assert words in run.failure and run.changed == []
    assert orin.run("ls -A /etc/systemd/system /var/lib; nvpmodel -q") == before


def test_host_without_power_tools_is_told_apart(host):
    assert "it is no Jetson" in host.role("jetson_power", jetson_power_mode="MAXN").failure
    assert "cannot be locked" in host.role("jetson_power", jetson_power_clocks=True).failure
    assert "has no FAN_DEFAULT_PROFILE" in host.role("jetson_power", jetson_power_fan_profile="cool").failure
    assert host.role("jetson_power", jetson_power_state="absent").changed == []
