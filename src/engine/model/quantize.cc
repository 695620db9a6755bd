#include "engine/model/quantize.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cctype>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>

#include "base/check.h"
#include "base/format.h"
#include "base/ids.h"
#include "base/suggest.h"
#include "engine/kernels/kernels.h"

namespace hearth::model {
namespace {

constexpr std::size_t kAlignment = 32;
constexpr std::uint32_t kF32 = 0, kF16 = 1, kQ4_0 = 2, kQ4_1 = 3, kQ5_0 = 6, kQ5_1 = 7, kQ8_0 = 8,
                        kQ4_K = 12, kQ5_K = 13, kQ6_K = 14, kBF16 = 30;

// Source: file types of the GGUF specification.
constexpr QuantizeType kTypes[] = {
    {"f32", kF32, kF32, false, 0},       {"f16", kF16, kF16, false, 1},
    {"bf16", kBF16, kBF16, false, 32},   {"q8_0", kQ8_0, kQ8_0, false, 7},
    {"q4_0", kQ4_0, kQ6_K, false, 2},    {"q4_1", kQ4_1, kQ6_K, false, 3},
    {"q5_0", kQ5_0, kQ6_K, false, 8},    {"q5_1", kQ5_1, kQ6_K, false, 9},
    {"q4_k_s", kQ4_K, kQ6_K, false, 14}, {"q4_k_m", kQ4_K, kQ6_K, true, 15},
    {"q4_k", kQ4_K, kQ6_K, true, 15},    {"q5_k_s", kQ5_K, kQ6_K, false, 16},
    {"q5_k_m", kQ5_K, kQ6_K, true, 17},  {"q5_k", kQ5_K, kQ6_K, true, 17},
    {"q6_k", kQ6_K, kQ6_K, false, 18},
};

// What a row takes when its length is no multiple of the format's block.
std::uint32_t of_smaller_blocks(std::uint32_t type) {
    switch (type) {
        case kQ4_K:
            return kQ5_0;
        case kQ5_K:
            return kQ5_1;
        case kQ6_K:
            return kQ8_0;
        default:
            return kF16;
    }
}

bool is_matrix(const GgufTensor& tensor) {
    // Routers are tiny and choose between experts: an error there is a wrong expert.
    return tensor.shape.size() >= 2 && tensor.name.ends_with(".weight") &&
           tensor.name.find("ffn_gate_inp") == std::string_view::npos &&
           tensor.name.find("norm") == std::string_view::npos;
}

// The layer of "blk.12.attn_v.weight"; -1 for tensors outside of blocks.
std::int64_t layer_of(std::string_view name) {
    if (!name.starts_with("blk.")) return -1;
    std::int64_t layer = 0;
    for (const char c : name.substr(4)) {
        if (c < '0' || c > '9') break;
        layer = std::min<std::int64_t>(layer * 10 + (c - '0'), 1 << 20);
    }
    return layer;
}

// The layers whose value and down matrices take more bits: the first and last eighth, and every
// third between, as the common "M" files have it.
bool takes_more(std::int64_t layer, std::int64_t n_layer) {
    if (layer < 0) return false;
    return layer < n_layer / 8 || layer >= 7 * n_layer / 8 || (layer - n_layer / 8) % 3 == 2;
}

class Quantizer {
  public:
    Quantizer(const Gguf& in, const QuantizeType& type, ThreadPool& pool)
        : in_(in), type_(type), pool_(pool), kernels_(*hearth_kernels_pick(nullptr)) {
        for (const GgufTensor& tensor : in.tensors())
            n_layer_ = std::max(n_layer_, layer_of(tensor.name) + 1);
        tied_ = !in.find_tensor("output.weight");
    }

