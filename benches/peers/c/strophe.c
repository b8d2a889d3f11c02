/* libstrophe's side of what takes a connection: cc -O2 -o strophe strophe.c -lstrophe
 *
 * strophe whole PORT MESSAGES PRESENCES [tls]    strophe idle PORT CONNECTIONS
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <strophe.h>

static unsigned long messages, presences, want_messages, want_presences, online;
static uint64_t checksum;
static int idle;

/* The checksum of reading/tally.rs. */
#define FACTOR UINT64_C(0x9E3779B97F4A7C15)
enum { FROM = 1, BODY = 5 };

static uint64_t mix(uint64_t sum, uint64_t word)
{
    uint64_t product = (sum ^ word) * FACTOR;
    return product ^ (product >> 29);
}

static void add(unsigned long stanza, int field, const char *text)
{
    size_t length = strlen(text);
    uint64_t sum = (stanza * FACTOR) ^ ((uint64_t)field << 56) ^ length, word;
    for (; length >= 8; length -= 8, text += 8) {
        memcpy(&word, text, 8);
        sum = mix(sum, word);
    }
    word = 0;
    memcpy(&word, text, length);
    checksum += mix(sum, word);
}

static double cpu(void)
{
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static long resident_kb(void)
{
    char line[256];
    long kb = 0;
    FILE *status = fopen("/proc/self/status", "r");
    while (fgets(line, sizeof line, status))
        if (sscanf(line, "VmRSS: %ld", &kb) == 1)
            break;
    fclose(status);
    return kb;
}

static void stop_when_done(xmpp_conn_t *conn)
{
    if (messages >= want_messages && presences >= want_presences)
        xmpp_stop(xmpp_conn_get_context(conn));
}

static int on_message(xmpp_conn_t *conn, xmpp_stanza_t *stanza, void *data)
{
    xmpp_stanza_t *carbon, *forwarded, *body;
    const char *from;
    (void)data;
    messages++;
    carbon = xmpp_stanza_get_child_by_ns(stanza, "urn:xmpp:carbons:2");
    if (carbon) {
        forwarded = xmpp_stanza_get_child_by_name(carbon, "forwarded");
        stanza = forwarded ? xmpp_stanza_get_child_by_name(forwarded, "message") : NULL;
    }
    if (stanza && (from = xmpp_stanza_get_from(stanza)))
        add(messages, FROM, from);
    body = stanza ? xmpp_stanza_get_child_by_name(stanza, "body") : NULL;
    if (body) {
        char *text = xmpp_stanza_get_text(body);
        add(messages, BODY, text ? text : "");
        if (text)
            xmpp_free(xmpp_conn_get_context(conn), text);
    }
    stop_when_done(conn);
    return 1;
}

static int on_presence(xmpp_conn_t *conn, xmpp_stanza_t *stanza, void *data)
{
    const char *from = xmpp_stanza_get_from(stanza);
    (void)data;
    presences++;
    if (from)
        add(presences, FROM, from);
    stop_when_done(conn);
    return 1;
}

static void on_event(xmpp_conn_t *conn, xmpp_conn_event_t event, int error, xmpp_stream_error_t *stream, void *data)
{
    xmpp_ctx_t *ctx = data;
    (void)error;
    (void)stream;
    if (event == XMPP_CONN_CONNECT) {
        xmpp_stanza_t *presence = xmpp_presence_new(ctx);
        online++;
        xmpp_handler_add(conn, on_message, NULL, "message", NULL, NULL);
        xmpp_handler_add(conn, on_presence, NULL, "presence", NULL, NULL);
        xmpp_send(conn, presence);
        xmpp_stanza_release(presence);
    } else if (idle) {
        fprintf(stderr, "disconnected\n");
        exit(1);
    } else {
        xmpp_stop(ctx);
    }
}

static void log_in(xmpp_ctx_t *ctx, int number, int port, int tls)
{
    char jid[64];
    xmpp_conn_t *conn = xmpp_conn_new(ctx);
    if (number < 0)
        strcpy(jid, "juliet@capulet.example/balcony");
    else
        snprintf(jid, sizeof jid, "user%d@capulet.example/balcony", number);
    xmpp_conn_set_flags(conn, tls ? XMPP_CONN_FLAG_MANDATORY_TLS | XMPP_CONN_FLAG_TRUST_TLS : XMPP_CONN_FLAG_DISABLE_TLS);
    xmpp_conn_set_jid(conn, jid);
    xmpp_conn_set_pass(conn, "secret");
    if (xmpp_connect_client(conn, "127.0.0.1", port, on_event, ctx) != XMPP_EOK)
        exit(2);
}

static void settle(xmpp_ctx_t *ctx)
{
    time_t end = time(NULL) + 2;
    while (time(NULL) < end)
        xmpp_run_once(ctx, 5);
}

int main(int argc, char **argv)
{
    xmpp_ctx_t *ctx;
    int port;
    if (argc < 4)
        return 2;
    port = atoi(argv[2]);
    xmpp_initialize();
    ctx = xmpp_ctx_new(NULL, NULL);
    if (!strcmp(argv[1], "whole") && argc >= 5) {
        want_messages = strtoul(argv[3], NULL, 10);
        want_presences = strtoul(argv[4], NULL, 10);
        log_in(ctx, -1, port, argc > 5);
        xmpp_run(ctx);
        printf("figure=%.6f messages=%lu presences=%lu iqs=0 inner=0 payloads=0 checksum=%016llx\n", cpu(), messages,
               presences, (unsigned long long)checksum);
    } else {
        int number, count = atoi(argv[3]);
        long before = 0;
        idle = 1;
        for (number = 0; number < count + 10; number++) {
            if (number == 10) {
                settle(ctx);
                before = resident_kb();
            }
            log_in(ctx, number, port, 0);
            while (online <= (unsigned long)number)
                xmpp_run_once(ctx, 5);
        }
        settle(ctx);
        printf("figure=%.3f connections=%d\n", (double)(resident_kb() - before) / count, count);
    }
    return 0;
}
