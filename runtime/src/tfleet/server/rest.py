"""The REST side: which path means what, and what the answers look like."""
import logging
import re
import time
import zlib
from collections import namedtuple
from typing import Dict, Mapping, Optional
from urllib.parse import unquote_to_bytes

from .. import wire
from . import http_server, inference, json_examples, json_tensor, json_text, predict
from . import status as codes
from .core import ServerCore
from .flags import Flags
from .metadata import model_metadata
from .status import StatusError, invalid_argument

log = logging.getLogger(__name__)

_POST = re.compile(r"/v1/models/([^/:]+)(?:(?:/versions/(\d+))|(?:/labels/([^/:]+)))?:(classify|regress|predict)\Z", re.I | re.A)
_GET = re.compile(r"/v1/models(?:/([^/:]+))?(?:(?:/versions/(\d+))|(?:/labels/([^/:]+)))?(?:/(metadata))?\Z", re.I | re.A)
_API = re.compile(r"/v1/", re.I)
_ORIGIN = re.compile(r"https?://")
_CORS = [("Access-Control-Allow-Origin", "*"), ("Access-Control-Allow-Methods", "POST, GET"),
         ("Access-Control-Allow-Headers", "Content-Type")]
_MAX_INFLATED = 100 * 1000 * 1000
_HTTP = {
    codes.OK: 200, codes.INVALID_ARGUMENT: 400, codes.FAILED_PRECONDITION: 400, codes.OUT_OF_RANGE: 400,
    codes.UNAUTHENTICATED: 401, codes.PERMISSION_DENIED: 403, codes.NOT_FOUND: 404, codes.ALREADY_EXISTS: 409,
    codes.ABORTED: 409, codes.RESOURCE_EXHAUSTED: 429, codes.CANCELLED: 499, codes.UNIMPLEMENTED: 501,
    codes.UNAVAILABLE: 503, codes.DEADLINE_EXCEEDED: 504,
}  # the others are 500

Answer = namedtuple("Answer", "status headers body")

_NOT_FOUND = Answer(404, [("Content-Type", "text/html")], b"<HTML><HEAD>\n<TITLE>404 Not Found</TITLE>\n</HEAD><BODY>\n"
                                                          b"<H1>Not Found</H1>\n</BODY></HTML>\n")


class Router:
    """Turns one request into one answer; knows nothing of sockets."""

    def __init__(self, core: ServerCore, flags: Flags, monitoring_path: str) -> None:
        self._core = core
        self._cors = flags.rest_api_enable_cors_support
        self._timeout_ms = flags.rest_api_timeout_in_ms if flags.rest_api_timeout_in_ms > 0 else None
        self._monitoring_path = monitoring_path

    def answer(self, method: str, target: str, headers: Mapping, body: bytes) -> Answer:
        """method: GET, POST…; target: path with query as sent; headers: names looked up without regard to case."""
        if self._monitoring_path and target == self._monitoring_path:
            return Answer(200, [("Content-Type", "text/plain")], self._core.metrics.text().encode("utf-8"))
        if not _API.match(target):
            return _NOT_FOUND
        started = time.time()
        request: Optional[_Request] = None
        code = codes.OK
        try:
            if method == "OPTIONS":
                text = self._preflight(headers)
            else:
                request = _Request(method, target)
                text = self._process(request, _inflate(headers, body))
        except StatusError as error:
            code, text = error.code, json_text.error_body(error.message)
        except RecursionError:
            code, text = codes.INVALID_ARGUMENT, json_text.error_body(json_text.TOO_DEEP)
        except UnicodeEncodeError:  # bytes that are no UTF-8, in a name that a message has to hold
            code, text = codes.INVALID_ARGUMENT, json_text.error_body(json_text.NO_UTF8)
        except Exception as error:  # a bug must answer this request and nothing more
            log.exception("A REST request met an unexpected error")
            code, text = codes.INTERNAL, json_text.error_body("%s: %s" % (type(error).__name__, error))
        model = request.model if request else ""
        self._core.metrics.request_count.add(model, codes.name(code))
        if code == codes.OK and request and request.verb:
            self._core.metrics.request_latency.observe((time.time() - started) * 1e6, model, request.verb, "REST")
        return Answer(_HTTP.get(code, 500), [("Content-Type", "application/json")] + (_CORS if self._cors else []), text)

    @staticmethod
    def _preflight(headers: Mapping) -> bytes:
        if not _ORIGIN.match(headers.get("Origin") or ""):
            raise invalid_argument("OPTIONS needs an Origin header with an http or https address")
        return b""

    def _process(self, request: "_Request", body: bytes) -> bytes:
        request.check()
        if request.verb == "predict":
            return self._predict(request, body)
        if request.verb:
            return self._infer(request, body)
        if not request.model:
            raise invalid_argument("Missing model name in request.")
        if request.metadata:
            return self._metadata(request)
        return json_text.proto(self._core.status(request.spec)).encode("utf-8")

    def _predict(self, request: "_Request", body: bytes) -> bytes:
        with self._core.use(request.spec) as harness:
            signatures = harness.servable.signatures

            def inputs_of(name: str) -> Dict[str, int]:
                name = name or predict.DEFAULT_SIGNATURE
                if name not in signatures:
                    raise invalid_argument('Serving signature name: "%s" not found in signature def' % name)
                return {alias: info.dtype for alias, info in signatures[name].inputs.items()}

            asked = json_tensor.read_predict(body, inputs_of)
            signature = signatures[asked.signature_name or predict.DEFAULT_SIGNATURE]
            outputs = predict.run(self._core.metrics, harness, signature, asked.inputs, (), self._timeout_ms, "Predict")
            return json_tensor.write_predict(outputs, asked.row)

    def _infer(self, request: "_Request", body: bytes) -> bytes:
        asked = json_examples.REQUESTS[request.verb]()
        asked.model_spec.CopyFrom(request.spec)
        json_examples.read_examples(body, asked)
        if request.verb == "classify":
            return json_examples.write_classification(inference.classify(self._core, asked, self._timeout_ms).result)
        return json_examples.write_regression(inference.regress(self._core, asked, self._timeout_ms).result)

    def _metadata(self, request: "_Request") -> bytes:
        asked = wire.GetModelMetadataRequest(metadata_field=["signature_def"])
        asked.model_spec.CopyFrom(request.spec)
        response = model_metadata(self._core, asked)
        signatures = wire.SignatureDefMap.FromString(response.metadata["signature_def"].value)
        # The official server glues two printed messages together, hence the mixed indentation.
        return ('{\n"model_spec":%s,\n"metadata": {"signature_def": %s}\n}\n'
                % (json_text.proto(response.model_spec), json_text.proto(signatures))).encode("utf-8")


