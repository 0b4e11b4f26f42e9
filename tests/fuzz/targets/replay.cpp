// Stands in for libFuzzer where its compiler is missing: runs the inputs it is given, then changes of them at random,
// as long or as often as asked. It sees no coverage, so it finds less.
//
//   TARGET [-seed=N] [-runs=N] [-max_total_time=SECONDS] [-max_len=BYTES] FOLDER-OR-FILE...
//   Other options are passed over.
#include <chrono>
#include <cinttypes>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "tests/fuzz/targets/input.hpp"

namespace {

using Bytes = std::vector<uint8_t>;
using Clock = std::chrono::steady_clock;

struct Options {
    uint64_t runs = 0, seconds = 0, longest = 4096;
    uint64_t seed = std::random_device{}();
    std::vector<Bytes> inputs;

    bool number(std::string_view word, std::string_view name, uint64_t& out) const {
        if (!word.starts_with(name)) return false;
        out = std::strtoull(word.data() + name.size(), nullptr, 10);
        return true;
    }
    void read(std::string_view word) {
        if (number(word, "-runs=", runs) || number(word, "-max_total_time=", seconds) ||
            number(word, "-max_len=", longest) || number(word, "-seed=", seed) || word.starts_with('-')) {
            return;
        }
        if (!std::filesystem::is_directory(word)) return add(word);
        for (const auto& entry : std::filesystem::directory_iterator(word)) add(entry.path());
    }
    void add(const std::filesystem::path& file) {
        std::ifstream in(file, std::ios::binary);
        inputs.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
    }
};

void change(Bytes& bytes, std::mt19937_64& random, const std::vector<Bytes>& inputs) {
    const size_t at = bytes.empty() ? 0 : random() % bytes.size();
    const auto where = bytes.begin() + static_cast<ptrdiff_t>(at);
    switch (random() % 5) {
        case 0:
            if (!bytes.empty()) bytes[at] ^= static_cast<uint8_t>(1u << random() % 8);
            break;
        case 1:
            if (!bytes.empty()) bytes[at] = random() % 2 == 0 ? 0xff : static_cast<uint8_t>(random());
            break;
        case 2:
            bytes.insert(where, static_cast<uint8_t>(random()));
            break;
        case 3:
            if (!bytes.empty()) bytes.erase(where, where + static_cast<ptrdiff_t>(1 + random() % (bytes.size() - at)));
            break;
        default: {
            const Bytes& other = inputs[random() % inputs.size()];
            const size_t from = other.empty() ? 0 : random() % other.size();
            bytes.insert(where, other.begin() + static_cast<ptrdiff_t>(from), other.end());
        }
    }
}

}  // namespace

int main(int argc, char** argv) {
    Options options;
    for (int i = 1; i < argc; ++i) options.read(argv[i]);
    options.inputs.emplace_back();
    std::printf("INFO: Seed: %" PRIu64 ", %zu inputs, no coverage\n", options.seed, options.inputs.size());
    std::fflush(stdout);
    for (const Bytes& input : options.inputs) LLVMFuzzerTestOneInput(input.data(), input.size());
    std::mt19937_64 random(options.seed);
    uint64_t done = options.inputs.size();
    const auto until = Clock::now() + std::chrono::seconds(options.seconds);
    while (options.seconds > 0 ? Clock::now() < until && (options.runs == 0 || done < options.runs)
                               : done < options.runs) {
        Bytes input = options.inputs[random() % options.inputs.size()];
        for (size_t i = 1 + random() % 4; i > 0; --i) change(input, random, options.inputs);
        if (input.size() > options.longest) input.resize(options.longest);
        LLVMFuzzerTestOneInput(input.data(), input.size());
        ++done;
    }
    std::printf("stat::number_of_executed_units: %" PRIu64 "\n", done);
    return 0;
}
