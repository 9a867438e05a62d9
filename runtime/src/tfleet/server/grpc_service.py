"""The gRPC side: PredictionService, ModelService and the optional health service, as raw-bytes handlers.

No generated stubs: requests are parsed by the private descriptors of tfleet.wire, so this server can live in one process
with any tensorflow-serving-api.
"""
import functools
import logging
import threading
import time
from concurrent import futures
from typing import Any, Callable, Dict, List, Optional, Tuple

import grpc

from .. import wire
from . import config as configs
from . import inference
from . import status as codes
from .core import ServerCore
from .flags import Flags
from .metadata import model_metadata
from .predict import predict
from .profiler import PATHS as PROFILER_PATHS
from .profiler import Profiler
from .status import StatusError, invalid_argument
from .worker_pool import WorkerPool

log = logging.getLogger(__name__)

_MAX_MESSAGE = 1024  # characters of an error message that go over gRPC
_GRPC_CODES = {code.value[0]: code for code in grpc.StatusCode}
_HEALTHY, _NOT_SERVING, _SERVICE_UNKNOWN = (
    wire.HealthCheckResponse(status=value).SerializeToString() for value in (1, 2, 3))
_MAX_WATCHERS = 64
_MAX_RELOADS = 4
_MAX_PROFILES = 4
_HEALTH_SERVICES = ("", "ModelService", "PredictionService")

Handler = Callable[[bytes, Any], bytes]


