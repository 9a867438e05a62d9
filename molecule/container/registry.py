"""A registry of one image for docker pull, and a web server of its archive: python3 registry.py ARCHIVE, on port 5000 of loopback until it is ended.

ARCHIVE is what `docker image save` wrote. The image has the name tfleet-brought:1; the archive is /image.tar.
"""

import hashlib
import http.server
import json
import pathlib
import sys
import tarfile

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


def blob(content, kind):
    """Note the content under its digest, and describe it as a manifest does."""
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    answers["/v2/tfleet-brought/blobs/" + digest] = ("application/octet-stream", content)
    return {"mediaType": "application/vnd.docker." + kind, "size": len(content), "digest": digest}


class Registry(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        kind, content = answers.get(self.path, ("text/plain", b"not here"))
        self.send_response(200 if self.path in answers else 404)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        if kind == MANIFEST:
            self.send_header("Docker-Content-Digest", "sha256:" + hashlib.sha256(content).hexdigest())
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    do_HEAD = do_GET  # noqa: N815 (the library's name)


archive = pathlib.Path(sys.argv[1])
answers = {"/v2/": ("application/json", b"{}"), "/image.tar": ("application/x-tar", archive.read_bytes())}
with tarfile.open(archive) as tar:
    (image,) = json.load(tar.extractfile("manifest.json"))
    manifest = json.dumps({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": blob(tar.extractfile(image["Config"]).read(), "container.image.v1+json"),
        # Docker looks at the content itself: a layer need not be compressed.
        "layers": [blob(tar.extractfile(layer).read(), "image.rootfs.diff.tar.gzip") for layer in image["Layers"]],
    }).encode()
for reference in ("1", "sha256:" + hashlib.sha256(manifest).hexdigest()):
    answers["/v2/tfleet-brought/manifests/" + reference] = (MANIFEST, manifest)
http.server.ThreadingHTTPServer(("127.0.0.1", 5000), Registry).serve_forever()
