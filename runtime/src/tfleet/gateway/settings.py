"""The gateway's settings: a JSON file, checked whole before anything is started.

    {
      "listen": "127.0.0.1:8502",
      "servers": ["127.0.0.1:8500"],
      "models": [{"name": "digits_detector", "labels": ["stable"], "label_map": "digits.json"}]
    }

Paths are relative to the file.
"""

import difflib
import ipaddress
import json
import os
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from tfleet import files
from tfleet.errors import TfleetError

Model = NamedTuple(
    "Model",
    [
        ("name", str),
        ("labels", Tuple[str, ...]),  # version labels that clients may ask by
        ("label_map", Optional[str]),  # file with the names of its classes
        ("declaration", Optional[str]),  # file that says how its pictures are prepared and its answers read
        ("signature", str),
        ("min_score", float),
    ],
)

Settings = NamedTuple(
    "Settings",
    [
        ("listen", Tuple[str, int]),
        ("servers", Tuple[str, ...]),  # gRPC addresses of servers that serve the same models
        ("models", Tuple[Model, ...]),
        ("token_file", Optional[str]),  # one token a line
        ("proxy_addresses", Tuple[Any, ...]),  # networks of reverse proxies, whose word on the client's address and user counts
        ("proxy_user_header", str),
        ("body_bytes", int),
        ("pixels", int),
        ("longest_side", int),  # larger pictures are shrunk before a model sees them; 0 for never
        ("at_once", int),  # pictures that a worker works on
        ("waiting_seconds", float),  # for a place among those
        ("rate", float),  # requests a second of one client, 0 for no limit
        ("burst", int),
        ("deadline_seconds", float),  # for a picture that has come, until the model's answer
        ("request_seconds", float),  # for a whole request, slow client included
        ("workers", int),
    ],
)


def load(path: str) -> Settings:
    """The settings of a file. Raises TfleetError, naming what is wrong in it."""
    value = files.read_json(path)
    _known(path, "", value, _CHECKS)
    folder = os.path.dirname(os.path.abspath(path))
    found = dict(_DEFAULTS)
    for name in value:
        found[name] = _checked(path, name, value[name], _CHECKS[name])
    for name in ("servers", "models"):
        if not found.get(name):
            raise TfleetError("%s: %s is missing or empty." % (path, name))
    found["models"] = tuple(_model(path, folder, one) for one in found["models"])
    names = [model.name for model in found["models"]]
    if len(set(names)) < len(names):
        raise TfleetError("%s: a model is named twice." % path)
    if found["token_file"]:
        found["token_file"] = os.path.join(folder, found["token_file"])
    if found["proxy_user_header"] and not found["proxy_addresses"]:
        raise TfleetError("%s: proxy_user_header needs proxy_addresses: anybody could send that header." % path)
    settings = Settings(**found)
    _require_authentication(path, settings)
    return settings


def has_authentication(settings: Settings) -> bool:
    """Whether clients have to say who they are."""
    return bool(settings.token_file or settings.proxy_user_header)


