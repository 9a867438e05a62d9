"""--ssl_config_file: TLS on the gRPC port, with certificates that openssl makes for the test."""

import json
import shutil
import subprocess

import grpc
import pytest
from live_server import LiveServer, free_ports, run_to_end

pytestmark = pytest.mark.skipif(not shutil.which("openssl"), reason="the certificates are made with openssl")


def certificate(folder, name):
    key, cert = folder / (name + ".key"), folder / (name + ".pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=" + name, "-addext",
                    "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)],
                   check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    return key.read_bytes(), cert.read_bytes()


def config(folder, **fields):
    file = folder / "ssl.config"
    file.write_text("\n".join("%s: %s" % (name, json.dumps(value)) for name, value in fields.items()))
    return file


@pytest.mark.parametrize("mutual", [False, True])
def test_tls(own_models, model_files, mutual):
    key, cert = certificate(own_models, "server")
    client_key, client_cert = certificate(own_models, "client")
    fields = {"server_key": key.decode(), "server_cert": cert.decode()}
    if mutual:
        fields.update(client_verify=True, custom_ca=client_cert.decode())
    with LiveServer("--model_base_path=%s/half" % model_files, "--ssl_config_file=%s" % config(own_models, **fields)) as server:
        def answer(credentials):
            server.close()
            server._channel = grpc.secure_channel(server.address, credentials)
            return server.call("/tensorflow.serving.ModelService/GetModelStatus", 'model_spec { name: "default" }', timeout=5)[0]

        assert answer(grpc.ssl_channel_credentials(cert, client_key, client_cert)) == "OK"
        assert answer(grpc.ssl_channel_credentials(cert)) == ("UNAVAILABLE" if mutual else "OK")
        assert server.http("GET", "/v1/models/default")[0] == 200


@pytest.mark.parametrize(("fields", "message"), [
    ({"server_key": "k"}, "needs server_key and server_cert, as PEM texts"),
    ({"server_key": "k", "server_cert": "c", "client_verify": True}, "asks for client_verify, so it needs custom_ca to verify with, as PEM text"),
])
def test_incomplete_config(own_models, model_files, fields, message):
    file = config(own_models, **fields)
    code, out, _ = run_to_end("--port=%d" % free_ports(1)[0], "--model_base_path=%s/half" % model_files, "--ssl_config_file=%s" % file)
    assert (code, out) == (255, "Failed to start server. Error: INVALID_ARGUMENT: %s %s\n" % (file, message))


def test_texts_that_are_no_pem(own_models, model_files):
    file = config(own_models, server_key="/etc/ssl/server.key", server_cert="/etc/ssl/server.pem")  # paths are a common mistake
    code, out, _ = run_to_end("--port=%d" % free_ports(1)[0], "--model_base_path=%s/half" % model_files, "--ssl_config_file=%s" % file)
    assert (code, out) == (255, "Failed to start server. Error: INVALID_ARGUMENT: The texts in %s are not a key and the certificates that belong to it, "
                                "in PEM form\n" % file)
