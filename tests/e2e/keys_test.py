"""Keys, roles and quotas over HTTP: made by the command line, used over the port, refused where they should be."""
import http.client
import json
import os
import socket
import stat
import subprocess
import time
import unittest

from house import BINARY, HouseTest, ask, environment, request_bytes

CHAT = "/v1/chat/completions"


def bearer(token):
    return [("Authorization", "Bearer " + token)]


class Keys(HouseTest):
    def key(self, *flags, home=None):
        """Makes a key; its token and its id."""
        done = self.hearth("keys", "create", "--json", *flags, home=home or self.home)
        self.assertEqual(done.returncode, 0, done.stderr)
        document = json.loads(done.stdout)
        return document["secret"], document["key"]["id"]

    def chat(self, server, token, text="hi", **fields):
        return server.chat(ask(text, max_tokens=4, **fields), bearer(token))

    def test_a_key_is_needed_once_one_exists(self):
        server = self.serve()
        self.assertEqual(server.chat(ask("hi", max_tokens=2)).status, 200)
        token, key = self.key("--name", "laptop")
        refused = server.chat(ask("hi", max_tokens=2))
        self.assertEqual(refused.status, 401)
        self.assertEqual(refused.json()["error"]["type"], "authentication_error")
        self.assertIn("www-authenticate", refused.headers)
        self.assertEqual(self.chat(server, "hk-" + "a" * 46).status, 401)
        self.assertEqual(self.chat(server, token).status, 200)
        self.assertEqual(server.chat(ask("hi", max_tokens=2), [("x-api-key", token)]).status, 200)
        self.assertEqual(server.request("GET", "/health").status, 200)
        self.assertEqual(server.request("GET", "/metrics").status, 401)
        listed = json.loads(self.hearth("keys", "list", "--json").stdout)["keys"]
        self.assertEqual([(k["id"], k["state"]) for k in listed], [(key, "active")])
        self.assertIsNotNone(listed[0]["last_used"])
        self.assertNotIn(token, json.dumps(listed))

    def test_a_revoked_key_is_refused_at_its_next_request(self):
        token, key = self.key("--name", "k")
        server = self.serve()
        with server.connect() as wire:  # on a connection that stays open
            data = request_bytes("POST", CHAT, ask("hi", max_tokens=2), bearer(token))
            wire.send(data)
            self.assertEqual(wire.response().status, 200)
            self.assertEqual(self.hearth("keys", "revoke", key).returncode, 0)
            wire.send(data)
            self.assertEqual(wire.response().status, 401)

    def test_rotation_overlaps_and_ends(self):
        old, key = self.key("--name", "k")
        server = self.serve()
        done = self.hearth("keys", "rotate", "k", "--overlap", "1h", "--json")
        new = json.loads(done.stdout)["secret"]
        self.assertEqual([self.chat(server, t).status for t in (old, new)], [200, 200])
        done = self.hearth("keys", "rotate", key, "--overlap", "0")
        newest = done.stdout.strip()
        self.assertEqual([self.chat(server, t).status for t in (old, new, newest)], [401, 401, 200])

    def test_an_expired_key_is_refused(self):
        token, _ = self.key("--expires", "1s")
        server = self.serve()
        end = time.monotonic() + 60
        while (answer := self.chat(server, token)).status != 401 and time.monotonic() < end:
            time.sleep(0.1)
        self.assertEqual(answer.status, 401)
        self.assertIn("expired", answer.json()["error"]["message"])

    def test_scopes_of_models_routes_and_tiers_are_refused_by_name(self):
        server = self.serve()
        only_local, _ = self.key("--models", "local,auto")
        refused = self.chat(server, only_local)
        self.assertEqual(refused.status, 403)
        self.assertIn("model demo", refused.json()["error"]["message"])
        self.assertEqual(self.chat(server, only_local, model="local").status, 200)
        ids = [m["id"] for m in server.request("GET", "/v1/models", headers=bearer(only_local)).json()["data"]]
        self.assertEqual(ids, ["auto", "local"])
        reader, _ = self.key("--routes", "/v1/models")
        self.assertEqual(self.chat(server, reader).status, 403)
        auditor, _ = self.key("--role", "auditor")
        self.assertEqual(self.chat(server, auditor).status, 403)
        self.assertEqual(server.request("GET", "/metrics", headers=bearer(auditor)).status, 200)
        cloud, _ = self.key("--tiers", "cloud")
        self.assertEqual(self.chat(server, cloud).status, 403)

    def test_over_its_limit_a_key_gets_429_and_the_wait_is_honoured(self):
        token, _ = self.key("--rpm", "2", "--soft-percent", "50")
        server = self.serve()
        first = self.chat(server, token)
        self.assertEqual(first.status, 200)
        self.assertEqual(first.headers["x-ratelimit-limit-requests"], "2")
        self.assertEqual(first.headers["x-ratelimit-remaining-requests"], "1")
        self.assertIn("requests_minute", first.headers["x-hearth-quota-warning"])
        self.assertEqual(self.chat(server, token).status, 200)
        refused = self.chat(server, token)
        self.assertEqual(refused.status, 429)
        self.assertEqual(refused.json()["error"]["type"], "rate_limit_error")
        wait_s = int(refused.headers["retry-after"])
        self.assertTrue(1 <= wait_s <= 61, wait_s)
        other, _ = self.key()
        self.assertEqual(self.chat(server, other).status, 200)
        time.sleep(wait_s)
        self.assertEqual(self.chat(server, token).status, 200)

    def test_totals_of_the_day_survive_kill_9(self):
        token, key = self.key("--tokens-day", "400")
        server = self.serve()
        used = sum(self.chat(server, token).json()["usage"]["total_tokens"] for _ in range(2))

        def tokens_day(of):
            usage = of.request("GET", "/v1/hearth/usage", headers=bearer(token)).json()["usage"]
            self.assertEqual([u["key"] for u in usage], [key])
            return usage[0]["tokens_day"]
        self.assertEqual(tokens_day(server), used)
        server.process.kill()
        server.process.wait()
        server.stop = lambda: 0  # it was killed
        again = self.serve()
        self.assertEqual(tokens_day(again), used)
        refused = again.chat(ask("hi", max_tokens=400), bearer(token))
        self.assertEqual(refused.status, 429)
        self.assertGreater(int(refused.headers["retry-after"]), 0)
        self.assertEqual(tokens_day(again), used)

    def test_admins_manage_keys_over_http_and_others_do_not(self):
        admin, _ = self.key("--role", "admin")
        user, _ = self.key()
        server = self.serve()
        wish = {"name": "made", "limits": {"requests_minute": 5}}
        self.assertEqual(server.request("POST", "/v1/hearth/keys", wish, bearer(user)).status, 403)
        made = server.request("POST", "/v1/hearth/keys", wish, bearer(admin))
        self.assertEqual(made.status, 200, made.body)
        token, key = made.json()["secret"], made.json()["key"]["id"]
        self.assertEqual(self.chat(server, token).status, 200)
        revoked = server.request("POST", f"/v1/hearth/keys/{key}/revoke", {}, bearer(admin))
        self.assertEqual(revoked.status, 200, revoked.body)
        self.assertEqual(self.chat(server, token).status, 401)
        listed = server.request("GET", "/v1/hearth/keys", headers=bearer(admin)).json()["keys"]
        self.assertEqual([k["state"] for k in listed], ["active", "active", "revoked"])
        events = self.records()
        self.assertEqual([e for e in events if e.startswith("key.")],
                         ["key.created"] * 3 + ["key.revoked"])
        self.assertIn("auth.failed", events)

    def records(self):
        lines = self.hearth("audit", "tail", "-n", "100").stdout
        self.assertRegex(lines, r"key\.created  actor=terminal key=hk-\w+")
        tail = self.hearth("audit", "tail", "-n", "100", "--json")
        self.assertEqual(tail.returncode, 0, tail.stderr)
        return [r["event"] for r in json.loads(tail.stdout)["records"]]

    def test_the_socket_in_the_state_folder_is_the_local_admin(self):
        self.key()
        self.serve()
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(os.path.join(self.home, "state", "hearth.sock"))
        connection.request("GET", "/v1/hearth/keys")
        self.assertEqual(connection.getresponse().status, 200)
        connection.close()

    def test_beyond_loopback_needs_keys(self):
        refused = self.hearth("serve", "--host", "0.0.0.0", "--port", "0")
        self.assertEqual(refused.returncode, 3)
        self.assertIn("hearth keys create", refused.stderr)
        token, key = self.key()
        process = subprocess.Popen([BINARY, "serve", "--host", "0.0.0.0", "--port", "0"], text=True,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, env=environment(self.home))
        port = int(process.stdout.readline().rsplit(":", 1)[1])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        statuses = []
        for headers in ({}, {"authorization": "Bearer " + token}, {"authorization": "Bearer " + token, "host": "h"}):
            connection.request("GET", "/v1/models", headers=headers)
            answer = connection.getresponse()
            answer.read()
            statuses.append(answer.status)
        connection.close()
        process.terminate()
        _, said = process.communicate(timeout=60)
        self.assertEqual(statuses, [401, 200, 200])
        self.assertIn("plain_http", said)
        self.assertEqual(self.hearth("keys", "revoke", key).returncode, 0)
        self.assertEqual(self.hearth("serve", "--host", "0.0.0.0", "--port", "0").returncode, 3)

    def test_two_command_lines_at_once_lose_no_key(self):
        running = [subprocess.Popen([BINARY, "keys", "create", "--name", f"k{i}", "--quiet"],
                                    stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                    env=environment(self.home)) for i in range(6)]
        tokens = [p.communicate(timeout=120)[0].strip() for p in running]
        self.assertEqual([p.returncode for p in running], [0] * 6)
        listed = json.loads(self.hearth("keys", "list", "--json").stdout)["keys"]
        self.assertEqual(sorted(k["name"] for k in listed), [f"k{i}" for i in range(6)])
        self.assertEqual(sorted(k["id"] for k in listed), sorted(t[:11] for t in tokens))
        mode = os.stat(os.path.join(self.home, "state", "keys.json")).st_mode
        self.assertEqual(stat.S_IMODE(mode), 0o600)

    def test_users_own_keys_and_take_them_along(self):
        self.assertEqual(self.hearth("users", "add", "ann", "--role", "operator").returncode, 0)
        token, key = self.key("--user", "ann")
        server = self.serve()
        self.assertEqual(server.request("GET", "/metrics", headers=bearer(token)).status, 200)
        self.assertEqual(self.hearth("users", "role", "ann", "user").returncode, 0)
        self.assertEqual(server.request("GET", "/metrics", headers=bearer(token)).status, 403)
        refused = self.hearth("keys", "create", "--user", "ann", "--role", "admin")
        self.assertEqual(refused.returncode, 3, refused.stderr)
        gone = self.hearth("users", "remove", "ann", "--json")
        self.assertEqual(json.loads(gone.stdout)["revoked"], [key])
        self.assertEqual(self.chat(server, token).status, 401)
        self.assertEqual(self.hearth("keys", "show", "nobody").returncode, 4)


if __name__ == "__main__":
    unittest.main()
