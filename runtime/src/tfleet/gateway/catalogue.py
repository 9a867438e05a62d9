"""The models that the gateway offers: those of its settings, with the versions and labels that the servers have now."""

import copy
import threading
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from tfleet.client.served import Model
from tfleet.errors import TfleetError
from tfleet.gateway.refusal import RefusedError
from tfleet.gateway.settings import Settings

_LISTED_SECONDS, _OLD_SECONDS = 2.0, 60.0
_KNOWN_SECONDS = 10.0

Choice = NamedTuple("Choice", [("model", str), ("version", Optional[int]), ("label", Optional[str])])


class Catalogue(object):
    """Shared by threads."""

    def __init__(self, settings: Settings, upstreams: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self._models = {model.name: model for model in settings.models}
        self._upstreams = upstreams
        self._clock = clock
        self._lock = threading.Lock()
        self._listed: Tuple[float, List[Dict[str, Any]]] = (-_OLD_SECONDS, [])
        self._known: Dict[Choice, Tuple[float, Model]] = {}

    def require(self, choice: Choice) -> None:
        """Raises RefusedError 404 for a model or label that is not offered."""
        model = self._models.get(choice.model)
        if model is None:
            raise RefusedError(404, "no_such_model", "There is no model '%s' here. There are: %s." % (choice.model, ", ".join(self._models)))
        if choice.label is not None and choice.label not in model.labels:
            labels = ", ".join(model.labels) or "none"
            raise RefusedError(404, "no_such_label", "Model '%s' has no label '%s' here. Its labels are: %s." % (choice.model, choice.label, labels))

    def list(self) -> List[Dict[str, Any]]:
        """[{"name", "available", "versions": [{"version", "state", "servers"}], "labels": {label: version}}]; asked of the servers every two seconds.

        While one thread asks, the others get the list before, unless that is old.
        """
        age = self._clock() - self._listed[0]
        if age >= _LISTED_SECONDS and self._lock.acquire(blocking=age >= _OLD_SECONDS):
            try:
                if self._clock() - self._listed[0] >= _LISTED_SECONDS:
                    models = [self._entry(name) for name in self._models]
                    self._listed = (self._clock(), models)
            finally:
                self._lock.release()
        return self._listed[1]

    def model(self, choice: Choice, inquiry: Any) -> Model:
        """The served.Model of a choice, with its signature; it asks by the inquiry. Raises TfleetError."""
        kept = self._known.get(choice)
        if kept is not None and self._clock() - kept[0] < _KNOWN_SECONDS:
            model = copy.copy(kept[1])
            model.server = inquiry
            return model
        chosen = self._models[choice.model]
        names = None
        if chosen.label_map:
            from tfleet.client import label_map

            names = label_map.load(chosen.label_map)
        model = Model(inquiry, choice.model, choice.version, choice.label, chosen.signature, chosen.declaration, names, chosen.min_score)
        self._known[choice] = (self._clock(), model)
        return model

    def forget(self, choice: Choice) -> bool:
        """Drops what is known of a choice's signature: another version may have another one. False if it was asked just now."""
        kept = self._known.pop(choice, None)
        return kept is not None and self._clock() - kept[0] > 0.1

    def _entry(self, name: str) -> Dict[str, Any]:
        versions: Dict[int, Dict[str, Any]] = {}
        for _, rows in self._upstreams.statuses(name):
            for row in rows:
                entry = versions.setdefault(row.version, {"version": row.version, "state": row.state, "servers": 0})
                if row.state == "AVAILABLE":
                    entry["state"] = row.state
                    entry["servers"] += 1
        labels = {}
        inquiry = self._upstreams.inquiry()
        for label in self._models[name].labels if versions else ():
            try:
                labels[label] = inquiry.metadata(name, label=label).version
            except TfleetError:
                continue  # a label that no version has now
        shown = [versions[number] for number in sorted(versions, reverse=True)]
        return {"name": name, "available": any(one["servers"] for one in shown), "versions": shown, "labels": labels}
