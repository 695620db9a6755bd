"""What may leave: card numbers, conversations that held one, pseudonyms, headers, addresses; what is kept."""
import json
import os
import re
import socket
import threading

from double import Double, chunk
from house import HouseTest, ask, in_threads
from upstream_test import CHAT, Upstream

CARD = "4111 1111 1111 1111"
SECRET_TURN = {"role": "user", "content": f"My card is {CARD}, keep it in mind."}
CANARY = "xylophone-canary-7741"


def talk(*texts, model="cloud", **fields):
    """User and assistant in turns, the user first."""
    roles = ("user", "assistant")
    return {"model": model, "messages": [{"role": roles[i % 2], "content": t} for i, t in enumerate(texts)],
            "max_tokens": 4, **fields}


class Privacy(HouseTest):
    serve_with, journal = Upstream.serve_with, Upstream.journal

    def setUp(self):
        super().setUp()
        self.double = Double()
        self.addCleanup(self.double.close)

    def records(self, event):
        entries = json.loads(self.journal())["records"]
        return [e["record"] for e in entries if e["event"] == event]

    def test_a_card_in_an_early_message_keeps_the_conversation_here(self):
        server = self.serve_with("ok")
        early = talk("Hello", "Hi", "and", "yes", "What now?")
        early["messages"].insert(2, SECRET_TURN)
        for body in (early, {**early, "stream": True}):
            answer = server.chat(body, [("x-hearth-sensitivity", "public"), ("x-hearth-explain", "1")])
            self.assertEqual(answer.headers["x-hearth-route"], "local", answer.body)
            self.assertEqual(answer.headers["x-hearth-reason"], "sensitive")
            decision = answer.headers["x-hearth-decision"]
            self.assertIn("credit_card \\u00d71", decision)
            self.assertNotIn("4111", decision)
        refused = server.chat({**early, "model": "acme/ok"})
        self.assertEqual((refused.status, refused.json()["error"]["type"]), (403, "forbidden_by_policy"))
        self.assertNotIn(b"4111", refused.body)
        self.assertEqual(self.double.n_connections, 0)

    def test_only_a_key_that_may_lowers_the_class_and_it_is_on_record(self):
        server = self.serve_with("ok")
        tokens = [json.loads(self.hearth("keys", "create", "--json", "--name", name, *flags).stdout)["secret"]
                  for name, flags in (("plain", []), ("trusted", ["--may-lower-to", "internal"]))]
        for token, route in zip(tokens, ("local", "cloud")):
            answer = server.chat(talk(SECRET_TURN["content"]), [
                ("Authorization", "Bearer " + token), ("x-hearth-sensitivity", "public")])
            self.assertEqual(answer.headers["x-hearth-route"], route, answer.body)
        self.assertEqual(self.double.n_connections, 1)
        server.stop()
        decisions = self.records("decision")
        self.assertEqual([(d["sensitivity"], d["decision"]["lowered"]) for d in decisions],
                         [("restricted", False), ("internal", True)])
        self.assertEqual(len({d["key_id"] for d in decisions}), 2)
        self.assertNotIn("4111", json.dumps(decisions))

    def test_dropping_the_card_and_keeping_the_answer_does_not_shed_it(self):
        server = self.serve_with("ok")
        local = server.chat({**talk("}{" * 60, model="demo"), "max_tokens": 120, "temperature": 2, "top_k": 0,
                             "top_p": 1, "min_p": 0, "seed": 1}, [("x-hearth-sensitivity", "restricted")])
        answer = local.text()
        self.assertGreater(len("".join(answer.split())), 64, answer)
        kept = server.chat(talk("Something else", answer, "Go on."))
        self.assertEqual(kept.headers["x-hearth-route"], "local")
        self.assertEqual(self.double.n_connections, 0)
        self.stop(server)
        # Not by a restart either; an authorised release ends it, and is on record.
        server = self.serve_with("ok")
        self.assertEqual(server.chat(talk("Something else", answer, "Go on."), ).headers["x-hearth-route"],
                         "local")
        taints = json.loads(self.hearth("taint", "list", "--json").stdout)["taints"]
        self.assertTrue(taints)
        for taint in taints:
            self.assertEqual(self.hearth("taint", "release", taint["id"]).returncode, 0)
        self.assertEqual(self.hearth("taint", "release", taints[0]["id"]).returncode, 4)
        self.assertIn("taint.release", self.journal())
        self.assertEqual(server.chat(talk("Yet another", answer, "Go on.")).headers["x-hearth-route"], "cloud")

    def test_redacted_the_double_never_sees_the_card_and_the_client_gets_it_back(self):
        def echo(c, self=self.double):
            """Says what it was told, byte by byte."""
            said = self.requests[-1][1]["messages"][-1]["content"]
            whole = b"".join(b"data: " + json.dumps(e).encode() + b"\n\n" for e in (
                [chunk({"content": ch}) for ch in said] + [chunk({}, "stop")])) + b"data: [DONE]\n\n"
            self.begin(c)
            self.piece(c, whole)
            self.end(c)
        self.double.do_echo = echo
        server = self.serve_with("echo", flags=["--redact", "restricted"])
        for stream in (False, True):
            answer = server.chat(talk(f"Say {CARD} and again {CARD}.", stream=stream))
            self.assertEqual(answer.headers["x-hearth-route"], "cloud", answer.body)
            self.assertEqual(answer.text(), f"Say {CARD} and again {CARD}.")
        sent = [json.dumps(body) for _, body in self.double.requests]
        self.assertEqual(len(sent), 2)
        self.assertNotIn("4111", sent[0] + sent[1])
        names = set(re.findall(r"\[CREDIT_CARD_[0-9A-Z]{6}\]", sent[0] + sent[1]))
        self.assertEqual(len(names), 1)  # the same in both requests of the conversation
        stated = server.chat(talk(f"Say {CARD}."), [("x-hearth-sensitivity", "restricted")])
        self.assertEqual(stated.headers["x-hearth-route"], "local")
        server.stop()
        redactions = [r["redaction"] for r in self.records("outcome") if "redaction" in r]
        self.assertEqual([r["n_restored"] for r in redactions], [2, 2])

    def test_nothing_of_the_callers_headers_travels(self):
        server = self.serve_with("ok")
        answer = server.chat(talk("Where to?"), [
            ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            ("tracestate", "congo=t61rcWkgMzE"), ("User-Agent", "secret-client/1.0"), ("Cookie", "a=b"),
            ("X-Forwarded-For", "10.1.2.3"), ("Forwarded", "for=10.1.2.3"), ("Via", "1.1 proxy"),
            ("Authorization", "Bearer sk-theirs"), ("baggage", "user=jane")])
        self.assertEqual(answer.headers["x-hearth-route"], "cloud")
        headers, body = self.double.requests[0]
        self.assertLessEqual(set(headers), {"host", "content-type", "content-length", "accept",
                                            "accept-encoding", "user-agent", "connection"})
        self.assertNotIn("secret-client", headers.get("user-agent", ""))
        self.assertNotIn("jane", json.dumps([headers, body]))

    def test_an_address_in_a_request_is_never_fetched(self):
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        seen = []
        threading.Thread(target=lambda: seen.append(listener.accept()), daemon=True).start()
        server = self.serve_with("ok")
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/cat.png"
        for model in ("demo", "cloud", "acme/ok", "auto"):
            for image in (url, url.replace("http", "https"), "file:///etc/passwd"):
                answer = server.chat({"model": model, "messages": [{"role": "user", "content": [
                    {"type": "text", "text": "What is it?"},
                    {"type": "image_url", "image_url": {"url": image}}]}]})
                self.assertEqual(answer.status, 400, answer.body)
                self.assertIn("data:", answer.json()["error"]["message"])
        file = server.chat({"model": "demo", "messages": [{"role": "user", "content": [
            {"type": "file", "file": {"file_id": "file-abc"}}]}]})
        self.assertEqual(file.status, 400)
        self.assertEqual((seen, self.double.n_connections), ([], 0))

    def test_no_text_is_kept_anywhere_after_a_day_of_requests(self):
        server = self.serve_with("ok", "broken", flags=["--log-level", "debug"])
        tool = {"type": "function", "function": {"name": "look", "description": CANARY, "parameters": {
            "type": "object", "properties": {"q": {"type": "string", "description": CANARY}}}}}
        bodies = [talk(CANARY, model=m, stream=s) for m in ("demo", "acme/ok", "cloud", "nobody", "acme/broken")
                  for s in (False, True)]
        bodies += [talk(f"{CANARY} {CARD}"), talk(CANARY, CANARY, CANARY), talk(CANARY, tools=[tool]),
                   {**talk(CANARY), "stop": [CANARY]}, {"model": "demo", "messages": CANARY},
                   {"model": "demo", "prompt": CANARY, "messages": []}]
        in_threads([lambda b=b: server.chat(b) for b in bodies])
        server.chat(bodies[0], [("x-hearth-sensitivity", "restricted")])
        server.request("POST", CHAT, (b"{" + CANARY.encode()))
        self.hearth("run", "demo", CANARY)
        server.stop()
        looked_at = 0
        for folder, _, names in os.walk(self.home):
            for name in names:
                with open(os.path.join(folder, name), "rb") as file:
                    looked_at += 1
                    self.assertNotIn(CANARY.encode(), file.read(), os.path.join(folder, name))
        self.assertGreater(looked_at, 3)

    def test_a_local_answer_is_replayed_bit_for_bit(self):
        server = self.serve_with("ok")
        body = {**ask("Sort: 3 1 2"), "temperature": 1.5, "seed": 7, "max_tokens": 20, "n": 2}
        answer = server.chat(body)
        self.assertEqual(answer.status, 200, answer.body)
        server.stop()
        request_id = answer.headers["x-hearth-request-id"]
        path = os.path.join(self.home, "request.json")
        with open(path, "w") as file:
            json.dump(body["messages"], file)
        same = self.hearth("replay", request_id, "--messages", path)
        self.assertEqual(same.returncode, 0, same.stdout + same.stderr)
        self.assertIn("identical", same.stdout)
        other = self.hearth("replay", request_id, "Sort: 3 1 3", "--json")
        self.assertEqual(other.returncode, 1, other.stderr)
        self.assertIn("prompt", json.loads(other.stdout)["differs"][0])
        self.assertEqual(self.hearth("replay", "req-nobody", "x").returncode, 4)
        self.assertEqual(self.hearth("replay", request_id).returncode, 1)

    def test_an_answer_of_run_is_replayed_and_a_cloud_one_is_not(self):
        done = json.loads(self.hearth("run", "demo", "Sort: 3 1 2", "--seed", "3", "--temperature", "1.2",
                                      "--max-tokens", "12", "--json").stdout)
        same = self.hearth("replay", done["request_id"], "Sort: 3 1 2", "--json")
        self.assertEqual(same.returncode, 0, same.stdout + same.stderr)
        self.assertEqual(json.loads(same.stdout), {"request_id": done["request_id"], "identical": True,
                                                   "n_tokens": len(done["tokens"]), "differs": []})
        server = self.serve_with("ok")
        cloud = server.chat(talk("Where to?"))
        server.stop()
        refused = self.hearth("replay", cloud.headers["x-hearth-request-id"], "Where to?")
        self.assertNotEqual(refused.returncode, 0)
        self.assertIn("only answers that this machine finished", refused.stderr)
