/* A WebSocket server for measuring clients: one thread, epoll, loopback.
 *
 * It is the fixed side of the benchmark, so it does little and tells what it did. The rule: the
 * true delay of every upgrade is known. It runs from the return of the read that completed the
 * request to just before the write of the 101; the 101 carries it in `X-Delay-Ns`, and `stats`
 * gives its distribution.
 *
 *   server [--port 0] [--delay-ms MS] [--share]
 *
 * On stdout: "port N" once it listens; for every line "stats" on stdin one line of JSON. End of
 * stdin ends it, so it cannot outlive whoever started it. With --share several of them listen on one
 * port (SO_REUSEPORT), and the kernel deals connections out to them: for more of them than one
 * process has descriptors for.
 *
 * A client commands it by text messages:
 *   "go N SIZE"    N text frames of SIZE bytes back to back on this connection, in large writes;
 *   "round SIZE"   one text frame to each open connection, one write each, in order of opening;
 *   "feed RUN N EVERY_MS PINGS"   N events of the run RUN, one each EVERY_MS (up to 40,000), and
 *                  an end; a ping before each PINGS-th of them (0: none). They carry the run and
 *                  count from 1, so that a client can tell what is missing, and `stats` tells how
 *                  many were sent. An event waits where the client does not read;
 *   anything else  is echoed.
 * Ping is answered by pong, Close by Close (RFC 6455, 5.5); the first offered subprotocol is
 * chosen, extensions never are. The limits: messages of clients up to 2 KB, unfragmented (else
 * 1009 or 1003), SIZE up to 64 KB.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { IN_MAX = 2048 + 14, SIZE_MAX_TEXT = 65535, BLOCK = 256 * 1024, FDS = 65536, EVENTS = 64 };
enum { SLOT_MS = 10, SLOTS = 4096, RUN_MAX = 64, BEHIND_MAX = 1 << 20 };
enum state { REQUEST, DELAYED, OPEN, CLOSING };

struct conn {
    int fd;
    enum state state;
    uint32_t events;           /* what epoll watches for */
    size_t have;               /* bytes in `in` */
    char *out;                 /* written before anything new is read */
    size_t out_len, out_done;
    uint64_t burst_left;       /* bytes of a burst still to be written */
    size_t burst_phase;        /* where in the block of frames the next byte lies */
    size_t burst_span;         /* whole frames in the block, in bytes */
    char *burst_block;
    int64_t read_ns, due_ns;
    char protocol[128], accept[29];
    struct conn *next_due;
    struct conn *slot_next, **slot_at; /* its place in the wheel, while it is fed */
    unsigned feed_left, feed_seq, feed_pings;
    int64_t feed_ns, feed_due;
    char run[RUN_MAX];
    char in[IN_MAX];
};

static struct conn *conns[FDS];
static int fd_top, poll_fd;
static int64_t delay_ns;
static struct conn *due_head, *due_tail;
static int64_t *delays;
static size_t delays_len, delays_cap;
static struct conn *slots[SLOTS];
static int64_t slot_now; /* the last slot that was gone through, counted since the clock's zero */
static size_t fed;       /* how many connections are in the wheel */
static uint64_t accepted, upgraded, refused, gone, frames_out, bytes_out, pings, closes;
static uint64_t events_out, ends_out, pings_out, pongs;

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void *checked(void *p) {
    if (!p) { perror("memory"); exit(1); }
    return p;
}

/* ---- SHA-1 (FIPS 180-4) of the key and the GUID, in base64: RFC 6455, 4.2.2 ---- */

static uint32_t rol(uint32_t x, int n) { return x << n | x >> (32 - n); }

