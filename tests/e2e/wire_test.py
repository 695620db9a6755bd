"""Bytes on the port: framing, pipelining, pieces of any size, peers that leave, and what is refused."""
import json
import time
import unittest

from house import LONG, HouseTest, ask, request_bytes

CHAT = "/v1/chat/completions"


class Wire(HouseTest):
    def setUp(self):
        super().setUp()
        self.server = self.serve()

    def refused(self, data, status):
        """The bytes are answered with this status and a closed connection, and the server lives on."""
        with self.server.connect() as wire:
            wire.send(data)
            response = wire.response()
            self.assertEqual(response.status, status, response.body)
            self.assertIn("message", response.json()["error"])
            self.assertEqual(wire.closed(), b"")
        self.assertEqual(self.server.request("GET", "/health").status, 200)

    def test_pipelined_requests_are_answered_in_order(self):
        with self.server.connect() as wire:
            wire.send(request_bytes("POST", CHAT, ask("one", max_tokens=4))
                      + request_bytes("GET", "/health")
                      + request_bytes("POST", CHAT, ask("two", max_tokens=4, stream=True))
                      + request_bytes("GET", "/v1/models"))
            self.assertEqual(wire.response().json()["object"], "chat.completion")
            self.assertEqual(wire.response().json()["status"], "ok")
            self.assertEqual(wire.response().events()[-1], "[DONE]")
            self.assertEqual(wire.response().json()["object"], "list")

    def test_a_request_in_single_bytes_is_one_request(self):
        data = request_bytes("POST", CHAT, ask("hi", max_tokens=3))
        with self.server.connect() as wire:
            for i in range(len(data)):
                wire.send(data[i:i + 1])
            self.assertEqual(wire.response().status, 200)

    def test_a_chunked_body_is_read_whole(self):
        body = json.dumps(ask("hi", max_tokens=3)).encode()
        with self.server.connect() as wire:
            wire.send(f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                      "Transfer-Encoding: chunked\r\n\r\n".encode())
            for i in range(0, len(body), 7):
                piece = body[i:i + 7]
                wire.send(b"%x\r\n%s\r\n" % (len(piece), piece))
            wire.send(b"0\r\n\r\n")
            self.assertEqual(wire.response().status, 200)

    def test_expect_100_continue_is_answered_before_the_body(self):
        body = json.dumps(ask("hi", max_tokens=3)).encode()
        with self.server.connect() as wire:
            wire.send(request_bytes("POST", CHAT, body, [("Expect", "100-continue")])[:-len(body)])
            self.assertEqual(wire.head()[0], 100)
            wire.send(body)
            self.assertEqual(wire.response().status, 200)

    def test_http_1_0_is_answered_and_closed(self):
        with self.server.connect() as wire:
            wire.send(b"GET /health HTTP/1.0\r\n\r\n")
            self.assertTrue(wire.closed().startswith(b"HTTP/1."))

    def test_head_has_no_body(self):
        with self.server.connect() as wire:
            wire.send(request_bytes("HEAD", "/health") + request_bytes("GET", "/health"))
            self.assertEqual(wire.response(head_only=True).status, 200)
            self.assertEqual(wire.response().json()["status"], "ok")

    def test_connection_close_closes_after_the_answer(self):
        with self.server.connect() as wire:
            wire.send(request_bytes("GET", "/health", headers=[("Connection", "close")]))
            self.assertEqual(wire.response().status, 200)
            self.assertEqual(wire.closed(), b"")

    def test_no_host_is_refused(self):
        self.refused(b"GET /health HTTP/1.1\r\n\r\n", 400)

    def test_two_hosts_are_refused(self):
        self.refused(b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400)

    def test_length_and_chunked_together_are_refused(self):
        self.refused(f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n"
                     "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n".encode(), 400)

    def test_two_lengths_are_refused(self):
        self.refused(f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n"
                     "Content-Length: 2\r\n\r\n{}".encode(), 400)

    def test_an_unknown_transfer_coding_is_refused(self):
        self.refused(f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: xchunked\r\n\r\n"
                     .encode(), 400)
        self.refused(f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, chunked\r\n"
                     "\r\n".encode(), 501)

    def test_chunked_in_http_1_0_is_refused(self):
        self.refused(f"POST {CHAT} HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
                     .encode(), 400)

    def test_a_folded_header_is_refused(self):
        self.refused(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-A: b\r\n c\r\n\r\n", 400)

    def test_a_bare_line_feed_is_refused(self):
        self.refused(b"GET /health HTTP/1.1\nHost: localhost\n\n", 400)

    def test_a_blank_before_the_colon_is_refused(self):
        self.refused(b"GET /health HTTP/1.1\r\nHost : localhost\r\n\r\n", 400)

    def test_a_zero_byte_is_refused(self):
        self.refused(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-A: \0\r\n\r\n", 400)

    def test_no_http_at_all_is_refused(self):
        self.refused(b"hello there\r\n\r\n", 400)

    def test_tls_on_the_plain_port_gets_a_hint(self):
        with self.server.connect() as wire:
            wire.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 32)
            self.assertIn(b"http://", wire.closed())

    def test_headers_past_the_limit_are_refused(self):
        head = b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-A: "
        with self.server.connect() as wire:
            wire.send(head + b"a" * (20 << 10) + b"\r\n\r\n")
            self.assertEqual(wire.response().status, 200)
        self.refused(head + b"a" * (33 << 10) + b"\r\n\r\n", 431)

    def test_a_body_past_the_limit_is_refused_before_it_is_sent(self):
        self.refused(f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {(32 << 20) + 1}\r\n"
                     "\r\n".encode(), 413)
        self.refused(f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {10 ** 30}\r\n\r\n"
                     .encode(), 400)  # no number that fits anything

    def test_bad_chunk_sizes_are_refused(self):
        for size in (b"zz", b"-1", b"ffffffffffffffffff", b"0x4"):
            self.refused(f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
                         .encode() + size + b"\r\n\r\n", 400)

    def test_a_foreign_host_is_refused(self):
        response = self.server.request("GET", "/health", headers=[("Origin", "http://evil.example")])
        self.assertEqual(response.status, 403)
        with self.server.connect() as wire:
            wire.send(b"GET /health HTTP/1.1\r\nHost: evil.example\r\n\r\n")
            self.assertEqual(wire.response().status, 403)

    def test_unknown_routes_and_methods_are_refused(self):
        self.assertEqual(self.server.request("GET", "/v2/models").status, 404)
        response = self.server.request("GET", CHAT)
        self.assertEqual((response.status, response.headers.get("allow")), (405, "POST"))
        self.assertEqual(self.server.request("DELETE", "/v1/models").status, 405)

    def test_a_connection_closed_before_the_body_leaves_nothing_behind(self):
        for reset in (False, True):
            wire = self.server.connect()
            wire.send(request_bytes("POST", CHAT, ask("hi"))[:-5])
            wire.close(reset)
        self.server.wait_for(lambda m: m["hearth_open_requests"] == 0, "no open request")

    def test_a_stream_that_is_dropped_stops_generation(self):
        for reset in (False, True):
            wire = self.server.connect()
            wire.send(request_bytes("POST", CHAT, {**LONG, "stream": True}))
            self.assertEqual(wire.head()[0], 200)
            self.assertTrue(wire.chunk())
            wire.close(reset)
            self.server.wait_for(lambda m: m["hearth_sequences_running"] == 0
                                 and m["hearth_open_requests"] == 0, "generation stopped")
        self.assert_cancelled(2)

    def test_an_answer_that_nobody_waits_for_stops_too(self):
        wire = self.server.connect()
        wire.send(request_bytes("POST", CHAT, LONG))
        self.server.wait_for(lambda m: m["hearth_sequences_running"] > 0
                             or m["hearth_engine_output_tokens_total"] > 0, "generation began")
        wire.close()
        self.server.wait_for(lambda m: m["hearth_sequences_running"] == 0
                             and m["hearth_open_requests"] == 0, "generation stopped")
        self.assert_cancelled(1)

    def assert_cancelled(self, n):
        cancelled = sum(v for k, v in self.server.metrics().items()
                        if k.startswith("hearth_requests_total") and 'outcome="cancelled"' in k)
        self.assertEqual(cancelled, n)
        before = self.server.metrics()["hearth_engine_output_tokens_total"]
        time.sleep(0.2)
        self.assertEqual(self.server.metrics()["hearth_engine_output_tokens_total"], before)

    def test_a_reader_that_does_not_read_is_paused_and_others_go_on(self):
        slow = self.server.connect()
        slow.send(request_bytes("POST", CHAT, {**LONG, "stream": True}))
        self.assertEqual(slow.head()[0], 200)
        for _ in range(3):
            self.assertEqual(self.server.chat(ask("hi", max_tokens=4)).status, 200)
        slow.close()


class Bodies(HouseTest):
    def setUp(self):
        super().setUp()
        self.server = self.serve()

    def error(self, body, status=400, headers=()):
        response = self.server.request("POST", CHAT, body, headers)
        self.assertEqual(response.status, status, response.body)
        return response.json()["error"]

    def test_broken_json_is_refused_with_its_place(self):
        error = self.error(b'{"model": "demo", "messages": [}')
        self.assertEqual(error["type"], "invalid_request_error")
        self.assertRegex(error["message"], r"line 1|column|1:")

    def test_deep_json_is_refused(self):
        self.error(b"[" * 100000)
        self.error(json.dumps(ask("hi")).encode()[:-1] + b', "x": ' + b"[" * 5000 + b"]" * 5000 + b"}")

    def test_bytes_that_are_no_text_are_refused(self):
        self.error(b'{"model":"demo","messages":[{"role":"user","content":"\xff\xfe"}]}')

    def test_missing_and_wrong_fields_name_the_field(self):
        for body, param in [({"model": "demo"}, "messages"), ({"messages": []}, None),
                            (ask("hi", temperature="hot"), "temperature"),
                            (ask("hi", max_tokens=0), "max_tokens"), (ask("hi", top_p=2), "top_p"),
                            (ask("hi", n=0), "n"), (ask("hi", stop=7), "stop"),
                            ({"model": "demo", "messages": [{"role": "pirate", "content": "x"}]}, "messages")]:
            error = self.error(body)
            self.assertEqual(error["type"], "invalid_request_error")
            if param:
                self.assertIn(param, (error.get("param") or "") + error["message"])

    def test_an_unknown_model_is_not_found(self):
        error = self.error({**ask("hi"), "model": "no-such-model"}, 404)
        self.assertIn("no-such-model", error["message"])

    def test_a_prompt_that_does_not_fit_is_refused_with_exact_counts(self):
        long = ask("word " * 20000)
        error = self.error(long)
        self.assertEqual(error["type"], "exceed_context_size_error")
        self.assertGreater(error["n_prompt_tokens"], error["n_ctx"])
        # Exact: one token more text is one more token counted, as the tokenizer itself says.
        counts = [self.error(ask("word " * n))["n_prompt_tokens"] for n in (20000, 20001)]
        self.assertGreater(counts[1], counts[0])

    def test_bad_hearth_headers_are_refused(self):
        self.error(ask("hi"), headers=[("x-hearth-sensitivity", "secretish")])
        self.error(ask("hi"), headers=[("x-hearth-max-cost", "cheap")])

    def test_unknown_fields_are_ignored(self):
        response = self.server.chat(ask("hi", max_tokens=3, frobnicate={"a": [1]}, user="u", store=False))
        self.assertEqual(response.status, 200)

    def test_the_response_headers_say_where_the_answer_came_from(self):
        headers = self.server.chat(ask("hi", max_tokens=3), [("x-hearth-explain", "1")]).headers
        self.assertEqual(headers["x-hearth-route"], "local")
        self.assertEqual(headers["x-hearth-model"], "demo")
        self.assertTrue(headers["x-hearth-reason"])
        self.assertTrue(headers["x-hearth-request-id"].startswith("req-"))
        self.assertIsInstance(json.loads(headers["x-hearth-decision"]), dict)

    def test_streamed_and_whole_answers_are_the_same(self):
        fields = dict(max_tokens=40, seed=7, temperature=0.9)
        whole = self.server.chat({**ask("Hello!"), **fields})
        streamed = self.server.chat({**ask("Hello!"), **fields, "stream": True,
                                     "stream_options": {"include_usage": True}})
        self.assertEqual(whole.text(), streamed.text())
        self.assertTrue(whole.text())
        events = streamed.events()
        self.assertEqual(events[-1], "[DONE]")
        self.assertEqual(events[-2]["choices"], [])
        self.assertEqual(events[-2]["usage"], whole.json()["usage"])


if __name__ == "__main__":
    unittest.main()
