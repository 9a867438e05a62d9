"""A SavedModel version in memory: loads it and runs its tensors. The only module of the server that imports TensorFlow.

It uses the TF1 session on every TensorFlow (1.15 and 2.2 on): `_call_tf_sessionrun` takes feeds and fetches that were
looked up once, and raises the C++ runtime's own status, without the trace Session.run() would add to its text.
"""
import logging
import os
import threading
import time
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

from .. import wire
from . import light_runs
from .status import DATA_LOSS, FAILED_PRECONDITION, INTERNAL, INVALID_ARGUMENT, StatusError, not_found

log = logging.getLogger(__name__)

Feed = Tuple[str, Any]

BFLOAT16 = "bfloat16"


def tensorflow() -> Any:
    """The tensorflow module (imported on first use: it takes seconds)."""
    import tensorflow as tf

    return tf


def _session_module() -> Any:
    try:
        from tensorflow.python.client import pywrap_tf_session as module  # 2.2 on
    except ImportError:
        from tensorflow.python import pywrap_tensorflow as module  # 1.15
    return module


class SessionOptions:
    """How sessions are made: thread counts, the share of GPU memory, or a ConfigProto (a text file, or serialized)."""

    def __init__(self, config_file: str = "", intra_op: int = 0, inter_op: int = 0, gpu_memory_fraction: float = 0.0,
                 mixed_precision: str = "", serialized: Optional[bytes] = None) -> None:
        self.config_file = config_file
        self.intra_op = intra_op
        self.inter_op = inter_op
        self.gpu_memory_fraction = gpu_memory_fraction
        self.mixed_precision = mixed_precision
        self.serialized = serialized

    def proto(self) -> Any:
        """A tf.compat.v1.ConfigProto. Raises StatusError for a file that cannot be read or parsed, or what this TensorFlow lacks."""
        from google.protobuf import text_format

        config = tensorflow().compat.v1.ConfigProto()
        if self.serialized is not None:
            config.MergeFromString(self.serialized)
        elif self.config_file:
            try:
                with open(self.config_file, encoding="utf-8") as source:
                    text_format.Parse(source.read(), config)
            except OSError as error:
                raise not_found("%s; %s" % (self.config_file, error.strerror))
            except (text_format.ParseError, UnicodeDecodeError) as error:
                log.error("Error parsing text-format tensorflow.ConfigProto: %s", error)
                raise StatusError(INVALID_ARGUMENT, "Invalid protobuf file: '%s'" % self.config_file)
        else:
            config.gpu_options.per_process_gpu_memory_fraction = self.gpu_memory_fraction
            config.intra_op_parallelism_threads = self.intra_op
            config.inter_op_parallelism_threads = self.inter_op
        if self.mixed_precision == BFLOAT16:
            _compute_in_bfloat16(config)
        return config


def _compute_in_bfloat16(config: Any) -> None:
    options = config.graph_options.rewrite_options
    for name in ("auto_mixed_precision_onednn_bfloat16", "auto_mixed_precision_mkl"):  # the second until TensorFlow 2.8
        if name in options.DESCRIPTOR.fields_by_name:
            setattr(options, name, options.ON)
            return
    raise StatusError(FAILED_PRECONDITION, "--mixed_precision=bfloat16 needs TensorFlow 2.3 or later; this is %s" % tensorflow().__version__)


