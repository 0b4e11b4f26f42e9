// SPDX-License-Identifier: Apache-2.0
//
// Bus: a connection to the system's D-Bus, on the host's loop. Everything is called on the loop.
#pragma once

#include <systemd/sd-bus.h>

#include <functional>
#include <gantry/host.hpp>
#include <memory>
#include <string>

namespace mdns {

// What came; valid during the call alone.
class Reply {
  public:
    explicit Reply(sd_bus_message* message) : message_(message) {}
    sd_bus_message* raw() const { return message_; }
    bool ok() const { return sd_bus_message_is_method_error(message_, nullptr) == 0; }
    // "org.freedesktop.DBus.Error.ServiceUnknown: The name is not activatable"
    std::string error() const;
    std::string_view member() const { return text(sd_bus_message_get_member(message_)); }
    std::string_view path() const { return text(sd_bus_message_get_path(message_)); }
    std::string_view interface() const { return text(sd_bus_message_get_interface(message_)); }
    // False if the message has other parts than `types` says (sd_bus_message_read).
    template <class... Out>
    bool read(const char* types, Out*... out) const {
        return sd_bus_message_read(message_, types, out...) > 0;
    }

  private:
    static std::string_view text(const char* from) { return from == nullptr ? "" : from; }
    sd_bus_message* message_;
};

class Bus {
  public:
    using Handler = std::function<void(const Reply&)>;

    // Begins to connect. lost(why) is called once, in a later turn, when the bus is gone; the Bus may be destroyed
    // there. Throws Failure(kUnavailable).
    Bus(gantry::Host& host, std::function<void(const std::string&)> lost);
    ~Bus();
    Bus(const Bus&) = delete;
    Bus& operator=(const Bus&) = delete;

    // Every signal that the rule matches. The rule is in force for calls made after this.
    void match(const std::string& rule, Handler handler);
    // Calls avahi-daemon; then(reply) is called once, with an error after 10 s, or never when the bus is gone.
    template <class... In>
    void call(const std::string& path, const char* interface, const char* method, Handler then, const char* types,
              In... in) {
        sd_bus_message* message = begin(path, interface, method);
        if (message == nullptr) return;
        const bool good = types == nullptr || sd_bus_message_append(message, types, in...) >= 0;
        send(message, good, std::move(then));
    }
    // AddService has a list of byte strings, which append() cannot write.
    void add_service(const std::string& group, const std::string& name, const char* type, std::uint16_t port,
                     const char* text, Handler then);

  private:
    sd_bus_message* begin(const std::string& path, const char* interface, const char* method);
    void send(sd_bus_message* message, bool good, Handler then);
    void turn();
    void wait();
    void fail(int error);
    static int on_message(sd_bus_message* message, void* handler, sd_bus_error*);

    gantry::Host& host_;
    std::function<void(const std::string&)> lost_;
    sd_bus* bus_ = nullptr;
    gantry::WatchId watch_ = 0;
    gantry::TimerId timer_ = 0;
    bool failed_ = false, turning_ = false;
};

}  // namespace mdns
