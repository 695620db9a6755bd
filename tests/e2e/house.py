"""What the end-to-end tests share: the program started in a folder of its own, and raw sockets to it.

Every server listens on a port that the kernel picks, keeps its state under a temporary HEARTH_HOME, and
must end with exit code 0 after SIGTERM. Timeouts here are only there to end a hung test.
"""
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest

BINARY = os.environ["HEARTH_BINARY"]
WAIT_S = 120.0  # sanitizers and a busy machine included


def environment(home, extra=None):
    """Nothing of the caller's settings: only what a program needs to start."""
    kept = {k: v for k, v in os.environ.items()
            if not k.startswith(("HEARTH_", "XDG_", "OPENAI_")) and "proxy" not in k.lower()}
    return {**kept, "HEARTH_HOME": home, **(extra or {})}


def hearth(*args, home, stdin="", env=None, timeout=WAIT_S):
    """Runs one command to its end; .returncode, .stdout, .stderr."""
    return subprocess.run([BINARY, *args], input=stdin, capture_output=True, text=True,
                          env=environment(home, env), timeout=timeout)


class Server:
    """`hearth serve --port 0` with a HEARTH_HOME; address and port once it listens."""

    def __init__(self, home, *args, env=None):
        self.stderr = open(os.path.join(home, "stderr.txt"), "a+")
        self.process = subprocess.Popen([BINARY, "serve", "--port", "0", *args], text=True,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=self.stderr, env=environment(home, env))
        line = self.process.stdout.readline().strip()
        match = re.fullmatch(r"listening on (http://127\.0\.0\.1:(\d+))", line)
        if not match:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"first line {line!r}; stderr: {self.said()}")
        self.address, self.port = match[1], int(match[2])

    def said(self):
        self.stderr.flush()
        self.stderr.seek(0)
        return self.stderr.read()

    def stop(self):
        """SIGTERM, then the exit code; a second call does nothing."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(WAIT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process.stdout.close()
        return self.process.returncode

    def connect(self):
        return Wire(self.port)

    def request(self, method, path, body=None, headers=()):
        """One request on its own connection: a Response."""
        with self.connect() as wire:
            wire.send(request_bytes(method, path, body, headers))
            return wire.response(head_only=method == "HEAD")

    def chat(self, body, headers=()):
        return self.request("POST", "/v1/chat/completions", body, headers)

    def metrics(self, headers=()):
        """Values by name and labels as they are printed."""
        text = self.request("GET", "/metrics", headers=headers).body.decode()
        return {m[1]: float(m[2]) for m in re.finditer(r"^([a-z_]+(?:\{[^}]*\})?) (\S+)$", text, re.M)}

    def wait_for(self, condition, what, headers=()):
        """Polls the metrics until condition(metrics) holds."""
        end = time.monotonic() + WAIT_S
        while True:
            metrics = self.metrics(headers)
            if condition(metrics):
                return metrics
            if time.monotonic() > end:
                raise AssertionError(f"never happened: {what}; metrics: {metrics}")
            time.sleep(0.02)


def request_bytes(method, path, body=None, headers=()):
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"]
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(data)}"]
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


class Response:
    def __init__(self, status, headers, body, whole):
        self.status, self.headers, self.body, self.whole = status, headers, body, whole

    def json(self):
        return json.loads(self.body)

    def events(self):
        """The data of the SSE events, parsed; "[DONE]" stays text."""
        data = [line[6:] for line in self.body.decode().split("\n") if line.startswith("data: ")]
        return [d if d == "[DONE]" else json.loads(d) for d in data]

    def text(self):
        """The content of a streamed or whole chat completion."""
        if "text/event-stream" in self.headers.get("content-type", ""):
            return "".join(c["delta"].get("content") or "" for e in self.events() if e != "[DONE]"
                           for c in e.get("choices", []))
        return self.json()["choices"][0]["message"]["content"]


class Wire:
    """A connection whose bytes the test writes and reads itself."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=WAIT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self, reset=False):
        if reset:  # RST instead of FIN, as from a process that was killed
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def more(self):
        """Reads once; False at the end of the stream."""
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            data = b""
        self.buffer += data
        return bool(data)

    def until(self, mark):
        while mark not in self.buffer:
            if not self.more():
                raise AssertionError(f"closed before {mark!r}: {self.buffer[-300:]!r}")
        head, self.buffer = self.buffer.split(mark, 1)
        return head

    def exactly(self, n):
        while len(self.buffer) < n:
            if not self.more():
                raise AssertionError(f"closed {n - len(self.buffer)} bytes too early")
        data, self.buffer = self.buffer[:n], self.buffer[n:]
        return data

    def head(self):
        lines = self.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        assert re.fullmatch(r"HTTP/1\.1 \d{3} .*", lines[0]), lines[0]
        headers = {}
        for line in lines[1:]:
            name, value = line.split(":", 1)
            headers[name.lower()] = value.strip()
        return int(lines[0].split()[1]), headers

    def chunk(self):
        """One chunk's bytes; b"" is the last; None where the stream was cut."""
        try:
            size = int(self.until(b"\r\n").split(b";")[0], 16)
            data = self.exactly(size)
            assert self.exactly(2) == b"\r\n"
            return data
        except AssertionError:
            return None

    def response(self, head_only=False):
        status, headers = self.head()
        body, whole = b"", True
        if head_only:
            pass
        elif headers.get("transfer-encoding") == "chunked":
            while (piece := self.chunk()) != b"":
                if piece is None:
                    whole = False
                    break
                body += piece
        else:
            body = self.exactly(int(headers.get("content-length", 0)))
        return Response(status, headers, body, whole)

    def closed(self):
        """Waits for the other side to close; the bytes that came before."""
        while self.more():
            pass
        return self.buffer


