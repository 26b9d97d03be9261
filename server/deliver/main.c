/* bpuhub-deliver: sends the notices that webhooks wait for.
 *
 * A program of its own, which the daemon starts when there is a webhook: it alone links libcurl and alone speaks to
 * machines that somebody has named.  It takes what is due from the store, has up to PARALLEL on their way, so many of
 * one receiver that a dead one delays no other, and writes down what came of each.  Killed between the sending and the
 * writing down, it sends once more: receivers know a notice by its delivery id.  What the disk does not take is kept
 * and written later, and nothing is sent meanwhile. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "server/deliver/notice.h"
#include "server/log.h"

#define PARALLEL 32
#define OF_ONE 4 /* receiver */
#define LOOK_MS 500
#define STOP_MS 3000
#define FORGET_MS 60000
#define KEEP_MS (INT64_C(30) * 86400000) /* the log of deliveries */

enum slot_state { SLOT_FREE, SLOT_SENDING, SLOT_ENDED /* not written down yet */ };

struct deliverer {
    const char *data;
    bool private_addresses;
    int64_t retry_ms; /* before the second attempt */
    struct store *store;
    CURLM *multi;
    int signals;
    struct {
        enum slot_state state;
        struct notice notice;
    } slots[PARALLEL];
};

static void complain(const char *job, const struct bpu_error *err)
{
    struct log_line l;
    log_begin(&l, "warning", "webhook", "webhooks: %s", err->message);
    log_text(&l, "job", job);
    log_end(&l);
}

static bool on_its_way(const struct deliverer *d, const struct store_delivery *x)
{
    for (int i = 0; i < PARALLEL; i++)
        if (d->slots[i].state != SLOT_FREE && d->slots[i].notice.d.n == x->n)
            return true;
    return false;
}

static int count(const struct deliverer *d, enum slot_state state)
{
    int n = 0;
    for (int i = 0; i < PARALLEL; i++)
        n += d->slots[i].state == state;
    return n;
}

static int of_receiver(const struct deliverer *d, const struct store_delivery *x)
{
    int n = 0;
    for (int i = 0; i < PARALLEL; i++)
        n += d->slots[i].state != SLOT_FREE && d->slots[i].notice.d.hook == x->hook;
    return n;
}

static void send_one(struct deliverer *d, const struct store_delivery *x)
{
    struct bpu_error err = {0};
    int i = 0;
    while (i < PARALLEL && d->slots[i].state != SLOT_FREE)
        i++;
    if (i == PARALLEL)
        return;
    struct notice *n = &d->slots[i].notice;
    n->d = *x;
    if (notice_prepare(d->store, n, d->private_addresses, &err) &&
        curl_multi_add_handle(d->multi, n->curl) == CURLM_OK) {
        d->slots[i].state = SLOT_SENDING;
        return;
    }
    complain(x->job, &err); /* it stays due */
    notice_release(n);
}

/* What is due and may go now. */
static void send_due(struct deliverer *d)
{
    struct bpu_error err = {0};
    struct store_delivery *due;
    size_t n;
    struct arena a;
    arena_init(&a, (size_t)16 << 20);
    if (!store_delivery_due(d->store, 2 * OF_ONE, &a, &due, &n, &err)) {
        complain(NULL, &err);
        n = 0;
    }
    for (size_t i = 0; i < n; i++)
        if (!on_its_way(d, &due[i]) && of_receiver(d, &due[i]) < OF_ONE)
            send_one(d, &due[i]);
    arena_fini(&a);
}

/* Which have ended, and what came of them. */
static void gather(struct deliverer *d)
{
    struct CURLMsg *m;
    int left;
    while ((m = curl_multi_info_read(d->multi, &left)))
        for (int i = 0; m->msg == CURLMSG_DONE && i < PARALLEL; i++)
            if (d->slots[i].state == SLOT_SENDING && d->slots[i].notice.curl == m->easy_handle) {
                CURLcode code = m->data.result;
                notice_outcome(&d->slots[i].notice, code, d->retry_ms);
                (void)curl_multi_remove_handle(d->multi, m->easy_handle);
                d->slots[i].state = SLOT_ENDED;
                break;
            }
}

