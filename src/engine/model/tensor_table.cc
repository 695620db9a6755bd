#include "engine/model/tensor_table.h"

#include <cstring>
#include <limits>

#include "base/format.h"
#include "engine/kernels/kernels.h"

namespace hearth::model {
namespace {

std::string shape_text(const std::vector<std::int64_t>& shape) {
    std::string out = "[";
    for (std::size_t i = 0; i < shape.size(); ++i) out += format("{}{}", i ? ", " : "", shape[i]);
    return out + "]";
}

}  // namespace

Result<const GgufTensor*> TensorTable::expect(const std::string& name,
                                              const std::vector<std::int64_t>& shape,
                                              std::string_view from) {
    const GgufTensor* tensor = gguf_.find_tensor(name);
    if (!tensor)
        return fail(ErrorKind::not_found,
                    format("tensor {} is missing, expected {} from {}; the file is of another "
                           "architecture or incomplete",
                           name, shape_text(shape), from));
    // Some writers keep trailing dimensions of 1, which the loader has turned to the front.
    std::size_t lead = 0;
    while (tensor->shape.size() - lead > shape.size() && tensor->shape[lead] == 1) ++lead;
    const std::vector<std::int64_t> found(tensor->shape.begin() + std::ptrdiff_t(lead),
                                          tensor->shape.end());
    if (found != shape)
        return fail(ErrorKind::invalid_request,
                    format("{} is {}, expected {} from {}; the file is of another architecture or "
                           "damaged",
                           name, shape_text(tensor->shape), shape_text(shape), from));
    taken_.insert(tensor);
    return tensor;
}

Status TensorTable::take(Weight& out, const std::string& name,
                         const std::vector<std::int64_t>& shape, std::string_view from) {
    HEARTH_TRY(const GgufTensor* tensor, expect(name, shape, from));
    HEARTH_TRY(out, device_.load(*tensor));
    return {};
}

Result<std::vector<float>> TensorTable::take_numbers(const std::string& name, std::int64_t n,
                                                     std::string_view from) {
    HEARTH_TRY(const GgufTensor* tensor, expect(name, {n}, from));
    constexpr std::uint32_t kF32 = 0;  // GGUF tensor type
    if (tensor->type != kF32) {
        const hearth_type_shape* type = hearth_type_shape_find(tensor->type);
        return fail(ErrorKind::invalid_request,
                    format("{} is of type {}, expected f32; convert the file again", name,
                           type ? type->name : "?"));
    }
    std::vector<float> out(std::size_t(n), 0.0f);
    std::memcpy(out.data(), tensor->bytes.data(), tensor->bytes.size());
    return out;
}

Status TensorTable::all_taken(std::string_view arch) const {
    for (const GgufTensor& tensor : gguf_.tensors())
        if (!taken_.contains(&tensor))
            return fail(ErrorKind::invalid_request,
                        format("tensor {} is not part of architecture {} as this program computes "
                               "it; answers would be wrong without it",
                               tensor.name, arch));
    return {};
}

Result<std::int64_t> ArchKeys::count(std::string_view name, std::int64_t high,
                                     std::optional<std::int64_t> fallback, std::int64_t low) const {
    return gguf_.integer(key(name), low, high, fallback);
}

Result<float> ArchKeys::positive(std::string_view name, std::optional<double> fallback) const {
    HEARTH_TRY(const double v, gguf_.number(key(name), fallback));
    // Above 0 as f32 as well; what is beyond f32 has no defined conversion.
    const float f = v > 0 && v <= double(std::numeric_limits<float>::max()) ? float(v) : 0.0f;
    if (!(f > 0))
        return fail(
            ErrorKind::invalid_request,
            format("key {} is {}, expected a number above 0; the file is damaged", key(name), v));
    return f;
}

Result<std::string_view> ArchKeys::text(std::string_view name, std::string_view fallback) const {
    return gguf_.text(key(name), fallback);
}

}  // namespace hearth::model
