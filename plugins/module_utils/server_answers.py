# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What the runtime's failures say about the model server that it talked to."""
import os

from ansible_collections.tfleet.serving.plugins.module_utils.runtime import RuntimeMissing

# gRPC status codes of a server that does not answer (in time).
_NO_ANSWER = ("UNAVAILABLE", "DEADLINE_EXCEEDED")
# Seconds that the command itself may take beyond the time it was told to wait for the server.
_OWN_SECONDS = 60


def unreachable(failure):
    """Say whether a RuntimeFailure means that no server answered at the address."""
    return failure.result.get("code") in _NO_ANSWER


def unknown_model(failure):
    """Return the name of the model that the server does not know (or has no version of), None for any other RuntimeFailure."""
    return failure.result.get("model") if failure.result.get("code") == "NOT_FOUND" else None


def not_there_yet(failure, files=()):
    """Say whether check mode may take a RuntimeFailure for something that an earlier task of the play would have brought.

    That is the runtime, the server, the version, the label, or one of ``files``.
    """
    return (isinstance(failure, RuntimeMissing) or unreachable(failure) or unknown_model(failure) is not None
            or "version label" in str(failure.result.get("details", "")) or any(not os.path.exists(path) for path in files))


def allow(runtime, seconds):
    """Let the runtime's commands take at least as long as they are told to wait for the server."""
    runtime.timeout = max(runtime.timeout, seconds + _OWN_SECONDS)
