// GGUF parsing: one forward pass with a reader that never moves past the end.
//
//   magic "GGUF" | version u32 | n_tensors u64 | n_keys u64
//   n_keys    × (key string, type u32, value)          string = length u64, bytes
//   n_tensors × (name string, n_dims u32, dims u64[n_dims] innermost first, type u32, offset u64)
//   padding to general.alignment, then the tensors' data; offsets count from here
//
// Little endian. Each count is compared with the bytes that are left before anything is reserved,
// and keys and tensors are looked up through sorted indices: an entry costs 60 bytes of memory for
// at least 14 bytes of file, a tensor at most 116 for at least 41. That is what keeps memory under
// 4 times the file, and no file can choose colliding hashes. Source: the GGUF specification,
// ggml/docs/gguf.md.
#include "engine/model/gguf.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <numeric>

#include "base/format.h"
#include "base/utf8.h"
#include "engine/kernels/kernels.h"
#include "engine/model/limits.h"

namespace hearth::model {
namespace {

static_assert(std::endian::native == std::endian::little, "GGUF numbers are read in place");

constexpr const char* kDamaged = "the file is truncated or damaged; fetch it again";

std::unexpected<Error> bad(std::string message) {
    return fail(ErrorKind::invalid_request, std::move(message));
}

// Size of a value of fixed size; 0 for strings, arrays and unknown types.
std::size_t fixed_size(GgufType type) {
    switch (type) {
        case GgufType::u8:
        case GgufType::i8:
        case GgufType::boolean:
            return 1;
        case GgufType::u16:
        case GgufType::i16:
            return 2;
        case GgufType::u32:
        case GgufType::i32:
        case GgufType::f32:
            return 4;
        case GgufType::u64:
        case GgufType::i64:
        case GgufType::f64:
            return 8;
        default:
            return 0;
    }
}

class Reader {
  public:
    explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}
    std::size_t at() const { return at_; }
    std::size_t left() const { return bytes_.size() - at_; }
    const std::byte* here() const { return bytes_.data() + at_; }

    template <class T>
    bool take(T& out) {
        if (left() < sizeof(T)) return false;
        std::memcpy(&out, here(), sizeof(T));
        at_ += sizeof(T);
        return true;
    }
    bool skip(std::uint64_t n) {
        if (n > left()) return false;
        at_ += std::size_t(n);
        return true;
    }
    bool take_string(std::string_view& out) {
        std::uint64_t n = 0;
        if (!take(n) || n > left()) return false;
        out = {reinterpret_cast<const char*>(here()), std::size_t(n)};
        at_ += std::size_t(n);
        return true;
    }

