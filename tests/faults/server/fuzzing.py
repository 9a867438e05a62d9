"""Requests that nobody should send, from a seeded source: damaged copies of real ones, and ones that are hostile on purpose.

Every generator takes a random.Random and answers one request, so that a seed and a position name it for ever.
"""

import gzip
import json
import zlib

from google.protobuf import text_format
from google.protobuf.message import DecodeError

from tfleet import wire

_REAL = {
    wire.PREDICT: (
        'model_spec { name: "half" } output_filter: "y" '
        'inputs { key: "x" value { dtype: DT_FLOAT tensor_shape { dim { size: 2 } } tensor_content: "12345678" } }',
        'model_spec { name: "half" version_label: "stable" } inputs { key: "x" value { dtype: DT_FLOAT tensor_shape { dim { size: 1 } } float_val: 1.5 } }',
        'model_spec { name: "pair" version { value: 7 } signature_name: "serving_default" } '
        'inputs { key: "a" value { dtype: DT_FLOAT tensor_shape { dim { size: 1 } dim { size: 2 } } float_val: 1 } } '
        'inputs { key: "b" value { dtype: DT_INT64 tensor_shape { dim { size: 3 } } int64_val: [1, -2, 3] } }',
        'model_spec { name: "types" signature_name: "string" } inputs { key: "x" value { dtype: DT_STRING tensor_shape { } string_val: "text" } }',
    ),
    wire.CLASSIFY: (
        'model_spec { name: "examples" } input { example_list { examples { features { feature { key: "x" value { float_list { value: 2 } } } } } } }',
    ),
    wire.REGRESS: (
        'model_spec { name: "examples" signature_name: "regress" } input { example_list_with_context { '
        'context { features { feature { key: "x" value { float_list { value: 2 } } } } } examples { } examples { } } }',
    ),
    wire.MULTI_INFERENCE: (
        'tasks { model_spec { name: "examples" signature_name: "regress" } method_name: "tensorflow/serving/regress" } '
        'tasks { model_spec { name: "examples" } method_name: "tensorflow/serving/classify" } input { example_list { examples { } } }',
    ),
    wire.GET_MODEL_METADATA: ('model_spec { name: "pair" } metadata_field: "signature_def"',),
    wire.GET_MODEL_STATUS: ('model_spec { name: "half" version { value: 1 } }',),
    wire.HEALTH_CHECK: ('service: "ModelService"',),
    wire.RELOAD_CONFIG: ('config { model_config_list { config { name: "half" base_path: "relative" model_platform: "tensorflow" } } } metric_names: "/a"',),
}
REAL_MESSAGES = {method: [text_format.Parse(text, wire.METHODS[method][0]()).SerializeToString() for text in texts] for method, texts in _REAL.items()}
# Requests so large that the server cuts their values out before it parses the rest: (shape, field with the values).
_LARGE = [(shape, field) for shape in ((40000,), (40000, 1), (39999,), (2, 50000)) for field in ("tensor_content", "float_val")]
_SIZES = (-(1 << 63), -1, 0, 1, 2, 3, 255, 65536, 1 << 20, 1 << 30, (1 << 31) - 1, 1 << 31, 1 << 40, (1 << 62) + 1, (1 << 63) - 1)
_NAMES = ("", "half", "pair", "types", "examples", "serving_default", "x", "y", "a", "b", "x:0", "../../etc/passwd", "\x00", "é\u2028\U0001f600", "n" * 70000)
_NUMBERS = (0.0, -0.0, 1e-45, 3.5e38, -1e308, float("nan"), float("inf"))


def damaged(source, data):
    """A copy with some bytes changed, cut out, repeated or cut off."""
    data = bytearray(data)
    for _ in range(source.randint(1, 4)):
        start = source.randrange(len(data) + 1)
        kind = source.randrange(5)
        if kind == 0 and start < len(data):
            data[start] = source.randrange(256)
        elif kind == 1:
            del data[start:start + source.randint(1, 8)]
        elif kind == 2:
            data[start:start] = data[start:start + source.choice((1, 8, 64))] * source.choice((1, 3)) or b"\xff"
        elif kind == 3:
            data[start:start] = bytes(source.randrange(256) for _ in range(source.randint(1, 6)))
        elif source.random() < 0.2:
            del data[start:]
    return bytes(data)


def _harmless(method, data):
    """Whether a message cannot change the server: a reload that happens to be valid would."""
    if method != wire.RELOAD_CONFIG:
        return True
    try:
        config = wire.METHODS[method][0].FromString(data).config
    except DecodeError:
        return True
    return any(not one.base_path.startswith("/") for one in config.model_config_list.config)