def _require_authentication(path: str, settings: Settings) -> None:
    if has_authentication(settings) or is_loopback(settings.listen[0]):
        return
    raise TfleetError(
        "%s: the gateway would answer everybody who reaches %s. Set token_file, or proxy_addresses with proxy_user_header, "
        "or listen on 127.0.0.1 only." % (path, address_text(settings.listen))
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def address_text(address: Tuple[str, int]) -> str:
    """host:port, with the brackets that IPv6 wants."""
    return ("[%s]:%d" if ":" in address[0] else "%s:%d") % address


def _model(path: str, folder: str, value: Any) -> Model:
    where = "models"
    _known(path, where, value, _MODEL_CHECKS)
    if "name" not in value:
        raise TfleetError("%s: a model has no name." % path)
    where = "model '%s'" % value["name"]
    found = dict(_MODEL_DEFAULTS, **{name: _checked(path, where + ": " + name, value[name], _MODEL_CHECKS[name]) for name in value})
    for name in ("label_map", "declaration"):
        if found[name]:
            found[name] = os.path.join(folder, found[name])
    model = Model(**found)
    # Their mistakes are told now, not with the first picture.
    if model.label_map:
        from tfleet.client import label_map

        label_map.load(model.label_map)
    if model.declaration:
        from tfleet.client import declaration

        labels = declaration.load(model.declaration).labels
        if labels:
            from tfleet.client import label_map

            label_map.load(labels)
    return model


def _known(path: str, part: str, value: Any, names: Dict[str, Any]) -> None:
    if not isinstance(value, dict):
        raise TfleetError("%s: %s is not a JSON object." % (path, part or "it"))
    for name in value:
        if name not in names:
            close = difflib.get_close_matches(name, names, 1)
            advice = "did you mean '%s'?" % close[0] if close else "there are: %s." % ", ".join(sorted(names))
            raise TfleetError("%s: there is no setting '%s'%s: %s" % (path, name, " of models" if part else "", advice))


def _checked(path: str, name: str, value: Any, check: Callable[[Any], Any]) -> Any:
    try:
        return check(value)
    except (TypeError, ValueError) as error:
        raise TfleetError("%s: %s is %s, not %s." % (path, name, json.dumps(value), error))


def _address(value: Any) -> Tuple[str, int]:
    host, _, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError("an address such as 127.0.0.1:8502")
    return host, int(port)


def _servers(value: Any) -> Tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise ValueError("a list of addresses such as 127.0.0.1:8500")
    for one in value:
        _address(one)
    if len(set(value)) < len(value):
        raise ValueError("a list in which each address stands once")
    return tuple(value)


def _networks(value: Any) -> Tuple[Any, ...]:
    try:
        return tuple(ipaddress.ip_network(one) for one in _texts(value))
    except ValueError:
        raise ValueError("a list of addresses or networks such as 10.0.0.5 or 10.0.0.0/24")


def _texts(value: Any) -> Tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
        raise ValueError("a list of names")
    return tuple(value)


def _objects(value: Any) -> List[Any]:
    if not isinstance(value, list):
        raise ValueError("a list of objects with a name each")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("text")
    return value


def _number(low: float, high: float, whole: bool = False) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)) or not low <= value <= high:
            raise ValueError("a %snumber from %g to %g" % ("whole " if whole else "", low, high))
        return value

    return check


_DEFAULTS: Dict[str, Any] = {
    "listen": ("127.0.0.1", 8502),
    "token_file": None,
    "proxy_addresses": (),
    "proxy_user_header": "",
    "body_bytes": 16 << 20,
    "pixels": 30000000,
    "longest_side": 2048,
    "at_once": 4,
    "waiting_seconds": 2.0,
    "rate": 10.0,
    "burst": 30,
    "deadline_seconds": 10.0,
    "request_seconds": 60.0,
    "workers": 1,
}
_CHECKS: Dict[str, Callable[[Any], Any]] = {
    "listen": _address,
    "servers": _servers,
    "models": _objects,
    "token_file": _text,
    "proxy_addresses": _networks,
    "proxy_user_header": _text,
    "body_bytes": _number(1024, 1 << 30, whole=True),
    "pixels": _number(1, 1000000000, whole=True),
    "longest_side": _number(0, 65535, whole=True),
    "at_once": _number(1, 1000, whole=True),
    "waiting_seconds": _number(0, 600),
    "rate": _number(0, 1000000),
    "burst": _number(1, 1000000, whole=True),
    "deadline_seconds": _number(0.1, 50),  # who stops a gateway kills it after 60 seconds, and what is begun has five more than these
    "request_seconds": _number(1, 3600),
    "workers": _number(1, 64, whole=True),
}
_MODEL_DEFAULTS: Dict[str, Any] = {"labels": (), "label_map": None, "declaration": None, "signature": "", "min_score": 0.5}
_MODEL_CHECKS: Dict[str, Callable[[Any], Any]] = {
    "name": _text,
    "labels": _texts,
    "label_map": _text,
    "declaration": _text,
    "signature": _text,
    "min_score": _number(0, 1),
}
