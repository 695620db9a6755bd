// hearth-audit-verify: says whether a journal is what was written. It needs no server, no
// configuration and no network, and reads what its command line names and nothing else: a folder of
// a journal or a copy of one, or an export in JSONL.
//
// Exit codes: 0 all is well, 1 something was changed or is missing (the first bad seq is printed),
// 2 the question cannot be answered.
#include <charconv>
#include <cstdio>
#include <cstring>
#include <string_view>

#include "audit/run.h"

namespace {

constexpr const char* kUsage =
    "usage: hearth-audit-verify [options] FOLDER | FILE.jsonl | -\n"
    "\n"
    "  --chain-key FILE    the chain's key: checks the mac of every entry\n"
    "  --public-key FILE   trust this key's signatures only (PEM or hex; repeatable)\n"
    "  --anchor FILE       checkpoints kept elsewhere: finds what is missing at the end "
    "(repeatable)\n"
    "  --from SEQ          of a folder: begin at the last checkpoint at or before this entry;\n"
    "                      of lines: they may begin at any entry up to this one\n"
    "  --threads N         0: one per core\n"
    "  --require-complete  fail also where it is not known whether entries are missing\n"
    "  --json              one JSON object\n"
    "\n"
    "exit: 0 whole, 1 changed or incomplete, 2 cannot be checked\n";

enum Exit : int { kWhole = 0, kBad = 1, kCannot = 2 };

struct Arguments {
    hearth::audit::VerifyRequest request;
    bool require_complete = false, json = false, help = false;
};

template <class Number>
bool number(std::string_view text, Number& to) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), to);
    return error == std::errc() && end == text.data() + text.size() && to >= 0;
}

bool parse(int argc, char** argv, Arguments& to) {
    for (int i = 1; i < argc; ++i) {
        const std::string_view flag = argv[i];
        if (flag == "--require-complete" || flag == "--json" || flag == "--help") {
            (flag == "--json" ? to.json : flag == "--help" ? to.help : to.require_complete) = true;
            continue;
        }
        if (!flag.starts_with("--")) {
            if (!to.request.path.empty()) return false;
            to.request.path = flag;
            continue;
        }
        if (++i == argc) return false;
        const char* const value = argv[i];
        if (flag == "--chain-key")
            to.request.chain_key = value;
        else if (flag == "--public-key")
            to.request.public_keys.emplace_back(value);
        else if (flag == "--anchor")
            to.request.anchors.emplace_back(value);
        else if (flag == "--from" ? !number(value, to.request.from_seq)
                                  : flag != "--threads" || !number(value, to.request.n_threads))
            return false;
    }
    return to.help || !to.request.path.empty();
}

}  // namespace

int main(int argc, char** argv) {
    Arguments arguments;
    if (!parse(argc, argv, arguments)) {
        std::fputs(kUsage, stderr);
        return kCannot;
    }
    if (arguments.help) {
        std::fputs(kUsage, stdout);
        return kWhole;
    }
    const auto verdict = hearth::audit::run_verify(arguments.request);
    if (!verdict) {
        std::fprintf(stderr, "hearth-audit-verify: %s\n", verdict.error().message.c_str());
        return kCannot;
    }
    const std::string text =
        arguments.json ? hearth::audit::to_json(*verdict) + "\n" : hearth::audit::to_text(*verdict);
    std::fputs(text.c_str(), stdout);
    return hearth::audit::is_bad(*verdict, arguments.require_complete) ? kBad : kWhole;
}
