// The regulator behind vsoa_regulator.h.
//
// Threads: one lock guards everything and is held while callbacks run, as the interface says; what a callback asks of
// its own regulator is refused.
#pragma once

#include <atomic>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "sdk/vsoa/include/vsoa_regulator.h"
#include "sdk/vsoa/include/vsoa_timer.h"

namespace vsoa {

class Regulator {
  public:
    explicit Regulator(int64_t period_ns);
    ~Regulator();
    Regulator(const Regulator&) = delete;
    Regulator& operator=(const Regulator&) = delete;

    /// False with errno.
    bool open();
    /// Deletes regulator, now or after its callback.
    static void end(Regulator* regulator);

    // False with errno: EDEADLK, ENOENT, EEXIST, EMSGSIZE.
    bool period(int64_t period_ns);
    bool add(std::string_view url, vsoa_regulator_func_t callback, void* arg, size_t room);
    bool remove(std::string_view url);
    bool has(std::string_view url, size_t* room);
    bool update(std::string_view url, const vsoa_payload_t& payload);
    bool clear(std::string_view url);

  private:
    struct Slot {
        vsoa_regulator_func_t callback;
        void* arg;
        size_t room;
        std::vector<char> bytes;  // param, then data
        size_t param_len = 0;
        bool waits = false;
    };

    /// Holds the lock, unless a callback asks.
    std::unique_lock<std::mutex> enter();
    Slot* find(std::string_view url);
    bool arm();
    static void on_time(void* self, vsoa_timer_t* timer, void* custom);
    void tick();

    std::mutex lock_;
    std::atomic<std::thread::id> caller_{};  // the thread that runs a callback
    bool orphan_ = false;                    // deleted within a callback
    vsoa_timer_t* timer_ = nullptr;
    std::map<std::string, Slot, std::less<>> slots_;
    int64_t period_ns_;
    int64_t origin_ns_;  // periods begin here and every period_ns_ later
    bool armed_ = false;
};

}  // namespace vsoa
