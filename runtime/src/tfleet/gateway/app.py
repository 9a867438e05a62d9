"""The Flask application: the page, the API, and what operators and Prometheus ask."""

import logging
import re
import time
from typing import Any, Dict, Optional, Tuple
from urllib.parse import quote, unquote

import flask
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from tfleet.gateway import looking, metrics, openapi, uploads
from tfleet.gateway.access import Access
from tfleet.gateway.catalogue import Catalogue, Choice
from tfleet.gateway.limits import Places, Rates
from tfleet.gateway.refusal import RefusedError
from tfleet.gateway.settings import Settings
from tfleet.gateway.upstreams import Upstreams

LOG = logging.getLogger("tfleet.gateway")
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
# Whoever watches the gateway has no token and asks often; they tell nothing of models and pictures.
_FOR_ALL = ("healthz", "readyz", "static")
_PAGES = ("page", "page_answer")
_TOP, _MOST_TOP = 5, 1000
_FORM_BYTES = 64 << 10
"""Of a form beside its file."""


def create(settings: Settings, rates_file: str, upstreams: Optional[Upstreams] = None) -> flask.Flask:
    """The application. Raises TfleetError for token files that cannot be used."""
    return Gateway(settings, rates_file, upstreams or Upstreams(settings.servers, settings.deadline_seconds, settings.models[0].name)).app


class Gateway(object):
    """What the requests of one process share."""

    def __init__(self, settings: Settings, rates_file: str, upstreams: Upstreams) -> None:
        self.settings = settings
        self.upstreams = upstreams
        self.access = Access(settings)
        self.catalogue = Catalogue(settings, upstreams)
        self.rates = Rates(rates_file, settings.rate, settings.burst)
        # Half of the deadline is for the work.
        self.places = Places(settings.at_once, min(settings.waiting_seconds, settings.deadline_seconds / 2))
        self.app = app = flask.Flask("tfleet.gateway")
        most = settings.body_bytes + _FORM_BYTES
        app.config.update(MAX_CONTENT_LENGTH=most, MAX_FORM_MEMORY_SIZE=_FORM_BYTES, MAX_FORM_PARTS=20, SEND_FILE_MAX_AGE_DEFAULT=300)
        app.json.sort_keys = False  # type: ignore[attr-defined]
        app.jinja_env.filters["target"] = target
        rules: Tuple[Tuple[str, str, Any, str], ...] = (
            ("/", "page", self.page, "GET"),
            ("/", "page_answer", self.page_answer, "POST"),
            ("/api/v1/models", "models", self.models, "GET"),
            ("/api/v1/models/<model>:predict", "predict", self.predict, "POST"),
            ("/api/v1/models/<model>/versions/<version>:predict", "predict_version", self.predict, "POST"),
            ("/api/v1/models/<model>/labels/<label>:predict", "predict_label", self.predict, "POST"),
            ("/openapi.json", "openapi", self.description, "GET"),
            ("/healthz", "healthz", self.healthz, "GET"),
            ("/readyz", "readyz", self.readyz, "GET"),
            ("/metrics", "metrics", self.metrics, "GET"),
        )
        for rule, endpoint, view, method in rules:
            app.add_url_rule(rule, endpoint, view, methods=[method])
        app.before_request(self._begin)
        app.after_request(self._end)
        app.register_error_handler(RefusedError, self._refused)
        app.register_error_handler(HTTPException, self._http_error)
        app.register_error_handler(Exception, self._failed)

    # ---- the page ----
    def page(self) -> Any:
        return self._page()

    def page_answer(self) -> Any:
        """What browsers without scripts send; the page's own script uses the API."""
        choice = None
        try:
            choice = _chosen(flask.request.form.get("target", ""))
            answer = self._look(choice, annotate=True)
        except (RefusedError, RequestEntityTooLarge) as error:
            refused = error if isinstance(error, RefusedError) else self._too_large()
            metrics.REFUSED.labels(refused.code).inc()
            return self._page(choice, problem=refused.message), refused.status, _retry(refused)
        return self._page(choice, answer=answer)

    def _page(self, choice: Optional[Choice] = None, answer: Any = None, problem: str = "", form: bool = True) -> str:
        # A page that anybody may see names no models.
        models = self.catalogue.list() if form and not self.access.wants_token else []
        return flask.render_template(
            "page.html", models=models, token=self.access.wants_token, chosen=target(*choice) if choice else "", answer=answer, problem=problem,
            media_types=",".join(uploads.MEDIA_TYPES.values()), most=self.settings.body_bytes, generator=looking.GENERATOR, form=form,
        )  # fmt: skip

    # ---- the API ----
    def models(self) -> Any:
        return flask.jsonify({"models": self.catalogue.list()})

    def predict(self, model: str, version: Optional[str] = None, label: Optional[str] = None) -> Any:
        return flask.jsonify(self._look(Choice(model, None if version is None else _version(version), label), _flag("annotate")))

    def description(self) -> Any:
        return flask.jsonify(openapi.describe(self.settings))

    def _look(self, choice: Choice, annotate: bool) -> Dict[str, Any]:
        watch = looking.Stopwatch()
        self.catalogue.require(choice)
        least, top = _option("min_score", float, 0, 1), _option("top", int, 1, _MOST_TOP)
        content = self._content()
        inquiry = self.upstreams.inquiry()
        # Nobody holds a place while he is still sending.
        with self.places.one():
            upload = uploads.read(content, self.settings.pixels, self.settings.longest_side)
            answer = looking.look(self.catalogue, inquiry, choice, upload, annotate, least, top or _TOP)
        answer["milliseconds"]["total"] = watch.milliseconds()
        return answer

    def _content(self) -> bytes:
        request = flask.request
        if request.mimetype == "multipart/form-data":
            upload = request.files.get("picture")
            content: bytes = upload.read() if upload is not None else b""
        else:
            # What curl sends with --data-binary and no Content-Type calls itself a form; the content decides.
            content = request.get_data(cache=False)
        if len(content) > self.settings.body_bytes:  # what is sent in chunks is cut off by Flask without a word
            raise RequestEntityTooLarge
        return content

    # ---- for operators ----
    def healthz(self) -> Any:
        """Whether the process answers."""
        return flask.jsonify({"ok": True})

    def readyz(self) -> Any:
        """Whether a picture would be answered now: some server serves some version of some model."""
        ready = any(model["available"] for model in self.catalogue.list())
        return flask.jsonify({"ok": ready}), 200 if ready else 503

    def metrics(self) -> Any:
        return flask.Response(metrics.text(), content_type=metrics.CONTENT_TYPE)

    # ---- around each request ----
    def _begin(self) -> None:
        flask.g.begin = time.perf_counter()
        flask.g.user = "-"
        metrics.IN_FLIGHT.inc()
        flask.g.client = self.access.client(flask.request)
        endpoint = flask.request.endpoint
        if endpoint in _FOR_ALL or endpoint is None:
            return
        self.rates.take(flask.g.client)
        if endpoint == "page" and self.access.wants_token:
            return
        flask.g.user = self.access.user(flask.request)
        if flask.request.method == "POST":
            self.access.same_site(flask.request)

    def _end(self, response: flask.Response) -> flask.Response:
        metrics.IN_FLIGHT.dec()
        seconds = time.perf_counter() - flask.g.begin
        route = flask.request.endpoint or "none"
        metrics.REQUESTS.labels(route, _method(), str(response.status_code)).inc()
        metrics.SECONDS.labels(route).observe(seconds)
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        if route != "static":
            response.headers.setdefault("Cache-Control", "no-store")
        # Never headers, never the query, never a body; what clients chose is quoted, so that a line is a line.
        line = "%s %s %s %s %d %.1f ms"
        shown = (quote(flask.g.client, safe=":"), quote(flask.g.user, safe="@-"), _method(), quote(flask.request.path, safe="/:"), response.status_code)
        (LOG.debug if route in _FOR_ALL else LOG.info)(line, *(shown + (1000 * seconds,)))
        return response

    def _refused(self, refused: RefusedError) -> Any:
        metrics.REFUSED.labels(refused.code).inc()
        headers = _retry(refused)
        if refused.status == 401:
            headers["WWW-Authenticate"] = 'Bearer realm="tfleet"'
        if flask.request.endpoint in _PAGES and _wants_page():
            return self._page(problem=refused.message, form=False), refused.status, headers
        return flask.jsonify({"error": refused.message, "code": refused.code}), refused.status, headers

    def _http_error(self, error: HTTPException) -> Any:
        if isinstance(error, RequestEntityTooLarge):
            return self._refused(self._too_large())
        response = error.get_response()
        if (error.code or 500) < 400:
            return response
        answer = flask.jsonify({"error": "%s: %s" % (error.name, error.description), "code": error.name.lower().replace(" ", "_")})
        if "Allow" in response.headers:
            answer.headers["Allow"] = response.headers["Allow"]
        return answer, error.code

    def _too_large(self) -> RefusedError:
        most = "%.3g MB" % (self.settings.body_bytes / 1e6)
        return RefusedError(413, "too_large", "The file is too large: at most %s are taken. Send a smaller picture." % most)

    def _failed(self, error: Exception) -> Any:
        LOG.error("a request failed", exc_info=error)
        return self._refused(RefusedError(500, "failed", "The gateway failed at this request. Its log says why."))


