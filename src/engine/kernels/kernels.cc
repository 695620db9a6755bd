// Choosing a table, and looking into one.
#include "engine/kernels/kernels.h"

#include <string.h>

extern "C" {

hearth_kernels hearth_kernels_over(const hearth_kernels* own, const hearth_kernels* base,
                                   const hearth_format** formats, int n) {
    int i = 0;
    for (; base->formats[i] != nullptr; ++i) {
        if (i + 1 >= n) __builtin_trap();
        const hearth_format* other = hearth_format_find(own, base->formats[i]->gguf_type);
        formats[i] = other ? other : base->formats[i];
    }
    formats[i] = nullptr;
    hearth_kernels out = *own;
    out.formats = formats;
    out.kv_types = base->kv_types;
    return out;
}

const hearth_kernels* hearth_kernels_pick(const char* isa_or_null) {
    const hearth_kernels* best = nullptr;
    for (const hearth_kernels* const* at = hearth_kernels_all; *at != nullptr; ++at) {
        if (isa_or_null ? strcmp((*at)->isa, isa_or_null) != 0 : !(*at)->preferred()) continue;
        if ((*at)->supported()) best = *at;
    }
    return best;
}

const hearth_format* hearth_format_find(const hearth_kernels* table, uint32_t gguf_type) {
    for (const hearth_format* const* at = table->formats; *at != nullptr; ++at)
        if ((*at)->gguf_type == gguf_type) return *at;
    return nullptr;
}

const hearth_kv_type* hearth_kv_type_find(const hearth_kernels* table, const char* name) {
    for (const hearth_kv_type* const* at = table->kv_types; *at != nullptr; ++at)
        if (strcmp((*at)->name, name) == 0) return *at;
    return nullptr;
}

}  // extern "C"
