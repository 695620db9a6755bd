// bench_detectors: how fast the detectors read, by the kind of text.
//
//   bench_detectors [MIB]       MiB of each kind, default 4
//
// The text is made here, so that the program needs no data: prose of words of ordinary lengths with
// dates, numbers and names in it, source code, personal records, and what costs most for its
// length. Each kind is read as one text and in prompts of 4 KiB. Lines are JSON: MB/s of processor
// time, the best of nine runs, and the spans found.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "route/sensitivity.h"

namespace {

using hearth::route::Detectors;

double seconds_now() {  // of this thread: other programs of the machine do not count
    timespec now{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return double(now.tv_sec) + double(now.tv_nsec) * 1e-9;
}

class Writer {
  public:
    explicit Writer(std::size_t n_bytes) : n_bytes_(n_bytes) {}

    std::string prose() { return fill(&Writer::sentence); }
    std::string numbers() { return fill(&Writer::report); }
    std::string code() { return fill(&Writer::statement); }
    std::string records() { return fill(&Writer::record); }
    std::string json() { return fill(&Writer::object); }
    std::string csv() { return fill(&Writer::row); }
    static std::string repeated(std::string_view piece, std::size_t n_bytes) {
        std::string text;
        while (text.size() < n_bytes) text += piece;
        return text;
    }

  private:
    std::size_t below(std::size_t n) { return random_() % n; }

    std::string fill(void (Writer::*piece)(std::string&)) {
        std::string text;
        while (text.size() < n_bytes_) (this->*piece)(text);
        return text;
    }

    // Two to eleven letters, short words more often, as in English.
    std::string word() {
        static constexpr std::string_view kOften[] = {"the", "of",  "and",  "to", "in",  "he",
                                                      "his", "was", "that", "it", "for", "with"};
        if (below(5) < 2) return std::string(kOften[below(std::size(kOften))]);
        std::string out;
        for (std::size_t n = 2 + below(5) + below(6); n > 0; --n)
            out.push_back("etaoinshrdlcumwfgypb"[below(20)]);
        return out;
    }
    std::string name() {
        std::string out = word();
        out[0] = char(out[0] - 32);
        return out;
    }
    std::string number(std::size_t digits_max) { return std::to_string(below(digits_max)); }

    void sentence(std::string& text) {
        text += name();
        for (std::size_t n = 6 + below(14); n > 0; --n) {
            text += below(12) == 0 ? ", " : " ";
            text += below(15) == 0 ? name() : word();
        }
        text += below(6) == 0 ? ".\n\n" : ". ";
    }
    // An encyclopedia's: a number or a date in every sentence.
    void report(std::string& text) {
        sentence(text);
        text += "On " + number(28) + " March 19" + std::to_string(10 + below(90)) + " " + name() +
                " had " + number(9) + "," + std::to_string(100 + below(900)) + " of " +
                number(300) + " in " + name() + ". ";
        sentence(text);
    }
    void statement(std::string& text) {
        text.append(4 * (1 + below(3)), ' ');
        switch (below(4)) {
            case 0:
                text += "const std::size_t " + word() + "_" + word() + " = " + word() + "." +
                        word() + "(" + number(64) + ");\n";
                break;
            case 1:
                text += "if (" + word() + "[i + " + number(4) + "] != " + word() + "->" + word() +
                        "_) return " + word() + "::" + word() + ";\n";
                break;
            case 2:
                text += "// " + name() + " " + word() + " " + word() + " " + word() + " " + word() +
                        ": " + word() + " " + word() + ".\n";
                break;
            default:
                text += word() + "(" + word() + ", \"" + word() + " %d\", " + word() + number(9) +
                        ");\n";
        }
    }
    void object(std::string& text) {
        text += "{\"id\": " + number(1'000'000) + ", \"at\": \"2024-0" +
                std::to_string(1 + below(9)) + "-1" + number(9) +
                "T12:" + std::to_string(10 + below(50)) + ":07Z\", \"value\": " + number(1000) +
                "." + number(100'000) + ", \"counts\": [" + number(100) + ", " + number(10'000) +
                ", " + number(1000) + "]},\n";
    }
    void row(std::string& text) {
        for (int k = 0; k < 6; ++k)
            text += number(1000) + "." + number(100'000) + (k < 5 ? "," : "\n");
    }
    void record(std::string& text) {
        text += "Name: " + name() + " " + name() + "\nPhone: +49 30 " +
                std::to_string(1'000'000 + below(9'000'000)) + "\nAddress: " + number(200) + " " +
                name() + " Street, " + std::to_string(10'000 + below(90'000)) + " " + name() +
                "\nE-mail: " + word() + "@" + word() + ".net\nCard: 4111 1111 1111 1111\n\n";
    }

    std::size_t n_bytes_;
    std::mt19937_64 random_{5};
};

double best_rate(std::string_view text, std::size_t piece, const Detectors& detectors,
                 std::size_t& n_found) {
    double best = 1e30;
    for (int run = 0; run < 9; ++run) {
        n_found = 0;
        const double start = seconds_now();
        for (std::size_t i = 0; i < text.size(); i += piece)
            n_found += detectors.scan(text.substr(i, piece)).size();
        best = std::min(best, seconds_now() - start);
    }
    return double(text.size()) / best / 1e6;
}

void report(const char* kind, const std::string& text, const Detectors& detectors) {
    std::size_t n_found = 0, n_found_in_pieces = 0;
    const double in_pieces = best_rate(text, 4096, detectors, n_found_in_pieces);
    const double whole = best_rate(text, text.size(), detectors, n_found);
    std::printf(
        "{\"text\":\"%s\",\"bytes\":%zu,\"mb_per_s\":%.1f,\"mb_per_s_of_4_kib\":%.1f,"
        "\"spans\":%zu}\n",
        kind, text.size(), whole, in_pieces, n_found);
    std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
    const long mib = argc > 1 ? std::atol(argv[1]) : 4;
    if (mib < 1 || mib > 64) {
        std::fputs("bench_detectors [MIB]: 1 to 64 MiB of each kind of text\n", stderr);
        return 2;
    }
    const std::size_t n_bytes = std::size_t(mib) << 20;
    const Detectors detectors = Detectors::make().value();
    Writer writer(n_bytes);
    report("prose", writer.prose(), detectors);
    report("prose with numbers", writer.numbers(), detectors);
    report("source code", writer.code(), detectors);
    report("personal records", writer.records(), detectors);
    report("JSON of numbers", writer.json(), detectors);
    report("CSV of decimals", writer.csv(), detectors);
    report("single digits", Writer::repeated("1 ", n_bytes), detectors);
    report("digits and dots", Writer::repeated("1.", n_bytes), detectors);
    report("short tokens", Writer::repeated("a1 ", n_bytes), detectors);
    report("keys without values", Writer::repeated("key=", n_bytes), detectors);
    report("passwords without values", Writer::repeated("password=", n_bytes), detectors);
}
