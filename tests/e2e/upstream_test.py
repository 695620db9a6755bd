"""Requests that leave: only where a decision allowed it, through the door, and written down first."""
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import time
import unittest

from double import TEXT, Double
from house import LONG, WAIT_S, HouseTest, ask, children_of, request_bytes

ANSWER = "".join(TEXT)
CHAT = "/v1/chat/completions"


class Upstream(HouseTest):
    def setUp(self):
        super().setUp()
        self.double = Double()
        self.addCleanup(self.double.close)

    def serve_with(self, *models, flags=(), env=None, more="", base=None, tier="cloud", price=0):
        """A server whose only upstream is the double, offering these models in this order."""
        offered = ", ".join(f'{{ name = "{m}", context = 100000, input_usd_per_mtok = {price}, '
                            f'output_usd_per_mtok = {price} }}' for m in models)
        config = self.config(f'[[upstream]]\nname = "acme"\ntier = "{tier}"\n'
                             f'base_url = "{base or f"http://127.0.0.1:{self.double.port}/v1"}"\n'
                             f'{more}\nmodels = [ {offered} ]\n')
        return self.serve(*config, *flags, env=env)

    def ask(self, model, **fields):
        return {**ask("Where to?", **fields), "model": model}

    def journal(self):
        return self.hearth("audit", "tail", "-n", "100", "--json").stdout

    def outcomes(self):
        """The outcomes in the journal, oldest first. Requires: the server has stopped."""
        entries = json.loads(self.journal())["records"]
        return [e["record"] for e in entries if e["event"] == "outcome"]

    def test_a_public_request_to_a_cloud_model_is_answered_by_it(self):
        server = self.serve_with("ok", "other")
        for model in ("acme/ok", "ok", "cloud"):
            whole = server.chat(self.ask(model), [("x-hearth-sensitivity", "public")])
            self.assertEqual(whole.status, 200, whole.body)
            self.assertEqual(whole.text(), ANSWER)
            self.assertEqual(whole.headers["x-hearth-route"], "cloud")
            self.assertEqual(whole.headers["x-hearth-model"], "acme/ok")
            self.assertEqual(whole.json()["usage"]["total_tokens"], 14)
            streamed = server.chat(self.ask(model, stream=True))
            self.assertEqual(streamed.text(), ANSWER)
            self.assertEqual(streamed.events()[-1], "[DONE]")
        self.assertEqual(self.double.n_connections, 6)
        self.assertEqual({body["model"] for _, body in self.double.requests}, {"ok"})

    def test_a_restricted_request_naming_the_cloud_model_is_403_and_nothing_left(self):
        server = self.serve_with("ok")
        for model in ("acme/ok", "ok"):
            for sensitivity in ("restricted", "confidential"):
                for stream in (False, True):
                    answer = server.chat(self.ask(model, stream=stream),
                                         [("x-hearth-sensitivity", sensitivity)])
                    self.assertEqual(answer.status, 403, answer.body)
                    self.assertEqual(answer.json()["error"]["type"], "forbidden_by_policy")
                    self.assertEqual(answer.headers["x-hearth-route"], "refused")
                    self.assertEqual(answer.headers["x-hearth-reason"], "sensitive")
        server.stop()
        self.assertEqual(self.double.n_connections, 0)
        self.assertNotIn('"egress"', self.journal())

    def test_a_restricted_request_to_cloud_or_auto_stays_here(self):
        server = self.serve_with("ok")
        for model in ("cloud", "auto", "local", "demo"):
            answer = server.chat(self.ask(model, max_tokens=3), [("x-hearth-sensitivity", "restricted")])
            self.assertEqual(answer.status, 200, answer.body)
            self.assertEqual(answer.headers["x-hearth-route"], "local")
        self.assertEqual(self.double.n_connections, 0)

    def test_local_is_the_default_and_opens_no_connection(self):
        server = self.serve_with("ok")
        for model in ("auto", "local", "demo"):
            answer = server.chat(self.ask(model, max_tokens=3), [("x-hearth-sensitivity", "public")])
            self.assertEqual(answer.headers["x-hearth-route"], "local")
        self.assertEqual(self.double.n_connections, 0)

    def test_offline_opens_no_connection(self):
        server = self.serve_with("ok", flags=["--offline", "true"])
        self.assertGreaterEqual(server.chat(self.ask("acme/ok")).status, 400)
        self.assertEqual(server.chat(self.ask("cloud", max_tokens=3)).headers["x-hearth-route"], "local")
        self.assertEqual(self.double.n_connections, 0)

    def test_only_our_key_and_the_request_reach_the_upstream(self):
        server = self.serve_with("ok", more='key_env = "ACME_KEY"', env={"ACME_KEY": "sk-ours-4711"})
        server.chat(self.ask("acme/ok", user="jane", seed=5),
                    [("Authorization", "Bearer sk-theirs"), ("x-hearth-sensitivity", "public"),
                     ("Cookie", "a=b"), ("X-Secret", "s")])
        headers, body = self.double.requests[0]
        self.assertEqual(headers["authorization"], "Bearer sk-ours-4711")
        self.assertLessEqual(set(headers), {"host", "authorization", "content-type", "content-length",
                                            "accept", "accept-encoding", "user-agent", "connection"})
        self.assertEqual(body["messages"], [{"role": "user", "content": "Where to?"}])
        self.assertTrue(body["stream"])
        server.stop()
        for folder, _, names in os.walk(self.home):  # journal and log
            for name in names:
                with open(os.path.join(folder, name), "rb") as file:
                    self.assertNotIn(b"sk-ours-4711", file.read(), name)

    def test_a_missing_key_is_refused_at_start(self):
        done = self.hearth("serve", "--port", "0", *self.config(
            '[[upstream]]\nname = "acme"\nbase_url = "https://api.example.com/v1"\n'
            'key_env = "NO_SUCH_KEY"\nmodels = [ { name = "x" } ]\n'))
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("NO_SUCH_KEY", done.stderr)

    def test_a_failure_before_the_first_word_falls_back(self):
        for model in ("busy", "broken", "reset", "cut-early", "garbage", "garbage-events", "not-a-stream",
                      "redirect"):
            with self.subTest(model):
                server = self.serve_with(model)
                for stream in (False, True):
                    answer = server.chat(self.ask("cloud", stream=stream, max_tokens=5))
                    self.assertEqual(answer.status, 200, answer.body)
                    self.assertTrue(answer.whole)
                    self.assertEqual(answer.headers["x-hearth-route"], "local")
                    self.assertEqual(answer.headers["x-hearth-model"], "demo")
                    self.assertIn(answer.headers["x-hearth-reason"], ("failover",))
                    self.assertTrue(answer.text())
                self.stop(server)

    def test_a_silent_upstream_falls_back_after_its_deadline(self):
        server = self.serve_with("silent", more="first_byte_timeout_s = 1")
        answer = server.chat(self.ask("cloud", max_tokens=5))
        self.assertEqual((answer.status, answer.headers["x-hearth-route"]), (200, "local"))

    def test_without_fallback_the_failure_is_reported(self):
        for model, statuses in (("busy", (429, 502, 503)), ("broken", (502,)), ("reset", (502,)),
                                ("garbage", (502,)), ("redirect", (502,))):
            with self.subTest(model):
                server = self.serve_with(model, flags=["--fallback", "false"])
                answer = server.chat(self.ask("cloud"))
                self.assertIn(answer.status, statuses, answer.body)
                self.assertIn("acme", answer.json()["error"]["message"])
                self.stop(server)

    def test_after_the_first_word_nothing_is_stitched_over(self):
        for model in ("cut", "error-inside", "stall"):
            with self.subTest(model):
                server = self.serve_with(model, more="idle_timeout_s = 1")
                answer = server.chat(self.ask("cloud", stream=True, max_tokens=5))
                self.assertEqual(answer.status, 200)
                self.assertEqual(answer.headers["x-hearth-route"], "cloud")
                data = [line[6:] for line in answer.body.decode().split("\n") if line.startswith("data: ")]
                events = [json.loads(d) for d in data if d != "[DONE]"]
                text = "".join(c["delta"].get("content") or "" for e in events for c in e.get("choices", []))
                self.assertEqual(text, TEXT[0])
                self.assertTrue(any("error" in e for e in events), events)
                self.assertFalse(any(c.get("finish_reason") for e in events for c in e.get("choices", [])))
                whole = server.chat(self.ask("acme/" + model))
                self.assertGreaterEqual(whole.status, 500, whole.body)
                self.stop(server)

    def test_pieces_of_any_size_are_the_same_answer(self):
        server = self.serve_with("single-bytes")
        self.assertEqual(server.chat(self.ask("cloud")).text(), ANSWER)

    def test_a_client_that_leaves_closes_the_upstream(self):
        server = self.serve_with("stall")
        wire = server.connect()
        wire.send(request_bytes("POST", CHAT, self.ask("cloud", stream=True)))
        self.assertEqual(wire.head()[0], 200)
        self.assertTrue(wire.chunk())
        wire.close()
        end = time.monotonic() + WAIT_S
        while self.double.n_closed_by_peer == 0 and time.monotonic() < end:
            time.sleep(0.02)
        self.assertEqual(self.double.n_closed_by_peer, 1)
        server.wait_for(lambda m: m["hearth_open_requests"] == 0, "the request ended")

    def test_an_upstream_that_is_not_there_is_named(self):
        self.double.close()
        server = self.serve_with("ok")
        answer = server.chat(self.ask("acme/ok"))
        self.assertEqual(answer.status, 502, answer.body)
        self.assertIn("acme", answer.json()["error"]["message"])
        self.assertEqual(server.chat(self.ask("cloud", max_tokens=3)).headers["x-hearth-route"], "local")

    def test_the_terminal_asks_through_the_same_door(self):
        config = self.config('[[upstream]]\nname = "acme"\nbase_url = '
                             f'"http://127.0.0.1:{self.double.port}/v1"\nmodels = [ {{ name = "ok" }} ]\n')
        done = self.hearth("run", "acme/ok", "Where to?", *config)
        self.assertEqual((done.returncode, done.stdout.strip()), (0, ANSWER), done.stderr)
        done = self.hearth("run", "acme/ok", "Where to?", "--keep-from", "internal", *config)
        self.assertEqual((done.returncode, done.stdout), (3, ""), done.stderr)
        done = self.hearth("route", "explain", "--model", "acme/ok", "--sensitivity", "restricted", *config,
                           stdin=json.dumps(self.ask("acme/ok")))
        self.assertEqual(done.returncode, 3, done.stderr)
        self.assertEqual(self.double.n_connections, 1)
        self.double.close()
        done = self.hearth("run", "acme/ok", "Where to?", *config)
        self.assertEqual((done.returncode, done.stdout), (6, ""), done.stderr)

    def test_what_left_is_in_the_journal(self):
        server = self.serve_with("ok")
        request_id = server.chat(self.ask("acme/ok"),
                                 [("x-hearth-sensitivity", "public")]).headers["x-hearth-request-id"]
        server.stop()
        text = self.journal()
        self.assertIn(request_id, text)
        for word in ("decision", "outcome", "egress", "acme", "bytes_out"):
            self.assertIn(word, text)
        self.assertNotIn("Where to?", text)

    def test_what_an_upstream_answered_is_in_neither_log_nor_journal(self):
        server = self.serve_with("leaky", "ok", "leaky-late", "leaky-refusal", "leaky-words",
                                 flags=["--log-level", "debug"])
        self.assertEqual(server.chat(self.ask("cloud")).headers["x-hearth-model"], "acme/ok")
        for model, status in (("leaky", 502), ("leaky-late", 502), ("leaky-refusal", 400),
                              ("leaky-words", 502)):
            self.assertEqual(server.chat(self.ask("acme/" + model)).status, status, model)
        said = server.said()
        server.stop()
        self.assertIn("failover", said)
        self.assertNotIn("MARKER", said)
        self.assertNotIn("MARKER", self.journal())
        errors = [o.get("error", "") for o in self.outcomes()]
        self.assertTrue(errors[1].startswith("upstream_failed: upstream acme: "), errors)
        self.assertEqual(errors[3], "invalid_request")
        self.assertIn("HTTP 500", errors[4])

    def test_what_an_answer_used_up_before_it_failed_is_paid_for(self):
        server = self.serve_with("cut", "role-only", price=1_000)
        self.assertEqual(server.chat(self.ask("acme/cut")).status, 502)
        fallen = server.chat({**self.ask("cloud", max_tokens=3), "model": "acme/role-only"})
        self.assertEqual(fallen.status, 502)
        server.stop()
        cut, role = self.outcomes()
        # "Where to?" has nine bytes, three tokens, and a frame of four; "Over " is two tokens.
        self.assertEqual((cut["usage"]["input_tokens"], cut["usage"]["output_tokens"]), (7, 2))
        self.assertTrue(cut["usage_estimated"])
        self.assertEqual(cut["cost_microusd"], 9_000)
        self.assertGreater(cut["timings"]["ttft_ns"], 0)
        self.assertEqual((role["cost_microusd"], role["timings"]["ttft_ns"]), (7_000, 0))

    def test_a_place_that_was_replaced_is_paid_for_too(self):
        server = self.serve_with("role-only", price=1_000)
        answer = server.chat(self.ask("cloud", max_tokens=3))
        self.assertEqual(answer.headers["x-hearth-route"], "local")
        server.stop()
        (outcome,) = self.outcomes()
        self.assertEqual(outcome["model"], "demo")
        self.assertEqual(outcome["usage_failed"]["input_tokens"], 7)
        self.assertTrue(outcome["usage_estimated"])
        self.assertEqual(outcome["cost_microusd"], 7_000)

    def test_a_cap_counts_the_schemas_of_tools(self):
        server = self.serve_with("ok", price=1)  # a micro-dollar a token
        tool = {"type": "function", "function": {"name": "f", "description": "word " * 1000}}
        request = self.ask("acme/ok", tools=[tool], max_tokens=10)
        refused = server.chat(request, [("x-hearth-max-cost", "5000")])
        self.assertEqual((refused.status, refused.headers["x-hearth-reason"]), (403, "budget"))
        self.assertEqual(self.double.n_connections, 0)
        self.assertEqual(server.chat(request, [("x-hearth-max-cost", "7000")]).text(), ANSWER)

    def test_a_server_of_our_own_is_told_the_class(self):
        server = self.serve_with("ok", tier="fleet", flags=["--keep-from", "restricted"])
        for stated in ("public", "confidential"):
            server.chat(self.ask("acme/ok"), [("x-hearth-sensitivity", stated)])
        told = [headers.get("x-hearth-sensitivity") for headers, _ in self.double.requests]
        self.assertEqual(told, ["internal", "confidential"])  # what is stated only raises

    def test_a_raw_prompt_is_not_sent(self):
        config = self.config('[[upstream]]\nname = "acme"\nbase_url = '
                             f'"http://127.0.0.1:{self.double.port}/v1"\nmodels = [ {{ name = "ok" }} ]\n')
        done = self.hearth("run", "acme/ok", "--raw", "Where to?", *config)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("no raw prompt", done.stderr)
        self.assertEqual(self.double.n_connections, 0)

    def test_an_endless_name_of_a_model_is_refused(self):
        server = self.serve_with("ok")
        self.assertEqual(server.chat(self.ask("m" * (2 << 20))).status, 400)

    def test_the_decision_is_written_before_the_upstream_hears_of_it(self):
        server = self.serve_with("silent")
        wire = server.connect()
        wire.send(request_bytes("POST", CHAT, self.ask("acme/silent")))
        end = time.monotonic() + WAIT_S
        while self.double.n_connections == 0 and time.monotonic() < end:
            time.sleep(0.001)
        server.process.send_signal(signal.SIGKILL)  # nothing can be written after this
        server.process.wait()
        self.assertIn('"decision"', self.journal())
        wire.close()
        server.stop = lambda: 0  # it was killed on purpose
        server.process.stdout.close()

    def test_sigterm_ends_a_stalled_stream_too(self):
        server = self.serve_with("stall", more="idle_timeout_s = 2")
        wire = server.connect()
        wire.send(request_bytes("POST", CHAT, self.ask("cloud", stream=True)))
        self.assertEqual(wire.head()[0], 200)
        server.process.send_signal(signal.SIGTERM)
        self.assertEqual(server.process.wait(WAIT_S), 0)
        wire.close()

    def test_a_connect_that_hangs_does_not_hold_up_the_end(self):
        # A listener whose backlog is full: the kernel drops what else would connect, and says nothing.
        with socket.socket() as hole:
            hole.bind(("127.0.0.1", 0))
            hole.listen(0)
            port, fillers = hole.getsockname()[1], []
            for _ in range(3):
                filler = socket.socket()
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.1", port))
                fillers.append(filler)
            server = self.serve_with("ok", base=f"http://127.0.0.1:{port}/v1", more="connect_timeout_s = 120")
            wire = server.connect()
            wire.send(request_bytes("POST", CHAT, self.ask("acme/ok")))
            server.wait_for(lambda m: m["hearth_open_requests"] == 1, "the request is open")
            end = time.monotonic() + WAIT_S
            while '"decision"' not in self.journal() and time.monotonic() < end:
                time.sleep(0.02)
            wire.close()
            server.process.send_signal(signal.SIGTERM)
            # Long before the connect gives up.
            self.assertEqual(server.process.wait(60), 0)
            for filler in fillers:
                filler.close()

    def test_a_local_model_needs_no_upstream(self):
        """Neither a key, nor a journal that egress could be written into; and nothing leaves."""
        config = self.config('[[upstream]]\nname = "acme"\nbase_url = '
                             f'"http://127.0.0.1:{self.double.port}/v1"\nkey_env = "NO_SUCH_KEY"\n'
                             'models = [ { name = "ok" }, { name = "demo" } ]\n')
        for model in ("demo", "local"):
            done = self.hearth("run", model, "Hello!", "--max-tokens", "3", *config)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertTrue(done.stdout.strip())
        for model in ("acme/ok", "ok", "cloud", "auto", "acme/demo"):
            done = self.hearth("run", model, "Hello!", *config)
            self.assertNotEqual(done.returncode, 0, model)
            self.assertIn("NO_SUCH_KEY", done.stderr)
        self.assertEqual(self.double.n_connections, 0)

    def test_without_a_journal_nothing_leaves(self):
        config = self.config('[[upstream]]\nname = "acme"\nbase_url = '
                             f'"http://127.0.0.1:{self.double.port}/v1"\nmodels = [ {{ name = "ok" }} ]\n')
        os.makedirs(os.path.join(self.home, "state"))
        with open(os.path.join(self.home, "state", "journal"), "w") as file:
            file.write("a file where the folder should be")
        for model in ("acme/ok", "cloud"):
            done = self.hearth("run", model, "Hello!", *config)
            self.assertNotEqual(done.returncode, 0, model)
        self.assertEqual(self.hearth("run", "demo", "Hello!", "--max-tokens", "3", *config).returncode, 0)
        self.assertEqual(self.double.n_connections, 0)

    def test_the_broker_and_the_opener_go_with_the_server(self):
        server = self.serve_with("ok")
        children = children_of(server.process.pid)
        self.assertEqual(sorted(children), ["egress-broker", "model-opener"])
        server.process.kill()
        server.process.wait()
        end = time.monotonic() + WAIT_S
        for pid in children.values():
            while os.path.exists(f"/proc/{pid}") and time.monotonic() < end:
                time.sleep(0.01)
            self.assertFalse(os.path.exists(f"/proc/{pid}"))
        server.stop = lambda: 0
        server.process.stdout.close()


    def test_without_its_broker_a_server_says_that_it_is_degraded_and_sends_nothing(self):
        server = self.serve_with("ok")
        self.assertEqual(server.chat(self.ask("acme/ok")).text(), ANSWER)
        self.assertEqual(server.request("GET", "/health").json()["status"], "ok")
        self.assertEqual(server.metrics()["hearth_egress_broker_up"], 1)
        os.kill(children_of(server.process.pid)["egress-broker"], signal.SIGKILL)
        server.wait_for(lambda m: m["hearth_egress_broker_up"] == 0, "the broker's end was seen")
        health = server.request("GET", "/health")
        self.assertEqual((health.status, health.json()["status"]), (200, "degraded"))
        self.assertIn("broker", health.json()["egress"])
        for stream in (False, True):
            refused = server.chat(self.ask("acme/ok", stream=stream))
            self.assertGreaterEqual(refused.status, 500, refused.body)
            message = refused.json()["error"]["message"]
            self.assertIn("broker", message)
            self.assertIn("restart", message)
        for model in ("auto", "cloud", "demo"):  # what can be answered here is
            answer = server.chat(self.ask(model, max_tokens=3))
            self.assertEqual((answer.status, answer.headers["x-hearth-route"]), (200, "local"), answer.body)
        self.assertEqual(self.double.n_connections, 1)