  private:
    std::span<const std::byte> bytes_;
    std::size_t at_ = 0;
};

// What is wrong with an array, or null. Leaves the reader behind the array and out filled.
const char* take_array(Reader& in, GgufArray& out, int depth) {
    std::uint32_t type = 0;
    if (!in.take(type) || !in.take(out.count)) return "the array's head is cut off";
    out.element = GgufType(type);
    const std::byte* begin = in.here();
    if (const std::size_t size = fixed_size(out.element); size != 0) {
        if (out.count > in.left() / size) return "the array runs past the end of the file";
        in.skip(out.count * size);
        out.bytes = {begin, std::size_t(out.count * size)};
        if (out.element == GgufType::boolean)
            for (const std::byte b : out.bytes)
                if (b > std::byte{1}) return "a boolean is neither 0 nor 1";
        return nullptr;
    }
    if (out.element == GgufType::string) {
        if (out.count > in.left() / 8) return "the array runs past the end of the file";
        std::string_view text;
        for (std::uint64_t i = 0; i < out.count; ++i)
            if (!in.take_string(text)) return "a string of the array runs past the end of the file";
    } else if (out.element == GgufType::array) {
        if (depth + 1 >= kGgufNestingMax) return "arrays are nested too deeply";
        if (out.count > in.left() / 12) return "the array runs past the end of the file";
        GgufArray inner;
        for (std::uint64_t i = 0; i < out.count; ++i)
            if (const char* wrong = take_array(in, inner, depth + 1)) return wrong;
    } else {
        return "the element type is unknown";
    }
    out.bytes = {begin, std::size_t(in.here() - begin)};
    return nullptr;
}

template <class T, class As>
const char* take_number(Reader& in, GgufValue& out) {
    T v{};
    if (!in.take(v)) return "the value is cut off";
    out = As(v);
    return nullptr;
}

// What is wrong with a value of that type, or null.
const char* take_value(Reader& in, GgufType type, GgufValue& out) {
    switch (type) {
        case GgufType::u8:
            return take_number<std::uint8_t, std::uint64_t>(in, out);
        case GgufType::u16:
            return take_number<std::uint16_t, std::uint64_t>(in, out);
        case GgufType::u32:
            return take_number<std::uint32_t, std::uint64_t>(in, out);
        case GgufType::u64:
            return take_number<std::uint64_t, std::uint64_t>(in, out);
        case GgufType::i8:
            return take_number<std::int8_t, std::int64_t>(in, out);
        case GgufType::i16:
            return take_number<std::int16_t, std::int64_t>(in, out);
        case GgufType::i32:
            return take_number<std::int32_t, std::int64_t>(in, out);
        case GgufType::i64:
            return take_number<std::int64_t, std::int64_t>(in, out);
        case GgufType::f32:
            return take_number<float, double>(in, out);
        case GgufType::f64:
            return take_number<double, double>(in, out);
        case GgufType::boolean: {
            std::uint8_t v = 0;
            if (!in.take(v)) return "the value is cut off";
            if (v > 1) return "a boolean is neither 0 nor 1";
            out = v == 1;
            return nullptr;
        }
        case GgufType::string: {
            std::string_view text;
            if (!in.take_string(text)) return "the string runs past the end of the file";
            out = text;
            return nullptr;
        }
        case GgufType::array: {
            GgufArray array;
            if (const char* wrong = take_array(in, array, 0)) return wrong;
            out = array;
            return nullptr;
        }
    }
    return "the value type is unknown";
}

struct Head {
    std::uint32_t version = 0;
    std::uint64_t n_tensors = 0, n_keys = 0;
};

// Smallest entries: a one-byte key with a one-byte value; a one-byte name with one dimension.
constexpr std::uint64_t kKeyEntryMin = 8 + 1 + 4 + 1, kTensorEntryMin = 8 + 1 + 4 + 8 + 4 + 8;

Result<Head> take_head(Reader& in) {
    char magic[4];
    Head head;
    if (!in.take(magic) || std::memcmp(magic, "GGUF", 4) != 0)
        return bad("not a GGUF file: it does not begin with \"GGUF\"");
    if (!in.take(head.version))
        return bad(format("the version at offset 4 is cut off; {}", kDamaged));
    if (head.version == 0x02000000u || head.version == 0x03000000u)
        return bad("the file is a big-endian GGUF, which is not supported; convert it");
    if (head.version != 2 && head.version != 3)
        return bad(format("GGUF version {} is not supported (2 and 3 are); convert the file again",
                          head.version));
    if (!in.take(head.n_tensors) || !in.take(head.n_keys))
        return bad(format("the header at offset 8 is cut off; {}", kDamaged));
    if (head.n_keys > kGgufKeysMax || head.n_keys > in.left() / kKeyEntryMin)
        return bad(
            format("the header at offset 16 counts {} keys, more than the file can hold "
                   "or than the limit of {}; {}",
                   head.n_keys, kGgufKeysMax, kDamaged));
    if (head.n_tensors > kGgufTensorsMax || head.n_tensors > in.left() / kTensorEntryMin)
        return bad(
            format("the header at offset 8 counts {} tensors, more than the file can hold "
                   "or than the limit of {}; {}",
                   head.n_tensors, kGgufTensorsMax, kDamaged));
    return head;
}

Result<std::pair<std::string_view, GgufValue>> take_entry(Reader& in, std::uint64_t index) {
    const std::size_t offset = in.at();
    std::pair<std::string_view, GgufValue> entry;
    std::string_view& key = entry.first;
    if (!in.take_string(key) || key.empty() || key.size() > kGgufKeyBytesMax || !is_utf8(key))
        return bad(format("key number {} at offset {} is cut off, empty, too long or not UTF-8; {}",
                          index, offset, kDamaged));
    std::uint32_t type = 0;
    if (!in.take(type)) return bad(format("key {}: its type is cut off; {}", key, kDamaged));
    const std::size_t value_at = in.at();
    if (const char* wrong = take_value(in, GgufType(type), entry.second))
        return bad(
            format("key {} at offset {}: {} (type {}); {}", key, value_at, wrong, type, kDamaged));
    return entry;
}

// A tensor's place is given as an offset into data that begins only after all entries.
struct Placed {
    std::uint64_t offset = 0, size = 0;
};

// Bytes of a tensor. Errors: invalid_request, naming it, if its type is unknown, its rows are not
// whole blocks, or a product overflows.
Result<std::uint64_t> byte_size(const GgufTensor& tensor) {
    const hearth_type_shape* shape = hearth_type_shape_find(tensor.type);
    if (!shape)
        return bad(
            format("tensor {} has the unknown type {}; the file is newer than this program "
                   "or damaged",
                   tensor.name, tensor.type));
    std::uint64_t n = 1;
    for (const std::int64_t dim : tensor.shape)
        if (__builtin_mul_overflow(n, std::uint64_t(dim), &n) || n > (std::uint64_t(1) << 62))
            return bad(format("tensor {} has more than 2^62 values; {}", tensor.name, kDamaged));
    const auto block = std::uint64_t(shape->block);
    if (std::uint64_t(tensor.shape.back()) % block != 0)
        return bad(format("tensor {} has rows of {} values, but {} packs {} at a time; {}",
                          tensor.name, tensor.shape.back(), shape->name, block, kDamaged));
    std::uint64_t size = 0;
    if (__builtin_mul_overflow(n / block, std::uint64_t(shape->block_bytes), &size))
        return bad(format("tensor {} has more than 2^64 bytes; {}", tensor.name, kDamaged));
    return size;
}

Result<std::pair<GgufTensor, Placed>> take_tensor(Reader& in, std::uint64_t index) {
    const std::size_t offset = in.at();
    std::pair<GgufTensor, Placed> out;
    GgufTensor& tensor = out.first;
    if (!in.take_string(tensor.name) || tensor.name.empty() ||
        tensor.name.size() > kGgufNameBytesMax || !is_utf8(tensor.name))
        return bad(
            format("the name of tensor number {} at offset {} is cut off, empty, too long or "
                   "not UTF-8; {}",
                   index, offset, kDamaged));
    std::uint32_t n_dims = 0;
    if (!in.take(n_dims) || n_dims < 1 || n_dims > kGgufDimsMax)
        return bad(format("tensor {} at offset {} has {} dimensions, expected 1 to {}; {}",
                          tensor.name, offset, n_dims, kGgufDimsMax, kDamaged));
    tensor.shape.resize(n_dims);
    for (std::uint32_t i = n_dims; i-- > 0;) {  // the file has the innermost dimension first
        std::uint64_t dim = 0;
        if (!in.take(dim) || dim < 1 || dim > (std::uint64_t(1) << 62))
            return bad(format("tensor {} at offset {}: dimension {} is {} or cut off; {}",
                              tensor.name, offset, i, dim, kDamaged));
        tensor.shape[i] = std::int64_t(dim);
    }
    if (!in.take(tensor.type) || !in.take(out.second.offset))
        return bad(format("tensor {} at offset {} is cut off; {}", tensor.name, offset, kDamaged));
    HEARTH_TRY(out.second.size, byte_size(tensor));
    return out;
}

// Indices of the entries in the order of their names. Returns the first name that occurs twice.
template <class Entries, class Name>
std::string_view sort_by_name(const Entries& entries, std::vector<std::uint32_t>& order,
                              Name name) {
    order.resize(entries.size());
    std::iota(order.begin(), order.end(), 0u);
    std::sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
        return name(entries[a]) < name(entries[b]);
    });
    const auto twin = std::adjacent_find(
        order.begin(), order.end(),
        [&](std::uint32_t a, std::uint32_t b) { return name(entries[a]) == name(entries[b]); });
    return twin == order.end() ? std::string_view() : name(entries[*twin]);
}