class Service(grpc.GenericRpcHandler):
    """Dispatches by the path of the call."""

    def __init__(self, core: ServerCore, flags: Flags, pool: futures.ThreadPoolExecutor) -> None:
        self._core = core
        self._pool = pool
        self._running = 0  # calls other than those of the health service
        self._refusing = False
        self._running_changed = threading.Condition()
        self._as_content = flags.enable_serialization_as_tensor_content
        self.serving = True  # what the health service answers
        self._health_changed = threading.Condition()
        self._watchers = threading.BoundedSemaphore(_MAX_WATCHERS)
        # Calls that wait, maybe for ever, do so in threads of their own and leave the others to requests.
        watching = futures.ThreadPoolExecutor(_MAX_WATCHERS, thread_name_prefix="watch")
        reloading = futures.ThreadPoolExecutor(_MAX_RELOADS, thread_name_prefix="reload")
        self._methods: Dict[str, Any] = {
            wire.PREDICT: self._unary(self._counted(self._predict)),
            wire.CLASSIFY: self._unary(self._counted(self._classify)),
            wire.REGRESS: self._unary(self._counted(self._regress)),
            wire.MULTI_INFERENCE: self._unary(self._counted(self._multi_inference)),
            wire.GET_MODEL_METADATA: self._unary(self._counted(self._metadata)),
            wire.GET_MODEL_STATUS: self._unary(self._counted(self._status)),
            wire.RELOAD_CONFIG: self._unary(self._reload, reloading),
        }
        if flags.enable_profiler:
            profiler = Profiler()
            profiling = futures.ThreadPoolExecutor(_MAX_PROFILES, thread_name_prefix="profile")
            self._methods.update((path, self._unary(functools.partial(profiler.call, path), profiling)) for path in PROFILER_PATHS)
        if flags.enable_grpc_healthcheck_service:
            self._methods[wire.HEALTH_CHECK] = self._unary(self._health_check)
            self._methods[wire.HEALTH_WATCH] = grpc.unary_stream_rpc_method_handler(_in_pool(watching, self._health_watch))

    def service(self, handler_call_details: Any) -> Any:
        return self._methods.get(handler_call_details.method)

    def set_not_serving(self) -> None:
        """The health service answers NOT_SERVING from now on."""
        with self._health_changed:
            self.serving = False
            self._health_changed.notify_all()

    def drain(self, seconds: float) -> None:
        """Finishes the calls that have come so far, for up to so many seconds, and refuses those that come later.

        The health service goes on answering meanwhile: refused connections would look like a crash.
        """
        deadline = time.monotonic() + seconds
        # The pool's queue is in the order of arrival: what is behind this came after the signal.
        self._pool.submit(self._refuse)
        with self._running_changed:
            while not (self._refusing and not self._running) and time.monotonic() < deadline:
                self._running_changed.wait(0.1)

    def _refuse(self) -> None:
        with self._running_changed:
            self._refusing = True
            self._running_changed.notify_all()

    def _counted(self, handler: Handler) -> Handler:
        def answer(request: bytes, context: Any) -> bytes:
            with self._running_changed:
                if self._refusing:
                    raise StatusError(codes.UNAVAILABLE, "The model server is ending and takes no new requests")
                self._running += 1
            try:
                return handler(request, context)
            finally:
                with self._running_changed:
                    self._running -= 1
                    if self._refusing:
                        self._running_changed.notify_all()

        return answer

    @staticmethod
    def _unary(handler: Handler, pool: Optional[futures.ThreadPoolExecutor] = None) -> Any:
        def answer(request: bytes, context: Any) -> bytes:
            try:
                return handler(request, context)
            except StatusError as error:
                code, message = error.code, error.message
            except Exception as error:  # a bug must answer this call and nothing more
                log.exception("A gRPC call met an unexpected error")
                code, message = codes.INTERNAL, "%s: %s" % (type(error).__name__, error)
            if len(message) > _MAX_MESSAGE:
                message = message[:_MAX_MESSAGE] + "...TRUNCATED"
            context.set_code(_GRPC_CODES.get(code, grpc.StatusCode.UNKNOWN))
            context.set_details(message)
            return b""

        return grpc.unary_unary_rpc_method_handler(answer if pool is None else _in_pool(pool, answer))

    def _predict(self, data: bytes, context: Any) -> bytes:
        request, cuts = _parse(wire.PredictRequest, data, wire.predict_bytes.read_request)
        return self._measured(request.model_spec.name, "Predict",
                              lambda: predict(self._core, request, _timeout_ms(context), self._as_content, cuts))

    def _classify(self, data: bytes, context: Any) -> bytes:
        request = _parse(wire.ClassificationRequest, data)
        return self._measured(request.model_spec.name, "Classify", lambda: bytes(
            inference.classify(self._core, request, _timeout_ms(context)).SerializeToString()))

    def _regress(self, data: bytes, context: Any) -> bytes:
        request = _parse(wire.RegressionRequest, data)
        return self._measured(request.model_spec.name, "Regress", lambda: bytes(
            inference.regress(self._core, request, _timeout_ms(context)).SerializeToString()))

    def _multi_inference(self, data: bytes, context: Any) -> bytes:
        request = _parse(wire.MultiInferenceRequest, data)
        return bytes(inference.multi_inference(self._core, request, _timeout_ms(context)).SerializeToString())

    def _metadata(self, data: bytes, _context: Any) -> bytes:
        return bytes(model_metadata(self._core, _parse(wire.GetModelMetadataRequest, data)).SerializeToString())

    def _status(self, data: bytes, _context: Any) -> bytes:
        request = _parse(wire.GetModelStatusRequest, data)
        spec = request.model_spec if request.HasField("model_spec") else None
        return bytes(self._core.status(spec).SerializeToString())

    def _reload(self, data: bytes, context: Any) -> bytes:
        request = _parse(wire.ReloadConfigRequest, data)
        if request.config.WhichOneof("config") != "model_config_list":
            raise invalid_argument("ServerModelConfig type not supported by HandleReloadConfigRequest. Only "
                                   "ModelConfigList is currently supported")
        before = _counters(self._core, request.metric_names)
        self._reload_in_background(request.config, context)
        response = wire.ReloadConfigResponse()
        response.status.SetInParent()
        for name, value in _counters(self._core, request.metric_names):
            response.metric.add(name=name, int64_value_increase=value - dict(before)[name])
        return bytes(response.SerializeToString())

    def _reload_in_background(self, config: Any, context: Any) -> None:
        # A reload may wait for ever (a base_path that never appears). When its client has gone it goes on waiting, as in
        # TensorFlow Serving, but must not keep one of the threads that answer requests.
        failure: List[Exception] = []
        done = threading.Event()

        def work() -> None:
            try:
                self._core.reload(config)
            except Exception as error:  # noqa: BLE001 (raised again in the waiting thread)
                failure.append(error)
            done.set()

        threading.Thread(target=work, name="reload", daemon=True).start()
        while not done.wait(0.5):
            if not context.is_active():
                raise StatusError(codes.CANCELLED, "The client went away while the reload was waiting")
        if failure:
            raise failure[0]

    def _measured(self, model: str, api: str, work: Callable[[], bytes]) -> bytes:
        started = time.time()
        metrics = self._core.metrics
        try:
            response = work()
        except StatusError as error:
            metrics.request_count.add(model, codes.name(error.code))
            raise
        metrics.request_count.add(model, "OK")
        metrics.request_latency.observe((time.time() - started) * 1e6, model, api, "GRPC")
        return response

    def _health(self, data: bytes) -> Optional[bytes]:
        if _parse(wire.HealthCheckRequest, data).service not in _HEALTH_SERVICES:
            return None
        return _HEALTHY if self.serving else _NOT_SERVING

    def _health_check(self, data: bytes, _context: Any) -> bytes:
        answer = self._health(data)
        if answer is None:
            raise StatusError(codes.NOT_FOUND, "")
        return answer

    def _health_watch(self, data: bytes, context: Any) -> Any:
        if not self._watchers.acquire(blocking=False):
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "Too many watchers: use Check")
        try:
            context.add_callback(self._health_poke)
            sent = None
            while context.is_active():
                answer = self._health(data) or _SERVICE_UNKNOWN
                if answer != sent:
                    sent = answer
                    yield answer
                with self._health_changed:
                    if not self.serving:
                        return  # the server is ending: do not hold it up
                    self._health_changed.wait(5.0)
        finally:
            self._watchers.release()

    def _health_poke(self) -> None:
        with self._health_changed:
            self._health_changed.notify_all()


