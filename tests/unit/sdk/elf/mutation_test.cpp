// SPDX-License-Identifier: Apache-2.0
//
// Ten thousand broken copies of a plugin that is shipped: the reader judges each with one sentence or none, and nothing
// of any is loaded. GANTRY_SEED repeats a run, GANTRY_MUTATION one file of it.
#include <elf.h>
#include <link.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <gantry/elf/reader.hpp>
#include <iterator>
#include <random>

using namespace gantry::elf;

namespace {

using Bytes = std::vector<std::uint8_t>;

constexpr std::uint64_t kMutations = 10'000;

struct Span {
    std::size_t begin, size;
};

std::uint64_t number(const char* variable, std::uint64_t otherwise) {
    const char* const given = std::getenv(variable);
    return given == nullptr ? otherwise : std::strtoull(given, nullptr, 10);
}

// Where a change is likely to meet something the reader looks at: headers and symbol tables come first in a file, the
// dynamic section has a segment of its own.
std::vector<Span> spans_of(const Bytes& file) {
    std::vector<Span> out{{0, file.size()}, {0, std::min<std::size_t>(file.size(), 8'192)}, {0, 1'024}};
    Elf64_Ehdr header;
    std::memcpy(&header, file.data(), sizeof(header));
    for (std::size_t i = 0; i < header.e_phnum; ++i) {
        Elf64_Phdr p;
        std::memcpy(&p, file.data() + header.e_phoff + i * sizeof(p), sizeof(p));
        if (p.p_type == PT_DYNAMIC || p.p_type == PT_NOTE) out.push_back({p.p_offset, p.p_filesz});
    }
    return out;
}

void change(Bytes& file, const std::vector<Span>& spans, std::mt19937_64& random) {
    const Span span = spans[random() % spans.size()];
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

Bytes mutated(const Bytes& whole, const std::vector<Span>& spans, std::uint64_t seed) {
    std::mt19937_64 random(seed);
    if (random() % 5 == 0) return {whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(random() % whole.size())};
    Bytes out = whole;
    for (std::uint64_t i = 1 + random() % 8; i > 0; --i) change(out, spans, random);
    return out;
}

std::size_t loaded_objects() {
    std::size_t count = 0;
    ::dl_iterate_phdr(
        [](dl_phdr_info*, std::size_t, void* arg) {
            ++*static_cast<std::size_t*>(arg);
            return 0;
        },
        &count);
    return count;
}

}  // namespace

TEST_CASE("ten thousand mutations and truncations of a plugin are each judged, and none is loaded") {
    std::ifstream file(GANTRY_BUNDLED_FILE, std::ios::binary);
    const Bytes whole{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    REQUIRE(read_plugin(whole).text == "");
    const std::vector<Span> spans = spans_of(whole);
    REQUIRE(spans.size() >= 5);

    const std::uint64_t seed = number("GANTRY_SEED", std::random_device()());
    WARN("seed " << seed << " (GANTRY_SEED repeats it)");
    const std::uint64_t first = number("GANTRY_MUTATION", 0);
    const std::uint64_t end = std::getenv("GANTRY_MUTATION") == nullptr ? kMutations : first + 1;
    const std::size_t objects = loaded_objects();
    std::size_t refused = 0;
    for (std::uint64_t i = first; i < end; ++i) {
        INFO("GANTRY_SEED=" << seed << " GANTRY_MUTATION=" << i);
        const Bytes broken = mutated(whole, spans, seed * kMutations + i);
        const Reading reading = read_plugin(broken);
        // CHECK would count to ten thousand and format nothing: only what fails is told.
        if ((reading.fault == Fault::kNone) != reading.text.empty())
            FAIL("a fault without a sentence: " << reading.text);
        if (reading.text.size() > 2 * kSymbolNameMax) FAIL("a sentence of " << reading.text.size() << " bytes");
        refused += reading.fault != Fault::kNone;
    }
    CHECK(loaded_objects() == objects);
    if (end - first == kMutations) CHECK(refused > kMutations / 10);
}
