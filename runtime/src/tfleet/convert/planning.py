"""What an export will write: the proto of the SavedModel from each kind of source, and the files to copy beside it."""

import os
import shlex
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from tfleet.convert import checkpoint, fitting, framework, frozen_graph, graph, keras_file, provenance, saved_model, signatures
from tfleet.convert import source as sources
from tfleet.convert.checkpoint_files import META
from tfleet.convert.encoding import Encoded
from tfleet.convert.lint import rules
from tfleet.convert.wanted import Wanted, options
from tfleet.errors import TfleetError

# Files of a SavedModel folder that belong to the bytes of its saved_model.pb or to a release of it, not to the model.
_NOT_THE_MODEL = ("saved_model.pb", "saved_model.pbtxt", "fingerprint.pb", "manifest.json", "manifest.json.sig", provenance.PATH)

Plan = NamedTuple(
    "Plan",
    [
        ("kind", str),
        ("data", Encoded),  # the SavedModel proto
        ("described", Dict[str, Any]),  # its signatures, as answers tell them
        ("warnings", List[Dict[str, Any]]),  # of the linter
        ("copies", List[Tuple[str, str]]),  # (file, relative path in the SavedModel)
        ("tensorflow_version", str),
    ],
)


def plan(kind: str, found: sources.Source, path: str, asked: Wanted) -> Plan:
    """The Plan for the model of ``kind`` at ``path``. Raises TfleetError with the next step."""
    return _PLANNERS[kind](found, path, asked)


def _plan_frozen_graph(found: sources.Source, path: str, asked: Wanted) -> Plan:
    tf = framework.load()
    what = "the graph `%s`" % found.shown
    model = saved_model.new(tf, asked.tags)
    frozen_graph.read(tf, path, model.meta_graphs[0].graph_def)
    declared = asked.declared or _no_signatures(tf, model.meta_graphs[0].graph_def, what, found)
    return _plan_graph(tf, "frozen_graph", model, what, declared, asked)


def _plan_keras(found: sources.Source, path: str, asked: Wanted) -> Plan:
    tf = framework.load()
    graph_def, own = keras_file.read(tf, path)
    model = saved_model.new(tf, asked.tags)
    model.meta_graphs[0].graph_def.CopyFrom(graph_def)
    return _plan_graph(tf, "keras", model, "the Keras model `%s`" % found.shown, asked.declared or signatures.normalised(own) or {}, asked)


def _plan_checkpoint(found: sources.Source, path: str, asked: Wanted) -> Plan:
    tf = framework.load()
    what = "the checkpoint `%s`" % found.shown
    meta = checkpoint.read(tf, path)
    own = {name: _by_name(signature) for name, signature in meta.signature_def.items()}
    declared = asked.declared or signatures.normalised(own) or _no_signatures(tf, meta.graph_def, what, found)
    loaded = graph.Graph(tf, meta.graph_def, what)
    for name, signature in sorted(declared.items()):
        saved_model.look_up(loaded, name, signature)
    inputs, outputs = ([tensor for signature in declared.values() for tensor in signature[side].values()] for side in ("inputs", "outputs"))
    frozen = checkpoint.freeze(tf, path[: -len(META)], meta, outputs + inputs)
    model = saved_model.new(tf, asked.tags)
    model.meta_graphs[0].graph_def.CopyFrom(checkpoint.cut_at_inputs(tf, frozen, inputs, outputs, what))
    return _plan_graph(tf, "checkpoint", model, what, declared, asked)


def _by_name(signature: Any) -> Dict[str, Any]:
    """A SignatureDef as people declare it."""
    sides = {side: {alias: infos[alias].name for alias in infos} for side, infos in (("inputs", signature.inputs), ("outputs", signature.outputs))}
    return dict(sides, method_name=signature.method_name)


def _plan_graph(tf: Any, kind: str, model: Any, what: str, declared: signatures.Signatures, asked: Wanted) -> Plan:
    """The plan for a SavedModel proto whose one graph brings its weights as constants."""
    meta = model.meta_graphs[0]
    declared = fitting.fit(tf, asked, kind, meta.graph_def, what, declared)
    loaded = graph.Graph(tf, meta.graph_def, what)
    loaded.check_frozen([tensor for signature in declared.values() for tensor in signature["outputs"].values()])
    saved_model.declare(loaded, meta, declared)
    saved_model.record_operations(meta)
    described = saved_model.describe_signatures(tf, meta)
    return Plan(kind, Encoded(model), described, rules.warnings(meta.graph_def, described), [], tf.__version__)


