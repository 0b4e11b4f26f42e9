// SPDX-License-Identifier: Apache-2.0
//
// Slots as data. A role is a list of its table's slots, each an Operation or a Notification with the form of its
// arguments where their types do not tell it; from that one line follow the proxy on the caller's side, the call on the
// plugin's, and the way of the result back. What a plugin reports to (its sinks, the log) is described alike.
#pragma once

#include <array>
#include <memory>
#include <span>

#include "kernel/isolation/members.hpp"

namespace gantry::isolation {

// --- forms of arguments: how many parameters each stands for, and how those travel ----------------------------------

struct Value {  // a number, a text, bytes, or a struct by its address
    static constexpr std::size_t kTakes = 1;
    template <class A>
    static void put_all(Writer& w, const A& value) {
        if constexpr (std::is_pointer_v<A>)
            put(w, *value);
        else
            put(w, value);
    }
    template <class A>
    static void take_all(Reader& r, A& value) {
        if constexpr (std::is_pointer_v<A>) {
            auto* const made = r.make<std::remove_const_t<std::remove_pointer_t<A>>>();
            take(r, *made);
            value = made;
        } else {
            take(r, value);
        }
    }
};
struct Stream {  // a descriptor
    static constexpr std::size_t kTakes = 1;
    static void put_all(Writer& w, std::int32_t fd) { w.descriptor(fd); }
    static void take_all(Reader& r, std::int32_t& fd) { fd = r.descriptor(); }
};
struct Elements {  // a pointer and a count
    static constexpr std::size_t kTakes = 2;
    template <class E>
    static void put_all(Writer& w, const E* first, std::size_t count) {
        put_elements(w, first, first == nullptr ? 0 : count);
    }
    template <class E>
    static void take_all(Reader& r, const E*& first, std::size_t& count) {
        take_elements(r, first, count);
    }
};
struct SizedElements {  // a pointer, the bytes from one to the next, a count
    static constexpr std::size_t kTakes = 3;
    template <class E>
    static void put_all(Writer& w, const E* first, std::size_t size, std::size_t count) {
        put_elements(w, first, size, count);
    }
    template <class E>
    static void take_all(Reader& r, const E*& first, std::size_t& size, std::size_t& count) {
        take_elements(r, first, count);
        size = sizeof(E);
    }
};
struct Sink {  // where to report; it does not travel, each side has its own
    static constexpr std::size_t kTakes = 1;
    template <class T>
    static void put_all(Writer& w, const T* sink) {
        w.sink = sink;
    }
    template <class T>
    static void take_all(Reader& r, const T*& sink) {
        sink = static_cast<const T*>(r.sink);
    }
};

template <std::size_t At, class Form, class... Forms, class Tuple>
void put_from(Writer& w, const Tuple& all) {
    [&]<std::size_t... I>(std::index_sequence<I...>) { Form::put_all(w, std::get<At + I>(all)...); }
    (std::make_index_sequence<Form::kTakes>());
    if constexpr (sizeof...(Forms) > 0) put_from<At + Form::kTakes, Forms...>(w, all);
}
template <std::size_t At, class Form, class... Forms, class Tuple>
void take_from(Reader& r, Tuple& all) {
    [&]<std::size_t... I>(std::index_sequence<I...>) { Form::take_all(r, std::get<At + I>(all)...); }
    (std::make_index_sequence<Form::kTakes>());
    if constexpr (sizeof...(Forms) > 0) take_from<At + Form::kTakes, Forms...>(r, all);
}

// --- slots ----------------------------------------------------------------------------------------------------------

// Where the calls of a proxy go. Both sides have one.
class Caller {
  public:
    virtual ~Caller() = default;
    struct Call {
        std::uint16_t table = 0, slot = 0;
        gantry_op op{};  // id 0: a notification
    };
    // `arguments` is complete but for its head, which is for the caller to fill. [any]
    virtual gantry_status call(const Call& call, std::string message, const Writer& arguments) noexcept = 0;
    // Who reports for the instance with that number; nullptr once it was stopped. In a plugin's process only, which
    // sets it before it has a plugin. [any]
    using Find = std::shared_ptr<Caller> (*)(std::uint64_t host);
    static inline Find reporter = nullptr;
    // Where a frontend's door is, as far as its process has said. [any]
    virtual gantry_str address() const noexcept { return {}; }
};

// Bytes that every message begins with, left free here; see messages.hpp.
inline constexpr std::size_t kHead = 32;
inline constexpr std::size_t kUsual = 1'024;  // bytes: most messages have fewer, and are put together without moving

// Whether what a slot asks for is still wanted of a process that replaces the one that was asked; then the slot's last
// call is made again.
enum class Lasting : std::uint8_t { kNo, kBeforeStart, kAfterStart };

// One slot for those who know its number only.
struct Slot {
    const char* name;
    // Calls it in `table`; r must be complete afterwards, else nothing was called and the answer is GANTRY_INVALID.
    // GANTRY_UNSUPPORTED if the table does not have it. `self` is the table's own first argument.
    gantry_status (*call)(Reader& r, const void* table, void* self, std::uint64_t host, gantry_op op);
    bool (*offered)(const void* table);
    void (*put_result)(Writer& w, const void* result);  // nullptr: it has none
    const void* (*take_result)(Reader& r);              // nullptr: it has none
    bool operation;
    Lasting lasting;
};

template <class T>
struct Signature;
template <class T, class... A>
struct Signature<gantry_status (*T::*)(A...) noexcept> {
    using Table = T;
    using Arguments = std::tuple<std::remove_cv_t<A>...>;
};

template <class T, class S>
bool offers(const T* table, S T::*slot) {
    const auto* const end = reinterpret_cast<const char*>(&(table->*slot) + 1);
    return static_cast<std::size_t>(end - reinterpret_cast<const char*>(table)) <= table->struct_size &&
           table->*slot != nullptr;
}

// First: what comes before the arguments: self or host, and the op of an operation.
template <auto kSlot, bool kOperation, Lasting kLasting, class Result, class... Forms>
struct SlotOf {
    using Sign = Signature<decltype(kSlot)>;
    using Table = typename Sign::Table;
    using Arguments = typename Sign::Arguments;
    static constexpr auto kMember = kSlot;
    static constexpr bool kIsOperation = kOperation;
    static constexpr std::size_t kFirst = kOperation ? 2 : 1;
    static constexpr std::size_t kCount = std::tuple_size_v<Arguments> - kFirst;

