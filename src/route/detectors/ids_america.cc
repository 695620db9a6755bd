// Numbers that the states of the Americas give to people, and the bank numbers of the USA.
//
//   us_ssn            area 001-899 without 666, group 01-99, serial 0001-9999
//   us_itin           9xx, group 50-65, 70-88, 90-92, 94-99
//   us_npi            Luhn over 80840 and the number
//   us_mbi            eleven places of fixed kinds, no S L O I B Z
//   medical_license   two letters and seven digits, DEA's sum
//   aba_routing_number   weights 3 7 1, Federal Reserve districts
//   us_bank_number, us_passport, us_driver_license   no check digit: only near a word that names
//   them ca_sin            Luhn          br_cpf, br_cnpj   two digits modulo 11 mx_curp date, sex,
//   check digit     cl_rut, ar_cuit   modulo 11
//
// Source: the agencies' published rules (SSA POMS RM 10201, IRS 4.10.22, Receita Federal, RENAPO).
#include <string>

#include "route/checksums.h"
#include "route/national_id.h"

namespace hearth::route {
namespace {

enum Group : std::uint8_t {
    kSsn,
    kItin,
    kNpi,
    kMbi,
    kDea,
    kRouting,
    kBank,
    kPassport,
    kLicense,
    kDriver,
    kSin,
    kCpf,
    kCnpj,
    kCurp,
    kRut,
    kCuit
};

constexpr const char* kEntities[] = {"us_ssn",         "us_itin",         "us_npi",
                                     "us_mbi",         "medical_license", "aba_routing_number",
                                     "us_bank_number", "us_passport",     "us_driver_license",
                                     "ca_sin",         "br_cpf",          "br_cnpj",
                                     "mx_curp",        "cl_rut",          "ar_cuit"};

// clang-format off
constexpr Keyword kKeywords[] = {
    {"ssn", kSsn}, {"social security", kSsn}, {"social-security", kSsn}, {"ssns", kSsn},
    {"social_security", kSsn}, {"ssn_number", kSsn}, {"social_security_number", kSsn},
    {"soc. sec", kSsn}, {"ss#", kSsn}, {"social", kSsn},
    {"itin", kItin}, {"taxpayer", kItin}, {"tax id", kItin}, {"tin", kItin},
    {"npi", kNpi}, {"national provider", kNpi},
    {"mbi", kMbi}, {"medicare", kMbi},
    {"dea", kDea}, {"prescriber", kDea}, {"medical license", kDea},
    {"routing", kRouting}, {"aba", kRouting}, {"rtn", kRouting}, {"routing_number", kRouting},
    {"account", kBank}, {"acct", kBank}, {"bank", kBank}, {"checking", kBank}, {"savings", kBank},
    {"account_number", kBank},
    {"passport", kPassport}, {"passports", kPassport}, {"passport_number", kPassport},
    {"license", kLicense}, {"licence", kLicense}, {"licenses", kLicense}, {"dl", kLicense},
    {"dl", kDriver}, {"driver's", kDriver}, {"drivers", kDriver}, {"driving", kDriver},
    {"driver", kDriver}, {"drivers'", kDriver},
    {"sin", kSin}, {"social insurance", kSin}, {"assurance sociale", kSin}, {"nas", kSin},
    {"cpf", kCpf}, {"cnpj", kCnpj}, {"curp", kCurp}, {"rut", kRut}, {"run", kRut}, {"rol", kRut},
    {"cuit", kCuit}, {"cuil", kCuit},
};
// clang-format on

int number(std::string_view digits) {
    int value = 0;
    for (const char c : digits) value = value * 10 + (c - '0');
    return value;
}

bool ssn(std::string_view d) {
    const int area = number(d.substr(0, 3));
    if (area == 0 || area == 666 || area >= 900) return false;
    if (d.substr(3, 2) == "00" || d.substr(5) == "0000") return false;
    // Numbers of advertisements and films, never valid.
    return d != "078051120" && d != "219099999" && d != "123456789";
}

bool itin(std::string_view d) {
    const int group = number(d.substr(3, 2));
    return d[0] == '9' && ((group >= 50 && group <= 65) || (group >= 70 && group <= 88) ||
                           (group >= 90 && group <= 92) || (group >= 94 && group <= 99));
}

bool npi(std::string_view d) {
    return (d[0] == '1' || d[0] == '2') && luhn_holds("80840" + std::string(d));
}

bool mbi(std::string_view t) {
    const auto letter = [](char c) {
        return is_upper(c) && !std::string_view("SLOIBZ").contains(c);
    };
    const auto either = [&](char c) { return is_digit(c) || letter(c); };
    return t[0] >= '1' && t[0] <= '9' && letter(t[1]) && either(t[2]) && is_digit(t[3]) &&
           letter(t[4]) && either(t[5]) && is_digit(t[6]) && letter(t[7]) && letter(t[8]) &&
           is_digit(t[9]) && is_digit(t[10]);
}

bool dea(std::string_view t) {
    constexpr std::uint8_t kWeights[] = {1, 2, 1, 2, 1, 2};
    return std::string_view("ABCDEFGHJKLMPRSTUX").contains(t[0]) &&
           weighted_sum(t.substr(2, 6), kWeights) % 10 == t[8] - '0';
}

bool routing(std::string_view d) {
    constexpr std::uint8_t kWeights[] = {3, 7, 1, 3, 7, 1, 3, 7, 1};
    const int district = number(d.substr(0, 2));
    const bool known = district <= 12 || (district >= 21 && district <= 32) ||
                       (district >= 61 && district <= 72) || district == 80;
    return known && d != "000000000" && weighted_sum(d, kWeights) % 10 == 0;
}

// Two check digits modulo 11, weights from 2 upwards from the right, at most `most`.
bool two_digits_mod_11(std::string_view d, int most) {
    if (d.find_first_not_of(d[0]) == d.npos) return false;
    for (std::size_t n = d.size() - 2; n < d.size(); ++n) {
        int sum = 0, weight = 2;
        for (std::size_t i = n; i-- > 0; weight = weight == most ? 2 : weight + 1)
            sum += (d[i] - '0') * weight;
        const int rest = sum % 11;
        if (d[n] - '0' != (rest < 2 ? 0 : 11 - rest)) return false;
    }
    return true;
}
bool cpf(std::string_view d) {
    return two_digits_mod_11(d, 99);
}
bool cnpj(std::string_view d) {
    return two_digits_mod_11(d, 9);
}

bool sin_number(std::string_view d) {
    return d[0] != '0' && d[0] != '8' && luhn_holds(d);
}

bool curp(std::string_view t) {
    for (const std::size_t i : {0, 1, 2, 3, 11, 12, 13, 14, 15})
        if (!is_upper(t[i])) return false;
    for (const std::size_t i : {4, 5, 6, 7, 8, 9, 17})
        if (!is_digit(t[i])) return false;
    if (t[10] != 'H' && t[10] != 'M' && t[10] != 'X') return false;
    if (!is_date(t.substr(4, 2), t.substr(6, 2), t.substr(8, 2))) return false;
    int sum = 0;  // 0-9, A-N, then Ñ, O-Z
    for (std::size_t i = 0; i < 17; ++i) {
        const int value = is_digit(t[i]) ? t[i] - '0' : t[i] - 'A' + 10 + (t[i] > 'N' ? 1 : 0);
        sum += value * (18 - int(i));
    }
    return (10 - sum % 10) % 10 == t[17] - '0';
}

bool rut(std::string_view t) {
    int sum = 0, weight = 2;
    for (std::size_t i = t.size() - 1; i-- > 0; weight = weight == 7 ? 2 : weight + 1) {
        if (!is_digit(t[i])) return false;
        sum += (t[i] - '0') * weight;
    }
    const int rest = 11 - sum % 11;
    return t.back() == (rest == 11 ? '0' : rest == 10 ? 'K' : char('0' + rest));
}

bool cuit(std::string_view d) {
    constexpr std::uint8_t kWeights[] = {5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1};
    const int kind = number(d.substr(0, 2));
    const bool known = kind == 20 || kind == 23 || kind == 24 || kind == 27 || kind == 30 ||
                       kind == 33 || kind == 34;
    return known && weighted_sum(d, kWeights) % 11 == 0;
}

// clang-format off
constexpr NationalId kRows[] = {
    {"us_ssn", kSsn, true, "ddd-dd-dddd", ssn},
    {"us_ssn", kSsn, false, "ddd dd dddd", ssn},
    {"us_ssn", kSsn, false, "ddd.dd.dddd", ssn},
    {"us_ssn", kSsn, false, "ddddddddd", ssn},
    {"us_itin", kItin, true, "ddd-dd-dddd", itin},
    {"us_itin", kItin, false, "ddd dd dddd", itin},
    {"us_itin", kItin, false, "ddddddddd", itin},
    {"us_npi", kNpi, false, "dddddddddd", npi},
    {"us_mbi", kMbi, false, "dLAdLAdLLdd", mbi},
    {"us_mbi", kMbi, true, "dLAd-LAd-LLdd", mbi},
    {"medical_license", kDea, false, "LLddddddd", dea},
    {"aba_routing_number", kRouting, false, "ddddddddd", routing},
    {"aba_routing_number", kRouting, false, "dddd-dddd-d", routing},
    {"us_passport", kPassport, false, "ddddddddd", nullptr},
    {"us_passport", kPassport, false, "Ldddddddd", nullptr},
    {"ca_sin", kSin, false, "ddd ddd ddd", sin_number},
    {"ca_sin", kSin, false, "ddd-ddd-ddd", sin_number},
    {"ca_sin", kSin, false, "ddddddddd", sin_number},
    {"br_cpf", kCpf, true, "ddd.ddd.ddd-dd", cpf},
    {"br_cpf", kCpf, false, "ddddddddddd", cpf},
    {"br_cpf", kCpf, false, "ddddddddd-dd", cpf},
    {"br_cnpj", kCnpj, true, "dd.ddd.ddd/dddd-dd", cnpj},
    {"br_cnpj", kCnpj, false, "dddddddddddddd", cnpj},
    {"mx_curp", kCurp, true, "LLLLddddddLLLLLLAd", curp},
    {"cl_rut", kRut, true, "dd.ddd.ddd-A", rut},
    {"cl_rut", kRut, true, "d.ddd.ddd-A", rut},
    {"cl_rut", kRut, false, "dddddddd-A", rut},
    {"ar_cuit", kCuit, true, "dd-dddddddd-d", cuit},
    {"ar_cuit", kCuit, false, "ddddddddddd", cuit},
};
// clang-format on
constexpr NationalIds kIds(kRows);

// What may stand between a word that names a number and the number: "account balance: 10000000" is
// none of an account, nor is "license, bug 23709" a driver's.
constexpr std::string_view kLeads[] = {"number", "num", "no", "nr", "nbr", "is", "was", "id"};

// Digits of a bank account: 8 to 17 in one group.
void find_bank_number(Scan& scan, const Chain& chain) {
    if (!scan.seen(kBank, chain.start(), 40)) return;
    for (std::size_t g = 0; g < chain.n; ++g) {
        const Chain::Group& group = chain.groups[g];
        if (group.n < 8 || group.n > 17 || is_word(scan.at(group.end()))) continue;
        const char left = scan.before(group.start);
        if (left == '.' || left == '-' || left == '/' || left == '+' || is_word(left)) continue;
        if (scan.leads_to(kBank, group.start, 40, kLeads))
            scan.add(group.start, group.end(), "us_bank_number", Sensitivity::restricted, 0.5);
    }
}

constexpr std::size_t kLicenseDigitsMin = 5;
// A state's licence: one to three letters and 4 to 14 digits, or digits with hyphens; always beside
// "license" and "driver".
void find_license(Scan& scan, std::size_t start) {
    if (!scan.leads_to(kLicense, start, 32, kLeads) || !scan.seen(kDriver, start, 48)) return;
    if (is_word(scan.before(start))) return;
    std::size_t end = start;
    std::size_t letters = 0, digits = 0;
    while (end - start < 24) {
        const char c = scan.at(end);
        if (is_digit(c))
            ++digits;
        else if (is_alpha(c))
            ++letters;
        else if (c != '-' || !is_alnum(scan.at(end + 1)))
            break;
        ++end;
    }
    if (is_word(scan.at(end)) || digits < kLicenseDigitsMin || digits > 14 || letters > 3) return;
    if (letters > 0 && !is_upper(scan.at(start)) && !is_lower(scan.at(start)) && letters > 1)
        return;
    scan.add(start, end, "us_driver_license", Sensitivity::restricted, 0.65);
}

void on_chain(Scan& scan, const Chain& chain) {
    kIds.find(scan, chain);
    find_bank_number(scan, chain);
    find_license(scan, chain.start());
}

void on_token(Scan& scan, std::size_t start, std::size_t end) {
    if (end - start >= NationalIds::kTokenBytesMin) kIds.find(scan, start);
    find_license(scan, start);
}

}  // namespace

extern const Detector detector_ids_america;
const Detector detector_ids_america = {.name = "ids_america",
                                       .entities = kEntities,
                                       .keywords = kKeywords,
                                       .on_chain = on_chain,
                                       .on_token = on_token,
                                       .chain_digits_min = kLicenseDigitsMin,
                                       .token_bytes_min = 2};

}  // namespace hearth::route
