// SPDX-License-Identifier: Apache-2.0
#include "kernel/control/lane.hpp"

#include <boost/asio/post.hpp>
#include <exception>
#include <mutex>

namespace gantry::control {

struct Lane::Way {
    std::mutex mutex;
    boost::asio::io_context* io;  // nullptr: the lane is gone
};

Lane::Lane(boost::asio::io_context& io, unsigned threads) : way_(std::make_shared<Way>()), threads_(threads) {
    way_->io = &io;
}

Lane::~Lane() {
    pool_.reset();
    const std::lock_guard lock(way_->mutex);
    way_->io = nullptr;
}

void Lane::run(std::function<void()> work, std::function<void(const Status&)> done) {
    if (!pool_) pool_ = std::make_unique<host::Pool>(threads_);
    pool_->submit_own([way = way_, work = std::move(work), done = std::move(done)]() mutable {
        Status ran;
        try {
            work();
        } catch (const std::exception& thrown) {
            ran = fail(Code::kFailed, std::string("a job threw: ") + thrown.what());
        }
        work = nullptr;
        const std::lock_guard lock(way->mutex);
        if (!way->io) return;
        boost::asio::post(*way->io, [way, ran, done = std::move(done)] {
            if (way->io) done(ran);  // changes on the loop alone
        });
    });
}

}  // namespace gantry::control
