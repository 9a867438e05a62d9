"""Docker's health check: exit code 0 if the server says that it serves, 1 with the reason on standard output.

TFLEET_HEALTH_ADDRESS is the server's gRPC address inside the container. Without TensorFlow and tfleet, because it runs every half
minute: the two messages of grpc.health.v1 are an empty request and an answer of two bytes.
"""

import os
import sys

import grpc

_SERVING = b"\x08\x01"


def main():
    address = os.environ.get("TFLEET_HEALTH_ADDRESS", "127.0.0.1:8500")
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            answer = channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=8)
        except grpc.RpcError as error:
            # A server without the health service answers too, and its port opens only when its models are loaded.
            if error.code() == grpc.StatusCode.UNIMPLEMENTED:
                return 0
            sys.stdout.write("%s: %s %s\n" % (address, error.code().name, error.details()))
            return 1
    if answer != _SERVING:
        sys.stdout.write("%s: NOT_SERVING\n" % address)
    return int(answer != _SERVING)


if __name__ == "__main__":
    sys.exit(main())
