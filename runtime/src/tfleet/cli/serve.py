"""`tfleet serve`, also installed as `tensorflow_model_server`: the model server with TensorFlow Serving's command line."""
import os
import sys
from typing import List, Optional


def run_raw(argv: List[str]) -> int:
    """Runs the server on the arguments as they are (no argparse: its grammar is not TensorFlow Serving's)."""
    from ..server import main

    code = main.run(argv)
    sys.stdout.flush()
    sys.stderr.flush()
    if "tensorflow" in sys.modules:
        # Threads that are still loading or running inside TensorFlow would abort the interpreter's own clean-up.
        os._exit(code)
    return code


def console(argv: Optional[List[str]] = None) -> int:
    """Entry point of the script `tensorflow_model_server`."""
    return run_raw(sys.argv[1:] if argv is None else argv)
