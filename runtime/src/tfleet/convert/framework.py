"""The one place where convert imports TensorFlow: quiet, and without touching a GPU that a model server is using."""

import os
import sys
from typing import Any, List, Optional

from tfleet.errors import TfleetError

# Protocol buffers cannot be larger, in any language: sizes are 32-bit signed.
PROTOBUF_LIMIT = 2**31 - 1


def load() -> Any:
    """The module ``tensorflow``, of any version from 1.15 to 2.17, blind to GPUs. Raises TfleetError if it is not installed."""
    # -1 hides every device. On a Jetson the first session or eager tensor would otherwise take the memory the server needs.
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    # Errors too: TensorFlow logs three about CUDA on every import. What ends the process is still told.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        import tensorflow
    except ImportError as error:
        raise TfleetError(
            "TensorFlow cannot be imported by %s: %s. Export and inspect need it: install the runtime with TensorFlow on this host "
            "(role tensorflow_runtime), or run them on one that has it." % (sys.executable, error)
        )
    tensorflow.compat.v1.logging.set_verbosity(tensorflow.compat.v1.logging.ERROR)
    return tensorflow


def dtype_name(tf: Any, number: int) -> str:
    """``float32`` for 1, also for an enum value this TensorFlow does not know."""
    try:
        return tf.as_dtype(number).base_dtype.name
    except (TypeError, KeyError, ValueError):
        return "dtype %d (unknown to TensorFlow %s)" % (number, tf.__version__)


def shape_list(shape: Any) -> Optional[List[int]]:
    """A TensorShapeProto as a list with -1 for an unknown size; None for an unknown rank."""
    return None if shape.unknown_rank else [dim.size for dim in shape.dim]


def shape_text(shape: Optional[List[int]]) -> str:
    """``[?, 28, 28, 1]``, or ``any shape`` for an unknown rank."""
    return "any shape" if shape is None else "[%s]" % ", ".join("?" if size < 0 else str(size) for size in shape)


def first_line(error: Exception) -> str:
    """What TensorFlow said first, without the pages that follow it; of an operation that failed in a session, what that said."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    failed = [lines[number - 1] for number, line in enumerate(lines) if number and line.startswith("[[{{node")]
    return (failed + lines)[0][:400] if lines else type(error).__name__
