// Matching of urls: subscriptions and RPC listeners. A url that ends in '/' also stands for everything below it.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

namespace vsoa {

/// Lets hash tables of strings be asked with views.
struct TextHash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};

using UrlSet = std::unordered_set<std::string, TextHash, std::equal_to<>>;
template <typename T>
using UrlMap = std::unordered_map<std::string, T, TextHash, std::equal_to<>>;

/// Calls visit(prefix) for every proper prefix of url that ends in '/', longest first, without "/" itself, until visit
/// returns true. True when one did.
template <typename Visit>
bool any_folder(std::string_view url, Visit visit) {
    for (size_t slash = url.rfind('/'); slash != url.npos && slash > 0; slash = url.rfind('/', slash - 1)) {
        const std::string_view folder = url.substr(0, slash + 1);
        if (folder.size() < url.size() && visit(folder)) return true;
    }
    return false;
}

/// A subscription "/" takes everything, "/a" exactly "/a", "/a/" takes "/a" and all that begins with "/a/".
/// as_folder: room for url + "/", so that a publish need not allocate; any content.
inline bool subscribed(const UrlSet& subscriptions, std::string_view url, std::string& as_folder) {
    if (subscriptions.empty()) return false;
    if (subscriptions.contains(url) || subscriptions.contains(std::string_view("/"))) return true;
    as_folder.assign(url);
    as_folder += '/';
    if (subscriptions.contains(as_folder)) return true;
    return any_folder(url, [&](std::string_view folder) { return subscriptions.contains(folder); });
}

/// Exact, then the longest prefix that ends in '/', then "/"; null when nothing takes url.
template <typename T>
const T* best_match(const UrlMap<T>& listeners, std::string_view url) {
    const auto look = [&](std::string_view key) -> const T* {
        const auto found = listeners.find(key);
        return found == listeners.end() ? nullptr : &found->second;
    };
    const T* match = look(url);
    if (match == nullptr) match = look(std::string(url) + '/');
    if (match == nullptr) any_folder(url, [&](std::string_view folder) { return (match = look(folder)) != nullptr; });
    return match != nullptr ? match : look("/");
}

}  // namespace vsoa
