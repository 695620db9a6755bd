"""Two network namespaces and a veth pair between them: hearth in one, its upstream in the other.

Started by egress_test.py inside a new network and mount namespace (and a user namespace, unless root). What
crosses the pair is counted by the kernel at the pair: Ethernet frames, each 14 bytes, an IPv4 header of 20 and a
TCP header of 20 and options. With time stamps, window scaling and selective acknowledgements off, the only
options are the MSS (4 bytes) in a SYN and its answer, so that

    payload = bytes - 54 * packets - 4 * connections      in each direction.

IPv6 is off and both neighbours are entered by hand, so that nothing else crosses. Prints what the pair and what
`egress report` counted; exits 77 with the reason where the kernel refuses the setup.
"""
import json
import os
import subprocess
import sys
import time

from double import Double
from house import BINARY, Server, ask, hearth

HERE, THERE = "10.99.0.1", "10.99.0.2"
FRAME, MSS_OPTION = 14 + 20 + 20, 4
N_REQUESTS = 5


def skip(why):
    print(why, file=sys.stderr)
    sys.exit(77)


def ip(*words, inside=None):
    enter = ["nsenter", "-t", str(inside), "-n"] if inside else []
    done = subprocess.run([*enter, "ip", *words], capture_output=True, text=True)
    if done.returncode != 0:
        skip(f"ip {' '.join(words)}: {done.stderr.strip()}")


def quiet(inside=None):
    enter = ["nsenter", "-t", str(inside), "-n"] if inside else []
    for name, value in (("ipv4/tcp_timestamps", 0), ("ipv4/tcp_sack", 0), ("ipv4/tcp_window_scaling", 0),
                        ("ipv6/conf/all/disable_ipv6", 1), ("ipv6/conf/default/disable_ipv6", 1)):
        done = subprocess.run([*enter, "sh", "-c", f"test ! -e /proc/sys/net/{name} || echo {value} > "
                               f"/proc/sys/net/{name}"], capture_output=True, text=True)
        if done.returncode != 0:
            skip(f"/proc/sys/net/{name}: {done.stderr.strip()}")


def counts():
    """Bytes and packets of our end, as it sent and received them."""
    shown = json.loads(subprocess.run(["ip", "-s", "-j", "link", "show", "dev", "here"], capture_output=True,
                                      text=True, check=True).stdout)[0]["stats64"]
    return {way: (shown[way]["bytes"], shown[way]["packets"]) for way in ("tx", "rx")}


def serve_double(channel):
    """In the other namespace: a double at its address, port 8000, until the channel closes."""
    import socket
    create = socket.create_server
    socket.create_server = lambda address: create((THERE, 8000))
    Double()
    print("ready", flush=True)
    channel.read()


def main(home):
    other = subprocess.Popen(["unshare", "-n", "sleep", "600"])
    try:
        end = time.monotonic() + 10
        while os.readlink(f"/proc/{other.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
            if time.monotonic() > end or other.poll() is not None:
                skip("no second network namespace can be made here")
            time.sleep(0.01)
        quiet()
        quiet(other.pid)
        ip("link", "set", "lo", "up")
        ip("link", "add", "here", "address", "02:00:00:00:00:01", "type", "veth", "peer", "name", "there",
           "address", "02:00:00:00:00:02")
        ip("link", "set", "there", "netns", str(other.pid))
        ip("addr", "add", f"{HERE}/24", "dev", "here")
        ip("link", "set", "here", "up")
        ip("addr", "add", f"{THERE}/24", "dev", "there", inside=other.pid)
        ip("link", "set", "there", "up", inside=other.pid)
        ip("neigh", "replace", THERE, "lladdr", "02:00:00:00:00:02", "dev", "here", "nud", "permanent")
        ip("neigh", "replace", HERE, "lladdr", "02:00:00:00:00:01", "dev", "there", "nud", "permanent",
           inside=other.pid)
        double = subprocess.Popen(["nsenter", "-t", str(other.pid), "-n", sys.executable, os.path.join(os.path.dirname(os.path.abspath(__file__)), "egress_world.py"), "--double"],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            assert double.stdout.readline() == "ready\n"
            before = counts()
            talk(home)
            time.sleep(0.5)  # the last acknowledgements
            after = counts()
        finally:
            double.kill()
            double.wait()
    finally:
        other.kill()
        other.wait()
    report = json.loads(hearth("egress", "report", "--json", home=home).stdout)
    n = report["total"]["connections"]
    payload = {}
    for way, name in (("tx", "wire_bytes_out"), ("rx", "wire_bytes_in")):
        n_bytes, n_packets = (after[way][i] - before[way][i] for i in (0, 1))
        payload[name] = n_bytes - FRAME * n_packets - MSS_OPTION * n
    print(json.dumps({"veth": payload, "report": report["total"], "agree": report["agree"],
                      "before": before, "after": after}))


def talk(home):
    config = os.path.join(home, "world.toml")
    with open(config, "w") as file:
        file.write(f'[[upstream]]\nname = "acme"\ntier = "fleet"\nbase_url = "http://{THERE}:8000/v1"\n'
                   'models = [ { name = "ok", context = 100000 } ]\n')
    server = Server(home, "--config", config)
    try:
        for i in range(N_REQUESTS):
            answer = server.chat({**ask("Where to? " * (400 * i + 1)), "model": "acme/ok"},
                                 [("x-hearth-sensitivity", "public")])
            assert answer.status == 200, answer.body
    finally:
        assert server.stop() == 0, server.said()


if __name__ == "__main__":
    assert BINARY
    if sys.argv[1] == "--double":
        serve_double(sys.stdin)
    else:
        main(sys.argv[1])