class SavedModel:
    """A loaded version. `signatures`: name -> wire.SignatureDef, as stored in the SavedModel; waits: whether a run may wait."""

    def __init__(self, graph: Any, session: Any, signatures: Dict[str, Any], waits: bool = True) -> None:
        self.signatures = signatures
        self._light = light_runs.LightRuns(not waits)
        self._graph = graph
        self._session = session
        self._api = _session_module()
        self._errors = tensorflow().errors.OpError
        self._tensors: Dict[str, Any] = {}
        self._lock = threading.Lock()

    def run(self, feeds: Sequence[Feed], fetches: Sequence[str], timeout_ms: Optional[int] = None) -> List[Any]:
        """Runs the graph once.

        feeds: (tensor name, numpy array; strings as an object array of bytes); fetches: tensor names; timeout_ms: None
        for no limit. Answers numpy arrays in the order of fetches. Raises StatusError with the runtime's code and text.
        """
        feed_dict = {self._tensor(name, "feed"): array for name, array in feeds}
        outputs = [self._tensor(name, "fetch") for name in fetches]
        key, shapes = tuple(fetches), light_runs.shapes_of(list(feed_dict.values()))
        how = self._light.choose(key, shapes, timeout_ms)
        started = self._light.clock(how)
        answer = self._run(feed_dict, outputs, light_runs.run_options(how, timeout_ms))
        self._light.learn(key, shapes, how, self._light.clock(how) - started)
        return answer

    def _run(self, feed_dict: Dict[Any, Any], outputs: List[Any], run_options: bytes) -> List[Any]:
        options = self._api.TF_NewBufferFromString(run_options) if run_options else None
        try:
            return self._session._call_tf_sessionrun(options, feed_dict, outputs, [], None)
        except self._errors as error:
            raise StatusError(error.error_code, error.message)
        except (TypeError, ValueError) as error:  # numpy arrays that TensorFlow's binding does not take
            raise StatusError(INVALID_ARGUMENT, str(error))
        finally:
            if options is not None:
                self._api.TF_DeleteBuffer(options)

    def _tensor(self, name: str, use: str) -> Any:
        found = self._tensors.get(name)
        if found is None:
            try:
                found = self._graph.get_tensor_by_name(name if ":" in name else name + ":0")._as_tf_output()
            except (KeyError, ValueError):
                raise not_found("FeedInputs: unable to find feed output %s" % name if use == "feed" else
                                "FetchOutputs node %s: not found" % name)
            with self._lock:
                self._tensors[name] = found
        return found

    def close(self) -> None:
        """Frees the session and the graph. Nothing may be running."""
        self._session.close()
        self._tensors.clear()
        self._session = self._graph = None


def load(path: str, tags: Sequence[str], options: SessionOptions) -> SavedModel:
    """Loads a SavedModel directory. Raises StatusError with TensorFlow's code and text."""
    tf = tensorflow()
    from google.protobuf.message import DecodeError
    from tensorflow.python.saved_model import loader_impl

    if not any(os.path.exists(os.path.join(path, name)) for name in ("saved_model.pb", "saved_model.pbtxt")):
        raise not_found("Could not find SavedModel .pb or .pbtxt at supplied export directory path: %s. Check that the "
                        "directory exists and that you have the right permissions for accessing it." % path)
    started = time.time()
    try:
        loader = loader_impl.SavedModelLoader(path)
    except (OSError, DecodeError, tf.errors.OpError) as error:
        log.error("%s", error)
        raise StatusError(DATA_LOSS, "Can't parse %s as binary proto" % os.path.join(path, "saved_model.pb"))
    available = [set(graph.meta_info_def.tags) for graph in loader.saved_model.meta_graphs]
    if set(tags) not in available:
        raise not_found("Could not find meta graph def matching supplied tags: { %s }. To inspect available tag-sets in "
                        "the SavedModel, please use the SavedModel CLI: `saved_model_cli`" % " ".join(tags))
    graph = tf.Graph()
    session = None
    try:
        with graph.as_default():
            session = tf.compat.v1.Session(graph=graph, config=options.proto())
            meta_graph = loader.load(session, list(tags))
            # A model without variables and initialiser has run nothing yet: hand its graph to the runtime now.
            session._extend_graph()
    except tf.errors.OpError as error:
        _close(session)
        raise StatusError(error.error_code, error.message)
    except StatusError:
        _close(session)
        raise
    except Exception as error:  # importing a damaged or too new graph raises ValueError, KeyError, RuntimeError…
        _close(session)
        log.debug("loading %s", path, exc_info=True)
        code = INVALID_ARGUMENT if isinstance(error, (ValueError, KeyError, TypeError)) else INTERNAL
        raise StatusError(code, str(error) or type(error).__name__)
    signatures = {name: wire.SignatureDef.FromString(definition.SerializeToString())
                  for name, definition in meta_graph.signature_def.items()}
    log.info("SavedModel load for tags { %s }; took %d microseconds.", " ".join(tags), (time.time() - started) * 1e6)
    return SavedModel(graph, session, signatures, _may_wait(meta_graph.graph_def))


def _may_wait(graph_def: Any) -> bool:
    nodes = [graph_def.node] + [function.node_def for function in graph_def.library.function]
    return light_runs.may_wait({node.op for group in nodes for node in group})


def read_records(path: str) -> Iterator[bytes]:
    """The records of an uncompressed TFRecord file. Raises StatusError, DATA_LOSS if it is none."""
    tf = tensorflow()
    try:
        yield from tf.compat.v1.io.tf_record_iterator(path)
    except tf.errors.OpError as error:
        raise StatusError(error.error_code, error.message)


def _close(session: Any) -> None:
    if session is not None:
        session.close()
