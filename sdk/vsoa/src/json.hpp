// The little JSON that VSOA itself needs: {"passwd":..}, arrays of urls, position texts.
//
// A reader of our own, because this library goes into applications and must not bring Boost or another parser into
// them. It builds no tree: a text is walked once, a value inside an object is handed out when it is a scalar and only
// checked when it is nested. Depth is bounded; memory is at most one decoded string.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace vsoa::json {

struct Value {
    enum class Kind { kString, kInteger, kNumber, kBool, kNull, kNested };
    Kind kind = Kind::kNull;
    std::string text;     // kString, decoded
    int64_t integer = 0;  // kInteger; a number with fraction, exponent or too many digits is kNumber
    bool boolean = false;
};

/// Walks through a text. Every function returns false, for good, at the first thing that is not JSON.
class Reader {
  public:
    explicit Reader(std::string_view text) : at_(text.data()), end_(text.data() + text.size()) {}

    bool value(Value& out) { return value(out, 0); }
    /// Begins an object or array; then `more` before each element, `key` before each value of an object.
    bool open(char bracket);
    /// True: one more element follows. False: the closing bracket was read, or an error (see ok).
    bool more(char closing);
    bool key(std::string& out);
    /// Nothing but blanks is left and nothing was wrong.
    bool finished();
    bool ok() const { return ok_; }

  private:
    static constexpr int kMaxDepth = 32;

    bool fail();
    void blanks();
    bool accept(char c);
    bool literal(std::string_view word);
    bool value(Value& out, int depth);
    bool nested(char bracket, int depth);
    bool number(Value& out);
    bool string(std::string& out);
    bool escape(std::string& out);
    bool hex4(uint32_t& out);

    const char* at_;
    const char* end_;
    bool ok_ = true;
    bool first_ = false;  // no element of the present object or array has been read
};

/// Reads one object; calls member(key, value) for each member in order. False when the text is not one JSON object.
template <typename Member>
bool read_object(std::string_view text, Member member) {
    Reader reader(text);
    if (!reader.open('{')) return false;
    std::string key;
    Value value;
    while (reader.more('}')) {
        if (!reader.key(key) || !reader.value(value)) return false;
        member(std::string_view(key), value);
    }
    return reader.finished();
}

/// Reads an array of strings. False when the text is anything else.
bool read_strings(std::string_view text, std::vector<std::string>& out);

/// Appends text as a JSON string, quotes included. Bytes that are not ASCII are passed on as they are.
void append_string(std::string& out, std::string_view text);

}  // namespace vsoa::json