    static void put_tuple(Writer& w, const Arguments& all) {
        if constexpr (sizeof...(Forms) > 0) {
            static_assert((Forms::kTakes + ...) == kCount, "each parameter has a form");
            put_from<kFirst, Forms...>(w, all);
        } else {
            [&]<std::size_t... I>(std::index_sequence<I...>) { (Value::put_all(w, std::get<kFirst + I>(all)), ...); }
            (std::make_index_sequence<kCount>());
        }
    }
    static void take_tuple(Reader& r, Arguments& all) {
        if constexpr (sizeof...(Forms) > 0) {
            take_from<kFirst, Forms...>(r, all);
        } else {
            [&]<std::size_t... I>(std::index_sequence<I...>) { (Value::take_all(r, std::get<kFirst + I>(all)), ...); }
            (std::make_index_sequence<kCount>());
        }
    }

    static gantry_status call(Reader& r, const void* raw, void* self, std::uint64_t host, gantry_op op) {
        Arguments all{};
        take_tuple(r, all);
        if (!r.complete()) return GANTRY_INVALID;
        if (!offered(raw)) return GANTRY_UNSUPPORTED;
        // A report's descriptors belong to whom it is told; an operation's to who accepts it.
        if constexpr (!kOperation) r.release_descriptors();
        if constexpr (std::is_pointer_v<std::tuple_element_t<0, Arguments>>)
            std::get<0>(all) = self;
        else
            std::get<0>(all) = host;
        if constexpr (kOperation) std::get<1>(all) = op;
        const gantry_status status = std::apply(static_cast<const Table*>(raw)->*kSlot, all);
        if (kOperation && status == GANTRY_OK) r.release_descriptors();
        return status;
    }
    static bool offered(const void* raw) { return raw != nullptr && offers(static_cast<const Table*>(raw), kSlot); }
    static void put_result(Writer& w, const void* raw) {
        if constexpr (!std::is_void_v<Result>) put(w, host::result<Result>(raw));
    }
    static const void* take_result(Reader& r) {
        if constexpr (std::is_void_v<Result>) {
            return nullptr;
        } else {
            auto* const made = r.make<Result>();
            take(r, *made);
            return made;
        }
    }
    static constexpr Slot describe(const char* name) {
        constexpr bool kResult = !std::is_void_v<Result>;
        return {name,       &call,   &offered, kResult ? &put_result : nullptr, kResult ? &take_result : nullptr,
                kOperation, kLasting};
    }
};

template <auto kSlot, class Result = void, class... Forms>
using Operation = SlotOf<kSlot, true, Lasting::kNo, Result, Forms...>;
template <auto kSlot, class... Forms>
using Notification = SlotOf<kSlot, false, Lasting::kNo, void, Forms...>;
template <auto kSlot, Lasting kLasting, class Result = void, class... Forms>
using LastingOperation = SlotOf<kSlot, true, kLasting, Result, Forms...>;
template <auto kSlot, Lasting kLasting, class... Forms>
using LastingNotification = SlotOf<kSlot, false, kLasting, void, Forms...>;

// The function that stands in a proxy's table.
template <class S, std::uint16_t kTable, std::uint16_t kNumber, class Arguments>
struct ProxyOf;
template <class S, std::uint16_t kTable, std::uint16_t kNumber, class First, class... A>
struct ProxyOf<S, kTable, kNumber, std::tuple<First, A...>> {
    static gantry_status fn(First first, A... rest) noexcept {
        try {
            std::string message;
            message.reserve(kUsual);
            message.resize(kHead);
            Writer w(message);
            const typename S::Arguments all(first, rest...);
            S::put_tuple(w, all);
            Caller::Call call{kTable, kNumber, {}};
            if constexpr (S::kIsOperation) call.op = std::get<1>(all);
            if constexpr (std::is_pointer_v<First>) {
                return static_cast<Caller*>(first)->call(call, std::move(message), w);
            } else {
                const std::shared_ptr<Caller> caller = Caller::reporter(first);
                return caller == nullptr ? GANTRY_STALE : caller->call(call, std::move(message), w);
            }
        } catch (...) {
            return GANTRY_FAILED;
        }
    }
};

// A table's slots, in the order of their numbers.
template <class... S>
struct Slots {
    // Fills the members of `table` for which `offered` has the bit.
    template <std::uint16_t kTable, class T>
    static void proxy(T& table, std::uint64_t offered = ~std::uint64_t{0}) {
        table.struct_size = sizeof(T);
        [&]<std::size_t... I>(std::index_sequence<I...>) {
            ((table.*S::kMember =
                  (offered >> I & 1) != 0 ? &ProxyOf<S, kTable, I, typename S::Arguments>::fn : nullptr),
             ...);
        }
        (std::index_sequence_for<S...>());
    }
    template <class... Names>
    static constexpr std::array<Slot, sizeof...(S)> describe(Names... names) {
        static_assert(sizeof...(Names) == sizeof...(S));
        return {S::describe(names)...};
    }
};

}  // namespace gantry::isolation
