"""A stand-in for somebody else's server: speaks the OpenAI dialect, and misbehaves by model name.

What it saw (connections, requests) is what the tests assert on. One thread a connection; it answers one
request on each.
"""
import json
import socket
import threading

TEXT = ["Over ", "the ", "hills."]


def chunk(delta, finish=None):
    return {"id": "chatcmpl-x", "object": "chat.completion.chunk", "created": 1, "model": "x",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


class Double:
    def __init__(self, context=None):
        """context: an ssl.SSLContext for TLS."""
        self.context = context
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.lock = threading.Lock()  # guards the counts and requests
        self.n_connections = self.n_closed_by_peer = 0
        self.requests = []            # (headers, body)
        self.release = threading.Event()  # lets stalled answers go
        self.thread = threading.Thread(target=self.accept, daemon=True)
        self.thread.start()

    def close(self):
        self.release.set()
        # shutdown wakes the thread in accept(); close alone does not.
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with self.lock:
                self.n_connections += 1
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        try:
            if self.context:
                connection = self.context.wrap_socket(connection, server_side=True)
            headers, body = self.read(connection)
            with self.lock:
                self.requests.append((headers, body))
            getattr(self, "do_" + body["model"].replace("-", "_"), self.do_ok)(connection)
        except (OSError, ValueError):
            pass
        finally:
            connection.close()

    def read(self, connection):
        data = b""
        while b"\r\n\r\n" not in data:
            piece = connection.recv(65536)
            if not piece:
                raise OSError("closed")
            data += piece
        head, rest = data.split(b"\r\n\r\n", 1)
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
        headers = {name.lower(): value for name, value in headers.items()}
        while len(rest) < int(headers.get("content-length", 0)):
            rest += connection.recv(65536)
        return headers, json.loads(rest)

    # Pieces of an answer.
    def begin(self, c, kind="text/event-stream", status="200 OK"):
        c.sendall(f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())

    def piece(self, c, data):
        c.sendall(b"%x\r\n%s\r\n" % (len(data), data))

    def event(self, c, value):
        self.piece(c, b"data: " + (value if isinstance(value, bytes) else json.dumps(value).encode()) + b"\n\n")

    def end(self, c):
        c.sendall(b"0\r\n\r\n")

    def error(self, c, status, message, more=""):
        body = json.dumps({"error": {"message": message, "type": "server_error", "code": None}}).encode()
        c.sendall(f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{more}"
                  f"Content-Length: {len(body)}\r\n\r\n".encode() + body)

    # One behaviour a model.
    def do_ok(self, c):
        self.begin(c)
        self.event(c, chunk({"role": "assistant", "content": ""}))
        for text in TEXT:
            self.event(c, chunk({"content": text}))
        self.event(c, chunk({}, "stop"))
        self.event(c, {**chunk({}), "choices": [], "usage": {
            "prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}})
        self.event(c, b"[DONE]")
        self.end(c)

    def do_single_bytes(self, c):
        """As ok, but every byte of the body is a chunk of its own."""
        whole = b"".join(b"data: " + json.dumps(e).encode() + b"\n\n" for e in (
            [chunk({"content": t}) for t in TEXT] + [chunk({}, "stop")])) + b"data: [DONE]\n\n"
        self.begin(c)
        for i in range(len(whole)):
            self.piece(c, whole[i:i + 1])
        self.end(c)

    def do_busy(self, c):
        self.error(c, "429 Too Many Requests", "slow down", "Retry-After: 7\r\n")

    def do_broken(self, c):
        self.error(c, "500 Internal Server Error", "it broke")

    def do_leaky_words(self, c):
        """A refusal that repeats what it was sent, in no quotes."""
        self.error(c, "500 Internal Server Error", "cannot answer MARKER today")

    def do_reset(self, c):
        c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    def do_silent(self, c):
        """Never answers."""
        self.wait_for_peer(c)

    def do_cut_early(self, c):
        self.begin(c)

    def do_cut(self, c):
        self.begin(c)
        self.event(c, chunk({"role": "assistant", "content": ""}))
        self.event(c, chunk({"content": TEXT[0]}))

    def do_role_only(self, c):
        """The first chunk, which is no text yet, and then nothing."""
        self.begin(c)
        self.event(c, chunk({"role": "assistant", "content": ""}))

    def do_leaky(self, c):
        """A piece of an answer that is cut inside its JSON."""
        self.begin(c)
        self.event(c, b'{"choices":[{"index":0,"delta":{"content":"MARKER-4711 is the answer')
        self.end(c)

    def do_leaky_late(self, c):
        self.do_cut(c)
        self.event(c, b'{"choices":[{"index":0,"delta":{"content":"MARKER-4711 is the answer')
        self.end(c)

    def do_leaky_refusal(self, c):
        self.error(c, "400 Bad Request", "cannot make sense of MARKER-4711")

    def do_stall(self, c):
        self.do_cut(c)
        self.wait_for_peer(c)

    def do_garbage(self, c):
        c.sendall(b"\x00\x01\x02 nobody speaks this\r\n\r\n")

    def do_garbage_events(self, c):
        self.begin(c)
        self.event(c, b"{not json")
        self.end(c)

    def do_not_a_stream(self, c):
        self.begin(c, "text/html")
        self.piece(c, b"<html>maintenance</html>")
        self.end(c)

    def do_error_inside(self, c):
        self.do_cut(c)
        self.event(c, {"error": {"message": "out of words", "type": "server_error"}})
        self.end(c)

    def do_redirect(self, c):
        c.sendall(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/elsewhere\r\nContent-Length: 0\r\n\r\n")

    def do_endless(self, c):
        self.begin(c)
        while not self.release.is_set():
            self.event(c, chunk({"content": "again "}))
            if self.release.wait(0.01):
                return

    def wait_for_peer(self, c):
        """Until the peer closes (counted) or the test lets go."""
        c.settimeout(0.05)
        while not self.release.is_set():
            try:
                if not c.recv(1):
                    with self.lock:
                        self.n_closed_by_peer += 1
                    return
            except TimeoutError:
                pass
