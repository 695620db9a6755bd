"""The door as others can check it: strace shows that nothing local connects, the counters of a veth pair show
that `egress report` says all that left, and `doctor` says what protects.

Features are read from the program's own tables (its --help, its routes), so that a new one cannot be forgotten:
it fails here until it has a line.
"""
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import unittest

from double import Double
from house import BINARY, WAIT_S, HouseTest, Wire, ask, environment, request_bytes

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "src")

# A network namespace of its own, in which nothing but loopback is there.
ALONE = ["unshare", *([] if os.geteuid() == 0 else ["-r"]), "-n", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]

# What each command is run with, by its words. None: it needs what a local day does not have, and is shown elsewhere.
COMMANDS = {
    "run": ["run", "demo", "1 2 3", "--max-tokens", "4"],
    "serve": None,  # test_no_route_connects
    "tokenize": ["tokenize", "demo"],
    "detokenize": ["detokenize", "demo", "--ids", "1,2"],
    "logprobs": ["logprobs", "demo", "--ids", "1,2,3"],
    "template render": ["template", "render", "demo", "--input", "-"],
    "route explain": ["route", "explain"],
    "audit tail": ["audit", "tail"],
    "audit verify": ["audit", "verify"],
    "audit export": ["audit", "export"],
    "audit anchor": ["audit", "anchor"],
    "audit show": ["audit", "show", "req-none"],
    "audit erase": ["audit", "erase", "--request", "req-none", "--yes"],
    "bench": ["bench", "demo", "-p", "8", "-n", "2", "-r", "1"],
    "quantize": ["quantize", "demo", "{home}/out.gguf", "--type", "q8_0"],
    "config show": ["config", "show"],
    "egress report": ["egress", "report"],
    "doctor": ["doctor"],
    "scan": ["scan", "--file", "-"],
    "replay": ["replay", "req-none"],
    "taint list": ["taint", "list"],
    "taint release": ["taint", "release", "taint-none"],
    "keys create": ["keys", "create", "--name", "one"],
    "keys list": ["keys", "list"],
    "keys show": ["keys", "show", "one"],
    "keys rotate": ["keys", "rotate", "one"],
    "keys revoke": ["keys", "revoke", "one"],
    "users add": ["users", "add", "ann"],
    "users list": ["users", "list"],
    "users role": ["users", "role", "ann", "auditor"],
    "users remove": ["users", "remove", "ann"],
    "cost report": ["cost", "report"],
    "cost breakeven": ["cost", "breakeven"],
    "cost prices": ["cost", "prices"],
}


def why_not_alone():
    if not shutil.which("strace") or not shutil.which("unshare") or not shutil.which("ip"):
        return "strace, unshare and ip are needed"
    tried = subprocess.run([*ALONE, "strace", "-f", "-qq", "-o", "/dev/null", "true"], capture_output=True, text=True)
    return "" if tried.returncode == 0 else f"no network namespace under strace here: {tried.stderr.strip()}"


def commands_of_help():
    """Every command's words, from --help."""
    def below(words):
        text = subprocess.run([BINARY, *words, "--help"], capture_output=True, text=True).stdout
        parts = re.split(r"^Subcommands:\s*$", text, flags=re.M | re.I)
        names = re.findall(r"^  ([a-z][a-z-]*)\s", parts[1], re.M) if len(parts) > 1 else []
        return [c for name in names for c in below([*words, name])] if names else [" ".join(words)]
    return set(below([]))


def routes_of_source():
    """(method, path) of every route: the table of roles, and the dialects'."""
    with open(os.path.join(SOURCE, "serve", "gate.cc")) as file:
        routes = set(re.findall(r'RouteRoles\{"([A-Z]+)", "([^"]+)"', file.read()))
    folder = os.path.join(SOURCE, "chat", "dialects")
    for root, _, files in os.walk(folder):
        for name in files:
            with open(os.path.join(root, name)) as file:
                routes |= set(re.findall(r'\{"(POST|GET)", "(/[^"]+)"', file.read()))
    return routes


