"""hearth scan: what the detectors find, as a document, as lines, and as a table that shows no secret."""
import json
import os

from house import HouseTest, hearth

CARD = "4111 1111 1111 1111"


class Scan(HouseTest):
    def scan(self, text, *args, **more):
        return hearth("scan", *args, home=self.home, stdin=text, **more)

    def test_a_document_names_spans_in_bytes_and_the_class(self):
        text = f"Zoë pays with card {CARD}."
        document = json.loads(self.scan(text, "--json").stdout)
        self.assertEqual(document["class"], "restricted")
        [span] = document["spans"]
        start = text.encode().index(CARD.encode())
        self.assertEqual((span["start"], span["end"]), (start, start + len(CARD)))
        self.assertEqual((span["entity"], span["class"]), ("credit_card", "restricted"))
        self.assertGreater(span["confidence"], 0.9)

    def test_each_line_of_json_is_answered_in_order(self):
        lines = ["nothing", "mail jane@somewhere.org", f"card {CARD}", "two\nlines 106.31.73.20"]
        out = self.scan("".join(json.dumps(line) + "\n" for line in lines), "--jsonl")
        documents = [json.loads(line) for line in out.stdout.splitlines()]
        self.assertEqual([d["class"] for d in documents],
                         ["internal", "confidential", "restricted", "confidential"])
        self.assertEqual(documents[0]["spans"], [])
        self.assertEqual(out.returncode, 0)

    def test_a_line_that_is_no_json_string_is_refused_by_its_number(self):
        out = self.scan('"fine"\nnot json\n', "--jsonl")
        self.assertEqual(out.returncode, 1)
        self.assertIn("line 2", out.stdout + out.stderr)

    def test_the_table_shows_what_was_found_but_not_the_whole_of_it(self):
        out = self.scan(f"card {CARD}")
        self.assertIn("class restricted", out.stdout)
        self.assertIn("credit_card", out.stdout)
        self.assertNotIn("1111 1111", out.stdout)

    def test_a_file_of_any_bytes_is_read(self):
        path = os.path.join(self.home, "bytes")
        with open(path, "wb") as file:
            file.write(b"\xff\x00\xfe card 4111111111111111 \x00\xc3")
        document = json.loads(hearth("scan", "--file", path, "--json", home=self.home).stdout)
        self.assertEqual([s["entity"] for s in document["spans"]], ["credit_card"])
        missing = hearth("scan", "--file", path + "x", home=self.home)
        self.assertEqual(missing.returncode, 4)

    def test_words_and_patterns_of_the_configuration_are_found(self):
        path = os.path.join(self.home, "own.toml")
        with open(path, "w") as file:
            file.write('[[detector]]\nname = "project"\nclass = "restricted"\nwords = ["Blue Heron"]\n'
                       '[[detector]]\nname = "staff_id"\npattern = "EMP-\\\\d{6}"\n')
        text = "EMP-123456 works on blue heron"
        out = self.scan(text, "--json", "--config", path)
        self.assertEqual([(s["entity"], s["class"]) for s in json.loads(out.stdout)["spans"]],
                         [("staff_id", "confidential"), ("project", "restricted")])

    def test_a_bad_detector_is_refused_with_its_place_before_anything_runs(self):
        for body, why in [('name = "own"', "words"), ('words = ["ab"]', "name"),
                          ('name = "own"\npattern = "a**"', "repeat"),
                          ('name = "own"\nclass = "public"\nwords = ["ab"]', "class"),
                          ('name = "own"\nwords = ["ab"]\nwordz = 1', "wordz")]:
            path = os.path.join(self.home, "bad.toml")
            with open(path, "w") as file:
                file.write("[[detector]]\n" + body + "\n")
            out = self.scan("text", "--config", path)
            self.assertEqual(out.returncode, 2, body)
            self.assertIn("bad.toml:", out.stderr)
            self.assertIn(why, out.stderr)