    Result<QuantizeReport> run(const std::string& path,
                               const std::function<void(std::int64_t, std::int64_t)>& progress) {
        // The new file is renamed onto the path, which would put it in the place of a device.
        struct stat info;
        if (stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode))
            return fail(ErrorKind::invalid_request,
                        format("{} exists and is no regular file; give the path of a file", path));
        const std::string beside = path + random_id(".new-");
        file_.reset(fopen(beside.c_str(), "wbx"));
        if (!file_)
            return fail(ErrorKind::invalid_request,
                        format("cannot create {}: {}", beside, std::strerror(errno)));
        Status status = write_all(progress);
        if (status && (fflush(file_.get()) != 0 || fsync(fileno(file_.get())) != 0 ||
                       rename(beside.c_str(), path.c_str()) != 0))
            status = fail(ErrorKind::invalid_request,
                          format("cannot finish {}: {}", path, std::strerror(errno)));
        file_.reset();
        if (!status) {
            unlink(beside.c_str());
            return std::unexpected(status.error());
        }
        return std::move(report_);
    }

  private:
    struct CloseFile {
        void operator()(FILE* f) const { fclose(f); }
    };
    struct Out {
        const GgufTensor* tensor;
        std::uint32_t type;
        std::size_t bytes, offset;
    };

    Status write_all(const std::function<void(std::int64_t, std::int64_t)>& progress) {
        std::size_t offset = 0;
        for (const GgufTensor& tensor : in_.tensors()) {
            Out out{&tensor, type_of(tensor), 0, offset};
            const hearth_type_shape* shape = hearth_type_shape_find(out.type);
            const std::int64_t row = tensor.shape.back();
            out.bytes = std::size_t(tensor.n_values() / row * (row / shape->block)) *
                        std::size_t(shape->block_bytes);
            offset += (out.bytes + kAlignment - 1) / kAlignment * kAlignment;
            outs_.push_back(out);
        }
        HEARTH_CHECK_OK(put(head()));
        HEARTH_CHECK_OK(pad());
        std::int64_t n_done = 0;
        for (const Out& out : outs_) {
            HEARTH_CHECK_OK(write_tensor(out));
            HEARTH_CHECK_OK(pad());
            if (progress) progress(++n_done, std::int64_t(outs_.size()));
        }
        report_.n_tensors = std::int64_t(outs_.size());
        report_.bytes_out = n_written_;
        return {};
    }

    std::uint32_t type_of(const GgufTensor& tensor) {
        if (!is_matrix(tensor)) return tensor.type;
        std::uint32_t type = type_.tensor;
        const bool head =
            tensor.name == "output.weight" || (tied_ && tensor.name == "token_embd.weight");
        const bool heavy = tensor.name.ends_with(".attn_v.weight") ||
                           tensor.name.find(".ffn_down") != std::string_view::npos;
        if (head || (type_.mixed && heavy && takes_more(layer_of(tensor.name), n_layer_)))
            type = type_.more;
        const std::int64_t row = tensor.shape.back();
        const std::uint32_t wanted = type;
        while (row % hearth_type_shape_find(type)->block != 0) type = of_smaller_blocks(type);
        if (type != wanted)
            report_.fallbacks.push_back(format("{}: rows of {}, {} instead of {}", tensor.name, row,
                                               hearth_type_shape_find(type)->name,
                                               hearth_type_shape_find(wanted)->name));
        return type;
    }

    // Header, metadata and tensor table. A pair's bytes lie between its key's length (8 bytes
    // before the key) and the next one's; the tensor table follows the last.
    std::string head() {
        std::string pairs;
        std::uint64_t n_pairs = 0;
        const auto& metadata = in_.metadata();
        for (std::size_t i = 0; i < metadata.size(); ++i) {
            const std::string_view key = metadata[i].first;
            if (key == "general.file_type" || key == "general.quantization_version" ||
                key == "general.alignment" || key.starts_with("split."))
                continue;
            const char* begin = key.data() - 8;
            const char* end =
                i + 1 < metadata.size() ? metadata[i + 1].first.data() - 8 : in_.metadata_end();
            pairs.append(begin, end);
            ++n_pairs;
        }
        put_pair(pairs, "general.file_type", std::uint32_t(type_.file_type));
        put_pair(pairs, "general.quantization_version", 2);
        std::string text = "GGUF";
        put_number(text, std::uint32_t(3));
        put_number(text, std::uint64_t(outs_.size()));
        put_number(text, n_pairs + 2);
        text += pairs;
        for (const Out& out : outs_) {
            put_text(text, out.tensor->name);
            put_number(text, std::uint32_t(out.tensor->shape.size()));
            for (auto it = out.tensor->shape.rbegin(); it != out.tensor->shape.rend(); ++it)
                put_number(text, std::uint64_t(*it));
            put_number(text, out.type);
            put_number(text, std::uint64_t(out.offset));
        }
        return text;
    }

