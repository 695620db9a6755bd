// Base URLs of upstreams: parsed strictly, because the destination that comes out is what the
// egress allow-list and every permit are about. What two readers could understand differently is
// refused.
//
// Source: RFC 3986, 3.2; the rule for numeric last labels is that of the WHATWG URL Standard.
#include <arpa/inet.h>

#include <algorithm>
#include <cctype>
#include <charconv>

#include "backend/upstream.h"
#include "base/format.h"
#include "chat/dialect.h"
#include "net/http_server.h"

namespace hearth::backend {
namespace {

std::unexpected<Error> wrong(std::string_view url, std::string_view why) {
    // A URL with userinfo holds a password: the message shows none of it.
    const bool has_userinfo = url.find('@') != std::string_view::npos;
    return fail(ErrorKind::invalid_request,
                format("base_url {}{}; expected http(s)://host[:port][/path]",
                       has_userinfo ? "" : format("\"{}\" ", url.substr(0, 200)), why));
}

bool is_digits(std::string_view text) {
    return !text.empty() &&
           std::ranges::all_of(text, [](unsigned char c) { return std::isdigit(c); });
}

std::string lower(std::string_view text) {
    std::string out(text);
    for (char& c : out) c = char(std::tolower(static_cast<unsigned char>(c)));
    return out;
}

bool is_ipv4(const std::string& host) {
    in_addr address{};
    return ::inet_pton(AF_INET, host.c_str(), &address) == 1;
}
bool is_ipv6(const std::string& host) {
    in6_addr address{};
    return ::inet_pton(AF_INET6, host.c_str(), &address) == 1;
}

bool is_label(std::string_view label) {
    const auto allowed = [](unsigned char c) { return std::isalnum(c) || c == '-' || c == '_'; };
    return !label.empty() && label.size() <= 63 && label.front() != '-' && label.back() != '-' &&
           std::ranges::all_of(label, allowed);
}

// A name of labels, or a dotted quad. A last label that is a number would be read as an address by
// some ("127.1", "0x7f000001") and as a name by others.
bool is_host(const std::string& host) {
    if (host.empty() || host.size() > 253) return false;
    std::string_view rest = host, last;
    for (;;) {
        const auto dot = rest.find('.');
        last = rest.substr(0, dot);
        if (!is_label(last)) return false;
        if (dot == std::string_view::npos) break;
        rest.remove_prefix(dot + 1);
    }
    return is_digits(last) || last.starts_with("0x") ? is_ipv4(host) : true;
}

// "" if fine.
const char* path_problem(std::string_view path) {
    if (path.find("//") != std::string_view::npos) return "has an empty path segment";
    std::string_view rest = path;
    while (!rest.empty()) {
        rest.remove_prefix(1);
        const auto slash = rest.find('/');
        const std::string_view segment = rest.substr(0, slash);
        if (segment == "." || segment == "..") return "has a dot segment in its path";
        rest.remove_prefix(slash == std::string_view::npos ? rest.size() : slash);
    }
    return "";
}

bool is_name(std::string_view name) {
    const auto allowed = [](unsigned char c) {
        return std::islower(c) || std::isdigit(c) || c == '-';
    };
    return !name.empty() && name.size() <= 64 && std::ranges::all_of(name, allowed);
}

}  // namespace

Result<BaseUrl> parse_base_url(std::string_view url) {
    BaseUrl out;
    const auto scheme_end = url.find("://");
    const std::string scheme = lower(url.substr(0, scheme_end));
    if (scheme_end == std::string_view::npos || (scheme != "http" && scheme != "https"))
        return wrong(url, "does not start with http:// or https://");
    out.destination.tls = scheme == "https";
    std::string_view rest = url.substr(scheme_end + 3);
    if (!std::ranges::all_of(rest, [](unsigned char c) { return c > 0x20 && c < 0x7f; }))
        return wrong(url, "holds a space, control character or non-ASCII byte");
    if (rest.find_first_of("?#\\\"<>^`{|}") != std::string_view::npos)
        return wrong(url, "holds a query, a fragment or a character that URLs may not have");
    const auto slash = rest.find('/');
    std::string_view authority = rest.substr(0, slash);
    std::string_view path = slash == std::string_view::npos ? "" : rest.substr(slash);
    if (rest.find('@') != std::string_view::npos)
        return wrong(url, "holds \"@\"; a key belongs into key_env, not into the URL");

    std::string_view port;
    bool has_port = false;
    if (authority.starts_with('[')) {
        const auto end = authority.find(']');
        if (end == std::string_view::npos) return wrong(url, "has an IPv6 address without \"]\"");
        out.destination.host = lower(authority.substr(1, end - 1));
        if (!is_ipv6(out.destination.host)) return wrong(url, "has a bad IPv6 address");
        const std::string_view after = authority.substr(end + 1);
        has_port = !after.empty();
        if (has_port && after.front() != ':') return wrong(url, "has text after \"]\"");
        if (has_port) port = after.substr(1);
    } else {
        const auto colon = authority.find(':');
        has_port = colon != std::string_view::npos;
        if (has_port) port = authority.substr(colon + 1);
        out.destination.host = lower(authority.substr(0, colon));
        if (!is_host(out.destination.host)) return wrong(url, "has a bad host name");
    }
    out.destination.port = out.destination.tls ? 443 : 80;
    if (has_port) {
        if (!is_digits(port) || port.size() > 5) return wrong(url, "has a bad port");
        std::from_chars(port.data(), port.data() + port.size(), out.destination.port);
        if (out.destination.port < 1 || out.destination.port > 65535)
            return wrong(url, "has a port outside 1..65535");
    }
    while (path.ends_with('/')) path.remove_suffix(1);
    if (const std::string_view problem = path_problem(path); !problem.empty())
        return wrong(url, problem);
    out.path = path;
    return out;
}

std::string host_header(const egress::Destination& destination) {
    const bool v6 = destination.host.find(':') != std::string::npos;
    std::string out = v6 ? "[" + destination.host + "]" : destination.host;
    if (destination.port != (destination.tls ? 443 : 80)) out += format(":{}", destination.port);
    return out;
}

Status check(UpstreamConfig& config) {
    const auto refuse = [&](std::string why) {
        return fail(ErrorKind::invalid_request, format("upstream {}: {}", config.name, why));
    };
    if (!is_name(config.name))
        return fail(ErrorKind::invalid_request,
                    format("upstream name \"{}\" is not 1 to 64 of a-z, 0-9 and -",
                           config.name.substr(0, 80)));
    if (chat::find_dialect(config.dialect) == nullptr) {
        std::string known;
        for (std::size_t i = 0; i < chat::dialect_table_size; ++i)
            known += format("{}{}", i == 0 ? "" : ", ", chat::dialect_table[i]->name);
        return refuse(format("unknown dialect \"{}\"; known: {}", config.dialect, known));
    }
    const auto base = parse_base_url(config.base_url);
    if (!base) return refuse(base.error().message);
    const egress::Destination& to = base->destination;
    if (config.tier == route::Tier::cloud && !to.tls && to.host != "localhost" &&
        !net::is_loopback(to.host))
        return refuse(
            format("tier cloud over plain http would show prompts and the key to "
                   "everyone on the way to {}; use https, or tier fleet for a server of "
                   "your own",
                   to.host));
    if (config.connect_timeout_ms <= 0 || config.head_timeout_ms <= 0 ||
        config.idle_timeout_ms <= 0)
        return refuse("timeouts must be positive");
    for (route::Target& target : config.models) {
        target.upstream = config.name;
        target.tier = config.tier;
        target.destination = to;
    }
    return {};
}

egress::AllowRule allow_rule(const UpstreamConfig& config) {
    egress::AllowRule rule;
    if (const auto base = parse_base_url(config.base_url)) rule.destination = base->destination;
    rule.purpose = egress::Purpose::inference;
    rule.name = "upstream " + config.name;  // as route::PermitMint writes it
    rule.ca_file = config.ca_file;
    return rule;
}

}  // namespace hearth::backend
