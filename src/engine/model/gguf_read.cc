// Typed reads of a parsed GGUF file: the place where metadata stops being of any type.
//
// An array's bytes were checked to be well formed by parse(), so the walks here need no bounds.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/format.h"
#include "engine/model/gguf.h"

namespace hearth::model {
namespace {

std::unexpected<Error> absent(std::string_view key) {
    return fail(ErrorKind::not_found,
                format("key {} is missing; the file is incomplete or of another kind", key));
}

std::unexpected<Error> wrong_type(std::string_view key, const char* expected) {
    return fail(ErrorKind::invalid_request,
                format("key {} is not {}; the file is damaged or of another kind", key, expected));
}

// value: what was found, of either sign.
template <class T>
std::unexpected<Error> out_of_range(std::string_view key, T value, std::int64_t low,
                                    std::int64_t high) {
    return fail(ErrorKind::invalid_request,
                format("key {} is {}, expected {} to {}; the file is damaged or of another kind",
                       key, value, low, high));
}

// A value that is stored as T, or the fallback where there is none.
template <class T>
Result<T> typed(const GgufValue* value, std::string_view key, const std::optional<T>& fallback,
                const char* expected) {
    if (!value) {
        if (fallback) return *fallback;
        return absent(key);
    }
    if (const T* v = std::get_if<T>(value)) return *v;
    return wrong_type(key, expected);
}

template <class T>
T element_at(const GgufArray& array, std::uint64_t i) {
    T v{};
    std::memcpy(&v, array.bytes.data() + i * sizeof(T), sizeof(T));
    return v;
}

template <class T, class Out>
std::vector<Out> copy_as(const GgufArray& array) {
    std::vector<Out> out(std::size_t(array.count));
    for (std::uint64_t i = 0; i < array.count; ++i)
        out[std::size_t(i)] = Out(element_at<T>(array, i));
    return out;
}

}  // namespace

const GgufValue* Gguf::find(std::string_view key) const {
    const auto it = std::lower_bound(
        key_order_.begin(), key_order_.end(), key,
        [&](std::uint32_t i, std::string_view k) { return metadata_[i].first < k; });
    if (it == key_order_.end() || metadata_[*it].first != key) return nullptr;
    return &metadata_[*it].second;
}

const GgufTensor* Gguf::find_tensor(std::string_view name) const {
    const auto it =
        std::lower_bound(tensor_order_.begin(), tensor_order_.end(), name,
                         [&](std::uint32_t i, std::string_view n) { return tensors_[i].name < n; });
    if (it == tensor_order_.end() || tensors_[*it].name != name) return nullptr;
    return &tensors_[*it];
}

Result<std::int64_t> Gguf::integer(std::string_view key, std::int64_t low, std::int64_t high,
                                   std::optional<std::int64_t> fallback) const {
    const GgufValue* value = find(key);
    if (!value) {
        if (fallback) return *fallback;
        return absent(key);
    }
    std::int64_t v = 0;
    if (const auto* u = std::get_if<std::uint64_t>(value)) {
        if (*u > std::uint64_t(INT64_MAX)) return out_of_range(key, *u, low, high);
        v = std::int64_t(*u);
    } else if (const auto* i = std::get_if<std::int64_t>(value)) {
        v = *i;
    } else {
        return wrong_type(key, "an integer");
    }
    if (v < low || v > high) return out_of_range(key, v, low, high);
    return v;
}

Result<double> Gguf::number(std::string_view key, std::optional<double> fallback) const {
    const GgufValue* value = find(key);
    if (!value) {
        if (fallback) return *fallback;
        return absent(key);
    }
    if (const auto* d = std::get_if<double>(value)) return *d;
    if (const auto* u = std::get_if<std::uint64_t>(value)) return double(*u);
    if (const auto* i = std::get_if<std::int64_t>(value)) return double(*i);
    return wrong_type(key, "a number");
}

Result<std::string_view> Gguf::text(std::string_view key,
                                    std::optional<std::string_view> fallback) const {
    return typed(find(key), key, fallback, "a string");
}

Result<bool> Gguf::boolean(std::string_view key, std::optional<bool> fallback) const {
    return typed(find(key), key, fallback, "a boolean");
}

Result<std::vector<std::string_view>> Gguf::texts(std::string_view key) const {
    const GgufValue* value = find(key);
    if (!value) return absent(key);
    const auto* array = std::get_if<GgufArray>(value);
    if (!array || array->element != GgufType::string) return wrong_type(key, "an array of strings");
    std::vector<std::string_view> out;
    out.reserve(std::size_t(array->count));
    const char* at = reinterpret_cast<const char*>(array->bytes.data());
    for (std::uint64_t i = 0; i < array->count; ++i) {
        std::uint64_t n = 0;
        std::memcpy(&n, at, sizeof n);
        out.emplace_back(at + sizeof n, std::size_t(n));
        at += sizeof n + n;
    }
    return out;
}

Result<std::vector<std::int64_t>> Gguf::integers(std::string_view key) const {
    const GgufValue* value = find(key);
    if (!value) return absent(key);
    if (const auto* array = std::get_if<GgufArray>(value)) switch (array->element) {
            case GgufType::u8:
                return copy_as<std::uint8_t, std::int64_t>(*array);
            case GgufType::i8:
                return copy_as<std::int8_t, std::int64_t>(*array);
            case GgufType::u16:
                return copy_as<std::uint16_t, std::int64_t>(*array);
            case GgufType::i16:
                return copy_as<std::int16_t, std::int64_t>(*array);
            case GgufType::u32:
                return copy_as<std::uint32_t, std::int64_t>(*array);
            case GgufType::i32:
                return copy_as<std::int32_t, std::int64_t>(*array);
            case GgufType::u64:  // values from 2^63 up become negative, which callers' bounds
                                 // refuse
                return copy_as<std::uint64_t, std::int64_t>(*array);
            case GgufType::i64:
                return copy_as<std::int64_t, std::int64_t>(*array);
            default:
                break;
        }
    return wrong_type(key, "an array of integers");
}

Result<std::vector<float>> Gguf::numbers(std::string_view key) const {
    const GgufValue* value = find(key);
    if (!value) return absent(key);
    const auto* array = std::get_if<GgufArray>(value);
    if (array && array->element == GgufType::f32) return copy_as<float, float>(*array);
    if (array && array->element == GgufType::f64) {
        // A double beyond f32 has no defined conversion; it becomes the infinity that it stands
        // for.
        std::vector<float> out(std::size_t(array->count));
        for (std::uint64_t i = 0; i < array->count; ++i) {
            const double d = element_at<double>(*array, i);
            out[std::size_t(i)] = std::fabs(d) > 3.4028234663852886e38
                                      ? std::copysign(HUGE_VALF, d < 0 ? -1.0f : 1.0f)
                                      : float(d);
        }
        return out;
    }
    return wrong_type(key, "an array of numbers");
}

}  // namespace hearth::model