def damaged_message(source):
    """(method, bytes): a damaged copy of a real message, sometimes sent to another method."""
    method = source.choice(sorted(REAL_MESSAGES))
    data = damaged(source, source.choice(REAL_MESSAGES[method]))
    if source.random() < 0.1:
        method = source.choice(sorted(REAL_MESSAGES))
    return (method, data) if _harmless(method, data) else (method, b"\xff")


def large_message(source):
    """(method, bytes): a Predict of 160 KB, whole or damaged where its fields and lengths stand."""
    shape, field = source.choice(_LARGE)
    request = text_format.Parse('model_spec { name: "half" } inputs { key: "x" value { dtype: DT_FLOAT } }', wire.PredictRequest())
    for size in shape:
        request.inputs["x"].tensor_shape.dim.add(size=size)
    values = b"\x00\x00\x80\x3f" * 40000
    if field == "tensor_content":
        request.inputs["x"].tensor_content = values
    else:
        request.inputs["x"].float_val.extend([1.0] * 40000)
    if source.random() < 0.2:
        request.inputs[source.choice(("x2", "y"))].CopyFrom(request.inputs["x"])
    data = request.SerializeToString()
    start = data.find(values[:64])
    kind = source.randrange(6)
    if kind == 0:
        return wire.PREDICT, data
    if kind == 1:
        return wire.PREDICT, data[:-source.choice((1, 2, 5, 100, 80000))]
    if kind == 2:
        return wire.PREDICT, data + damaged(source, data[:start])
    return wire.PREDICT, damaged(source, data[:start]) + data[start:]


def _spec(source, spec):
    spec.name = source.choice(_NAMES) if source.random() < 0.5 else source.choice(("half", "pair", "types", "examples"))
    kind = source.randrange(4)
    if kind == 1:
        spec.version.value = source.choice(_SIZES)
    elif kind == 2:
        spec.version_label = source.choice(_NAMES)
    if source.random() < 0.3:
        spec.signature_name = source.choice(_NAMES + ("uneven", "mean", "nothing", "bytes", "string", "complex64"))


def _tensor(source, proto):
    proto.dtype = source.choice((1, 1, 1, 9, 9, 7)) if source.random() < 0.6 else source.randrange(0, 140)
    for _ in range(source.choice((0, 1, 1, 2, 3, 33, 255))):
        proto.tensor_shape.dim.add(size=source.choice(_SIZES) if source.random() < 0.5 else source.randrange(4))
    proto.tensor_shape.unknown_rank = source.random() < 0.1
    filling = source.randrange(8)
    if filling == 0:
        proto.tensor_content = bytes(source.randrange(256) for _ in range(source.choice((1, 3, 8, 4096))))
    elif filling == 1:
        proto.string_val.extend([b"\xff" * source.randrange(9)] * source.randrange(1, 5))
    elif filling == 2:
        proto.int64_val.extend(source.choice(_SIZES) for _ in range(source.randrange(5)))
    elif filling == 3:
        proto.half_val.extend([source.choice((-1, 0, 65535, 70000, (1 << 31) - 1))] * 3)
    elif filling == 4:
        proto.scomplex_val.extend([1.0] * source.randrange(4))
    elif filling < 7:
        proto.float_val.extend(source.choice(_NUMBERS) for _ in range(source.randrange(5)))


def hostile_message(source):
    """(method, bytes): a message that parses and whose content is absurd."""
    method = source.choice((wire.PREDICT, wire.PREDICT, wire.PREDICT, wire.CLASSIFY, wire.MULTI_INFERENCE, wire.GET_MODEL_METADATA, wire.GET_MODEL_STATUS))
    request = wire.METHODS[method][0]()
    if method == wire.PREDICT:
        _spec(source, request.model_spec)
        for _ in range(source.choice((0, 1, 1, 1, 2, 2, 50))):
            _tensor(source, request.inputs[source.choice(("x", "x", "a", "b", source.choice(_NAMES)))])
        request.output_filter.extend(source.choice(_NAMES) for _ in range(source.choice((0, 0, 1, 2))))
    elif method in (wire.CLASSIFY, wire.MULTI_INFERENCE):
        if method == wire.CLASSIFY:
            _spec(source, request.model_spec)
        else:
            for _ in range(source.randrange(4)):
                task = request.tasks.add(method_name=source.choice(("", "tensorflow/serving/classify", "tensorflow/serving/regress", "x")))
                _spec(source, task.model_spec)
        for _ in range(source.choice((0, 1, 3, 2000))):
            example = request.input.example_list.examples.add()
            feature = example.features.feature[source.choice(("x", "x", "y", ""))]
            kind = source.randrange(4)
            if kind == 0:
                feature.float_list.value.extend([source.choice(_NUMBERS)] * source.randrange(3))
            elif kind == 1:
                feature.int64_list.value.append(1)
            elif kind == 2:
                feature.bytes_list.value.append(b"\xff")
    else:
        _spec(source, request.model_spec)
        if method == wire.GET_MODEL_METADATA:
            request.metadata_field.extend(source.choice(_NAMES + ("signature_def",)) for _ in range(source.randrange(3)))
    return method, request.SerializeToString()


