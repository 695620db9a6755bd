// phone_number: numbers as people write them, of many countries.
//
// Shapes that say enough by themselves:
//   +CC …                       a country's code, 8 to 15 digits in all
//   001-… 0046 …                the same behind 00, in at least three groups
//   (ddd) ddd-dddd, ddd-ddd-dddd, ddd.ddd.dddd      North America, with x1234 behind it
//   0d dd dd dd dd              pairs: France, Belgium, Morocco
//   (0dd) … and 0dd… in two or more further groups  national numbers with a trunk zero
// Every other number of 7 to 15 digits in 1 to 6 groups needs a word beside it: phone, call,
// mobile, fax, "reach … at". Some of these words have other senses: behind "call" or "signal" the
// number must be what is called, no "call site 12345678" and no count. Dates, years, decimals, ids
// in hyphens and addresses of machines are none.
//
// Source: ITU-T E.164 and E.123; national numbering plans for the groups.
#include <algorithm>

#include "route/national_id.h"

namespace hearth::route {
namespace {

constexpr const char* kEntities[] = {"phone_number"};
enum Group : std::uint8_t { kPhone, kPerhaps, kKind, kOther };

// clang-format off
constexpr Keyword kKeywords[] = {
    {"phone", kPhone}, {"phones", kPhone}, {"telephone", kPhone}, {"tel", kPhone},
    {"cellphone", kPhone}, {"fax", kPhone}, {"text me", kPhone}, {"text us", kPhone},
    {"sms", kPhone}, {"whatsapp", kPhone}, {"viber", kPhone}, {"ring me", kPhone},
    {"hotline", kPhone}, {"helpline", kPhone}, {"landline", kPhone}, {"pager", kPhone},
    {"voicemail", kPhone}, {"answering", kPhone}, {"messages to", kPhone}, {"message to", kPhone},
    {"my registered", kPhone}, {"reach me", kPhone}, {"reach us", kPhone}, {"reach him", kPhone},
    {"reach her", kPhone}, {"reach them", kPhone}, {"reach you", kPhone}, {"reached at", kPhone},
    {"phone_number", kPhone}, {"phonenumber", kPhone}, {"mob", kPhone}, {"telefon", kPhone},
    {"teléfono", kPhone}, {"telefono", kPhone}, {"téléphone", kPhone}, {"telefone", kPhone},
    {"móvil", kPhone}, {"cellulare", kPhone}, {"telefoon", kPhone}, {"mobiel", kPhone},
    {"rufnummer", kPhone}, {"telefonnummer", kPhone}, {"handynummer", kPhone}, {"puhelin", kPhone},
    {"puh", kPhone}, {"telefón", kPhone}, {"komórka", kPhone}, {"тел", kPhone}, {"телефон", kPhone},
    {"fon", kPhone}, {"tél", kPhone}, {"tlf", kPhone}, {"gsm", kPhone}, {"telemóvel", kPhone},
    {"my number", kPhone}, {"his number", kPhone}, {"her number", kPhone}, {"τηλ", kPhone},
    {"call", kPerhaps}, {"calls", kPerhaps}, {"called", kPerhaps}, {"calling", kPerhaps},
    {"dial", kPerhaps}, {"dialed", kPerhaps}, {"mobile", kPerhaps}, {"cell", kPerhaps},
    {"cellular", kPerhaps}, {"signal", kPerhaps}, {"ring", kPerhaps}, {"ext", kPerhaps},
    {"desk", kPerhaps}, {"contact", kPerhaps}, {"handy", kPerhaps}, {"celular", kPerhaps},
    {"movil", kPerhaps}, {"portable", kPerhaps}, {"numer", kPerhaps}, {"mobil", kPerhaps},
    {"office", kKind}, {"fax", kKind}, {"mobile", kKind}, {"cell", kKind}, {"home", kKind},
    {"work", kKind}, {"desk", kKind}, {"phone", kKind}, {"tel", kKind},
    {"card", kOther}, {"iban", kOther}, {"ssn", kOther}, {"isbn", kOther}, {"order", kOther},
    {"invoice", kOther}, {"account", kOther}, {"license", kOther}, {"passport", kOther},
    {"tracking", kOther}, {"ticket", kOther}, {"serial", kOther}, {"zip", kOther},
    {"version", kOther},
    {"issn", kOther}, {"doi", kOther}, {"rfc", kOther}, {"security", kOther}, {"address", kOther},
};
// clang-format on

// The chain as a number that may have been written: a run of its groups.
struct Shape {
    std::size_t first = 0, n = 0;  // groups
    std::size_t start = 0, end = 0;
    std::size_t digits = 0;
    bool plus = false, paren = false;
    bool dots = false, slashes = false, hyphens = false, spaces = false;
};

// What stands between two groups of one number: nothing odd, at most one of each kind.
bool joins(std::string_view gap, bool first) {
    if (gap.size() == 1)
        return gap[0] == ' ' || gap[0] == '-' || gap[0] == '.' || gap[0] == ')' ||
               (gap[0] == '/' && first);
    if (gap == ") " || gap == ")-" || gap == " (" || gap == " - " || gap == ").") return true;
    return (gap == " / " && first) || (unsigned char)gap[0] >= 0x80;
}

Shape shape_from(const Scan& scan, const Chain& chain, std::size_t first) {
    Shape s;
    s.first = first;
    s.start = chain.groups[first].start;
    for (std::size_t g = first; g < chain.n && s.n < 7; ++g) {
        if (g > first) {
            const std::size_t from = chain.groups[g - 1].end();
            std::string_view gap = scan.text.substr(from, chain.groups[g].start - from);
            // The trunk zero in brackets: "+41 (0)96".
            if (!joins(gap, g == first + 1)) break;
            for (const char c : gap) {
                s.paren |= c == '(' || c == ')';
                s.dots |= c == '.';
                s.slashes |= c == '/';
                s.hyphens |= c == '-';
            }
            s.spaces |= gap.size() == 1 && gap[0] == ' ';
        }
        s.digits += chain.groups[g].n;
        ++s.n;
        s.end = chain.groups[g].end();
    }
    if (scan.before(s.start) == '(') s.paren = true, --s.start;
    if (scan.before(s.start) == '+') s.plus = true, --s.start;
    return s;
}

// x123, ext. 123 behind a number.
std::size_t extension(const Scan& scan, std::size_t end) {
    std::size_t i = end;
    while (scan.at(i) == ' ' && i - end < 2) ++i;
    if (scan.is_here(i, "ext"))
        i += 3;
    else if (lower(scan.at(i)) == 'x' || scan.at(i) == '#')
        i += 1;
    else
        return end;
    while ((scan.at(i) == '.' || scan.at(i) == ' ') && i - end < 9) ++i;
    std::size_t n = 0;
    while (n < 7 && is_digit(scan.at(i + n))) ++n;
    return n == 0 || n > 6 || is_word(scan.at(i + n)) ? end : i + n;
}

bool is_year(const Scan& scan, const Chain::Group& g) {
    return g.n == 4 &&
           (scan.text.substr(g.start, 2) == "19" || scan.text.substr(g.start, 2) == "20");
}

// "2022-03-27" somewhere in it: "2.2 (2022-03-27)" is a version and its day.
bool holds_date(const Scan& scan, const Chain& chain, const Shape& s) {
    const auto group = [&](std::size_t g) {
        return scan.text.substr(chain.groups[g].start, chain.groups[g].n);
    };
    for (std::size_t g = s.first; g + 2 < s.first + s.n; ++g)
        if (is_year(scan, chain.groups[g]) && group(g + 1).size() <= 2 &&
            group(g + 2).size() <= 2 && scan.at(chain.groups[g].end()) == '-' &&
            scan.at(chain.groups[g + 1].end()) == '-' &&
            is_date(group(g), group(g + 1), group(g + 2)))
            return true;
    return false;
}

// yyyy-mm-dd, dd.mm.yyyy, 1998-1999, 12.5, 1 000 000.
bool is_something_else(const Scan& scan, const Chain& chain, const Shape& s) {
    const auto& g = chain.groups;
    const std::size_t f = s.first;
    if (s.n >= 3 && is_year(scan, g[f]) && g[f + 1].n == 2 && g[f + 2].n == 2) return true;
    if (holds_date(scan, chain, s)) return true;
    if (s.n == 3 && g[f].n <= 2 && g[f + 1].n <= 2 && (g[f + 2].n == 4 || g[f + 2].n == 2))
        return true;
    if (s.n == 2 && (is_year(scan, g[f]) || s.dots)) return true;
    if (s.dots && (s.spaces || s.hyphens) && !s.paren) return true;
    if (s.n >= 2 && g[f].n <= 3 && !s.hyphens && !s.paren && scan.at(g[f].start) != '0') {
        bool thousands = true;  // 12 345 678 and 1.234.567
        for (std::size_t k = 1; k < s.n; ++k) thousands &= g[f + k].n == 3;
        if (thousands && (s.n <= 2 || g[f].n == 1)) return true;
        if (thousands && s.dots) return true;
    }
    return false;
}

bool north_american(const Scan& scan, const Chain& chain, const Shape& s) {
    const auto& g = chain.groups;
    std::size_t f = s.first, n = s.n;
    if (n == 4 && (g[f].n == 1 || g[f].n == 3)) ++f, --n;  // 1-…, 001-…
    if (n != 3 || g[f].n != 3 || g[f + 1].n != 3 || g[f + 2].n != 4) return false;
    const char area = scan.at(g[f].start);
    return area >= '2' && (s.hyphens || s.paren || s.dots);
}

bool in_pairs(const Scan& scan, const Chain& chain, const Shape& s) {
    if (s.n != 5 || scan.at(chain.groups[s.first].start) != '0') return false;
    for (std::size_t k = 0; k < 5; ++k)
        if (chain.groups[s.first + k].n != 2) return false;
    return scan.at(chain.groups[s.first].start + 1) != '0';
}

// How sure the shape alone is; 0 where it needs a word.
double alone(const Scan& scan, const Chain& chain, const Shape& s) {
    const Chain::Group& first = chain.groups[s.first];
    const char zero = scan.at(first.start), next = scan.at(first.start + 1);
    if (s.plus) return s.digits >= 8 && s.digits <= 15 && zero != '0' ? 0.9 : 0;
    if (north_american(scan, chain, s)) return 0.8;
    if (in_pairs(scan, chain, s)) return 0.8;
    if (zero == '0' && next == '0') {
        // Neither a country's code nor what follows it begins with a zero; Italy's may (39).
        if (s.n < 3 || s.dots || s.digits < 10 || s.digits > 16) return 0;
        const Chain::Group& second = chain.groups[s.first + 1];
        const std::size_t code = first.n > 2 ? first.start + 2 : second.start;
        const std::size_t area = first.n > 2 ? second.start : chain.groups[s.first + 2].start;
        const bool trunk = scan.at(area) == '0' && !s.paren && !scan.is_here(code, "39");
        return scan.at(code) == '0' || trunk ? 0 : 0.8;
    }
    if (zero == '0' && first.n >= 2 && !s.dots && s.digits >= 9 && s.digits <= 12) {
        if (s.paren) return 0.75;
        if (s.n == 2 && next != '0' && first.n <= 5 && s.digits >= 10 && !s.slashes) return 0.6;
        return s.n >= 3 ? 0.7 : 0;
    }
    // 8-800-555-35-35 and 1 800 555 0199: a trunk digit and an area.
    if (s.digits == 11 && first.n == 1 && s.n >= 4 && chain.groups[s.first + 1].n == 3 && !s.dots) {
        if (zero == '8' && s.n == 5 && s.hyphens && !s.spaces) return 0.7;
        if (zero == '1' && s.n == 4 && chain.groups[s.first + 2].n == 3 &&
            scan.at(chain.groups[s.first + 1].start) == '8')
            return 0.7;
    }
    if (s.paren && s.n >= 4 && first.n == 1 && s.digits >= 10) return 0.7;  // 8 (495) 123-45-67
    // An area in brackets and two more groups: "(37) 788-063", "(71) 4233-6306".
    if (s.paren && scan.before(first.start) == '(' && s.n == 3 && s.hyphens && s.digits >= 8)
        return 0.6;
    return 0;
}

// 1 234 567, 12 345 678: as numbers are written.
bool in_thousands(const Chain& chain, const Shape& s) {
    for (std::size_t k = 1; k < s.n; ++k)
        if (chain.groups[s.first + k].n != 3) return false;
    return s.n >= 2 && s.spaces && chain.groups[s.first].n <= 3;
}

// A word of kPerhaps leads to the number, which is no count: it stands directly before it, or words
// that a number follows do ("call me at", "mobile number is"), or a sign ("Call Anna: …").
bool called(const Scan& scan, const Chain& chain, const Shape& s) {
    static constexpr std::string_view kLeads[] = {"me", "us", "him", "her",    "them",
                                                  "at", "on", "to",  "number", "no",
                                                  "nr", "is", "or",  "and"};
    static constexpr std::string_view kCounted[] = {"times", "bytes", "percent", "ms", "cycles"};
    constexpr std::size_t kWithin = 40;
    if (!scan.seen(kPerhaps, s.start, kWithin) || in_thousands(chain, s)) return false;
    if (scan.at(s.end) == ' ')
        for (const std::string_view unit : kCounted)
            if (scan.is_here(s.end + 1, unit)) return false;
    const std::size_t left = scan.before(s.start) == ' ' ? s.start - 1 : s.start;
    return !is_letter(scan.before(left)) || scan.leads_to(kPerhaps, s.start, kWithin, kLeads);
}

// Words of scripts without blanks, which no edge of a word tells from their neighbours.
bool named_unspaced(const Scan& scan, std::size_t place) {
    const std::size_t from = place < 24 ? 0 : place - 24;
    const std::string_view before = scan.text.substr(from, place - from);
    for (const std::string_view word : {"电话", "手机", "電話", "携帯", "전화", "휴대폰"})
        if (before.contains(word)) return true;
    return false;
}

void on_chain(Scan& scan, const Chain& chain) {
    // Most chains are decimals, and none of these a number unless "+" or a bracket stands before
    // it.
    const std::size_t point = chain.groups[0].end();
    const char sign = scan.before(chain.start());
    if (chain.n == 2 && scan.at(point) == '.' && chain.groups[1].start == point + 1 &&
        sign != '+' && sign != '(')
        return;
    for (std::size_t g = 0; g < chain.n;) {
        const Shape s = shape_from(scan, chain, g);
        g += s.n;
        const char left = scan.before(s.start);
        const bool unspaced = scan.unspaced_before(s.start);
        if ((is_word(left) && !unspaced) ||
            ((left == '.' || left == '/' || left == '-' || left == ':') &&
             is_alnum(scan.at(s.start - 2)) && s.start >= 2 &&
             !(left == ':' && is_alpha(scan.at(s.start - 2)))))
            continue;
        if (left == '$' || left == '#' || scan.at(s.end) == '%') continue;
        if (left == '=' && !scan.seen(kPhone, s.start, 2) && !scan.seen(kPerhaps, s.start, 2))
            continue;
        const std::size_t end = extension(scan, s.end);
        if (end == s.end && ((is_word(scan.at(end)) && !Scan::is_unspaced(scan.at(end))) ||
                             (scan.at(end) == '/' && is_alnum(scan.at(end + 1)))))
            continue;
        if (s.digits < 7 || s.digits > 16 || (!s.plus && is_something_else(scan, chain, s)))
            continue;
        double confidence = alone(scan, chain, s);
        // "030/901820" has an area before its slash, "12/27/1986" is a date.
        const bool odd_slash =
            s.slashes && (s.n != 2 || scan.at(chain.groups[s.first].start) != '0');
        const bool other = scan.seen(kOther, s.start, 24);
        if (confidence == 0 && (other || s.n > 6 || s.digits > 15 || odd_slash)) continue;
        const bool named = scan.seen(kPhone, s.start, 40) || called(scan, chain, s) ||
                           scan.ahead(kKind, end, 10) ||
                           ((unspaced || (left == ' ' && scan.unspaced_before(s.start - 1))) &&
                            named_unspaced(scan, s.start));
        if (confidence == 0 && !named) continue;
        if (confidence > 0 && other && !named && !s.plus && !s.paren) continue;
        scan.add(s.start, end, "phone_number", Sensitivity::confidential,
                 confidence == 0 ? 0.6
                 : named         ? 0.95
                                 : confidence);
    }
}

}  // namespace

extern const Detector detector_phone_number;
const Detector detector_phone_number = {.name = "phone_number",
                                        .entities = kEntities,
                                        .keywords = kKeywords,
                                        .on_chain = on_chain,
                                        .chain_digits_min = 7};

}  // namespace hearth::route
