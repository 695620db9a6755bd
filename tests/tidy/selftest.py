"""Every rule of tidy is shown a tree that breaks it and must say so, and one that does not."""
import json
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

import rules
import source

TABLE = """
| room | library | may include | may use | what |
|---|---|---|---|---|
| `base` | `hearth_base` | – | `nlohmann` | values |
| `net` | `hearth_net` | `base` | `boost`, `sockets` | bytes |
| `engine/kernels` | `hearth_kernels` | – | `C` | arithmetic |
| `engine` | `hearth_engine` | `engine/kernels`, `base` | – | steps |
| `chat` | `hearth_chat` | `base` | – | the waist |
| `chat/dialects` | `hearth_chat` | `chat`, `base` | – | wire |
| `route` | `hearth_route` | `chat`, `net/permit.h` | – | policy |
"""


class Tree(unittest.TestCase):
    def setUp(self):
        self.root = Path(tempfile.mkdtemp(prefix="hearth-tidy-"))
        self.addCleanup(shutil.rmtree, self.root)
        self.put("docs/ARCHITECTURE.md", TABLE)

    def put(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def found(self, rule, build=None):
        return list(rule(self.root, build))

    def assert_fails(self, rule, *words, build=None):
        found = self.found(rule, build)
        self.assertEqual(len(found), 1, found)
        for word in words:
            self.assertIn(word, found[0])

    def assert_passes(self, rule, build=None):
        self.assertEqual(self.found(rule, build), [])


class Includes(Tree):
    def test_what_the_table_names_passes(self):
        self.put("src/net/a.cc", '#include "net/b.h"\n#include "base/c.h"\n#include <boost/asio.hpp>\n'
                                 "#include <vector>\n#include <sys/stat.h>\n#include <sys/socket.h>\n")
        self.put("src/chat/dialects/x.cc", '#include "chat/chat.h"\n')
        self.put("src/route/a.cc", '#include "net/permit.h"\n')
        self.put("src/engine/kernels/k.h", "#include <immintrin.h>\n")
        self.assert_passes(rules.includes)

    def test_a_room_above_is_refused(self):
        self.put("src/base/a.h", "// ok\n" '#include "net/b.h"\n')
        self.assert_fails(rules.includes, "src/base/a.h:2", "net/b.h")

    def test_another_header_of_a_room_open_by_one_header_is_refused(self):
        self.put("src/route/a.cc", '#include "net/http.h"\n')
        self.assert_fails(rules.includes, "net/http.h")

    def test_a_parent_may_not_include_its_folder(self):
        self.put("src/chat/a.cc", '#include "chat/dialects/x.h"\n')
        self.assert_fails(rules.includes, "chat/dialects")

    def test_a_library_of_another_room_is_refused(self):
        self.put("src/base/a.cc", "#include <boost/asio.hpp>\n")
        self.assert_fails(rules.includes, "boost")

    def test_sockets_are_for_the_rooms_that_name_them(self):
        self.put("src/chat/a.cc", "#include <sys/socket.h>\n")
        self.assert_fails(rules.includes, "sockets")

    def test_a_library_that_nobody_knows_is_refused(self):
        self.put("src/net/a.cc", "#include <curl/curl.h>\n")
        self.assert_fails(rules.includes, "curl/curl.h")

    def test_a_kernel_sees_plain_c_only(self):
        self.put("src/engine/kernels/k.h", "#include <algorithm>\n")
        self.assert_fails(rules.includes, "algorithm")

    def test_a_folder_without_a_row_is_refused(self):
        self.put("src/attic/a.cc", "")
        self.assert_fails(rules.includes, "src/attic/a.cc")

    def test_a_page_without_a_table_is_refused(self):
        self.put("docs/ARCHITECTURE.md", "# Architecture\n")
        self.assert_fails(rules.includes, "no room table")


class Links(Tree):
    def test_the_links_of_the_table_pass(self):
        self.put("src/CMakeLists.txt", "hearth_room(hearth_net net LINKS hearth_base OpenSSL::SSL)\n"
                                       "hearth_room(hearth_route route LINKS hearth_chat hearth_net)\n")
        self.assert_passes(rules.links)

    def test_a_link_too_many_is_refused(self):
        self.put("src/CMakeLists.txt", "hearth_room(hearth_base base LINKS hearth_net)\n")
        self.assert_fails(rules.links, "hearth_base links hearth_net")

    def test_a_missing_link_is_refused(self):
        self.put("src/CMakeLists.txt", "hearth_room(hearth_engine engine LINKS hearth_base)\n")
        self.assert_fails(rules.links, "hearth_engine does not link hearth_kernels")

    def test_a_room_without_a_row_is_refused(self):
        self.put("src/CMakeLists.txt", "hearth_room(hearth_attic attic LINKS hearth_base)\n")
        self.assert_fails(rules.links, "hearth_attic")


class Lengths(Tree):
    def test_a_thousand_lines_pass_and_one_more_does_not(self):
        self.put("src/net/a.cc", "\n" * 1000)
        self.assert_passes(rules.lengths)
        self.put("src/net/a.cc", "\n" * 1001)
        self.assert_fails(rules.lengths, "1001")


class Functions(Tree):
    def test_seventy_lines_pass_and_one_more_does_not(self):
        self.put("src/net/a.cc", "int f() {\n" + "    g();\n" * 68 + "}\n")
        self.assert_passes(rules.functions)
        self.put("src/net/a.cc", "int f() {\n" + "    g();\n" * 69 + "}\n")
        self.assert_fails(rules.functions, "src/net/a.cc:1", "int f()", "71 lines")

    def test_bodies_are_told_from_tables_types_and_namespaces(self):
        text = """namespace a::b {
struct alignas(64) S : T {
    S(int x) : x_{x}, y_(f(x)) {
    }
    bool operator==(const S& o) const { return x_ == o.x_; }
    int x_ = 0;
};
const Table table = {f(1), {2}, "{",
    '{'};
extern "C" {
template <class T = int>
int g(T t, int n = 3) noexcept {
    auto h = [&](int) { if (n) { return 1; } return 2; };
    return R"({)"[0];  // {
}
}
TEST(A, b) {
#define M(x) { \\
    {
}
}
"""
        self.assertEqual([(first, last) for _, first, last in source.functions(text)],
                         [(3, 3), (3, 4), (5, 5), (11, 15), (17, 20)])


class Coroutines(Tree):
    def test_a_coroutine_is_refused_and_its_mention_is_not(self):
        self.put("src/net/a.cc", '// never co_' 'await\nauto s = "co_' 'yield";\n')
        self.assert_passes(rules.coroutines)
        self.put("src/net/a.cc", "void f() {\n    co_" "await g();\n}\n")
        self.assert_fails(rules.coroutines, "src/net/a.cc:2")


class Registry(Tree):
    def setUp(self):
        super().setUp()
        self.put("src/CMakeLists.txt",
                 "hearth_registry(hearth_chat chat/dialects dialect hearth::chat Dialect\n"
                 "                chat/dialect.h)\n")

    def test_a_descriptor_named_after_its_file_passes(self):
        self.put("src/chat/dialects/openai.cc", "extern const Dialect dialect_openai;\n"
                                                "const Dialect dialect_openai = {\n};\n")
        self.assert_passes(rules.registry)

    def test_another_name_is_refused(self):
        self.put("src/chat/dialects/openai.cc", "const Dialect dialect_open_ai = {};\n")
        self.assert_fails(rules.registry, "dialect_open_ai", "dialect_openai is right")

    def test_no_descriptor_and_two_are_refused(self):
        path = self.put("src/chat/dialects/openai.cc", "// const Dialect dialect_openai = {};\n")
        self.assert_fails(rules.registry, "defines none")
        path.write_text("const Dialect dialect_openai{};\nconst chat::Dialect dialect_two{};\n")
        self.assert_fails(rules.registry, "dialect_two")


    def test_a_kernel_format_is_named_after_its_file(self):
        self.put("src/engine/kernels/CMakeLists.txt", "\nlist_descriptors(a b formats format)\n")
        path = self.put("src/engine/kernels/formats/q8_0.h", "const hearth_format format_q8_0 = {};\n")
        self.assert_passes(rules.registry)
        path.write_text("const hearth_format format_q8 = {};\n")
        self.assert_fails(rules.registry, "format_q8_0 is right")


class Words(Tree):
    def test_unfinished_work_is_refused(self):
        self.put("src/net/a.cc", "// TO" "DO: later\n")
        self.assert_fails(rules.words, "issue")

    def test_a_path_of_one_machine_is_refused(self):
        self.put("scripts/x", "cd /ho" "me/jane/hearth\n")
        self.assert_fails(rules.words, "machine")

    def test_a_lock_file_with_package_hosts_is_refused(self):
        self.put("tests/clients/package-lock.json", '{"reso' 'lved": "x"}\n')
        self.assert_fails(rules.words, "package host")

    def test_plain_text_passes(self):
        self.put("README.md", "a network/homework page, todo lists and the root of a tree\n")
        self.assert_passes(rules.words)


class Hosts(Tree):
    def test_reserved_names_pass_and_a_strange_host_does_not(self):
        self.put("README.md", "http://127.0.0.1:11435/v1 https://api.example.com http://localhost:1\n")
        self.assert_passes(rules.hosts)
        self.put("README.md", "https:" "//mirror.acme-corp.io/x\n")
        self.assert_fails(rules.hosts, "mirror.acme-corp.io")


@unittest.skipUnless(shutil.which("gcc") or shutil.which("cc"), "no C compiler")
class Objects(Tree):
    """Rules on what the build made, with tiny objects made here."""

    def compile(self, name, text, *flags):
        path = self.put(name, text)
        out = path.with_suffix(".o")
        subprocess.run([shutil.which("gcc") or "cc", "-c", *flags, str(path), "-o", str(out)], check=True)
        return out.relative_to(self.root)

    def build_of(self, second):
        first = self.compile("kernels/avx2.c", "int hearth_kernels_avx2 = 1;\n")
        other = self.compile("kernels/avx512.c", second)
        entries = [{"file": str(o), "command": f"cc -mavx2 -c x -o {o}"} for o in (first, other)]
        self.put("compile_commands.json", json.dumps(entries))
        return self.root

    def test_one_symbol_each_passes(self):
        build = self.build_of("static int f(void) { return 1; }\n"
                              "int (*hearth_kernels_avx512)(void) = f;\n")
        self.assert_passes(rules.kernel_symbols, build)

    def test_a_second_symbol_is_refused_weak_ones_too(self):
        build = self.build_of("int hearth_kernels_avx512;\n__attribute__((weak)) int shared(void) "
                              "{ return 1; }\n")
        self.assert_fails(rules.kernel_symbols, "shared", build=build)

    def test_isa_flags_outside_the_kernels_are_refused(self):
        self.build_of("int hearth_kernels_avx512;\n")
        entries = json.loads((self.root / "compile_commands.json").read_text())
        entries.append({"file": "net/a.cc", "command": "c++ -mavx2 -c net/a.cc -o net/a.o"})
        self.put("compile_commands.json", json.dumps(entries))
        self.assert_fails(rules.kernel_symbols, "net/a.cc", build=self.root)

    def test_a_build_without_isa_objects_is_refused(self):
        self.put("compile_commands.json", "[]")
        self.assert_fails(rules.kernel_symbols, "0 objects", build=self.root)

    def test_a_library_beside_the_c_library_is_refused(self):
        cc = shutil.which("gcc") or "cc"
        self.put("lib.c", "int lent(void) { return 1; }\n")
        main = self.put("main.c", "int lent(void);\nint main(void) { return lent(); }\n")
        subprocess.run([cc, "-shared", "-fPIC", "lib.c", "-o", "libacme.so"], check=True, cwd=self.root)
        subprocess.run([cc, str(main), "-L.", "-lacme", "-o", "hearth"], check=True, cwd=self.root)
        self.assert_fails(rules.binary, "libacme.so", build=self.root)

    def test_a_newer_c_library_than_allowed_is_refused(self):
        main = self.put("main.c", "#include <stdio.h>\nint main(void) { return puts(\"\"); }\n")
        subprocess.run([shutil.which("gcc") or "cc", str(main), "-o", str(self.root / "hearth")], check=True)
        self.assert_passes(rules.binary, build=self.root)
        before, rules.GLIBC_MAX = rules.GLIBC_MAX, (2, 1)
        self.addCleanup(setattr, rules, "GLIBC_MAX", before)
        self.assertTrue(self.found(rules.binary, self.root))


if __name__ == "__main__":
    unittest.main()
