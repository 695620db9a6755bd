// ip_address: IPv4 in dotted decimal, IPv6 as RFC 4291 writes it.
//
// An address that anybody on the internet may own points at a connection and so at a person:
// confidential. Loopback, private, link-local, multicast and documentation ranges say nothing, nor
// do a network, whose last two bytes are zero, and the public resolvers: internal. Four numbers
// after "version", "section", "RFC 5280" or a product's name and '/' or '-' are none.
//
// Source: RFC 791, RFC 4291 section 2.2, RFC 6890, RFC 5737, RFC 3849.
#include <algorithm>

#include "route/detector.h"

namespace hearth::route {
namespace {

constexpr const char* kEntities[] = {"ip_address"};
// What four numbers with dots behind it are of instead: "Step 1.1.1.1". The first ones have a
// number of their own before: "RFC 5280 4.2.1.12".
constexpr std::string_view kNumbered[] = {
    "rfc",     "iso",    "iec",      "ieee",     "ver",      "section", "release",
    "chapter", "clause", "firmware", "figure",   "table",    "step",    "build",
    "driver",  "oid",    "appendix", "protocol", "revision", "rev",     "ec"};
constexpr std::size_t kDocuments = 4;

// One of these words, or a name that holds "version", ends at most three bytes before start.
bool is_numbered(const Scan& scan, std::size_t start) {
    constexpr std::size_t kNameBytesMax = 40, kDigitsMax = 6;
    const auto over_signs = [&](std::size_t end) {
        for (int k = 0; k < 3 && end > 0 && !is_alnum(scan.at(end - 1)); ++k) --end;
        return end;
    };
    const std::size_t number = over_signs(start);
    std::size_t end = number;
    while (end > 0 && number - end < kDigitsMax && is_digit(scan.at(end - 1))) --end;
    const bool document = end != number;
    if (document) end = over_signs(end);
    std::size_t name = end;
    bool versions = false;
    while (name > 0 && end - name < kNameBytesMax && is_word(scan.at(name - 1)))
        versions |= scan.is_here(--name, "version");
    const std::span words(kNumbered, document ? kDocuments : std::size(kNumbered));
    return versions || std::ranges::any_of(words, [&](std::string_view word) {
               return end - name == word.size() && scan.is_here(name, word);
           });
}

// Name servers that everybody asks: as public as the address of a role.
bool is_resolver(const int (&b)[4]) {
    constexpr int kResolvers[][4] = {
        {1, 1, 1, 1}, {1, 0, 0, 1}, {8, 8, 8, 8}, {8, 8, 4, 4}, {9, 9, 9, 9}};
    return std::ranges::any_of(kResolvers, [&](const auto& r) { return std::ranges::equal(r, b); });
}

bool is_special(const int (&b)[4]) {
    return is_resolver(b) || (b[2] == 0 && b[3] == 0) || b[0] == 0 || b[0] == 10 || b[0] == 127 ||
           b[0] >= 224 || (b[0] == 100 && b[1] >= 64 && b[1] < 128) ||
           (b[0] == 169 && b[1] == 254) || (b[0] == 172 && b[1] >= 16 && b[1] < 32) ||
           (b[0] == 192 && b[1] == 168) || (b[0] == 192 && b[1] == 0 && (b[2] == 0 || b[2] == 2)) ||
           (b[0] == 198 && (b[1] == 18 || b[1] == 19)) ||
           (b[0] == 198 && b[1] == 51 && b[2] == 100) || (b[0] == 203 && b[1] == 0 && b[2] == 113);
}

void on_chain(Scan& scan, const Chain& chain) {
    for (std::size_t g = 0; g + 4 <= chain.n; ++g) {
        int bytes[4];
        bool holds = true;
        for (std::size_t k = 0; k < 4 && holds; ++k) {
            const Chain::Group& group = chain.groups[g + k];
            bytes[k] = 0;
            for (std::size_t i = 0; i < group.n && i < 4; ++i)
                bytes[k] = bytes[k] * 10 + (scan.at(group.start + i) - '0');
            holds = group.n <= 3 && bytes[k] <= 255 &&
                    (group.n == 1 || scan.at(group.start) != '0') &&
                    (k == 0 || (chain.groups[g + k - 1].end() + 1 == group.start &&
                                scan.at(group.start - 1) == '.'));
        }
        if (!holds) continue;
        const std::size_t start = chain.groups[g].start, end = chain.groups[g + 3].end();
        const char left = scan.before(start);
        if (is_alnum(left) || left == '.') continue;
        // "Chrome/120.0.6.1" and "linux-2.6.35.9" are products, "//120.0.6.1" a host.
        if ((left == '/' || left == '-') && start >= 2 && is_alpha(scan.at(start - 2))) continue;
        if (is_word(scan.at(end)) || (scan.at(end) == '.' && is_digit(scan.at(end + 1)))) continue;
        if (is_numbered(scan, start)) continue;
        scan.add(start, end, "ip_address",
                 is_special(bytes) ? Sensitivity::internal : Sensitivity::confidential, 0.9);
        g += 3;
    }
}

struct V6 {
    std::size_t end = 0;  // 0: none
    bool special = false;
};

// The address that begins at start.
V6 v6_at(const Scan& scan, std::size_t start) {
    std::size_t i = start, n_groups = 0, n_first = 0;
    bool gap = false, digit = false, mapped = false;
    int tail[4] = {};
    if (scan.at(i) == ':') {
        if (scan.at(i + 1) != ':') return {};
        gap = true, i += 2;
    }
    while (n_groups < 8 && is_hex(scan.at(i))) {
        std::size_t n = 0;
        while (n < 5 && is_hex(scan.at(i + n))) digit |= is_digit(scan.at(i + n)), ++n;
        if (n > 4) return {};
        if (n_groups == 0) n_first = n;
        ++n_groups, i += n;
        if (scan.at(i) == '.' && n_groups >= 2) {  // an IPv4 tail: at most 12 more bytes
            std::size_t dots = 0, k = i - n;
            for (; k - i < 12 || k < i; ++k)
                if (scan.at(k) == '.' && dots < 3)
                    ++dots;
                else if (is_digit(scan.at(k)) && tail[dots] <= 255)
                    tail[dots] = tail[dots] * 10 + (scan.at(k) - '0');
                else
                    break;
            if (dots < 3) break;
            i = k, ++n_groups, mapped = true;
            break;
        }
        if (scan.at(i) != ':') break;
        if (scan.at(i + 1) == ':') {
            if (gap) return {};
            gap = true, i += 2;
        } else if (is_hex(scan.at(i + 1))) {
            ++i;
        } else {
            break;
        }
    }
    if (is_word(scan.at(i)) || (scan.at(i) == ':' && is_word(scan.at(i + 1)))) return {};
    if (gap ? n_groups > 7 : n_groups != 8) return {};
    const std::string_view text = scan.text.substr(start, i - start);
    if (text == "::1") return {i, true};
    // "ab::cd" is C++ and "::" is nothing: an address has digits, and its prefix is long.
    if (!digit || n_groups < 2 || (gap && n_first < 3 && n_groups < 4)) return {};
    return {i, (mapped && is_special(tail)) || scan.is_here(start, "fe80") ||
                   scan.is_here(start, "fc") || scan.is_here(start, "fd") ||
                   scan.is_here(start, "2001:db8") || scan.is_here(start, "ff")};
}

// At the first colon of what may be an address.
void on_mark(Scan& scan, std::size_t at) {
    const char next = scan.at(at + 1);
    if (next != ':' && !is_hex(next)) return;
    std::size_t start = at;
    while (start > 0 && at - start < 5 && is_hex(scan.at(start - 1))) --start;
    const char left = scan.before(start);
    if (is_word(left) || left == ':' || left == '.') return;
    if (start == at && next != ':') return;
    const V6 found = v6_at(scan, start);
    if (found.end == 0) return;
    scan.add(start, found.end, "ip_address",
             found.special ? Sensitivity::internal : Sensitivity::confidential, 0.9);
}

}  // namespace

extern const Detector detector_ip_address;
const Detector detector_ip_address = {.name = "ip_address",
                                      .entities = kEntities,
                                      .marks = ":",
                                      .on_chain = on_chain,
                                      .on_mark = on_mark,
                                      .chain_digits_min = 4};

}  // namespace hearth::route
