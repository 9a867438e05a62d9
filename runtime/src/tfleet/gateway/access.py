"""Who asks: by a bearer token, by the word of a reverse proxy, or from this machine."""

import hashlib
import hmac
import ipaddress
import logging
import os
from typing import Any, List, Optional, Tuple
from urllib.parse import urlsplit

from tfleet.errors import TfleetError
from tfleet.gateway.refusal import RefusedError
from tfleet.gateway.settings import Settings, has_authentication, is_loopback

LOG = logging.getLogger("tfleet.gateway")

_LEAST = 16
"""Characters of a token; `openssl rand -hex 32` gives 64."""


class Access(object):
    """The rules of one gateway. Methods take Flask's request."""

    def __init__(self, settings: Settings) -> None:
        self._networks = settings.proxy_addresses
        self._header = settings.proxy_user_header
        self._tokens = Tokens(settings.token_file) if settings.token_file else None
        self._open = not has_authentication(settings)
        self.wants_token = self._tokens is not None and not self._header

    def client(self, request: Any) -> str:
        """The client's address: the peer's, or behind trusted proxies the last one in X-Forwarded-For that is none of theirs."""
        peer = request.remote_addr or ""
        if not self._trusted(peer):
            return peer
        for one in reversed(request.headers.get("X-Forwarded-For", "").split(",")):
            address = one.strip()
            if not _parsed(address):
                break
            peer = address
            if not self._trusted(address):
                break
        return peer

    def user(self, request: Any) -> str:
        """A name for the log. Raises RefusedError."""
        if self._open:
            # A name that somebody else's DNS has pointed to 127.0.0.1 would let any web page read the answers.
            if not is_loopback(_split("//" + request.host)[0]):
                raise RefusedError(403, "forbidden", "This gateway has no authentication and answers on this machine only, at http://127.0.0.1.")
            return "-"
        if self._header and self._trusted(request.remote_addr or ""):
            user = str(request.headers.get(self._header, "")).strip()
            if user:
                return user
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if self._tokens is not None and scheme.lower() == "bearer" and self._tokens.has(given.strip()):
            return "token"
        if self._tokens is None:
            raise RefusedError(401, "unauthenticated", "Log in at the proxy in front of this gateway first.")
        what = "This is not a token of this gateway." if given else "This gateway wants a token."
        raise RefusedError(401, "unauthenticated", what + " Send it as the header `Authorization: Bearer TOKEN`, or write it into the page's field.")

    def same_site(self, request: Any) -> None:
        """Raises RefusedError for a request that a page of another site has made in somebody's browser."""
        site = request.headers.get("Sec-Fetch-Site")
        origin = request.headers.get("Origin")
        foreign = site not in ("same-origin", "none") if site else bool(origin) and _split(origin)[1] != request.host
        if foreign:
            raise RefusedError(403, "forbidden", "This request came from a page of another site.")

    def _trusted(self, address: str) -> bool:
        parsed = _parsed(address)
        return parsed is not None and any(parsed in network for network in self._networks)


class Tokens(object):
    """The tokens of a file, one a line; a file that is replaced counts at once, one that cannot be used not at all."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._seen: Tuple[int, int, int] = (0, 0, 0)
        self._digests: List[bytes] = []
        self._read()

    def has(self, token: str) -> bool:
        """Whether it is one of them; how long that takes tells nothing of a token."""
        self._read()
        digest = _digest(token)
        found = [hmac.compare_digest(digest, one) for one in self._digests]
        return any(found)

    def _read(self) -> None:
        seen, tokens, problem = self._seen, [], ""
        try:
            state = os.stat(self._path)
            # Not when it was written but when it was changed: another mode may make it readable.
            seen = (state.st_ino, state.st_ctime_ns, state.st_size)
            if seen == self._seen:
                return
            with open(self._path, encoding="utf-8") as stream:
                tokens = [line.strip() for line in stream if line.strip()]
            if not tokens or min(len(token) for token in tokens) < _LEAST:
                problem = "%s needs a token of at least %d characters on each line: openssl rand -hex 32 > %s" % (self._path, _LEAST, self._path)
        except (OSError, UnicodeDecodeError) as error:
            problem = "The tokens cannot be read from %s: %s." % (self._path, getattr(error, "strerror", None) or "it is not text")
        if problem and not self._digests:
            raise TfleetError(problem)
        if not problem:
            self._digests = [_digest(token) for token in tokens]
        elif seen != self._seen:  # and is not gone for the moment in which it is replaced
            LOG.error("%s -- the tokens from before remain", problem)
        self._seen = seen


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def _split(url: str) -> Tuple[str, str]:
    """The host of a URL, without and with its port; empty if it is none."""
    try:
        parts = urlsplit(url)
        return parts.hostname or "", parts.netloc
    except ValueError:
        return "", ""


def _parsed(address: str) -> Optional[Any]:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return None
    return getattr(parsed, "ipv4_mapped", None) or parsed
