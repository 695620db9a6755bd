// Choosing an ISA, the registries, and what each object exports.
#include <cstring>
#include <fstream>
#include <set>
#include <sstream>

#include "engine/kernels/cpu.h"
#include "unit/kernels/kernels_support.h"

namespace hearth::test {
namespace {

TEST(Dispatch, the_first_table_is_the_scalar_oracle_and_runs_everywhere) {
    EXPECT_STREQ(scalar().isa, "scalar");
    EXPECT_TRUE(scalar().supported());
    EXPECT_EQ(hearth_kernels_pick("scalar"), &scalar());
}

TEST(Dispatch, the_best_supported_table_is_picked_and_any_can_be_forced) {
    const auto tables = supported_tables();
    const hearth_kernels* best = nullptr;
    for (const hearth_kernels* table : tables)
        if (table->preferred()) best = table;
    EXPECT_EQ(hearth_kernels_pick(nullptr), best);
    for (const hearth_kernels* table : tables) EXPECT_EQ(hearth_kernels_pick(table->isa), table);
}

// On other makers' machines the dot of bf16 pairs is slower than what it would replace.
TEST(Dispatch, pairs_of_bf16_are_taken_by_themselves_on_amd_alone) {
    const hearth_kernels* pairs = hearth_kernels_pick("avx512bf16");
    if (!pairs) GTEST_SKIP() << "this machine has no such dot";
    EXPECT_EQ(hearth_kernels_pick(nullptr) == pairs, hearth_cpu_has("amd") == 1);
    EXPECT_EQ(hearth_format_find(pairs, 30)->act, HEARTH_ACT_BF16);
    EXPECT_EQ(hearth_format_find(pairs, 1)->act, HEARTH_ACT_F32);
}

TEST(Dispatch, unknown_names_are_refused) {
    for (const char* name : {"", "AVX2", "avx", "avx2 ", "neon9", "scalar,avx2"})
        EXPECT_EQ(hearth_kernels_pick(name), nullptr) << name;
}

#if defined(__x86_64__)
// The kernel reads CPUID and XCR0 too, and lists only what it saves on a switch.
TEST(Dispatch, features_are_those_that_the_operating_system_lists) {
    std::ifstream file("/proc/cpuinfo");
    std::set<std::string> listed;
    std::string maker;
    for (std::string line; std::getline(file, line);) {
        if (line.rfind("vendor_id", 0) == 0) maker = line.substr(line.find(':') + 2);
        if (line.rfind("flags", 0) != 0) continue;
        std::istringstream words(line.substr(line.find(':') + 1));
        for (std::string word; words >> word;) listed.insert(word);
        break;
    }
    if (listed.empty()) GTEST_SKIP() << "no flags in /proc/cpuinfo";
    const std::pair<const char*, const char*> names[] = {{"fma", "fma"},
                                                         {"avx", "avx"},
                                                         {"f16c", "f16c"},
                                                         {"avx2", "avx2"},
                                                         {"avx512f", "avx512f"},
                                                         {"avx512dq", "avx512dq"},
                                                         {"avx512bw", "avx512bw"},
                                                         {"avx512vl", "avx512vl"},
                                                         {"avx512vnni", "avx512_vnni"},
                                                         {"avxvnni", "avx_vnni"},
                                                         {"avx512bf16", "avx512_bf16"}};
    for (const auto& [ours, theirs] : names)
        EXPECT_EQ(hearth_cpu_has(ours), int(listed.contains(theirs))) << ours;
    EXPECT_EQ(hearth_cpu_has("amd"), int(maker == "AuthenticAMD"));
    EXPECT_EQ(hearth_cpu_has("ymm"), int(listed.contains("avx")));
    EXPECT_EQ(hearth_cpu_has("zmm"), int(listed.contains("avx512f")));
}
#endif

TEST(Dispatch, every_named_feature_is_needed_and_unknown_features_are_not_had) {
    EXPECT_TRUE(hearth_cpu_has(""));
    EXPECT_FALSE(hearth_cpu_has("avx9000"));
    EXPECT_FALSE(hearth_cpu_has("fma avx9000"));
    EXPECT_FALSE(hearth_cpu_has("avx9000 fma"));
}

TEST(Registry, every_isa_has_the_same_formats_and_types_in_the_same_order) {
    for (const hearth_kernels* const* at = hearth_kernels_all; *at; ++at) {
        const auto formats = formats_of(**at), expected = formats_of(scalar());
        ASSERT_EQ(formats.size(), expected.size());
        for (std::size_t i = 0; i < formats.size(); ++i) {
            EXPECT_STREQ(formats[i]->name, expected[i]->name);
            EXPECT_EQ(formats[i]->gguf_type, expected[i]->gguf_type);
            EXPECT_EQ(formats[i]->block, expected[i]->block);
        }
        for (const char* type : {"f32", "f16", "bf16", "q8_0"})
            EXPECT_NE(hearth_kv_type_find(*at, type), nullptr) << (*at)->isa << type;
        EXPECT_EQ(hearth_kv_type_find(*at, "f64"), nullptr);
        EXPECT_EQ(hearth_format_find(*at, 4), nullptr);  // retired number
    }
}

TEST(Registry, the_formats_that_people_have_are_there) {
    for (const std::uint32_t type : {0u, 1u, 2u, 3u, 6u, 7u, 8u, 12u, 13u, 14u, 30u})
        EXPECT_NE(hearth_format_find(&scalar(), type), nullptr) << type;
}

TEST(Registry, formats_agree_with_the_list_of_types) {
    for (const hearth_format* format : formats_of(scalar())) {
        const hearth_type_shape* shape = hearth_type_shape_find(format->gguf_type);
        ASSERT_NE(shape, nullptr) << format->name;
        EXPECT_STRCASEEQ(shape->name, format->name);
        EXPECT_EQ(shape->block, format->block);
        EXPECT_EQ(shape->block_bytes, format->block_bytes);
    }
}

TEST(Registry, retired_and_future_types_are_unknown) {
    for (const std::uint32_t type : {4u, 5u, 31u, 32u, 33u, 36u, 37u, 38u, 1000u, 0xffffffffu})
        EXPECT_EQ(hearth_type_shape_find(type), nullptr) << type;
    // Bits for each weight, from the names: Q4_K is 4.5, Q6_K 6.5625, IQ4_XS 4.25.
    EXPECT_EQ(hearth_type_shape_find(12)->block_bytes * 8.0 / 256, 4.5);
    EXPECT_EQ(hearth_type_shape_find(14)->block_bytes * 8.0 / 256, 6.5625);
    EXPECT_EQ(hearth_type_shape_find(23)->block_bytes * 8.0 / 256, 4.25);
}

}  // namespace
}  // namespace hearth::test
