"""The one exception that a user of tfleet sees."""

from typing import Any


class TfleetError(Exception):
    """A failure that was understood.

    The message is one or more full sentences: what failed, where, and the next step. Keyword arguments become the dict
    `result`, which the CLI merges into its JSON object; they must be serialisable.
    """

    def __init__(self, message: str, **result: Any) -> None:
        super(TfleetError, self).__init__(message)
        self.result = result
