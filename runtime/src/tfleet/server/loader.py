"""How a version comes into memory: SavedModel or TensorFlow Lite, batched or not, warmed up, by the flags or --platform_config_file."""
import logging
import os
from typing import Any, List, Optional, Tuple

from .. import wire
from . import batching, executor, hardware_class, native, platform_config, storage, tflite, warmup
from . import config as configs
from .flags import Flags
from .lifecycle import Harness
from .metrics import Metrics
from .status import StatusError, invalid_argument

log = logging.getLogger(__name__)

_MLMD_FILE = os.path.join("assets.extra", "mlmd_uuid")


class Settings:
    """What a SessionBundleConfig of TensorFlow Serving says, wherever it comes from.

    batching: BatchingParameters, None for no batching; warmup_iterations: 0 for no warm-up; tflite: (pools, interpreters per
    pool), None to ignore model.tflite.
    """

    def __init__(self, tags: List[str], session: executor.SessionOptions, batching_parameters: Any, warmup_iterations: int,
                 tflite_pools: Optional[Tuple[int, int]]) -> None:
        self.tags = tags
        self.session = session
        self.batching = batching_parameters
        self.warmup_iterations = warmup_iterations
        self.tflite = tflite_pools
        self.batching_of_each_model = False
        self.hardware_class = ""


def settings(flags: Flags) -> Settings:
    """The settings of --platform_config_file if there is one, else of the flags. Raises StatusError."""
    found = _from_platform_config(flags) if flags.platform_config_file else _from_flags(flags)
    found.hardware_class = flags.tfleet_hardware_class
    return found


def _from_flags(flags: Flags) -> Settings:
    parameters = None
    if flags.enable_batching:
        parameters = wire.BatchingParameters()
        if flags.batching_parameters_file:
            configs.read(flags.batching_parameters_file, parameters)
        else:
            parameters.thread_pool_name.value = batching.DEFAULT_POOL
    both = flags.tensorflow_session_parallelism
    found = Settings(
        [tag for tag in flags.saved_model_tags.split(",") if tag],
        executor.SessionOptions(flags.tensorflow_session_config_file, flags.tensorflow_intra_op_parallelism or both,
                                flags.tensorflow_inter_op_parallelism or both, flags.per_process_gpu_memory_fraction,
                                flags.mixed_precision),
        parameters,
        max(flags.num_request_iterations_for_warmup, 1) if flags.enable_model_warmup else 0,
        (flags.num_tflite_pools, flags.num_tflite_interpreters_per_pool) if flags.prefer_tflite_model else None)
    found.batching_of_each_model = flags.enable_per_model_batching_parameters
    return found


def _from_platform_config(flags: Flags) -> Settings:
    bundle = platform_config.read(flags.platform_config_file)
    if bundle.session_target:
        raise invalid_argument("%s: session_target '%s' is another process; only the one in this server is supported"
                               % (flags.platform_config_file, bundle.session_target))
    parameters = None
    if bundle.HasField("batching_parameters"):
        parameters = wire.BatchingParameters.FromString(bundle.batching_parameters.SerializeToString())
    return Settings(
        list(bundle.saved_model_tags) or ["serve"],
        executor.SessionOptions(serialized=bundle.session_config.SerializeToString()),
        parameters,
        max(bundle.model_warmup_options.num_request_iterations.value, 1) if bundle.enable_model_warmup else 0,
        (bundle.num_tflite_pools or bundle.num_tflite_interpreters, bundle.num_tflite_interpreters_per_pool)
        if bundle.prefer_tflite_model else None)


class Loader:
    """Loads versions, one call for each; the batching threads are shared by all of them."""

    def __init__(self, chosen: Settings, metrics: Metrics, drop_page_cache: bool) -> None:
        self._settings = chosen
        self._metrics = metrics
        self._drop_page_cache = drop_page_cache
        self._pool: Optional[batching.Pool] = None
        if chosen.batching is not None:
            self._pool = batching.Pool(metrics, chosen.batching.num_batch_threads.value,
                                       chosen.batching.thread_pool_name.value or "batch_threads")

    def load(self, model: str, version: int, path: str) -> Any:
        """A servable that is ready for requests. Raises StatusError; then nothing of it is left."""
        hardware_class.check(path, self._settings.hardware_class)
        servable = self._servable(path)
        try:
            servable = self._batched(servable, path)
            if self._settings.warmup_iterations:
                harness = Harness(model, version, path)
                harness.servable = servable
                warmup.replay(self._metrics, harness, self._settings.warmup_iterations)
            self._publish_mlmd(model, version, path)
        except StatusError:
            servable.close()
            raise
        if self._drop_page_cache:
            storage.drop_page_cache(path)
        return servable

    def _servable(self, path: str) -> Any:
        if self._settings.tflite is not None and os.path.exists(os.path.join(path, tflite.FILE)):
            return tflite.load(path, *self._settings.tflite)
        loaded = native.load(path, self._settings.tags, self._settings.session)
        return loaded or executor.load(path, self._settings.tags, self._settings.session)

    def _batched(self, servable: Any, path: str) -> Any:
        if self._pool is None:
            return servable
        parameters = self._settings.batching
        if self._settings.batching_of_each_model:
            file = os.path.join(path, "batching_params.pbtxt")
            if not os.path.exists(file):
                return servable
            parameters = configs.read(file, wire.BatchingParameters())
        return batching.BatchedServable(servable, batching.parameters(parameters), self._pool)

    def _publish_mlmd(self, model: str, version: int, path: str) -> None:
        # The key under which ML Metadata knows the model: the page says which version of a model it belongs to.
        try:
            with open(os.path.join(path, _MLMD_FILE), encoding="utf-8") as source:
                uuid = source.read().strip()
        except FileNotFoundError:
            return
        except (OSError, UnicodeDecodeError) as error:
            log.warning("Unable to read the MLMD uuid of %s: %s", path, error)
            return
        self._metrics.mlmd_map.set(uuid, model, str(version))
