// The commands of vsoa, each in the file of its name. All take what CLI11 put into their options, print to standard
// output, and throw Failure.
#pragma once

#include <string>
#include <vector>

#include "sdk/vsoa/tools/link.hpp"

namespace vsoa::tools {

struct CallOptions {
    std::string url, param, data_file, output_file;
    bool set = false, any_param = false;
};
int call(const CallOptions& options, const Settings& settings);

struct SubOptions {
    std::vector<std::string> urls;
    int64_t count = 0;     // 0: endless
    std::string duration;  // empty: endless
    bool reconnect = false;
};
int subscribe(const SubOptions& options, const Settings& settings);

struct PubOptions {
    std::string listen = "127.0.0.1:0", name = "vsoa-pub", url, param, data_file, position;
    std::string every = "1s";
    int64_t count = 0;  // 0: endless
    bool quick = false, any_param = false;
};
int publish(const PubOptions& options, const Settings& settings);

struct PingOptions {
    std::string url, interval = "1s";
    int64_t count = 0;  // 0: endless
};
int ping(const PingOptions& options, const Settings& settings);

struct ResolveOptions {
    std::string name;
    bool v4 = false, v6 = false;
};
int resolve_name(const ResolveOptions& options, const Settings& settings);

struct BenchOptions {
    std::string url, listen = "127.0.0.1:0", duration = "3s";
    int64_t window = 64, size = 64;
    bool serve = false, publish = false;
};
int bench(const BenchOptions& options, const Settings& settings);

struct DumpOptions {
    std::string file, interface;
    std::vector<int> ports;
    int position_port = 54;
    int64_t count = 0;  // 0: endless
    bool hex = false, show_passwords = false;
};
int dump(const DumpOptions& options, const Settings& settings);

/// What --param and --data give. Refuses a param that is no JSON, unless any_param: the vendor's Node.js peers close
/// the connection over it.
std::string checked_param(const std::string& param, bool any_param);
std::string read_data(const std::string& file);

}  // namespace vsoa::tools
