"""The gateway's API: what it answers, and that its description says the same."""

import base64
import io
import re
import threading
import time

import grpc
import numpy as np
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from PIL import Image

from tfleet import wire
from tfleet.gateway import uploads

from .parts import TOKEN, Served, picture


def test_a_picture_is_answered_with_what_the_model_sees(gateway, served, predict):
    answer = predict(gateway(), content_type="image/png")
    assert answer.status_code == 200
    found = answer.get_json()
    assert [found[name] for name in ("model", "version", "label", "width", "height")] == ["cats", 7, None, 40, 30]
    assert [(one["label"], one["score"]) for one in found["detections"]] == [("cat", 0.9), ("<img src=x onerror=alert(1)>", 0.8)]
    assert found["milliseconds"]["total"] >= found["milliseconds"]["model"] > 0
    assert served.asked[0]["image"].shape == (1, 30, 40, 3) and "picture" not in found


@pytest.mark.parametrize("path, version", [("cats/versions/7", 7), ("cats/labels/stable", 7)])
def test_a_version_is_chosen_by_number_or_label(gateway, predict, path, version):
    assert predict(gateway(), path=path).get_json()["version"] == version


@pytest.mark.parametrize("path, code", [
    ("dogs", "no_such_model"), ("cats/labels/canary", "no_such_label"), ("cats/versions/8", "not_served"), ("cats/versions/-1", "not_served"),
    ("cats/versions/٧", "not_served"), ("cats/versions/99999999999999999999", "not_served"), ("..", "no_such_model"), ("..%2f..%2fetc", "not_found"),
])  # fmt: skip
def test_what_is_not_there_is_said(gateway, predict, path, code):
    answer = predict(gateway(), path=path)
    assert (answer.status_code, answer.get_json()["code"]) == (404, code)


def test_the_annotated_picture_comes_with_the_answer(gateway, predict):
    drawn = predict(gateway(), picture(size=(640, 480)), query_string={"annotate": "true"}).get_json()["picture"]
    image = Image.open(io.BytesIO(base64.b64decode(drawn["data"])))
    assert (drawn["media_type"], image.format, image.size) == ("image/jpeg", "JPEG", (640, 480))
    assert len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)) > 256  # not the grey gradient alone


@pytest.mark.parametrize("options, count", [({}, 2), ({"min_score": "0.85"}, 1), ({"min_score": "0"}, 3)])
def test_objects_below_a_score_are_left_out(gateway, predict, options, count):
    assert len(predict(gateway(), query_string=options).get_json()["detections"]) == count


@pytest.mark.parametrize("options", [{"min_score": "nan"}, {"min_score": "2"}, {"top": "0"}, {"top": "x"}, {"annotate": "yes"}])
def test_a_wrong_option_is_refused(gateway, predict, options):
    answer = predict(gateway(), query_string=options)
    assert (answer.status_code, answer.get_json()["code"]) == (400, "bad_option")


def test_a_classifier_answers_its_best_classes(gateway, served, predict):
    served.inputs = {"images": ("DT_FLOAT", [-1, 8, 8, 1])}
    served.outputs = lambda arrays: {"scores": np.float32([[0.1, 0.7, 0.2]])}
    found = predict(gateway(), query_string={"top": 2}).get_json()
    assert [(one["class"], one["label"]) for one in found["top"]] == [(1, "cat"), (2, "<img src=x onerror=alert(1)>")]
    assert served.asked[0]["images"].shape == (1, 8, 8, 1) and "detections" not in found


def test_a_model_of_files_gets_the_file_unless_it_cannot_read_it(gateway, served, predict):
    served.inputs = {"image_bytes": ("DT_STRING", [-1])}
    client, jpeg, webp = gateway(), picture("JPEG"), picture("WEBP")
    assert [predict(client, content).status_code for content in (jpeg, webp)] == [200, 200]
    assert served.asked[0]["image_bytes"][0] == jpeg
    assert served.asked[1]["image_bytes"][0].startswith(b"\x89PNG")


