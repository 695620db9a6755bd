"""Prompts that begin as an earlier one: what a key finds computed is its own, or marked as public."""
import json
import time
import unittest

from house import HouseTest, ask, request_bytes
from keys_test import bearer

DESK = ("You are the help desk of a small library. Answer in one short sentence. Be polite, never guess, and send people "
        "to the front door when you do not know. The library is open from nine to five, and closed on Sundays.")


class Prefixes(HouseTest):
    def key(self, *flags):
        done = self.hearth("keys", "create", "--json", *flags)
        self.assertEqual(done.returncode, 0, done.stderr)
        document = json.loads(done.stdout)
        return document["secret"], document["key"]["id"]

    def cached(self, server, token=None, question="Where is the door?", system=DESK, **fields):
        """Input tokens of one request, and how many of them were found."""
        body = ask(question, max_tokens=4, **fields)
        body["messages"].insert(0, {"role": "system", "content": system})
        answer = server.chat(body, bearer(token) if token else ())
        self.assertEqual(answer.status, 200, answer.body)
        usage = answer.json()["usage"]
        return usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"]

    def whole(self, n_prompt):
        """Of a prompt that was computed before: all whole blocks but the last token's."""
        return (n_prompt - 1) // 16 * 16

    def test_a_key_finds_its_own_prompts_and_no_others(self):
        ann, _ = self.key()
        ben, _ = self.key()
        server = self.serve()
        n_prompt, first = self.cached(server, ann)
        self.assertGreater(n_prompt, 48)
        self.assertEqual(first, 0)
        self.assertEqual(self.cached(server, ben)[1], 0)
        self.assertEqual(self.cached(server, ann), (n_prompt, self.whole(n_prompt)))
        self.assertEqual(self.cached(server, ben), (n_prompt, self.whole(n_prompt)))
        metrics = server.metrics(bearer(self.key("--role", "operator")[0]))
        self.assertEqual(metrics["hearth_engine_cached_tokens_total"], 2 * self.whole(n_prompt))
        self.assertEqual(metrics["hearth_cached_tokens_total"], 2 * self.whole(n_prompt))
        self.assertEqual(metrics["hearth_engine_prompt_tokens_total"], 4 * n_prompt - 2 * self.whole(n_prompt))
        self.assertGreater(metrics["hearth_kv_blocks_remembered"], 0)

    def test_the_ledger_and_the_answer_say_the_same(self):
        server = self.serve()
        n_prompt, _ = self.cached(server)
        self.cached(server)
        self.cached(server, n=3)
        self.stop(server)
        done = self.hearth("cost", "report", "--rows", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        rows = sorted(json.loads(done.stdout)["rows"], key=lambda row: row["seq"])
        self.assertEqual([row["input_tokens"] for row in rows], [n_prompt] * 3)
        self.assertEqual([row["cached_tokens"] for row in rows], [0] + [self.whole(n_prompt)] * 2)

    def test_answers_do_not_depend_on_what_was_found(self):
        fresh, again = self.serve("--prefix-tokens", "0"), self.serve()
        for server in (fresh, again):
            self.cached(server)
        for n in (1, 3):
            body = ask("Who are you, and what is 3 plus 4?", max_tokens=40, n=n, logprobs=True, top_logprobs=5,
                       temperature=0.8, seed=7)
            body["messages"].insert(0, {"role": "system", "content": DESK})
            choices = []
            for server in (fresh, again, again):
                answer = server.chat(body).json()
                choices.append(answer["choices"])
                cached = answer["usage"]["prompt_tokens_details"]["cached_tokens"]
                self.assertEqual(cached > 0, server is again)
            self.assertEqual(choices[0], choices[1])
            self.assertEqual(choices[0], choices[2])

    def test_a_public_prefix_is_shared_up_to_the_marks_end(self):
        ann, _ = self.key()
        ben, _ = self.key()
        server = self.serve(*self.config("[[public_prefix]]\ntext = " + json.dumps(DESK) + "\n"))
        rest = "Tell me where the door is, where the books are, and when you are open this week."
        n_prompt, first = self.cached(server, ann, rest)
        self.assertEqual(first, 0)
        # The prompt without what follows the mark.
        done = self.hearth("tokenize", "demo", "--json", "--parse-special", "--no-special", "--file", "-",
                           stdin="<|im_start|>system\n" + DESK)
        if done.returncode != 0:
            self.fail(done.stderr)
        n_mark = len(json.loads(done.stdout)["tokens"])
        n_public = self.cached(server, ben, rest)[1]
        self.assertIn(n_public, (n_mark // 16 * 16, (n_mark - 1) // 16 * 16))  # its last token may merge
        self.assertGreater(n_public, 0)
        self.assertGreater(self.whole(n_prompt), n_public)
        self.assertEqual(self.cached(server, ann, rest)[1], self.whole(n_prompt))
        self.assertEqual(self.cached(server, ben, rest, system=DESK.replace("You", "You,"))[1], 0)

    def test_a_mark_that_cannot_be_public_is_named_and_not_shown(self):
        server = self.serve(*self.config('[[public_prefix]]\ntext = "secret word"\n'))
        self.assertEqual(self.cached(server)[1], 0)
        said = server.said()
        self.assertIn("prefix_not_public", said)
        self.assertIn("public_prefix 1", said)
        self.assertNotIn("secret word", said)

    def test_a_revoked_key_is_forgotten_at_once_and_others_stay(self):
        ann, id_ann = self.key()
        ben, _ = self.key()
        watcher = bearer(self.key("--role", "operator")[0])
        server = self.serve()
        n_prompt, _ = self.cached(server, ann)
        n_blocks = server.metrics(watcher)["hearth_kv_blocks_remembered"]
        self.assertGreater(n_blocks, 0)
        self.cached(server, ben)
        self.assertEqual(server.metrics(watcher)["hearth_kv_blocks_remembered"], 2 * n_blocks)
        self.assertEqual(self.hearth("keys", "revoke", id_ann).returncode, 0)
        server.wait_for(lambda m: m["hearth_kv_blocks_remembered"] == n_blocks, "Ann's blocks go", watcher)
        self.assertEqual(self.cached(server, ben)[1], self.whole(n_prompt))

    def test_a_request_that_was_let_in_before_its_key_ended_leaves_nothing(self):
        ann, id_ann = self.key()
        watcher = bearer(self.key("--role", "operator")[0])
        server = self.serve()
        self.cached(server, ann)
        late = request_bytes("POST", "/v1/chat/completions", ask(DESK, max_tokens=4), bearer(ann))
        with server.connect() as wire:
            wire.send(late[:-1])
            server.wait_for(lambda m: m["hearth_open_requests"] == 1, "it is let in", watcher)
            self.assertEqual(self.hearth("keys", "revoke", id_ann).returncode, 0)
            server.wait_for(lambda m: m["hearth_kv_blocks_remembered"] == 0, "Ann's blocks go", watcher)
            wire.send(late[-1:])
            answer = wire.response()
        self.assertEqual(answer.status, 200, answer.body)
        self.assertEqual(answer.json()["usage"]["prompt_tokens_details"]["cached_tokens"], 0)
        self.assertGreater(answer.json()["usage"]["prompt_tokens"], 16)
        time.sleep(0.1)
        self.assertEqual(server.metrics(watcher)["hearth_kv_blocks_remembered"], 0)

    def test_what_nobody_used_for_a_time_is_forgotten(self):
        server = self.serve("--prefix-idle-s", "1")
        self.cached(server)
        server.wait_for(lambda m: m["hearth_kv_blocks_remembered"] == 0, "the blocks go")
        time.sleep(0.1)
        self.assertEqual(self.cached(server)[1], 0)


if __name__ == "__main__":
    unittest.main()
