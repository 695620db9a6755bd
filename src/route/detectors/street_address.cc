// street_address: where somebody lives or receives mail, in the ways of many countries.
//
// A core is found first:
//   number, name, kind      24 Clarke Avenue · 3911 fourth avenue · 20 Rue Hsine Eloued
//   name with kind, number  Puruntie 82 · Hauptstraße 5 · Via dei Fiorentini 17 · ul. Miła 53
//   name, number            5638 Aasa 43 · Aasa 43, Apt. 5: only with a number before, a flat
//   behind,
//                           or words such as "address" or "lives at" before it
//   boxes and flats         P.O. Box 104 · PSC 0725, Box 6031 · Unit 7349 Box 6067 · Apt. 902
//   name, kind              on Tarsicio Street: behind on, at, in, to, near, corner of
// Then what follows belongs to it, up to some lines: flat, town, state, country, postcode. A
// postcode named as one ("ZIP: 11164") is a zip_code and internal: alone it names a place, not a
// person.
//
// Source: national postal guides for the order of the parts; kinds of streets by language.
#include <algorithm>

#include "route/detector.h"
#include "route/street_parts.h"
#include "route/street_words.h"

namespace hearth::route {
namespace {

constexpr const char* kEntities[] = {"street_address", "zip_code"};
enum Group : std::uint8_t { kCue, kAt, kFlat, kBox, kMilitary, kKind, kZip };

// clang-format off
constexpr Keyword kKeywords[] = {
    {"address", kCue}, {"addresses", kCue}, {"lives at", kCue}, {"lives on", kCue},
    {"lives in", kCue}, {"live at", kCue}, {"live in", kCue}, {"living at", kCue},
    {"lived at", kCue}, {"lived in", kCue}, {"located at", kCue}, {"located on", kCue},
    {"meet me at", kCue}, {"meet you at", kCue}, {"meeting", kCue}, {"return to", kCue},
    {"sent to", kCue}, {"send it to", kCue}, {"arrived at", kCue}, {"delivered to", kCue},
    {"deliver to", kCue}, {"ship to", kCue}, {"shipped to", kCue}, {"taxi to", kCue},
    {"office is at", kCue}, {"drops you off at", kCue}, {"restaurant is at", kCue},
    {"station is on", kCue}, {"corner of", kCue}, {"enter on", kCue}, {"street:", kCue},
    {"resides at", kCue}, {"residing at", kCue}, {"mail to", kCue}, {"ship", kCue},
    {"shipping", kCue}, {"deliver", kCue}, {"delivery", kCue}, {"адрес", kCue}, {"адресу", kCue},
    {"Адрес", kCue}, {"地址", kCue}, {"住所", kCue}, {"moved to", kCue}, {"adresse", kCue},
    {"dirección", kCue}, {"direccion", kCue}, {"indirizzo", kCue}, {"endereço", kCue},
    {"adres", kCue}, {"anschrift", kCue}, {"wohnhaft", kCue}, {"it's in", kCue}, {"is it in", kCue},
    {"located in", kCue}, {"new one to", kCue}, {"apt", kFlat}, {"apartment", kFlat},
    {"suite", kFlat}, {"ste", kFlat}, {"flat", kFlat}, {"address", kAt}, {"lives at", kAt},
    {"live at", kAt}, {"living at", kAt}, {"lived at", kAt}, {"resides at", kAt},
    {"residing at", kAt}, {"located at", kAt}, {"moved to", kAt}, {"delivered to", kAt},
    {"deliver to", kAt}, {"ship to", kAt}, {"shipped to", kAt}, {"mail to", kAt},
    {"anschrift", kAt}, {"adresse", kAt}, {"dirección", kAt}, {"indirizzo", kAt}, {"p.o", kBox},
    {"po box", kBox}, {"gpo box", kBox}, {"private bag", kBox}, {"post office box", kBox},
    {"psc", kBox}, {"unit", kBox}, {"postfach", kBox}, {"apartado", kBox},
    {"casella postale", kBox}, {"boîte postale", kBox}, {"apo", kMilitary}, {"fpo", kMilitary},
    {"dpo", kMilitary}, {"street", kKind}, {"road", kKind}, {"avenue", kKind}, {"lane", kKind},
    {"drive", kKind}, {"boulevard", kKind}, {"square", kKind}, {"terrace", kKind},
    {"crescent", kKind}, {"st", kKind}, {"close", kKind}, {"court", kKind}, {"highway", kKind},
    {"parkway", kKind}, {"zip", kZip}, {"zip code", kZip}, {"zipcode", kZip}, {"postcode", kZip},
    {"postal code", kZip}, {"plz", kZip},
};
// clang-format on

// "my address is 9 The Paddock": directly behind a word that a place follows.
bool at_home(const Scan& scan, std::size_t place) {
    if (!scan.seen(kAt, place, 5)) return false;
    std::size_t i = scan.last_seen(kAt);
    if (scan.at(i) == ':') ++i;
    if (scan.is_here(i, " is")) i += 3;
    if (scan.at(i) == ':') ++i;
    return scan.at(i) == ' ' && i + 1 == place;
}

void report(Scan& scan, std::size_t start, std::size_t end, double confidence) {
    // A number or a flat directly before belongs to it.
    std::size_t from = start;
    if (scan.before(from) == ' ' && is_digit(scan.before(from - 1))) {
        std::size_t k = from - 1;
        while (k > 0 && from - k < 8 && is_digit(scan.at(k - 1))) --k;
        if (!is_word(scan.before(k)) && from - k <= 7) from = k;
    }
    scan.add(from, address_end(scan, end), "street_address", Sensitivity::confidential, confidence);
}

// A word such as "address" at most `within` before, in the same sentence and paragraph.
bool cued(const Scan& scan, std::uint8_t group, std::size_t place, std::size_t within) {
    if (!scan.seen(group, place, within)) return false;
    const std::size_t from = scan.last_seen(group);
    for (std::size_t i = from; i + 1 < place; ++i) {
        if (scan.at(i) == '\n' && scan.at(i + 1) == '\n') return false;
        // "St. " and "ul. " end no sentence: a longer word's full stop, or one that stands alone.
        if (scan.at(i) == '.' && scan.at(i + 1) == ' ' && i > from &&
            (scan.before(i) == ' ' ||
             (is_lower(scan.before(i)) && is_lower(scan.at(i - 2)) && is_lower(scan.at(i - 3)))))
            return false;
    }
    return true;
}

// 24 Clarke Avenue, 20 Rue Hsine Eloued; g is the last group of its chain.
bool number_then_street(Scan& scan, const Chain::Group& g, std::size_t number_end,
                        std::size_t chain_start) {
    // A full stop behind the number ends a sentence; a comma stands before a kind of street only.
    if (scan.at(number_end) == '.') return false;
    const bool comma = scan.at(number_end) == ',';
    Word w = word_after(scan, number_end + (comma ? 1 : 0));
    if (w.none()) return false;
    const Folded first(scan, w);
    const bool before = kBefore.has(first) && !(comma && first == "via");
    const bool year = g.n == 4 && (scan.is_here(g.start, "19") || scan.is_here(g.start, "20"));
    if (comma && (year || g.n > 4 || (!before && !capital(scan, w.start)))) return false;
    if (!before && kNoNames.has(first)) return false;
    bool all_capital = capital(scan, w.start) || is_digit(scan.at(w.start));
    std::size_t end = w.end;
    if (before) {
        bool named = capital(scan, w.start);
        Word name = word_after(scan, w.end);
        for (int k = 0; k < 4 && !name.none(); ++k) {
            const Folded small(scan, name);
            const bool link = small == "de" || small == "du" || small == "la" || small == "des" ||
                              small == "del" || small == "dei" || small == "da" || small == "do" ||
                              small == "el" || small == "di" || small == "le" || small == "les";
            if (flat_at(scan, name.start) || (!capital(scan, name.start) && !link)) break;
            named |= capital(scan, name.start);
            end = name.end;
            name = word_after(scan, name.end);
        }
        if (!named || end == w.end) return false;
        report(scan, chain_start, end, 0.8);
        return true;
    }
    const bool initial = w.end - w.start == 1;  // "102 S. Ct." is a volume of reports
    for (int k = 0; k < 5; ++k) {
        if (k > 0 && !all_capital) return false;
        const Word next = word_after(scan, w.end);
        if (next.none()) return false;
        const Folded kind(scan, next);
        const bool plain = kAfter.has(kind, kAfterPlain);
        if ((comma || (initial && k == 0 && kAfter.has(kind))) && !plain) return false;
        const bool more = chain_start != g.start || scan.seen(kCue, chain_start, 40) ||
                          scan.at(next.end) == ',' || scan.at(next.end) == '\n';
        if (kAfter.has(kind) && (plain ? all_capital || k == 0
                                       : (more || kAfter.has(kind, kAfterShort)) && all_capital &&
                                             capital(scan, next.start))) {
            report(scan, chain_start, next.end, plain ? 0.85 : 0.7);
            return true;
        }
        if (kNoNames.has(kind)) return false;
        all_capital &= capital(scan, next.start) || is_digit(scan.at(next.start));
        w = next;
    }
    return false;
}

void number_at_home(Scan& scan, const Chain::Group& g, std::size_t number_end) {
    const Word w = word_after(scan, number_end);
    if (w.none() || scan.at(number_end) == '.' || !capital(scan, w.start)) return;
    if (!at_home(scan, g.start)) return;
    const Folded first(scan, w);
    if (first != "the" && kNoNames.has(first)) return;
    report(scan, g.start, w.end, 0.6);
}

// Where "No: 56", "nr. 15", "д. 5" begins whose number is at `number`; 0 for none.
std::size_t number_sign(const Scan& scan, std::size_t number) {
    std::size_t end = number;
    if (scan.before(end) == ' ') --end;
    if (scan.before(end) != ':' && scan.before(end) != '.') return 0;
    --end;
    if (!letter(scan.before(end))) return 0;
    std::size_t start = end;
    while (start > 0 && end - start < 8 && letter(scan.at(start - 1))) --start;
    const Folded word(scan, {start, end});
    static constexpr std::string_view kSigns[] = {"no", "nr", "nro", "num", "č", "д", "буд"};
    return std::ranges::any_of(kSigns, [&](auto sign) { return word == sign; }) ? start : 0;
}

// A street's name in front of its number, as far as it was read.
struct Name {
    Word last;              // the word before the number
    std::size_t start = 0;  // of the first word that belongs to it
    bool named = false;     // one of its words has a capital
    bool kind = false;      // it ends as streets do
    bool before = false;    // it begins with a kind of street
};

// The word before the number, which a comma may follow: "Avenida Paulista, 1578".
Word word_of_number(const Scan& scan, std::size_t number, bool comma) {
    if (!comma) return word_before(scan, number);
    Word w{number - 2, number - 2};
    while (w.start > 0 && w.end - w.start < 40 && letter(scan.at(w.start - 1))) --w.start;
    return w;
}

// The name goes on backwards over capitals and small link words.
void widen(const Scan& scan, Name& name) {
    Word back = name.last;
    for (int k = 0; k < 5; ++k) {
        const Word prior = word_before(scan, back.start);
        if (prior.none()) return;
        const Folded small(scan, prior);
        const bool capitals = capital(scan, prior.start);
        if (kBefore.has(small) && (capitals || scan.at(prior.end) == '.' || name.named)) {
            name.before = true, name.start = prior.start;
            return;
        }
        if (kNoNames.has(small) || (!capitals && small.size() > 4)) return;
        if (capitals) name.start = prior.start, name.named = true;
        back = prior;
    }
}

// "5638 Aasa 43": a number stands before the name, and neither it nor the name is of another thing.
bool number_before(const Scan& scan, const Name& name, std::size_t end) {
    const std::size_t start = name.start;
    if (scan.before(start) != ' ' || start < 2 || !is_digit(scan.at(start - 2))) return false;
    // "1980 Indianapolis 500" is a year's.
    if (start >= 5 && is_digit(scan.at(start - 5)) && !is_digit(scan.before(start - 5)) &&
        (scan.is_here(start - 5, "19") || scan.is_here(start - 5, "20")))
        return false;
    std::size_t digits = start - 1;
    while (digits > 0 && start - digits < 8 && is_digit(scan.at(digits - 1))) --digits;
    // "Version 7 Beta 2", "Part 2 Scene 3"
    const Word noun = word_before(scan, digits);
    if (!noun.none() && capital(scan, noun.start) && kNoNames.has(Folded(scan, noun))) return false;
    // "M8x50 DIN 987", "1 000 Mark 5"
    const char edge = scan.before(digits);
    if (edge != '\0' && edge != '\n' && edge != ',' && edge != ':' &&
        (edge != ' ' || is_digit(scan.before(digits - 1))))
        return false;
    // "AAA 123 CCC 987", "102 S. Ct. 2744", "571374 Add 30-bit", "200 Grad 25 bis"
    const char tail = scan.before(name.last.end);
    return (is_lower(tail) || (unsigned char)tail >= 0x80) && scan.at(name.last.end) != '.' &&
           (scan.at(end) != '-' || !is_alpha(scan.at(end + 1))) &&
           (scan.at(end) != ' ' || !is_lower(scan.at(end + 1)));
}

// "Carrera 7 # 71-21", "Calle 100 No. 8A-49".
bool crossing_behind(const Scan& scan, std::size_t end) {
    const char next = scan.at(end + 2);
    return scan.at(end) == ' ' && ((scan.at(end + 1) == '#' && (is_digit(next) || next == ' ')) ||
                                   scan.is_here(end + 1, "no. "));
}

// "Unter den Linden 77, 10117 Berlin"
bool town_behind(const Scan& scan, std::size_t end) {
    if (scan.at(end) != ',' || scan.at(end + 1) != ' ' || !is_digit(scan.at(end + 2)) ||
        !is_digit(scan.at(end + 5)))
        return false;
    const std::size_t code = postcode_at(scan, end + 2);
    return code != 0 && capital(scan, code + 1);
}

bool flat_behind(const Scan& scan, std::size_t end) {
    return flat_at(scan, word_after(scan, end).start) != 0 ||
           (scan.at(end) == '\n' && flat_at(scan, end + 1 + (scan.at(end + 1) == ' ')) != 0);
}

// Puruntie 82, Via dei Fiorentini 17, 5638 Aasa 43; g is the first group of its chain.
bool street_then_number(Scan& scan, const Chain::Group& g, std::size_t end) {
    const std::size_t sign = number_sign(scan, g.start);
    const std::size_t number = sign != 0 ? sign : g.start;
    const bool comma = scan.before(number) == ' ' && scan.before(number - 1) == ',';
    const Word w = word_of_number(scan, number, comma);
    if (w.none() || w.end - w.start > 39) return false;
    const Folded last(scan, w);
    if (kNoNames.has(last) || flat_at(scan, w.start)) return false;
    Name name{w, w.start, capital(scan, w.start), street_ending(last) && g.n <= 4,
              scan.is_here(w.start - std::min<std::size_t>(w.start, 3), "c/ ")};
    const Word prior = word_before(scan, w.start);
    const bool article = !prior.none() && kArticles.has(Folded(scan, prior));
    if (kBefore.has(last)) {
        if (name.named && crossing_behind(scan, end)) {
            report(scan, w.start, end, 0.8);
            return true;
        }
        if (article) return false;  // "La rue 2"
        if (!prior.none() && capital(scan, prior.start))
            name.kind = name.named = true, name.start = prior.start;  // "Ленинский проспект 32"
    }
    // "Der Weg 7", "Straße 24 Kilometer"
    const bool bare = kEndings.any(last, [&](std::string_view ending) { return ending == last; });
    if (bare && (article || prior.none())) return false;
    // "Am Markt 3 Stände" counts them.
    if (bare && scan.at(end) == ' ' && capital(scan, end + 1) &&
        (Folded(scan, prior) == "am" || Folded(scan, prior) == "zum"))
        return false;
    if ((name.kind || kBefore.has(last)) && kUnits.has(Folded(scan, word_after(scan, end))))
        return false;
    widen(scan, name);
    if (!name.named && !name.kind && !name.before) return false;
    // "OS X 10": "os." is a Polish housing estate, but one letter is no name.
    if (name.before && w.end - w.start == 1 && !cued(scan, kCue, name.start, 24)) return false;
    if (comma && !name.before && !name.kind) return false;
    const bool shown = number_before(scan, name, end) || flat_behind(scan, end);
    const bool town = town_behind(scan, end), cue = cued(scan, kCue, name.start, 24);
    if (name.kind || name.before) {
        const bool sure = name.named && (name.before || !weak_ending(last));
        if (!sure && !shown && !town && !cue) return false;
        report(scan, name.start, end, 0.8);
        return true;
    }
    if (!capital(scan, w.start) || sign != 0) return false;
    // With nothing but a word before it "Route 29", "Incoterms 2020" and "RFC 3484" are none.
    const bool year = g.n == 4 && (scan.is_here(g.start, "19") || scan.is_here(g.start, "20"));
    const bool acronym = !is_lower(scan.before(w.end)) && (unsigned char)scan.before(w.end) < 0x80;
    if (!shown && !town && (!cue || year || acronym || kThings.has(last))) return false;
    report(scan, name.start, end, shown ? 0.7 : 0.6);
    return true;
}

// 北京市朝阳区建国路88号, 東京都千代田区丸の内1-1-1: characters of a town and a street, no space
// before the number. The three bytes of each character begin with 0xE3 to 0xE9.
bool eastern(Scan& scan, std::size_t number, std::size_t end) {
    std::size_t start = number;
    bool town = false;
    while (start >= 3 && number - start < 90) {
        const auto lead = (unsigned char)scan.at(start - 3);
        if (lead < 0xE3 || lead > 0xE9) break;
        start -= 3;
        for (const std::string_view sign : {"市", "区", "區", "县", "県", "路", "街", "町", "村"})
            town |= scan.text.substr(start, 3) == sign;
    }
    if (!town || number - start < 12) return false;
    while (end - number < 24) {  // 号, 番地, a floor
        const auto lead = (unsigned char)scan.at(end);
        if (lead >= 0xE3 && lead <= 0xE9 && end + 3 <= scan.text.size())
            end += 3;
        else
            break;
    }
    scan.add(start, end, "street_address", Sensitivity::confidential, 0.75);
    return true;
}

// Letters end before a number, over a blank and a sign of "No: 56" or "Paulista, 1578"; or may
// begin behind it. Numbers of data have neither, and are done here.
bool word_ends_before(const Scan& scan, std::size_t number) {
    std::size_t i = number;
    if (scan.before(i) == ' ') --i;
    if (scan.before(i) == ',' || scan.before(i) == ':' || scan.before(i) == '.') --i;
    return letter(scan.before(i)) || scan.before(i) == '-';
}
bool word_may_begin(const Scan& scan, std::size_t end) {
    return scan.at(end) == ' ' || (scan.at(end) == ',' && !is_digit(scan.at(end + 2)));
}

void on_chain(Scan& scan, const Chain& chain) {
    const Chain::Group& first = chain.groups[0];
    const Chain::Group& last = chain.groups[chain.n - 1];
    if (chain.n > 4) return;
    const char left = scan.before(first.start);
    if ((unsigned char)left >= 0x80 && eastern(scan, first.start, chain.end())) return;
    if (chain.n > 3) return;
    if (is_word(left) || left == '$' || left == '.' || left == '#' || left == '=') return;
    std::size_t end = last.end();
    if (chain.glued) {                // 12a, 2nd
        const char c = scan.at(end);  // "10s" and "5m" are no houses
        if (chain.n == 1 && is_alpha(c) && !is_word(scan.at(end + 1)) &&
            !std::string_view("smkhgx").contains(c))
            ++end;
        else
            return;
    }
    if (scan.seen(kZip, first.start, 12) && postcode_at(scan, first.start))
        return scan.add(first.start, postcode_at(scan, first.start), "zip_code",
                        Sensitivity::internal, 0.7);
    const bool behind_word = word_ends_before(scan, first.start);
    if (!behind_word && !word_may_begin(scan, end)) return;
    if (behind_word && first.n <= 5 &&
        street_then_number(scan, first, chain.n == 1 ? end : first.end()))
        return;
    if (last.n <= 6 && number_then_street(scan, last, chain.n == 1 ? end : last.end(),
                                          chain.n > 1 && first.n <= 6 ? first.start : last.start))
        return;
    if (chain.n == 1 && first.n <= 5) number_at_home(scan, first, end);
}

// A kind of street behind a name without a number: "on Tarsicio Isle Street".
void named_street(Scan& scan, std::size_t start, std::size_t end) {
    if (!capital(scan, start) && !cued(scan, kCue, start, 40)) return;
    Word w = word_before(scan, start);
    std::size_t from = start;
    for (int k = 0; k < 4 && !w.none() && capital(scan, w.start); ++k) {
        if (kNoNames.has(Folded(scan, w))) break;
        from = w.start;
        w = word_before(scan, w.start);
    }
    if (from == start || w.none()) return;
    const Folded link(scan, w);
    if (link != "on" && link != "at" && link != "in" && link != "to" && link != "near" &&
        link != "of" && link != "and")
        return;
    if (!capital(scan, start) || cued(scan, kCue, from, 32))
        scan.add(from, address_end(scan, end), "street_address", Sensitivity::confidential, 0.5);
}

void on_keyword(Scan& scan, std::size_t start, std::size_t end, std::uint8_t group) {
    if (group == kKind) return named_street(scan, start, end);
    if (group == kMilitary) {  // APO AA 13319
        if (scan.at(end) != ' ' || !is_alpha(scan.at(end + 1)) || scan.at(end + 3) != ' ' ||
            !is_digit(scan.at(end + 4)))
            return;
        std::size_t from = start;  // "USNS Mueller" stands on the line before
        if (scan.before(from) == '\n' || scan.before(from) == ' ') {
            --from;
            while (from > 0 && start - from < 48 && scan.at(from - 1) != '\n' &&
                   scan.at(from - 1) != ',' && scan.at(from - 1) != ':')
                --from;
            if (!scan.is_here(from, "us") && !scan.is_here(from, "psc") &&
                !scan.is_here(from, "unit")) {
                const std::size_t ship = scan.text.substr(from, start - from).find("US");
                from = ship == std::string_view::npos ? start : from + ship;
            }
        }
        return scan.add(from, end + 9 <= scan.text.size() ? end + 9 : end + 4, "street_address",
                        Sensitivity::confidential, 0.85);
    }
    if (group == kFlat) {
        const std::size_t stop = flat_at(scan, start);
        // "Suite 12 of the hotel" is a room; in small letters a town may follow.
        const bool goes_on = scan.at(stop) == ' ' && is_lower(scan.at(stop + 1)) &&
                             (capital(scan, start) || scan.is_here(stop, " of "));
        if (stop != 0 && !goes_on)
            scan.add(start, address_end(scan, stop), "street_address", Sensitivity::confidential, 0.55);
        return;
    }
    if (group != kBox) return;
    std::size_t stop = 0;
    if (scan.is_here(start, "p") && scan.at(start + 1) == '.')
        stop = flat_at(scan, start);
    else if (scan.is_here(start, "po box") || scan.is_here(start, "gpo box"))
        stop = flat_at(scan, start + (scan.is_here(start, "gpo") ? 1 : 0));
    else {  // PSC 0725, Box 6031 · Unit 7349 Box 6067 · Postfach 12
        std::size_t k = end;
        if (scan.at(k) != ' ') return;
        ++k;
        const std::size_t from = k;
        while (k - from < 6 && is_digit(scan.at(k))) ++k;
        if (k == from) return;
        const bool home = scan.is_here(start, "psc") || scan.is_here(start, "unit");
        std::size_t box = k;
        while (scan.at(box) == ' ' || scan.at(box) == ',') ++box;
        const std::size_t boxed = scan.is_here(box, "box") ? flat_at(scan, box) : 0;
        stop = boxed ? boxed : home ? 0 : k;
    }
    if (stop != 0) report(scan, start, stop, 0.85);
}

}  // namespace

extern const Detector detector_street_address;
const Detector detector_street_address = {.name = "street_address",
                                          .entities = kEntities,
                                          .keywords = kKeywords,
                                          .on_keyword = on_keyword,
                                          .on_chain = on_chain};

}  // namespace hearth::route