def test_the_file_of_a_form_is_taken_too(gateway, predict):
    answer = predict(gateway(), {"picture": (io.BytesIO(picture()), "x.png")}, content_type="multipart/form-data")
    assert answer.status_code == 200


def test_a_version_with_another_signature_is_asked_rightly_from_the_first_picture_on(gateway, serve, served, predict):
    def strict(request, context):
        shape = tuple(dim.size for dim in request.inputs["image"].tensor_shape.dim)
        if shape[1:3] != (8, 8) and served.inputs["image"][1][1] == 8:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "wants 8x8")
        return served.predict(request, context)

    client = gateway(servers=[serve({**served.answers(), wire.PREDICT: strict}).address])
    assert predict(client).status_code == 200
    served.inputs = {"image": ("DT_UINT8", [1, 8, 8, 3])}
    time.sleep(0.15)  # what was learnt a moment ago would not be asked again
    assert predict(client).status_code == 200
    assert [one["image"].shape for one in served.asked] == [(1, 30, 40, 3), (1, 8, 8, 3)]


def test_a_model_that_wants_more_than_a_picture_says_so(gateway, served, predict):
    served.inputs = {"image": ("DT_UINT8", [1, -1, -1, 3]), "mask": ("DT_FLOAT", [1])}
    answer = predict(gateway())
    assert (answer.status_code, answer.get_json()["code"]) == (422, "not_for_pictures")


@pytest.mark.parametrize("failure, status, code", [
    (("INVALID_ARGUMENT", "input must be 4-D\n\t [[{{node x}}]]"), 422, "not_accepted"), (("UNAVAILABLE", "gone"), 503, "unavailable"),
    (("UNAVAILABLE", "The batch scheduling queue is full"), 503, "busy"), (("RESOURCE_EXHAUSTED", "OOM"), 503, "no_memory"),
    (("INTERNAL", "secret path /srv/x"), 502, "failed"),
])  # fmt: skip
def test_a_server_that_fails_is_told_in_plain_words(gateway, served, predict, failure, status, code):
    client = gateway()
    assert predict(client).status_code == 200
    served.fail = failure
    answer = predict(client)
    assert (answer.status_code, answer.get_json()["code"]) == (status, code)
    assert ("Retry-After" in answer.headers) == (status == 503)
    assert "\n" not in answer.get_json()["error"] and "secret" not in answer.get_json()["error"]


def test_a_server_that_hangs_is_not_waited_for(gateway, serve, served, predict):
    ends = threading.Event()
    served.outputs = lambda arrays: ends.wait(5) and {}
    answer = predict(gateway(deadline_seconds=0.3))
    ends.set()
    assert (answer.status_code, answer.get_json()["code"]) == (504, "too_slow")


def test_a_picture_has_one_deadline_for_all_that_is_asked_for_it(gateway, serve, served, predict):
    def slow(request, context):
        time.sleep(0.4)
        return served.metadata(request, context)

    ends = threading.Event()
    served.outputs = lambda arrays: ends.wait(5) and {}
    client = gateway(deadline_seconds=1, servers=[serve({**served.answers(), wire.GET_MODEL_METADATA: slow}).address])
    begin = time.monotonic()
    answer = predict(client)
    seconds = time.monotonic() - begin
    ends.set()
    assert (answer.status_code, answer.get_json()["code"]) == (504, "too_slow") and 0.95 < seconds < 1.25
    assert len(served.asked) == 1


def test_a_picture_whose_time_is_over_before_it_is_asked_is_refused(gateway, served, predict, monkeypatch):
    client = gateway(deadline_seconds=0.1)
    read = uploads.read
    monkeypatch.setattr(uploads, "read", lambda *arguments: time.sleep(0.15) or read(*arguments))
    answer = predict(client)
    assert (answer.status_code, answer.get_json()["code"]) == (504, "too_slow") and not served.asked


def test_models_versions_and_labels_are_listed(gateway):
    (model,) = gateway().get("/api/v1/models").get_json()["models"]
    assert model == {
        "name": "cats", "available": True, "labels": {"stable": 7},
        "versions": [{"version": 7, "state": "AVAILABLE", "servers": 1}, {"version": 6, "state": "END", "servers": 0}],
    }  # fmt: skip


