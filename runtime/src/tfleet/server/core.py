"""The heart of the server: the configured models, their labels, and the version that a request means."""
import logging
import threading
from typing import Any, Callable, Dict, List, Optional, Set

from .. import wire
from . import config as configs
from . import states, storage
from .flags import CPUS, Flags
from .lifecycle import Loader, Manager
from .metrics import Metrics
from .start_guard import StartGuard
from .status import UNKNOWN, StatusError, failed_precondition, invalid_argument, not_found

log = logging.getLogger(__name__)


class ServerCore:
    """Takes model configs, keeps their versions loaded, and finds the servable for a request."""

    def __init__(self, flags: Flags, loader: Loader, guard: Optional[StartGuard] = None) -> None:
        self._flags = flags
        self._guard = guard or StartGuard()
        self.metrics = Metrics()
        self.board = states.Board()
        self.manager = Manager(
            loader, self.board, flags.num_load_threads, flags.num_unload_threads, flags.max_num_load_retries,
            flags.load_retry_interval_micros / 1e6, guard=self._guard)
        self._reloading = threading.Lock()
        self._config = wire.ModelServerConfig()  # the last one that passed validation
        self._models: Dict[str, Any] = {}
        self._labels: Dict[str, Dict[str, int]] = {}
        self._missing: Set[str] = set()  # models without a version that the last poll could want; nobody waits for them
        self._poll_now = threading.Event()
        self._polling = threading.Lock()
        self._stopped = False
        self._storage_thread = threading.Thread(target=self._poll_storage, name="storage", daemon=True)

    # Life

    def start(self, config: Any) -> None:
        """Loads the first config and blocks until every model has a version AVAILABLE or END. Raises StatusError."""
        self.manager.set_load_threads(4 * CPUS)  # the first load is wide whatever the flag says
        self.manager.start()
        self._storage_thread.start()
        self.reload(config)
        self.manager.set_load_threads(self._flags.num_load_threads)

    def stop(self) -> None:
        self._stopped = True
        self._poll_now.set()
        self.manager.stop()
        self.board.close()

    # Configuration

    def reload(self, config: Any) -> None:
        """Replaces the whole config; blocks until the models with a new name are AVAILABLE or END. Raises StatusError."""
        with self._reloading:
            if config.WhichOneof("config") is None:
                log.info("Taking no action for empty config.")
                return
            first = self._config.WhichOneof("config") is None
            models = configs.validate(config, self._config)
            self._config = wire.ModelServerConfig.FromString(config.SerializeToString())
            log.info("Adding/updating models.")
            for name in models:
                log.info(" (Re-)adding model: %s", name)
            self._replace_labels(models)
            before = self._models
            added = [name for name in models if name not in before]
            # Upstream takes the END of a model that was removed before for that of the one that comes back under its name.
            earlier = {name: self.board.versions(name) for name in added} if self._flags.tfleet_reload_polls_at_once else None
            with self._polling:  # no poll may bring back what is dropped here
                self._models = models
                for name in sorted(set(before) - set(models)):
                    self.manager.set_aspired(name, [])
            if first or self._flags.tfleet_reload_polls_at_once:
                self._poll_now.set()
            self._await(added, first, earlier)
            configs.check_request_logging(config)
            log.info("Finished adding/updating models")

    def _await(self, names: List[str], first: bool, earlier: Optional[states.Earlier]) -> None:
        settled = self.board.wait_settled(lambda: [name for name in names if name not in self._missing], earlier)
        failed = sorted((name, version, state) for name, (version, state) in settled.items() if state.state == states.END)
        if not failed:
            return
        if first and self._flags.tfleet_failed_model_blocks_only_itself:
            return  # loading has logged why, and GetModelStatus tells it
        what = "servable(s)" if first else "model(s)"
        listed = "".join("{name: %s version: %d} due to error: %s}, " % (name, version, state.error or "OK")
                         for name, version, state in failed)
        raise StatusError(UNKNOWN, "%d %s did not become available: {%s}" % (len(failed), what, listed))

    def _replace_labels(self, models: Dict[str, Any]) -> None:
        labels = {}
        for name in sorted(models):
            wanted = dict(models[name].version_labels)
            for label in sorted(wanted):
                self._check_label(name, label, wanted[label])
            if wanted:
                labels[name] = wanted
        self._labels = labels

    def _check_label(self, model: str, label: str, version: int) -> None:
        if self.manager.is_available(model, version):
            return
        now = self._labels.get(model, {}).get(label)
        if self._flags.allow_version_labels_for_unavailable_models and now in (None, version):
            return
        raise failed_precondition("Request to assign label to version %d of model %s, which is not currently available "
                                  "for inference" % (version, model))

    # Discovery

    def _poll_storage(self) -> None:
        wait = self._flags.file_system_poll_wait_seconds
        while not self._stopped:
            # 0 polls once (for the first config); a negative period polls only when a reload asks for it.
            self._poll_now.wait(wait if wait > 0 else None)
            self._poll_now.clear()
            if self._stopped:
                return
            if wait < 0 and not self._flags.tfleet_reload_polls_at_once:
                continue
            try:
                self.poll_once()
            except StatusError as error:
                log.error("FileSystemStoragePathSource encountered a filesystem access error: %s", error)
                if wait == 0 and not self._stopped:  # the only poll has to succeed once
                    threading.Timer(1.0, self._poll_now.set).start()
            except Exception:  # the thread must outlive one bad poll
                log.exception("Polling the model directories met an unexpected error")

    def poll_once(self) -> None:
        """Looks at the model directories now. Raises StatusError if one cannot be listed."""
        with self._polling:
            found = storage.poll(self._models, self._flags.tfleet_missing_path_blocks_only_itself, self._guard.allowed)
            for name, versions in found.items():
                self.manager.set_aspired(name, versions)
            nothing_but_aside = {name for name, versions in found.items() if not versions and self._guard.put_aside(name)}
            self._missing = set(self._models) - set(found) | nothing_but_aside
        if self._missing:
            self.board.poke()
        if self._flags.tfleet_retry_failed_version_on_change:
            self.manager.retry_changed()

    # Requests

    def use(self, spec: Optional[Any]) -> Any:
        """A context: the harness a ModelSpec means (None: the request had none), held while the block runs. Raises StatusError."""
        if spec is None:
            raise invalid_argument("Missing ModelSpec")
        if not spec.name:
            raise invalid_argument("ModelSpec has no name specified.")
        return self.manager.use(spec.name, self._version(spec))

    def _version(self, spec: Any) -> Optional[int]:
        choice = spec.WhichOneof("version_choice")
        if choice == "version":
            return int(spec.version.value)
        if choice == "version_label":
            found = self._labels.get(spec.name, {}).get(spec.version_label)
            if found is None:
                raise invalid_argument("Unrecognized servable version label: " + spec.version_label)
            return found
        return None

    def status(self, spec: Optional[Any]) -> Any:
        """A GetModelStatusResponse: one version if the spec names one, else all ever seen, newest first."""
        if spec is None:
            raise invalid_argument("Missing ModelSpec")
        if not spec.name:
            raise invalid_argument("ModelSpec has no name specified.")
        states_now = dict(self.board.versions(spec.name))
        for version, why in self._guard.put_aside(spec.name).items():
            states_now.setdefault(version, states.State(states.END, why))
        versions = sorted(states_now.items(), reverse=True)
        if spec.WhichOneof("version_choice") == "version":  # a label is ignored here
            versions = [(v, state) for v, state in versions if v == spec.version.value]
            if not versions:
                raise not_found("Could not find version %d of model %s" % (spec.version.value, spec.name))
        if not versions:
            raise not_found("Could not find any versions of model " + spec.name)
        response = wire.GetModelStatusResponse()
        for version, state in versions:
            row = response.model_version_status.add(version=version, state=state.state)
            row.status.SetInParent()
            if state.error is not None:
                row.status.error_code = state.error.code
                row.status.error_message = state.error.message
        return response


def poll_config_file(core: ServerCore, path: str, period_seconds: int, stopped: Callable[[float], bool]) -> None:
    """Rereads the model config file for ever; what goes wrong is only logged and the old config stays.

    stopped: waits so many seconds and tells whether the server is going down.
    """
    while not stopped(period_seconds):
        try:
            core.reload(configs.read_model_config(path))
        except StatusError as error:
            log.error("PollFilesystemAndReloadConfig failed to ReloadConfig: %s", error)
        except Exception:  # a poller that dies would leave the fleet on the old config without a word
            log.exception("Polling the model config file met an unexpected error")
