// Queries and answers of the position service: what is read can be written, and reads the same again.
#include <string>

#include "sdk/vsoa/src/position.hpp"
#include "tests/fuzz/targets/input.hpp"

namespace position = vsoa::position;
using fuzz::demand;

namespace {

void query(std::string_view text) {
    const auto query = position::read_query(text);
    if (!query) return;
    demand(!query->name.empty() && query->name.size() <= VSOA_POSITION_MAX_NAME_LEN, "names have a length");
    demand(query->name.find('\0') == std::string::npos, "names are C strings");
    const auto again = position::read_query(position::write_query(*query));
    demand(again && again->name == query->name && again->domain == query->domain, "a query written is the same");
}

void answer(std::string_view text) {
    const auto answer = position::read_answer(text);
    if (!answer) return;
    const std::string written = position::write_answer(*answer);
    demand(written.size() <= position::kMaxAnswer, "every peer can read an answer");
    const auto again = position::read_answer(written);
    demand(again && again->address.has_value() == answer->address.has_value(), "an answer written is one");
    if (!answer->address) return;
    demand(answer->address->port() != 0, "addresses have a port");
    demand(again->address->same(*answer->address) && again->secure == answer->secure, "and says the same");
    demand(again->name.empty() || again->name == answer->name, "of the same name");
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
    fuzz::Copy copy({bytes, size});
    const std::string_view text(reinterpret_cast<const char*>(copy.data()), copy.size());
    query(text);
    answer(text);
    return 0;
}
