"""The client of a TensorFlow model server, as a library. Needs grpcio, protobuf, numpy and, for pictures, Pillow; never TensorFlow.

    from tfleet import client

    with client.connect("127.0.0.1:8500") as server:
        detector = client.model(server, "digits_detector", label="stable")
        for seen in detector.look(["scene.png"]):
            print(seen.name, seen.reading["detections"])

Public are these two functions, the methods of what they return, and `tfleet.client.boxes`, `decoders`, `drawing` and `preprocessing`; docs/client.md
shows them. Nothing is imported before it is used: a call of the command `tfleet predict` begins and ends within 0.3 s.
"""

from typing import Any

PROTOCOLS = ("grpc", "rest")


def connect(address: str, protocol: str = "grpc", timeout: float = 10.0) -> Any:
    """A grpc_client.Client or rest_client.RestClient with predict(), metadata() and status(): a context manager, to be shared by threads.

    `address` is host:port; `timeout` is in seconds, for each call. Raises TfleetError, as all that follows does.
    """
    if protocol == "rest":
        from tfleet.client.rest_client import RestClient

        return RestClient(address, timeout)
    if protocol != "grpc":
        raise ValueError("protocol is one of %s, not %r" % (", ".join(PROTOCOLS), protocol))
    from tfleet.client.grpc_client import Client

    return Client(address, timeout)


def model(server: Any, name: str, **options: Any) -> Any:
    """A served.Model for pictures, with prepare(), ask() and look().

    Options: version or label, signature, declaration (a file, JSON, or a declaration.Declaration), labels ({number: name}), min_score, top.
    """
    from tfleet.client.served import Model

    return Model(server, name, **options)
