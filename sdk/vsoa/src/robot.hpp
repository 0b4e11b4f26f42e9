// The automatic client behind vsoa_cliauto.h: a thread that keeps a client connected.
//
// Threads: settings are made before start and only read by the thread; the client inside has its own lock.
#pragma once

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "sdk/vsoa/include/vsoa_cliauto.h"
#include "sdk/vsoa/include/vsoa_stats.h"
#include "sdk/vsoa/src/client.hpp"

namespace vsoa {

class Robot {
  public:
    struct Settings {
        std::string host;  // a service's name, when there is no address
        std::optional<Address> address;
        std::string password;
        std::vector<std::string> urls;
        int64_t keepalive_ns = 0, connect_timeout_ns = 0, retry_delay_ns = 0;
    };

    /// handle and client: what callbacks get.
    Robot(vsoa_client_auto_t* handle, vsoa_client_t* client, vsoa_client_msg_func_t on_message, void* arg)
        : handle_(handle), client_handle_(client), client_(client->core), on_message_(on_message), message_arg_(arg) {}
    ~Robot() {
        if (started()) stop();
    }
    Robot(const Robot&) = delete;
    Robot& operator=(const Robot&) = delete;

    bool open();
    void on_connect(vsoa_client_conn_func_t callback, void* arg);
    void on_fail(vsoa_client_auto_fail_func_t callback, void* arg);
    void consistent(std::vector<std::string> urls, int64_t timeout_ns);
    void turbo(int64_t period_ns, unsigned max_in_row);
    bool started() const { return thread_.joinable(); }
    bool start(Settings settings);
    /// False with errno EALREADY, EDEADLK (called by its own thread).
    bool stop();
    bool in_own_thread() const { return thread_.get_id() == std::this_thread::get_id(); }

    /// "vsoa://host[:port][/path]", the scheme optional. False when it names no server.
    static bool read_server(std::string_view text, Settings& out);

  private:
    /// One url whose value is asked for after connecting. arg of that call.
    struct Asked {
        Robot* robot;
        std::string url;
    };

    void run();
    /// False with errno.
    bool connect();
    void fail(int error);
    void serve();
    bool subscribe_all();
    void subscribed(bool success);
    void up();
    void ask_values();
    void value(const Asked& asked, const vsoa_header_t* header, vsoa_payload_t* payload);
    bool tend(int64_t now);
    int64_t next_wake() const;
    /// Waits for the client's descriptor (unless only_stop), the end of the robot or the deadline. False at the end.
    bool wait(bool only_stop, int64_t deadline);

    vsoa_client_auto_t* const handle_;
    vsoa_client_t* const client_handle_;
    Client& client_;
    const vsoa_client_msg_func_t on_message_;
    void* const message_arg_;
    vsoa_client_conn_func_t on_connect_ = nullptr;
    void* connect_arg_ = nullptr;
    vsoa_client_auto_fail_func_t on_fail_ = nullptr;
    void* fail_arg_ = nullptr;
    std::vector<Asked> asked_;
    int64_t value_timeout_ns_ = 0;
    int64_t turbo_ns_ = 0;
    unsigned turbo_max_ = 0;
    Settings settings_;
    Fd stop_event_;
    std::atomic<bool> stopping_{false};
    std::thread thread_;

    // Of the present connection; the thread's.
    std::string info_;
    size_t unsubscribed_ = 0;
    bool refused_ = false;
    bool up_ = false;
    int lost_pings_ = 0;
    int64_t next_ping_ = 0, next_turbo_ = 0;
    unsigned turbo_in_row_ = 0;
};

}  // namespace vsoa
