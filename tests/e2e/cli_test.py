"""The command line as scripts rely on it: exit codes, one JSON document on stdout, all else on stderr."""
import json
import os
import pty
import re
import subprocess
import unittest

from house import BINARY, WAIT_S, HouseTest, ask, environment


class Cli(HouseTest):
    def document(self, *args, code=0, **kwargs):
        """--json prints exactly one JSON document on stdout, also when it fails."""
        done = self.hearth(*args, "--json", **kwargs)
        self.assertEqual(done.returncode, code, done.stderr + done.stdout)
        return json.loads(done.stdout)

    def test_help_and_version_exit_0(self):
        self.assertRegex(self.hearth("--version").stdout, r"^hearth \d+\.\d+\.\d+")
        done = self.hearth("--help")
        self.assertEqual(done.returncode, 0)
        for command in ("run", "serve", "tokenize", "detokenize", "logprobs", "template", "route", "audit",
                        "bench", "config"):
            self.assertRegex(done.stdout, rf"(?m)^\s+{command}\b")

    def test_the_run_script_knows_every_command(self):
        listed = re.search(r"(?s)Subcommands:\n(.*)", self.hearth("--help").stdout)[1]
        commands = re.findall(r"(?m)^  ([a-z-]+)", listed)
        here = os.path.dirname(os.path.abspath(__file__))
        with open(os.path.join(here, "..", "..", "run")) as file:
            script = file.read()
        passed = re.search(r"-\*\|([a-z|-]+)\)", script)[1].split("|")
        self.assertEqual(sorted(commands), sorted(set(passed) - {"egress-broker"}))

    def test_wrong_usage_exits_2(self):
        for args in ([], ["fly"], ["run"], ["serve", "--port", "x"], ["serve", "--port", "70000"],
                     ["run", "demo", "hi", "--kv", "f7"], ["tokenize"], ["bench"]):
            done = self.hearth(*args)
            self.assertEqual(done.returncode, 2, (args, done.stderr))
            self.assertEqual(done.stdout, "")
            self.assertTrue(done.stderr.strip())

    def test_what_is_not_there_exits_4(self):
        for args in (["run", "no-such-model", "hi"], ["tokenize", "/no/such/file.gguf"],
                     ["tokenize", "demo", "--file", "/no/such/file"]):
            done = self.hearth(*args)
            self.assertEqual(done.returncode, 4, (args, done.stderr))
            self.assertIn(args[-1] if "--file" in args else args[1], done.stderr)

    def test_an_error_with_json_is_one_document(self):
        error = self.document("run", "no-such-model", "hi", code=4)["error"]
        self.assertIn("no-such-model", error["message"])

    def test_run_answers_and_exits(self):
        done = self.hearth("run", "demo", "Hello!", "--temperature", "0")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue(done.stdout.strip())

    def test_run_json_has_what_the_interface_promises(self):
        out = self.document("run", "demo", "Hello!", "--temperature", "0", "--max-tokens", "12")
        self.assertLessEqual({"text", "tokens", "finish_reason", "usage", "timings", "model", "route"},
                             set(out))
        self.assertEqual(len(out["tokens"]), out["usage"]["output_tokens"])
        self.assertIn(out["finish_reason"], ("stop", "length"))
        self.assertEqual(out["route"], "local")
        self.assertLessEqual({"load_ms", "ttft_ms", "prefill_tps", "decode_tps"}, set(out["timings"]))

    def test_bench_says_rates_and_what_the_machine_allows(self):
        out = self.document("bench", "demo", "-p", "32", "-n", "8", "-d", "5", "-r", "3", "-t", "1", "--parallel", "2")
        self.assertLessEqual({"machine", "model", "results", "load_ms", "ttft_ms", "rss_bytes"}, set(out))
        self.assertEqual([(r["test"], r["depth"]) for r in out["results"]], [("pp32", 0), ("tg8", 5)])
        for row in out["results"]:
            self.assertEqual((row["parallel"], row["threads"]), (2, 1))
            self.assertLessEqual(row["tps_min"], row["tps_median"])
            self.assertLessEqual(row["tps_median"], row["tps_max"])
            self.assertGreater(row["share_of_limit"], 0)
        self.assertRegex(out["model"]["sha256"], "^[0-9a-f]{64}$")
        for ceiling in ("read_bytes_per_s", "int8_ops_per_s", "f32_ops_per_s"):
            self.assertGreater(out["machine"]["ceilings"][ceiling], 0)
        # The buffer of the ceilings is a gigabyte and not the model's.
        self.assertLess(out["rss_bytes"], 500e6)

    def test_every_bench_is_added_to_the_history(self):
        self.assertEqual(self.document("bench", "--history"), {"runs": []})
        runs = [self.document("bench", "demo", "-p", n, "-n", "0", "-r", "1") for n in ("16", "17")]
        self.assertEqual(self.document("bench", "--history")["runs"], runs)
        self.assertEqual(self.document("bench", "demo", "--history")["runs"], runs)
        self.assertEqual(self.document("bench", "other", "--history")["runs"], [])
        self.assertRegex(self.hearth("bench", "--history").stdout, r"demo +q8_0 +pp17 +0 +1 ")

    def test_bench_knows_the_machine_without_a_model(self):
        machine = self.document("bench", "--ceilings", "--isa", "scalar", "--threads", "1")["machine"]
        self.assertEqual((machine["isa"], machine["threads"]), ("scalar", 1))
        self.assertGreater(machine["ceilings"]["read_bytes_per_s"], 0)
        self.assertRegex(self.hearth("bench", "--ceilings").stdout, r"(?m)^ +memory read +[\d.]+ GB/s$")

    def test_the_prompt_comes_from_a_pipe_as_well(self):
        asked = self.hearth("run", "demo", "Hello!", "--temperature", "0")
        piped = self.hearth("run", "demo", "--temperature", "0", stdin="Hello!")
        self.assertEqual(asked.stdout, piped.stdout)

    def test_what_is_piped_follows_a_prompt_that_ends_with_a_dash(self):
        flags = ["--temperature", "0", "--max-tokens", "8"]
        joined = self.document("run", "demo", "Summarize:\n\nHello!\nYou there.", *flags)
        piped = self.document("run", "demo", "Summarize:", "-", *flags, stdin="Hello!\nYou there.\n")
        path = os.path.join(self.home, "document.txt")
        with open(path, "w") as file:
            file.write("Hello!\nYou there.\n")
        with open(path) as file:
            redirected = json.loads(self.run_with(file, "run", "demo", "Summarize:", "-", "--json", *flags))
        for out in (piped, redirected):
            self.assertEqual((out["tokens"], out["usage"]), (joined["tokens"], joined["usage"]))
        lone = self.document("run", "demo", "-", *flags, stdin="Hello!")
        self.assertEqual(lone["tokens"], self.document("run", "demo", "Hello!", *flags)["tokens"])

    def test_a_prompt_alone_leaves_stdin_to_whoever_it_belongs_to(self):
        """As in `while read` loops: the rest of the file is there after an answer."""
        path = os.path.join(self.home, "questions.txt")
        with open(path, "w") as file:
            file.write("Hello!\nYou there.\n")
        flags = ["run", "demo", "Hello!", "--temperature", "0", "--max-tokens", "8"]
        alone = self.hearth(*flags).stdout
        with open(path) as file:
            self.assertEqual(self.run_with(file, *flags), alone)
            self.assertEqual(os.lseek(file.fileno(), 0, os.SEEK_CUR), 0)

    def test_a_pipe_that_is_not_read_is_told(self):
        flags = ["run", "demo", "Hello!", "--temperature", "0", "--max-tokens", "8"]
        ours, theirs = os.pipe()
        try:
            os.write(theirs, b"lost?")  # before the program can look
            for quiet, note in (([], "end with -"), (["--quiet"], "")):
                done = subprocess.run([BINARY, *quiet, *flags], stdin=ours, capture_output=True, text=True,
                                      env=environment(self.home), timeout=WAIT_S)
                self.assertEqual((done.returncode, done.stdout), (0, self.hearth(*flags).stdout))
                self.assertIn(note, done.stderr) if note else self.assertEqual(done.stderr, "")
            self.assertEqual(os.read(ours, 100), b"lost?")
        finally:
            os.close(ours)
            os.close(theirs)

    def run_with(self, stdin, *args):
        done = subprocess.run([BINARY, *args], stdin=stdin, capture_output=True, text=True,
                              env=environment(self.home), timeout=WAIT_S)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_an_empty_prompt_is_refused_in_words(self):
        for prompt in ([], [""], ["-"]):
            done = self.hearth("run", "demo", *prompt, stdin="")
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertIn("the prompt is empty", done.stderr)

    def test_a_prompt_does_not_wait_for_an_empty_stdin(self):
        """Nobody types into the terminal and nothing is in /dev/null: with a PROMPT neither is read."""
        flags = ["run", "demo", "Hello!", "--temperature", "0", "--max-tokens", "8"]
        alone = self.hearth(*flags).stdout
        self.assertEqual(self.run_with(subprocess.DEVNULL, *flags), alone)
        ours, terminal = pty.openpty()
        try:
            self.assertEqual(self.run_with(terminal, *flags), alone)
        finally:
            os.close(ours)
            os.close(terminal)

    def test_a_prompt_does_not_wait_for_a_pipe_that_stays_open(self):
        flags = ["run", "demo", "Hello!", "--temperature", "0", "--max-tokens", "8"]
        process = subprocess.Popen([BINARY, *flags], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=subprocess.DEVNULL, text=True, env=environment(self.home))
        self.assertEqual(process.wait(timeout=WAIT_S), 0)
        self.assertEqual(process.stdout.read(), self.hearth(*flags).stdout)
        process.stdin.close()
        process.stdout.close()

    def test_flags_that_would_drop_text_are_refused(self):
        messages, tools = os.path.join(self.home, "m.json"), os.path.join(self.home, "t.json")
        for path, value in ((messages, [{"role": "user", "content": "hi"}]), (tools, [])):
            with open(path, "w") as file:
                json.dump(value, file)
        for flags, names in ((["--raw", "--messages", messages], ("--raw", "--messages")),
                             (["--raw", "--system", "Be brief."], ("--raw", "--system")),
                             (["--raw", "--tools", tools, "hi"], ("--raw", "--tools")),
                             (["--prompt-ids", "1,2", "hi"], ("--prompt-ids", "PROMPT")),
                             (["--prompt-ids", "1,2", "--system", "x"], ("--prompt-ids", "--system"))):
            done = self.hearth("run", "demo", *flags)
            self.assertEqual((done.returncode, done.stdout), (2, ""), (flags, done.stderr))
            for name in names:
                self.assertIn(name, done.stderr)

    def test_a_model_without_a_template_takes_no_system_message(self):
        here = os.path.dirname(os.path.abspath(__file__))
        with open(os.path.join(here, "..", "..", "models", "demo-q8_0.gguf"), "rb") as file:
            model = file.read()
        self.assertEqual(model.count(b"tokenizer.chat_template"), 1)
        path = os.path.join(self.home, "plain.gguf")
        with open(path, "wb") as file:
            file.write(model.replace(b"tokenizer.chat_template", b"tokenizer.chat_tmeplate"))
        tools = os.path.join(self.home, "t.json")
        with open(tools, "w") as file:
            json.dump([{"type": "function", "function": {"name": "f"}}], file)
        for flag, value in (("--system", "Be brief."), ("--tools", tools)):
            done = self.hearth("run", path, "Hello!", flag, value)
            self.assertEqual((done.returncode, done.stdout), (2, ""), done.stderr)
            self.assertIn(flag, done.stderr)
        self.assertEqual(self.hearth("run", path, "Hello!", "--max-tokens", "3").returncode, 0)
        # Who asks over HTTP is told what helps there too.
        answer = self.serve("--model", path).chat({**ask("hi"), "model": "plain"})
        self.assertEqual(answer.status, 400)
        self.assertIn("chat template", answer.json()["error"]["message"])
        self.assertIn("choose a model", answer.json()["error"]["message"])

    def test_two_models_of_one_name_are_refused(self):
        paths = [os.path.join(self.home, folder, "same.gguf") for folder in ("a", "b")]
        for path in paths:
            os.mkdir(os.path.dirname(path))
            with open(path, "wb") as file:
                file.write(b"GGUF")
        done = self.hearth("serve", "--port", "0", "--model", paths[0], "--model", paths[1])
        self.assertEqual((done.returncode, done.stdout), (2, ""), done.stderr)
        for path in paths:
            self.assertIn(path, done.stderr)

    def test_local_answers_go_on_without_a_journal(self):
        os.makedirs(os.path.join(self.home, "state"))
        with open(os.path.join(self.home, "state", "journal"), "w") as file:
            file.write("a file where the folder should be")
        done = self.hearth("run", "demo", "Hello!", "--temperature", "0", "--max-tokens", "8")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue(done.stdout.strip())
        self.assertIn("journal", done.stderr)
        self.assertNotEqual(self.hearth("serve", "--port", "0").returncode, 0)

    def test_the_same_seed_gives_the_same_answer(self):
        args = ["run", "demo", "Go on.", "--temperature", "2", "--top-k", "0", "--top-p", "1", "--min-p", "0",
                "--max-tokens", "30", "--seed"]
        one, two, other = (self.document(*args, seed)["tokens"] for seed in ("5", "5", "6"))
        self.assertEqual(one, two)
        self.assertNotEqual(one, other)

    def test_terminal_and_server_give_the_same_answer(self):
        text = self.document("run", "demo", "Hello!", "--temperature", "0", "--max-tokens", "20")["text"]
        self.assertEqual(self.serve().chat(ask("Hello!", max_tokens=20)).text(), text)

    def test_prompt_ids_are_taken_as_they_are(self):
        out = self.document("run", "demo", "--prompt-ids", "1,2,3", "--max-tokens", "4",
                            "--temperature", "0")
        self.assertEqual(out["usage"]["input_tokens"], 3)

    def test_a_prompt_that_does_not_fit_fails_with_both_counts(self):
        done = self.hearth("run", "demo", stdin="word " * 20000)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertGreaterEqual(len(re.findall(r"\d{3,}", done.stderr)), 2, done.stderr)

    def test_tokenize_and_detokenize_are_inverse(self):
        text = "Hello, wörld! 123 \U0001f525\n  two  blanks"
        ids = self.document("tokenize", "demo", stdin=text)["tokens"]
        self.assertTrue(all(isinstance(i, int) for i in ids))
        plain = self.document("tokenize", "demo", "--no-special", stdin=text)["tokens"]
        joined = ",".join(map(str, plain))
        self.assertEqual(self.document("detokenize", "demo", "--ids", joined)["text"], text)

    def test_tokenize_jsonl_answers_line_by_line(self):
        lines = ["Hello", "", "two\nlines", "\u00fc\U0001f525"]
        done = self.hearth("tokenize", "demo", "--jsonl", "--no-special",
                           stdin="".join(json.dumps(line) + "\n" for line in lines))
        self.assertEqual(done.returncode, 0, done.stderr)
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual(len(answers), len(lines))
        for line, ids in zip(lines, answers):
            one = self.document("tokenize", "demo", "--no-special", stdin=line)["tokens"] if line else []
            self.assertEqual(ids, one)

    def test_detokenize_refuses_ids_that_are_none(self):
        for ids in ("1,x", "99999999999999999999", ""):
            self.assertIn(self.hearth("detokenize", "demo", "--ids", ids).returncode, (1, 2))

    def test_logprobs_are_n_minus_1_and_their_mean_is_the_nll(self):
        out = self.document("logprobs", "demo", "--file", "-", stdin="The cat sat on the mat.")
        self.assertEqual(len(out["logprobs"]), out["n_tokens"] - 1)
        self.assertTrue(all(p <= 0 for p in out["logprobs"]))
        self.assertAlmostEqual(out["nll"], -sum(out["logprobs"]) / len(out["logprobs"]), places=5)

    def test_template_render_prints_the_prompt_and_no_newline_of_its_own(self):
        path = os.path.join(self.home, "t.jinja")
        with open(path, "w") as file:
            file.write("{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}{% endfor %}")
        context = json.dumps({"messages": [{"role": "user", "content": " hi "}]})
        done = self.hearth("template", "render", path, "--input", "-", stdin=context)
        self.assertEqual((done.returncode, done.stdout), (0, "<user>hi"))
        with open(path, "w") as file:
            file.write("a\n{{ b.c.d }}\n{% if %}")
        done = self.hearth("template", "render", path, "--input", "-", stdin=context)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, r"\d+:\d+")

    def test_route_explain_runs_nothing_and_says_why(self):
        out = self.document("route", "explain", "--model", "auto", stdin=json.dumps(ask("hi")))
        self.assertIn("demo", json.dumps(out))
        self.assertIn("reason", out)
        self.assertIn("steps", out)

    def test_config_show_says_where_a_value_came_from(self):
        flags = self.config('[serve]\nport = 4711\n')
        shown = json.dumps(self.document("config", "show", *flags, env={"HEARTH_HOST": "127.0.0.9"}))
        for word in ("4711", "test.toml", "127.0.0.9", "HEARTH_HOST", "default"):
            self.assertIn(word, shown)

    def test_a_bad_configuration_is_refused_with_its_place(self):
        for text, word in (("[serve]\nprot = 1\n", "prot"), ("[serve]\nport = 99999\n", "port"),
                           ("[serve\n", ":1:"), ('[[upstream]]\nname = "x"\n', "base_url")):
            done = self.hearth("config", "show", *self.config(text))
            self.assertIn(done.returncode, (1, 2), text)
            self.assertIn(word, done.stderr)

    def test_audit_tail_shows_what_run_did(self):
        self.hearth("run", "demo", "hi", "--max-tokens", "3")
        done = self.hearth("audit", "tail", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("decision", done.stdout)
        self.assertIn("outcome", done.stdout)
        json.loads(done.stdout)

    def test_audit_tail_follows_every_writer(self):
        first, second = self.serve(), self.serve()  # each writes a slot of its own
        follower = subprocess.Popen([BINARY, "audit", "tail", "-f", "--json"], text=True,
                                    stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                    env=environment(self.home))
        self.addCleanup(follower.stdout.close)
        self.addCleanup(follower.wait)
        self.addCleanup(follower.kill)
        asked = [server.chat(ask("hi", max_tokens=2)).headers["x-hearth-request-id"]
                 for server in (first, second, first, second)]
        seen = {}
        while sorted(seen) != sorted(asked) or any(len(events) < 2 for events in seen.values()):
            record = json.loads(follower.stdout.readline())
            seen.setdefault(record["request_id"], []).append(record["event"])
        for events in seen.values():
            self.assertEqual(events, ["decision", "outcome"])

    def test_bench_prints_both_rates(self):
        out = self.document("bench", "demo", "-p", "32", "-n", "8", "-r", "1")
        self.assertEqual([r["test"] for r in out["results"]], ["pp32", "tg8"])
        for result in out["results"]:
            self.assertGreater(result["tps_median"], 0)

    def test_a_forced_isa_is_taken_and_an_unknown_one_refused(self):
        out = {isa: self.document("run", "demo", "Hello!", "--temperature", "0", "--max-tokens", "8",
                                  env={"HEARTH_ISA": isa})["text"] for isa in ("scalar", "")}
        self.assertTrue(out["scalar"])
        self.assertNotEqual(self.hearth("run", "demo", "hi", env={"HEARTH_ISA": "abacus"}).returncode, 0)


if __name__ == "__main__":
    unittest.main()
