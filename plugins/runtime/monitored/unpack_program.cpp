// SPDX-License-Identifier: Apache-2.0
#include "plugins/runtime/monitored/unpack_program.hpp"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <cerrno>

#include "plugins/runtime/monitored/process.hpp"

namespace monitored {
namespace {

using gantry::Code;
using gantry::Failure;
using gantry::Fd;

[[noreturn]] void report(const std::string& layer, const std::string& program, const Outcome& outcome) {
    if (outcome.signal != 0) {
        const char* name = ::sigabbrev_np(outcome.signal);
        throw Failure(Code::kFailed,
                      layer + ": " + program + " was ended by " +
                          (name == nullptr ? "signal " + std::to_string(outcome.signal) : std::string("SIG") + name));
    }
    for (const auto& [code, status] : image_store::kUnpackStatus) {
        if (status == outcome.code && code != Code::kOk && !outcome.errors.empty()) throw Failure(code, outcome.errors);
    }
    throw Failure(Code::kFailed, layer + ": " + program + " ended with " + std::to_string(outcome.code) +
                                     " and without the answer \"" + std::string(image_store::kUnpackDone) +
                                     "\"; it said: " + (outcome.errors.empty() ? "nothing" : outcome.errors));
}

}  // namespace

void unpack_by(const std::string& program, const image_store::UnpackJob& job, const image_store::Cancelled& cancelled) {
    const std::string layer = "layer " + job.layer.digest.text();
    int ends[2] = {-1, -1};
    if (::pipe2(ends, O_CLOEXEC) != 0) throw Failure(Code::kFailed, layer + ": no pipe: " + std::strerror(errno));
    const Fd life_in(ends[0]), life_out(ends[1]);  // the child lives as long as the second is open
    Command command;
    command.argv = {program,
                    job.form == image_store::TreeForm::kOverlay ? "overlay" : "flat",
                    job.keep_owners ? "keep" : "drop",
                    std::to_string(job.max_bytes),
                    job.layer.digest.text(),
                    job.layer.diff_id.text(),
                    std::to_string(job.layer.size)};
    command.fds = {{image_store::kUnpackLife, life_in.get()},
                   {image_store::kUnpackBlob, job.blob},
                   {image_store::kUnpackRoot, job.root}};
    Outcome outcome;
    try {
        outcome = run(command, gantry::Instant::max(), cancelled);
    } catch (const Failure& failure) {
        throw Failure(failure.code(),
                      layer + ": " + (failure.code() == Code::kCancelled ? "cancelled" : failure.what()));
    }
    if (outcome.code != 0 || outcome.errors != image_store::kUnpackDone) report(layer, program, outcome);
}

}  // namespace monitored
