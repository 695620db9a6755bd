#include "engine/model/kv_store.h"

#include <sys/mman.h>

#include <string>

#include "base/format.h"
#include "base/suggest.h"

namespace hearth::model {
namespace {

// a * b, or false where it does not fit.
bool multiply(std::size_t& a, std::int64_t b) {
    return b > 0 && !__builtin_mul_overflow(a, std::size_t(b), &a);
}

std::string known_types(const hearth_kernels& kernels) {
    std::string names;
    for (const hearth_kv_type* const* at = kernels.kv_types; *at; ++at)
        append_name(names, (*at)->name);
    return names;
}

}  // namespace

Result<std::size_t> CpuKvStore::row_bytes(const hearth_kernels& kernels, const std::string& type,
                                          std::int64_t head_dim) {
    const hearth_kv_type* found = hearth_kv_type_find(&kernels, type.c_str());
    if (!found)
        return fail(ErrorKind::invalid_request,
                    format("KV cache type \"{}\" is unknown; choose one of {}", type,
                           known_types(kernels)));
    if (head_dim < 1 || head_dim > kCpuHeadDimMax)
        return fail(ErrorKind::invalid_request,
                    format("head_dim is {}, the KV cache takes 1 to {}", head_dim, kCpuHeadDimMax));
    if (head_dim % found->block != 0)
        return fail(
            ErrorKind::invalid_request,
            format("KV cache type \"{}\" stores {} values at a time, and this model's heads "
                   "have {}; choose f16 or bf16",
                   type, found->block, head_dim));
    return found->row_bytes(head_dim);
}

Result<std::unique_ptr<KvStore>> CpuKvStore::make(const hearth_kernels& kernels,
                                                  const KvShape& shape) {
    std::unique_ptr<CpuKvStore> kv(new CpuKvStore);
    kv->shape_ = shape;
    HEARTH_TRY(kv->row_bytes_, row_bytes(kernels, shape.type, shape.head_dim));
    kv->type_ = hearth_kv_type_find(&kernels, shape.type.c_str());
    std::size_t all = kv->row_bytes_ * 2 * std::size_t(kBlockTokens);
    const bool fits = multiply(all, shape.n_head_kv) && multiply(all, shape.n_layer) &&
                      multiply(all, shape.n_block) && all <= std::size_t(PTRDIFF_MAX) &&
                      shape.n_block <= INT32_MAX;
    if (!fits)
        return fail(ErrorKind::invalid_request,
                    format("KV cache of {} layers, {} heads, {} blocks is empty or too large",
                           shape.n_layer, shape.n_head_kv, shape.n_block));
    void* at = ::mmap(nullptr, all, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED)
        return fail(ErrorKind::does_not_fit,
                    format("the KV cache needs {} MiB and the system refused them; use a smaller "
                           "context or fewer sequences",
                           all >> 20));
    kv->data_ = static_cast<std::byte*>(at);
    kv->bytes_ = all;
    return kv;
}

CpuKvStore::~CpuKvStore() {
    if (data_) ::munmap(data_, bytes_);
}

}  // namespace hearth::model
