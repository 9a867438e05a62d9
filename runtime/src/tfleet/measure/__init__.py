"""How right and how fast a build is: golden answers, parity of two builds, benchmarks in-process and of a server.

TensorFlow is imported only where a build runs in-process; what is measured over gRPC needs the client's libraries alone.
"""