static void sha1_60(const unsigned char *text, unsigned char *digest) {
    /* 24 bytes of key and 36 of GUID: 60 bytes, so always exactly two blocks */
    unsigned char m[128] = {0};
    uint32_t h[5] = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0}, w[80];
    memcpy(m, text, 60);
    m[60] = 0x80;
    m[126] = 480 >> 8; m[127] = 480 & 255;
    for (int block = 0; block < 128; block += 64) {
        for (int i = 0; i < 16; i++) {
            const unsigned char *p = m + block + 4 * i;
            w[i] = (uint32_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3];
        }
        for (int i = 16; i < 80; i++) w[i] = rol(w[i-3] ^ w[i-8] ^ w[i-14] ^ w[i-16], 1);
        uint32_t a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
        for (int i = 0; i < 80; i++) {
            uint32_t f, k;
            if (i < 20)      { f = (b & c) | (~b & d);          k = 0x5A827999; }
            else if (i < 40) { f = b ^ c ^ d;                   k = 0x6ED9EBA1; }
            else if (i < 60) { f = (b & c) | (b & d) | (c & d); k = 0x8F1BBCDC; }
            else             { f = b ^ c ^ d;                   k = 0xCA62C1D6; }
            uint32_t t = rol(a, 5) + f + e + k + w[i];
            e = d; d = c; c = rol(b, 30); b = a; a = t;
        }
        h[0] += a; h[1] += b; h[2] += c; h[3] += d; h[4] += e;
    }
    for (int i = 0; i < 20; i++) digest[i] = h[i / 4] >> (24 - 8 * (i % 4));
}

