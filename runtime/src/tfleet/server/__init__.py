"""The model server: TensorFlow Serving's command line, files, gRPC and REST, on the TensorFlow of the environment.

Modules, lowest first (each imports only those before it): status, flags, config, storage, states, metrics, executor,
lifecycle, core, predict, grpc_service, json_tensor, rest, main. Only executor imports TensorFlow.
"""
