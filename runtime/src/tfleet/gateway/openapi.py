"""The description of the API for programs, OpenAPI 3.1. tests/unit/runtime/gateway holds it against the routes and against real answers."""

from typing import Any, Dict, List

from tfleet import __version__
from tfleet.gateway.settings import Settings
from tfleet.gateway.uploads import MEDIA_TYPES

_ERRORS = {
    "400": "An option cannot be used.",
    "401": "The gateway wants to know who asks.",
    "403": "The request came from another site, or from another machine to a gateway without authentication.",
    "404": "There is no such model, label or version.",
    "413": "The file is too large.",
    "415": "The file is no picture in a format that is taken; its name and Content-Type do not matter.",
    "422": "The picture is damaged, has too many pixels, or is not what the model takes.",
    "429": "The client has asked too often.",
    "502": "The model server failed at this picture.",
    "503": "The gateway or the model servers are busy, or none can be reached.",
    "504": "There was no answer in time.",
}
_WAITS = ("429", "503")


def describe(settings: Settings) -> Dict[str, Any]:
    """The document."""
    kinds = {"newest version": ("", []), "exact version": ("/versions/{version}", ["version"]), "version with a label": ("/labels/{label}", ["label"])}
    paths: Dict[str, Any] = {
        "/api/v1/models/{model}%s:predict" % part: {"post": _predict(what, ["model"] + names)} for what, (part, names) in kinds.items()
    }
    paths["/api/v1/models"] = {"get": _get("models", "The models with their versions and labels", "Models", ("401", "403", "429"))}
    paths["/healthz"] = {"get": dict(_get("healthz", "Whether the process answers", "Health"), security=[])}
    ready = dict(_get("readyz", "Whether a picture would be answered now", "Health"), security=[])
    ready["responses"]["503"] = _json("No model server serves a model.", "Health")
    paths["/readyz"] = {"get": ready}
    paths["/openapi.json"] = {"get": _get("openapi", "This document", "Any", ("401", "403", "429"))}
    metrics = _get("metrics", "Metrics for Prometheus", "Any", ("401", "403", "429"))
    metrics["responses"]["200"] = {"description": "The text form of Prometheus.", "content": {"text/plain": {"schema": {"type": "string"}}}}
    paths["/metrics"] = {"get": metrics}
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": "tfleet gateway",
            "version": __version__,
            "description": "Asks served TensorFlow models about pictures. At most %d bytes and %d pixels." % (settings.body_bytes, settings.pixels),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "."}],
        "paths": paths,
        "components": {"schemas": _SCHEMAS},
    }
    if settings.token_file:
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}  # type: ignore[index]
        document["security"] = [{"token": []}]
    return document


def _predict(what: str, names: List[str]) -> Dict[str, Any]:
    parameters = [{"name": name, "in": "path", "required": True, "schema": _PATH[name]} for name in names] + _OPTIONS
    pictures: Dict[str, Any] = {media_type: {} for media_type in sorted(MEDIA_TYPES.values())}
    pictures["application/octet-stream"] = {}
    form = {"type": "object", "required": ["picture"], "properties": {"picture": {"type": "string", "format": "binary"}}}
    pictures["multipart/form-data"] = {"schema": form}
    responses = {"200": _json("What the model sees.", "Prediction")}
    responses.update({status: _error(status) for status in sorted(_ERRORS)})
    name = {"version": "predictVersion", "label": "predictLabel"}.get(names[-1], "predict")
    return {
        "operationId": name,
        "summary": "Ask the %s of a model about a picture" % what,
        "parameters": parameters,
        "requestBody": {"required": True, "content": pictures},
        "responses": responses,
    }


def _get(name: str, summary: str, schema: str, errors: Any = ()) -> Dict[str, Any]:
    responses = {"200": _json(summary + ".", schema)}
    responses.update({status: _error(status) for status in errors})
    return {"operationId": name, "summary": summary, "responses": responses}


def _error(status: str) -> Dict[str, Any]:
    answer = _json(_ERRORS[status], "Error")
    if status in _WAITS:
        answer["headers"] = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
    return answer


def _json(description: str, schema: str) -> Dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/" + schema}}}}


def _object(required: List[str], **properties: Any) -> Dict[str, Any]:
    return {"type": "object", "required": required, "properties": properties, "additionalProperties": False}


_PATH = {
    "model": {"type": "string"},
    "version": {"type": "integer", "minimum": 0},
    "label": {"type": "string"},
}
_OPTIONS = [
    {"name": "annotate", "in": "query", "description": "Answer the picture too, with what the model sees drawn into it.", "schema": {"type": "boolean"}},
    {"name": "min_score", "in": "query", "description": "Leave out objects below it.", "schema": {"type": "number", "minimum": 0, "maximum": 1}},
    {"name": "top", "in": "query", "description": "Best classes to tell.", "schema": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 5}},
]
_SIZE = {"type": "integer", "minimum": 1}
_SCORE = {"type": ["number", "null"]}
_CLASS = {"class": {"type": "integer"}, "label": {"type": "string"}, "score": _SCORE}
_BOX = {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4, "description": "ymin, xmin, ymax, xmax in shares of the picture's sides"}
_SCHEMAS = {
    "Any": {},
    "Error": _object(["error", "code"], error={"type": "string", "description": "A sentence for people."}, code={"type": "string"}),
    "Health": _object(["ok"], ok={"type": "boolean"}),
    "Models": _object(
        ["models"],
        models={
            "type": "array",
            "items": _object(
                ["name", "available", "versions", "labels"],
                name={"type": "string"},
                available={"type": "boolean"},
                versions={
                    "type": "array",
                    "items": _object(
                        ["version", "state", "servers"],
                        version={"type": "integer"},
                        state={"enum": ["UNKNOWN", "START", "LOADING", "AVAILABLE", "UNLOADING", "END"]},
                        servers={"type": "integer", "minimum": 0, "description": "How many serve it now."},
                    ),
                },
                labels={"type": "object", "additionalProperties": {"type": "integer"}},
            ),
        },
    ),
    "Prediction": _object(
        ["model", "version", "label", "width", "height", "used", "milliseconds"],
        model={"type": "string"},
        version={"type": ["integer", "null"], "description": "The one that answered."},
        label={"type": ["string", "null"], "description": "The one that was asked for."},
        width=_SIZE,
        height=_SIZE,
        used=dict(_object(["width", "height"], width=_SIZE, height=_SIZE), description="What the model got, if the picture was larger."),
        milliseconds=_object(["model", "total"], model={"type": "number"}, total={"type": "number"}),
        detections={"type": "array", "items": _object(["class", "label", "score", "box"], box=_BOX, **_CLASS)},
        top={"type": "array", "items": _object(["class", "label", "score"], **_CLASS), "description": "The best classes, of a classifier."},
        outputs={"type": "object", "description": "The first values of each output, of any other model."},
        picture=_object(["media_type", "data"], media_type={"const": "image/jpeg"}, data={"type": "string", "contentEncoding": "base64"}),
    ),
}
