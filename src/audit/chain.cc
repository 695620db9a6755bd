#include "audit/chain.h"

#include <bit>
#include <cstring>

#include "base/json.h"

namespace hearth::audit {
namespace {

constexpr std::string_view kEntryDomain = "hearth-audit-entry-v1";
constexpr std::string_view kLinkDomain = "hearth-audit-link-v1";
constexpr std::string_view kRootDomain = "hearth-audit-root-v1";
constexpr std::string_view kKeyDomain = "hearth-audit-key-v1";

// CanonicalForm's encoding into a buffer that is reused.
void put_length(std::string& out, std::uint64_t n) {
    static_assert(std::endian::native == std::endian::little);
    out.append(reinterpret_cast<const char*>(&n), sizeof n);
}
void put(std::string& out, std::string_view text) {
    put_length(out, text.size());
    out += text;
}
void put(std::string& out, std::int64_t number) {
    put_length(out, sizeof number);
    put_length(out, std::uint64_t(number));
}

// A domain and digests, in a buffer on the stack.
template <std::size_t N>
struct Digests {
    std::array<char, 8 + 20 + N * (8 + sizeof(Digest))> bytes;
    std::size_t n = 0;
    void add(std::string_view text) {
        const std::uint64_t length = text.size();
        std::memcpy(bytes.data() + n, &length, sizeof length);
        std::memcpy(bytes.data() + n + sizeof length, text.data(), text.size());
        n += sizeof length + text.size();
    }
    std::string_view view() const { return {bytes.data(), n}; }
};

}  // namespace

void canonical_form(std::string_view slot, const EntryView& entry, std::string& scratch) {
    scratch.clear();
    put(scratch, kEntryDomain);
    put(scratch, slot);
    put(scratch, entry.seq);
    put(scratch, entry.wall_ns);
    put(scratch, entry.event);
    put(scratch, entry.request_id);
    put(scratch, entry.json);
    put(scratch, std::int64_t(entry.columns.size()));
    for (const Column& column : entry.columns) {
        put(scratch, column.name);
        put(scratch, column.is_text ? std::string_view("t") : std::string_view("i"));
        if (column.is_text)
            put(scratch, column.text);
        else
            put(scratch, column.number);
    }
}

Digest leaf_of(std::string_view slot, const EntryView& entry, std::string& scratch) {
    canonical_form(slot, entry, scratch);
    return sha256(scratch);
}

Digest link_mac(const HmacSha256& key, const Digest& previous_mac, const Digest& leaf) {
    Digests<2> form;
    static_assert(kLinkDomain.size() <= 20 && kRootDomain.size() <= 20);
    form.add(kLinkDomain);
    form.add(text_of(previous_mac));
    form.add(text_of(leaf));
    return key.of(form.view());
}

Digest next_root(const Digest& previous_root, const Digest& mac, const Digest& leaf) {
    Digests<3> form;
    form.add(kRootDomain);
    form.add(text_of(previous_root));
    form.add(text_of(mac));
    form.add(text_of(leaf));
    return sha256(form.view());
}

std::string chain_key_id(std::string_view key) {
    CanonicalForm form(kKeyDomain);
    return hex_of(HmacSha256(key).of(form.bytes())).substr(0, 16);
}

std::string to_json(const ChainState& state) {
    JsonWriter w;
    w.begin_object().field("chain", state.chain).field("seq", state.seq);
    w.field("mac", hex_of(state.mac)).field("root", hex_of(state.root)).end_object();
    return w.take();
}

}  // namespace hearth::audit
