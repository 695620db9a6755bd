"""The rules of the house that reading the tree can check. Each takes the root (and the build folder)
and yields one sentence per violation; a sentence says where, what, and what would be right."""
import json
import re
import subprocess

import rooms
import source

FILE_LINES_MAX = 1000      # past this a file is several files
FILE_LINES_WARN = 600
FUNCTION_LINES_MAX = 70    # one screen
GLIBC_MAX = (2, 36)        # Debian 12's; a newer symbol would not start there


def includes(root, build):
    """A room includes only what its row of the table names."""
    table = rooms.read_table((root / "docs/ARCHITECTURE.md").read_text())
    if not table:
        yield "docs/ARCHITECTURE.md: no room table was found"
        return
    for name, path in source.files(root, ["src"], source.CODE):
        room = table.get(rooms.room_of(name.removeprefix("src/"), table) or "")
        if room is None:
            yield f"{name}: is in no room of docs/ARCHITECTURE.md"
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            match = re.match(r'\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)', line)
            if match:
                wrong = wrong_include(room, match[1], match[2], table)
                if wrong:
                    yield f"{name}:{number}: {wrong}"


def wrong_include(room, ours, system, table):
    """Why this include is against the table; None if it is not."""
    if ours:
        target = rooms.room_of(ours, table)
        if target is None:
            return f'"{ours}" is in no room; write the path below src/'
        if not room.may_include(ours, target):
            return f'{room.name} may not include "{ours}" of {target}'
        return None
    if "C" in room.powers:
        return None if system in rooms.C_HEADERS else f"{room.name} may include plain C only, not <{system}>"
    power = rooms.power_of(system)
    if power is None:
        return f"<{system}> is of a library that tests/tidy/rooms.py does not know"
    if power and power not in room.powers:
        return f"{room.name} may not use {power} (<{system}>)"
    return None


def links(root, build):
    """The rooms' CMake libraries link what the table names, no room more and none less."""
    table = rooms.read_table((root / "docs/ARCHITECTURE.md").read_text())
    wanted, allowed = by_library(table)
    for _, path in cmake_files(root / "src"):
        text = re.sub(r"#[^\n]*", "", path.read_text())
        for library, words in re.findall(r"hearth_room\(\s*(\w+)\s+([^)]*)\)", text):
            if library not in wanted:
                yield f"src: {library} is not in the table of docs/ARCHITECTURE.md"
                continue
            linked = set(words.split()) & set(wanted)
            for extra in sorted(linked - allowed[library]):
                yield f"src: {library} links {extra}, which its row does not name"
            for missing in sorted(wanted[library] - linked - implied(linked, allowed)):
                yield f"src: {library} does not link {missing}, which its row names"


def by_library(table):
    """For each library: those that its rows name as rooms, and those that it may link at all, which
    is these and the libraries of single headers that its rows name."""
    wanted, allowed = {}, {}
    for room in table.values():
        libraries = {table[n].library for n in room.rooms if n in table}
        of_headers = {table[r].library for r in (rooms.room_of(n, table) for n in room.rooms) if r}
        wanted.setdefault(room.library, set()).update(libraries - {room.library})
        allowed.setdefault(room.library, set()).update(libraries | of_headers)
    return wanted, allowed


def implied(libraries, links_of):
    """Libraries that these bring with them."""
    seen, todo = set(), list(libraries)
    while todo:
        for library in links_of[todo.pop()] - seen:
            seen.add(library)
            todo.append(library)
    return seen


def cmake_files(folder):
    for path in sorted(folder.rglob("CMakeLists.txt")):
        yield str(path), path


def lengths(root, build):
    """Files end before a thousand lines."""
    for name, path in source.files(root, ["src", "tests", "bench"], source.CODE | {".py", ".mjs"}):
        n = len(path.read_text().splitlines())
        if n > FILE_LINES_MAX:
            yield f"{name}: {n} lines, at most {FILE_LINES_MAX}; it is several files by now"
        elif n > FILE_LINES_WARN:
            print(f"warning: {name}: {n} lines; think again past {FILE_LINES_WARN}")


def functions(root, build):
    """Functions fit on a screen."""
    for name, path in source.files(root, ["src", "tests", "bench"], source.CODE):
        for head, first, last in source.functions(path.read_text()):
            if last - first + 1 > FUNCTION_LINES_MAX:
                yield (f"{name}:{first}: {head[:60]} has {last - first + 1} lines, "
                       f"at most {FUNCTION_LINES_MAX}")


def coroutines(root, build):
    """No coroutines: g++ 12 destroys temporaries beside co_await twice."""
    for name, path in source.files(root, ["src", "tests", "bench"], source.CODE):
        for number, line in enumerate(source.blank(path.read_text()).splitlines(), 1):
            if re.search(r"\bco_(?:await|return|yield)\b", line):
                yield f"{name}:{number}: a coroutine; g++ 12 miscompiles them"


def registry(root, build):
    """A file of a registry folder defines one descriptor, and it is named after the file."""
    n = 0
    for folder, prefix, kind, suffix in registries(root):
        n += 1
        for name, path in source.files(root, [f"src/{folder}"], {suffix}, deep=False):
            defined = re.findall(rf"\bconst\s+(?:\w+::)*{kind}\s+{prefix}_(\w+)\s*[={{]",
                                 source.blank(path.read_text()))
            if defined != [path.stem]:
                listed = ", ".join(f"{prefix}_{d}" for d in defined) or "none"
                yield f"{name}: defines {listed}; exactly {prefix}_{path.stem} is right"
    if not n:
        yield "src: no registry was found in CMakeLists.txt"


