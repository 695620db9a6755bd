// Numbers that states of Asia, Australia, Africa and the Pacific give to people and businesses.
//
// Source: the agencies' published rules (UIDAI, ATO, ACRA, GB 11643-1999, KISA, SARS).
#include "route/checksums.h"
#include "route/national_id.h"

namespace hearth::route {
namespace {

enum Group : std::uint8_t {
    kAadhaar,
    kPan,
    kTfn,
    kAbn,
    kAcn,
    kMedicare,
    kNric,
    kResident,
    kRrn,
    kMyNumber,
    kTwId,
    kHkId,
    kThai,
    kZa,
    kIl,
    kIrd,
    kMyKad
};

constexpr const char* kEntities[] = {
    "in_aadhaar",  "in_pan",         "au_tfn", "au_abn",       "au_acn",         "au_medicare",
    "sg_nric_fin", "cn_resident_id", "kr_rrn", "jp_my_number", "tw_national_id", "hk_id",
    "th_tnin",     "za_id",          "il_id",  "nz_ird",       "my_nric"};

// clang-format off
constexpr Keyword kKeywords[] = {
    {"aadhaar", kAadhaar}, {"aadhar", kAadhaar}, {"uidai", kAadhaar}, {"uid", kAadhaar},
    {"pan", kPan}, {"permanent account", kPan}, {"tfn", kTfn}, {"tax file", kTfn},
    {"abn", kAbn}, {"business number", kAbn}, {"acn", kAcn}, {"company number", kAcn},
    {"medicare", kMedicare}, {"nric", kNric}, {"fin", kNric},
    {"身份证", kResident}, {"resident identity", kResident}, {"rrn", kRrn}, {"주민등록번호", kRrn},
    {"resident registration", kRrn}, {"my number", kMyNumber}, {"マイナンバー", kMyNumber},
    {"個人番号", kMyNumber}, {"national id", kTwId}, {"身分證", kTwId}, {"hkid", kHkId},
    {"tnin", kThai}, {"thai", kThai}, {"id", kZa}, {"identity", kZa}, {"teudat", kIl},
    {"zehut", kIl},
    {"israeli id", kIl}, {"ird", kIrd}, {"inland revenue", kIrd}, {"mykad", kMyKad},
    {"nric", kMyKad},
};
// clang-format on

template <std::size_t N>
int sum(std::string_view d, const std::uint8_t (&weights)[N]) {
    return weighted_sum(d, weights);
}

bool aadhaar(std::string_view d) {
    return d[0] >= '2' && verhoeff_holds(d);
}

bool pan(std::string_view t) {  // the fourth letter is the kind of holder; no check digit is public
    return std::string_view("ABCFGHJLPTEK").contains(t[3]);
}

bool tfn(std::string_view d) {
    return d != "000000000" && sum(d, {1, 4, 3, 7, 5, 8, 6, 9, 10}) % 11 == 0;
}
bool abn(std::string_view d) {
    return d[0] != '0' && (sum(d, {10, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19}) - 10) % 89 == 0;
}
bool acn(std::string_view d) {
    return d != "000000000" && (10 - sum(d, {8, 7, 6, 5, 4, 3, 2, 1}) % 10) % 10 == d[8] - '0';
}
bool medicare(std::string_view d) {
    return d[0] >= '2' && d[0] <= '6' && sum(d, {1, 3, 7, 9, 1, 3, 7, 9}) % 10 == d[8] - '0';
}

bool nric(std::string_view t) {
    int total = sum(t.substr(1, 7), {2, 7, 6, 5, 4, 3, 2});
    const char kind = t[0];
    if (kind == 'T' || kind == 'G') total += 4;
    if (kind == 'M') total += 3;
    if (kind == 'S' || kind == 'T') return "JZIHGFEDCBA"[total % 11] == t[8];
    if (kind == 'F' || kind == 'G') return "XWUTRQPNMLK"[total % 11] == t[8];
    return kind == 'M' && "KLJNPQRTUWX"[10 - total % 11] == t[8];
}

bool resident(std::string_view t) {  // ISO 7064 MOD 11-2
    static constexpr std::uint8_t kWeights[] = {7, 9, 10, 5,  8, 4, 2, 1, 6,
                                                3, 7, 9,  10, 5, 8, 4, 2};
    for (const char c : t.substr(0, 17))
        if (!is_digit(c)) return false;
    return is_date(t.substr(6, 4), t.substr(10, 2), t.substr(12, 2)) &&
           "10X98765432"[weighted_sum(t, kWeights) % 11] == t[17];
}

bool rrn(std::string_view d) {
    const int check = (11 - sum(d, {2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5}) % 11) % 10;
    return is_date(d.substr(0, 2), d.substr(2, 2), d.substr(4, 2)) && check == d[12] - '0';
}

bool my_number(std::string_view d) {
    const int rest = sum(d, {6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2}) % 11;
    return (rest <= 1 ? 0 : 11 - rest) == d[11] - '0';
}

bool taiwan(std::string_view t) {
    static constexpr std::uint8_t kLetters[] = {10, 11, 12, 13, 14, 15, 16, 17, 34, 18, 19, 20, 21,
                                                22, 35, 23, 24, 25, 26, 27, 28, 29, 32, 30, 31, 33};
    const int letter = kLetters[t[0] - 'A'];
    const int total = letter / 10 + letter % 10 * 9 + sum(t.substr(1), {8, 7, 6, 5, 4, 3, 2, 1, 1});
    return (t[1] == '1' || t[1] == '2') && total % 10 == 0;
}

bool hong_kong(std::string_view t) {
    const int total = 36 * 9 + (t[0] - 'A' + 10) * 8 + sum(t.substr(1, 6), {7, 6, 5, 4, 3, 2});
    const int check = (11 - total % 11) % 11;
    return t[7] == (check == 10 ? 'A' : char('0' + check));
}

bool thai(std::string_view d) {
    const int check = (11 - sum(d, {13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2}) % 11) % 10;
    return d[0] != '0' && check == d[12] - '0';
}

bool south_africa(std::string_view d) {
    return is_date(d.substr(0, 2), d.substr(2, 2), d.substr(4, 2)) &&
           (d[10] == '0' || d[10] == '1') && luhn_holds(d);
}

bool israel(std::string_view d) {
    return d != "000000000" && luhn_holds(d);
}

bool ird(std::string_view d) {
    const int rest = sum(d, {3, 2, 7, 6, 5, 4, 3, 2}) % 11;
    if (rest == 0) return d[8] == '0';
    if (rest != 1) return 11 - rest == d[8] - '0';
    const int second = sum(d, {7, 4, 3, 2, 5, 2, 7, 6}) % 11;
    return second != 1 && (second == 0 ? 0 : 11 - second) == d[8] - '0';
}

bool ird_of_eight(std::string_view d) {
    return ird("0" + std::string(d));
}

bool my_kad(std::string_view d) {  // a date and a place; no check digit
    return is_date(d.substr(0, 2), d.substr(2, 2), d.substr(4, 2)) && d[6] <= '8';
}

// clang-format off
constexpr NationalId kRows[] = {
    {"in_aadhaar", kAadhaar, true, "dddd dddd dddd", aadhaar},
    {"in_aadhaar", kAadhaar, true, "dddd-dddd-dddd", aadhaar},
    {"in_aadhaar", kAadhaar, false, "dddddddddddd", aadhaar},
    {"in_pan", kPan, true, "LLLLLddddL", pan},
    {"au_tfn", kTfn, false, "ddd ddd ddd", tfn}, {"au_tfn", kTfn, false, "ddddddddd", tfn},
    {"au_abn", kAbn, true, "dd ddd ddd ddd", abn}, {"au_abn", kAbn, false, "ddddddddddd", abn},
    {"au_acn", kAcn, false, "ddd ddd ddd", acn}, {"au_acn", kAcn, false, "ddddddddd", acn},
    {"au_medicare", kMedicare, true, "dddd ddddd d", medicare},
    {"au_medicare", kMedicare, false, "dddddddddd", medicare},
    {"sg_nric_fin", kNric, true, "LdddddddL", nric},
    {"cn_resident_id", kResident, true, "dddddddddddddddddL", resident},
    {"cn_resident_id", kResident, true, "dddddddddddddddddd", resident},
    {"kr_rrn", kRrn, true, "dddddd-ddddddd", rrn}, {"kr_rrn", kRrn, false, "ddddddddddddd", rrn},
    {"jp_my_number", kMyNumber, false, "dddddddddddd", my_number},
    {"jp_my_number", kMyNumber, false, "dddd dddd dddd", my_number},
    {"tw_national_id", kTwId, true, "Lddddddddd", taiwan},
    {"hk_id", kHkId, true, "Ldddddd(A)", hong_kong},
    {"th_tnin", kThai, true, "d-dddd-ddddd-dd-d", thai},
    {"th_tnin", kThai, false, "ddddddddddddd", thai},
    {"za_id", kZa, false, "ddddddddddddd", south_africa},
    {"il_id", kIl, false, "ddddddddd", israel},
    {"nz_ird", kIrd, false, "dd-ddd-ddd", ird_of_eight},
    {"nz_ird", kIrd, false, "dddddddd", ird_of_eight},
    {"nz_ird", kIrd, false, "ddd-ddd-ddd", ird}, {"nz_ird", kIrd, false, "ddddddddd", ird},
    {"my_nric", kMyKad, true, "dddddd-dd-dddd", my_kad},
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

extern const Detector detector_ids_asia_pacific;
const Detector detector_ids_asia_pacific = {.name = "ids_asia_pacific",
                                            .entities = kEntities,
                                            .keywords = kKeywords,
                                            .on_chain = on_chain,
                                            .on_token = on_token,
                                            .chain_digits_min = NationalIds::kDigitsMin,
                                            .token_bytes_min = NationalIds::kTokenBytesMin};

}  // namespace hearth::route
