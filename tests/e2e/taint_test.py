"""Marks over HTTP: which conversations are held to be sensitive, and who may release them."""
import http.client
import json
import os
import socket

from double import TEXT, Double
from house import HouseTest, ask

TAINT = "/v1/hearth/taint"
WORDS = "The launch of Bluebird moves to the ninth of May, and nobody outside may hear of it yet."


def bearer(token):
    return [("Authorization", "Bearer " + token)]


class TaintApi(HouseTest):
    def setUp(self):
        super().setUp()
        self.double = Double()
        self.addCleanup(self.double.close)
        self.server = self.serve(*self.config(
            f'[[upstream]]\nname = "acme"\nbase_url = "http://127.0.0.1:{self.double.port}/v1"\n'
            'models = [ { name = "ok", context = 100000 } ]\n'))

    def key(self, role):
        done = self.hearth("keys", "create", "--json", "--role", role)
        self.assertEqual(done.returncode, 0, done.stderr)
        document = json.loads(done.stdout)
        return document["secret"], document["key"]["id"]

    def marked(self, headers=()):
        """A conversation whose class was stated; its id as the list has it."""
        answer = self.server.chat({**ask(WORDS, max_tokens=3), "model": "demo"},
                                  [("x-hearth-sensitivity", "confidential"), *headers])
        self.assertEqual(answer.status, 200, answer.body)
        listed = self.server.request("GET", TAINT, headers=headers)
        self.assertEqual(listed.status, 200, listed.body)
        self.assertNotIn(b"Bluebird", listed.body)
        (taint,) = listed.json()["taints"]
        self.assertEqual(set(taint), {"id", "sensitivity", "n_marks", "since"})
        self.assertEqual(taint["sensitivity"], "confidential")
        self.assertGreater(taint["n_marks"], 0)
        return taint["id"]

    def records(self):
        done = self.hearth("audit", "tail", "-n", "100", "--json")
        return [r["record"] for r in json.loads(done.stdout)["records"] if r["event"] == "taint.release"]

    def release(self, taint, headers=()):
        return self.server.request("POST", f"{TAINT}/{taint}/release", {}, headers)

    def leaves(self, headers):
        """Whether the same words reach the cloud model now."""
        answer = self.server.chat({**ask(WORDS), "model": "acme/ok"}, headers)
        self.assertIn(answer.status, (200, 403), answer.body)
        return answer.status == 200 and answer.text() == "".join(TEXT)

    def test_operators_and_admins_release_and_others_get_403(self):
        for role in ("operator", "admin"):
            user, auditor = self.key("user")[0], self.key("auditor")[0]
            token, key = self.key(role)
            taint = self.marked(bearer(token))
            self.assertFalse(self.leaves(bearer(token)))
            self.assertEqual(self.server.request("GET", TAINT, headers=bearer(user)).status, 403)
            self.assertEqual(self.server.request("GET", TAINT, headers=bearer(auditor)).status, 200)
            for other in (user, auditor):
                refused = self.release(taint, bearer(other))
                self.assertEqual(refused.status, 403, refused.body)
                self.assertEqual(refused.json()["error"]["type"], "forbidden_by_policy")
            self.assertEqual(self.release(taint).status, 401)
            self.assertFalse(self.leaves(bearer(token)))
            n_before = len(self.records())
            done = self.release(taint, bearer(token))
            self.assertEqual(done.status, 200, done.body)
            self.assertEqual(done.json()["id"], taint)
            self.assertGreater(done.json()["n_marks"], 0)
            records = self.records()[n_before:]
            self.assertEqual([(r["detail"]["taint"], r["actor"]) for r in records], [(taint, key)], records)
            self.assertTrue(self.leaves(bearer(token)))
            self.assertEqual(self.server.request("GET", TAINT, headers=bearer(token)).json()["taints"], [])

    def test_a_name_that_is_not_marked_leaves_no_record(self):
        token, _ = self.key("admin")
        self.marked(bearer(token))
        for taint in ("taint-none", "x" * 3000, "taint-0000000000000000"):
            self.assertEqual(self.release(taint, bearer(token)).status, 404, taint)
        self.assertEqual(self.records(), [])
        for path in (TAINT + "/", TAINT + "/release", TAINT + "//release", TAINT + "/a/b/release", TAINT + "/a"):
            self.assertEqual(self.server.request("POST", path, {}, bearer(token)).status, 404, path)
        self.assertEqual(self.server.request("POST", TAINT, {}, bearer(token)).status, 405)
        self.assertEqual(self.server.request("GET", f"{TAINT}/a/release", headers=bearer(token)).status, 405)

    def test_a_port_without_keys_releases_nothing(self):
        taint = self.marked()
        refused = self.release(taint)
        self.assertEqual(refused.status, 403, refused.body)
        self.assertIn("hearth taint release", refused.json()["error"]["message"])
        self.assertFalse(self.leaves([]))
        self.assertEqual(self.records(), [])
        # The socket that only this user can open is the local admin's.
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(os.path.join(self.home, "state", "hearth.sock"))
        connection.request("POST", f"{TAINT}/{taint}/release")
        self.assertEqual(connection.getresponse().status, 200)
        connection.close()
        self.assertEqual([(r["detail"]["taint"], r["actor"]) for r in self.records()], [(taint, "unix")])
        self.assertTrue(self.leaves([]))
