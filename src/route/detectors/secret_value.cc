// Secrets without a shape of their own, found by where they stand.
//
//   name = value      the name says key, token, secret, password …; the value is long and random
//                     enough. The entity is secret_<provider> where the name holds a provider's,
//                     secret_password for passwords, else secret_generic.
//   the password is value            and the same in other languages, or without a word between:
//                     the value then has capitals, small letters and digits, or signs
//   -u user:password, --user …       secret_password
//   scheme://user:password@host      secret_connection_string; scheme://key@host too
//   -----BEGIN … PRIVATE KEY-----    secret_private_key
//
// Placeholders ("your_api_key", "${TOKEN}", "xxxxxxxx") and code ("token = next_token()") are none,
// nor is what only tells of a secret: a token's type, a password's length, a public key.
//
// Source: RFC 3986 section 3.2.1, RFC 7468; entropy floors as scanners of source code use them.
#include <algorithm>
#include <string>

#include "route/detector.h"
#include "route/entropy.h"
#include "route/word_set.h"

namespace hearth::route {
namespace {

// clang-format off
constexpr std::string_view kProviders[] = {
    "adafruit", "adobe", "airtable", "algolia", "alibaba", "anthropic", "artifactory", "asana",
    "atlassian", "aws", "azure", "beamer", "bitbucket", "bittrex", "cloudflare", "codecov",
    "cohere",
    "coinbase", "confluent", "contentful", "datadog", "deepseek", "discord", "droneci", "dropbox",
    "etsy", "facebook", "fastly", "finicity", "finnhub", "flickr", "freshbooks", "github", "gitlab",
    "gitter", "gocardless", "google", "heroku", "hubspot", "huggingface", "intercom", "jfrog",
    "jira",
    "kraken", "kucoin", "launchdarkly", "linear", "linkedin", "lob", "looker", "mailchimp",
    "mailgun",
    "mapbox", "mattermost", "meraki", "messagebird", "mistral", "netlify", "newrelic", "nytimes",
    "okta", "openai", "paypal", "plaid", "rapidapi", "sendbird", "sendgrid", "sentry", "slack",
    "snyk",
    "sonar", "spotify", "squarespace", "stripe", "sumologic", "telegram", "travis", "twilio",
    "twitch",
    "twitter", "vercel", "yandex", "zendesk"};
constexpr std::size_t kProvidersCount = std::size(kProviders);
constexpr auto kProviderEntities = std::to_array<const char*>({
    "secret_adafruit", "secret_adobe", "secret_airtable", "secret_algolia", "secret_alibaba",
    "secret_anthropic", "secret_artifactory", "secret_asana",
    "secret_atlassian", "secret_aws", "secret_azure", "secret_beamer", "secret_bitbucket",
    "secret_bittrex", "secret_cloudflare", "secret_codecov", "secret_cohere",
    "secret_coinbase", "secret_confluent", "secret_contentful", "secret_datadog",
    "secret_deepseek", "secret_discord", "secret_droneci", "secret_dropbox",
    "secret_etsy", "secret_facebook", "secret_fastly", "secret_finicity", "secret_finnhub",
    "secret_flickr", "secret_freshbooks", "secret_github", "secret_gitlab",
    "secret_gitter", "secret_gocardless", "secret_google", "secret_heroku", "secret_hubspot",
    "secret_huggingface", "secret_intercom", "secret_jfrog", "secret_jira",
    "secret_kraken", "secret_kucoin", "secret_launchdarkly", "secret_linear", "secret_linkedin",
    "secret_lob", "secret_looker", "secret_mailchimp", "secret_mailgun",
    "secret_mapbox", "secret_mattermost", "secret_meraki", "secret_messagebird",
    "secret_mistral", "secret_netlify", "secret_newrelic", "secret_nytimes",
    "secret_okta", "secret_openai", "secret_paypal", "secret_plaid", "secret_rapidapi",
    "secret_sendbird", "secret_sendgrid", "secret_sentry", "secret_slack", "secret_snyk",
    "secret_sonar", "secret_spotify", "secret_squarespace", "secret_stripe", "secret_sumologic",
    "secret_telegram", "secret_travis", "secret_twilio", "secret_twitch",
    "secret_twitter", "secret_vercel", "secret_yandex", "secret_zendesk",
    "secret_password", "secret_generic", "secret_connection_string", "secret_private_key"});
static_assert(kProviderEntities.size() == kProvidersCount + 4);
// clang-format on

// Where the providers of each first letter begin.
static_assert(std::ranges::is_sorted(kProviders));
constexpr auto kProvidersFrom = [] {
    std::array<std::uint8_t, 27> from{};
    for (std::size_t letter = 0; letter < 27; ++letter)
        while (from[letter] < kProvidersCount &&
               std::size_t(kProviders[from[letter]][0] - 'a') < letter)
            ++from[letter];
    return from;
}();

enum Group : std::uint8_t { kPassword, kPasswordAbroad };
// clang-format off
constexpr Keyword kKeywords[] = {
    {"password", kPassword}, {"passwd", kPassword}, {"passphrase", kPassword},
    {"passcode", kPassword}, {"passwort", kPassword},
    {"kennwort", kPasswordAbroad}, {"wachtwoord", kPasswordAbroad}, {"senha", kPasswordAbroad},
    {"contraseña", kPasswordAbroad}, {"mot de passe", kPasswordAbroad},
    {"lösenord", kPasswordAbroad}, {"hasło", kPasswordAbroad}, {"salasana", kPasswordAbroad},
    {"пароль", kPasswordAbroad}, {"Пароль", kPasswordAbroad}, {"κωδικός", kPasswordAbroad},
};
// clang-format on

constexpr std::size_t kNameBytesMax = 64, kValueBytesMax = 256, kPasswordBytesMax = 64;

enum class Names : std::uint8_t { nothing, key, secret, password, provider };

// The bytes of a text, a bit for each by its last five bits: a name that lacks one of a word's does
// not hold the word.
constexpr std::uint32_t bit_of(char c) {
    return 1u << (std::uint8_t(c) & 31);
}
constexpr std::uint32_t bits_of(std::string_view text) {
    std::uint32_t bits = 0;
    for (const char c : text) bits |= bit_of(c);
    return bits;
}

constexpr std::string_view kPasswords[] = {"password", "passwd", "passphrase", "passwort", "pwd"};
constexpr std::string_view kKeys[] = {
    "secret",     "token",         "apikey",        "accesskey",  "privatekey", "credential",
    "accountkey", "authkey",       "authorization", "clientkey",  "signingkey", "sharedkey",
    "masterkey",  "encryptionkey", "servicekey",    "licensekey", "bearer"};
// Each of these words holds one of a few, whose bytes are looked for first.
constexpr std::string_view kCores[] = {"pass",  "pwd",        "key",           "secret",
                                       "token", "credential", "authorization", "bearer"};
constexpr bool holds_a_core(std::string_view word) {
    return std::ranges::any_of(kCores, [&](std::string_view core) { return word.contains(core); });
}
static_assert(std::ranges::all_of(kPasswords, holds_a_core));
static_assert(std::ranges::all_of(kKeys, holds_a_core));
constexpr auto kCoreBits = [] {
    std::array<std::uint32_t, std::size(kCores)> bits{};
    std::ranges::transform(kCores, bits.begin(), bits_of);
    return bits;
}();

// The name before a sign, folded and without - _ . and blanks.
struct Name {
    std::array<char, kNameBytesMax> bytes;
    std::size_t from = kNameBytesMax;  // it is written from its end
    bool last_alone = false;           // its last byte is a part by itself: "tdp_w"
    std::uint32_t bits = 0;
    std::string_view text() const { return {bytes.data() + from, kNameBytesMax - from}; }
};

bool holds_one_of(std::string_view name, std::span<const std::string_view> parts) {
    return std::ranges::any_of(parts, [&](std::string_view part) { return name.contains(part); });
}

// How a name ends that tells of a secret without being one's: "token_url", "secretName".
constexpr std::string_view kAboutList[] = {
    "name",   "file",   "path",   "url",     "uri",     "type",    "length",    "size",
    "count",  "ttl",    "expiry", "minutes", "seconds", "header",  "field",     "prefix",
    "format", "method", "policy", "store",   "backend", "hashers", "algorithm", "encryption"};
constexpr EndingSet kAbouts(kAboutList);
bool tells_of_one(std::string_view name) {
    return name.contains("tokeniz") ||
           kAbouts.any(name, [&](std::string_view end) { return name.ends_with(end); });
}

// What a name of at least one byte says.
Names meaning_of(const Name& of) {
    const std::string_view name = of.text();
    if (name == "key" || name == "auth" || name == "creds" || name == "pat") return Names::key;
    bool may_hold = false;
    for (const std::uint32_t core : kCoreBits) may_hold |= (core & ~of.bits) == 0;
    if (may_hold && holds_one_of(name, kPasswords))
        return tells_of_one(name) ? Names::nothing : Names::password;
    if (may_hold && holds_one_of(name, kKeys)) {
        if (tells_of_one(name) || name.contains("public")) return Names::nothing;
        return name.contains("secret") ? Names::secret : Names::key;
    }
    if (name.ends_with("pw") && !of.last_alone) return Names::password;
    if (name.ends_with("pass") && !name.ends_with("bypass") && !name.ends_with("compass"))
        return Names::password;
    if (name.ends_with("key") || name.ends_with("auth"))
        for (const std::string_view provider : kProviders)
            if (name.contains(provider)) return Names::key;
    // "okta = 00Rc…": a provider's name alone; what follows must be plainer than a key's value.
    if (!is_lower(name[0])) return Names::nothing;
    const auto letter = std::size_t(name[0] - 'a');
    for (std::size_t p = kProvidersFrom[letter]; p < kProvidersFrom[letter + 1]; ++p)
        if (name == kProviders[p]) return Names::provider;
    return Names::nothing;
}

// What a byte is in a name: itself folded, kSkipped, or 0 where it ends one.
constexpr char kSkipped = '-';
constexpr auto kNameBytes = [] {
    std::array<char, 256> bytes{};
    for (int c = 0; c < 128; ++c) bytes[std::size_t(c)] = is_alnum(char(c)) ? lower(char(c)) : 0;
    bytes['_'] = bytes['-'] = bytes['.'] = kSkipped;
    return bytes;
}();

// The name that ends before `at`, over blanks and quotes: password", "aws_secret_key =.
Name name_before(const Scan& scan, std::size_t at) {
    std::size_t end = at;
    for (int k = 0; k < 4 && end > 0; ++k) {
        const char c = scan.at(end - 1);
        if (c != ' ' && c != '"' && c != '\'' && c != '\t' && c != '`' && c != ']') break;
        --end;
    }
    Name name;
    for (std::size_t i = end; i > 0 && end - i < kNameBytesMax; --i) {
        const char c = kNameBytes[(unsigned char)scan.text[i - 1]];
        if (c == 0) break;
        if (c != kSkipped)
            name.bytes[--name.from] = c, name.bits |= bit_of(c);
        else
            name.last_alone |= name.from == kNameBytesMax - 1;
    }
    return name;
}

// Requires: fewer than kValueBytesMax bytes.
bool is_placeholder(std::string_view value) {
    std::array<char, kValueBytesMax> bytes;
    std::ranges::transform(value, bytes.begin(), lower);
    const std::string_view folded(bytes.data(), value.size());
    for (const std::string_view word :
         {"example",     "your",     "xxxx",       "****",        "changeme",  "change_me",
          "placeholder", "redacted", "replace",    "insert",      "dummy",     "sample",
          "secret_key",  "my_",      "none",       "null",        "undefined", "password",
          "abcdef",      "12345678", "os.environ", "process.env", "getenv",    "config.",
          "privatekey",  "..."})
        if (folded.contains(word)) return true;
    return false;
}

constexpr auto bytes_of(std::string_view others) {
    std::array<bool, 256> bytes{};
    for (int c = 0; c < 128; ++c) bytes[std::size_t(c)] = is_alnum(char(c));
    for (const char c : others) bytes[(unsigned char)c] = true;
    return bytes;
}
constexpr auto kKeyBytes = bytes_of("_-+/=.~:");
constexpr auto kQuotedKeyBytes = bytes_of("_-+/=.~:!@#$%^&*()");
constexpr auto kPlainPasswordBytes = bytes_of("!@#$%&*+?-");
bool all_of(std::string_view text, const std::array<bool, 256>& bytes) {
    return std::ranges::all_of(text, [&](char c) { return bytes[(unsigned char)c]; });
}

struct Kinds {
    int digits = 0, lowers = 0, uppers = 0, others = 0;
    explicit Kinds(std::string_view text) {
        for (const char c : text)
            (is_digit(c) ? digits : is_lower(c) ? lowers : is_upper(c) ? uppers : others)++;
    }
    int n() const { return (digits > 0) + (lowers > 0) + (uppers > 0) + (others > 0); }
};

// "user:1234:profile", "prod/db/2024-10": words and numbers with signs between them name a thing.
bool is_composed(std::string_view value) {
    constexpr std::size_t kWordMax = 12;
    bool letters = false, digits = false;
    std::size_t n = 0, n_parts = 1;
    for (const char c : value) {
        if (std::string_view(":/.-_").contains(c)) {
            letters = digits = false, n = 0, ++n_parts;
            continue;
        }
        if (!is_digit(c) && !is_lower(c)) return false;
        (is_digit(c) ? digits : letters) = true;
        if ((letters && digits) || ++n > kWordMax) return false;
    }
    return n_parts > 1;
}

bool is_key_value(std::string_view value, bool quoted) {
    const Kinds kinds(value);
    if (value.size() < (quoted ? 12u : 16u) || kinds.digits < 2 || kinds.lowers + kinds.uppers < 2)
        return false;
    // A quoted key of twenty bytes may hold signs, where it is no format.
    if (!all_of(value, kKeyBytes) &&
        (!quoted || value.size() < 20 || !all_of(value, kQuotedKeyBytes) || value.contains("%s") ||
         value.contains("%d") || value.contains("%(")))
        return false;
    if (!quoted && value.starts_with("0x") && value.size() <= 21) return false;  // a number: 0x…ull
    // A digest is public, and an address without a password too.
    if (value.starts_with("sha256:") || value.starts_with("sha512:") || value.contains("://"))
        return false;
    if (is_composed(value)) return false;
    // Dotted names and paths are code; a word list has long runs of letters.
    if (!quoted && (value.contains('/') || value.contains('.')) && kinds.digits < 4) return false;
    const bool hex =
        kinds.uppers == 0 && value.find_first_not_of("0123456789abcdef-") == value.npos;
    return entropy_of(value) >= (hex ? 2.8 : value.size() < 16 ? 3.0 : 3.5);
}

bool is_password_value(std::string_view value, bool quoted) {
    if (value.size() < (quoted ? 6u : 8u) || value.size() > kPasswordBytesMax) return false;
    const Kinds kinds(value);
    if (kinds.digits + kinds.others == 0 || kinds.n() < 2) return false;
    // Without quotes a word with a digit may be a name of code; "horse42" is none.
    if (!quoted && kinds.n() < 3 && (kinds.digits < 2 || !all_of(value, kPlainPasswordBytes)))
        return false;
    return entropy_of(value) >= 2.2;
}

// Where no sign says that a value follows: three kinds of characters that a word does not have.
bool is_told_password(std::string_view value) {
    const Kinds kinds(value);
    if (value.size() < 6 || value.size() > kPasswordBytesMax || entropy_of(value) < 2.2)
        return false;
    const bool sign = value.find_first_of("!@#$%^&*?+") != value.npos;
    return kinds.digits > 0 &&
           ((kinds.lowers > 0 && kinds.uppers > 0) || (sign && kinds.lowers + kinds.uppers > 0));
}

struct Value {
    std::size_t start = 0, end = 0;
    char quote = '\0';  // that stands around it, if any does
};
constexpr auto ends_of(std::string_view text) {
    std::array<bool, 256> ends{};
    for (const char c : text) ends[(unsigned char)c] = true;
    return ends;
}
constexpr auto kLineEnds = ends_of(std::string_view("\0\n\r", 3));
constexpr auto kPlainEnds = ends_of(std::string_view("\0\n\r \t,;\"')<([{&", 15));

// Where the value behind `at` begins: behind the sign itself, blanks, a quote, "Bearer".
Value value_begin(const Scan& scan, std::size_t at) {
    std::size_t i = at + 1;
    for (int k = 0; k < 4 && (scan.at(i) == ' ' || scan.at(i) == '=' || scan.at(i) == '>' ||
                              scan.at(i) == '\t');
         ++k)
        ++i;
    char quote = scan.at(i);
    if (quote == '"' || quote == '\'' || quote == '`')
        ++i;
    else
        quote = '\0';
    static constexpr std::string_view kSchemes[] = {"bearer ", "basic ", "token "};
    if (is_alpha(scan.at(i)))
        for (const std::string_view word : kSchemes)
            if (scan.is_here(i, word)) i += word.size();
    return {i, i, quote};
}

// A number, or fewer bytes than any secret has: most values are, and then their names need not be
// read.
bool holds_none(const Scan& scan, const Value& value) {
    constexpr std::size_t kPlainMin = 8, kQuotedMin = 6, kDigitsMax = 24;
    std::size_t i = value.start;
    if (value.quote != '\0') {
        for (; i < value.start + kQuotedMin; ++i)
            if (scan.at(i) == value.quote || kLineEnds[(unsigned char)scan.at(i)]) return true;
        return false;
    }
    const auto ended = [&] { return kPlainEnds[(unsigned char)scan.at(i)]; };
    while (i - value.start < kDigitsMax && (is_digit(scan.at(i)) || scan.at(i) == '.')) ++i;
    if (ended()) return true;
    for (; i < value.start + kPlainMin; ++i)
        if (ended()) return true;
    return false;
}

// The whole value. A key's has an equals sign at its end only: "key=key=key=" is not walked over
// from every sign of it.
Value value_of(const Scan& scan, Value value, std::size_t n_max, bool key) {
    const bool quoted = value.quote != '\0';
    const auto& ends = quoted ? kLineEnds : kPlainEnds;
    const std::size_t stop = std::min(scan.text.size(), value.start + n_max);
    for (; value.end < stop; ++value.end) {
        const char c = scan.text[value.end];
        if (ends[(unsigned char)c] || c == value.quote) break;
        if (c == '=' && key && !quoted && is_word(scan.at(value.end + 1))) break;
    }
    return value;
}

void assigned(Scan& scan, std::size_t at) {
    const char next = scan.at(at + 1), left = scan.before(at);
    if (next == '\n' || next == '\0' || next == '/' || left == '=' || left == '!' || left == '<')
        return;
    if (scan.at(at) == '=' && next == '=') return;
    Value value = value_begin(scan, at);
    if (holds_none(scan, value)) return;
    const Name before = name_before(scan, at);
    const std::string_view name = before.text();
    if (name.size() < 2) return;
    const Names names = meaning_of(before);
    if (names == Names::nothing) return;
    const bool password = names == Names::password;
    value = value_of(scan, value, password ? kPasswordBytesMax + 1 : kValueBytesMax, !password);
    const bool quoted = value.quote != '\0';
    const char stop = scan.at(value.end);
    if (!quoted && (stop == '(' || stop == '[' || stop == '{' || stop == '<')) return;
    while (!quoted && value.end > value.start &&
           (scan.at(value.end - 1) == '.' || scan.at(value.end - 1) == ':'))
        --value.end;
    const std::string_view text = scan.text.substr(value.start, value.end - value.start);
    if (text.size() < 6 || text.size() >= kValueBytesMax) return;
    if (std::string_view("$%{<").contains(text[0]) || text.contains("${") || text.contains("{{"))
        return;
    if (password) {
        if (text.contains(' ') || !is_password_value(text, quoted) || is_placeholder(text)) return;
        return scan.add(value.start, value.end, "secret_password", Sensitivity::restricted, 0.8);
    }
    if (names == Names::secret && !is_key_value(text, quoted)) {
        if (!text.contains(' ') && text.size() >= 8 && is_told_password(text) &&
            all_of(text, kPlainPasswordBytes) && !is_placeholder(text))
            scan.add(value.start, value.end, "secret_password", Sensitivity::restricted, 0.7);
        return;
    }
    if (!is_key_value(text, quoted) || is_placeholder(text)) return;
    if (names == Names::provider &&
        (text.size() < 20 || text.find_first_of("/.:+=~") != text.npos ||
         text.find_first_not_of("0123456789abcdef-") == text.npos))
        return;
    for (std::size_t p = 0; p < kProvidersCount; ++p)
        if (name.contains(kProviders[p]))
            return scan.add(value.start, value.end, kProviderEntities[p], Sensitivity::restricted,
                            0.85);
    scan.add(value.start, value.end, "secret_generic", Sensitivity::restricted, 0.7);
}

// scheme://user:password@host: the password.
void connection(Scan& scan, std::size_t colon) {
    const std::size_t from = colon + 3;
    std::size_t i = from, middle = 0;
    while (i - from < kValueBytesMax) {
        const char c = scan.at(i);
        if ((unsigned char)c <= ' ' || c == '/' || c == '"' || c == '\'' || c == '<' || c == '@')
            break;
        if (c == ':' && middle == 0) middle = i;
        ++i;
    }
    if (scan.at(i) != '@' || !is_word(scan.at(i + 1))) return;
    if (middle == 0) {  // a key instead of a user's name
        const std::string_view user = scan.text.substr(from, i - from);
        if (user.size() >= 20 && is_key_value(user, true) && !is_placeholder(user))
            scan.add(from, i, "secret_connection_string", Sensitivity::restricted, 0.8);
        return;
    }
    if (i - middle < 4) return;
    const std::string_view text = scan.text.substr(middle + 1, i - middle - 1);
    if (is_placeholder(text) || text[0] == '$' || text[0] == '{' || text == "pass") return;
    scan.add(middle + 1, i, "secret_connection_string", Sensitivity::restricted, 0.85);
}

constexpr auto kUserBytes = [] {
    std::array<bool, 256> bytes = bytes_of("_.-@");
    for (std::size_t c = 0x80; c < bytes.size(); ++c) bytes[c] = true;
    return bytes;
}();

// -u user:password, --user "user:password"; true where it is one.
bool of_an_option(Scan& scan, std::size_t colon) {
    std::size_t user = colon;
    while (user > 0 && colon - user < kNameBytesMax &&
           kUserBytes[(unsigned char)scan.text[user - 1]])
        --user;
    std::size_t option = user;
    if (scan.before(option) == '"' || scan.before(option) == '\'') --option;
    if (user == colon || (scan.before(option) != ' ' && scan.before(option) != '=')) return false;
    const std::string_view before = scan.text.substr(0, option - 1);
    std::size_t letters = before.size();  // "-su": of several options of one letter the last
    while (before.size() - letters < 4 && letters > 0 && is_lower(before[letters - 1])) --letters;
    const bool short_one = before.ends_with('u') && before.substr(0, letters).ends_with(" -");
    if (!short_one && !before.ends_with(" --user") && !before.ends_with(" --auth")) return false;
    std::size_t end = colon + 1;
    while (end - colon <= kPasswordBytesMax && !kPlainEnds[(unsigned char)scan.at(end)]) ++end;
    const std::string_view text = scan.text.substr(colon + 1, end - colon - 1);
    if (!is_password_value(text, true) || text[0] == '$' || is_placeholder(text)) return false;
    scan.add(colon + 1, end, "secret_password", Sensitivity::restricted, 0.8);
    return true;
}

// "the password is Blue7Horse", "<password>Blue7Horse<", "mot de passe : Blue7Horse".
void on_keyword(Scan& scan, std::size_t, std::size_t end, std::uint8_t group) {
    std::size_t i = end;
    bool told = scan.at(i) == '>';
    if (told) ++i;
    while (scan.at(i) == ' ' && i - end < 2) ++i;
    const char sign = scan.at(i);
    if (sign == ':' || sign == '=') {
        if (group == kPassword) return;  // on_mark's
        ++i, told = true;
    } else {
        for (const std::string_view word : {"is ", "was ", "ist ", "est ", "es ", "is: "})
            if (scan.is_here(i, word)) {
                i += word.size(), told = true;
                break;
            }
    }
    while (scan.at(i) == ' ' && i - end < 12) ++i;
    if (i == end) return;
    if (scan.at(i) == '"' || scan.at(i) == '\'' || scan.at(i) == '`') ++i;
    std::size_t stop = i;
    while (stop - i <= kPasswordBytesMax && !kPlainEnds[(unsigned char)scan.at(stop)]) ++stop;
    while (stop > i && std::string_view(".?:").contains(scan.at(stop - 1))) --stop;
    const std::string_view text = scan.text.substr(i, stop - i);
    if (!is_told_password(text) || is_placeholder(text)) return;
    const Kinds kinds(text);
    if (!told && (text.size() < 8 || (kinds.digits < 2 && kinds.others == 0))) return;
    scan.add(i, stop, "secret_password", Sensitivity::restricted, told ? 0.7 : 0.6);
}

void private_key(Scan& scan, std::size_t at) {
    constexpr std::size_t kKeyBytesMax = 32'768;
    if (scan.text.substr(at, 11) != "-----BEGIN " || scan.before(at) == '-') return;
    // What is inside a key already found is not looked through again: the scan stays linear.
    if (!scan.findings().empty() && scan.findings().back().end > at &&
        scan.findings().back().entity == "secret_private_key")
        return;
    const std::string_view head = scan.text.substr(at, 80);
    const std::size_t kind = head.find("PRIVATE KEY");
    if (kind == head.npos || head.substr(0, kind).contains('\n')) return;
    const std::string_view rest = scan.text.substr(at, kKeyBytesMax);
    const std::size_t last = rest.find("-----END ");
    std::size_t end = at + rest.size();  // without an end all that follows may be the key
    if (last != rest.npos) {
        const std::size_t dashes = rest.find("-----", last + 9);
        end = at + (dashes == rest.npos ? rest.size() : dashes + 5);
    }
    scan.add(at, end, "secret_private_key", Sensitivity::restricted, 1.0);
}

void on_mark(Scan& scan, std::size_t at) {
    const char c = scan.at(at);
    if (c == '-') return private_key(scan, at);
    if (c == ':' && scan.at(at + 1) == '/' && scan.at(at + 2) == '/') return connection(scan, at);
    const char next = scan.at(at + 1);
    if (c == ':' && next > ' ' && next != ':' && next != '"' && is_word(scan.before(at)) &&
        of_an_option(scan, at))
        return;
    assigned(scan, at);
}

}  // namespace

extern const Detector detector_secret_value;
const Detector detector_secret_value = {.name = "secret_value",
                                        .entities = kProviderEntities,
                                        .keywords = kKeywords,
                                        .marks = ":=-",
                                        .on_keyword = on_keyword,
                                        .on_mark = on_mark};

}  // namespace hearth::route
