"""A server's life: where it listens, how it ends, and what it does when full."""
import os
import signal
import socket
import subprocess
import time
import unittest

from house import BINARY, LONG, TALKATIVE, WAIT_S, HouseTest, ask, environment, in_threads, request_bytes

CHAT = "/v1/chat/completions"


class Lifecycle(HouseTest):
    def test_the_first_line_is_the_address_and_health_answers(self):
        server = self.serve()
        response = server.request("GET", "/health")
        self.assertEqual((response.status, response.json()["status"]), (200, "ok"))

    def test_sigterm_lets_an_open_answer_finish_and_exits_0(self):
        server = self.serve()
        with server.connect() as wire:
            # Long enough to be open at the signal, short enough for the half minute of a drain when
            # everything runs thirty times slower.
            wire.send(request_bytes("POST", CHAT, {**LONG, "max_tokens": 100, "stream": True}))
            self.assertEqual(wire.head()[0], 200)
            first = wire.chunk()
            server.process.send_signal(signal.SIGTERM)
            body = first
            while piece := wire.chunk():
                body += piece
            self.assertEqual(piece, b"", "the stream was cut")
            self.assertTrue(body.endswith(b"data: [DONE]\n\n"))
        self.assertEqual(server.process.wait(WAIT_S), 0)

    def test_the_start_tells_the_instruction_set_and_the_memory(self):
        server = self.serve(env={"HEARTH_ISA": "scalar"})
        said = server.said()
        for words in ("on cpu scalar", "weights (mapped)", "KV cache", "compute buffers", "total"):
            self.assertIn(words, said)

    def test_sigint_ends_it_as_well(self):
        server = self.serve()
        server.process.send_signal(signal.SIGINT)
        self.assertEqual(server.process.wait(WAIT_S), 0)

    def test_no_new_connection_is_taken_while_draining(self):
        server = self.serve()
        with server.connect() as wire:
            wire.send(request_bytes("POST", CHAT, {**LONG, "stream": True}))
            self.assertEqual(wire.head()[0], 200)
            server.process.send_signal(signal.SIGTERM)
            end = time.monotonic() + WAIT_S
            while time.monotonic() < end:
                try:
                    socket.create_connection(("127.0.0.1", server.port), timeout=1).close()
                except OSError:
                    break
                if server.process.poll() is not None:
                    break
                time.sleep(0.01)
            else:
                self.fail("it still accepts")

    def test_a_taken_port_is_a_clear_error(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            done = self.hearth("serve", "--port", port)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn(port, done.stderr)
        self.assertEqual(done.stdout, "")

    def test_listening_beyond_loopback_without_keys_is_refused(self):
        for host in ("0.0.0.0", "::"):
            done = self.hearth("serve", "--port", "0", "--host", host)
            self.assertIn(done.returncode, (2, 3), done.stderr)
            self.assertIn("key", done.stderr)
            self.assertEqual(done.stdout, "")

    def test_the_other_loopback_addresses_are_fine(self):
        process = subprocess.Popen([BINARY, "serve", "--port", "0", "--host", "127.0.0.2"], text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                   env=environment(self.home))
        self.assertTrue(process.stdout.readline().startswith("listening on http://127.0.0.2:"))
        process.terminate()
        self.assertEqual(process.wait(WAIT_S), 0)
        process.stdout.close()

    def test_a_full_queue_is_503_with_retry_after(self):
        # One answer at a time and one waiting: of many at once most are told to come back.
        server = self.serve("--parallel", "1", "--queue", "1")
        server.chat(ask("hi", max_tokens=1))  # the model is loaded now

        def one():
            return server.chat(TALKATIVE)
        answers = in_threads([one] * 12)
        codes = {a.status for a in answers}
        self.assertEqual(codes, {200, 503}, codes)
        for answer in answers:
            if answer.status == 503:
                self.assertGreaterEqual(int(answer.headers["retry-after"]), 1)
                self.assertIn("error", answer.json())

    def test_two_servers_share_a_home(self):
        first, second = self.serve(), self.serve()
        for server in (first, second):
            self.assertEqual(server.chat(ask("hi", max_tokens=2)).status, 200)
        self.assertEqual(first.stop(), 0)
        self.assertEqual(second.chat(ask("hi", max_tokens=2)).status, 200)

    def test_the_state_is_for_its_owner_only(self):
        server = self.serve()
        server.chat(ask("hi", max_tokens=2))
        for folder, _, names in os.walk(self.home):
            for name in names:
                path = os.path.join(folder, name)
                if path != os.path.join(self.home, "stderr.txt"):
                    self.assertEqual(os.stat(path).st_mode & 0o077 if "journal" in path else 0, 0, path)

    def test_nothing_of_the_conversation_is_logged(self):
        server = self.serve("--log-level", "debug")
        secret = "xylophone4711"
        server.chat(ask(f"Remember {secret}.", max_tokens=5))
        server.chat({**ask(secret), "model": "no-such-model"})
        server.chat(f'{{"messages": "{secret}"'.encode())
        self.assertEqual(server.stop(), 0)
        self.assertNotIn(secret, server.said())


if __name__ == "__main__":
    unittest.main()