class DoorFromOutside(HouseTest):
    """Every feature under strace, in a namespace where a connection could go nowhere anyway."""

    def setUp(self):
        super().setUp()
        if why := why_not_alone():
            self.skipTest(why)
        self.log = os.path.join(self.home, "strace.log")

    def traced(self, *command):
        return [*ALONE, "strace", "-f", "-qq", "-e", "trace=%network", "-o", self.log, BINARY, *command]

    def calls_out(self):
        """Lines of the transcript that reach beyond this machine's own sockets."""
        with open(self.log) as file:
            lines = file.read().splitlines()
        wrong = [line for line in lines if re.search(r"\b(connect|sendto|sendmsg|sendmmsg)\(", line)
                 and re.search(r"AF_INET|sin6?_port|AF_PACKET|AF_VSOCK", line)]
        return wrong + [line for line in lines if re.search(r"\bsocket\(AF_(PACKET|VSOCK|ALG)", line)]

    def test_no_command_connects(self):
        found = commands_of_help()
        self.assertIn("run", found)
        self.assertEqual(found - set(COMMANDS), set(), "a command without a line in COMMANDS")
        for words in sorted(found):
            command = COMMANDS[words]
            if command is None:
                continue
            with self.subTest(words):
                arguments = [part.replace("{home}", self.home) for part in command]
                done = subprocess.run(self.traced(*arguments), input='{"messages":[]}', capture_output=True,
                                      text=True, env=environment(self.home), timeout=WAIT_S)
                # It ran: its own code, not a usage error or a signal.
                self.assertIn(done.returncode, (0, 1, 3, 4, 5), f"{words}: {done.stderr}")
                self.assertEqual(self.calls_out(), [], words)

    def test_no_route_connects(self):
        listening = subprocess.Popen(self.traced("serve", "--port", "0"), stdin=subprocess.DEVNULL,
                                     stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                     env=environment(self.home))
        try:
            self.assertIn("listening on", listening.stdout.readline())
            routes = routes_of_source()
            self.assertIn(("POST", "/v1/chat/completions"), routes)
            self.assertIn(("GET", "/metrics"), routes)
            for method, path in sorted(routes):
                body = ask("1 2 3", max_tokens=4) if method == "POST" else None
                answer = self.over_unix(method, path.replace("*", "demo"), body)
                self.assertNotEqual(answer.status, 501, path)
            # What asks for another machine and has none, and what names a picture elsewhere.
            for extra in ({"model": "cloud"}, {"model": "auto"}):
                self.over_unix("POST", "/v1/chat/completions", {**ask("hello", max_tokens=2), **extra})
            picture = {"type": "image_url", "image_url": {"url": "http://192.0.2.1/x.png"}}
            self.over_unix("POST", "/v1/chat/completions",
                           {"model": "demo", "messages": [{"role": "user", "content": [picture]}]})
        finally:
            tracee = subprocess.run(["pgrep", "-P", str(listening.pid)], capture_output=True, text=True).stdout.split()
            for pid in tracee or [listening.pid]:
                os.kill(int(pid), signal.SIGTERM)
            listening.communicate(timeout=WAIT_S)
        self.assertEqual(self.calls_out(), [])
        with open(self.log) as file:  # the transcript is one: its own listener is in it
            self.assertRegex(file.read(), r"bind\(\d+, \{sa_family=AF_INET")

    def test_the_transcript_would_show_a_connect(self):
        """The control: with an upstream, the broker's connect is found."""
        config = self.config('[[upstream]]\nname = "acme"\ntier = "cloud"\nbase_url = "http://127.0.0.1:9/v1"\n'
                             'models = [ { name = "m", context = 1000 } ]\n')
        done = subprocess.run(self.traced("run", "acme/m", "hello", *config), capture_output=True, text=True,
                              env=environment(self.home), timeout=WAIT_S)
        self.assertEqual(done.returncode, 6, done.stderr)
        self.assertRegex("\n".join(self.calls_out()), r"connect\(\d+, \{sa_family=AF_INET, sin_port=htons\(9\)")

    def over_unix(self, method, path, body):
        """Unix sockets reach across network namespaces."""
        wire = Wire.__new__(Wire)
        wire.socket = socket.socket(socket.AF_UNIX)
        wire.socket.settimeout(WAIT_S)
        wire.socket.connect(os.path.join(self.home, "state", "hearth.sock"))
        wire.buffer = b""
        with wire:
            wire.send(request_bytes(method, path, body, [("Connection", "close")]))
            return wire.response()


