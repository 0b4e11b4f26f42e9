// SPDX-License-Identifier: Apache-2.0
//
// How long it takes to find and verify 100 signed plugins of 200 KB, as gantryd does before it loads any: owners and
// folders down from the root, SHA-256, signature, ELF file, note. Files are in the page cache; keys are read each time.
//
//     bench_trust [--repeat N]       the median of N, by default 21
//
// Exits with 1 above 50 ms.
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include "kernel/host/file.hpp"

using namespace gantry;
namespace fs = std::filesystem;

namespace {

constexpr int kFiles = 100;
constexpr std::size_t kBytes = 200'000;
constexpr double kLimitMs = 50;

[[noreturn]] void give_up(const std::string& why) {
    std::fprintf(stderr, "bench_trust: %s\n", why.c_str());
    std::exit(1);
}

struct Folder {
    Folder() {
        std::string name = (fs::temp_directory_path() / "bench-trust-XXXXXX").string();
        if (::mkdtemp(name.data()) == nullptr) give_up("no folder for the plugins");
        path = name;
    }
    ~Folder() { fs::remove_all(path); }
    void write(const fs::path& file, const std::string& bytes) const {
        fs::create_directories((path / file).parent_path());
        std::ofstream(path / file, std::ios::binary) << bytes;
        if (::chmod((path / file).c_str(), 0644) != 0) give_up("cannot write " + file.string());
    }
    fs::path path;
};

std::string signed_by(const trust::Key& key, const fs::path& file) {
    trust::Contents contents;
    std::string error;
    const int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
    if (!trust::read_contents(fd, contents, error)) give_up(error);
    ::close(fd);
    const auto seal = trust::write_seal(key.sign(contents.before_seal), contents.signed_size);
    return {seal.begin(), seal.end()};
}

std::string name_of(int i) { return "plugin-" + std::to_string(i); }

// A bundled plugin, filled up to the size (its own are smaller or larger, by build), each a little different.
void make_plugins(const Folder& folder, const trust::Key& key) {
    std::ifstream file(GANTRY_PLUGINS "/probe/tcp.so", std::ios::binary);
    const std::string whole{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    if (whole.empty()) give_up("no plugin " GANTRY_PLUGINS "/probe/tcp.so");
    for (int i = 0; i < kFiles; ++i) {
        std::string bytes = whole + std::to_string(i);
        if (bytes.size() < kBytes - trust::kSealBytes) bytes.resize(kBytes - trust::kSealBytes, '.');
        const fs::path name = fs::path("plugins/probe") / (name_of(i) + ".so");
        folder.write(name, bytes);
        folder.write(name, bytes + signed_by(key, folder.path / name));
    }
}

double verify_all_ms(const Folder& folder) {
    const auto begin = std::chrono::steady_clock::now();
    trust::Verifier verifier({{}, folder.path / "keys", true});
    for (int i = 0; i < kFiles; ++i) {
        const auto opened = host::open_plugin({folder.path / "plugins"}, "probe", name_of(i), verifier);
        if (!opened) give_up(opened.error().text());
        if ((*opened)->origin.voucher != trust::Voucher::kKey) give_up("not verified: " + (*opened)->origin.text);
    }
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace

int main(int argc, char** argv) {
    const int repeat = argc == 3 && std::string(argv[1]) == "--repeat" ? std::max(1, std::atoi(argv[2])) : 21;
    const Folder folder;
    const auto key = trust::Key::make();
    if (!key) give_up("no key");
    folder.write("keys/bench.pub", key->public_pem());
    make_plugins(folder, *key);
    const auto size = fs::file_size(folder.path / "plugins/probe" / (name_of(0) + ".so"));
    std::vector<double> times;
    const std::clock_t begin = std::clock();
    for (int i = 0; i < repeat; ++i) times.push_back(verify_all_ms(folder));
    const double cpu_ms = 1'000.0 * static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC / repeat;
    std::ranges::sort(times);
    const double median = times[times.size() / 2];
    std::printf(
        "%d signed plugins of %zu bytes found and verified: %.1f ms (median; %.1f .. %.1f, %zu rounds; %.1f ms of a "
        "core), limit %.0f ms: %s\n",
        kFiles, static_cast<std::size_t>(size), median, times.front(), times.back(), times.size(), cpu_ms, kLimitMs,
        median <= kLimitMs ? "good" : "TOO SLOW");
    return median <= kLimitMs ? 0 : 1;
}