def test_health_readiness_and_metrics(gateway, served, predict):
    client = gateway(token_file="token")
    assert client.get("/healthz").status_code == 200 and client.get("/readyz").status_code == 200
    assert client.get("/metrics").status_code == 401
    header = {"Authorization": "Bearer " + TOKEN}
    predict(client, headers=header)
    text = client.get("/metrics", headers=header).text
    assert re.search(r'tfleet_gateway_requests_total\{method="POST",route="predict",status="200"\} [1-9]', text)
    assert re.search(r'tfleet_gateway_predictions_total\{model="cats",version="7"\} [1-9]', text)
    served.fail = ("UNAVAILABLE", "gone")
    assert gateway(token_file="token").get("/readyz").status_code == 503


# ---- its description ----
ROUTES = ("page", "page_answer", "static")


def test_the_description_is_valid_and_names_every_route(gateway):
    client = gateway(token_file="token")
    document = client.get("/openapi.json", headers={"Authorization": "Bearer " + TOKEN}).get_json()
    OpenAPIV31SpecValidator(document).validate()
    described = {(path, method.upper()) for path, item in document["paths"].items() for method in item}
    served = {
        (re.sub(r"<(\w+)>", r"{\1}", rule.rule), method)
        for rule in client.application.url_map.iter_rules() if rule.endpoint not in ROUTES for method in rule.methods - {"HEAD", "OPTIONS"}
    }  # fmt: skip
    assert described == served
    assert document["security"] == [{"token": []}] and document["paths"]["/healthz"]["get"]["security"] == []


def check(document, path, method, answer):
    """The answer is one that the description allows."""
    described = document["paths"][path][method]["responses"][str(answer.status_code)]
    schema = described["content"]["application/json"]["schema"]
    Draft202012Validator({**schema, "components": document["components"]}).validate(answer.get_json())
    return answer.status_code


def test_real_answers_are_as_described(gateway, served, predict):
    client = gateway()
    document = client.get("/openapi.json").get_json()
    path = "/api/v1/models/{model}:predict"
    contents = [(picture(), {"annotate": "true"}), (b"no picture", {}), (picture()[:90], {}), (picture(), {"top": "x"})]
    assert [check(document, path, "post", predict(client, content, query_string=options)) for content, options in contents] == [200, 415, 422, 400]
    assert check(document, path, "post", predict(client, path="dogs")) == 404
    for way in ("/api/v1/models", "/healthz", "/readyz"):
        assert check(document, way, "get", client.get(way)) == 200
    served.outputs = lambda arrays: {"y": np.float32([1, 2])}
    assert check(document, path, "post", predict(client)) == 200
    served.outputs = lambda arrays: {"scores": np.float32([[0.5, 0.5]])}
    assert check(document, path, "post", predict(client)) == 200


@pytest.mark.parametrize("method, path, status", [
    ("get", "/nothing", 404), ("put", "/healthz", 405), ("get", "/static/../app.py", 404), ("get", "/static/%2e%2e/app.py", 404),
])  # fmt: skip
def test_other_paths_are_refused_as_json(gateway, method, path, status):
    answer = getattr(gateway(), method)(path)
    assert answer.status_code == status and set(answer.get_json()) == {"error", "code"}


def test_two_servers_of_different_versions_are_one_catalogue(gateway, serve, predict):
    old, new = Served(version=1), Served(version=2)
    client = gateway(servers=[serve(one.answers()).address for one in (old, new)])
    (model,) = client.get("/api/v1/models").get_json()["models"]
    assert [(one["version"], one["servers"]) for one in model["versions"]] == [(2, 1), (1, 1), (0, 0)]
    # Whichever is asked first, the one that has the version answers.
    assert [predict(client, path="cats/versions/%d" % version).get_json()["version"] for version in (1, 2, 1, 2, 1, 2)] == [1, 2, 1, 2, 1, 2]
