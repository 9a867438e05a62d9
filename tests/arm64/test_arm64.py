"""The runtime image on a real aarch64 userland, under emulation: it is built, converts and serves the demo models, and they answer rightly.

What it cannot show is NVIDIA's part: its TensorFlow, the GPU, TensorRT. docs/unproven.md says how to see those on a Jetson.
"""

import json
import pathlib
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
import yaml

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
IMAGE = "tfleet-runtime-arm64"
MODELS = yaml.safe_load((CHECKOUT / "inventories/local/group_vars/all.yml").read_text())["tfleet_models"]
RELEASES = [(model["name"], release) for model in MODELS for release in model["releases"]]
# Emulated, on a machine that does other things too, a detection takes half a minute.
PATIENCE = ["--timeout", "180"]
IDS = [f"{name}-{release['version']}" for name, release in RELEASES]


def run(*argv):
    """A command's standard output; a failure fails the test with everything that it printed."""
    done = subprocess.run([str(word) for word in argv], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.fail(f"{' '.join(map(str, argv))}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}", pytrace=False)
    return done.stdout


@pytest.fixture(scope="session")
def image(tmp_path_factory):
    """The runtime image on the aarch64 base, with TensorFlow Serving's client classes as a program in it may want them."""
    context = tmp_path_factory.mktemp("context")
    run(sys.executable, CHECKOUT / "images/runtime/context", context)
    shutil.copytree(CHECKOUT / ".cache/wheels-arm64", context / "dependencies/wheels")
    began = time.monotonic()
    build = ["--build-arg", "BASE_IMAGE=tfleet-test-base-arm64:latest", "--build-arg", "TENSORFLOW=pinned", "--build-arg", "SERVING_API=true"]
    run("docker", "build", "--quiet", "--label", f"tfleet.checkout={CHECKOUT}", *build, "--tag", IMAGE, context)
    print(f"\nbuilt in {time.monotonic() - began:.0f} s, {int(run('docker', 'image', 'inspect', '--format', '{{.Size}}', IMAGE)) / 2**20:.0f} MiB")
    return IMAGE


@pytest.fixture(scope="session")
def models(image, tmp_path_factory):
    """The demo models as SavedModels, exported by TensorFlow for aarch64."""
    root = tmp_path_factory.mktemp("models")
    for name, release in RELEASES:
        (root / name).mkdir(exist_ok=True)
        root.chmod(0o755)
        mounts = ["--volume", f"{CHECKOUT / 'models'}:{CHECKOUT / 'models'}:ro", "--volume", f"{root}:{root}"]
        run("docker", "run", "--rm", "--network", "none", "--user", "0:0", *mounts, image, "export", CHECKOUT / release["source"],
            root / name / str(release["version"]), "--signatures", json.dumps(release["signatures"]), "--json")
    return root


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def server(image, models, tmp_path_factory):
    """(gRPC address, REST address, container) of a server in the image, confined as the role model_server does it."""
    config = tmp_path_factory.mktemp("config")
    lists = "".join(f'config {{ name: "{name}" base_path: "/models/{name}" model_platform: "tensorflow" model_version_policy {{ all {{}} }} }}\n'
                    for name in sorted({name for name, _ in RELEASES}))
    (config / "model.config").write_text(f"model_config_list {{ {lists} }}")
    for place in (config, models):
        run("chmod", "-R", "a+rX", place)
    grpc, rest = free_port(), free_port()
    name = f"tfleet-arm64-{grpc}"
    run("docker", "run", "--detach", "--name", name, "--label", f"tfleet.checkout={CHECKOUT}", "--init", "--read-only", "--tmpfs", "/tmp",
        "--tmpfs", "/var/lib/tfleet:mode=1777", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
        "--publish", f"127.0.0.1:{grpc}:8500", "--publish", f"127.0.0.1:{rest}:8501",
        "--volume", f"{models}:/models:ro", "--volume", f"{config}:/config:ro", image, "--model_config_file=/config/model.config")
    try:
        waits = [f"{model}={release['version']}" for model, release in RELEASES]
        run(pathlib.Path(sys.executable).parent / "tfleet", "status", "--address", f"127.0.0.1:{grpc}", "--timeout", "180", "--wait", *waits)
        yield f"127.0.0.1:{grpc}", f"127.0.0.1:{rest}", name
    finally:
        print(subprocess.run(["docker", "logs", "--tail", "30", name], capture_output=True, text=True, check=False).stderr)
        run("docker", "rm", "--force", "--volumes", name)


def test_the_userland_is_aarch64(image):
    assert run("docker", "run", "--rm", "--entrypoint", "/bin/uname", image, "-m").strip() == "aarch64"


def test_tensorflow_imports_and_says_why_there_is_no_tensorrt(image):
    answer = json.loads(run("docker", "run", "--rm", "--network", "none", "--read-only", "--tmpfs", "/tmp", image, "probe", "--json"))
    assert answer["tensorflow"].startswith("2.17.")
    assert answer["tensorrt"]["usable"] is False and answer["tensorrt"]["reason"]


def test_the_serving_api_is_of_tensorflows_release_and_replaced_nothing(image):
    listed = run("docker", "run", "--rm", "--entrypoint", "/opt/tfleet/bin/python", image, "-m", "pip", "list", "--format=freeze").splitlines()
    versions = dict(line.split("==") for line in listed)
    assert versions["tensorflow-serving-api"].rsplit(".", 1)[0] == versions["tensorflow"].rsplit(".", 1)[0] == "2.17"


@pytest.mark.parametrize(("name", "release"), RELEASES, ids=IDS)
def test_a_served_version_gives_its_golden_answers(server, name, release):
    golden = CHECKOUT / release["golden"]
    answer = json.loads(run(pathlib.Path(sys.executable).parent / "tfleet", "predict", "--json", "--address", server[0], "--model", name,
                            "--version", release["version"], "--golden", golden, *PATIENCE))
    assert answer["ok"] and answer["version"] == release["version"]


def test_the_client_of_the_image_gives_the_same_answers(server, image):
    name, release = RELEASES[0]
    golden = CHECKOUT / release["golden"]
    answer = json.loads(run("docker", "run", "--rm", "--network", "host", "--volume", f"{golden}:{golden}:ro", image, "predict", "--json",
                            "--address", server[0], "--model", name, "--version", release["version"], "--golden", golden, *PATIENCE))
    assert answer["ok"]


def test_rest_and_the_health_check_answer(server):
    with urllib.request.urlopen(f"http://{server[1]}/v1/models/digits", timeout=30) as answer:
        rows = json.load(answer)["model_version_status"]
    assert {row["state"] for row in rows} == {"AVAILABLE"}
    run("docker", "exec", server[2], "/opt/tfleet/bin/python", "/opt/tfleet/package/healthcheck.py")
