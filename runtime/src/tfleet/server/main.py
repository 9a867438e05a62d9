"""Start and end of the model server: flags, files, loading, ports, signals, in TensorFlow Serving's order."""
import errno
import logging
import os
import resource
import signal
import socket
import sys
import threading
import time
from typing import Any, List, Optional

from .. import __version__
from . import config as configs
from . import executor, grpc_service, loader, memory, method_names, rest
from . import flags as flag_table
from .core import ServerCore, poll_config_file
from .start_guard import StartGuard
from .status import FAILED_PRECONDITION, UNAVAILABLE, StatusError, invalid_argument

log = logging.getLogger(__name__)

PROGRAM = "tensorflow_model_server"
_START_FAILED = 255
_MAX_FILES = 65536


def run(argv: List[str]) -> int:
    """Runs the server until it ends; answers the exit code.

    argv: TensorFlow Serving's command line without the program's name.
    """
    try:
        flags = flag_table.parse(argv)
    except flag_table.UsageError as error:
        if str(error):
            sys.stderr.write("%s\n" % error)
        sys.stdout.write(flag_table.usage(PROGRAM))
        return _START_FAILED
    if flags.version:
        try:
            library = _need_tensorflow().__version__
        except StatusError as error:
            sys.stdout.write("%s\n" % error.message)
            return _START_FAILED
        sys.stdout.write("TensorFlow ModelServer: %s+tfleet.%s\nTensorFlow Library: %s\n" % (library, __version__, library))
        return 0
    if flags.leftover:
        sys.stdout.write("unknown argument: %s\n%s" % (flags.leftover[0], flag_table.usage(PROGRAM)))
    sys.stdout.flush()
    _log_to_stderr()
    try:
        server = Server(flags)
        try:
            server.start()
        except BaseException:
            server.give_up()
            raise
    except StatusError as error:
        sys.stdout.write("Failed to start server. Error: %s\n" % error)
        sys.stdout.flush()
        return _START_FAILED
    return server.wait()