def registries(root):
    """(folder below src, prefix, type, suffix of its files) of every registry that CMake lists."""
    for _, cmake in cmake_files(root / "src"):
        text = re.sub(r"#[^\n]*", "", cmake.read_text())
        for folder, prefix, kind in re.findall(
                r"hearth_registry\(\s*\w+\s+(\S+)\s+(\w+)\s+\S+\s+(\w+)\s", text):
            yield folder, prefix, kind, ".cc"
        # A kernel's descriptors are headers, compiled once into each ISA's object.
        here = cmake.parent.relative_to(root / "src")
        for folder, prefix in re.findall(r"\nlist_descriptors\(\s*\w+\s+\w+\s+(\w+)\s+(\w+)\)", text):
            yield f"{here}/{folder}", prefix, r"hearth_\w+", ".h"


# Words that have no place in the tree, and why. The pattern of a word is broken so as not to find itself.
WORDS = [
    (r"\bTO" r"DO\b|\bFIX" r"ME\b|\bX" r"XX\b", "unfinished work belongs into an issue"),
    (r"(?<![\w.])/wo" r"rk/|/roo" r"t/|/ho" r"me/(?!ada\b|user\b)\w", "a path of one machine"),
    (r'"reso' r'lved"\s*:', "the lock file names a package host"),
]
TEXT = source.CODE | {".py", ".mjs", ".js", ".json", ".md", ".txt", ".cmake", ".toml", ".sh", ".jinja", ""}


def words(root, build):
    """No unfinished work, no path of one machine, no package host."""
    for name, path in source.files(root, ["."], TEXT):
        if path.stat().st_size > (4 << 20):
            continue
        data = path.read_bytes()
        if b"\0" in data:
            continue
        for number, line in enumerate(data.decode(errors="replace").splitlines(), 1):
            for pattern, why in WORDS:
                if re.search(pattern, line):
                    yield f"{name}:{number}: {why}: {line.strip()[:80]}"


# Hosts that a page or a test may name: reserved names, loopback, specifications and what is spoken of.
HOSTS = re.compile(r"^(?:localhost|[\w.-]*\.?example(?:\.(?:com|org|net|test))?|[\w.-]+\.(?:test|invalid|example)"
                   r"|arxiv\.org|json-schema\.org|www\.rfc-editor\.org|spec\.commonmark\.org"
                   r"|html\.spec\.whatwg\.org|encoding\.spec\.whatwg\.org|www\.unicode\.org|www\.sqlite\.org"
                   r"|github\.com|huggingface\.co|\[[0-9a-f:]*\]|\d+\.\d+\.\d+\.\d+)$", re.I)


def hosts(root, build):
    """Every address in the tree is reserved for examples, loopback, or a specification that is cited.
    C++ tests of what reads addresses hold odd ones on purpose."""
    for name, path in source.files(root, ["."], TEXT):
        data = path.read_bytes()
        if b"\0" in data or len(data) > (4 << 20) or (name.startswith("tests/") and path.suffix == ".cc"):
            continue
        for number, line in enumerate(data.decode(errors="replace").splitlines(), 1):
            for match in re.finditer(r"https?://([A-Za-z0-9.-]*[A-Za-z0-9]|\[[0-9A-Fa-f:]*\])", line):
                if not HOSTS.match(match[1]) and "." in match[1]:
                    yield f"{name}:{number}: names the host {match[1]}"


def kernel_symbols(root, build):
    """An object compiled for one ISA exports its table and nothing else."""
    commands = json.loads((build / "compile_commands.json").read_text())
    n = 0
    for entry in commands:
        output = entry.get("output") or re.search(r" -o (\S+)", entry["command"])[1]
        of_isa = re.search(r" -m(?:avx|f16c|fma|sse|arch=)", entry["command"])
        if not of_isa or "kernels" not in output:
            if of_isa:
                yield f"{entry['file']}: compiled with {of_isa[0].strip()}, which only a kernel's object may be"
            continue
        n += 1
        symbols = exported(build / output)
        if len(symbols) != 1 or not symbols[0].startswith("hearth_kernels_"):
            yield f"{output}: exports {', '.join(symbols) or 'nothing'}; exactly its hearth_kernels_ table is right"
    if n < 2:
        yield f"{build}: {n} objects of an ISA were found, expected at least AVX2 and AVX-512"


def exported(path):
    out = subprocess.run(["nm", "--defined-only", "--extern-only", "--format=posix", str(path)],
                         check=True, capture_output=True, text=True).stdout
    return [line.split()[0] for line in out.splitlines() if line]


def binary(root, build):
    """The program starts on any Debian 12: it needs the C library and no other, and no newer one."""
    yield from wrong_binary(build / "hearth")


def wrong_binary(path):
    def read(*args):
        return subprocess.run(["readelf", "-W", *args, str(path)], check=True, capture_output=True,
                              text=True).stdout
    for needed in re.findall(r"\(NEEDED\).*\[(.*)\]", read("-d")):
        if not re.fullmatch(r"lib(?:c|m)\.so\.6|ld-linux-[\w-]+\.so\.\d", needed):
            yield f"{path.name}: needs {needed}; only the C library may stay dynamic"
    versions = {tuple(map(int, v.split("."))) for v in re.findall(r"GLIBC_(\d+\.\d+)", read("-V"))}
    if not versions:
        yield f"{path.name}: names no version of the C library; is it the program?"
    for version in sorted(v for v in versions if v > GLIBC_MAX):
        yield f"{path.name}: needs GLIBC_{version[0]}.{version[1]}, newer than {GLIBC_MAX[0]}.{GLIBC_MAX[1]}"


TREE_RULES = [includes, links, lengths, functions, coroutines, registry, words, hosts]
BUILD_RULES = [kernel_symbols, binary]
