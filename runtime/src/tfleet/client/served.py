"""A served model as pictures meet it: prepared as it was trained with, asked in batches, its answers brought back to the pictures."""

import time
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np

from tfleet import wire
from tfleet.client import declaration as declarations
from tfleet.client import inputs, label_map, preprocessing, results
from tfleet.client.answers import Prediction, shape_of
from tfleet.client.declaration import Declaration
from tfleet.client.inputs import Prepared
from tfleet.errors import TfleetError

Item = Union[str, Tuple[str, Any]]
"""The path of a picture, or a name and a Pillow image."""

Opened = Tuple[str, Any, Optional[bytes]]

Seen = NamedTuple(
    "Seen",
    [
        ("name", str),
        ("picture", Any),  # upright Pillow image
        ("version", Optional[int]),  # that answered
        ("outputs", Dict[str, np.ndarray]),  # of this picture alone, decoded, with a batch dimension of 1
        ("reading", Dict[str, Any]),  # what results.read makes of them; {} if that is nothing
        ("milliseconds", float),  # of the request it was sent in
    ],
)


class Model(object):
    """One model of a server, through a Client or a RestClient; may be used by several threads at once. All methods raise TfleetError.

    `top` classes are told of a picture, and objects with a score of at least `min_score`.
    """

    def __init__(
        self,
        server: Any,
        name: str,
        version: Optional[int] = None,
        label: Optional[str] = None,
        signature: str = "",
        declaration: Union[Declaration, str, None] = None,
        labels: Optional[Dict[int, str]] = None,
        min_score: float = 0.5,
        top: int = results.TOP,
    ) -> None:
        self.server = server
        self.name = name
        self.version = version
        self.label = label
        self.signature_name = signature
        self.declaration = declarations.load(declaration) if isinstance(declaration, str) else declaration or declarations.DEFAULT
        self.labels = labels or (label_map.load(self.declaration.labels) if self.declaration.labels else {})
        self.min_score = min_score
        self.top = top
        self.signature = inputs.signature_of(server.metadata(name, version, label), signature)

    def prepare(self, item: Item) -> Prepared:
        """The request for one picture."""
        return self.prepare_opened(self.open(item))

    def open(self, item: Item) -> Opened:
        """The name, the Pillow image and, if it has one, the file of a picture. Only this can go wrong for one picture and not for the next."""
        if not isinstance(item, str):
            return item[0], item[1], None
        picture, content = inputs.open_image(item, decode=not self._takes_files())
        return item, picture, content

    def prepare_opened(self, opened: Opened) -> Prepared:
        """The request for what open() gave."""
        name, picture, content = opened
        return inputs.prepare(name, picture, content, self.signature, self.declaration.preprocessing)

    def rows(self) -> Optional[int]:
        """How many pictures go into one request: None for any number, or the signature's fixed batch (1 if it has none)."""
        info = self.signature.inputs[next(iter(self.signature.inputs))]
        shape = shape_of(info)
        if shape is None:
            return None
        if len(shape) != (1 if info.dtype == wire.DT.Value("DT_STRING") else 4):
            return 1
        return None if shape[0] < 0 else shape[0]

    def ask(self, prepared: Sequence[Prepared]) -> List[Seen]:
        """Sends pictures of the same form in one request; a fixed batch that they do not fill gets the last one again."""
        sent = list(prepared) + [prepared[-1]] * ((self.rows() or 1) - len(prepared))
        arrays = sent[0].arrays
        if len(sent) > 1:
            arrays = {alias: np.concatenate([one.arrays[alias] for one in sent]) for alias in arrays}
        begin = time.perf_counter()
        answer = self.server.predict(self.name, arrays, self.version, self.label, self.signature_name)
        return self.seen(prepared, answer, 1000 * (time.perf_counter() - begin), len(sent))

    def seen(self, prepared: Sequence[Prepared], answer: Prediction, milliseconds: float, sent: int = 1) -> List[Seen]:
        """What an answer says of each of the pictures in its request, which had so many rows."""
        outputs = answer.outputs
        if self.declaration.decoder is not None:
            from tfleet.client import decoders

            size = prepared[0].placement.size
            outputs = decoders.decode(outputs, self.declaration.decoder, size, self.declaration.suppression)
        found = []
        for row, one in enumerate(prepared):
            his = {alias: _row(alias, outputs[alias], row, sent) for alias in outputs}
            if results.is_detector(his) and one.placement != preprocessing.whole(*one.placement.size):
                his["detection_boxes"] = preprocessing.back(his["detection_boxes"], one.placement)
            reading = results.read(his, self.labels, self.min_score, self.top)
            found.append(Seen(one.name, one.picture, answer.version, his, reading[0] if reading else {}, milliseconds))
        return found

    def look(self, items: Sequence[Item], batch_size: int = 8, in_flight: int = 2) -> Any:
        """A generator of what the model sees in each picture, in their order: a Seen, or many.Failed for what is no picture."""
        from tfleet.client import many

        return many.look(self, items, batch_size, in_flight)

    def _takes_files(self) -> bool:
        return any(info.dtype == wire.DT.Value("DT_STRING") for info in self.signature.inputs.values())


def _row(alias: str, array: np.ndarray, row: int, sent: int) -> np.ndarray:
    if sent == 1:
        return array
    if array.ndim == 0 or len(array) != sent:
        raise TfleetError("Output '%s' is %s for %d pictures in one request. Send them one by one: --batch-size 1." % (alias, list(array.shape), sent))
    return array[row : row + 1]
