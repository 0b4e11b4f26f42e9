// SPDX-License-Identifier: Apache-2.0
//
// How DockerRuntime runs an operation.
#pragma once

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <exception>

#include "plugins/runtime/docker/docker.hpp"

namespace docker {

template <class R>
void DockerRuntime::serve(gantry::Operation<R> op, const std::string& name, std::function<Task<R>(Time)> body) {
    const auto shared = std::make_shared<gantry::Operation<R>>(std::move(op));
    const Time time(host(), shared->deadline(), timeout_);
    std::function<Task<void>()> step = [shared, time, body = std::move(body)]() -> Task<void> {
        std::exception_ptr failed;
        try {
            if constexpr (std::is_void_v<R>) {
                co_await body(time);
                shared->done();
            } else {
                shared->done(co_await body(time));
            }
        } catch (...) {
            failed = std::current_exception();
        }
        if (failed) shared->answer([&]() -> R { std::rethrow_exception(failed); });
    };
    boost::asio::post(io_, [this, name, step = std::move(step)]() mutable {
        if (name.empty()) return boost::asio::co_spawn(io_, std::move(step), boost::asio::detached);
        Lane& lane = lanes_[name];
        lane.waiting.push_back(std::move(step));
        if (lane.waiting.size() == 1) boost::asio::co_spawn(io_, run_lane(name), boost::asio::detached);
    });
}

}  // namespace docker
