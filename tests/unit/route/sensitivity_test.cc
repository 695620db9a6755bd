// What the scan finds, what it leaves alone, and what happens at its bounds. The expected check
// digits are those of published example numbers, or computed here by the plain definition.
#include "route/sensitivity.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "route/checksums.h"
#include "route/limits.h"

namespace hearth::route {
namespace {

using chat::Sensitivity;

const Detectors& detectors() {
    static const Detectors made = Detectors::make().value();
    return made;
}

std::vector<Finding> scan(std::string_view text) {
    return detectors().scan(text);
}

Sensitivity class_of(std::string_view text) {
    return Detectors::class_of(text, scan(text));
}

// "entity:the bytes", one per finding.
std::vector<std::string> found(std::string_view text) {
    std::vector<std::string> out;
    for (const Finding& f : scan(text))
        out.push_back(f.entity + ":" + std::string(text.substr(f.start, f.end - f.start)));
    return out;
}

using Strings = std::vector<std::string>;

TEST(Sensitivity, nothing_found_is_internal_and_never_public) {
    EXPECT_TRUE(scan("The quick brown fox jumps over the lazy dog.").empty());
    EXPECT_EQ(class_of("The quick brown fox jumps over the lazy dog."), Sensitivity::internal);
    EXPECT_EQ(class_of(""), Sensitivity::internal);
}

TEST(Sensitivity, a_payment_card_is_found_however_it_is_grouped) {
    for (const char* number : {"4111111111111111", "4111 1111 1111 1111", "4111-1111-1111-1111",
                               "378282246310005", "3782 822463 10005", "3056 930902 5904",
                               "6011000990139424", "3530111333300000", "2223003122003222"}) {
        EXPECT_EQ(found(std::string("pay with ") + number + " now"),
                  Strings{std::string("credit_card:") + number});
        EXPECT_EQ(class_of(number), Sensitivity::restricted) << number;
    }
}

TEST(Sensitivity, a_card_with_one_wrong_digit_is_none) {
    const std::string valid = "4012888888881881";
    for (std::size_t i = 0; i < valid.size(); ++i) {
        for (char c = '0'; c <= '9'; ++c) {
            std::string changed = valid;
            changed[i] = c;
            const auto findings = scan("card " + changed);
            const bool any = std::ranges::any_of(
                findings, [](const Finding& f) { return f.entity == "credit_card"; });
            EXPECT_EQ(any, c == valid[i]) << changed;
        }
    }
}

TEST(Sensitivity, a_card_number_inside_a_longer_number_is_none) {
    EXPECT_TRUE(scan("x4111111111111111").empty());
    EXPECT_TRUE(scan("0.4111111111111111").empty());
    EXPECT_TRUE(scan("41111111111111112222222").empty());
}

TEST(Sensitivity, an_iban_is_found_with_and_without_spaces_in_either_case) {
    EXPECT_EQ(found("to GB82 WEST 1234 5698 7654 32, please"),
              Strings{"iban_code:GB82 WEST 1234 5698 7654 32"});
    EXPECT_EQ(found("de89370400440532013000"), Strings{"iban_code:de89370400440532013000"});
    EXPECT_EQ(found("NO9386011117947"), Strings{"iban_code:NO9386011117947"});
    EXPECT_TRUE(found("GB82 WEST 1234 5698 7654 33").empty());
    EXPECT_TRUE(found("DE893704004405320130001").empty());
}

TEST(Sensitivity, an_iban_with_one_wrong_digit_is_none) {
    const std::string valid = "DE89370400440532013000";
    for (std::size_t i = 2; i < valid.size(); ++i) {
        for (char c = '0'; c <= '9'; ++c) {
            std::string changed = valid;
            changed[i] = c;
            EXPECT_EQ(iban_holds(changed), c == valid[i]) << changed;
        }
    }
}

struct Id {
    const char* entity;
    const char* text;    // as it is written where it may stand alone, or with its word
    const char* number;  // the part whose digits are changed, one after the other
};
// Published examples and numbers whose check digits were computed by hand from the definition.
const Id kIds[] = {
    {"uk_nhs", "NHS number 943 476 5919", "943 476 5919"},
    {"es_nif", "12345678Z", "12345678Z"},
    {"es_nie", "X1234567L", "X1234567L"},
    {"pl_pesel", "PESEL 44051401359", "44051401359"},
    {"de_tax_id", "Steuer-ID 86095742719", "86095742719"},
    {"nl_bsn", "BSN 111222333", "111222333"},
    {"fi_personal_identity_code", "131052-308T", "131052-308T"},
    {"se_personnummer", "811218-9876", "811218-9876"},
    {"ch_ahv", "756.9217.0769.85", "756.9217.0769.85"},
    {"br_cpf", "529.982.247-25", "529.982.247-25"},
    {"br_cnpj", "11.222.333/0001-81", "11.222.333/0001-81"},
    {"ca_sin", "SIN 130 692 544", "130 692 544"},
    {"ar_cuit", "20-12345678-6", "20-12345678-6"},
    {"hr_oib", "OIB 94577403194", "94577403194"},
    {"tr_national_id", "TCKN 10000000146", "10000000146"},
    {"aba_routing_number", "routing number 021000021", "021000021"},
    {"us_npi", "NPI 1234567893", "1234567893"},
    {"in_aadhaar", "Aadhaar 2341 2341 2346", "2341 2341 2346"},
    {"au_tfn", "TFN 123 456 782", "123 456 782"},
    {"au_abn", "51 824 753 556", "51 824 753 556"},
    {"sg_nric_fin", "S1234567D", "S1234567D"},
    {"cn_resident_id", "11010519491231002X", "11010519491231002X"},
    {"cn_resident_id", "440524188001010014", "440524188001010014"},
    {"za_id", "ID number 8001015009087", "8001015009087"},
};

bool has(const std::string& text, const std::string& entity) {
    const auto findings = scan(text);
    return std::ranges::any_of(findings, [&](const Finding& f) { return f.entity == entity; });
}

TEST(Sensitivity, a_national_insurance_number_is_found_with_and_without_blanks) {
    for (const char* text : {"AB123456C", "AB 12 34 56 C", "ab 123456 c", "NINO AB 12 34 56 C."})
        EXPECT_TRUE(has(text, "uk_nino")) << text;
    for (const char* text : {"GB 12 34 56 C", "AB 12 34 56 E", "XAB 12 34 56 C", "AB 12 34 56 CD"})
        EXPECT_FALSE(has(text, "uk_nino")) << text;
}

TEST(Sensitivity, every_national_id_with_a_check_digit_is_found_and_restricted) {
    for (const Id& id : kIds) {
        EXPECT_TRUE(has(std::string("see ") + id.text + ".", id.entity)) << id.text;
        EXPECT_EQ(class_of(std::string("see ") + id.text), Sensitivity::restricted) << id.text;
    }
}

TEST(Sensitivity, a_national_id_with_one_wrong_digit_is_none) {
    for (const Id& id : kIds) {
        const std::string text = id.text;
        const std::size_t from = text.find(id.number);
        for (std::size_t i = from; i < text.size(); ++i) {
            if (text[i] < '0' || text[i] > '9') continue;
            for (char c = '0'; c <= '9'; ++c) {
                if (c == text[i]) continue;
                std::string changed = text;
                changed[i] = c;
                EXPECT_FALSE(has(changed, id.entity)) << changed;
            }
        }
    }
}

TEST(Sensitivity, a_social_security_number_follows_its_area_rules) {
    EXPECT_EQ(found("SSN: 536-90-4399"), Strings{"us_ssn:536-90-4399"});
    for (const char* never : {"000-12-3456", "666-12-3456", "123-00-4567", "123-45-0000"})
        EXPECT_FALSE(has(std::string("SSN: ") + never, "us_ssn")) << never;
    EXPECT_TRUE(has("ITIN 912-70-1234", "us_itin"));
    EXPECT_FALSE(has("ref 536904399", "us_ssn")) << "nine digits alone are no proof";
    EXPECT_TRUE(has("social security number 536904399", "us_ssn"));
}

TEST(Sensitivity, a_persons_mail_is_confidential_and_a_roles_is_not) {
    EXPECT_EQ(class_of("write to jane.doe@somewhere.org"), Sensitivity::confidential);
    EXPECT_EQ(class_of("write to support@somewhere.org"), Sensitivity::internal);
    EXPECT_EQ(class_of("write to jane.doe@example.com"), Sensitivity::internal);
    EXPECT_EQ(found("<Jörg.Müller+x@büro.de>, ok"), Strings{"email_address:Jörg.Müller+x@büro.de"});
    EXPECT_TRUE(found("a @decorator and x@y.T").empty());
}

TEST(Sensitivity, network_addresses_are_found_and_private_ones_are_internal) {
    EXPECT_EQ(found("from 106.31.73.20:8080"), Strings{"ip_address:106.31.73.20"});
    EXPECT_EQ(class_of("from 106.31.73.20"), Sensitivity::confidential);
    EXPECT_EQ(class_of("from 192.168.1.20 or 127.0.0.1"), Sensitivity::internal);
    EXPECT_EQ(found("[2a02:8071:b00::17]"), Strings{"ip_address:2a02:8071:b00::17"});
    EXPECT_TRUE(found("version 10.20.30.40").empty());
    EXPECT_TRUE(found("1.2.3.4.5 and 256.1.1.1 and 12:30:45 and std::vector").empty());
}

TEST(Sensitivity, versions_networks_and_resolvers_point_at_nobody) {
    for (const char* text : {"linux-2.6.35.9/include", "VERSION_LESS \"2.8.10.1\"",
                             "AssemblyVersion(\"4.2.1.3\")", "RFC 5280 4.2.1.12", "EC 2.7.11.1"})
        EXPECT_TRUE(found(text).empty()) << text;
    for (const char* text : {"172.217.0.0/16", "8.3.0.0", "8.8.8.8", "::ffff:127.0.0.1"})
        EXPECT_EQ(class_of(text), Sensitivity::internal) << text;
    for (const char* text : {"step 2: 52.94.236.248", "52.94.236.248", "::ffff:52.94.236.248"})
        EXPECT_EQ(class_of(text), Sensitivity::confidential) << text;
}

TEST(Sensitivity, domain_names_are_found_and_code_is_left_alone) {
    EXPECT_EQ(found("see https://www.somewhere.co.uk/a?b=1."),
              Strings{"domain_name:https://www.somewhere.co.uk/a?b=1"});
    EXPECT_EQ(class_of("see https://somewhere.org"), Sensitivity::internal);
    EXPECT_TRUE(found("os.path.join(main.rs, self.name, x.py)").empty());
}

TEST(Sensitivity, phone_numbers_of_many_countries_are_found) {
    for (const char* number :
         {"+1-984-182-0190", "+46 (0)8 928 571 38", "+447700 900 123", "(212) 555-0187",
          "212-555-0187", "212.555.0187x22", "01 84 17 61 18", "(07) 5331 0577", "001-420-335-7509",
          "079 2718 1155"})
        EXPECT_EQ(found(std::string("it is ") + number + ", yes"),
                  Strings{std::string("phone_number:") + number});
    for (const char* number : {"467 3395", "78 651 450", "60-56-85-91", "5403926876"}) {
        EXPECT_EQ(found(std::string("Phone: ") + number),
                  Strings{std::string("phone_number:") + number});
        EXPECT_TRUE(found(std::string("it is ") + number).empty()) << number;
    }
}

TEST(Sensitivity, dates_years_and_amounts_are_no_phone_numbers) {
    for (const char* text :
         {"call on 2000-04-16 11:34:35", "called in 1998-1999", "call it 3.1415926535",
          "phone made 1 234 567 calls", "call me by 12/27/1986"})
        EXPECT_FALSE(has(text, "phone_number")) << text;
}

TEST(Sensitivity, a_word_of_several_senses_needs_a_number_that_is_called) {
    for (const char* text :
         {"call 555 0142", "call me at 5550142", "Call Anna: 5550142", "cell: 5550142",
          "desk number is 54039268", "contact us on 4155552671", "mobile 98765-43210"})
        EXPECT_TRUE(has(text, "phone_number")) << text;
    for (const char* text :
         {"call site 12345678", "the signal 12 345 678", "call it 31415926 times",
          "cell count 12345678", "ring buffer 1048576", "the call failed after 10000000 ns"})
        EXPECT_FALSE(has(text, "phone_number")) << text;
}

TEST(Sensitivity, versions_with_their_day_and_tables_of_fours_are_no_phone_numbers) {
    for (const char* text : {"2.2 (2022-03-27)", "1.13.1 (2019-09-11)", "0.90 - 2010-12-1",
                             "[.0000.0026.0002]", "0066 0066 0069"})
        EXPECT_FALSE(has(text, "phone_number")) << text;
    for (const char* text : {"0065 6123 4567", "0039 06 698 12345", "0049 (0)30 901820"})
        EXPECT_TRUE(has(text, "phone_number")) << text;
}

TEST(Sensitivity, street_addresses_of_many_countries_are_found) {
    for (const char* text :
         {"I live at 24 Clarke Avenue, Springfield", "Hauptstraße 5, 10115 Berlin",
          "20 Rue de la Paix", "Via dei Fiorentini 17", "ul. Chrzanowska 61", "Puruntie 82",
          "221B Baker Street", "Avenida Paulista, 1578", "Unter den Linden 77, 10117 Berlin",
          "Ленинский проспект 32", "北京市朝阳区建国路88号", "P.O. Box 104",
          "PSC 0725, Box 6031\nAPO AP 99241", "5638 Aasa 43", "Apt. 902"}) {
        EXPECT_TRUE(has(text, "street_address")) << text;
        EXPECT_EQ(class_of(text), Sensitivity::confidential) << text;
    }
    for (const char* text :
         {"Chapter 12 of the book", "12 January 2024", "Charlie has 54 stickers", "Act 3, Scene 2",
          "the 1980 Indianapolis 500", "18 ÷ 3 = 6", "Version 7 Beta 2"})
        EXPECT_FALSE(has(text, "street_address")) << text;
}

TEST(Sensitivity, rooms_systems_and_documents_are_no_addresses) {
    for (const char* text :
         {"Suite 12 of the hotel costs 300", "built on Mac OS X 10.6", "the address of RFC 3484",
          "571374 Add 30-bit visuals", "Solaris 10 Update 9", "Am Markt 3 Stände"})
        EXPECT_FALSE(has(text, "street_address")) << text;
    for (const char* text :
         {"Suite 12\nSpringfield", "apt. 858 springfield", "Am Markt 3, Bonn", "5638 Aasa 43-45"})
        EXPECT_TRUE(has(text, "street_address")) << text;
}

TEST(Sensitivity, a_balance_is_no_account_and_a_bug_no_licence) {
    for (const char* text : {"Account balance rose to 10000000", "savings of 12500000 dollars",
                             "a driver under the GPL license, bug 23709"})
        EXPECT_EQ(class_of(text), Sensitivity::internal) << text;
    for (const char* text : {"account no. 10000000", "savings account is 12500000",
                             "driver's license number: S530-1234-5678"})
        EXPECT_EQ(class_of(text), Sensitivity::restricted) << text;
}

TEST(Sensitivity, a_row_of_hexadecimal_words_is_no_national_id) {
    EXPECT_TRUE(has("6911 7986 7891", "in_aadhaar"));
    EXPECT_FALSE(has("76C3 63F9 6911 7986 7891 9E4E", "in_aadhaar"));
}

TEST(Sensitivity, secrets_of_providers_are_named_after_them) {
    // Put together here, so that no scanner of sources takes this file for a leak.
    const std::string random = "aB3dE5fG7hJ9kL1mN2pQ4rS6tU8vW0xY2zA4";  // 36
    EXPECT_TRUE(
        has("ghp"
            "_" +
                random,
            "secret_github"));
    EXPECT_TRUE(
        has("AKIA"
            "Q3EGRIZ7XJ5KWP2T",
            "secret_aws"));
    EXPECT_TRUE(
        has("glpat"
            "-" +
                random.substr(0, 20),
            "secret_gitlab"));
    EXPECT_TRUE(
        has("xoxb"
            "-123456789012-1234567890123-" +
                random.substr(0, 24),
            "secret_slack"));
    EXPECT_TRUE(
        has("sk_"
            "live_" +
                random.substr(0, 24),
            "secret_stripe"));
    EXPECT_TRUE(
        has("npm"
            "_" +
                random,
            "secret_npm"));
    EXPECT_TRUE(
        has("hf"
            "_" +
                random.substr(0, 34),
            "secret_huggingface"));
    EXPECT_TRUE(
        has("AIza"
            "SyD" +
                random.substr(0, 32),
            "secret_google"));
    EXPECT_EQ(class_of("ghp"
                       "_" +
                       random),
              Sensitivity::restricted);
    EXPECT_FALSE(
        has("ghp"
            "_" +
                std::string(36, 'x'),
            "secret_github"))
        << "a placeholder";
    EXPECT_FALSE(
        has("ghp"
            "_" +
                random + "9",
            "secret_github"))
        << "too long";
}

TEST(Sensitivity, assigned_secrets_are_found_and_placeholders_and_code_are_not) {
    const std::string value = "kJ8s0fQ2LmZx91TvBn4Rw7Yd";
    EXPECT_TRUE(has("api_key = \"" + value + "\"", "secret_generic"));
    EXPECT_TRUE(has("{\"datadog_api_key\": \"" + value + "\"}", "secret_datadog"));
    EXPECT_TRUE(has("Authorization: Bearer " + value, "secret_generic"));
    EXPECT_TRUE(has("DB_PASSWORD=s3cr3tP@ss", "secret_password"));
    EXPECT_TRUE(has("postgres://app:hu7nter2x@db.somewhere.org/x", "secret_connection_string"));
    for (const char* text :
         {"api_key = \"your_api_key_goes_here_1\"", "token = next_token(stream12)",
          "password: ${DB_PASSWORD}", "key = value", "secret = os.environ[\"SECRET_KEY_1\"]"})
        EXPECT_EQ(class_of(text), Sensitivity::internal) << text;
}

TEST(Sensitivity, digests_addresses_and_composed_names_are_no_keys) {
    for (const char* text :
         {"\"token\": \"sha256:b7455f0e8f00539108837bfa586c4fbf424e31f8717819a6798be74bef813d05\"",
          "Bearer Token: https://tools.ietf.org/html/rfc6750", "key=user:1234:profile ttl=3600",
          "private_key: ed25519.Ed25519PrivateKey", "tdp_w = 350\\nllamacpp_decode",
          "password_encryption = scram-sha-256"})
        EXPECT_EQ(class_of(text), Sensitivity::internal) << text;
    for (const char* text : {"db_pw = 350Kx!decode", "key=q8Zt:41xW:ruVb9:Lm20"})
        EXPECT_EQ(class_of(text), Sensitivity::restricted) << text;
}

TEST(Sensitivity, a_private_key_is_found_whole_and_without_an_end) {
    const std::string head =
        "-----BEGIN "
        "RSA PRIVATE KEY-----\nMIIEow\n";
    const std::string tail =
        "-----END "
        "RSA PRIVATE KEY-----";
    EXPECT_EQ(found("x " + head + tail + " y"), Strings{"secret_private_key:" + head + tail});
    EXPECT_EQ(found("x " + head), Strings{"secret_private_key:" + head});
    EXPECT_TRUE(found("-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----").empty());
}

TEST(Sensitivity, a_marker_counts_only_beside_a_person) {
    EXPECT_EQ(class_of("Mrs. Miller was diagnosed with diabetes."), Sensitivity::restricted);
    EXPECT_EQ(class_of("The patient has hepatitis."), Sensitivity::restricted);
    EXPECT_EQ(class_of("Mr. Jones was indicted."), Sensitivity::restricted);
    EXPECT_EQ(class_of("Diabetes is a disease of the metabolism."), Sensitivity::internal);
    EXPECT_EQ(class_of("The patient left.\n\nDiabetes is a disease."), Sensitivity::internal);
}

TEST(Sensitivity, a_marker_beside_people_in_general_is_nobodys) {
    for (const char* text :
         {"Persons suffering from epilepsy should ask.", "Each patient gets insulin.",
          "those who were treated for asthma", "Many people are diagnosed with diabetes."})
        EXPECT_EQ(class_of(text), Sensitivity::internal) << text;
    for (const char* text : {"The patient gets insulin.", "The singer was diagnosed with cancer.",
                             "Those close to him knew he was diagnosed with cancer."})
        EXPECT_EQ(class_of(text), Sensitivity::restricted) << text;
}

TEST(Sensitivity, of_overlapping_spans_the_higher_class_stays) {
    const std::string url =
        "https://somewhere.org/?t=ghp"
        "_aB3dE5fG7hJ9kL1mN2pQ4rS6tU8vW0xY2zA4";
    const auto findings = scan(url);
    ASSERT_EQ(findings.size(), 1u);
    EXPECT_EQ(findings[0].entity, "secret_github");
}

TEST(Sensitivity, spans_are_in_order_and_never_overlap_in_random_bytes) {
    std::mt19937 random(7);
    const std::string alphabet = "0123456789 -.()+@:=/ABab\n\xC3\xA9\x00\xFF";
    for (int round = 0; round < 300; ++round) {
        std::string text;
        for (int i = 0; i < 400; ++i) text.push_back(alphabet[random() % alphabet.size()]);
        std::size_t end = 0;
        for (const Finding& f : scan(text)) {
            EXPECT_GE(f.start, end);
            EXPECT_LT(f.start, f.end);
            EXPECT_LE(f.end, text.size());
            end = f.end;
        }
    }
}

// The walk takes 64 bytes at a time; what is found must not know where these begin.
TEST(Sensitivity, what_is_found_does_not_depend_on_where_in_the_text_it_stands) {
    const std::string text =
        "My card 4111-1111-1111-1111, ssn 536-90-4399; call +49 30 901820 or write to "
        "jane.doe@mail.net, http://10.20.30.40/a or 2a02:908:1::1. AKIAQ3EGRZ7TLX2MWN4V "
        "db_password = 'x9#kLm2!' GB82 WEST 1234 5698 7654 32 at 24 Clarke Avenue, Springfield "
        "postgres://joe:s3cr3tpw@db/x My wife was diagnosed with cancer. www.abc.com\n"
        "-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----\n";
    const auto expected = found("\n" + text);
    EXPECT_GE(expected.size(), 12u);
    for (std::size_t n = 2; n < 130; ++n)
        EXPECT_EQ(found(std::string(n, '\n') + text), expected) << n << " bytes before";
}

TEST(Sensitivity, context_raises_the_confidence) {
    const auto bare = scan("4111111111111111"), named = scan("my card 4111111111111111");
    ASSERT_EQ(bare.size(), 1u);
    ASSERT_EQ(named.size(), 1u);
    EXPECT_GT(named[0].confidence, bare[0].confidence);
}

TEST(Sensitivity, what_a_bound_leaves_unread_is_a_restricted_finding) {
    std::string text;
    while (text.size() < kFindingsMax * 12) text += "a@bc.de, ";
    const auto findings = scan(text);
    ASSERT_FALSE(findings.empty());
    EXPECT_EQ(findings.back().entity, kUnscanned);
    EXPECT_EQ(findings.back().end, text.size());
    EXPECT_EQ(Detectors::class_of(text, findings), Sensitivity::restricted);
}

TEST(Sensitivity, a_text_longer_than_a_scan_reads_is_restricted) {
    std::string text(kScanBytesMax, 'a');
    EXPECT_EQ(class_of(text), Sensitivity::internal);
    text.push_back('a');
    const auto findings = scan(text);
    ASSERT_EQ(findings.size(), 1u);
    EXPECT_EQ(findings[0].start, kScanBytesMax);
    EXPECT_EQ(Detectors::class_of(text, findings), Sensitivity::restricted);
}

}  // namespace
}  // namespace hearth::route
