// vsoa dump: who said what to whom, out of a capture.
#include <algorithm>
#include <list>
#include <map>
#include <set>

#include "sdk/vsoa/src/json.hpp"
#include "sdk/vsoa/src/packet.hpp"
#include "sdk/vsoa/tools/capture.hpp"
#include "sdk/vsoa/tools/commands.hpp"
#include "sdk/vsoa/tools/stream.hpp"
#include "sdk/vsoa/tools/text.hpp"
#include "sdk/vsoa/tools/trouble.hpp"

namespace vsoa::tools {
namespace {

constexpr size_t kMostConnections = 4096;
constexpr size_t kMostCalls = 4096;  // of one connection, whose urls are remembered for the replies

const char* type_word(uint8_t type) {
    switch (type) {
        case VSOA_TYPE_SERVINFO:
            return "servinfo";
        case VSOA_TYPE_RPC:
            return "rpc";
        case VSOA_TYPE_SUBSCRIBE:
            return "subscribe";
        case VSOA_TYPE_UNSUBSCRIBE:
            return "unsubscribe";
        case VSOA_TYPE_PUBLISH:
            return "publish";
        case VSOA_TYPE_DATAGRAM:
            return "datagram";
        case VSOA_TYPE_QOSSETUP:
            return "qossetup";
        case VSOA_TYPE_NOOP:
            return "noop";
        case VSOA_TYPE_PINGECHO:
            return "pingecho";
        default:
            return "unknown";
    }
}

struct Connection {
    // Urls of the calls that one side made, for the replies.
    std::map<uint32_t, std::string> calls;
    std::unique_ptr<StreamDecoder> streams[2];  // of the lower host, of the higher one
    uint64_t used = 0;
};

class Dump {
  public:
    Dump(const DumpOptions& options, const Settings& settings) : options_(options), settings_(settings) {}

    int run() {
        Capture capture = options_.interface.empty() ? Capture::file(options_.file) : Capture::live(options_.interface);
        if (!options_.interface.empty()) {
            catch_interrupts();
            if (!settings_.json) note("listening on " + clean(options_.interface));
        }
        try {
            read(capture);
        } catch (const Failure&) {
            // What came before the damage is worth showing.
            finish();
            throw;
        }
        finish();
        if (const int64_t dropped = capture.dropped(); dropped > 0) {
            note(std::to_string(dropped) + " packets were dropped by the kernel: too many at a time");
        }
        return interrupted() ? exit_status::kInterrupted : exit_status::kOk;
    }

  private:
    using Ends = std::pair<Host, Host>;

    bool enough() const { return options_.count > 0 && shown_ >= options_.count; }

    void read(Capture& capture) {
        while (!enough() && !interrupted()) {
            switch (capture.next(seen_)) {
                case Capture::Next::kEnd:
                    return;
                case Capture::Next::kSeen:
                    seen_.tcp ? tcp() : udp();
                    break;
                case Capture::Next::kNothing: {
                    if (options_.interface.empty()) break;
                    fd_set set;
                    FD_ZERO(&set);
                    FD_SET(capture.fd(), &set);
                    select_until(capture.fd(), set, INT64_MAX);
                }
            }
        }
    }

    void finish() {
        for (auto& [ends, connection] : connections_) end(ends, connection);
    }

    bool wanted_port(const Seen& seen) const {
        const auto has = [&](uint16_t port) {
            return std::find(options_.ports.begin(), options_.ports.end(), port) != options_.ports.end();
        };
        return has(seen.from.port) || has(seen.to.port);
    }

    // ---- TCP

    void tcp() {
        if (!options_.ports.empty() && !wanted_port(seen_)) return;
        const bool from_lower = seen_.from < seen_.to;
        const Ends ends = from_lower ? Ends(seen_.from, seen_.to) : Ends(seen_.to, seen_.from);
        if (seen_.syn && !seen_.has_ack) forget(ends);  // the ports are used again
        Connection& connection = connection_of(ends);
        StreamDecoder& out = *connection.streams[from_lower ? 0 : 1];
        StreamDecoder& in = *connection.streams[from_lower ? 1 : 0];
        if (seen_.syn) out.begin(seen_.seq + 1);
        out.segment(seen_.syn ? seen_.seq + 1 : seen_.seq, seen_.bytes);
        if (seen_.has_ack && !seen_.syn) in.acknowledged(seen_.ack);
        if (seen_.rst) forget(ends);
    }

