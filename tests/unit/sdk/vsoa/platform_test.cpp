// The wrappers of vsoa_platform.h.
#include "sdk/vsoa/include/vsoa_platform.h"

#include <fcntl.h>

#include "tests/unit/sdk/vsoa/rig.hpp"

using namespace rig;

TEST_CASE("locks and semaphores of the platform header do what their names say") {
    static vsoa_spin_t spin = VSOA_SPIN_INITIALIZER;
    static vsoa_mutex_t mutex = VSOA_MUTEX_INITIALIZER;
    CHECK(vsoa_spin_lock(&spin) == 0);
    CHECK(vsoa_spin_unlock(&spin) == 0);
    CHECK(vsoa_mutex_lock(&mutex) == 0);
    CHECK(vsoa_mutex_unlock(&mutex) == 0);
    vsoa_spin_t made;
    REQUIRE(vsoa_spin_init(&made) == 0);
    CHECK(vsoa_spin_destroy(&made) == 0);
    vsoa_mutex_t other;
    REQUIRE(vsoa_mutex_init(&other) == 0);
    CHECK(vsoa_mutex_destroy(&other) == 0);

    vsoa_sem_t sem;
    REQUIRE(vsoa_sem_init(&sem, 1) == 0);
    CHECK(vsoa_sem_wait(&sem, VSOA_SEM_WAIT_INFINITE) == 0);
    CHECK(vsoa_sem_wait(&sem, 0) == -1);
    CHECK(errno == EAGAIN);
    const int64_t before = vsoa_current_time();
    CHECK(vsoa_sem_wait(&sem, 1'001'000'000 / 100) == -1);
    CHECK(errno == ETIMEDOUT);
    CHECK(vsoa_current_time() - before >= 10'000'000);
    for (int i = 0; i < 3; ++i) CHECK(vsoa_sem_post(&sem) == 0);
    vsoa_sem_clear(&sem);
    CHECK(vsoa_sem_wait(&sem, 0) == -1);
    vsoa_thread_t thread;
    REQUIRE(vsoa_thread_create(
                &thread,
                +[](void* arg) -> void* {
                    vsoa_thread_msleep(1);
                    vsoa_sem_post(static_cast<vsoa_sem_t*>(arg));
                    return nullptr;
                },
                &sem) == 0);
    CHECK(vsoa_sem_wait(&sem, 10'000'000'000) == 0);
    CHECK(vsoa_thread_wait(&thread) == 0);
    CHECK(vsoa_sem_destroy(&sem) == 0);
    vsoa_memory_barrier();
}

TEST_CASE("sockets and event pairs of the platform header do what their names say") {
    const int s = create_socket(AF_INET, SOCK_STREAM, 0, true);
    REQUIRE(s >= 0);
    CHECK(fcntl(s, F_GETFD) == FD_CLOEXEC);
    CHECK((fcntl(s, F_GETFL) & O_NONBLOCK) != 0);
    vsoa_socket_linger(s, 3);
    struct linger linger {};
    socklen_t length = sizeof linger;
    REQUIRE(getsockopt(s, SOL_SOCKET, SO_LINGER, &linger, &length) == 0);
    CHECK(linger.l_onoff != 0);
    CHECK(linger.l_linger == 3);
    vsoa_socket_priority(s, 4);
    int priority = 0;
    length = sizeof priority;
    REQUIRE(getsockopt(s, SOL_SOCKET, SO_PRIORITY, &priority, &length) == 0);
    CHECK(priority == 4);
    const timeval two{2, 0};
    timeval limit{};
    vsoa_socket_sndto(s, &two);
    length = sizeof limit;
    REQUIRE(getsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &limit, &length) == 0);
    CHECK(limit.tv_sec == 2);
    vsoa_socket_sndto(s, nullptr);
    REQUIRE(getsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &limit, &length) == 0);
    CHECK(limit.tv_sec == 0);
    CHECK_FALSE(vsoa_socket_bindif(s, nullptr));
    CHECK_FALSE(vsoa_socket_bindif(s, "a-name-that-no-device-can-have"));
    CHECK(errno == EINVAL);
    CHECK(shutdown_socket(s) == -1);
    CHECK(errno == ENOTCONN);
    CHECK(close_socket(s) == 0);

    int pair[2];
    REQUIRE(vsoa_event_pair_create(pair));
    fd_set set;
    const timespec none{};
    FD_ZERO(&set);
    FD_SET(pair[0], &set);
    CHECK(vsoa_select(pair[0] + 1, &set, nullptr, nullptr, &none) == 0);
    vsoa_event_pair_signal(pair[1]);
    FD_SET(pair[0], &set);
    CHECK(vsoa_select(pair[0] + 1, &set, nullptr, nullptr, &none) == 1);
    vsoa_event_pair_fetch(pair[0]);
    vsoa_event_pair_fetch(pair[0]);
    FD_SET(pair[0], &set);
    CHECK(vsoa_select(pair[0] + 1, &set, nullptr, nullptr, &none) == 0);
    vsoa_event_pair_close(pair);
    CHECK(pair[0] == -1);
}