@unittest.skipUnless(shutil.which("openssl"), "needs the openssl command")
class UpstreamTls(HouseTest):
    def setUp(self):
        super().setUp()
        self.ca, key = os.path.join(self.home, "ca.pem"), os.path.join(self.home, "key.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                        "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
                        "subjectAltName=DNS:localhost", "-keyout", key, "-out", self.ca], check=True,
                       capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.ca, key)
        self.double = Double(context)
        self.addCleanup(self.double.close)

    def answer(self, host, ca_line):
        server = self.serve("--fallback", "false", *self.config(
            f'[[upstream]]\nname = "acme"\nbase_url = "https://{host}:{self.double.port}/v1"\n{ca_line}\n'
            'models = [ { name = "ok" } ]\n'))
        answer = server.chat({**ask("Where to?"), "model": "acme/ok"})
        self.stop(server)
        return answer

    def test_a_certificate_of_the_named_authority_is_taken(self):
        answer = self.answer("localhost", f'ca_file = "{self.ca}"')
        self.assertEqual((answer.status, answer.text()), (200, ANSWER))

    def test_an_unknown_authority_is_refused_and_nothing_is_sent(self):
        answer = self.answer("localhost", "")
        self.assertEqual(answer.status, 502, answer.body)
        self.assertEqual(self.double.requests, [])

    def test_a_certificate_for_another_name_is_refused(self):
        answer = self.answer("127.0.0.1", f'ca_file = "{self.ca}"')
        self.assertEqual(answer.status, 502, answer.body)
        self.assertEqual(self.double.requests, [])


