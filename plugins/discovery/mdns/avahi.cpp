// SPDX-License-Identifier: Apache-2.0
#include "plugins/discovery/mdns/avahi.hpp"

#include <gantry/address.hpp>

namespace mdns {
namespace {

constexpr const char* kType = "_gantry._tcp";
constexpr const char* kServer = "org.freedesktop.Avahi.Server";
constexpr const char* kServiceBrowser = "org.freedesktop.Avahi.ServiceBrowser";
constexpr const char* kEntryGroup = "org.freedesktop.Avahi.EntryGroup";
constexpr std::int32_t kAnywhere = -1;
constexpr std::int32_t kServerRunning = 2;   // AvahiServerState
constexpr std::int32_t kGroupCollision = 3;  // AvahiEntryGroupState
constexpr std::uint32_t kOurOwn = 16;        // AvahiLookupResultFlags
constexpr int kCollisionsMax = 100;

// Another host can dial it: no link-local IPv6 address, which needs the name of a link beside it.
std::string endpoint(const char* ip, std::uint16_t port) {
    const auto address = gantry::SocketAddress::of(ip, port);
    if (!address || port == 0) return {};
    if (address->family() == AF_INET6) {
        const auto& six = reinterpret_cast<const sockaddr_in6*>(address->raw())->sin6_addr;
        if (IN6_IS_ADDR_LINKLOCAL(&six) || IN6_IS_ADDR_LOOPBACK(&six) || IN6_IS_ADDR_UNSPECIFIED(&six)) return {};
    }
    const std::string text = address->text();
    return text.starts_with("127.") ? std::string() : text;
}

}  // namespace

Avahi::Avahi(gantry::Host& host, std::optional<Announcement> announce, Events events,
             std::function<void(const std::string&)> lost)
    : host_(host), announce_(std::move(announce)), events_(std::move(events)), bus_(host, std::move(lost)) {
    bus_.match(
        "type='signal',sender='org.freedesktop.DBus',interface='org.freedesktop.DBus',member='NameOwnerChanged',"
        "arg0='org.freedesktop.Avahi'",
        [this](const Reply& signal) {
            const char *name = nullptr, *before = nullptr, *now = nullptr;
            if (!signal.read("sss", &name, &before, &now)) return;
            if (*now == '\0') return not_there("it has ended");
            begin();
        });
    bus_.match("type='signal',sender='org.freedesktop.Avahi'", [this](const Reply& signal) { on_signal(signal); });
    begin();
}

void Avahi::begin() {
    browser_.clear();
    group_.clear();
    announced_ = false;
    browse();
    bus_.call(
        "/", kServer, "GetState",
        [this](const Reply& reply) {
            std::int32_t now = 0;
            if (reply.ok() && reply.read("i", &now)) state(now);
        },
        nullptr);
}

void Avahi::browse() {
    bus_.call(
        "/", kServer, "ServiceBrowserNew",
        [this](const Reply& reply) {
            const char* path = nullptr;
            if (!reply.ok() || !reply.read("o", &path)) return not_there(reply.error());
            browser_ = path;
            events_.well();
        },
        "iissu", kAnywhere, kAnywhere, kType, "", 0u);
}

void Avahi::not_there(const std::string& error) {
    browser_.clear();
    group_.clear();
    announced_ = false;
    items_.clear();  // what was found stays until its ttl is over
    events_.trouble("avahi-daemon is not there: " + error);
}

void Avahi::on_signal(const Reply& signal) {
    if (signal.interface() == kServer && signal.member() == "StateChanged") {
        std::int32_t now = 0;
        const char* error = nullptr;
        if (signal.read("is", &now, &error)) state(now);
        return;
    }
    if (signal.interface() == kEntryGroup && signal.path() == group_) return withdrawn(signal);
    // The browser's first signals come before the answer that says its path; nobody else's come here, as each client
    // has its own.
    if (signal.interface() != kServiceBrowser || (!browser_.empty() && signal.path() != browser_)) return;
    if (signal.member() == "Failure") {
        const char* error = nullptr;
        return not_there(signal.read("s", &error) ? error : "its browser failed");
    }
    if (signal.member() != "ItemNew" && signal.member() != "ItemRemove") return;
    std::int32_t link = 0, protocol = 0;
    const char *name = nullptr, *type = nullptr, *domain = nullptr;
    std::uint32_t flags = 0;
    if (!signal.read("iisssu", &link, &protocol, &name, &type, &domain, &flags)) return;
    if (std::string_view(type) != kType || (flags & kOurOwn) != 0) return;
    const Item item{link, protocol, name, domain};
    const auto known = items_.find(item);
    if (signal.member() == "ItemRemove") {
        if (known != items_.end()) forget(known);
        return;
    }
    if (known != items_.end() || items_.size() >= kServicesMax) return;
    items_[item];
    resolve(item);
}

void Avahi::resolve(const Item& item) {
    const auto& [link, protocol, name, domain] = item;
    bus_.call(
        "/", kServer, "ResolveService",
        [this, item](const Reply& reply) {
            const auto known = items_.find(item);
            if (known == items_.end()) return;  // gone meanwhile
            if (!reply.ok()) return;            // it does not answer; if that stays so, its ttl ends
            std::int32_t number = 0;
            const char *text = nullptr, *ip = nullptr;
            std::uint16_t port = 0;
            if (!reply.read("iissss", &number, &number, &text, &text, &text, &text)) return;
            if (!reply.read("isq", &number, &ip, &port)) return;
            std::string address = endpoint(ip, port);
            if (address == known->second) return address.empty() ? void() : events_.found(address);
            const std::string before = std::exchange(known->second, std::move(address));
            bool still = before.empty();
            for (const auto& [other, where] : items_) still = still || where == before;
            if (!still) events_.gone(before);
            if (!known->second.empty()) events_.found(known->second);
        },
        "iisssiu", link, protocol, name.c_str(), kType, domain.c_str(), protocol, 0u);
}

void Avahi::resolve_all() {
    for (const auto& [item, address] : items_) resolve(item);
}

void Avahi::forget(std::map<Item, std::string>::iterator item) {
    const std::string address = item->second;
    items_.erase(item);
    if (address.empty()) return;
    for (const auto& [other, where] : items_) {
        if (where == address) return;  // it is still there by another way
    }
    events_.gone(address);
}

// ---- announcing

void Avahi::state(std::int32_t now) {
    // The daemon takes services once it has its own host name.
    if (now == kServerRunning && announce_ && !announced_) announce();
}

void Avahi::announce() {
    announced_ = true;
    bus_.call(
        "/", kServer, "EntryGroupNew",
        [this](const Reply& reply) {
            const char* path = nullptr;
            if (!reply.ok() || !reply.read("o", &path)) return events_.trouble("cannot announce: " + reply.error());
            group_ = path;
            std::string name = announce_->service;
            if (collisions_ > 0) name += " " + std::to_string(collisions_ + 1);
            const auto refused = [this](const Reply& answer) {
                if (!answer.ok()) events_.trouble("avahi-daemon does not announce this controller: " + answer.error());
            };
            bus_.add_service(group_, name, kType, announce_->port, "gantry=1", refused);
            bus_.call(group_, kEntryGroup, "Commit", refused, nullptr);
        },
        nullptr);
}

void Avahi::withdrawn(const Reply& signal) {
    std::int32_t now = 0;
    const char* error = nullptr;
    if (signal.member() != "StateChanged" || !signal.read("is", &now, &error) || now != kGroupCollision) return;
    if (++collisions_ > kCollisionsMax) return events_.trouble("every name of the announced service is taken");
    bus_.call(
        group_, kEntryGroup, "Free", [](const Reply&) {}, nullptr);
    group_.clear();
    announce();
}

}  // namespace mdns
