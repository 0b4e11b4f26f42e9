// The C functions of vsoa_plistener.h.
#include "sdk/vsoa/src/shell.hpp"
#include "sdk/vsoa/src/workers.hpp"

using vsoa::guarded;

extern "C" {

vsoa_plistener_t* vsoa_server_plistener_create(int thd_cnt) {
    if (thd_cnt < 1 || thd_cnt > VSOA_SERVER_MAX_RPC_WORKER_THDS) {
        errno = EINVAL;
        return nullptr;
    }
    return guarded<vsoa_plistener_t*>(nullptr, [&]() -> vsoa_plistener_t* {
        auto made = std::make_unique<vsoa_plistener_t>();
        made->core = std::make_shared<vsoa::Workers>();
        return made->core->start(thd_cnt) ? made.release() : nullptr;
    });
}

void vsoa_server_plistener_delete(vsoa_plistener_t* plistener) {
    if (plistener == nullptr) return;
    plistener->core->end();
    delete plistener;
}

vsoa_plistener_handler_t vsoa_server_plistener_handler(vsoa_plistener_t* plistener, bool parallel, int max_queued,
                                                       vsoa_server_cmd_func_t callback, void* arg) {
    if (max_queued < 0 || callback == nullptr) {
        errno = EINVAL;
        return {};
    }
    return guarded<vsoa_plistener_handler_t>({}, plistener, [&] {
        return plistener->core->handler(parallel, static_cast<size_t>(max_queued), callback, arg);
    });
}
}
