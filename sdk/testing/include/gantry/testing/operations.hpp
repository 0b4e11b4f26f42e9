// SPDX-License-Identifier: Apache-2.0
//
// Operations as a test sees them: Pending while under way, Answer at the end.
#pragma once

#include <gantry/operation.hpp>
#include <gantry/testing/fake_host.hpp>

namespace gantry::testing {

// Reads a result of the border; one specialisation per result, in results.cpp.
template <class Result>
Result read_result(const void* raw);

template <class Result>
struct Answer {
    Code code = Code::kFailed;
    std::string text;
    Result result{};
    bool ok() const { return code == Code::kOk; }
};
template <>
struct Answer<void> {
    Code code = Code::kFailed;
    std::string text;
    bool ok() const { return code == Code::kOk; }
};

// Starts an operation: `call` gets the gantry_op and returns the slot's status; `decode` sees the result inside
// complete(), on the completing thread; `ended` comes in a later turn. Returns the operation's id.
std::uint64_t begin_operation(Instance& instance, const std::function<gantry_status(gantry_op)>& call,
                              std::function<void(const void*)> decode, std::function<void(Code, std::string)> ended);
// Says that nobody waits any more (Operation::cancelled()); it ends with the plugin's answer, or at the deadline.
void cancel_operation(Instance& instance, std::uint64_t id);

template <class Result>
class Pending {
  public:
    // The answer has been delivered.
    bool ended() const { return state_->ended; }
    // Turns the loop until it is, for at most `limit` of real time; then code kDeadline and the text "no answer".
    Answer<Result> wait(Duration limit = std::chrono::seconds(10)) {
        if (!instance_->host().run_until([this] { return state_->ended; }, limit)) {
            Answer<Result> none;
            none.code = Code::kDeadline;
            none.text = "no answer";
            return none;
        }
        return state_->answer;
    }
    void cancel() { cancel_operation(*instance_, id_); }

    static Pending begin(Instance& instance, const std::function<gantry_status(gantry_op)>& call) {
        Pending out;
        out.instance_ = &instance;
        auto state = out.state_ = std::make_shared<State>();
        out.id_ = begin_operation(
            instance, call,
            [state](const void* raw) {
                if constexpr (!std::is_void_v<Result>) state->answer.result = read_result<Result>(raw);
            },
            [state](Code code, std::string text) {
                state->answer.code = code;
                state->answer.text = std::move(text);
                state->ended = true;
            });
        return out;
    }

  private:
    struct State {
        Answer<Result> answer;
        bool ended = false;
    };
    Instance* instance_ = nullptr;
    std::uint64_t id_ = 0;
    std::shared_ptr<State> state_;
};

}  // namespace gantry::testing
