"""Fetching a source by URL: streamed to a temporary file, hashed on the way, used only if the checksum fits."""

import base64
import hashlib
import http.client
import os
import shutil
import urllib.error
import urllib.parse
import urllib.request
from typing import Any, Optional

from tfleet.errors import TfleetError

MAX_BYTES = 8 * 2**30
_TIMEOUT_SECONDS = 60
_CHUNK = 2**20


def is_url(source: str) -> bool:
    """Whether ``source`` names a scheme."""
    return "://" in source


def local_path(url: str) -> Optional[str]:
    """The path of a ``file://`` URL of this host, None for other schemes."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme.lower() != "file":
        return None
    if parts.netloc not in ("", "localhost"):
        raise TfleetError("`%s` names the host %s: a file URL has three slashes, file:///path." % (url, parts.netloc))
    return urllib.request.url2pathname(parts.path)


def shown(url: str) -> str:
    """``url`` without what may be secret: user, password and query."""
    parts = urllib.parse.urlsplit(url)
    return urllib.parse.urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def name_of(url: str) -> str:
    """The last part of the URL's path, as a file name."""
    return os.path.basename(urllib.parse.unquote(urllib.parse.urlsplit(url).path)) or "download"


def fetch(url: str, sha256: str, target: str) -> None:
    """Download ``url`` (http, https) to the new file ``target``. Raises TfleetError, and leaves no file, unless its SHA-256 is ``sha256``."""
    scheme = urllib.parse.urlsplit(url).scheme.lower()
    if scheme not in ("http", "https"):
        raise TfleetError("`%s`: the scheme `%s` is not supported. Give a path or an http, https or file URL." % (shown(url), scheme))
    try:
        found = _stream(url, target)
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError, EOFError) as error:
        _remove(target)
        if isinstance(error, OSError) and not isinstance(error, urllib.error.URLError) and error.errno and error.filename:
            raise  # the local file: a full disk is told with everything else that the export writes
        raise TfleetError("`%s` cannot be downloaded: %s. Check the address, the network and the proxy settings (runtime_env)." % (shown(url), _cause(error)))
    except TfleetError:
        _remove(target)
        raise
    if found != sha256:
        _remove(target)
        raise TfleetError(
            "`%s` has the SHA-256 %s, not %s as given: it is another file than expected or was changed on the way. "
            "Nothing of it was used." % (shown(url), found, sha256),
            expected=sha256,
            found=found,
        )


def _cause(error: Exception) -> Any:
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        return "status %d (%s)" % (error.code, error.reason)
    return getattr(error, "reason", None) or error


def _stream(url: str, target: str) -> str:
    digest = hashlib.sha256()
    request = _request(url)
    with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as answer, open(target, "wb") as out:  # noqa: S310 (fetch checked)
        announced = answer.headers.get("Content-Length")
        announced = int(announced) if announced and announced.isdigit() else None
        free = shutil.disk_usage(os.path.dirname(target)).free
        if announced is not None and announced > min(MAX_BYTES, free):
            raise TfleetError(
                "`%s` is %d bytes large: more than is free in %s (%d) or allowed (%d). Make room, or copy the file to the host "
                "and give its path." % (shown(url), announced, os.path.dirname(target), free, MAX_BYTES)
            )
        received = 0
        while True:
            block = answer.read(_CHUNK)
            if not block:
                break
            received += len(block)
            if received > MAX_BYTES:
                raise TfleetError("`%s` does not end after %d bytes: nothing of it was used." % (shown(url), MAX_BYTES))
            digest.update(block)
            try:
                out.write(block)
            except OSError as error:
                raise OSError(error.errno, error.strerror, target)
    if announced is not None and received != announced:
        raise TfleetError("`%s` ended after %d of %d bytes: the connection broke. Run again." % (shown(url), received, announced))
    return digest.hexdigest()


def _request(url: str) -> urllib.request.Request:
    """A request with user:password@ of the URL as an Authorization header: urllib takes neither in the address."""
    parts = urllib.parse.urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    address = urllib.parse.urlunsplit((parts.scheme, host, parts.path, parts.query, ""))
    request = urllib.request.Request(address, headers={"User-Agent": "tfleet"})  # noqa: S310 (fetch checked the scheme)
    if at:
        token = base64.b64encode(urllib.parse.unquote(user).encode("utf-8")).decode("ascii")
        request.add_unredirected_header("Authorization", "Basic " + token)
    return request


def _remove(path: str) -> None:
    if os.path.exists(path):
        os.unlink(path)
