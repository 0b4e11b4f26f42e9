// SPDX-License-Identifier: Apache-2.0
//
// A folder of a test, removed with everything in it.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

namespace gantry::test {

struct Folder {
    Folder() {
        std::string name = (std::filesystem::temp_directory_path() / "gantry-test.XXXXXX").string();
        if (!mkdtemp(name.data())) std::abort();
        path = name;
    }
    ~Folder() { std::filesystem::remove_all(path); }
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;

    void write(const std::string& name, const std::string& text) const { std::ofstream(path / name) << text; }
    std::string read(const std::string& name) const {
        std::ifstream in(path / name);
        return {std::istreambuf_iterator<char>(in), {}};
    }

    std::filesystem::path path;
};

}  // namespace gantry::test
