"""What is left of monitoring: nothing; and the model server has not noticed."""

import pytest

testinfra_hosts = ["ansible://tfleet-rollout-2", "ansible://tfleet-rollout-5"]


@pytest.mark.parametrize("package", ["prometheus", "prometheus-node-exporter"])
def test_the_packages_are_gone(host, package):
    assert not host.package(package).is_installed


@pytest.mark.parametrize("path", [
    "/etc/systemd/system/tfleet-metrics.timer", "/etc/systemd/system/tfleet-metrics.service", "/etc/systemd/system/prometheus.service.d",
    "/etc/systemd/system/prometheus-node-exporter.service.d", "/etc/prometheus", "/var/lib/prometheus", "/opt/tfleet/monitoring",
])
def test_the_files_are_gone(host, path):
    assert not host.file(path).exists


def test_nothing_runs_or_failed(host):
    assert "tfleet-metrics" not in host.check_output("systemctl list-units --all --plain --no-legend")
    assert host.check_output("systemctl is-system-running") == "running"


def test_the_model_is_served(labels, serves):
    assert serves("stable", labels["stable"]) == labels["stable"]
