// Packed weights of whole models: the same bits, found again, and never those of another model.
#include "engine/model/packing.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "base/file.h"
#include "base/format.h"
#include "engine/model/packed_file.h"
#include "support/data.h"
#include "support/model_check.h"
#include "support/tiny_model.h"

namespace hearth::test {
namespace {

namespace fs = std::filesystem;
using model::PackedFile;
using model::Shards;

std::string write_model(const std::string& folder, std::uint32_t type, std::uint64_t seed = 1,
                        const std::string& family = "llama") {
    TinyModel shape = tiny_of(family, type);
    shape.seed = seed;
    std::string path = folder + "/m.gguf";
    EXPECT_TRUE(write_file(path, tiny_model(shape).bytes()));
    return path;
}

std::unique_ptr<model::Device> device_of(const std::string& isa = "") {
    return model::make_cpu_device(isa, 1).value();
}

// The model at a path with packed weights in a folder ("": without), and its device.
struct Loaded {
    Loaded(const std::string& path, const std::string& packed_folder, const std::string& isa = "")
        : device(device_of(isa)),
          model(
              model::Model::load({.name = "m", .path = path, .bytes = {}}, *device,
                                 {.max_rows = 64, .max_logits = 64, .packed_folder = packed_folder})
                  .value()) {}
    std::vector<float> logits(std::int64_t chunk = 64) {
        Ids ids;
        for (int i = 0; i < 20; ++i) ids.push_back(i * 7 % int(model->config().n_vocab));
        return Runner(*model, *device, "f32", 64).feed(ids, chunk);
    }
    std::unique_ptr<model::Device> device;
    std::unique_ptr<model::Model> model;
};

std::vector<std::string> files_of(const std::string& folder, const std::string& ending) {
    std::vector<std::string> out;
    std::error_code none;
    for (const auto& entry : fs::directory_iterator(folder, none))
        if (entry.path().extension() == ending) out.push_back(entry.path().string());
    return out;
}

bool is_found(const std::string& path, const std::string& folder) {
    const auto device = device_of();
    const Loaded loaded(path, "");  // find() asks of tensors that were loaded
    const Shards shards = Shards::open(path).value();
    return PackedFile::find(folder, shards, *loaded.device).has_value();
}

void make(const std::string& path, const std::string& folder) {
    Loaded loaded(path, folder);
    loaded.model->packing()->settle();
    ASSERT_TRUE(is_found(path, folder));
}

void flip_byte(const std::string& path, std::streamoff at) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(at);
    const char byte = char(file.get());
    file.seekp(at);
    file.put(char(byte ^ 1));
}

TEST(Packing, every_family_and_format_gives_the_same_bits_before_and_after) {
    for (const char* family : kFamilies)
        for (const std::uint32_t type : {kQ8_0, kQ4_K, kQ6_K, kQ5_0, kF16}) {
            const std::string folder = temp_folder();
            const std::string path = write_model(folder, type, 1, family);
            const std::vector<float> plain = Loaded(path, "").logits();
            Loaded loaded(path, folder + "/packed");
            ASSERT_EQ(loaded.logits(), plain) << family << type;
            loaded.model->packing()->settle();
            loaded.model->packing()->adopt();
            for (const std::int64_t chunk : {1, 7, 64})
                ASSERT_EQ(loaded.logits(chunk), plain) << family << type;
            // A second start finds the form.
            const std::size_t n_files = files_of(folder + "/packed", ".packed").size();
            ASSERT_EQ(n_files, type == kF16 ? 0u : 1u);
            ASSERT_EQ(Loaded(path, folder + "/packed").logits(), plain) << family << type;
        }
}

// Made on one ISA, used on another.
TEST(Packing, one_form_serves_every_isa) {
    const std::string folder = temp_folder(), path = write_model(folder, kQ4_K);
    for (const std::string& isa : supported_isas()) {
        const std::string packed = folder + "/" + isa;
        Loaded(path, packed, isa).model->packing()->settle();
        const auto files = files_of(packed, ".packed"),
                   first = files_of(folder + "/scalar", ".packed");
        ASSERT_EQ(files.size(), 1u);
        EXPECT_EQ(read_file(files[0], 1 << 30).value(), read_file(first[0], 1 << 30).value());
    }
}

// The device that is told of zeros computes zeros: so the form is what is multiplied.
TEST(Packing, what_is_multiplied_is_the_form) {
    const std::string folder = temp_folder(), path = write_model(folder, kQ8_0);
    Loaded loaded(path, "");
    const std::vector<float> plain = loaded.logits();
    std::size_t n_packed = 0;
    std::vector<std::vector<std::byte>> zeros;
    for (const model::GgufTensor& tensor : loaded.model->gguf().tensors()) {
        const auto shape = loaded.device->packed_shape(tensor);
        if (shape.n_groups == 0) continue;
        zeros.emplace_back(shape.bytes() + 64);
        const auto at = reinterpret_cast<std::uintptr_t>(zeros.back().data());
        loaded.device->use_packed(tensor, zeros.back().data() + (64 - at % 64));
        ++n_packed;
    }
    EXPECT_GT(n_packed, 10u);
    EXPECT_NE(loaded.logits(), plain);
}

TEST(Packing, equal_files_share_one_form) {
    const std::string folder = temp_folder(), packed = folder + "/packed";
    const std::string path = write_model(folder, kQ4_K), copy = folder + "/copy.gguf";
    fs::copy(path, copy);
    make(path, packed);
    EXPECT_FALSE(is_found(copy, packed));
    make(copy, packed);
    EXPECT_EQ(files_of(packed, ".packed").size(), 1u);
    EXPECT_EQ(files_of(packed, ".of").size(), 2u);
    EXPECT_TRUE(is_found(path, packed));
}

TEST(Packing, a_model_that_took_anothers_place_does_not_get_its_form) {
    const std::string folder = temp_folder(), packed = folder + "/packed";
    const std::string path = write_model(folder, kQ4_K, 1);
    make(path, packed);
    write_model(folder, kQ4_K, 2);
    EXPECT_FALSE(is_found(path, packed));
    make(path, packed);
    EXPECT_EQ(Loaded(path, packed).logits(), Loaded(path, "").logits());
}

// Whatever made the identity lie: the form's own bytes decide.
TEST(Packing, a_form_under_a_wrong_name_is_not_taken_and_is_made_anew) {
    const std::string folder = temp_folder(), packed = folder + "/packed";
    const std::string path = write_model(folder, kQ4_K, 1);
    make(path, packed);
    const std::string form = files_of(packed, ".packed").at(0);
    const auto size = std::streamoff(fs::file_size(form));
    for (const std::streamoff at :
         {std::streamoff(0), std::streamoff(40), std::streamoff(4096), size - 200}) {
        flip_byte(form, at);
        EXPECT_FALSE(is_found(path, packed)) << at;
        make(path, packed);
    }
    for (const std::streamoff n : {std::streamoff(0), std::streamoff(100), size - 1, size + 1}) {
        fs::resize_file(form, std::uintmax_t(n));
        EXPECT_FALSE(is_found(path, packed)) << n;
        make(path, packed);
    }
    EXPECT_EQ(Loaded(path, packed).logits(), Loaded(path, "").logits());
}

// Wherever a byte is another one: the model answers as its file does, and a new form is made.
TEST(Packing, a_damaged_form_is_found_wherever_it_is_and_made_anew) {
    const std::string folder = temp_folder(), packed = folder + "/packed";
    const std::string path = write_model(folder, kQ4_K);
    const std::vector<float> plain = Loaded(path, "").logits();
    make(path, packed);
    const std::string form = files_of(packed, ".packed").at(0);
    const std::string whole = read_file(form, 1 << 30).value();
    int n_taken = 0;
    for (std::size_t at = 4096; at < whole.size(); at += whole.size() / 23) {
        flip_byte(form, std::streamoff(at));
        n_taken += is_found(path, packed);
        Loaded loaded(path, packed);
        loaded.model->packing()->settle();
        loaded.model->packing()->adopt();
        EXPECT_EQ(loaded.logits(), plain) << at;
        EXPECT_TRUE(loaded.model->unchanged());
        EXPECT_EQ(read_file(form, 1 << 30).value(), whole) << at;
    }
    EXPECT_GT(n_taken, 5);  // which the look at the load does not tell
}

TEST(Packing, the_folder_may_be_removed_while_the_form_is_in_use) {
    const std::string folder = temp_folder(), packed = folder + "/packed";
    const std::string path = write_model(folder, kQ4_K);
    make(path, packed);
    Loaded loaded(path, packed);
    const std::vector<float> before = loaded.logits();
    fs::remove_all(packed);
    EXPECT_EQ(loaded.logits(), before);
    EXPECT_TRUE(loaded.model->unchanged());
}

TEST(Packing, a_form_that_is_written_to_in_use_is_noticed) {
    const std::string folder = temp_folder(), packed = folder + "/packed";
    const std::string path = write_model(folder, kQ4_K);
    make(path, packed);
    Loaded loaded(path, packed);
    fs::resize_file(files_of(packed, ".packed").at(0), 4096);
    EXPECT_FALSE(loaded.model->unchanged());
    EXPECT_EQ(loaded.logits().size(), Loaded(path, "").logits().size());  // and nothing crashes
}

TEST(Packing, a_folder_that_cannot_be_made_leaves_the_model_as_it_is) {
    const std::string folder = temp_folder(), path = write_model(folder, kQ4_K);
    ASSERT_TRUE(write_file(folder + "/packed", "a file"));
    Loaded loaded(path, folder + "/packed");
    loaded.model->packing()->settle();
    loaded.model->packing()->adopt();
    EXPECT_EQ(loaded.logits(), Loaded(path, "").logits());
}

TEST(Packing, stopping_leaves_no_file_behind) {
    const std::string folder = temp_folder(), path = write_model(folder, kQ4_K);
    const Loaded loaded(path, "");
    const Shards shards = Shards::open(path).value();
    const std::atomic<bool> stop{true};
    const Status made = PackedFile::make(folder + "/packed", shards, *loaded.device, stop);
    ASSERT_FALSE(made);
    EXPECT_EQ(made.error().kind, ErrorKind::cancelled);
    EXPECT_TRUE(fs::is_empty(folder + "/packed"));
}

TEST(Packing, forms_of_models_that_are_gone_are_removed_with_the_next_one) {
    const std::string folder = temp_folder(), packed = folder + "/packed";
    ASSERT_TRUE(make_folders(folder + "/a"));
    const std::string gone = write_model(folder + "/a", kQ4_K, 1);
    make(gone, packed);
    fs::remove(gone);
    ASSERT_TRUE(write_file(packed + "/x.packed", "not one of ours"));
    const std::string path = write_model(folder, kQ4_K, 2);
    make(path, packed);
    EXPECT_EQ(files_of(packed, ".packed").size(), 1u);
    EXPECT_EQ(files_of(packed, ".of").size(), 1u);
    EXPECT_TRUE(is_found(path, packed));
}

// Opened from its own folder under a name that means nothing elsewhere.
TEST(Packing, a_model_opened_by_a_relative_path_is_not_taken_for_gone) {
    const std::string folder = temp_folder(), packed = folder + "/packed";
    ASSERT_TRUE(make_folders(folder + "/a"));
    write_model(folder + "/a", kQ4_K, 1);
    const fs::path before = fs::current_path();
    fs::current_path(folder + "/a");
    make("m.gguf", packed);
    fs::current_path(before);
    make(write_model(folder, kQ4_K, 2), packed);
    EXPECT_EQ(files_of(packed, ".packed").size(), 2u);
    EXPECT_TRUE(is_found(folder + "/a/m.gguf", packed));
}

TEST(Packing, a_path_with_a_new_line_in_it_is_read_back_whole) {
    const std::string folder = temp_folder(), packed = folder + "/packed";
    ASSERT_TRUE(make_folders(folder + "/a\nb"));
    const std::string path = write_model(folder + "/a\nb", kQ4_K, 1);
    make(path, packed);
    make(write_model(folder, kQ4_K, 2), packed);
    EXPECT_TRUE(is_found(path, packed));
}

Status make_leaving(const std::string& path, const std::string& folder, std::size_t n_left) {
    const Loaded loaded(path, "");
    const Shards shards = Shards::open(path).value();
    const std::atomic<bool> stop{false};
    return PackedFile::make(folder, shards, *loaded.device, stop, n_left);
}

TEST(Packing, a_disk_that_would_be_too_full_gets_no_form) {
    const std::string folder = temp_folder(), path = write_model(folder, kQ4_K);
    const fs::space_info disk = fs::space(folder);
    const Status made = make_leaving(path, folder + "/packed", disk.capacity);
    ASSERT_FALSE(made);
    EXPECT_EQ(made.error().kind, ErrorKind::does_not_fit);
    EXPECT_TRUE(fs::is_empty(folder + "/packed"));
    EXPECT_TRUE(make_leaving(path, folder + "/packed", 0));
    EXPECT_TRUE(is_found(path, folder + "/packed"));
}

TEST(Packing, a_path_too_long_for_the_header_is_refused_and_one_that_fits_is_not) {
    const std::string root = temp_folder();
    for (const std::size_t n_bytes : {3900u, 4050u}) {
        std::string folder = root;
        while (folder.size() + 7 < n_bytes)
            folder +=
                "/" + std::string(std::min(n_bytes - 8 - folder.size(), std::size_t(200)), 'a');
        ASSERT_TRUE(make_folders(folder));
        const std::string path = write_model(folder, kQ4_K, n_bytes);  // of other bytes
        const Status made = make_leaving(path, root + "/packed", 0);
        EXPECT_EQ(bool(made), n_bytes == 3900) << path.size();
        if (!made) {
            EXPECT_EQ(made.error().kind, ErrorKind::invalid_request);
        }
    }
}

TEST(Packing, an_embedding_that_is_only_looked_up_is_not_packed) {
    TinyModel shape = tiny_of("llama", kQ8_0);
    std::size_t bytes[2];
    for (const bool tied : {false, true}) {
        const std::string path = temp_folder() + "/m.gguf";
        shape.tied = tied;
        ASSERT_TRUE(write_file(path, tiny_model(shape).bytes()));
        const Loaded loaded(path, "");
        bytes[tied] = PackedFile::bytes_of(loaded.model->gguf(), *loaded.device);
    }
    EXPECT_EQ(bytes[0], bytes[1]);  // one matrix of the vocabulary either way
}

}  // namespace
}  // namespace hearth::test
