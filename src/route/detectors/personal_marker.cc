// medical_marker, legal_marker: words of health or of law, beside a person.
//
// A word such as "diabetes" or "indicted" alone says nothing about anybody, and ordinary text is
// full of milder ones ("fever", "guilty"). A marker is reported, as restricted, where all of these
// hold:
//   - it is one of the terms below, which are rare outside of files about people;
//   - within 120 bytes before it, in the same paragraph, a person is meant: "patient", "client",
//     "defendant", "my husband" …; in the same sentence "his" or "her"; a title and a capital
//     (Mr. Smith); or "diagnosed with" and the like, whose subject is one;
//   - that person is somebody: "each patient" and "people diagnosed with" are nobody;
//   - it is not code's: no member, no variable that is assigned.
// The span is the term. Names without a title are a model's work, not a word list's.
#include "route/detector.h"

namespace hearth::route {
namespace {

constexpr const char* kEntities[] = {"medical_marker", "legal_marker"};
enum Group : std::uint8_t { kPerson, kOwner, kTitle, kSubject, kMedical, kLegal };
constexpr std::size_t kWithin = 120;

// clang-format off
constexpr Keyword kKeywords[] = {
    {"patient", kPerson}, {"patient's", kPerson}, {"defendant", kPerson}, {"plaintiff", kPerson},
    {"client", kPerson}, {"claimant", kPerson}, {"suspect", kPerson}, {"employee", kPerson},
    {"my husband", kPerson}, {"my wife", kPerson}, {"my son", kPerson}, {"my daughter", kPerson},
    {"my mother", kPerson}, {"my father", kPerson}, {"my brother", kPerson}, {"my sister", kPerson},
    {"my child", kPerson}, {"my partner", kPerson}, {"i was", kPerson}, {"i am", kPerson},
    {"i have", kPerson}, {"i've been", kPerson}, {"patientin", kPerson}, {"paciente", kPerson},
    {"patiente", kPerson}, {"paziente", kPerson}, {"she has", kPerson}, {"he has", kPerson},
    {"she was", kPerson}, {"he was", kPerson}, {"her", kOwner}, {"his", kOwner},
    {"mr", kTitle}, {"mrs", kTitle}, {"ms", kTitle}, {"miss", kTitle}, {"herr", kTitle},
    {"frau", kTitle},
    {"monsieur", kTitle}, {"madame", kTitle}, {"señor", kTitle}, {"señora", kTitle},
    {"signora", kTitle},
    {"diagnosed with", kSubject}, {"diagnosis of", kSubject}, {"suffers from", kSubject},
    {"suffering from", kSubject}, {"tested positive for", kSubject}, {"treated for", kSubject},
    {"prescribed", kSubject}, {"diagnostiziert", kSubject}, {"leidet an", kSubject},
    {"hospitalized for", kSubject}, {"hospitalised for", kSubject}, {"admitted with", kSubject},
    {"hiv", kMedical}, {"aids", kMedical}, {"cancer", kMedical}, {"carcinoma", kMedical},
    {"leukemia", kMedical}, {"leukaemia", kMedical}, {"lymphoma", kMedical}, {"melanoma", kMedical},
    {"tumor", kMedical}, {"tumour", kMedical}, {"chemotherapy", kMedical}, {"diabetes", kMedical},
    {"schizophrenia", kMedical}, {"bipolar", kMedical}, {"depression", kMedical},
    {"dementia", kMedical},
    {"alzheimer's", kMedical}, {"parkinson's", kMedical}, {"epilepsy", kMedical},
    {"hepatitis", kMedical},
    {"tuberculosis", kMedical}, {"syphilis", kMedical}, {"gonorrhea", kMedical},
    {"chlamydia", kMedical},
    {"herpes", kMedical}, {"multiple sclerosis", kMedical}, {"anorexia", kMedical},
    {"bulimia", kMedical},
    {"ptsd", kMedical}, {"adhd", kMedical}, {"autism", kMedical}, {"asthma", kMedical},
    {"copd", kMedical},
    {"hypertension", kMedical}, {"cirrhosis", kMedical}, {"pregnant", kMedical},
    {"miscarriage", kMedical},
    {"abortion", kMedical}, {"myocardial infarction", kMedical},
    {"kidney failure", kMedical}, {"heart failure", kMedical}, {"substance abuse", kMedical},
    {"alcoholism", kMedical}, {"opioid", kMedical}, {"insulin", kMedical}, {"metformin", kMedical},
    {"sertraline", kMedical}, {"fluoxetine", kMedical}, {"lithium carbonate", kMedical},
    {"krebs", kMedical}, {"depressionen", kMedical}, {"diabète", kMedical}, {"cáncer", kMedical},
    {"convicted of", kLegal}, {"indicted", kLegal}, {"arrested for", kLegal}, {"felony", kLegal},
    {"misdemeanor", kLegal}, {"on probation", kLegal}, {"on parole", kLegal},
    {"restraining order", kLegal},
    {"plea agreement", kLegal}, {"custody battle", kLegal}, {"criminal record", kLegal},
    {"sentenced to", kLegal}, {"charged with", kLegal}, {"vorbestraft", kLegal},
    {"bankruptcy filing", kLegal},
    {"attorney-client", kLegal}, {"deposition of", kLegal},
};
// clang-format on

// Between a person's word and a marker no paragraph ends.
bool same_paragraph(const Scan& scan, std::size_t from, std::size_t to) {
    const std::string_view between = scan.text.substr(from, to - from);
    return !between.contains("\n\n") && !between.contains("\r\n\r\n");
}

// Nor, where "his" or "her" is all that points at a person, does a sentence: the next may be of
// anything.
bool same_sentence(const Scan& scan, std::size_t from, std::size_t to) {
    return scan.text.substr(from, to - from).find(". ") == std::string_view::npos;
}

bool near(const Scan& scan, std::uint8_t group, std::size_t start) {
    return scan.seen(group, start, kWithin) && same_paragraph(scan, scan.last_seen(group), start);
}

// A word of the four before the end of "patient" or "diagnosed with" means people in general:
// "each patient", "those who were treated for".
bool of_anybody(const Scan& scan, std::size_t end) {
    static constexpr std::string_view kAnybody[] = {
        "each",     "every",  "any",   "anyone",      "someone",  "no",
        "persons",  "people", "those", "individuals", "patients", "adults",
        "children", "women",  "men",   "many",        "most"};
    std::size_t i = end;
    for (int n_words = 0; n_words < 5; ++n_words) {
        const std::size_t word_end = i;
        while (is_letter(scan.before(i))) --i;
        for (const std::string_view word : kAnybody)
            if (word_end - i == word.size() && scan.is_here(i, word)) return true;
        if (scan.before(i) != ' ') return false;
        --i;
    }
    return false;
}

// "Mr. Smith": the title, perhaps a full stop, a space, a capital.
bool titled(const Scan& scan, std::size_t start) {
    if (!near(scan, kTitle, start)) return false;
    std::size_t i = scan.last_seen(kTitle);
    if (scan.at(i) == '.') ++i;
    return scan.at(i) == ' ' && (is_upper(scan.at(i + 1)) || (unsigned char)scan.at(i + 1) >= 0x80);
}

void on_keyword(Scan& scan, std::size_t start, std::size_t end, std::uint8_t group) {
    if (group != kMedical && group != kLegal) return;
    // A member or a variable of code: "client.cancer", "insulin=None".
    const char left = scan.before(start), right = scan.at(end);
    if (left == '.' || left == '_' || right == '=' || right == '(') return;
    const bool owner =
        near(scan, kOwner, start) && same_sentence(scan, scan.last_seen(kOwner), start);
    const auto somebody = [&](std::uint8_t of) {
        return near(scan, of, start) && !of_anybody(scan, scan.last_seen(of));
    };
    const bool person = owner || somebody(kPerson), subject = somebody(kSubject);
    if (!person && !subject && !titled(scan, start)) return;
    if (group == kMedical)
        scan.add(start, end, "medical_marker", Sensitivity::restricted,
                 person && subject ? 0.8 : 0.6);
    else
        scan.add(start, end, "legal_marker", Sensitivity::restricted, 0.6);
}

}  // namespace

extern const Detector detector_personal_marker;
const Detector detector_personal_marker = {.name = "personal_marker",
                                           .entities = kEntities,
                                           .keywords = kKeywords,
                                           .on_keyword = on_keyword};

}  // namespace hearth::route
