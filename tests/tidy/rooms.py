"""The room table of docs/ARCHITECTURE.md, read from the page itself: what is shown is what holds."""
import re
from dataclasses import dataclass, field

# System headers that belong to a library or a power that only some rooms may use. The first matching
# prefix decides; the right side is the name in the table's last column.
POWERS = [
    ("boost/", "boost"), ("openssl/", "openssl"), ("nlohmann/", "nlohmann"), ("fmt/", "fmt"),
    ("CLI/", "CLI11"), ("toml++/", "toml++"), ("sqlite3.h", "sqlite"), ("seccomp.h", "seccomp"),
    ("utf8proc.h", "utf8proc"), ("pcre2.h", "pcre2"), ("zlib.h", "zlib"), ("zstd.h", "zstd"),
    ("xxhash.h", "xxhash"), ("sys/socket.h", "sockets"), ("sys/un.h", "sockets"),
    ("netinet/", "sockets"), ("netdb.h", "sockets"), ("linux/seccomp.h", "seccomp"),
    ("linux/filter.h", "seccomp"),
]
# Folders of headers that come with the compiler, the C library or the kernel.
SYSTEM_FOLDERS = {"sys", "linux", "asm", "arpa"}
# All that a kernel may see: plain C and the intrinsics of an ISA.
C_HEADERS = {"stddef.h", "stdint.h", "string.h", "math.h", "float.h", "limits.h", "stdbool.h",
             "immintrin.h", "cpuid.h", "arm_neon.h"}


@dataclass
class Room:
    name: str       # "engine/model", also the folder below src/
    library: str    # "hearth_model"
    rooms: set = field(default_factory=set)    # rooms, or single headers, that it may include; "*": all
    powers: set = field(default_factory=set)   # libraries; "C": C headers and nothing else

    def may_include(self, target, target_room):
        return (target_room == self.name or "*" in self.rooms or target_room in self.rooms
                or target in self.rooms)


ROW = re.compile(r"^\|\s*`(?P<name>[a-z/]+)`\s*\|\s*`(?P<library>\w+)`\s*\|(?P<rooms>[^|]*)\|(?P<powers>[^|]*)\|")


def read_table(text):
    """Rooms by name. Rows look like | `net` | `hearth_net` | `base` | `boost`, `openssl` | …"""
    table = {}
    for line in text.splitlines():
        match = ROW.match(line)
        if match:
            room = Room(match["name"], match["library"],
                        set(re.findall(r"`([^`]+)`", match["rooms"])),
                        set(re.findall(r"`([^`]+)`", match["powers"])))
            table[room.name] = room
    return table


def room_of(path, table):
    """The room whose folder is the longest prefix of a path below src/; None if there is none."""
    parts = path.split("/")[:-1]
    while parts:
        name = "/".join(parts)
        if name in table:
            return name
        parts.pop()
    return None


def power_of(header):
    """The library behind <header>; "" for the compiler's and the system's own; None if unknown."""
    for prefix, power in POWERS:
        if header.startswith(prefix):
            return power
    if "/" in header and header.split("/")[0] not in SYSTEM_FOLDERS:
        return None
    return ""