class EgressReport(HouseTest):
    def setUp(self):
        super().setUp()
        self.double = Double()
        self.addCleanup(self.double.close)

    def upstream(self, host="127.0.0.1", port=None):
        return self.config(f'[[upstream]]\nname = "acme"\ntier = "cloud"\n'
                           f'base_url = "http://{host}:{port or self.double.port}/v1"\n'
                           f'models = [ {{ name = "ok", context = 100000 }} ]\n')

    def report(self, *flags):
        done = self.hearth("egress", "report", "--json", *flags)
        return done.returncode, json.loads(done.stdout)

    def test_before_anything_left_it_says_so(self):
        code, report = self.report()
        self.assertEqual((code, report["rows"], report["total"]["connections"]), (0, [], 0))

    def test_the_journal_and_the_brokers_counters_agree(self):
        server = self.serve(*self.upstream())
        for n in range(3):
            answer = server.chat({**ask("Where to?" * (n + 1)), "model": "acme/ok"},
                                 [("x-hearth-sensitivity", "public")])
            self.assertEqual(answer.status, 200, answer.body)
        server.stop()
        code, report = self.report()
        self.assertEqual(code, 0, report)
        self.assertTrue(report["agree"], report)
        self.assertEqual(len(report["rows"]), 1)
        row = report["rows"][0]
        self.assertEqual((row["connections"], row["rule"], row["purpose"]), (3, "upstream acme", "inference"))
        for name in ("bytes_out", "bytes_in", "wire_bytes_out", "wire_bytes_in"):
            self.assertEqual(report["total"][name], report["broker"][name], name)
            self.assertGreater(report["total"][name], 0, name)
        self.assertEqual(report["signatures"], {"valid": 3, "invalid": 0, "unsigned": 0, "other_key": 0})
        self.assertEqual(self.hearth("egress", "report").returncode, 0)

    def test_counters_that_say_more_than_the_journal_are_found(self):
        server = self.serve(*self.upstream())
        server.chat({**ask("Where to?"), "model": "acme/ok"}, [("x-hearth-sensitivity", "public")])
        server.stop()
        path = os.path.join(self.home, "broker", "counters.json")
        with open(path) as file:
            counters = json.load(file)
        counters["total"]["n_closed"] += 1
        with open(path, "w") as file:
            json.dump(counters, file)
        code, report = self.report("--since", "all")
        self.assertEqual((code, report["agree"]), (1, False))
        self.assertIn("differ", report["verdict"])

    def test_a_wrong_span_is_a_usage_error(self):
        for span in ("30", "d", "-1d", "1y", "99999999d"):
            self.assertEqual(self.hearth("egress", "report", "--since", span).returncode, 2, span)

    def test_it_equals_the_counters_of_a_veth_pair_less_headers(self):
        """The whole in namespaces of its own: egress_world.py makes them, asks, and compares."""
        if not shutil.which("unshare") or not shutil.which("ip") or not shutil.which("nsenter"):
            self.skipTest("unshare, nsenter and ip are needed")
        world = os.path.join(os.path.dirname(os.path.abspath(__file__)), "egress_world.py")
        outer = ["unshare", *([] if os.geteuid() == 0 else ["-r"]), "-n", "-m"]
        done = subprocess.run([*outer, sys.executable, world, self.home], capture_output=True, text=True,
                              env={**environment(self.home), "HEARTH_BINARY": BINARY}, timeout=WAIT_S)
        if done.returncode == 77:
            self.skipTest(done.stderr.strip())
        self.assertEqual(done.returncode, 0, done.stderr + done.stdout)
        seen = json.loads(done.stdout)
        self.assertEqual(seen["veth"], {k: seen["report"][k] for k in seen["veth"]}, seen)
        self.assertGreater(seen["veth"]["wire_bytes_out"], 10_000)


class Doctor(HouseTest):
    def doctor(self, *flags):
        done = self.hearth("doctor", "--json", "--port", "0", *flags)
        return done.returncode, {c["name"]: c for c in json.loads(done.stdout)["checks"]}

    def test_it_is_well_here(self):
        code, checks = self.doctor()
        self.assertEqual(code, 0, checks)
        for name in ("sandbox", "broker", "journal", "disk", "memory", "cpu", "bandwidth", "descriptors", "clock",
                     "port"):
            self.assertIn(checks[name]["verdict"], ("ok", "warn"), checks[name])
        self.assertEqual(self.hearth("doctor", "--port", "0").returncode, 0)

    def test_a_port_that_is_taken_and_a_key_that_is_not_set_are_said(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            config = self.config('[[upstream]]\nname = "acme"\ntier = "cloud"\nbase_url = "http://127.0.0.1:9/v1"\n'
                                 'key_env = "NO_SUCH_KEY"\nmodels = [ { name = "m", context = 10 } ]\n')
            done = self.hearth("doctor", "--json", "--port", str(taken.getsockname()[1]), *config)
        checks = {c["name"]: c for c in json.loads(done.stdout)["checks"]}
        self.assertEqual(checks["port"]["verdict"], "warn")
        self.assertEqual(checks["upstream acme"]["verdict"], "fail")
        self.assertIn("NO_SUCH_KEY", checks["upstream acme"]["text"])
        self.assertEqual(done.returncode, 1)

    def test_where_the_kernel_lacks_landlock_it_is_said_and_can_be_refused(self):
        """A filter around the program answers ENOSYS to Landlock's calls, as older kernels do."""
        def run(*command):
            return subprocess.run([sys.executable, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                                                "without_landlock.py"), BINARY, *command],
                                  capture_output=True, text=True, env=environment(self.home), timeout=WAIT_S)
        plain = run("doctor", "--json", "--port", "0")
        checks = {c["name"]: c for c in json.loads(plain.stdout)["checks"]}
        self.assertEqual(checks["sandbox"]["verdict"], "warn")
        self.assertIn("no Landlock", checks["sandbox"]["text"])
        self.assertEqual(plain.returncode, 0, plain.stdout)
        refused = run("config", "show", "--require-sandbox")
        self.assertEqual(refused.returncode, 3, refused.stderr)
        self.assertIn("no Landlock", refused.stderr)
        goes_on = run("config", "show")
        self.assertEqual(goes_on.returncode, 0)
        self.assertIn("no Landlock", goes_on.stderr)
        self.assertEqual(self.hearth("config", "show", "--require-sandbox").returncode, 0)


if __name__ == "__main__":
    unittest.main()