class Server:
    """A model server in this process: start() returns once the ports are open, wait() when it has ended."""

    def __init__(self, flags: flag_table.Flags) -> None:
        self.flags = flags
        self._check_flags()
        method_names.enable(flags.enable_signature_method_name_check)
        self._guard = StartGuard(flags.tfleet_start_guard_file)
        self.core = ServerCore(flags, self._load, self._guard)
        self._loader: Optional[loader.Loader] = None
        self._started = False
        self._ended = threading.Event()
        self._signal = 0
        self.grpc: Any = None
        self.service: Any = None
        self.rest: Any = None

    def _check_flags(self) -> None:
        flags = self.flags
        if not flags.model_base_path and not flags.model_config_file:
            raise invalid_argument("Both server_options.model_base_path and server_options.model_config_file are empty!")
        if not grpc_service.addresses(flags):
            raise invalid_argument("server_options.port is 0 and server_options.grpc_socket_path is empty: "
                                   "there is nothing to listen on")
        if flags.platform_config_file:
            log.info("The flags for batching, sessions, warm-up and TensorFlow Lite are ignored: --platform_config_file says how models are loaded")
        elif flags.tensorflow_session_parallelism > 0 and flags.tensorflow_intra_op_parallelism > 0 \
                and flags.tensorflow_inter_op_parallelism > 0:
            raise invalid_argument("Either configure server_options.tensorflow_session_parallelism or (server_options."
                                   "tensorflow_intra_op_parallelism, server_options.tensorflow_inter_op_parallelism) separately.")
        elif flags.batching_parameters_file and not flags.enable_batching:
            raise invalid_argument("server_options.batching_parameters_file is set without setting server_options.enable_batching to true.")
        if flags.ssl_config_file and flags.use_alts_credentials:
            raise invalid_argument("--ssl_config_file and --use_alts_credentials cannot be used together")
        if flags.thread_pool_factory_config_file:
            # What the file names is C++ that is linked into the server; the official one is built without any.
            raise StatusError(FAILED_PRECONDITION, "--thread_pool_factory_config_file: there is no thread pool factory in this server. Choose thread "
                              "counts with --tensorflow_intra_op_parallelism, --tensorflow_inter_op_parallelism or --tensorflow_session_config_file")
        if flags.mixed_precision not in ("", executor.BFLOAT16):
            log.warning("Mixed precision mode %r is not known; ignored", flags.mixed_precision)

    def start(self) -> None:
        """Loads the configured models, then opens the ports. Raises StatusError."""
        flags = self.flags
        _allow_many_connections()
        signal.signal(signal.SIGINT, self._on_signal)
        if flags.tfleet_drain_seconds > 0 or flags.tfleet_start_guard_file:
            signal.signal(signal.SIGTERM, self._on_signal)
        _check_ports_free(flags)
        grpc_service.check_credentials(flags)
        monitoring = self._monitoring_path()
        if flags.model_config_file:
            config = configs.read_model_config(flags.model_config_file)
        else:
            log.info("Building single TensorFlow model file config:  model_name: %s model_base_path: %s",
                     flags.model_name, flags.model_base_path)
            config = configs.single_model(flags.model_name, flags.model_base_path)
        if config.WhichOneof("config") == "custom_model_config":
            raise StatusError(FAILED_PRECONDITION, "ModelServer does not yet support custom model config.")
        configs.validate(config)  # also done by the core, but TensorFlow takes seconds to import
        if flags.platform_config_file:
            _need_tensorflow()  # whose ConfigProto is a part of that file
        chosen = loader.settings(flags)
        _need_tensorflow()
        chosen.session.proto()  # what is wrong with it would be wrong for every version
        self._loader = loader.Loader(chosen, self.core.metrics, flags.flush_filesystem_caches)
        memory.settle()
        self._guard.open()
        self.core.start(config)
        self._started = True
        if flags.model_config_file and flags.model_config_file_poll_wait_seconds > 0:
            threading.Thread(target=poll_config_file, name="config", daemon=True, args=(
                self.core, flags.model_config_file, flags.model_config_file_poll_wait_seconds, self._ended.wait)).start()
        self.grpc, self.service = grpc_service.start(self.core, flags)
        for address in grpc_service.addresses(flags):
            log.info("Running gRPC ModelServer at %s ...", address)
        if flags.rest_api_port and flags.rest_api_port == flags.port:
            log.error("--rest_api_port cannot be same as --port. Please use a different port for HTTP/REST API. Skipped "
                      "exporting HTTP/REST API.")
        elif flags.rest_api_port:
            self.rest = rest.start(self.core, flags, monitoring)
            log.info("Exporting HTTP/REST API at:localhost:%d ...", flags.rest_api_port)

    def give_up(self) -> None:
        """The start has failed: what is still being loaded is not to blame for the end."""
        self._guard.close()

    def _monitoring_path(self) -> str:
        if not (self.flags.monitoring_config_file and self.flags.rest_api_port):
            return ""
        config = configs.read(self.flags.monitoring_config_file, configs.wire.MonitoringConfig())
        configs.check_monitoring(config)
        return configs.monitoring_path(config)

    def _load(self, model: str, version: int, path: str) -> Any:
        assert self._loader is not None  # made before the first version is wanted
        return self._loader.load(model, version, path)

    # End

    def _on_signal(self, number: int, _frame: Any) -> None:
        drain = self.flags.tfleet_drain_seconds > 0
        if number == signal.SIGTERM and not drain:  # only the start guard wants to know of it
            self._guard.close()
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        if self._signal == number:  # asked twice: do not wait for the requests
            self._guard.close()
            os._exit(128 + number)
        self._signal = number
        self._ended.set()
        if not self._started:  # nobody is being served yet, and loading may take for ever
            self._guard.close()
            os._exit(0 if number == signal.SIGTERM else 128 + number)

    def wait(self) -> int:
        """Blocks until SIGTERM (with --tfleet_drain_seconds) or SIGINT; answers the exit code."""
        while not self._ended.wait(3600):
            pass
        self.stop(self.flags.tfleet_drain_seconds)
        return 0 if self._signal == signal.SIGTERM else 128 + self._signal

    def stop(self, drain_seconds: float = 0) -> None:
        """Takes no further request, gives running ones so many seconds, and closes the ports."""
        self._ended.set()
        deadline = time.time() + drain_seconds
        if drain_seconds:
            log.info("Draining: requests that are running get %g s to finish", drain_seconds)
        self.service.set_not_serving()
        rest_stop = threading.Thread(target=self.rest.stop, args=(drain_seconds,), daemon=True) if self.rest is not None else None
        if rest_stop is not None:
            rest_stop.start()
        self.service.drain(drain_seconds)
        # The calls are done, or their time is over; their answers may still be on the way.
        self.grpc.stop(max(deadline - time.time(), 1.0 if drain_seconds else 0)).wait(drain_seconds + 1)
        if rest_stop is not None:
            rest_stop.join(max(deadline - time.time(), 0) + 1)
        self.core.stop()
        self._guard.close()
        log.info("The model server has ended")


def _allow_many_connections() -> None:
    # The usual soft limit of 1024 files is for programs that use select(); each idle client would take one of them.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, _MAX_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _need_tensorflow() -> Any:
    try:
        return executor.tensorflow()
    except ImportError as error:
        raise StatusError(FAILED_PRECONDITION, "TensorFlow cannot be imported by %s: %s. Install TensorFlow (1.15, or 2.2 to 2.17) there, "
                          "or start the server with the Python that has it" % (sys.executable, error))


def _check_ports_free(flags: flag_table.Flags) -> None:
    # Loading can take minutes: tell about a taken port before it, not after.
    for flag, port in (("port", flags.port), ("rest_api_port", flags.rest_api_port)):
        if not port:
            continue
        if not 0 < port < 65536:
            raise invalid_argument("--%s=%d is not a TCP port" % (flag, port))
        address = flags.bind_address
        problem = _bind_problem(address, port)
        if problem:
            raise StatusError(UNAVAILABLE, "Cannot listen on %s:%d: %s. Stop the process that has it (ss -ltnp names it) or "
                              "choose another --%s" % (address, port, problem, flag))


def _bind_problem(address: str, port: int) -> Optional[str]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address.strip("[]"), port))
    except OSError as error:
        return "the port is in use" if error.errno == errno.EADDRINUSE else (error.strerror or str(error))
    return None


class _ServerFormat(logging.Formatter):
    """TensorFlow's form: `2026-11-21 10:02:38.123456: I tfleet/server/core.py:93] text`."""

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return "%s.%06d: %s %s.py:%d] %s" % (moment, record.created % 1 * 1e6, record.levelname[0],
                                             record.name.replace(".", "/"), record.lineno, text)


def _log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_ServerFormat())
    logger = logging.getLogger("tfleet")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