class Fleet(HouseTest):
    """A second hearth as the upstream of the first."""

    def setUp(self):
        super().setUp()
        self.far = self.serve(home=self.new_home())
        self.near = self.serve(*self.config(
            f'[[upstream]]\nname = "far"\ntier = "fleet"\nbase_url = "{self.far.address}/v1"\n'
            'models = [ { name = "demo", context = 1024 } ]\n'))

    def test_both_give_the_same_answer(self):
        for stream in (False, True):
            fields = dict(max_tokens=20, seed=3, temperature=0.8, stream=stream)
            here = self.near.chat({**ask("Hello!"), **fields})
            there = self.near.chat({**ask("Hello!"), **fields, "model": "far/demo"})
            self.assertEqual(there.status, 200, there.body)
            self.assertEqual(there.headers["x-hearth-route"], "fleet")
            self.assertEqual(there.text(), here.text())
        self.assertEqual(self.far.metrics()["hearth_output_tokens_total"] > 0, True)

    def test_the_far_server_holds_to_the_class_that_was_stated_here(self):
        double = Double()
        self.addCleanup(double.close)
        far = self.serve(*self.config(
            f'[[upstream]]\nname = "acme"\nbase_url = "http://127.0.0.1:{double.port}/v1"\n'
            'models = [ { name = "ok", context = 1024 } ]\n'), home=self.new_home())
        near = self.serve("--keep-from", "restricted", *self.config(
            f'[[upstream]]\nname = "far"\ntier = "fleet"\nbase_url = "{far.address}/v1"\n'
            'models = [ { name = "cloud", context = 1024 } ]\n'), home=self.new_home())
        request = {**ask("Hello!"), "model": "far/cloud", "max_tokens": 3}
        self.assertEqual(near.chat(request, [("x-hearth-sensitivity", "confidential")]).status, 200)
        # The same again is of the class that was stated, whoever leaves the statement away: it is marked.
        self.assertEqual(near.chat(request).status, 200)
        self.assertEqual(double.n_connections, 0)
        other = {**ask("Where to?"), "model": "far/cloud", "max_tokens": 3}
        self.assertEqual(near.chat(other).text(), ANSWER)
        self.assertEqual(double.n_connections, 1)

    def test_a_client_that_leaves_stops_the_far_engine(self):
        wire = self.near.connect()
        wire.send(request_bytes("POST", CHAT, {**LONG, "model": "far/demo", "stream": True}))
        self.assertEqual(wire.head()[0], 200)
        self.assertTrue(wire.chunk())
        wire.close()
        self.far.wait_for(lambda m: m["hearth_open_requests"] == 0 and m["hearth_sequences_running"] == 0,
                          "the far engine stopped")

    def test_an_error_of_the_far_server_is_passed_on(self):
        answer = self.near.chat({**ask("word " * 3000), "model": "far/demo"})
        self.assertEqual(answer.status, 400, answer.body)


if __name__ == "__main__":
    unittest.main()
