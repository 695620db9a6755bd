// email_address: local part, '@', a domain with a top level of letters.
//
// A person's address is confidential. One that names a role (info@, support@, noreply@ …) or that
// lies in a domain reserved for examples is found too, but public by nature: internal.
//
// Source: RFC 5321 section 4.1.2 without quoted local parts, RFC 6531 for bytes >= 0x80, RFC 2606
// and RFC 2142 for reserved domains and role names, RFC 4251 section 6 for names of algorithms.
#include "route/detector.h"

namespace hearth::route {
namespace {

constexpr const char* kEntities[] = {"email_address"};
constexpr std::size_t kLocalBytesMax = 64, kDomainBytesMax = 255;

bool is_local(char c) {
    return is_word(c) || std::string_view(".+-%'!#$&*/=?^`{|}~").contains(c);
}
// What may stand inside a local part, but hardly at its beginning in a text.
bool begins_local(char c) {
    return is_word(c) || c == '+';
}

std::string folded(std::string_view text) {
    std::string out(text);
    for (char& c : out) c = lower(c);
    return out;
}

// clang-format off
constexpr const char* kRoles[] = {
    "abuse", "accounts", "admin", "administrator", "billing", "career", "careers", "compliance",
    "contact", "contactus", "customer", "customercare", "customerservice", "dev", "enquiries",
    "enquiry", "events", "feedback", "finance", "ftp", "git", "hello", "help", "helpdesk",
    "hostmaster", "hr", "info", "information", "inquiries", "jobs", "kontakt", "legal", "list",
    "mail", "mailer-daemon", "marketing", "media", "news", "newsletter", "no-reply", "no_reply",
    "noc", "noreply", "donotreply", "office", "ops", "orders", "postmaster", "press", "privacy",
    "recruitment", "root", "sales", "security", "service", "services", "shop", "spam",
    "subscribe", "support", "sysadmin", "team", "unsubscribe", "usenet", "user", "username",
    "webmaster", "www"};
// clang-format on

bool is_role(std::string_view local) {
    const std::string name = folded(local.substr(0, local.find('+')));
    for (const char* role : kRoles)
        if (name == role) return true;
    return false;
}

bool is_reserved(std::string_view domain) {
    const std::string name = folded(domain);
    for (const std::string_view reserved :
         {"example.com", "example.net", "example.org", "openssh.com", "libssh.org"})
        if (name == reserved || name.ends_with("." + std::string(reserved))) return true;
    for (const std::string_view top : {".example", ".test", ".invalid", ".localhost", ".local"})
        if (name.ends_with(top)) return true;
    return false;
}

// The end of the domain at start, 0 where there is none: labels of letters, digits and hyphens, the
// last of letters.
std::size_t domain_end(const Scan& scan, std::size_t start) {
    std::size_t i = start, label = start, last = start;
    std::size_t n_labels = 0;
    while (i - start <= kDomainBytesMax) {
        const char c = scan.at(i);
        if (is_word(c) ? c != '_' : c == '-' && i > label) {
            ++i;
            continue;
        }
        if (i == label || scan.at(i - 1) == '-') break;
        ++n_labels;
        last = label;
        if (c != '.' || (!is_word(scan.at(i + 1)) || scan.at(i + 1) == '_')) break;
        label = ++i;
    }
    if (n_labels < 2 || i - last < 2) return 0;
    for (std::size_t k = last; k < i; ++k)
        if (is_digit(scan.at(k)) && scan.at(last) != 'x') return 0;  // "xn--…" may hold digits
    return i;
}

void on_mark(Scan& scan, std::size_t at) {
    std::size_t start = at;
    while (start > 0 && at - start < kLocalBytesMax && is_local(scan.at(start - 1))) --start;
    // A quote, a slash or a bar before the name is the text's, not the name's.
    for (std::size_t i = at; i > start; --i)
        if (std::string_view("'!#$&*/=?^`{|}~%").contains(scan.at(i - 1))) {
            start = i;
            break;
        }
    while (start < at && !begins_local(scan.at(start))) ++start;
    if (start == at || scan.at(at - 1) == '.') return;
    const std::size_t end = domain_end(scan, at + 1);
    if (end == 0 || scan.at(end) == '@') return;
    const bool is_public = is_role(scan.text.substr(start, at - start)) ||
                           is_reserved(scan.text.substr(at + 1, end - at - 1));
    scan.add(start, end, "email_address",
             is_public ? Sensitivity::internal : Sensitivity::confidential, 0.95);
}

}  // namespace

extern const Detector detector_email_address;
const Detector detector_email_address = {
    .name = "email_address", .entities = kEntities, .marks = "@", .on_mark = on_mark};

}  // namespace hearth::route
