"""Environments of old interpreters, kept under .cache/legacy between runs and named after what decides their content."""

import hashlib
import pathlib
import shutil
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent
CHECKOUT = HERE.parents[1]
CACHE = CHECKOUT / ".cache/legacy"

# The pip that Python 3.6 and 3.8 come with cannot read today's metadata; these are the last for 3.6.
INSTALLER = {"3.6": ["pip==21.3.1", "setuptools==59.6.0", "wheel==0.37.1"]}


def run(*argv, **options):
    """Run a command without standard input; a failure fails the test with everything that it printed."""
    done = subprocess.run([str(word) for word in argv], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, **options)
    if done.returncode != 0:
        pytest.fail(f"{' '.join(map(str, argv))}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}", pytrace=False)
    return done.stdout


def environment(name, python):
    """The virtual environment of requirements-<name>.txt on this Python; missing interpreters fail by their name."""
    requirements = HERE / f"requirements-{name}.txt"
    found = subprocess.run([str(CHECKOUT / "tools/find_python"), python], capture_output=True, text=True, check=False)
    if found.returncode != 0:
        pytest.fail(f"{name} needs Python {python}. {found.stderr}", pytrace=False)
    interpreter = found.stdout.strip()
    digest = hashlib.sha256(f"{interpreter}{CACHE}{INSTALLER}{requirements.read_text()}".encode()).hexdigest()[:12]
    place = CACHE / f"{name}-{digest}"
    if not (place / ".complete").exists():
        shutil.rmtree(place, ignore_errors=True)
        run(interpreter, "-m", "venv", place)
        pip = [place / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        if python in INSTALLER:
            run(*pip, *INSTALLER[python])
        run(*pip, "-r", requirements)
        (place / ".complete").touch()
    return place


@pytest.fixture(scope="session")
def tfleet_wheel(tmp_path_factory):
    """The runtime as it is now, built apart: a build inside the checkout would leave files that the next one packs again."""
    place = tmp_path_factory.mktemp("wheel")
    shutil.copytree(CHECKOUT / "runtime", place / "runtime", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "build"))
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", place, place / "runtime")
    return next(place.glob("*.whl"))


def with_tfleet(place, wheel):
    run(place / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--force-reinstall", wheel)
    return place


@pytest.fixture(scope="session")
def tensorflow_1(tfleet_wheel):
    """Python 3.6 with TensorFlow 1.15 and tfleet, as on JetPack 4."""
    return with_tfleet(environment("tf-1.15", "3.6"), tfleet_wheel)


@pytest.fixture(scope="session")
def tensorflow_2(tfleet_wheel):
    """Python 3.8 with TensorFlow 2.7 and tfleet."""
    return with_tfleet(environment("tf-2.7", "3.8"), tfleet_wheel)


@pytest.fixture(scope="session")
def core(request):
    """ansible-core 2.16, which wants Python 3.10 or later for itself."""
    return environment("core-2.16", f"3.{sys.version_info[1]}")
