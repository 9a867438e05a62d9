"""The board of version states: what GetModelStatus shows, and what start-up and reloads wait on."""
import threading
from collections import namedtuple
from typing import Callable, Dict, List, Optional, Tuple

from .status import StatusError

START, LOADING, AVAILABLE, UNLOADING, END = 10, 20, 30, 40, 50  # numbers of ModelVersionStatus.State

# error: the StatusError of a failed load, else None
State = namedtuple("State", "state error")

Earlier = Dict[str, List[Tuple[int, State]]]


class Board:
    """Every version ever seen, by model; unloaded ones stay as END for the life of the process."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._models: Dict[str, Dict[int, State]] = {}
        self._closed = False

    def publish(self, model: str, version: int, state: int, error: Optional[StatusError] = None) -> None:
        with self._changed:
            self._models.setdefault(model, {})[version] = State(state, error)
            self._changed.notify_all()

    def versions(self, model: str) -> List[Tuple[int, State]]:
        """(version, State) of a model, newest first; empty for a model never seen."""
        with self._changed:
            return sorted(self._models.get(model, {}).items(), reverse=True)

    def wait_settled(self, models: Callable[[], List[str]], earlier: Optional[Earlier] = None) -> Dict[str, Tuple[int, State]]:
        """Blocks until each model has a version AVAILABLE or END; answers the highest such version of each.

        models: asked again after every change, for the names that are still waited for; earlier: model -> what versions()
        said before, whose ends are not waited for.
        """
        before = {model: dict(versions) for model, versions in (earlier or {}).items()}
        with self._changed:
            while True:
                wanted = set(models())
                settled = {}
                for model in wanted:
                    for version, state in sorted(self._models.get(model, {}).items(), reverse=True):
                        if state.state in (AVAILABLE, END) and not _ended_before(before.get(model, {}).get(version), state):
                            settled[model] = (version, state)
                            break
                if len(settled) == len(wanted) or self._closed:
                    return settled
                self._changed.wait()

    def poke(self) -> None:
        """Lets every wait look again."""
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """Ends every wait: the server is going down."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def _ended_before(earlier: Optional[State], now: State) -> bool:
    # An END of then is the same object; without an error it is also how a version ends that was on its way out then.
    return earlier is not None and now.state == END and (now is earlier or (earlier.state != END and now.error is None))
