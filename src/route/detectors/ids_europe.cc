// Numbers that European states give to people.
//
// Each rule below stands beside its check; the rows say how a number is written and whether it may
// stand without a word that names it.
//
// Source: the agencies' published rules; OECD's tax identification number pages.
#include <algorithm>
#include <string>

#include "route/checksums.h"
#include "route/national_id.h"

namespace hearth::route {
namespace {

enum Group : std::uint8_t {
    kNhs,
    kNino,
    kNif,
    kFiscal,
    kPartita,
    kPesel,
    kSteuer,
    kNir,
    kBsn,
    kNrn,
    kHetu,
    kPersonnummer,
    kFodsel,
    kCpr,
    kAhv,
    kSvnr,
    kRodne,
    kCnp,
    kIsikukood,
    kOib,
    kPtNif,
    kPpsn,
    kAfm,
    kSnils,
    kTckn,
    kEgn
};

constexpr const char* kEntities[] = {
    "uk_nhs",          "uk_nino",          "es_nif",   "es_nie",
    "it_fiscal_code",  "it_vat_code",      "pl_pesel", "de_tax_id",
    "fr_nir",          "nl_bsn",           "be_nrn",   "fi_personal_identity_code",
    "se_personnummer", "no_fodselsnummer", "dk_cpr",   "ch_ahv",
    "at_svnr",         "cz_rodne_cislo",   "ro_cnp",   "ee_isikukood",
    "hr_oib",          "pt_nif",           "ie_ppsn",  "gr_afm",
    "ru_snils",        "tr_national_id",   "bg_egn"};

// clang-format off
constexpr Keyword kKeywords[] = {
    {"nhs", kNhs}, {"nhs_number", kNhs}, {"national health", kNhs},
    {"nino", kNino}, {"national insurance", kNino}, {"ni number", kNino}, {"insurance", kNino},
    {"nif", kNif}, {"dni", kNif}, {"nie", kNif}, {"documento nacional", kNif},
    {"codice fiscale", kFiscal}, {"fiscal", kFiscal}, {"cf", kFiscal},
    {"partita", kPartita}, {"p.iva", kPartita}, {"piva", kPartita}, {"vat", kPartita},
    {"pesel", kPesel},
    {"steuer", kSteuer}, {"steuerid", kSteuer}, {"steuer-id", kSteuer}, {"idnr", kSteuer},
    {"steueridentifikationsnummer", kSteuer}, {"steuernummer", kSteuer}, {"tax", kSteuer},
    {"identifikationsnummer", kSteuer}, {"tin", kSteuer},
    {"nir", kNir}, {"sécurité sociale", kNir}, {"securite sociale", kNir}, {"insee", kNir},
    {"bsn", kBsn}, {"burgerservicenummer", kBsn}, {"sofinummer", kBsn},
    {"rijksregisternummer", kNrn}, {"registre national", kNrn}, {"nrn", kNrn}, {"niss", kNrn},
    {"national register", kNrn},
    {"hetu", kHetu}, {"henkilötunnus", kHetu}, {"personal identity", kHetu},
    {"personnummer", kPersonnummer}, {"personal number", kPersonnummer}, {"pnr", kPersonnummer},
    {"samordningsnummer", kPersonnummer},
    {"fødselsnummer", kFodsel}, {"fodselsnummer", kFodsel}, {"personnummer", kFodsel},
    {"fnr", kFodsel},
    {"cpr", kCpr}, {"cpr-nummer", kCpr}, {"personnummer", kCpr},
    {"ahv", kAhv}, {"avs", kAhv}, {"oasi", kAhv},
    {"svnr", kSvnr}, {"sozialversicherungsnummer", kSvnr}, {"sv-nummer", kSvnr},
    {"rodné", kRodne}, {"rodne", kRodne}, {"rč", kRodne}, {"rČ", kRodne}, {"birth number", kRodne},
    {"cnp", kCnp}, {"cod numeric", kCnp},
    {"isikukood", kIsikukood}, {"asmens", kIsikukood}, {"personal code", kIsikukood},
    {"oib", kOib}, {"contribuinte", kPtNif}, {"nif", kPtNif}, {"pps", kPpsn}, {"ppsn", kPpsn},
    {"afm", kAfm}, {"αφμ", kAfm}, {"ΑΦΜ", kAfm},
    {"snils", kSnils}, {"снилс", kSnils}, {"СНИЛС", kSnils},
    {"tckn", kTckn}, {"kimlik", kTckn}, {"t.c", kTckn}, {"tc", kTckn},
    {"egn", kEgn}, {"егн", kEgn}, {"ЕГН", kEgn},
};
// clang-format on

bool all_alike(std::string_view d) {
    return d.find_first_not_of(d[0]) == d.npos;
}
template <std::size_t N>
int sum(std::string_view d, const std::uint8_t (&weights)[N]) {
    return weighted_sum(d, weights);
}

bool nhs(std::string_view d) {
    const int check = 11 - sum(d, {10, 9, 8, 7, 6, 5, 4, 3, 2}) % 11;
    return !all_alike(d) && check != 10 && check % 11 == d[9] - '0';
}

bool nino(std::string_view t) {
    const std::string_view pair = t.substr(0, 2);
    for (const std::string_view never : {"BG", "GB", "KN", "NK", "NT", "TN", "ZZ"})
        if (pair == never) return false;
    return !std::string_view("DFIQUV").contains(t[0]) &&
           !std::string_view("DFIQUVO").contains(t[1]) && t[8] >= 'A' && t[8] <= 'D';
}

// Spain: the letter is the number modulo 23.
bool nif(std::string_view t) {
    return "TRWAGMYFPDXBNJZSQVHLCKE"[mod_of(t.substr(0, t.size() - 1), 23)] == t.back();
}
bool nie(std::string_view t) {
    if (t[0] < 'X' || t[0] > 'Z') return false;
    std::string as_nif(t);
    as_nif[0] = char('0' + (t[0] - 'X'));
    return nif(as_nif);
}

// Italy: odd places by a table, even ones by their value; the sum modulo 26 is the last letter.
bool fiscal_code(std::string_view t) {
    static constexpr int kOdd[] = {1,  0,  5, 7, 9, 13, 15, 17, 19, 21, 2,  4,  18,
                                   20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23};
    if (!std::string_view("ABCDEHLMPRST").contains(t[8])) return false;
    int total = 0;
    for (std::size_t i = 0; i < 15; ++i) {
        const int value = is_digit(t[i]) ? t[i] - '0' : t[i] - 'A';
        total += i % 2 == 0 ? kOdd[value] : value;
    }
    return total % 26 == t[15] - 'A';
}
bool partita_iva(std::string_view d) {
    return !all_alike(d) && luhn_holds(d);
}

bool pesel(std::string_view d) {
    // The century is added to the month: 80 is 1800, 0 is 1900, 20 is 2000 …
    const int month = ((d[2] - '0') * 10 + (d[3] - '0')) % 20;
    const char two[] = {char('0' + month / 10), char('0' + month % 10)};
    return is_date(d.substr(0, 2), {two, 2}, d.substr(4, 2)) &&
           sum(d, {1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1}) % 10 == 0;
}

// Germany: ten digits of which one stands twice or three times, and MOD 11,10.
bool steuer_id(std::string_view d) {
    std::array<int, 10> count{};
    for (std::size_t i = 0; i < 10; ++i) ++count[std::size_t(d[i] - '0')];
    const auto often = std::ranges::count_if(count, [](int n) { return n > 1; });
    return d[0] != '0' && often == 1 && *std::ranges::max_element(count) <= 3 && mod_11_10_holds(d);
}

// France: sex, year, month, department (2A and 2B count as 19 and 18), 97 minus the rest.
bool nir(std::string_view t) {
    if (t[0] != '1' && t[0] != '2' && t[0] != '3' && t[0] != '4' && t[0] != '7' && t[0] != '8')
        return false;
    std::string digits(t.substr(0, 13));
    if (digits[6] == 'A' || digits[6] == 'B') {
        if (digits[5] != '2') return false;
        digits[5] = '1', digits[6] = digits[6] == 'A' ? '9' : '8';
    }
    const int month = (t[3] - '0') * 10 + (t[4] - '0');
    const bool month_known =
        (month >= 1 && month <= 12) || (month >= 20 && month <= 42) || month >= 50;
    if (!month_known || !is_digit(digits[6])) return false;
    return 97 - mod_of(digits, 97) == (t[13] - '0') * 10 + (t[14] - '0');
}

bool bsn(std::string_view d) {
    int total = -(d[8] - '0');
    for (int i = 0; i < 8; ++i) total += (d[std::size_t(i)] - '0') * (9 - i);
    return !all_alike(d) && total % 11 == 0;
}

bool belgian(std::string_view d) {
    const int check = (d[9] - '0') * 10 + (d[10] - '0');
    const std::string nine(d.substr(0, 9));
    const int month = ((d[2] - '0') * 10 + (d[3] - '0')) % 20;
    return month <= 12 && (97 - mod_of(nine, 97) == check || 97 - mod_of("2" + nine, 97) == check);
}

bool hetu(std::string_view t) {  // ddmmyy, three digits, check character; the sign is the century
    std::string digits(t.substr(0, 6));
    digits += t.substr(t.size() - 4, 3);
    if (!is_date(t.substr(4, 2), t.substr(2, 2), t.substr(0, 2))) return false;
    for (const char c : digits)
        if (!is_digit(c)) return false;
    return "0123456789ABCDEFHJKLMNPRSTUVWXY"[mod_of(digits, 31)] == t.back();
}
bool hetu_2000(std::string_view t) {  // the century as a letter
    return std::string_view("ABCDEFYXWVU").contains(t[6]) && hetu(t);
}

bool personnummer(std::string_view d) {
    const std::string_view ten = d.substr(d.size() - 10);
    std::string day(ten.substr(4, 2));
    if (day[0] >= '6') day[0] = char(day[0] - 6);  // a coordination number adds 60
    return is_date(d.substr(0, d.size() - 8), ten.substr(2, 2), day) && luhn_holds(ten);
}

bool fodselsnummer(std::string_view d) {
    std::string day(d.substr(0, 2));
    if (day[0] >= '4') day[0] = char(day[0] - 4);  // a D number adds 40
    return is_date(d.substr(4, 2), d.substr(2, 2), day) &&
           sum(d, {3, 7, 6, 1, 8, 9, 4, 5, 2, 1}) % 11 == 0 &&
           sum(d, {5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1}) % 11 == 0;
}

bool cpr(std::string_view d) {  // without a check digit since 2007
    return is_date(d.substr(4, 2), d.substr(2, 2), d.substr(0, 2));
}

bool ahv(std::string_view d) {
    return d.starts_with("756") && sum(d, {1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1}) % 10 == 0;
}

bool svnr(std::string_view d) {
    return d[0] != '0' && is_date(d.substr(8, 2), d.substr(6, 2), d.substr(4, 2)) &&
           sum(d, {3, 7, 9, 0, 5, 8, 4, 2, 1, 6}) % 11 == d[3] - '0';
}

bool rodne_cislo(std::string_view d) {
    int month = ((d[2] - '0') * 10 + (d[3] - '0')) % 50;  // women's months add 50, late ones 20
    if (month > 20) month -= 20;
    const char two[] = {char('0' + month / 10), char('0' + month % 10)};
    return is_date(d.substr(0, 2), {two, 2}, d.substr(4, 2)) && mod_of(d, 11) == 0;
}

bool cnp(std::string_view d) {
    const int check = sum(d, {2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9}) % 11;
    return d[0] != '0' && is_date(d.substr(1, 2), d.substr(3, 2), d.substr(5, 2)) &&
           (check == 10 ? 1 : check) == d[12] - '0';
}

bool isikukood(std::string_view d) {  // Estonia and Lithuania
    if (d[0] < '1' || d[0] > '6') return false;
    if (!is_date(d.substr(1, 2), d.substr(3, 2), d.substr(5, 2))) return false;
    int check = sum(d, {1, 2, 3, 4, 5, 6, 7, 8, 9, 1}) % 11;
    if (check == 10) check = sum(d, {3, 4, 5, 6, 7, 8, 9, 1, 2, 3}) % 11 % 10;
    return check == d[10] - '0';
}

bool oib(std::string_view d) {
    return mod_11_10_holds(d);
}

bool pt_nif(std::string_view d) {
    const int rest = sum(d, {9, 8, 7, 6, 5, 4, 3, 2}) % 11;
    return std::string_view("123569").contains(d[0]) && (rest < 2 ? 0 : 11 - rest) == d[8] - '0';
}

bool ppsn(std::string_view t) {
    int total = sum(t, {8, 7, 6, 5, 4, 3, 2});
    if (t.size() == 9 && t[8] != 'W') total += (t[8] - 'A' + 1) * 9;
    return "WABCDEFGHIJKLMNOPQRSTUV"[total % 23] == t[7];
}

bool afm(std::string_view d) {
    int total = 0;
    for (std::size_t i = 0; i < 8; ++i) total += (d[i] - '0') << (8 - i);
    return !all_alike(d) && total % 11 % 10 == d[8] - '0';
}

bool snils(std::string_view d) {
    const int rest = sum(d, {9, 8, 7, 6, 5, 4, 3, 2, 1}) % 101 % 100;
    return rest == (d[9] - '0') * 10 + (d[10] - '0') && !all_alike(d.substr(0, 9));
}

bool tckn(std::string_view d) {
    int odd = 0, even = 0, all = 0;
    for (std::size_t i = 0; i < 9; ++i) (i % 2 == 0 ? odd : even) += d[i] - '0';
    for (std::size_t i = 0; i < 10; ++i) all += d[i] - '0';
    return d[0] != '0' && (odd * 7 - even + 100) % 10 == d[9] - '0' && all % 10 == d[10] - '0';
}

bool egn(std::string_view d) {
    int month = (d[2] - '0') * 10 + (d[3] - '0');
    month = month > 40 ? month - 40 : month > 20 ? month - 20 : month;
    const char two[] = {char('0' + month / 10), char('0' + month % 10)};
    return is_date(d.substr(0, 2), {two, 2}, d.substr(4, 2)) &&
           sum(d, {2, 4, 8, 5, 10, 9, 7, 3, 6}) % 11 % 10 == d[9] - '0';
}

// clang-format off
constexpr NationalId kRows[] = {
    {"uk_nhs", kNhs, false, "ddd ddd dddd", nhs}, {"uk_nhs", kNhs, false, "ddd-ddd-dddd", nhs},
    {"uk_nhs", kNhs, false, "dddddddddd", nhs},
    {"uk_nino", kNino, true, "LL dd dd dd L", nino}, {"uk_nino", kNino, true, "LLddddddL", nino},
    {"uk_nino", kNino, true, "LL dddddd L", nino}, {"uk_nino", kNino, true, "LL-dd-dd-dd-L", nino},
    {"es_nif", kNif, true, "ddddddddL", nif}, {"es_nif", kNif, true, "dddddddd-L", nif},
    {"es_nif", kNif, true, "dd.ddd.ddd-L", nif},
    {"es_nie", kNif, true, "LdddddddL", nie}, {"es_nie", kNif, true, "L-ddddddd-L", nie},
    {"es_nie", kNif, true, "Lddddddd-L", nie},
    {"it_fiscal_code", kFiscal, true, "LLLLLLddLddLdddL", fiscal_code},
    {"it_fiscal_code", kFiscal, true, "LLLLLL ddLdd LdddL", fiscal_code},
    {"it_vat_code", kPartita, false, "ddddddddddd", partita_iva},
    {"it_vat_code", kPartita, false, "LLddddddddddd", [](std::string_view t) {
         return t.starts_with("IT") && partita_iva(t.substr(2));
     }},
    {"pl_pesel", kPesel, false, "ddddddddddd", pesel},
    {"de_tax_id", kSteuer, false, "ddddddddddd", steuer_id},
    {"de_tax_id", kSteuer, false, "dd ddd ddd ddd", steuer_id},
    {"fr_nir", kNir, true, "ddddddddddddddd", nir},
    {"fr_nir", kNir, true, "d dd dd dd ddd ddd dd", nir},
    {"fr_nir", kNir, true, "d dd dd dA ddd ddd dd", nir},
    {"fr_nir", kNir, true, "ddddddddddddd dd", nir}, {"fr_nir", kNir, true, "ddddddLdddddddd", nir},
    {"nl_bsn", kBsn, false, "ddddddddd", bsn}, {"nl_bsn", kBsn, false, "dddd.dd.ddd", bsn},
    {"nl_bsn", kBsn, false, "dddd dd ddd", bsn}, {"nl_bsn", kBsn, false, "ddd.ddd.ddd", bsn},
    {"be_nrn", kNrn, true, "dd.dd.dd-ddd.dd", belgian},
    {"be_nrn", kNrn, false, "ddddddddddd", belgian},
    {"fi_personal_identity_code", kHetu, true, "dddddd-dddA", hetu},
    {"fi_personal_identity_code", kHetu, true, "dddddd+dddA", hetu},
    {"fi_personal_identity_code", kHetu, true, "ddddddLdddA", hetu_2000},
    {"se_personnummer", kPersonnummer, true, "dddddd-dddd", personnummer},
    {"se_personnummer", kPersonnummer, true, "dddddd+dddd", personnummer},
    {"se_personnummer", kPersonnummer, true, "dddddddd-dddd", personnummer},
    {"se_personnummer", kPersonnummer, false, "dddddddddd", personnummer},
    {"se_personnummer", kPersonnummer, false, "dddddddddddd", personnummer},
    {"no_fodselsnummer", kFodsel, true, "dddddd ddddd", fodselsnummer},
    {"no_fodselsnummer", kFodsel, true, "ddddddddddd", fodselsnummer},
    {"dk_cpr", kCpr, false, "dddddd-dddd", cpr}, {"dk_cpr", kCpr, false, "dddddddddd", cpr},
    {"ch_ahv", kAhv, true, "ddd.dddd.dddd.dd", ahv}, {"ch_ahv", kAhv, false, "ddddddddddddd", ahv},
    {"ch_ahv", kAhv, true, "ddd dddd dddd dd", ahv},
    {"at_svnr", kSvnr, false, "dddd dddddd", svnr}, {"at_svnr", kSvnr, false, "dddddddddd", svnr},
    {"cz_rodne_cislo", kRodne, true, "dddddd/dddd", rodne_cislo},
    {"cz_rodne_cislo", kRodne, false, "dddddddddd", rodne_cislo},
    {"ro_cnp", kCnp, false, "ddddddddddddd", cnp},
    {"ee_isikukood", kIsikukood, false, "ddddddddddd", isikukood},
    {"hr_oib", kOib, false, "ddddddddddd", oib},
    {"pt_nif", kPtNif, false, "ddddddddd", pt_nif},
    {"pt_nif", kPtNif, false, "ddd ddd ddd", pt_nif},
    {"ie_ppsn", kPpsn, false, "dddddddL", ppsn}, {"ie_ppsn", kPpsn, false, "dddddddLL", ppsn},
    {"gr_afm", kAfm, false, "ddddddddd", afm},
    {"ru_snils", kSnils, true, "ddd-ddd-ddd dd", snils},
    {"ru_snils", kSnils, true, "ddd-ddd-ddd-dd", snils},
    {"ru_snils", kSnils, false, "ddddddddddd", snils},
    {"tr_national_id", kTckn, false, "ddddddddddd", tckn},
    {"bg_egn", kEgn, false, "dddddddddd", egn},
};
// clang-format on
constexpr NationalIds kIds(kRows);

void on_chain(Scan& scan, const Chain& chain) {
    kIds.find(scan, chain);
}
void on_token(Scan& scan, std::size_t start, std::size_t) {
    kIds.find(scan, start);
}

}  // namespace

extern const Detector detector_ids_europe;
const Detector detector_ids_europe = {.name = "ids_europe",
                                      .entities = kEntities,
                                      .keywords = kKeywords,
                                      .on_chain = on_chain,
                                      .on_token = on_token,
                                      .chain_digits_min = NationalIds::kDigitsMin,
                                      .token_bytes_min = NationalIds::kTokenBytesMin};

}  // namespace hearth::route
