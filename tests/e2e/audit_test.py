"""The journal as an auditor meets it: `hearth audit verify, anchor, export` here, and the program
hearth-audit-verify over a copied folder and an export, with nothing else of this installation.

A change is made by this file's own hands in the copy: a byte in the database, a line in the export, entries that
are deleted at the end.
"""
import json
import os
import shutil
import sqlite3
import subprocess

from double import Double
from house import BINARY, WAIT_S, HouseTest, ask

VERIFIER = os.path.join(os.path.dirname(BINARY), "hearth-audit-verify")


class Audit(HouseTest):
    def setUp(self):
        super().setUp()
        double = Double()
        self.addCleanup(double.close)
        server = self.serve(*self.config(
            f'[[upstream]]\nname = "acme"\nbase_url = "http://127.0.0.1:{double.port}/v1"\n'
            'models = [ { name = "ok", context = 100000 } ]\n'))
        for model in ("acme/ok", "demo", "acme/ok", "demo"):
            answer = server.chat({**ask("Where to?", max_tokens=3), "model": model})
            self.assertEqual(answer.status, 200, answer.body)
        self.assertEqual(server.stop(), 0)
        self.folder = os.path.join(self.home, "state", "journal")
        self.keys = ["--chain-key", os.path.join(self.home, "state", "journal-keys", "chain.key"),
                     "--public-key", os.path.join(self.home, "broker", "public.pem")]

    def test_names_that_callers_sent_do_not_reach_the_terminal_as_commands(self):
        server = self.serve()
        answer = server.chat({**ask("Where to?"), "model": "\x1b[2J\u009b31mdemo"})
        self.assertEqual(answer.status, 404, answer.body)
        self.assertEqual(server.stop(), 0)
        lines = self.hearth("audit", "tail").stdout
        self.assertIn("\\u001b[2J\\u009b31mdemo", lines)
        self.assertFalse([c for c in lines if c != "\n" and (c < " " or "\x7f" <= c <= "\x9f")])

    def copied(self):
        """The journal's folder as somebody else has it."""
        elsewhere = os.path.join(self.new_home(), "journal")
        shutil.copytree(self.folder, elsewhere)
        return elsewhere

    def exported(self):
        done = self.hearth("audit", "export")
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def anchor(self):
        path = os.path.join(self.new_home(), "anchor.json")
        done = self.hearth("audit", "anchor", "-o", path)
        self.assertEqual(done.returncode, 0, done.stderr)
        return path

    def verify(self, *args, stdin=""):
        """hearth-audit-verify: its exit code and what it says; without any environment."""
        done = subprocess.run([VERIFIER, "--json", *args], input=stdin, capture_output=True, text=True, env={},
                              timeout=WAIT_S)
        return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr

    def here(self, *args):
        done = self.hearth("audit", "verify", "--json", *args)
        return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr

    def rows(self, folder, what="*"):
        with sqlite3.connect(os.path.join(folder, "journal-0.db")) as db:
            return db.execute(f"SELECT {what} FROM entries ORDER BY seq").fetchall()

    def cut(self, folder, n):
        """Takes the last n entries away, as somebody would who wants them forgotten."""
        with sqlite3.connect(os.path.join(folder, "journal-0.db")) as db:
            db.execute("DELETE FROM entries WHERE seq > (SELECT max(seq) FROM entries) - ?", (n,))
        db.close()

    def change_a_byte(self, folder, event):
        """Flips one bit inside the text of the first such entry, in the file's bytes; that entry's seq."""
        seq, text = next((s, t) for s, e, t in self.rows(folder, "seq, event, json") if e == event)
        path = os.path.join(folder, "journal-0.db")
        with open(path, "rb") as file:
            data = bytearray(file.read())
        places = [i for i in range(len(data)) if data.startswith(text.encode(), i)] if len(text) > 40 else []
        self.assertEqual(len(places), 1, text)
        at = places[0] + text.index("req-") + 6  # a letter of an id: the record stays JSON
        data[at] ^= 1
        with open(path, "wb") as file:
            file.write(data)
        return seq

    def test_an_unchanged_journal_is_ok_and_complete(self):
        code, verdict = self.here("--require-complete")
        self.assertEqual(code, 0, verdict)
        self.assertEqual((verdict["ok"], verdict["complete"], verdict["first_bad_seq"]), (True, True, None))
        self.assertEqual((verdict["served"], verdict["recorded"]), (4, 4))
        self.assertEqual((verdict["connections"], verdict["receipts"]), (2, 2))
        self.assertEqual(verdict["records"], len(self.rows(self.folder)))
        self.assertEqual(verdict["notes"], [])

    def test_the_separate_program_says_the_same_of_a_copy_and_of_an_export(self):
        anchor, text = self.anchor(), self.exported()
        path = os.path.join(self.new_home(), "export.jsonl")
        with open(path, "w") as file:
            file.write(text)
        flags = ["--anchor", anchor, "--require-complete", *self.keys]
        for what, stdin in ((self.copied(), ""), (path, ""), ("-", text)):
            code, verdict = self.verify(*flags, what, stdin=stdin)
            self.assertEqual(code, 0, verdict)
            self.assertEqual((verdict["ok"], verdict["complete"]), (True, True), what)
            self.assertEqual((verdict["recorded"], verdict["receipts"]), (4, 2), what)
            self.assertEqual(verdict["records"], len(self.rows(self.folder)), what)
            self.assertEqual((verdict["receipts_signed"], verdict["receipts_unsigned"],
                              verdict["receipts_other_key"]), (2, 0, 0), what)
        said = subprocess.run([VERIFIER, *flags, path], capture_output=True, text=True, env={}).stdout
        self.assertIn("integrity ok, complete", said)

    def test_whole_but_perhaps_not_all_is_0_and_1_where_all_is_required(self):
        for what in (self.copied(), "-"):
            code, verdict = self.verify(what, stdin=self.exported())
            self.assertEqual((code, verdict["ok"], verdict["complete"]), (0, True, None), verdict)
            self.assertFalse(verdict["macs_checked"])
            code, verdict = self.verify("--require-complete", what, stdin=self.exported())
            self.assertEqual((code, verdict["ok"], verdict["complete"]), (1, True, None), verdict)
        # Here too, once the broker's own counters are away.
        self.assertEqual(self.here("--require-complete")[0], 0)
        os.remove(os.path.join(self.home, "broker", "counters.json"))
        self.assertEqual(self.here()[0], 0)
        self.assertEqual(self.here("--require-complete")[0], 1)

    def test_one_changed_byte_of_a_copied_database_names_its_entry(self):
        for event in ("decision", "outcome", "egress"):
            copy = self.copied()
            seq = self.change_a_byte(copy, event)
            for flags in ([], ["--anchor", self.anchor()]):
                code, verdict = self.verify(*self.keys, *flags, copy)
                self.assertEqual((code, verdict["ok"], verdict["first_bad_seq"]), (1, False, seq), verdict)
            code, verdict = self.here("--chain-key", self.keys[1], copy)
            self.assertEqual((code, verdict["first_bad_seq"]), (1, seq), verdict)
            # Without the chain's key a signature says that it is somewhere since the one before.
            code, verdict = self.verify(copy)
            self.assertEqual((code, verdict["ok"]), (1, False), verdict)
            self.assertLessEqual(verdict["first_bad_seq"], seq)
            said = subprocess.run([VERIFIER, *self.keys, copy], capture_output=True, text=True, env={}).stdout
            self.assertIn(f"bad: journal-0 entry {seq}:", said)
            self.assertIn("integrity broken", said)

    def test_one_changed_byte_of_an_export_names_its_entry(self):
        lines = self.exported().splitlines()
        for i in (1, len(lines) // 2, len(lines) - 1):
            changed = json.loads(lines[i])
            self.assertIn('"wall_ns":', lines[i])
            wall = str(changed["wall_ns"])
            other = wall[:-1] + ("1" if wall[-1] != "1" else "2")
            text = "\n".join([*lines[:i], lines[i].replace(f'"wall_ns":{wall}', f'"wall_ns":{other}', 1),
                              *lines[i + 1:]]) + "\n"
            code, verdict = self.verify(*self.keys, "-", stdin=text)
            self.assertEqual((code, verdict["first_bad_seq"]), (1, changed["seq"]), verdict)
        code, verdict = self.verify(*self.keys, "-", stdin="\n".join(lines[:3] + lines[4:]) + "\n")
        self.assertEqual((code, verdict["first_bad_seq"]), (1, 4), verdict)

    def test_what_is_cut_off_at_the_end_is_found_against_an_anchor(self):
        anchor, copy = self.anchor(), self.copied()
        self.cut(copy, 4)
        code, verdict = self.verify(*self.keys, copy)
        self.assertEqual((code, verdict["ok"], verdict["complete"]), (0, True, None), verdict)
        code, verdict = self.verify(*self.keys, "--anchor", anchor, copy)
        self.assertEqual((code, verdict["ok"], verdict["complete"]), (1, True, False), verdict)
        self.assertRegex(verdict["notes"][0], r"entries \d+ to \d+ are missing")
        # Here, against what the broker kept, with no anchor of anybody's.
        self.cut(self.folder, 4)
        code, verdict = self.here()
        self.assertEqual((code, verdict["complete"]), (1, False), verdict)

    def test_a_later_journal_still_holds_to_an_earlier_anchor(self):
        anchor = self.anchor()
        server = self.serve()
        self.assertEqual(server.chat(ask("hi", max_tokens=2)).status, 200)
        self.assertEqual(server.stop(), 0)
        code, verdict = self.verify(*self.keys, "--anchor", anchor, "--require-complete", self.copied())
        self.assertEqual((code, verdict["complete"], verdict["recorded"]), (0, True, 5), verdict)

    def test_what_cannot_be_checked_is_2_and_says_why(self):
        empty = os.path.join(self.new_home(), "empty")
        open(empty, "w").close()
        for args in ([], ["/nowhere/at/all"], ["--chain-key", "/nowhere", self.folder], ["--what", self.folder],
                     ["--anchor", empty, self.folder], ["--public-key", empty, self.folder],
                     ["--from", "x", self.folder], [self.folder, self.folder]):
            code, said = self.verify(*args)
            self.assertEqual(code, 2, (args, said))
            self.assertTrue(said, args)
        code, verdict = self.verify("--chain-key", self.another_key(), self.folder)
        self.assertEqual((code, verdict["first_bad_seq"]), (1, 1), verdict)

    def another_key(self):
        path = os.path.join(self.new_home(), "key")
        with open(path, "wb") as file:
            file.write(bytes(32))
        return path

    def test_another_keys_signatures_are_not_taken(self):
        path = os.path.join(self.new_home(), "public.hex")
        with open(path, "w") as file:
            file.write("ab" * 32)
        code, verdict = self.verify("--public-key", path, self.copied())
        self.assertEqual((code, verdict["ok"]), (1, False), verdict)
        self.assertIn("not among those trusted", verdict["bad"]["what"])

    def test_exports_go_on_where_the_last_one_ended(self):
        first = self.hearth("audit", "export")
        cursor = first.stderr.rsplit(None, 1)[1]
        server = self.serve()
        self.assertEqual(server.chat(ask("hi", max_tokens=2)).status, 200)
        self.assertEqual(server.stop(), 0)
        second = self.hearth("audit", "export", "--after", cursor)
        self.assertEqual(second.returncode, 0, second.stderr)
        both = first.stdout + second.stdout
        self.assertGreater(len(second.stdout.splitlines()), 2)
        code, verdict = self.verify(*self.keys, "--require-complete", "--anchor", self.anchor(), "-", stdin=both)
        self.assertEqual((code, verdict["complete"]), (0, True), verdict)
        self.assertEqual(verdict["records"], len(self.rows(self.folder)))
        self.assertTrue(self.exported().startswith(both))  # an export may itself be on record
        self.assertEqual(self.hearth("audit", "export", "--after", "x").returncode, 2)

    def test_other_formats_have_a_line_for_each_entry(self):
        for name, begins in (("cef", "CEF:0|"), ("rfc5424", "<")):
            lines = self.hearth("audit", "export", "--format", name).stdout.splitlines()
            self.assertEqual(len(lines), len(self.rows(self.folder)), name)
            self.assertTrue(all(begins in line[:200] for line in lines), lines[0])

    def test_without_a_journal_there_is_nothing_to_anchor(self):
        self.assertEqual(self.hearth("audit", "anchor", home=self.new_home()).returncode, 4)
