// Matching of urls: subscriptions and RPC listeners. A url that ends in '/' also stands for everything below it.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>

namespace vsoa {

/// Lets hash tables of strings be asked with views.
struct TextHash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};

/// Urls, each with a value. A look-up hashes only prefixes as long as some folder in the table: what it costs is the
/// table's doing, however many slashes a peer puts into the url it asks for.
template <typename T, typename Hash = TextHash>
class UrlTable {
  public:
    /// False: the url was there; it has the new value.
    bool set(std::string_view url, T value = {}) {
        if (const auto found = values_.find(url); found != values_.end()) {
            found->second = std::move(value);
            return false;
        }
        values_.emplace(url, std::move(value));
        bytes_ += url.size();
        if (is_folder(url)) ++folders_[url.size()];
        return true;
    }

    void erase(std::string_view url) {
        const auto found = values_.find(url);
        if (found == values_.end()) return;
        bytes_ -= url.size();
        if (is_folder(url)) {
            const auto length = folders_.find(url.size());
            if (--length->second == 0) folders_.erase(length);
        }
        values_.erase(found);
    }

    void clear() {
        values_.clear();
        folders_.clear();
        bytes_ = 0;
    }

    size_t size() const { return values_.size(); }
    /// Of all urls together.
    size_t bytes() const { return bytes_; }

    /// The value of url itself, else of the longest folder that takes it: "/a/" takes "/a" and all that begins with
    /// "/a/", "/" takes everything. Null when nothing does. room: for one more byte than url has, so that asking need
    /// not allocate; any content.
    const T* best(std::string_view url, std::string& room) const {
        if (const T* exact = at(url)) return exact;
        for (auto entry = folders_.lower_bound(url.size() + 1); entry != folders_.end(); ++entry) {
            const size_t length = entry->first;
            const T* match = nullptr;
            if (length > url.size()) {
                match = at(room.assign(url).append(1, '/'));
            } else if (length < url.size() && url[length - 1] == '/') {
                match = at(url.substr(0, length));
            }
            if (match != nullptr) return match;
        }
        return nullptr;
    }

  private:
    static bool is_folder(std::string_view url) { return url.ends_with('/'); }
    const T* at(std::string_view url) const {
        const auto found = values_.find(url);
        return found == values_.end() ? nullptr : &found->second;
    }

    std::unordered_map<std::string, T, Hash, std::equal_to<>> values_;
    std::map<size_t, size_t, std::greater<>> folders_;  // length -> how many have it
    size_t bytes_ = 0;
};

/// What a client has subscribed: a publish reaches it when `best` finds something.
using Subscriptions = UrlTable<std::monostate>;

}  // namespace vsoa