std::string_view name_of_tensor(const GgufTensor& tensor) {
    return tensor.name;
}

// Points each tensor at its bytes. Requires: offsets and sizes as taken, not yet compared to the
// file.
Status place(std::span<const std::byte> data, std::uint64_t alignment,
             std::vector<GgufTensor>& tensors, const std::vector<Placed>& places) {
    std::vector<std::uint32_t> order(tensors.size());
    std::iota(order.begin(), order.end(), 0u);
    std::sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
        return places[a].offset < places[b].offset;
    });
    std::uint64_t end = 0;
    for (const std::uint32_t i : order) {
        const Placed& p = places[i];
        if (p.offset % alignment != 0)
            return bad(
                format("tensor {} begins at data offset {}, which is not a multiple of the "
                       "alignment {}; {}",
                       tensors[i].name, p.offset, alignment, kDamaged));
        if (p.offset > data.size() || p.size > data.size() - p.offset)
            return bad(
                format("tensor {} has {} bytes at data offset {}, but the file's data ends "
                       "at {}; {}",
                       tensors[i].name, p.size, p.offset, data.size(), kDamaged));
        if (p.offset < end)
            return bad(format("tensor {} at data offset {} overlaps the tensor before it; {}",
                              tensors[i].name, p.offset, kDamaged));
        end = p.offset + p.size;
        tensors[i].bytes = data.subspan(std::size_t(p.offset), std::size_t(p.size));
    }
    return {};
}

}  // namespace