def target(model: str, version: Optional[int] = None, label: Optional[str] = None) -> str:
    """A choice as the page's options and the API's paths have it: NAME, NAME/versions/2 or NAME/labels/stable."""
    if version is not None:
        return "%s/versions/%d" % (quote(model, safe=""), version)
    return quote(model, safe="") + ("/labels/" + quote(label, safe="") if label is not None else "")


def _chosen(text: str) -> Choice:
    model, _, rest = text.partition("/")
    kind, _, value = rest.partition("/")
    return Choice(unquote(model), _version(value) if kind == "versions" else None, unquote(value) if kind == "labels" else None)


def _version(text: str) -> int:
    # Not isdigit(): digits of other scripts are.
    if not re.match(r"[0-9]{1,19}\Z", text) or int(text) >= 1 << 63:
        raise RefusedError(404, "not_served", "A version is a number, such as 2.")
    return int(text)


def _flag(name: str) -> bool:
    text = flask.request.args.get(name, "false")
    if text not in ("true", "false"):
        raise RefusedError(400, "bad_option", "%s is true or false." % name)
    return text == "true"


def _option(name: str, kind: Any, low: float, high: float) -> Any:
    text = flask.request.args.get(name)
    if text is None:
        return None
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not low <= value <= high:
        raise RefusedError(400, "bad_option", "%s is a %snumber from %g to %g." % (name, "whole " if kind is int else "", low, high))
    return value


def _method() -> str:
    method = flask.request.method
    return method if method in ("GET", "HEAD", "POST", "OPTIONS") else "OTHER"


def _wants_page() -> bool:
    accepted = flask.request.accept_mimetypes
    return bool(accepted["text/html"] > accepted["application/json"])


def _retry(refused: RefusedError) -> Dict[str, str]:
    return {"Retry-After": str(refused.retry_after)} if refused.retry_after else {}
