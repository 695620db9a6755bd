// scan: what the detectors find in a text, and the class that follows. Nothing is sent or written.
#include <cstdio>

#include "app/input.h"
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

}  // namespace

int scan_command(Context& context, const ScanArgs& args) {
    auto detectors = route::Detectors::make(context.settings.config().detectors);
    if (!detectors) return report(detectors.error(), context.json || args.jsonl);
    if (args.jsonl)
        return each_json_string(args.file, [&](const std::string& text) {
            std::puts(as_json(text, detectors->scan(text)).c_str());
        });
    const auto text = read_text(args.file);
    if (!text) return report(text.error(), context.json);
    const std::vector<Finding> findings = detectors->scan(*text);
    if (context.json)
        std::puts(as_json(*text, findings).c_str());
    else
        print_table(*text, findings);
    return kDone;
}

}  // namespace hearth::app