    template <class T>
    static void put_number(std::string& to, T value) {
        static_assert(std::endian::native == std::endian::little);
        to.append(reinterpret_cast<const char*>(&value), sizeof value);
    }
    static void put_text(std::string& to, std::string_view text) {
        put_number(to, std::uint64_t(text.size()));
        to += text;
    }
    static void put_pair(std::string& to, std::string_view key, std::uint32_t value) {
        put_text(to, key);
        put_number(to, std::uint32_t(GgufType::u32));
        put_number(to, value);
    }

    Status put(std::string_view bytes) {
        if (fwrite(bytes.data(), 1, bytes.size(), file_.get()) != bytes.size())
            return fail(ErrorKind::invalid_request,
                        format("cannot write: {}", std::strerror(errno)));
        n_written_ += bytes.size();
        return {};
    }
    Status pad() {
        return put(std::string((kAlignment - n_written_ % kAlignment) % kAlignment, '\0'));
    }

    Status write_tensor(const Out& out) {
        const GgufTensor& tensor = *out.tensor;
        report_.bytes_in += tensor.bytes.size();
        const hearth_format* from = hearth_format_find(&kernels_, tensor.type);
        if (out.type == tensor.type) {
            if (from) HEARTH_CHECK_OK(check_copied(tensor, *from));
            return put({reinterpret_cast<const char*>(tensor.bytes.data()), tensor.bytes.size()});
        }
        const hearth_format* to = hearth_format_find(&kernels_, out.type);
        if (!from || !to)
            return fail(ErrorKind::invalid_request,
                        format("{} is {}, which cannot be read here; start from an f16, bf16 or "
                               "f32 file",
                               tensor.name, type_name(tensor.type)));
        ++report_.n_quantized;
        // A slab of rows at a time, so that memory stays small whatever the model.
        const std::int64_t row = tensor.shape.back(), n_rows = tensor.n_values() / row;
        const std::size_t out_bytes = out.bytes / std::size_t(n_rows);
        const std::int64_t slab = slab_rows(row, n_rows);
        floats_.resize(std::size_t(slab * row));
        bytes_.resize(std::size_t(slab) * out_bytes);
        for (std::int64_t at = 0; at < n_rows; at += slab) {
            const std::int64_t n = std::min(slab, n_rows - at);
            FirstBad bad;
            pool_.run(n, [&](std::int64_t i) {
                float* values = floats_.data() + i * row;
                char* bytes = bytes_.data() + std::size_t(i) * out_bytes;
                decode_row(values, tensor, *from, at + i);
                // Encoders require finite values; what they write may still be none: a scale, or
                // a value by itself, beyond the largest of 16 bits.
                if (!all_finite(values, row)) return bad.note(at + i);
                to->encode(bytes, values, row);
                to->decode(values, bytes, row);
                if (!all_finite(values, row)) bad.note(at + i);
            });
            if (const std::int64_t r = bad.row(); r >= 0) return refuse(tensor, *from, *to, r);
            HEARTH_CHECK_OK(put({bytes_.data(), std::size_t(n) * out_bytes}));
        }
        return {};
    }

    // The first row that something is wrong with, whichever thread meets it first.
    class FirstBad {
      public:
        void note(std::int64_t row) {
            std::int64_t known = row_.load();
            while (row < known && !row_.compare_exchange_weak(known, row)) {
            }
        }
        std::int64_t row() const { return row_ == kNone ? -1 : row_.load(); }

      private:
        static constexpr std::int64_t kNone = INT64_MAX;
        std::atomic<std::int64_t> row_ = kNone;
    };

    static std::int64_t slab_rows(std::int64_t row, std::int64_t n_rows) {
        return std::clamp<std::int64_t>((64 << 20) / (row * 4), 1,
                                        std::min<std::int64_t>(n_rows, 1 << 19));
    }

