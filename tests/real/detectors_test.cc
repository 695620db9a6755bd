// The detectors against labelled texts and against ordinary ones, at the bars of docs/DETECTORS.md.
//
// A labelled span is found if a finding of its entity shares a byte with it, and a finding is right
// if it shares one with a labelled span: what is asked is whether personal data were noticed. Spans
// of the labels are in characters, ours in bytes.
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/file.h"
#include "route/sensitivity.h"
#include "support/data.h"

namespace hearth::test {
namespace {

using nlohmann::json;
using route::Finding;

const route::Detectors& detectors() {
    static const route::Detectors made = route::Detectors::make().value();
    return made;
}

std::string text_of(const std::string& path) {
    return read_file(path, 64u << 20).value();
}

// The byte at which each character begins, and the end.
std::vector<std::size_t> characters(const std::string& text) {
    std::vector<std::size_t> starts;
    for (std::size_t i = 0; i < text.size(); ++i)
        if ((text[i] & 0xC0) != 0x80) starts.push_back(i);
    starts.push_back(text.size());
    return starts;
}

struct Score {
    int labelled = 0, noticed = 0, reported = 0, right = 0;
    double recall() const { return labelled ? double(noticed) / labelled : 1; }
    double precision() const { return reported ? double(right) / reported : 1; }
};

// The labels' names for ours; a number of 9xx is labelled as an SSN too.
const std::map<std::string, std::set<std::string>> kOurs{
    {"CREDIT_CARD", {"credit_card"}},
    {"IBAN_CODE", {"iban_code"}},
    {"US_SSN", {"us_ssn", "us_itin"}},
    {"US_DRIVER_LICENSE", {"us_driver_license"}},
    {"EMAIL_ADDRESS", {"email_address"}},
    {"IP_ADDRESS", {"ip_address"}},
    {"DOMAIN_NAME", {"domain_name"}},
    {"PHONE_NUMBER", {"phone_number"}},
    {"ADDRESS", {"street_address", "zip_code"}},
};

std::map<std::string, Score> scores_of(const std::string& path) {
    std::map<std::string, Score> scores;
    for (const json& record : json::parse(text_of(path))) {
        const std::string text = record["full_text"];
        const auto at = characters(text);
        const std::vector<Finding> findings = detectors().scan(text);
        std::vector<bool> right(findings.size());
        for (const json& span : record["spans"]) {
            std::string kind = span["entity_type"];
            if (kind == "STREET_ADDRESS") kind = "ADDRESS";
            // A postcode belongs to an address; alone it is not asked for.
            const bool postcode = kind == "ZIP_CODE";
            const auto ours = kOurs.find(postcode ? "ADDRESS" : kind);
            if (ours == kOurs.end()) continue;
            bool noticed = false;
            for (std::size_t f = 0; f < findings.size(); ++f) {
                if (findings[f].start >= at[span["end_position"]]) continue;
                if (findings[f].end <= at[span["start_position"]]) continue;
                if (!ours->second.contains(findings[f].entity)) continue;
                noticed = right[f] = true;
            }
            if (postcode) continue;
            ++scores[kind].labelled;
            scores[kind].noticed += noticed;
        }
        for (std::size_t f = 0; f < findings.size(); ++f)
            for (const auto& [kind, names] : kOurs)
                if (names.contains(findings[f].entity)) {
                    ++scores[kind].reported;
                    scores[kind].right += right[f];
                }
    }
    return scores;
}

TEST(DetectorsReal, labelled_texts_are_found_at_the_bars) {
    NEEDS_DATA(folder, "pii");
    for (const char* file : {"/synth_dataset_v2.json", "/generated_small.json"}) {
        for (const auto& [kind, score] : scores_of(folder + file)) {
            std::printf("%-18s recall %.3f of %3d, precision %.3f of %3d\n", kind.c_str(),
                        score.recall(), score.labelled, score.precision(), score.reported);
            const double bar = kind == "ADDRESS" ? 0.70 : kind == "PHONE_NUMBER" ? 0.85 : 0.98;
            EXPECT_GE(score.recall(), bar) << kind << file;
            EXPECT_GE(score.precision(), bar) << kind << file;
        }
    }
}

TEST(DetectorsReal, published_numbers_are_found_and_mutated_ones_are_not) {
    NEEDS_DATA(path, "pii/checksum_vectors.json");
    const json vectors = json::parse(text_of(path));
    const auto found = [](const std::string& text, const std::string& entity) {
        for (const Finding& f : detectors().scan("number " + text))
            if (f.entity == entity) return true;
        return false;
    };
    for (const std::string iban : vectors["iban_valid"])
        EXPECT_TRUE(found(iban, "iban_code")) << iban;
    for (const std::string iban : vectors["iban_invalid"])
        EXPECT_FALSE(found(iban, "iban_code")) << iban;
    for (const json& numbers : vectors["card_valid"])
        for (const std::string number : numbers)
            EXPECT_TRUE(found(number, "credit_card")) << number;
    for (const std::string number : vectors["card_invalid"])
        EXPECT_FALSE(found(number, "credit_card")) << number;
}

// Passages with a finding above `internal`, as a share.
double alarms(const std::vector<std::string>& passages, const char* name) {
    int n = 0;
    for (const std::string& passage : passages)
        n += route::Detectors::class_of(passage, detectors().scan(passage)) >
             chat::Sensitivity::internal;
    std::printf("%-12s %d of %zu passages\n", name, n, passages.size());
    return double(n) / double(passages.size());
}

std::vector<std::string> paragraphs(const std::string& text) {
    std::vector<std::string> out;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t end = std::min(text.find("\n\n", at), text.size());
        if (end > at) out.push_back(text.substr(at, end - at));
        at = end + 2;
    }
    return out;
}

TEST(DetectorsReal, ordinary_text_raises_few_false_alarms) {
    NEEDS_DATA(plays, "text/tinyshakespeare.txt");
    EXPECT_LE(alarms(paragraphs(text_of(plays)), "plays"), 0.01);
    NEEDS_DATA(sums, "eval/gsm8k/test-first-half.jsonl");
    std::vector<std::string> problems;
    const std::string lines = text_of(sums);
    for (std::size_t at = 0; at < lines.size();) {
        const std::size_t end = std::min(lines.find('\n', at), lines.size());
        if (end > at) {
            const json problem = json::parse(lines.substr(at, end - at));
            problems.push_back(problem["question"].get<std::string>() + "\n" +
                               problem["answer"].get<std::string>());
        }
        at = end + 1;
    }
    EXPECT_LE(alarms(problems, "sums"), 0.01);
}

// Encyclopedia articles tell of people's illnesses and trials and of houses by their address: what
// is found there is by the rules, and little.
TEST(DetectorsReal, encyclopedia_articles_raise_few_alarms) {
    NEEDS_DATA(articles, "text/wikitext2-valid.txt");
    std::vector<std::string> passages;
    const std::string text = text_of(articles);
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t end = std::min(text.find('\n', at), text.size());
        if (text.find_first_not_of(" \n", at) < end) passages.push_back(text.substr(at, end - at));
        at = end + 1;
    }
    EXPECT_LE(alarms(passages, "articles"), 0.01);
}

}  // namespace
}  // namespace hearth::test
