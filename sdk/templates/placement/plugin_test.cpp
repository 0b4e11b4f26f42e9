#include <cstdio>
#include <gantry/testing/drivers.hpp>

using namespace gantry::testing;

namespace {

void expect(bool condition, const char* what) {
    if (!condition) throw std::runtime_error(what);
}

void prefers_the_label_then_fewer_copies() {
    FakeHost host;
    Instance& policy = host.load(GANTRY_PLUGIN_FILE, Settings().string("label", "disk").string("value", "ssd"));
    policy.start();
    const PlacementDriver driver(policy);
    Node plain{"a"}, full{"b"}, good{"c"};
    full.labels = good.labels = {{"disk", "ssd"}};
    full.copies_of_service = 2;
    expect(driver.order({plain, full, good}) == std::vector<std::string>{"c", "b", "a"}, "c, then b, then a");
}

}  // namespace

int main() {
    try {
        prefers_the_label_then_fewer_copies();
    } catch (const std::exception& failure) {
        std::fprintf(stderr, "failed: %s\n", failure.what());
        return 1;
    }
    return 0;
}
