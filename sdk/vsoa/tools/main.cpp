// vsoa: talk to VSOA servers from the command line, and see what goes over the network. This file knows the spelling of
// commands and options; what they do is in the files named after them.
#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <cstdio>
#include <cstdlib>
#include <functional>

#include "sdk/vsoa/tools/commands.hpp"
#include "sdk/vsoa/tools/text.hpp"
#include "sdk/vsoa/tools/trouble.hpp"

namespace vsoa::tools {
namespace {

constexpr const char* kFooter =
    R"(URL is vsoa://NAME/PATH or NAME/PATH (asks the position servers), IP:PORT/PATH or HOST:PORT/PATH.

Examples:
  vsoa call vsoa://axis_server/axis            call an RPC, print what it answers
  vsoa call 127.0.0.1:3002/gain --set --param '{"gain": 2}'
  vsoa sub vsoa://axis_server/axis             print what is published
  vsoa pub --listen :3002 --name axis_server /axis --param '{"roll": 1}' --every 100ms
  vsoa dump -i any                             decode what goes over the network

Exit statuses:
  0    done
  1    refused or failed
  2    the command line is wrong
  3    not found: the name, url, host, interface or file
  4    no answer in time
  5    the server or the position server cannot be reached, or closed the connection
  65   an input is wrong: a param that is no JSON, a capture that is none or damaged
  77   wrong password or certificate, or not allowed
  130  interrupted by Ctrl-C)";

struct Given {
    Settings settings;
    std::string password, password_file, position, timeout = "5s";
    CallOptions call;
    SubOptions sub;
    PubOptions pub;
    PingOptions ping;
    ResolveOptions resolve;
    BenchOptions bench;
    DumpOptions dump;
    std::function<int()> chosen;
};

CLI::App* add(CLI::App& app, Given& given, const char* name, const char* about, std::function<int()> command) {
    auto* sub = app.add_subcommand(name, about);
    sub->callback([&given, command = std::move(command)] { given.chosen = command; });
    return sub;
}

const CLI::Range kCount(int64_t{0}, int64_t{1} << 53);

void add_callers(CLI::App& app, Given& given) {
    auto* sub =
        add(app, given, "call", "Call an RPC and print the answer", [&] { return call(given.call, given.settings); });
    sub->add_option("URL", given.call.url, "The server and the RPC's url; without a path /")->required();
    sub->add_flag("--set", given.call.set, "Method SET; without it GET");
    sub->add_option("--param", given.call.param, "JSON to send");
    sub->add_option("--data", given.call.data_file, "File with bytes to send; - is standard input");
    sub->add_option("--output,-o", given.call.output_file, "Write the answer's data to a file; - is standard output");
    sub->add_flag("--any-param", given.call.any_param, "Send --param though it is no JSON");

    sub = add(app, given, "sub", "Subscribe, print what is published and the datagrams of the server",
              [&] { return subscribe(given.sub, given.settings); });
    sub->add_option(
           "URL", given.sub.urls,
           "Server and topic; a topic that ends in / has everything below it. /PATH is one more of the same server")
        ->required();
    sub->add_option("--count,-n", given.sub.count, "End after N messages")->check(kCount);
    sub->add_option("--duration", given.sub.duration, "End after this time; 4 if --count was not reached");
    sub->add_flag("--reconnect", given.sub.reconnect, "Connect again when the connection is lost");

    sub = add(app, given, "ping", "Ping a server, once a second", [&] { return ping(given.ping, given.settings); });
    sub->add_option("URL", given.ping.url, "The server")->required();
    sub->add_option("--count,-n", given.ping.count, "End after N pings")->check(kCount);
    sub->add_option("--interval", given.ping.interval, "Time between pings")->capture_default_str();

    sub = add(app, given, "resolve", "Ask the position servers for the address of a service",
              [&] { return resolve_name(given.resolve, given.settings); });
    sub->add_option("NAME", given.resolve.name, "Name of a service, or vsoa://NAME")->required();
    auto* four = sub->add_flag("-4", given.resolve.v4, "Only IPv4");
    sub->add_flag("-6", given.resolve.v6, "Only IPv6")->excludes(four);
}

void add_publisher(CLI::App& app, Given& given) {
    auto* sub = add(app, given, "pub", "Be a server that publishes a topic while somebody is subscribed to it",
                    [&] { return publish(given.pub, given.settings); });
    sub->add_option("URL", given.pub.url, "The topic, /PATH; a GET of it answers what is published")->required();
    sub->add_option("--listen", given.pub.listen, "IP:PORT, or :PORT for every address; port 0 is a free one")
        ->capture_default_str();
    sub->add_option("--name", given.pub.name, "Name in the server's info")->capture_default_str();
    sub->add_option("--param", given.pub.param, "JSON to publish; - takes lines of standard input, each as it comes");
    sub->add_option("--data", given.pub.data_file, "File with bytes to publish; - is standard input");
    sub->add_option("--every", given.pub.every, "Time between publishes")->capture_default_str();
    sub->add_option("--count,-n", given.pub.count, "End after N publishes")->check(kCount);
    sub->add_flag("--quick", given.pub.quick, "Over UDP");
    sub->add_option("--position", given.pub.position,
                    "Be the position server for --name as well, at IP:PORT; for trials without one");
    sub->add_flag("--any-param", given.pub.any_param, "Publish --param though it is no JSON");
}

void add_instruments(CLI::App& app, Given& given) {
    auto* sub = add(app, given, "bench", "Measure rates and latencies of RPC and of publishing",
                    [&] { return bench(given.bench, given.settings); });
    sub->add_option("URL", given.bench.url,
                    "A server and its RPC's url; without a path, a vsoa bench --serve: RPC and publishing");
    sub->add_flag("--publish", given.bench.publish, "The URL is a topic: measure what is published on it");
    sub->add_option("--duration", given.bench.duration, "Of each measurement")->capture_default_str();
    sub->add_option("--window", given.bench.window, "Calls on their way at once, in the second measurement")
        ->capture_default_str()
        ->check(CLI::Range(1, 4096));
    sub->add_option("--size", given.bench.size, "Bytes of data in a call, or in a publish of --serve")
        ->capture_default_str()
        ->check(CLI::Range(0, 200'000));
    sub->add_flag("--serve", given.bench.serve, "Be the server: answers /bench/echo, publishes /bench/publish");
    sub->add_option("--listen", given.bench.listen, "Where --serve listens")->capture_default_str();

    sub = add(app, given, "dump", "Decode VSOA out of a capture file or a live interface",
              [&] { return dump(given.dump, given.settings); });
    auto* file = sub->add_option("FILE", given.dump.file, "A capture (pcap, pcapng); - is standard input");
    auto* interface = sub->add_option("-i,--interface", given.dump.interface, "Listen on an interface; any is all");
    interface->excludes(file);
    sub->add_option("--port", given.dump.ports, "Only these ports, and say what on them is no VSOA")
        ->check(CLI::Range(1, 65535));
    sub->add_option("--position-port", given.dump.position_port, "Port of the position servers")
        ->capture_default_str()
        ->check(CLI::Range(1, 65535));
    sub->add_option("--count,-n", given.dump.count, "End after N packets")->check(kCount);
    sub->add_flag("--hex", given.dump.hex, "All of the data, in hexadecimal");
    sub->add_flag("--show-passwords", given.dump.show_passwords, "Show the passwords of logins");
}

void add_tls(CLI::App& app, TlsOptions& tls) {
    app.add_flag("--tls", tls.on, "Speak TLS; so does every other of these");
    app.add_option("--tls-ca", tls.ca,
                   "File with authorities: of the server, else those of the system; of clients, who must then show a "
                   "certificate");
    app.add_option("--tls-cert", tls.cert, "File with the own certificate");
    app.add_option("--tls-key", tls.key, "File with its private key");
    app.add_option("--tls-psk", tls.psk, "File with pre-shared keys, lines IDENTITY:HEX");
    app.add_option("--tls-name", tls.name, "What the server's certificate must be for; else what URL names");
    app.add_flag("--tls-no-verify", tls.no_verify, "Take any certificate of the server; for trials");
}

void take_settings(Given& given) {
    Settings& settings = given.settings;
    settings.timeout_ns = duration_ns(given.timeout, "--timeout");
    if (!given.position.empty()) use_position_servers(given.position);
    const char* environment = std::getenv("VSOA_PASSWORD");
    if (!given.password.empty()) {
        settings.password = given.password;
    } else if (!given.password_file.empty()) {
        settings.password = read_file(given.password_file, 4096, "--password-file");
        if (settings.password.ends_with('\n')) settings.password.pop_back();
        if (settings.password.ends_with('\r')) settings.password.pop_back();
    } else if (environment != nullptr) {
        settings.password = environment;
    }
    if (settings.password.find('\0') != std::string::npos) {
        throw Failure(exit_status::kBadData, "--password-file: a password has no NUL in it");
    }
}

int report(const Failure& failure, bool as_json) {
    std::fflush(stdout);
    if (as_json) {
        JsonLine error, line;
        error.text("code", word_of(failure.status)).text("message", failure.what());
        std::fprintf(stderr, "%s\n", line.json("error", error.done()).done().c_str());
    } else {
        std::fprintf(stderr, "vsoa: %s\n", failure.what());
    }
    return failure.status;
}

int usage(const CLI::App& app, const CLI::ParseError& error, int argc) {
    if (argc == 1) {
        std::fputs(app.help().c_str(), stderr);
    } else {
        std::fprintf(stderr, "vsoa: %s\nRun vsoa --help, or vsoa COMMAND --help.\n", error.what());
    }
    return exit_status::kUsage;
}

int run(int argc, char** argv) {
    Given given;
    CLI::App app("vsoa: talk to VSOA servers, and see what goes over the network", "vsoa");
    app.footer(kFooter);
    app.require_subcommand(1);
    app.fallthrough();
    app.set_version_flag("--version", "vsoa " GANTRY_VERSION);
    app.add_flag("--json", given.settings.json, "One JSON document a line");
    app.add_option("--timeout", given.timeout, "For connecting, and for each answer")->capture_default_str();
    auto* password = app.add_option("--password", given.password,
                                    "Password; every user of this machine sees it in the list of processes");
    app.add_option("--password-file", given.password_file, "File with the password; else VSOA_PASSWORD")
        ->excludes(password);
    add_tls(app, given.settings.tls);
    app.add_option("--pos", given.position,
                   "Position servers, IP[:PORT] with commas; else VSOA_POS_SERVER, else /etc/vsoa.pos");
    add_callers(app, given);
    add_publisher(app, given);
    add_instruments(app, given);
    try {
        app.parse(argc, argv);
        if (given.dump.file.empty() && given.dump.interface.empty() && app.got_subcommand("dump")) {
            throw CLI::RequiredError("FILE or -i INTERFACE");
        }
    } catch (const CLI::Success& asked) {
        return app.exit(asked);
    } catch (const CLI::ParseError& error) {
        return usage(app, error, argc);
    }
    try {
        take_settings(given);
        return given.chosen();
    } catch (const Failure& failure) {
        return report(failure, given.settings.json);
    }
}

}  // namespace
}  // namespace vsoa::tools

int main(int argc, char** argv) {
    try {
        return vsoa::tools::run(argc, argv);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "vsoa: %s\n", error.what());
        return vsoa::tools::exit_status::kFailed;
    }
}
