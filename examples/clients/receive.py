import json
import os
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

# docs: begin
from standardwebhooks import Webhook

webhook = Webhook(os.environ["WEBHOOK_SECRET"])  # whsec_…, as in the file of endpoints


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            event = webhook.verify(body, dict(self.headers))
        except Exception as problem:  # a signature of somebody else's, or an old one
            print(f"refused: {problem}", flush=True)
            return self.answer(401)
        # the same id comes again if this answer gets lost: do the work once for each
        print(f"{self.headers['webhook-id']}: {json.dumps(event)}", flush=True)
        self.answer(204)

    def answer(self, status):
        self.send_response(status)
        self.end_headers()
# docs: end

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver)
print(f"listening on {server.server_port}", flush=True)
server.serve_forever()
