// The language, case by case against the reference (ORIGIN.md), and the limits.
#include "chat/jinja/jinja.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>
#include <sstream>

#include "base/file.h"
#include "base/json.h"
#include "base/utf8.h"
#include "support/data.h"

namespace hearth::chat::jinja {
namespace {

Result<std::string> rendered(std::string_view source, const Json& context = Json::object(),
                             const Limits& limits = {}) {
    const auto parsed = parse(source);
    if (!parsed) return std::unexpected(parsed.error());
    return render(*parsed, context, {.limits = limits});
}

std::vector<Json> cases() {
    std::vector<Json> out;
    const auto text =
        read_file(std::string(HEARTH_SOURCE_DIR) + "/tests/unit/chat/jinja_cases.jsonl", 1u << 20);
    EXPECT_TRUE(text);
    std::istringstream lines(text ? *text : "");
    for (std::string line; std::getline(lines, line);) {
        auto json = parse_json(line);
        EXPECT_TRUE(json) << line;
        if (json) out.push_back(std::move(*json));
    }
    return out;
}

TEST(Jinja, agrees_with_the_reference_case_by_case) {
    const auto all = cases();
    ASSERT_GT(all.size(), 100u);
    const Json& context = all[0]["context"];
    for (std::size_t i = 1; i < all.size(); ++i) {
        const std::string source = all[i]["template"];
        const auto got = rendered(source, context);
        if (all[i].contains("output")) {
            EXPECT_TRUE(got) << source << "\n" << (got ? "" : got.error().message);
            if (got) {
                EXPECT_EQ(*got, all[i]["output"].get<std::string>()) << source;
            }
        } else {
            EXPECT_FALSE(got) << source << "\ngave " << (got ? *got : "")
                              << "\nthe reference: " << all[i]["error"];
        }
    }
}

// One search of a mebibyte is 16,384 steps of 64 bytes; a thousand do not pay for it.
TEST(Jinja, every_search_pays_for_what_it_looks_at) {
    const Json context{{"s", std::string(1u << 20, 'a')}, {"x", "ab"}};
    for (const char* source :
         {"{{ 'b' in s }}", "{{ s.find(x) }}", "{{ s.rfind(x) }}", "{{ s.count(x) }}",
          "{{ s.replace(x, '')|length }}", "{{ s|replace(x, '')|length }}",
          "{{ s.split(x)|length }}", "{{ s.rsplit(x)|length }}", "{{ s.partition(x)|length }}",
          "{{ s.rpartition(x)|length }}", "{{ s.find('a', 0, 1) }}", "{{ s.startswith(s) }}"}) {
        const auto got = rendered(source, context, {.steps = 1000});
        ASSERT_FALSE(got) << source;
        EXPECT_NE(got.error().message.find("limit of steps"), std::string::npos) << source;
        EXPECT_TRUE(rendered(source, context, {.steps = 100'000})) << source;
    }
}

// Where each place nearly matches, comparing at each of them would be 2^20 times 2^19 bytes.
TEST(Jinja, a_search_of_near_matches_is_linear) {
    const std::string half(1u << 19, 'a');
    const Json context{{"s", std::string(1u << 20, 'a')}, {"x", half + "b"}, {"y", "b" + half}};
    for (const char* source :
         {"{{ x in s }}{{ y in s }}", "{{ s.find(x) }}{{ s.rfind(y) }}{{ s.rfind(x) }}",
          "{{ s.count(x) }}{{ s.count(y) }}", "{{ s.replace(x, '')|length }}",
          "{{ s.split(x)|length }}{{ s.rsplit(y)|length }}",
          "{{ s.partition(x)|length }}{{ s.rpartition(y)|length }}"})
        EXPECT_TRUE(rendered(source, context, {.steps = 200'000})) << source;
}

TEST(Jinja, searches_from_the_right_agree_with_python) {
    const Json context{{"a", "aaa"}, {"p", "a,b,,c"}, {"e", ""}};
    for (const auto& [source, expected] : std::vector<std::pair<const char*, const char*>>{
             {"{{ a.rsplit('aa') }}", "['a', '']"},
             {"{{ a.split('aa') }}", "['', 'a']"},
             {"{{ p.rsplit(',', 1) }}", "['a,b,', 'c']"},
             {"{{ p.rsplit(',') }}", "['a', 'b', '', 'c']"},
             {"{{ p.rsplit('x') }}", "['a,b,,c']"},
             {"{{ e.rsplit('x') }}", "['']"},
             {"{{ p.rpartition(',') }}", "('a,b,', ',', 'c')"},
             {"{{ a.rfind('aa') }}", "1"},
             {"{{ a.rfind('') }}", "3"},
             {"{{ a.rfind('aaaa') }}", "-1"},
             {"{{ e.find('') }}{{ e.rfind('') }}", "00"},
             {"{{ a.find('', 2) }}", "2"},
             {"{{ '' in e }}{{ 'a' in e }}", "TrueFalse"}}) {
        const auto got = rendered(source, context);
        ASSERT_TRUE(got) << source;
        EXPECT_EQ(*got, expected) << source;
    }
}

TEST(Jinja, a_size_below_every_number_is_shown_and_not_undefined) {
    EXPECT_EQ(*rendered("{{ -1e300|filesizeformat }}"), "-4611686018427387904 Bytes");
    EXPECT_EQ(*rendered("{{ -5|filesizeformat }}"), "-5 Bytes");
}

TEST(Jinja, errors_say_line_and_column_and_whether_the_template_refused) {
    EXPECT_EQ(rendered("a\nb {{ x.y }}").error().message, "2:7: template error: 'x' is undefined");
    EXPECT_EQ(rendered("{{ 1 +\n  ) }}").error().message, "2:3: template error: unexpected ')'");
    EXPECT_EQ(rendered("\n {% raise %}").error().message,
              "2:5: template error: unknown tag 'raise'");
    const auto refused = rendered("{% if true %}\n{{ raise_exception('only users') }}{% endif %}");
    EXPECT_EQ(refused.error().message, "2:19: the template refuses: only users");
    EXPECT_EQ(refused.error().kind, ErrorKind::invalid_request);
}

TEST(Jinja, time_is_the_one_given_in_utc) {
    const auto parsed = parse("{{ strftime_now('%d %b %Y %H:%M:%S') }}");
    ASSERT_TRUE(parsed);
    EXPECT_EQ(*render(*parsed, Json::object(), {.now_unix_s = 1773500966}), "14 Mar 2026 15:09:26");
}

TEST(Jinja, a_template_is_bounded_in_work_depth_and_text) {
    Limits limits{
        .steps = 100'000, .depth = 200, .output_bytes = 100'000, .made_bytes = 10'000'000};
    for (const char* source : {
             "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
             "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
             "{% set n = namespace(s='x' * 1000) %}{% for i in range(60) %}"
             "{% set n.s = n.s ~ n.s %}{% endfor %}{{ n.s }}",
             "{{ 'x' * 1000000000000 }}",
             "{{ [0] * 1000000000000 }}",
             "{% for i in range(99999) %}0123456789{% endfor %}",
             "{{ 'x'|center(99999999999) }}",
             "{{ 'x'|indent(99999999999) }}",
             "{{ '%99999999999d' % 1 }}",
             "{{ '{:99999999999}'.format(1) }}",
             "{% set n = namespace(l=[1]) %}{% for i in range(9999) %}{% set n.l = [n.l] %}{% "
             "endfor %}",
             "{% set n = namespace(l=[1]) %}{% for i in range(90) %}{% set n.l = [n.l, n.l] %}"
             "{% endfor %}{{ n.l }}",
             "{% set n = namespace(l=[1]) %}{% for i in range(90) %}{% set n.l = [n.l, n.l] %}"
             "{% endfor %}{{ n.l == (n.l + []) }}",
             "{% set n = namespace(l=[1]) %}{% for i in range(90) %}{% set n.l = [n.l, n.l] %}"
             "{% endfor %}{{ n.l|tojson }}",
             "{% set s = 'a' * 3000 %}{{ s.replace('a', s).replace('a', s) }}",
             "{% set s = ['a' * 100000] * 1000 %}{{ s|join }}",
             "{% for a in [[1]] recursive %}{{ loop([a]) }}{% endfor %}",
             "{{ range(100001) }}",
         }) {
        const auto got = rendered(source, Json::object(), limits);
        EXPECT_FALSE(got) << source;
    }
}

TEST(Jinja, deep_sources_are_refused_without_deep_recursion) {
    const std::string many = "100000";
    for (const auto& [open, close] :
         std::vector<std::pair<std::string, std::string>>{{"(", ")"},
                                                          {"[", "]"},
                                                          {"{1:", "}"},
                                                          {"not ", ""},
                                                          {"- ", ""},
                                                          {"a if ", ""},
                                                          {"a.b(", ")"},
                                                          {"1 + ", ""},
                                                          {"a ~ (", ")"},
                                                          {"a|f(", ")"}}) {
        std::string source = "{{ ";
        for (int i = 0; i < 50'000; ++i) source += open;
        source += "1";
        for (int i = 0; i < 50'000; ++i) source += close;
        EXPECT_FALSE(rendered(source + " }}")) << open;
    }
    std::string blocks;
    for (int i = 0; i < 50'000; ++i) blocks += "{% if 1 %}";
    EXPECT_FALSE(rendered(blocks));
    std::string chain = "{{ a";
    for (int i = 0; i < 50'000; ++i) chain += ".b";
    EXPECT_FALSE(rendered(chain + " }}"));
    EXPECT_FALSE(rendered(std::string(kSourceBytesMax + 1, 'x')));
    EXPECT_FALSE(rendered("\xff"));
}

TEST(Jinja, values_that_refer_to_each_other_are_freed) {
    // The address sanitizer sees what stays behind.
    EXPECT_TRUE(
        rendered("{% set a = namespace() %}{% set a.self = a %}{% set b = namespace(a=a) %}"
                 "{% set a.b = [b] %}{% macro m() %}{{ a }}{% endmacro %}{% set a.m = m %}"
                 "{% for x in [1, 2] %}{% macro k() %}{{ x }}{{ k }}{% endmacro %}"
                 "{% set a.k = k %}{% set a.loop = loop %}{% endfor %}{{ a.k() }}"));
    EXPECT_TRUE(
        rendered("{% set n = namespace(p=none) %}{% for i in range(50000) %}"
                 "{% set n.p = namespace(p=n.p) %}{% endfor %}done"));
}

TEST(Jinja, a_template_can_be_rendered_again) {
    const auto parsed = parse("{% set ns = namespace(n=0) %}{% set ns.n = ns.n + x %}{{ ns.n }}");
    ASSERT_TRUE(parsed);
    for (int i = 0; i < 3; ++i) EXPECT_EQ(*render(*parsed, {{"x", i}}, {}), std::to_string(i));
}

// Whatever the bytes, parsing and rendering end, and what comes out is UTF-8.
TEST(Jinja, mutated_templates_neither_crash_nor_hang) {
    const auto all = cases();
    const Json& context = all[0]["context"];
    const unsigned seed = 7;
    std::mt19937 random(seed);
    const Limits limits{.steps = 20'000, .output_bytes = 1u << 20, .made_bytes = 16u << 20};
    static constexpr std::string_view kPieces[] = {
        "{{", "}}", "{%",   "%}",   "{#",   "#}",        "-",  "(", ")", "[",           "]",
        "|",  "'",  "loop", " in ", " if ", "{% raw %}", "\n", "é", "*", "99999999999", "not "};
    for (int round = 0; round < 20'000; ++round) {
        std::string source = all[1 + random() % (all.size() - 1)]["template"];
        for (unsigned edits = 1 + random() % 4; edits > 0 && !source.empty(); --edits) {
            const std::size_t at = random() % source.size();
            switch (random() % 4) {
                case 0:
                    source.erase(at, 1 + random() % 8);
                    break;
                case 1:
                    source.insert(at, kPieces[random() % std::size(kPieces)]);
                    break;
                case 2:
                    source[at] = char(random() % 128);
                    break;
                default:
                    source += source.substr(at, 20);
            }
        }
        const auto got = rendered(source, context, limits);
        EXPECT_TRUE(!got || is_utf8(*got)) << "seed " << seed << " round " << round << "\n"
                                           << source;
    }
}

}  // namespace
}  // namespace hearth::chat::jinja
