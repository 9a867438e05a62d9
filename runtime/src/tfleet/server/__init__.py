"""The model server: TensorFlow Serving's command line, files, gRPC and REST, on the TensorFlow of the environment.

Modules, lowest first (each imports only those before it): status, flags, config, config_check, storage, states, metrics,
lifecycle, core, executor, predict, inference, metadata, warmup, grpc_service, json_text, json_tensor, json_examples,
http_server, rest, main. Only executor imports TensorFlow.
"""
