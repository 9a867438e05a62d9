# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Where a device reads missing blocks of a release archive: from a file of its own, or from HTTP mirrors.

A source has ``read(offset, size)``, which yields the bytes of that part of the archive in chunks and raises SourceError.
"""
import base64
import functools
import http.client
import re
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request

from ansible_collections.tfleet.serving.plugins.module_utils import release_index
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError

CHUNK = 64 * 1024
# A server that says nothing for so long is taken for gone.
SILENCE_SECONDS = 20
PAUSE_SECONDS = (0.2, 1, 2, 5)
BROKEN = (OSError, http.client.HTTPException, ssl.SSLError)


class SourceError(ModuleError):
    """The missing blocks cannot be had from here."""


class Pace(object):
    """Keeps a stream at ``rate`` bytes a second; 0 lets it run."""

    def __init__(self, rate):
        self.rate, self.begin, self.count = rate, time.time(), 0

    def passed(self, count):
        """Wait so long that ``count`` more bytes were not too fast."""
        self.count += count
        if self.rate:
            early = self.count / float(self.rate) - (time.time() - self.begin)
            if early > 0:
                time.sleep(early)


class Archive(object):
    """The release archive itself, on this machine."""

    def __init__(self, path):
        self.path = path

    def read(self, offset, size):
        """Yield ``size`` bytes from ``offset`` on."""
        with open(self.path, "rb") as stream:
            stream.seek(offset)
            while size:
                data = stream.read(min(size, CHUNK * 16))
                if not data:
                    raise SourceError("%s is shorter than its index says. Build the release again with model_release." % self.path)
                size -= len(data)
                yield data

    def blame(self, why):
        """A wrong block in a file on this machine stays wrong."""
        raise SourceError("%s: %s Build the release again with model_release." % (self.path, why))


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a mirror elsewhere, but urllib would take user and password there too."""

    def redirect_request(self, request, *where):
        """Return the request at the other address: whoever answers there gets no password of this one."""
        other = super(_Redirects, self).redirect_request(request, *where)
        if other is not None and urllib.parse.urlsplit(other.full_url)[:2] != urllib.parse.urlsplit(request.full_url)[:2]:
            other.remove_header("Authorization")
        return other


