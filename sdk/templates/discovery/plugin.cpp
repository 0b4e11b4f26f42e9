// Controllers and expected nodes from a file that is looked at again and again: lines "controller IP:PORT" and
// "node NAME", and comments behind '#'.
#include <cerrno>
#include <cstring>
#include <fstream>
#include <gantry/address.hpp>
#include <gantry/discovery.hpp>
#include <set>
#include <sstream>

namespace {

constexpr std::size_t kEndpointsMax = 1'024;

class FileDiscovery final : public gantry::Discovery {
  public:
    void init(const gantry::Config& config) override {
        path_ = config.string("file");
        if (path_.empty()) path_ = config.state_dir() + "/endpoints";
        if (path_.front() != '/') {
            throw gantry::Failure(gantry::Code::kInvalid, "file: expected an absolute path, got \"" + path_ + "\"");
        }
        interval_ = config.duration("interval");
    }

    void begin_search() override {
        look();
        timer_ = host().timer(
            interval_, [this] { look(); }, interval_);
    }
    void end_search() override { host().cancel(timer_); }
    void refresh() override { look(); }

  private:
    using Endpoint = std::pair<bool, std::string>;  // a controller's address or a node's name

    void look() {
        std::string trouble;
        const std::set<Endpoint> now = read(trouble);
        if (trouble != trouble_ && !trouble.empty()) host().warn(trouble);
        trouble_ = trouble;
        if (!trouble.empty()) return;  // what was known stays known
        for (const Endpoint& endpoint : known_) {
            if (!now.contains(endpoint)) events().gone(told(endpoint));
        }
        for (const Endpoint& endpoint : now) events().found(told(endpoint));
        known_ = now;
    }

    std::set<Endpoint> read(std::string& trouble) const {
        std::set<Endpoint> out;
        std::ifstream file(path_);
        if (!file) {
            trouble = path_ + " cannot be read: " + std::strerror(errno);
            return out;
        }
        std::string line;
        for (int number = 1; std::getline(file, line) && out.size() < kEndpointsMax; ++number) {
            std::istringstream words(line.substr(0, line.find('#')));
            std::string kind, what, more;
            if (!(words >> kind)) continue;
            const bool controller = kind == "controller";
            const bool good = words >> what && !(words >> more) && (controller || kind == "node") &&
                              (!controller || gantry::SocketAddress::parse(what));
            if (good) {
                out.emplace(controller, what);
            } else {
                trouble = path_ + ":" + std::to_string(number) + ": expected \"controller IP:PORT\" or \"node NAME\"";
            }
        }
        return out;
    }

    static gantry::Discovered told(const Endpoint& endpoint) {
        const auto& [controller, text] = endpoint;
        return {controller, controller ? "" : text, controller ? text : "", {}};
    }

    std::string path_, trouble_;
    gantry::Duration interval_{};
    gantry::TimerId timer_ = 0;
    std::set<Endpoint> known_;
};

}  // namespace

GANTRY_PLUGIN(FileDiscovery)
