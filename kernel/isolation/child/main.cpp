// SPDX-License-Identifier: Apache-2.0
//
// gantry-plugin-host PARENT_PID: runs one plugin for the gantryd that started it, and dies with it.
#include <sys/prctl.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "kernel/isolation/child/servant.hpp"
#include "kernel/isolation/program.hpp"

int main(int argc, char** argv) {
    if (argc != 2) {
        std::fputs("gantry-plugin-host is started by gantryd for plugins with isolation = \"process\"\n", stderr);
        return 64;
    }
    std::signal(SIGPIPE, SIG_IGN);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != std::atoi(argv[1])) return gantry::isolation::kOrphaned;  // it died before we asked
    // Never destroyed: plugins' threads may still run while the process ends.
    auto* const servant = new gantry::isolation::Servant(gantry::isolation::kSocketFd);
    ::_exit(servant->run());
}
