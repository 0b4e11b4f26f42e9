// SPDX-License-Identifier: Apache-2.0
//
// The conformance suite of gantry-plugin: what a check is, and what its body gets. A suite is a file suite_NAME.cpp
// with one function that adds its checks. Bodies run one at a time, each in a child process of its own.
#pragma once

#include <gantry/elf/reader.hpp>
#include <gantry/view.hpp>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace gantry::check {

enum class Outcome : std::uint8_t {
    kPass,
    kWarn,   // allowed, but worth a look
    kFail,   // the promise is not kept
    kCrash,  // the child died, or did not end in its time
    kSkip,   // could not be looked at, the reason says why
};
std::string_view outcome_name(Outcome outcome);

// Thrown by bodies.
struct Failed {
    std::string expected, got;
};
struct Skipped {
    std::string reason;
    bool blocks = true;  // false: it does not apply to this plugin; what rests on it runs all the same
};

// A value of the table [settings] or [stranger], as it was written.
struct Setting {
    std::string key;
    std::string text;               // of all but lists; true, false for booleans
    std::vector<std::string> list;  // of lists
    char kind = 's';                // 's' text, 'i' integer, 'n' number, 'b' boolean, 'l' list
};

// What `--config FILE.toml` says: the surroundings of the plugin. {folder} in its texts stands for a folder that every
// check gets anew.
struct World {
    std::vector<Setting> settings;             // [settings]: the plugin's own table
    std::vector<Setting> stranger;             // [stranger]: what a peer without the cluster's secret has instead
    std::map<std::string, std::string> files;  // [files]: name in {folder} = contents, mode 0600
    std::map<std::string, std::string> texts;  // "probe.healthy"
    std::map<std::string, std::vector<std::string>> lists;

    // Empty if it was not written.
    const std::string& text(const std::string& name) const;
    const std::vector<std::string>& list(const std::string& name) const;
};
// Failure (sdk/tools/trouble.hpp) with file, line and column.
World read_world(const std::string& file);
// Gives required texts that the world does not: to a key NAME_file a file with a secret in it, to NAME_path, NAME_dir
// and path a path that does not exist yet, both in {folder}; to a stranger a file with another secret.
void supply(World& world, const elf::Note& note);

// The file that is checked.
struct Subject {
    std::string file;  // absolute
    elf::Reading reading;
    World world;
    std::string role;       // folder of its role: "placement"; empty without a note
    std::string interface;  // "gantry.role.placement/1"
};

// Whose process the plugin's code runs in.
enum class Placing : std::uint8_t {
    kHost,        // the check's own
    kOwnProcess,  // gantry-plugin-host, as with isolation = "process" (puppet.hpp); the clock is the machine's then
};

// What a body sees.
class Trial {
  public:
    Trial(const Subject& subject_in, Placing placing_in, std::string folder, std::uint64_t seed)
        : subject(subject_in), placing(placing_in), random(seed), folder_(std::move(folder)), seed_(seed) {}

    const Subject& subject;
    const Placing placing;
    bool isolated() const { return placing == Placing::kOwnProcess; }
    std::mt19937_64 random;  // the same for the same seed and check

    // The check's own folder; also TMPDIR. Removed after it, whatever happens.
    const std::string& folder() const { return folder_; }
    std::uint64_t seed() const { return seed_; }

    // The promise is kept, but; the check goes on.
    void warn(std::string expected, std::string got) {
        if (!warning) warning = Failed{std::move(expected), std::move(got)};
    }
    // Shown beside the outcome: a figure.
    void remark(std::string text) { remarks += (remarks.empty() ? "" : "; ") + text; }

    std::optional<Failed> warning;
    std::string remarks;

  private:
    std::string folder_;
    std::uint64_t seed_;
};

// Ends the check with kFail unless it holds.
inline void expect(bool holds, std::string expected, std::string got) {
    if (!holds) throw Failed{std::move(expected), std::move(got)};
}

struct Check {
    std::string_view name;                // "lifecycle.threads"
    std::string_view promise;             // what a plugin keeps, one sentence
    std::string_view cure;                // what an author does when it fails
    std::vector<std::string_view> needs;  // skipped unless these passed
    void (*body)(Trial&);
    int limit_s = 20;            // then the child is killed: a crash
    std::string_view role = {};  // for plugins of this role alone; empty: for all
    Placing placing = Placing::kHost;
};

// Every check, in the order in which they run: what a check needs comes before it.
std::vector<Check> all_checks();

// Those of `checks` that look at the file, and those that mean something of a plugin in a process of its own as well,
// to be run in one, under the name "isolated.NAME".
std::vector<Check> isolated_checks(const std::vector<Check>& checks);
// What the isolated checks of this subject need beforehand. Failure (sdk/tools/trouble.hpp) where there is no
// gantry-plugin-host beside this program.
void prepare_isolation(const Subject& subject);

void add_static(std::vector<Check>& out);
void add_load(std::vector<Check>& out);
void add_lifecycle(std::vector<Check>& out);
void add_remains(std::vector<Check>& out);
void add_operations(std::vector<Check>& out);
void add_configuration(std::vector<Check>& out);
void add_faults(std::vector<Check>& out);
void add_placement(std::vector<Check>& out);
void add_probe(std::vector<Check>& out);
void add_discovery(std::vector<Check>& out);
void add_directory(std::vector<Check>& out);
void add_store(std::vector<Check>& out);
void add_transport(std::vector<Check>& out);
void add_runtime(std::vector<Check>& out);
void add_frontend(std::vector<Check>& out);

}  // namespace gantry::check
