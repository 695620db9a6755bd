// Any bytes as two entries: the canonical form of different entries differs, that of the same does
// not; and any bytes as a checkpoint or a public key are refused, or written again to the same
// bytes.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "audit/chain.h"
#include "audit/checkpoint.h"
#include "audit/run.h"

namespace {

using namespace hearth::audit;

// Takes pieces off the input; what is not there is empty.
struct Input {
    std::string_view rest;
    std::string_view text() {
        if (rest.empty()) return {};
        const std::size_t n = std::min<std::size_t>(std::uint8_t(rest[0]) % 32, rest.size() - 1);
        const std::string_view out = rest.substr(1, n);
        rest.remove_prefix(1 + n);
        return out;
    }
    std::int64_t number() {
        std::int64_t value = 0;
        const std::string_view bytes = text();
        if (!bytes.empty())
            std::memcpy(&value, bytes.data(), std::min<std::size_t>(bytes.size(), 8));
        return value;
    }
};

struct Row {
    EntryView entry;
    std::vector<Column> columns;
};

void read(Input& in, Row& row) {
    row.entry.seq = in.number();
    row.entry.wall_ns = in.number();
    row.entry.event = in.text();
    row.entry.request_id = in.text();
    row.entry.json = in.text();
    for (std::int64_t n = in.number() & 3; n > 0; --n) {
        Column column;
        column.name = in.text();
        column.is_text = in.number() & 1;
        column.is_text ? void(column.text = in.text()) : void(column.number = in.number());
        row.columns.push_back(column);
    }
    row.entry.columns = row.columns;
}

bool same(const Row& a, const Row& b) {
    const auto& x = a.entry;
    const auto& y = b.entry;
    return x.seq == y.seq && x.wall_ns == y.wall_ns && x.event == y.event &&
           x.request_id == y.request_id && x.json == y.json &&
           std::ranges::equal(a.columns, b.columns, [](const Column& p, const Column& q) {
               return p.name == q.name && p.is_text == q.is_text &&
                      (p.is_text ? p.text == q.text : p.number == q.number);
           });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    Input in{text};
    Row a, b;
    read(in, a);
    read(in, b);
    std::string form_a, form_b;
    canonical_form("journal-0", a.entry, form_a);
    canonical_form("journal-0", b.entry, form_b);
    if (same(a, b) != (form_a == form_b)) std::abort();
    if (const auto checkpoint = parse_checkpoint(text); checkpoint && to_json(*checkpoint) != text)
        std::abort();
    (void)parse_public_key(text);
    (void)parse_anchors(text);
    return 0;
}