std::int64_t GgufTensor::n_values() const {
    std::int64_t n = 1;
    for (const std::int64_t dim : shape) n *= dim;
    return n;
}

Result<std::size_t> Gguf::head_bytes(std::span<const std::byte> bytes) {
    Reader in(bytes);
    HEARTH_TRY(const Head head, take_head(in));
    for (std::uint64_t i = 0; i < head.n_keys; ++i)
        if (auto entry = take_entry(in, i); !entry) return std::unexpected(entry.error());
    for (std::uint64_t i = 0; i < head.n_tensors; ++i)
        if (auto tensor = take_tensor(in, i); !tensor) return std::unexpected(tensor.error());
    return in.at();
}

Result<Gguf> Gguf::parse(std::span<const std::byte> head_of_file, std::span<const std::byte> file) {
    Gguf out;
    Reader in(head_of_file);
    HEARTH_TRY(const Head head, take_head(in));
    out.version_ = head.version;
    out.metadata_.reserve(std::size_t(head.n_keys));
    for (std::uint64_t i = 0; i < head.n_keys; ++i) {
        HEARTH_TRY(auto entry, take_entry(in, i));
        out.metadata_.push_back(entry);
    }
    out.metadata_end_ = reinterpret_cast<const char*>(head_of_file.data()) + in.at();
    if (const auto twice = sort_by_name(out.metadata_, out.key_order_,
                                        [](const auto& entry) { return entry.first; });
        !twice.empty())
        return bad(format("key {} occurs twice; {}", twice, kDamaged));

    HEARTH_TRY(const auto alignment,
               out.integer("general.alignment", std::int64_t(kGgufAlignmentMin),
                           std::int64_t(kGgufAlignmentMax), 32));
    if (!std::has_single_bit(std::uint64_t(alignment)))
        return bad(format("key general.alignment is {}, expected a power of two; {}", alignment,
                          kDamaged));
    if (head.n_tensors > in.left() / kTensorEntryMin)
        return bad(
            format("the header counts {} tensors, but only {} bytes are left at offset {}; {}",
                   head.n_tensors, in.left(), in.at(), kDamaged));
    std::vector<Placed> places;
    places.reserve(std::size_t(head.n_tensors));
    out.tensors_.reserve(std::size_t(head.n_tensors));
    for (std::uint64_t i = 0; i < head.n_tensors; ++i) {
        HEARTH_TRY(auto taken, take_tensor(in, i));
        out.tensors_.push_back(std::move(taken.first));
        places.push_back(taken.second);
    }
    if (const auto twice = sort_by_name(out.tensors_, out.tensor_order_, name_of_tensor);
        !twice.empty())
        return bad(format("tensor {} occurs twice; {}", twice, kDamaged));
    const std::size_t pad =
        (std::size_t(alignment) - in.at() % std::size_t(alignment)) % std::size_t(alignment);
    const auto data = file.subspan(std::min(in.at() + pad, file.size()));
    HEARTH_CHECK_OK(place(data, std::uint64_t(alignment), out.tensors_, places));
    return out;
}

Status Gguf::append(Gguf&& part) {
    if (part.tensors_.size() > kGgufTensorsMax - tensors_.size())
        return bad(
            format("the parts have more than {} tensors together; {}", kGgufTensorsMax, kDamaged));
    for (GgufTensor& tensor : part.tensors_) tensors_.push_back(std::move(tensor));
    if (const auto twice = sort_by_name(tensors_, tensor_order_, name_of_tensor); !twice.empty())
        return bad(format("tensor {} occurs twice; {}", twice, kDamaged));
    return {};
}

}  // namespace hearth::model
