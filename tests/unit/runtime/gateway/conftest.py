"""A gateway in this process, in front of real gRPC servers in this process, which answer as a detector does."""

import json

import pytest

from tfleet.gateway import app, settings

from .parts import LABELS, TOKEN, Served, picture


@pytest.fixture
def served():
    """The answers of the model server behind `gateway`."""
    return Served()


@pytest.fixture
def load(tmp_path):
    """load(**settings) -> Settings, read from a file as the gateway reads it."""

    def loaded(**values):
        (tmp_path / "labels.json").write_text(json.dumps(LABELS))
        (tmp_path / "token").write_text(TOKEN + "\n")
        models = [{"name": "cats", "labels": ["stable"], "label_map": "labels.json"}]
        path = tmp_path / "gateway.json"
        path.write_text(json.dumps({"servers": ["127.0.0.1:1"], "models": models, **values}))
        return settings.load(str(path))

    return loaded


@pytest.fixture
def gateway(serve, served, load, tmp_path):
    """gateway(**settings) -> Flask's client of a gateway in front of `served`."""
    made = []

    def start(**values):
        values.setdefault("servers", [serve(served.answers()).address])
        application = app.create(load(**values), str(tmp_path / "rates"))
        made.append(application)
        return application.test_client()

    yield start
    for application in made:
        application.view_functions["healthz"].__self__.upstreams.close()


@pytest.fixture
def predict():
    """predict(client, content, path=…, **options of Flask's client) -> answer."""

    def call(client, content=None, path="cats", **options):
        return client.post("/api/v1/models/%s:predict" % path, data=picture() if content is None else content, **options)

    return call
