"""A stand-in for vLLM in tests of a server's life: it takes the same arguments, listens, and answers like an echo.

It shows that servers are started, watched and ended; what vLLM itself does is seen in tests/real/test_vllm.py only.
``STAND_IN`` says how it behaves: ``ready``, ``die``, ``hang``, ``crash`` (at the third call); ``STAND_IN_S`` how long a
call takes. ``STAND_IN_PIDS`` names the file to which it writes its own process id and that of a worker.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COLOURS = ("red", "green", "blue")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    given, _ = parser.parse_known_args()
    manner = os.environ.get("STAND_IN", "ready")
    worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    with open(os.environ["STAND_IN_PIDS"], "a", encoding="utf-8") as pids:
        pids.write(f"{os.getpid()}\n{worker.pid}\n")
    if manner == "die":
        print("INFO loading the model")
        print(f"my key is {os.environ['VLLM_API_KEY']}")
        print("(EngineCore) OutOfRoomError: no memory for the model", file=sys.stderr)
        print("the last line", file=sys.stderr)
        sys.exit(7)
    if manner == "hang":
        time.sleep(600)
    server = Server((given.host, given.port), Handler)
    server.model = given.model
    server.serve_forever()


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024  # of five, those that come at once get lost, and are missed after two minutes
    model = ""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    calls = 0
    lock = threading.Lock()

    def do_GET(self) -> None:
        if self.path == "/health":
            self._answer(200, {})
        elif self._is_allowed():
            assert isinstance(self.server, Server)
            self._answer(200, {"data": [{"id": self.server.model, "root": self.server.model}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self._is_allowed():
            return
        with Handler.lock:
            Handler.calls += 1
        if os.environ.get("STAND_IN") == "crash" and Handler.calls >= 3:
            print("RuntimeError: the engine is dead", flush=True)
            os._exit(3)
        text = body.get("prompt") or "".join(message["content"] for message in body["messages"])
        word = COLOURS[sum(text.encode()) % 3]
        choice = {"message": {"role": "assistant", "content": word}, "text": word, "finish_reason": "stop"}
        time.sleep(float(os.environ.get("STAND_IN_S", "0.005")))
        self._answer(200, {"choices": [choice], "usage": {"prompt_tokens": len(text.split()), "completion_tokens": 1}})

    def _is_allowed(self) -> bool:
        allowed = self.headers["Authorization"] == f"Bearer {os.environ['VLLM_API_KEY']}"
        if not allowed:
            self._answer(401, {"error": {"message": "no"}})
        return allowed

    def _answer(self, status: int, body: Any) -> None:
        payload = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_: object) -> None:
        return


if __name__ == "__main__":
    main()