    Connection& connection_of(const Ends& ends) {
        if (const auto known = connections_.find(ends); known != connections_.end()) {
            known->second.used = ++clock_;
            return known->second;
        }
        if (connections_.size() >= kMostConnections) {
            forget(std::min_element(connections_.begin(), connections_.end(), [](const auto& a, const auto& b) {
                       return a.second.used < b.second.used;
                   })->first);
        }
        const auto entry = connections_.try_emplace(ends).first;
        for (const int side : {0, 1}) {
            entry->second.used = ++clock_;
            entry->second.streams[side] = std::make_unique<StreamDecoder>(
                StreamDecoder::Events{[this, entry, side](vsoa_header_t* header) {
                                          const auto& [a, b] = entry->first;
                                          packet(Packet(header), side == 0 ? a : b, side == 0 ? b : a, &entry->second);
                                      },
                                      [this, entry, side](const std::string& what, uint64_t bytes) {
                                          const auto& [a, b] = entry->first;
                                          trouble(side == 0 ? a : b, side == 0 ? b : a, what, bytes);
                                      }},
                !options_.ports.empty());
        }
        return entry->second;
    }

    void end(const Ends&, Connection& connection) {
        for (const auto& stream : connection.streams) stream->finish();
    }

    void forget(Ends ends) {
        const auto entry = connections_.find(ends);
        if (entry == connections_.end()) return;
        end(ends, entry->second);
        connections_.erase(entry);
    }

    // ---- UDP

    void udp() {
        const bool wanted = !options_.ports.empty() && wanted_port(seen_);
        if (position()) return;
        if (!options_.ports.empty() && !wanted) return;
        if (!looks_like_packet(seen_.bytes) || seen_.bytes.size() < VSOA_HDR_LENGTH || seen_.cut > 0) {
            if (wanted && !seen_.bytes.empty()) {
                trouble(seen_.from, seen_.to,
                        seen_.cut > 0 ? "of a datagram were not captured" : "of a datagram are no VSOA",
                        seen_.cut > 0 ? seen_.cut : seen_.bytes.size());
            }
            return;
        }
        aligned_.resize((seen_.bytes.size() + 3) / 4);
        std::copy(seen_.bytes.begin(), seen_.bytes.end(), reinterpret_cast<char*>(aligned_.data()));
        vsoa_header_t* const header = check_datagram(aligned_.data(), seen_.bytes.size());
        if (header == nullptr) {
            if (wanted)
                trouble(seen_.from, seen_.to, "of a datagram are less than its header announces", seen_.bytes.size());
            return;
        }
        packet(Packet(header), seen_.from, seen_.to, nullptr);
    }

    // A question to a position server or its answer.
    bool position() {
        if (!seen_.bytes.starts_with('{') && !seen_.bytes.empty()) return false;
        const auto asked = asked_.find({seen_.to, seen_.from});
        const bool answers = asked != asked_.end();
        const bool port = seen_.to.port == options_.position_port || seen_.from.port == options_.position_port;
        bool name = false, address = false, number = false, other = false;
        const bool object = json::read_object(seen_.bytes, [&](std::string_view key, const json::Value& value) {
            name |= key == "name" && value.kind == json::Value::Kind::kString;
            address |= key == "addr" && value.kind == json::Value::Kind::kString;
            number |= key == "port" && value.kind == json::Value::Kind::kInteger;
            other |= key != "name" && key != "domain" && key != "addr" && key != "port" && key != "security";
        });
        if (answers && (object || seen_.bytes.empty())) {
            asked_.erase(asked);
            show_position(address && number ? "position-answer" : "position-unknown");
            return true;
        }
        if (!object || !((name && !other) || port) || seen_.bytes.size() > 2048) return false;
        if (address && number) {
            show_position("position-answer");
        } else if (name) {
            if (asked_.size() >= kMostConnections) asked_.clear();
            asked_.insert({seen_.from, seen_.to});
            show_position("position-query");
        } else {
            return false;
        }
        return true;
    }

    void show_position(const char* type) {
        if (enough()) return;
        ++shown_;
        if (settings_.json) {
            say(head(type, "udp", seen_.from, seen_.to).payload(seen_.bytes, "").done());
        } else {
            say(head_text(seen_.from, seen_.to) + "udp " + type + ' ' + clean(seen_.bytes));
        }
    }

    // ---- both

    JsonLine head(const char* type, const char* transport, const Host& from, const Host& to) const {
        JsonLine line;
        line.text("time", utc(seen_.time_ns)).text("from", from.text()).text("to", to.text());
        return std::move(line.text("transport", transport).text("type", type));
    }

    std::string head_text(const Host& from, const Host& to) const {
        return utc(seen_.time_ns).substr(11) + ' ' + from.text() + " > " + to.text() + ' ';
    }

