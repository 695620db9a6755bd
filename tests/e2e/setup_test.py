"""scripts/setup against a package manager that only says what it would do: asks before it removes."""
import os
import pty
import subprocess
import unittest

from house import WAIT_S, HouseTest

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "scripts", "setup")
TOOLS = {
    "dpkg-query": 'for p in $INSTALLED; do printf "%s=installed " "$p"; done',
    "apt-get": """case "$1" in
        update) exit ${UPDATE_FAILS:-0} ;;
        -s) for p in $REMOVES; do echo "Remv $p [1.74]"; done; echo "Inst g++-12 (12.2 x)" ;;
        install) echo "$@" >>"$DID" ;;
    esac""",
    "id": "echo 0",
    "npm": "true",
}


class Setup(HouseTest):
    def setUp(self):
        super().setUp()
        self.did = os.path.join(self.home, "did")
        for name, body in TOOLS.items():
            path = os.path.join(self.home, name)
            with open(path, "w") as file:
                file.write(f"#!/bin/sh\n{body}\n")
            os.chmod(path, 0o755)

    def environment(self, **more):
        kept = {k: v for k, v in os.environ.items() if k not in ("CI", "HEARTH_YES", "HEARTH_SETUP")}
        return {**kept, "PATH": f"{self.home}:{os.environ['PATH']}", "DID": self.did, **more}

    def setup_script(self, *args, **env):
        return subprocess.run([SCRIPT, *args], env=self.environment(**env), capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=WAIT_S)

    def on_a_terminal(self, answer, **env):
        """Runs it with a terminal as stdin and stderr that types the answer; the exit code."""
        main, terminal = pty.openpty()
        os.write(main, answer.encode() + b"\n")
        done = subprocess.run([SCRIPT], env=self.environment(**env), stdin=terminal, stderr=terminal,
                              stdout=subprocess.DEVNULL, timeout=WAIT_S)
        os.close(main)
        os.close(terminal)
        return done.returncode

    def installed(self):
        return os.path.exists(self.did)

    def test_what_is_missing_is_listed_and_installed(self):
        done = self.setup_script()
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("will install: g++-12", done.stderr)
        self.assertIn("removes nothing", done.stderr)
        self.assertTrue(self.installed())
        self.assertEqual(done.stdout, "")

    def test_nothing_happens_when_all_is_there(self):
        wanted = self.setup_script(HEARTH_SETUP="", UPDATE_FAILS="1").stderr
        packages = wanted.split("needs ")[1].split("\n")[0]
        done = self.setup_script(INSTALLED=packages)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
        self.assertFalse(self.installed())

    def test_a_removal_without_a_terminal_changes_nothing(self):
        done = self.setup_script(REMOVES="libboost-dev python3-scipy")
        self.assertEqual(done.returncode, 1)
        self.assertIn("will REMOVE: libboost-dev python3-scipy", done.stderr)
        self.assertIn("HEARTH_YES=1", done.stderr)
        self.assertFalse(self.installed())

    def test_a_removal_without_a_terminal_goes_on_where_it_was_allowed(self):
        for env in ({"HEARTH_YES": "1"}, {"CI": "true"}):
            self.assertEqual(self.setup_script(REMOVES="libboost-dev", **env).returncode, 0)
            self.assertTrue(self.installed())
            os.unlink(self.did)

    def test_a_removal_on_a_terminal_is_asked_for(self):
        self.assertEqual(self.on_a_terminal("n", REMOVES="libboost-dev"), 1)
        self.assertFalse(self.installed())
        self.assertEqual(self.on_a_terminal("y", REMOVES="libboost-dev"), 0)
        self.assertTrue(self.installed())

    def test_no_network_is_a_clear_error(self):
        done = self.setup_script(UPDATE_FAILS="1")
        self.assertEqual(done.returncode, 1)
        self.assertIn("network", done.stderr)
        self.assertFalse(self.installed())

    def test_an_unknown_set_is_wrong_usage(self):
        self.assertEqual(self.setup_script("everything").returncode, 2)


if __name__ == "__main__":
    unittest.main()
