#include <cstdio>
#include <fstream>
#include <gantry/testing/drivers.hpp>

using namespace gantry::testing;

namespace {

void expect(bool condition, const char* what) {
    if (!condition) throw std::runtime_error(what);
}

void follows_the_file() {
    FakeHost host;
    const std::string path = host.folder() + "/endpoints";
    std::ofstream(path) << "controller 10.0.0.1:3900  # the first\nnode SNode1\n";
    Instance& discovery = host.load(GANTRY_PLUGIN_FILE, Settings().string("file", path));
    DiscoveryDriver driver(discovery);
    discovery.start();
    driver.begin_search();
    host.turn();
    expect(driver.found.size() == 2 && driver.found.back().address == "10.0.0.1:3900", "both are found at once");

    std::ofstream(path) << "controller 10.0.0.1:3900\n";
    host.advance(std::chrono::seconds(5));
    expect(driver.gone.size() == 1 && driver.gone.front().name == "SNode1", "the node is gone");

    std::ofstream(path) << "controller nowhere\n";
    host.advance(std::chrono::seconds(5));
    expect(driver.gone.size() == 1 && host.logs().size() == 1, "a bad file changes nothing and is told");
    driver.end_search();
}

}  // namespace

int main() {
    try {
        follows_the_file();
    } catch (const std::exception& failure) {
        std::fprintf(stderr, "failed: %s\n", failure.what());
        return 1;
    }
    return 0;
}
