"""What answers cost: the ledger's rows as the commands show them, added up here once more."""
import csv
import io
import json
import os
import unittest

from double import Double
from house import HouseTest, ask

SUMMED = ["input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "total_ns", "busy_ns", "idle_ns",
          "energy_uj", "energy_microusd", "amortisation_microusd", "idle_microusd", "paid_microusd"]
CARD = ('[gpu.card]\nname = "Card"\nvram_gb = 24\nmem_bw_gb_s = 980\nfp16_tflops = 80.0\ntdp_w = 350\n'
        'llamacpp_decode_eff = 0.5\nllamacpp_prefill_eff = 0.2\nstreet_usd = 876\n'
        '[gpu.small]\nname = "Small"\nvram_gb = 2\nmem_bw_gb_s = 100\nfp16_tflops = 8\ntdp_w = 20\n'
        'llamacpp_decode_eff = 0.5\nllamacpp_prefill_eff = 0.2\n')


class Cost(HouseTest):
    def report(self, *args, code=0):
        done = self.hearth("cost", *args, "--json")
        self.assertEqual(done.returncode, code, done.stderr + done.stdout)
        return json.loads(done.stdout)

    def some_answers(self):
        """Two answers of the cloud at 2 USD a million (7 + 3 or so tokens), three of this machine."""
        double = Double()
        self.addCleanup(double.close)
        config = self.config(f'[[upstream]]\nname = "acme"\nbase_url = "http://127.0.0.1:{double.port}/v1"\n'
                             'models = [ { name = "ok", context = 1000, input_usd_per_mtok = 2, '
                             'output_usd_per_mtok = 2 } ]\n')
        server = self.serve(*config)
        for model, task in (("acme/ok", "mail"), ("demo", "mail"), ("demo", "sql"), ("acme/ok", "sql"), ("demo", "")):
            headers = [("x-hearth-sensitivity", "public")] + ([("x-hearth-task", task)] if task else [])
            answer = server.chat({**ask("Where to?", max_tokens=8), "model": model}, headers)
            self.assertEqual(answer.status, 200, answer.body)
        self.assertEqual(server.stop(), 0)

    def test_totals_equal_the_sum_of_rows_however_they_are_grouped(self):
        self.some_answers()
        rows = self.report("report", "--rows")["rows"]
        self.assertEqual(len(rows), 5)
        summed = {name: sum(row[name] for row in rows) for name in SUMMED}
        for by in ("task", "key", "model", "tier", "day"):
            found = self.report("report", "--by", by)
            for name in SUMMED:
                self.assertEqual(found["total"][name], summed[name], (by, name))
                self.assertEqual(sum(row[name] for row in found["rows"]), summed[name], (by, name))
            self.assertEqual(found["total"]["n_requests"], 5)
            self.assertEqual(found["total"]["total_microusd"],
                             sum(r["energy_microusd"] + r["amortisation_microusd"] + r["idle_microusd"]
                                 + r["paid_microusd"] for r in rows))
        table = list(csv.DictReader(io.StringIO(self.hearth("cost", "report", "--rows").stdout)))
        self.assertEqual(sum(int(line["paid_microusd"]) for line in table), summed["paid_microusd"])
        names = {row["task"]: row["n_requests"] for row in self.report("report", "--by", "task")["rows"]}
        self.assertEqual(names, {"": 1, "mail": 2, "sql": 2})

    def test_a_local_answer_took_the_machine_and_a_cloud_answer_money(self):
        self.some_answers()
        rows = self.report("report", "--rows")["rows"]
        for row in rows:
            if row["tier"] == "cloud":
                self.assertEqual(row["paid_microusd"], 2 * (row["input_tokens"] + row["output_tokens"]))
                self.assertEqual((row["busy_ns"], row["energy_uj"], row["energy_source"]), (0, 0, ""))
                self.assertIsNone(row["other_microusd"])  # nothing was measured here yet
            else:
                self.assertEqual(row["paid_microusd"], 0)
                self.assertGreater(row["busy_ns"], 0)
                self.assertGreater(row["energy_uj"], 0)
                self.assertIn(row["energy_source"], ("rapl", "estimate"))
                self.assertEqual(row["idle_ns"], 9 * row["busy_ns"])
                self.assertEqual(row["other"], "openai/gpt-5-mini")

    def test_every_assumption_says_where_it_came_from(self):
        done = self.hearth("cost", "report", "--json", "--hardware-usd", "2500.50",
                           env={"HEARTH_IDLE_WATTS": "7"})
        self.assertEqual(done.returncode, 0, done.stderr)
        found = {a["name"]: (a["value"], a["source"]) for a in json.loads(done.stdout)["assumptions"]}
        self.assertEqual(found["cost.hardware_usd"], ("2500.50", "flag --hardware-usd"))
        self.assertEqual(found["cost.idle_watts"], ("7", "environment HEARTH_IDLE_WATTS"))
        self.assertTrue(found["cost.lifetime_years"][1].startswith("default"))
        self.assertEqual(found["prices"], ("2026-07-24", "built in"))
        for wrong in ("-1", "1e3", "much"):
            self.assertEqual(self.hearth("cost", "report", f"--hardware-usd={wrong}").returncode, 2)
        for wrong in ("", "d", "3 days", "-1d", "9999999999d"):
            self.assertEqual(self.hearth("cost", "report", f"--since={wrong}").returncode, 2, wrong)

    def test_a_price_table_of_ones_own_replaces_the_programs(self):
        path = os.path.join(self.home, "prices.toml")
        with open(path, "w") as file:  # as a shell opens it before the program begins
            text = self.hearth("cost", "prices", "--toml").stdout
            file.write(text)
        again = self.report("prices")
        self.assertEqual(again["source"], path)
        self.assertEqual(self.hearth("cost", "prices", "--toml").stdout, text)
        with open(path, "w") as file:
            file.write('date = "2030-01-01"\n[[model]]\nprovider = "acme"\nname = "x"\n'
                       'input_usd_per_mtok = 0.0028\noutput_usd_per_mtok = "1"\n')
        prices = self.report("prices")
        self.assertEqual(prices["prices"], [{"provider": "acme", "model": "x", "input_usd_per_mtok": "0.0028",
                                             "cached_input_usd_per_mtok": None, "output_usd_per_mtok": "1",
                                             "context": 0}])
        with open(path, "a") as file:
            file.write("[[model]]\nprovider = 3\n")
        refused = self.hearth("cost", "prices")
        self.assertNotEqual(refused.returncode, 0)
        self.assertIn("prices.toml:", refused.stderr)

    def test_breakeven_of_a_data_sheet_follows_from_its_numbers(self):
        path = os.path.join(self.home, "hardware.toml")
        with open(path, "w") as file:
            file.write(CARD)
        # 980 GB/s * 0.5 / 4.9 GB = 100 tokens/s; 80e12 * 0.2 / (2 * 8e9) = 1000 tokens/s.
        found = self.report("breakeven", "--hardware", path, "--cloud", "openai/gpt-5",
                            "--lifetime-years", "1", "--idle-watts", "0", "--electricity-usd-per-kwh", "0.36",
                            "--input", "1000", "--output", "100")
        self.assertEqual([m["key"] for m in found["machines"]], ["card"])  # the other has no room
        card = found["machines"][0]
        self.assertEqual(card["busy_ns"], 2_000_000_000)
        self.assertEqual(card["fixed_picousd_per_day"], 2_400_000_000_000)  # 876 USD / 365
        self.assertEqual(card["marginal_picousd"], 70_000_000)              # 350 W * 2 s at 0.36 USD
        self.assertEqual(card["price_picousd"], 2_250_000_000)              # 1.25 and 10 USD per million
        self.assertEqual(card["requests_per_day"], 1101)                    # 2.4 / 0.00218 = 1100.9
        self.assertEqual([p["utilisation_percent"] for p in card["by_utilisation"]], list(range(1, 101)))
        cheaper = [p["here_microusd_per_day"] <= p["there_microusd_per_day"] for p in card["by_utilisation"]]
        self.assertEqual(cheaper, [432 * u >= 1101 for u in range(1, 101)])
        missing = self.report("breakeven", "--hardware", path, "--device", "none", code=4)
        self.assertIn("none", missing["error"]["message"])
        self.assertEqual(self.hearth("cost", "breakeven", "--hardware", path + "x").returncode, 4)

    def test_breakeven_of_this_machine_needs_a_measurement_or_a_statement(self):
        self.report("breakeven", code=4)
        stated = self.report("breakeven", "--prefill-tps", "1000", "--decode-tps", "50")
        self.assertEqual(stated["machines"][0]["busy_ns"], 7_000_000_000)
        self.assertEqual(self.hearth("cost", "breakeven", "--prefill-tps", "1000").returncode, 2)
        done = self.hearth("bench", "demo", "-p", "16", "-n", "4", "-r", "1", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        rates = {row["test"]: row["tps_median"] for row in json.loads(done.stdout)["results"]}
        found = self.report("breakeven", "--input", "1", "--output", "0")["machines"][0]
        self.assertAlmostEqual(found["busy_ns"], 1e9 / rates["pp16"], delta=1)
        self.assertTrue(any("demo" in fact for fact in found["facts"]))


if __name__ == "__main__":
    unittest.main()
