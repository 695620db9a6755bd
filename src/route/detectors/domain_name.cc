// domain_name: web addresses, and names of hosts written without a scheme. Public by nature, so
// internal; what a web address carries (a token, a password) is a secret's detector's business.
//
//   with a scheme   scheme://host, the host with a dot and a top level of letters; to the end of
//                   the address
//   without         a name ending in a generic top level, in a registry's second level (co.uk,
//                   com.au), or beginning with "www."; code has dots of its own ("os.path",
//                   "main.rs"), so that other endings are left alone
//
// Source: RFC 3986, RFC 1035.
#include "route/detector.h"

namespace hearth::route {
namespace {

constexpr const char* kEntities[] = {"domain_name"};
constexpr Keyword kKeywords[] = {{"www"}};
constexpr std::size_t kUrlBytesMax = 2048, kHostBytesMax = 253;

constexpr auto kHostBytes = [] {
    std::array<bool, 256> host{};
    for (int c = 0; c < 256; ++c) host[c] = (is_word(char(c)) && c != '_') || c == '-' || c == '.';
    return host;
}();
bool is_host(char c) {
    return kHostBytes[(unsigned char)c];
}

// What ends an address in running text.
bool is_url(char c) {
    return (unsigned char)c > ' ' && !std::string_view("\"'<>`|\\^{}[]").contains(c);
}

std::size_t host_end(const Scan& scan, std::size_t start) {
    std::size_t i = start;
    while (i - start < kHostBytesMax && is_host(scan.at(i))) ++i;
    while (i > start && (scan.at(i - 1) == '.' || scan.at(i - 1) == '-')) --i;
    return i;
}

bool ends_in_letters(std::string_view host) {
    const std::size_t dot = host.rfind('.');
    if (dot == host.npos || dot == 0 || host.size() - dot < 3) return false;
    for (const char c : host.substr(dot + 1))
        if (is_digit(c) && !host.substr(dot + 1).starts_with("xn--")) return false;
    return host.find("..") == host.npos;
}

// The address from its host's end to its own: port, path, query; without a last full stop.
std::size_t url_end(const Scan& scan, std::size_t host_stop, std::size_t start) {
    std::size_t i = host_stop;
    const char c = scan.at(i);
    if (c != '/' && c != ':' && c != '?' && c != '#') return i;
    if (c == ':' && !is_digit(scan.at(i + 1))) return i;
    while (i - start < kUrlBytesMax && is_url(scan.at(i))) ++i;
    while (i > host_stop && std::string_view(".,;:!?)").contains(scan.at(i - 1))) --i;
    return i;
}

void with_scheme(Scan& scan, std::size_t colon) {
    // An address inside an address is part of it, and is not walked again: the scan stays linear.
    if (!scan.findings().empty() && scan.findings().back().end > colon &&
        scan.findings().back().entity == "domain_name")
        return;
    std::size_t start = colon;
    while (start > 0 && colon - start < 12 && is_alpha(scan.at(start - 1))) --start;
    if (start == colon) return;
    std::size_t host = colon + 3;
    std::size_t i = host;  // user and password end with '@' before the first '/'
    while (i - host < 128 && is_url(scan.at(i)) && scan.at(i) != '/' && scan.at(i) != '@') ++i;
    if (scan.at(i) == '@') host = i + 1;
    const std::size_t stop = host_end(scan, host);
    if (!ends_in_letters(scan.text.substr(host, stop - host))) return;
    scan.add(start, url_end(scan, stop, start), "domain_name", Sensitivity::internal, 0.9);
}

// Up to four bytes, folded, as one number; 0 for anything longer.
constexpr std::uint32_t packed(std::string_view text) {
    std::uint32_t number = 0;
    if (text.size() > 4) return 0;
    for (const char c : text) number = number << 8 | (unsigned char)lower(c);
    return number;
}
template <std::size_t N>
constexpr auto packed_all(const std::string_view (&names)[N]) {
    std::array<std::uint32_t, N> numbers{};
    for (std::size_t i = 0; i < N; ++i) numbers[i] = packed(names[i]);
    return numbers;
}
constexpr auto kGeneric = packed_all({"com", "org", "edu", "gov", "mil", "biz"});
constexpr auto kSecond =
    packed_all({"co", "com", "org", "net", "ac", "gov", "edu", "or", "ne", "go"});
constexpr auto kCountries = packed_all({"net", "de", "fr", "nl", "eu", "ch", "uk", "ru", "jp", "br",
                                        "se",  "dk", "fi", "cz", "hu", "pt", "ca", "au", "pl", "it",
                                        "es",  "at", "be", "ie", "gr", "nz", "mx", "io", "ai"});

template <std::size_t N>
bool is_one_of(std::string_view text, const std::array<std::uint32_t, N>& names) {
    const std::uint32_t number = packed(text);
    bool one = false;
    for (const std::uint32_t name : names) one |= number == name;
    return one && number != 0;
}

bool begins_www(std::string_view host) {
    return host.size() > 4 && packed(host.substr(0, 4)) == packed("www.");
}

// The last label says enough, or the one before it does.
bool is_known(std::string_view host) {
    const std::size_t dot = host.rfind('.');
    const std::string_view top = host.substr(dot + 1), rest = host.substr(0, dot);
    const std::string_view second = rest.substr(rest.rfind('.') + 1);
    if (is_one_of(top, kGeneric)) return rest.size() >= 2;
    if (top.size() == 2 && rest.size() > second.size()) return is_one_of(second, kSecond);
    return rest.size() >= 3 && is_one_of(top, kCountries);
}

bool begins_free(const Scan& scan, std::size_t start) {
    const char left = scan.before(start);
    return !is_word(left) && !std::string_view(".@/\\$=-").contains(left);
}

// The name [start, stop) where nothing around it makes it a member or an address.
void report(Scan& scan, std::size_t start, std::size_t stop) {
    const char right = scan.at(stop);
    if (is_word(right) || right == '(' || right == '[' || right == '=' || right == '@') return;
    scan.add(start, url_end(scan, stop, start), "domain_name", Sensitivity::internal, 0.6);
}

// At the last dot of a name without a scheme.
void without_scheme(Scan& scan, std::size_t dot) {
    std::size_t stop = dot + 1;
    while (stop - dot <= 4 && is_alpha(scan.at(stop))) ++stop;
    const char right = scan.at(stop);
    if ((right == '.' && is_host(scan.at(stop + 1)) && scan.at(stop + 1) != '.')) return;
    const std::string_view top = scan.text.substr(dot + 1, stop - dot - 1);
    if (top.size() != 2 && !is_one_of(top, kGeneric) && !is_one_of(top, kCountries)) return;
    std::size_t start = dot;
    while (start > 0 && dot - start < kHostBytesMax && is_host(scan.at(start - 1))) --start;
    if (!begins_free(scan, start)) return;
    const std::string_view host = scan.text.substr(start, stop - start);
    if (host[0] == '.' || begins_www(host) || host.contains("..") || !is_known(host)) return;
    report(scan, start, stop);
}

// "www.…", whatever the name ends in.
void on_keyword(Scan& scan, std::size_t start, std::size_t end, std::uint8_t) {
    if (scan.at(end) != '.' || !begins_free(scan, start)) return;
    const std::size_t stop = host_end(scan, start);
    if (ends_in_letters(scan.text.substr(start, stop - start))) report(scan, start, stop);
}

void on_mark(Scan& scan, std::size_t at) {
    if (scan.at(at) == '.')
        without_scheme(scan, at);
    else if (scan.at(at + 1) == '/' && scan.at(at + 2) == '/')
        with_scheme(scan, at);
}

}  // namespace

extern const Detector detector_domain_name;
const Detector detector_domain_name = {.name = "domain_name",
                                       .entities = kEntities,
                                       .keywords = kKeywords,
                                       .marks = ":.",
                                       .on_keyword = on_keyword,
                                       .on_mark = on_mark};

}  // namespace hearth::route
