#!/usr/bin/env python3
"""Writes ledger_golden.csv: what ledger_of() must give, by exact fractions.

Follows the definitions at the head of src/route/ledger.h and shares no code with it. Run it in this
folder to make the file again; it is the same each time.

A line is a row of one process after the other, so that what roundings leave over is carried. A new
process begins where the settings change (`begin` is 1).
"""
import random
from fractions import Fraction as F


def half_even(x):
    below = x.numerator // x.denominator
    left = x - below
    up = left > F(1, 2) or (left == F(1, 2) and below % 2 == 1)
    return below + (1 if up else 0)


class Carry:
    def __init__(self):
        self.rest = {}

    def charge(self, name, amount):
        exact = amount + self.rest.get(name, F(0))
        whole = half_even(exact)
        self.rest[name] = exact - whole
        return whole


def machine(busy_ns, energy_uj, s, carry):
    hours = F(busy_ns, 3_600_000_000_000)
    idle_ns = half_even(F(busy_ns) * (100 - s["utilisation"]) / s["utilisation"])
    idle_hours = F(idle_ns, 3_600_000_000_000)
    kwh = F(energy_uj, 10**6) / 3_600_000
    idle_kwh = F(s["idle_mw"], 10**6) * idle_hours
    energy = carry.charge("energy", kwh * s["kwh"])
    amortisation = carry.charge("amortisation", hours * s["hardware"] / s["life"])
    idle = carry.charge("idle_energy", idle_kwh * s["kwh"])
    idle += carry.charge("idle_amortisation", idle_hours * s["hardware"] / s["life"])
    return idle_ns, energy, amortisation, idle


def price(p, n_in, n_cached, n_out):
    return half_even(F((n_in - n_cached) * p[0] + n_cached * p[1] + n_out * p[2], 10**6))


def main():
    r = random.Random(20261120)
    columns = ("begin tier n_in n_cached n_out price_in price_cached price_out before busy_ns energy_uj "
               "ref_in ref_cached ref_out pf_ns dec_ns kwh hardware life active_mw idle_mw utilisation "
               "idle_ns energy amortisation idle paid other").split()
    with open("ledger_golden.csv", "w") as out:
        out.write(",".join(columns) + "\n")
        for _ in range(8):
            s = {"kwh": r.randrange(50_000, 900_000), "hardware": r.randrange(10**8, 10**10),
                 "life": r.randrange(1000, 90_000), "idle_mw": r.randrange(1000, 90_000),
                 "active": r.randrange(10_000, 900_000), "utilisation": r.choice([1, 3, 10, 33, 99, 100])}
            carry = Carry()
            for k in range(60):
                tier = r.choice(["local", "local", "cloud", "fleet"])
                n_in = r.choice([0, 1, r.randrange(50), r.randrange(200_000)])
                n_cached = r.choice([0, n_in, r.randrange(n_in + 1)])
                n_out = r.choice([0, 1, r.randrange(4000)])
                own = [r.randrange(0, 30_000_000) for _ in range(3)] if tier != "local" else [0, 0, 0]
                if r.random() < .3:  # halves, where the rounding decides
                    own = [x // 500_000 * 500_000 for x in own]
                before = r.choice([0, 0, r.randrange(10**6)])
                busy = r.choice([0, r.randrange(10**6), r.randrange(10**11)]) if tier == "local" else 0
                uj = busy * r.randrange(1000, 200_000) // 10**6
                ref = [r.randrange(0, 20_000_000) for _ in range(3)]
                pf, dec = r.randrange(1000, 10**7), r.randrange(10_000, 10**8)
                idle_ns, energy, amortisation, idle = machine(busy, uj, s, carry)
                paid = before + (price(own, n_in, n_cached, n_out) if tier != "local" else 0)
                if tier == "cloud":
                    work = n_in * pf + n_out * dec
                    there = machine(work, half_even(F(work * s["active"], 10**6)), s, Carry())
                    other = there[1] + there[2] + there[3]
                else:
                    other = price(ref, n_in, n_cached, n_out)
                out.write(",".join(map(str, [
                    int(k == 0), tier, n_in, n_cached, n_out, *own, before, busy, uj, *ref, pf, dec,
                    s["kwh"], s["hardware"], s["life"], s["active"], s["idle_mw"], s["utilisation"],
                    idle_ns, energy, amortisation, idle, paid, other])) + "\n")


main()
