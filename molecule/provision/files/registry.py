"""A registry that asks for a password and has nothing to give: enough for `docker login`."""

import base64
import http.server

ALLOWED = "Basic " + base64.b64encode(b"reader:not-in-any-log").decode()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        allowed = self.headers.get("Authorization") == ALLOWED
        self.send_response(200 if allowed else 401)
        self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        if not allowed:
            self.send_header("WWW-Authenticate", 'Basic realm="tests"')
        self.send_header("Content-Length", "0")
        self.end_headers()


http.server.HTTPServer(("127.0.0.1", 5000), Handler).serve_forever()
