"""Replays that must not be taken for the same: another file under the model's name, another instruction set."""
import json
import os
import shutil
import sqlite3

from house import HouseTest

PROMPT = "Sort: 3 1 2"


class Replay(HouseTest):
    def setUp(self):
        super().setUp()
        self.path = os.path.join(self.home, "models", "tiny.gguf")
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        self.write_model("q8_0")
        done = self.hearth("run", "tiny", PROMPT, "--seed", "3", "--temperature", "1.2", "--max-tokens", "12", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.answer = json.loads(done.stdout)

    def write_model(self, kind):
        done = self.hearth("quantize", "demo", self.path, "--type", kind, "--overwrite")
        self.assertEqual(done.returncode, 0, done.stderr)

    def replay(self, *flags, code):
        done = self.hearth("replay", self.answer["request_id"], PROMPT, "--json", *flags)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        verdict = json.loads(done.stdout)
        self.assertEqual(verdict["identical"], code == 0)
        return verdict

    def differs(self, *flags):
        """The names of what differs; nothing was computed to find that out."""
        verdict = self.replay(*flags, code=1)
        self.assertEqual(verdict["n_tokens"], 0)
        said = self.hearth("replay", self.answer["request_id"], PROMPT, *flags)
        self.assertEqual((said.returncode, said.stdout.splitlines()[0]), (1, "not identical"))
        for one in verdict["differs"]:
            self.assertIn(one, said.stdout)
        return verdict["differs"]

    def repro(self):
        with sqlite3.connect(os.path.join(self.home, "state", "journal", "journal-0.db")) as db:
            (text,) = db.execute("SELECT json FROM entries WHERE event = 'outcome'").fetchone()
        return json.loads(text)["repro"]

    def test_another_file_under_the_models_name_is_named(self):
        self.assertEqual(self.replay(code=0)["n_tokens"], len(self.answer["tokens"]))
        kept = self.path + ".kept"
        shutil.copy(self.path, kept)
        self.write_model("f16")
        (difference,) = self.differs()
        self.assertRegex(difference, r"^model: [0-9a-f]{64} then, [0-9a-f]{64} now$")
        self.assertIn(self.repro()["model_sha256"], difference)
        # One weight's lowest bit, in a file of the same size and header.
        shutil.copy(kept, self.path)
        with open(self.path, "r+b") as file:
            file.seek(-1, os.SEEK_END)
            last = file.read(1)
            file.seek(-1, os.SEEK_END)
            file.write(bytes([last[0] ^ 1]))
        (difference,) = self.differs()
        self.assertTrue(difference.startswith("model: "), difference)
        shutil.copy(kept, self.path)
        self.replay(code=0)
        os.remove(self.path)
        gone = self.hearth("replay", self.answer["request_id"], PROMPT)
        self.assertEqual(gone.returncode, 4, gone.stderr)
        self.assertIn("tiny", gone.stderr)

    def test_another_instruction_set_is_named(self):
        isa = self.repro()["isa"]
        self.assertNotEqual(isa, "scalar")
        self.assertEqual(self.differs("--isa", "scalar"), [f"isa: {isa} then, scalar now"])
        self.replay("--isa", isa, code=0)
        (difference,) = self.differs("--isa", "no-such")
        self.assertIn("no-such", difference)

    def test_an_answer_of_another_instruction_set_is_replayed_with_that(self):
        done = self.hearth("run", "tiny", PROMPT, "--isa", "scalar", "--seed", "3", "--max-tokens", "12", "--json")
        self.answer = json.loads(done.stdout)
        self.assertEqual(self.replay(code=0)["n_tokens"], len(self.answer["tokens"]))

    def test_a_prompt_of_other_settings_is_named(self):
        (difference,) = self.differs("--system", "Be brief.")
        self.assertTrue(difference.startswith("prompt: "), difference)
