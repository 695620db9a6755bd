"""kill -9 of each process at random points: nothing acknowledged is lost, nothing that left is unrecorded.

Each round starts a server with an upstream, asks it from four clients, and kills the server, its broker or its
opener of model files at a random moment. Every request names a model of its own, so that what reached the upstream can be found in the
journal without any text. Then must hold:
  what reached the upstream  ⊆  decisions in the journal          (written before the first byte left)
  what a client was answered ⊆  decisions in the journal
  connections that the upstream took  ≤  connections that the broker counted
and without its opener the server answers everything that needs no further model.
HEARTH_KILL_ROUNDS says how many rounds (a sample by default; scripts/kill-rounds runs 1,000), HEARTH_SEED
repeats their choices.
"""
import json
import os
import random
import signal
import socket
import threading
import time
import unittest

from double import Double
from house import HouseTest, Server, ask, children_of

ROUNDS = int(os.environ.get("HEARTH_KILL_ROUNDS", "8"))
MODELS = 64  # of one round; a round's clients ask until the kill, at most so often


class KillNine(HouseTest):
    def test_nothing_acknowledged_is_lost_and_nothing_that_left_is_unrecorded(self):
        seed = int(os.environ.get("HEARTH_SEED", random.randrange(1_000_000)))
        print(f"seed {seed} (HEARTH_SEED repeats its choices)")
        chance = random.Random(seed)
        totals = {"reached": 0, "answered": 0, "main": 0, "egress-broker": 0, "model-opener": 0}
        for number in range(ROUNDS):
            # A fresh folder now and then keeps the whole journal readable in one go.
            if number % 20 == 0:
                self.home = self.new_home()
                self.reached, self.answered, self.n_taken = set(), set(), 0
            with self.subTest(round=number, seed=seed):
                self.one_round(number, chance, totals)
        print(totals)
        self.assertGreater(totals["reached"], ROUNDS // 2, "the rounds show nothing where nothing left")

    def one_round(self, number, chance, totals):
        double, n_answered = Double(), len(self.answered)
        try:
            victim = chance.choices(["main", "egress-broker", "model-opener"], [4, 4, 2])[0]
            server = self.start(double, number)
            clients = [threading.Thread(target=self.ask_on, args=(server, number, range(first, MODELS, 4)))
                       for first in range(4)]
            for client in clients:
                client.start()
            time.sleep(chance.random() * 0.15)
            os.kill({"main": server.process.pid, **children_of(server.process.pid)}[victim], signal.SIGKILL)
            totals[victim] += 1
            for client in clients:
                client.join()
            if victim == "main":
                server.process.wait()
                server.process.stdout.close()
            else:
                self.assertEqual(server.stop(), 0, server.said())
            if victim == "model-opener":
                self.assertEqual(len(self.answered) - n_answered, MODELS)
        finally:
            double.close()
        time.sleep(0.05)
        now = {body["model"] for _, body in double.requests}
        self.reached |= now
        self.n_taken += double.n_connections
        totals["reached"] += len(now)
        totals["answered"] += len(self.answered) - n_answered
        self.check()

    def start(self, double, number):
        models = ", ".join(f'{{ name = "m{number}-{i}", context = 100000 }}' for i in range(MODELS))

        return Server(self.home, *self.config(
            f'[[upstream]]\nname = "acme"\ntier = "cloud"\nbase_url = "http://127.0.0.1:{double.port}/v1"\n'
            f'models = [ {models} ]\n'), "--fallback", "false")

    def ask_on(self, server, number, those):
        for i in those:
            model = f"m{number}-{i}"
            try:
                answer = server.chat({**ask("Where to?"), "model": f"acme/{model}"},
                                     [("x-hearth-sensitivity", "public")])
            except (OSError, AssertionError, socket.timeout):
                return  # killed
            if answer.status != 200:
                return
            self.answered.add(model)

    def check(self):
        decided = set()
        done = self.hearth("audit", "tail", "-n", "100000", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        for entry in json.loads(done.stdout)["records"]:
            if entry["event"] == "decision":
                decided.add(entry["record"]["model"].split("/")[-1])
        self.assertEqual(self.reached - decided, set(), "these left without a record")
        self.assertEqual(self.answered - decided, set(), "these were answered and are not recorded")
        path = os.path.join(self.home, "broker", "counters.json")
        if not os.path.exists(path):  # killed before the first connection of this folder
            self.assertEqual(self.n_taken, 0)
            return
        with open(path) as file:
            counters = json.load(file)
        self.assertGreaterEqual(counters["total"]["n_opened"], self.n_taken)
        self.assertGreaterEqual(counters["total"]["n_opened"], counters["total"]["n_closed"])


if __name__ == "__main__":
    unittest.main()
