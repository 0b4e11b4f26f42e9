/* A program in plain C, linked with the shared library: server, automatic client and the cast of the vendor's sample.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "vsoa_cliauto.h"
#include "vsoa_platform.h"
#include "vsoa_server.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static char got_url[32], got_param[32], got_info[64];
static bool connected;

static void on_connect(void* arg, vsoa_client_auto_t* cliauto, bool connect, const char* info) {
    (void)arg;
    (void)cliauto;
    pthread_mutex_lock(&lock);
    connected = connect;
    if (connect) snprintf(got_info, sizeof got_info, "%s", info);
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&lock);
}

static void on_message(void* arg, struct vsoa_client* client, vsoa_url_t* url, vsoa_payload_t* payload, bool quick) {
    (void)arg;
    (void)client;
    (void)quick;
    pthread_mutex_lock(&lock);
    snprintf(got_url, sizeof got_url, "%.*s", (int)url->url_len, url->url);
    snprintf(got_param, sizeof got_param, "%.*s", (int)payload->param_len, payload->param);
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&lock);
}

static void* serve(void* server) {
    for (;;) {
        fd_set fds;
        FD_ZERO(&fds);
        const int max_fd = vsoa_server_fds(server, &fds);
        if (pselect(max_fd + 1, &fds, NULL, NULL, NULL, NULL) > 0) vsoa_server_input_fds(server, &fds);
        if (vsoa_server_custom(server) != NULL) return NULL;
    }
}

static bool wait_for(const char* what, const bool* flag, const char* text) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 10;
    pthread_mutex_lock(&lock);
    int error = 0;
    while (error == 0 && !(flag != NULL ? *flag : *text != '\0'))
        error = pthread_cond_timedwait(&changed, &lock, &until);
    pthread_mutex_unlock(&lock);
    if (error != 0) fprintf(stderr, "%s: %s\n", what, strerror(error));
    return error == 0;
}

int main(void) {
    static char* urls[] = {"/axis"};
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t length = sizeof address;
    char name[64], param[] = "{\"roll\": 1}", topic[] = "/axis";
    vsoa_url_t url = {topic, strlen(topic)};
    vsoa_payload_t payload = {param, strlen(param), NULL, 0};
    pthread_t thread;

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    vsoa_server_t* server = vsoa_server_create("{\"name\":\"c\"}");
    if (server == NULL || !vsoa_server_passwd(server, "123456") ||
        !vsoa_server_start(server, (struct sockaddr*)&address, sizeof address) ||
        !vsoa_server_address(server, (struct sockaddr*)&address, &length)) {
        perror("server");
        return 1;
    }
    pthread_create(&thread, NULL, serve, server);

    vsoa_client_auto_t* cliauto = vsoa_client_auto_create(on_message, NULL);
    snprintf(name, sizeof name, "vsoa://127.0.0.1:%d", ntohs(address.sin_port));
    if (!vsoa_client_auto_setup(cliauto, on_connect, NULL) ||
        !vsoa_client_auto_start(cliauto, name, "123456", (char* const)urls, 1, 1000, 1000, 100)) {
        perror("client");
        return 1;
    }
    bool good = wait_for("connect", &connected, NULL);
    good = good && vsoa_server_is_subscribed(server, &url) && vsoa_server_publish(server, &url, &payload);
    good = good && wait_for("message", NULL, got_param);
    good = good && strcmp(got_info, "{\"name\":\"c\"}") == 0 && strcmp(got_url, "/axis") == 0 &&
           strcmp(got_param, param) == 0;

    vsoa_server_set_custom(server, server); /* the client's goodbye wakes the thread, which then ends */
    vsoa_client_auto_delete(cliauto);
    pthread_join(thread, NULL);
    vsoa_server_close(server);
    return good ? 0 : 1;
}
