// SPDX-License-Identifier: Apache-2.0
//
// The clock of instruments that run inside a real loop.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <memory>

#include "tests/support/clock.hpp"

namespace gantry::test {

class AsioClock final : public Clock {
  public:
    explicit AsioClock(boost::asio::io_context& io) : io_(io) {}
    Instant now() const override {
        return {std::chrono::duration_cast<Duration>(std::chrono::steady_clock::now().time_since_epoch()).count()};
    }
    void after(Duration delay, std::function<void()> fn) override {
        auto timer = std::make_shared<boost::asio::steady_timer>(io_, delay);
        timer->async_wait([timer, fn = std::move(fn)](boost::system::error_code error) {
            if (!error) fn();
        });
    }

  private:
    boost::asio::io_context& io_;
};

}  // namespace gantry::test
