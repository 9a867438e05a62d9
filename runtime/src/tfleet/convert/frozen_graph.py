"""Reading a frozen graph: a GraphDef in a file, binary or text, and a sentence for what people give instead of one."""

import os
from typing import Any

from tfleet.convert import saved_model
from tfleet.errors import TfleetError


def read(tf: Any, path: str, graph_def: Any) -> None:
    """Fill ``graph_def`` with the graph in the file ``path``. Raises TfleetError that says what the file is instead."""
    if os.path.isdir(path):
        raise TfleetError("`%s` is a folder, but a frozen graph is one file." % path)
    if not (saved_model.parse_file(graph_def, path) and graph_def.node and all(node.name and node.op for node in graph_def.node)):
        raise TfleetError(_what_instead(tf, path))


def _what_instead(tf: Any, path: str) -> str:
    from tensorflow.core.protobuf import saved_model_pb2

    with open(path, "rb") as stream:
        head = stream.read(512)
    if head[4:8] == b"TFL3":
        return "`%s` is a TensorFlow Lite model, which cannot be turned back into a graph. Give the model it was made from." % path
    if head.startswith(b"version https://git-lfs"):
        return "`%s` is only a Git LFS pointer, not the file itself: run `git lfs pull` where it was cloned, then copy it again." % path
    if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "`%s` is a web page, not a graph: the download answered with an error or log-in page. Download it again." % path
    if head.startswith((b"PK", b"\x1f\x8b", b"\x89HDF")):
        return "`%s` is an archive or a Keras file, not a graph. Say kind auto, or the kind of what it holds." % path
    model, meta = saved_model_pb2.SavedModel(), tf.compat.v1.MetaGraphDef()
    if saved_model.parse_file(model, path) and any(meta.graph_def.node for meta in model.meta_graphs):
        return "`%s` is the saved_model.pb of a SavedModel, not a frozen graph: give the folder that holds it and variables/, and kind saved_model." % path
    if saved_model.parse_file(meta, path) and meta.graph_def.node:
        return "`%s` is a meta graph of a checkpoint, without weights: freeze it with its checkpoint, or export a SavedModel." % path
    if b"node {" in head and not path.endswith(".pbtxt"):
        return "`%s` is a graph as text, but its name does not end in .pbtxt. Rename it." % path
    return (
        "`%s` is not a graph: its %d bytes are no GraphDef protocol buffer%s. It is damaged, truncated or something else: copy it again "
        "and compare its SHA-256 with the original." % (path, os.path.getsize(path), " in text form" if path.endswith(".pbtxt") else "")
    )
