"""Reads the tree and says where it breaks a rule of the house.

Usage: tidy.py RULE [--root DIR] [--build DIR]   exit 0: nothing found, 1: violations on stdout
"""
import argparse
import sys
from pathlib import Path

import rules

ALL = {rule.__name__: rule for rule in rules.TREE_RULES + rules.BUILD_RULES}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rule", choices=sorted(ALL))
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[2])
    parser.add_argument("--build", type=Path)
    args = parser.parse_args()
    found = list(ALL[args.rule](args.root, args.build))
    for sentence in found:
        print(sentence)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
