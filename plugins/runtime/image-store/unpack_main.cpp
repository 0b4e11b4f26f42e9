// SPDX-License-Identifier: Apache-2.0
//
// gantry-unpack: unpacks one layer and ends. A program of its own, so that a layer that breaks libarchive breaks
// nothing else, and so that the daemon does not carry libarchive for the rest of its life. See unpack.hpp.
#include <sys/prctl.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <string>
#include <thread>

#include "plugins/runtime/image-store/layer.hpp"

namespace {

using gantry::Code;
using gantry::Failure;
using namespace image_store;

[[noreturn]] void end(Code code, std::string_view text) {
    (void)!::write(STDERR_FILENO, text.data(), text.size());
    for (const auto& [known, status] : kUnpackStatus) {
        if (known == code) ::_exit(status);
    }
    ::_exit(12);
}

// Not by PR_SET_PDEATHSIG: that comes when the thread ends that forked, not when the daemon does.
void end_with_daemon() {
    std::thread([] {
        char nothing = 0;
        (void)!::read(kUnpackLife, &nothing, 1);
        ::_exit(13);
    }).detach();
}

long long number(const char* text) {
    long long out = 0;
    const std::string_view all = text;
    const auto read = std::from_chars(all.data(), all.data() + all.size(), out);
    if (read.ec != std::errc() || read.ptr != all.data() + all.size()) {
        throw Failure(Code::kFailed, "gantry-unpack: \"" + std::string(all) + "\" is no number");
    }
    return out;
}

UnpackJob job_of(char** argv) {
    const LayerRef layer{Digest::parse(argv[4], "layer"), Digest::parse(argv[5], "tar"), number(argv[6])};
    const TreeForm form = std::string_view(argv[1]) == "overlay" ? TreeForm::kOverlay : TreeForm::kFlat;
    return {kUnpackBlob, kUnpackRoot, layer, form, std::string_view(argv[2]) == "keep", number(argv[3])};
}

}  // namespace

int main(int argc, char** argv) {
    (void)::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    (void)::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    if (argc != 7) {
        std::fprintf(stderr, "gantry-unpack is run by gantryd's runtime plugins, not by hand\n");
        return 64;
    }
    try {
        end_with_daemon();
        unpack_layer(job_of(argv), {});
    } catch (const Failure& failure) {
        end(failure.code(), failure.what());
    } catch (const std::exception& error) {
        end(Code::kFailed, std::string("layer ") + argv[4] + ": " + error.what());
    }
    end(Code::kOk, kUnpackDone);
}
