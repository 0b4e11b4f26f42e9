// SPDX-License-Identifier: Apache-2.0
#include "kernel/daemon/log.hpp"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

namespace gantry::daemon {

void open_log(host::LogLevel level, bool plain) {
    auto logger = spdlog::stderr_logger_mt("gantryd");
    logger->set_pattern(plain ? "%v" : "%Y-%m-%d %H:%M:%S.%e %L %v");
    logger->set_level(static_cast<spdlog::level::level_enum>(level));  // both count from trace
    logger->flush_on(spdlog::level::info);
    spdlog::set_default_logger(std::move(logger));
}

void log(host::LogLevel level, std::string_view who, std::string_view text) {
    spdlog::log(static_cast<spdlog::level::level_enum>(level), "{}: {}", who, text);
}

}  // namespace gantry::daemon
