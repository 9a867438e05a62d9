"""The one exception that becomes an answer with an error status."""

from typing import Optional


class RefusedError(Exception):
    """What a client is told: an HTTP status, a word for programs, a sentence for people, and when to come back."""

    def __init__(self, status: int, code: str, message: str, retry_after: Optional[int] = None) -> None:
        super(RefusedError, self).__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.retry_after = retry_after
