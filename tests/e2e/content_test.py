"""Content at rest: kept only when asked for, in clear nowhere, shown, replayed, and erased for good."""
import json
import os

from house import HouseTest, ask

CANARY = "xylophone-canary-7741"
CARD = "4111 1111 1111 1111"


class Content(HouseTest):
    def files(self):
        for folder, _, names in os.walk(self.home):
            for name in names:
                path = os.path.join(folder, name)
                with open(path, "rb") as file:
                    yield path, file.read()

    def in_clear(self, text):
        return [path for path, data in self.files() if text.encode() in data]

    def records(self, event):
        entries = json.loads(self.hearth("audit", "tail", "-n", "100", "--json", "--all").stdout)["records"]
        return [e["record"] for e in entries if e["event"] == event]

    def one_answer(self, kept, *flags, text=CANARY):
        """A local answer by a server that keeps `kept`; its request id and text."""
        server = self.serve("--model", "demo", "--journal-content", kept, "--log-level", "debug", *flags)
        answer = server.chat({**ask(f"Sort: 3 1 2 {text}"), "temperature": 1.5, "seed": 7, "max_tokens": 20})
        self.assertEqual(answer.status, 200, answer.body)
        self.stop(server)
        return answer.headers["x-hearth-request-id"], answer.text()

    def shown(self, request_id):
        shown = self.hearth("audit", "show", request_id, "--json")
        self.assertEqual(shown.returncode, 0, shown.stdout + shown.stderr)
        return json.loads(shown.stdout)

    def assert_verified(self):
        verified = self.hearth("audit", "verify")
        self.assertEqual(verified.returncode, 0, verified.stdout + verified.stderr)

    def test_kept_it_is_in_clear_nowhere_and_can_be_shown_and_replayed(self):
        request_id, text = self.one_answer("request_response")
        self.assertEqual(self.in_clear(CANARY), [])
        bodies = {b["kind"]: b for b in self.shown(request_id)["bodies"]}
        self.assertEqual(set(bodies), {"prompt", "answer"})
        self.assertTrue(all(b["attested"] for b in bodies.values()))
        self.assertIn(CANARY, bodies["prompt"]["text"]["request"]["messages"][0]["content"])
        self.assertTrue(bodies["prompt"]["text"]["prompt_ids"])
        answer = bodies["answer"]["text"]["answers"][0]
        self.assertEqual((answer["text"], answer["finish_reason"] in ("stop", "length")), (text, True))
        self.assertEqual(self.records("content.shown")[0]["detail"]["request_id"], request_id)
        same = self.hearth("replay", request_id, "--json")
        self.assertEqual(same.returncode, 0, same.stdout + same.stderr)
        self.assertEqual((json.loads(same.stdout)["identical"], json.loads(same.stdout)["n_tokens"]),
                         (True, len(answer["tokens"])))
        self.assertEqual(self.hearth("replay", request_id, "something else").returncode, 1)
        self.assertEqual(self.in_clear(CANARY), [])
        self.assert_verified()

    def test_erased_it_cannot_be_read_and_the_chain_still_holds(self):
        first, _ = self.one_answer("request_response")
        second, _ = self.one_answer("request")
        keys = os.path.join(self.home, "state", "journal-keys", "content.keys")
        with open(keys, "rb") as file:
            records = file.read()
        secrets = [records[at + 32:at + 64] for at in range(128, len(records), 128)]
        self.assertEqual(len(secrets), 3)
        refused = self.hearth("audit", "erase", "--request", first)
        self.assertNotEqual(refused.returncode, 0)
        self.assertIn("--yes", refused.stderr)
        self.assertEqual(len(self.shown(first)["bodies"]), 2)
        erased = self.hearth("audit", "erase", "--request", first, "--yes", "--json")
        self.assertEqual((erased.returncode, json.loads(erased.stdout)), (0, {"erased": 2}), erased.stderr)
        self.assertEqual(self.shown(first)["bodies"], [])
        self.assertEqual(len(self.shown(second)["bodies"]), 1)
        for secret, gone in zip(secrets, (True, True, False)):
            found = [path for path, data in self.files() if secret in data]
            self.assertEqual(found, [] if gone else [keys])
        event = self.records("content.erased")[0]
        self.assertEqual((event["actor"], event["detail"]),
                         ("terminal", {"request_id": first, "n_bodies": 2}))
        self.assertIn("sha256", self.shown(first)["entries"][0]["record"]["body"])
        self.assertEqual(self.hearth("audit", "erase", "--request", first, "--yes").returncode, 4)
        self.assertEqual(self.hearth("replay", first).returncode, 1)
        self.assert_verified()
        for wrong in (["--before", "soon"], ["--before", "2999-01-01"], [], ["--before", "2026-02-31"]):
            self.assertEqual(self.hearth("audit", "erase", *wrong, "--yes").returncode, 2, wrong)
        self.assertEqual(self.hearth("audit", "erase", "--before", "2020-01-01", "--yes").returncode, 4)
        self.assertEqual(len(self.shown(second)["bodies"]), 1)

    def test_a_running_server_goes_on_keeping_after_an_erasure(self):
        server = self.serve("--model", "demo", "--journal-content", "request")
        first = server.chat(ask(f"one {CANARY}")).headers["x-hearth-request-id"]
        self.assertEqual(self.hearth("audit", "erase", "--request", first, "--yes").returncode, 0)
        second = server.chat(ask(f"two {CANARY}")).headers["x-hearth-request-id"]
        self.assertEqual(self.shown(first)["bodies"], [])
        self.assertIn(f"two {CANARY}", json.dumps(self.shown(second)["bodies"][0]))
        self.stop(server)
        self.assertEqual(self.in_clear(CANARY), [])
        self.assert_verified()

    def test_by_default_and_above_the_class_nothing_is_kept(self):
        default, _ = self.one_answer("none")
        self.assertNotIn("body", json.dumps(self.shown(default)["entries"]))
        self.assertEqual([p for p, _ in self.files() if "content.bodies" in p or "content.keys" in p], [])
        card, _ = self.one_answer("request_response", text=CARD)
        self.assertEqual([e["record"]["body"] for e in self.shown(card)["entries"]],
                         [{"not_kept": "class"}] * 2)
        self.assertEqual([p for p, _ in self.files() if "content.bodies" in p or "content.keys" in p], [])
        kept, _ = self.one_answer("request", "--journal-content-class", "restricted", text=CARD)
        self.assertIn("4111", json.dumps(self.shown(kept)["bodies"][0]))
        self.assertEqual(self.in_clear(CARD), [])

    def test_an_export_is_on_record_in_itself(self):
        self.one_answer("none")
        out = self.hearth("audit", "export", "--format", "jsonl")
        self.assertEqual(out.returncode, 0, out.stderr)
        exports = [json.loads(line) for line in out.stdout.splitlines() if '"audit.export"' in line]
        self.assertEqual([e["record"]["detail"] for e in exports], [{"format": "jsonl", "after": ""}])
        path = os.path.join(self.home, "export.jsonl")
        with open(path, "w") as file:
            file.write(out.stdout)
        verified = self.hearth("audit", "verify", path)
        self.assertEqual(verified.returncode, 0, verified.stdout + verified.stderr)
        self.assert_verified()
