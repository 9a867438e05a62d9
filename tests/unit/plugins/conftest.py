"""Modules as Ansible runs them: a process of its own with its parameters as JSON, and the real tfleet runtime behind it."""

import json
import os
import stat
import subprocess
import sys
import types

import pytest

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), *[os.pardir] * 3))


def _package(name, path):
    """Make ``name`` importable from ``path`` without any link or installation, beside collections that are installed."""
    package = types.ModuleType(name)
    package.__path__ = path
    sys.modules[name] = package
    parent, _dot, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, package)


try:
    import ansible_collections  # noqa: F401  (a real one brings other collections)
except ImportError:
    _package("ansible_collections", [])
_package("ansible_collections.tfleet", [])
_package("ansible_collections.tfleet.serving", [ROOT])


@pytest.fixture(scope="session")
def collections_path(tmp_path_factory):
    """A folder for PYTHONPATH in which ansible_collections.tfleet.serving is this checkout."""
    path = tmp_path_factory.mktemp("collections")
    namespace = path / "ansible_collections" / "tfleet"
    namespace.mkdir(parents=True)
    # With its own __init__ the package is found before those installed in site-packages.
    (path / "ansible_collections" / "__init__.py").write_text("")
    (namespace / "serving").symlink_to(ROOT)
    return str(path)


@pytest.fixture(scope="session")
def tfleet_runtime(tmp_path_factory):
    """The path of a tfleet command: TFLEET_RUNTIME, or this interpreter with the checkout's own package."""
    if os.environ.get("TFLEET_RUNTIME"):
        return os.environ["TFLEET_RUNTIME"]
    path = tmp_path_factory.mktemp("runtime") / "tfleet"
    path.write_text('#!/bin/sh\nPYTHONPATH=%s exec %s -m tfleet "$@"\n' % (os.path.join(ROOT, "runtime", "src"), sys.executable))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


@pytest.fixture
def run_module(collections_path, tmp_path):
    """``run_module(name, check=False, **parameters)`` starts a module of this collection and returns its result.

    The result of a module that failed has ``failed: true``, as in a playbook. ``invocation`` is left out.
    """

    def run(name, check=False, **parameters):
        arguments = tmp_path / "arguments.json"
        arguments.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": dict(parameters, _ansible_check_mode=check, _ansible_diff=True)}))
        process = subprocess.run(
            [sys.executable, os.path.join(ROOT, "plugins", "modules", name + ".py"), str(arguments)],
            env=dict(os.environ, PYTHONPATH=collections_path),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            check=False,
        )
        assert process.stdout, process.stderr.decode()
        result = json.loads(process.stdout.decode())
        assert process.returncode == (1 if result.get("failed") else 0), process.stderr.decode()
        result.pop("invocation", None)
        return result

    return run


@pytest.fixture
def four_times(run_module):
    """``four_times(name, **parameters)``: check, change, check again, same, with what must hold of every module.

    Returns the four results. The check tells the change's own diff, and the second pair changes nothing.
    """

    def run(name, **parameters):
        results = [run_module(name, check=check, **parameters) for check in (True, False, True, False)]
        assert [result.get("failed", False) for result in results] == [False] * 4, results
        assert [result["changed"] for result in results] == [True, True, False, False], results
        assert results[0].get("diff") == results[1].get("diff")
        for same in results[2:]:
            if "diff" in same:
                assert same["diff"]["before"] == same["diff"]["after"]
        return results

    return run