def _no_signatures(tf: Any, graph_def: Any, what: str, found: sources.Source) -> signatures.Signatures:
    """Raise TfleetError with the signature that the candidates suggest, ready to be written."""
    candidates = graph.Graph(tf, graph_def, what).candidates()
    required = [entry for entry in candidates["inputs"] if entry["op"] == "Placeholder"] or candidates["inputs"]
    proposal = signatures.proposal(required, candidates["outputs"])
    default = proposal[signatures.DEFAULT_NAME]
    options = ["--input %s" % shlex.quote("%s=%s" % pair) for pair in default["inputs"].items()]
    options += ["--output %s" % shlex.quote("%s=%s" % pair) for pair in default["outputs"].items()]
    inline = ["%s: {%s}" % (side, ", ".join('%s: "%s"' % pair for pair in default[side].items())) for side in ("inputs", "outputs")]
    raise TfleetError(
        "A frozen graph has no signature: say which tensors of `%s` are its inputs and outputs. Candidates by form are the inputs %s and the "
        "outputs %s. If these are right, write in the inventory\n  signatures: {%s: {%s}}\nor on the command line\n  tfleet export %s DEST %s"
        % (
            found.shown,
            _told(candidates["inputs"]),
            _told(candidates["outputs"]),
            signatures.DEFAULT_NAME,
            ", ".join(inline),
            shlex.quote(found.shown),
            " ".join(options),
        ),
        candidates=candidates,
        proposal=proposal,
    )


def _told(candidates: List[Dict[str, Any]], most: int = 8) -> str:
    told = ["%s (%s %s)" % (entry["name"], entry["dtype"], framework.shape_text(entry["shape"])) for entry in candidates[:most]]
    return (", ".join(told) or "none") + (" and %d more" % (len(candidates) - most) if len(candidates) > most else "")


def _plan_saved_model(_found: sources.Source, path: str, asked: Wanted) -> Plan:
    tf = framework.load()
    model = saved_model.read(path)
    chosen = saved_model.choose(model, asked.tags, path)
    for number in reversed(range(len(model.meta_graphs))):
        if number != chosen:
            del model.meta_graphs[number]
    meta = model.meta_graphs[0]
    saved_model.check_complete(path, meta)
    declared: Optional[signatures.Signatures] = asked.declared
    if set(options(asked)) - {"signatures", "tags"}:
        own = {name: _by_name(meta.signature_def[name]) for name in saved_model.describe_signatures(tf, meta)}
        changed = fitting.fit(tf, asked, "saved_model", meta.graph_def, "`%s`" % path, declared or signatures.normalised(own) or {})
        # Device strings alone leave the signatures, and the object graph that tf.saved_model.load knows them by, as they are.
        declared = changed if asked.image_bytes or asked.batch != "keep" else declared
    if declared:
        saved_model.declare(graph.Graph(tf, meta.graph_def, "`%s`" % path), meta, declared)
        saved_model.record_operations(meta)
    described = saved_model.describe_signatures(tf, meta)
    if not described:
        raise TfleetError("`%s` has no signature to serve. Declare one by tensor names (signatures); `tfleet inspect` shows what is in it." % path)
    warnings = rules.warnings(meta.graph_def, described, rules.initialised(tf, path, meta))
    return Plan("saved_model", Encoded(model), described, warnings, _copies(path), tf.__version__)


def _copies(path: str) -> List[Tuple[str, str]]:
    """``[(file, relative path)]`` of everything beside the proto: variables, assets, assets.extra."""
    copies = []
    for folder, folders, names in os.walk(path):
        folders.sort()
        for name in sorted(names):
            relative = os.path.relpath(os.path.join(folder, name), path)
            if relative not in _NOT_THE_MODEL:
                copies.append((os.path.join(folder, name), relative))
    return copies


_PLANNERS = {"frozen_graph": _plan_frozen_graph, "saved_model": _plan_saved_model, "keras": _plan_keras, "checkpoint": _plan_checkpoint}
