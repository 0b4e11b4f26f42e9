// The C functions of vsoa_stats.h that are about servers.
#include "sdk/vsoa/include/vsoa_stats.h"

#include "sdk/vsoa/src/server.hpp"
#include "sdk/vsoa/src/shell.hpp"

extern "C" {

bool vsoa_server_stats(vsoa_server_t* server, vsoa_server_stats_t* stats) {
    return vsoa::guarded(false, server, [&] {
        if (stats == nullptr || stats->size < sizeof(vsoa_server_stats_t)) return vsoa::invalid();
        const vsoa::Server::Counts& counts = server->core.counts();
        const size_t size = stats->size;
        *stats = {size,           counts.accepted, counts.logins, counts.broken,
                  counts.refused, counts.insecure, counts.late,   server->core.slow_clients()};
        return true;
    });
}
}
