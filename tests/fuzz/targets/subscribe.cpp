// The param of a SUBSCRIBE: an array of urls, and what then matches.
#include <string>
#include <vector>

#include "sdk/vsoa/src/json.hpp"
#include "sdk/vsoa/src/packet.hpp"
#include "sdk/vsoa/src/topics.hpp"
#include "tests/fuzz/targets/input.hpp"

using fuzz::demand;

namespace {

constexpr size_t kSome = 6;  // urls that are compared with each other

bool takes(std::string_view subscribed, std::string_view url) {
    if (subscribed == "/" || subscribed == url) return true;
    if (!subscribed.ends_with('/')) return false;
    return url == subscribed.substr(0, subscribed.size() - 1) || url.starts_with(subscribed);
}

void match(const std::vector<std::string>& subscribed, std::string_view url) {
    vsoa::Subscriptions table;
    size_t bytes = 0, count = 0;
    bool wanted = false;
    for (const std::string& text : subscribed) {
        wanted = wanted || takes(text, url);
        if (!table.set(text)) continue;
        bytes += text.size();
        ++count;
    }
    demand(table.bytes() == bytes && table.size() == count, "the table knows its size");
    std::string room;
    demand((table.best(url, room) != nullptr) == wanted, "urls match as their definition says");
    for (const std::string& text : subscribed) table.erase(text);
    demand(table.bytes() == 0 && table.size() == 0 && table.best(url, room) == nullptr, "what is taken out is gone");
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
    fuzz::Copy copy({bytes, size});
    std::vector<std::string> urls;
    if (!vsoa::json::read_strings({reinterpret_cast<const char*>(copy.data()), copy.size()}, urls)) return 0;
    std::erase_if(urls, [](const std::string& url) { return !vsoa::is_url(url); });
    if (urls.size() > kSome) urls.resize(kSome);
    for (size_t i = 0; i < urls.size(); ++i) {
        std::vector<std::string> others = urls;
        others.erase(others.begin() + static_cast<ptrdiff_t>(i));
        match(others, urls[i]);
        match(urls, urls[i]);
        match(urls, urls[i] + "/x");
        if (urls[i].size() > 1 && urls[i].ends_with('/')) match(others, urls[i].substr(0, urls[i].size() - 1));
    }
    return 0;
}
