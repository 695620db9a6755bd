#include "engine/model/shards.h"

#include <algorithm>
#include <utility>

#include "base/file.h"
#include "base/format.h"
#include "engine/model/limits.h"

namespace hearth::model {
namespace {

std::unexpected<Error> bad(std::string message) {
    return fail(ErrorKind::invalid_request, std::move(message));
}

// "00012" of five digits at that place, or -1.
std::int64_t five_digits(std::string_view text, std::size_t at) {
    std::int64_t n = 0;
    for (std::size_t i = at; i < at + 5; ++i) {
        if (text[i] < '0' || text[i] > '9') return -1;
        n = n * 10 + (text[i] - '0');
    }
    return n;
}

// Names count in five digits.
constexpr std::int64_t kSplitMax = 99'999;

struct Split {
    std::int64_t number = 0, count = 1;  // number from 0
    std::int64_t n_tensors = -1;         // of all parts; -1: not stated
};
Result<Split> split_of(const Gguf& gguf) {
    Split out;
    HEARTH_TRY(out.count, gguf.integer("split.count", 0, kSplitMax, 1));
    HEARTH_TRY(out.number, gguf.integer("split.no", 0, kSplitMax, 0));
    HEARTH_TRY(out.n_tensors, gguf.integer("split.tensors.count", 0, INT64_MAX, -1));
    out.count = std::max<std::int64_t>(out.count, 1);  // 0 is a file that was never split
    return out;
}

}  // namespace

std::string ShardName::path_of(std::int64_t n) const {
    return format("{}-{:05}-of-{:05}.gguf", stem, n, count);
}

std::optional<ShardName> read_shard_name(const std::string& path) {
    constexpr std::string_view kForm = "-00001-of-00006.gguf";
    if (path.size() <= kForm.size()) return std::nullopt;
    const std::string_view tail = std::string_view(path).substr(path.size() - kForm.size());
    const std::int64_t number = five_digits(tail, 1), count = five_digits(tail, 10);
    if (tail[0] != '-' || tail.substr(6, 4) != "-of-" || tail.substr(15) != ".gguf" || number < 1 ||
        count < number)
        return std::nullopt;
    return ShardName{
        .stem = path.substr(0, path.size() - kForm.size()), .number = number, .count = count};
}

Result<Gguf> Shards::open_part(const std::string& path, const OpenFile& open_file) {
    HEARTH_TRY(ModelFile file, ModelFile::open(path, open_file));
    const auto bytes = file.bytes();
    HEARTH_TRY(const std::size_t n_head, Gguf::head_bytes(bytes));
    heads_.emplace_back(bytes.begin(), bytes.begin() + std::ptrdiff_t(n_head));
    files_.push_back(std::move(file));
    return Gguf::parse(heads_.back(), bytes);
}

Result<Shards> Shards::open(const std::string& path, const OpenFile& open_file) {
    Shards out;
    HEARTH_TRY(Gguf first, out.open_part(path, open_file));
    HEARTH_TRY(const Split split, split_of(first));
    out.gguf_ = std::make_unique<Gguf>(std::move(first));
    if (split.count == 1 && split.number == 0) return out;
    const auto name = read_shard_name(path);
    if (!name || name->number != split.number + 1 || name->count != split.count)
        return bad(format(
            "{} is part {} of {} by its keys split.no and split.count, but its name does not "
            "end in -{:05}-of-{:05}.gguf; give the parts the names they were published with",
            path, split.number + 1, split.count, split.number + 1, split.count));
    if (split.number != 0)
        return bad(format("{} is part {} of {}; open the first one, {}", path, split.number + 1,
                          split.count, name->path_of(1)));
    if (split.count > kShardMax)
        return bad(format("{} is of {} parts, the limit is {}", path, split.count, kShardMax));
    HEARTH_CHECK_OK(out.open_rest(*name, split.count, open_file));
    const auto n_tensors = std::int64_t(out.gguf_->tensors().size());
    if (split.n_tensors >= 0 && split.n_tensors != n_tensors)
        return bad(
            format("{} and its other {} parts hold {} tensors, key split.tensors.count says "
                   "{}; fetch the parts again",
                   path, split.count - 1, n_tensors, split.n_tensors));
    return out;
}

Status Shards::open_rest(const ShardName& name, std::int64_t count, const OpenFile& open_file) {
    for (std::int64_t n = 2; n <= count; ++n) {
        const std::string path = name.path_of(n);
        auto part = open_part(path, open_file);
        if (!part) {
            part.error().message = format("part {} of {}: {}{}", n, count, part.error().message,
                                          part.error().kind == ErrorKind::not_found
                                              ? "; all parts must be in one folder"
                                              : format(" ({})", path));
            return std::unexpected(std::move(part.error()));
        }
        HEARTH_TRY(const Split split, split_of(*part));
        if (split.number != n - 1 || split.count != count)
            return bad(
                format("{} says that it is part {} of {}, expected part {} of {}; it belongs "
                       "to another model",
                       path, split.number + 1, split.count, n, count));
        if (auto ok = gguf_->append(std::move(*part)); !ok)
            return bad(format("part {} of {}: {} ({})", n, count, ok.error().message, path));
    }
    return {};
}

std::string Shards::sha256(const std::atomic<bool>* stop) const {
    constexpr std::size_t kPieceBytes = std::size_t(4) << 20;
    std::string digests;
    for (const ModelFile& file : files_) {
        Sha256 hash;
        for (auto rest = file.bytes(); !rest.empty();) {
            if (stop && stop->load(std::memory_order_relaxed)) return {};
            const std::size_t n = std::min(kPieceBytes, rest.size());
            hash.add(rest.first(n));
            rest = rest.subspan(n);
        }
        if (files_.size() == 1) return hash.hex();
        digests += hash.hex() + "\n";
    }
    return sha256_hex(digests);
}

std::string Shards::identity() const {
    std::string out;
    for (const ModelFile& file : files_) out += file.identity() + "\n";
    return out;
}

void Shards::forget_pages() const {
    for (const ModelFile& file : files_) file.forget_pages();
}

Status Shards::unchanged() const {
    for (const ModelFile& file : files_) HEARTH_CHECK_OK(file.unchanged());
    return {};
}

}  // namespace hearth::model
