"""Canonical status codes, as TensorFlow, gRPC and TensorFlow Serving number them, and the exception that carries one."""

OK = 0
CANCELLED = 1
UNKNOWN = 2
INVALID_ARGUMENT = 3
DEADLINE_EXCEEDED = 4
NOT_FOUND = 5
ALREADY_EXISTS = 6
PERMISSION_DENIED = 7
RESOURCE_EXHAUSTED = 8
FAILED_PRECONDITION = 9
ABORTED = 10
OUT_OF_RANGE = 11
UNIMPLEMENTED = 12
INTERNAL = 13
UNAVAILABLE = 14
DATA_LOSS = 15
UNAUTHENTICATED = 16

NAMES = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)


def name(code: int) -> str:
    """The name of a code; a number outside the table is UNKNOWN."""
    return NAMES[code] if 0 <= code < len(NAMES) else "UNKNOWN"


class StatusError(Exception):
    """A failure with a canonical code; str() is TensorFlow's form `CODE: message`."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return "%s: %s" % (name(self.code), self.message)


def invalid_argument(message: str) -> StatusError:
    return StatusError(INVALID_ARGUMENT, message)


def not_found(message: str) -> StatusError:
    return StatusError(NOT_FOUND, message)


def failed_precondition(message: str) -> StatusError:
    return StatusError(FAILED_PRECONDITION, message)


def unimplemented(message: str) -> StatusError:
    return StatusError(UNIMPLEMENTED, message)
