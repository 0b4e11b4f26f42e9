#include <cstdio>
#include <filesystem>
#include <gantry/testing/drivers.hpp>

using namespace gantry::testing;
using gantry::Code;

namespace {

void expect(bool condition, const char* what) {
    if (!condition) throw std::runtime_error(what);
}

gantry::StoreBatch put(const char* key, const char* value, std::uint64_t expected = gantry::kRevisionAny) {
    return {{{key, value, expected, false}}, false};
}

void keeps_all_of_a_commit_or_nothing() {
    FakeHost host;
    const std::string path = host.folder() + "/log";
    {
        Instance& store = host.load(GANTRY_PLUGIN_FILE, Settings().string("path", path));
        StoreDriver driver(store);
        store.start();
        expect(driver.commit(put("a", "1", gantry::kRevisionNone)).wait().result.revision == 1, "revision 1");
        expect(driver.commit({{{"b", "2", gantry::kRevisionAny, false}, {"a", "3", 7, false}}, false}).wait().code ==
                   Code::kConflict,
               "another revision is a conflict");
        const auto all = driver.load("").wait().result;
        expect(all.entries.size() == 1 && all.entries[0].value == "1", "nothing of a refused commit is kept");
        expect(driver.commit(put("b", "2")).wait().ok(), "one more");
        store.stop();
    }
    // A crash in the middle of a record: it was never answered.
    std::filesystem::resize_file(path, std::filesystem::file_size(path) - 3);
    Instance& again = host.load(GANTRY_PLUGIN_FILE, Settings().name("again").string("path", path));
    StoreDriver driver(again);
    again.start();
    const auto all = driver.load("").wait().result;
    expect(all.entries.size() == 1 && all.revision == 1, "the cut record is dropped");
    expect(driver.commit(put("b", "2")).wait().result.revision == 2, "and it goes on");
}

}  // namespace

int main() {
    try {
        keeps_all_of_a_commit_or_nothing();
    } catch (const std::exception& failure) {
        std::fprintf(stderr, "failed: %s\n", failure.what());
        return 1;
    }
    return 0;
}