static void accept_of(const char *key, char *accept) {
    static const char *alphabet =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    unsigned char text[60], digest[21] = {0};
    memcpy(text, key, 24);
    memcpy(text + 24, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11", 36);
    sha1_60(text, digest);
    for (int i = 0; i < 7; i++) {
        uint32_t v = digest[3*i] << 16 | digest[3*i+1] << 8 | digest[3*i+2];
        for (int j = 0; j < 4; j++) accept[4*i+j] = alphabet[v >> (18 - 6*j) & 63];
    }
    accept[27] = '=';
    accept[28] = 0;
}

/* ---- output ---- */

static void unfeed(struct conn *c) {
    if (!c->slot_at) return;
    *c->slot_at = c->slot_next;
    if (c->slot_next) c->slot_next->slot_at = c->slot_at;
    c->slot_at = NULL;
    c->slot_next = NULL;
    fed--;
}

static void drop(struct conn *c) {
    unfeed(c);
    if (c->state == DELAYED) { c->state = CLOSING; return; } /* freed when its time comes */
    conns[c->fd] = NULL;
    close(c->fd);
    free(c->out);
    free(c->burst_block);
    free(c);
    gone++;
}

static void watch(struct conn *c, uint32_t events) {
    if (c->events == events) return;
    struct epoll_event e = {.events = events, .data.fd = c->fd};
    epoll_ctl(poll_fd, EPOLL_CTL_MOD, c->fd, &e);
    c->events = events;
}

/* Writes what is pending. 1: all of it; 0: the socket is full; -1: the connection is dead. */
static int flush(struct conn *c) {
    while (c->burst_left) {
        size_t n = c->burst_span - c->burst_phase;
        if (n > c->burst_left) n = c->burst_left;
        ssize_t k = write(c->fd, c->burst_block + c->burst_phase, n);
        if (k < 0) return errno == EAGAIN ? 0 : -1;
        bytes_out += k;
        c->burst_left -= k;
        c->burst_phase = (c->burst_phase + k) % c->burst_span;
    }
    free(c->burst_block);
    c->burst_block = NULL;
    while (c->out_done < c->out_len) {
        ssize_t k = write(c->fd, c->out + c->out_done, c->out_len - c->out_done);
        if (k < 0) return errno == EAGAIN ? 0 : -1;
        bytes_out += k;
        c->out_done += k;
    }
    free(c->out);
    c->out = NULL;
    c->out_len = c->out_done = 0;
    return 1;
}

static int pending(const struct conn *c) { return c->burst_left || c->out_len; }

/* Writes at once if nothing is before it, and keeps what the socket did not take. */
static int emit(struct conn *c, const char *bytes, size_t n) {
    if (!pending(c)) {
        ssize_t k = write(c->fd, bytes, n);
        if (k < 0 && errno != EAGAIN) return -1;
        if (k > 0) { bytes += k; n -= k; bytes_out += k; }
        if (!n) return 1;
    }
    c->out = checked(realloc(c->out, c->out_len + n));
    memcpy(c->out + c->out_len, bytes, n);
    c->out_len += n;
    watch(c, EPOLLOUT);
    return 0;
}

static size_t frame(char *to, int first, const char *payload, size_t n) {
    size_t head = n < 126 ? 2 : 4;
    to[0] = (char)first;
    if (n < 126) to[1] = (char)n;
    else { to[1] = 126; to[2] = (char)(n >> 8); to[3] = (char)n; }
    memcpy(to + head, payload, n);
    return head + n;
}

/* A text frame whose payload is JSON of exactly `size` bytes, if the size allows for it. */
static size_t event_frame(char *to, size_t size) {
    static char payload[SIZE_MAX_TEXT];
    static const char *start = "{\"type\":\"event\",\"id\":\"0\",\"pad\":\"", *end = "\"}";
    memset(payload, 'x', size);
    if (size >= strlen(start) + strlen(end)) {
        memcpy(payload, start, strlen(start));
        memcpy(payload + size - strlen(end), end, strlen(end));
    }
    return frame(to, 0x81, payload, size);
}

/* ---- commands ---- */

static int burst(struct conn *c, uint64_t n, size_t size) {
    c->burst_block = checked(malloc(BLOCK));
    size_t one = event_frame(c->burst_block, size);
    c->burst_span = one * (BLOCK / one);
    for (size_t at = one; at < c->burst_span; at += one)
        memcpy(c->burst_block + at, c->burst_block, one);
    c->burst_phase = 0;
    c->burst_left = n * one;
    frames_out += n;
    int r = flush(c);
    if (r == 0) watch(c, EPOLLOUT);
    return r;
}

static void send_round(size_t size) {
    static char buffer[SIZE_MAX_TEXT + 4];
    size_t n = event_frame(buffer, size);
    for (int fd = 0; fd <= fd_top; fd++)
        if (conns[fd] && conns[fd]->state == OPEN) {
            emit(conns[fd], buffer, n); /* a dead one is found by its own event */
            frames_out++;
        }
}

static int fail(struct conn *c, int code) {
    char body[2] = {(char)(code >> 8), (char)code}, out[8];
    emit(c, out, frame(out, 0x88, body, 2));
    return -1;
}

/* Puts it into the wheel, at the slot of its next event. */
static void enter(struct conn *c) {
    int64_t slot = c->feed_due / (SLOT_MS * 1000000LL);
    if (slot <= slot_now) slot = slot_now + 1;
    struct conn **head = &slots[slot % SLOTS];
    c->slot_next = *head;
    if (*head) (*head)->slot_at = &c->slot_next;
    c->slot_at = head;
    *head = c;
    fed++;
}

/* One event, or the end. Nothing is lost for one that does not read: its events wait. */
static void feed_one(struct conn *c) {
    char text[RUN_MAX + 80], out[2 * sizeof text];
    size_t n = 0;
    c->feed_due += c->feed_ns;
    if (c->out_len < BEHIND_MAX) {
        int last = c->feed_left == 0;
        if (c->feed_pings && c->feed_seq % c->feed_pings == 0 && !last) {
            n = frame(out, 0x89, "feed", 4);
            pings_out++;
        }
        int len = snprintf(text, sizeof text, "{\"type\":\"%s\",\"run_id\":\"%s\",\"sequence\":%u}",
                           last ? "end" : "event", c->run, ++c->feed_seq);
        n += frame(out + n, 0x81, text, len);
        emit(c, out, n); /* a dead one is found by its own event */
        frames_out++;
        if (last) { ends_out++; return; }
        events_out++;
        c->feed_left--;
    }
    enter(c);
}

static void feed_all(void) {
    int64_t slot = now_ns() / (SLOT_MS * 1000000LL);
    if (!fed) { slot_now = slot; return; }
    while (slot_now < slot) {
        slot_now++;
        struct conn *c = slots[slot_now % SLOTS];
        slots[slot_now % SLOTS] = NULL; /* whoever is fed enters anew, in a later slot */
        while (c) {
            struct conn *next = c->slot_next;
            c->slot_at = NULL;
            c->slot_next = NULL;
            fed--;
            feed_one(c);
            c = next;
        }
    }
}

static int feed(struct conn *c, const char *run, unsigned count, unsigned every_ms, unsigned each) {
    if (c->slot_at || every_ms > 40000 || !every_ms || strpbrk(run, "\"\\")) return fail(c, 1008);
    memcpy(c->run, run, strlen(run) + 1);
    c->feed_left = count;
    c->feed_seq = 0;
    c->feed_pings = each;
    c->feed_ns = every_ms * 1000000LL;
    c->feed_due = now_ns();
    if (!fed) slot_now = c->feed_due / (SLOT_MS * 1000000LL);
    enter(c);
    return 1;
}

static int answer(struct conn *c, int first, char *payload, size_t n) {
    char out[IN_MAX + 4], run[RUN_MAX];
    unsigned long long count, size;
    unsigned events, every_ms, each;
    switch (first) {
    case 0x81:
        payload[n] = 0; /* there is room: the byte is read back from `kept` by the caller */
        if (sscanf(payload, "go %llu %llu", &count, &size) == 2 && size <= SIZE_MAX_TEXT)
            return count ? burst(c, count, size) : 1;
        if (sscanf(payload, "round %llu", &size) == 1 && size <= SIZE_MAX_TEXT) {
            send_round(size);
            return 1;
        }
        if (sscanf(payload, "feed %63s %u %u %u", run, &events, &every_ms, &each) == 4)
            return feed(c, run, events, every_ms, each);
        /* fall through */
    case 0x82:
        frames_out++;
        return emit(c, out, frame(out, first, payload, n));
    case 0x89:
        pings++;
        return emit(c, out, frame(out, 0x8A, payload, n));
    case 0x8A:
        pongs++;
        return 1;
    case 0x88:
        closes++;
        emit(c, out, frame(out, 0x88, payload, n));
        return -1;
    default: /* a fragment, or a bit that nobody negotiated */
        return fail(c, first & 0x70 ? 1002 : 1003);
    }
}

/* Reads whole frames from `in` until something is pending. -1: the connection is over. */
static int frames(struct conn *c) {
    size_t at = 0;
    int r = 1;
    while (r > 0 && !pending(c) && c->have - at >= 2) {
        unsigned char *p = (unsigned char *)c->in + at;
        size_t n = p[1] & 127, head = 6;
        if (!(p[1] & 128)) return fail(c, 1002); /* RFC 6455, 5.1: clients mask */
        if (n == 126) {
            if (c->have - at < 4) break;
            n = p[2] << 8 | p[3];
            head = 8;
        }
        if (n == 127 || n > IN_MAX - 14) return fail(c, 1009);
        if ((p[0] & 8) && n > 125) return fail(c, 1002);
        if (c->have - at < head + n) break;
        for (size_t i = 0; i < n; i++) p[head + i] ^= p[head - 4 + (i & 3)];
        char kept = c->in[at + head + n];
        r = answer(c, p[0], (char *)p + head, n);
        c->in[at + head + n] = kept;
        at += head + n;
    }
    c->have -= at;
    memmove(c->in, c->in + at, c->have);
    return r;
}

/* ---- handshake ---- */

/* Copies the value of a header, without the space around it; 1 if it is there. */
static int header(const char *head, const char *name, char *value, size_t room) {
    size_t n = strlen(name);
    for (const char *p = strstr(head, "\r\n"); p; p = strstr(p, "\r\n")) {
        p += 2;
        if (strncasecmp(p, name, n) || p[n] != ':') continue;
        p += n + 1;
        p += strspn(p, " \t");
        size_t len = strcspn(p, "\r\n");
        while (len && strchr(" \t", p[len - 1])) len--;
        if (len >= room) return 0;
        memcpy(value, p, len);
        value[len] = 0;
        return 1;
    }
    return 0;
}

static int upgrade(struct conn *c) {
    char out[512], protocol[160] = "";
    int64_t took = now_ns() - c->read_ns;
    if (c->protocol[0]) snprintf(protocol, sizeof protocol,
                                 "Sec-WebSocket-Protocol: %s\r\n", c->protocol);
    int n = snprintf(out, sizeof out,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Accept: %s\r\n%sX-Delay-Ns: %lld\r\n\r\n", c->accept, protocol,
        (long long)took);
    if (delays_len == delays_cap) {
        delays_cap = delays_cap ? 2 * delays_cap : 1024;
        delays = checked(realloc(delays, delays_cap * sizeof *delays));
    }
    delays[delays_len++] = took;
    upgraded++;
    c->state = OPEN;
    return emit(c, out, n);
}

static int request(struct conn *c) {
    char value[256], key[256];
    char *end = memmem(c->in, c->have, "\r\n\r\n", 4);
    if (!end) return c->have < IN_MAX - 1 ? 0 : -1;
    c->read_ns = now_ns();
    end[2] = 0; /* the head is now a string that ends after its last line's CRLF */
    int good = !strncmp(c->in, "GET ", 4)
        && header(c->in, "Upgrade", value, sizeof value) && strcasestr(value, "websocket")
        && header(c->in, "Connection", value, sizeof value) && strcasestr(value, "upgrade")
        && header(c->in, "Sec-WebSocket-Version", value, sizeof value) && !strcmp(value, "13")
        && header(c->in, "Sec-WebSocket-Key", key, sizeof key) && strlen(key) == 24;
    if (!good) {
        const char *no = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        refused++;
        emit(c, no, strlen(no));
        return -1;
    }
    accept_of(key, c->accept);
    if (header(c->in, "Sec-WebSocket-Protocol", c->protocol, sizeof c->protocol))
        c->protocol[strcspn(c->protocol, ", \t")] = 0;
    size_t used = end + 4 - c->in;
    c->have -= used;
    memmove(c->in, c->in + used, c->have);
    if (!delay_ns) return upgrade(c);
    c->state = DELAYED;
    c->due_ns = c->read_ns + delay_ns;
    c->next_due = NULL;
    if (due_tail) due_tail->next_due = c; else due_head = c; /* one delay: first in, first due */
    due_tail = c;
    return 0;
}

/* ---- the loop ---- */

static void take(int listener) {
    for (int i = 0; i < 8; i++) { /* few at a time: a request must not wait behind them */
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), one = 1;
        if (fd < 0) return;
        if (fd >= FDS) { close(fd); return; }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct conn *c = conns[fd] = checked(calloc(1, sizeof *c));
        c->fd = fd;
        c->events = EPOLLIN;
        if (fd > fd_top) fd_top = fd;
        struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
        if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &e)) { perror("epoll_ctl"); exit(1); }
        accepted++;
    }
}

