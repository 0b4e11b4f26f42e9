#include "sdk/vsoa/src/json.hpp"

#include <charconv>

namespace vsoa::json {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

void append_utf8(std::string& out, uint32_t code) {
    const auto tail = [&](int shift) { out += static_cast<char>(0x80 | (code >> shift & 0x3f)); };
    if (code < 0x80) {
        out += static_cast<char>(code);
    } else if (code < 0x800) {
        out += static_cast<char>(0xc0 | code >> 6);
        tail(0);
    } else if (code < 0x10000) {
        out += static_cast<char>(0xe0 | code >> 12);
        tail(6), tail(0);
    } else {
        out += static_cast<char>(0xf0 | code >> 18);
        tail(12), tail(6), tail(0);
    }
}

}  // namespace

bool Reader::fail() {
    at_ = end_;
    return ok_ = false;
}

void Reader::blanks() {
    while (at_ < end_ && (*at_ == ' ' || *at_ == '\t' || *at_ == '\n' || *at_ == '\r')) ++at_;
}

bool Reader::accept(char c) {
    blanks();
    if (at_ == end_ || *at_ != c) return false;
    ++at_;
    return true;
}

bool Reader::open(char bracket) {
    first_ = true;
    return accept(bracket) || fail();
}

bool Reader::more(char closing) {
    const bool first = first_;
    first_ = false;
    if (!ok_ || accept(closing)) return false;
    return first || accept(',') || fail();
}

bool Reader::key(std::string& out) {
    blanks();
    return string(out) && (accept(':') || fail());
}

bool Reader::finished() {
    blanks();
    return ok_ && at_ == end_;
}

bool Reader::value(Value& out, int depth) {
    blanks();
    if (at_ == end_ || depth > kMaxDepth) return fail();
    out.text.clear();
    out.integer = 0;
    out.boolean = false;
    switch (*at_) {
        case '"':
            out.kind = Value::Kind::kString;
            return string(out.text);
        case '{':
        case '[':
            out.kind = Value::Kind::kNested;
            return nested(*at_, depth);
        case 't':
        case 'f':
            out.kind = Value::Kind::kBool;
            out.boolean = *at_ == 't';
            return literal(out.boolean ? "true" : "false");
        case 'n':
            out.kind = Value::Kind::kNull;
            return literal("null");
        default:
            return number(out);
    }
}

bool Reader::nested(char bracket, int depth) {
    const bool object = bracket == '{';
    std::string key_text;
    Value inner;
    if (!open(bracket)) return false;
    while (more(object ? '}' : ']')) {
        if (object && !key(key_text)) return false;
        if (!value(inner, depth + 1)) return false;
        first_ = false;
    }
    return ok_;
}

bool Reader::literal(std::string_view word) {
    if (static_cast<size_t>(end_ - at_) < word.size() || std::string_view(at_, word.size()) != word) return fail();
    at_ += word.size();
    return true;
}

bool Reader::number(Value& out) {
    const char* const begin = at_;
    const auto digits = [&] {
        const char* const from = at_;
        while (at_ < end_ && is_digit(*at_)) ++at_;
        return at_ > from;
    };
    if (at_ < end_ && *at_ == '-') ++at_;
    const char* const first = at_;
    if (!digits() || (*first == '0' && at_ - first > 1)) return fail();
    bool whole = true;
    if (at_ < end_ && *at_ == '.') {
        ++at_;
        whole = false;
        if (!digits()) return fail();
    }
    if (at_ < end_ && (*at_ == 'e' || *at_ == 'E')) {
        ++at_;
        whole = false;
        if (at_ < end_ && (*at_ == '+' || *at_ == '-')) ++at_;
        if (!digits()) return fail();
    }
    whole = whole && std::from_chars(begin, at_, out.integer).ec == std::errc();
    out.kind = whole ? Value::Kind::kInteger : Value::Kind::kNumber;
    return true;
}

bool Reader::string(std::string& out) {
    out.clear();
    if (at_ == end_ || *at_ != '"') return fail();
    ++at_;
    while (at_ < end_) {
        const char c = *at_++;
        if (c == '"') return true;
        if (static_cast<unsigned char>(c) < 0x20) return fail();
        if (c != '\\') {
            out += c;
        } else if (!escape(out)) {
            return fail();
        }
    }
    return fail();
}

bool Reader::escape(std::string& out) {
    if (at_ == end_) return false;
    const char c = *at_++;
    switch (c) {
        case '"':
        case '\\':
        case '/':
            out += c;
            return true;
        case 'b':
            out += '\b';
            return true;
        case 'f':
            out += '\f';
            return true;
        case 'n':
            out += '\n';
            return true;
        case 'r':
            out += '\r';
            return true;
        case 't':
            out += '\t';
            return true;
        case 'u':
            break;
        default:
            return false;
    }
    uint32_t code = 0, low = 0;
    if (!hex4(code)) return false;
    if (code >= 0xdc00 && code <= 0xdfff) return false;
    if (code >= 0xd800 && code <= 0xdbff) {
        if (end_ - at_ < 2 || at_[0] != '\\' || at_[1] != 'u') return false;
        at_ += 2;
        if (!hex4(low) || low < 0xdc00 || low > 0xdfff) return false;
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }
    append_utf8(out, code);
    return true;
}

bool Reader::hex4(uint32_t& out) {
    if (end_ - at_ < 4) return false;
    const auto [stop, error] = std::from_chars(at_, at_ + 4, out, 16);
    if (error != std::errc() || stop != at_ + 4) return false;
    at_ += 4;
    return true;
}

bool read_strings(std::string_view text, std::vector<std::string>& out) {
    Reader reader(text);
    if (!reader.open('[')) return false;
    Value value;
    while (reader.more(']')) {
        if (!reader.value(value) || value.kind != Value::Kind::kString) return false;
        out.push_back(value.text);
    }
    return reader.finished();
}

void append_string(std::string& out, std::string_view text) {
    static constexpr char kHex[] = "0123456789abcdef";
    out += '"';
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (c == '"' || c == '\\') {
            out += '\\';
            out += c;
        } else if (byte < 0x20) {
            out += "\\u00";
            out += kHex[byte >> 4];
            out += kHex[byte & 15];
        } else {
            out += c;
        }
    }
    out += '"';
}

}  // namespace vsoa::json
