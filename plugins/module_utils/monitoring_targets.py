# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What Prometheus scrapes, and what a device's collector asks, worked out of the inventory. Pure functions, used on the controller."""
from typing import Any, Dict, List
from urllib.parse import urlsplit

from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError
from ansible_collections.tfleet.serving.plugins.module_utils.models import client_address
from ansible_collections.tfleet.serving.plugins.module_utils.servers import container_servers

LOOPBACK = "127.0.0.1"
NODE_PORT = 9100
GATEWAY_PORT = 8502


class TargetsError(ModuleError):
    """A variable that names an address does not."""


def listen_address(address, port):
    """Return ADDRESS:PORT for a server to listen on; an IPv6 address stands in brackets."""
    return "%s:%s" % ("[%s]" % address if ":" in str(address) else address, port)


def rest_addresses(host):
    """Return HOST:PORT of the REST port of each model server of a host, as a client on the host itself reaches it.

    :param host: the variables of the host.
    """
    listen = host.get("model_server_listen_address") or host.get("tfleet_listen_address") or LOOPBACK
    return [client_address(listen, port) for port in _rest_ports(host, listen)]


def _rest_ports(host, listen):
    gpu = host.get("model_server_gpu") if host.get("model_server_backend") == "container" else ""
    ports = [host.get("model_server_%s_port" % name) or host.get("tfleet_%s_port" % name) or port for name, port in (("grpc", 8500), ("rest", 8501))]
    # Only a list of GPUs makes several servers; which GPUs they are does not matter here.
    servers = container_servers(gpu if isinstance(gpu, (list, tuple)) else "", "", ports[0], ports[1], "", listen)
    return [server["rest_port"] for server in servers]


def scrape_targets(hosts, prometheus=None):
    """Return what Prometheus reads: {"node", "tfleet_model_server", "tfleet_gateway": targets in the form of file_sd_configs, "unreachable": [sentence]}.

    Every host that is measured is a target, whether it answers now or not: one that is away is what an alert is for. ``instance`` is its name in the
    inventory, in every job.

    :param hosts: the variables of the hosts.
    :param prometheus: name of the host that Prometheus runs on; None where nobody knows.
    """
    found: Dict[str, List[Any]] = {"node": [], "tfleet_model_server": [], "tfleet_gateway": [], "unreachable": []}
    for host in hosts:
        name, groups = host["inventory_hostname"], host.get("group_names") or []
        wanted = []
        if host.get("monitoring_device", True) and host.get("monitoring_state") != "absent" and host.get("model_server_backend") != "embedded":
            wanted.append(("node", host.get("monitoring_listen") or LOOPBACK, [host.get("monitoring_port") or NODE_PORT], "monitoring_listen"))
        if host.get("model_server_monitoring", True) and {"gpu_servers", "cpu_servers", "jetsons"} & set(groups):
            listen = host.get("model_server_listen_address") or host.get("tfleet_listen_address") or LOOPBACK
            wanted.append(("tfleet_model_server", listen, _rest_ports(host, listen), "tfleet_listen_address"))
        if host.get("monitoring_gateway") and host.get("web_gateway_proxy_user_header") and not host.get("web_gateway_token"):
            found["unreachable"].append("%s: the gateway answers nobody but whom its proxy has logged in, which Prometheus is not. Set web_gateway_token too."
                                        % name)
        elif host.get("monitoring_gateway"):
            port = host.get("web_gateway_port") or host.get("tfleet_gateway_port") or GATEWAY_PORT
            wanted.append(("tfleet_gateway", host.get("web_gateway_listen_address") or LOOPBACK, [port], "web_gateway_listen_address"))
        labels = {"instance": name}
        if host.get("rollout_site"):
            labels["site"] = str(host["rollout_site"])
        for job, listen, ports, variable in wanted:
            here = name == prometheus
            if _loopback(listen) and not here:
                found["unreachable"].append("%s: Prometheus cannot reach the job %s, which listens on %s alone. Set %s." % (name, job, listen, variable))
                continue
            address = client_address(listen, "") if here else client_address(host.get("monitoring_address") or host.get("ansible_host") or name, "")
            for port in ports:
                server = {"server": str(port)} if len(ports) > 1 else {}
                found[job].append({"targets": ["%s%s" % (address, port)], "labels": dict(labels, **server)})
    return found


def _loopback(address):
    return str(address) in ("localhost", "::1") or str(address).startswith("127.")


def alertmanager_of(url):
    """Return {scheme, path_prefix, target} of an Alertmanager's URL.

    :raises TargetsError: it is no URL, or holds a password, which everybody who may look at Prometheus would read.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise TargetsError("monitoring_alertmanager_url must be a URL such as http://alerts.example.net:9093, without a password.")
    return {"scheme": parts.scheme, "path_prefix": parts.path or "/", "target": parts.netloc}