/* False if the disk does not take it. */
static bool write_down(struct deliverer *d)
{
    bool ok = true;
    for (int i = 0; i < PARALLEL; i++) {
        struct bpu_error err = {0};
        if (d->slots[i].state != SLOT_ENDED)
            continue;
        if (!store_delivery_record(d->store, &d->slots[i].notice.d, &err)) {
            complain(d->slots[i].notice.d.job, &err);
            ok = false;
            continue;
        }
        notice_release(&d->slots[i].notice);
        d->slots[i].state = SLOT_FREE;
    }
    return ok;
}

static bool stop_asked(const struct deliverer *d)
{
    struct signalfd_siginfo info;
    return read(d->signals, &info, sizeof info) == (ssize_t)sizeof info;
}

/* Until a signal asks to stop; what is on its way then has STOP_MS. */
static void loop(struct deliverer *d)
{
    int64_t look_at = 0, forget_at = 0, end_at = 0;
    while (!end_at || (store_now() < end_at && count(d, SLOT_SENDING))) {
        int running;
        (void)curl_multi_perform(d->multi, &running);
        int before = count(d, SLOT_SENDING);
        gather(d);
        bool written = write_down(d), freed = count(d, SLOT_SENDING) < before;
        if (!end_at && written && (freed || store_now() >= look_at)) {
            look_at = store_now() + LOOK_MS;
            send_due(d);
            (void)curl_multi_perform(d->multi, &running);
        }
        if (!end_at && store_now() >= forget_at) {
            struct bpu_error err = {0};
            forget_at = store_now() + FORGET_MS;
            if (!store_delivery_forget(d->store, store_now() - KEEP_MS, &err))
                complain(NULL, &err);
        }
        struct curl_waitfd fd = {.fd = d->signals, .events = CURL_WAIT_POLLIN};
        (void)curl_multi_poll(d->multi, &fd, 1, written ? LOOK_MS : 2 * LOOK_MS, NULL);
        if (stop_asked(d))
            end_at = store_now() + STOP_MS;
    }
    (void)write_down(d);
    for (int i = 0; i < PARALLEL; i++) {
        if (d->slots[i].state == SLOT_SENDING)
            (void)curl_multi_remove_handle(d->multi, d->slots[i].notice.curl);
        if (d->slots[i].state != SLOT_FREE)
            notice_release(&d->slots[i].notice);
    }
}

static int signals_open(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* Another one may still be about to end: waits for it. -1 if a signal came first. */
static int lock(const struct deliverer *d)
{
    char path[4200];
    snprintf(path, sizeof path, "%s/tmp/deliver.lock", d->data);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    while (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK && !stop_asked(d)) {
            usleep(100000);
            continue;
        }
        close(fd);
        return -1;
    }
    return fd;
}

static int run(struct deliverer *d)
{
    struct bpu_error err = {0};
    int code = 5, held = -1;
    d->signals = signals_open();
    d->multi = curl_multi_init();
    d->store = store_open(d->data, &err);
    if (!d->store) {
        complain(NULL, &err);
        code = error_exit_code(err.code);
    } else if (d->signals >= 0 && d->multi && (held = lock(d)) >= 0) {
        loop(d);
        code = 0;
    }
    if (held >= 0)
        close(held);
    if (d->store)
        store_close(d->store);
    curl_multi_cleanup(d->multi);
    if (d->signals >= 0)
        close(d->signals);
    return code;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"data", required_argument, NULL, 'd'},
                                            {"private-addresses", no_argument, NULL, 'p'},
                                            {"retry-ms", required_argument, NULL, 'r'},
                                            {0}};
    static struct deliverer d = {.retry_ms = 10000};
    int opt;
    while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (opt) {
        case 'd': d.data = optarg; break;
        case 'p': d.private_addresses = true; break;
        case 'r': d.retry_ms = strtoll(optarg, NULL, 10); break;
        default: return 2;
        }
    }
    if (!d.data || optind != argc || d.retry_ms < 1) {
        fprintf(stderr, "usage: bpuhub-deliver --data DIR [--private-addresses] [--retry-ms N]\n");
        return 2;
    }
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0)
        return 5;
    int code = run(&d);
    curl_global_cleanup();
    return code;
}