    void trouble(const Host& from, const Host& to, const std::string& what, uint64_t bytes) {
        if (enough()) return;
        if (settings_.json) {
            JsonLine line = head("trouble", seen_.tcp ? "tcp" : "udp", from, to);
            say(line.number("bytes", static_cast<int64_t>(bytes)).text("what", what).done());
        } else {
            say(head_text(from, to) + "-- " + std::to_string(bytes) + (bytes == 1 ? " byte " : " bytes ") + what);
        }
    }

    // The url that a reply answers.
    std::string answered(const Packet& p, Connection* connection) {
        if (connection == nullptr) return {};
        auto& calls = connection->calls;
        if (!p.reply) {
            if (p.url.url_len > 0 && calls.size() < kMostCalls) calls[p.seqno] = std::string(p.url_text());
            return {};
        }
        const auto call = calls.find(p.seqno);
        if (call == calls.end()) return {};
        std::string url = std::move(call->second);
        calls.erase(call);
        return url;
    }

    std::string param_to_show(const Packet& p) const {
        if (options_.show_passwords || p.type != VSOA_TYPE_SERVINFO || p.reply) return std::string(p.param_text());
        bool has = false;
        json::read_object(p.param_text(), [&](std::string_view key, const json::Value&) { has |= key == "passwd"; });
        return has || p.param_text().find("passwd") != std::string_view::npos ? "{\"passwd\":\"***\"}"
                                                                              : std::string(p.param_text());
    }

    void packet(const Packet& p, const Host& from, const Host& to, Connection* connection) {
        const std::string of =
            p.type == VSOA_TYPE_PUBLISH || p.type == VSOA_TYPE_DATAGRAM ? "" : answered(p, connection);
        if (enough()) return;
        ++shown_;
        const char* transport = connection != nullptr ? "tcp" : "udp";
        const std::string param = param_to_show(p);
        settings_.json ? show_json(p, from, to, transport, of, param) : show_text(p, from, to, transport, of, param);
    }

    void show_json(const Packet& p, const Host& from, const Host& to, const char* transport, const std::string& of,
                   const std::string& param) const {
        const uint8_t flags = p.header->flags;
        JsonLine line = head(type_word(p.type), transport, from, to);
        line.number("type_number", p.type)
            .number("flags", flags & ~VSOA_PAD_MASK)
            .number("pad", flags >> VSOA_PAD_SHIFT);
        line.boolean("reply", p.reply);
        if (p.type == VSOA_TYPE_RPC && !p.reply) line.text("method", flags & VSOA_FLAG_SET ? "set" : "get");
        line.number("status", p.status).number("seqno", p.seqno).number("tunid", ntohs(p.header->tunid));
        line.text("url", p.url_text());
        if (!of.empty()) line.text("answers", of);
        say(line.payload(param, data_of(p.payload)).done());
    }

    void show_text(const Packet& p, const Host& from, const Host& to, const char* transport, const std::string& of,
                   const std::string& param) const {
        const uint8_t flags = p.header->flags;
        std::string out = head_text(from, to) + transport + ' ' + type_word(p.type);
        if (std::string(type_word(p.type)) == "unknown") out += " type " + std::to_string(p.type);
        if (p.type == VSOA_TYPE_RPC && !p.reply) out += flags & VSOA_FLAG_SET ? " SET" : " GET";
        if (p.reply) out += " reply";
        if (p.seqno != 0) out += " #" + std::to_string(p.seqno);
        if (p.url.url_len > 0) out += ' ' + clean(p.url_text());
        if (!of.empty()) out += " (" + clean(of) + ')';
        if (p.type == VSOA_TYPE_QOSSETUP) {
            out += " priority " + std::to_string(p.status);
        } else if (p.reply) {
            out += ": " + status_word(p.status);
        }
        if (flags & VSOA_FLAG_TUNNEL) out += " tunnel " + std::to_string(ntohs(p.header->tunid));
        const std::string_view data = data_of(p.payload);
        const std::string body = shown(param, options_.hex ? "" : data);
        if (!body.empty()) out += ' ' + body;
        if (options_.hex && !data.empty()) out += " [" + hex(data) + ']';
        say(out);
    }

    const DumpOptions& options_;
    const Settings& settings_;
    Seen seen_;
    std::map<Ends, Connection> connections_;
    std::set<Ends> asked_;  // whom a position server has to answer: asker, server
    std::vector<uint32_t> aligned_;
    uint64_t clock_ = 0;
    int64_t shown_ = 0;
};

}  // namespace

int dump(const DumpOptions& options, const Settings& settings) { return Dump(options, settings).run(); }

}  // namespace vsoa::tools