_REAL_BODIES = (
    b'{"signature_name": "serving_default", "instances": [{"x": 1.5}, {"x": [2, 3]}]}',
    b'{"inputs": {"x": [1, NaN, -1e5]}}',
    b'{"instances": [1.0, 2.0, 5.0]}',
    b'{"signature_name": "bytes", "instances": [{"b64": "aGVsbG8="}, "text", "\\u00e9"]}',
    b'{"examples": [{"x": 1.0}, {"x": [2.0]}], "context": {"y": "text"}}',
)
_VALUES = ("null", "true", "[]", "{}", "1e400", "-1e400", "1" + "0" * 399, "1.0000000000000000000000001", "0x10", "01", "1.", ".5", "+1", "-",
           "NaN", "-Infinity",
           '"\\ud800"', '"\\uzzzz"', '"\x00"', '"unfinished', '{"b64": "@@@"}', '{"b64": 5}', '{"b64": "aGk="}', '{"x": 1, "x": 2}',
           "[1, [2]]", "[[1], 2]", "[[], []]", "[{}]", "9223372036854775808", "-9223372036854775809", "2147483648", '"é"',
           "1 2", "[1,]", "/* c */ 1", "[" * 60 + "]" * 60)


def json_body(source):
    """A damaged or absurd JSON document."""
    kind = source.randrange(10)
    if kind < 5:
        return damaged(source, source.choice(_REAL_BODIES))
    if kind == 5:
        depth = source.choice((10, 900, 1100, 5000, 100000))
        opening, closing = source.choice((("[", "]"), ('{"instances":', "}"), ('{"inputs": {"x": [', "]}}")))
        return (opening * depth + "1" + closing * source.choice((0, depth))).encode()
    value = source.choice(_VALUES)
    more = ", ".join(source.choice(_VALUES) for _ in range(source.randrange(3)))
    text = source.choice((
        '{"instances": [%s%s]}', '{"inputs": %s%s}', '{"inputs": {"x": [%s%s]}}', '{"instances": [{"x": %s%s}]}', '%s%s',
        '{"signature_name": %s%s, "instances": [1]}', '{"examples": [{"x": %s%s}]}', '{"examples": %s%s}',
        '{"context": %s%s, "examples": [{}]}', '{"instances": [1], "inputs": %s%s}')) % (value, ", " + more if more else "")
    return text.encode("utf-8") if source.random() < 0.9 else text.encode("utf-16")


_SEGMENTS = ("v1", "V1", "models", "half", "pair", "versions", "labels", "1", "2", "99999999999999999999", "-1", "stable", "metadata",
             "monitoring", "prometheus", "metrics", "",
             ".", "..", "%2e%2e", "%00", "%ff%fe", "%", "%zz",
             "half:predict", "half:classify", "half:PREDICT", "examples:regress", "half:", ":predict", "x" * 3000, "a b", "é", "?q", "#f",
             "half:predict?a=b", "1:predict", "stable:predict")


def path(source):
    """A path near the grammar of the REST API."""
    prefix = source.choice(("", "/v1", "/v1/models", "/v1/models/half", "/v1/models/half/versions", "/v1/models/half/labels", "//",
                            "http://host/v1/models/half", "*"))
    return prefix + "".join("/" + source.choice(_SEGMENTS) for _ in range(source.randrange(4)))


def _unused_name(source):
    return "/v1/models/m%x" % source.getrandbits(64)


def rest_request(source):
    """(method, path, headers, body) which an HTTP library can send."""
    kind = source.randrange(10)
    if kind < 5:
        target = source.choice(("/v1/models/half:predict", "/v1/models/half:predict", "/v1/models/pair:predict", "/v1/models/types:predict",
                                "/v1/models/examples:classify", "/v1/models/examples:regress",
                                "/v1/models/half/versions/1:predict", "/v1/models/half/labels/stable:predict"))
        return "POST", target, {}, json_body(source)
    if kind < 8:
        target = path(source) if kind < 7 else _unused_name(source) + source.choice(("", ":predict", "/metadata"))
        target = "".join(c if "!" <= c <= "~" else "%%%02x" % (ord(c) & 255) for c in target) or "/"
        return source.choice(("GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH")), target, {}, source.choice((b"", b"{}"))
    body = gzip.compress(json_body(source))
    if kind == 8:
        body = damaged(source, body)
    headers = {"Content-Encoding": source.choice(("gzip", "GZIP", "gzip", "deflate", "br", "gzip, gzip"))}
    return "POST", "/v1/models/half:predict", headers, source.choice((body, body + b"more", body + body, zlib.compress(b"{}"), body[:-5]))


