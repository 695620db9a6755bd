// secret_<provider>: keys and tokens that their providers mark with a prefix of their own.
//
// A row is the prefix, what may follow it, how many bytes of that, and the least entropy, which
// keeps out "sk_live_xxxxxxxx" of a manual. A prefix begins a word; what may follow must end there.
// Three shapes have no prefix of letters and are looked for in tokens: Twilio's SK and hex digits,
// Azure's …Q~…, Facebook's digits and a bar.
//
// Source: the providers' documentation; token formats are facts.
#include "route/detector.h"
#include "route/entropy.h"

namespace hearth::route {
namespace {

enum Set : std::uint8_t {
    kHex,  // lower case
    kHexBoth,
    kLow,      // a-z 0-9
    kUp,       // A-Z 0-9
    kWord,     // letters, digits
    kWordBar,  // and _
    kDash,     // and _ -
    kDot,      // and _ - . =
    kBase64,   // letters, digits, + / =
};

struct Row {
    const char* entity;
    const char* prefix;
    Set set;
    std::uint16_t min, max;
    float entropy;
};

// clang-format off
constexpr Row kRows[] = {
    {"secret_aws", "AKIA", kUp, 16, 16, 3.0f}, {"secret_aws", "ASIA", kUp, 16, 16, 3.0f},
    {"secret_aws", "ABIA", kUp, 16, 16, 3.0f}, {"secret_aws", "ACCA", kUp, 16, 16, 3.0f},
    {"secret_aws", "ABSK", kBase64, 109, 272, 3.0f},
    {"secret_aws", "bedrock-api-key-", kBase64, 20, 2000, 3.0f},
    {"secret_github", "ghp_", kWord, 36, 36, 3.0f}, {"secret_github", "gho_", kWord, 36, 36, 3.0f},
    {"secret_github", "ghu_", kWord, 36, 36, 3.0f}, {"secret_github", "ghs_", kWord, 36, 36, 3.0f},
    {"secret_github", "ghr_", kWord, 36, 76, 3.0f},
    {"secret_github", "github_pat_", kWordBar, 82, 82, 3.0f},
    {"secret_gitlab", "glpat-", kDot, 20, 320, 3.0f},
    {"secret_gitlab", "gldt-", kDash, 20, 64, 3.0f},
    {"secret_gitlab", "glrt-", kDot, 20, 320, 3.0f},
    {"secret_gitlab", "glcbt-", kDash, 20, 64, 3.0f},
    {"secret_gitlab", "glptt-", kHex, 40, 40, 3.0f},
    {"secret_gitlab", "glft-", kDash, 20, 64, 3.0f},
    {"secret_gitlab", "glimt-", kDash, 25, 25, 3.0f},
    {"secret_gitlab", "glagent-", kDash, 50, 64, 3.0f},
    {"secret_gitlab", "gloas-", kDash, 64, 64, 3.0f},
    {"secret_gitlab", "glsoat-", kDash, 20, 64, 3.0f},
    {"secret_gitlab", "glffct-", kDash, 20, 64, 3.0f},
    {"secret_gitlab", "GR1348941", kDash, 20, 20, 3.0f},
    {"secret_slack", "xoxb-", kDash, 20, 120, 2.0f},
    {"secret_slack", "xoxp-", kDash, 27, 120, 2.0f},
    {"secret_slack", "xoxa-", kDash, 8, 120, 2.0f}, {"secret_slack", "xoxr-", kDash, 8, 120, 2.0f},
    {"secret_slack", "xoxo-", kDash, 10, 120, 2.0f},
    {"secret_slack", "xoxs-", kDash, 10, 120, 2.0f},
    {"secret_slack", "xoxe-", kDash, 30, 200, 2.0f},
    {"secret_slack", "xoxe.xox", kDash, 100, 200, 2.0f},
    {"secret_slack", "xapp-", kDash, 20, 160, 2.0f},
    {"secret_slack", "hooks.slack.com/", kBase64, 43, 80, 3.0f},
    {"secret_stripe", "sk_live_", kWord, 10, 256, 2.5f},
    {"secret_stripe", "sk_test_", kWord, 10, 256, 2.5f},
    {"secret_stripe", "sk_prod_", kWord, 10, 256, 2.5f},
    {"secret_stripe", "rk_live_", kWord, 10, 256, 2.5f},
    {"secret_stripe", "rk_test_", kWord, 10, 256, 2.5f},
    {"secret_stripe", "rk_prod_", kWord, 10, 256, 2.5f},
    {"secret_stripe", "whsec_", kBase64, 24, 80, 3.0f},
    {"secret_anthropic", "sk-ant-", kDash, 40, 140, 3.0f},
    {"secret_openai", "sk-proj-", kDash, 40, 240, 3.0f},
    {"secret_openai", "sk-svcacct-", kDash, 40, 240, 3.0f},
    {"secret_openai", "sk-admin-", kDash, 40, 240, 3.0f},
    {"secret_openai", "sk-", kWord, 32, 64, 3.0f},
    {"secret_openrouter", "sk-or-v1-", kHex, 64, 64, 3.0f},
    {"secret_perplexity", "pplx-", kWord, 48, 48, 3.5f},
    {"secret_groq", "gsk_", kWord, 48, 56, 3.5f}, {"secret_xai", "xai-", kWord, 70, 84, 3.5f},
    {"secret_replicate", "r8_", kWord, 37, 40, 3.0f},
    {"secret_huggingface", "hf_", kWord, 30, 40, 3.0f},
    {"secret_huggingface", "api_org_", kWord, 34, 34, 3.0f},
    {"secret_google", "AIza", kDash, 35, 35, 3.5f},
    {"secret_google", "GOCSPX-", kDash, 28, 28, 3.0f},
    {"secret_google", "ya29.", kDot, 30, 2000, 3.5f},
    {"secret_aws", "A3T", kUp, 17, 17, 3.0f},
    {"secret_grafana", "eyJrIjoi", kBase64, 60, 420, 3.0f},
    {"secret_hearth", "hk-", kDash, 24, 120, 3.0f},
    {"secret_npm", "npm_", kWord, 36, 36, 2.0f},
    {"secret_pypi", "pypi-AgEIcHlwaS5vcmc", kDash, 50, 1000, 3.0f},
    {"secret_pypi", "pypi-AgENdGVzdC5weXBp", kDash, 50, 1000, 3.0f},
    {"secret_rubygems", "rubygems_", kHex, 48, 48, 2.0f},
    {"secret_clojars", "CLOJARS_", kWord, 60, 60, 2.0f},
    {"secret_docker", "dckr_pat_", kDash, 27, 40, 3.0f},
    {"secret_docker", "dckr_oat_", kDash, 27, 40, 3.0f},
    {"secret_sendgrid", "SG.", kDot, 64, 70, 3.0f},
    {"secret_sendinblue", "xkeysib-", kDash, 81, 81, 2.0f},
    {"secret_mailgun", "key-", kHex, 32, 32, 3.0f},
    {"secret_mailgun", "pubkey-", kHex, 32, 32, 3.0f},
    {"secret_digitalocean", "dop_v1_", kHex, 64, 64, 3.0f},
    {"secret_digitalocean", "doo_v1_", kHex, 64, 64, 3.0f},
    {"secret_digitalocean", "dor_v1_", kHex, 64, 64, 3.0f},
    {"secret_shopify", "shpat_", kHexBoth, 32, 32, 2.0f},
    {"secret_shopify", "shpca_", kHexBoth, 32, 32, 2.0f},
    {"secret_shopify", "shppa_", kHexBoth, 32, 32, 2.0f},
    {"secret_shopify", "shpss_", kHexBoth, 32, 32, 2.0f},
    {"secret_square", "sq0atp-", kDash, 22, 60, 2.0f},
    {"secret_square", "sq0csp-", kDash, 40, 60, 2.0f},
    {"secret_square", "EAAA", kDash, 22, 60, 3.5f},
    {"secret_facebook", "EAAM", kWord, 100, 400, 4.0f},
    {"secret_facebook", "EAAC", kWord, 100, 400, 4.0f},
    {"secret_databricks", "dapi", kHex, 32, 32, 3.0f},
    {"secret_doppler", "dp.pt.", kWord, 43, 43, 2.0f},
    {"secret_dynatrace", "dt0c01.", kDot, 80, 96, 4.0f},
    {"secret_easypost", "EZAK", kWord, 54, 54, 2.0f},
    {"secret_easypost", "EZTK", kWord, 54, 54, 2.0f},
    {"secret_duffel", "duffel_live_", kDot, 43, 43, 2.0f},
    {"secret_duffel", "duffel_test_", kDot, 43, 43, 2.0f},
    {"secret_grafana", "glc_", kBase64, 32, 400, 3.0f},
    {"secret_grafana", "glsa_", kWordBar, 41, 41, 3.0f},
    {"secret_linear", "lin_api_", kWord, 40, 40, 2.0f},
    {"secret_notion", "ntn_", kWord, 46, 46, 3.0f}, {"secret_figma", "figd_", kDash, 38, 48, 3.0f},
    {"secret_planetscale", "pscale_tkn_", kDot, 32, 64, 3.0f},
    {"secret_planetscale", "pscale_oauth_", kDot, 32, 64, 3.0f},
    {"secret_planetscale", "pscale_pw_", kDot, 32, 64, 3.0f},
    {"secret_postman", "PMAK-", kDash, 59, 59, 3.0f},
    {"secret_prefect", "pnu_", kWord, 36, 36, 2.0f}, {"secret_pulumi", "pul-", kHex, 40, 40, 2.0f},
    {"secret_readme", "rdme_", kLow, 70, 70, 2.0f},
    {"secret_scalingo", "tk-us-", kDash, 48, 48, 2.0f},
    {"secret_sentry", "sntrys_", kBase64, 60, 500, 4.0f},
    {"secret_sentry", "sntryu_", kHex, 64, 64, 3.0f},
    {"secret_settlemint", "sm_aat_", kWord, 16, 16, 3.0f},
    {"secret_settlemint", "sm_pat_", kWord, 16, 16, 3.0f},
    {"secret_settlemint", "sm_sat_", kWord, 16, 16, 3.0f},
    {"secret_shippo", "shippo_live_", kHexBoth, 40, 40, 2.0f},
    {"secret_shippo", "shippo_test_", kHexBoth, 40, 40, 2.0f},
    {"secret_sourcegraph", "sgp_", kWordBar, 40, 64, 3.0f},
    {"secret_typeform", "tfp_", kDot, 59, 59, 3.0f}, {"secret_vault", "hvs.", kDash, 90, 120, 3.5f},
    {"secret_vault", "hvb.", kDash, 138, 300, 4.0f},
    {"secret_age", "AGE-SECRET-KEY-1", kUp, 58, 58, 3.0f},
    {"secret_adobe", "p8e-", kLow, 32, 32, 2.0f}, {"secret_airtable", "pat", kDot, 79, 79, 3.5f},
    {"secret_alibaba", "LTAI", kWord, 17, 26, 3.0f},
    {"secret_artifactory", "AKCp", kWord, 69, 69, 4.0f},
    {"secret_artifactory", "cmVmd", kWord, 59, 59, 4.0f},
    {"secret_atlassian", "ATATT3", kDot, 180, 200, 3.5f},
    {"secret_1password", "ops_eyJ", kBase64, 250, 2000, 4.0f},
    {"secret_1password", "A3-", kDash, 37, 40, 3.5f},
    {"secret_cloudflare", "v1.0-", kDash, 171, 171, 3.0f},
    {"secret_frameio", "fio-u-", kDot, 64, 64, 3.0f},
    {"secret_flyio", "fo1_", kDash, 43, 43, 3.5f},
    {"secret_flyio", "fm1a_", kBase64, 100, 2000, 4.0f},
    {"secret_flyio", "fm1r_", kBase64, 100, 2000, 4.0f},
    {"secret_flyio", "fm2_", kBase64, 100, 2000, 4.0f},
    {"secret_flutterwave", "FLWSECK_TEST-", kDash, 12, 36, 2.0f},
    {"secret_flutterwave", "FLWPUBK_TEST-", kDash, 34, 34, 2.0f},
    {"secret_heroku", "HRKU-AA", kDash, 58, 58, 3.5f},
    {"secret_infracost", "ico-", kWord, 32, 32, 3.0f},
    {"secret_intra42", "s-s4t2ud-", kHex, 64, 64, 3.0f},
    {"secret_intra42", "s-s4t2af-", kHex, 64, 64, 3.0f},
    {"secret_newrelic", "NRAK-", kWord, 27, 27, 3.0f},
    {"secret_newrelic", "NRII-", kDash, 32, 32, 3.0f},
    {"secret_newrelic", "NRJS-", kHex, 19, 19, 3.0f}, {"secret_octopus", "API-", kUp, 26, 26, 3.0f},
    {"secret_openshift", "sha256~", kDash, 43, 43, 3.5f},
    {"secret_yandex", "AQVN", kDash, 35, 38, 3.0f},
    {"secret_harness", "pat.", kDot, 66, 70, 3.5f}, {"secret_harness", "sat.", kDot, 66, 70, 3.5f},
    {"secret_plaid", "access-sandbox-", kDash, 36, 36, 3.0f},
    {"secret_plaid", "access-production-", kDash, 36, 36, 3.0f},
    {"secret_plaid", "access-development-", kDash, 36, 36, 3.0f},
    {"secret_defined", "dnkey-", kDot, 79, 79, 3.0f},
    {"secret_mapbox", "sk.eyJ", kDot, 60, 120, 3.5f}, {"secret_mapbox", "pk.", kDot, 80, 90, 3.5f},
    {"secret_clickhouse", "4b1d", kWord, 38, 38, 3.0f},
};
// clang-format on
constexpr std::size_t kRowsCount = std::size(kRows);
static_assert(kRowsCount < 250);

// Rows share one group of keywords: which row it is, is found again by its prefix.
constexpr auto kKeywords = [] {
    std::array<Keyword, kRowsCount + 1> words{};
    for (std::size_t i = 0; i < kRowsCount; ++i) words[i] = {kRows[i].prefix, 0, true};
    words[kRowsCount] = {"eyJ", 1, true};
    return words;
}();

constexpr auto kEntities = [] {
    std::array<const char*, kRowsCount + 7> names{};
    for (std::size_t i = 0; i < kRowsCount; ++i) names[i] = kRows[i].entity;
    names[kRowsCount] = "secret_jwt";
    names[kRowsCount + 1] = "secret_twilio";
    names[kRowsCount + 2] = "secret_azure";
    names[kRowsCount + 3] = "secret_facebook";
    names[kRowsCount + 4] = "secret_maxmind";
    names[kRowsCount + 5] = "secret_telegram";
    names[kRowsCount + 6] = "secret_hashicorp";
    return names;
}();

bool in_set(char c, Set set) {
    switch (set) {
        case kHex:
            return is_digit(c) || (c >= 'a' && c <= 'f');
        case kHexBoth:
            return is_hex(c);
        case kLow:
            return is_digit(c) || is_lower(c);
        case kUp:
            return is_digit(c) || is_upper(c);
        case kWord:
            return is_alnum(c);
        case kWordBar:
            return is_alnum(c) || c == '_';
        case kDash:
            return is_alnum(c) || c == '_' || c == '-';
        case kDot:
            return is_alnum(c) || c == '_' || c == '-' || c == '.' || c == '=';
        case kBase64:
            return is_alnum(c) || c == '+' || c == '/' || c == '=';
    }
    return false;
}

std::size_t run_of(const Scan& scan, std::size_t from, Set set, std::size_t max) {
    std::size_t n = 0;
    while (n <= max && in_set(scan.at(from + n), set)) ++n;
    return n;
}

void try_row(Scan& scan, std::size_t start, const Row& row) {
    const std::string_view prefix = row.prefix;
    if (scan.text.substr(start, prefix.size()) != prefix) return;
    const std::size_t from = start + prefix.size();
    std::size_t n = run_of(scan, from, row.set, row.max);
    // A full stop or an equals sign at the end is the sentence's.
    while (n > 0 && row.set == kDot && scan.at(from + n - 1) == '.') --n;
    if (n < row.min || n > row.max || is_word(scan.at(from + n))) return;
    if (entropy_of(scan.text.substr(from, n)) < double(row.entropy)) return;
    scan.add(start, from + n, row.entity, Sensitivity::restricted, 0.95);
}

// Three parts of base64url; the first two are JSON objects and so begin with "eyJ".
void try_jwt(Scan& scan, std::size_t start) {
    constexpr std::size_t kPartBytesMax = 16'384;
    const std::size_t head = run_of(scan, start, kDash, kPartBytesMax);
    if (head < 17 || scan.at(start + head) != '.') return;
    const std::size_t body = start + head + 1;
    if (!scan.is_here(body, "ey")) return;
    const std::size_t claims = run_of(scan, body, kDash, kPartBytesMax);
    if (claims < 17) return;
    std::size_t end = body + claims;
    if (scan.at(end) == '.') end += 1 + run_of(scan, end + 1, kDash, kPartBytesMax);
    scan.add(start, end, "secret_jwt", Sensitivity::restricted, 0.95);
}

void on_keyword(Scan& scan, std::size_t start, std::size_t, std::uint8_t group) {
    if (scan.before(start) == '-' && start >= 2 && is_alnum(scan.at(start - 2))) return;
    if (group == 1) return try_jwt(scan, start);
    for (const Row& row : kRows)
        if (row.prefix[0] == scan.at(start) && row.prefix[1] == scan.at(start + 1))
            try_row(scan, start, row);
}

// Digits that a token continues: Telegram's bot and ":A…", Facebook's app and "|…".
void on_chain(Scan& scan, const Chain& chain) {
    const Chain::Group& last = chain.groups[chain.n - 1];
    const std::size_t end = last.end();
    if (last.n >= 5 && last.n <= 16 && scan.at(end) == ':' && scan.at(end + 1) == 'A' &&
        run_of(scan, end + 1, kDash, 40) == 35)
        return scan.add(last.start, end + 36, "secret_telegram", Sensitivity::restricted, 0.85);
    if (last.n < 15 || last.n > 16 || scan.at(end) != '|') return;
    const std::size_t tail = run_of(scan, end + 1, kDash, 41);
    if (tail >= 27 && tail <= 40)
        scan.add(last.start, end + 1 + tail, "secret_facebook", Sensitivity::restricted, 0.9);
}

void on_token(Scan& scan, std::size_t start, std::size_t end) {
    const std::size_t n = end - start;
    if (n == 14 && scan.is_here(end, ".atlasv1.")) {
        const std::size_t tail = run_of(scan, end + 9, kDash, 71);
        if (tail >= 60 && tail <= 70)
            return scan.add(start, end + 9 + tail, "secret_hashicorp", Sensitivity::restricted,
                            0.9);
    }
    if (n == 34 && scan.text.substr(start, 2) == "SK" &&
        run_of(scan, start + 2, kHexBoth, 32) == 32)
        return scan.add(start, end, "secret_twilio", Sensitivity::restricted, 0.8);
    if (n == 42 && scan.text.substr(start, 4) == "4b1d")
        return try_row(scan, start, kRows[kRowsCount - 1]);
    if (n == 40 && scan.text.substr(end - 4, 4) == "_mmk" && scan.at(start + 6) == '_')
        return scan.add(start, end, "secret_maxmind", Sensitivity::restricted, 0.9);
    // Azure: three bytes, a digit, "Q~", 31 to 34 more.
    if (n >= 5 && scan.at(end) == '~' && scan.at(end - 1) == 'Q' && is_digit(scan.at(end - 2))) {
        std::size_t stop = end + 1;
        while (stop - end < 40 &&
               (in_set(scan.at(stop), kDash) || scan.at(stop) == '~' || scan.at(stop) == '.'))
            ++stop;
        const std::size_t tail = stop - end - 1;
        if (n == 5 && tail >= 31 && tail <= 34)
            scan.add(start, stop, "secret_azure", Sensitivity::restricted, 0.9);
    }
}

}  // namespace

extern const Detector detector_secret_token;
const Detector detector_secret_token = {.name = "secret_token",
                                        .entities = kEntities,
                                        .keywords = kKeywords,
                                        .on_keyword = on_keyword,
                                        .on_chain = on_chain,
                                        .on_token = on_token,
                                        .chain_digits_min = 5,
                                        .token_bytes_min = 5};

}  // namespace hearth::route
