"""That memory goes back to the system, and that the garbage collector has little to look through."""

import ctypes
import gc
import os
import subprocess
import sys

import pytest

SCRIPT = """
import gc, os
from tfleet.server import memory

def resident():
    with open("/proc/self/statm") as stream:
        return int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

kept = [[] for _ in range(1000)]
memory.settle()
assert gc.get_freeze_count() > 1000, gc.get_freeze_count()

class Node:
    pass

nodes = [Node() for _ in range(100000)]
for node in nodes:
    node.itself, node.content = node, bytearray(1000)
last = bytearray(1000)  # at the end of the heap, which keeps all before it
del nodes, node
before = resident()
gc.disable()
memory.give_back()
assert resident() < before - 60, (before, resident())
"""


@pytest.mark.skipif(not hasattr(gc, "freeze"), reason="Python 3.6 cannot take objects out of the collector's sight")
@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="this C library gives memory back by itself, or not at all")
def test_memory_goes_back():
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..", "runtime", "src")
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=dict(os.environ, PYTHONPATH=source), stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, universal_newlines=True, check=False)
    assert done.returncode == 0, done.stdout
