// SPDX-License-Identifier: Apache-2.0
//
// Broken copies of one plugin's file, each the same for the same seed and number.
//
//     const Mutations broken("least-loaded.so");
//     WARN("seed " << broken.seed() << " (GANTRY_SEED repeats it)");
//     for (std::uint64_t i : broken.numbers()) judge(broken.copy(i));    // GANTRY_MUTATION: one of them alone
#pragma once

#include <elf.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <numeric>
#include <random>
#include <string>
#include <vector>

namespace gantry::test {

class Mutations {
  public:
    using Bytes = std::vector<std::uint8_t>;
    static constexpr std::uint64_t kCount = 10'000;

    explicit Mutations(const std::string& path) : seed_(given("GANTRY_SEED", std::random_device()())) {
        std::ifstream file(path, std::ios::binary);
        whole_ = {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
        find_spans();
    }

    const Bytes& whole() const { return whole_; }
    std::uint64_t seed() const { return seed_; }

    std::vector<std::uint64_t> numbers() const {
        if (std::getenv("GANTRY_MUTATION") != nullptr) return {given("GANTRY_MUTATION", 0)};
        std::vector<std::uint64_t> out(kCount);
        std::iota(out.begin(), out.end(), 0);
        return out;
    }

    // Never the file itself.
    Bytes copy(std::uint64_t number) const {
        std::mt19937_64 random(seed_ * kCount + number);
        if (random() % 5 == 0) {
            return {whole_.begin(), whole_.begin() + static_cast<std::ptrdiff_t>(random() % whole_.size())};
        }
        Bytes out = whole_;
        for (std::uint64_t i = 1 + random() % 8; i > 0 || out == whole_; i -= i > 0) change(out, random);
        return out;
    }

  private:
    struct Span {
        std::size_t begin, size;
    };

    static std::uint64_t given(const char* variable, std::uint64_t otherwise) {
        const char* const text = std::getenv(variable);
        return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
    }

    // Where a change is likely to meet something a reader looks at: headers and symbol tables come first in a file, the
    // dynamic section and the notes have segments of their own.
    void find_spans() {
        spans_ = {{0, whole_.size()}, {0, std::min<std::size_t>(whole_.size(), 8'192)}, {0, 1'024}};
        Elf64_Ehdr header;
        std::memcpy(&header, whole_.data(), sizeof(header));
        for (std::size_t i = 0; i < header.e_phnum; ++i) {
            Elf64_Phdr p;
            std::memcpy(&p, whole_.data() + header.e_phoff + i * sizeof(p), sizeof(p));
            if (p.p_type == PT_DYNAMIC || p.p_type == PT_NOTE) spans_.push_back({p.p_offset, p.p_filesz});
        }
    }

    void change(Bytes& file, std::mt19937_64& random) const {
        const Span span = spans_[random() % spans_.size()];
        const std::size_t at = span.begin + random() % span.size;
        const std::size_t most = std::min<std::size_t>(file.size() - at, 8);
        switch (random() % 5) {
            case 0:
                file[at] ^= static_cast<std::uint8_t>(1u << random() % 8);
                break;
            case 1:
                file[at] = static_cast<std::uint8_t>(random());
                break;
            case 2:
                std::memset(file.data() + at, random() % 2 == 0 ? 0xff : 0x00, most);
                break;
            case 3: {  // a number that is nearly right
                std::uint64_t value = 0;
                std::memcpy(&value, file.data() + at, most);
                value += random() % 64 - 32;
                std::memcpy(file.data() + at, &value, most);
                break;
            }
            default: {  // one table's words in another
                const std::size_t from = random() % (file.size() - most);
                std::memmove(file.data() + at, file.data() + from, most);
            }
        }
    }

    Bytes whole_;
    const std::uint64_t seed_;
    std::vector<Span> spans_;
};

}  // namespace gantry::test
