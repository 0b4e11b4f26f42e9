// The param of a SERVINFO: an object of JSON. What is taken for a text must be one that can be written and read again.
#include <string>
#include <vector>

#include "sdk/vsoa/src/json.hpp"
#include "tests/fuzz/targets/input.hpp"

namespace json = vsoa::json;
using fuzz::demand;

namespace {

struct Member {
    std::string key;
    json::Value value;
};

bool read(std::string_view text, std::vector<Member>& out) {
    return json::read_object(text, [&](std::string_view key, const json::Value& value) {
        out.push_back({std::string(key), value});
    });
}

std::string write(const std::vector<Member>& members) {
    using Kind = json::Value::Kind;
    std::string out = "{";
    for (const Member& member : members) {
        if (out.size() > 1) out += ',';
        json::append_string(out, member.key);
        out += ':';
        switch (member.value.kind) {
            case Kind::kString:
                json::append_string(out, member.value.text);
                break;
            case Kind::kInteger:
                out += std::to_string(member.value.integer);
                break;
            case Kind::kNumber:
                out += "1e1";
                break;
            case Kind::kBool:
                out += member.value.boolean ? "true" : "false";
                break;
            case Kind::kNull:
                out += "null";
                break;
            case Kind::kNested:
                out += "[{},[]]";
        }
    }
    return out + '}';
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
    fuzz::Copy copy({bytes, size});
    std::vector<Member> members, again;
    if (!read({reinterpret_cast<const char*>(copy.data()), copy.size()}, members)) return 0;
    demand(read(write(members), again), "what was read can be written");
    demand(again.size() == members.size(), "with all its members");
    for (size_t i = 0; i < members.size(); ++i) {
        const json::Value &a = members[i].value, &b = again[i].value;
        demand(members[i].key == again[i].key && a.kind == b.kind && a.text == b.text && a.integer == b.integer &&
                   a.boolean == b.boolean,
               "and each is what it was");
    }
    return 0;
}