def _in_pool(pool: futures.ThreadPoolExecutor, behavior: Callable[[bytes, Any], Any]) -> Any:
    def answer(request: bytes, context: Any) -> Any:
        return behavior(request, context)

    answer.experimental_thread_pool = pool  # type: ignore[attr-defined]  # grpc's own health service relies on it too
    return answer


def _parse(message: Any, data: bytes, read: Optional[Callable[[bytes], Any]] = None) -> Any:
    try:
        return (read or message.FromString)(data)
    except Exception:  # noqa: BLE001 (DecodeError; older protobuf raises others for damaged bytes)
        raise StatusError(codes.INTERNAL, "The request is not a %s message" % message.DESCRIPTOR.full_name)


def _timeout_ms(context: Any) -> Optional[int]:
    remaining = context.time_remaining()
    if remaining is None or remaining > 1e9:  # "no deadline" comes as a very far one in some versions
        return None
    return int(remaining * 1000)


def _counters(core: ServerCore, names: Any) -> List[Tuple[str, int]]:
    found = []
    for name in names:
        try:
            found.append((name, core.metrics.counter_value(name)))
        except KeyError:
            log.warning("A reload asked for the metric %s, which this server does not have", name)
    return found


def start(core: ServerCore, flags: Flags) -> Tuple[Any, Service]:
    """The running gRPC server and its service. Raises StatusError UNAVAILABLE if an address cannot be listened on."""
    pool = WorkerPool(max(flags.grpc_max_threads, 1), "grpc")
    service = Service(core, flags, pool)
    options: Dict[str, Any] = {"grpc.max_receive_message_length": -1, "grpc.max_send_message_length": -1,
                               # Without this a second server on the same port would start and silently take half of the calls.
                               "grpc.so_reuseport": 0}
    options.update(channel_arguments(flags.grpc_channel_arguments))  # gRPC would take the first of two values for one name
    server = grpc.server(pool, handlers=(service,), options=list(options.items()))
    credentials = _credentials(flags)
    for address in addresses(flags):
        try:
            bound = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
        except RuntimeError:
            bound = 0
        if not bound:
            raise StatusError(codes.UNAVAILABLE, "Cannot listen on %s for gRPC: another process has it, or it is no address "
                              "of this host. Stop that process (ss -ltnp names it) or choose another --port" % address)
    server.start()
    return server, service


def check_credentials(flags: Flags) -> None:
    """Raises StatusError if the flags ask for credentials that no port can be opened with; loading can take minutes before one is."""
    credentials = _credentials(flags)
    if credentials is None:
        return
    try:
        bound = grpc.server(futures.ThreadPoolExecutor(1)).add_secure_port("127.0.0.1:0", credentials)
    except RuntimeError:
        bound = 0
    if not bound and flags.use_alts_credentials:
        raise StatusError(codes.FAILED_PRECONDITION, "--use_alts_credentials works on Google Cloud alone, and this host is not there. "
                          "Use --ssl_config_file")
    if not bound:
        raise invalid_argument("The texts in %s are not a key and the certificates that belong to it, in PEM form" % flags.ssl_config_file)


def _credentials(flags: Flags) -> Any:
    """Those that the flags ask for; None for connections in the clear."""
    if flags.use_alts_credentials:
        return grpc.alts_server_credentials()
    return _ssl_credentials(flags.ssl_config_file) if flags.ssl_config_file else None


def _ssl_credentials(ssl_config_file: str) -> Any:
    """TLS of an SSLConfig file, whose fields hold PEM texts. A client needs a certificate if client_verify is set."""
    config = configs.read(ssl_config_file, wire.SSLConfig())
    if not (config.server_key and config.server_cert):
        raise invalid_argument("%s needs server_key and server_cert, as PEM texts" % ssl_config_file)
    if config.client_verify and not config.custom_ca:
        raise invalid_argument("%s asks for client_verify, so it needs custom_ca to verify with, as PEM text" % ssl_config_file)
    return grpc.ssl_server_credentials([(config.server_key.encode("utf-8"), config.server_cert.encode("utf-8"))],
                                       config.custom_ca.encode("utf-8") or None, config.client_verify)


def addresses(flags: Flags) -> List[str]:
    """What the flags want gRPC to listen on."""
    host = "[%s]" % flags.bind_address if ":" in flags.bind_address else flags.bind_address
    answer = ["%s:%d" % (host, flags.port)] if flags.port else []
    return answer + (["unix:" + flags.grpc_socket_path] if flags.grpc_socket_path else [])


def channel_arguments(text: str) -> List[Tuple[str, Any]]:
    """`k=v,k=v` as gRPC options; a value that parses as an int is one."""
    options: List[Tuple[str, Any]] = []
    for item in filter(None, text.split(",")):
        key, _, value = item.partition("=")
        try:
            options.append((key, int(value)))
        except ValueError:
            options.append((key, value))
    return options
