// SPDX-License-Identifier: Apache-2.0
//
// gantry-plugin new: writes a plugin that works, from the templates that are installed beside this program.
#include <fcntl.h>
#include <gantry/abi/base.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>

#include "sdk/tools/commands.hpp"
#include "sdk/tools/prefix.hpp"
#include "sdk/tools/roles.hpp"
#include "sdk/tools/suggestion.hpp"
#include "sdk/tools/trouble.hpp"

namespace gantry::tools {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kNameMax = 40;  // bytes; an id of 128 holds it and what stands before it

struct Options {
    std::string role, name, id;
    std::string language = "c++";
};

[[noreturn]] void usage(const std::string& text) { throw Failure(exit_status::kUsage, text); }

const Role& role_of(const std::string& word) {
    std::vector<std::string> known;
    for (const Role& role : roles()) {
        if (role.folder == word || role.spelled == word) return role;
        known.emplace_back(role.folder);
    }
    std::string list;
    for (const std::string& name : known) list += (list.empty() ? "" : ", ") + name;
    usage("there is no role '" + word + "'." + did_you_mean(word, known) + " The roles are " + list + ".");
}

void check_name(const std::string& name) {
    const bool spelled =
        std::ranges::all_of(name, [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; });
    const bool ends = !name.empty() && name.front() >= 'a' && name.front() <= 'z' && name.back() != '-';
    if (spelled && ends && name.size() <= kNameMax) return;
    usage("'" + name + "' is no name of a plugin: expected a-z, then a-z, 0-9 and '-', at most 40 letters: my-policy");
}

fs::path template_folder(const Role& role, const std::string& language) {
    const std::vector<std::string> languages{"c", "c++"};
    if (std::ranges::find(languages, language) == languages.end()) {
        usage("there are no templates in '" + language + "'." + did_you_mean(language, languages) +
              " The languages are c and c++.");
    }
    const fs::path folder = prefix() / "share" / "gantry" / "templates" / role.folder / language;
    std::error_code ignored;
    if (fs::is_directory(folder, ignored)) return folder;
    throw Failure(exit_status::kNoInput, folder.string() + " is not there: the templates come with the SDK's package");
}

// "@NAME@" becomes what it stands for; what is no such word stays.
std::string filled_in(const std::string& text, const std::map<std::string, std::string>& words) {
    std::string out;
    std::size_t at = 0;
    while (at < text.size()) {
        const std::size_t begin = text.find('@', at);
        const std::size_t end = begin == std::string::npos ? begin : text.find('@', begin + 1);
        if (end == std::string::npos) break;
        const auto word = words.find(text.substr(begin + 1, end - begin - 1));
        const bool known = word != words.end();
        out += text.substr(at, begin - at) + (known ? word->second : "@");
        at = known ? end + 1 : begin + 1;
    }
    return out + text.substr(std::min(at, text.size()));
}

std::string how_to_build(const std::string& language, const fs::path& installed) {
    const bool usual = installed == "/usr" || installed == "/usr/local";
    if (language == "c") {
        return "## Build it\n\n```sh\n" +
               (usual ? "" : "export PKG_CONFIG_PATH=" + (installed / "lib/pkgconfig").string() + "\n") +
               "make && make check\n```\n\n";
    }
    return "## Build it\n\n```sh\ncmake -B build" + (usual ? "" : " -DCMAKE_PREFIX_PATH=" + installed.string()) +
           "\ncmake --build build\nctest --test-dir build --output-on-failure\n```\n\n";
}

void write_file(const fs::path& from, const fs::path& to, const std::map<std::string, std::string>& words) {
    std::ifstream in(from, std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(in), {}};
    if (!in) throw Failure(exit_status::kNoInput, from.string() + " cannot be read");
    std::ofstream out(to, std::ios::binary | std::ios::trunc);
    out << filled_in(text, words);
    if (!out.flush()) throw Failure(exit_status::kCannotCreate, to.string() + " cannot be written");
}

// A folder that is removed unless it was given its name.
class Draft {
  public:
    explicit Draft(std::string name)
        : name_(std::move(name)), path_("." + name_ + ".new-" + std::to_string(::getpid())) {
        std::error_code failed;
        if (!fs::create_directory(path_, failed)) {
            throw Failure(exit_status::kCannotCreate, "cannot make a folder here: " + failed.message());
        }
    }
    ~Draft() {
        std::error_code ignored;
        if (!path_.empty()) fs::remove_all(path_, ignored);
    }
    Draft(const Draft&) = delete;
    Draft& operator=(const Draft&) = delete;

    const fs::path& path() const { return path_; }
    void finish() {
        if (::renameat2(AT_FDCWD, path_.c_str(), AT_FDCWD, name_.c_str(), RENAME_NOREPLACE) != 0) {
            throw Failure(exit_status::kCannotCreate, name_ + " cannot be made: " + std::strerror(errno));
        }
        path_.clear();
    }

  private:
    std::string name_;
    fs::path path_;
};

int write_new(const Options& options) {
    const Role& role = role_of(options.role);
    check_name(options.name);
    const fs::path from = template_folder(role, options.language);
    std::error_code ignored;
    if (fs::symlink_status(options.name, ignored).type() != fs::file_type::not_found) {
        throw Failure(exit_status::kCannotCreate, options.name + " is there already: choose another name or remove it");
    }
    const std::string major = std::to_string(GANTRY_ABI_MAJOR);
    const bool surroundings = fs::exists(from / "check.toml");
    const std::map<std::string, std::string> words{
        {"NAME", options.name},
        {"ID", options.id.empty() ? "org.example." + options.name : options.id},
        {"ROLE", std::string(role.spelled)},
        {"FOLDER", std::string(role.folder)},
        {"ABI", major + "." + std::to_string(GANTRY_ABI_MINOR)},
        {"ABI_MAJOR", major},
        {"CHECK_CONFIG", surroundings ? " --config check.toml" : ""},
        {"CHECK", surroundings ? "\n  CHECK --config ${CMAKE_CURRENT_SOURCE_DIR}/check.toml" : ""},
        {"BUILD", how_to_build(options.language, prefix())}};
    Draft draft(options.name);
    std::vector<std::string> files;
    for (const auto& entry : fs::directory_iterator(from)) {
        files.push_back(entry.path().filename());
        write_file(entry.path(), draft.path() / entry.path().filename(), words);
    }
    draft.finish();
    std::ranges::sort(files);
    std::printf("%s:", options.name.c_str());
    for (const std::string& file : files) std::printf(" %s", file.c_str());
    std::printf("\n%s/README.md says how to build it and what to change.\n", options.name.c_str());
    return exit_status::kGood;
}

}  // namespace

void add_new(CLI::App& app, Chosen& chosen) {
    auto options = std::make_shared<Options>();
    auto* sub = app.add_subcommand("new", "Write a new plugin that works, to change into yours");
    std::string known;
    for (const Role& role : roles()) known += (known.empty() ? "" : ", ") + std::string(role.folder);
    sub->add_option("ROLE", options->role, known)->required();
    sub->add_option("NAME", options->name, "Its name, and that of the folder to make here")->required();
    sub->add_option("--language", options->language, "c++ or c")->capture_default_str();
    sub->add_option("--id", options->id, "Its id in plugin.toml; without it org.example.NAME");
    sub->callback([&chosen, options] { chosen = [options] { return write_new(*options); }; });
}

}  // namespace gantry::tools
