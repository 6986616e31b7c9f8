"""A plain service in another language: it tells nothing of where its time goes, and asks its database through psql.

Arguments: psql's command line, to which `-c STATEMENT` is added. The environment names the database, and STATEMENTS is what
each request runs, one `-c` a line, on a connection of its own. Says its port, and ends when its input does.
"""

import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PSQL = sys.argv[1:]
STATEMENTS = [line for line in os.environ.get("STATEMENTS", "").splitlines() if line]


class Service(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/forbidden":
            return self.answer(403, b'{"error":"not yours"}')
        if STATEMENTS:
            commands = [part for statement in STATEMENTS for part in ("-c", statement)]
            done = subprocess.run(PSQL + commands, stdin=subprocess.DEVNULL, capture_output=True)
            if done.returncode != 0:
                return self.answer(500, done.stderr)
        return self.answer(200, b'{"ok":true}')

    do_POST = do_GET

    def answer(self, status, body):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


service = ThreadingHTTPServer(("127.0.0.1", 0), Service)
threading.Thread(target=service.serve_forever, daemon=True).start()
print(service.server_address[1], flush=True)
sys.stdin.read()
