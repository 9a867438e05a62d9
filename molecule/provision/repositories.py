"""The repositories of the test hosts, run in a container that is thrown away: python3 repositories.py OUT

OUT/debian        what the distribution's engine and Ansible's Docker modules need, from the distribution, so that hosts ask nobody
OUT/docker        that same engine under the names and versions of Docker's own packages
OUT/nvidia/amd64  stand-ins for the container toolkit, whose runtime and hook work as far as containers can without a GPU
OUT/jetson/*      stand-ins for the packages of the L4T repository of JetPack 6, and OUT/nano/* of JetPack 4
OUT/key.asc       signs them all
"""

import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, "/checkout")
from tests.apt_repository import build_package, index, make_key

RUNTIME = """#!/bin/sh
# Stands in for NVIDIA's: notes that it was asked, and lets runc do the work.
echo "$(date +%s) $*" >> /run/nvidia-container-runtime.asked
exec runc "$@"
"""
HOOK = """#!/bin/sh
# Docker calls it for --gpus when it is there; a real one brings the driver's files into the container.
cat > /dev/null
echo "$(date +%s) $*" >> /run/nvidia-container-runtime-hook.asked
"""
CTK = """#!/bin/sh
[ "$1 $2" = "cdi generate" ] || exit 1
printf 'cdiVersion: 0.5.0\\nkind: nvidia.com/gpu\\ndevices:\\n- name: all\\n  containerEdits: {}\\n'
"""
JETPACK_DAEMON = """{
    "runtimes": {
        "nvidia": {
            "path": "nvidia-container-runtime",
            "runtimeArgs": []
        }
    }
}
"""
CSV = "/etc/nvidia-container-runtime/host-files-for-container.d"
# By the CSV file: what it names, as JetPack 4 has it.
MOUNTED = {
    "cuda": "/usr/local/cuda-10.2/targets/aarch64-linux/lib/libcudart.so.10.2",
    "cudnn": "/usr/lib/aarch64-linux-gnu/libcudnn.so.8",
    "tensorrt": "/usr/lib/aarch64-linux-gnu/libnvinfer.so.8",
}


def run(*argv):
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)


def debian(out):
    options = ["-o", f"Dir::Cache::archives={out}", "-o", "APT::Sandbox::User=root"]
    run("apt-get", "install", "--yes", "-qq", "--no-install-recommends", "--download-only", *options, "docker.io", "iptables", "python3-requests")
    shutil.rmtree(out / "partial")
    (out / "lock").unlink()


def renamed(package, out, name, version, needs):
    """Pack a package again under another name; ``needs`` are {its dependency: the dependency's new name}."""
    with tempfile.TemporaryDirectory() as scratch:
        run("dpkg-deb", "--raw-extract", str(package), scratch)
        control = pathlib.Path(scratch, "DEBIAN/control")
        text = re.sub(r"^(Breaks|Conflicts|Provides|Recommends|Replaces|Suggests): .*\n", "", control.read_text(), flags=re.MULTILINE)
        text = re.sub(r"^Package: .*", f"Package: {name}", text, flags=re.MULTILINE)
        text = re.sub(r"^Version: .*", f"Version: {version}\nConflicts: {package.name.split('_')[0]}", text, flags=re.MULTILINE)
        for old, new in needs.items():
            text = re.sub(rf"\b{re.escape(old)}\b( \([^)]*\))?", new, text)
        control.write_text(text)
        run("dpkg-deb", "-Zgzip", "-z1", "--build", scratch, str(out / f"{name}_{version.replace(':', '%3a')}.deb"))


def docker(out, debian_packages):
    (engine,), (containerd,) = debian_packages.glob("docker.io_*.deb"), debian_packages.glob("containerd_*.deb")
    renamed(containerd, out, "containerd.io", "1.7.27-1", {})
    for version in ("27.5.1", "28.0.1"):
        whole = f"5:{version}-1~debian.12~bookworm"
        renamed(engine, out, "docker-ce", whole, {"containerd": "containerd.io, docker-ce-cli"})
        build_package(out, "docker-ce-cli", whole)


def nvidia(out):
    for version in ("1.19.0-1", "1.20.0-1", "1.21.0-1"):
        build_package(out, "libnvidia-container1", version)
        build_package(out, "libnvidia-container-tools", version, depends=f"libnvidia-container1 (= {version})")
        build_package(out, "nvidia-container-toolkit-base", version, files={"/usr/bin/nvidia-container-runtime": RUNTIME, "/usr/bin/nvidia-ctk": CTK})
        build_package(out, "nvidia-container-toolkit", version, depends=f"nvidia-container-toolkit-base (= {version}), libnvidia-container-tools (= {version})",
                      files={"/usr/bin/nvidia-container-runtime-hook": HOOK})


def jetson_6(common, soc):
    build_package(common, "nvidia-container", "6.2+b77", depends="nvidia-container-toolkit")
    build_package(common, "nvidia-container-toolkit", "1.16.2-1", files={"/usr/bin/nvidia-container-runtime": RUNTIME, "/usr/bin/nvidia-ctk": CTK})
    build_package(soc, "nvidia-l4t-core", "36.4.3-20250107174145")


def jetson_4(common, soc):
    # It counts daemon.json as its configuration, as NVIDIA's does.
    build_package(common, "nvidia-docker2", "2.8.0-1", depends="nvidia-container-runtime (>= 3.7.0)", files={"/etc/docker/daemon.json": JETPACK_DAEMON},
                  scripts={"conffiles": "/etc/docker/daemon.json\n"})
    build_package(common, "nvidia-container-runtime", "3.7.0-1", depends="nvidia-container-toolkit (>= 1.7.0)",
                  files={"/usr/bin/nvidia-container-runtime": RUNTIME})
    build_package(common, "nvidia-container-toolkit", "1.7.0-1")
    for name, target in MOUNTED.items():
        build_package(common, f"nvidia-container-csv-{name}", "1.0-1", files={f"{CSV}/{name}.csv": f"lib, {target}\n", target: "stands in for a library\n"})
    build_package(soc, "nvidia-l4t-core", "32.7.1-20220219090432")


def main(out):
    home = pathlib.Path(tempfile.mkdtemp())
    run("apt-get", "update", "-qq")
    places = {name: out / name for name in ("debian", "docker", "nvidia/amd64", "jetson/common", "jetson/t234", "nano/common", "nano/t210")}
    for place in places.values():
        place.mkdir(parents=True)
    debian(places["debian"])
    run("apt-get", "install", "--yes", "-qq", "--no-install-recommends", "gpg", "gpg-agent")
    docker(places["docker"], places["debian"])
    nvidia(places["nvidia/amd64"])
    jetson_6(places["jetson/common"], places["jetson/t234"])
    jetson_4(places["nano/common"], places["nano/t210"])
    (out / "key.asc").write_bytes(make_key(home))
    index(places["debian"], home)
    index(places["docker"], home, suite="bookworm", component="stable")
    index(places["nvidia/amd64"], home)
    for board, suite in (("jetson", "r36.4"), ("nano", "r32.7")):
        for place in (out / board).iterdir():
            index(place, home, suite=suite)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
