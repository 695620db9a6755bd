// scan: what the detectors find in a text, and the class that follows. Nothing is sent or written.
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "app/open.h"
#include "base/format.h"
#include "route/sensitivity.h"

namespace hearth::app {
namespace {

using route::Finding;

std::string as_json(std::string_view text, const std::vector<Finding>& findings) {
    JsonWriter out;
    out.begin_object()
        .field("class", chat::name_of(route::Detectors::class_of(text, findings)))
        .key("spans")
        .begin_array();
    for (const Finding& finding : findings)
        out.begin_object()
            .field("start", std::int64_t(finding.start))
            .field("end", std::int64_t(finding.end))
            .field("entity", finding.entity)
            .field("class", chat::name_of(finding.sensitivity))
            .field("confidence", std::int64_t(finding.confidence * 100 + 0.5f) / 100.0)
            .end_object();
    return out.end_array().end_object().text();
}

// A person should recognise what was found, and nobody read it over a shoulder: a quarter of the
// bytes, at most four, then stars. Control bytes and halves of characters become stars too.
std::string masked(std::string_view text) {
    constexpr std::size_t kShownMax = 4, kStarsMax = 12;
    const std::size_t n_shown = std::min(kShownMax, text.size() / 4);
    std::string out;
    for (const char c : text.substr(0, n_shown)) out.push_back(c >= ' ' && c < 0x7F ? c : '*');
    out.append(std::min(kStarsMax, text.size() - n_shown), '*');
    return out;
}

void print_table(std::string_view text, const std::vector<Finding>& findings) {
    std::printf("class %s\n", chat::name_of(route::Detectors::class_of(text, findings)));
    for (const Finding& f : findings)
        std::printf("%10zu %10zu  %-26s %-13s %4.2f  %s\n", f.start, f.end, f.entity.c_str(),
                    chat::name_of(f.sensitivity), double(f.confidence),
                    masked(text.substr(f.start, f.end - f.start)).c_str());
}

// One JSON string a line in, one document a line out, in order.
int scan_lines(const route::Detectors& detectors, std::istream& in) {
    std::string line;
    for (std::int64_t n = 1; std::getline(in, line); ++n) {
        if (line.empty()) continue;
        const auto text = parse_json(line);
        if (!text || !text->is_string())
            return report({.kind = ErrorKind::invalid_request,
                           .message = format("line {}: not a JSON string", n)},
                          true);
        const auto& value = text->get_ref<const std::string&>();
        std::puts(as_json(value, detectors.scan(value)).c_str());
        std::fflush(stdout);
    }
    return kDone;
}

}  // namespace

int scan_command(Context& context, const ScanArgs& args) {
    auto detectors = route::Detectors::make(context.settings.config().detectors);
    if (!detectors) return report(detectors.error(), context.json || args.jsonl);
    if (args.jsonl && (args.file.empty() || args.file == "-"))
        return scan_lines(*detectors, std::cin);
    const auto text = read_text(args.file);
    if (!text) return report(text.error(), context.json || args.jsonl);
    if (args.jsonl) {
        std::istringstream lines(*text);
        return scan_lines(*detectors, lines);
    }
    const std::vector<Finding> findings = detectors->scan(*text);
    if (context.json)
        std::puts(as_json(*text, findings).c_str());
    else
        print_table(*text, findings);
    return kDone;
}

}  // namespace hearth::app
