// The packets recorded from the vendor's programs.
#pragma once

#include <catch2/catch.hpp>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "sdk/vsoa/src/json.hpp"

struct Vector {
    std::string name, kind, dir, transport, url, param, data, hex;
    int64_t type = 0, flags = 0, pad = 0, status = 0, seqno = 0, tunid = 0;
};

inline std::string unhex(const std::string& hex) {
    std::string out;
    for (size_t i = 0; i + 1 < hex.size(); i += 2) out += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
    return out;
}

inline std::vector<Vector> read_vectors() {
    std::ifstream in(GANTRY_TEST_DATA "/vsoa-vectors/all-vectors.json");
    const std::string text{std::istreambuf_iterator<char>(in), {}};
    vsoa::json::Reader reader(text);
    std::vector<Vector> out;
    std::string key;
    vsoa::json::Value value;
    REQUIRE(reader.open('['));
    while (reader.more(']')) {
        Vector v;
        REQUIRE(reader.open('{'));
        while (reader.more('}')) {
            REQUIRE((reader.key(key) && reader.value(value)));
            if (key == "vector") v.name = value.text;
            if (key == "kind") v.kind = value.text;
            if (key == "dir") v.dir = value.text;
            if (key == "transport") v.transport = value.text;
            if (key == "url") v.url = value.text;
            if (key == "param") v.param = value.text;
            if (key == "data") v.data = unhex(value.text);
            if (key == "hex") v.hex = unhex(value.text);
            if (key == "type") v.type = value.integer;
            if (key == "flags") v.flags = value.integer;
            if (key == "pad") v.pad = value.integer;
            if (key == "status") v.status = value.integer;
            if (key == "seqno") v.seqno = value.integer;
            if (key == "tunid") v.tunid = value.integer;
        }
        out.push_back(std::move(v));
    }
    REQUIRE(reader.finished());
    return out;
}