class HouseTest(unittest.TestCase):
    """A folder per test, and servers that are stopped and checked at its end."""

    def setUp(self):
        self.home = self.new_home()

    def new_home(self):
        home = tempfile.mkdtemp(prefix="hearth-e2e-")
        self.addCleanup(shutil.rmtree, home, ignore_errors=True)
        return home

    def serve(self, *args, home=None, env=None):
        server = Server(home or self.home, *args, env=env)
        self.addCleanup(self.stop, server)
        return server

    def stop(self, server):
        code = server.stop()
        self.assertEqual(code, 0, server.said())

    def config(self, text):
        """A configuration file; the --config flag that names it."""
        path = os.path.join(self.home, "test.toml")
        with open(path, "w") as file:
            file.write(text)
        return ["--config", path]

    def hearth(self, *args, **kwargs):
        return hearth(*args, home=kwargs.pop("home", self.home), **kwargs)


def in_threads(works):
    """Runs all at once; their results in order; the first exception is raised here."""
    results, errors = [None] * len(works), []

    def run(i, work):
        try:
            results[i] = work()
        except BaseException as error:  # noqa: handed to the caller below
            errors.append(error)
    threads = [threading.Thread(target=run, args=(i, w)) for i, w in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


# What the demo model cannot make sense of, at a temperature at which it finds no end: with this seed it
# talks for hundreds of tokens. LONG is 16 such answers, so that it ends when somebody ends it.
TALKATIVE = {"messages": [{"role": "user", "content": "}{" * 60}], "temperature": 2, "top_k": 0, "top_p": 1,
             "min_p": 0, "seed": 1, "model": "demo"}
LONG = {**TALKATIVE, "n": 16}


def read_proc(name):
    """A file of /proc; empty where its thread or process has just ended."""
    try:
        with open(f"/proc/{name}") as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def children_of(pid):
    """The tasks that a running hearth started itself again for, and their process ids."""
    out = {}
    for task in os.listdir(f"/proc/{pid}/task"):
        for child in read_proc(f"{pid}/task/{task}/children").split():
            words = read_proc(f"{child}/cmdline").split("\0")
            if len(words) > 1:  # a process that has ended and was not waited for has none
                out[words[1]] = int(child)
    return out


def ask(text, **fields):
    return {"model": "demo", "messages": [{"role": "user", "content": text}], "temperature": 0, **fields}
