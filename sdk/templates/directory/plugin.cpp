// Answers names over UDP, in text: a datagram "NAME" is answered with "ADDRESS PORT", or "ADDRESS PORT tls", or
// "not found".
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <gantry/address.hpp>
#include <gantry/directory.hpp>
#include <map>

namespace {

using gantry::Code;
using gantry::Failure;
using gantry::NameRecord;
using gantry::SocketAddress;

constexpr std::size_t kQuestionMax = 256;  // bytes of a name

// Names are compared without regard to ASCII case; what stands behind a line break is no part of one.
std::string as_key(std::string_view name) {
    std::string out(name.substr(0, name.find_first_of("\r\n")));
    for (char& c : out) {
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
    return out;
}

class TextDirectory final : public gantry::Directory {
  public:
    // The port is taken here, because the facts that follow name it.
    void init(const gantry::Config& config) override {
        const std::string& listen = config.string("listen");
        const auto address = SocketAddress::parse(listen);
        if (!address) {
            throw Failure(Code::kInvalid, "listen: expected IP:PORT (\"0.0.0.0:0\"), got \"" + listen + "\"");
        }
        socket_.reset(::socket(address->family(), SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
        if (!socket_ || ::bind(socket_.get(), address->raw(), address->length) != 0) {
            throw Failure(Code::kUnavailable, "cannot answer names on UDP " + listen + ": " + std::strerror(errno));
        }
    }
    // Containers find the directory in this variable, as ADDRESS:PORT of their node.
    gantry::DirectoryFacts facts() const override {
        return {SocketAddress::local(socket_.get()).port(), "GANTRY_NAMES"};
    }
    void start() override {
        watch_ = host().watch(socket_.get(), gantry::kReadable, [this](std::uint32_t) { answer(); });
    }
    void stop(gantry::Instant) override { host().unwatch(watch_); }

    void replace(std::uint64_t table_no, std::vector<NameRecord> records) override {
        if (table_no < table_no_) return;
        std::map<std::string, Places> names;
        for (NameRecord& record : records) {
            if (!SocketAddress::of(record.address, record.port) || record.port == 0) {
                host().warn("a name that cannot be answered is left out: " + record.name);
                continue;
            }
            names[as_key(record.name)].records.push_back(std::move(record));
        }
        // This node's own go first.
        for (auto& [name, places] : names) std::ranges::stable_partition(places.records, &NameRecord::local);
        names_ = std::move(names);
        table_no_ = table_no;
    }

  private:
    struct Places {
        std::vector<NameRecord> records;
        std::size_t turn = 0;
    };

    // One question a call: the watch calls again while more wait.
    void answer() {
        char question[kQuestionMax + 1];
        SocketAddress from;
        from.length = sizeof from.storage;
        const ssize_t got = ::recvfrom(socket_.get(), question, sizeof question, 0, from.raw(), &from.length);
        if (got < 0) return;
        const std::string text = find({question, static_cast<std::size_t>(got)}) + "\n";
        ::sendto(socket_.get(), text.data(), text.size(), 0, from.raw(), from.length);
    }

    // Equals are answered in turn.
    std::string find(std::string_view question) {
        const auto found = names_.find(as_key(question));
        if (found == names_.end() || question.size() > kQuestionMax) return "not found";
        auto& [records, turn] = found->second;
        const bool local = records.front().local;
        const auto equals = static_cast<std::size_t>(std::ranges::count(records, local, &NameRecord::local));
        const NameRecord& record = records[turn++ % equals];
        return record.address + " " + std::to_string(record.port) + (record.secure ? " tls" : "");
    }

    gantry::Fd socket_;
    gantry::WatchId watch_ = 0;
    std::uint64_t table_no_ = 0;
    std::map<std::string, Places> names_;
};

}  // namespace

GANTRY_PLUGIN(TextDirectory)