static void proceed(struct conn *c) {
    int r = 1;
    if (c->state == REQUEST) r = request(c);
    if (r > 0 && c->state == OPEN) r = frames(c);
    if (r < 0) drop(c);
    else if (!pending(c)) watch(c, EPOLLIN);
}

static void ready(struct conn *c, uint32_t events) {
    if (c->state == DELAYED || c->state == CLOSING) {
        if (events & (EPOLLHUP | EPOLLERR)) { watch(c, 0); c->state = CLOSING; }
        else { /* either impatient bytes, or the end: a look tells, and neither is waited for */
            char peek;
            if (recv(c->fd, &peek, 1, MSG_PEEK) == 0) c->state = CLOSING;
            watch(c, 0);
        }
        return;
    }
    if (pending(c)) {
        int r = flush(c);
        if (r < 0) drop(c);
        else if (r > 0) proceed(c); /* what was read meanwhile */
        return;
    }
    ssize_t n = read(c->fd, c->in + c->have, IN_MAX - 1 - c->have);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) { drop(c); return; }
    c->have += n;
    proceed(c);
}

static void due(void) {
    for (int i = 0; i < 16 && due_head && due_head->due_ns <= now_ns(); i++) {
        struct conn *c = due_head;
        due_head = c->next_due;
        if (!due_head) due_tail = NULL;
        if (c->state == CLOSING) { drop(c); continue; }
        if (upgrade(c) < 0) drop(c);
        else proceed(c);
        /* `watch` in proceed turns reading on again for one that had been impatient */
    }
}

