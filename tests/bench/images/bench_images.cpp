// SPDX-License-Identifier: Apache-2.0
//
// bench_images UNPACK LAYOUT DIGEST STORE: milliseconds until an image of the layout is ready in an empty store, and
// until it is so again, as runtime/oci does both.
#include <chrono>
#include <cstdio>

#include "plugins/runtime/image-store/store.hpp"
#include "plugins/runtime/monitored/unpack_program.hpp"

int main(int argc, char** argv) {
    if (argc != 5) return 64;
    const std::string program = argv[1], layout = argv[2], digest = argv[3];
    try {
        image_store::StoreOptions options;
        options.dir = argv[4];
        options.unpack = [&](const image_store::UnpackJob& job, const image_store::Cancelled& cancelled) {
            monitored::unpack_by(program, job, cancelled);
        };
        image_store::Store store(std::move(options));
        for (int i = 0; i < 2; ++i) {
            const auto from = std::chrono::steady_clock::now();
            store.ensure(digest, layout);
            std::printf("%.3f\n",
                        std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - from).count());
        }
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
    return 0;
}
