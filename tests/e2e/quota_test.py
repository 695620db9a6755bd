"""Bounds and scopes of a key where requests leave: money, bytes out, classes. Against a double that counts.
And of several servers on one state folder."""
import fcntl
import json
import os
import time

from double import TEXT, Double
from house import HouseTest, Server, ask, in_threads

ANSWER = "".join(TEXT)
CLASS = "x-hearth-sensitivity"
MAIL = "Write to jane.doe@gmail.com about her flat."


class Quota(HouseTest):
    """The double's `ok` answers with 11 tokens in and 3 out: 14 micro-dollars at a dollar a million."""

    def setUp(self):
        super().setUp()
        self.double = Double()
        self.addCleanup(self.double.close)

    def serve_with(self, *models, price=1, flags=()):
        offered = ", ".join(f'{{ name = "{m}", context = 100000, input_usd_per_mtok = {price}, '
                            f'output_usd_per_mtok = {price} }}' for m in models)
        return self.serve(*self.config(f'[[upstream]]\nname = "acme"\ntier = "cloud"\n'
                                       f'base_url = "http://127.0.0.1:{self.double.port}/v1"\n'
                                       f'models = [ {offered} ]\n'), *flags)

    def key(self, *flags):
        done = self.hearth("keys", "create", "--json", *flags)
        self.assertEqual(done.returncode, 0, done.stderr)
        return [("Authorization", "Bearer " + json.loads(done.stdout)["secret"])]

    def used(self, server, who):
        (usage,) = server.request("GET", "/v1/hearth/usage", headers=who).json()["usage"]
        return usage

    def ask(self, server, who, model, text="Where to?", more=(), **fields):
        return server.chat({**ask(text, **{"max_tokens": 3, **fields}), "model": model}, [*who, *more])

    def outcomes(self):
        entries = json.loads(self.hearth("audit", "tail", "-n", "100", "--json").stdout)["records"]
        return [e["record"] for e in entries if e["event"] == "outcome"]

    def refused_for(self, answer, bound):
        self.assertEqual(answer.status, 429, answer.body)
        error = answer.json()["error"]
        self.assertEqual(error["type"], "rate_limit_error")
        self.assertIn(bound, error["message"])
        self.assertTrue(1 <= int(answer.headers["retry-after"]) <= 24 * 3600 + 1, answer.headers)

    def stays_here(self, answer):
        self.assertEqual(answer.status, 200, answer.body)
        self.assertEqual(answer.headers["x-hearth-route"], "local")

    def test_a_days_money_spent_keeps_auto_here_and_refuses_the_cloud_model(self):
        server = self.serve_with("ok")
        who, rich = self.key("--budget-usd-day", "0.0009"), self.key()
        n_answers = 0
        while (answer := self.ask(server, who, "acme/ok")).status == 200 and n_answers < 99:
            self.assertEqual(answer.text(), ANSWER)
            n_answers += 1
            self.assertEqual(self.used(server, who)["microusd_day"], 14 * n_answers)
        # A request is refused for what it may take, which is more than what it takes.
        self.assertTrue(1 <= n_answers <= 900 // 14, (n_answers, answer.body))
        self.refused_for(answer, "per day")
        self.assertEqual(self.double.n_connections, n_answers)
        for model in ("auto", "cloud", "local", "demo"):
            self.stays_here(self.ask(server, who, model))
        self.assertEqual(self.double.n_connections, n_answers)
        self.assertEqual(self.used(server, who)["microusd_day"], 14 * n_answers)
        self.assertEqual(self.ask(server, rich, "acme/ok").text(), ANSWER)  # it is that key's bound

    def test_a_days_bytes_spent_keep_auto_here_and_refuse_the_cloud_model(self):
        server = self.serve_with("ok")
        who, watcher = self.key("--egress-bytes-day", "5000"), self.key("--role", "operator")

        def receipts_are_in(metrics):
            return metrics["hearth_egress_connections_total"] == n_answers and self.used(
                server, who)["egress_bytes_day"] == metrics["hearth_egress_bytes_out_total"]
        n_answers = 0
        while (answer := self.ask(server, who, "acme/ok")).status == 200 and n_answers < 30:
            n_answers += 1
            # From then on what counts is what the broker's receipts say, no longer the estimate.
            server.wait_for(receipts_are_in, "all receipts are in", watcher)
        self.assertGreater(n_answers, 1)
        self.refused_for(answer, "bytes out per day")
        for model in ("auto", "cloud", "demo"):
            self.stays_here(self.ask(server, who, model))
        self.assertEqual(self.double.n_connections, n_answers)
        self.assertLessEqual(self.used(server, who)["egress_bytes_day"], 5000)
        self.assertEqual(self.ask(server, watcher, "acme/ok").text(), ANSWER)  # it is that key's bound

    def test_a_request_too_big_for_what_is_left_stays_here(self):
        server = self.serve_with("ok")
        who = self.key("--egress-bytes-day", "5000")
        self.stays_here(self.ask(server, who, "cloud", "word " * 1000))
        self.assertEqual(self.double.n_connections, 0)
        self.assertEqual(self.ask(server, who, "cloud").headers["x-hearth-route"], "cloud")

    def test_failover_settles_once(self):
        server = self.serve_with("role-only", "ok")
        who = self.key("--budget-usd-day", "1", "--rpm", "5")
        answer = self.ask(server, who, "cloud")
        self.assertEqual((answer.text(), answer.headers["x-hearth-model"]), (ANSWER, "acme/ok"))
        self.assertEqual(self.double.n_connections, 2)
        used = self.used(server, who)
        server.stop()
        (outcome,) = self.outcomes()
        # Seven tokens that the first place read (three of text, a frame of four), and the second's bill.
        self.assertEqual(outcome["usage_failed"]["input_tokens"], 7)
        self.assertEqual(outcome["cost_microusd"], 7 + 14)
        self.assertEqual((used["microusd_day"], used["microusd_month"]), (21, 21))
        self.assertEqual((used["requests_day"], used["tokens_day"]), (1, 7 + 14))

    def test_content_above_a_keys_class_leaves_for_nobody_who_holds_it(self):
        server = self.serve_with("ok", flags=["--keep-from", "restricted"])
        public, confidential = self.key("--class", "public"), self.key("--class", "confidential")
        mail = lambda who, model: self.ask(server, who, model, MAIL)
        self.assertEqual(self.ask(server, confidential, "acme/ok", "Plain words.").text(), ANSWER)
        self.assertEqual(mail(confidential, "acme/ok").text(), ANSWER)
        self.assertEqual(self.double.n_connections, 2)
        internal = self.key()
        for who, text in ((public, "Plain words."), (internal, MAIL)):
            refused = self.ask(server, who, "acme/ok", text)
            self.assertEqual(refused.status, 403, refused.body)
            self.assertEqual(refused.json()["error"]["type"], "forbidden_by_policy")
            self.stays_here(self.ask(server, who, "cloud", text))
        # Policy still holds: a key's class lifts nothing that it keeps here.
        card = "Pay with 4111 1111 1111 1111, please."
        self.assertEqual(self.ask(server, self.key("--class", "restricted"), "acme/ok", card).status, 403)
        self.assertEqual(self.double.n_connections, 2)

    def test_only_a_key_that_may_lowers_a_class_and_only_so_far(self):
        server = self.serve_with("ok")
        lowers = self.key("--may-lower-to", "internal", "--role", "operator")
        not_so_far = self.key("--may-lower-to", "confidential")
        plain = self.key()
        stated = [(CLASS, "internal")]
        for who in (plain, not_so_far):
            refused = self.ask(server, who, "acme/ok", MAIL, stated)
            self.assertEqual(refused.status, 403, refused.body)
            self.assertEqual(refused.headers["x-hearth-reason"], "sensitive")
        self.assertEqual(self.double.n_connections, 0)
        self.assertEqual(self.ask(server, lowers, "acme/ok", MAIL).status, 403)  # nothing was stated
        self.assertEqual(self.ask(server, lowers, "acme/ok", MAIL, stated).text(), ANSWER)
        self.assertEqual(self.double.n_connections, 1)
        server.stop()
        entries = json.loads(self.hearth("audit", "tail", "-n", "100", "--json").stdout)["records"]
        lowered = [e["record"].get("decision", {}).get("lowered") for e in entries if e["event"] == "decision"]
        self.assertEqual(lowered.count(True), 1, lowered)
        self.assertIs(lowered[-1], True)

    def test_two_servers_on_one_folder_hold_a_bound_of_tokens_together(self):
        servers = [self.serve(), self.serve()]
        who, bound = self.key("--tokens-day", "400"), 400

        def ask_until_refused(server):
            n_tokens = 0
            for _ in range(200):
                answer = self.ask(server, who, "demo")
                if answer.status != 200:
                    self.refused_for(answer, "tokens per day")
                    return n_tokens
                n_tokens += answer.json()["usage"]["total_tokens"]
            self.fail("the bound was never reached")
        each = in_threads([lambda server=server: ask_until_refused(server) for server in servers])
        # Booked are 7 tokens of the prompt, by its bytes, and it has 11: each of the two requests that
        # were open at the end may pass the bound by 4. What is left at the end is less than one books.
        self.assertTrue(bound - 2 * 14 < sum(each) <= bound + 2 * 4, each)
        for server in servers:
            self.assertEqual(self.used(server, who)["tokens_day"], sum(each))
        (listed,) = json.loads(self.hearth("keys", "list", "--json").stdout)["keys"]
        self.assertIsNotNone(listed["last_used"])

    def test_a_server_that_is_killed_leaves_its_totals_to_the_other(self):
        who, stays = self.key("--budget-usd-day", "0.0009"), self.serve_with("ok")
        killed = Server(self.home, "--config", os.path.join(self.home, "test.toml"))
        for server in (killed, stays, killed, stays):
            self.assertEqual(self.ask(server, who, "acme/ok").text(), ANSWER)
        killed.process.kill()
        killed.process.wait()
        killed.process.stdout.close()
        n_answers = 4
        while (answer := self.ask(stays, who, "acme/ok")).status == 200 and n_answers < 99:
            n_answers += 1
        self.refused_for(answer, "per day")
        self.assertEqual(self.used(stays, who)["microusd_day"], 14 * n_answers)
        self.assertTrue(4 < n_answers <= 900 // 14, n_answers)

    def test_nothing_leaves_while_a_stopped_process_holds_the_totals(self):
        server = self.serve_with("ok")
        who, unbound = self.key("--budget-usd-day", "1"), self.key()
        self.assertEqual(self.ask(server, who, "acme/ok").text(), ANSWER)
        with open(os.path.join(self.home, "state", "usage.jsonl"), "rb+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            begin = time.monotonic()
            refused = self.ask(server, who, "acme/ok")
            self.assertLess(time.monotonic() - begin, 30)
            self.assertEqual(refused.status, 503, refused.body)
            self.assertIn("cannot be counted", refused.json()["error"]["message"])
            self.assertGreaterEqual(int(refused.headers["retry-after"]), 1)
            for model in ("auto", "cloud", "demo"):
                self.stays_here(self.ask(server, who, model))
            self.assertEqual(self.double.n_connections, 1)
            self.assertEqual(self.ask(server, unbound, "acme/ok").text(), ANSWER)
        self.assertIn("usage_lock_stuck", server.said())
        self.assertEqual(self.ask(server, who, "acme/ok").text(), ANSWER)
        self.assertEqual(self.used(server, who)["microusd_day"], 2 * 14)
        self.assertEqual(self.used(server, who)["requests_day"], 6)