def gzip_bomb(megabytes, inner=b" "):
    """A small gzip body that inflates to so many megabytes."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, 31)
    block = inner * ((1 << 20) // len(inner))
    return b"".join(compressor.compress(block) for _ in range(megabytes)) + compressor.flush()


_REAL_HEADS = (
    b'POST /v1/models/half:predict HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 18\r\n\r\n{"instances": [1]}',
    b'POST /v1/models/half:predict HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{"instanc\r\n9;ext=1\r\nes": [1]}\r\n0\r\nTrailer: x\r\n\r\n',
    b'GET /v1/models/half HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\nGET /v1/models/half/metadata HTTP/1.0\r\n\r\n',
    b'OPTIONS /v1/models/half HTTP/1.1\r\nOrigin: http://a\r\nAccess-Control-Request-Method: POST\r\nExpect: 100-continue\r\n\r\n',
)
_LENGTHS = (b"-1", b"+1", b"1_0", b"0x1", b"", b" ", b"1e3", b"99999999999999999999", b"9" * 5000, b"\xb2", b"1, 1", b"1\r\nContent-Length: 2", b"10000000000")
_CHUNKS = (b"-1\r\n", b"+2\r\nab\r\n0\r\n\r\n", b"0x2\r\nab\r\n0\r\n\r\n", b"2_0\r\n", b"\r\n", b"g\r\n", b"2\r\nabc\r\n0\r\n\r\n",
           b"F" * 16 + b"\r\nx", b"F" * 5000 + b"\r\n", b"2;" + b"e" * 5000 + b"\r\nab\r\n0\r\n\r\n",
           b"0\r\n" + b"T: x\r\n" * 500 + b"\r\n", b"2\nab\n0\n\n", b" 2 \r\nab\r\n0\r\n\r\n")


def raw_http(source):
    """Bytes to send on a connection to the REST port."""
    kind = source.randrange(10)
    if kind < 6:
        return damaged(source, source.choice(_REAL_HEADS))
    if kind == 6:
        return b"POST /v1/models/half:predict HTTP/1.1\r\nContent-Length: " + source.choice(_LENGTHS) + b'\r\n\r\n{"instances": [1]}'
    if kind == 7:
        encoding = source.choice((b"chunked", b"chunked", b"gzip, chunked", b"xchunked", b"chunked, identity", b"identity", b"chunked\r\nContent-Length: 3"))
        return b"POST /v1/models/half:predict HTTP/1.1\r\nTransfer-Encoding: " + encoding + b"\r\n\r\n" + source.choice(_CHUNKS)
    if kind == 8:
        return source.choice((b"GET / HTTP/9.9\r\n\r\n", b"GET /v1/models/half\r\n\r\n", b"\r\n" * 50, b"\x16\x03\x01\x02\x00\x01",
                              b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"G" * 70000, b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\n\r\n",
                              b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 300 + b"\r\n", b"GET / HTTP/1.1\r\nA: " + b"b" * 70000 + b"\r\n\r\n",
                              b"GET /v1/models/half HTTP/1.1\r\nno colon\r\n\r\n", b"GET /v1/models/half HTTP/1.1\r\nA: b\r\n folded\r\n\r\n", b"\x00" * 100,
                              b"GET /v1/models/half HTTP/1.1\r\nContent-Encoding: \xff\xfe\r\n\r\n", b"HEAD /v1/models/half HTTP/1.1\r\n\r\n"))
    return bytes(source.randrange(256) for _ in range(source.randrange(200))) + b"\r\n\r\n"


_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def raw_http2(source):
    """Bytes to send on a connection to the gRPC port: frames that are damaged, absurd or cut short."""
    frames = b""
    for _ in range(source.randrange(1, 6)):
        payload = bytes(source.randrange(256) for _ in range(source.choice((0, 4, 5, 6, 8, 40))))
        length = len(payload) if source.random() < 0.7 else source.choice((0, 1, 16385, 0xFFFFFF))
        stream = source.choice((0, 1, 2, 3, 0x7FFFFFFF))
        frames += length.to_bytes(3, "big") + bytes((source.randrange(12), source.choice((0, 1, 4, 5, 255)))) + stream.to_bytes(4, "big") + payload
    kind = source.randrange(4)
    settings = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
    return (_PREFACE + settings + frames, damaged(source, _PREFACE + settings) + frames, frames, json.dumps(["text"]).encode() * 20)[kind]