class _Request:
    """A parsed request line: model, spec, verb ("" for GET), metadata. check() raises what is wrong with it."""

    def __init__(self, method: str, target: str) -> None:
        self.model = ""
        self.verb = ""
        self.metadata = False
        self.spec = wire.ModelSpec()
        self._problem: Optional[StatusError] = invalid_argument("Malformed request: %s %s" % (method, target))
        match = {"POST": _POST, "GET": _GET}[method].match(target) if method in ("POST", "GET") else None
        if match is None:
            return
        name, version, label, last = match.groups()
        self.model = self.spec.name = _decode(name or "")
        if version and int(version) >= 1 << 63:
            self._problem = invalid_argument("Failed to convert version: %s to numeric." % version)
            return
        if version:
            self.spec.version.value = int(version)
        elif label:
            self.spec.version_label = _decode(label)
        # The path matches in any case, but the verb is then compared as it is.
        if method == "POST" and last not in ("predict", "classify", "regress"):
            return
        self.verb = last if method == "POST" else ""
        self.metadata = last == "metadata"
        self._problem = None

    def check(self) -> None:
        if self._problem is not None:
            raise self._problem


def _decode(text: str) -> str:
    return unquote_to_bytes(text).decode("utf-8", "replace")


def _inflate(headers: Mapping, body: bytes) -> bytes:
    if (headers.get("Content-Encoding") or "").lower() != "gzip":
        return body
    inflater = zlib.decompressobj(31)
    try:
        answer = inflater.decompress(body, _MAX_INFLATED)
    except zlib.error as error:
        raise invalid_argument("The gzip body cannot be inflated: %s" % error)
    if inflater.unconsumed_tail or not inflater.eof:
        raise invalid_argument("The gzip body is cut short or inflates to more than %d bytes" % _MAX_INFLATED)
    return answer


def start(core: ServerCore, flags: Flags, monitoring_path: str) -> http_server.HttpServer:
    """The running REST server. Raises StatusError UNAVAILABLE if the port cannot be listened on."""
    router = Router(core, flags, monitoring_path)
    # Like TensorFlow Serving: every address, IPv6 and IPv4, or IPv4 alone where there is no IPv6.
    hosts = [flags.tfleet_bind_address] if flags.tfleet_bind_address else ["::", flags.bind_address]
    problem: Optional[OSError] = None
    for host in hosts:
        try:
            server = http_server.HttpServer(host, flags.rest_api_port, router.answer, max(flags.rest_api_num_threads, 1))
        except OSError as error:
            problem = error
            continue
        server.start()
        return server
    raise StatusError(codes.UNAVAILABLE, "Cannot listen on %s port %d for REST: %s. Stop the process that has it (ss -ltnp "
                      "names it) or choose another --rest_api_port" % (hosts[-1], flags.rest_api_port, problem))