static int patience_ms(void) {
    if (!due_head) return fed ? SLOT_MS : -1;
    int64_t left = due_head->due_ns - now_ns();
    return left > 2000000 ? (int)(left / 1000000) - 1 : 0; /* the last 2 ms are spun */
}

static int compare(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static int64_t quantile(double q) {
    return delays_len ? delays[(size_t)(q * (delays_len - 1) + 0.5)] : 0;
}

static void stats(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    double cpu = u.ru_utime.tv_sec + u.ru_stime.tv_sec + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
    qsort(delays, delays_len, sizeof *delays, compare);
    printf("{\"accepted\":%lu,\"upgraded\":%lu,\"refused\":%lu,\"gone\":%lu,\"frames_out\":%lu,"
           "\"bytes_out\":%lu,\"pings\":%lu,\"closes\":%lu,\"events_out\":%lu,\"ends_out\":%lu,"
           "\"pings_out\":%lu,\"pongs\":%lu,\"cpu_s\":%.6f,\"delay_ns\":{\"n\":%zu,"
           "\"min\":%ld,\"p50\":%ld,\"p99\":%ld,\"max\":%ld}}\n", accepted, upgraded, refused, gone,
           frames_out, bytes_out, pings, closes, events_out, ends_out, pings_out, pongs, cpu, delays_len, quantile(0), quantile(0.5),
           quantile(0.99), quantile(1));
    fflush(stdout);
}

static void control(void) {
    char line[256];
    ssize_t n = read(0, line, sizeof line);
    if (n <= 0) exit(0);
    for (ssize_t i = 0; i < n; i++) if (line[i] == '\n') stats();
}

int main(int argc, char **argv) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int share = 0;
    for (int i = 1; i < argc; i++) {
        if (i + 1 < argc && !strcmp(argv[i], "--port")) address.sin_port = htons(atoi(argv[++i]));
        else if (i + 1 < argc && !strcmp(argv[i], "--delay-ms")) delay_ns = atof(argv[++i]) * 1e6;
        else if (!strcmp(argv[i], "--share")) share = 1;
        else { fprintf(stderr, "usage: server [--port N] [--delay-ms MS] [--share]\n"); return 2; }
    }
    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT, SIG_IGN); /* Ctrl-C is for whoever started us; we end with stdin */
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (share) setsockopt(listener, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
    socklen_t length = sizeof address;
    if (bind(listener, (struct sockaddr *)&address, length) || listen(listener, 4096)) {
        perror("listen");
        return 1;
    }
    getsockname(listener, (struct sockaddr *)&address, &length);
    poll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event e = {.events = EPOLLIN, .data.fd = 0};
    if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, 0, &e)) { perror("stdin must be a pipe"); return 1; }
    e.data.fd = listener;
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, listener, &e);
    printf("port %d\n", ntohs(address.sin_port));
    fflush(stdout);
    for (;;) {
        struct epoll_event events[EVENTS];
        int n = epoll_wait(poll_fd, events, EVENTS, patience_ms());
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == 0) control();
            else if (fd == listener) take(listener);
            else if (conns[fd]) ready(conns[fd], events[i].events);
        }
        due();
        feed_all();
    }
}