    // Without a branch, so that it costs little beside the encoders.
    static bool all_finite(const float* values, std::int64_t n) {
        constexpr std::uint32_t kExponent = 0x7f800000;  // all ones: infinity or NaN
        bool bad = false;
        for (std::int64_t i = 0; i < n; ++i)
            bad |= (std::bit_cast<std::uint32_t>(values[i]) & kExponent) == kExponent;
        return !bad;
    }

    static void decode_row(float* values, const GgufTensor& tensor, const hearth_format& from,
                           std::int64_t i) {
        const std::int64_t row = tensor.shape.back();
        const std::size_t bytes = tensor.bytes.size() / std::size_t(tensor.n_values() / row);
        from.decode(values, tensor.bytes.data() + std::size_t(i) * bytes, row);
    }

    // What is copied is looked at as well: a file that cannot answer is not worth its name.
    Status check_copied(const GgufTensor& tensor, const hearth_format& from) {
        const std::int64_t row = tensor.shape.back(), n_rows = tensor.n_values() / row;
        const std::int64_t slab = slab_rows(row, n_rows);
        floats_.resize(std::size_t(slab * row));
        FirstBad bad;
        for (std::int64_t at = 0; at < n_rows && bad.row() < 0; at += slab)
            pool_.run(std::min(slab, n_rows - at), [&](std::int64_t i) {
                float* values = floats_.data() + i * row;
                decode_row(values, tensor, from, at + i);
                if (!all_finite(values, row)) bad.note(at + i);
            });
        return bad.row() < 0 ? Status() : refuse(tensor, from, from, bad.row());
    }

    // The error for that row: a value that is none or, where all are, the greatest.
    Status refuse(const GgufTensor& tensor, const hearth_format& from, const hearth_format& to,
                  std::int64_t row_at) {
        const std::int64_t row = tensor.shape.back();
        floats_.resize(std::size_t(row));
        decode_row(floats_.data(), tensor, from, row_at);
        const auto rank = [](float v) {
            return std::isfinite(v) ? std::fabs(v) : std::numeric_limits<float>::infinity();
        };
        const auto worst = std::max_element(floats_.begin(), floats_.end(),
                                            [&](float a, float b) { return rank(a) < rank(b); });
        const auto col = worst - floats_.begin();
        if (!std::isfinite(*worst))
            return fail(ErrorKind::invalid_request,
                        format("{} holds {} at row {}, column {}: the file is damaged, or was "
                               "written after a training that diverged; fetch or convert it again",
                               tensor.name, *worst, row_at, col));
        return fail(ErrorKind::invalid_request,
                    format("{} holds {} at row {}, column {}, more than {} can: its blocks would "
                           "become infinite; write the model as bf16 or f32",
                           tensor.name, *worst, row_at, col, to.name));
    }

    static std::string type_name(std::uint32_t type) {
        const hearth_type_shape* shape = hearth_type_shape_find(type);
        return shape ? shape->name : format("type {}", type);
    }

    const Gguf& in_;
    const QuantizeType& type_;
    ThreadPool& pool_;
    const hearth_kernels& kernels_;
    std::int64_t n_layer_ = 0;
    bool tied_ = false;
    std::vector<Out> outs_;
    std::unique_ptr<FILE, CloseFile> file_;
    std::size_t n_written_ = 0;
    std::vector<float> floats_;
    std::vector<char> bytes_;
    QuantizeReport report_;
};

}  // namespace

const QuantizeType* find_quantize_type(std::string_view name) {
    for (const QuantizeType& type : kTypes) {
        if (std::ranges::equal(name, std::string_view(type.name),
                               [](char a, char b) { return std::tolower((unsigned char)a) == b; }))
            return &type;
    }
    return nullptr;
}

std::string quantize_type_names() {
    std::string names;
    for (const QuantizeType& type : kTypes) append_name(names, type.name);
    return names;
}

Result<QuantizeReport> quantize(const Gguf& in, const std::string& out_path,
                                const QuantizeType& type, ThreadPool& pool,
                                const std::function<void(std::int64_t, std::int64_t)>& progress) {
    if (in.tensors().empty())
        return fail(ErrorKind::invalid_request,
                    "the file holds no tensors; there is nothing to quantize");
    return Quantizer(in, type, pool).run(out_path, progress);
}

}  // namespace hearth::model