class Mirrors(object):
    """Base addresses of HTTP servers that have the archive ``name`` with its index and signature.

    One is used until it fails; then it is the next one's turn, and so round until no byte has come for ``timeout`` seconds.
    """

    def __init__(self, urls, name, rate=0, timeout=600):
        self.urls = [url.rstrip("/") for url in urls]
        for url in self.urls:
            if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
                raise SourceError("%s is no address of an HTTP server. Give urls that begin with http:// or https://." % without_secret(url))
        if not self.urls:
            raise SourceError("Nobody said where releases can be fetched from. Give urls (model_release_urls).")
        self.name, self.timeout = name, timeout
        self.pace = Pace(rate)
        self.bytes = 0
        self._opener = urllib.request.build_opener(_Redirects)
        self._turn, self._failures, self._wrong, self._moved = 0, [], {}, time.time()

    def document(self, suffix, largest, optional=False):
        """Return the content of a small file beside the archive; None if it is optional and every mirror that answers says that it has none."""
        first, absent = self._turn, set()
        while True:
            try:
                with self._open(self.name + suffix) as answer:
                    content = b""
                    for data in iter(functools.partial(answer.read, CHUNK), b""):
                        content += data
                        if len(content) > largest:
                            raise SourceError("%s is larger than %d bytes." % (self.name + suffix, largest))
                        self.bytes += len(data)
                        self._moved = time.time()
                    return content
            except BROKEN as error:
                if optional and isinstance(error, urllib.error.HTTPError) and error.code in (403, 404):
                    absent.add(self._turn % len(self.urls))
                    # One that is silent may have it, and gets its chances; but it does not hold up a fleet that signs nothing.
                    if len(absent) == len(self.urls) or self._turn - first >= len(self.urls) * len(PAUSE_SECONDS):
                        self._turn = first
                        return None
                self._next(error)

    def read(self, offset, size):
        """Yield ``size`` bytes from ``offset`` on; a mirror that fails on the way is followed by the next at the same place."""
        while size:
            try:
                with self._open(self.name, {"Range": "bytes=%d-%d" % (offset, offset + size - 1)}) as answer:
                    # A server without ranges sends the archive from its beginning.
                    skip = 0 if answer.getcode() == 206 else offset
                    if not skip and answer.getcode() == 206 and not (answer.headers.get("Content-Range") or "").startswith("bytes %d-" % offset):
                        raise http.client.HTTPException("answered another range: %s" % answer.headers.get("Content-Range"))
                    while size:
                        data = answer.read(min(CHUNK, skip or size))
                        if not data:
                            raise http.client.HTTPException("ended before all had come")
                        self.bytes += len(data)
                        self._moved = time.time()
                        self.pace.passed(len(data))
                        if skip:
                            skip -= len(data)
                            continue
                        offset, size = offset + len(data), size - len(data)
                        yield data
            except BROKEN as error:
                self._next(error)

    def blame(self, why):
        """The mirror in use sent a wrong block; when each of them has done so twice, it is wrong everywhere."""
        self._wrong[why] = self._wrong.get(why, 0) + 1
        self._next(ValueError(why))
        if self._wrong[why] >= 2 * len(self.urls):
            raise SourceError("%s could not be fetched whole: %s. Put the release there again (docs/releases.md); what has come is kept."
                              % (self.name, "; ".join(self._failures[-4:])))

    def _open(self, path, headers=None):
        url = "%s/%s" % (self.urls[self._turn % len(self.urls)], urllib.parse.quote(path))
        plain, authorization = _authorization(url)
        request = urllib.request.Request(plain, headers=dict(headers or {}, **authorization))  # noqa: S310 - http and https only, see above
        return self._opener.open(request, timeout=SILENCE_SECONDS)

    def _next(self, error):
        url = self.urls[self._turn % len(self.urls)]
        sentence = "%s: %s" % (without_secret(url), error)
        if sentence not in self._failures:
            self._failures.append(sentence)
        self._turn += 1
        if time.time() - self._moved > self.timeout:
            raise SourceError("%s could not be fetched whole: for %d seconds no mirror sent a byte. %s. What has come is kept, and the next run "
                              "goes on from there." % (self.name, self.timeout, "; ".join(self._failures[-4:])), stalled=True)
        if self._turn % len(self.urls) == 0:
            time.sleep(PAUSE_SECONDS[min(self._turn // len(self.urls), len(PAUSE_SECONDS)) - 1])


def fetch(arrival, missing, source, seconds=None):
    """Bring the missing blocks of an Arrival from a source.

    :param seconds: stop at the first block that comes later than this.
    :returns: whether all have come.
    """
    files = {entry["path"]: (entry, blocks) for entry, blocks in arrival.files}
    until = time.time() + seconds if seconds else None
    return all(_fetch_run(arrival, files[path], first, first + count, source, until) for path in sorted(missing) for first, count in missing[path])


def _fetch_run(arrival, file, number, end, source, until):
    """Fetch blocks from ``number`` to before ``end``, or until it is too late; a wrong one is asked of the next mirror."""
    entry, blocks = file
    while number < end:
        offset = number * arrival.block
        size = min(end * arrival.block, entry["size"]) - offset
        buffered = b""
        for data in source.read(blocks["offset"] + offset, size):
            buffered += data
            while number < end and len(buffered) >= arrival.size_of(entry, number):
                block, buffered = buffered[:arrival.size_of(entry, number)], buffered[arrival.size_of(entry, number):]
                if not arrival.write(entry, blocks, number, block):
                    source.blame("block %d of %s is not what the index says." % (number, entry["path"]))
                    break
                number += 1
                if until is not None and time.time() > until:
                    return number == end
            else:
                continue
            break
    return True


def index_from(mirrors, model, version):
    """Fetch and check the index and signature of a release that nobody here knows yet.

    :returns: (index, signature).
    :raises ModuleError: also if the mirror gives another release than was asked for.
    """
    content = mirrors.document(".index", release_index.MAX_BYTES)
    index = release_index.parse(content, "%s.index" % mirrors.name)
    found = index["parsed"]
    if (found["model"], found["version"]) != (model, version):
        raise SourceError("The mirror gives version %d of %s for version %d of %s. Put the right files there (docs/releases.md)."
                          % (found["version"], found["model"], version, model))
    return index, mirrors.document(".sig", 65536, optional=True)


def without_secret(url):
    """Return an address without user and password."""
    return re.sub(r"//[^/@]*@", "//", url)


def _authorization(url):
    """Split user and password from an address: urllib sends them by a header only."""
    parts = urllib.parse.urlsplit(url)
    if "@" not in parts.netloc:
        return url, {}
    secret, host = parts.netloc.rsplit("@", 1)
    token = base64.b64encode(urllib.parse.unquote(secret).encode("utf-8")).decode("ascii")
    return urllib.parse.urlunsplit(parts._replace(netloc=host)), {"Authorization": "Basic %s" % token}


def archive_name(model, version):
    """Return the name of a release archive, here and on mirrors."""
    return "%s-%d.tar" % (model, version)
